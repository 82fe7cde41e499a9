/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps priced by measured operators.
 */
#include <math.h>
#include <stdlib.h>

#include "measure.h"
#include "tandem/base.h"
#include "tandem/devices.h"

#define GRAINS_PER_SECOND (1e12 * (double)(1 << TD_GRAIN_BITS))
#define MOST_GRAINS 9.6e24 /* as price.c */

static td_status lacks(const struct td_device_params *device, enum td_op_kind kind, enum td_dtype type) {
  const struct td_dtype_info *info = td_dtype_info((uint32_t)type);
  return td_fail(TD_UNSUPPORTED,
                 "device %s: found no measured %s of %s, expected one among its operators: tandem calibrate measures "
                 "the types that --types names",
                 device->name, td_measured_kind_name(kind), info ? info->name : "an unknown type");
}

static const struct td_measured_op *step_of(const struct td_device_params *device) {
  return td_measured_find(device, TD_OP_SAMPLE, TD_F32);
}

static td_status add_use(const struct td_step_stats *stats, const struct td_measured_use *use, double seconds,
                         td_wide *c) {
  double coefficient = use->factor * seconds * GRAINS_PER_SECOND;
  double count = (double)stats->v[use->symbol] + (double)stats->v[TD_SYM_SEQS];
  if (!(coefficient * (count + 1) < MOST_GRAINS)) {
    return td_fail(TD_UNSUPPORTED, "found a step whose operator lasts over 106 days, expected a shorter one");
  }
  c[use->symbol] += (td_wide)(coefficient + 0.5);
  return TD_OK;
}

/* Rows of a product, the mean context of an attention's sequences: what `most` is of. */
static double octaves_beyond(const struct td_measured_op *found, const struct td_op *op,
                             const struct td_step_stats *stats) {
  double count = (double)stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS];
  if (op->kind == TD_OP_ATTENTION) count = (double)stats->v[TD_SYM_CONTEXT] / fmax(1, (double)stats->v[TD_SYM_SEQS]);
  return count > (double)found->most ? log2(count / (double)found->most) : 0;
}

td_status td_price_measured(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                            enum td_dtype kv_dtype, const struct td_step_stats *stats,
                            struct td_measured_form *out_form) {
  out_form->is = device->measured_count > 0;
  if (!out_form->is) return TD_OK;
  struct td_measured_form form = {.is = true};
  const struct td_measured_op *step = step_of(device);
  enum td_dtype type = td_measured_type(graph, op, kv_dtype);
  const struct td_measured_op *found = td_measured_find(device, op->kind, type);
  double ratio = step ? step->terms[TD_MEASURED_RATIOS + td_measured_class(op, stats)] : 1;
  struct td_measured_use uses[TD_MEASURED_USES];
  if (!found) return lacks(device, op->kind, type);
  int32_t count = td_measured_uses(graph, op, stats, uses);
  form.octaves = octaves_beyond(found, op, stats);
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(add_use(stats, &uses[i], found->terms[uses[i].term] * ratio, form.c));
  }
  *out_form = form;
  return TD_OK;
}

void td_price_measured_step(const struct td_device_params *device, const struct td_graph *graph,
                            struct td_measured_form *out_form, double *out_low, double *out_high) {
  const struct td_measured_op *step = device->measured_count ? step_of(device) : NULL;
  *out_form = (struct td_measured_form){.is = step != NULL};
  if (!step) return;
  double logits = (double)graph->shape.vocab * step->terms[TD_MEASURED_LOGIT];
  out_form->c[TD_SYM_ONE] = (td_wide)(step->terms[TD_MEASURED_STEP] * GRAINS_PER_SECOND + 0.5);
  out_form->c[TD_SYM_LOGITS] = (td_wide)(logits * GRAINS_PER_SECOND + 0.5);
  *out_low = step->low;
  *out_high = step->high;
}

td_status td_measured_sum(const struct td_device_params *device, const struct td_graph *graph,
                          const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                          double out_seconds[TD_MEASURED_CLASSES]) {
  struct td_slice_group *groups;
  int32_t count;
  td_status status = TD_OK;
  for (int i = 0; i < TD_MEASURED_CLASSES; i++) out_seconds[i] = 0;
  TD_TRY(td_slice_groups_build(graph, slice, &groups, &count));
  for (int32_t g = 0; g < count && !status; g++) {
    const struct td_op *op = &graph->ops[groups[g].op];
    struct td_measured_use uses[TD_MEASURED_USES];
    enum td_dtype type = td_measured_type(graph, op, kv_dtype);
    const struct td_measured_op *found = td_measured_find(device, op->kind, type);
    int64_t rows = stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS];
    if (op->kind == TD_OP_SAMPLE || !rows) continue;
    if (!found) status = lacks(device, op->kind, type);
    int32_t used = found ? td_measured_uses(graph, op, stats, uses) : 0;
    for (int32_t i = 0; i < used; i++) {
      double times = uses[i].factor * (double)stats->v[uses[i].symbol] * groups[g].count;
      out_seconds[td_measured_class(op, stats)] += times * found->terms[uses[i].term];
    }
  }
  free(groups);
  return status;
}
