/* SPDX-License-Identifier: Apache-2.0
 *
 * Where nothing executes, pace priced runs on an engine of its own that merges steps, and pace measured on the one that
 * sends messages to workers, step by step. What a request sees must be the same.
 */
#include "../support.h"
#include "harness.h"
#include "tandem/base.h"

enum { CLUSTERS = 24, MOST_REQUESTS = 24 };

static uint64_t requests_compared, tokens_compared;

static uint64_t draw(uint64_t cluster, uint64_t what, uint64_t below) {
  return td_random(1, cluster, what) % below;
}

static void write_requests(uint64_t cluster, char *out, size_t size) {
  uint64_t count = 2 + draw(cluster, 0, MOST_REQUESTS - 1);
  size_t at = (size_t)snprintf(out, size, "requests = (");
  for (uint64_t i = 0; i < count; i++) {
    uint64_t burst = draw(cluster, 1, 3) ? draw(cluster, 10 + i, 3000) : 0;
    at += (size_t)snprintf(out + at, size - at, "%s{prompt_tokens=%d; max_tokens=%d; arrival=%.6f;}", i ? "," : "",
                           (int)(1 + draw(cluster, 100 + i, 400)), (int)(1 + draw(cluster, 200 + i, 120)),
                           (double)burst * 1e-3);
  }
  snprintf(out + at, size - at, "); stop_at_end = false;");
}

static const char *model_of(uint64_t cluster) {
  static const char *const models[] = {"llama-3-8b", "gpt-oss-20b", "mixtral-8x7b"};
  static char path[4200];
  snprintf(path, sizeof path, "%s/experiments/models/%s.cfg", TANDEM_SOURCE_DIR, models[draw(cluster, 2, 3)]);
  return path;
}

/* Every request's times and places; step numbers, hand-offs' rows and order may differ. */
static void compare_requests(const char *priced, const char *measured) {
  struct td_trace *a = harness_load(priced), *b = harness_load(measured);
  uint64_t count = a->count[TD_TABLE_REQUESTS];
  assert_int_equal(count, b->count[TD_TABLE_REQUESTS]);
  assert_true(count > 0);
  requests_compared += count;
  for (uint64_t i = 0; i < count; i++) {
    if (memcmp(&a->requests[i], &b->requests[i], sizeof a->requests[i])) {
      fail_msg("%s, %s: requests[%d]: %s finished at %lld and %s at %lld", priced, measured, (int)i,
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
  td_trace_free(a);
  td_trace_free(b);
}

static void same_requests(void **state) {
  (void)state;
  for (uint64_t cluster = 0; cluster < CLUSTERS; cluster++) {
    char workload[8192], pools[256], extra[256], priced[4200];
    write_requests(cluster, workload, sizeof workload);
    snprintf(pools, sizeof pools,
             "{name=\"all\"; backend=\"modelled\"; device=\"h100_sxm\"; count=%d; tensor=4; kv_tokens=%d;}",
             (int)(1 + draw(cluster, 3, 3)), (int)(1024 + draw(cluster, 4, 2048)));
    snprintf(extra, sizeof extra, "batch_sequences=%d; batch_tokens=%d; block_tokens=%d; first=\"%s\"; pauses=%d;",
             (int)(1 + draw(cluster, 5, 16)), (int)(32 + draw(cluster, 6, 1000)), (int)(1 + draw(cluster, 7, 32)),
             draw(cluster, 50, 2) ? "prompts" : "outputs", (int)(1 + draw(cluster, 51, 3)));
    struct setup setup = {.model = model_of(cluster),
                          .pace = "priced",
                          .policy = "colocated",
                          .pools = pools,
                          .extra = extra,
                          .workload = workload,
                          .kv = "f16",
                          .chunk = draw(cluster, 8, 3) ? (int)(1 + draw(cluster, 9, 300)) : 0};
    snprintf(priced, sizeof priced, "%s", harness_run("fleet", &setup));
    setup.pace = "measured";
    compare_requests(priced, harness_run("steps", &setup));
  }
  printf("%d clusters, %llu requests, %llu tokens\n", (int)CLUSTERS, (unsigned long long)requests_compared,
         (unsigned long long)tokens_compared);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_requests)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
