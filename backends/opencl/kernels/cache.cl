/* SPDX-License-Identifier: Apache-2.0
 *
 * The KV cache, CACHE_HALF 1 or 0: its elements, and appending to it. Arithmetic is float32 either way.
 */
#if CACHE_HALF
#define ELEMENT_BYTES 2
/* Four, or sixteen, elements from element i on. */
#define element(cache, i) vload_half(i, (__global const half *)(cache))
#define elements(cache, i) vload_half16(0, (__global const half *)(cache) + (i))
#else
#define ELEMENT_BYTES 4
#define element(cache, i) ((__global const float *)(cache))[i]
#define elements(cache, i) vload16(0, (__global const float *)(cache) + (i))
#endif

/* td_float_to_half, to the bit: to nearest, ties to even; overflow becomes infinity; NaNs keep their payload's top. */
static inline ushort half_bits(float value) {
  uint all = as_uint(value), sign = all >> 16 & 0x8000u, magnitude = all & 0x7fffffffu;
  uint normal = magnitude - 0x38000000u + 0xfffu + (magnitude >> 13 & 1u);
  uint tiny = as_uint(as_float(magnitude) + 0.5f) - 0x3f000000u; /* the sum is rounded to units of 2^-24 */
  uint nan = 0x7c00u | (magnitude >> 13 & 0x3ffu);
  uint kept = magnitude < 0x38800000u ? tiny : normal >> 13;
  kept = magnitude >= 0x477ff000u ? 0x7c00u : kept;
  kept = magnitude > 0x7f800000u ? (nan == 0x7c00u ? 0x7e00u : nan) : kept;
  return (ushort)(sign | kept);
}

/* Item: (lane, K or V, row). batch: see batch.c. */
__kernel ONE_ITEM void append(BUFFER(k), BUFFER(v), OUTPUT(k_cache), OUTPUT(v_cache), BUFFER(positions), BUFFER(tables),
                              BUFFER(blocks), int width, int block_tokens) {
  int row = get_global_id(2), second = get_global_id(1);
  long slot = td_kv_slot(INTS(blocks) + INTS(tables)[row], INTS(positions)[row], block_tokens);
  __global const float *from = (second ? FLOATS(v) : FLOATS(k)) + row * (long)width;
  __global uchar *to = (second ? BYTES(v_cache) : BYTES(k_cache)) + slot * width * ELEMENT_BYTES;
  for (int i = get_global_id(0); i < width; i += get_global_size(0)) {
#if CACHE_HALF
    ((__global ushort *)to)[i] = half_bits(from[i]);
#else
    ((__global float *)to)[i] = from[i];
#endif
  }
}
