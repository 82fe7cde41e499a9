/* SPDX-License-Identifier: Apache-2.0
 *
 * What follows from an instruction alone, looked at once per segment: its unit, delays, widths, and that it names
 * queues, streams and types that there are. Values and addresses are looked at when it runs.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "execute.h"
#include "tandem/base.h"

/* What is being decoded, for messages. */
struct decoder {
  const struct td_lpu_program *program;
  const struct td_lpu_machine *machine;
  const struct td_lpu_segment *segment;
  struct execute_op *op;
};

static td_status refuse(const struct decoder *at, const char *format, ...) __attribute__((format(printf, 2, 3), cold));
static td_status refuse(const struct decoder *at, const char *format, ...) {
  char text[256];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  const struct td_lpu_instruction *of = at->op->of;
  return td_fail(TD_CORRUPT, "segment %.31s, instruction %d (%s, chip %d, queue %d, cycle %d): %s", at->segment->name,
                 at->op->index, td_lpu_opcode_name((enum td_lpu_opcode)of->opcode), of->chip, of->queue, of->cycle,
                 text);
}

static td_status decode_place(struct decoder *at) {
  struct execute_op *op = at->op;
  const struct td_lpu_instruction *of = op->of;
  if (of->opcode >= TD_LPU_OPCODE_COUNT) return refuse(at, "found opcode %d", of->opcode);
  if (!td_lpu_queue_at(at->machine, of->queue, &op->queue) ||
      !td_lpu_queue_takes(&op->queue, (enum td_lpu_opcode)of->opcode)) {
    return refuse(at, "the opcode does not belong into this queue");
  }
  if (op->queue.unit == TD_UNIT_LINK && op->queue.index >= at->machine->links_used) {
    return refuse(at, "found link %d, expected one of the %d wired ones", op->queue.index, at->machine->links_used);
  }
  if (of->repeat < 1 || of->gap < 1 || of->cycle < 0) {
    return refuse(at, "found %d iterations %d cycles apart, expected 1 or more of both", of->repeat, of->gap);
  }
  if (of->patch[0] > at->segment->patch_count || of->patch[1] > at->segment->patch_count) {
    return refuse(at, "found patches %d and %d, expected at most %d", of->patch[0], of->patch[1],
                  at->segment->patch_count);
  }
  return TD_OK;
}

static int32_t larger(int32_t a, int32_t b) {
  return a > b ? a : b;
}

static void decode_delays(struct decoder *at) {
  const struct td_lpu_machine *machine = at->machine;
  const struct td_lpu_instruction *of = at->op->of;
  struct execute_op *op = at->op;
  op->skew = machine->delay[of->opcode].skew;
  op->func = machine->delay[of->opcode].func;
  if (of->opcode == TD_LPU_ALU) op->func = machine->alu_func[of->operation];
  if (of->opcode == TD_LPU_LOAD && of->flags & TD_LPU_COLUMNS) op->func += machine->transpose_cycles;
  if (of->opcode == TD_LPU_MEMORY) op->skew = of->flags & TD_LPU_WRITE ? machine->memory_write_skew : 0;
  op->tail = larger(op->skew, op->func);
  if (of->opcode == TD_LPU_MEMORY && !(of->flags & TD_LPU_READ)) op->tail = op->skew;
  if (of->opcode == TD_LPU_SEND) op->tail = op->skew;
  if (of->opcode == TD_LPU_INSTALL) op->tail = machine->install_cycles - 1;
  if (of->opcode == TD_LPU_SUM && !(of->flags & TD_LPU_EMIT)) op->tail = 0;
}

static td_status check_streams(const struct decoder *at, const char *what, uint8_t stream, int32_t width,
                               int32_t alignment) {
  int32_t index = stream & TD_LPU_STREAM_INDEX;
  bool exists = !(stream & ~(TD_LPU_EAST | TD_LPU_STREAM_INDEX)) && index <= at->machine->streams - width;
  if (exists && index % alignment == 0) return TD_OK;
  return refuse(at, "found %s on %d streams from %d (0x%02x), expected them among %d and a multiple of %d", what, width,
                index, stream, at->machine->streams, alignment);
}

static td_status check_out(const struct decoder *at, int32_t width, int32_t alignment) {
  at->op->out_width = width;
  return check_streams(at, "a result", at->op->of->out, width, alignment);
}

static td_status check_in(const struct decoder *at, int which, int32_t width, int32_t alignment) {
  at->op->in_width[which] = width;
  return check_streams(at, "an operand", at->op->of->in[which], width, alignment);
}

static td_status decode_memory(const struct decoder *at) {
  int32_t flags = at->op->of->flags;
  if (!(flags & (TD_LPU_READ | TD_LPU_WRITE))) return refuse(at, "found flags %d, expected a read or a write", flags);
  if (flags & TD_LPU_READ) TD_TRY(check_out(at, 1, 1));
  return flags & TD_LPU_WRITE ? check_in(at, 0, 1, 1) : TD_OK;
}

/* k of a pass, and the lanes that hold it. */
static td_status check_half(const struct decoder *at, bool wide) {
  const struct td_lpu_machine *machine = at->machine;
  int32_t k = wide ? machine->plane_k / 2 : machine->plane_k, half = wide ? at->op->of->half : 0;
  if ((half + 1) * k <= machine->lanes) return TD_OK;
  return refuse(at, "found half %d of %d lanes, expected it among %d", half, k, machine->lanes);
}

static td_status check_fp8(const struct decoder *at, int32_t type) {
  if (at->machine->fp8 || (type != TD_LPU_F8 && type != TD_LPU_WF8)) return TD_OK;
  return refuse(at, "found FP8, which %s does not have", at->machine->name);
}

static td_status decode_load(const struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of;
  int32_t type = of->type, vectors = at->machine->load_vectors;
  if (type == TD_LPU_F32 || type == TD_LPU_I32 || type >= TD_LPU_TYPE_COUNT) {
    return refuse(at, "found type %d of LOAD", type);
  }
  int32_t each = type == TD_LPU_F16 ? 2 : 1;
  TD_TRY(check_fp8(at, type));
  if (of->flags & TD_LPU_COLUMNS) TD_TRY(check_half(at, type != TD_LPU_I8 && type != TD_LPU_F8));
  return check_in(at, 0, vectors * each, each);
}

static td_status decode_pass(const struct decoder *at) {
  int32_t type = at->op->of->type;
  if (type != TD_LPU_I8 && type != TD_LPU_F16 && type != TD_LPU_F8) {
    return refuse(at, "found type %d of PASS, expected i8, f8 or f16", type);
  }
  TD_TRY(check_fp8(at, type));
  int32_t width = type == TD_LPU_F16 ? 2 : 1;
  if (width == 2 && at->op->queue.index % 2) return refuse(at, "an fp16 pass belongs to the pair's even plane");
  TD_TRY(check_half(at, width == 2));
  return check_in(at, 0, width, width);
}

static td_status decode_sum(const struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of;
  if (of->type != TD_LPU_I32 && of->type != TD_LPU_F32 && of->type != TD_LPU_F8) {
    return refuse(at, "found type %d of SUM", of->type);
  }
  TD_TRY(check_fp8(at, of->type));
  if (of->type == TD_LPU_F32 && at->op->queue.index % 2) return refuse(at, "fp16 sums belong to the pair's even plane");
  return of->flags & TD_LPU_EMIT ? check_out(at, 4, 4) : TD_OK;
}

static td_status decode_operand(const struct decoder *at, int which) {
  const struct td_lpu_instruction *of = at->op->of;
  switch (of->source[which]) {
    case TD_SOURCE_STREAM: {
      int32_t width = td_lpu_type_bytes((enum td_lpu_type)of->in_type[which]);
      if (of->in_type[which] >= TD_LPU_TYPE_COUNT) return refuse(at, "found operand type %d", of->in_type[which]);
      TD_TRY(check_fp8(at, of->in_type[which]));
      return check_in(at, which, width, width);
    }
    case TD_SOURCE_CHAIN:
      if (of->in[which] < at->machine->alus) return TD_OK;
      return refuse(at, "found a chain from ALU %d, expected one of %d", of->in[which], at->machine->alus);
    case TD_SOURCE_IMMEDIATE:
      return TD_OK;
    default:
      return refuse(at, "found source %d of operand %d", of->source[which], which);
  }
}

static bool takes_integers(int32_t operation) {
  return operation == TD_ALU_TO_F32 || operation == TD_ALU_ADD_I32 || operation == TD_ALU_SUB_I32 ||
         operation == TD_ALU_SHIFT_I32;
}

static bool is_integer(int32_t type) {
  return type == TD_LPU_I8 || type == TD_LPU_I32;
}

int32_t execute_operand_count(int32_t operation) {
  switch (operation) {
    case TD_ALU_ADD:
    case TD_ALU_SUB:
    case TD_ALU_MUL:
    case TD_ALU_MAX:
    case TD_ALU_MIN:
    case TD_ALU_ADD_I32:
    case TD_ALU_SUB_I32:
    case TD_ALU_SHIFT_I32:
      return 2;
    case TD_ALU_SELECT_LE:
      return 3;
    default:
      return 1;
  }
}

/* A move from streams is of what the stream holds; other moves are of what goes out. */
bool execute_gives_integers(const struct td_lpu_instruction *of) {
  if (of->operation == TD_ALU_MOVE) {
    return is_integer(of->source[0] == TD_SOURCE_STREAM ? of->in_type[0] : of->out_type);
  }
  return of->operation == TD_ALU_TO_I32 || (takes_integers(of->operation) && of->operation != TD_ALU_TO_F32);
}

static td_status check_kinds(const struct decoder *at, int32_t count) {
  const struct td_lpu_instruction *of = at->op->of;
  for (int i = 0; i < count; i++) {
    bool wrong = is_integer(of->in_type[i]) != takes_integers(of->operation);
    if (of->source[i] == TD_SOURCE_STREAM && of->operation != TD_ALU_MOVE && wrong) {
      return refuse(at, "found an operand of type %d for %s", of->in_type[i],
                    td_lpu_alu_name((enum td_lpu_alu)of->operation));
    }
  }
  bool whole = execute_gives_integers(of);
  if (of->out != TD_LPU_NO_STREAM && whole && !is_integer(of->out_type)) {
    return refuse(at, "found an integer result going out as type %d, expected i32 or i8", of->out_type);
  }
  if (of->out != TD_LPU_NO_STREAM && !whole && of->out_type == TD_LPU_I32) {
    return refuse(at, "found a float result going out as i32: to_i32 makes one");
  }
  return TD_OK;
}

static td_status decode_alu(const struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of;
  int32_t count = execute_operand_count(of->operation);
  for (int i = 0; i < count; i++) TD_TRY(decode_operand(at, i));
  TD_TRY(check_kinds(at, count));
  if (of->out == TD_LPU_NO_STREAM) return TD_OK;
  if (of->out_type >= TD_LPU_TYPE_COUNT) return refuse(at, "found result type %d", of->out_type);
  TD_TRY(check_fp8(at, of->out_type));
  int32_t width = td_lpu_type_bytes((enum td_lpu_type)of->out_type);
  return check_out(at, width, width);
}

static td_status decode_switch(const struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of;
  if (of->opcode == TD_LPU_TRANSPOSE) {
    if (at->machine->lanes_per_superlane != 16) return refuse(at, "a transpose needs 16 lanes a superlane");
    TD_TRY(check_out(at, 16, 1));
    return check_in(at, 0, 16, 1);
  }
  if (of->width != 1 && of->width != 2 && of->width != 4) return refuse(at, "found width %d", of->width);
  TD_TRY(check_out(at, of->width, of->width));
  if (of->opcode == TD_LPU_SELECT) TD_TRY(check_in(at, 1, of->width, of->width));
  return check_in(at, 0, of->width, of->width);
}

static td_status decode_operands(const struct decoder *at) {
  switch (at->op->of->opcode) {
    case TD_LPU_MEMORY:
      return decode_memory(at);
    case TD_LPU_LOAD:
      return decode_load(at);
    case TD_LPU_INSTALL:
      return TD_OK;
    case TD_LPU_PASS:
      return decode_pass(at);
    case TD_LPU_SUM:
      return decode_sum(at);
    case TD_LPU_ALU:
      return decode_alu(at);
    case TD_LPU_SEND:
      return check_in(at, 0, 1, 1);
    case TD_LPU_RECEIVE:
      return check_out(at, 1, 1);
    default:
      return decode_switch(at);
  }
}

static td_status decode_op(struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of;
  TD_TRY(decode_place(at));
  if (of->opcode == TD_LPU_ALU && of->operation >= TD_ALU_COUNT) return refuse(at, "found operation %d", of->operation);
  TD_TRY(decode_operands(at));
  decode_delays(at);
  int64_t last = of->cycle + (int64_t)(of->repeat - 1) * of->gap + at->op->tail;
  if (last < at->segment->length) return TD_OK;
  return refuse(at, "SEGMENT: ends in cycle %lld, expected the segment's %d cycles to hold it", (long long)last,
                at->segment->length);
}

/* A queue is busy until its last iteration, and a segment lists each queue's instructions in order. */
static td_status check_queue(const struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of, *before = of - 1;
  if (at->op->index == 0 || before->chip != of->chip || before->queue != of->queue) return TD_OK;
  int64_t busy = before->cycle + (int64_t)(before->repeat - 1) * before->gap;
  if (of->cycle > busy) return TD_OK;
  return refuse(at, "QUEUE: the queue is busy until cycle %lld with the instruction before", (long long)busy);
}

static td_status check_order(const struct decoder *at) {
  const struct td_lpu_instruction *of = at->op->of, *before = of - 1;
  if (at->op->index == 0 || before->chip < of->chip || (before->chip == of->chip && before->queue <= of->queue)) {
    return TD_OK;
  }
  return refuse(at, "QUEUE: follows chip %d, queue %d, expected them ascending", before->chip, before->queue);
}

struct by_cycle {
  int32_t cycle, index;
};

static int compare_cycles(const void *a, const void *b) {
  const struct by_cycle *x = a, *y = b;
  if (x->cycle != y->cycle) return x->cycle < y->cycle ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

static td_status sort_by_cycle(const struct td_lpu_segment *segment, int32_t *out) {
  void *memory;
  size_t count = (size_t)segment->instruction_count;
  TD_TRY(td_alloc(count, sizeof(struct by_cycle), &memory));
  struct by_cycle *rows = memory;
  for (size_t i = 0; i < count; i++) rows[i] = (struct by_cycle){segment->instructions[i].cycle, (int32_t)i};
  qsort(rows, count, sizeof *rows, compare_cycles);
  for (size_t i = 0; i < count; i++) out[i] = rows[i].index;
  free(rows);
  return TD_OK;
}

td_status execute_decode(struct execution *run, int32_t index) {
  const struct td_lpu_program *program = run->system.program;
  const struct td_lpu_segment *segment = &program->segments[index];
  struct execute_code *code = &run->code[index];
  if (code->ops) return TD_OK;
  void *ops, *order;
  size_t count = (size_t)segment->instruction_count;
  TD_TRY(execute_keep(run, count, sizeof *code->ops, &ops));
  TD_TRY(execute_keep(run, count, sizeof *code->by_cycle, &order));
  struct decoder at = {.program = program, .machine = &program->machine, .segment = segment};
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    at.op = (struct execute_op *)ops + i;
    *at.op = (struct execute_op){.of = &segment->instructions[i], .index = i};
    TD_TRY(decode_op(&at));
    TD_TRY(check_order(&at));
    TD_TRY(check_queue(&at));
    if (at.op->of->chip >= code->chip_count) code->chip_count = at.op->of->chip + 1;
  }
  TD_TRY(sort_by_cycle(segment, order));
  code->by_cycle = order;
  code->ops = ops;
  return TD_OK;
}
