/* SPDX-License-Identifier: Apache-2.0
 *
 * The K types: a block of 256 values has one or two halves of its own, and each group an integer scale (and minimum)
 * in units of those. Integers are rounded away from zero, so that a group's extremes stay within reach of its codes.
 * Codes come from the scales as td_scale_T reads them back.
 */
#include <math.h>
#include <string.h>

#include "quantize.h"
#include "tandem/blocks.h"

#define VALUES 256

/* value / unit away from zero, held to -top..top. */
static int away(float value, float unit, int top) {
  if (unit == 0.0f) return 0;
  float ratio = value / unit;
  return td_level(ratio < 0.0f ? floorf(ratio) : ceilf(ratio), 1.0f, -top, top);
}

static float largest(const float *values, int count) {
  return fabsf(td_extreme(values, count));
}

/* ---- codes into their bits; the mirror images of td_two_bits and its kin, upon zeroed bytes ---- */

static void put_two_bits(const int *codes, unsigned char *bytes) {
  for (int i = 0; i < VALUES; i++) {
    unsigned char *byte = &bytes[(i >> 7 << 5) + (i & 31)];
    *byte = (unsigned char)(*byte | (codes[i] & 3) << (i >> 4 & 6));
  }
}
static void put_quarter_nibbles(const int *codes, unsigned char *bytes) {
  for (int i = 0; i < VALUES; i++) {
    unsigned char *byte = &bytes[(i >> 6 << 5) + (i & 31)];
    *byte = (unsigned char)(*byte | (codes[i] & 15) << (i >> 3 & 4));
  }
}
/* Bit `bit` of the codes. */
static void put_high_bits(const int *codes, int bit, unsigned char *bytes) {
  for (int i = 0; i < VALUES; i++) {
    unsigned char *byte = &bytes[i & 31];
    *byte = (unsigned char)(*byte | (codes[i] >> bit & 1) << (i >> 5));
  }
}

/* ---- scales and minima: values are scale * code - minimum, codes 0..top ---- */

struct ranges {
  float d, dmin;
  int scales[16], minima[16]; /* in units of d and dmin, 0..unit_top */
};

/* Minima first: a scale must reach from the minimum as stored to the group's largest value. */
static struct ranges find_ranges(const float *src, int group, int top, int unit_top, unsigned char *d_at) {
  struct ranges r = {0};
  int groups = VALUES / group;
  float lows[16], widths[16];
  for (int g = 0; g < groups; g++) {
    lows[g] = 0.0f; /* a minimum is never positive */
    for (int i = 0; i < group; i++) lows[g] = fminf(lows[g], src[g * group + i]);
  }
  r.dmin = td_put_half(d_at + 2, largest(lows, groups) / (float)unit_top);
  for (int g = 0; g < groups; g++) {
    r.minima[g] = away(-lows[g], r.dmin, unit_top);
    float high = src[g * group], low = r.dmin * (float)r.minima[g];
    for (int i = 1; i < group; i++) high = fmaxf(high, src[g * group + i]);
    widths[g] = fmaxf(high + low, 0.0f) / (float)top;
  }
  r.d = td_put_half(d_at, largest(widths, groups) / (float)unit_top);
  for (int g = 0; g < groups; g++) r.scales[g] = away(widths[g], r.d, unit_top);
  return r;
}

static void range_codes(const float *src, int group, int top, const struct ranges *r, int *codes) {
  for (int i = 0; i < VALUES; i++) {
    int g = i / group;
    codes[i] = td_level(src[i] + r->dmin * (float)r->minima[g], r->d * (float)r->scales[g], 0, top);
  }
}

void td_quantize_q2_k(const float *src, unsigned char *dst) {
  int codes[VALUES];
  memset(dst, 0, TD_BLOCK_BYTES_Q2_K);
  struct ranges r = find_ranges(src, 16, 3, 15, dst + 80);
  range_codes(src, 16, 3, &r, codes);
  for (int g = 0; g < 16; g++) dst[g] = (unsigned char)(r.scales[g] | r.minima[g] << 4);
  put_two_bits(codes, dst + 16);
}

/* The mirror image of td_scale_bits and td_minimum_bits. */
static void put_six_bits(const struct ranges *r, unsigned char *bytes) {
  for (int g = 0; g < 4; g++) {
    int scale = r->scales[g + 4], minimum = r->minima[g + 4];
    bytes[g] = (unsigned char)(r->scales[g] | scale >> 4 << 6);
    bytes[g + 4] = (unsigned char)(r->minima[g] | minimum >> 4 << 6);
    bytes[g + 8] = (unsigned char)((scale & 15) | (minimum & 15) << 4);
  }
}

void td_quantize_q4_k(const float *src, unsigned char *dst) {
  int codes[VALUES];
  memset(dst, 0, TD_BLOCK_BYTES_Q4_K);
  struct ranges r = find_ranges(src, 32, 15, 63, dst);
  range_codes(src, 32, 15, &r, codes);
  put_six_bits(&r, dst + 4);
  put_quarter_nibbles(codes, dst + 16);
}

void td_quantize_q5_k(const float *src, unsigned char *dst) {
  int codes[VALUES];
  memset(dst, 0, TD_BLOCK_BYTES_Q5_K);
  struct ranges r = find_ranges(src, 32, 31, 63, dst);
  range_codes(src, 32, 31, &r, codes);
  put_six_bits(&r, dst + 4);
  put_high_bits(codes, 4, dst + 16);
  put_quarter_nibbles(codes, dst + 48);
}

/* ---- scales alone: values are scale * (code - half), codes 0..2 half - 1; groups of 16 ---- */

/* Each group's extreme sits on level -half, so its scale has a sign. */
static float find_scales(const float *src, int half, int unit_top, unsigned char *d_at, int *scales) {
  float wanted[16];
  for (int g = 0; g < 16; g++) wanted[g] = td_extreme(src + g * 16, 16) / (float)-half;
  float d = td_put_half(d_at, largest(wanted, 16) / (float)unit_top);
  for (int g = 0; g < 16; g++) scales[g] = away(wanted[g], d, unit_top);
  return d;
}

static void scale_codes(const float *src, int half, float d, const int *scales, int *codes) {
  for (int i = 0; i < VALUES; i++) {
    int scale = scales[i / 16];
    codes[i] = td_level(src[i], d * (float)scale, -half, half - 1) + half;
  }
}

void td_quantize_q3_k(const float *src, unsigned char *dst) {
  int scales[16], codes[VALUES];
  memset(dst, 0, TD_BLOCK_BYTES_Q3_K);
  float d = find_scales(src, 4, 31, dst + 108, scales);
  scale_codes(src, 4, d, scales, codes);
  for (int g = 0; g < 16; g++) {
    int stored = scales[g] + 32;
    unsigned char *low = &dst[96 + (g & 7)], *high = &dst[104 + (g & 3)];
    *low = (unsigned char)(*low | (stored & 15) << (g >> 3 << 2));
    *high = (unsigned char)(*high | (stored >> 4) << (g >> 2 << 1));
  }
  put_high_bits(codes, 2, dst);
  put_two_bits(codes, dst + 32);
}

void td_quantize_q6_k(const float *src, unsigned char *dst) {
  int scales[16], codes[VALUES], high[VALUES];
  memset(dst, 0, TD_BLOCK_BYTES_Q6_K);
  float d = find_scales(src, 32, 127, dst + 208, scales);
  scale_codes(src, 32, d, scales, codes);
  for (int g = 0; g < 16; g++) dst[192 + g] = (unsigned char)(signed char)scales[g];
  for (int i = 0; i < VALUES; i++) {
    unsigned char *byte = &dst[(i >> 7 << 6) + (i & 63)];
    *byte = (unsigned char)(*byte | (codes[i] & 15) << (i >> 4 & 4));
    high[i] = codes[i] >> 4;
  }
  put_two_bits(high, dst + 128);
}
