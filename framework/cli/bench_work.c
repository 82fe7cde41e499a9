/* SPDX-License-Identifier: Apache-2.0
 *
 * What an operator moves and computes, from td_op_cost, against the measured ceilings.
 */
#include "bench.h"

static enum td_ceiling flops_ceiling(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype) {
  bool f32 = true;
  if (op->kind == TD_OP_ATTENTION) f32 = kv_dtype == TD_F32;
  if (op->kind == TD_OP_MATMUL || op->kind == TD_OP_EXPERT_MATMUL) f32 = graph->weights[op->weight].dtype == TD_F32;
  return f32 ? TD_CEILING_GEMM_F32 : TD_CEILING_GEMM_F16;
}

void bench_work_add(struct bench_work *work, const struct td_graph *graph, const struct td_op *op,
                    enum td_dtype kv_dtype, const struct td_step_stats *stats) {
  struct td_op_cost cost;
  td_op_cost(graph, op, kv_dtype, &cost);
  double read = (double)td_poly_eval(&cost.weight_bytes, stats) + (double)td_poly_eval(&cost.kv_read_bytes, stats);
  double rest = (double)td_poly_eval(&cost.activation_bytes, stats) + (double)td_poly_eval(&cost.kv_write_bytes, stats);
  work->of[read > rest ? TD_CEILING_READ : TD_CEILING_TRIAD] += read + rest;
  work->of[flops_ceiling(graph, op, kv_dtype)] += (double)td_poly_eval(&cost.flops, stats);
}

double bench_work_bytes(const struct bench_work *work) {
  return work->of[TD_CEILING_READ] + work->of[TD_CEILING_TRIAD];
}

double bench_work_flops(const struct bench_work *work) {
  return work->of[TD_CEILING_GEMM_F32] + work->of[TD_CEILING_GEMM_F16];
}

/* The ceiling itself, or its sibling where it was not measured. */
static enum td_ceiling measured(const struct bench_ceilings *ceilings, enum td_ceiling which) {
  static const enum td_ceiling siblings[TD_CEILING_COUNT] = {
      [TD_CEILING_READ] = TD_CEILING_TRIAD,
      [TD_CEILING_TRIAD] = TD_CEILING_READ,
      [TD_CEILING_GEMM_F32] = TD_CEILING_GEMM_F16,
      [TD_CEILING_GEMM_F16] = TD_CEILING_GEMM_F32,
  };
  return ceilings->of[which].rate.count ? which : siblings[which];
}

/* Time of two kinds of work, one after the other; *out_which: the longer. */
static double together(const struct bench_work *work, const struct bench_ceilings *ceilings, enum td_ceiling a,
                       enum td_ceiling b, enum td_ceiling *out_which) {
  enum td_ceiling by_a = measured(ceilings, a), by_b = measured(ceilings, b);
  double time_a = work->of[a] / ceilings->of[by_a].rate.median, time_b = work->of[b] / ceilings->of[by_b].rate.median;
  *out_which = time_a >= time_b ? by_a : by_b;
  return time_a + time_b;
}

double bench_work_bound(const struct bench_work *work, const struct bench_ceilings *ceilings,
                        enum td_ceiling *out_bound) {
  enum td_ceiling memory, arithmetic;
  double bytes = together(work, ceilings, TD_CEILING_READ, TD_CEILING_TRIAD, &memory);
  double flops = together(work, ceilings, TD_CEILING_GEMM_F32, TD_CEILING_GEMM_F16, &arithmetic);
  *out_bound = bytes >= flops ? memory : arithmetic;
  return bytes >= flops ? bytes : flops;
}

double bench_share(const struct bench_result *result, const struct bench_ceilings *ceilings,
                   enum td_ceiling *out_bound) {
  double best = bench_work_bound(&result->work, ceilings, out_bound);
  if (!bench_is_paired(result, *out_bound)) return best / result->times.seconds.median;
  return best * ceilings->of[*out_bound].rate.median / result->times.beside.median;
}

bool bench_is_paired(const struct bench_result *result, enum td_ceiling bound) {
  return result->times.beside.count > 0 && result->beside == bound;
}
