/* SPDX-License-Identifier: Apache-2.0
 *
 * The inner loops, written once and included by kernels.c once per instruction set with
 *   LOOPS(name)    the set's own name for a function
 *   LOOPS_TARGET   its target attribute, or nothing
 *   LOOPS_WIDTH    floats in a native vector: 4, 8, 16
 *   LOOPS_ROWS, LOOPS_TOKENS   the product tile whose sums fit the registers
 *   LOOPS_BYTES(q)             LOOPS_WIDTH int8 as floats
 *   LOOPS_HALF(p)              the binary16 at p as float32
 *   LOOPS_HALVES, LOOPS_BFLOATS(p, to, count)   binary16 and bfloat16 to float32
 *   LOOPS_FOUR, LOOPS_FIVE, LOOPS_LEVELS        32 values of a block to int8, see kernels.c
 * No include guard. Products and sums are separate operations (-ffp-contract=off), so no set fuses them.
 */
#define PARTS (CPU_LANES / LOOPS_WIDTH)
#define VECTOR LOOPS(vector)
#define INLINE static inline __attribute__((always_inline)) LOOPS_TARGET

typedef float VECTOR __attribute__((vector_size(LOOPS_WIDTH * sizeof(float)), aligned(4)));

/* A sum's sixteen lanes, kept in registers. */
struct LOOPS(lanes) {
  VECTOR part[PARTS];
};

INLINE void LOOPS(load)(const float *from, struct LOOPS(lanes) * to) {
  for (int p = 0; p < PARTS; p++) to->part[p] = *(const VECTOR *)(const void *)(from + p * LOOPS_WIDTH);
}

INLINE void LOOPS(clear)(struct LOOPS(lanes) * sum) {
  for (int p = 0; p < PARTS; p++) sum->part[p] = (VECTOR){0};
}

INLINE void LOOPS(add_product)(struct LOOPS(lanes) * sum, const struct LOOPS(lanes) * a,
                               const struct LOOPS(lanes) * b) {
  for (int p = 0; p < PARTS; p++) sum->part[p] += a->part[p] * b->part[p];
}

/* Lane i takes lane i + 8, then i + 4, i + 2, i + 1. */
INLINE float LOOPS(fold)(const struct LOOPS(lanes) * sum) {
  cpu_quad quad[CPU_LANES / 4];
  memcpy(quad, sum, sizeof quad);
  quad[0] = (quad[0] + quad[2]) + (quad[1] + quad[3]);
  return (quad[0][0] + quad[0][2]) + (quad[0][1] + quad[0][3]);
}

/* The last k % 16 elements, padded with zeros: 0 * 0 adds nothing. */
INLINE void LOOPS(load_tail)(const float *from, int64_t count, struct LOOPS(lanes) * to) {
  float padded[CPU_LANES] = {0};
  for (int64_t i = 0; i < count; i++) padded[i] = from[i];
  LOOPS(load)(padded, to);
}

#include "unpack.h"

#include "products.h"

INLINE float LOOPS(dot)(const float *a, const float *b, int64_t n) {
  struct LOOPS(lanes) sum, left, right;
  LOOPS(clear)(&sum);
  int64_t i = 0;
  for (; i + CPU_LANES <= n; i += CPU_LANES) {
    LOOPS(load)(a + i, &left);
    LOOPS(load)(b + i, &right);
    LOOPS(add_product)(&sum, &left, &right);
  }
  if (i < n) {
    LOOPS(load_tail)(a + i, n - i, &left);
    LOOPS(load_tail)(b + i, n - i, &right);
    LOOPS(add_product)(&sum, &left, &right);
  }
  return LOOPS(fold)(&sum);
}

LOOPS_TARGET static void LOOPS(scores)(const float *q, const float *keys, int64_t stride, int64_t count, int64_t dim,
                                       float scale, float *out) {
  for (int64_t j = 0; j < count; j++) out[j] = scale * LOOPS(dot)(q, keys + j * stride, dim);
}

/* `groups` times sixteen elements of the output stay in registers while the positions pass. */
INLINE void LOOPS(mix_groups)(const int groups, const float *p, const float *values, int64_t stride, int64_t count,
                              float *out) {
  struct LOOPS(lanes) sum[4], weight, value;
  for (int g = 0; g < groups; g++) LOOPS(load)(out + g * CPU_LANES, &sum[g]);
  for (int64_t j = 0; j < count; j++) {
    for (int part = 0; part < PARTS; part++) weight.part[part] = (VECTOR){0} + p[j];
    for (int g = 0; g < groups; g++) {
      LOOPS(load)(values + j * stride + g * CPU_LANES, &value);
      LOOPS(add_product)(&sum[g], &weight, &value);
    }
  }
  for (int g = 0; g < groups; g++) memcpy(out + g * CPU_LANES, &sum[g], sizeof sum[g]);
}

LOOPS_TARGET static void LOOPS(mix)(const float *p, const float *values, int64_t stride, int64_t count, int64_t dim,
                                    float *out) {
  int64_t i = 0;
  for (; i + 4 * CPU_LANES <= dim; i += 4 * CPU_LANES) LOOPS(mix_groups)(4, p, values + i, stride, count, out + i);
  for (; i + CPU_LANES <= dim; i += CPU_LANES) LOOPS(mix_groups)(1, p, values + i, stride, count, out + i);
  for (; i < dim; i++) {
    for (int64_t j = 0; j < count; j++) out[i] += p[j] * values[j * stride + i];
  }
}

/* e^x within 2 units in the last place, without libm, whose result depends on the machine. x = n ln 2 + r with
 * |r| <= ln 2 / 2; e^r by its series to r^7 / 7!, whose rest is under 2^-27. */
INLINE float LOOPS(exponential)(float x) {
  float shifted = x * 0x1.715476p+0f + 0x1.8p23f; /* n in the low bits */
  float n = shifted - 0x1.8p23f;
  float r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f; /* ln 2 in two pieces; n times the first is exact */
  float series = 1.0f / 5040;
  series = series * r + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * (r * r) + r;
  uint32_t bits;
  float scale;
  memcpy(&bits, &shifted, sizeof bits);
  bits = (bits << 23) + 0x3f800000u; /* 2^n */
  memcpy(&scale, &bits, sizeof scale);
  float value = series * scale + scale;
  value = x < -87.0f ? 0.0f : value;
  return x > 88.0f ? INFINITY : value;
}

LOOPS_TARGET static float LOOPS(soften)(float *s, int64_t count) {
  float top = s[0];
  for (int64_t j = 1; j < count; j++) top = s[j] > top ? s[j] : top;
  for (int64_t j = 0; j < count; j++) s[j] = LOOPS(exponential)(s[j] - top);
  struct LOOPS(lanes) sum, value;
  LOOPS(clear)(&sum);
  int64_t j = 0;
  for (; j + CPU_LANES <= count; j += CPU_LANES) {
    LOOPS(load)(s + j, &value);
    for (int p = 0; p < PARTS; p++) sum.part[p] += value.part[p];
  }
  LOOPS(load_tail)(s + j, count - j, &value);
  for (int p = 0; p < PARTS; p++) sum.part[p] += value.part[p];
  return LOOPS(fold)(&sum);
}

LOOPS_TARGET static void LOOPS(norm)(const float *x, const float *w, int64_t n, float epsilon, float *out) {
  float scale = 1.0f / sqrtf(LOOPS(dot)(x, x, n) / (float)n + epsilon);
  for (int64_t i = 0; i < n; i++) out[i] = x[i] * scale * w[i];
}

LOOPS_TARGET static void LOOPS(silu_mul)(const float *a, const float *b, int64_t n, float *out) {
  for (int64_t i = 0; i < n; i++) out[i] = a[i] / (1.0f + LOOPS(exponential)(-a[i])) * b[i];
}

/* x / 2 (1 + tanh u) = x / (1 + exp(-2u)). The exponential magnifies what is wrong with its argument, so 2u is made in
 * double and what float32 cannot hold of it is multiplied in afterwards. */
LOOPS_TARGET static void LOOPS(gelu_mul)(const float *a, const float *b, int64_t n, float *out) {
  for (int64_t i = 0; i < n; i++) {
    double x = (double)a[i], minus = x * (-1.5957691216057308 - 0.07135481627260025 * (x * x));
    minus = minus < -128.0 ? -128.0 : minus;
    minus = minus > 128.0 ? 128.0 : minus;
    float high = (float)minus, low = (float)(minus - (double)high);
    out[i] = a[i] / (1.0f + LOOPS(exponential)(high) * (1.0f + low)) * b[i];
  }
}

static const struct cpu_kernels LOOPS(kernels) = {
    .name = LOOPS_NAME,
    .here = LOOPS(here),
    .few = LOOPS_TOKENS,
    .dots = LOOPS(dots),
    .expand = LOOPS(expand),
    .products = LOOPS(products),
    .scores = LOOPS(scores),
    .mix = LOOPS(mix),
    .soften = LOOPS(soften),
    .norm = LOOPS(norm),
    .silu_mul = LOOPS(silu_mul),
    .gelu_mul = LOOPS(gelu_mul),
};

#undef PARTS
#undef VECTOR
#undef INLINE
#undef LOOPS
#undef LOOPS_NAME
#undef LOOPS_TARGET
#undef LOOPS_WIDTH
#undef LOOPS_ROWS
#undef LOOPS_TOKENS
#undef LOOPS_BYTES
#undef LOOPS_HALF
#undef LOOPS_HALVES
#undef LOOPS_BFLOATS
#undef LOOPS_FOUR
#undef LOOPS_FIVE
#undef LOOPS_LEVELS
