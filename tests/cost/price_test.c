/* SPDX-License-Identifier: Apache-2.0
 *
 * Prices: exact sums, the formula, milestones, transfers, and one number from the world.
 */
#include <inttypes.h>
#include <math.h>

#include "../config/files.h"
#include "tandem/base.h"
#include "tandem/cost.h"

/* No window, no experts. */
static const struct td_shape plain_shape;

static uint64_t draws;
/* Uniform in [low, high], the same on every machine. */
static int64_t draw(int64_t low, int64_t high) {
  return low + (int64_t)(td_random(1, 2, draws++) % (uint64_t)(high - low + 1));
}
static double draw_log(double low, double high) {
  return low * pow(high / low, td_random_unit(3, 4, draws++));
}

static struct td_quantity number(double value) {
  return (struct td_quantity){.present = true, .value = value, .low = value, .high = value};
}

static struct td_device_params chip(double bandwidth, double flops, double overhead) {
  struct td_device_params params = {.name = "test", .kind = TD_KIND_CHIP};
  params.memory_bandwidth = number(bandwidth);
  params.memory_efficiency = number(0.75);
  params.flops_f32 = number(flops / 4);
  params.flops_f16 = number(flops);
  params.flops_bf16 = number(flops * 1.25);
  params.compute_efficiency = number(0.5);
  params.op_overhead = number(overhead);
  params.power_busy = number(100);
  return params;
}

/* Around one FLOP per byte, where attention changes its bound. */
static struct td_device_params random_chip(void) {
  double bandwidth = draw_log(1e9, 1e16);
  return chip(bandwidth, bandwidth * draw_log(0.3, 300), draw(0, 1) ? draw_log(1e-9, 1e-5) : 0);
}

/* The graph of a shape file; the model is closed again. */
static struct td_graph *graph_of(const char *path) {
  struct td_model *model;
  struct td_graph *graph = NULL;
  td_status status = td_model_open(path, &model);
  if (!status) status = td_graph_build(model, &graph);
  if (status) fail_msg("%s: %s", path, td_error_text());
  td_model_close(model);
  return graph;
}

static struct td_graph *random_graph(void) {
  static const char *const types[] = {"f32", "f16", "bf16", "q8_0", "q4_0", "q4_1"};
  char text[640];
  int64_t kv_heads = draw(1, 4), heads = kv_heads * draw(1, 4), head_dim = 32 * draw(1, 4);
  snprintf(text, sizeof text,
           "name = \"r\"; architecture = \"llama\"; layers = %" PRId64 "; hidden = %" PRId64 "; heads = %" PRId64
           "; kv_heads = %" PRId64 "; head_dim = %" PRId64 "; ffn = %" PRId64
           "; vocab = 4096; context = 1000000; rope_dim = %" PRId64
           "; rope_theta = 10000.0; norm_epsilon = 1e-5; tied_output = %s; rope_factors = false; weights = \"%s\";",
           draw(1, 6), 32 * heads * draw(1, 4), heads, kv_heads, head_dim, 32 * draw(1, 100), head_dim,
           draw(0, 1) ? "true" : "false", types[draw(0, 5)]);
  return graph_of(scratch_file("shape.cfg", text));
}

/* Graphs of the kinds that attend otherwise, or pass experts; small, so that many fit in a test. */
static struct td_graph *random_other_graph(void) {
  char text[640];
  int kind = (int)draw(0, 3);
  static const char *const archs[] = {"qwen3moe", "gpt-oss", "gemma3", "llama"};
  static const char *const types[] = {"bf16", "q8_0", "fp8", "mxfp4", "nvfp4"};
  char more[160] = "ffn = 128;";
  if (kind < 2) {
    snprintf(more, sizeof more, "experts = %" PRId64 "; experts_used = %" PRId64 "; expert_ffn = 64;", draw(3, 64),
             draw(1, 3));
  }
  if (kind == 1 || kind == 2) {
    size_t used = strlen(more);
    snprintf(more + used, sizeof more - used, " window = %" PRId64 "; window_period = %" PRId64 ";",
             draw(0, 1) ? draw(1, 40) : draw(1, 100000), draw(1, 4));
  }
  snprintf(text, sizeof text,
           "name = \"r\"; architecture = \"%s\"; layers = %" PRId64
           "; hidden = 128; heads = 4; kv_heads = 2; "
           "head_dim = 64; vocab = 512; context = 1000000; rope_dim = 64; rope_theta = 1e4; norm_epsilon = 1e-5; "
           "weights = \"%s\"; %s",
           archs[kind], draw(1, 6), types[draw(0, 4)], more);
  return graph_of(scratch_file("shape.cfg", text));
}

/* A decode step, sequence by sequence, so that later steps can be counted anew. */
#define MOST_SEQS 40
struct batch {
  int64_t seqs, past[MOST_SEQS];
};

static struct batch random_batch(int64_t most_seqs, int64_t most_past) {
  struct batch batch = {.seqs = draw(1, most_seqs)};
  for (int64_t i = 0; i < batch.seqs; i++) batch.past[i] = draw(0, most_past);
  return batch;
}

static struct td_step_stats stats_after(const struct batch *batch, const struct td_shape *shape, int64_t steps) {
  struct td_step_stats stats = {0};
  for (int64_t i = 0; i < batch->seqs; i++) td_step_stats_add(&stats, shape, batch->past[i] + steps, 1, 1);
  return stats;
}

/* `seqs` sequences that decode one token each. */
static struct td_step_stats decode_stats(int64_t seqs, int64_t most_past) {
  struct td_step_stats stats = {0};
  for (int64_t i = 0; i < seqs; i++) td_step_stats_add(&stats, &plain_shape, draw(0, most_past), 1, 1);
  return stats;
}

static struct td_step_stats later(struct td_step_stats stats, int64_t steps) {
  static const enum td_symbol growing[] = {TD_SYM_CONTEXT, TD_SYM_PAIRS, TD_SYM_WINDOW_CONTEXT, TD_SYM_WINDOW_PAIRS,
                                           TD_SYM_FULL_PAIRS}; /* without a window */
  for (size_t i = 0; i < sizeof growing / sizeof *growing; i++) stats.v[growing[i]] += steps * stats.v[TD_SYM_SEQS];
  return stats;
}

static struct td_price price_of(const struct td_device_params *device, const struct td_graph *graph,
                                enum td_dtype kv_dtype, const struct td_step_stats *stats) {
  struct td_slice whole = td_slice_whole(graph);
  struct td_price price;
  td_status status = td_price_roofline(device, graph, &whole, kv_dtype, stats, &price);
  if (status) fail_msg("%s", td_error_text());
  return price;
}

/* Step i priced anew is base + i * slope, at the ends of the valid stretch and inside; behind it the slope is another.
 */
static bool check_steps(const struct td_device_params *device, const struct td_graph *graph, enum td_dtype kv_dtype,
                        const struct td_step_stats *stats) {
  struct td_price first = price_of(device, graph, kv_dtype, stats);
  assert_true(first.valid_steps >= 1);
  assert_true(first.base_ps > 0 && first.slope_ps >= 0);
  int64_t last = first.valid_steps < 1000000 ? first.valid_steps - 1 : 999999;
  const int64_t steps[] = {0, 1, 2, last / 3, last / 2, last - 1, last};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    if (steps[i] < 0 || steps[i] > last) continue;
    struct td_step_stats at = later(*stats, steps[i]);
    struct td_price price = price_of(device, graph, kv_dtype, &at);
    assert_int_equal(price.base_ps, first.base_ps + steps[i] * first.slope_ps);
    assert_int_equal(price.slope_ps, first.slope_ps);
    if (first.valid_steps < 1000000) assert_int_equal(price.valid_steps, first.valid_steps - steps[i]);
  }
  return first.valid_steps < 1000000;
}

static void many_steps_are_one_sum(void **state) {
  (void)state;
  int crossovers = 0;
  for (int round = 0; round < 60; round++) {
    struct td_graph *graph = random_graph();
    struct td_device_params device = random_chip();
    for (int batch = 0; batch < 8; batch++) {
      struct td_step_stats stats = decode_stats(draw(1, 40), draw(0, 1) ? 3 : 900000);
      crossovers += check_steps(&device, graph, draw(0, 1) ? TD_F16 : TD_F32, &stats);
    }
    td_graph_free(graph);
  }
  printf("%d of 480 stretches end at a crossover\n", crossovers);
  assert_true(crossovers > 20); /* the property was seen at its edge */
}

/* Where windows fill up, experts are passed, and weights have types that only prices know. */
static bool check_batch(const struct td_device_params *device, const struct td_graph *graph,
                        const struct batch *batch) {
  struct td_step_stats stats = stats_after(batch, &graph->shape, 0);
  struct td_price first = price_of(device, graph, TD_F16, &stats);
  assert_true(first.valid_steps >= 1 && first.slope_ps >= 0);
  int64_t last = first.valid_steps < 3000000 ? first.valid_steps - 1 : 2999999;
  const int64_t steps[] = {1, 2, 3, 7, 31, 40, last / 3, last / 2, last - 1, last};
  for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
    if (steps[i] < 1 || steps[i] > last) continue;
    struct td_step_stats at = stats_after(batch, &graph->shape, steps[i]);
    assert_int_equal(price_of(device, graph, TD_F16, &at).base_ps, first.base_ps + steps[i] * first.slope_ps);
  }
  return first.valid_steps > 1;
}

static void windows_and_experts(void **state) {
  (void)state;
  int windowed = 0, stretches = 0, batches = 0;
  for (int round = 0; round < 120; round++) {
    struct td_graph *graph = random_other_graph();
    struct td_device_params device = random_chip();
    if (draw(0, 1)) device.flops_fp8 = number(device.flops_f16.value * 2);
    for (int i = 0; i < 6; i++) {
      static const int64_t longest[] = {3, 50, 900000};
      struct batch batch = random_batch(i % 2 ? 1 : MOST_SEQS, longest[i % 3]);
      bool stretch = check_batch(&device, graph, &batch);
      batches++;
      windowed += graph->shape.window > 0;
      stretches += graph->shape.window > 0 && stretch;
    }
    td_graph_free(graph);
  }
  printf("%d of %d batches have windows; %d of those hold for more than one step\n", windowed, batches, stretches);
  assert_true(stretches > windowed / 4);
}

/* One sequence: the price holds to the very step that fills the window, and from there without end. */
static void a_window_fills(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/gpt-oss-120b.cfg"));
  struct td_device_params device = chip(2e12, 1e18, 1e-6); /* bound by memory throughout */
  int64_t slopes[2];
  for (int64_t past = 0; past < 300; past++) {
    struct batch batch = {.seqs = 1, .past = {past}};
    struct td_step_stats stats = stats_after(&batch, &graph->shape, 0);
    struct td_price price = price_of(&device, graph, TD_F16, &stats);
    int64_t left = 128 - past; /* steps whose context is at most the window */
    assert_true(left > 1 ? price.valid_steps == left : price.valid_steps > 1000000);
    slopes[past >= 127] = price.slope_ps;
  }
  assert_true(labs(slopes[0] - 2 * slopes[1]) <= 2); /* half the layers have stopped growing */
  struct batch mixed = {.seqs = 2, .past = {5, 500}};
  struct td_step_stats stats = stats_after(&mixed, &graph->shape, 0);
  assert_int_equal(price_of(&device, graph, TD_F16, &stats).valid_steps, 1);
  struct batch short_ones = {.seqs = 2, .past = {5, 9}};
  stats = stats_after(&short_ones, &graph->shape, 0);
  assert_int_equal(price_of(&device, graph, TD_F16, &stats).valid_steps, 128 - (6 + 10 - 1) + 1);
  td_graph_free(graph);
}

/* An encoder is priced as one step over whole texts; what would need a cache is refused. */
static void encoders(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/bert-large.cfg"));
  struct td_device_params device = chip(2e12, 3e13, 1e-6);
  struct td_slice whole = td_slice_whole(graph);
  struct td_step_stats one = {0}, two = {0}, long_one = {0}, chunk = {0};
  struct td_price price;
  td_step_stats_add(&one, &graph->shape, 0, 128, 1);
  td_step_stats_add(&two, &graph->shape, 0, 128, 1);
  td_step_stats_add(&two, &graph->shape, 0, 128, 1);
  td_step_stats_add(&long_one, &graph->shape, 0, 256, 1);
  assert_int_equal(price_of(&device, graph, TD_F16, &one).valid_steps, 1);
  assert_true(price_of(&device, graph, TD_F16, &long_one).flops > price_of(&device, graph, TD_F16, &two).flops);
  /* 24 layers x 2 FLOPs x 12 h^2 a token, and 4 h a pair of positions; the rest is norms, biases and GELU */
  double want = 24 * (2.0 * 12 * 1024 * 1024 * 128 + 4.0 * 1024 * 128 * 128);
  assert_true(fabs(price_of(&device, graph, TD_F16, &one).flops / want - 1) < 0.01);
  td_step_stats_add(&chunk, &graph->shape, 64, 64, 1);
  assert_int_equal(td_price_roofline(&device, graph, &whole, TD_F16, &chunk, &price), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "an encoder reads a text in one step: found a step with 64 positions"));
  td_graph_free(graph);
}

/* Weights of eight and four bits run at their own rate where the chip has one, else widened. */
static void narrow_weights(void **state) {
  (void)state;
  struct td_graph *eight = graph_of(test_source("experiments/models/deepseek-v3.cfg"));
  struct td_graph *four = graph_of(test_source("experiments/models/gpt-oss-120b.cfg"));
  struct td_device_params wide = chip(1e17, 1e12, 0), narrow = wide; /* bound by arithmetic */
  struct td_step_stats a = {0}, b = {0};
  narrow.flops_fp8 = number(wide.flops_bf16.value * 2);
  narrow.flops_fp4 = number(wide.flops_bf16.value * 4);
  td_step_stats_add(&a, &eight->shape, 0, 16, 1);
  td_step_stats_add(&b, &four->shape, 0, 16, 1);
  double by_eight =
      (double)price_of(&wide, eight, TD_F16, &a).base_ps / (double)price_of(&narrow, eight, TD_F16, &a).base_ps;
  double by_four =
      (double)price_of(&wide, four, TD_F16, &b).base_ps / (double)price_of(&narrow, four, TD_F16, &b).base_ps;
  assert_true(by_eight > 1.8 && by_eight < 2); /* all products but attention's */
  assert_true(by_four > 1.8 && by_four < 3.5); /* the experts' */
  td_graph_free(eight);
  td_graph_free(four);
}

/* A whole stretch, step by step: the sum the engine uses. */
static void the_sum_of_a_stretch(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/smollm2-135m.cfg"));
  struct td_device_params device = chip(2e12, 3e12, 1e-6);
  struct td_step_stats stats = decode_stats(3, 500);
  struct td_price first = price_of(&device, graph, TD_F16, &stats);
  int64_t sum = 0, steps = first.valid_steps < 500 ? first.valid_steps : 500;
  for (int64_t i = 0; i < steps; i++) {
    struct td_step_stats at = later(stats, i);
    sum += price_of(&device, graph, TD_F16, &at).base_ps;
  }
  assert_int_equal(sum, steps * first.base_ps + first.slope_ps * (steps * (steps - 1) / 2));
  td_graph_free(graph);
}

/* The formula of cost.h in doubles. */
static double formula(const struct td_device_params *device, const struct td_graph *graph, enum td_dtype kv_dtype,
                      const struct td_step_stats *stats) {
  double sum = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    struct td_op_cost cost;
    td_op_cost(graph, op, kv_dtype, &cost);
    if (op->kind == TD_OP_SAMPLE || (op->rows == TD_ROWS_LOGITS && !stats->v[TD_SYM_LOGITS])) continue;
    double bytes = (double)td_poly_eval(&cost.weight_bytes, stats) +
                   (double)td_poly_eval(&cost.activation_bytes, stats) +
                   (double)td_poly_eval(&cost.kv_read_bytes, stats) + (double)td_poly_eval(&cost.kv_write_bytes, stats);
    bool product = op->kind == TD_OP_MATMUL || op->kind == TD_OP_EXPERT_MATMUL;
    enum td_dtype dtype = product ? graph->weights[op->weight].dtype : TD_F32;
    double rate = dtype == TD_F32   ? device->flops_f32.value
                  : dtype == TD_F16 ? device->flops_f16.value
                                    : device->flops_bf16.value; /* bf16; quantised: the faster one */
    if (op->kind == TD_OP_ATTENTION && kv_dtype == TD_F16) rate = device->flops_bf16.value;
    double compute = (double)td_poly_eval(&cost.flops, stats) / (device->compute_efficiency.value * rate);
    double memory = bytes / (device->memory_efficiency.value * device->memory_bandwidth.value);
    sum += device->op_overhead.value + (compute > memory ? compute : memory);
  }
  return sum * 1e12;
}

static void the_formula(void **state) {
  (void)state;
  for (int round = 0; round < 60; round++) {
    struct td_graph *graph = round % 2 ? random_graph() : random_other_graph();
    struct td_device_params device = random_chip();
    enum td_dtype kv_dtype = draw(0, 1) ? TD_F16 : TD_F32;
    struct td_step_stats stats = {0};
    int64_t seqs = draw(1, 9);
    for (int64_t i = 0; i < seqs; i++) {
      td_step_stats_add(&stats, &graph->shape, draw(0, 3000), draw(1, 500), draw(0, 1));
    }
    struct td_price price = price_of(&device, graph, kv_dtype, &stats);
    double want = formula(&device, graph, kv_dtype, &stats);
    double rounding = 2 + 1.0 * (double)(stats.v[TD_SYM_CONTEXT] + stats.v[TD_SYM_PAIRS]) / (double)seqs;
    assert_true(fabs((double)price.base_ps - want) <= 1e-6 * want + rounding);
    assert_true(price.energy_j == 100 * td_seconds(price.base_ps));
    assert_true(price.compute_bound_ps >= 0 && price.compute_bound_ps <= price.base_ps);
    td_graph_free(graph);
  }
}

static void milestones(void **state) {
  (void)state;
  for (int round = 0; round < 40; round++) {
    struct td_graph *graph = random_graph();
    struct td_device_params device = random_chip();
    struct td_step_stats stats = {0};
    int64_t done[8];
    struct td_slice slice = td_slice_whole(graph);
    td_step_stats_add(&stats, &plain_shape, draw(0, 3000), draw(1, 500), 1);
    struct td_price price = price_of(&device, graph, TD_F16, &stats);
    assert_int_equal(td_price_milestones(&device, graph, &slice, TD_F16, &stats, done), TD_OK);
    for (int32_t i = 0; i < graph->shape.layers; i++) {
      assert_true(done[i] > 0 && done[i] <= price.base_ps);
      assert_true(i == 0 || done[i] >= done[i - 1]);
    }
    /* a slice that ends with a layer is done with that layer */
    slice = (struct td_slice){-1, graph->shape.layers, TD_PART_ALL};
    assert_int_equal(td_price_roofline(&device, graph, &slice, TD_F16, &stats, &price), TD_OK);
    assert_int_equal(price.base_ps, done[graph->shape.layers - 1]);
    td_graph_free(graph);
  }
}

static void llama_8b_on_an_h100(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/llama-3.1-8b.cfg"));
  struct td_device_params *h100;
  struct td_step_stats stats = {0};
  uint64_t weights = 0;
  assert_int_equal(td_device_params_open(test_source("devices/h100_sxm.cfg"), &h100), TD_OK);
  for (int32_t i = 0; i < graph->weight_count; i++) {
    uint64_t row = 0;
    if (strstr(graph->weights[i].name, "token_embd")) continue; /* one row of it */
    assert_int_equal(td_dtype_row_bytes(graph->weights[i].dtype, graph->weights[i].cols, &row), TD_OK);
    weights += row * (uint64_t)graph->weights[i].rows;
  }
  td_step_stats_add(&stats, &plain_shape, 1024, 1, 1);
  struct td_price price = price_of(h100, graph, TD_F16, &stats);
  double floor_ps = (double)weights / h100->memory_bandwidth.value * 1e12;
  printf("H100, Llama-3.1-8B, batch 1, context 1025: %.3f ms (weights alone at peak bandwidth %.3f ms)\n",
         (double)price.base_ps / 1e9, floor_ps / 1e9);
  assert_true(weights > UINT64_C(14000000000));
  assert_true((double)price.base_ps >= floor_ps);
  assert_true((double)price.base_ps <= 2 * floor_ps);
  td_device_params_close(h100);
  td_graph_free(graph);
}

static void the_largest_steps(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/llama-3.1-405b.cfg"));
  struct td_device_params fast = chip(1e18, 1e21, 0), slow = chip(1e13, 1e13, 1), absurd = chip(1e3, 1e3, 1);
  struct td_step_stats stats = {0}, long_prompt = {0};
  for (int i = 0; i < 4096; i++) td_step_stats_add(&stats, &plain_shape, 999999, 1, 1);
  td_step_stats_add(&long_prompt, &plain_shape, 0, 1000000, 1);
  check_steps(&fast, graph, TD_F16, &stats);
  check_steps(&slow, graph, TD_F16, &stats);
  struct td_slice whole = td_slice_whole(graph);
  struct td_price price;
  assert_int_equal(td_price_roofline(&slow, graph, &whole, TD_F32, &long_prompt, &price), TD_OK);
  assert_int_equal(td_price_roofline(&absurd, graph, &whole, TD_F32, &long_prompt, &price), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "106 days"));
  stats.v[TD_SYM_CONTEXT] = -1;
  assert_int_equal(td_price_roofline(&fast, graph, &whole, TD_F32, &stats, &price), TD_INTERNAL);
  td_graph_free(graph);
}

/* No logits wanted: the head is not run. */
static void no_logits_no_head(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/smollm2-135m.cfg"));
  struct td_device_params device = chip(1e12, 1e14, 1e-6);
  struct td_step_stats with = {0}, without = {0};
  struct td_slice body = {-1, graph->shape.layers, TD_PART_ALL};
  struct td_price price;
  td_step_stats_add(&with, &plain_shape, 0, 16, 1);
  td_step_stats_add(&without, &plain_shape, 0, 16, 0);
  int64_t head = price_of(&device, graph, TD_F16, &with).base_ps - price_of(&device, graph, TD_F16, &without).base_ps;
  assert_true(head > 0);
  assert_int_equal(td_price_roofline(&device, graph, &body, TD_F16, &without, &price), TD_OK);
  assert_true(price.base_ps <= price_of(&device, graph, TD_F16, &without).base_ps);
  td_graph_free(graph);
}

static void what_a_file_lacks_is_named(void **state) {
  (void)state;
  struct td_graph *graph = graph_of(test_source("experiments/models/llama-3.1-8b.cfg"));
  struct td_slice whole = td_slice_whole(graph);
  struct td_step_stats stats = decode_stats(1, 10);
  struct td_price price;
  static const struct {
    size_t offset;
    const char *name;
  } cases[] = {{offsetof(struct td_device_params, memory_bandwidth), "memory_bandwidth"},
               {offsetof(struct td_device_params, memory_efficiency), "memory_efficiency"},
               {offsetof(struct td_device_params, compute_efficiency), "compute_efficiency"},
               {offsetof(struct td_device_params, op_overhead), "op_overhead"},
               {offsetof(struct td_device_params, flops_f32), "flops_f32"},
               {offsetof(struct td_device_params, flops_bf16), "flops_bf16"}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params device = chip(1e12, 1e14, 1e-6);
    ((struct td_quantity *)(void *)((char *)&device + cases[i].offset))->present = false;
    assert_int_equal(td_price_roofline(&device, graph, &whole, TD_F16, &stats, &price), TD_UNSUPPORTED);
    if (!strstr(td_error_text(), cases[i].name)) fail_msg("%s: %s", cases[i].name, td_error_text());
  }
  struct td_device_params silent = chip(1e12, 1e14, 1e-6);
  silent.power_busy.present = false;
  assert_true(isnan(price_of(&silent, graph, TD_F16, &stats).energy_j));
  silent.kind = TD_KIND_LINK;
  assert_int_equal(td_price_roofline(&silent, graph, &whole, TD_F16, &stats, &price), TD_UNSUPPORTED);
  td_graph_free(graph);
}

static void transfers(void **state) {
  (void)state;
  struct td_device_params link = {.name = "l", .kind = TD_KIND_LINK};
  int64_t time;
  link.link_latency = number(1e-6);
  link.link_bandwidth = number(1e9);
  assert_int_equal(td_price_transfer(&link, 0, &time), TD_OK);
  assert_int_equal(time, 1000000);
  assert_int_equal(td_price_transfer(&link, 7, &time), TD_OK);
  assert_int_equal(time, 1007000);
  link.link_bandwidth = number(3e12); /* a third of a picosecond a byte, rounded up */
  assert_int_equal(td_price_transfer(&link, 1, &time), TD_OK);
  assert_int_equal(time, 1000001);
  assert_int_equal(td_price_transfer(&link, 3000000, &time), TD_OK);
  assert_int_equal(time, 2000000);
  assert_int_equal(td_price_transfer(&link, 3000001, &time), TD_OK);
  assert_int_equal(time, 2000001);
  assert_int_equal(td_price_transfer(&link, UINT64_MAX, &time), TD_OK);
  assert_int_equal(time, INT64_C(6148914691236517205) + 1000000);
  link.link_bandwidth = number(1e3);
  assert_int_equal(td_price_transfer(&link, UINT64_MAX, &time), TD_UNSUPPORTED);
  link.kind = TD_KIND_CHIP;
  assert_int_equal(td_price_transfer(&link, 1, &time), TD_UNSUPPORTED);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(many_steps_are_one_sum),
      cmocka_unit_test(windows_and_experts),
      cmocka_unit_test(a_window_fills),
      cmocka_unit_test(encoders),
      cmocka_unit_test(narrow_weights),
      cmocka_unit_test(the_sum_of_a_stretch),
      cmocka_unit_test(the_formula),
      cmocka_unit_test(milestones),
      cmocka_unit_test(llama_8b_on_an_h100),
      cmocka_unit_test(the_largest_steps),
      cmocka_unit_test(no_logits_no_head),
      cmocka_unit_test(what_a_file_lacks_is_named),
      cmocka_unit_test(transfers),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
