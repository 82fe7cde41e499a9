/* SPDX-License-Identifier: Apache-2.0
 *
 * Helpers that small backends borrow instead of copying: block layouts of the quantised types, half floats.
 * Pure functions, thread-safe. Conversions are exact: every result is the float32 that the format defines.
 */
#ifndef TANDEM_KERNELS_H
#define TANDEM_KERNELS_H

#include <stdint.h>

#include "tandem/dtype.h"

/* IEEE 754 binary16 <-> binary32. To half: round to nearest, ties to even; overflow becomes infinity. */
float td_half_to_float(uint16_t half);
uint16_t td_float_to_half(float value);
/* bfloat16 is the upper half of a float32. */
float td_bf16_to_float(uint16_t value);

/* Expands `elements` values of one row (a multiple of the type's block) into float32. `src` needs no
 * alignment. The float32 results equal ggml's dequantisation bit for bit (tests: reference/dequant.h5). */
void td_dequantize(enum td_dtype dtype, const void *src, float *dst, int64_t elements);

/* The other way, for tests and for writing model files: F32, F16, BF16 round to nearest; Q8_0, Q4_0, Q4_1 choose
 * their scales from the block's extremes. TD_UNSUPPORTED for any other type. */
td_status td_quantize(enum td_dtype dtype, const float *src, void *dst, int64_t elements);

#endif
