/* SPDX-License-Identifier: Apache-2.0
 *
 * Hybrid pairs: prefill on one backend, decode on another, for every ordered pair of executing backends that are here,
 * against the run of one cpu device: hybrid_pairs MODEL.gguf. Greedy tokens must be equal wherever the cpu run's gap
 * between its two first logits is above the bound; `tandem diff` lists the positions under it, and so does this test.
 */
#include "../engine/harness.h"
#include "../support.h"
#include "tandem/backend.h"

/* Twice what any two of our float32 paths may differ by on a logit of these models. */
#define BOUND "2e-3"
#define MOST_BACKENDS 8

#define WORKLOAD                                                                                                      \
  "max_tokens = 24; stop_at_end = false; requests = ( { name = \"a\"; prompt = \"The rain in Spain\"; chat = false; " \
  "}, "                                                                                                               \
  "{ name = \"b\"; prompt = \"in the other inner thing\"; chat = false; }, "                                          \
  "{ name = \"long\"; prompt = \"one two three four five six seven eight nine ten eleven twelve thirteen\"; chat = "  \
  "false; } );"

struct places {
  const char *names[MOST_BACKENDS];
  int count;
};

static struct places find_places(void) {
  struct places places = {{0}, 0};
  for (int i = 0; td_backends[i] && places.count < MOST_BACKENDS; i++) {
    const struct td_backend *backend = td_backends[i];
    const char *reason = "";
    if (!backend->executes || backend->emulates) continue; /* a machine's own numerics: other bounds, other tests */
    if (backend->probe(&reason) > 0) {
      places.names[places.count++] = backend->name;
    } else {
      printf("not here: %s (%s)\n", backend->name, reason);
    }
  }
  return places;
}

static const char *run_one(const char *model, const char *device) {
  char pools[256];
  snprintf(pools, sizeof pools, "{ name = \"all\"; backend = \"%s\"; }", device);
  return harness_run(
      "monolithic",
      &(struct setup){.model = model, .policy = "colocated", .chunk = 64, .pools = pools, .workload = WORKLOAD});
}

/* Chunks of 7: hand-offs end inside KV blocks. */
static const char *run_pair(const char *model, const char *prefill, const char *decode, const char *kv) {
  char pools[512], name[64];
  snprintf(
      pools, sizeof pools,
      "{ name = \"p\"; role = \"prefill\"; backend = \"%s\"; }, { name = \"d\"; role = \"decode\"; backend = \"%s\"; }",
      prefill, decode);
  snprintf(name, sizeof name, "%s-%s-%s", prefill, decode, kv);
  return harness_run(
      name, &(struct setup){
                .model = model, .policy = "disaggregated", .chunk = 7, .kv = kv, .pools = pools, .workload = WORKLOAD});
}

static void compare(const char *monolithic, const char *pair, const char *prefill, const char *decode) {
  char out[16384];
  int code = test_run(out, sizeof out, "%s diff %s %s --bound " BOUND " 2>&1", TANDEM_PROGRAM, monolithic, pair);
  printf("%s -> %s: %s\n", prefill, decode, code ? "DIFFERENT" : "same where the gap is above " BOUND);
  const char *near = strstr(out, "under the bound");
  if (near) printf("%s", near);
  if (code) fail_msg("%s -> %s: exit %d:\n%s", prefill, decode, code, out);
}

static const char *model;

static void every_pair(void **state) {
  (void)state;
  struct places places = find_places();
  assert_true(places.count >= 2);
  char monolithic[4200];
  snprintf(monolithic, sizeof monolithic, "%s", run_one(model, "cpu"));
  for (int i = 0; i < places.count; i++) {
    for (int j = 0; j < places.count; j++) {
      compare(monolithic, run_pair(model, places.names[i], places.names[j], "f32"), places.names[i], places.names[j]);
    }
  }
}

/* The bound excuses ties, not mistakes: a model with other weights must not pass. */
static void another_model_differs(void **state) {
  (void)state;
  char out[16384], monolithic[4200];
  snprintf(monolithic, sizeof monolithic, "%s", run_one(test_source("tests/data/tiny/llama.gguf"), "cpu"));
  const char *other = run_pair(test_source("tests/data/tiny/llama-ropescale.gguf"), "cpu", "cpu", "f32");
  assert_int_equal(test_run(out, sizeof out, "%s diff %s %s --bound " BOUND, TANDEM_PROGRAM, monolithic, other), 1);
}

int main(int argc, char **argv) {
  if (argc != 2) return fprintf(stderr, "usage: hybrid_pairs MODEL.gguf\n"), 2;
  if (access(argv[1], R_OK)) test_skip_all("the model is not here");
  model = argv[1];
  const struct CMUnitTest tests[] = {cmocka_unit_test(every_pair), cmocka_unit_test(another_model_differs)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
