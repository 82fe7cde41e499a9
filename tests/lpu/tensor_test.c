/* SPDX-License-Identifier: Apache-2.0
 *
 * Chips that share layers: the bits of the graph's reference, however heads and blocks are dealt; every rule kept; the
 * same on fast hosts; KV and logits gathered; and what is refused.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/hosts.h"
#include "lpu/reference.h"
#include "lpu/small_model.h"

#define SMALL_BYTES (UINT64_C(64) << 20) /* of SRAM, that is quick to compare */
#define TINY TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf"
#define SMALL TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg"

/* 64 lanes: several blocks a matrix, heads across vectors, one link each way. */
static const char *const narrow[] = {"superlanes=4", "plane_k=64", "mem_words=1024", "accumulator_depth=64", NULL};
static const char *const two_links[] = {"superlanes=4",         "plane_k=64",   "mem_words=1024",
                                        "accumulator_depth=64", "links_used=4", NULL};

struct course {
  const char *const *sets; /* of the small machine; NULL: v1 with little memory */
  int32_t rows, block_tokens, steps, lag, chips, tensor;
  char device[24]; /* "": SMALL */
};

/* What several chips have a part of, gathered. */
static void compare_reads(const struct lpu_decoder *decoder, struct td_lpu_host *host) {
  const struct td_shape *shape = td_model_shape(decoder->model);
  const struct td_lpu_kv kv = {decoder->options.kv_blocks, shape->kv_heads, shape->head_dim};
  float logits[2][512];
  uint16_t k[2][256], v[2][256];
  int32_t elements = shape->kv_heads * shape->head_dim;
  assert_true(shape->vocab <= 512 && elements <= 256);
  assert_ok(td_lpu_image_read(decoder->system, "logits", 0, logits[0]));
  assert_ok(td_lpu_host_image_read(host, "logits", 0, logits[1]));
  assert_memory_equal(logits[0], logits[1], (size_t)shape->vocab * sizeof logits[0][0]);
  int32_t block = decoder->rows[0].blocks[0], layer = shape->layers - 1;
  assert_ok(td_lpu_kv_read(decoder->system, &kv, layer, block, 1, k[0], v[0]));
  assert_ok(td_lpu_host_kv_write(host, &kv, layer, block, 2, k[0], v[0]));
  assert_ok(td_lpu_host_kv_read(host, &kv, layer, block, 2, k[1], v[1]));
  assert_memory_equal(k[0], k[1], (size_t)elements * sizeof k[0][0]);
  assert_memory_equal(v[0], v[1], (size_t)elements * sizeof v[0][0]);
  assert_ok(td_lpu_host_kv_read(host, &kv, layer, block, 1, k[1], v[1]));
  assert_memory_equal(k[0], k[1], (size_t)elements * sizeof k[0][0]);
}

/* The same step, from the same SRAM, on the host cpu. */
static void on_host(const struct lpu_decoder *decoder, const uint8_t *before, const struct td_lpu_step *step) {
  struct td_lpu_host *host = lpu_host_open(&lpu_host_kinds[0], decoder->program);
  struct td_lpu_counts counts;
  if (!host) return;
  assert_ok(td_lpu_host_sram_write(host, 0, decoder->system->sram_bytes, before));
  assert_ok(td_lpu_host_run(host, 0, step, &counts));
  lpu_host_compare(host, &lpu_host_kinds[0], decoder->program, decoder->system->sram, decoder->system->sram_bytes,
                   "tensor");
  compare_reads(decoder, host);
  td_lpu_host_close(host);
}

static void step_hosts(struct lpu_decoder *decoder, const int32_t *ids, const int32_t *positions, float *logits) {
  uint64_t bytes = decoder->system->sram_bytes;
  uint8_t *before = malloc(bytes);
  assert_non_null(before);
  lpu_decoder_inputs(decoder, decoder->options.rows, ids, positions);
  memcpy(before, decoder->system->sram, bytes);
  lpu_decoder_step(decoder, ids, positions, true, logits);
  on_host(decoder, before, &(struct td_lpu_step){decoder->rows, decoder->options.rows});
  free(before);
}

static void run(const struct course *course, struct lpu_decoder *decoder, struct lpu_reference *reference,
                const char *what) {
  int32_t vocab = td_model_shape(decoder->model)->vocab, ids[8], positions[8];
  float *found = calloc((size_t)(course->rows * vocab), sizeof *found),
        *expected = calloc((size_t)vocab, sizeof *found);
  assert_true(found && expected && course->rows <= 8);
  for (int32_t step = 0; step < course->steps; step++) {
    for (int32_t r = 0; r < course->rows; r++) {
      positions[r] = step > r * course->lag ? step - r * course->lag : 0;
      ids[r] = (r * 131 + positions[r] * 37 + 5) % vocab;
    }
    if (step == course->steps - 1 && decoder->system->sram_bytes < SMALL_BYTES) {
      step_hosts(decoder, ids, positions, found);
    } else {
      lpu_decoder_step(decoder, ids, positions, step < 2, found);
    }
    for (int32_t r = 0; r < course->rows; r++) {
      if (step < r * course->lag) continue;
      assert_ok(lpu_reference_feed(reference, r, &ids[r], 1, 1, expected));
      lpu_assert_same_bits(found + (int64_t)r * vocab, expected, vocab, what, r, positions[r]);
    }
  }
  free(found);
  free(expected);
}

static void compare(const char *model, const struct course *course, const struct lpu_mode *mode) {
  struct lpu_decoder decoder;
  struct lpu_reference *reference = NULL;
  struct td_lpu_options options = {.weights = mode->weights,
                                   .activations = mode->activations,
                                   .chips = course->chips,
                                   .tensor = course->tensor,
                                   .rows = course->rows,
                                   .block_tokens = course->block_tokens,
                                   .context = 64};
  char what[64];
  snprintf(what, sizeof what, "%s, %d chips in groups of %d", mode->name, course->chips, course->tensor);
  if (course->sets) {
    lpu_decoder_open_varied(&decoder, *course->device ? course->device : SMALL, course->sets, model, &options);
  } else {
    lpu_decoder_open_laid_out(&decoder, "groq-lpu-v1", 1024, model, &options, NULL);
  }
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, 64);
  numbers.block_tokens = course->block_tokens;
  numbers.sequences = course->rows;
  numbers.lanes = numbers.plane_k = decoder.machine->lanes;
  assert_int_equal(decoder.program->chips, course->chips);
  assert_int_equal(decoder.program->tensor, course->tensor);
  assert_ok(lpu_reference_open(decoder.model, &numbers, &reference));
  run(course, &decoder, reference, what);
  lpu_reference_close(reference);
  lpu_decoder_close(&decoder);
}

/* ---- models ---- */

static char four_heads[64], three_heads[64], odd_heads[64], broad_heads[64]; /* paths */

static int write_models(void **state) {
  (void)state;
  snprintf(four_heads, sizeof four_heads, "lpu_tensor_four_%ld.gguf", (long)getpid());
  snprintf(three_heads, sizeof three_heads, "lpu_tensor_three_%ld.gguf", (long)getpid());
  /* 12 heads of 16: chips' heads end inside vectors of 64 lanes. */
  small_model_write(&(struct small_model){3, 192, 288, 12, 4}, four_heads);
  snprintf(odd_heads, sizeof odd_heads, "lpu_tensor_odd_%ld.gguf", (long)getpid());
  snprintf(broad_heads, sizeof broad_heads, "lpu_tensor_broad_%ld.gguf", (long)getpid());
  small_model_write(&(struct small_model){2, 96, 160, 6, 3}, three_heads);
  /* 8 heads of 24, two KV heads, in 64 lanes: one begins every 32. */
  small_model_write(&(struct small_model){2, 192, 224, 8, 2}, odd_heads);
  /* Heads of 128 in 320 lanes: one begins every 160. */
  small_model_write(&(struct small_model){1, 512, 320, 4, 2}, broad_heads);
  return 0;
}

static int remove_models(void **state) {
  (void)state;
  return remove(four_heads) || remove(three_heads) || remove(odd_heads) || remove(broad_heads);
}

static void test_narrow(void **state) {
  (void)state;
  static const int32_t groups[][2] = {{2, 2}, {4, 4}, {4, 2}, {3, 3}};
  for (size_t g = 0; g < 4; g++) {
    for (size_t m = 0; m < LPU_MODES; m++) {
      int32_t rows = (g + m) % 2 ? 3 : 1;
      const struct course course = {m % 2 ? narrow : two_links, rows, 16, 6, 2, groups[g][0], groups[g][1], ""};
      compare(four_heads, &course, &lpu_modes[m]);
    }
  }
}

/* One block a matrix: most chips have none of it. */
static void test_wide(void **state) {
  (void)state;
  static const int32_t groups[][2] = {{1, 1}, {3, 3}};
  for (size_t g = 0; g < 2; g++) {
    const struct course course = {NULL, g % 2 ? 2 : 1, 32, 3, 1, groups[g][0], groups[g][1], ""};
    compare(four_heads, &course, &lpu_modes[2 * g]);
  }
}

/* 2 + 1 heads, and one each. */
static void test_uneven(void **state) {
  (void)state;
  for (size_t m = 0; m < LPU_MODES; m++) {
    const struct course two = {narrow, 2, 32, 5, 2, 2, 2, ""}, three = {two_links, 1, 16, 5, 0, 3, 3, ""};
    compare(three_heads, &two, &lpu_modes[m]);
    compare(three_heads, &three, &lpu_modes[m]);
  }
}

/* One KV head a chip: two would fill the lanes. */
static void test_llama(void **state) {
  (void)state;
  for (size_t m = 0; m < LPU_MODES; m++) {
    const struct course course = {narrow, 1 + (int32_t)m, 16, 5, 2, m % 2 ? 4 : 2, 2, ""};
    compare(TINY, &course, &lpu_modes[m]);
  }
}

/* Heads that do not divide the lanes, alone and shared; more chips than KV heads. */
static void test_odd_heads(void **state) {
  (void)state;
  static const int32_t groups[][2] = {{1, 1}, {2, 2}, {3, 3}, {4, 4}, {5, 5}, {8, 8}, {8, 4}};
  for (size_t g = 0; g < sizeof groups / sizeof *groups; g++) {
    const struct course course = {
        g % 2 ? narrow : two_links, 1 + (int32_t)g % 3, 16, 5, 1, groups[g][0], groups[g][1], ""};
    compare(odd_heads, &course, &lpu_modes[g % LPU_MODES]);
  }
}

static void test_broad_heads(void **state) {
  (void)state;
  static const int32_t groups[] = {1, 2, 4};
  for (size_t g = 0; g < 3; g++) {
    const struct course course = {NULL, 1 + (int32_t)g % 2, 32, 3, 0, groups[g], groups[g], ""};
    compare(broad_heads, &course, &lpu_modes[g % LPU_MODES]);
  }
}

/* Biases, norms of heads, norms of what a half layer made and after it, windows. */
static void test_models(void **state) {
  (void)state;
  static const char *const shared[] = {"reference/tiny/gemma3.gguf", "reference/tiny/qwen3.gguf"};
  for (size_t m = 0; m < LPU_MODES; m++) {
    const struct course course = {narrow, 1 + 2 * (int32_t)(m % 2), 16, 4, 1, 2, 2, ""};
    compare(TANDEM_SOURCE_DIR "/tests/data/tiny/qwen2-small.gguf", &course, &lpu_modes[m]);
  }
  for (size_t i = 0; i < 2; i++) {
    const struct course course = {NULL, 2, 16, 2, 0, 2, 2, ""};
    const char *model = test_shared(shared[i]);
    if (model)
      compare(model, &course, &lpu_modes[2 * i]);
    else
      printf("not here: %s\n", shared[i]);
  }
}

/* A system's direct links: in a node, over nodes, from stage to stage in another node; a mesh. */
static void test_wired(void **state) {
  (void)state;
  static const char *const longest[] = {"superlanes=4",         "plane_k=64",    "mem_words=1024",
                                        "accumulator_depth=64", "link_hop=1e-6", NULL};
  const struct course courses[] = {{narrow, 1, 16, 4, 1, 3, 3, "lpu-tiny-system"},
                                   {longest, 2, 16, 4, 1, 4, 4, "lpu-tiny-system"},
                                   {narrow, 1, 16, 4, 1, 4, 2, "lpu-tiny-system"},
                                   {narrow, 1, 16, 4, 1, 4, 4, "lpu-tiny-mesh"}};
  for (size_t i = 0; i < sizeof courses / sizeof *courses; i++)
    compare(four_heads, &courses[i], &lpu_modes[i % LPU_MODES]);
}

/* ---- KV caches ---- */

static void open_for_kv(struct lpu_decoder *decoder, int32_t chips, int32_t tensor) {
  const struct td_lpu_options options = {
      .chips = chips, .tensor = tensor, .rows = 1, .block_tokens = 32, .context = 64};
  lpu_decoder_open_varied(decoder, SMALL, narrow, three_heads, &options);
}

/* What chips in groups appended, moved to one chip: both go on alike. And back. */
static void move_kv(struct lpu_decoder *from, struct lpu_decoder *to, int32_t positions) {
  const struct td_shape *shape = td_model_shape(from->model);
  const struct td_lpu_kv kv = {from->options.kv_blocks, shape->kv_heads, shape->head_dim};
  uint16_t k[64], v[64];
  assert_true(shape->kv_heads * shape->head_dim <= 64);
  for (int32_t layer = 0; layer < shape->layers; layer++) {
    for (int32_t p = 0; p < positions; p++) {
      int32_t block = from->rows[0].blocks[p / 32];
      assert_ok(td_lpu_kv_read(from->system, &kv, layer, block, p % 32, k, v));
      assert_ok(td_lpu_kv_write(to->system, &kv, layer, block, p % 32, k, v));
    }
  }
  assert_int_equal(td_lpu_kv_read(from->system, &kv, shape->layers, 0, 0, k, v), TD_CONFIG);
}

static void test_kv(void **state) {
  (void)state;
  enum { POSITIONS = 35 };
  struct lpu_decoder one, group;
  float logits[2][512];
  open_for_kv(&one, 1, 1);
  open_for_kv(&group, 2, 2);
  for (int32_t p = 0; p < POSITIONS; p++) {
    int32_t id = 3 * p + 1;
    lpu_decoder_step(p < 33 ? &group : &one, &id, &p, false, logits[0]);
    if (p == 32) move_kv(&group, &one, p + 1);
  }
  for (int32_t p = 33; p < POSITIONS; p++) {
    int32_t id = 3 * p + 1;
    if (p == 34) move_kv(&one, &group, p);
    if (p == 34) lpu_decoder_step(&group, &id, &p, true, logits[1]);
  }
  lpu_assert_same_bits(logits[1], logits[0], td_model_shape(one.model)->vocab, "KV moved", 0, POSITIONS - 1);
  lpu_decoder_close(&one);
  lpu_decoder_close(&group);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_narrow),    cmocka_unit_test(test_uneven), cmocka_unit_test(test_wide),
      cmocka_unit_test(test_llama),     cmocka_unit_test(test_models), cmocka_unit_test(test_kv),
      cmocka_unit_test(test_odd_heads), cmocka_unit_test(test_wired),  cmocka_unit_test(test_broad_heads),
  };
  return cmocka_run_group_tests(tests, write_models, remove_models);
}
