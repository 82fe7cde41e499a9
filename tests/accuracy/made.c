/* SPDX-License-Identifier: Apache-2.0
 *
 * Models made on the spot, one for every architecture and element type that is read: all exact backends that are here
 * agree with the template backend on every logit.
 */
#include <math.h>

#include "cli/eval_pass.h"
#include "support.h"
#include "tandem/base.h"

#define BOUND 1e-3
#define POSITIONS 40

static const struct {
  const char *name, *options;
} models[] = {
    {"llama f32", "--layers 2 --rope-factor 2"},
    {"llama f16, rope on half a head", "--layers 2 --type f16 --rope-dim 8"},
    {"llama bf16, tied", "--layers 2 --type bf16 --tied"},
    {"llama q8_0", "--type q8_0 --hidden 160 --heads 5 --kv-heads 1"},
    {"mixtral q4_0", "--arch mixtral --layers 2 --type q4_0 --experts 5 --experts-used 3"},
    {"mixtral f16, one expert used", "--arch mixtral --layers 1 --type f16 --experts 2 --experts-used 1"},
    {"qwen2 q4_1", "--arch qwen2 --layers 2 --type q4_1"},
    {"qwen3 q5_0", "--arch qwen3 --layers 2 --type q5_0 --head-dim 64"},
    {"qwen3moe q5_1", "--arch qwen3moe --layers 2 --type q5_1 --head-dim 24 --ffn 32"},
    {"gemma3 iq4_nl, window of 3", "--arch gemma3 --layers 7 --type iq4_nl --head-dim 32 --window 3"},
    {"gemma3 q8_0, window beyond the text", "--arch gemma3 --layers 3 --type q8_0 --window 500 --no-tied"},
    {"llama q2_k", "--layers 1 --hidden 256 --ffn 256 --type q2_k"},
    {"llama q3_k", "--layers 1 --hidden 256 --ffn 256 --type q3_k"},
    {"qwen2 q4_k", "--arch qwen2 --layers 1 --hidden 256 --ffn 256 --type q4_k"},
    {"qwen3 q5_k", "--arch qwen3 --layers 1 --hidden 256 --ffn 256 --type q5_k"},
    {"mixtral q6_k", "--arch mixtral --layers 1 --hidden 256 --ffn 256 --type q6_k --experts 3"},
};

struct rows {
  float *logits;
  int64_t vocab;
};

static td_status keep_rows(void *context, int64_t first, int64_t count, const float *logits) {
  struct rows *rows = context;
  memcpy(rows->logits + first * rows->vocab, logits, (size_t)(count * rows->vocab) * sizeof *logits);
  return TD_OK;
}

static td_status run(const struct td_model *model, const char *device, struct rows *out) {
  int32_t ids[POSITIONS];
  struct td_eval_rows rows;
  const struct td_eval_plan plan = {.device = device, .micro_batch = 16, .threads = 2, .kv_dtype = TD_F32};
  for (int32_t i = 0; i < POSITIONS; i++) ids[i] = (i * 37 + 11) % (int32_t)out->vocab;
  TD_TRY(td_eval_rows_open(ids, POSITIONS, 0, &rows));
  td_status status = td_eval_pass(model, &plan, &rows, keep_rows, out);
  td_eval_rows_free(&rows);
  return status;
}

static double difference(const struct rows *a, const struct rows *b) {
  double worst = 0;
  for (int64_t i = 0; i < POSITIONS * a->vocab; i++) {
    double d = fabs((double)a->logits[i] - (double)b->logits[i]);
    if (!(d <= worst)) worst = d; /* NaN is worst */
  }
  return worst;
}

static struct rows alloc_rows(int64_t vocab) {
  struct rows rows = {calloc((size_t)(POSITIONS * vocab), sizeof(float)), vocab};
  assert_non_null(rows.logits);
  return rows;
}

/* How many backends differ. */
static int check_backends(const char *name, const struct td_model *model) {
  int failures = 0;
  struct rows want = alloc_rows(td_model_shape(model)->vocab);
  if (run(model, "template", &want)) fail_msg("%s: %s", name, td_error_text());
  for (int32_t i = 0; td_backends[i]; i++) {
    const char *reason;
    const struct td_backend *backend = td_backends[i];
    if (!backend->executes || !backend->exact || !strcmp(backend->name, "template") || backend->probe(&reason) < 1) {
      continue;
    }
    if (backend->emulates) continue; /* a machine's own numerics have bounds of their own */
    struct rows got = alloc_rows(want.vocab);
    td_status status = run(model, backend->name, &got);
    double worst = status ? (double)INFINITY : difference(&got, &want);
    printf("%-36s %-8s max |logit difference| %.2e%s%s\n", name, backend->name, worst,
           worst <= BOUND ? "" : ": FAILED ", status ? td_error_text() : "");
    failures += !(worst <= BOUND);
    free(got.logits);
  }
  free(want.logits);
  return failures;
}

static void test_made(void **state) {
  (void)state;
  int failures = 0;
  char path[4300], text[512];
  const char *folder = test_scratch();
  assert_non_null(folder);
  snprintf(path, sizeof path, "%s/made.gguf", folder);
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    struct td_model *model;
    int code = test_run(text, sizeof text, "'%s' '%s' %d %s 2>&1", test_source("scripts/make-tiny-model"), path,
                        (int)i + 1, models[i].options);
    if (code) fail_msg("%s: make-tiny-model: exit code %d, %s", models[i].name, code, text);
    if (td_model_open(path, &model)) fail_msg("%s: %s", models[i].name, td_error_text());
    failures += check_backends(models[i].name, model);
    td_model_close(model);
  }
  test_run(NULL, 0, "rm -rf '%s'", folder);
  assert_int_equal(failures, 0);
}

int main(void) {
  if (test_run(NULL, 0, "python3 -c 'import argparse' >/dev/null 2>&1")) test_skip_all("no python3");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_made),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
