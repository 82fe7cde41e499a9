/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine from outside: whole runs of the program, compared by their traces. `engine_runs CASE` runs one case.
 */
#include <math.h>

#include "../support.h"
#include "harness.h"
#include "tandem/model.h"

static const int chunks[] = {1, 7, 64, 0};
#define CHUNKS (sizeof chunks / sizeof *chunks)

/* ---- colocated against disaggregated: the same bits ---- */

static void check_parity(const char *model, const char *workload, const char *both, const char *split, int ranks,
                         bool all_chunks) {
  const char *kv = all_chunks ? "f32" : "f16";
  struct setup one = {.model = model, .workload = workload, .kv = kv, .policy = "colocated", .pools = both};
  char baseline[4200];
  snprintf(baseline, sizeof baseline, "%s", harness_run("colocated", &one));
  for (size_t i = all_chunks ? 0 : CHUNKS - 2; i < CHUNKS; i++) {
    struct setup two = {.model = model,
                        .workload = workload,
                        .kv = kv,
                        .policy = "disaggregated",
                        .pools = split,
                        .ranks = ranks,
                        .chunk = chunks[i]};
    harness_diff(baseline, harness_run("disaggregated", &two), true);
    one.chunk = chunks[i];
    harness_diff(baseline, harness_run("chunked", &one), true);
  }
}

static void parity_one_process(void **state) {
  (void)state;
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "1"), 1, true);
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "2", "2"), 1, true);
  check_parity(NULL, NULL, POOL_BOTH("template", "1"), POOLS_PD("template", "template", "1", "1"), 1, false);
}

static void parity_2_ranks(void **state) {
  (void)state;
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "1"), 2, true);
  check_parity(NULL, NULL, POOL_BOTH("cpu", "2"), POOLS_PD("cpu", "cpu", "2", "1"), 2, false);
}

static void parity_4_ranks(void **state) {
  (void)state;
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "2"), 4, true);
  /* ranks to spare: one holds nothing */
  check_parity(NULL, NULL, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "2", "1"), 4, false);
}

#define CHAT_WORKLOAD                                                                                      \
  "requests = ({name=\"sea\"; prompt=\"Name three harbours.\";},{name=\"sum\"; prompt=\"What is 2+2?\";}," \
  "{name=\"raw\"; prompt=\"The quick brown fox\"; chat=false;}); max_tokens=6;"

static void parity_smollm2(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  test_skip_all("too slow under sanitizers; the tiny model covers the same code");
#endif
  const char *model = test_model_path();
  if (!model) test_skip_all("the SmolLM2 model is not in the cache (scripts/fetch-model)");
  check_parity(model, CHAT_WORKLOAD, POOL_BOTH("cpu", "2"), POOLS_PD("cpu", "cpu", "1", "1"), 1, false);
#ifdef TANDEM_HAVE_MPI
  check_parity(model, CHAT_WORKLOAD, POOL_BOTH("cpu", "1"), POOLS_PD("cpu", "cpu", "1", "1"), 2, false);
#endif
}

/* ---- paces ---- */

static void check_same_tokens_and_bytes(const char *path_a, const char *path_b) {
  harness_diff(path_a, path_b, true);
  struct td_trace *a = harness_load(path_a), *b = harness_load(path_b);
  assert_int_equal(a->count[TD_TABLE_REQUESTS], b->count[TD_TABLE_REQUESTS]);
  for (uint64_t i = 0; i < a->count[TD_TABLE_REQUESTS]; i++) {
    uint64_t j = 0;
    while (strcmp(a->requests[i].name, b->requests[j].name)) j++;
    assert_int_equal(a->requests[i].kv_bytes, b->requests[j].kv_bytes);
    assert_int_equal(a->requests[i].output_tokens, b->requests[j].output_tokens);
  }
  td_trace_free(a);
  td_trace_free(b);
}

static void check_paces(int ranks) {
  struct setup setup = {.policy = "disaggregated",
                        .pools = POOLS_PD("cpu", "cpu", "1", "2"),
                        .links = LINK_PD,
                        .chunk = 16,
                        .ranks = ranks};
  char wall[4200];
  setup.pace = "wall";
  snprintf(wall, sizeof wall, "%s", harness_run("wall", &setup));
  setup.pace = "measured";
  check_same_tokens_and_bytes(wall, harness_run("measured", &setup));
  setup.pace = "priced";
  check_same_tokens_and_bytes(wall, harness_run("priced", &setup));
}

static void measured_paces(void **state) {
  (void)state;
  check_paces(1);
}

static void paces_agree_under_mpi(void **state) {
  (void)state;
  check_paces(2);
}

static void priced_ranks_identical(void **state) {
  (void)state;
  struct setup setup = {.pace = "priced",
                        .policy = "disaggregated",
                        .pools = POOLS_PD("cpu", "cpu", "1", "2"),
                        .links = LINK_PD,
                        .chunk = 7};
  char one[4200];
  snprintf(one, sizeof one, "%s", harness_run("ranks1", &setup));
  harness_identical(one, harness_run("again", &setup));
  setup.ranks = 2;
  harness_identical(one, harness_run("ranks2", &setup));
  setup.ranks = 4;
  harness_identical(one, harness_run("ranks4", &setup));
  setup.pools = POOLS_PD("cpu", "cpu", "2", "2");
  harness_identical(one, harness_run("threads2", &setup));
}

/* ---- what moves ---- */

/* Every row is layers x 2 x KV heads x head dim x element size x tokens, and each position of each layer moves once. */
static void check_transfers(const char *path, int element, bool blob) {
  struct td_model *model;
  assert_int_equal(td_model_open(test_source("tests/data/tiny/llama.gguf"), &model), TD_OK);
  const struct td_shape *shape = td_model_shape(model);
  struct td_trace *trace = harness_load(path);
  uint64_t per_layer_token = (uint64_t)(2 * shape->kv_heads * shape->head_dim * element);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    const struct td_row_request *request = &trace->requests[i];
    uint64_t sum = 0, rows = 0;
    for (uint64_t t = 0; t < trace->count[TD_TABLE_TRANSFERS]; t++) {
      const struct td_row_transfer *row = &trace->transfers[t];
      if (row->request != request->request) continue;
      uint64_t size = (row->layer_end - row->layer_begin) * (row->token_end - row->token_begin) * per_layer_token;
      assert_int_equal(row->bytes, size);
      assert_true(row->duration >= 0 && row->start >= 0);
      sum += row->bytes;
      rows++;
    }
    bool hands_over = request->max_tokens > 1;
    uint64_t whole = hands_over ? (uint64_t)shape->layers * request->prompt_tokens * per_layer_token : 0;
    assert_int_equal(sum, whole);
    assert_int_equal(request->kv_bytes, whole);
    if (blob) assert_int_equal(rows, hands_over ? 1 : 0);
  }
  td_trace_free(trace);
  td_model_close(model);
}

static void transfer_bytes(void **state) {
  (void)state;
  static const char *const paces[] = {"wall", "measured", "priced"};
  for (int i = 0; i < 3; i++) {
    struct setup setup = {.pace = paces[i],
                          .policy = "disaggregated",
                          .pools = POOLS_PD("cpu", "cpu", "1", "1"),
                          .links = LINK_PD,
                          .chunk = 10};
    check_transfers(harness_run("f32", &setup), 4, false);
    setup.extra = "handoff_layers = 3; block_tokens = 5;";
    check_transfers(harness_run("grouped", &setup), 4, false);
  }
}

static void handoff_blob(void **state) {
  (void)state;
  struct setup setup = {
      .policy = "disaggregated", .pools = POOLS_PD("cpu", "template", "1", "1"), .links = LINK_PD, .chunk = 10};
  char layers[4200];
  snprintf(layers, sizeof layers, "%s", harness_run("layers", &setup));
  setup.extra = "handoff = \"blob\";";
  const char *blob = harness_run("blob", &setup);
  harness_diff(layers, blob, true);
  check_transfers(blob, 4, true);
  setup.pace = "priced";
  check_transfers(harness_run("priced-blob", &setup), 4, true);
}

/* ---- modelled and mixed clusters through the same engine ---- */

#define POOLS_MODELLED                                                                   \
  "{name=\"p\"; role=\"prefill\"; backend=\"modelled\"; device=\"h100_sxm\"; count=2;}," \
  "{name=\"d\"; role=\"decode\"; backend=\"modelled\"; device=\"sram-imagined\";}"
#define POOLS_MIXED                                                          \
  "{name=\"p\"; role=\"prefill\"; backend=\"cpu\"; device=\"xeon-2vcpu\";}," \
  "{name=\"d\"; role=\"decode\"; backend=\"modelled\"; device=\"sram-imagined\";}"

static void check_all_done(const char *path) {
  struct td_trace *trace = harness_load(path);
  assert_true(trace->complete);
  assert_int_equal(trace->count[TD_TABLE_REQUESTS], 5);
  for (uint64_t i = 0; i < 5; i++) {
    const struct td_row_request *request = &trace->requests[i];
    struct td_trace_token *tokens;
    uint64_t count;
    assert_int_equal(request->output_tokens, request->max_tokens);
    assert_int_equal(td_trace_request_tokens(trace, request->request, &tokens, &count), TD_OK);
    assert_int_equal(count, request->output_tokens);
    assert_int_equal(tokens[0].time, request->first_token);
    assert_int_equal(tokens[count - 1].time, request->finished);
    for (uint64_t t = 1; t < count; t++) assert_true(tokens[t].time > tokens[t - 1].time);
    assert_true(request->arrival <= request->admitted && request->admitted <= request->first_step);
    assert_true(request->first_step < request->first_token);
    free(tokens);
  }
  td_trace_free(trace);
}

/* Bandwidth and latency of devices/loopback-tcp.cfg: 5.3 GB/s, 10 us. Pushes of one pair of workers follow each other.
 */
static void check_link(const char *path) {
  struct td_trace *trace = harness_load(path);
  int64_t free_at[3] = {0}; /* by sender: there is one receiver */
  assert_true(trace->count[TD_TABLE_TRANSFERS] > 1);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TRANSFERS]; i++) {
    const struct td_row_transfer *row = &trace->transfers[i];
    double want_ps = 10e6 + (double)row->bytes / 5.3e9 * 1e12;
    if (fabs((double)row->duration - want_ps) > 1) fail_msg("%g ps, expected %g", (double)row->duration, want_ps);
    assert_true(row->from < 3 && row->start >= free_at[row->from]);
    free_at[row->from] = row->start + row->duration;
  }
  td_trace_free(trace);
}

/* At pace priced a hand-off is one row: each of its layers takes what a push of it takes, and no port carries two at
 * once. */
static void check_ports(const char *path) {
  struct td_trace *trace = harness_load(path);
  double work_ps[4] = {0};
  int64_t begin[4], end[4] = {0};
  for (int i = 0; i < 4; i++) begin[i] = INT64_MAX;
  assert_true(trace->count[TD_TABLE_TRANSFERS] > 1);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TRANSFERS]; i++) {
    const struct td_row_transfer *row = &trace->transfers[i];
    double pushes = row->layer_end - row->layer_begin, work = pushes * 10e6 + (double)row->bytes / 5.3e9 * 1e12;
    const uint32_t ports[2] = {row->from, 3};
    if ((double)row->duration < work - pushes) fail_msg("%g ps, expected at least %g", (double)row->duration, work);
    assert_true(row->from < 3);
    for (int p = 0; p < 2; p++) {
      uint32_t port = ports[p];
      work_ps[port] += work;
      if (row->start < begin[port]) begin[port] = row->start;
      if (row->start + row->duration > end[port]) end[port] = row->start + row->duration;
    }
  }
  for (int i = 0; i < 4; i++) assert_true(work_ps[i] == 0 || (double)(end[i] - begin[i]) >= work_ps[i] * (1 - 1e-9));
  td_trace_free(trace);
}

static void modelled_cluster(void **state) {
  (void)state;
  static const char *const paces[] = {"priced", "measured", "wall"};
  for (int i = 0; i < 3; i++) {
    struct setup setup = {
        .pace = paces[i], .policy = "disaggregated", .pools = POOLS_MODELLED, .links = LINK_PD, .chunk = 16};
    const char *path = harness_run("modelled", &setup);
    check_all_done(path);
    if (i == 0) check_ports(path);
    if (i > 0) check_link(path);
  }
}

/* Who was refused has a row of its own and is counted apart. */
static void refusals_are_shown(void **state) {
  (void)state;
  char out[16384];
  struct setup setup = {.pace = "priced",
                        .policy = "admission",
                        .pools = POOL_BOTH("modelled", "1"),
                        .extra = "policy_options = { queue_limit = 2; };",
                        .workload =
                            "max_tokens = 4; requests = ( {prompt_tokens=9;}, {prompt_tokens=9;}, "
                            "{prompt_tokens=9;} );"};
  assert_int_equal(harness_try("refused", &setup, out, sizeof out), 0);
  assert_non_null(strstr(out, "2 finished, 1 refused, 18 prompt tokens, 8 output tokens"));
  assert_int_equal(test_run(out, sizeof out, "%s show %s/refused.h5 --requests", TANDEM_PROGRAM, harness_scratch()), 0);
  assert_non_null(strstr(out, "refused"));
  assert_int_equal(test_run(out, sizeof out, "%s show %s/refused.h5 --json", TANDEM_PROGRAM, harness_scratch()), 0);
  assert_non_null(strstr(out, "\"refused\": 1"));
}

/* Policies with a memory or options of their own, where workers execute: the tokens are the same wherever they come
 * from. */
static void policies_live(void **state) {
  (void)state;
  static const char *const policies[][2] = {{"round_robin", ""},
                                            {"conditional", "policy_options = { threshold_tokens = 40; };"},
                                            {"kv_aware", "policy_options = { prefix_weight = 2; };"}};
  struct setup colocated = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};
  char plain[4200];
  snprintf(plain, sizeof plain, "%s", harness_run("plain", &colocated));
  for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
    struct setup setup = {
        .policy = policies[i][0], .pools = POOLS_PD("cpu", "cpu", "1", "2"), .links = LINK_PD, .extra = policies[i][1]};
    const char *path = harness_run(policies[i][0], &setup);
    check_all_done(path);
    harness_diff(plain, path, true);
  }
}

static void mixed_cluster(void **state) {
  (void)state;
  struct setup live = {.policy = "disaggregated", .pools = POOLS_PD("cpu", "cpu", "1", "1"), .links = LINK_PD};
  char executed[4200];
  snprintf(executed, sizeof executed, "%s", harness_run("live", &live));
  check_all_done(executed);
  static const char *const paces[] = {"priced", "measured", "wall"};
  for (int i = 0; i < 3; i++) {
    struct setup setup = {
        .pace = paces[i], .policy = "disaggregated", .pools = POOLS_MIXED, .links = LINK_PD, .chunk = 16};
    const char *mixed = harness_run("mixed", &setup);
    check_all_done(mixed);
    harness_diff(executed, mixed, true); /* pairs every request, compares what both executed */
  }
}

static void quickstart_modelled_and_mixed(void **state) {
  (void)state;
  const char *model = test_model_path();
  if (!model) test_skip_all("the SmolLM2 model is not in the cache (scripts/fetch-model)");
  char out[16384];
  static const char *const configs[] = {"modelled", "mixed"};
  for (int i = 0; i < 2; i++) {
    int code = test_run(out, sizeof out,
                        "%s run %s/experiments/quickstart/%s.cfg --set model=%s --set workload.max_tokens=4 "
                        "-o %s/%s.h5 2>&1",
                        TANDEM_PROGRAM, TANDEM_SOURCE_DIR, configs[i], model, harness_scratch(), configs[i]);
    if (code) fail_msg("%s", out);
  }
  int code = test_run(out, sizeof out, "%s diff %s/modelled.h5 %s/mixed.h5 2>&1", TANDEM_PROGRAM, harness_scratch(),
                      harness_scratch());
  if (code || strstr(out, "unmatched")) fail_msg("exit %d: %s", code, out);
}

/* ---- sampling and stops ---- */

static void sampling_seeded(void **state) {
  (void)state;
  struct setup setup = {
      .policy = "colocated", .pools = POOL_BOTH("cpu", "1"), .sampling = "temperature = 1.3; top_k = 50; top_p = 0.9;"};
  char first[4200];
  snprintf(first, sizeof first, "%s", harness_run("seeded", &setup));
  struct setup split = setup;
  split.policy = "disaggregated";
  split.pools = POOLS_PD("cpu", "cpu", "2", "2");
  split.chunk = 7;
  harness_diff(first, harness_run("seeded-split", &split), true);
  setup.sampling = "";
  harness_diff(first, harness_run("greedy", &setup), false);
}

/* A request's number and its tokens do not depend on when the others come. */
static void arrivals_do_not_matter(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1"), .sampling = "temperature = 1.0;"};
  setup.workload =
      "requests = ({name=\"a\"; prompt_tokens=9;},{name=\"b\"; prompt_tokens=12;}); max_tokens=8; stop_at_end=false;";
  char first[4200];
  snprintf(first, sizeof first, "%s", harness_run("together", &setup));
  setup.workload =
      "requests = ({name=\"a\"; prompt_tokens=9; arrival=0.05;},{name=\"b\"; prompt_tokens=12;}); max_tokens=8; "
      "stop_at_end=false;";
  const char *second = harness_run("apart", &setup);
  harness_diff(first, second, true);
  struct td_trace *trace = harness_load(second);
  for (uint64_t i = 0; i < 2; i++) assert_int_equal(trace->requests[i].request, trace->requests[i].name[0] - 'a');
  td_trace_free(trace);
}

/* A worker inside a long prefill is busy: the next request goes to the other one. */
static void long_prefill_counts(void **state) {
  (void)state;
  struct setup setup = {.model = test_source("experiments/models/llama-3.1-8b.cfg"),
                        .pace = "priced",
                        .policy = "colocated",
                        .pools = "{name=\"all\"; role=\"both\"; backend=\"modelled\"; device=\"h100_sxm\"; count=2;}",
                        .workload =
                            "requests = ({prompt_tokens=60000; max_tokens=4;},{prompt_tokens=10; max_tokens=50;},"
                            "{prompt_tokens=10; arrival=0.1;}); max_tokens=2;"};
  struct td_trace *trace = harness_load(harness_run("busy", &setup));
  for (uint64_t i = 0; i < 3; i++) {
    const struct td_row_request *row = &trace->requests[i];
    assert_int_equal(row->prefill_device, row->request == 0 ? 0 : 1);
  }
  td_trace_free(trace);
}

static void stops_at_length(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};
  struct td_trace *trace = harness_load(harness_run("lengths", &setup));
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    assert_int_equal(trace->requests[i].output_tokens, trace->requests[i].max_tokens);
    assert_int_equal(trace->requests[i].finish, TD_FINISH_LENGTH);
  }
  td_trace_free(trace);
}

/* Of a run that executes the trace counts: of five requests all are within a quarter of an hour, none within 1 ns. */
static void goodput_of_live_runs(void **state) {
  (void)state;
  char out[65536];
  static const char *const bounds[] = {"slo.ttft=1000.0", "slo.ttft=1e-9"}, *const within[] = {"5", "0"};
  struct setup setup = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};
  const char *config = harness_config("goodput", &setup);
  for (int i = 0; i < 2; i++) {
    char expected[64];
    int code = test_run(out, sizeof out, "%s run %s -o %s/goodput.h5 --json --set %s 2>/dev/null", TANDEM_PROGRAM,
                        config, harness_scratch(), bounds[i]);
    assert_int_equal(code, 0);
    snprintf(expected, sizeof expected, "\"within_ttft\": %s, \"within_tpot\": 5, \"within_slo\": %s", within[i],
             within[i]);
    if (!strstr(out, expected)) fail_msg("found no %s in %s", expected, out);
  }
}

static void one_token_requests(void **state) {
  (void)state;
  struct setup setup = {.policy = "disaggregated",
                        .pools = POOLS_PD("cpu", "cpu", "1", "1"),
                        .workload = "requests = ({prompt_tokens=5;},{prompt_tokens=40;}); max_tokens = 1;"};
  struct td_trace *trace = harness_load(harness_run("one", &setup));
  assert_int_equal(trace->count[TD_TABLE_TOKENS], 2);
  assert_int_equal(trace->count[TD_TABLE_TRANSFERS], 0);
  td_trace_free(trace);
}

/* KV for one request at a time: the others wait their turn and nothing is lost. */
static void kv_pressure(void **state) {
  (void)state;
  struct setup setup = {.policy = "disaggregated",
                        .pools =
                            "{name=\"p\"; role=\"prefill\"; backend=\"cpu\"; kv_tokens=128;},"
                            "{name=\"d\"; role=\"decode\"; backend=\"cpu\"; kv_tokens=128;}"};
  struct setup roomy = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};
  char tight[4200];
  snprintf(tight, sizeof tight, "%s", harness_run("tight", &setup));
  harness_diff(tight, harness_run("roomy", &roomy), true);
}

static const struct CMUnitTest cases[] = {
    cmocka_unit_test(parity_one_process),     cmocka_unit_test(parity_2_ranks),
    cmocka_unit_test(parity_4_ranks),         cmocka_unit_test(parity_smollm2),
    cmocka_unit_test(measured_paces),         cmocka_unit_test(paces_agree_under_mpi),
    cmocka_unit_test(priced_ranks_identical), cmocka_unit_test(transfer_bytes),
    cmocka_unit_test(handoff_blob),           cmocka_unit_test(modelled_cluster),
    cmocka_unit_test(mixed_cluster),          cmocka_unit_test(quickstart_modelled_and_mixed),
    cmocka_unit_test(sampling_seeded),        cmocka_unit_test(arrivals_do_not_matter),
    cmocka_unit_test(long_prefill_counts),    cmocka_unit_test(stops_at_length),
    cmocka_unit_test(one_token_requests),     cmocka_unit_test(kv_pressure),
    cmocka_unit_test(policies_live),          cmocka_unit_test(refusals_are_shown),
    cmocka_unit_test(goodput_of_live_runs),
};

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (argc != 2 || strcmp(cases[i].name, argv[1])) continue;
#ifndef TANDEM_HAVE_MPI
    if (strstr(argv[1], "rank") || strstr(argv[1], "mpi")) test_skip_all("built without MPI");
#endif
    return _cmocka_run_group_tests(argv[1], &cases[i], 1, NULL, NULL);
  }
  fprintf(stderr, "usage: engine_runs CASE\n");
  return 2;
}
