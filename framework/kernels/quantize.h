/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two files of td_quantize share.
 */
#ifndef TANDEM_KERNELS_QUANTIZE_H
#define TANDEM_KERNELS_QUANTIZE_H

#include <stdint.h>

/* The nearest half of `value`, stored at dst; what it stands for comes back. */
float td_put_half(unsigned char *dst, float value);
/* value / scale, rounded and held to low..high (an extreme may round one step beyond); low for NaN, 0 for scale 0. */
int td_level(float value, float scale, int low, int high);
/* The value of largest magnitude, with its sign. */
float td_extreme(const float *src, int count);

/* One block of 256 values. */
void td_quantize_q2_k(const float *src, unsigned char *dst);
void td_quantize_q3_k(const float *src, unsigned char *dst);
void td_quantize_q4_k(const float *src, unsigned char *dst);
void td_quantize_q5_k(const float *src, unsigned char *dst);
void td_quantize_q6_k(const float *src, unsigned char *dst);

#endif
