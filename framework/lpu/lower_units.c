/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, the vector unit, the switch and the links: what their events become.
 */
#include "lower.h"
#include "tandem/base.h"

/* ---- memory ---- */

static int32_t word_of(const struct td_lpu_instruction *of, int which, int32_t iteration) {
  return of->address[which] + of->stride[which] * iteration;
}

static int32_t slice_of(const struct lowering *lower) {
  return lower->op->queue.hemisphere * (lower->machine->mem_slices / 2) + lower->op->queue.index;
}

td_status lower_memory_read(struct lowering *lower, int32_t iteration) {
  const struct td_lpu_instruction *of = lower->op->of;
  void *reads = lower->reads;
  TD_TRY(td_grow(&reads, &lower->read_capacity, lower->read_count + 1, sizeof *lower->reads));
  lower->reads = reads;
  int32_t number = (int32_t)lower->read_count++;
  struct lower_read *read = &lower->reads[number];
  *read = (struct lower_read){of->chip,     slice_of(lower), word_of(of, 0, iteration),
                              of->patch[0], lower->now,      lower->instance};
  lower->state[lower->instance] = number;
  if (!(lower->marks[lower->instance] & LOWER_COPY_READ)) return TD_OK;
  struct td_lpu_code_place from, to = {0, TD_CODE_WORK};
  TD_TRY(lower_sram(lower, read->chip, read->slice, read->word, read->patch, &from));
  TD_TRY(lower_temp_new(lower, 1, &to.vector));
  lower->state[lower->instance] = ~to.vector;
  return lower_copy(lower, from, to, 1);
}

td_status lower_memory_write(struct lowering *lower, int32_t iteration) {
  const struct td_lpu_instruction *of = lower->op->of;
  struct lower_log *log = &lower_chip_of(lower)->logs[slice_of(lower)];
  int32_t word = word_of(of, 1, iteration);
  struct td_lpu_code_place from, to;
  TD_TRY(lower_operand(lower, 0, 1, &from));
  TD_TRY(lower_sram(lower, of->chip, slice_of(lower), word, of->patch[1], &to));
  TD_TRY(lower_copy(lower, from, to, 1));
  void *stores = log->stores;
  TD_TRY(td_grow(&stores, &log->capacity, log->count + 1, sizeof *log->stores));
  log->stores = stores;
  log->stores[log->count++] = (struct lower_store){lower->now, word, of->patch[1]};
  return TD_OK;
}

/* ---- the vector unit ---- */

_Static_assert((int)TD_CODE_ALU_COUNT == (int)TD_ALU_COUNT && (int)TD_CODE_SIGMOID == (int)TD_ALU_SIGMOID,
               "enum td_lpu_code_alu is enum td_lpu_alu");

const enum td_lpu_code_operand lower_types[TD_LPU_TYPE_COUNT] = {
    [TD_LPU_I8] = TD_OPERAND_I8,  [TD_LPU_F16] = TD_OPERAND_F16, [TD_LPU_F32] = TD_OPERAND_32,
    [TD_LPU_I32] = TD_OPERAND_32, [TD_LPU_W8] = TD_OPERAND_W8,   [TD_LPU_F8] = TD_OPERAND_F8,
    [TD_LPU_WF8] = TD_OPERAND_F8,
};

static struct lower_result *result_at(const struct lowering *lower, int32_t alu, int32_t ready) {
  return &lower_chip_of(lower)->results[(int64_t)alu * (lower->result_mask + 1) + (ready & lower->result_mask)];
}

static td_status take_chain(struct lowering *lower, int which, struct td_lpu_code_place *out) {
  const struct lower_result *result = result_at(lower, lower->op->of->in[which], lower->now);
  if (result->ready != lower->now || result->twice) return lower_refuse(lower, "a chained operand is not there");
  *out = (struct td_lpu_code_place){result->whole, TD_CODE_WORK};
  return TD_OK;
}

/* Four vectors that an operation made of one value. */
static int32_t twin_of(const struct lowering *lower, struct td_lpu_code_place place) {
  if (place.patch != TD_CODE_WORK) return -1;
  const struct lower_temp *temp = lower_temp_at(lower, place.vector);
  return place.vector == temp->first ? temp->twin : -1;
}

static td_status take(struct lowering *lower, int which, struct td_lpu_code_op *op, struct td_lpu_code_place *out) {
  const struct td_lpu_instruction *of = lower->op->of;
  int32_t type = TD_OPERAND_IMMEDIATE;
  if (of->source[which] == TD_SOURCE_CHAIN) {
    type = TD_OPERAND_WHOLE;
    TD_TRY(take_chain(lower, which, out));
  } else if (of->source[which] == TD_SOURCE_STREAM) {
    type = (int32_t)lower_types[of->in_type[which]];
    TD_TRY(lower_operand(lower, which, lower->op->in_width[which], out));
    int32_t twin = type == TD_OPERAND_32 ? twin_of(lower, *out) : -1;
    if (twin >= 0) {
      type = TD_OPERAND_WHOLE;
      out->vector = twin;
    }
  }
  op->types |= type << (4 * which);
  return TD_OK;
}

/* The result bears a name in full for chains, and as it goes out. */
static td_status name_result(struct lowering *lower, struct td_lpu_code_op *op) {
  const struct td_lpu_instruction *of = lower->op->of;
  int32_t ready = lower->now - lower->op->skew + lower->op->func;
  struct lower_result *result = result_at(lower, lower->op->queue.index, ready);
  TD_TRY(lower_temp_new(lower, 4, &op->whole));
  *result = (struct lower_result){ready, op->whole, result->ready == ready};
  if (execute_gives_integers(of)) op->types |= TD_CODE_INTEGER;
  op->out = (struct td_lpu_code_place){-1, TD_CODE_WORK};
  if (of->out == TD_LPU_NO_STREAM) return TD_OK;
  op->types |= (int32_t)lower_types[of->out_type] << 12;
  TD_TRY(lower_temp_new(lower, lower->op->out_width, &op->out.vector));
  lower->state[lower->instance] = op->out.vector;
  if (lower->op->out_width == 4) lower_temp_at(lower, op->out.vector)->twin = op->whole;
  return TD_OK;
}

td_status lower_alu(struct lowering *lower) {
  const struct td_lpu_instruction *of = lower->op->of;
  struct td_lpu_code_op op = {.kind = TD_CODE_ALU, .detail = of->operation, .immediate = (int32_t)of->immediate};
  struct td_lpu_code_place *places[3] = {&op.a, &op.b, &op.c};
  for (int i = 0; i < execute_operand_count(of->operation); i++) TD_TRY(take(lower, i, &op, places[i]));
  TD_TRY(name_result(lower, &op));
  return lower_emit(lower, &op);
}

/* ---- the switch ---- */

static td_status check_map(struct lowering *lower, int32_t map) {
  const struct td_lpu_program *program = lower->program;
  if (map < 0 || map >= program->map_count) return lower_refuse(lower, "map %d does not exist", map);
  for (int32_t l = 0; l < lower->machine->lanes; l++) {
    int32_t lane = program->maps[map].lane[l];
    if (lane >= lower->machine->lanes) return lower_refuse(lower, "map %d takes lane %d", map, lane);
  }
  return TD_OK;
}

static td_status take_map(struct lowering *lower, int32_t iteration, struct td_lpu_code_op *op) {
  const struct td_lpu_instruction *of = lower->op->of;
  op->first = word_of(of, 0, iteration);
  if (!of->patch[0]) return check_map(lower, op->first);
  for (int32_t i = 0; i < lower->program->map_count; i++) TD_TRY(check_map(lower, i));
  return lower_patch_entry(lower, of->patch[0], op->first, 1, &op->detail);
}

td_status lower_switch(struct lowering *lower, int32_t iteration) {
  static const enum td_lpu_code_kind kinds[TD_LPU_OPCODE_COUNT] = {
      [TD_LPU_ROTATE] = TD_CODE_ROTATE, [TD_LPU_SHIFT] = TD_CODE_SHIFT,         [TD_LPU_PERMUTE] = TD_CODE_PERMUTE,
      [TD_LPU_SELECT] = TD_CODE_SELECT, [TD_LPU_TRANSPOSE] = TD_CODE_TRANSPOSE,
  };
  const struct td_lpu_instruction *of = lower->op->of;
  struct td_lpu_code_op op = {.kind = (int32_t)kinds[of->opcode],
                              .immediate = (int32_t)of->immediate,
                              .out = {0, TD_CODE_WORK},
                              .whole = -1,
                              .count = lower->op->out_width};
  if (of->opcode == TD_LPU_PERMUTE || of->opcode == TD_LPU_SELECT) TD_TRY(take_map(lower, iteration, &op));
  TD_TRY(lower_operand(lower, 0, op.count, &op.a));
  if (of->opcode == TD_LPU_SELECT) TD_TRY(lower_operand(lower, 1, op.count, &op.b));
  TD_TRY(lower_temp_new(lower, op.count, &op.out.vector));
  lower->state[lower->instance] = op.out.vector;
  return lower_emit(lower, &op);
}

/* ---- links: what is sent lies where only its receiver reads it ---- */

td_status lower_send(struct lowering *lower) {
  struct lower_chip *chip = lower_chip_of(lower);
  int32_t link = lower->op->queue.index, issued = lower->now - lower->op->skew;
  struct td_lpu_code_place from, to = {0, TD_CODE_WORK};
  if (chip->sent[link] != LOWER_NEVER && issued - chip->sent[link] < lower->link_cycles) {
    return lower_refuse(lower, "a vector %d cycles after the one before", issued - chip->sent[link]);
  }
  chip->sent[link] = issued;
  TD_TRY(lower_operand(lower, 0, 1, &from));
  TD_TRY(lower_temp_new(lower, 1, &to.vector));
  lower_temp_at(lower, to.vector)->kept = true;
  TD_TRY(lower_copy(lower, from, to, 1));
  void *flights = lower->flights;
  TD_TRY(td_grow(&flights, &lower->flight_capacity, lower->flight_count + 1, sizeof *lower->flights));
  lower->flights = flights;
  lower->flights[lower->flight_count++] =
      (struct lower_flight){lower->op->of->chip, link, issued, to.vector, chip->phase};
  return TD_OK;
}

/* The far end as a chip of the segment, which must be the same wherever the segment runs. */
static td_status far_end(struct lowering *lower, int32_t *out_chip, int32_t *out_link) {
  const struct td_lpu_program *program = lower->program;
  bool found = false;
  for (int32_t i = 0; i < program->link_count; i++) {
    const struct td_lpu_link *link = &program->links[i];
    int32_t chip, far, own = link->chip + lower->op->of->chip;
    if (link->kind != TD_LINK_RUN || link->segment != lower->index) continue;
    if (!td_lpu_link_peer(lower->machine, program->chips, own, lower->op->queue.index, &chip, &far)) {
      return lower_refuse(lower, "the link is not wired");
    }
    if (found && (chip - link->chip != *out_chip || far != *out_link)) {
      return lower_refuse(lower, "the link leads elsewhere in other calls of the segment");
    }
    *out_chip = chip - link->chip;
    *out_link = far;
    found = true;
  }
  return found ? TD_OK : lower_refuse(lower, "no call of the segment");
}

td_status lower_receive(struct lowering *lower) {
  int32_t far = 0, link = 0, sent = lower->now - lower->machine->link_latency;
  struct lower_chip *chip = lower_chip_of(lower);
  TD_TRY(far_end(lower, &far, &link));
  for (size_t i = lower->flight_count; i > 0; i--) {
    const struct lower_flight *flight = &lower->flights[i - 1];
    if (flight->chip != far || flight->link != link || flight->issued != sent) continue;
    lower->state[lower->instance] = flight->vector;
    if (chip->phase <= flight->phase) chip->phase = flight->phase + 1;
    return TD_OK;
  }
  return lower_refuse(lower, "nothing arrives");
}
