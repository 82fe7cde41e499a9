/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices of which steps were measured, for their tests.
 */
#ifndef TANDEM_TESTS_COST_STEPS_H
#define TANDEM_TESTS_COST_STEPS_H

#include <math.h>

#include "../config/files.h"
#include "graphs.h"
#include "tandem/base.h"
#include "tandem/cost.h"

#define ALL(value_, unit_) "{ value = " value_ "; unit = \"" unit_ "\"; evidence = \"measured\"; source = \"s\"; }"
#define HEAD "title = \"t\"; kind = \"chip\";\nsteps = ("
#define PREFILL "prefill = { step = " ALL("10", "ms") "; token = " ALL("100", "us") "; square = " ALL("7", "ns") "; };"
#define DECODE \
  "decode = { step = " ALL("20", "ms") "; sequence = " ALL("40", "us") "; context = " ALL("600", "ns") "; };"
#define LARGE \
  "large = { from = 5; step = " ALL("5", "ms") "; sequence = " ALL("150", "us") "; context = " ALL("500", "ns") "; };"
#define NAMED "{ model = \"OPT-13B\"; tensor = 1; "
#define POINT(at_, ms_) "{ at = " at_ "; time = " ALL(ms_, "ms") "; }"
#define POINTS(a_, b_) "{ points = (" a_ ", " b_ "); };"
#define MIXED "mixed = " ALL("1.1", "1") ";"

static inline struct td_device_params *device_of(const char *text) {
  struct td_device_params *device;
  if (td_device_params_open(scratch_file("dev.cfg", text), &device)) fail_msg("%s", td_error_text());
  return device;
}

static inline td_status price(const struct td_device_params *device, const struct td_graph *graph,
                              const struct td_step_stats *stats, struct td_price *out) {
  const struct td_slice whole = td_slice_whole(graph);
  return td_price_roofline(device, graph, &whole, TD_F16, stats, out);
}

/* Seconds; td_pricer_step says the same. */
static inline double seconds_of(const struct td_device_params *device, const struct td_graph *graph,
                                const struct td_step_stats *stats) {
  const struct td_slice whole = td_slice_whole(graph);
  struct td_price one, same;
  struct td_pricer *pricer;
  if (price(device, graph, stats, &one)) fail_msg("%s", td_error_text());
  assert_int_equal(td_pricer_open(device, graph, &whole, TD_F16, &pricer), TD_OK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(td_pricer_step(pricer, stats, &same), TD_OK);
    assert_true(same.base_ps == one.base_ps && same.slope_ps == one.slope_ps && same.valid_steps == one.valid_steps);
    assert_true(same.low_ps == one.low_ps && same.high_ps == one.high_ps && same.flops == one.flops);
  }
  td_pricer_close(pricer);
  double base = (double)one.base_ps;
  assert_true(one.low_ps <= base * (1 + 1e-9) && base * (1 - 1e-9) <= one.high_ps);
  assert_true(one.flops > 0 && one.bytes > 0);
  return td_seconds(one.base_ps);
}

static inline void near(double got, double want) {
  if (fabs(got / want - 1) > 1e-8) fail_msg("found %.12g, expected %.12g", got, want);
}

static inline struct td_step_stats decode_stats(const struct td_graph *graph, int64_t seqs, int64_t past) {
  struct td_step_stats stats = {0};
  for (int64_t i = 0; i < seqs; i++) td_step_stats_add(&stats, &graph->shape, past + i, 1, 1);
  return stats;
}

#endif
