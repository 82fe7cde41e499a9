/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas with experts on chips of their own and data-parallel attention: what a step takes, and what fits.
 */
#include "../support.h"
#include "random_cluster.h"
#include "split_runs.h"
#include "tandem/base.h"

/* ---- experts on chips of their own ---- */

/* Four groups have two of eight sequences each: the step is that of one with two, but for the experts. */
static void experts_are_shared_by_groups(void **state) {
  (void)state;
  struct rows one, four, link;
  split_run(&(struct split_setup){"experts", "expert = 4;", NULL, 8, 16, 9, NULL}, &four);
  split_run(&(struct split_setup){"experts", "expert = 4; expert_link = \"slow.cfg\";", NULL, 8, 16, 9, NULL}, &link);
  split_run(&(struct split_setup){"experts", "tensor = 4;", NULL, 8, 16, 9, NULL}, &one);
  size_t last = four.tables[TD_TABLE_STEPS].bytes / sizeof(struct td_row_step) - 1;
  const struct td_row_step *a = split_step(&four, last), *b = split_step(&link, last);
  assert_int_equal(a->tokens, 8);
  /* slow.cfg: 40 us a message, 20 MB/s. Of 2 tokens to 2 experts each, 3/4 leave the chip: 2 * 2 * 256 * 2 * 3 / 4 =
   * 1536 B, there and back, in each of 4 layers */
  int64_t exchange = INT64_C(4) * 2 * (40000000 + 1536 * INT64_C(50000));
  assert_true(b->duration > exchange && b->duration < exchange + a->duration);
  assert_true(split_step(&one, 0)->duration != split_step(&four, 0)->duration);
  rows_free(&one);
  rows_free(&four);
  rows_free(&link);
}

/* Four groups of 10 KV blocks: each has room for one request of 6, though six would fit in all 40. */
static void kv_is_on_one_group(void **state) {
  (void)state;
  struct rows rows;
  struct split_setup setup = {"experts", "expert = 4; kv_tokens = 640;", NULL, 6, 80, 16, NULL};
  split_run(&setup, &rows);
  int64_t first_ps = INT64_MAX;
  int late = 0;
  for (size_t i = 0; i < 6; i++) {
    if (split_request(&rows, i)->finished < first_ps) first_ps = split_request(&rows, i)->finished;
  }
  for (size_t i = 0; i < 6; i++) late += split_request(&rows, i)->admitted >= first_ps;
  assert_int_equal(late, 2);
  rows_free(&rows);
  setup.prompt = 170;
  split_fails(&setup,
              "found 10 KV blocks of 16 positions on each group of chips, for each batch in flight, expected at "
              "least 12 for the longest request");
}

/* Prices of groups whose sequences reach their windows hold for a step, under a cap and in stages too: step by step
 * each is asked again, and must be as the one before said. */
static void windows_are_by_step(void **state) {
  (void)state;
  struct rows merged, single;
  struct td_text text = {0};
  char path[4200];
  td_text_printf(
      &text,
      "name = \"windows\"; model = \"%s/window.cfg\";\n"
      "engine = { pace = \"priced\"; chunk_tokens = 0; batch_sequences = 8; batch_tokens = 20; kv_dtype = \"f32\"; };\n"
      "cluster = { pools = ( { name = \"p\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; expert = 2; "
      "expert_link = \"fast.cfg\"; pipeline = 2; pipeline_link = \"slow.cfg\"; power_cap = 590.0; } ); };\n"
      "workload = { requests = ( { prompt_tokens = 14; max_tokens = 33; }, { prompt_tokens = 27; max_tokens = 25; },\n"
      "  { prompt_tokens = 19; max_tokens = 23; }, { prompt_tokens = 18; max_tokens = 38; } ); };\n",
      split_folder, split_folder);
  random_cluster_file(split_folder, "windows.cfg", text.data);
  td_text_free(&text);
  snprintf(path, sizeof path, "%s/windows.cfg", split_folder);
  if (rows_run(path, "engine.merge=true", &merged)) fail_msg("%s", td_error_text());
  if (rows_run(path, "engine.merge=false", &single)) fail_msg("%s", td_error_text());
  rows_same(&merged, &single, "windows");
  rows_free(&merged);
  rows_free(&single);
}

/* ---- what fits ---- */

/* experts.cfg, for long prompts. */
static void write_long_model(void) {
  random_cluster_file(split_folder, "long.cfg",
                      "name = \"long\"; architecture = \"llama\"; layers = 4; hidden = 256; heads = 4; kv_heads = 2; "
                      "head_dim = 64; rope_dim = 64; ffn = 300; experts = 8; experts_used = 2; vocab = 1000; "
                      "context = 10000000; rope_theta = 10000.0; norm_epsilon = 1e-5; tied_output = false; "
                      "rope_factors = false; weights = \"bf16\";");
}

/* experts.cfg: of 4 layers with 8 experts of 3 * 256 * 300 numbers; a chip has 4 GB, of which these take nothing. */
static void weights_are_by_chip(void **state) {
  (void)state;
  struct priced priced = priced_open("experts");
  const struct td_slice whole = td_slice_whole(priced.graph), halves[] = {{-1, 2, TD_PART_ALL}, {2, 5, TD_PART_ALL}};
  uint64_t experts, rest, part[2][2];
  assert_int_equal(td_slice_weight_bytes(priced.graph, &whole, &experts, &rest), TD_OK);
  assert_int_equal(experts, 4 * 8 * 3 * 256 * 300 * 2);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(td_slice_weight_bytes(priced.graph, &halves[i], &part[i][0], &part[i][1]), TD_OK);
    assert_int_equal(part[i][0], experts / 2);
  }
  assert_int_equal(part[0][1] + part[1][1], rest);
  assert_true(part[0][1] != part[1][1]); /* the last has a norm more; embedding and head are of one size */
  /* 3 groups of a chip of 4 GB: each with all but the experts, one of them with 3 of 8 */
  struct split_setup setup = {"long", "expert = 3;", NULL, 1, 9000000, 8, NULL};
  char words[160];
  snprintf(words, sizeof words,
           "stage 0 has 12 GB: found weights of %.4g GB, expected room for 9000007 positions of 2048 B",
           (3 * (double)rest + 9.0 / 8 * (double)experts) / 1e9);
  split_fails(&setup, words);
  /* two stages of 4 GB with two layers each, and two batches in flight */
  setup.pool = PIPELINE "2;";
  snprintf(words, sizeof words,
           "stage 0 has 4 GB: found weights of %.4g GB, expected room for 9000007 positions of 1024 B",
           (double)(part[0][0] + part[0][1]) / 1e9);
  split_fails(&setup, words);
  priced_close(&priced);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  split_fails(&(struct split_setup){"dense", "pipeline = 2;", NULL, 1, 4, 4, NULL}, "pipeline_link: found none");
  split_fails(&(struct split_setup){"dense", "pipeline_link = \"fast.cfg\";", NULL, 1, 4, 4, NULL},
              "with pipeline = 1");
  split_fails(&(struct split_setup){"dense", PIPELINE "5;", NULL, 1, 4, 4, NULL}, "at most the 4 layers");
  split_fails(&(struct split_setup){"dense", "pipeline = 2; pipeline_link = \"chip.cfg\";", NULL, 1, 4, 4, NULL},
              "of kind link");
  split_fails(&(struct split_setup){"dense", "expert = 2;", NULL, 1, 4, 4, NULL}, "at most the 0 experts");
  split_fails(&(struct split_setup){"experts", "expert = 16;", NULL, 1, 4, 4, NULL}, "at most the 8 experts");
  split_fails(&(struct split_setup){"dense", "tensor = 3;", NULL, 1, 4, 4, NULL}, "a divisor of the 4 heads");
  split_fails(&(struct split_setup){"dense", "tensor = 8;", NULL, 1, 4, 4, NULL}, "a divisor of the 4 heads");
  split_fails(&(struct split_setup){"experts", "tensor = 2; expert = 3;", NULL, 1, 4, 4, NULL},
              "a multiple of tensor = 2");
  split_fails(
      &(struct split_setup){"experts", "tensor = 2; expert = 2; expert_link = \"fast.cfg\";", NULL, 1, 4, 4, NULL},
      "unless expert > tensor");
  split_fails(&(struct split_setup){"dense", PIPELINE "2; kv_tokens = 40;", NULL, 1, 16, 16, NULL},
              "found 1 KV blocks of 16 positions for each batch in flight, expected at least 2");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(experts_are_shared_by_groups),
                                     cmocka_unit_test(kv_is_on_one_group), cmocka_unit_test(windows_are_by_step),
                                     cmocka_unit_test(weights_are_by_chip),
                                     cmocka_unit_test(what_cannot_be_is_refused)};
  split_folder = test_scratch();
  random_cluster_files(split_folder);
  write_long_model();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
