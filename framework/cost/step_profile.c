/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps in parts that were measured each for itself: what a step takes.
 */
#include <math.h>

#include "measure.h"
#include "step_model.h"

/* ---- between the points ---- */

/* Of an axis: the point below and how far towards the next, which may lie beyond it. Below the first point is the
 * first: kernels fill tiles, whose smallest was measured. */
static int32_t below(const struct td_step_grid *grid, int32_t axis, int64_t x, double *out_share, double *octaves) {
  const int64_t *at = grid->at[axis];
  int32_t low = 0, high = grid->count[axis] - 1;
  *out_share = 0;
  if (x <= at[0] || high == 0) return 0;
  if (x > at[high]) *octaves = fmax(*octaves, log2((double)x / (double)at[high]));
  while (low + 1 < high) {
    int32_t middle = (low + high) / 2;
    *(at[middle] <= x ? &low : &high) = middle;
  }
  *out_share = (double)(x - at[low]) / (double)(at[low + 1] - at[low]);
  return low;
}

/* Seconds at `x`, one number an axis. *octaves grows to how far the farthest lies beyond its axis. */
static double grid_at(const struct td_step_grid *grid, const int64_t *x, double *octaves) {
  int32_t low[TD_STEP_AXES];
  double share[TD_STEP_AXES], sum = 0;
  for (int32_t i = 0; i < grid->axes; i++) low[i] = below(grid, i, x[i], &share[i], octaves);
  for (uint32_t corner = 0; corner < UINT32_C(1) << grid->axes; corner++) {
    double weight = 1;
    size_t index = 0;
    for (int32_t i = 0; i < grid->axes; i++) {
      uint32_t up = corner >> i & 1;
      weight *= up ? share[i] : 1 - share[i];
      index = index * (size_t)grid->count[i] + (size_t)low[i] + (weight != 0 ? up : 0);
    }
    if (weight != 0) sum += weight * grid->seconds[index];
  }
  return sum;
}

/* ---- a step ---- */

static td_status grains_of(double seconds, wide *out) {
  double grains = seconds * 1e12 * GRAINS_PER_PS;
  if (!(grains < MOST_GRAINS)) return td_fail(TD_UNSUPPORTED, "found a step of over 106 days, expected a shorter one");
  if (grains < 0) {
    return td_fail(TD_UNSUPPORTED,
                   "found a step to which the nearest measured ones give less than no time, expected one nearer");
  }
  *out = (wide)(grains + 0.5);
  return TD_OK;
}

/* All but attention. */
static double others(const struct td_step_profile *profile, const struct td_step_stats *stats, double *octaves) {
  double seconds = grid_at(&profile->tokens, &stats->v[TD_SYM_TOKENS], octaves);
  if (stats->v[TD_SYM_LOGITS]) seconds += grid_at(&profile->outputs, &stats->v[TD_SYM_LOGITS], octaves);
  return seconds;
}

static void spread(const struct td_step_profile *profile, double seconds, double octaves, struct td_step_line *line) {
  double wider = 1 + TD_WIDER_OCTAVE * octaves;
  line->low = seconds * 1e12 * profile->low / wider;
  line->high = seconds * 1e12 * profile->high * wider;
}

/* The line of the means of contexts between two points: their floor chooses it, and grows by one with every step. Never
 * falling, as for operators. */
td_status td_step_profile_decode(const struct td_step_profile *profile, const struct td_step_stats *stats,
                                 struct td_step_line *line) {
  const struct td_step_grid *grid = &profile->decode;
  int64_t seqs = stats->v[TD_SYM_SEQS], context = stats->v[TD_SYM_CONTEXT], mean = context / seqs;
  double share, octaves = 0, ignored = 0;
  int32_t low = below(grid, 1, mean, &share, &octaves), last = grid->count[1] - 1;
  int64_t at = grid->at[1][low], next = low < last ? grid->at[1][low + 1] : at;
  const int64_t here[] = {seqs, at}, there[] = {seqs, next};
  double layers = (double)profile->layers, fixed = others(profile, stats, &octaves);
  double begin = grid_at(grid, here, &octaves) * layers;
  double end = grid_at(grid, there, &ignored) * layers;
  wide start = 0, rise = 0;
  TD_TRY(grains_of(fixed + begin, &start));
  TD_TRY(grains_of(end > begin && mean >= at ? (end - begin) / ((double)(next - at) * (double)seqs) : 0, &rise));
  line->context = rise;
  line->rest = start - rise * at * seqs;
  if (mean < at) line->valid = at - mean;
  if (mean >= at && low + 1 < last) line->valid = next - mean;
  double positions = (double)(context - at * seqs), slope = (double)rise / GRAINS_PER_PS * 1e-12;
  spread(profile, fixed + begin + slope * positions, octaves, line);
  return TD_OK;
}

/* Several chunks of prompts are as one of all their tokens after their mean past: that is how they were measured. */
td_status td_step_profile_prompts(const struct td_step_profile *profile, const struct td_step_stats *stats,
                                  const struct td_step_parts *parts, struct td_step_line *line) {
  double octaves = 0, seconds = others(profile, stats, &octaves);
  const int64_t chunk[] = {parts->tokens, parts->past};
  const int64_t both[] = {parts->tokens, parts->past, parts->decodes,
                          parts->decodes > 0 ? parts->context / parts->decodes : 0};
  seconds += (double)profile->layers * (parts->decodes > 0 ? grid_at(&profile->mixed, both, &octaves)
                                                           : grid_at(&profile->prefill, chunk, &octaves));
  TD_TRY(grains_of(seconds, &line->rest));
  spread(profile, seconds, octaves, line);
  return TD_OK;
}
