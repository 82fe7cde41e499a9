/* SPDX-License-Identifier: Apache-2.0
 *
 * One instruction of a program from a file: its queue, operands, addresses and times.
 */
#include <inttypes.h>
#include <stdarg.h>

#include "codec.h"

__extension__ typedef __int128 wide;

/* One instruction and where it stands. */
struct place {
  const struct td_lpu_program *program;
  const struct td_lpu_segment *segment;
  const struct td_lpu_instruction *instruction;
  int32_t number;
};

__attribute__((format(printf, 2, 3))) static td_status bad(const struct place *at, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return td_fail(TD_CORRUPT, "segment %s: instruction %d: %s", at->segment->name, at->number, text);
}

/* ---- operands ---- */

/* `bytes` streams from operand `stream`; NO_STREAM is fine where `optional`. */
static td_status check_stream(const struct place *at, const char *name, uint8_t stream, int32_t bytes, bool optional) {
  if (stream == TD_LPU_NO_STREAM && optional) return TD_OK;
  int32_t index = stream & TD_LPU_STREAM_INDEX;
  if (stream <= (TD_LPU_EAST | TD_LPU_STREAM_INDEX) && td_lpu_inside(index, bytes, at->program->machine.streams))
    return TD_OK;
  return bad(at, "%s: found stream byte %d for %d streams, expected ones of %d", name, stream, bytes,
             at->program->machine.streams);
}

static td_status check_alu_operand(const struct place *at, int i) {
  static const char *const names[] = {"in[0]", "in[1]", "in[2]"};
  const struct td_lpu_instruction *instruction = at->instruction;
  uint8_t source = instruction->source[i], type = instruction->in_type[i];
  if (source > TD_SOURCE_IMMEDIATE || type >= TD_LPU_TYPE_COUNT) {
    return bad(at, "%s: found source %d of type %d, expected known ones", names[i], source, type);
  }
  if (source == TD_SOURCE_CHAIN && instruction->in[i] >= at->program->machine.alus) {
    return bad(at, "%s: found ALU %d, expected one of %d", names[i], instruction->in[i], at->program->machine.alus);
  }
  if (source != TD_SOURCE_STREAM) return TD_OK;
  return check_stream(at, names[i], instruction->in[i], td_lpu_type_bytes((enum td_lpu_type)type), false);
}

static td_status check_alu(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  if (instruction->operation >= TD_ALU_COUNT || instruction->out_type >= TD_LPU_TYPE_COUNT) {
    return bad(at, "found operation %d into type %d, expected known ones", instruction->operation,
               instruction->out_type);
  }
  for (int i = 0; i < 3; i++) TD_TRY(check_alu_operand(at, i));
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)instruction->out_type);
  return check_stream(at, "out", instruction->out, bytes, true);
}

static td_status check_switch(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  int32_t bytes = instruction->opcode == TD_LPU_TRANSPOSE ? 16 : instruction->width;
  if (bytes != 1 && bytes != 2 && bytes != 4 && bytes != 16)
    return bad(at, "found width %d, expected 1, 2 or 4", bytes);
  TD_TRY(check_stream(at, "in[0]", instruction->in[0], bytes, false));
  if (instruction->opcode == TD_LPU_SELECT) TD_TRY(check_stream(at, "in[1]", instruction->in[1], bytes, false));
  return check_stream(at, "out", instruction->out, bytes, false);
}

static td_status check_memory(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  bool reads = instruction->flags & TD_LPU_READ, writes = instruction->flags & TD_LPU_WRITE;
  if (!reads && !writes) return bad(at, "found neither a read nor a write");
  for (int i = 0; i < 2; i++) {
    int32_t image = instruction->image[i];
    if ((i ? writes : reads) && (image < 0 || image >= at->program->image_count)) {
      return bad(at, "found image %d, expected one of %d", image, at->program->image_count);
    }
  }
  if (writes) TD_TRY(check_stream(at, "in[0]", instruction->in[0], 1, false));
  return reads ? check_stream(at, "out", instruction->out, 1, false) : TD_OK;
}

static td_status check_matrix_operands(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  int32_t vectors = at->program->machine.load_vectors, bytes = td_lpu_type_bytes((enum td_lpu_type)instruction->type);
  if (instruction->half > 1) return bad(at, "found half %d, expected 0 or 1", instruction->half);
  if (instruction->opcode == TD_LPU_LOAD) return check_stream(at, "in[0]", instruction->in[0], vectors * bytes, false);
  if (instruction->opcode == TD_LPU_PASS) return check_stream(at, "in[0]", instruction->in[0], bytes, false);
  bool emits = instruction->opcode == TD_LPU_SUM && (instruction->flags & TD_LPU_EMIT);
  return emits ? check_stream(at, "out", instruction->out, 4, false) : TD_OK;
}

static td_status check_operands(const struct place *at) {
  switch (at->instruction->opcode) {
    case TD_LPU_MEMORY:
      return check_memory(at);
    case TD_LPU_ALU:
      return check_alu(at);
    case TD_LPU_SEND:
      return check_stream(at, "in[0]", at->instruction->in[0], 1, false);
    case TD_LPU_RECEIVE:
      return check_stream(at, "out", at->instruction->out, 1, false);
    case TD_LPU_LOAD:
    case TD_LPU_INSTALL:
    case TD_LPU_PASS:
    case TD_LPU_SUM:
      return check_matrix_operands(at);
    default:
      return check_switch(at);
  }
}

/* ---- types ---- */

static bool is_fp8(uint8_t type) {
  return type == TD_LPU_F8 || type == TD_LPU_WF8;
}

static td_status check_fp8(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  uint8_t type = instruction->type;
  for (int i = 0; i < 3 && instruction->opcode == TD_LPU_ALU; i++) {
    if (instruction->source[i] == TD_SOURCE_STREAM && is_fp8(instruction->in_type[i])) type = instruction->in_type[i];
  }
  if (instruction->opcode == TD_LPU_ALU && is_fp8(instruction->out_type)) type = instruction->out_type;
  if (!is_fp8(type) || at->program->machine.fp8) return TD_OK;
  return bad(at, "found FP8 (type %d), which %s does not have", type, at->program->machine.name);
}

/* ---- queues ---- */

static td_status check_queue(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  struct td_lpu_queue queue;
  if (instruction->chip >= at->program->chips) {
    return bad(at, "found chip %d, expected one of %d", instruction->chip, at->program->chips);
  }
  if (!td_lpu_queue_at(&at->program->machine, instruction->queue, &queue)) {
    return bad(at, "found queue %d, expected one of %d", instruction->queue, at->program->machine.instruction_queues);
  }
  if (instruction->opcode >= TD_LPU_OPCODE_COUNT || !td_lpu_queue_takes(&queue, instruction->opcode)) {
    return bad(at, "found opcode %d on queue %d of a %s unit, expected one that it takes", instruction->opcode,
               instruction->queue, td_lpu_unit_name(queue.unit));
  }
  if (instruction->type < TD_LPU_TYPE_COUNT && instruction->flags < 2 * TD_LPU_EMIT) return TD_OK;
  return bad(at, "found type %d and flags %d, expected known ones", instruction->type, instruction->flags);
}

static td_status check_time(const struct place *at) {
  const struct td_lpu_instruction *instruction = at->instruction;
  int64_t last = instruction->cycle + (int64_t)(instruction->repeat - 1) * instruction->gap;
  if (instruction->cycle >= 0 && instruction->repeat >= 1 && instruction->gap >= 1 && last < at->segment->length) {
    return TD_OK;
  }
  return bad(at, "found %d iterations from cycle %d, %d apart, expected them inside the segment's %d cycles",
             instruction->repeat, instruction->cycle, instruction->gap, at->segment->length);
}

static bool comes_before(const struct td_lpu_instruction *a, const struct td_lpu_instruction *b) {
  if (a->chip != b->chip) return a->chip < b->chip;
  if (a->queue != b->queue) return a->queue < b->queue;
  return a->cycle < b->cycle;
}

/* ---- addresses ---- */

/* How many there are of what address[which] counts; -1: it is not an address. */
static int32_t room_of(const struct td_lpu_program *program, const struct td_lpu_instruction *instruction, int which) {
  const struct td_lpu_machine *m = &program->machine;
  uint8_t flags = instruction->flags;
  if (instruction->opcode == TD_LPU_MEMORY) return flags & (which ? TD_LPU_WRITE : TD_LPU_READ) ? m->mem_words : -1;
  if (which) return -1;
  switch (instruction->opcode) {
    case TD_LPU_LOAD:
      if (flags & TD_LPU_COLUMNS) return m->lanes / m->load_vectors;
      return (instruction->type == TD_LPU_I8 || instruction->type == TD_LPU_F8 ? m->plane_k : m->plane_k / 2) /
             m->load_vectors;
    case TD_LPU_SUM:
      if (!(flags & (TD_LPU_ADD | TD_LPU_KEEP))) return -1;
      return instruction->type == TD_LPU_F32 ? 2 * m->accumulator_depth : m->accumulator_depth;
    case TD_LPU_PERMUTE:
    case TD_LPU_SELECT:
      return program->map_count;
    default:
      return -1;
  }
}

/* Adds what factor * [low, high] may come to. */
static void widen(wide *low, wide *high, wide factor, wide from, wide to) {
  wide a = factor * from, b = factor * to;
  *low += a < b ? a : b;
  *high += a < b ? b : a;
}

static td_status check_address(const struct place *at, int which) {
  const struct td_lpu_instruction *instruction = at->instruction;
  int32_t room = room_of(at->program, instruction, which), index = instruction->patch[which];
  if (index > at->segment->patch_count) {
    return bad(at, "found patch %d, expected at most %d", index, at->segment->patch_count);
  }
  if (room < 0) return TD_OK;
  const struct td_lpu_patch *patch = index ? &at->segment->patches[index - 1] : NULL;
  wide low = instruction->address[which], high = low;
  widen(&low, &high, instruction->stride[which], 0, instruction->repeat - 1);
  for (int v = 0; patch && v < TD_LPU_VARIABLES; v++) {
    widen(&low, &high, patch->coefficient[v], patch->low[v], patch->high[v]);
  }
  if (low < 0 || high >= room) {
    return bad(at, "found address[%d] from %" PRId64 " to %" PRId64 ", expected 0..%d", which, (int64_t)low,
               (int64_t)high, room - 1);
  }
  if (!patch || patch->lane < 0 || (patch->otherwise >= 0 && patch->otherwise < room)) return TD_OK;
  return bad(at, "found %d as the other address of patch %d, expected 0..%d", patch->otherwise, index, room - 1);
}

td_status td_lpu_instruction_validate(const struct td_lpu_program *program, const struct td_lpu_segment *segment,
                                      int32_t number) {
  const struct td_lpu_instruction *instruction = &segment->instructions[number];
  const struct place place = {program, segment, instruction, number}, *at = &place;
  TD_TRY(check_queue(at));
  TD_TRY(check_time(at));
  if (at->number && !comes_before(instruction - 1, instruction)) {
    return bad(at, "found it out of order, expected them ascending by chip, queue and cycle");
  }
  TD_TRY(check_operands(at));
  TD_TRY(check_fp8(at));
  for (int which = 0; which < 2; which++) TD_TRY(check_address(at, which));
  int64_t end = (int64_t)instruction->meaning + instruction->meaning_count;
  if (instruction->meaning >= 0 && instruction->meaning_count >= 0 && end <= at->segment->meaning_count) return TD_OK;
  return bad(at, "found %d meanings from %d, expected ones of %d", instruction->meaning_count, instruction->meaning,
             at->segment->meaning_count);
}
