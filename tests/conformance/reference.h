/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operator in double precision, and how far from it a backend may be. u = 2^-24 is float32's unit roundoff. The
 * bounds leave float32 arithmetic in any order of summation a wide margin on the suite's random data (they are not
 * worst cases over all data) and leave none for half-precision products: a backend that uses those lists the cases in
 * expected_to_fail.
 *
 * Where they come from. Adding m terms in float32, in any order, is off by at most m u sum |terms|, and on data of both
 * signs by about sqrt(m) u sum |terms|: that is what is granted, with 8 u for the products and conversions around it.
 * Library functions may be off by what OpenCL allows: exp 3, sin and cos 4, tanh 5 ulp, a division 2.5 (an ulp is 2 u).
 *
 *   operator   bound on |got - want|
 *   embed, select, kv_append   0: the same bits (kv_append to f16: rounded to nearest, ties to even)
 *              embed with a scale: 4 u |want|: the scale and the product are rounded
 *   add        u |want|: one rounding, of a bias too
 *   matmul, expert_matmul      (sqrt(k) + 8) u sum |x| |w|
 *   expert_sum (sqrt(used) + 8) u sum |weight| |x|
 *   rms_norm   (sqrt(n / groups) + 8) u |want|
 *   rope       (8 + 8 angle) u (|x| + |y|) of the rotated pair: the angle is computed in float32, so off by a share of
 *              itself, which turns the pair by as much
 *   activation silu: 16 u |want| + 1e-35 |in1| (exp, division, product; what underflows). gelu: (16 u |f| + 8 u
 * min(|x|, 16) + 1e-35) |in1|: 1 + tanh cancels for negative x, so tanh's error counts in units of x; far out tanh is 1
 * or -1 exactly router     0 on the ids; (16 + used + 2 |logit - largest|) u |want| + 1e-37 on the weights: the
 * difference is rounded before exp attention  (2 (sqrt(head_dim) + 8) s + sqrt(context) + 16) u sum p |v|, s = the
 * row's largest scale * sum |q| |k|: a score's error moves its weight by as much; context = the positions seen
 */
#ifndef CONFORMANCE_REFERENCE_H
#define CONFORMANCE_REFERENCE_H

#include <stdio.h>

#include "suite.h"

extern const double reference_unit; /* u */

/* Fills want and bound, [out_rows, out_cols] each. Not for KV_APPEND. */
td_status reference_compute(struct conform_run *run, const struct conform_inputs *inputs, double *want, double *bound);
/* Of the operators of experts (reference_experts.c). */
void reference_router(const struct conform_inputs *in, double *want, double *bound);
void reference_expert_matmul(const struct conform_inputs *in, double *want, double *bound);
void reference_expert_sum(const struct conform_inputs *in, double *want, double *bound);
/* The bound in words, for --verbose. */
const char *reference_bound(enum td_op_kind kind);

#endif
