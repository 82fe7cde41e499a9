/* SPDX-License-Identifier: Apache-2.0
 *
 * Chains: vectors come from SRAM, some through a switch, meet in the vector unit's ALUs, each result in the very cycle
 * in which the next ALU reads it, and go back to SRAM.
 */
#include <string.h>

#include "builder.h"
#include "tandem/base.h"

void lpu_chain_begin(struct lpu_chain *chain, int32_t chip, int32_t n) {
  memset(chain, 0, sizeof *chain);
  chain->chip = chip;
  chain->n = n;
}

struct lpu_operand lpu_chain_via(struct lpu_chain *chain, struct lpu_tensor *tensor, int32_t offset, int32_t stride,
                                 enum lpu_via via, int32_t amount) {
  lpu_take_column(&tensor, &offset, &stride);
  struct lpu_input input = {tensor, offset, stride, 0, via, amount};
  if (chain->input_count < LPU_CHAIN_INPUTS) chain->inputs[chain->input_count] = input;
  return (struct lpu_operand){LPU_FROM_INPUT, chain->input_count++, 0};
}

struct lpu_operand lpu_chain_input(struct lpu_chain *chain, struct lpu_tensor *tensor, int32_t offset, int32_t stride) {
  return lpu_chain_via(chain, tensor, offset, stride, LPU_VIA_NOTHING, 0);
}

struct lpu_operand lpu_chain_number(float value) {
  struct lpu_operand operand = {LPU_FROM_NUMBER, 0, 0};
  memcpy(&operand.bits, &value, sizeof value);
  return operand;
}

struct lpu_operand lpu_chain_step(struct lpu_chain *chain, enum td_lpu_alu operation, struct lpu_operand a,
                                  struct lpu_operand b, struct lpu_operand c) {
  struct lpu_step step = {operation, {a, b, c}, 0};
  if (chain->step_count < LPU_CHAIN_STEPS) chain->steps[chain->step_count] = step;
  return (struct lpu_operand){LPU_FROM_STEP, chain->step_count++, 0};
}

struct lpu_operand lpu_chain_select(struct lpu_chain *chain, struct lpu_operand a, struct lpu_operand b,
                                    struct lpu_operand c, float otherwise) {
  struct lpu_operand step = lpu_chain_step(chain, TD_ALU_SELECT_LE, a, b, c);
  if (step.index < LPU_CHAIN_STEPS) {
    memcpy(&chain->steps[step.index].otherwise, &otherwise, sizeof otherwise);
  }
  return step;
}

int32_t lpu_chain_result(struct lpu_chain *chain, struct lpu_operand step, struct lpu_tensor *tensor, int32_t offset,
                         int32_t stride) {
  lpu_take_column(&tensor, &offset, &stride);
  struct lpu_result result = {step.index, tensor, offset, stride, {0, 0, 0, 0}, -1};
  if (chain->result_count < LPU_CHAIN_RESULTS) chain->results[chain->result_count] = result;
  return chain->result_count++;
}

/* ---- when each step is issued, from the first one's ---- */

struct timing {
  int32_t at[LPU_CHAIN_STEPS];
  bool read[LPU_CHAIN_STEPS]; /* some step reads its result */
};

static int32_t result_of(const struct lpu_builder *builder, const struct lpu_chain *chain, const struct timing *timing,
                         int32_t step) {
  return timing->at[step] + builder->machine->alu_func[chain->steps[step].operation];
}

/* Moves a step, and what it waits for, `late` cycles back. */
static void delay_step(const struct lpu_chain *chain, struct timing *timing, int32_t step, int32_t late) {
  timing->at[step] += late;
  for (int32_t i = 0; i < 3; i++) {
    const struct lpu_operand *operand = &chain->steps[step].operand[i];
    if (operand->from == LPU_FROM_STEP) delay_step(chain, timing, operand->index, late);
  }
}

/* A step with operands of several chained results waits for the latest; the others come as late as they are wanted,
 * with all that they wait for. That needs results that one step reads, or steps that read them at one time. */
static td_status time_step(const struct lpu_builder *builder, const struct lpu_chain *chain, struct timing *timing,
                           int32_t step) {
  const struct lpu_operand *operands = chain->steps[step].operand;
  int32_t latest = -1;
  for (int32_t i = 0; i < 3; i++) {
    if (operands[i].from != LPU_FROM_STEP) continue;
    int32_t ready = result_of(builder, chain, timing, operands[i].index);
    if (ready > latest) latest = ready;
  }
  timing->at[step] = latest < 0 ? 0 : latest - builder->machine->delay[TD_LPU_ALU].skew;
  for (int32_t i = 0; i < 3; i++) {
    if (operands[i].from != LPU_FROM_STEP) continue;
    int32_t from = operands[i].index, late = latest - result_of(builder, chain, timing, from);
    if (late > 0 && timing->read[from]) {
      return td_fail(TD_INTERNAL, "lpu: a chain's step %d is read at two times, %d cycles apart", from, late);
    }
    delay_step(chain, timing, from, late);
    timing->read[from] = true;
  }
  return TD_OK;
}

/* ---- booking ---- */

/* An operand stream on its way: a READ, and a switch operation if it goes through one. */
struct way {
  struct lpu_read read;
  int32_t input, step, operand;
  int32_t moved_use, moved_stream; /* VIA: the switch's queue, its stream to the vector unit */
  int32_t moved;                   /* emitted: the switch's instruction */
};

struct work {
  const struct lpu_chain *chain;
  struct timing timing;
  struct way ways[LPU_CHAIN_INPUTS];
  int32_t way_count;
  int32_t alu_use[LPU_CHAIN_STEPS];
  struct lpu_write writes[LPU_CHAIN_RESULTS];
  int32_t emitted[LPU_CHAIN_STEPS];
};

static enum td_lpu_opcode via_opcode(enum lpu_via via) {
  return via == LPU_VIA_ROTATE ? TD_LPU_ROTATE : TD_LPU_PERMUTE;
}

static void book_way(struct lpu_builder *builder, struct work *work, int32_t step, int32_t operand) {
  const struct td_lpu_machine *machine = builder->machine;
  const struct lpu_input *input = &work->chain->inputs[work->chain->steps[step].operand[operand].index];
  struct way *way = &work->ways[work->way_count++];
  int32_t middle = td_lpu_vector_position(machine), arrives = work->timing.at[step] + machine->delay[TD_LPU_ALU].skew;
  way->input = work->chain->steps[step].operand[operand].index;
  way->step = step;
  way->operand = operand;
  way->read = (struct lpu_read){.tensor = input->tensor,
                                .offset = input->offset,
                                .stride = input->stride,
                                .n = work->chain->n,
                                .patch = input->patch,
                                .at = middle,
                                .when = arrives};
  if (input->via) {
    enum td_lpu_opcode opcode = via_opcode(input->via);
    int32_t hemisphere = input->tensor->hemisphere, at = td_lpu_switch_position(machine, hemisphere);
    int32_t issue = arrives - lpu_distance(at, middle) - machine->delay[opcode].func;
    enum td_lpu_switch_queue function = input->via == LPU_VIA_ROTATE ? TD_SWITCH_SHIFT : TD_SWITCH_PERMUTE;
    int32_t width = td_lpu_type_bytes(input->tensor->type);
    way->moved_use = lpu_use_queue(&builder->pattern, work->chain->chip,
                                   td_lpu_switch_queue(machine, hemisphere, function), issue, work->chain->n);
    way->moved_stream =
        lpu_use_stream(&builder->pattern, work->chain->chip, at, middle, arrives, width, work->chain->n);
    way->read.at = at;
    way->read.when = issue + machine->delay[opcode].skew;
  }
  lpu_read_book(builder, &builder->pattern, &way->read);
}

/* The farthest position at which somebody taps the result's stream, -1: nobody does. */
static int32_t tapped_at(const struct lpu_builder *builder, const struct lpu_chain *chain, int32_t result) {
  int32_t farthest = -1, middle = td_lpu_vector_position(builder->machine);
  for (int32_t i = 0; i < chain->result_count; i++) {
    const struct lpu_tensor *tensor = chain->results[i].tensor;
    if (chain->results[i].tap != result) continue;
    for (int32_t c = 0; c < td_lpu_type_bytes(tensor->type); c++) {
      int32_t at = td_lpu_memory_position(builder->machine, tensor->hemisphere, tensor->slice + c);
      if (farthest < 0 || lpu_distance(at, middle) > lpu_distance(farthest, middle)) farthest = at;
    }
  }
  return farthest;
}

static void book_results(struct lpu_builder *builder, struct work *work) {
  const struct lpu_chain *chain = work->chain;
  for (int32_t i = 0; i < chain->result_count; i++) {
    const struct lpu_result *result = &chain->results[i];
    struct lpu_write *write = &work->writes[i];
    *write = (struct lpu_write){.tensor = result->tensor,
                                .offset = result->offset,
                                .stride = result->stride,
                                .n = chain->n,
                                .from = td_lpu_vector_position(builder->machine),
                                .reach = tapped_at(builder, chain, i),
                                .tap = result->tap < 0 ? -1 : work->writes[result->tap].stream_use,
                                .when = result_of(builder, chain, &work->timing, result->step)};
    memcpy(write->patch, result->patch, sizeof write->patch);
    lpu_write_book(builder, &builder->pattern, write);
  }
}

/* An input that two operands of one step take is read once. */
static bool is_repeated(const struct lpu_step *step, int32_t operand) {
  for (int32_t i = 0; i < operand; i++) {
    if (step->operand[i].from == LPU_FROM_INPUT && step->operand[i].index == step->operand[operand].index) return true;
  }
  return false;
}

static void book_chain(struct lpu_builder *builder, struct work *work) {
  const struct lpu_chain *chain = work->chain;
  lpu_pattern_begin(&builder->pattern);
  book_results(builder, work);
  for (int32_t step = 0; step < chain->step_count; step++) {
    for (int32_t i = 0; i < 3; i++) {
      const struct lpu_step *from = &chain->steps[step];
      if (from->operand[i].from == LPU_FROM_INPUT && !is_repeated(from, i)) book_way(builder, work, step, i);
    }
  }
  for (int32_t step = 0; step < chain->step_count; step++) {
    work->alu_use[step] = lpu_use_alu(&builder->pattern, chain->chip, work->timing.at[step],
                                      builder->machine->alu_func[chain->steps[step].operation], chain->n);
  }
}

/* ---- emitting ---- */

static td_status emit_way(struct lpu_builder *builder, struct work *work, struct way *way, int32_t cycle) {
  const struct lpu_input *input = &work->chain->inputs[way->input];
  const struct lpu_use *uses = builder->pattern.uses;
  TD_TRY(lpu_read_emit(builder, &builder->pattern, cycle, &way->read));
  if (!input->via) return TD_OK;
  int32_t width = td_lpu_type_bytes(input->tensor->type);
  struct td_lpu_instruction instruction =
      lpu_instruction(via_opcode(input->via), work->chain->chip, uses[way->moved_use].queue,
                      cycle + uses[way->moved_use].at, work->chain->n);
  instruction.in[0] = lpu_stream_of(&uses[way->read.stream_use], 0);
  instruction.out = lpu_stream_of(&uses[way->moved_stream], 0);
  instruction.width = (uint8_t)width;
  if (input->via == LPU_VIA_ROTATE) instruction.immediate = (uint32_t)input->amount;
  if (input->via == LPU_VIA_PERMUTE) instruction.address[0] = input->amount;
  TD_TRY(lpu_emit(builder, &instruction, &way->moved));
  for (int32_t c = 0; c < width; c++) TD_TRY(lpu_mean(builder, c, way->read.first + c, 0, 1, 0));
  return TD_OK;
}

static const struct way *way_of(const struct work *work, int32_t step, int32_t operand) {
  int32_t input = work->chain->steps[step].operand[operand].index;
  for (int32_t i = 0; i < work->way_count; i++) {
    if (work->ways[i].step == step && work->ways[i].input == input) return &work->ways[i];
  }
  return NULL;
}

static void set_operand(const struct lpu_builder *builder, const struct work *work, int32_t step, int32_t i,
                        struct td_lpu_instruction *instruction) {
  const struct lpu_use *uses = builder->pattern.uses;
  const struct lpu_operand *operand = &work->chain->steps[step].operand[i];
  if (operand->from == LPU_FROM_NUMBER) {
    instruction->source[i] = TD_SOURCE_IMMEDIATE;
    instruction->in_type[i] = TD_LPU_F32;
    instruction->immediate = operand->bits;
  } else if (operand->from == LPU_FROM_STEP) {
    instruction->source[i] = TD_SOURCE_CHAIN;
    instruction->in_type[i] = TD_LPU_F32;
    struct td_lpu_queue queue;
    td_lpu_queue_at(builder->machine, uses[work->alu_use[operand->index]].queue, &queue);
    instruction->in[i] = (uint8_t)queue.index;
  } else if (operand->from == LPU_FROM_INPUT) {
    const struct way *way = way_of(work, step, i);
    const struct lpu_input *input = &work->chain->inputs[operand->index];
    instruction->source[i] = TD_SOURCE_STREAM;
    instruction->in_type[i] = (uint8_t)input->tensor->type;
    instruction->in[i] = lpu_stream_of(&uses[input->via ? way->moved_stream : way->read.stream_use], 0);
  }
}

static td_status mean_operands(struct lpu_builder *builder, const struct work *work, int32_t step) {
  int32_t at = 0;
  for (int32_t i = 0; i < 3; i++) {
    const struct lpu_operand *operand = &work->chain->steps[step].operand[i];
    if (operand->from == LPU_FROM_STEP) {
      TD_TRY(lpu_mean(builder, at++, work->emitted[operand->index], 0, 1, 0));
    } else if (operand->from == LPU_FROM_INPUT) {
      const struct way *way = way_of(work, step, i);
      const struct lpu_input *input = &work->chain->inputs[operand->index];
      for (int32_t c = 0; c < td_lpu_type_bytes(input->tensor->type); c++, at++) {
        TD_TRY(input->via ? lpu_mean(builder, at, way->moved, c, 1, 0)
                          : lpu_mean(builder, at, way->read.first + c, 0, 1, 0));
      }
    }
  }
  return TD_OK;
}

static td_status emit_step(struct lpu_builder *builder, struct work *work, int32_t step, int32_t cycle) {
  const struct lpu_use *use = &builder->pattern.uses[work->alu_use[step]];
  struct td_lpu_instruction instruction =
      lpu_instruction(TD_LPU_ALU, work->chain->chip, use->queue, cycle + use->at, work->chain->n);
  instruction.operation = (uint8_t)work->chain->steps[step].operation;
  instruction.out_type = TD_LPU_F32;
  instruction.immediate = work->chain->steps[step].otherwise;
  for (int32_t i = 0; i < 3; i++) set_operand(builder, work, step, i, &instruction);
  for (int32_t i = 0; i < work->chain->result_count; i++) {
    if (work->chain->results[i].step != step || work->chain->results[i].tap >= 0) continue;
    instruction.out = lpu_stream_of(&builder->pattern.uses[work->writes[i].stream_use], 0);
    instruction.out_type = (uint8_t)work->writes[i].tensor->type;
  }
  TD_TRY(lpu_emit(builder, &instruction, &work->emitted[step]));
  return mean_operands(builder, work, step);
}

static td_status check_room(const struct lpu_chain *chain) {
  if (chain->input_count <= LPU_CHAIN_INPUTS && chain->step_count <= LPU_CHAIN_STEPS &&
      chain->result_count <= LPU_CHAIN_RESULTS) {
    return TD_OK;
  }
  return td_fail(TD_INTERNAL, "lpu: a chain of %d inputs, %d steps, %d results", chain->input_count, chain->step_count,
                 chain->result_count);
}

/* Iterations that go from column to column are no chain. */
static td_status check_columns(const struct lpu_chain *chain) {
  bool whole = true;
  for (int32_t i = 0; i < chain->input_count; i++) whole = whole && !chain->inputs[i].tensor->columns;
  for (int32_t i = 0; i < chain->result_count; i++) whole = whole && !chain->results[i].tensor->columns;
  return whole ? TD_OK : td_fail(TD_INTERNAL, "lpu: a chain of %d steps over several columns", chain->step_count);
}

static td_status emit_chain(struct lpu_builder *builder, struct work *work, int32_t cycle) {
  const struct lpu_chain *chain = work->chain;
  for (int32_t i = 0; i < work->way_count; i++) TD_TRY(emit_way(builder, work, &work->ways[i], cycle));
  for (int32_t step = 0; step < chain->step_count; step++) TD_TRY(emit_step(builder, work, step, cycle));
  for (int32_t i = 0; i < chain->result_count; i++) {
    TD_TRY(lpu_write_emit(builder, &builder->pattern, cycle, &work->writes[i], work->emitted[chain->results[i].step]));
  }
  return TD_OK;
}

/* The iterations from `first` on alone. */
static struct lpu_chain part_of(const struct lpu_chain *chain, int32_t first, int32_t n) {
  struct lpu_chain part = *chain;
  part.n = n;
  for (int32_t i = 0; i < part.input_count; i++) part.inputs[i].offset += first * part.inputs[i].stride;
  for (int32_t i = 0; i < part.result_count; i++) part.results[i].offset += first * part.results[i].stride;
  return part;
}

static td_status run_chain(struct lpu_builder *builder, const struct lpu_chain *chain, const struct timing *timing) {
  struct work work = {.chain = chain, .timing = *timing};
  int32_t cycle = 0;
  book_chain(builder, &work);
  td_status status = lpu_place(builder, &builder->pattern, &cycle);
  if (!status) return emit_chain(builder, &work, cycle);
  if (status != TD_EXHAUSTED) return status;
  if (chain->n == 1) {
    return td_fail(TD_INTERNAL, "lpu: segment %s: a chain of %d steps is in its own way", builder->segment.name,
                   chain->step_count);
  }
  int32_t half = chain->n / 2;
  struct lpu_chain first = part_of(chain, 0, half), second = part_of(chain, half, chain->n - half);
  TD_TRY(run_chain(builder, &first, timing));
  return run_chain(builder, &second, timing);
}

td_status lpu_chain_run(struct lpu_builder *builder, struct lpu_chain *chain) {
  struct timing timing;
  int32_t chunk = chain->chunk > 0 ? chain->chunk : builder->chunk > 0 ? builder->chunk : chain->n;
  memset(&timing, 0, sizeof timing);
  TD_TRY(check_room(chain));
  TD_TRY(check_columns(chain));
  if (builder->dry) return TD_OK;
  for (int32_t step = 0; step < chain->step_count; step++) TD_TRY(time_step(builder, chain, &timing, step));
  for (int32_t first = 0; first < chain->n; first += chunk) {
    struct lpu_chain part = part_of(chain, first, chain->n - first < chunk ? chain->n - first : chunk);
    TD_TRY(run_chain(builder, &part, &timing));
  }
  return TD_OK;
}
