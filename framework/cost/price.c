/* SPDX-License-Identifier: Apache-2.0
 *
 * The roofline in integers. cost.h states the formula; here is why it is exact.
 *
 * All times are integers in "grains" of 2^-20 ps. An operator's compute time and memory time are linear forms in the
 * step's counts with integer coefficients, so while no operator changes its bound, the sum over operators is one linear
 * form X = fixed + context * C + pairs * A + ... Rounding X to picoseconds would break the line, so only its parts are
 * rounded: with C = S * q + r, a decode step adds S to C and thus 1 to q and nothing to r; the time is
 * round(fixed + context * r + ...) + q * round(context * S) + ..., whose growth per step is an integer. What rounding
 * costs is at most half a picosecond per decode step and cached position of a sequence.
 *
 * The windowed counts grow in the same way until the window is full and stand still from there, for each sequence at
 * its own time. The counts of a step do not tell one sequence from another, so a price holds for more than one step
 * only where they prove that no sequence changes over: see windows_of.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "measure.h"
#include "price_roofline.h"
#include "tandem/base.h"
#include "tandem/cost.h"

/* A sum of active forms; overheads are counted in ONE. */
struct total {
  struct form form;
};

static void add_op(struct total *total, const struct rates *rates, const struct op_times *times,
                   const struct td_step_stats *stats, int32_t count) {
  const struct form *active = td_is_compute_bound(times, stats) ? &times->compute : &times->memory;
  total->form.c[TD_SYM_ONE] += rates->overhead * count;
  for (int s = 0; s < TD_SYM_COUNT; s++) total->form.c[s] += active->c[s] * count;
}

static wide to_ps(wide grains) {
  return (grains + ((wide)1 << (GRAIN_BITS - 1))) >> GRAIN_BITS;
}

/* Whether decode steps may add to a count; what it adds is then always SEQS. */
static bool may_grow(int symbol) {
  return symbol == TD_SYM_CONTEXT || symbol == TD_SYM_PAIRS || symbol == TD_SYM_WINDOW_CONTEXT ||
         symbol == TD_SYM_WINDOW_PAIRS || symbol == TD_SYM_FULL_PAIRS;
}

/* The rounding of the file's head comment. Every part is monotone in `total`, so sums of fewer operators never come out
 * longer. How a count is split does not depend on whether it grows, so that neither does the price of a step. */
static td_status round_total(const struct total *total, const struct ahead *ahead, const struct td_step_stats *stats,
                             int64_t *out_base, int64_t *out_slope) {
  int64_t seqs = stats->v[TD_SYM_SEQS];
  wide rest = 0, base = 0, slope = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    bool split = seqs > 0 && may_grow(s);
    rest += total->form.c[s] * (split ? stats->v[s] % seqs : stats->v[s]);
    if (!split) continue;
    wide step = to_ps(total->form.c[s] * seqs);
    base += step * (stats->v[s] / seqs);
    if (ahead->grows[s]) slope += step;
  }
  base += to_ps(rest);
  if (base > INT64_MAX || slope > INT64_MAX) {
    return td_fail(TD_UNSUPPORTED, "found a step of over 106 days, expected a shorter one");
  }
  *out_base = (int64_t)base;
  *out_slope = (int64_t)slope;
  return TD_OK;
}

/* An operator over no rows is never sent to a device. */
static bool is_priced(const struct td_op *op, const struct td_step_stats *stats) {
  return stats->v[op->rows == TD_ROWS_LOGITS ? TD_SYM_LOGITS : TD_SYM_TOKENS] > 0;
}

static td_status check_stats(const struct td_step_stats *stats) {
  for (int s = 0; s < TD_SYM_COUNT; s++) {
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
static struct ahead look_ahead(const struct td_graph *graph, const struct td_slice_group *groups, int32_t count,
                               const struct td_step_stats *stats) {
  struct ahead ahead = {.valid = INT64_MAX};
  int64_t seqs = stats->v[TD_SYM_SEQS];
  bool decode = stats->v[TD_SYM_TOKENS] == seqs;
  ahead.grows[TD_SYM_CONTEXT] = ahead.grows[TD_SYM_PAIRS] = ahead.grows[TD_SYM_FULL_PAIRS] = true;
  if (!decode) ahead.valid = 1;
  for (int32_t i = 0; i < count && decode && seqs; i++) {
    const struct td_op *op = &graph->ops[groups[i].op];
    if (op->kind != TD_OP_ATTENTION) continue;
    if (op->window) look_at_windows(op->window, stats, &ahead);
    if (op->bidirectional) ahead.valid = 1;
  }
  return ahead;
}

struct sums {
  double low, high; /* ps */
  struct total all, compute_bound;
  struct ahead ahead; /* .valid: over all operators so far */
  double flops, bytes;
  double step_low, step_high; /* of measured operators: ratios to the whole step's time; 0: none */
  double octaves;             /* how far an operator lies beyond what was measured */
};

/* Adds where the time of a roofline lies, by the ranges of the numbers that bound it. */
static void add_range(const struct rates *rates, const struct op_times *times, const struct td_step_stats *stats,
                      int32_t count, struct sums *sums) {
  const struct td_device_params *device = rates->device;
  bool computes = td_is_compute_bound(times, stats);
  const struct td_quantity *share = computes ? &device->compute_efficiency : &device->memory_efficiency;
  const struct td_quantity *peak = computes ? times->peak : &device->memory_bandwidth;
  wide time = td_form_value(computes ? &times->compute : &times->memory, stats);
  double ps = (double)time / GRAINS_PER_PS, rate = share->value * peak->value;
  sums->low += count * (device->op_overhead.low * 1e12 + ps * rate / (share->high * peak->high));
  sums->high += count * (device->op_overhead.high * 1e12 + ps * rate / (share->low * peak->low));
}

/* The fitted time in place of the roofline's. */
static void add_fitted(const struct td_fitted *fitted, bool computes, int32_t count, struct sums *sums) {
  struct total *totals[] = {&sums->all, computes ? &sums->compute_bound : NULL};
  for (int i = 0; i < 2; i++) {
    if (!totals[i]) continue;
    totals[i]->form.c[TD_SYM_ONE] += fitted->one * count;
    totals[i]->form.c[TD_SYM_CONTEXT] += fitted->context * count;
  }
  sums->low += count * fitted->low * 1e12;
  sums->high += count * fitted->high * 1e12;
  if (fitted->valid < sums->ahead.valid) sums->ahead.valid = fitted->valid;
}

/* The measured time in place of the roofline's. */
static void add_measured(const struct td_measured_form *form, bool computes, int32_t count, struct sums *sums) {
  struct total *totals[] = {&sums->all, computes ? &sums->compute_bound : NULL};
  for (int i = 0; i < 2; i++) {
    for (int s = 0; s < TD_SYM_COUNT && totals[i]; s++) totals[i]->form.c[s] += form->c[s] * count;
  }
}

/* A roofline whose place no model takes. */
static void sum_roofline(const struct rates *rates, const struct op_times *times, const struct td_step_stats *stats,
                         int32_t count, struct sums *sums) {
  add_range(rates, times, stats, count, sums);
  add_op(&sums->all, rates, times, stats, count);
  if (td_is_compute_bound(times, stats)) add_op(&sums->compute_bound, rates, times, stats, count);
  int64_t steps = td_roofline_crossover(times, &sums->ahead, stats);
  if (steps < sums->ahead.valid) sums->ahead.valid = steps;
}

/* What no model takes: measured on this very device, or a roofline. */
static td_status sum_unfitted(const struct rates *rates, const struct td_fit_step *step, const struct td_op *op,
                              const struct op_times *times, int32_t count, struct sums *sums) {
  struct td_measured_form measured;
  TD_TRY(td_price_measured(rates->device, step->graph, op, step->kv_dtype, step->stats, &measured));
  if (!measured.is) {
    sum_roofline(rates, times, step->stats, count, sums);
    return TD_OK;
  }
  add_measured(&measured, td_is_compute_bound(times, step->stats), count, sums);
  if (measured.octaves > sums->octaves) sums->octaves = measured.octaves;
  return TD_OK;
}

/* `count` operators alike this one. Sampling is the host's, whose part only some devices know. */
static td_status sum_op(const struct rates *rates, const struct td_fit_step *step, const struct td_op *op,
                        int32_t count, struct sums *sums) {
  const struct td_step_stats *stats = step->stats;
  struct op_times times = {0};
  struct td_fitted fitted;
  if (!is_priced(op, stats)) return TD_OK;
  TD_TRY(check_encoder(op, stats));
  if (op->kind != TD_OP_SAMPLE) TD_TRY(td_roofline_time(rates, step->graph, op, step->kv_dtype, stats, &times));
  sums->flops += count * times.flops;
  sums->bytes += count * times.bytes;
  TD_TRY(td_price_fitted(step, op, times.bytes, &fitted));
  if (fitted.is) {
    add_fitted(&fitted, td_is_compute_bound(&times, stats), count, sums);
  } else if (op->kind != TD_OP_SAMPLE) {
    TD_TRY(sum_unfitted(rates, step, op, &times, count, sums));
  }
  return TD_OK;
}

static td_status finish(const struct td_fit_step *step, const struct sums *sums, struct td_price *out) {
  const struct td_device_params *device = step->device;
  const struct td_step_stats *stats = step->stats;
  struct td_price price = {.flops = sums->flops,
                           .bytes = sums->bytes,
                           .valid_steps = sums->ahead.valid,
                           .low_ps = sums->low,
                           .high_ps = sums->high};
  int64_t ignored;
  TD_TRY(round_total(&sums->all, &sums->ahead, stats, &price.base_ps, &price.slope_ps));
  TD_TRY(round_total(&sums->compute_bound, &sums->ahead, stats, &price.compute_bound_ps, &ignored));
  if (sums->step_high > 0) {
    double wider = 1 + TD_WIDER_OCTAVE * sums->octaves;
    price.low_ps = sums->step_low * (double)price.base_ps / wider;
    price.high_ps = sums->step_high * (double)price.base_ps * wider;
  }
  if (price.slope_ps > 0) { /* base + (valid - 1) * slope stays below 2^63 */
    int64_t most = (INT64_MAX - price.base_ps) / price.slope_ps + 1;
    if (price.valid_steps > most) price.valid_steps = most;
  }
  price.energy_j = device->power_busy.present ? device->power_busy.value * td_seconds(price.base_ps) : (double)NAN;
  if (step->serving) {
    double peak = device->flops_bf16.present ? device->flops_bf16.value : device->flops_f16.value;
    price.energy_j = td_op_energy(device, td_seconds(price.base_ps), sums->flops, peak, sums->bytes);
  }
  *out = price;
  return TD_OK;
}

td_status td_price_roofline(const struct td_device_params *device, const struct td_graph *graph,
                            const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                            struct td_price *out_price) {
  struct rates rates = {0};
  struct td_fit_step step;
  struct td_slice_group *groups;
  struct sums sums = {0};
  int32_t count;
  TD_TRY(check_stats(stats));
  TD_TRY(td_roofline_open(device, &rates));
  td_fit_step_of(device, graph, kv_dtype, stats, &step);
  TD_TRY(td_slice_groups_build(graph, slice, &groups, &count));
  sums.ahead = look_ahead(graph, groups, count, stats);
  td_status status = TD_OK;
  for (int32_t i = 0; i < count && !status; i++) {
    status = sum_op(&rates, &step, &graph->ops[groups[i].op], groups[i].count, &sums);
  }
  free(groups);
  struct td_measured_form whole;
  td_price_measured_step(device, graph, &whole, &sums.step_low, &sums.step_high);
  if (whole.is) add_measured(&whole, false, 1, &sums);
  return status ? status : finish(&step, &sums, out_price);
}

td_status td_price_milestones(const struct td_device_params *device, const struct td_graph *graph,
                              const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                              int64_t *out_ps) {
  struct rates rates = {0};
  struct td_fit_step step;
  struct td_slice_ops ops = {0};
  struct td_slice_group *groups;
  struct sums sums = {0};
  int32_t count;
  TD_TRY(check_stats(stats));
  TD_TRY(td_roofline_open(device, &rates));
  td_fit_step_of(device, graph, kv_dtype, stats, &step);
  TD_TRY(td_slice_groups_build(graph, slice, &groups, &count));
  sums.ahead = look_ahead(graph, groups, count, stats);
  free(groups);
  TD_TRY(td_slice_ops_build(graph, slice, &ops));
  int32_t first = slice->layer_begin > 0 ? slice->layer_begin : 0;
  int32_t end = slice->layer_end < graph->shape.layers ? slice->layer_end : graph->shape.layers;
  td_status status = TD_OK;
  int32_t next = 0;
  int64_t ignored;
  for (int32_t layer = first; layer < end && !status; layer++) {
    for (; next < ops.op_count && graph->ops[ops.ops[next]].layer <= layer && !status; next++) {
      status = sum_op(&rates, &step, &graph->ops[ops.ops[next]], 1, &sums);
    }
    if (!status) status = round_total(&sums.all, &sums.ahead, stats, &out_ps[layer - first], &ignored);
  }
  td_slice_ops_free(&ops);
  return status;
}
