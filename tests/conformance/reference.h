/* SPDX-License-Identifier: Apache-2.0
 *
 * Every operator in double precision, and how far from it a backend may be. u = 2^-24 is float32's unit roundoff. The
 * bounds leave float32 arithmetic in any order of summation a wide margin on the suite's random data (they are not
 * worst cases over all data) and leave none for half-precision products: a backend that uses those lists the cases in
 * expected_to_fail.
 *
 *   operator   bound on |got - want|
 *   embed, select, kv_append   0: the same bits (kv_append to f16: rounded to nearest, ties to even)
 *   add        u |want|
 *   matmul     (sqrt(k) + 8) u sum |x| |w|
 *   rms_norm   (sqrt(n) + 8) u |want|
 *   rope       (8 + 8 angle) u (|x| + |y|) of the rotated pair, for angles computed in float32
 *   activation 16 u |want| + 1e-35 |in1|
 *   attention  (2 (sqrt(head_dim) + 8) s + sqrt(context) + 16) u sum p |v|, s = the row's largest scale * sum |q| |k|
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
