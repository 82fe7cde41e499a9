/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing LPU programs by hand, for tests: one line per image, instruction and meaning. Nothing here schedules: cycles
 * and streams are the writer's. Out of memory or a wrong handle ends the test program.
 *
 *   struct hand_code *code = hand_begin(&machine, 1);
 *   int32_t x = hand_image(code, "x", TD_IMAGE_INPUT, TD_LPU_I8, 0, 1, 0, 1, 0, 4);
 *   hand_segment(code, "copy", 40);
 *   int32_t r = hand_read(code, 0, x, 0, 2, TD_LPU_EAST | 3);
 *   int32_t w = hand_write(code, 9, y, 0, 0, TD_LPU_EAST | 3);
 *   hand_means(code, w, 0, r, 0);
 *   hand_entry(code, 1);
 *   hand_run(code, 0, 0);
 *   struct td_lpu_program *program = hand_finish(code);
 */
#ifndef TESTS_LPU_ASSEMBLE_H
#define TESTS_LPU_ASSEMBLE_H

#include "tandem/lpu_program.h"

struct hand_code;

struct hand_code *hand_begin(const struct td_lpu_machine *machine, int32_t chips);
/* The program, sorted as the header demands, with what TD_MEANING_ADDRESS says; frees the code. Free the result with
 * td_lpu_program_free. */
struct td_lpu_program *hand_finish(struct hand_code *code);

/* ---- images; each gives the image's index ---- */
int32_t hand_image(struct hand_code *code, const char *name, enum td_lpu_image_kind kind, enum td_lpu_type type,
                   int32_t chip, int32_t hemisphere, int32_t slice, int32_t slices, int32_t word, int32_t words);
/* What matrix an image holds (without this: a scratch of 0 rows). */
void hand_image_matrix(struct hand_code *code, int32_t image, int32_t rows, int32_t cols, int32_t by_steps);
const struct td_lpu_image *hand_image_at(const struct hand_code *code, int32_t image);
/* [words][slices][lanes] bytes, copied. */
void hand_image_data(struct hand_code *code, int32_t image, const void *bytes);
int32_t hand_map(struct hand_code *code, const int16_t *lanes);
void hand_kv_block(struct hand_code *code, int32_t block_tokens);

/* ---- segments: what follows goes into the last begun; gives the segment's index ---- */
int32_t hand_segment(struct hand_code *code, const char *name, int32_t length);
void hand_arrays(struct hand_code *code, uint32_t in, uint32_t out);

/* ---- instructions; each gives a handle in its segment. `slice` and `word` count from the image's first ---- */
int32_t hand_read(struct hand_code *code, int32_t cycle, int32_t image, int32_t slice, int32_t word, int32_t out);
int32_t hand_write(struct hand_code *code, int32_t cycle, int32_t image, int32_t slice, int32_t word, int32_t in);
void hand_also_write(struct hand_code *code, int32_t read, int32_t image, int32_t word, int32_t in);
int32_t hand_load(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type,
                  int32_t step, int32_t in);
int32_t hand_load_columns(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type,
                          int32_t step, int32_t in, int32_t half);
int32_t hand_install(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane);
int32_t hand_pass(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type, int32_t in,
                  int32_t half);
int32_t hand_sum(struct hand_code *code, int32_t cycle, int32_t chip, int32_t plane, enum td_lpu_type type,
                 int32_t flags, int32_t accumulator, int32_t out);
/* Operands follow with hand_from, hand_chain, hand_value. */
int32_t hand_alu(struct hand_code *code, int32_t cycle, int32_t chip, int32_t alu, enum td_lpu_alu operation,
                 enum td_lpu_type out_type, int32_t out);
void hand_from(struct hand_code *code, int32_t instruction, int32_t which, enum td_lpu_type type, int32_t in);
void hand_chain(struct hand_code *code, int32_t instruction, int32_t which, int32_t alu);
void hand_value(struct hand_code *code, int32_t instruction, int32_t which, float value);
int32_t hand_rotate(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t in,
                    int32_t out, int32_t by);
int32_t hand_shift(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t in,
                   int32_t out, int32_t by);
int32_t hand_permute(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t in,
                     int32_t out, int32_t map);
int32_t hand_select(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t width, int32_t a,
                    int32_t b, int32_t out, int32_t map);
int32_t hand_transpose(struct hand_code *code, int32_t cycle, int32_t chip, int32_t hemisphere, int32_t in,
                       int32_t out);
int32_t hand_send(struct hand_code *code, int32_t cycle, int32_t chip, int32_t link, int32_t in);
int32_t hand_receive(struct hand_code *code, int32_t cycle, int32_t chip, int32_t link, int32_t out);

/* ---- what any instruction can have ---- */
void hand_repeat(struct hand_code *code, int32_t instruction, int32_t repeat, int32_t gap, int32_t stride);
/* address[which] moves by a patch (of this segment, from hand_patch). */
int32_t hand_patch(struct hand_code *code, const struct td_lpu_patch *patch);
void hand_patched(struct hand_code *code, int32_t instruction, int32_t which, int32_t patch);
/* For all iterations: operand stream `operand`, or one of TD_MEANING_*, is `component` of the producer's iteration of
 * the same number. The second form says `count` operands and components from these on. */
void hand_means(struct hand_code *code, int32_t instruction, int32_t operand, int32_t producer, int32_t component);
void hand_means_all(struct hand_code *code, int32_t instruction, int32_t operand, int32_t producer, int32_t component,
                    int32_t count);
/* With everything said: for iterations begin .. end - 1, the producer's iteration scale * r + offset. */
void hand_meaning(struct hand_code *code, int32_t instruction, struct td_lpu_meaning meaning);
/* The instruction, for fields that have no helper; good until the next one is added. */
struct td_lpu_instruction *hand_at(struct hand_code *code, int32_t instruction);

/* ---- links ---- */
void hand_entry(struct hand_code *code, int32_t rows); /* what follows, up to the next entry or the end, is its */
void hand_run(struct hand_code *code, int32_t segment, int32_t chip);
void hand_loop(struct hand_code *code, enum td_lpu_variable variable, int32_t first, int32_t count);
void hand_end(struct hand_code *code);

#endif
