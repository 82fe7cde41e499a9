/* SPDX-License-Identifier: Apache-2.0
 *
 * Helpers that small backends borrow instead of copying: quantised types, half floats, rows of operators.
 * Pure functions, thread-safe. Conversions are exact: every result is the float32 that the format defines.
 *
 * What kernels of other languages share stands beside this in framework/kernels/shared/tandem: blocks.h (block layouts)
 * and positions.h (index arithmetic), which compile as C, OpenCL C and CUDA.
 */
#ifndef TANDEM_KERNELS_H
#define TANDEM_KERNELS_H

#include <stdint.h>

#include "tandem/dtype.h"
#include "tandem/graph.h"

/* IEEE 754 binary16 <-> binary32. To half: round to nearest, ties to even; overflow becomes infinity. */
float td_half_to_float(uint16_t half);
uint16_t td_float_to_half(float value);
/* bfloat16 is the upper half of a float32. */
float td_bf16_to_float(uint16_t value);

/* Expands `elements` values of one row (a multiple of the type's block) into float32. `src` needs no
 * alignment. The float32 results equal ggml's dequantisation bit for bit (tests: reference/dequant.h5). */
void td_dequantize(enum td_dtype dtype, const void *src, float *dst, int64_t elements);

/* The other way, for tests, benchmarks and for writing model files: F32, F16, BF16 round to nearest; block types choose
 * their scales from the extremes of a block or group (fast and plain, not the best that a search could find).
 * TD_UNSUPPORTED for priced-only types. */
td_status td_quantize(enum td_dtype dtype, const float *src, void *dst, int64_t elements);

/* ---- rows of operators, plain and in one fixed order, sums in double: what template is made of ---- */

double td_dot(const float *a, const float *b, int64_t n);
/* One group of an RMS_NORM. out may be in. */
void td_rms_norm_row(const float *in, const float *weight, float *out, int64_t n, double epsilon);
/* One head of a ROPE, in place; factors may be NULL. Takes rope_dim, rope_pairs, theta, position_scale from op. */
void td_rope_row(const struct td_op *op, const float *factors, int32_t position, float *head);
/* f(x) of enum td_activation, computed in double. */
double td_activate(enum td_activation activation, double x);
/* One row of a ROUTER: logits[experts] -> out[2 * used]. NaNs sort last. */
void td_route_row(const float *logits, float *out, int32_t experts, int32_t used);
/* One row of an EXPERT_SUM: slots[used][n] and the row of the router's result -> out[n]. */
void td_expert_sum_row(const float *slots, const float *routed, float *out, int64_t n, int32_t used);

#endif
