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
#include <math.h>
#include <stdlib.h>

#include "price_sum.h"
#include "tandem/base.h"

/* The rounding of the file's head comment. Every part is monotone in `total`, so sums of fewer operators never come out
 * longer. How a count is split does not depend on whether it grows, so that neither does the price of a step. */
td_status td_price_round(const struct td_total *total, const struct ahead *ahead, const struct td_step_stats *stats,
                         int64_t *out_base, int64_t *out_slope) {
  int64_t seqs = stats->v[TD_SYM_SEQS];
  wide rest = total->rest, base = 0, slope = 0;
  for (int i = 0; i < TD_GROWING; i++) {
    int s = TD_SYM_CONTEXT + i;
    if (!total->growing[i]) continue;
    if (!seqs) rest += total->growing[i] * stats->v[s];
    if (!seqs) continue;
    int64_t whole = stats->v[s] / seqs;
    wide step = td_grains_ps(total->growing[i] * seqs);
    rest += total->growing[i] * (stats->v[s] - whole * seqs);
    base += step * whole;
    if (ahead->grows[s]) slope += step;
  }
  base += td_grains_ps(rest);
  if (base > INT64_MAX || slope > INT64_MAX) {
    return td_fail(TD_UNSUPPORTED, "found a step of over 106 days, expected a shorter one");
  }
  *out_base = (int64_t)base;
  *out_slope = (int64_t)slope;
  return TD_OK;
}

double td_price_energy(const struct td_fit_step *step, double flops, double bytes, int64_t base_ps) {
  const struct td_device_params *device = step->device;
  double seconds = td_seconds(base_ps);
  if (step->serving) {
    double peak = device->flops_bf16.present ? device->flops_bf16.value : device->flops_f16.value;
    return td_op_energy(device, seconds, flops, peak, bytes);
  }
  return device->power_busy.present ? device->power_busy.value * seconds : (double)NAN;
}

td_status td_price_finish(const struct td_price_plan *plan, const struct td_fit_step *step, const struct ahead *ahead,
                          const struct td_sums *sums, struct td_price *out) {
  struct td_price price = {.flops = sums->flops,
                           .bytes = sums->bytes,
                           .valid_steps = sums->valid < ahead->valid ? sums->valid : ahead->valid,
                           .low_ps = sums->low,
                           .high_ps = sums->high};
  int64_t ignored;
  if (plan->model) {
    TD_TRY(td_step_model_price(step->device, plan->model, step->stats, &price));
    *out = price;
    return TD_OK;
  }
  TD_TRY(td_price_round(&sums->all, ahead, step->stats, &price.base_ps, &price.slope_ps));
  TD_TRY(td_price_round(&sums->bound, ahead, step->stats, &price.compute_bound_ps, &ignored));
  if (plan->step_high > 0) {
    double wider = 1 + TD_WIDER_OCTAVE * sums->octaves;
    price.low_ps = plan->step_low * (double)price.base_ps / wider;
    price.high_ps = plan->step_high * (double)price.base_ps * wider;
  }
  if (price.base_ps + (wide)(price.valid_steps - 1) * price.slope_ps > INT64_MAX) {
    price.valid_steps = (INT64_MAX - price.base_ps) / price.slope_ps + 1;
  }
  price.energy_j = td_price_energy(step, sums->flops, sums->bytes, price.base_ps);
  *out = price;
  return TD_OK;
}

static td_status price_step(struct td_price_plan *plan, const struct td_step_stats *stats, struct td_price *out) {
  struct ahead ahead = td_price_look_ahead(plan, stats);
  struct td_fit_step step = plan->steps;
  struct td_price_part rest = {.all = 0};
  td_fit_step_at(&step, stats);
  for (int by = 0; by < TD_BY_ALL; by++) {
    struct td_sums sums = {.valid = INT64_MAX};
    TD_TRY(td_price_add(plan, (enum td_dependence)by, &step, &ahead, &sums));
    const struct td_price_part part = td_price_part_of(&sums);
    td_price_join(&rest, &part);
  }
  struct td_sums sums = td_price_sums(&rest);
  TD_TRY(td_price_add(plan, TD_BY_ALL, &step, &ahead, &sums));
  return td_price_finish(plan, &step, &ahead, &sums, out);
}

td_status td_price_roofline(const struct td_device_params *device, const struct td_graph *graph,
                            const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                            struct td_price *out_price) {
  struct td_price_plan plan;
  TD_TRY(td_price_check(stats));
  TD_TRY(td_price_plan_open(device, graph, slice, kv_dtype, &plan));
  td_status status = price_step(&plan, stats, out_price);
  td_price_plan_close(&plan);
  return status;
}

td_status td_price_milestones(const struct td_device_params *device, const struct td_graph *graph,
                              const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                              int64_t *out_ps) {
  struct td_price_plan plan;
  struct td_price_layers layers;
  TD_TRY(td_price_check(stats));
  TD_TRY(td_price_plan_open(device, graph, slice, kv_dtype, &plan));
  td_status status = td_price_layers_open(&plan, slice, &layers);
  if (!status) {
    status = td_price_layers_ps(&plan, &layers, stats, out_ps);
    td_price_layers_close(&layers);
  }
  td_price_plan_close(&plan);
  return status;
}
