/* SPDX-License-Identifier: Apache-2.0
 *
 * The two ways of expanding a row of halves; they give the same bits (tests/kernels/half_test.c holds them to it).
 */
#ifndef TANDEM_KERNELS_HALF_H
#define TANDEM_KERNELS_HALF_H

#include <stdbool.h>
#include <stdint.h>

/* `src` needs no alignment. */
void td_half_row_plain(const unsigned char *src, float *dst, int64_t elements);
/* Uses the F16C instructions; call only if td_half_f16c_here(). */
void td_half_row_f16c(const unsigned char *src, float *dst, int64_t elements);
bool td_half_f16c_here(void);

#endif
