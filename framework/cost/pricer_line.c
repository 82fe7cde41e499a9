/* SPDX-License-Identifier: Apache-2.0
 *
 * The same sums as price_sum.c and price_fit_attention.c make, term by term, with all that is constant taken out.
 */
#include "pricer_line.h"

#define BIT(symbol) (UINT32_C(1) << (symbol))

static bool op_of(const struct td_priced_op *priced, struct td_line_op *out) {
  const struct td_op *op = priced->op;
  const struct td_roofline *roofline = &priced->roofline;
  if (op->kind != TD_OP_ATTENTION || op->bidirectional || !priced->ready) return false;
  int context = op->window ? TD_SYM_WINDOW_CONTEXT : TD_SYM_CONTEXT;
  int pairs = op->window ? TD_SYM_WINDOW_PAIRS : TD_SYM_PAIRS;
  uint32_t known = BIT(TD_SYM_ONE) | BIT(TD_SYM_TOKENS) | BIT(context) | BIT(pairs);
  bool apart = !roofline->flops.c[TD_SYM_ONE] && !roofline->flops.c[TD_SYM_TOKENS] && !roofline->flops.c[context] &&
               !roofline->bytes.c[pairs];
  if ((roofline->symbols & ~known) || !apart) return false;
  *out = (struct td_line_op){.op = op,
                             .count = priced->count,
                             .chips = roofline->chips,
                             .context = context,
                             .pairs = pairs,
                             .flops = (double)roofline->flops.c[pairs],
                             .byte_one = (double)roofline->bytes.c[TD_SYM_ONE],
                             .byte_token = (double)roofline->bytes.c[TD_SYM_TOKENS],
                             .byte_context = (double)roofline->bytes.c[context],
                             .compute = roofline->compute.c[pairs],
                             .memory_one = roofline->memory.c[TD_SYM_ONE],
                             .memory_token = roofline->memory.c[TD_SYM_TOKENS],
                             .memory_context = roofline->memory.c[context]};
  return true;
}

/* Far below where sums of `wide` or the models' counts end. */
#define MOST_COUNT 1e15

void td_line_plan_of(const struct td_price_plan *plan, struct td_line_plan *out) {
  struct td_line_plan lines = {.most = MOST_COUNT};
  int32_t begin = plan->begin[TD_BY_ALL], count = plan->begin[TD_DEPENDENCES] - begin;
  *out = (struct td_line_plan){.count = 0};
  if (count < 1 || count > TD_LINE_OPS || plan->step_high > 0 || plan->model) return;
  for (int32_t i = 0; i < count; i++) {
    const struct td_priced_op *priced = &plan->ops[begin + i];
    if (!op_of(priced, &lines.ops[i])) return;
    if (priced->roofline.most < lines.most) lines.most = priced->roofline.most;
    lines.windows = lines.windows || priced->op->window;
  }
  lines.count = count;
  *out = lines;
}

bool td_line_of(const struct td_line_plan *plan, const struct td_fit_step *step, const struct td_price_part *rest,
                struct td_line *out) {
  const int64_t *v = step->stats->v;
  struct td_line line = {.seqs = v[TD_SYM_SEQS],
                         .logits = v[TD_SYM_LOGITS],
                         .experts = v[TD_SYM_EXPERTS],
                         .low = rest->low,
                         .high = rest->high,
                         .flops = rest->flops,
                         .bytes = rest->bytes,
                         .rest = rest->all};
  for (int32_t i = 0; i < plan->count; i++) {
    const struct td_line_op *op = &plan->ops[i];
    const struct td_knot *knot = td_fit_known_knot(step, op->op);
    if (!knot || !knot->is) return false;
    struct td_fitted fitted = {.is = true, .one = knot->one, .context = knot->context};
    td_fit_scale(step, &fitted);
    line.rest += fitted.one * op->count;
    line.growing += fitted.context * op->count;
    line.ops[i].one = knot->one;
    line.ops[i].context = knot->context;
    line.ops[i].low = knot->low;
    line.ops[i].high = knot->high;
    line.least = knot->begin;
    line.end = knot->end;
  }
  wide slope = td_grains_ps(line.growing * line.seqs), bound = td_grains_ps(rest->bound);
  if (slope > INT64_MAX / 2 || bound > INT64_MAX / 2) return false;
  line.slope_ps = (int64_t)slope;
  line.bound_ps = (int64_t)bound;
  *out = line;
  return true;
}

/* Adds one kind of attention; false: it is bound by arithmetic, or its counts need a closer look. */
static bool add_op(const struct td_line_plan *plan, const struct td_line *line, int32_t index,
                   const struct td_fit_step *step, struct td_price *price) {
  const struct td_line_op *op = &plan->ops[index];
  const int64_t *v = step->stats->v;
  int64_t context = v[op->context], pairs = v[op->pairs], tokens = v[TD_SYM_TOKENS];
  if (!((double)context < plan->most && (double)pairs < plan->most)) return false;
  wide memory = op->memory_one + op->memory_token * tokens + op->memory_context * context;
  if (op->compute * pairs > memory) return false;
  double flops = op->flops * (double)pairs;
  double bytes = op->byte_one + op->byte_token * (double)tokens + op->byte_context * (double)context;
  if (op->chips > 1) {
    flops /= op->chips;
    bytes /= op->chips;
  }
  price->flops += op->count * flops;
  price->bytes += op->count * bytes;
  double seconds = td_fit_seconds(line->ops[index].one + line->ops[index].context * v[TD_SYM_CONTEXT]);
  price->low_ps += op->count * (line->ops[index].low * seconds * step->scale) * 1e12;
  price->high_ps += op->count * (line->ops[index].high * seconds * step->scale) * 1e12;
  return true;
}

bool td_line_price(const struct td_price_plan *prices, const struct td_line_plan *plan, const struct td_line *line,
                   const struct td_fit_step *step, int64_t mean, struct td_price *out) {
  const int64_t *v = step->stats->v;
  bool is = line->seqs == v[TD_SYM_SEQS] && line->logits == v[TD_SYM_LOGITS] && line->experts == v[TD_SYM_EXPERTS] &&
            v[TD_SYM_ONE] == 1 && mean >= line->least && mean < line->end;
  if (!is || !((double)v[TD_SYM_CONTEXT] < plan->most && (double)v[TD_SYM_SEQS] < plan->most)) return false;
  struct td_price price = {.slope_ps = line->slope_ps,
                           .valid_steps = line->end - mean,
                           .flops = line->flops,
                           .bytes = line->bytes,
                           .compute_bound_ps = line->bound_ps,
                           .low_ps = line->low,
                           .high_ps = line->high};
  for (int32_t i = 0; i < plan->count; i++) {
    if (!add_op(plan, line, i, step, &price)) return false;
  }
  if (plan->windows) {
    struct ahead ahead = td_price_look_ahead(prices, step->stats);
    if (ahead.valid < price.valid_steps) price.valid_steps = ahead.valid;
  }
  wide left = line->growing * (v[TD_SYM_CONTEXT] - mean * line->seqs);
  wide base = td_grains_ps(line->rest + left) + (wide)line->slope_ps * mean;
  if (base + (wide)(price.valid_steps - 1) * price.slope_ps > INT64_MAX) return false;
  price.base_ps = (int64_t)base;
  price.energy_j = td_price_energy(step, price.flops, price.bytes, price.base_ps);
  *out = price;
  return true;
}
