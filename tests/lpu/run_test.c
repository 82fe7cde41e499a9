/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled programs on every host: the same SRAM, byte for byte, as instruction by instruction, and the same counts.
 */
#include "lpu/hosts.h"
#include "lpu/modes.h"
#include "tandem/devices.h"
#include "tandem/kernels.h"
#include "tandem/model.h"

#define TINY TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf"

/* Fails the test with the error's text. */
#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

struct fixture {
  struct td_device_params *params;
  struct td_lpu_machine machine;
  struct td_model *model;
  struct td_graph *graph;
  const void **weights;
};

/* words > 0: so much memory, which is quicker to compare. */
static void open_fixture(struct fixture *fixture, const char *model, int32_t words) {
  assert_ok(td_device_params_open("groq-lpu-v1", &fixture->params));
  fixture->machine = *td_lpu_machine_of(fixture->params);
  fixture->machine.fp8 = 1;
  if (words) fixture->machine.mem_words = words;
  assert_ok(td_model_open(model, &fixture->model));
  assert_ok(td_graph_build(fixture->model, &fixture->graph));
  assert_ok(td_lpu_model_weights(fixture->model, fixture->graph, &fixture->weights));
}

static void close_fixture(struct fixture *fixture) {
  free(fixture->weights);
  td_graph_free(fixture->graph);
  td_model_close(fixture->model);
  td_device_params_close(fixture->params);
}

/* Steps of the longer courses: kernels that run as fibers on the host take their time. */
#ifdef LPU_HOSTS_EMULATED
enum { LONG = 1, SHORT = 1 };
#else
enum { LONG = 3, SHORT = 2 };
#endif

struct course {
  int32_t rows, block_tokens, steps, first; /* position of row 0's first step */
  bool all;                                 /* slow hosts, too */
  int32_t chips;                            /* 0: 1 */
};

static void feed(struct td_lpu_host *host, const struct fixture *fixture, int32_t row, int32_t id, int32_t position) {
  const struct td_tensor *embedding = td_model_tensor(fixture->model, "token_embd.weight");
  int32_t hidden = td_model_shape(fixture->model)->hidden, lanes = fixture->machine.lanes;
  float *x = calloc((size_t)(hidden + lanes), sizeof *x);
  assert_non_null(x);
  td_dequantize(embedding->dtype,
                (const char *)embedding->data + (uint64_t)id * (embedding->bytes / (uint64_t)embedding->rows), x,
                hidden);
  for (int32_t i = 0; i < lanes; i++) x[hidden + i] = (float)position;
  assert_ok(td_lpu_host_image_write(host, "x", row, x));
  assert_ok(td_lpu_host_image_write(host, "position", row, x + hidden));
  free(x);
}

/* Rows are 3 positions apart. */
static void run(struct td_lpu_host *host, const struct fixture *fixture, const struct course *course,
                struct td_lpu_counts *counts) {
  int32_t per_row = (64 + course->block_tokens - 1) / course->block_tokens, blocks[64 * 4];
  struct td_lpu_row rows[64];
  for (int32_t i = 0; i < course->rows * per_row; i++) blocks[i] = course->rows * per_row - 1 - i;
  for (int32_t step = 0; step < course->steps; step++) {
    for (int32_t r = 0; r < course->rows; r++) {
      int32_t position = course->first + step + 3 * r;
      feed(host, fixture, r, (7 * r + 31 * step + 1) % 250, position);
      rows[r] = (struct td_lpu_row){position, blocks + r * per_row, position / course->block_tokens + 1};
    }
    assert_ok(td_lpu_host_run(host, 0, &(struct td_lpu_step){rows, course->rows}, counts));
  }
}

static void one_host(const struct lpu_host_kind *kind, const struct fixture *fixture,
                     const struct td_lpu_program *program, const struct course *course, const char *what,
                     const uint8_t *expected, uint64_t bytes, const struct td_lpu_counts *counts) {
  struct td_lpu_host *host = lpu_host_open(kind, program);
  struct td_lpu_counts found;
  if (!host) return;
  if (td_lpu_host_note(host)) fail_msg("%s", td_lpu_host_note(host));
  run(host, fixture, course, &found);
  lpu_host_compare(host, kind, program, expected, bytes, what);
  lpu_host_compare_counts(&found, counts, what);
  td_lpu_host_close(host);
}

static void compare(const struct fixture *fixture, const struct lpu_mode *mode, const struct course *course) {
  struct td_lpu_options options = {.weights = mode->weights,
                                   .activations = mode->activations,
                                   .chips = course->chips ? course->chips : 1,
                                   .rows = course->rows,
                                   .block_tokens = course->block_tokens,
                                   .kv_blocks = (64 + course->block_tokens - 1) / course->block_tokens * course->rows,
                                   .context = 64};
  struct td_slice whole = td_slice_whole(fixture->graph);
  struct td_lpu_program *program;
  struct td_lpu_host *truth;
  struct td_lpu_counts counts;
  const struct td_lpu_machine *m = &fixture->machine;
  assert_ok(td_lpu_compile(m, fixture->graph, &whole, fixture->weights, &options, &program));
  assert_ok(td_lpu_host_open(program, "step", &truth));
  run(truth, fixture, course, &counts);
  uint64_t bytes = (uint64_t)program->chips * (uint64_t)m->mem_words * (uint64_t)m->mem_slices * (uint64_t)m->lanes;
  uint8_t *expected = malloc(bytes);
  assert_non_null(expected);
  assert_ok(td_lpu_host_sram_read(truth, 0, bytes, expected));
  td_lpu_host_close(truth);
  for (size_t i = 0; i < lpu_host_kind_count; i++) {
    if (lpu_host_kinds[i].slow && !course->all) continue;
    one_host(&lpu_host_kinds[i], fixture, program, course, mode->name, expected, bytes, &counts);
  }
  free(expected);
  td_lpu_program_free(program);
}

static void test_one_row(void **state) {
  (void)state;
  static const int32_t blocks[] = {16, 160, 320};
  struct fixture fixture;
  open_fixture(&fixture, TINY, 1024);
  for (size_t m = 0; m < LPU_MODES; m++) {
    for (size_t b = 0; b < 3; b++) {
      if (m >= 4 && b != m % 3) continue; /* FP8: only planes differ */
      compare(&fixture, &lpu_modes[m], &(struct course){1, blocks[b], LONG, 30, false, 0});
    }
  }
  close_fixture(&fixture);
}

/* What other models' programs have besides: biases, norms of heads, windows, layers of several kinds. */
static void test_models(void **state) {
  (void)state;
  static const char *const models[] = {"qwen2", "qwen3", "gemma3"};
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    char path[512];
    struct fixture fixture;
    snprintf(path, sizeof path, "%s/tests/data/tiny/%s-small.gguf", TANDEM_SOURCE_DIR, models[i]);
    open_fixture(&fixture, path, 1024);
    compare(&fixture, &lpu_modes[i + 1], &(struct course){2, 16, SHORT, 14, false, 0});
    close_fixture(&fixture);
  }
}

static void test_rows(void **state) {
  (void)state;
  static const int32_t blocks[LPU_MODES] = {320, 160, 16, 16, 160, 16};
  struct fixture fixture;
  open_fixture(&fixture, TINY, 1024);
  for (size_t m = 0; m < LPU_MODES; m++) {
    compare(&fixture, &lpu_modes[m], &(struct course){3, blocks[m], SHORT, 14, false, 0});
  }
  close_fixture(&fixture);
}

/* Layers on two chips: what links carry. */
static void test_two_chips(void **state) {
  (void)state;
  struct fixture fixture;
  open_fixture(&fixture, TINY, 1024);
  compare(&fixture, &lpu_modes[0], &(struct course){1, 160, 2, 20, false, 2});
  compare(&fixture, &lpu_modes[2], &(struct course){2, 16, 2, 14, true, 2});
  close_fixture(&fixture);
}

static void test_gpu_form(void **state) {
  (void)state;
  struct fixture fixture;
  open_fixture(&fixture, TINY, 1024);
  compare(&fixture, &lpu_modes[1], &(struct course){1, 16, 1, 17, true, 0});
  compare(&fixture, &lpu_modes[3], &(struct course){2, 160, 1, 3, true, 0});
  close_fixture(&fixture);
}

static void test_smollm2(void **state) {
  (void)state;
  const char *path = test_model_path();
  struct fixture fixture;
  if (!path) {
    printf("SKIPPED: no SmolLM2 here\n");
    skip();
  }
  open_fixture(&fixture, path, 0);
#if defined(TANDEM_SANITIZED) && defined(LPU_HOSTS_EMULATED)
  const size_t modes = 1; /* none: too slow */
#elif defined(TANDEM_SANITIZED) || defined(LPU_HOSTS_EMULATED)
  const size_t modes = 2; /* slow enough */
#else
  const size_t modes = LPU_MODES;
#endif
  for (size_t m = 1; m < modes; m++) {
    compare(&fixture, &lpu_modes[m], &(struct course){1, 320, SHORT, 0, false, 0});
  }
  close_fixture(&fixture);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_one_row),   cmocka_unit_test(test_rows),     cmocka_unit_test(test_models),
      cmocka_unit_test(test_two_chips), cmocka_unit_test(test_gpu_form), cmocka_unit_test(test_smollm2),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
