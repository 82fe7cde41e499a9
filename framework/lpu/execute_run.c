/* SPDX-License-Identifier: Apache-2.0
 *
 * Running a step: its segments one after another, each cycle by cycle. The phases of a cycle are in execute.h.
 */
#include <inttypes.h>
#include <math.h>

#include "execute.h"
#include "tandem/base.h"

/* ---- what issues when ---- */

static bool before(const struct execute_again *a, const struct execute_again *b) {
  return a->cycle != b->cycle ? a->cycle < b->cycle : a->op < b->op;
}

static void sift_down(struct execution *run, struct execute_again item) {
  size_t at = 0, count = run->again_count;
  for (;;) {
    size_t child = 2 * at + 1;
    if (child >= count) break;
    if (child + 1 < count && before(&run->again[child + 1], &run->again[child])) child++;
    if (!before(&run->again[child], &item)) break;
    run->again[at] = run->again[child];
    at = child;
  }
  run->again[at] = item;
}

static td_status repeat_later(struct execution *run, struct execute_again item) {
  void *heap = run->again;
  TD_TRY(td_grow(&heap, &run->again_capacity, run->again_count + 1, sizeof item));
  run->again = heap;
  size_t at = run->again_count++;
  while (at && before(&item, &run->again[(at - 1) / 2])) {
    run->again[at] = run->again[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  run->again[at] = item;
  return TD_OK;
}

/* The heap's first has issued: its next iteration, or the end of it. */
static void repeat_again(struct execution *run, const struct td_lpu_instruction *of) {
  struct execute_again item = run->again[0];
  if (++item.iteration < of->repeat) {
    item.cycle += of->gap;
  } else {
    item = run->again[--run->again_count];
    if (!run->again_count) return;
  }
  sift_down(run, item);
}

/* Of planes only LOADs: the others are counted where the type of their array is known. */
static void count_issue(struct execution *run, const struct execute_op *op) {
  int64_t *busy = &run->counts.busy[op->queue.unit];
  run->counts.issued[op->of->opcode]++;
  if (op->queue.unit == TD_UNIT_MATRIX) {
    if (op->of->opcode == TD_LPU_LOAD) execute_plane_busy(run, op, false);
  } else if (op->queue.unit == TD_UNIT_LINK) {
    *busy += op->of->opcode == TD_LPU_SEND ? run->link_cycles : 0;
  } else {
    *busy += 1;
  }
}

/* Phase 1. */
static td_status issue(struct execution *run, const struct execute_op *op, int32_t iteration) {
  count_issue(run, op);
  if (op->of->opcode == TD_LPU_MEMORY) return execute_memory_issue(run, op, iteration);
  struct execute_node *node;
  TD_TRY(execute_node_take(run, op, &node));
  node->address = td_lpu_address(run->system.program, run->call, op->of, 0, iteration);
  switch (op->of->opcode) {
    case TD_LPU_INSTALL:
      run->installs[run->install_count++] = node;
      break;
    case TD_LPU_PASS:
      run->passes[run->pass_count++] = node;
      break;
    case TD_LPU_SUM:
    case TD_LPU_RECEIVE:
      run->late[run->late_count++] = node;
      break;
    default:
      execute_push(run, run->reads, node, op->skew);
      break;
  }
  return TD_OK;
}

static td_status issue_cycle(struct execution *run, const struct execute_code *code, int32_t cycle, int32_t *next,
                             int32_t count) {
  while (run->again_count && run->again[0].cycle == cycle) {
    const struct execute_op *op = &code->ops[run->again[0].op];
    TD_TRY(issue(run, op, run->again[0].iteration));
    repeat_again(run, op->of);
  }
  for (; *next < count && code->ops[code->by_cycle[*next]].of->cycle == cycle; (*next)++) {
    const struct execute_op *op = &code->ops[code->by_cycle[*next]];
    TD_TRY(issue(run, op, 0));
    if (op->of->repeat > 1) TD_TRY(repeat_later(run, (struct execute_again){cycle + op->of->gap, op->index, 1}));
  }
  return TD_OK;
}

/* ---- a cycle ---- */

static struct execute_node *empty(struct execution *run, struct execute_bucket *ring) {
  struct execute_bucket *bucket = &ring[run->now & run->ring_mask];
  struct execute_node *first = bucket->first;
  bucket->first = NULL;
  bucket->end = &bucket->first;
  return first;
}

/* Handles what is due in a ring now; `handle` may take the node on or give it back. */
static td_status each(struct execution *run, struct execute_bucket *ring,
                      td_status (*handle)(struct execution *run, struct execute_node *node)) {
  for (struct execute_node *node = empty(run, ring), *next; node; node = next) {
    next = node->next;
    run->in_flight--;
    TD_TRY(handle(run, node));
  }
  return TD_OK;
}

static td_status read_operands(struct execution *run, struct execute_node *node) {
  switch (node->op->of->opcode) {
    case TD_LPU_MEMORY:
      return execute_memory_write(run, node);
    case TD_LPU_LOAD:
      return execute_load_read(run, node);
    case TD_LPU_PASS:
      return execute_pass_read(run, node);
    case TD_LPU_ALU:
      return execute_vector_read(run, node);
    case TD_LPU_SEND:
      return execute_send_read(run, node);
    default:
      return execute_switch_read(run, node);
  }
}

static td_status phases(struct execution *run) {
  TD_TRY(each(run, run->landings, execute_load_land));
  for (int32_t i = 0; i < run->install_count; i++) TD_TRY(execute_install(run, run->installs[i]));
  for (int32_t i = 0; i < run->pass_count; i++) TD_TRY(execute_pass_bind(run, run->passes[i]));
  TD_TRY(each(run, run->reads, read_operands));
  for (int32_t i = 0; i < run->late_count; i++) {
    struct execute_node *node = run->late[i];
    TD_TRY(node->op->of->opcode == TD_LPU_SUM ? execute_sum(run, node) : execute_receive(run, node));
  }
  return each(run, run->results, execute_produce);
}

static bool due(const struct execution *run) {
  int64_t at = run->now & run->ring_mask;
  return run->landings[at].first || run->reads[at].first || run->results[at].first;
}

static td_status one_cycle(struct execution *run, const struct execute_code *code, int32_t cycle, int32_t *next,
                           int32_t count) {
  run->now = run->base + cycle;
  run->install_count = run->pass_count = run->late_count = 0;
  bool issues = (run->again_count && run->again[0].cycle == cycle) ||
                (*next < count && code->ops[code->by_cycle[*next]].of->cycle == cycle);
  if (!issues && !due(run)) return TD_OK;
  run->counts.cycles = run->call->cycle + cycle + 1;
  TD_TRY(issue_cycle(run, code, cycle, next, count));
  return phases(run);
}

/* The next cycle in which anything can happen; -1 if there is none. */
static int64_t following(const struct execution *run, const struct execute_code *code, int32_t cycle, int32_t next,
                         int32_t count) {
  if (run->in_flight) return (int64_t)cycle + 1;
  int64_t first = next < count ? code->ops[code->by_cycle[next]].of->cycle : INT64_MAX;
  if (run->again_count && run->again[0].cycle < first) first = run->again[0].cycle;
  return first == INT64_MAX ? -1 : first;
}

/* ---- a segment ---- */

static td_status check_call(const struct execution *run, const struct execute_code *code) {
  const struct td_lpu_program *program = run->system.program;
  int32_t first = run->call->chip;
  if (first >= 0 && first <= program->chips - code->chip_count) return TD_OK;
  return td_fail(TD_CORRUPT, "segment %.31s: found chips %d..%d, expected them among %d",
                 program->segments[run->call->segment].name, first, first + code->chip_count - 1, program->chips);
}

static td_status run_segment(void *context, const struct td_lpu_call *call) {
  struct execution *run = context;
  const struct td_lpu_segment *segment = &run->system.program->segments[call->segment];
  const struct execute_code *code = &run->code[call->segment];
  run->call = call;
  TD_TRY(execute_decode(run, call->segment));
  TD_TRY(check_call(run, code));
  run->base = run->now + run->seam;
  execute_planes_seam(run, segment->arrays_in, code->chip_count);
  int32_t next = 0, count = segment->instruction_count;
  for (int64_t cycle = following(run, code, -1, next, count); cycle >= 0;
       cycle = following(run, code, (int32_t)cycle, next, count)) {
    TD_TRY(one_cycle(run, code, (int32_t)cycle, &next, count));
  }
  execute_planes_seam(run, segment->arrays_out, code->chip_count);
  return TD_OK;
}

/* ---- a step ---- */

/* A step that failed left instructions under way. */
static void forget(struct execution *run) {
  struct execute_bucket *rings[] = {run->landings, run->reads, run->results};
  for (int i = 0; i < 3; i++) {
    for (int32_t b = 0; b <= run->ring_mask; b++) {
      rings[i][b].first = NULL;
      rings[i][b].end = &rings[i][b].first;
    }
  }
  run->in_flight = 0;
  run->again_count = 0;
  execute_planes_forget(run);
}

/* Units of a system: a memory slice, a plane, an ALU, a switch function, a wired link. */
static int64_t units_of(const struct td_lpu_program *program, int unit) {
  const struct td_lpu_machine *machine = &program->machine;
  const int32_t counts[TD_LPU_UNIT_COUNT] = {
      [TD_UNIT_MEMORY] = machine->mem_slices, [TD_UNIT_MATRIX] = machine->planes,
      [TD_UNIT_VECTOR] = machine->alus,       [TD_UNIT_SWITCH] = TD_LPU_HEMISPHERES * machine->switch_functions,
      [TD_UNIT_LINK] = machine->links_used,
  };
  return (int64_t)counts[unit] * program->chips;
}

static double energy(const struct td_lpu_program *program, const struct td_lpu_counts *counts) {
  const struct td_lpu_machine *machine = &program->machine;
  if (!machine->has_power) return NAN;
  double watt_cycles = machine->power_base * program->chips * (double)counts->cycles;
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    double idle = (double)(units_of(program, unit) * counts->cycles - counts->busy[unit]);
    watt_cycles += machine->power_active[unit] * (double)counts->busy[unit] + machine->power_idle[unit] * idle;
  }
  return watt_cycles / machine->clock_hz;
}

td_status td_lpu_execute(struct td_lpu_system *system, int32_t entry, const struct td_lpu_step *step,
                         struct td_lpu_counts *out_counts) {
  struct execution *run = (struct execution *)(void *)system;
  forget(run);
  run->counts = (struct td_lpu_counts){0};
  TD_TRY(td_lpu_program_walk(system->program, entry, step, run_segment, run));
  run->counts.cycles += system->program->machine.superlanes - 1;
  run->counts.energy_j = energy(system->program, &run->counts);
  if (out_counts) *out_counts = run->counts;
  return TD_OK;
}
