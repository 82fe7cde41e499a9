/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoders beyond the plain ones: biases, norms of heads, windows, gates through gelu, norms after branches, scaled
 * embeddings and positions. Compiled programs say, bit for bit, what the graph's reference says, and keep every rule.
 */
#include "lpu/course.h"
#include "support.h"

static const char *const models[] = {"qwen2", "qwen3", "gemma3"};
#define MODELS (sizeof models / sizeof *models)

static const char *small(const char *name) {
  static char path[256];
  snprintf(path, sizeof path, "%s/tests/data/tiny/%s-small.gguf", TANDEM_SOURCE_DIR, name);
  return path;
}

static void test_modes(void **state) {
  (void)state;
  for (size_t i = 0; i < MODELS * LPU_MODES; i++) {
    const struct lpu_course course = {small(models[i / LPU_MODES]), 1, 32, 64, 12, 0, 1};
    lpu_course_run(&course, &lpu_modes[i % LPU_MODES]);
  }
}

/* Rows that are apart, on two chips. */
static void test_rows(void **state) {
  (void)state;
  for (size_t i = 0; i < MODELS; i++) {
    const struct lpu_course course = {small(models[i]), 3, 16, 48, 20, 7, 2};
    lpu_course_run(&course, &lpu_modes[i + 1]);
  }
}

/* Past the window, and across blocks of which a row sees nothing. */
static void test_window(void **state) {
  (void)state;
  const struct lpu_course course = {small("gemma3"), 1, 16, 96, 90, 0, 1};
  lpu_course_run(&course, &lpu_modes[1]);
}

/* The models that the project shares, where it is there: larger heads. */
static void test_larger(void **state) {
  (void)state;
  static const char *const names[] = {"llama", "llama-ropescale", "qwen2", "qwen3", "gemma3"};
  char path[64];
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    snprintf(path, sizeof path, "reference/tiny/%s.gguf", names[i]);
    const char *model = test_shared(path);
    if (!model) skip();
    const struct lpu_course course = {model, 1, 160, 160, 3, 0, 1};
    lpu_course_run(&course, &lpu_modes[i % LPU_MODES]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_modes),
      cmocka_unit_test(test_rows),
      cmocka_unit_test(test_window),
      cmocka_unit_test(test_larger),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
