/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/lpu: one walk over a value's fields that reads, writes or only hashes it, so that the three
 * cannot disagree. Little-endian; every byte goes into an FNV-1a hash. The first failure stays: later calls do nothing
 * and what they read is zero, so a caller looks at `status` where it must not go on, and at the end.
 */
#ifndef TANDEM_LPU_CODEC_H
#define TANDEM_LPU_CODEC_H

#include "tandem/lpu_program.h"

struct td_codec {
  FILE *file; /* NULL: hash only */
  const char *path;
  const char *what; /* that is being read, for messages */
  bool reads;
  td_status status;
  uint64_t hash;
  uint64_t left; /* reading: bytes of the body that were not asked for */
  size_t at, end;
  unsigned char buffer[1 << 14];
};

void td_codec_bytes(struct td_codec *code, void *data, size_t bytes);
/* A text field of a fixed size: the bytes behind its end are written as zeros. */
void td_codec_name(struct td_codec *code, char *name, size_t bytes);
void td_codec_u8(struct td_codec *code, uint8_t *value);
void td_codec_u16(struct td_codec *code, uint16_t *value);
void td_codec_i16(struct td_codec *code, int16_t *value);
void td_codec_u32(struct td_codec *code, uint32_t *value);
void td_codec_i32(struct td_codec *code, int32_t *value);
void td_codec_u64(struct td_codec *code, uint64_t *value);
void td_codec_f64(struct td_codec *code, double *value);
void td_codec_i32s(struct td_codec *code, int32_t *values, size_t count);

/* *count, then *array of so many elements: reading allocates it. `file_bytes`: the least that an element takes in the
 * file, so that a count is refused that the rest of the file cannot hold. False if there is nothing to go through. */
bool td_codec_array(struct td_codec *code, const char *what, int32_t *count, void *array, size_t element,
                    size_t file_bytes);
/* Writing or hashing: the last of the buffer goes out. */
td_status td_codec_flush(struct td_codec *code);

void td_codec_machine(struct td_codec *code, struct td_lpu_machine *machine);
void td_codec_program(struct td_codec *code, struct td_lpu_program *program);

/* program_check.c: what the emulator, the checker and the walk rely on in a program from a file. */
td_status td_lpu_program_validate(const struct td_lpu_program *program);
/* program_instruction.c: one instruction of a segment whose patches were checked. */
td_status td_lpu_instruction_validate(const struct td_lpu_program *program, const struct td_lpu_segment *segment,
                                      int32_t number);

/* begin >= 0, length >= 1 and begin + length <= most, of numbers that may be anything. */
static inline bool td_lpu_inside(int32_t begin, int32_t length, int64_t most) {
  return begin >= 0 && length >= 1 && (int64_t)begin + length <= most;
}

#endif
