/* SPDX-License-Identifier: Apache-2.0
 *
 * Block layouts of every stored type, once, for C, OpenCL C and CUDA. T below is a type's name as in enum td_dtype
 * (F16, Q4_1, Q6_K, ...), so that a kernel written with token pasting serves all of them.
 *
 *   TD_BLOCK_ELEMENTS_T  values in a block            TD_BLOCK_BYTES_T  bytes of a block
 *   TD_GROUP_ELEMENTS_T  values that share a scale    TD_HAS_MINIMUM_T  1 if a minimum is added, else 0
 *
 *   td_code_T(block, i)          the stored integer of value i, 0 <= i < TD_BLOCK_ELEMENTS_T, offset taken off
 *   td_scale_T(block, group)     float; value i lies in group i / TD_GROUP_ELEMENTS_T
 *   td_minimum_T(block, group)   float, to be ADDED (the K types store it negated); 0 without one
 *   td_value_T(block, i)         = scale * code [+ minimum]: ggml's dequantisation, bit for bit
 *   td_values_T(block, group, out)  the values of one group into a private array
 *
 * F32, F16 and BF16 are blocks of one value; there td_value_T also takes the start of a row and any i. Blocks need no
 * alignment. A scale times a code is exact in float32 for every type but Q6_K, which adds nothing, so contraction to a
 * fused multiply-add could not change a value either.
 *
 * Layouts: ggml's quantised tensor types as stored in GGUF files (ggml-common.h, ggml-quants.c of ggml).
 */
#ifndef TANDEM_BLOCKS_H
#define TANDEM_BLOCKS_H

#include "tandem/portable.h"

/* X(T) for every type with scales, and for every type. */
#define TD_QUANTISED_TYPES(X) X(Q8_0) X(Q4_0) X(Q4_1) X(Q5_0) X(Q5_1) X(Q2_K) X(Q3_K) X(Q4_K) X(Q5_K) X(Q6_K) X(IQ4_NL)
#define TD_STORED_TYPES(X) X(F32) X(F16) X(BF16) TD_QUANTISED_TYPES(X)

/* Little endian, byte by byte: compilers make one load of it where that is allowed. */
TD_FN td_u16 td_load_u16(TD_GLOBAL const td_u8 *at) {
  return (td_u16)(at[0] | at[1] << 8);
}
TD_FN td_u32 td_load_u32(TD_GLOBAL const td_u8 *at) {
  return (td_u32)at[0] | (td_u32)at[1] << 8 | (td_u32)at[2] << 16 | (td_u32)at[3] << 24;
}
TD_FN float td_load_half(TD_GLOBAL const td_u8 *at) {
  return td_half_bits_to_float(td_load_u16(at));
}

/* ---- plain types ---- */

#define TD_BLOCK_ELEMENTS_F32 1
#define TD_BLOCK_BYTES_F32 4
#define TD_BLOCK_ELEMENTS_F16 1
#define TD_BLOCK_BYTES_F16 2
#define TD_BLOCK_ELEMENTS_BF16 1
#define TD_BLOCK_BYTES_BF16 2

TD_FN float td_value_F32(TD_GLOBAL const td_u8 *row, td_i32 i) {
  return td_bits_to_float(td_load_u32(row + 4 * (td_i64)i));
}
TD_FN float td_value_F16(TD_GLOBAL const td_u8 *row, td_i32 i) {
  return td_load_half(row + 2 * (td_i64)i);
}
TD_FN float td_value_BF16(TD_GLOBAL const td_u8 *row, td_i32 i) {
  return td_bits_to_float((td_u32)td_load_u16(row + 2 * (td_i64)i) << 16);
}

#define TD_PLAIN(T)                                                                              \
  enum { TD_GROUP_ELEMENTS_##T = 1, TD_HAS_MINIMUM_##T = 0 };                                    \
  TD_FN void td_values_##T(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) { \
    out[0] = td_value_##T(block, group);                                                         \
  }
TD_PLAIN(F32)
TD_PLAIN(F16)
TD_PLAIN(BF16)
#undef TD_PLAIN

/* ---- 32 values that share one scale: f16 d at byte 0, where the type has it f16 m at byte 2 ----
 * Nibble i of the first half of a block is the low half of byte i, of the second half the high half of byte i - 16. */

#define TD_BLOCK_ELEMENTS_Q8_0 32
#define TD_BLOCK_BYTES_Q8_0 34 /* d, 32 int8 */
#define TD_BLOCK_ELEMENTS_Q4_0 32
#define TD_BLOCK_BYTES_Q4_0 18 /* d, nibbles */
#define TD_BLOCK_ELEMENTS_Q4_1 32
#define TD_BLOCK_BYTES_Q4_1 20 /* d, m, nibbles */
#define TD_BLOCK_ELEMENTS_Q5_0 32
#define TD_BLOCK_BYTES_Q5_0 22 /* d, 32 high bits, nibbles */
#define TD_BLOCK_ELEMENTS_Q5_1 32
#define TD_BLOCK_BYTES_Q5_1 24 /* d, m, 32 high bits, nibbles */
#define TD_BLOCK_ELEMENTS_IQ4_NL 32
#define TD_BLOCK_BYTES_IQ4_NL 18 /* d, nibbles */

TD_FN td_i32 td_nibble(TD_GLOBAL const td_u8 *nibbles, td_i32 i) {
  return nibbles[i & 15] >> (i >> 4 << 2) & 15;
}
/* Bit i of four bytes, as the fifth bit of a code. */
TD_FN td_i32 td_fifth_bit(TD_GLOBAL const td_u8 *bits, td_i32 i) {
  return (bits[i >> 3] >> (i & 7) & 1) << 4;
}
/* IQ4_NL's table: -127 -104 -83 -65 -49 -35 -22 -10 1 13 25 38 53 69 89 113, one byte each from the lowest. */
TD_FN td_i32 td_level_of(td_i32 nibble) {
  td_u64 eight = nibble < 8 ? (td_u64)0xf6eaddcfu << 32 | 0xbfad9881u : (td_u64)0x71594535u << 32 | 0x26190d01u;
  return (td_i8)(td_u8)(eight >> (8 * (nibble & 7)));
}

TD_FN td_i32 td_code_Q8_0(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return (td_i8)block[2 + i];
}
TD_FN td_i32 td_code_Q4_0(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_nibble(block + 2, i) - 8;
}
TD_FN td_i32 td_code_Q4_1(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_nibble(block + 4, i);
}
TD_FN td_i32 td_code_Q5_0(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return (td_nibble(block + 6, i) | td_fifth_bit(block + 2, i)) - 16;
}
TD_FN td_i32 td_code_Q5_1(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_nibble(block + 8, i) | td_fifth_bit(block + 4, i);
}
TD_FN td_i32 td_code_IQ4_NL(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_level_of(td_nibble(block + 2, i));
}

#define TD_SCALE_32(T)                                                   \
  enum { TD_GROUP_ELEMENTS_##T = 32 };                                   \
  TD_FN float td_scale_##T(TD_GLOBAL const td_u8 *block, td_i32 group) { \
    (void)group;                                                         \
    return td_load_half(block);                                          \
  }
#define TD_MINIMUM_32(T)                                                   \
  enum { TD_HAS_MINIMUM_##T = 1 };                                         \
  TD_FN float td_minimum_##T(TD_GLOBAL const td_u8 *block, td_i32 group) { \
    (void)group;                                                           \
    return td_load_half(block + 2);                                        \
  }
#define TD_NO_MINIMUM(T)                                                   \
  enum { TD_HAS_MINIMUM_##T = 0 };                                         \
  TD_FN float td_minimum_##T(TD_GLOBAL const td_u8 *block, td_i32 group) { \
    (void)block, (void)group;                                              \
    return 0.0f;                                                           \
  }
TD_SCALE_32(Q8_0)
TD_SCALE_32(Q4_0)
TD_SCALE_32(Q4_1)
TD_SCALE_32(Q5_0)
TD_SCALE_32(Q5_1)
TD_SCALE_32(IQ4_NL)
TD_MINIMUM_32(Q4_1)
TD_MINIMUM_32(Q5_1)
TD_NO_MINIMUM(Q8_0)
TD_NO_MINIMUM(Q4_0)
TD_NO_MINIMUM(Q5_0)
TD_NO_MINIMUM(IQ4_NL)

/* ---- K types: 256 values in 16 groups of 16, or in 8 groups of 32 ---- */

#define TD_BLOCK_ELEMENTS_Q2_K 256
#define TD_BLOCK_BYTES_Q2_K 84 /* 16 scales with minima, 64 bytes of 2 bits, d, dmin */
#define TD_BLOCK_ELEMENTS_Q3_K 256
#define TD_BLOCK_BYTES_Q3_K 110 /* 32 bytes of high bits, 64 of 2 bits, 12 of scales, d */
#define TD_BLOCK_ELEMENTS_Q4_K 256
#define TD_BLOCK_BYTES_Q4_K 144 /* d, dmin, 12 bytes of scales and minima, 128 of nibbles */
#define TD_BLOCK_ELEMENTS_Q5_K 256
#define TD_BLOCK_BYTES_Q5_K 176 /* d, dmin, 12 bytes of scales and minima, 32 of high bits, 128 of nibbles */
#define TD_BLOCK_ELEMENTS_Q6_K 256
#define TD_BLOCK_BYTES_Q6_K 210 /* 128 bytes of low nibbles, 64 of high 2 bits, 16 int8 scales, d */
enum {
  TD_GROUP_ELEMENTS_Q2_K = 16,
  TD_GROUP_ELEMENTS_Q3_K = 16,
  TD_GROUP_ELEMENTS_Q4_K = 32,
  TD_GROUP_ELEMENTS_Q5_K = 32,
  TD_GROUP_ELEMENTS_Q6_K = 16,
  TD_HAS_MINIMUM_Q2_K = 1,
  TD_HAS_MINIMUM_Q4_K = 1,
  TD_HAS_MINIMUM_Q5_K = 1
};
TD_NO_MINIMUM(Q3_K)
TD_NO_MINIMUM(Q6_K)

/* Two bits a value: each half of the block has 32 bytes, whose bit pairs from the lowest are its four quarters. */
TD_FN td_i32 td_two_bits(TD_GLOBAL const td_u8 *bytes, td_i32 i) {
  return bytes[(i >> 7 << 5) + (i & 31)] >> (i >> 4 & 6) & 3;
}
/* Four bits a value: each quarter of the block has 32 bytes, the low nibbles first. */
TD_FN td_i32 td_quarter_nibble(TD_GLOBAL const td_u8 *bytes, td_i32 i) {
  return bytes[(i >> 6 << 5) + (i & 31)] >> (i >> 3 & 4) & 15;
}
/* Bit e of byte l for value 32 e + l. */
TD_FN td_i32 td_high_bit(TD_GLOBAL const td_u8 *bytes, td_i32 i) {
  return bytes[i & 31] >> (i >> 5) & 1;
}

TD_FN td_i32 td_code_Q2_K(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_two_bits(block + 16, i);
}
TD_FN float td_scale_Q2_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return td_load_half(block + 80) * (float)(block[group] & 15);
}
TD_FN float td_minimum_Q2_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return -(td_load_half(block + 82) * (float)(block[group] >> 4));
}

TD_FN td_i32 td_code_Q3_K(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_two_bits(block + 32, i) + (td_high_bit(block, i) << 2) - 4;
}
/* Scales have 6 bits: nibbles of 8 bytes (low ones first), then bit pairs of 4 bytes. */
TD_FN float td_scale_Q3_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  TD_GLOBAL const td_u8 *scales = block + 96;
  td_i32 low = scales[group & 7] >> (group >> 3 << 2) & 15, high = scales[8 + (group & 3)] >> (group >> 2 << 1) & 3;
  return td_load_half(block + 108) * (float)((low | high << 4) - 32);
}

/* Q4_K and Q5_K: 8 scales and 8 minima of 6 bits. The first four of each are the low bits of bytes 0..3 and 4..7; the
 * others have their low four bits in bytes 8..11 and their high two on top of those. */
TD_FN td_i32 td_scale_bits(TD_GLOBAL const td_u8 *bytes, td_i32 group) {
  return group < 4 ? bytes[group] & 63 : (bytes[group + 4] & 15) | bytes[group - 4] >> 6 << 4;
}
TD_FN td_i32 td_minimum_bits(TD_GLOBAL const td_u8 *bytes, td_i32 group) {
  return group < 4 ? bytes[group + 4] & 63 : bytes[group + 4] >> 4 | bytes[group] >> 6 << 4;
}
TD_FN float td_scale_Q4_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return td_load_half(block) * (float)td_scale_bits(block + 4, group);
}
TD_FN float td_minimum_Q4_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return -(td_load_half(block + 2) * (float)td_minimum_bits(block + 4, group));
}
TD_FN float td_scale_Q5_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return td_scale_Q4_K(block, group);
}
TD_FN float td_minimum_Q5_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return td_minimum_Q4_K(block, group);
}
TD_FN td_i32 td_code_Q4_K(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_quarter_nibble(block + 16, i);
}
TD_FN td_i32 td_code_Q5_K(TD_GLOBAL const td_u8 *block, td_i32 i) {
  return td_quarter_nibble(block + 48, i) | td_high_bit(block + 16, i) << 4;
}

/* Low nibbles: each half of the block has 64 bytes, low nibbles first; high pairs lie as td_two_bits says. */
TD_FN td_i32 td_code_Q6_K(TD_GLOBAL const td_u8 *block, td_i32 i) {
  td_i32 low = block[(i >> 7 << 6) + (i & 63)] >> (i >> 4 & 4) & 15;
  return (low | td_two_bits(block + 128, i) << 4) - 32;
}
TD_FN float td_scale_Q6_K(TD_GLOBAL const td_u8 *block, td_i32 group) {
  return td_load_half(block + 208) * (float)(td_i8)block[192 + group];
}

#undef TD_SCALE_32
#undef TD_MINIMUM_32
#undef TD_NO_MINIMUM

/* ---- values ---- */

#define TD_VALUE(T)                                                               \
  TD_FN float td_value_##T(TD_GLOBAL const td_u8 *block, td_i32 i) {              \
    td_i32 group = i / TD_GROUP_ELEMENTS_##T;                                     \
    float product = td_scale_##T(block, group) * (float)td_code_##T(block, i);    \
    return TD_HAS_MINIMUM_##T ? product + td_minimum_##T(block, group) : product; \
  }
TD_QUANTISED_TYPES(TD_VALUE)
#undef TD_VALUE

/* ---- the values of a group: the byte's index is all that changes inside of a loop, so that compilers use vectors ----
 */

TD_FN void td_values_Q8_0(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  float scale = td_scale_Q8_0(block, group);
  for (td_i32 i = 0; i < 32; i++) out[i] = scale * (float)(td_i8)block[2 + i];
}
TD_FN void td_values_Q4_0(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + 2;
  float scale = td_scale_Q4_0(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)((q[i] & 15) - 8);
  for (td_i32 i = 0; i < 16; i++) out[16 + i] = scale * (float)((q[i] >> 4) - 8);
}
TD_FN void td_values_Q4_1(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + 4;
  float scale = td_scale_Q4_1(block, group), minimum = td_minimum_Q4_1(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)(q[i] & 15) + minimum;
  for (td_i32 i = 0; i < 16; i++) out[16 + i] = scale * (float)(q[i] >> 4) + minimum;
}
TD_FN void td_values_Q5_0(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + 6;
  td_u32 fifth = td_load_u32(block + 2);
  float scale = td_scale_Q5_0(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)((td_i32)((q[i] & 15u) | (fifth >> i & 1u) << 4) - 16);
  fifth >>= 16;
  for (td_i32 i = 0; i < 16; i++) out[16 + i] = scale * (float)((td_i32)(q[i] >> 4 | (fifth >> i & 1u) << 4) - 16);
}
TD_FN void td_values_Q5_1(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + 8;
  td_u32 fifth = td_load_u32(block + 4);
  float scale = td_scale_Q5_1(block, group), minimum = td_minimum_Q5_1(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)(td_i32)((q[i] & 15u) | (fifth >> i & 1u) << 4) + minimum;
  fifth >>= 16;
  for (td_i32 i = 0; i < 16; i++) out[16 + i] = scale * (float)(td_i32)(q[i] >> 4 | (fifth >> i & 1u) << 4) + minimum;
}
TD_FN void td_values_IQ4_NL(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  float scale = td_scale_IQ4_NL(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)td_level_of(block[2 + i] & 15);
  for (td_i32 i = 0; i < 16; i++) out[16 + i] = scale * (float)td_level_of(block[2 + i] >> 4);
}
TD_FN void td_values_Q2_K(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + 16 + (group >> 3 << 5) + (group & 1) * 16;
  td_i32 shift = group & 6;
  float scale = td_scale_Q2_K(block, group), minimum = td_minimum_Q2_K(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)(q[i] >> shift & 3) + minimum;
}
TD_FN void td_values_Q3_K(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *high = block + (group & 1) * 16, *q = high + 32 + (group >> 3 << 5);
  td_i32 shift = group & 6, bit = group >> 1;
  float scale = td_scale_Q3_K(block, group);
  for (td_i32 i = 0; i < 16; i++) out[i] = scale * (float)((q[i] >> shift & 3) + ((high[i] >> bit & 1) << 2) - 4);
}
TD_FN void td_values_Q4_K(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + 16 + (group >> 1 << 5);
  td_i32 shift = (group & 1) << 2;
  float scale = td_scale_Q4_K(block, group), minimum = td_minimum_Q4_K(block, group);
  for (td_i32 i = 0; i < 32; i++) out[i] = scale * (float)(q[i] >> shift & 15) + minimum;
}
TD_FN void td_values_Q5_K(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *high = block + 16, *q = high + 32 + (group >> 1 << 5);
  td_i32 shift = (group & 1) << 2;
  float scale = td_scale_Q5_K(block, group), minimum = td_minimum_Q5_K(block, group);
  for (td_i32 i = 0; i < 32; i++) {
    out[i] = scale * (float)((q[i] >> shift & 15) | (high[i] >> group & 1) << 4) + minimum;
  }
}
TD_FN void td_values_Q6_K(TD_GLOBAL const td_u8 *block, td_i32 group, float *TD_RESTRICT out) {
  TD_GLOBAL const td_u8 *q = block + (group >> 3 << 6) + (group & 3) * 16;
  TD_GLOBAL const td_u8 *high = block + 128 + (group >> 3 << 5) + (group & 1) * 16;
  td_i32 shift = group & 4, pair = group & 6;
  float scale = td_scale_Q6_K(block, group);
  for (td_i32 i = 0; i < 16; i++) {
    out[i] = scale * (float)(((q[i] >> shift & 15) | (high[i] >> pair & 3) << 4) - 32);
  }
}

#endif
