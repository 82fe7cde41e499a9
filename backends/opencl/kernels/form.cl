/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two forms of the kernels share. The host gives FORM_CPU 1 (a work-item is a tile; sixteen lanes; no
 * barriers) or 0 (work-groups of GROUP items, one value each), and HAS_FMA 1 where the device multiplies and adds at
 * once in hardware. Nothing else may contract: portable.h turns that off.
 */
#define BUFFER(name) __global const uchar *name##_base, ulong name##_at
#define OUTPUT(name) __global uchar *name##_base, ulong name##_at
#define BYTES(name) ((name##_base) + (name##_at))
#define FLOATS(name) ((__global const float *)BYTES(name))
#define INTS(name) ((__global const int *)BYTES(name))
#define FLOATS_OUT(name) ((__global float *)BYTES(name))

#if HAS_FMA
#define multiply_add(a, b, c) fma(a, b, c)
#else
#define multiply_add(a, b, c) ((a) * (b) + (c))
#endif

#define ONE_ALONE __attribute__((reqd_work_group_size(1, 1, 1)))
#if FORM_CPU
#define VEC 16
typedef float16 vec;
typedef uint16 bits;
#define as_vec as_float16
#define as_bits as_uint16
#define ONE_ITEM ONE_ALONE
#else
#define VEC 1
typedef float vec;
typedef uint bits;
#define as_vec as_float
#define as_bits as_uint
#define ONE_ITEM __attribute__((reqd_work_group_size(GROUP, 1, 1)))
#endif

/* The last left < 16 floats, then zeros. */
static inline float16 load_last(__global const float *from, long left) {
  float values[16] = {0};
  for (long i = 0; i < left; i++) values[i] = from[i];
  return vload16(0, values);
}

#if FORM_CPU
static inline vec take(__global const float *from, long left) {
  return left < VEC ? load_last(from, left) : vload16(0, from);
}
static inline void give(__global float *to, vec value, long left) {
  if (left >= VEC) {
    vstore16(value, 0, to);
    return;
  }
  float values[VEC];
  vstore16(value, 0, values);
  for (long i = 0; i < left; i++) to[i] = values[i];
}
#else
#define take(from, left) (*(from))
#define give(to, value, left) (*(to) = (value))
#endif

/* Sums over an inner dimension in sixteen lanes, element i in lane i % 16, folded by halves. */
static inline float fold(float16 s) {
  float8 a = s.lo + s.hi;
  float4 b = a.lo + a.hi;
  float2 c = b.lo + b.hi;
  return c.x + c.y;
}
/* fold of four, side by side. */
static inline float4 fold4(float16 s, float16 t, float16 u, float16 v) {
  float16 st = (float16)(s.lo, t.lo) + (float16)(s.hi, t.hi);
  float16 uv = (float16)(u.lo, v.lo) + (float16)(u.hi, v.hi);
  float16 all = (float16)(st.s0123, st.s89ab, uv.s0123, uv.s89ab) + (float16)(st.s4567, st.scdef, uv.s4567, uv.scdef);
  float8 two = (float8)(all.s01, all.s45, all.s89, all.scd) + (float8)(all.s23, all.s67, all.sab, all.sef);
  return two.even + two.odd;
}

/* e^x within 2 units in the last place, the same on every device: the language's exp may be off by 3 and differs.
 * x = n ln 2 + r with |r| <= ln 2 / 2; e^r by its series to r^7 / 7!, whose rest is under 2^-27. Under -87: 0. */
static inline vec exponential(vec x) {
  vec shifted = x * 0x1.715476p+0f + 0x1.8p23f; /* n in the low bits */
  vec n = shifted - 0x1.8p23f;
  vec r = (x - n * 0x1.62e4p-1f) - n * 0x1.7f7d1cp-20f; /* ln 2 in two pieces; n times the first is exact */
  vec series = r * (1.0f / 5040) + 1.0f / 720;
  series = series * r + 1.0f / 120;
  series = series * r + 1.0f / 24;
  series = series * r + 1.0f / 6;
  series = series * r + 0.5f;
  series = series * (r * r) + r;
  vec scale = as_vec((as_bits(shifted) << 23) + 0x3f800000u); /* 2^n */
  vec value = series * scale + scale;
  value = x < -87.0f ? (vec)(0.0f) : value;
  return x > 88.0f ? (vec)(INFINITY) : value;
}
#if FORM_CPU
static inline float exponential1(float x) {
  return exponential((vec)(x)).s0;
}
#else
#define exponential1(x) exponential(x)
#endif
