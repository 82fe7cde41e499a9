/* SPDX-License-Identifier: Apache-2.0
 *
 * What the host does between ROUTE and the rest: chooses experts and gates, and lists the rows of each entry's step.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "moe.h"
#include "tandem/base.h"

static bool is_chosen(const int32_t *ids, int32_t count, int32_t id) {
  for (int32_t i = 0; i < count; i++) {
    if (ids[i] == id) return true;
  }
  return false;
}

void td_moe_choose(const float *logits, int32_t experts, int32_t used, int32_t *ids, float *gates) {
  double sum = 0.0;
  for (int32_t slot = 0; slot < used; slot++) {
    int32_t best = -1;
    for (int32_t e = 0; e < experts; e++) {
      if (is_chosen(ids, slot, e) || (best >= 0 && !(logits[e] > logits[best]))) continue;
      best = e;
    }
    ids[slot] = best;
    sum += exp((double)logits[best] - (double)logits[ids[0]]);
  }
  for (int32_t slot = 0; slot < used; slot++) {
    gates[slot] = (float)(exp((double)logits[ids[slot]] - (double)logits[ids[0]]) / sum);
  }
}

/* Logits of a stage's chips lie side by side, under one name. */
const char *td_moe_routes(const struct td_lpu_program *program, int32_t entry) {
  const struct td_lpu_entry *of = &program->entries[entry];
  int32_t stage = -1;
  for (int32_t i = of->link; i < of->link + of->link_count; i++) {
    if (program->links[i].kind == TD_LINK_RUN) stage = program->links[i].chip / program->tensor;
  }
  for (int32_t i = 0; stage >= 0 && i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    bool named = strncmp(image->name, "routes", 6) == 0 && image->kind == TD_IMAGE_OUTPUT;
    if (named && image->chip / program->tensor == stage) return image->name;
  }
  return NULL;
}

/* ---- tokens by experts ---- */

struct planning {
  const struct td_lpu_program *program;
  const struct td_moe_tokens *tokens;
  struct td_moe_costs costs;
  struct td_moe_plan *plan;
  int32_t layer;
  int32_t *loads, *starts, *of; /* [experts]; [experts]; routed slots (token * used + slot) by expert, then token */
  struct moe_run *runs;
  int32_t run_count, row, number, gate;
};

static td_status check_tokens(const struct planning *planning) {
  const struct td_moe_tokens *tokens = planning->tokens;
  int64_t most = (int64_t)tokens->tokens * tokens->used;
  if (tokens->tokens < 1 || tokens->used < 1 || tokens->experts < 1 || tokens->first < 0 || most > INT32_MAX / 4) {
    return td_fail(TD_CONFIG, "experts: found %d tokens of %d experts each, %d from %d here, expected some",
                   tokens->tokens, tokens->used, tokens->experts, tokens->first);
  }
  for (int32_t i = 0; i < (int32_t)most; i++) {
    if (tokens->ids[i] < 0) return td_fail(TD_CONFIG, "token %d: found expert %d", i / tokens->used, tokens->ids[i]);
  }
  return TD_OK;
}

static void sort_tokens(struct planning *planning) {
  const struct td_moe_tokens *tokens = planning->tokens;
  int32_t all = tokens->tokens * tokens->used, sum = 0;
  for (int32_t i = 0; i < all; i++) {
    int32_t e = tokens->ids[i] - tokens->first;
    if (e >= 0 && e < tokens->experts) planning->loads[e]++;
  }
  for (int32_t e = 0; e < tokens->experts; e++) {
    planning->starts[e] = sum;
    sum += planning->loads[e];
    planning->loads[e] = 0;
  }
  for (int32_t i = 0; i < all; i++) {
    int32_t e = tokens->ids[i] - tokens->first;
    if (e >= 0 && e < tokens->experts) planning->of[planning->starts[e] + planning->loads[e]++] = i;
  }
}

/* ---- calls ---- */

static void add_row(struct planning *planning, int32_t position, int32_t chosen) {
  struct td_moe_plan *plan = planning->plan;
  int32_t *number = &plan->numbers[planning->number++];
  *number = chosen;
  plan->rows[planning->row++] = (struct td_lpu_row){position, number, 1};
}

static void end_call(struct planning *planning, enum td_lpu_work work, int32_t run_rows, int32_t first_row) {
  struct td_moe_plan *plan = planning->plan;
  int32_t rows = planning->row - first_row;
  if (rows == 0) return;
  struct td_moe_call call = {
      .entry = td_lpu_program_work_entry(planning->program, planning->layer, work, run_rows, rows),
      .step = {plan->rows + first_row, rows}};
  plan->calls[plan->call_count++] = call;
}

/* Each routed token of the pass's runs: its place, to or from its token. */
static void list_places(struct planning *planning, const struct moe_run *runs, int32_t count, enum td_lpu_work work) {
  int32_t first = planning->row, used = planning->tokens->used;
  for (int32_t i = 0; i < count; i++) {
    for (int32_t t = 0; t < runs[i].count; t++) {
      int32_t slot = planning->of[planning->starts[runs[i].expert] + runs[i].first + t];
      add_row(planning, slot / used, runs[i].place + t);
    }
  }
  end_call(planning, work, 0, first);
}

static void list_runs(struct planning *planning, const struct moe_run *runs, int32_t count, int32_t length) {
  int32_t first = planning->row;
  for (int32_t i = 0; i < count; i++) {
    if (runs[i].run == length) add_row(planning, runs[i].place, runs[i].expert);
  }
  end_call(planning, TD_LPU_WORK_EXPERT, planning->costs.runs[length].rows, first);
}

static void set_gates(struct planning *planning, const struct moe_run *runs, int32_t count) {
  float *gates = planning->plan->gates + planning->gate;
  struct td_moe_call *give = &planning->plan->calls[planning->plan->call_count - 1];
  const struct moe_run *last = &runs[count - 1];
  for (int32_t i = 0; i < count; i++) {
    for (int32_t t = 0; t < runs[i].count; t++) {
      int32_t slot = planning->of[planning->starts[runs[i].expert] + runs[i].first + t];
      gates[runs[i].place + t] = planning->tokens->gates[slot];
    }
  }
  give->gates = gates;
  give->gate_count = last->place + last->count;
  planning->gate += planning->costs.places;
}

static void list_pass(struct planning *planning, const struct moe_run *runs, int32_t count) {
  list_places(planning, runs, count, TD_LPU_WORK_TAKE);
  for (int32_t length = planning->costs.run_count - 1; length >= 0; length--) list_runs(planning, runs, count, length);
  list_places(planning, runs, count, TD_LPU_WORK_GIVE);
  set_gates(planning, runs, count);
}

static td_status keep_run(void *context, const struct moe_run *run) {
  struct planning *planning = context;
  planning->runs[planning->run_count++] = *run;
  return TD_OK;
}

static td_status allocate_lists(struct planning *planning, size_t all) {
  const struct moe_run *last = planning->run_count ? &planning->runs[planning->run_count - 1] : NULL;
  size_t passes = last ? (size_t)last->pass + 1 : 0, rows = 3 * all + 1;
  size_t calls = passes * (size_t)(2 + planning->costs.run_count) + 1;
  struct td_moe_plan *plan = planning->plan;
  TD_TRY(td_alloc(rows, sizeof *plan->rows, (void **)&plan->rows));
  TD_TRY(td_alloc(rows, sizeof *plan->numbers, (void **)&plan->numbers));
  TD_TRY(td_alloc(calls, sizeof *plan->calls, (void **)&plan->calls));
  return td_alloc(passes * (size_t)planning->costs.places + 1, sizeof *plan->gates, (void **)&plan->gates);
}

static td_status list_all(struct planning *planning) {
  TD_TRY(allocate_lists(planning, (size_t)planning->tokens->tokens * (size_t)planning->tokens->used));
  for (int32_t first = 0, end; first < planning->run_count; first = end) {
    for (end = first; end < planning->run_count && planning->runs[end].pass == planning->runs[first].pass;) end++;
    list_pass(planning, planning->runs + first, end - first);
  }
  return TD_OK;
}

static td_status make_plan(struct planning *planning) {
  const struct td_moe_tokens *tokens = planning->tokens;
  size_t all = (size_t)tokens->tokens * (size_t)tokens->used, experts = (size_t)tokens->experts;
  struct moe_cuts cuts;
  TD_TRY(td_alloc(2 * experts, sizeof *planning->loads, (void **)&planning->loads));
  planning->starts = planning->loads + experts;
  TD_TRY(td_alloc(all, sizeof *planning->of, (void **)&planning->of));
  TD_TRY(td_alloc(all, sizeof *planning->runs, (void **)&planning->runs));
  sort_tokens(planning);
  TD_TRY(moe_cuts_open(&planning->costs, tokens->tokens * tokens->used, &cuts));
  td_status status = moe_cut(&cuts, planning->loads, tokens->experts, keep_run, planning);
  moe_cuts_close(&cuts);
  return status ? status : list_all(planning);
}

td_status td_moe_plan_build(const struct td_lpu_program *program, int32_t layer, const struct td_moe_tokens *tokens,
                            struct td_moe_plan *out) {
  struct planning planning = {.program = program, .layer = layer, .tokens = tokens, .plan = out};
  *out = (struct td_moe_plan){0};
  TD_TRY(td_moe_costs_of(program, layer, &planning.costs));
  TD_TRY(check_tokens(&planning));
  td_status status = make_plan(&planning);
  free(planning.loads);
  free(planning.of);
  free(planning.runs);
  if (status) td_moe_plan_free(out);
  return status;
}

void td_moe_plan_free(struct td_moe_plan *plan) {
  free(plan->calls);
  free(plan->rows);
  free(plan->numbers);
  free(plan->gates);
  *plan = (struct td_moe_plan){0};
}
