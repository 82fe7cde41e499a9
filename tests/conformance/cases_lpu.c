/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU_RUN: codes of lpu_codes.c, run by a device and by lpu_reference.c on the same SRAM: the same bytes, the same
 * failure.
 */
#include <string.h>

#include "lpu_codes.h"
#include "suite.h"

/* ---- both ways ---- */

static void reference_part(const struct lpu_code *code, const struct td_lpu_code_part *part, uint8_t *memory,
                           uint8_t *workspace, struct td_lpu_code_state *state) {
  struct td_lpu_code_head head;
  struct td_lpu_code_call call;
  memcpy(&head, code->words, sizeof head);
  memcpy(&call, code->step + 20 + 3 * part->call, sizeof call);
  struct lpu_reference of = {.head = &head,
                             .steps = (const void *)(code->words + head.at_steps),
                             .maps = (const void *)(code->words + head.at_maps),
                             .patches = code->step + 26,
                             .sram = memory + (size_t)call.chip * VECTORS * LANES,
                             .work = workspace + TD_CODE_STATE_BYTES};
  for (int32_t c = 0; c < part->chips; c++) {
    struct td_lpu_code_run run;
    memcpy(&run, code->words + head.at_runs + 2 * (part->phase * part->chips + c), sizeof run);
    for (int32_t i = run.op; i < run.op + run.count && !state->call; i++) {
      enum td_lpu_code_reason reason = lpu_reference_op(&of, &code->all[i]);
      if (reason) *state = (struct td_lpu_code_state){part->call + 1, i, (int32_t)reason};
    }
  }
}

static struct td_view view_of(struct td_buffer *buffer, size_t bytes) {
  return (struct td_view){.buffer = buffer, .dtype = TD_F32, .rows = 1, .cols = (int64_t)(bytes / sizeof(float))};
}

struct trial {
  struct lpu_code *code;
  struct td_buffer *words, *step, *work, *sram;
  uint8_t *given, *wanted, *got, *workspace;
  struct td_lpu_code_state want, found;
};
enum { SRAM_BYTES = CHIPS * VECTORS * LANES, WORK_BYTES = TD_CODE_STATE_BYTES + WORK * LANES };

static td_status run_device(struct conform_run *run, struct trial *trial) {
  const struct lpu_code *code = trial->code;
  const struct td_op op = {.kind = TD_OP_LPU_RUN,
                           .layer = -1,
                           .in = {-1, -1},
                           .out = -1,
                           .weight = -1,
                           .n = code->parts,
                           .k = code->most_chips};
  const struct td_op_call call = {.op = &op,
                                  .in = {view_of(trial->step, sizeof code->step), view_of(trial->work, WORK_BYTES)},
                                  .out = view_of(trial->sram, SRAM_BYTES),
                                  .weight = view_of(trial->words, sizeof code->words)};
  TD_TRY(td_device_write(run->device, trial->words, 0, code->words, sizeof code->words));
  TD_TRY(td_device_write(run->device, trial->step, 0, code->step, sizeof code->step));
  TD_TRY(td_device_write(run->device, trial->sram, 0, trial->given, SRAM_BYTES));
  TD_TRY(td_device_op(run->device, &call));
  TD_TRY(td_device_read(run->device, trial->sram, 0, trial->got, SRAM_BYTES));
  return td_device_read(run->device, trial->work, 0, &trial->found, sizeof trial->found);
}

static void run_reference(struct trial *trial) {
  struct td_lpu_code_part part;
  memcpy(trial->wanted, trial->given, SRAM_BYTES);
  trial->want = (struct td_lpu_code_state){0, 0, 0};
  for (int32_t p = 0; p < trial->code->parts && !trial->want.call; p++) {
    memcpy(&part, trial->code->step + 4 + 4 * p, sizeof part);
    reference_part(trial->code, &part, trial->wanted, trial->workspace, &trial->want);
  }
}

static td_status compare(const struct trial *trial) {
  const struct td_lpu_code_state *want = &trial->want, *found = &trial->found;
  CONFORM_CHECK(found->call == want->call, "found a stop in call %d, expected %d (0: none)", found->call, want->call);
  CONFORM_CHECK(!want->call || (found->op == want->op && found->reason == want->reason),
                "found operation %d stopped for reason %d, expected %d for %d", found->op, found->reason, want->op,
                want->reason);
  for (int i = 0; i < SRAM_BYTES && !want->call; i++) {
    CONFORM_CHECK(trial->got[i] == trial->wanted[i], "chip %d, vector %d, lane %d: found 0x%02x, expected 0x%02x",
                  i / (VECTORS * LANES), i / LANES % VECTORS, i % LANES, trial->got[i], trial->wanted[i]);
  }
  return TD_OK;
}

static td_status open_trial(struct conform_run *run, struct trial *trial) {
  const struct td_op op = {.kind = TD_OP_LPU_RUN, .layer = -1, .in = {-1, -1}, .out = -1, .weight = -1};
  TD_TRY(conform_supported(run, &op, TD_F32, TD_F32));
  TD_TRY(conform_memory(run, 1, sizeof *trial->code, &trial->code));
  TD_TRY(conform_memory(run, SRAM_BYTES, 1, &trial->given));
  TD_TRY(conform_memory(run, SRAM_BYTES, 1, &trial->wanted));
  TD_TRY(conform_memory(run, SRAM_BYTES, 1, &trial->got));
  TD_TRY(conform_memory(run, WORK_BYTES, 1, &trial->workspace));
  TD_TRY(conform_buffer(run, run->device, sizeof trial->code->words, &trial->words));
  TD_TRY(conform_buffer(run, run->device, sizeof trial->code->step, &trial->step));
  TD_TRY(conform_buffer(run, run->device, WORK_BYTES, &trial->work));
  return conform_buffer(run, run->device, SRAM_BYTES, &trial->sram);
}

static td_status run_once(struct conform_run *run, struct trial *trial) {
  TD_TRY(run_device(run, trial));
  run_reference(trial);
  return compare(trial);
}

/* ---- cases ---- */

static void make(struct trial *trial, int64_t which, int32_t chips) {
  uint32_t seed = (uint32_t)(which * 16 + chips);
  for (int32_t c = 0; c < CHIPS; c++) lpu_code_fill(trial->given + (size_t)c * VECTORS * LANES, &seed);
  lpu_code_make(trial->code, which, chips);
}

static td_status run_code(struct conform_run *run, const struct conform_case *test) {
  struct trial trial = {0};
  TD_TRY(open_trial(run, &trial));
  make(&trial, test->p.n, test->p.seqs);
  return run_once(run, &trial);
}

/* A product that no half holds, on one chip; then the same with nothing wrong. */
static td_status run_stop(struct conform_run *run, const struct conform_case *test) {
  struct trial trial = {0};
  TD_TRY(open_trial(run, &trial));
  make(&trial, 0, test->p.seqs);
  uint8_t *high = trial.given + ((test->p.seqs > 1 ? VECTORS : 0) + H + 1) * LANES + 21, kept = *high;
  *high = 0x7b;
  TD_TRY(run_once(run, &trial));
  CONFORM_CHECK(trial.want.call, "the reference found nothing wrong, expected a stop");
  *high = kept;
  return run_once(run, &trial);
}

void conform_list_lpu(struct conform_list *list) {
  for (int32_t chips = 1; chips <= CHIPS; chips += 2) {
    struct conform_params p = {.kind = TD_OP_LPU_RUN, .seqs = chips};
    for (p.n = 0; lpu_code_name(p.n); p.n++) {
      conform_add_operator(list, run_code, &p, TD_F32, "lpu_run/%s,chips=%d", lpu_code_name(p.n), chips);
    }
    conform_add_operator(list, run_stop, &p, TD_F32, "lpu_run/stop,chips=%d", chips);
  }
}
