/* SPDX-License-Identifier: Apache-2.0
 *
 * Every logit of the tiny models, of every architecture, within its bound of the reference, on every exact backend that
 * is here. NAME-small.gguf come from scripts/make-tiny-model and their references from tests/data/tiny/make-reference;
 * the others' references are another engine's. Each pair of a model and a device is reported, also after one failed.
 */
#include <math.h>

#include "accuracy/reference.h"
#include "cli/eval_pass.h"
#include "support.h"
#include "tandem/base.h"

#define BOUND 1e-3
#define TABLE_BOUND 5e-3 /* where the reference reads GELU from a table in half precision */

struct compare {
  const double *reference; /* [positions, vocab] */
  int64_t vocab, seen;
  double worst;
};

static td_status compare_rows(void *context, int64_t first, int64_t count, const float *logits) {
  struct compare *compare = context;
  for (int64_t i = 0; i < count * compare->vocab; i++) {
    double difference = fabs((double)logits[i] - compare->reference[first * compare->vocab + i]);
    if (!(difference <= compare->worst)) compare->worst = difference; /* NaN is worst */
  }
  compare->seen += count;
  return TD_OK;
}

/* A file of the tree, or of ../shared; NULL if it is not there. */
static const char *find(const char *name, const char *ending) {
  char relative[128];
  snprintf(relative, sizeof relative, "tests/data/tiny/%s.%s", name, ending);
  const char *path = test_source(relative);
  if (access(path, R_OK) == 0) return path;
  snprintf(relative, sizeof relative, "reference/tiny/%s.%s", name, ending);
  return test_shared(relative);
}

static td_status run(const struct td_model *model, const int32_t *ids, int64_t count, const char *device,
                     const char *prefill_device, struct compare *compare) {
  const struct td_eval_plan plan = {.device = device,
                                    .prefill_device = prefill_device,
                                    .split = count / 3,
                                    .micro_batch = 64,
                                    .threads = 2,
                                    .kv_dtype = TD_F32};
  struct td_eval_rows rows;
  TD_TRY(td_eval_rows_open(ids, count, 0, &rows));
  td_status status = td_eval_pass(model, &plan, &rows, compare_rows, compare);
  td_eval_rows_free(&rows);
  return status;
}

/* 1 if it is not as it should be. */
static int check(const char *name, double bound, const char *device, const char *prefill_device) {
  struct td_model *model = NULL;
  int64_t id_count, logit_count;
  int64_t file = reference_open(find(name, "h5"));
  int32_t *ids = reference_ints(file, "ids", &id_count);
  double *reference = reference_reals(file, "logits", &logit_count);
  struct compare compare = {.reference = reference, .vocab = logit_count / id_count};
  td_status status = td_model_open(find(name, "gguf"), &model);
  if (!status) status = run(model, ids, id_count, device, prefill_device, &compare);
  bool right = !status && compare.vocab == td_model_shape(model)->vocab && compare.seen == id_count;
  right = right && compare.worst <= bound;
  printf("%-16s %s%s%-10s ", name, prefill_device ? prefill_device : "", prefill_device ? " then " : "", device);
  if (status) {
    printf("FAILED: %s\n", td_error_text());
  } else {
    printf("max |logit difference| %.2e over %lld positions%s\n", compare.worst, (long long)compare.seen,
           right ? "" : ": FAILED");
  }
  td_model_close(model);
  reference_close(file);
  free(ids);
  free(reference);
  return !right;
}

static int check_backends(const char *name, double bound) {
  int failures = 0;
  if (!find(name, "gguf") || !find(name, "h5")) {
    print_message("SKIPPED: no ../shared/reference/tiny/%s\n", name);
    return 0;
  }
  for (int32_t i = 0; td_backends[i]; i++) {
    const char *reason = "";
    const struct td_backend *backend = td_backends[i];
    if (!backend->executes || !backend->exact) continue;
    if (backend->emulates) continue; /* a machine's own numerics have bounds of their own */
    if (backend->probe(&reason) > 0) {
      failures += check(name, bound, backend->name, NULL);
    } else {
      printf("%-16s %-10s SKIPPED: %s\n", name, backend->name, reason);
    }
  }
  return failures;
}

static void test_own(void **state) {
  (void)state;
  static const char *const names[] = {"llama",       "llama-ropescale", "mixtral-small", "qwen2-small",
                                      "qwen3-small", "qwen3moe-small",  "gemma3-small"};
  int failures = 0;
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    assert_non_null(find(names[i], "gguf"));
    failures += check_backends(names[i], BOUND);
  }
  assert_int_equal(failures, 0);
}

static void test_shared_reference(void **state) {
  (void)state;
  static const char *const names[] = {"mixtral", "qwen2", "qwen3", "qwen3moe"};
  int failures = check_backends("gemma3", TABLE_BOUND);
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) failures += check_backends(names[i], BOUND);
  assert_int_equal(failures, 0);
}

static void test_across_backends(void **state) {
  (void)state;
  if (!td_backend_find("cpu")) skip();
  assert_int_equal(check("llama", BOUND, "template", "cpu"), 0);
  assert_int_equal(check("llama-ropescale", BOUND, "cpu", "template"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_own),
      cmocka_unit_test(test_shared_reference),
      cmocka_unit_test(test_across_backends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
