/* SPDX-License-Identifier: Apache-2.0
 *
 * SmolLM2-135M against the float64 reference. F32 KV: max |logit difference| <= 2e-3 over the 64 likeliest ids, mean
 * KL <= 1e-8, top-1 equal where the reference's gap is over 0.005, greedy tokens equal up to the first gap under 0.005.
 * F16 KV: mean KL <= 1e-5. Under sanitizers one short passage only.
 */
#include <math.h>

#include "accuracy/reference.h"
#include "cli/eval_pass.h"
#include "support.h"
#include "tandem/base.h"

#define TOP 64
#define SMALL_GAP 0.005
#define LOGIT_BOUND 2e-3

static bool exact_kv(void) {
  return strcmp(ACCURACY_KV, "f32") == 0;
}

/* One passage's reference. */
struct passage {
  const char *name;
  int64_t count, greedy_count;
  int32_t *ids, *top_ids, *greedy_ids;                    /* top_ids: [count][TOP] */
  double *top_logprob, *top_gap, *logit_max, *greedy_gap; /* top_logprob: [count][TOP] */
};

struct compare {
  const struct passage *passage;
  const struct td_eval_rows *rows;
  double worst_logit, kl_sum;
  int64_t seen, wrong_top;
};

static void *named(int64_t file, const struct passage *passage, const char *set, bool ints, int64_t *out_count) {
  char name[128];
  int64_t count;
  snprintf(name, sizeof name, "%s/%s", passage->name, set);
  void *values = ints ? (void *)reference_ints(file, name, &count) : (void *)reference_reals(file, name, &count);
  if (out_count) *out_count = count;
  return values;
}

static struct passage load(int64_t file, const char *name) {
  struct passage passage = {.name = name};
  passage.ids = named(file, &passage, "ids", true, &passage.count);
  passage.top_ids = named(file, &passage, "top_ids", true, NULL);
  passage.top_logprob = named(file, &passage, "top_logprob", false, NULL);
  passage.top_gap = named(file, &passage, "top_gap", false, NULL);
  passage.logit_max = named(file, &passage, "logit_max", false, NULL);
  passage.greedy_ids = named(file, &passage, "greedy_ids", true, &passage.greedy_count);
  passage.greedy_gap = named(file, &passage, "greedy_gap", false, NULL);
  return passage;
}

static void release(struct passage *passage) {
  free(passage->ids);
  free(passage->top_ids);
  free(passage->top_logprob);
  free(passage->top_gap);
  free(passage->logit_max);
  free(passage->greedy_ids);
  free(passage->greedy_gap);
}

/* KL over the 64 likeliest ids, the rest of the vocabulary as one bucket. */
static void compare_row(struct compare *compare, int64_t position, const float *logits) {
  const struct passage *passage = compare->passage;
  const int32_t *ids = passage->top_ids + position * TOP;
  const double *reference = passage->top_logprob + position * TOP;
  double log_sum = logits[compare->rows->top_id[position]] - compare->rows->top_logprob[position];
  double kl = 0, p_rest = 1, q_rest = 1;
  for (int i = 0; i < TOP; i++) {
    double ln_p = reference[i], ln_q = logits[ids[i]] - log_sum;
    double difference = fabs(logits[ids[i]] - (passage->logit_max[position] + ln_p - reference[0]));
    if (!(difference <= compare->worst_logit)) compare->worst_logit = difference;
    kl += exp(ln_p) * (ln_p - ln_q);
    p_rest -= exp(ln_p);
    q_rest -= exp(ln_q);
  }
  if (p_rest > 0 && q_rest > 0) kl += p_rest * log(p_rest / q_rest);
  compare->kl_sum += kl;
  compare->wrong_top += passage->top_gap[position] > SMALL_GAP && compare->rows->top_id[position] != ids[0];
  compare->seen++;
}

static td_status compare_rows(void *context, int64_t first, int64_t count, const float *logits) {
  struct compare *compare = context;
  int64_t vocab = 49152;
  for (int64_t i = 0; i < count; i++) compare_row(compare, first + i, logits + i * vocab);
  return TD_OK;
}

/* Positions up to the first whose gap is small; that one may go either way. */
static int64_t decided(const struct passage *passage) {
  int64_t count = 0;
  while (count < passage->greedy_count && passage->greedy_gap[count] >= SMALL_GAP) count++;
  return count;
}

static void check(const struct td_model *model, const struct passage *passage) {
  const struct td_eval_plan plan = {.device = "cpu",
                                    .micro_batch = 64,
                                    .threads = 2,
                                    .generate = exact_kv() ? passage->greedy_count : 0,
                                    .kv_dtype = exact_kv() ? TD_F32 : TD_F16};
  struct td_eval_rows rows;
  if (td_eval_rows_open(passage->ids, passage->count, plan.generate, &rows)) fail_msg("%s", td_error_text());
  struct compare compare = {.passage = passage, .rows = &rows};
  if (td_eval_pass(model, &plan, &rows, compare_rows, &compare)) fail_msg("%s", td_error_text());
  double mean_kl = compare.kl_sum / (double)compare.seen;
  int64_t same = 0;
  while (same < rows.greedy_count && rows.greedy_id[same] == passage->greedy_ids[same]) same++;
  printf("%-16s KV %s: max |logit difference| %.1e, mean KL %.1e", passage->name, ACCURACY_KV, compare.worst_logit,
         mean_kl);
  if (plan.generate) printf(", greedy %lld of %lld", (long long)same, (long long)passage->greedy_count);
  printf("\n");
  assert_int_equal(compare.seen, passage->count);
  assert_true(mean_kl <= (exact_kv() ? 1e-8 : 1e-5));
  if (exact_kv()) {
    assert_true(compare.worst_logit <= LOGIT_BOUND);
    assert_int_equal(compare.wrong_top, 0);
    assert_true(same >= decided(passage));
  }
  td_eval_rows_free(&rows);
}

static bool wanted(const char *name) {
#ifdef TANDEM_SANITIZED
  return strcmp(name, "04-chat") == 0; /* a minute of kernels says nothing new to a sanitizer */
#else
  return name != NULL;
#endif
}

static void test_passages(void **state) {
  struct td_model *model = NULL;
  (void)state;
  if (td_model_open(test_model_path(), &model)) fail_msg("%s", td_error_text());
  assert_int_equal(td_model_shape(model)->vocab, 49152);
  int64_t file = reference_open(test_shared("reference/smollm2-135m.h5"));
  for (const char *const *name = reference_groups(file); *name; name++) {
    if (!wanted(*name)) continue;
    struct passage passage = load(file, *name);
    check(model, &passage);
    release(&passage);
  }
  reference_close(file);
  td_model_close(model);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_passages)};
  if (!td_backend_find("cpu")) test_skip_all("no cpu backend in this build");
  if (!test_model_path()) test_skip_all("the model SmolLM2-135M-Instruct.Q4_1.gguf is not here: scripts/fetch-model");
  if (!test_shared("reference/smollm2-135m.h5")) test_skip_all("../shared/reference is not here");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
