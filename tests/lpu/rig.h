/* SPDX-License-Identifier: Apache-2.0
 *
 * A small bench for the emulator: images in SRAM whose rows are fed to a unit, or stored from it, by the cycle in which
 * they pass it. All times follow from the machine's numbers here and nowhere else.
 */
#ifndef TESTS_LPU_RIG_H
#define TESTS_LPU_RIG_H

#include "lpu/assemble.h"
#include "support.h"
#include "tandem/lpu.h"

struct td_device_params;

#define RIG_IMAGES 32
struct rig_place {
  int32_t hemisphere, slice, slices;
};
struct rig {
  struct td_device_params *params;
  const struct td_lpu_machine *machine;
  struct hand_code *code;
  struct rig_place images[RIG_IMAGES];
  int32_t next_word;
  int32_t last; /* the last cycle in which a word is written */
  struct td_lpu_program *program;
  struct td_lpu_system *system;
  struct td_lpu_counts counts;
};

/* On lpu-tiny; begins segment 0. */
void rig_open(struct rig *rig, int32_t chips);
/* rows x cols elements from slice `slice` of a hemisphere on; by_steps as in struct td_lpu_image. Gives its number. */
int32_t rig_image(struct rig *rig, const char *name, enum td_lpu_type type, int32_t chip, int32_t hemisphere,
                  int32_t slice, int32_t rows, int32_t cols, int32_t by_steps);
/* READs so that the vectors of word `word` pass `position` in `cycle` on streams `index`, `index` + 1, ...: all slices
 * of the image. Gives the stream operand. */
int32_t rig_feed(struct rig *rig, int32_t image, int32_t word, int32_t position, int32_t cycle, int32_t index);
/* WRITEs into word `word` of what a unit at `position` puts on streams in `cycle`. Gives the stream operand. */
int32_t rig_store(struct rig *rig, int32_t image, int32_t word, int32_t position, int32_t cycle, int32_t index);
/* The program with one entry and one run of segment 0, ending with the last store; its system. */
void rig_ready(struct rig *rig);
/* The same for a test that wrote segments and links of its own. */
void rig_build(struct rig *rig);
void rig_write(struct rig *rig, const char *image, int32_t row, const void *elements);
void rig_read(struct rig *rig, const char *image, int32_t row, void *elements);
/* One step of one row at position 0; checks the counted cycles against `last` and the closed form. */
void rig_run(struct rig *rig);
/* The step must fail with a text that holds `words`. */
void rig_refused(struct rig *rig, const char *words);
void rig_close(struct rig *rig);

/* Deterministic noise in [-1, 1). */
float rig_noise(uint32_t *state);

#endif
