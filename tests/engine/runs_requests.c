/* SPDX-License-Identifier: Apache-2.0
 *
 * Whole runs of the program: sampling, stops, arrivals, KV that is short.
 */
#include <unistd.h>

#include "../support.h"
#include "harness.h"
#include "runs.h"

static const char *const paces[] = {"wall", "measured", "priced"};

/* Prefill and decode on this machine's processor, each with room for so many positions. */
#define ROOM_PD(prefill, decode)                                                              \
  "{name=\"p\"; role=\"prefill\"; backend=\"cpu\"; device=\"xeon-2vcpu\"; kv_tokens=" prefill \
  ";},"                                                                                       \
  "{name=\"d\"; role=\"decode\"; backend=\"cpu\"; device=\"xeon-2vcpu\"; kv_tokens=" decode ";}"

void sampling_seeded(void **state) {
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
void arrivals_do_not_matter(void **state) {
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
void long_prefill_counts(void **state) {
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

void stops_at_length(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1")};
  struct td_trace *trace = harness_load(harness_run("lengths", &setup));
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    assert_int_equal(trace->requests[i].output_tokens, trace->requests[i].max_tokens);
    assert_int_equal(trace->requests[i].finish, TD_FINISH_LENGTH);
  }
  td_trace_free(trace);
}

/* A source's prompts are the same wherever and whenever they are computed. */
void source_live(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated",
                        .pools = "{name=\"p\"; backend=\"cpu\"; device=\"xeon-2vcpu\"; kv_tokens=2048;}",
                        .workload =
                            "source = { format = \"generated\"; requests = 12; arrivals = \"poisson\"; rate = 500.0; "
                            "prompt = { law = \"uniform\"; low = 1; high = 90; }; "
                            "output = { law = \"uniform\"; low = 1; high = 9; }; };",
                        .chunk = 16};
  char first[4200];
  snprintf(first, sizeof first, "%s", harness_run("source", &setup));
  setup.policy = "disaggregated";
  setup.pools = ROOM_PD("2048", "2048");
  setup.links = LINK_PD;
  for (int i = 0; i < 3; i++) {
    setup.pace = paces[i];
    harness_diff(first, harness_run("source-split", &setup), true);
  }
  struct td_trace *trace = harness_load(first);
  assert_int_equal(trace->count[TD_TABLE_REQUESTS], 12);
  assert_true(trace->count[TD_TABLE_TOKENS] >= 12);
  td_trace_free(trace);
  char out[4096];
  setup.chunk = 0;
  setup.extra = "batch_tokens = 64;";
  assert_int_equal(harness_try("too-long", &setup, out, sizeof out), 2);
  assert_non_null(strstr(out, "engine.batch_tokens: found 64, expected at least the"));
}

static bool is_awake(const char *path, const char *expected) {
  struct td_trace *trace = harness_load(path);
  bool is = trace->awake && strcmp(trace->awake, expected) == 0;
  td_trace_free(trace);
  return is;
}

/* Whether processors may sleep is told, and only asked of the system at pace wall. */
void kept_awake(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1"), .extra = "awake = \"no\";"};
  char out[4096];
  assert_true(is_awake(harness_run("sleepy", &setup), "no"));
  setup.pace = "measured";
  assert_true(is_awake(harness_run("no-matter", &setup), ""));
  setup.pace = "wall";
  setup.extra = "awake = \"yes\";";
  if (access("/dev/cpu_dma_latency", W_OK)) {
    assert_int_equal(harness_try("asleep", &setup, out, sizeof out), 1);
    assert_non_null(strstr(out, "engine.awake: found \"yes\", expected \"no\" here: /dev/cpu_dma_latency: "));
  } else {
    assert_true(is_awake(harness_run("awake", &setup), "yes"));
  }
}

/* Many short requests at a high temperature, which often put out the end token before they must. */
static void write_talk(char *out, size_t size) {
  size_t at = (size_t)snprintf(out, size, "max_tokens = 24; requests = (");
  for (int i = 0; i < 160; i++) {
    at += (size_t)snprintf(out + at, size - at, "%s{prompt_tokens=%d; arrival=%d.0e-4;}", i ? "," : "", 3 + i % 17, i);
  }
  snprintf(out + at, size - at, ");");
}

static void count_early(const struct td_trace *trace, int *first, int *later) {
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    const struct td_row_request *row = &trace->requests[i];
    assert_int_equal(row->max_tokens, 24);
    if (row->finish != TD_FINISH_END) assert_int_equal(row->output_tokens, 24);
    if (row->finish != TD_FINISH_END || row->output_tokens == 24) continue;
    *(row->output_tokens == 1 ? first : later) += 1;
    if (row->output_tokens == 1) assert_int_equal(row->finished, row->first_token);
  }
}

/* Whoever ends early, even with its first token while its KV is on its way, is the same everywhere, and gives back all
 * that it had: the next ones need it. */
void end_tokens(void **state) {
  (void)state;
  static char workload[16384];
  int first = 0, later = 0;
  write_talk(workload, sizeof workload);
  struct setup setup = {.policy = "colocated",
                        .pools = POOL_BOTH("cpu", "1"),
                        .sampling = "temperature = 1.5;",
                        .workload = workload,
                        .extra = "batch_sequences = 12;"};
  char alone[4200];
  snprintf(alone, sizeof alone, "%s", harness_run("alone", &setup));
  setup.policy = "disaggregated";
  setup.pools = ROOM_PD("512", "512");
  setup.links = LINK_PD;
  for (int i = 0; i < 3; i++) {
    setup.pace = paces[i];
    const char *split = harness_run("split", &setup);
    harness_diff(alone, split, true);
    struct td_trace *trace = harness_load(split);
    count_early(trace, &first, &later);
    td_trace_free(trace);
  }
  assert_true(first > 0 && later > 0);
}

void one_token_requests(void **state) {
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
void kv_pressure(void **state) {
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

/* Without a trace what was counted on the way is printed, of live runs too. */
void live_without_a_trace(void **state) {
  (void)state;
  char out[65536];
  struct setup setup = {.policy = "disaggregated", .pools = POOLS_PD("cpu", "cpu", "1", "1"), .links = LINK_PD};
  int code = test_run(out, sizeof out, "%s run %s --no-trace --json 2>/dev/null", TANDEM_PROGRAM,
                      harness_config("counted", &setup));
  assert_int_equal(code, 0);
  static const char *const words[] = {"\"requests\": 5, ", "\"prompt_tokens\": 220, \"output_tokens\": 42,",
                                      "\"itl\": null", "\"awake\": null"};
  for (int i = 0; i < 4; i++) {
    if (!strstr(out, words[i])) fail_msg("found no %s in %s", words[i], out);
  }
}

/* KV blocks one by one: whoever has to leave starts over, and goes on as if nothing had been. */
void kv_grows_live(void **state) {
  (void)state;
  uint64_t interruptions = 0;
  struct setup setup = {.policy = "colocated", .pools = POOL_BOTH("cpu", "1"), .sampling = "temperature = 1.0;"};
  setup.workload =
      "requests = ({prompt_tokens=40;},{prompt_tokens=20;},{prompt_tokens=33;},{prompt_tokens=5;},{prompt_tokens=16;});"
      "max_tokens = 60;";
  char roomy[4200];
  snprintf(roomy, sizeof roomy, "%s", harness_run("roomy", &setup));
  setup.extra = "kv = \"grow\"; block_tokens = 8;";
  for (int i = 0; i < 6; i++) {
    bool split = i >= 3;
    setup.pace = paces[i % 3];
    setup.chunk = i % 2 ? 16 : 0;
    setup.policy = split ? "disaggregated" : "colocated";
    setup.links = split ? LINK_PD : "";
    setup.pools =
        split ? ROOM_PD("200", "136") : "{name=\"b\"; backend=\"cpu\"; device=\"xeon-2vcpu\"; kv_tokens=136;}";
    const char *path = harness_run("tight", &setup);
    harness_diff(roomy, path, true);
    struct td_trace *trace = harness_load(path);
    for (uint64_t r = 0; r < 5; r++) interruptions += trace->requests[r].interruptions;
    td_trace_free(trace);
  }
  assert_true(interruptions > 0);
}

/* Of a run that executes the trace counts: of five requests all are within a quarter of an hour, none within 1 ns. */
void goodput_of_live_runs(void **state) {
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
