/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether a grouping fits, and in which layout: the first that does, in the order of what a step loses by it.
 */
#include "compile.h"
#include "tandem/base.h"

/* Whether it fits so; the error text says what does not. */
static td_status try_layout(const struct lpu_compiler *compiler, const struct lpu_layout *layout) {
  struct lpu_compiler trial = *compiler;
  trial.weights = NULL;
  trial.places_only = trial.repeats = true;
  trial.layout = *layout;
  TD_TRY(lpu_builder_open(compiler->machine, trial.chips, &trial.builder));
  trial.builder->dry = true;
  td_status status = lpu_compile_all(&trial);
  lpu_builder_close(trial.builder);
  return status;
}

/* The head with as many rows at a time as fit, halving: the fewest first, to know whether any would do. */
static td_status try_heads(const struct lpu_compiler *compiler, struct lpu_layout *layout) {
  layout->head_rows = 1;
  TD_TRY(try_layout(compiler, layout));
  for (int32_t rows = compiler->rows; rows > 1; rows = (rows + 1) / 2) {
    layout->head_rows = rows;
    td_status status = try_layout(compiler, layout);
    if (status != TD_EXHAUSTED) return status;
  }
  layout->head_rows = 1;
  return TD_OK;
}

td_status lpu_try_places(const struct lpu_compiler *compiler, int32_t tensor, int32_t stages, struct lpu_layout *out) {
  struct lpu_compiler grouped = *compiler;
  grouped.tensor = tensor;
  grouped.stages = stages;
  grouped.chips = tensor * stages;
  *out = (struct lpu_layout){.head_rows = compiler->rows};
  td_status status = try_layout(&grouped, out);
  if (status != TD_EXHAUSTED) return status;
  static const struct lpu_layout layouts[] = {{.shared = true},
                                              {.shared = true, .balanced = true},
                                              {.shared = true, .spread = true},
                                              {.shared = true, .spread = true, .balanced = true}};
  const size_t count = sizeof layouts / sizeof *layouts, all = lpu_has_twins(compiler) ? 2 * count : count;
  for (size_t i = 0; i < all && status == TD_EXHAUSTED; i++) {
    if (layouts[i % count].spread && !lpu_can_spread(compiler->machine)) continue;
    *out = layouts[i % count];
    out->single = i >= count;
    status = try_heads(&grouped, out);
  }
  return status;
}
