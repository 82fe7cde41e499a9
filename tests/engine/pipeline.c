/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas with pipeline stages against closed forms: a step alone is the sum of its stages and hops; as many batches
 * in flight as stages take a cycle of the slowest stage, or of a step alone; chunks of a prompt follow each other.
 */
#include <math.h>

#include "../support.h"
#include "random_cluster.h"
#include "split_runs.h"
#include "tandem/base.h"

/* ---- alone ---- */

static void a_step_alone_is_its_stages_and_hops(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
  struct rows rows;
  split_run(&(struct split_setup){.model = "dense", .pool = PIPELINE "2;", .requests = 1, .prompt = 5, .output = 4},
            &rows);
  int64_t first = priced_stage(&priced, -1, 2, 0, 5) + priced_stage(&priced, 2, 5, 0, 5) + priced_hop(5) + BACK_PS,
          end = first;
  assert_int_equal(split_step(&rows, 0)->duration, first);
  assert_int_equal(split_request(&rows, 0)->first_token, first);
  for (int64_t past = 5; past < 8; past++) {
    end += priced_stage(&priced, -1, 2, past, 1) + priced_stage(&priced, 2, 5, past, 1) + priced_hop(1) + BACK_PS;
  }
  assert_int_equal(split_request(&rows, 0)->finished, end);
  assert_int_equal(split_step(&rows, 1)->count, 3); /* one row */
  assert_int_equal(rows.summary->stage_bytes, (5 + 3) * 512 + 4 * 4);
  /* two workers stand for two chips: what stages take of busy time is not idle */
  double idle = 2 * (double)end - (double)(end - (priced_hop(5) + 3 * priced_hop(1) + 4 * BACK_PS));
  assert_true(fabs(rows.summary->energy_idle_j / (50 * idle * 1e-12) - 1) < 1e-9);
  rows_free(&rows);
  priced_close(&priced);
}

/* ---- in flight ---- */

/* Time between tokens of one of as many equal requests as stages, from the first to the last token. */
static double cycle(int stages, int requests, const char *engine) {
  struct rows rows;
  char pool[128];
  snprintf(pool, sizeof pool, PIPELINE "%d;", stages);
  split_run(&(struct split_setup){"dense", pool, engine, requests, 5, 101, NULL}, &rows);
  const struct td_row_request *request = split_request(&rows, 0);
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
  struct priced priced = priced_open("dense");
  for (int stages = 2; stages <= 4; stages++) {
    double alone = (double)(stages - 1) * (double)priced_hop(1) + BACK_PS, slowest = 0;
    for (int s = 0; s < stages; s++) {
      double ps = (double)priced_stage(&priced, cuts[stages - 2][s], cuts[stages - 2][s + 1], 55, 1);
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
  priced_close(&priced);
}

/* Joules follow what is done, not who waits: those of two batches are twice those of one. */
static void waiting_takes_no_energy(void **state) {
  (void)state;
  struct rows one, two;
  split_run(&(struct split_setup){"dense", PIPELINE "3;", NULL, 1, 5, 101, NULL}, &one);
  split_run(&(struct split_setup){"dense", PIPELINE "3;", NULL, 3, 5, 101, NULL}, &two);
  assert_true(fabs(two.summary->energy_j / (3 * one.summary->energy_j) - 1) < 1e-6);
  assert_true(two.tables[TD_TABLE_STEPS].bytes < 12 * sizeof(struct td_row_step)); /* turns are rows */
  rows_free(&one);
  rows_free(&two);
}

/* Of two at once the second waits for the first stage, and never again when stages are alike. */
static void a_batch_waits_for_the_stage_only(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
  struct rows rows;
  split_run(&(struct split_setup){.model = "dense", .pool = PIPELINE "2;", .requests = 2, .prompt = 5, .output = 1},
            &rows);
  int64_t a = priced_stage(&priced, -1, 2, 0, 5), b = priced_stage(&priced, 2, 5, 0, 5);
  int64_t first = a + b + priced_hop(5) + BACK_PS, late = a > b ? a : b;
  assert_int_equal(split_step(&rows, 0)->duration, first);
  assert_int_equal(split_step(&rows, 1)->duration, first + late);
  assert_int_equal(split_step(&rows, 1)->start, 0);
  rows_free(&rows);
  priced_close(&priced);
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
      at += priced_chunk(priced, cuts[count - 2][s], cuts[count - 2][s + 1], k * CHUNK, CHUNK, k == CHUNKS - 1);
      stage_free[s] = through[k] = at;
      if (at < link_free[s]) at = link_free[s];
      link_free[s] = at += priced_hop(CHUNK);
    }
  }
}

static void run_chunks(const char *pool, int requests, const char *more, struct rows *rows) {
  split_run(
      &(struct split_setup){"dense", pool, "batch_tokens = 64; chunk_tokens = 64;", requests, CHUNK * CHUNKS, 1, more},
      rows);
}

/* N chunks through S stages: N + S - 1 times a stage, where stages are alike; and in any case as by hand. */
static void chunks_follow_each_other(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
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
        ps += priced_chunk(&priced, cuts[stages - 2][s], cuts[stages - 2][s + 1], k * CHUNK, CHUNK, k == CHUNKS - 1);
      }
      all += ps;
      if (ps > slowest) slowest = ps;
    }
    int64_t last = split_request(&rows, 0)->first_token;
    printf("%d stages, %d chunks: %.1f us; the slowest stage's work is %.1f us, all work %.1f us\n", stages, CHUNKS,
           (double)last * 1e-6, (double)slowest * 1e-6, (double)all * 1e-6);
    assert_int_equal(last, through[CHUNKS - 1] + BACK_PS);
    double times = (double)slowest / CHUNKS * (CHUNKS + stages - 1);
    if (stages != 3) assert_true(fabs((double)last / times - 1) < 0.04); /* hops, and later chunks take longer */
    assert_int_equal(split_step(&rows, 0)->duration, priced_chunk(&priced, -1, cuts[stages - 2][1], 0, CHUNK, 0));
    assert_int_equal(split_step(&rows, 1)->start, split_step(&rows, 0)->duration);
    assert_int_equal(rows.summary->stage_bytes, CHUNK * CHUNKS * 512 * (stages - 1) + 4);
    rows_free(&rows);
  }
  priced_close(&priced);
}

/* A step in flight has the power of a stage: with that of one stage chunks come one at a time. Its energy is as ever.
 */
static void chunks_in_flight_take_power(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
  struct rows free, capped;
  int64_t through[CHUNKS];
  run_chunks(PIPELINE "3;", 1, NULL, &free);
  run_chunks(PIPELINE "3;", 1, "power_cap = 400.0;", &capped); /* 3 idle chips of 50 W, and one that takes 300 */
  pass_chunks(&priced, 3, true, through);
  assert_int_equal(split_request(&capped, 0)->first_token, through[CHUNKS - 1] + BACK_PS);
  assert_true(fabs(free.summary->energy_j / capped.summary->energy_j - 1) < 1e-9);
  rows_free(&free);
  rows_free(&capped);
  priced_close(&priced);
}

/* KV leaves chunk by chunk, behind the chunk before and before the one after has passed the last stage. */
static void chunks_hand_their_kv_over(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
  struct rows rows;
  char pools[1000];
  int64_t through[CHUNKS];
  snprintf(pools, sizeof pools,
           PIPELINE
           "2; role = \"prefill\"; }, { name = \"d\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; "
           "role = \"decode\";",
           split_folder);
  split_run(
      &(struct split_setup){"dense", pools, "policy = \"disaggregated\"; batch_tokens = 64; chunk_tokens = 64;", 1,
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
  priced_close(&priced);
}

/* ---- nothing changes without ---- */

static void one_stage_is_none(void **state) {
  (void)state;
  struct rows plain, one;
  split_run(&(struct split_setup){"experts", "count = 2;", NULL, 9, 40, 30, NULL}, &plain);
  split_run(&(struct split_setup){"experts", "count = 2; pipeline = 1; expert = 1;", NULL, 9, 40, 30, NULL}, &one);
  rows_same(&plain, &one, "pipeline = 1 and expert = 1");
  rows_free(&plain);
  rows_free(&one);
}

/* ---- a replica fails as a whole ---- */

static void a_replica_fails_as_a_whole(void **state) {
  (void)state;
  struct rows rows;
  const char *pool = PIPELINE "2; outages = ( { worker = 0; at = 0.01; lasts = 0.005; } );";
  split_run(&(struct split_setup){"dense", pool, NULL, 6, 40, 150, NULL}, &rows);
  assert_int_equal(rows.summary->failures, 1);
  assert_int_equal(rows.summary->restarts, 6);
  assert_int_equal(rows.summary->lost_steps, 2);
  assert_true(rows.summary->down_s == 5e-3);
  assert_int_equal(rows.summary->requests, 6);
  rows_free(&rows);
}

/* What was under way does not keep stages from those that start over. */
static void a_repaired_replica_is_free(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
  struct rows rows;
  const char *pool = PIPELINE "2; outages = ( { worker = 0; at = 0.0001; lasts = 1e-6; } );";
  split_run(&(struct split_setup){"dense", pool, NULL, 2, 5, 1, NULL}, &rows);
  int64_t a = priced_stage(&priced, -1, 2, 0, 5), b = priced_stage(&priced, 2, 5, 0, 5);
  assert_int_equal(rows.summary->lost_steps, 2);
  assert_int_equal(split_step(&rows, 1)->start, 101000000);
  assert_int_equal(split_step(&rows, 1)->duration, a + b + priced_hop(5) + BACK_PS + (a > b ? a : b));
  rows_free(&rows);
  priced_close(&priced);
}

/* Stage by stage, of a prompt's chunks that follow each other: until an instant. */
static int64_t work_until(const struct priced *priced, int count, int64_t until) {
  int64_t stage_free[4] = {0}, link_free[4] = {0}, work = 0;
  for (int k = 0; k < CHUNKS; k++) {
    int64_t at = 0;
    for (int s = 0; s < count; s++) {
      int64_t ps = priced_chunk(priced, cuts[count - 2][s], cuts[count - 2][s + 1], k * CHUNK, CHUNK, k == CHUNKS - 1);
      if (at < stage_free[s]) at = stage_free[s];
      if (at < until) work += at + ps < until ? ps : until - at;
      stage_free[s] = at += ps;
      if (at < link_free[s]) at = link_free[s];
      link_free[s] = at += priced_hop(CHUNK);
    }
  }
  return work;
}

/* Chunks that had left the first stage have done no more than they had when their replica failed. */
static void chunks_in_flight_spend_what_they_did(void **state) {
  (void)state;
  struct priced priced = priced_open("dense");
  int64_t through[CHUNKS];
  for (int stages = 2; stages <= 4; stages++) {
    pass_chunks(&priced, stages, false, through);
    int64_t all = work_until(&priced, stages, INT64_MAX), end = through[CHUNKS - 1] + BACK_PS;
    for (int part = 1; part < 24; part++) {
      struct rows rows;
      char pool[200];
      int64_t at_ps = end / 24 * part;
      snprintf(pool, sizeof pool, PIPELINE "%d; outages = ( { worker = 0; at = %.12f; lasts = 1.0; } );", stages,
               (double)at_ps * 1e-12);
      run_chunks(pool, 1, NULL, &rows);
      double busy_s = td_seconds(work_until(&priced, stages, at_ps) + all);
      assert_true(fabs(rows.summary->energy_j - 300 * busy_s) < 1e-9);
      assert_true(fabs(rows.summary->energy_idle_j - 50 * (stages * td_seconds(at_ps + end) - busy_s)) < 1e-9);
      rows_free(&rows);
    }
  }
  priced_close(&priced);
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
                                     cmocka_unit_test(chunks_in_flight_spend_what_they_did)};
  split_folder = test_scratch();
  random_cluster_files(split_folder);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
