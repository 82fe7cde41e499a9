/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas with pipeline stages, and with experts on chips of their own, against closed forms: a step alone is the sum
 * of its stages and hops; as many batches in flight as stages take a cycle of the slowest stage, or of a step alone.
 */
#include <math.h>

#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"
#include "tandem/cost.h"

static const char *folder;

struct setup {
  const char *model, *pool, *engine; /* further keys */
  int requests, prompt, output;
  const char *more; /* of the cluster */
};

static const char *config_of(const struct setup *setup) {
  static char path[4200];
  struct td_text text = {0};
  const char *engine = setup->engine ? setup->engine : "chunk_tokens = 0;";
  td_text_printf(&text, "name = \"pipeline\"; model = \"%s/%s.cfg\"; seed = 1;\n", folder, setup->model);
  td_text_printf(&text, "engine = { pace = \"priced\"; %s %s };\n",
                 strstr(engine, "policy") ? "" : "policy = \"colocated\";", engine);
  td_text_printf(&text,
                 "cluster = { pools = ( { name = \"p\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; %s } ); "
                 "%s };\n",
                 folder, setup->pool, setup->more ? setup->more : "");
  td_text_printf(&text, "workload = { stop_at_end = false; requests = (");
  for (int i = 0; i < setup->requests; i++) {
    td_text_printf(&text, "%s{ prompt_tokens = %d; max_tokens = %d; }", i ? "," : "", setup->prompt, setup->output);
  }
  td_text_printf(&text, "); };\n");
  random_cluster_file(folder, "pipeline.cfg", text.data);
  td_text_free(&text);
  snprintf(path, sizeof path, "%s/pipeline.cfg", folder);
  return path;
}

static void run(const struct setup *setup, struct rows *rows) {
  if (rows_run(config_of(setup), "seed=1", rows)) fail_msg("%s", td_error_text());
}

static void fails(const struct setup *setup, const char *words) {
  struct rows rows;
  assert_int_not_equal(rows_run(config_of(setup), "seed=1", &rows), TD_OK);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\" in it", td_error_text(), words);
  rows_free(&rows);
}

static const struct td_row_step *step_at(const struct rows *rows, size_t i) {
  const struct td_text *table = &rows->tables[TD_TABLE_STEPS];
  assert_true(i < table->bytes / sizeof(struct td_row_step));
  return (const struct td_row_step *)(const void *)table->data + i;
}

static const struct td_row_request *request_at(const struct rows *rows, size_t i) {
  const struct td_text *table = &rows->tables[TD_TABLE_REQUESTS];
  assert_true(i < table->bytes / sizeof(struct td_row_request));
  return (const struct td_row_request *)(const void *)table->data + i;
}

/* ---- prices of stages ---- */

struct priced {
  struct td_device_params *chip;
  struct td_graph *graph;
};

static struct priced open_priced(const char *model_name) {
  struct priced priced;
  struct td_model *model;
  char path[4200];
  snprintf(path, sizeof path, "%s/%s.cfg", folder, model_name);
  if (td_model_open(path, &model) || td_graph_build(model, &priced.graph)) fail_msg("%s", td_error_text());
  td_model_close(model);
  snprintf(path, sizeof path, "%s/chip.cfg", folder);
  if (td_device_params_open(path, &priced.chip)) fail_msg("%s", td_error_text());
  return priced;
}

static void close_priced(struct priced *priced) {
  td_device_params_close(priced->chip);
  td_graph_free(priced->graph);
}

/* One sequence of `past` positions brings `tokens` more, and gets so many. */
static int64_t chunk_ps(const struct priced *priced, int32_t begin, int32_t end, int64_t past, int64_t tokens,
                        int64_t yields) {
  const struct td_slice slice = {begin, end, TD_PART_ALL};
  struct td_step_stats stats = {0};
  struct td_price price;
  td_step_stats_add(&stats, &priced->graph->shape, past, tokens, yields);
  if (td_price_roofline(priced->chip, priced->graph, &slice, TD_F16, &stats, &price)) fail_msg("%s", td_error_text());
  return price.base_ps;
}

static int64_t stage_ps(const struct priced *priced, int32_t begin, int32_t end, int64_t past, int64_t tokens) {
  return chunk_ps(priced, begin, end, past, tokens, 1);
}

/* Over fast.cfg: 2 us and 5 GB/s; a row is 256 numbers of 2 bytes. */
static int64_t hop_ps(int64_t rows) {
  return 2000000 + rows * 512 * 200;
}
enum { BACK_PS = 2000000 + 4 * 200 }; /* an id of 4 bytes */

#define PIPELINE "pipeline_link = \"fast.cfg\"; pipeline = "

/* ---- alone ---- */

static void a_step_alone_is_its_stages_and_hops(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  struct rows rows;
  run(&(struct setup){.model = "dense", .pool = PIPELINE "2;", .requests = 1, .prompt = 5, .output = 4}, &rows);
  int64_t first = stage_ps(&priced, -1, 2, 0, 5) + stage_ps(&priced, 2, 5, 0, 5) + hop_ps(5) + BACK_PS, end = first;
  assert_int_equal(step_at(&rows, 0)->duration, first);
  assert_int_equal(request_at(&rows, 0)->first_token, first);
  for (int64_t past = 5; past < 8; past++) {
    end += stage_ps(&priced, -1, 2, past, 1) + stage_ps(&priced, 2, 5, past, 1) + hop_ps(1) + BACK_PS;
  }
  assert_int_equal(request_at(&rows, 0)->finished, end);
  assert_int_equal(step_at(&rows, 1)->count, 3); /* one row */
  assert_int_equal(rows.summary->stage_bytes, (5 + 3) * 512 + 4 * 4);
  /* two workers stand for two chips: what stages take of busy time is not idle */
  double idle = 2 * (double)end - (double)(end - (hop_ps(5) + 3 * hop_ps(1) + 4 * BACK_PS));
  assert_true(fabs(rows.summary->energy_idle_j / (50 * idle * 1e-12) - 1) < 1e-9);
  rows_free(&rows);
  close_priced(&priced);
}

/* ---- in flight ---- */

/* Time between tokens of one of as many equal requests as stages, from the first to the last token. */
static double cycle(int stages, int requests, const char *engine) {
  struct rows rows;
  char pool[128];
  snprintf(pool, sizeof pool, PIPELINE "%d;", stages);
  run(&(struct setup){"dense", pool, engine, requests, 5, 101, NULL}, &rows);
  const struct td_row_request *request = request_at(&rows, 0);
  double time = (double)(request->finished - request->first_token) / 100;
  rows_free(&rows);
  return time;
}

static double most(double a, double b) {
  return a > b ? a : b;
}

/* Stages of 4 layers: 2 + 2; 1 + 2 + 1 (the last has the head, the first the embedding); 1 + 1 + 1 + 1. */
static const int32_t cuts[3][5] = {{-1, 2, 5}, {-1, 1, 3, 5}, {-1, 1, 2, 3, 5}};

static void batches_in_flight_fill_the_stages(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  for (int stages = 2; stages <= 4; stages++) {
    double alone = (double)(stages - 1) * (double)hop_ps(1) + BACK_PS, slowest = 0;
    for (int s = 0; s < stages; s++) {
      double ps = (double)stage_ps(&priced, cuts[stages - 2][s], cuts[stages - 2][s + 1], 55, 1);
      alone += ps;
      slowest = most(slowest, ps);
    }
    double one = cycle(stages, 1, NULL), all = cycle(stages, stages, NULL), want = most(alone, stages * slowest);
    printf("%d stages: alone %.3f us (%.3f), in flight %.3f us (%.3f): %.2f times the rate\n", stages, one * 1e-6,
           alone * 1e-6, all * 1e-6, want * 1e-6, stages * one / all);
    assert_true(fabs(one / alone - 1) < 1e-3);
    assert_true(fabs(all / want - 1) < 0.01); /* the first steps find each other in the way */
    assert_true(stages * one / all > 0.6 * stages);
  }
  close_priced(&priced);
}

/* Joules follow what is done, not who waits: those of two batches are twice those of one. */
static void waiting_takes_no_energy(void **state) {
  (void)state;
  struct rows one, two;
  run(&(struct setup){"dense", PIPELINE "3;", NULL, 1, 5, 101, NULL}, &one);
  run(&(struct setup){"dense", PIPELINE "3;", NULL, 3, 5, 101, NULL}, &two);
  assert_true(fabs(two.summary->energy_j / (3 * one.summary->energy_j) - 1) < 1e-6);
  assert_true(two.tables[TD_TABLE_STEPS].bytes < 12 * sizeof(struct td_row_step)); /* turns are rows */
  rows_free(&one);
  rows_free(&two);
}

/* Of two at once the second waits for the first stage, and never again when stages are alike. */
static void a_batch_waits_for_the_stage_only(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  struct rows rows;
  run(&(struct setup){.model = "dense", .pool = PIPELINE "2;", .requests = 2, .prompt = 5, .output = 1}, &rows);
  int64_t a = stage_ps(&priced, -1, 2, 0, 5), b = stage_ps(&priced, 2, 5, 0, 5);
  int64_t first = a + b + hop_ps(5) + BACK_PS, late = a > b ? a : b;
  assert_int_equal(step_at(&rows, 0)->duration, first);
  assert_int_equal(step_at(&rows, 1)->duration, first + late);
  assert_int_equal(step_at(&rows, 1)->start, 0);
  rows_free(&rows);
  close_priced(&priced);
}

/* ---- chunks of one prompt ---- */

enum { CHUNK = 64, CHUNKS = 12 };

/* When each chunk of a prompt has passed the last of `count` stages, each in each stage and on each link as soon as it
 * is there and the chunk before is gone; one at a time: as soon as that has passed them all. */
static void pass_chunks(const struct priced *priced, int count, bool one_at_a_time, int64_t through[CHUNKS]) {
  int64_t stage_free[4] = {0}, link_free[4] = {0};
  for (int k = 0; k < CHUNKS; k++) {
    int64_t at = one_at_a_time && k ? through[k - 1] : 0;
    for (int s = 0; s < count; s++) {
      if (at < stage_free[s]) at = stage_free[s];
      at += chunk_ps(priced, cuts[count - 2][s], cuts[count - 2][s + 1], k * CHUNK, CHUNK, k == CHUNKS - 1);
      stage_free[s] = through[k] = at;
      if (at < link_free[s]) at = link_free[s];
      link_free[s] = at += hop_ps(CHUNK);
    }
  }
}

static void run_chunks(const char *pool, int requests, const char *more, struct rows *rows) {
  run(&(struct setup){"dense", pool, "batch_tokens = 64; chunk_tokens = 64;", requests, CHUNK * CHUNKS, 1, more}, rows);
}

/* N chunks through S stages: N + S - 1 times a stage, where stages are alike; and in any case as by hand. */
static void chunks_follow_each_other(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  for (int stages = 2; stages <= 4; stages++) {
    struct rows rows;
    char pool[128];
    int64_t through[CHUNKS], all = 0, slowest = 0;
    snprintf(pool, sizeof pool, PIPELINE "%d;", stages);
    run_chunks(pool, 1, NULL, &rows);
    pass_chunks(&priced, stages, false, through);
    for (int s = 0; s < stages; s++) {
      int64_t ps = 0;
      for (int k = 0; k < CHUNKS; k++) {
        ps += chunk_ps(&priced, cuts[stages - 2][s], cuts[stages - 2][s + 1], k * CHUNK, CHUNK, k == CHUNKS - 1);
      }
      all += ps;
      if (ps > slowest) slowest = ps;
    }
    int64_t last = request_at(&rows, 0)->first_token;
    printf("%d stages, %d chunks: %.1f us; the slowest stage's work is %.1f us, all work %.1f us\n", stages, CHUNKS,
           (double)last * 1e-6, (double)slowest * 1e-6, (double)all * 1e-6);
    assert_int_equal(last, through[CHUNKS - 1] + BACK_PS);
    double times = (double)slowest / CHUNKS * (CHUNKS + stages - 1);
    if (stages != 3) assert_true(fabs((double)last / times - 1) < 0.04); /* hops, and later chunks take longer */
    assert_int_equal(step_at(&rows, 0)->duration, chunk_ps(&priced, -1, cuts[stages - 2][1], 0, CHUNK, 0));
    assert_int_equal(step_at(&rows, 1)->start, step_at(&rows, 0)->duration);
    assert_int_equal(rows.summary->stage_bytes, CHUNK * CHUNKS * 512 * (stages - 1) + 4);
    rows_free(&rows);
  }
  close_priced(&priced);
}

/* A step in flight has the power of a stage: with that of one stage chunks come one at a time. Its energy is as ever.
 */
static void chunks_in_flight_take_power(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  struct rows free, capped;
  int64_t through[CHUNKS];
  run_chunks(PIPELINE "3;", 1, NULL, &free);
  run_chunks(PIPELINE "3;", 1, "power_cap = 400.0;", &capped); /* 3 idle chips of 50 W, and one that takes 300 */
  pass_chunks(&priced, 3, true, through);
  assert_int_equal(request_at(&capped, 0)->first_token, through[CHUNKS - 1] + BACK_PS);
  assert_true(fabs(free.summary->energy_j / capped.summary->energy_j - 1) < 1e-9);
  rows_free(&free);
  rows_free(&capped);
  close_priced(&priced);
}

/* KV leaves chunk by chunk, behind the chunk before and before the one after has passed the last stage. */
static void chunks_hand_their_kv_over(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  struct rows rows;
  char pools[1000];
  int64_t through[CHUNKS];
  snprintf(pools, sizeof pools,
           PIPELINE
           "2; role = \"prefill\"; }, { name = \"d\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; "
           "role = \"decode\";",
           folder);
  run(&(struct setup){"dense", pools, "policy = \"disaggregated\"; batch_tokens = 64; chunk_tokens = 64;", 1,
                      CHUNK * CHUNKS, 2, "links = ( { from = \"p\"; to = \"d\"; device = \"fast.cfg\"; } );"},
      &rows);
  pass_chunks(&priced, 2, false, through);
  const struct td_text *table = &rows.tables[TD_TABLE_TRANSFERS];
  const struct td_row_transfer *row = (const void *)table->data;
  assert_int_equal(table->bytes / sizeof *row, CHUNKS);
  for (int k = 0; k < CHUNKS; k++) {
    assert_int_equal(row[k].token_end, (k + 1) * CHUNK);
    assert_true(row[k].start < through[k] && row[k].start + row[k].duration > (k ? through[k - 1] : 0));
    if (k + 1 < CHUNKS) assert_true(row[k].start + row[k].duration < through[k + 1]);
  }
  rows_free(&rows);
  close_priced(&priced);
}

/* ---- nothing changes without ---- */

static void one_stage_is_none(void **state) {
  (void)state;
  struct rows plain, one;
  run(&(struct setup){"experts", "count = 2;", NULL, 9, 40, 30, NULL}, &plain);
  run(&(struct setup){"experts", "count = 2; pipeline = 1; expert = 1;", NULL, 9, 40, 30, NULL}, &one);
  rows_same(&plain, &one, "pipeline = 1 and expert = 1");
  rows_free(&plain);
  rows_free(&one);
}

/* ---- a replica fails as a whole ---- */

static void a_replica_fails_as_a_whole(void **state) {
  (void)state;
  struct rows rows;
  const char *pool = PIPELINE "2; outages = ( { worker = 0; at = 0.01; lasts = 0.005; } );";
  run(&(struct setup){"dense", pool, NULL, 6, 40, 150, NULL}, &rows);
  assert_int_equal(rows.summary->failures, 1);
  assert_int_equal(rows.summary->restarts, 6);
  assert_int_equal(rows.summary->lost_steps, 2);
  assert_int_equal(rows.summary->down_ps, 5000000000);
  assert_int_equal(rows.summary->requests, 6);
  rows_free(&rows);
}

/* What was under way does not keep stages from those that start over. */
static void a_repaired_replica_is_free(void **state) {
  (void)state;
  struct priced priced = open_priced("dense");
  struct rows rows;
  const char *pool = PIPELINE "2; outages = ( { worker = 0; at = 0.0001; lasts = 1e-6; } );";
  run(&(struct setup){"dense", pool, NULL, 2, 5, 1, NULL}, &rows);
  int64_t a = stage_ps(&priced, -1, 2, 0, 5), b = stage_ps(&priced, 2, 5, 0, 5);
  assert_int_equal(rows.summary->lost_steps, 2);
  assert_int_equal(step_at(&rows, 1)->start, 101000000);
  assert_int_equal(step_at(&rows, 1)->duration, a + b + hop_ps(5) + BACK_PS + (a > b ? a : b));
  rows_free(&rows);
  close_priced(&priced);
}

/* ---- experts on chips of their own ---- */

/* Four groups have two of eight sequences each: the step is that of one with two, but for the experts. */
static void experts_are_shared_by_groups(void **state) {
  (void)state;
  struct rows one, four, link;
  run(&(struct setup){"experts", "expert = 4;", NULL, 8, 16, 9, NULL}, &four);
  run(&(struct setup){"experts", "expert = 4; expert_link = \"slow.cfg\";", NULL, 8, 16, 9, NULL}, &link);
  run(&(struct setup){"experts", "tensor = 4;", NULL, 8, 16, 9, NULL}, &one);
  size_t last = four.tables[TD_TABLE_STEPS].bytes / sizeof(struct td_row_step) - 1;
  const struct td_row_step *a = step_at(&four, last), *b = step_at(&link, last);
  assert_int_equal(a->tokens, 8);
  /* slow.cfg: 40 us a message, 20 MB/s. Of 2 tokens to 2 experts each, 3/4 leave the chip: 2 * 2 * 256 * 2 * 3 / 4 =
   * 1536 B, there and back, in each of 4 layers */
  int64_t exchange = INT64_C(4) * 2 * (40000000 + 1536 * INT64_C(50000));
  assert_true(b->duration > exchange && b->duration < exchange + a->duration);
  assert_true(step_at(&one, 0)->duration != step_at(&four, 0)->duration);
  rows_free(&one);
  rows_free(&four);
  rows_free(&link);
}

/* Four groups of 10 KV blocks: each has room for one request of 6, though six would fit in all 40. */
static void kv_is_on_one_group(void **state) {
  (void)state;
  struct rows rows;
  struct setup setup = {"experts", "expert = 4; kv_tokens = 640;", NULL, 6, 80, 16, NULL};
  run(&setup, &rows);
  int64_t first_ps = INT64_MAX;
  int late = 0;
  for (size_t i = 0; i < 6; i++) {
    if (request_at(&rows, i)->finished < first_ps) first_ps = request_at(&rows, i)->finished;
  }
  for (size_t i = 0; i < 6; i++) late += request_at(&rows, i)->admitted >= first_ps;
  assert_int_equal(late, 2);
  rows_free(&rows);
  setup.prompt = 170;
  fails(&setup,
        "found 10 KV blocks of 16 positions on each group of chips, for each batch in flight, expected at "
        "least 12 for the longest request");
}

/* ---- what fits ---- */

/* experts.cfg, for long prompts. */
static void write_long_model(void) {
  random_cluster_file(folder, "long.cfg",
                      "name = \"long\"; architecture = \"llama\"; layers = 4; hidden = 256; heads = 4; kv_heads = 2; "
                      "head_dim = 64; rope_dim = 64; ffn = 300; experts = 8; experts_used = 2; vocab = 1000; "
                      "context = 10000000; rope_theta = 10000.0; norm_epsilon = 1e-5; tied_output = false; "
                      "rope_factors = false; weights = \"bf16\";");
}

/* experts.cfg: of 4 layers with 8 experts of 3 * 256 * 300 numbers; a chip has 4 GB, of which these take nothing. */
static void weights_are_by_chip(void **state) {
  (void)state;
  struct priced priced = open_priced("experts");
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
  struct setup setup = {"long", "expert = 3;", NULL, 1, 9000000, 8, NULL};
  char words[160];
  snprintf(words, sizeof words,
           "stage 0 has 12 GB: found weights of %.4g GB, expected room for 9000007 positions of 2048 B",
           (3 * (double)rest + 9.0 / 8 * (double)experts) / 1e9);
  fails(&setup, words);
  /* two stages of 4 GB with two layers each, and two batches in flight */
  setup.pool = PIPELINE "2;";
  snprintf(words, sizeof words,
           "stage 0 has 4 GB: found weights of %.4g GB, expected room for 9000007 positions of 1024 B",
           (double)(part[0][0] + part[0][1]) / 1e9);
  fails(&setup, words);
  close_priced(&priced);
}

static void what_cannot_be_is_refused(void **state) {
  (void)state;
  fails(&(struct setup){"dense", "pipeline = 2;", NULL, 1, 4, 4, NULL}, "pipeline_link: found none");
  fails(&(struct setup){"dense", "pipeline_link = \"fast.cfg\";", NULL, 1, 4, 4, NULL}, "with pipeline = 1");
  fails(&(struct setup){"dense", PIPELINE "5;", NULL, 1, 4, 4, NULL}, "at most the 4 layers");
  fails(&(struct setup){"dense", "pipeline = 2; pipeline_link = \"chip.cfg\";", NULL, 1, 4, 4, NULL}, "of kind link");
  fails(&(struct setup){"dense", "expert = 2;", NULL, 1, 4, 4, NULL}, "at most the 0 experts");
  fails(&(struct setup){"experts", "expert = 16;", NULL, 1, 4, 4, NULL}, "at most the 8 experts");
  fails(&(struct setup){"dense", "tensor = 3;", NULL, 1, 4, 4, NULL}, "a divisor of the 4 heads");
  fails(&(struct setup){"dense", "tensor = 8;", NULL, 1, 4, 4, NULL}, "a divisor of the 4 heads");
  fails(&(struct setup){"experts", "tensor = 2; expert = 3;", NULL, 1, 4, 4, NULL}, "a multiple of tensor = 2");
  fails(&(struct setup){"experts", "tensor = 2; expert = 2; expert_link = \"fast.cfg\";", NULL, 1, 4, 4, NULL},
        "unless expert > tensor");
  fails(&(struct setup){"dense", PIPELINE "2; kv_tokens = 40;", NULL, 1, 16, 16, NULL},
        "found 1 KV blocks of 16 positions for each batch in flight, expected at least 2");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(a_step_alone_is_its_stages_and_hops),
                                     cmocka_unit_test(batches_in_flight_fill_the_stages),
                                     cmocka_unit_test(waiting_takes_no_energy),
                                     cmocka_unit_test(a_batch_waits_for_the_stage_only),
                                     cmocka_unit_test(chunks_follow_each_other),
                                     cmocka_unit_test(chunks_in_flight_take_power),
                                     cmocka_unit_test(chunks_hand_their_kv_over),
                                     cmocka_unit_test(one_stage_is_none),
                                     cmocka_unit_test(a_replica_fails_as_a_whole),
                                     cmocka_unit_test(a_repaired_replica_is_free),
                                     cmocka_unit_test(experts_are_shared_by_groups),
                                     cmocka_unit_test(kv_is_on_one_group),
                                     cmocka_unit_test(weights_are_by_chip),
                                     cmocka_unit_test(what_cannot_be_is_refused)};
  folder = test_scratch();
  random_cluster_files(folder);
  write_long_model();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
