/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operator in double precision, and how far from it a backend may be. u = 2^-24 is float32's unit roundoff; the
 * bounds hold for float32 arithmetic in any order of summation, with room for a few roundings more. They say nothing
 * about half or integer arithmetic: a backend that uses it lists the cases in expected_to_fail.
 *
 *   operator   bound on |got - want|
 *   embed, select, kv_append   0: the same bits (kv_append to f16: rounded to nearest, ties to even)
 *   add        u |want|
 *   matmul     (k + 2) u sum |x| |w|
 *   rms_norm   (n / 2 + 8) u |want|
 *   rope       (8 + 8 angle) u (|x| + |y|) of the rotated pair, for angles computed in float32
 *   silu_mul   16 u |want| + 1e-35 |in1|
 *   attention  (2 (head_dim + 4) s + context + 16) u sum p |v|, s = the largest scale * sum |q| |k| of the row
 */
#ifndef CONFORMANCE_REFERENCE_H
#define CONFORMANCE_REFERENCE_H

#include <stdio.h>

#include "suite.h"

/* Fills want and bound, [out_rows, out_cols] each. Not for KV_APPEND. */
td_status reference_compute(struct conform_run *run, const struct conform_inputs *inputs, double *want, double *bound);
/* The bound in words, for --verbose. */
const char *reference_bound(enum td_op_kind kind);

#endif
