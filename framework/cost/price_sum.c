/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators of a step, each priced by a model, by what was measured on this very device, or as a roofline.
 */
#include "price_sum.h"

#include <inttypes.h>
#include <math.h>

#include "tandem/base.h"

/* An operator over no rows is never sent to a device. */
static bool is_priced(const struct td_op *op, const struct td_step_stats *stats) {
  return stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS] > 0;
}

td_status td_price_check(const struct td_step_stats *stats) {
  int64_t all = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) all |= stats->v[s];
  for (int s = 0; s < TD_SYM_COUNT && all < 0; s++) {
    if (stats->v[s] < 0) return td_fail(TD_INTERNAL, "price: found a negative count %" PRId64, stats->v[s]);
  }
  return TD_OK;
}

/* An encoder's positions see those behind them too: none can be left to a later step. */
static td_status check_encoder(const struct td_op *op, const struct td_step_stats *stats) {
  int64_t cached = stats->v[TD_SYM_CONTEXT] - stats->v[TD_SYM_TOKENS];
  if (op->kind != TD_OP_ATTENTION || !op->bidirectional || cached <= 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "an encoder reads a text in one step: found a step with %" PRId64
                 " positions from earlier steps, expected none (one output token a request, and prompts in one chunk)",
                 cached);
}

/* ---- the steps after this one ---- */

/* Do decode steps that follow widen the window of every sequence, or of none, and for how long is that sure? In a step
 * of one token a sequence WINDOW_CONTEXT = sum min(context, window). If that is CONTEXT, no context exceeds the window,
 * and the longest is at most what is left when all others are 1; if it is SEQS * window, all have reached it. */
static void look_at_windows(int64_t window, const struct td_step_stats *stats, struct ahead *ahead) {
  int64_t seqs = stats->v[TD_SYM_SEQS], context = stats->v[TD_SYM_CONTEXT], seen = stats->v[TD_SYM_WINDOW_CONTEXT];
  bool full = (wide)seqs * window == seen, growing = seen == context && !full;
  int64_t longest = context - seqs + 1;
  ahead->grows[TD_SYM_WINDOW_CONTEXT] = ahead->grows[TD_SYM_WINDOW_PAIRS] = growing;
  if (full) return;
  int64_t room = growing && longest < window ? window - longest + 1 : 1;
  if (room < ahead->valid) ahead->valid = room;
}

/* A price is of one step only unless the steps that follow are known to be decode steps like it. */
struct ahead td_price_look_ahead(const struct td_price_plan *plan, const struct td_step_stats *stats) {
  struct ahead ahead = {.valid = INT64_MAX};
  int64_t seqs = stats->v[TD_SYM_SEQS];
  bool decode = stats->v[TD_SYM_TOKENS] == seqs;
  ahead.grows[TD_SYM_CONTEXT] = ahead.grows[TD_SYM_PAIRS] = ahead.grows[TD_SYM_FULL_PAIRS] = true;
  if (!decode) ahead.valid = 1;
  for (int32_t i = plan->begin[TD_BY_ALL]; i < plan->begin[TD_DEPENDENCES] && decode && seqs; i++) {
    const struct td_op *op = plan->ops[i].op;
    if (op->kind != TD_OP_ATTENTION) continue;
    if (op->window) look_at_windows(op->window, stats, &ahead);
    if (op->bidirectional) ahead.valid = 1;
  }
  return ahead;
}

/* ---- sums ---- */

static void add_symbol(struct td_total *total, int symbol, wide grains, const struct td_step_stats *stats) {
  if (td_may_grow(symbol)) total->growing[symbol - TD_SYM_CONTEXT] += grains;
  if (!td_may_grow(symbol)) total->rest += grains * stats->v[symbol];
}

static void add_form(struct td_total *total, const wide *form, uint32_t symbols, const struct td_step_stats *stats,
                     int32_t count) {
  for (; symbols; symbols &= symbols - 1) {
    int s = __builtin_ctz(symbols);
    add_symbol(total, s, form[s] * count, stats);
  }
}

#define ALL_SYMBOLS ((UINT32_C(1) << TD_SYM_COUNT) - 1)

/* A product or attention whose like the device's file has fits of, but not it (a latent cache, another type): kernels
 * of its own, so its roofline is worth no more than a guess. */
static bool is_outside_fits(const struct td_fit_step *step, const struct td_op *op) {
  bool modelled = op->kind == TD_OP_MATMUL || op->kind == TD_OP_EXPERT_MATMUL || op->kind == TD_OP_ATTENTION;
  return modelled && (step->serving || step->device->fit_count > 0);
}

#define OUTSIDE_LOW 0.5
#define OUTSIDE_HIGH 2.0

/* Adds where the time of a roofline lies, by the ranges of the numbers that bound it. */
static void add_range(const struct rates *rates, const struct op_times *times, bool outside, int32_t count,
                      struct td_sums *sums) {
  const struct td_device_params *device = rates->device;
  const struct td_quantity *share = times->computes ? &device->compute_efficiency : &device->memory_efficiency;
  const struct td_quantity *peak = times->computes ? times->of->peak : &device->memory_bandwidth;
  double ps = (double)(times->computes ? times->compute : times->memory) / GRAINS_PER_PS;
  double rate = share->value * peak->value;
  double low = device->op_overhead.low * 1e12 + ps * rate / (share->high * peak->high);
  double high = device->op_overhead.high * 1e12 + ps * rate / (share->low * peak->low);
  double middle = device->op_overhead.value * 1e12 + ps;
  sums->low += count * (outside ? fmin(low, OUTSIDE_LOW * middle) : low);
  sums->high += count * (outside ? fmax(high, OUTSIDE_HIGH * middle) : high);
}

/* A roofline whose place no model takes. */
static void sum_roofline(const struct rates *rates, const struct op_times *times, const struct td_fit_step *step,
                         const struct td_op *op, const struct ahead *ahead, int32_t count, struct td_sums *sums) {
  const struct form *form = times->computes ? &times->of->compute : &times->of->memory;
  int64_t valid = td_roofline_crossover(times, ahead, step->stats);
  wide overhead = rates->overhead * count * step->stats->v[TD_SYM_ONE];
  add_range(rates, times, is_outside_fits(step, op), count, sums);
  add_form(&sums->all, form->c, times->of->symbols, step->stats, count);
  sums->all.rest += overhead;
  if (times->computes) {
    add_form(&sums->bound, form->c, times->of->symbols, step->stats, count);
    sums->bound.rest += overhead;
  }
  if (valid < sums->valid) sums->valid = valid;
}

/* The fitted time in place of the roofline's. */
static void sum_fitted(const struct td_fitted *fitted, bool computes, const struct td_step_stats *stats, int32_t count,
                       struct td_sums *sums) {
  struct td_total *totals[] = {&sums->all, computes ? &sums->bound : NULL};
  for (int i = 0; i < 2; i++) {
    if (!totals[i]) continue;
    add_symbol(totals[i], TD_SYM_ONE, fitted->one * count, stats);
    add_symbol(totals[i], TD_SYM_CONTEXT, fitted->context * count, stats);
  }
  sums->low += count * fitted->low * 1e12;
  sums->high += count * fitted->high * 1e12;
  if (fitted->valid < sums->valid) sums->valid = fitted->valid;
}

/* What no model takes: measured on this very device, or a roofline. */
static td_status sum_unfitted(const struct rates *rates, const struct td_fit_step *step, const struct td_op *op,
                              const struct op_times *times, const struct ahead *ahead, int32_t count,
                              struct td_sums *sums) {
  struct td_measured_form measured;
  TD_TRY(td_price_measured(rates->device, step->graph, op, step->kv_dtype, step->stats, &measured));
  if (!measured.is) {
    sum_roofline(rates, times, step, op, ahead, count, sums);
    return TD_OK;
  }
  add_form(&sums->all, measured.c, ALL_SYMBOLS, step->stats, count);
  if (times->computes) add_form(&sums->bound, measured.c, ALL_SYMBOLS, step->stats, count);
  if (measured.octaves > sums->octaves) sums->octaves = measured.octaves;
  return TD_OK;
}

static td_status prepare(const struct td_price_plan *plan, struct td_priced_op *priced) {
  if (priced->ready) return TD_OK;
  const struct td_fit_step *steps = &plan->steps;
  td_roofline_work(steps->device, steps->graph, priced->op, steps->kv_dtype, &priced->roofline);
  if (!plan->model)
    TD_TRY(td_roofline_rate(&plan->rates, steps->graph, priced->op, steps->kv_dtype, &priced->roofline));
  priced->ready = true;
  return TD_OK;
}

/* `count` operators alike this one. Sampling is the host's, whose part only some devices know. */
static td_status sum_op(struct td_price_plan *plan, struct td_priced_op *priced, const struct td_fit_step *step,
                        const struct ahead *ahead, int32_t count, struct td_sums *sums) {
  const struct td_op *op = priced->op;
  struct op_times times = {.of = NULL};
  struct td_fitted fitted;
  if (!is_priced(op, step->stats)) return TD_OK;
  TD_TRY(check_encoder(op, step->stats));
  if (op->kind != TD_OP_SAMPLE) {
    TD_TRY(prepare(plan, priced));
    TD_TRY(td_roofline_step(&priced->roofline, step->stats, &times));
  }
  sums->flops += count * times.flops;
  sums->bytes += count * times.bytes;
  if (plan->model) return TD_OK;
  TD_TRY(td_price_fitted(step, op, times.bytes, &fitted));
  if (fitted.is) {
    sum_fitted(&fitted, times.computes, step->stats, count, sums);
  } else if (op->kind != TD_OP_SAMPLE) {
    TD_TRY(sum_unfitted(&plan->rates, step, op, &times, ahead, count, sums));
  }
  return TD_OK;
}

td_status td_price_add(struct td_price_plan *plan, enum td_dependence by, const struct td_fit_step *step,
                       const struct ahead *ahead, struct td_sums *sums) {
  for (int32_t i = plan->begin[by]; i < plan->begin[by + 1]; i++) {
    TD_TRY(sum_op(plan, &plan->ops[i], step, ahead, plan->ops[i].count, sums));
  }
  if (by == TD_BY_SEQS && plan->whole.is) add_form(&sums->all, plan->whole.c, ALL_SYMBOLS, step->stats, 1);
  return TD_OK;
}

td_status td_price_one(struct td_price_plan *plan, int32_t index, const struct td_fit_step *step,
                       const struct ahead *ahead, struct td_total *out) {
  struct td_sums sums = {.valid = INT64_MAX};
  TD_TRY(sum_op(plan, &plan->ops[index], step, ahead, 1, &sums));
  *out = sums.all;
  return TD_OK;
}

struct td_price_part td_price_part_of(const struct td_sums *sums) {
  return (struct td_price_part){sums->all.rest, sums->bound.rest, sums->low,    sums->high,
                                sums->flops,    sums->bytes,      sums->octaves};
}

void td_price_join(struct td_price_part *sum, const struct td_price_part *part) {
  sum->all += part->all;
  sum->bound += part->bound;
  sum->low += part->low;
  sum->high += part->high;
  sum->flops += part->flops;
  sum->bytes += part->bytes;
  if (part->octaves > sum->octaves) sum->octaves = part->octaves;
}

struct td_sums td_price_sums(const struct td_price_part *part) {
  return (struct td_sums){.all.rest = part->all,
                          .bound.rest = part->bound,
                          .low = part->low,
                          .high = part->high,
                          .flops = part->flops,
                          .bytes = part->bytes,
                          .octaves = part->octaves,
                          .valid = INT64_MAX};
}
