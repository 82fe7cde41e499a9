/* SPDX-License-Identifier: Apache-2.0
 *
 * Who leaves when KV blocks run out, where it goes on and when, by hand: every step takes 1 ms, a worker has 8 blocks
 * of 4 positions, and a position crosses to or from the host's memory in 1 us.
 */
#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"

#define NUMBER(name, number, unit) \
#name " = { value = " number "; unit = \"" unit "\"; evidence = \"measured\"; source = \"made\"; };\n"
/* The shape "dense" has 2,048 B a position. */
#define SERVER                                                                                                         \
  "title = \"a server\"; kind = \"chip\";\n" NUMBER(memory_bytes, "80", "GB") NUMBER(memory_bandwidth, "1", "TB/s")    \
      NUMBER(memory_efficiency, "1", "1") NUMBER(compute_efficiency, "1", "1") NUMBER(op_overhead, "1", "us")          \
          NUMBER(flops_f32, "1", "TFLOP/s") NUMBER(flops_f16, "1", "TFLOP/s")                                          \
              NUMBER(host_bandwidth, "2.048", "GB/s") "steps = ({ model = \"dense\"; tensor = 1;\nprefill = {" NUMBER( \
                  step, "1", "ms") NUMBER(token, "0", "us")                                                            \
                  NUMBER(square, "0", "ns") "};\ndecode = {" NUMBER(step, "1", "ms") NUMBER(context, "0", "us")        \
                      NUMBER(sequence, "0", "us") "}; });\n"

static const char *folder;

static void write_config(const char *engine, int workers, const char *workload) {
  char text[4200];
  snprintf(text, sizeof text,
           "name = \"preemption\"; model = \"dense.cfg\";\n"
           "engine = { pace = \"priced\"; block_tokens = 4; kv = \"grow\"; %s };\n"
           "cluster = { pools = ( { name = \"s\"; backend = \"modelled\"; device = \"./server.cfg\"; count = %d; "
           "kv_tokens = 32; } ); };\nworkload = { %s };\n",
           engine, workers, workload);
  random_cluster_file(folder, "preemption.cfg", text);
}

/* Merged and step by step: when each request ends, in ms, and how often it was interrupted. */
static void ends(const double *ms, const uint32_t *interruptions, int count) {
  char path[4200];
  struct rows rows, single;
  snprintf(path, sizeof path, "%s/preemption.cfg", folder);
  if (rows_run(path, "engine.merge=true", &rows)) fail_msg("%s", td_error_text());
  if (rows_run(path, "engine.merge=false", &single)) fail_msg("%s", td_error_text());
  rows_same(&rows, &single, "preemption");
  rows_free(&single);
  const struct td_row_request *row = (const void *)rows.tables[TD_TABLE_REQUESTS].data;
  assert_int_equal(rows.tables[TD_TABLE_REQUESTS].bytes / sizeof *row, count);
  for (; count--; row++) {
    assert_int_equal(row->finished, (int64_t)(ms[row->request] * 1e9 + 0.5));
    assert_int_equal(row->interruptions, interruptions[row->request]);
  }
  rows_free(&rows);
}

/* Requests 0 and 2 share a worker; after nine tokens of each all of its blocks are full. The other has been idle since
 * request 1 ended: request 2 goes on there at once, with one step for its 17 tokens and one for each that is left. */
static void who_leaves_goes_to_an_idle_worker(void **state) {
  (void)state;
  write_config("policy = \"colocated\";", 2,
               "requests = ( { prompt_tokens = 8; max_tokens = 24; }, { prompt_tokens = 8; max_tokens = 2; },"
               "{ prompt_tokens = 8; max_tokens = 20; } );");
  ends((const double[]){24, 2, 20}, (const uint32_t[]){0, 0, 1}, 3);
}

/* Request 1 leaves after nine tokens: its 16 positions take 16 us. Requests 2 and 3 come while it is away. There is
 * room for them, but they wait until it is back, which is when request 0 has ended; its positions take as long again.
 */
static void who_is_swapped_out_comes_back_first(void **state) {
  (void)state;
#define SHORT(arrival) "{ prompt_tokens = 2; max_tokens = 3; arrival = " arrival "; }"
  write_config("policy = \"colocated\"; preemption = \"swap\";", 1,
               "requests = ( { prompt_tokens = 8; max_tokens = 17; }, { prompt_tokens = 8; max_tokens = 17; }," SHORT(
                   "0.010") "," SHORT("0.0165") " );");
  ends((const double[]){17.016, 25.032, 21.032, 21.032}, (const uint32_t[]){0, 1, 0, 0}, 4);
}

/* Request 0 takes all there is until 4 ms. Requests 1, least urgent, and 2, most urgent, begin together then; request 1
 * leaves, though it came before. */
static void the_least_urgent_leaves(void **state) {
  (void)state;
  random_cluster_file(folder, "tiers.csv",
                      "arrival_time_us,input_tokens,output_tokens,slo_class\n0,29,4,standard\n"
                      "100,8,24,background\n200,8,20,critical\n");
  write_config(
      "policy = \"tiers\"; policy_options = { tiers = ( { slo_ttft = 1; }, { slo_ttft = 1; }, { slo_ttft = 1; },"
      "{ slo_ttft = 1; }, { slo_ttft = 1; } ); };",
      1, "source = { format = \"blis\"; file = \"tiers.csv\"; };");
  /* nine tokens of each at 13 ms; 11 more of request 2; 17 tokens of request 1 in a step, one for each that is left */
  ends((const double[]){4, 39, 24}, (const uint32_t[]){0, 1, 0}, 3);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(who_leaves_goes_to_an_idle_worker),
      cmocka_unit_test(who_is_swapped_out_comes_back_first),
      cmocka_unit_test(the_least_urgent_leaves),
  };
  folder = test_scratch();
  random_cluster_files(folder);
  random_cluster_file(folder, "server.cfg", SERVER);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
