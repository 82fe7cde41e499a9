/* SPDX-License-Identifier: Apache-2.0
 *
 * Workers that execute and modelled ones of the same device file, pace priced: the former are posted each step, price
 * it from the sequences it is made of and answer by a message, the latter's steps are priced from sums and merged. What
 * a request sees must be the same to the picosecond, and so must what crosses links. And modelled clusters are
 * compared with the same rules said plainly (plain.h).
 */
#include "../support.h"
#include "harness.h"
#include "plain.h"
#include "tandem/base.h"

enum { CLUSTERS = 24, MOST_REQUESTS = 20 };

static uint64_t requests_compared, tokens_compared, transfers_compared, interruptions;

static uint64_t draw(uint64_t cluster, uint64_t what, uint64_t below) {
  return td_random(1, cluster, what) % below;
}

static void write_requests(uint64_t cluster, char *out, size_t size) {
  uint64_t count = 2 + draw(cluster, 0, MOST_REQUESTS - 1);
  size_t at = (size_t)snprintf(out, size, "requests = (");
  for (uint64_t i = 0; i < count; i++) {
    uint64_t burst = draw(cluster, 1, 3) ? draw(cluster, 10 + i, 3000) : 0;
    at += (size_t)snprintf(out + at, size - at, "%s{prompt_tokens=%d; max_tokens=%d; arrival=%.6f;}", i ? "," : "",
                           (int)(1 + draw(cluster, 100 + i, 200)), (int)(1 + draw(cluster, 200 + i, 40)),
                           (double)burst * 1e-6);
  }
  snprintf(out + at, size - at, "); stop_at_end = false;");
}

/* The same lengths from a source, whose prompts are drawn where they are really computed. */
static void write_source(uint64_t cluster, char *out, size_t size) {
  bool users = draw(cluster, 60, 2);
  snprintf(
      out, size,
      "source = { format = \"generated\"; requests = %d; arrivals = \"%s\"; %s "
      "prompt = { law = \"uniform\"; low = 1; high = 200; }; output = { law = \"uniform\"; low = 1; high = 40; }; }; "
      "stop_at_end = false;",
      (int)(2 + draw(cluster, 0, MOST_REQUESTS - 1)), users ? "closed" : "poisson",
      users ? "users = 3; think = 1e-4;" : "rate = 5000.0;");
}

static const char *model_of(uint64_t cluster) {
  static const char *const models[] = {"llama", "mixtral-small", "gemma3-small", "qwen3moe-small"};
  static char path[4200];
  snprintf(path, sizeof path, "%s/tests/data/tiny/%s.gguf", TANDEM_SOURCE_DIR, models[draw(cluster, 2, 4)]);
  return path;
}

/* Every request's times and places; step numbers may differ. */
static void compare_requests(const struct td_trace *a, const struct td_trace *b, const char *name) {
  uint64_t count = a->count[TD_TABLE_REQUESTS];
  assert_int_equal(count, b->count[TD_TABLE_REQUESTS]);
  assert_true(count > 0);
  requests_compared += count;
  for (uint64_t i = 0; i < count; i++) {
    interruptions += a->requests[i].interruptions;
    if (memcmp(&a->requests[i], &b->requests[i], sizeof a->requests[i])) {
      fail_msg("%s: requests[%d]: modelled, %s finished at %lld; executed, %s at %lld", name, (int)i,
               a->requests[i].name, (long long)a->requests[i].finished, b->requests[i].name,
               (long long)b->requests[i].finished);
    }
    struct td_trace_token *x, *y;
    uint64_t m, n;
    assert_int_equal(td_trace_request_tokens(a, a->requests[i].request, &x, &m), TD_OK);
    assert_int_equal(td_trace_request_tokens(b, a->requests[i].request, &y, &n), TD_OK);
    assert_int_equal(m, n);
    tokens_compared += m;
    for (uint64_t t = 0; t < m; t++) assert_true(x[t].time == y[t].time && x[t].device == y[t].device);
    free(x);
    free(y);
  }
}

static void compare_transfers(const struct td_trace *a, const struct td_trace *b) {
  uint64_t count = a->count[TD_TABLE_TRANSFERS];
  assert_int_equal(count, b->count[TD_TABLE_TRANSFERS]);
  transfers_compared += count;
  if (count) assert_memory_equal(a->transfers, b->transfers, count * sizeof *a->transfers);
}

static void compare_runs(const char *modelled, const char *executed) {
  struct td_trace *a = harness_load(modelled), *b = harness_load(executed);
  compare_requests(a, b, modelled);
  compare_transfers(a, b);
  td_trace_free(a);
  td_trace_free(b);
}

static void write_pools(uint64_t cluster, bool split, const char *backend, char *out, size_t size) {
  static const char pool[] = "{name=\"%s\"; role=\"%s\"; backend=\"%s\"; device=\"%s\"; count=%d; kv_tokens=%d;}";
  size_t at = 0;
  for (int i = 0; i <= split; i++) {
    if (i) at += (size_t)snprintf(out + at, size - at, ",");
    at += (size_t)snprintf(out + at, size - at, pool, i ? "d" : "p",
                           !split ? "both"
                           : i    ? "decode"
                                  : "prefill",
                           backend, draw(cluster, 52, 2) ? "h100_sxm" : "xeon-2vcpu",
                           (int)(1 + draw(cluster, 3 + 20 * (uint64_t)i, 3)),
                           (int)(288 + draw(cluster, 4 + 20 * (uint64_t)i, 400)));
  }
}

static void compare_cluster(uint64_t cluster) {
  char workload[8192], pools[512], extra[256], modelled[4200];
  bool split = draw(cluster, 53, 2);
  int chunk = draw(cluster, 8, 3) ? (int)(1 + draw(cluster, 9, 150)) : 0;
  if (draw(cluster, 61, 3)) {
    write_requests(cluster, workload, sizeof workload);
  } else {
    write_source(cluster, workload, sizeof workload);
  }
  snprintf(extra, sizeof extra,
           "batch_sequences=%d; batch_tokens=%d; block_tokens=%d; first=\"%s\"; pauses=%d; handoff=\"%s\"; "
           "handoff_layers=%d; kv=\"%s\";",
           (int)(1 + draw(cluster, 5, 16)), (int)((chunk ? 32 : 200) + draw(cluster, 6, 400)),
           (int)(1 + draw(cluster, 7, 32)), draw(cluster, 50, 2) ? "prompts" : "outputs",
           (int)(1 + draw(cluster, 51, 3)), draw(cluster, 54, 4) ? "layers" : "blob", (int)(1 + draw(cluster, 55, 5)),
           draw(cluster, 56, 3) ? "grow" : "reserve");
  struct setup setup = {.model = model_of(cluster),
                        .pace = "priced",
                        .policy = split ? "disaggregated" : "colocated",
                        .pools = pools,
                        .links = split ? LINK_PD : "",
                        .extra = extra,
                        .workload = workload,
                        .kv = "f16",
                        .chunk = chunk};
  write_pools(cluster, split, "modelled", pools, sizeof pools);
  snprintf(modelled, sizeof modelled, "%s", harness_run("modelled", &setup));
  write_pools(cluster, split, "cpu", pools, sizeof pools);
  compare_runs(modelled, harness_run("executed", &setup));
}

static void same_requests(void **state) {
  (void)state;
  for (uint64_t cluster = 0; cluster < CLUSTERS; cluster++) compare_cluster(cluster);
  assert_true(transfers_compared > 0 && interruptions > 0);
  printf("%d clusters, %llu requests, %llu tokens, %llu transfers, %llu preempted\n", (int)CLUSTERS,
         (unsigned long long)requests_compared, (unsigned long long)tokens_compared,
         (unsigned long long)transfers_compared, (unsigned long long)interruptions);
}

/* ---- the rules, said plainly ---- */

enum { PLAIN_CLUSTERS = 60 };

static void compare_plain(const struct td_trace *trace, const struct plain_run *run, uint64_t cluster) {
  assert_int_equal(trace->count[TD_TABLE_REQUESTS], run->count);
  for (int32_t i = 0; i < run->count; i++) {
    const struct td_row_request *row = &trace->requests[i];
    const struct plain_request *plain = &run->requests[row->request];
    if (row->first_step == plain->first_step_ps && row->first_token == plain->first_token_ps &&
        row->finished == plain->finished_ps && (int32_t)row->decode_device == plain->worker) {
      continue;
    }
    fail_msg("cluster %d, request %d: on worker %d, %lld %lld %lld ps; plainly on %d, %lld %lld %lld", (int)cluster,
             (int)row->request, (int)row->decode_device, (long long)row->first_step, (long long)row->first_token,
             (long long)row->finished, (int)plain->worker, (long long)plain->first_step_ps,
             (long long)plain->first_token_ps, (long long)plain->finished_ps);
  }
}

static void simulate_same(struct plain_run *run, const char *path, uint64_t cluster) {
  struct td_trace *trace = harness_load(path);
  struct plain_request requests[MOST_REQUESTS] = {{0}};
  run->count = (int32_t)trace->count[TD_TABLE_REQUESTS];
  assert_in_range(run->count, 1, MOST_REQUESTS);
  for (int32_t i = 0; i < run->count; i++) {
    const struct td_row_request *row = &trace->requests[i];
    requests[row->request] =
        (struct plain_request){.arrival_ps = row->arrival, .prompt = row->prompt_tokens, .output = row->output_tokens};
  }
  run->requests = requests;
  plain_simulate(run);
  compare_plain(trace, run, cluster);
  td_trace_free(trace);
}

static void plain_cluster(uint64_t cluster) {
  char workload[8192], pools[256], extra[256];
  bool prompts = draw(cluster, 50, 2);
  struct plain_run run = {.model = model_of(cluster),
                          .device = "h100_sxm",
                          .workers = (int32_t)(1 + draw(cluster, 3, 3)),
                          .block_tokens = (int64_t)(1 + draw(cluster, 7, 32)),
                          .batch_sequences = (int64_t)(1 + draw(cluster, 5, 16)),
                          .batch_tokens = (int64_t)(16 + draw(cluster, 6, 300)),
                          .chunk_tokens = draw(cluster, 8, 3) ? (int64_t)(1 + draw(cluster, 9, 150)) : 0,
                          .pauses = (int64_t)(1 + draw(cluster, 51, 3)),
                          .prompts_first = prompts};
  if (draw(cluster, 62, 2)) { /* hardly room for prompts beside outputs */
    run.batch_tokens = run.batch_sequences + (int64_t)draw(cluster, 63, 8);
    run.chunk_tokens = (int64_t)(1 + draw(cluster, 64, (uint64_t)run.batch_tokens));
  }
  int64_t kv_tokens = (int64_t)(400 + draw(cluster, 4, 600));
  run.blocks = kv_tokens / run.block_tokens;
  write_requests(cluster, workload, sizeof workload);
  snprintf(pools, sizeof pools, "{name=\"all\"; backend=\"modelled\"; device=\"h100_sxm\"; count=%d; kv_tokens=%d;}",
           (int)run.workers, (int)kv_tokens);
  snprintf(extra, sizeof extra, "batch_sequences=%d; batch_tokens=%d; block_tokens=%d; first=\"%s\"; pauses=%d;",
           (int)run.batch_sequences, (int)run.batch_tokens, (int)run.block_tokens, prompts ? "prompts" : "outputs",
           (int)run.pauses);
  struct setup setup = {.model = run.model,
                        .pace = "priced",
                        .policy = "colocated",
                        .pools = pools,
                        .extra = extra,
                        .workload = workload,
                        .kv = "f16",
                        .chunk = (int)run.chunk_tokens};
  simulate_same(&run, harness_run("plain", &setup), cluster);
}

static void as_the_rules_say(void **state) {
  (void)state;
  for (uint64_t cluster = 1000; cluster < 1000 + PLAIN_CLUSTERS; cluster++) plain_cluster(cluster);
}

/* ---- what turns say ---- */

enum { TURN_A = 35, TURN_B = 17 }; /* prompt tokens of a's second turn, and of b's only one */

static const char *run_sessions(const char *device, const char *sampling) {
  char pools[256], workload[4200];
  snprintf(pools, sizeof pools, "{name=\"all\"; backend=\"cpu\"; device=\"%s\"; kv_tokens=256;}", device);
  snprintf(workload, sizeof workload,
           "source = { format = \"sessions\"; file = \"%s/turns.csv\"; }; stop_at_end = false;", harness_scratch());
  struct setup setup = {.pace = "priced",
                        .policy = "colocated",
                        .pools = pools,
                        .workload = workload,
                        .sampling = sampling,
                        .kv = "f16",
                        .chunk = 64};
  return harness_run(device, &setup);
}

static const struct td_row_request *turn_of(const struct td_trace *trace, uint64_t prompt) {
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    if (trace->requests[i].prompt_tokens == prompt) return &trace->requests[i];
  }
  fail_msg("no request of %d tokens", (int)prompt);
  return NULL;
}

static void same_turn(const struct td_trace *a, const struct td_trace *b, uint64_t prompt) {
  struct td_trace_token *x, *y;
  uint64_t m, n;
  assert_int_equal(td_trace_request_tokens(a, turn_of(a, prompt)->request, &x, &m), TD_OK);
  assert_int_equal(td_trace_request_tokens(b, turn_of(b, prompt)->request, &y, &n), TD_OK);
  assert_true(m == n && m > 1);
  for (uint64_t t = 0; t < m; t++) assert_int_equal(x[t].id, y[t].id);
  free(x);
  free(y);
}

/* A slow device's first answer is later, and the turn behind it another number: its text is the same. */
static void same_texts(const char *sampling) {
  struct td_trace *fast = harness_load(run_sessions("h100_sxm", sampling));
  struct td_trace *slow = harness_load(run_sessions("xeon-2vcpu", sampling));
  assert_true(turn_of(fast, TURN_A)->request != turn_of(slow, TURN_A)->request);
  same_turn(fast, slow, TURN_A);
  same_turn(fast, slow, TURN_B);
  td_trace_free(fast);
  td_trace_free(slow);
}

static void turns_keep_their_texts(void **state) {
  (void)state;
  char path[4200];
  snprintf(path, sizeof path, "%s/turns.csv", harness_scratch());
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(
      "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
      "a,0,0,0,20,5,0\na,0,1,25,10,12,0\nb,2,0,0,17,12,0\n",
      file);
  assert_int_equal(fclose(file), 0);
  same_texts("");
  same_texts("temperature = 1.0;");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_requests), cmocka_unit_test(as_the_rules_say),
                                     cmocka_unit_test(turns_keep_their_texts)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
