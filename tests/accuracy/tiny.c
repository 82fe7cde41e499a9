/* SPDX-License-Identifier: Apache-2.0
 *
 * Every logit of the tiny models within 1e-3 of the reference, on every exact backend that is here.
 */
#include <math.h>

#include "accuracy/reference.h"
#include "cli/eval_pass.h"
#include "support.h"
#include "tandem/base.h"

#define BOUND 1e-3

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

static void check(const char *name, const char *device, const char *prefill_device) {
  char relative[64];
  struct td_model *model = NULL;
  int64_t id_count, logit_count;
  snprintf(relative, sizeof relative, "tests/data/tiny/%s.h5", name);
  int64_t file = reference_open(test_source(relative));
  int32_t *ids = reference_ints(file, "ids", &id_count);
  double *reference = reference_reals(file, "logits", &logit_count);
  snprintf(relative, sizeof relative, "tests/data/tiny/%s.gguf", name);
  if (td_model_open(test_source(relative), &model)) fail_msg("%s", td_error_text());
  struct compare compare = {.reference = reference, .vocab = logit_count / id_count};
  assert_int_equal(compare.vocab, td_model_shape(model)->vocab);
  const struct td_eval_plan plan = {.device = device,
                                    .prefill_device = prefill_device,
                                    .split = id_count / 3,
                                    .micro_batch = 64,
                                    .threads = 2,
                                    .kv_dtype = TD_F32};
  struct td_eval_rows rows;
  if (td_eval_rows_open(ids, id_count, 0, &rows)) fail_msg("%s", td_error_text());
  if (td_eval_pass(model, &plan, &rows, compare_rows, &compare)) fail_msg("%s", td_error_text());
  printf("%-16s %s%s%s: max |logit difference| %.2e over %lld positions\n", name, prefill_device ? prefill_device : "",
         prefill_device ? " then " : "", device, compare.worst, (long long)compare.seen);
  assert_int_equal(compare.seen, id_count);
  assert_true(compare.worst <= BOUND);
  td_eval_rows_free(&rows);
  td_model_close(model);
  reference_close(file);
  free(ids);
  free(reference);
}

static void check_backends(const char *name) {
  for (int32_t i = 0; td_backends[i]; i++) {
    const char *reason;
    const struct td_backend *backend = td_backends[i];
    if (backend->executes && backend->exact && backend->probe(&reason) > 0) check(name, backend->name, NULL);
  }
}

static void test_llama(void **state) {
  (void)state;
  check_backends("llama");
}

static void test_llama_ropescale(void **state) {
  (void)state;
  check_backends("llama-ropescale");
}

static void test_across_backends(void **state) {
  (void)state;
  if (!td_backend_find("cpu")) skip();
  check("llama", "template", "cpu");
  check("llama-ropescale", "cpu", "template");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_llama),
      cmocka_unit_test(test_llama_ropescale),
      cmocka_unit_test(test_across_backends),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
