/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps priced as they were measured whole.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "measure.h"
#include "step_model.h"
#include "tandem/base.h"

/* ---- which one ---- */

static int32_t at_least_one(int32_t chips) {
  return chips > 1 ? chips : 1;
}

static td_status none_such(const struct td_device_params *device, const char *model) {
  char all[256] = "";
  size_t used = 0;
  for (int32_t i = 0; i < device->step_count && used < sizeof all; i++) {
    used += (size_t)snprintf(all + used, sizeof all - used, "%s%.40s on %" PRId32, i ? ", " : "",
                             device->steps[i].model, device->steps[i].tensor);
  }
  return td_fail(TD_UNSUPPORTED,
                 "device %s: found no steps of %s on %" PRId32 " chips in its file, expected one of those it has: %s",
                 device->name, model, at_least_one(device->serving.tensor), all);
}

td_status td_step_model_find(const struct td_device_params *device, const struct td_graph *graph,
                             const struct td_slice *slice, const struct td_step_model **out_model) {
  const struct td_serving *serving = &device->serving;
  const struct td_slice whole = td_slice_whole(graph);
  if (slice->layer_begin > whole.layer_begin || slice->layer_end < whole.layer_end ||
      (slice->parts & whole.parts) != whole.parts) {
    return td_fail(TD_UNSUPPORTED,
                   "device %s: found a part of %s, expected all of it: the file has times of whole steps", device->name,
                   graph->shape.name);
  }
  if (serving->expert > 1 || serving->replicas > 1) {
    return td_fail(TD_UNSUPPORTED,
                   "device %s: found experts on chips of their own, expected tensor parallelism only: the file has "
                   "times of whole steps",
                   device->name);
  }
  for (int32_t i = 0; i < device->step_count; i++) {
    if (strcmp(device->steps[i].model, graph->shape.name)) continue;
    if (device->steps[i].tensor != at_least_one(serving->tensor)) continue;
    *out_model = &device->steps[i];
    return TD_OK;
  }
  return none_such(device, graph->shape.name);
}

/* ---- what it comes to ---- */

static td_status too_long(void) {
  return td_fail(TD_UNSUPPORTED, "found a step of over 106 days, expected a shorter one");
}

static wide grains(double seconds) {
  return (wide)(seconds * 1e12 * GRAINS_PER_PS + 0.5);
}

/* `count` times the number; what grows with decode steps goes to `slope`. */
static td_status add(const struct td_quantity *number, int64_t count, struct td_step_line *line, wide *slope) {
  if (!(number->value * 1e12 * GRAINS_PER_PS * ((double)count + 1) < MOST_GRAINS)) return too_long();
  wide each = grains(number->value);
  if (slope) *slope += each;
  if (!slope) line->rest += each * count;
  line->low += number->low * 1e12 * (double)count;
  line->high += number->high * 1e12 * (double)count;
  return TD_OK;
}

static double between(const struct td_step_point *a, double low, double high, int64_t at, int64_t next) {
  return low + (high - low) * ((double)(at - a->at) / (double)(next - a->at));
}

/* The straight line between the points around, or of the nearest two: outside of them the interval grows as that of
 * operators outside of what was measured. */
static td_status add_points(const struct td_step_side *side, int64_t at, struct td_step_line *line) {
  int32_t below = 0;
  while (below + 2 < side->count && side->points[below + 1].at <= at) below++;
  const struct td_step_point *a = &side->points[below], *b = a + 1, *last = &side->points[side->count - 1];
  if (at > INT64_MAX / 2) return too_long();
  double value = between(a, a->time.value, b->time.value, at, b->at);
  if (!(value * 1e12 * GRAINS_PER_PS < MOST_GRAINS)) return too_long();
  if (value < 0) {
    return td_fail(TD_UNSUPPORTED,
                   "found a step of %" PRId64 ", to which the nearest points, %" PRId64 " and %" PRId64
                   ", give less than no time; expected one nearer to them",
                   at, a->at, b->at);
  }
  double octaves = at > last->at           ? log2((double)at / (double)last->at)
                   : at < side->points->at ? log2((double)side->points->at / (double)at)
                                           : 0;
  double wider = 1 + TD_WIDER_OCTAVE * octaves;
  wide start = grains(a->time.value), rise = grains(b->time.value) - start;
  line->rest += start + rise * (at - a->at) / (b->at - a->at);
  /* a bound that lies beyond the next point's line is at zero, or at the value itself */
  line->low += fmax(0, between(a, a->time.low, b->time.low, at, b->at)) * 1e12 / wider;
  line->high += fmax(value, between(a, a->time.high, b->time.high, at, b->at)) * 1e12 * wider;
  return TD_OK;
}

static td_status split(const struct td_step_stats *stats, struct td_step_parts *out) {
  const int64_t *v = stats->v;
  const int64_t most = v[TD_SYM_SEQS] - 1; /* more tokens than sequences: somebody brings a prompt */
  const int64_t decodes = v[TD_SYM_DECODES] < most ? v[TD_SYM_DECODES] : most, context = v[TD_SYM_DECODE_CONTEXT];
  const int64_t tokens = v[TD_SYM_TOKENS] - decodes, chunks = v[TD_SYM_SEQS] - decodes;
  if (v[TD_SYM_PAIRS] > INT64_MAX / 4) return too_long();
  *out = (struct td_step_parts){.tokens = tokens,
                                .past = (v[TD_SYM_CONTEXT] - context - tokens) / chunks,
                                .squares = 2 * (v[TD_SYM_PAIRS] - context) - tokens,
                                .decodes = decodes,
                                .context = context};
  return TD_OK;
}

static td_status add_prefill(const struct td_step_model *model, int64_t tokens, int64_t squares,
                             struct td_step_line *line) {
  const struct td_step_side *side = &model->prefill;
  if (side->count) return add_points(side, tokens, line);
  TD_TRY(add(&side->step, 1, line, NULL));
  TD_TRY(add(&side->each, tokens, line, NULL));
  return add(&side->more, squares, line, NULL);
}

static const struct td_step_side *decode_side(const struct td_step_model *model, int64_t seqs) {
  return model->large_from && seqs >= model->large_from ? &model->large : &model->decode;
}

static td_status price_decode(const struct td_step_model *model, const struct td_step_stats *stats,
                              struct td_step_line *line) {
  int64_t seqs = stats->v[TD_SYM_SEQS];
  if (model->profile) return td_step_profile_decode(model->profile, stats, line);
  const struct td_step_side *side = decode_side(model, seqs);
  if (side->count) return add_points(side, seqs, line);
  TD_TRY(add(&side->step, 1, line, NULL));
  TD_TRY(add(&side->each, seqs, line, NULL));
  return add(&side->more, stats->v[TD_SYM_CONTEXT], line, &line->context);
}

#define RATIO_BITS 32

static td_status price_prompts(const struct td_step_model *model, const struct td_step_stats *stats,
                               struct td_step_line *line) {
  struct td_step_parts parts = {.tokens = 0};
  TD_TRY(split(stats, &parts));
  if (model->profile) return td_step_profile_prompts(model->profile, stats, &parts, line);
  if (parts.decodes && model->mixed.present) {
    wide ratio = (wide)(model->mixed.value * (double)(INT64_C(1) << RATIO_BITS) + 0.5);
    TD_TRY(add_prefill(model, stats->v[TD_SYM_TOKENS], parts.squares + parts.decodes, line));
    line->rest = (line->rest * ratio) >> RATIO_BITS;
    line->low *= model->mixed.low;
    line->high *= model->mixed.high;
    return TD_OK;
  }
  TD_TRY(add_prefill(model, parts.tokens, parts.squares, line));
  if (!parts.decodes) return TD_OK;
  const struct td_step_side *side = decode_side(model, parts.decodes);
  TD_TRY(add(&side->each, parts.decodes, line, NULL));
  return add(&side->more, parts.context, line, NULL);
}

/* Of all chips; power_busy is theirs already. */
static double energy_of(const struct td_device_params *device, const struct td_step_side *side, int32_t chips,
                        double seconds) {
  if (side->power.present) return side->power.value * chips * seconds;
  return device->power_busy.present ? device->power_busy.value * seconds : (double)NAN;
}

td_status td_step_model_price(const struct td_device_params *device, const struct td_step_model *model,
                              const struct td_step_stats *stats, struct td_price *price) {
  struct td_step_line line = {.valid = INT64_MAX};
  int64_t seqs = stats->v[TD_SYM_SEQS];
  bool decode = stats->v[TD_SYM_TOKENS] <= seqs;
  *price = (struct td_price){.flops = price->flops, .bytes = price->bytes, .valid_steps = INT64_MAX};
  if (stats->v[TD_SYM_TOKENS]) TD_TRY(decode ? price_decode(model, stats, &line) : price_prompts(model, stats, &line));
  int64_t whole = line.context ? stats->v[TD_SYM_CONTEXT] / seqs : 0;
  int64_t left = line.context ? stats->v[TD_SYM_CONTEXT] % seqs : 0;
  wide slope = td_grains_ps(line.context * seqs);
  wide base = td_grains_ps(line.rest + line.context * left) + slope * whole;
  if (base > INT64_MAX || slope > INT64_MAX) return too_long();
  price->base_ps = (int64_t)base;
  price->slope_ps = (int64_t)slope;
  price->valid_steps = decode ? line.valid : 1;
  if (slope > 0 && price->valid_steps > (INT64_MAX - price->base_ps) / price->slope_ps + 1) {
    price->valid_steps = (INT64_MAX - price->base_ps) / price->slope_ps + 1;
  }
  price->low_ps = line.low;
  price->high_ps = line.high;
  const struct td_step_side *side = decode ? &model->decode : &model->prefill;
  price->energy_j = energy_of(device, side, model->tensor, td_seconds(price->base_ps));
  return TD_OK;
}
