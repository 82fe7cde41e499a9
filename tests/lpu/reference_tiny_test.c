/* SPDX-License-Identifier: Apache-2.0
 *
 * Tiny models of every architecture in the LPU's numerics: their logits, and that rows do not depend on how they were
 * fed.
 */
#include <math.h>

#include "accuracy/reference.h"
#include "lpu/modes.h"
#include "lpu/reference.h"
#include "support.h"

static struct td_model *open_tiny(const char *name) {
  struct td_model *model;
  char relative[128];
  snprintf(relative, sizeof relative, "tests/data/tiny/%s.gguf", name);
  if (td_model_open(test_source(relative), &model)) fail_msg("%s", td_error_text());
  return model;
}

static struct lpu_reference *open_reference(const struct td_model *model, const struct lpu_reference_options *options) {
  struct lpu_reference *reference;
  if (lpu_reference_open(model, options, &reference)) fail_msg("%s", td_error_text());
  return reference;
}

/* ---- logits ---- */

struct tiny {
  int64_t count, vocab;
  int32_t *ids;
  double *logits;
};

static struct tiny load(const char *name) {
  struct tiny tiny;
  char relative[128];
  int64_t elements;
  snprintf(relative, sizeof relative, "tests/data/tiny/%s.h5", name);
  int64_t file = reference_open(test_source(relative));
  tiny.ids = reference_ints(file, "ids", &tiny.count);
  tiny.logits = reference_reals(file, "logits", &elements);
  tiny.vocab = elements / tiny.count;
  reference_close(file);
  return tiny;
}

static void feed(struct lpu_reference *reference, int32_t sequence, const int32_t *ids, int64_t count, float *logits) {
  if (lpu_reference_feed(reference, sequence, ids, (int32_t)count, logits ? (int32_t)count : 0, logits)) {
    fail_msg("%s", td_error_text());
  }
}

static double root_mean_square(const double *a, const float *b, int64_t count) {
  double sum = 0;
  for (int64_t i = 0; i < count; i++) {
    double difference = a[i] - (b ? (double)b[i] : 0);
    sum += difference * difference;
  }
  return sqrt(sum / (double)count);
}

/* The root mean square of all logits' errors, relative to that of the logits. */
static double error_of(const char *name, const struct lpu_reference_options *options) {
  struct tiny tiny = load(name);
  struct td_model *model = open_tiny(name);
  struct lpu_reference *reference = open_reference(model, options);
  int64_t elements = tiny.count * tiny.vocab;
  float *logits = calloc((size_t)elements, sizeof *logits);
  assert_non_null(logits);
  feed(reference, 0, tiny.ids, tiny.count, logits);
  double error = root_mean_square(tiny.logits, logits, elements) / root_mean_square(tiny.logits, NULL, elements);
  lpu_reference_close(reference);
  td_model_close(model);
  free(logits);
  free(tiny.ids);
  free(tiny.logits);
  return error;
}

/* What binary16, int8 and FP8 cost these random models, by mode; a wrong operator costs some tenths, which with FP8
 * shows in the last ones only. */
static const struct {
  const char *name;
  double bounds[LPU_MODES];
} models[] = {{"llama", {6e-3, 9e-2, 0.15, 9e-2, 0.4, 0.55}},
              {"llama-ropescale", {8e-3, 0.12, 0.2, 0.12, 0.5, 0.65}},
              {"qwen2-small", {2.5e-3, 2.2e-2, 5.5e-2, 2.2e-2, 0.2, 0.29}},
              {"qwen3-small", {1.6e-3, 1.7e-2, 4e-2, 1.7e-2, 0.14, 0.19}},
              {"gemma3-small", {4e-4, 4.6e-3, 1e-2, 4.6e-3, 4e-2, 5.6e-2}},
              {"mixtral-small", {6e-3, 9e-2, 0.2, 9e-2, 0.4, 0.55}},
              {"qwen3moe-small", {3.2e-3, 0.25, 0.25, 0.25, 0.35, 0.35}}}; /* int8 sends some tokens to other experts */
#define MODELS (sizeof models / sizeof models[0])

static void test_logits(void **state) {
  int failures = 0;
  (void)state;
  for (size_t i = 0; i < MODELS * LPU_MODES; i++) {
    const struct lpu_mode *mode = &lpu_modes[i % LPU_MODES];
    const char *name = models[i / LPU_MODES].name;
    struct lpu_reference_options options = lpu_reference_options(mode->weights, mode->activations, 160);
    double error = error_of(name, &options);
    bool right = error <= models[i / LPU_MODES].bounds[i % LPU_MODES];
    printf("%-16s %-7s relative error %.2e%s\n", name, mode->name, error, right ? "" : ": FAILED");
    failures += !right;
  }
  assert_int_equal(failures, 0);
}

/* A machine of other sizes computes other bits, as near. */
static void test_small_machine(void **state) {
  (void)state;
  struct lpu_reference_options options = lpu_reference_options(TD_LPU_WEIGHTS_F16, TD_LPU_ACTIVATIONS_F16, 160);
  options.lanes = 64;
  options.plane_k = 32;
  options.block_tokens = 48;
  for (size_t i = 0; i < MODELS; i++) {
    double error = error_of(models[i].name, &options);
    if (!(error <= models[i].bounds[0])) fail_msg("%s: relative error %g", models[i].name, error);
  }
}

/* ---- rows by themselves ---- */

#define FED 60

struct case_of_one {
  struct td_model *model;
  struct lpu_reference *reference;
  struct tiny tiny;
  float *logits; /* [FED][vocab], fed to sequence 0 at once */
};

static struct case_of_one open_case(const char *name, size_t m) {
  struct case_of_one c = {.model = open_tiny(name), .tiny = load(name)};
  struct lpu_reference_options options = lpu_reference_options(lpu_modes[m].weights, lpu_modes[m].activations, FED);
  options.sequences = 2;
  options.block_tokens = 48; /* more than one */
  c.reference = open_reference(c.model, &options);
  c.logits = calloc((size_t)(FED * c.tiny.vocab), sizeof *c.logits);
  assert_non_null(c.logits);
  feed(c.reference, 0, c.tiny.ids, FED, c.logits);
  return c;
}

static void close_case(struct case_of_one *c) {
  lpu_reference_close(c->reference);
  td_model_close(c->model);
  free(c->logits);
  free(c->tiny.ids);
  free(c->tiny.logits);
}

static void assert_row(const struct case_of_one *c, int32_t row, const float *logits) {
  assert_memory_equal(c->logits + row * c->tiny.vocab, logits, (size_t)c->tiny.vocab * sizeof *logits);
}

static void test_one_after_another(void **state) {
  (void)state;
  for (size_t m = 0; m < LPU_MODES; m++) {
    struct case_of_one c = open_case("gemma3-small", m);
    float *logits = calloc((size_t)c.tiny.vocab, sizeof *logits);
    assert_non_null(logits);
    for (int32_t i = 0; i < FED; i++) {
      feed(c.reference, 1, c.tiny.ids + i, 1, logits);
      assert_row(&c, i, logits);
    }
    free(logits);
    close_case(&c);
  }
}

/* KV of one sequence, carried to another, goes on as the first would have. */
static void test_imported_kv(void **state) {
  (void)state;
  struct case_of_one c = open_case("qwen3-small", 2);
  const struct td_shape *shape = td_model_shape(c.model);
  size_t cols = (size_t)shape->kv_heads * (size_t)shape->head_dim;
  float *k = calloc(cols, sizeof *k), *v = calloc(cols, sizeof *v), *logits = calloc((size_t)c.tiny.vocab, sizeof *k);
  assert_true(k && v && logits);
  for (int32_t layer = 0; layer < shape->layers; layer++) {
    for (int32_t i = 0; i < FED - 1; i++) {
      lpu_reference_get_kv(c.reference, 0, layer, i, k, v);
      assert_int_equal(lpu_reference_set_kv(c.reference, 1, layer, i, k, v), TD_OK);
    }
  }
  lpu_reference_set_length(c.reference, 1, FED - 1);
  feed(c.reference, 1, c.tiny.ids + FED - 1, 1, logits);
  assert_row(&c, FED - 1, logits);
  k[0] = 1e6F;
  assert_int_equal(lpu_reference_set_kv(c.reference, 1, 0, 0, k, v), TD_CORRUPT);
  free(k);
  free(v);
  free(logits);
  close_case(&c);
}

/* A layer in two slices, the second on what it is given, as where only FFNs run on the device. */
static void test_slices(void **state) {
  (void)state;
  struct case_of_one c = open_case("llama", 3);
  int64_t hidden = td_model_shape(c.model)->hidden;
  size_t bytes = (size_t)hidden * sizeof(float);
  float *between = lpu_reference_value(c.reference, "layers.0.attention.residual");
  float *after = lpu_reference_value(c.reference, "layers.0.ffn.residual");
  float *first = calloc(1, bytes), *second = calloc(1, bytes);
  assert_true(between && after && first && second);
  assert_null(lpu_reference_value(c.reference, "layers.0.nothing"));
  const struct td_slice layer = {-1, 1, TD_PART_ALL}, ffn = {0, 1, TD_PART_FFN};
  assert_int_equal(lpu_reference_run(c.reference, &layer, 1, 0, 1, c.tiny.ids), TD_OK);
  memcpy(first, between, bytes);
  memcpy(second, after, bytes);
  memset(after, 0, bytes);
  memset(between, 0, bytes);
  memcpy(between + hidden, first, bytes); /* another row, another place */
  assert_int_equal(lpu_reference_run(c.reference, &ffn, 0, 5, 2, NULL), TD_OK);
  assert_memory_equal(after + hidden, second, bytes);
  free(first);
  free(second);
  close_case(&c);
}

static void test_greedy(void **state) {
  (void)state;
  struct case_of_one c = open_case("qwen2-small", 1);
  int32_t made[8], count, prompt = FED - 8;
  lpu_reference_set_length(c.reference, 0, 0);
  if (lpu_reference_greedy(c.reference, 0, c.tiny.ids, prompt, 8, made, &count)) fail_msg("%s", td_error_text());
  assert_true(count >= 1);
  feed(c.reference, 1, c.tiny.ids, prompt, NULL);
  lpu_reference_set_length(c.reference, 1, prompt - 1);
  int32_t id = c.tiny.ids[prompt - 1];
  for (int32_t i = 0; i < count; i++) {
    float *logits = c.logits;
    feed(c.reference, 1, &id, 1, logits);
    id = 0;
    for (int32_t j = 1; j < c.tiny.vocab; j++) id = logits[j] > logits[id] ? j : id;
    assert_int_equal(made[i], id);
  }
  close_case(&c);
}

static void count_rows(void *context, const struct td_value *value, int32_t position, const float *values) {
  int32_t *seen = context;
  assert_true(position >= 3 && position < 5 && value->cols > 0 && values);
  seen[position - 3]++;
}

/* Each value once a row; those of the head only for rows whose logits are wanted. */
static void test_observer(void **state) {
  (void)state;
  struct case_of_one c = open_case("llama-ropescale", 0);
  int32_t seen[2] = {0}, values = lpu_reference_graph(c.reference)->value_count;
  lpu_reference_set_length(c.reference, 0, 3);
  lpu_reference_observe(c.reference, count_rows, seen);
  if (lpu_reference_feed(c.reference, 0, c.tiny.ids, 2, 1, c.logits)) fail_msg("%s", td_error_text());
  assert_int_equal(seen[0], values - 3); /* final.selected, final.norm, logits */
  assert_int_equal(seen[1], values);
  close_case(&c);
}

/* ---- what it refuses ---- */

static void assert_refused(td_status status, td_status expected, const char *word) {
  assert_int_equal(status, expected);
  if (!strstr(td_error_text(), word)) fail_msg("\"%s\" does not say \"%s\"", td_error_text(), word);
}

static void test_options(void **state) {
  const struct lpu_reference_options right = lpu_reference_options(TD_LPU_WEIGHTS_F16, TD_LPU_ACTIVATIONS_F16, 8);
  struct lpu_reference_options wrong[5] = {right, right, right, right, right};
  struct td_model *model = open_tiny("llama");
  struct lpu_reference *reference = NULL;
  (void)state;
  wrong[0].activations = TD_LPU_ACTIVATIONS_I8;
  wrong[1].lanes = 330;
  wrong[2].block_tokens = 336;
  wrong[3].plane_k = 0;
  wrong[4].context = 0;
  static const char *const words[] = {"int8", "lanes 330", "block_tokens 336", "plane_k 0", "context 0"};
  for (size_t i = 0; i < 5; i++) {
    assert_refused(lpu_reference_open(model, &wrong[i], &reference), TD_CONFIG, words[i]);
  }
  td_model_close(model);
}

static void test_inputs(void **state) {
  (void)state;
  const int32_t stranger = 320;
  struct case_of_one c = open_case("llama", 0);
  struct td_slice ffn = {0, 1, TD_PART_FFN};
  lpu_reference_set_length(c.reference, 1, FED - 1);
  assert_refused(lpu_reference_feed(c.reference, 1, &stranger, 1, 0, NULL), TD_CONFIG, "token 320");
  assert_refused(lpu_reference_feed(c.reference, 1, c.tiny.ids, 2, 0, NULL), TD_CONFIG, "position");
  assert_refused(lpu_reference_run(c.reference, &ffn, 2, 0, 1, NULL), TD_CONFIG, "sequence 2");
  float *in = lpu_reference_value(c.reference, "layers.0.attention.residual");
  in[0] = INFINITY;
  assert_refused(lpu_reference_run(c.reference, &ffn, 0, 0, 1, NULL), TD_CORRUPT, "layers.0.ffn.norm");
  close_case(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_logits),
      cmocka_unit_test(test_small_machine),
      cmocka_unit_test(test_one_after_another),
      cmocka_unit_test(test_imported_kv),
      cmocka_unit_test(test_slices),
      cmocka_unit_test(test_greedy),
      cmocka_unit_test(test_observer),
      cmocka_unit_test(test_options),
      cmocka_unit_test(test_inputs),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
