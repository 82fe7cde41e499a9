/* SPDX-License-Identifier: Apache-2.0 */
#include "price_roofline.h"

#include <math.h>

#include "tandem/base.h"

static td_status lacks(const struct td_device_params *device, const char *number, const char *what) {
  if (device->kind == TD_KIND_LPU) {
    return td_fail(TD_UNSUPPORTED,
                   "device %s: found an lpu without %s, expected it to price %s as a roofline: an lpu's time is the "
                   "length of a program compiled for it",
                   device->name, number, what);
  }
  return td_fail(TD_UNSUPPORTED, "device %s: found no %s, expected it in the device file to price %s", device->name,
                 number, what);
}

td_status td_roofline_open(const struct td_device_params *device, struct rates *out) {
  if (device->kind != TD_KIND_CHIP && device->kind != TD_KIND_LPU) {
    return td_fail(TD_UNSUPPORTED, "device %s: found a %s, expected a chip to price a step", device->name,
                   td_device_kind_name(device->kind));
  }
  const struct td_quantity *bandwidth = &device->memory_bandwidth, *share = &device->memory_efficiency;
  if (!bandwidth->present) return lacks(device, "memory_bandwidth", "memory traffic");
  if (!share->present) return lacks(device, "memory_efficiency", "memory traffic");
  if (!device->compute_efficiency.present) return lacks(device, "compute_efficiency", "arithmetic");
  if (!device->op_overhead.present) return lacks(device, "op_overhead", "an operator's start");
  out->device = device;
  out->byte = GRAINS_PER_PS * 1e12 / (share->value * bandwidth->value);
  out->compute_efficiency = device->compute_efficiency.value;
  out->overhead = (wide)(device->op_overhead.value * 1e12 * GRAINS_PER_PS + 0.5);
  return TD_OK;
}

/* The faster of the two 16-bit rates: what is stored in fewer bits is widened to one of them on the fly. */
static const struct td_quantity *half_rate(const struct td_device_params *device) {
  const struct td_quantity *f16 = &device->flops_f16, *bf16 = &device->flops_bf16;
  if (!f16->present) return bf16;
  return bf16->present && bf16->value > f16->value ? bf16 : f16;
}

static const struct td_quantity *rate_of(const struct td_device_params *device, enum td_dtype dtype,
                                         const char **out_name) {
  switch (dtype) {
    case TD_F32:
      *out_name = "flops_f32";
      return &device->flops_f32;
    case TD_F16:
      *out_name = "flops_f16";
      return &device->flops_f16;
    case TD_BF16:
      *out_name = "flops_bf16";
      return &device->flops_bf16;
    case TD_FP8:
      if (device->flops_fp8.present) return &device->flops_fp8;
      break;
    case TD_MXFP4:
    case TD_NVFP4:
      if (device->flops_fp4.present) return &device->flops_fp4;
      break;
    default:
      break;
  }
  *out_name = "flops_f16 or flops_bf16";
  return half_rate(device);
}

/* Matrix products take the path of their weight's dtype; attention that of the KV cache's; the rest is float32. */
static td_status flop_rate(const struct rates *rates, const struct td_graph *graph, const struct td_op *op,
                           enum td_dtype kv_dtype, double *out_grains, const struct td_quantity **out_peak) {
  const char *name = "flops_f32";
  const struct td_quantity *rate = &rates->device->flops_f32;
  if (op->kind == TD_OP_MATMUL || op->kind == TD_OP_EXPERT_MATMUL) {
    rate = rate_of(rates->device, graph->weights[op->weight].dtype, &name);
  } else if (op->kind == TD_OP_ATTENTION && kv_dtype != TD_F32) {
    name = "flops_f16 or flops_bf16";
    rate = half_rate(rates->device);
  }
  if (!rate->present) return lacks(rates->device, name, td_op_kind_name(op->kind));
  *out_grains = GRAINS_PER_PS * 1e12 / (rates->compute_efficiency * rate->value);
  *out_peak = rate;
  return TD_OK;
}

/* Conversions to 128 bits take ten times as long as to 64. */
static wide whole(double grains) {
  return fabs(grains) < 9e18 ? (int64_t)grains : (wide)grains;
}

/* `poly` times `grains`, one chip's part, of those symbols. */
static void scale_form(const struct td_poly *poly, uint32_t symbols, double grains, int32_t chips, struct form *out) {
  for (; symbols; symbols &= symbols - 1) {
    int s = __builtin_ctz(symbols);
    double coefficient = (double)poly->c[s] * grains;
    if (!(coefficient < MOST_GRAINS)) continue; /* fits() refuses every step that counts any of it */
    out->c[s] = whole(coefficient + 0.5);
    if (chips > 1) out->c[s] /= chips;
  }
}

static int32_t chips_of(const struct td_serving *serving, const struct td_op *op) {
  int32_t tensor = serving->expert_tensor > 1 ? serving->expert_tensor : 1;
  int32_t experts = serving->expert > 1 ? serving->expert : 1;
  if (op->kind == TD_OP_EXPERT_MATMUL) return tensor * experts;
  return op->kind == TD_OP_MATMUL || op->kind == TD_OP_ATTENTION ? serving->tensor : 1;
}

/* With a wide margin; 0: nothing fits. */
static double most_of(const struct td_roofline *roofline) {
  double most = MOST_GRAINS;
  for (uint32_t left = roofline->symbols; left; left &= left - 1) {
    int s = __builtin_ctz(left);
    int64_t flops = roofline->flops.c[s], bytes = roofline->bytes.c[s];
    if (flops < 0 || bytes < 0) return 0;
    if (flops) most = fmin(most, MOST_GRAINS / 8 / ((double)flops * roofline->flop));
    if (bytes) most = fmin(most, MOST_GRAINS / 8 / ((double)bytes * roofline->byte));
  }
  return most;
}

uint32_t td_roofline_symbols(const struct td_op_cost *cost) {
  uint32_t symbols = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    int64_t any = cost->flops.c[s] | cost->weight_bytes.c[s] | cost->activation_bytes.c[s] | cost->kv_read_bytes.c[s] |
                  cost->kv_write_bytes.c[s];
    symbols |= (uint32_t)(any != 0) << s;
  }
  return symbols;
}

void td_roofline_work(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                      enum td_dtype kv_dtype, struct td_roofline *out) {
  struct td_op_cost cost;
  td_op_cost(graph, op, kv_dtype, &cost);
  *out = (struct td_roofline){.chips = chips_of(&device->serving, op), .symbols = td_roofline_symbols(&cost)};
  if (op->kind == TD_OP_EXPERT_MATMUL && device->serving.replicas > 1) { /* theirs come here too */
    cost.flops.c[TD_SYM_TOKENS] *= device->serving.replicas;
    cost.activation_bytes.c[TD_SYM_TOKENS] *= device->serving.replicas;
  }
  for (uint32_t left = out->symbols; left; left &= left - 1) {
    int s = __builtin_ctz(left);
    int64_t cached = td_add_capped(cost.kv_read_bytes.c[s], cost.kv_write_bytes.c[s]);
    out->flops.c[s] = cost.flops.c[s];
    out->bytes.c[s] = td_add_capped(td_add_capped(cost.weight_bytes.c[s], cost.activation_bytes.c[s]), cached);
  }
}

td_status td_roofline_rate(const struct rates *rates, const struct td_graph *graph, const struct td_op *op,
                           enum td_dtype kv_dtype, struct td_roofline *roofline) {
  int64_t computes = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) computes |= roofline->flops.c[s];
  if (computes) TD_TRY(flop_rate(rates, graph, op, kv_dtype, &roofline->flop, &roofline->peak));
  roofline->byte = rates->byte;
  scale_form(&roofline->flops, roofline->symbols, roofline->flop, roofline->chips, &roofline->compute);
  scale_form(&roofline->bytes, roofline->symbols, roofline->byte, roofline->chips, &roofline->memory);
  roofline->most = most_of(roofline);
  return TD_OK;
}

/* Whether all counts come to a time, in this step and in the next. */
static bool fits(const struct td_roofline *roofline, const struct td_step_stats *stats) {
  for (uint32_t left = roofline->symbols; left; left &= left - 1) {
    int s = __builtin_ctz(left);
    int64_t flops = roofline->flops.c[s], bytes = roofline->bytes.c[s];
    double count = (double)stats->v[s] + (td_may_grow(s) ? (double)stats->v[TD_SYM_SEQS] : 0);
    if (flops < 0 || !((double)flops * roofline->flop * count < MOST_GRAINS)) return false;
    if (bytes < 0 || !((double)bytes * roofline->byte * count < MOST_GRAINS)) return false;
  }
  return true;
}

td_status td_roofline_step(const struct td_roofline *roofline, const struct td_step_stats *stats,
                           struct op_times *out) {
  struct op_times times = {.of = roofline};
  bool small = (double)stats->v[TD_SYM_SEQS] < roofline->most;
  for (uint32_t left = roofline->symbols; left; left &= left - 1) {
    int s = __builtin_ctz(left);
    int64_t value = stats->v[s];
    double count = (double)value;
    small = small && count < roofline->most;
    times.flops += (double)roofline->flops.c[s] * count;
    times.bytes += (double)roofline->bytes.c[s] * count;
    times.compute += roofline->compute.c[s] * value;
    times.memory += roofline->memory.c[s] * value;
  }
  if (!small && !fits(roofline, stats)) {
    return td_fail(TD_UNSUPPORTED, "found a step whose operator lasts over 106 days, expected a shorter one");
  }
  if (roofline->chips > 1) {
    times.flops /= roofline->chips;
    times.bytes /= roofline->chips;
  }
  times.computes = times.compute > times.memory;
  *out = times;
  return TD_OK;
}

/* Growth from one decode step to the next: every sequence has one more position. */
static wide growth(const struct form *form, const struct ahead *ahead, const struct td_step_stats *stats) {
  wide sum = 0;
  for (int s = TD_SYM_CONTEXT; s <= TD_SYM_FULL_PAIRS; s++) sum += ahead->grows[s] ? form->c[s] : 0;
  return sum * stats->v[TD_SYM_SEQS];
}

/* For how many steps from this one the operator keeps its bound. compute > memory: bound by arithmetic. */
int64_t td_roofline_crossover(const struct op_times *times, const struct ahead *ahead,
                              const struct td_step_stats *stats) {
  wide lead = times->compute - times->memory;
  wide change = growth(&times->of->compute, ahead, stats) - growth(&times->of->memory, ahead, stats);
  wide steps = INT64_MAX;
  if (lead > 0 && change < 0) steps = (lead - change - 1) / -change;
  if (lead <= 0 && change > 0) steps = -lead / change + 1;
  return steps < INT64_MAX ? (int64_t)steps : INT64_MAX;
}
