/* SPDX-License-Identifier: Apache-2.0
 *
 * SmolLM2-135M in the LPU's numerics (mode LPU_MODE), teacher-forced, against the float64 reference: mean KL and top-1
 * within their bounds. Two passages whose means are near those of all ten; all with LPU_REFERENCE_ALL in the
 * environment.
 */
#include <math.h>

#include "accuracy/reference.h"
#include "lpu/modes.h"
#include "lpu/reference.h"
#include "support.h"

#define TOP 64

static const struct lpu_mode *const mode = &lpu_modes[LPU_MODE];
static struct lpu_reference *reference;
static int64_t vocab;

/* What was seen of a passage or of all. */
struct score {
  double kl;
  int64_t same, seen;
};

static double log_sum(const float *logits) {
  double most = (double)logits[0], sum = 0;
  for (int64_t i = 1; i < vocab; i++) most = fmax(most, (double)logits[i]);
  for (int64_t i = 0; i < vocab; i++) sum += (double)expf(logits[i] - (float)most);
  return most + log(sum);
}

/* KL over the 64 likeliest ids, the rest of the vocabulary as one bucket. */
static double divergence(const float *logits, const int32_t *ids, const double *ln_p) {
  double kl = 0, p_rest = 1, q_rest = 1, total = log_sum(logits);
  for (int i = 0; i < TOP; i++) {
    double ln_q = (double)logits[ids[i]] - total;
    kl += exp(ln_p[i]) * (ln_p[i] - ln_q);
    p_rest -= exp(ln_p[i]);
    q_rest -= exp(ln_q);
  }
  return p_rest > 0 && q_rest > 0 ? kl + p_rest * log(p_rest / q_rest) : kl;
}

static bool first_is(const float *logits, int32_t id) {
  for (int64_t i = 0; i < vocab; i++) {
    if (logits[i] > logits[id] || (logits[i] == logits[id] && i < id)) return false;
  }
  return true;
}

static int32_t *ints(int64_t file, const char *passage, const char *set, int64_t *out_count) {
  char name[128];
  snprintf(name, sizeof name, "%s/%s", passage, set);
  return reference_ints(file, name, out_count);
}

static double *reals(int64_t file, const char *passage, const char *set) {
  char name[128];
  int64_t count;
  snprintf(name, sizeof name, "%s/%s", passage, set);
  return reference_reals(file, name, &count);
}

static void run(int64_t file, const char *passage, struct score *all) {
  int64_t count, top_count;
  int32_t *ids = ints(file, passage, "ids", &count), *top_ids = ints(file, passage, "top_ids", &top_count);
  double *ln_p = reals(file, passage, "top_logprob");
  float *logits = malloc((size_t)(LPU_REFERENCE_ROWS * vocab) * sizeof *logits);
  struct score score = {.seen = count};
  assert_non_null(logits);
  lpu_reference_set_length(reference, 0, 0);
  for (int64_t done = 0, rows; done < count; done += rows) {
    rows = count - done < LPU_REFERENCE_ROWS ? count - done : LPU_REFERENCE_ROWS;
    if (lpu_reference_feed(reference, 0, ids + done, (int32_t)rows, (int32_t)rows, logits)) {
      fail_msg("%s", td_error_text());
    }
    for (int64_t r = 0; r < rows; r++) {
      const int32_t *top = top_ids + (done + r) * TOP;
      score.kl += divergence(logits + r * vocab, top, ln_p + (done + r) * TOP);
      score.same += first_is(logits + r * vocab, top[0]);
    }
  }
  printf("%-16s %s: mean KL %.2e, top-1 %.2f %% of %lld\n", passage, mode->name, score.kl / (double)count,
         100.0 * (double)score.same / (double)count, (long long)count);
  all->kl += score.kl;
  all->same += score.same;
  all->seen += count;
  free(ids);
  free(top_ids);
  free(ln_p);
  free(logits);
}

static bool wanted(const char *name) {
  bool chosen = strcmp(name, "08-whitespace") == 0 || strcmp(name, "10-c") == 0;
  return chosen || getenv("LPU_REFERENCE_ALL");
}

static void test_passages(void **state) {
  struct td_model *model = NULL;
  struct score all = {0};
  (void)state;
  const struct lpu_reference_options options = lpu_reference_options(mode->weights, mode->activations, 665);
  if (td_model_open(test_model_path(), &model)) fail_msg("%s", td_error_text());
  if (lpu_reference_open(model, &options, &reference)) fail_msg("%s", td_error_text());
  vocab = td_model_shape(model)->vocab;
  int64_t file = reference_open(test_shared("reference/smollm2-135m.h5"));
  for (const char *const *name = reference_groups(file); *name; name++) {
    if (wanted(*name)) run(file, *name, &all);
  }
  double kl = all.kl / (double)all.seen, same = 100.0 * (double)all.same / (double)all.seen;
  printf("%s: mean KL %.3e, top-1 %.2f %% of %lld positions\n", mode->name, kl, same, (long long)all.seen);
  assert_true(kl <= mode->most_kl);
  assert_true(same >= mode->least_top);
  reference_close(file);
  lpu_reference_close(reference);
  td_model_close(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_passages)};
  if (!test_model_path()) test_skip_all("the model SmolLM2-135M-Instruct.Q4_1.gguf is not here: scripts/fetch-model");
  if (!test_shared("reference/smollm2-135m.h5")) test_skip_all("../shared/reference is not here");
#ifdef TANDEM_SANITIZED
  test_skip_all("minutes of products; lpu_reference_tiny runs the same code under sanitizers");
#endif
  return cmocka_run_group_tests(tests, NULL, NULL);
}
