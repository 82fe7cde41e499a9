/* SPDX-License-Identifier: Apache-2.0
 *
 * A pricer's prices and ends of layers are td_price_roofline's and td_price_milestones', in every field and bit for
 * bit, whatever it was asked before.
 */
#include <inttypes.h>
#include <math.h>
#include <unistd.h>

#include "../config/files.h"
#include "graphs.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/measured.h"
#include "tandem/operators.h"

static uint64_t draws;
/* Uniform in [low, high], the same on every machine. */
static int64_t draw(int64_t low, int64_t high) {
  return low + (int64_t)(td_random(11, 12, draws++) % (uint64_t)(high - low + 1));
}

static struct td_device_params *device_of(const char *file, const struct td_serving *serving) {
  struct td_device_params *params;
  if (td_device_params_open(test_source(file), &params)) fail_msg("%s", td_error_text());
  if (serving && td_device_join(params, serving)) fail_msg("%s", td_error_text());
  return params;
}

/* ---- steps ---- */

#define MOST_SEQS 64
struct batch {
  int64_t seqs, past[MOST_SEQS];
};

static struct td_step_stats decode_stats(const struct batch *batch, const struct td_shape *shape, int64_t steps) {
  struct td_step_stats stats = {0};
  for (int64_t i = 0; i < batch->seqs; i++) td_step_stats_add(&stats, shape, batch->past[i] + steps, 1, 1);
  return stats;
}

static struct batch random_batch(int64_t most_past) {
  struct batch batch = {.seqs = draw(0, 3) ? draw(1, 8) : draw(1, MOST_SEQS)};
  for (int64_t i = 0; i < batch.seqs; i++) batch.past[i] = draw(0, most_past);
  return batch;
}

/* Decode; a prompt or a chunk beside decodes; whole prompts; prompts without logits; and counts that no batch has. */
static struct td_step_stats random_stats(const struct td_shape *shape, bool encoder) {
  struct td_step_stats stats = {0};
  int kind = encoder ? 3 : (int)draw(0, 6);
  struct batch batch = random_batch(draw(0, 1) ? 300 : 9000);
  if (kind < 3) stats = decode_stats(&batch, shape, 0);
  if (kind < 3 && !draw(0, 9)) stats.v[TD_SYM_ONE] = draw(0, 2);
  if (kind < 3 && !draw(0, 9)) stats.v[TD_SYM_LOGITS] = draw(0, batch.seqs);
  if (kind < 3) return stats;
  if (kind < 5) stats = decode_stats(&batch, shape, 0);
  if (encoder) stats = (struct td_step_stats){0};
  for (int64_t i = draw(1, kind == 3 ? 1 : 3); i > 0; i--) {
    td_step_stats_add(&stats, shape, encoder || draw(0, 1) ? 0 : draw(1, 5000), draw(1, draw(0, 1) ? 64 : 8192),
                      draw(0, 1));
  }
  for (int s = 0; s < TD_SYM_COUNT && kind == 6; s++) stats.v[s] += draw(0, 5);
  return stats;
}

/* ---- comparing ---- */

static bool same_bits(double a, double b) {
  return !memcmp(&a, &b, sizeof a) || (isnan(a) && isnan(b));
}

struct priced {
  const struct td_device_params *device;
  const struct td_graph *graph;
  struct td_slice slice;
  enum td_dtype kv_dtype;
  struct td_pricer *pricer;
};

/* The price, or the same refusal. */
static struct td_price same_price(const struct priced *priced, const struct td_step_stats *stats) {
  struct td_price want = {0}, got = {0};
  char why[512] = "";
  td_status status = td_price_roofline(priced->device, priced->graph, &priced->slice, priced->kv_dtype, stats, &want);
  if (status) snprintf(why, sizeof why, "%s", td_error_text());
  assert_int_equal(td_pricer_step(priced->pricer, stats, &got), status);
  if (status) assert_string_equal(td_error_text(), why);
  assert_int_equal(got.base_ps, want.base_ps);
  assert_int_equal(got.slope_ps, want.slope_ps);
  assert_int_equal(got.valid_steps, want.valid_steps);
  assert_int_equal(got.compute_bound_ps, want.compute_bound_ps);
  assert_true(same_bits(got.energy_j, want.energy_j));
  assert_true(same_bits(got.flops, want.flops) && same_bits(got.bytes, want.bytes));
  assert_true(same_bits(got.low_ps, want.low_ps) && same_bits(got.high_ps, want.high_ps));
  return want;
}

static void same_milestones(const struct priced *priced, const struct td_step_stats *stats) {
  int64_t want[128] = {0}, ends[2];
  int32_t layers = priced->graph->shape.layers, real = 0;
  assert_true(layers <= 128);
  td_status status = td_price_milestones(priced->device, priced->graph, &priced->slice, priced->kv_dtype, stats, want);
  while (real < layers && want[real]) real++; /* of the slice */
  if (status) {
    assert_int_equal(td_pricer_layer_ends(priced->pricer, stats, (const int32_t[2]){0, 0}, ends), status);
    return;
  }
  for (int32_t i = 0; i < real; i++) {
    for (int again = 0; again < 2; again++) { /* remembered */
      assert_int_equal(td_pricer_layer_ends(priced->pricer, stats, (const int32_t[2]){i, real - 1}, ends), TD_OK);
      assert_true(ends[0] == want[i] && ends[1] == want[real - 1]);
    }
  }
}

/* A stretch of decode steps: at the ends of what the price holds for, and past it. */
static void same_stretch(const struct priced *priced) {
  struct batch batch = random_batch(4000);
  for (int64_t step = 0, round = 0; round < 6; round++) {
    struct td_step_stats stats = decode_stats(&batch, &priced->graph->shape, step);
    struct td_price price = same_price(priced, &stats);
    int64_t valid = price.valid_steps < 100000 ? price.valid_steps : 100000;
    struct td_step_stats last = decode_stats(&batch, &priced->graph->shape, step + valid - 1);
    struct td_price at = same_price(priced, &last);
    assert_int_equal(at.base_ps, price.base_ps + (valid - 1) * price.slope_ps);
    step += valid;
  }
}

static struct td_slice random_slice(const struct td_graph *graph) {
  struct td_slice slice = td_slice_whole(graph);
  if (draw(0, 1)) return slice;
  slice.layer_begin = (int32_t)draw(-1, graph->shape.layers - 1);
  slice.layer_end = (int32_t)draw(slice.layer_begin + 1, graph->shape.layers + 1);
  if (slice.layer_begin >= 0 && slice.layer_end <= graph->shape.layers && draw(0, 1)) {
    slice.parts = draw(0, 1) ? TD_PART_ATTENTION : TD_PART_FFN;
  }
  return slice;
}

/* Many steps of one pricer; returns how many had a price. */
static int compare(const struct td_device_params *device, const struct td_graph *graph, enum td_dtype kv_dtype,
                   int steps) {
  struct td_slice slice = device->step_count ? td_slice_whole(graph) : random_slice(graph);
  struct priced priced = {device, graph, slice, kv_dtype, NULL};
  int found = 0;
  bool encoder = graph->shape.arch == TD_ARCH_BERT;
  if (td_pricer_open(device, graph, &priced.slice, kv_dtype, &priced.pricer)) fail_msg("%s", td_error_text());
  struct td_step_stats before = {0};
  for (int i = 0; i < steps; i++) {
    struct td_step_stats stats = i % 4 == 3 ? before : random_stats(&graph->shape, encoder);
    found += same_price(&priced, &stats).base_ps > 0;
    if (i % 4 != 1) same_milestones(&priced, &stats);
    if (i % 16 == 8 && !encoder) same_stretch(&priced);
    before = stats;
  }
  td_pricer_close(priced.pricer);
  return found;
}

static const char *const models[] = {"llama-2-70b", "gpt-oss-20b", "deepseek-v3", "mixtral-8x7b",
                                     "opt-13b",     "bert-base",   "smollm2-135m"};

/* Every graph on `device`, with caches of several types. */
static void compare_graphs(const struct td_device_params *device, int steps) {
  static const enum td_dtype caches[] = {TD_BF16, TD_F16, TD_FP8, TD_F32};
  int found = 0;
  for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
    struct td_graph *graph = graph_of(models[i]);
    found += compare(device, graph, caches[draw(0, 3)], steps);
    td_graph_free(graph);
  }
  printf("%s: %d prices\n", device->name, found);
  assert_true(found > steps);
}

static void rooflines(void **state) {
  (void)state;
  static const char *const files[] = {"devices/h100_sxm.cfg", "devices/a100_sxm.cfg", "devices/mi300x.cfg",
                                      "devices/grace.cfg"};
  for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
    struct td_device_params *device = device_of(files[i], NULL);
    compare_graphs(device, 100);
    td_device_params_close(device);
  }
}

/* Fits of operators, and of frameworks, on one chip and on several. */
static void served(void **state) {
  (void)state;
  static const struct {
    const char *file;
    struct td_serving serving;
  } cases[] = {
      {"devices/h100_sxm.cfg", {.tensor = 8, .expert_tensor = 8, .guesses = true}},
      {"devices/calibrated/h100_sxm-vllm.cfg", {0}},
      {"devices/calibrated/h100_sxm-serving.cfg", {.tensor = 8, .framework = "vllm", .guesses = true}},
      {"devices/calibrated/a100_sxm-sglang.cfg", {.tensor = 2, .expert = 2, .no_graph = true, .guesses = true}},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params *device = device_of(cases[i].file, cases[i].serving.tensor ? &cases[i].serving : NULL);
    compare_graphs(device, 100);
    td_device_params_close(device);
  }
}

/* Operators as if measured on the device; none of FP8, so that some graphs are refused. */
static void measured(void **state) {
  (void)state;
  static const enum td_dtype types[] = {TD_F32, TD_F16, TD_BF16, TD_MXFP4};
  struct td_measured_op ops[TD_OP_KIND_COUNT * 4] = {0};
  int32_t count = 0;
  for (int kind = 0; kind < TD_OP_KIND_COUNT; kind++) {
    for (int type = 0; type < (kind == TD_OP_SAMPLE ? 1 : 4); type++) {
      struct td_measured_op *op = &ops[count++];
      *op = (struct td_measured_op){.kind = (enum td_op_kind)kind, .type = types[type], .most = draw(1, 4000)};
      for (int term = 0; term < TD_MEASURED_TERMS; term++) op->terms[term] = (double)draw(1, 999) * 1e-12;
      for (int term = TD_MEASURED_RATIOS; term < TD_MEASURED_TERMS && kind == TD_OP_SAMPLE; term++) {
        op->terms[term] = (double)draw(50, 150) * 0.01;
      }
      op->low = 0.9;
      op->high = 1.2;
    }
  }
  struct td_device_params *file = device_of("devices/xeon-2vcpu.cfg", NULL), device = *file;
  device.measured = ops;
  device.measured_count = count;
  compare_graphs(&device, 100);
  td_device_params_close(file);
}

/* Whole steps, by points, by formulas and in parts. */
static void profiled(void **state) {
  (void)state;
  static const struct {
    const char *file, *model;
    int32_t tensor;
  } cases[] = {{"devices/profiled/a100_80g_distserve.cfg", "opt-13b", 1},
               {"devices/profiled/a100_80g_distserve.cfg", "opt-13b", 2},
               {"devices/profiled/dgx_h100_splitwise.cfg", "llama-2-70b", 8},
               {"devices/profiled/rtx_pro_6000_vllm.cfg", "llama-3.1-8b", 1}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    const struct td_serving serving = {.tensor = cases[i].tensor};
    struct td_device_params *device = device_of(cases[i].file, &serving);
    struct td_graph *graph = graph_of(cases[i].model);
    assert_true(compare(device, graph, TD_F16, 400) > 300);
    td_graph_free(graph);
    td_device_params_close(device);
  }
}

/* More kinds of steps than there are places; the same steps again. */
static void crowded(void **state) {
  (void)state;
  const struct td_serving serving = {.tensor = 8, .guesses = true};
  struct td_device_params *device = device_of("devices/h100_sxm.cfg", &serving);
  struct td_graph *graph = graph_of("llama-2-70b");
  struct priced priced = {device, graph, td_slice_whole(graph), TD_BF16, NULL};
  assert_int_equal(td_pricer_open(device, graph, &priced.slice, TD_BF16, &priced.pricer), TD_OK);
  for (int64_t i = 0; i < 1500; i++) {
    int64_t seqs = draw(1, 65536), mean = draw(1, 4000), tokens = i % 3 ? draw(1, 1 << 20) : 0;
    struct td_step_stats stats = {.v = {[TD_SYM_ONE] = 1,
                                        [TD_SYM_TOKENS] = seqs + tokens,
                                        [TD_SYM_LOGITS] = draw(1, seqs),
                                        [TD_SYM_SEQS] = seqs,
                                        [TD_SYM_CONTEXT] = seqs * mean + tokens,
                                        [TD_SYM_PAIRS] = seqs * mean + tokens * draw(1, 9000)}};
    stats.v[TD_SYM_WINDOW_CONTEXT] = stats.v[TD_SYM_CONTEXT];
    stats.v[TD_SYM_WINDOW_PAIRS] = stats.v[TD_SYM_PAIRS];
    same_price(&priced, &stats);
  }
  td_pricer_close(priced.pricer);
  td_graph_free(graph);
  td_device_params_close(device);
}

static void refusals(void **state) {
  (void)state;
  struct td_device_params *device = device_of("devices/h100_sxm.cfg", NULL);
  struct td_graph *graph = graph_of("smollm2-135m");
  struct priced priced = {device, graph, td_slice_whole(graph), TD_BF16, NULL};
  struct td_step_stats stats = {0}, negative = {.v = {[TD_SYM_TOKENS] = -1}}, long_one = {0};
  assert_int_equal(td_pricer_open(device, graph, &priced.slice, TD_BF16, &priced.pricer), TD_OK);
  struct td_price price;
  same_price(&priced, &stats); /* nothing to do */
  same_price(&priced, &negative);
  assert_int_equal(td_pricer_step(priced.pricer, &negative, &price), TD_INTERNAL);
  long_one.v[TD_SYM_ONE] = 1;
  long_one.v[TD_SYM_TOKENS] = long_one.v[TD_SYM_CONTEXT] = long_one.v[TD_SYM_PAIRS] = INT64_MAX / 2;
  same_price(&priced, &long_one);
  assert_int_equal(td_pricer_step(priced.pricer, &long_one, &price), TD_UNSUPPORTED);
  same_price(&priced, &stats);
  td_pricer_close(priced.pricer);
  const struct td_slice empty = {3, 3, TD_PART_ALL};
  assert_int_equal(td_pricer_open(device, graph, &empty, TD_BF16, &priced.pricer), TD_CONFIG);
  struct td_device_params *link = device_of("devices/nvlink4.cfg", NULL);
  assert_int_equal(td_pricer_open(link, graph, &priced.slice, TD_BF16, &priced.pricer), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "expected a chip to price a step"));
  td_device_params_close(link);
  td_pricer_close(NULL);
  td_graph_free(graph);
  td_device_params_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rooflines), cmocka_unit_test(served),  cmocka_unit_test(measured),
      cmocka_unit_test(profiled),  cmocka_unit_test(crowded), cmocka_unit_test(refusals),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
