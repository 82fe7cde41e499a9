/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU_RUN: calls one after another, the phases of a call one after another, the chips of a phase beside each other.
 */
#include <string.h>

#include "cpu.h"
#include "lpu.h"

struct lpu_phase {
  struct lpu_context context;
  const struct lpu_form *form;
  const struct td_lpu_code_op *ops;
  const struct td_lpu_code_run *runs; /* [chips] */
  struct td_lpu_code_state *states;   /* [chips] */
};

/* As wide as the device's other loops at most: TANDEM_CPU_ISA chooses for both. */
static const struct lpu_form *form_of(const struct cpu_device *device) {
  const struct lpu_form *const *form = lpu_forms;
  while (form[1] && strcmp((*form)->name, device->kernels->name) != 0) form++;
  while (form[1] && !(*form)->here()) form++;
  return *form;
}

static void run_chip(void *context, int32_t worker, int32_t chip) {
  const struct lpu_phase *phase = context;
  (void)worker;
  const struct td_lpu_code_run *run = &phase->runs[chip];
  td_i32 failed = 0;
  enum td_lpu_code_reason reason = phase->form->run(&phase->context, phase->ops + run->op, run->count, &failed);
  phase->states[chip] = (struct td_lpu_code_state){0, run->op + failed, (td_i32)reason};
}

/* The first failure of a phase: the lowest chip's. */
static bool run_phase(struct cpu_device *device, struct lpu_phase *phase, td_i32 chips,
                      struct td_lpu_code_state *state) {
  cpu_pool_run(device->pool, run_chip, phase, chips);
  for (td_i32 c = 0; c < chips; c++) {
    if (!phase->states[c].reason) continue;
    *state = phase->states[c];
    return false;
  }
  return true;
}

static bool run_call(struct cpu_device *device, struct lpu_phase *phase, const td_i32 *code, td_i32 number,
                     struct td_lpu_code_state *state) {
  const struct td_lpu_code_head *head = phase->context.head;
  const struct td_lpu_code_segment *segments = (const void *)(code + head->at_segments);
  const struct td_lpu_code_run *runs = (const void *)(code + head->at_runs);
  const struct td_lpu_code_segment *segment = &segments[number];
  for (td_i32 p = 0; p < segment->phases; p++) {
    phase->runs = runs + segment->first_run + (td_i64)p * segment->chips;
    if (!run_phase(device, phase, segment->chips, state)) return false;
  }
  return true;
}

static void run_step(struct cpu_device *device, struct lpu_phase *phase, const td_i32 *code, const td_i32 *step,
                     td_u8 *sram, struct td_lpu_code_state *state) {
  const struct td_lpu_code_head *head = phase->context.head;
  const struct td_lpu_code_step *first = (const void *)step;
  const struct td_lpu_code_part *parts = (const void *)(first + 1);
  const struct td_lpu_code_call *calls = (const void *)(parts + first->parts);
  const td_i32 *patches = (const td_i32 *)(const void *)(calls + first->calls);
  *state = (struct td_lpu_code_state){0, 0, 0};
  for (td_i32 c = 0; c < first->calls; c++) {
    phase->context.patches = patches + calls[c].patch;
    phase->context.sram = sram + (td_i64)calls[c].chip * head->mem_words * head->mem_slices * head->lanes;
    if (run_call(device, phase, code, calls[c].segment, state)) continue;
    state->call = c + 1;
    return;
  }
}

td_status cpu_lpu_run(struct cpu_device *device, const struct td_op_call *call) {
  const td_i32 *code = (const void *)(call->weight.buffer->data + call->weight.offset);
  const td_i32 *step = (const void *)(call->in[0].buffer->data + call->in[0].offset);
  td_u8 *work = call->in[1].buffer->data + call->in[1].offset;
  const struct td_lpu_code_head *head = (const void *)code;
  void *states;
  TD_TRY(cpu_list(device, (uint64_t)head->chips * sizeof(struct td_lpu_code_state), &states));
  struct lpu_phase phase = {.context = {.head = head,
                                        .steps = (const void *)(code + head->at_steps),
                                        .maps = (const void *)(code + head->at_maps),
                                        .work = work + TD_CODE_STATE_BYTES},
                            .form = form_of(device),
                            .ops = (const void *)(code + head->at_ops),
                            .states = states};
  run_step(device, &phase, code, step, call->out.buffer->data + call->out.offset, (void *)work);
  return TD_OK;
}
