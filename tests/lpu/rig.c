/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/rig.h"

#include "tandem/devices.h"

void rig_open(struct rig *rig, int32_t chips) {
  *rig = (struct rig){.last = 0};
  if (td_device_params_open(test_source("devices/lpu-tiny.cfg"), &rig->params)) fail_msg("%s", td_error_text());
  rig->machine = td_lpu_machine_of(rig->params);
  rig->code = hand_begin(rig->machine, chips);
  hand_segment(rig->code, "bench", 0);
}

int32_t rig_image(struct rig *rig, const char *name, enum td_lpu_type type, int32_t chip, int32_t hemisphere,
                  int32_t slice, int32_t rows, int32_t cols, int32_t by_steps) {
  int32_t lanes = rig->machine->lanes, vectors = rows * ((cols + lanes - 1) / lanes), group = by_steps ? by_steps : 1;
  int32_t words = (vectors + group - 1) / group, slices = group * td_lpu_type_bytes(type);
  int32_t image =
      hand_image(rig->code, name, TD_IMAGE_INPUT, type, chip, hemisphere, slice, slices, rig->next_word, words);
  hand_image_matrix(rig->code, image, rows, cols, by_steps);
  rig->images[image] = (struct rig_place){hemisphere, slice, slices};
  rig->next_word += words;
  return image;
}

int32_t rig_feed(struct rig *rig, int32_t image, int32_t word, int32_t position, int32_t cycle, int32_t index) {
  const struct rig_place *at = &rig->images[image];
  int32_t direction = 0;
  for (int32_t s = 0; s < at->slices; s++) {
    int32_t from = td_lpu_memory_position(rig->machine, at->hemisphere, at->slice + s);
    direction = position > from ? TD_LPU_EAST : 0;
    int32_t issue = cycle - abs(position - from) - rig->machine->delay[TD_LPU_MEMORY].func;
    hand_read(rig->code, issue, image, s, word, direction | (index + s));
  }
  return direction | index;
}

int32_t rig_store(struct rig *rig, int32_t image, int32_t word, int32_t position, int32_t cycle, int32_t index) {
  const struct rig_place *at = &rig->images[image];
  int32_t direction = 0;
  for (int32_t s = 0; s < at->slices; s++) {
    int32_t to = td_lpu_memory_position(rig->machine, at->hemisphere, at->slice + s);
    direction = to > position ? TD_LPU_EAST : 0;
    int32_t passes = cycle + abs(position - to);
    hand_write(rig->code, passes - rig->machine->memory_write_skew, image, s, word, direction | (index + s));
    if (passes > rig->last) rig->last = passes;
  }
  return direction | index;
}

void rig_build(struct rig *rig) {
  rig->program = hand_finish(rig->code);
  if (td_lpu_system_open(rig->program, &rig->system)) fail_msg("%s", td_error_text());
}

void rig_ready(struct rig *rig) {
  hand_entry(rig->code, 1);
  hand_run(rig->code, 0, 0);
  rig_build(rig);
  rig->program->segments[0].length = rig->last + 1;
}

void rig_write(struct rig *rig, const char *image, int32_t row, const void *elements) {
  if (td_lpu_image_write(rig->system, image, row, elements)) fail_msg("%s", td_error_text());
}

void rig_read(struct rig *rig, const char *image, int32_t row, void *elements) {
  if (td_lpu_image_read(rig->system, image, row, elements)) fail_msg("%s", td_error_text());
}

static td_status one_step(struct rig *rig) {
  struct td_lpu_row row = {.position = 0};
  struct td_lpu_step step = {&row, 1};
  return td_lpu_execute(rig->system, 0, &step, &rig->counts);
}

void rig_run(struct rig *rig) {
  if (one_step(rig)) fail_msg("%s", td_error_text());
  struct td_lpu_row row = {.position = 0};
  struct td_lpu_step step = {&row, 1};
  assert_int_equal(rig->counts.cycles, rig->last + rig->machine->superlanes);
  assert_int_equal(rig->counts.cycles, td_lpu_program_cycles(rig->program, 0, &step));
}

void rig_refused(struct rig *rig, const char *words) {
  td_status status = one_step(rig);
  if (status != TD_CORRUPT || !strstr(td_error_text(), words)) {
    fail_msg("found status %d, \"%s\", expected \"%s\"", (int)status, status ? td_error_text() : "", words);
  }
}

void rig_close(struct rig *rig) {
  td_lpu_system_close(rig->system);
  td_lpu_program_free(rig->program);
  td_device_params_close(rig->params);
}

float rig_noise(uint32_t *state) {
  *state = *state * 1664525u + 1013904223u;
  return (float)(int32_t)*state / 2147483648.0f;
}
