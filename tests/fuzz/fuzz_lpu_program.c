/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as an LPU program: the last eight are replaced by the right checksum, so that the fields are reached. What
 * opens can be printed, walked and measured.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tandem/base.h"
#include "tandem/lpu_program.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { MOST_CALLS = 2000 };

struct look {
  const struct td_lpu_program *program;
  int calls;
};

static void look_at(const struct td_lpu_program *program, const struct td_lpu_call *call,
                    const struct td_lpu_instruction *instruction) {
  for (int which = 0; which < 2 && instruction->opcode == TD_LPU_MEMORY; which++) {
    if (!(instruction->flags & (which ? TD_LPU_WRITE : TD_LPU_READ))) continue;
    int32_t word = td_lpu_address(program, call, instruction, which, instruction->repeat - 1);
    if (word < 0 || word >= program->machine.mem_words) abort();
  }
}

static td_status run(void *context, const struct td_lpu_call *call) {
  struct look *look = context;
  const struct td_lpu_segment *segment = &look->program->segments[call->segment];
  for (int32_t i = 0; i < segment->instruction_count; i++) look_at(look->program, call, &segment->instructions[i]);
  return ++look->calls < MOST_CALLS ? TD_OK : td_fail(TD_ABORTED, "enough");
}

/* Loops may be empty and many: what a walk takes is bounded by its calls only where something is called. */
static bool is_short(const struct td_lpu_program *program) {
  int64_t turns = 1;
  for (int32_t i = 0; i < program->link_count; i++) turns += program->links[i].count;
  return turns < 100;
}

static void use(const struct td_lpu_program *program) {
  static const int32_t blocks[] = {3, 5, 1};
  int32_t tokens = program->block_tokens ? program->block_tokens : 1;
  const struct td_lpu_row row = {2 * tokens + 3 % tokens, blocks, 3};
  const struct td_lpu_step step = {&row, 1};
  FILE *sink = fopen("/dev/null", "w");
  if (!sink) abort();
  td_lpu_program_dump(program, -1, sink);
  fclose(sink);
  for (int32_t i = 0; i < program->entry_count && i < 16; i++) {
    struct look look = {program, 0};
    if (td_lpu_program_cycles(program, i, &step) < 0) abort();
    int32_t rows = program->entries[i].rows;
    (void)td_lpu_program_output(program, i);
    if (td_lpu_program_next(program, i, rows) >= 0 && td_lpu_program_outputs(program, i, rows) < 1) abort();
    if (is_short(program)) (void)td_lpu_program_walk(program, i, &step, run, &look);
  }
}

static void put(int file, const void *data, size_t bytes) {
  if (write(file, data, bytes) != (ssize_t)bytes) abort();
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  if (size < 8) return 0;
  char path[64];
  unsigned char checksum[8];
  int file = memfd_create("fuzz.lpu", MFD_CLOEXEC);
  if (file < 0) abort();
  uint64_t hash = td_hash(TD_HASH_INIT, data, size - 8);
  for (int i = 0; i < 8; i++) checksum[i] = (unsigned char)(hash >> (8 * i));
  put(file, data, size - 8);
  put(file, checksum, sizeof checksum);
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  struct td_lpu_program *program;
  if (!td_lpu_program_open(path, &program)) {
    use(program);
    td_lpu_program_free(program);
  }
  close(file);
  return 0;
}

#ifdef TANDEM_FUZZ_MAIN
#include "fuzz_main.h"
#endif
