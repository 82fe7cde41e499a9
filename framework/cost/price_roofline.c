/* SPDX-License-Identifier: Apache-2.0 */
#include "price_roofline.h"

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

/* `poly` times `grains`; *out_value: what it comes to in this step, before the multiplication. */
static td_status scale_form(const struct td_poly *poly, double grains, const struct td_step_stats *stats,
                            struct form *out, double *out_value) {
  double value = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    double coefficient = (double)poly->c[s] * grains;
    double count = (double)stats->v[s] + (double)stats->v[TD_SYM_SEQS]; /* this step's and the next one's */
    if (!(coefficient * count < MOST_GRAINS) || poly->c[s] < 0) {
      return td_fail(TD_UNSUPPORTED, "found a step whose operator lasts over 106 days, expected a shorter one");
    }
    out->c[s] = (wide)(coefficient + 0.5);
    value += (double)poly->c[s] * (double)stats->v[s];
  }
  *out_value = value;
  return TD_OK;
}

static int32_t chips_of(const struct td_serving *serving, const struct td_op *op) {
  int32_t tensor = serving->expert_tensor > 1 ? serving->expert_tensor : 1;
  int32_t experts = serving->expert > 1 ? serving->expert : 1;
  if (op->kind == TD_OP_EXPERT_MATMUL) return tensor * experts;
  return op->kind == TD_OP_MATMUL || op->kind == TD_OP_ATTENTION ? serving->tensor : 1;
}

static void split(struct op_times *times, int32_t chips) {
  if (chips < 2) return;
  for (int s = 0; s < TD_SYM_COUNT; s++) {
    times->compute.c[s] /= chips;
    times->memory.c[s] /= chips;
  }
  times->flops /= chips;
  times->bytes /= chips;
}

td_status td_roofline_time(const struct rates *rates, const struct td_graph *graph, const struct td_op *op,
                           enum td_dtype kv_dtype, const struct td_step_stats *stats, struct op_times *out) {
  struct td_op_cost cost;
  double flop = 0;
  td_op_cost(graph, op, kv_dtype, &cost);
  struct td_poly bytes = td_poly_add(td_poly_add(cost.weight_bytes, cost.activation_bytes),
                                     td_poly_add(cost.kv_read_bytes, cost.kv_write_bytes));
  bool computes = false;
  for (int s = 0; s < TD_SYM_COUNT; s++) computes = computes || cost.flops.c[s] != 0;
  if (computes) TD_TRY(flop_rate(rates, graph, op, kv_dtype, &flop, &out->peak));
  TD_TRY(scale_form(&cost.flops, flop, stats, &out->compute, &out->flops));
  TD_TRY(scale_form(&bytes, rates->byte, stats, &out->memory, &out->bytes));
  split(out, chips_of(&rates->device->serving, op));
  return TD_OK;
}

wide td_form_value(const struct form *form, const struct td_step_stats *stats) {
  wide sum = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) sum += form->c[s] * stats->v[s];
  return sum;
}

/* Growth from one decode step to the next: every sequence has one more position. */
static wide growth(const struct form *form, const struct ahead *ahead, const struct td_step_stats *stats) {
  wide sum = 0;
  for (int s = 0; s < TD_SYM_COUNT; s++) sum += ahead->grows[s] ? form->c[s] : 0;
  return sum * stats->v[TD_SYM_SEQS];
}

/* For how many steps from this one the operator keeps its bound. compute > memory: bound by arithmetic. */
int64_t td_roofline_crossover(const struct op_times *times, const struct ahead *ahead,
                              const struct td_step_stats *stats) {
  wide lead = td_form_value(&times->compute, stats) - td_form_value(&times->memory, stats);
  wide change = growth(&times->compute, ahead, stats) - growth(&times->memory, ahead, stats);
  wide steps = INT64_MAX;
  if (lead > 0 && change < 0) steps = (lead - change - 1) / -change;
  if (lead <= 0 && change > 0) steps = -lead / change + 1;
  return steps < INT64_MAX ? (int64_t)steps : INT64_MAX;
}

bool td_is_compute_bound(const struct op_times *times, const struct td_step_stats *stats) {
  return td_form_value(&times->compute, stats) > td_form_value(&times->memory, stats);
}
