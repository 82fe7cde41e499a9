/* SPDX-License-Identifier: Apache-2.0
 *
 * What a layer with experts costs, from the lengths of its segments and the tokens of each expert.
 */
#include <stdlib.h>

#include "moe.h"
#include "tandem/base.h"

/* ---- lengths ---- */

/* Of one step of one row, without the tail. */
static int64_t row_cycles(const struct td_lpu_program *program, int32_t entry) {
  const struct td_lpu_row row = {0, NULL, 0};
  const struct td_lpu_step step = {&row, 1};
  return td_lpu_program_cycles(program, entry, &step) - (program->machine.superlanes - 1);
}

static td_status add_cost(const struct td_lpu_program *program, int32_t entry, struct td_moe_costs *out) {
  const struct td_lpu_entry *of = &program->entries[entry];
  int64_t cycles = row_cycles(program, entry);
  bool full = out->route_count == TD_MOE_MOST_RUNS || out->run_count == TD_MOE_MOST_RUNS;
  if (full) return td_fail(TD_UNSUPPORTED, "experts: found more than %d lengths of runs", TD_MOE_MOST_RUNS - 1);
  switch (of->work) {
    case TD_LPU_WORK_ROUTE:
      out->routes[out->route_count++] = (struct td_moe_length){of->rows, cycles};
      return TD_OK;
    case TD_LPU_WORK_EXPERT:
      out->runs[out->run_count++] = (struct td_moe_length){of->run_rows, cycles};
      return TD_OK;
    case TD_LPU_WORK_TAKE:
      out->take = cycles;
      out->places = of->rows;
      return TD_OK;
    case TD_LPU_WORK_GIVE:
      out->give = cycles;
      return TD_OK;
    default:
      return TD_OK;
  }
}

static void reverse(struct td_moe_length *lengths, int32_t count) {
  for (int32_t i = 0; i < count / 2; i++) {
    struct td_moe_length first = lengths[i];
    lengths[i] = lengths[count - 1 - i];
    lengths[count - 1 - i] = first;
  }
}

td_status td_moe_costs_of(const struct td_lpu_program *program, int32_t layer, struct td_moe_costs *out) {
  *out = (struct td_moe_costs){.tail = program->machine.superlanes - 1};
  for (int32_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].layer == layer) TD_TRY(add_cost(program, i, out));
  }
  /* Entries come with the most rows first. */
  reverse(out->routes, out->route_count);
  reverse(out->runs, out->run_count);
  if (out->route_count && out->run_count && out->runs[0].rows == 1 && out->places > 0) return TD_OK;
  return td_fail(TD_CONFIG, "layer %d of the program: found no experts, expected some", layer);
}

int64_t td_moe_route_cycles(const struct td_moe_costs *costs, int32_t tokens) {
  for (int32_t i = 0; i < costs->route_count; i++) {
    if (costs->routes[i].rows >= tokens) return costs->routes[i].cycles + costs->tail;
  }
  return -1;
}

/* ---- counting ---- */

struct count {
  const struct td_moe_costs *costs;
  struct td_moe_work *work;
  int32_t pass;     /* the one that is counted; -1: none */
  uint32_t lengths; /* of its runs, as bits */
};

/* TAKE, GIVE, and an EXPERT for each length of run. */
static void end_pass(struct count *count) {
  int64_t entries = 2 + __builtin_popcount(count->lengths);
  if (count->pass < 0) return;
  count->work->passes++;
  count->work->entries += entries;
  count->work->cycles += entries * count->costs->tail;
  count->lengths = 0;
}

static td_status count_run(void *context, const struct moe_run *run) {
  struct count *count = context;
  const struct td_moe_costs *costs = count->costs;
  if (run->pass != count->pass) end_pass(count);
  count->pass = run->pass;
  count->lengths |= 1u << run->run;
  count->work->runs++;
  count->work->routed += run->count;
  count->work->distinct += run->first == 0;
  count->work->cycles += costs->runs[run->run].cycles + run->count * (costs->take + costs->give);
  return TD_OK;
}

td_status td_moe_work_of(const struct td_moe_costs *costs, const int32_t *loads, int32_t experts,
                         struct td_moe_work *out) {
  struct count count = {.costs = costs, .work = out, .pass = -1};
  struct moe_cuts cuts;
  int32_t most = 0;
  *out = (struct td_moe_work){0};
  for (int32_t e = 0; e < experts; e++) {
    if (loads[e] < 0) return td_fail(TD_CONFIG, "expert %d: found %d tokens, expected 0 or more", e, loads[e]);
    if (loads[e] > most) most = loads[e];
  }
  TD_TRY(moe_cuts_open(costs, most, &cuts));
  td_status status = moe_cut(&cuts, loads, experts, count_run, &count);
  if (!status) end_pass(&count);
  moe_cuts_close(&cuts);
  return status;
}
