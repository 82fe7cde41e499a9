/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>

#include "stream.h"

#define MOST_PS INT64_C(9200000000000000000)

static td_status too_late(void) {
  return td_fail(TD_CONFIG, "found a request beyond 9.2e6 s, expected all before: time is int64 picoseconds");
}

td_status time_of_key(const struct td_config *config, const char *key, td_status status) {
  char path[64];
  if (status != TD_CONFIG) return status;
  TD_TRY(td_format(path, sizeof path, "workload.source.%s", key));
  return td_config_fail(config, path, "%s", td_error_text());
}

td_status time_add(int64_t a, int64_t b, int64_t *out) {
  if (a > MOST_PS - b) return too_late();
  *out = a + b;
  return TD_OK;
}

td_status time_scale(int64_t ps, double factor, int64_t *out) {
  double scaled = (double)ps * factor;
  if (!(scaled < (double)MOST_PS)) return too_late();
  *out = (int64_t)(scaled + 0.5);
  return TD_OK;
}

void arrivals_open(const struct td_cfg_source *source, uint64_t seed, struct arrivals *out_arrivals) {
  *out_arrivals = (struct arrivals){
      .law = source->arrivals, .period_ps = 1e12 / source->rate, .shape = 1 / (source->cv * source->cv), .seed = seed};
}

/* The gap before arrival i, in periods. */
static double gap_of(const struct arrivals *arrivals, uint64_t i) {
  if (arrivals->law == TD_ARRIVALS_POISSON) return draw_exponential(arrivals->seed, DRAW_ARRIVAL, i);
  return draw_gamma(arrivals->seed, DRAW_ARRIVAL, i, arrivals->shape);
}

td_status arrivals_next(struct arrivals *arrivals, uint64_t i, int64_t *out_ps) {
  int64_t gap = 0;
  if (arrivals->law == TD_ARRIVALS_CONSTANT) {
    double at = (double)i * arrivals->period_ps;
    if (!(at < (double)MOST_PS)) return too_late();
    *out_ps = (int64_t)(at + 0.5);
    return TD_OK;
  }
  TD_TRY(time_scale(INT64_C(1000000000000), gap_of(arrivals, i) * (arrivals->period_ps / 1e12), &gap));
  TD_TRY(time_add(arrivals->at_ps, gap, &arrivals->at_ps));
  *out_ps = arrivals->at_ps;
  return TD_OK;
}
