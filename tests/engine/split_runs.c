/* SPDX-License-Identifier: Apache-2.0 */
#include "split_runs.h"

#include "../support.h"
#include "random_cluster.h"
#include "tandem/base.h"

const char *split_folder;

static const char *config_of(const struct split_setup *setup) {
  static char path[4200];
  struct td_text text = {0};
  const char *engine = setup->engine ? setup->engine : "chunk_tokens = 0;";
  td_text_printf(&text, "name = \"pipeline\"; model = \"%s/%s.cfg\"; seed = 1;\n", split_folder, setup->model);
  td_text_printf(&text, "engine = { pace = \"priced\"; %s %s };\n",
                 strstr(engine, "policy") ? "" : "policy = \"colocated\";", engine);
  td_text_printf(&text,
                 "cluster = { pools = ( { name = \"p\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; %s } ); "
                 "%s };\n",
                 split_folder, setup->pool, setup->more ? setup->more : "");
  td_text_printf(&text, "workload = { stop_at_end = false; requests = (");
  for (int i = 0; i < setup->requests; i++) {
    td_text_printf(&text, "%s{ prompt_tokens = %d; max_tokens = %d; }", i ? "," : "", setup->prompt, setup->output);
  }
  td_text_printf(&text, "); };\n");
  random_cluster_file(split_folder, "pipeline.cfg", text.data);
  td_text_free(&text);
  snprintf(path, sizeof path, "%s/pipeline.cfg", split_folder);
  return path;
}

void split_run(const struct split_setup *setup, struct rows *rows) {
  if (rows_run(config_of(setup), "seed=1", rows)) fail_msg("%s", td_error_text());
}

void split_fails(const struct split_setup *setup, const char *words) {
  struct rows rows;
  assert_int_not_equal(rows_run(config_of(setup), "seed=1", &rows), TD_OK);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\" in it", td_error_text(), words);
  rows_free(&rows);
}

const struct td_row_step *split_step(const struct rows *rows, size_t i) {
  const struct td_text *table = &rows->tables[TD_TABLE_STEPS];
  assert_true(i < table->bytes / sizeof(struct td_row_step));
  return (const struct td_row_step *)(const void *)table->data + i;
}

const struct td_row_request *split_request(const struct rows *rows, size_t i) {
  const struct td_text *table = &rows->tables[TD_TABLE_REQUESTS];
  assert_true(i < table->bytes / sizeof(struct td_row_request));
  return (const struct td_row_request *)(const void *)table->data + i;
}

/* ---- prices of stages ---- */

struct priced priced_open(const char *model_name) {
  struct priced priced;
  struct td_model *model;
  char path[4200];
  snprintf(path, sizeof path, "%s/%s.cfg", split_folder, model_name);
  if (td_model_open(path, &model) || td_graph_build(model, &priced.graph)) fail_msg("%s", td_error_text());
  td_model_close(model);
  snprintf(path, sizeof path, "%s/chip.cfg", split_folder);
  if (td_device_params_open(path, &priced.chip)) fail_msg("%s", td_error_text());
  return priced;
}

void priced_close(struct priced *priced) {
  td_device_params_close(priced->chip);
  td_graph_free(priced->graph);
}

/* One sequence of `past` positions brings `tokens` more, and gets so many. */
int64_t priced_chunk(const struct priced *priced, int32_t begin, int32_t end, int64_t past, int64_t tokens,
                     int64_t yields) {
  const struct td_slice slice = {begin, end, TD_PART_ALL};
  struct td_step_stats stats = {0};
  struct td_price price;
  td_step_stats_add(&stats, &priced->graph->shape, past, tokens, yields);
  if (td_price_roofline(priced->chip, priced->graph, &slice, TD_F16, &stats, &price)) fail_msg("%s", td_error_text());
  return price.base_ps;
}

int64_t priced_stage(const struct priced *priced, int32_t begin, int32_t end, int64_t past, int64_t tokens) {
  return priced_chunk(priced, begin, end, past, tokens, 1);
}

/* Over fast.cfg: 2 us and 5 GB/s; a row is 256 numbers of 2 bytes. */
int64_t priced_hop(int64_t rows) {
  return 2000000 + rows * 512 * 200;
}
