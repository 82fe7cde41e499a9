/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the emulator: the loops over lanes of the matrix planes. Arrays are [k][lanes].
 */
#ifndef TANDEM_LPU_EXECUTE_KERNELS_H
#define TANDEM_LPU_EXECUTE_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

/* A loaded vector whose lanes are n: a row of floats. `in`: one vector of int8 (W8) or FP8 (WF8), or a pair
 * of f16 bytes. */
void execute_row_floats(const uint8_t *const *in, int32_t type, int32_t lanes, float *out);
/* A loaded vector whose lanes `first` .. first + k - 1 are k: a column, `lanes` apart. */
void execute_column_floats(const uint8_t *const *in, int32_t type, int32_t first, int32_t k, int32_t lanes, float *out);
void execute_column_bytes(const uint8_t *in, int32_t k, int32_t lanes, int8_t *out);

/* x of k elements times the array: sums in int32, or in binary64 from +0 in ascending k and rounded once (`out` then
 * holds the bits of floats). */
void execute_pass_bytes(const int8_t *x, int32_t k, int32_t lanes, const int8_t *array, int32_t *out);
void execute_pass_floats(const uint8_t *const *in, int32_t first, int32_t k, int32_t lanes, const float *array,
                         int32_t *out);
/* The same of FP8, whose sums in binary64 are exact: multiples of 2^-18, less than 2^27. */
void execute_pass_fp8(const uint8_t *x, int32_t k, int32_t lanes, const int8_t *array, int32_t *out);
/* a + b (NULL: a alone); false where an int32 wraps. */
bool execute_add_rows(const int32_t *a, const int32_t *b, bool floats, int32_t lanes, int32_t *out);
/* 32-bit values onto four vectors, low byte first. */
void execute_split(const int32_t *in, uint8_t *const *out, int32_t lanes);

#endif
