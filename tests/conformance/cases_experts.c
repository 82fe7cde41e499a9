/* SPDX-License-Identifier: Apache-2.0
 *
 * Mixtures of experts: router, products with the chosen experts' matrices, their weighted sum.
 */
#include <inttypes.h>
#include <math.h>

#include "reference.h"

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

/* Logits that are no numbers: the ids are still ids, each once, numbers before NaNs. The weights are NaN then. */
static td_status run_router_nans(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs;
  double *want, *bound;
  float *got;
  TD_TRY(conform_inputs_make(run, &test->p, &inputs));
  TD_TRY(conform_supported(run, &inputs.op, TD_F32, TD_F32));
  size_t count = (size_t)(inputs.out_rows * inputs.out_cols);
  TD_TRY(conform_memory(run, count, sizeof *want, &want));
  TD_TRY(conform_memory(run, count, sizeof *bound, &bound));
  TD_TRY(conform_memory(run, count, sizeof *got, &got));
  TD_TRY(reference_compute(run, &inputs, want, bound));
  TD_TRY(conform_execute(run, run->device, &inputs, got));
  for (size_t i = 0; i < count; i++) {
    if ((int64_t)i % inputs.out_cols >= test->p.used) continue;
    CONFORM_CHECK((double)got[i] == want[i], "row %zu, slot %zu: found expert %g, expected %g",
                  i / (size_t)inputs.out_cols, i % (size_t)inputs.out_cols, (double)got[i], want[i]);
  }
  return TD_OK;
}

static void list_router(struct conform_list *list) {
  static const struct conform_params shapes[] = {
      {.rows = 1, .experts = 8, .used = 2},    {.rows = 7, .experts = 8, .used = 2},
      {.rows = 7, .experts = 8, .used = 1},    {.rows = 7, .experts = 8, .used = 8},
      {.rows = 3, .experts = 1, .used = 1},    {.rows = 4, .experts = 2, .used = 2},
      {.rows = 9, .experts = 60, .used = 4},   {.rows = 40, .experts = 128, .used = 8},
      {.rows = 2, .experts = 300, .used = 17},
  };
  for (size_t i = 0; i < COUNT(shapes); i++) {
    struct conform_params p = shapes[i];
    p.kind = TD_OP_ROUTER;
    conform_add_operator(list, conform_run_operator, &p, TD_F32, "router/rows=%" PRId64 ",experts=%d,used=%d", p.rows,
                         p.experts, p.used);
    if (p.rows < 3) continue;
    p.nans = true;
    conform_add_operator(list, run_router_nans, &p, TD_F32, "router/rows=%" PRId64 ",experts=%d,used=%d,nans=1", p.rows,
                         p.experts, p.used);
  }
}

static void list_matmul(struct conform_list *list) {
  static const struct conform_params shapes[] = {
      {.rows = 1, .experts = 4, .used = 2, .n = 33, .k = 64},   {.rows = 9, .experts = 8, .used = 2, .n = 40, .k = 96},
      {.rows = 40, .experts = 8, .used = 3, .n = 17, .k = 160}, {.rows = 3, .experts = 5, .used = 5, .n = 7, .k = 32},
      {.rows = 2, .experts = 1, .used = 1, .n = 5, .k = 64},    {.rows = 3, .experts = 6, .used = 2, .n = 9, .k = 37},
      {.rows = 1, .experts = 8, .used = 2, .n = 35, .k = 256},  {.rows = 9, .experts = 4, .used = 2, .n = 17, .k = 512},
  };
  for (int t = 0; td_dtype_at(t); t++) {
    const struct td_dtype_info *type = td_dtype_at(t);
    for (size_t i = 0; i < 2 * COUNT(shapes); i++) {
      struct conform_params p = shapes[i / 2];
      if (p.k % type->block_elements || (type->block_elements < 256 && p.k >= 256)) continue;
      p.kind = TD_OP_EXPERT_MATMUL;
      p.weight = type->dtype;
      p.per_slot = i % 2;
      conform_add_operator(list, conform_run_operator, &p, p.weight,
                           "expert_matmul/%s/rows=%" PRId64 ",experts=%d,used=%d,n=%" PRId64 ",k=%" PRId64
                           ",per_slot=%d",
                           type->name, p.rows, p.experts, p.used, p.n, p.k, p.per_slot);
    }
  }
}

static void list_sum(struct conform_list *list) {
  static const struct conform_params shapes[] = {
      {.rows = 1, .experts = 8, .used = 2, .n = 64}, {.rows = 7, .experts = 8, .used = 2, .n = 37},
      {.rows = 5, .experts = 4, .used = 1, .n = 96}, {.rows = 33, .experts = 128, .used = 8, .n = 576},
      {.rows = 2, .experts = 3, .used = 3, .n = 1},
  };
  for (size_t i = 0; i < COUNT(shapes); i++) {
    struct conform_params p = shapes[i];
    p.kind = TD_OP_EXPERT_SUM;
    conform_add_operator(list, conform_run_operator, &p, TD_F32, "expert_sum/rows=%" PRId64 ",used=%d,n=%" PRId64,
                         p.rows, p.used, p.n);
  }
}

void conform_list_experts(struct conform_list *list) {
  list_router(list);
  list_matmul(list);
  list_sum(list);
}
