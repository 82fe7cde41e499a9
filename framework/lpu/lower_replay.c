/* SPDX-License-Identifier: Apache-2.0
 *
 * A segment's events in the order in which the machine has them: by cycle, then by the phases of execute.h.
 */
#include <stdlib.h>
#include <string.h>

#include "lower.h"
#include "tandem/base.h"

enum { SAMPLE = 1, LANDING, INSTALL, BIND, OPERANDS, LATE, RESULT, PHASES };

/* Events of one phase are in the order of the instructions. */
struct order {
  struct lower_event *events;
  int32_t *first; /* [cycles * PHASES + 1]: counts, then where each phase's events begin */
  bool counting;
};

static void add(struct order *order, int64_t cycle, int32_t phase, int32_t op, int32_t iteration) {
  int32_t *at = &order->first[cycle * PHASES + phase];
  if (order->counting) {
    at[1]++;
  } else {
    order->events[(*at)++] = (struct lower_event){op, iteration, phase};
  }
}

static void add_issue(struct order *order, const struct execute_op *op, int32_t r) {
  const struct td_lpu_instruction *of = op->of;
  int64_t t = of->cycle + (int64_t)r * of->gap;
  int32_t i = op->index;
  switch (of->opcode) {
    case TD_LPU_MEMORY:
      if (of->flags & TD_LPU_READ) add(order, t, SAMPLE, i, r), add(order, t + op->func, RESULT, i, r);
      if (of->flags & TD_LPU_WRITE) add(order, t + op->skew, OPERANDS, i, r);
      return;
    case TD_LPU_LOAD:
      add(order, t + op->skew, OPERANDS, i, r);
      add(order, t + op->func, LANDING, i, r);
      return;
    case TD_LPU_INSTALL:
      add(order, t, INSTALL, i, r);
      return;
    case TD_LPU_PASS:
      add(order, t, BIND, i, r);
      add(order, t + op->skew, OPERANDS, i, r);
      return;
    case TD_LPU_SUM:
    case TD_LPU_RECEIVE:
      add(order, t, LATE, i, r);
      break;
    default:
      add(order, t + op->skew, OPERANDS, i, r);
      break;
  }
  bool emits = of->opcode == TD_LPU_SUM ? of->flags & TD_LPU_EMIT : op->out_width > 0;
  if (emits) add(order, t + op->func, RESULT, i, r);
}

static void add_all(struct order *order, const struct lowering *lower) {
  for (int32_t i = 0; i < lower->segment->instruction_count; i++) {
    const struct execute_op *op = &lower->from->ops[i];
    for (int32_t r = 0; r < op->of->repeat; r++) add_issue(order, op, r);
  }
}

/* Leaves order->first[k] at the end of phase k's events, which is where those of k + 1 begin. */
static td_status sort_events(const struct lowering *lower, struct order *order) {
  size_t keys = (size_t)lower->segment->length * PHASES;
  void *first, *events;
  TD_TRY(td_alloc(keys + 2, sizeof *order->first, &first));
  order->first = first;
  order->counting = true;
  add_all(order, lower);
  for (size_t k = 0; k < keys + 1; k++) order->first[k + 1] += order->first[k];
  TD_TRY(td_alloc((size_t)order->first[keys + 1] + 1, sizeof *order->events, &events));
  order->events = events;
  order->counting = false;
  add_all(order, lower);
  return TD_OK;
}

/* ---- one event ---- */

static td_status operands(struct lowering *lower, int32_t iteration) {
  switch (lower->op->of->opcode) {
    case TD_LPU_MEMORY:
      return lower_memory_write(lower, iteration);
    case TD_LPU_LOAD:
      return lower_load_take(lower, iteration);
    case TD_LPU_PASS:
      return lower_pass_read(lower);
    case TD_LPU_ALU:
      return lower_alu(lower);
    case TD_LPU_SEND:
      return lower_send(lower);
    default:
      return lower_switch(lower, iteration);
  }
}

/* Results of reads are refs; those of other units, work vectors one after another. */
static td_status result(struct lowering *lower) {
  const struct td_lpu_instruction *of = lower->op->of;
  int32_t state = lower->state[lower->instance];
  for (int32_t i = 0; i < lower->op->out_width; i++) {
    int32_t ref = of->opcode == TD_LPU_MEMORY ? state : ~(state + i);
    TD_TRY(lower_produce(lower, of->out, i, ref));
  }
  return TD_OK;
}

static td_status happen(struct lowering *lower, const struct lower_event *event) {
  switch (event->what) {
    case SAMPLE:
      return lower_memory_read(lower, event->iteration);
    case LANDING:
      return lower_load_land(lower);
    case INSTALL:
      return lower_install(lower);
    case BIND:
      return lower_pass_bind(lower);
    case OPERANDS:
      return operands(lower, event->iteration);
    case LATE:
      return lower->op->of->opcode == TD_LPU_SUM ? lower_sum(lower, event->iteration) : lower_receive(lower);
    default:
      return result(lower);
  }
}

static td_status in_order(struct lowering *lower, const struct order *order) {
  int32_t at = 0;
  for (int64_t key = 0; key < (int64_t)lower->segment->length * PHASES; key++) {
    lower->now = (int32_t)(key / PHASES);
    for (; at < order->first[key]; at++) {
      const struct lower_event *event = &order->events[at];
      lower->op = &lower->from->ops[event->op];
      lower->instance = lower->instances[event->op] + event->iteration;
      TD_TRY(happen(lower, event));
    }
  }
  lower->op = NULL;
  return TD_OK;
}

td_status lower_replay(struct lowering *lower) {
  struct order order = {0};
  td_status status = sort_events(lower, &order);
  if (!status) status = in_order(lower, &order);
  free(order.first);
  free(order.events);
  return status;
}
