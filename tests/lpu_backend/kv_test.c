/* SPDX-License-Identifier: Apache-2.0
 *
 * The KV cache between SRAM and the world, and what opening refuses.
 */
#include "rig.h"

static struct rig rig;
static const int32_t prompt[] = {5, 200, 17, 90, 3, 311, 42, 8, 120, 77, 1, 2, 3, 4, 250, 6, 7, 19};
#define PROMPT ((int64_t)(sizeof prompt / sizeof *prompt))

static void same_logits(const float *got, const float *want) {
  for (int32_t i = 0; i < rig.vocab; i++) {
    if (memcmp(&got[i], &want[i], sizeof *got))
      fail_msg("logit %d: found %a, expected %a", i, (double)got[i], (double)want[i]);
  }
}

/* Everything of a request from one store to another. */
static void hand_over(struct td_kv_store *from, struct td_kv_store *to, uint64_t request, const int32_t *ids,
                      int64_t tokens) {
  int32_t layers = rig.graph->shape.layers;
  uint64_t bytes = td_kv_bytes(&rig.graph->shape, TD_F16, layers, tokens);
  struct td_kv_expect expect = {
      .request = request, .generation = 1, .tokens = tokens, .ids = ids, .layout = *td_kv_store_layout(from)};
  struct td_kv_chunk chunk;
  bool complete = false;
  void *payload = malloc(bytes);
  assert_non_null(payload);
  assert_ok(td_kv_export(from, request, 0, layers, 0, tokens, payload, bytes, &chunk));
  chunk.generation = 1;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, ids, (size_t)tokens * sizeof *ids);
  assert_ok(td_kv_import_begin(to, &expect));
  assert_ok(td_kv_import(to, &chunk, payload, &complete));
  assert_true(complete);
  assert_ok(td_kv_import_commit(to, request));
  free(payload);
}

/* What one system appended decodes on in another as if it had been there all along. */
static void test_import_goes_on(void **state) {
  struct world a, b;
  float *want = calloc((size_t)rig.vocab, sizeof *want);
  (void)state;
  assert_non_null(want);
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 2, &a);
  world_open(&rig, TD_LPU_WEIGHTS_I8, "cpu", 1, &b);
  world_step(&b, 9, 0, prompt + 3, 2); /* so that blocks differ */
  world_step(&a, 1, 0, prompt, PROMPT - 1);
  hand_over(td_runner_kv(a.runner), td_runner_kv(b.runner), 1, prompt, PROMPT - 1);
  memcpy(want, world_step(&a, 1, PROMPT - 1, &prompt[PROMPT - 1], 1), (size_t)rig.vocab * sizeof *want);
  same_logits(world_step(&b, 1, PROMPT - 1, &prompt[PROMPT - 1], 1), want);
  world_close(&b);
  world_close(&a);
  free(want);
}

/* Positions that were dropped and written anew are as if written once. */
static void test_truncate(void **state) {
  struct world a;
  float *want = calloc((size_t)rig.vocab, sizeof *want);
  (void)state;
  assert_non_null(want);
  world_open(&rig, TD_LPU_WEIGHTS_I8, "step", 2, &a);
  memcpy(want, world_step(&a, 1, 0, prompt, PROMPT), (size_t)rig.vocab * sizeof *want);
  world_step(&a, 1, PROMPT, prompt, 4);
  assert_ok(td_kv_truncate(td_runner_kv(a.runner), 1, 5));
  same_logits(world_step(&a, 1, 5, prompt + 5, PROMPT - 5), want);
  world_close(&a);
  free(want);
}

static const struct td_lpu_image *image_of(const struct td_lpu_program *program, const char *name) {
  for (int32_t i = 0; i < program->image_count; i++) {
    if (strcmp(program->images[i].name, name) == 0) return &program->images[i];
  }
  fail_msg("no image %s", name);
  return NULL;
}

/* The words of a cache but the last, which takes what means nothing. */
static void same_words(const struct hand *a, const struct hand *b, const char *name) {
  const struct td_lpu_machine *machine = &a->program->machine;
  const struct td_lpu_image *image = image_of(a->program, name);
  size_t bytes = (size_t)image->slices * (size_t)machine->lanes;
  for (int32_t w = 0; w + 1 < image->words; w++) {
    int64_t slice = image->hemisphere * (machine->mem_slices / 2) + image->slice;
    size_t at = (size_t)(((int64_t)(image->word + w) * machine->mem_slices + slice) * machine->lanes);
    if (memcmp(a->system->sram + at, b->system->sram + at, bytes)) fail_msg("%s: word %d differs", name, w);
  }
}

/* td_lpu_kv_write leaves the very words that the program's append does. */
static void test_words(void **state) {
  struct hand a, b;
  const struct td_shape *shape = &rig.graph->shape;
  const struct td_lpu_kv kv = {BLOCKS, shape->kv_heads, shape->head_dim};
  static const int32_t blocks[2] = {5, 2};
  uint16_t k[512], v[512];
  float *logits = calloc((size_t)rig.vocab, sizeof *logits);
  (void)state;
  assert_true(logits && shape->kv_heads * shape->head_dim <= 512);
  hand_open(&rig, TD_LPU_WEIGHTS_F16, &a);
  hand_open(&rig, TD_LPU_WEIGHTS_F16, &b);
  for (int32_t p = 0; p < PROMPT; p++) {
    hand_step(&rig, &a, prompt[p], p, blocks, logits);
    for (int32_t layer = 0; layer < shape->layers; layer++) {
      assert_ok(td_lpu_kv_read(a.system, &kv, layer, blocks[0], p, k, v));
      assert_ok(td_lpu_kv_write(b.system, &kv, layer, blocks[0], p, k, v));
    }
  }
  same_words(&a, &b, "k.cache");
  same_words(&a, &b, "v.cache");
  assert_int_equal(td_lpu_kv_read(a.system, &kv, shape->layers, 0, 0, k, v), TD_CONFIG);
  assert_int_equal(td_lpu_kv_read(a.system, &kv, 0, BLOCKS, 0, k, v), TD_CONFIG);
  assert_int_equal(td_lpu_kv_write(a.system, &kv, 0, 0, BLOCK, k, v), TD_CONFIG);
  assert_int_equal(td_lpu_kv_write(a.system, &kv, -1, 0, 0, k, v), TD_CONFIG);
  hand_close(&b);
  hand_close(&a);
  free(logits);
}

/* ---- refusals ---- */

static void refused(td_status status, enum td_code code, const char *words) {
  assert_int_equal(status, code);
  if (!strstr(td_error_text(), words)) fail_msg("found \"%s\", expected \"%s\" in it", td_error_text(), words);
}

static void test_refuses(void **state) {
  struct td_device_params *chip = NULL;
  struct td_device *device = NULL;
  struct td_lpu_choice modelled = {.emulate_on = "modelled"}, itself = {.emulate_on = "lpu"};
  (void)state;
  assert_ok(td_device_params_open("h100_sxm", &chip));
  refused(td_device_open("lpu", &(struct td_device_options){0}, &device), TD_CONFIG, "found no device file");
  refused(td_device_open("lpu", &(struct td_device_options){.params = chip}, &device), TD_CONFIG, "kind chip");
  refused(td_device_open("lpu", &(struct td_device_options){.params = rig.params, .lpu = &modelled}, &device),
          TD_CONFIG, "modelled");
  refused(td_device_open("lpu", &(struct td_device_options){.params = rig.params, .lpu = &itself}, &device), TD_CONFIG,
          "emulate_on");
  td_device_params_close(chip);
}

static td_status open_with(struct td_device *device, enum td_dtype kv, int32_t block, int32_t blocks,
                           struct td_slice slice) {
  struct td_runner_options options = {
      .kv_dtype = kv, .block_tokens = block, .kv_blocks = blocks, .max_rows = 4, .max_logits = 1};
  struct td_runner *runner = NULL;
  td_status status = td_runner_open(device, rig.model, rig.graph, &slice, &options, &runner);
  if (!status) td_runner_close(runner);
  return status;
}

static void test_refuses_programs(void **state) {
  struct td_device *device = NULL;
  struct td_slice half = {0, 1, TD_PART_ALL};
  (void)state;
  const struct td_lpu_choice choice = {.chips = 1};
  assert_ok(td_device_open("lpu", &(struct td_device_options){.params = rig.params, .lpu = &choice}, &device));
  refused(open_with(device, TD_F32, 160, 2, rig.whole), TD_UNSUPPORTED, "f16");
  refused(open_with(device, TD_F16, 24, 2, rig.whole), TD_CONFIG, "block_tokens");
  refused(open_with(device, TD_F16, 160, 2, half), TD_UNSUPPORTED, "whole model");
  refused(open_with(device, TD_F16, 160, 500, rig.whole), TD_EXHAUSTED, "words");
  assert_ok(open_with(device, TD_F16, 160, 2, rig.whole)); /* and is fit again */
  td_device_close(device);
}

static int setup(void **state) {
  (void)state;
  rig_open(&rig);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  rig_close(&rig);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_import_goes_on), cmocka_unit_test(test_truncate),         cmocka_unit_test(test_words),
      cmocka_unit_test(test_refuses),        cmocka_unit_test(test_refuses_programs),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
