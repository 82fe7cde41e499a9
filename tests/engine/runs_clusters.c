/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole runs of the program: what crosses links, modelled and mixed clusters, policies.
 */
#include <math.h>

#include "../support.h"
#include "harness.h"
#include "runs.h"
#include "tandem/model.h"

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

void transfer_bytes(void **state) {
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

void handoff_blob(void **state) {
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

/* Bandwidth and latency of devices/loopback-tcp.cfg: 5.3 GB/s, 10 us. A hand-off is one row: each of its layers takes
 * what a push of it takes, and a port that is at another one does that first. */
static void check_ports(const char *path, bool crowded) {
  struct td_trace *trace = harness_load(path);
  double free_ps[4] = {0}; /* of those that send, and of the one that receives */
  uint64_t waited = 0;
  assert_true(trace->count[TD_TABLE_TRANSFERS] > 1);
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TRANSFERS]; i++) {
    const struct td_row_transfer *row = &trace->transfers[i];
    double pushes = row->layer_end - row->layer_begin, work = pushes * 10e6 + (double)row->bytes / 5.3e9 * 1e12;
    double start = (double)row->start, end = start + (double)row->duration;
    const uint32_t ports[2] = {row->from, 3};
    assert_true(row->from < 3);
    for (int p = 0; p < 2; p++) {
      double *port = &free_ps[ports[p]];
      *port = (*port > start ? *port : start) + work;
      waited += *port > end - work / pushes; /* it is what the hand-off waited for, not its last layer */
      if (end < *port - 10 * pushes * (double)(i + 1)) fail_msg("row %d is through %g ps early", (int)i, *port - end);
    }
  }
  assert_int_equal(waited > 0, crowded);
  td_trace_free(trace);
}

void modelled_cluster(void **state) {
  (void)state;
  static const char *const paces[] = {"priced", "measured", "wall"};
  for (int i = 0; i < 3; i++) {
    struct setup setup = {
        .pace = paces[i], .policy = "disaggregated", .pools = POOLS_MODELLED, .links = LINK_PD, .chunk = 16};
    const char *path = harness_run("modelled", &setup);
    check_all_done(path);
    check_ports(path, false);
    setup.workload =
        "requests = ( "
        "{prompt_tokens=9;},{prompt_tokens=9;},{prompt_tokens=8;},{prompt_tokens=9;},{prompt_tokens=3;},{prompt_tokens="
        "9;},{prompt_tokens=9;},{prompt_tokens=9;},{prompt_tokens=5;},{prompt_tokens=9;}); max_tokens = 3; stop_at_end "
        "= false;";
    check_ports(harness_run("crowded", &setup), true);
  }
}

/* Who was refused has a row of its own and is counted apart. */
void refusals_are_shown(void **state) {
  (void)state;
  char out[16384];
  struct setup setup = {.pace = "priced",
                        .policy = "admission",
                        .pools = POOL_BOTH("modelled", "1"),
                        .extra = "policy_options = { queue_limit = 1; }; batch_sequences = 1;",
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

struct live_policy {
  const char *name, *options, *pools;
};

#define LINKS_ALL                                                                                      \
  "{from=\"p\"; to=\"p\"; device=\"loopback-tcp\";},{from=\"d\"; to=\"d\"; device=\"loopback-tcp\";}," \
  "{from=\"d\"; to=\"p\"; device=\"loopback-tcp\";}," LINK_PD

/* Policies where workers execute, those that are asked at odd moments too: the tokens are the same wherever they come
 * from. */
void policies_live(void **state) {
  (void)state;
  static const char *const paces[] = {"wall", "measured", "priced"};
  static const struct live_policy policies[] = {
      {"round_robin", "", POOLS_PD("cpu", "cpu", "1", "2")},
      {"conditional", "threshold_tokens = 40;", POOLS_PD("cpu", "cpu", "1", "2")},
      {"kv_aware", "prefix_weight = 2;", POOLS_PD("cpu", "cpu", "1", "2")},
      {"fewest_tokens", "", POOL_BOTH("cpu", "1")},
      {"late", "", POOLS_PD("cpu", "cpu", "1", "2")},
      {"splitwise", "", POOLS_PD("cpu", "cpu", "1", "2")},
      {"autoscale", "slo_ttft = 1e-4;", POOLS_PD("cpu", "cpu", "1", "2")},
      {"admission", "queue_limit = 5;", POOLS_PD("cpu", "cpu", "1", "1")},
      {"tiers", "tiers = ({slo_ttft = 1.0;});", POOL_BOTH("cpu", "1")}};
  struct setup colocated = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};
  char plain[4200], extra[256];
  snprintf(plain, sizeof plain, "%s", harness_run("plain", &colocated));
  for (size_t i = 0; i < 3 * sizeof policies / sizeof *policies; i++) {
    const struct live_policy *policy = &policies[i / 3];
    snprintf(extra, sizeof extra, "policy_options = { %s }; policy_interval = 0.0005;", policy->options);
    struct setup setup = {.pace = paces[i % 3],
                          .policy = policy->name,
                          .pools = policy->pools,
                          .links = strstr(policy->pools, "\"d\"") ? LINKS_ALL : "",
                          .extra = extra};
    const char *path = harness_run(policy->name, &setup);
    check_all_done(path);
    harness_diff(plain, path, true);
  }
}

/* Who is refused where workers execute has a row, and is nobody's output. */
void refused_live(void **state) {
  (void)state;
  struct setup setup = {.policy = "admission",
                        .pools = POOL_BOTH("cpu", "1"),
                        .extra = "policy_options = { queue_limit = 1; }; batch_sequences = 1;",
                        .workload =
                            "max_tokens = 4; stop_at_end = false; requests = ( {prompt_tokens=9;}, "
                            "{prompt_tokens=9;}, {prompt_tokens=9;} );"};
  struct td_trace *trace = harness_load(harness_run("refused", &setup));
  uint64_t refused = 0;
  for (uint64_t i = 0; i < 3; i++) refused += trace->requests[i].finish == TD_FINISH_REFUSED;
  assert_int_equal(refused, 1);
  assert_int_equal(trace->count[TD_TABLE_TOKENS], 8);
  td_trace_free(trace);
}

void mixed_cluster(void **state) {
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

void quickstart_modelled_and_mixed(void **state) {
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
