/* SPDX-License-Identifier: Apache-2.0
 *
 * How a warp reads a weight row: a twin of blocks.h for the hot loops. In step s, lane l of 32 takes the elements
 * X::index(s, l, run) .. + 3 of each of its RUNS runs. That, and the order of runs, is a type's order of summation in
 * every product (products.cuh): lanes never meet before the end.
 *
 *   STEP    elements that a warp takes in a step     BLOCK, BYTES  of a stored block
 *   RUNS    runs of four elements per lane and step  GROUP         runs that share a scale
 *   UNROLL  steps whose loads are under way together, for one row
 *   raw     what a lane loads of one row in a step; load() wants rows aligned to ALIGN bytes
 *   codes() the run's four codes, exact in float32; scale(), minimum() of a group, as blocks.h has them
 *
 * Codes become floats without conversions, which are slow: or-ed into the mantissa of 2^23, which is then taken off.
 */
#ifndef CUDA_WEIGHTS_CUH
#define CUDA_WEIGHTS_CUH

#include "language.cuh"

constexpr unsigned two_23_bits = 0x4b000000u;
constexpr float two_23 = 8388608.0f;

/* Byte i of a word, less `offset`. */
CUDA_FN float byte_code(unsigned word, int i, float offset) {
  return __uint_as_float(__byte_perm(word, two_23_bits, 0x7440u + static_cast<unsigned>(i))) - (two_23 + offset);
}
CUDA_FN void byte_codes(unsigned word, float offset, float out[4]) {
  CUDA_UNROLL
  for (int i = 0; i < 4; i++) out[i] = byte_code(word, i, offset);
}
/* Low or high nibbles of four bytes. */
CUDA_FN unsigned nibbles(unsigned word, int high) {
  return (high ? word >> 4 : word) & 0x0f0f0f0fu;
}
/* Bit pairs of four bytes. */
CUDA_FN unsigned bit_pairs(unsigned word, int shift) {
  return word >> shift & 0x03030303u;
}
/* Bit i of the low four becomes bit `to` of byte i. */
CUDA_FN unsigned spread_bits(unsigned bits, int to) {
  unsigned spread = (bits & 1u) | (bits & 2u) << 7 | (bits & 4u) << 14 | (bits & 8u) << 21;
  return spread << to;
}

/* ---- plain types: no scale ---- */

struct weights_plain {
  static constexpr int BLOCK = 1, GROUP = 1, ALIGN = 16, UNROLL = 2;
  static constexpr bool SCALED = false, MINIMUM = false;
};

struct weights_F32 : weights_plain {
  static constexpr int BYTES = 4, RUNS = 1, STEP = 128;
  struct raw {
    uint4 words;
  };
  CUDA_FN int64_t index(int64_t step, int lane, int) { return step * STEP + lane * 4; }
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    to.words = load_streamed_16(row + (step * STEP + lane * 4) * BYTES);
  }
  CUDA_FN void codes(const struct raw &from, int, int, float out[4]) {
    out[0] = __uint_as_float(from.words.x);
    out[1] = __uint_as_float(from.words.y);
    out[2] = __uint_as_float(from.words.z);
    out[3] = __uint_as_float(from.words.w);
  }
};

struct weights_16_bits : weights_plain {
  static constexpr int BYTES = 2, RUNS = 2, STEP = 256;
  struct raw {
    uint4 words;
  };
  CUDA_FN int64_t index(int64_t step, int lane, int run) { return step * STEP + lane * 8 + run * 4; }
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    to.words = load_streamed_16(row + (step * STEP + lane * 8) * BYTES);
  }
};
struct weights_F16 : weights_16_bits {
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    unsigned first = run ? from.words.z : from.words.x, second = run ? from.words.w : from.words.y;
    out[0] = low_half(first);
    out[1] = high_half(first);
    out[2] = low_half(second);
    out[3] = high_half(second);
  }
};
struct weights_BF16 : weights_16_bits {
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    unsigned first = run ? from.words.z : from.words.x, second = run ? from.words.w : from.words.y;
    out[0] = __uint_as_float(first << 16);
    out[1] = __uint_as_float(first & 0xffff0000u);
    out[2] = __uint_as_float(second << 16);
    out[3] = __uint_as_float(second & 0xffff0000u);
  }
};

/* ---- blocks of 32 ---- */

/* Eight lanes to a block, a run each. */
struct weights_Q8_0 {
  static constexpr int BLOCK = 32, BYTES = 34, RUNS = 1, GROUP = 1, STEP = 128, ALIGN = 2, UNROLL = 4;
  static constexpr bool SCALED = true, MINIMUM = false;
  struct raw {
    unsigned d, words;
  };
  CUDA_FN int64_t index(int64_t step, int lane, int) { return step * STEP + lane * 4; }
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + (step * 4 + lane / 8) * BYTES;
    to.d = load_shared_2(block);
    to.words = load_shared_2x2(block + 2 + lane % 8 * 4);
  }
  CUDA_FN void codes(const struct raw &from, int, int, float out[4]) {
    byte_codes(from.words ^ 0x80808080u, 128.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int, int) { return half_to_float(from.d); }
};

/* Four lanes to a block: four bytes of nibbles are four elements of its first half and four of its second. */
struct weights_nibbles {
  static constexpr int BLOCK = 32, RUNS = 2, GROUP = 2, STEP = 256, UNROLL = 4;
  static constexpr bool SCALED = true;
  CUDA_FN int64_t index(int64_t step, int lane, int run) {
    return step * STEP + lane / 4 * 32 + run * 16 + lane % 4 * 4;
  }
};
struct weights_Q4_0 : weights_nibbles {
  static constexpr int BYTES = 18, ALIGN = 2;
  static constexpr bool MINIMUM = false;
  struct raw {
    unsigned d, words;
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + (step * 8 + lane / 4) * BYTES;
    to.d = load_shared_2(block);
    to.words = load_shared_2x2(block + 2 + lane % 4 * 4);
  }
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    byte_codes(nibbles(from.words, run), 8.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int, int) { return half_to_float(from.d); }
};
struct weights_IQ4_NL : weights_Q4_0 {
  /* Levels of td_level_of plus 128, four to a word; nibble i of `low` or `high` picks the byte, its top bit the half.
   */
  CUDA_FN unsigned levels(unsigned nibbles_of_bytes) {
    unsigned pair = nibbles_of_bytes | nibbles_of_bytes >> 4; /* nibbles 0, 1 and 2, 3 in bytes 0 and 2 */
    unsigned picks = (pair & 0xffu) | (pair >> 8 & 0xff00u);
    unsigned small = __byte_perm(0x3f2d1801u, 0x766a5d4fu, picks & 0x7777u);
    unsigned large = __byte_perm(0xa6998d81u, 0xf1d9c5b5u, picks & 0x7777u);
    return __byte_perm(small, large, 0x3210u | (picks & 0x8888u) >> 1);
  }
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    byte_codes(levels(nibbles(from.words, run)), 128.0f, out);
  }
};
struct weights_Q4_1 : weights_nibbles {
  static constexpr int BYTES = 20, ALIGN = 4;
  static constexpr bool MINIMUM = true;
  struct raw {
    unsigned dm, words;
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + (step * 8 + lane / 4) * BYTES;
    to.dm = load_shared_4(block);
    to.words = load_shared_4(block + 4 + lane % 4 * 4);
  }
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    byte_codes(nibbles(from.words, run), 0.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int, int) { return low_half(from.dm); }
  CUDA_FN float minimum(const struct raw &from, int, int) { return high_half(from.dm); }
};
struct weights_Q5_0 : weights_nibbles {
  static constexpr int BYTES = 22, ALIGN = 2;
  static constexpr bool MINIMUM = false;
  struct raw {
    unsigned d, fifth, words;
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + (step * 8 + lane / 4) * BYTES;
    to.d = load_shared_2(block);
    to.fifth = load_shared_2x2(block + 2);
    to.words = load_shared_2x2(block + 6 + lane % 4 * 4);
  }
  CUDA_FN void codes(const struct raw &from, int run, int lane, float out[4]) {
    unsigned bits = spread_bits(from.fifth >> (run * 16 + lane % 4 * 4), 4);
    byte_codes(nibbles(from.words, run) | bits, 16.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int, int) { return half_to_float(from.d); }
};
struct weights_Q5_1 : weights_nibbles {
  static constexpr int BYTES = 24, ALIGN = 4;
  static constexpr bool MINIMUM = true;
  struct raw {
    unsigned dm, fifth, words;
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + (step * 8 + lane / 4) * BYTES;
    to.dm = load_shared_4(block);
    to.fifth = load_shared_4(block + 4);
    to.words = load_shared_4(block + 8 + lane % 4 * 4);
  }
  CUDA_FN void codes(const struct raw &from, int run, int lane, float out[4]) {
    unsigned bits = spread_bits(from.fifth >> (run * 16 + lane % 4 * 4), 4);
    byte_codes(nibbles(from.words, run) | bits, 0.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int, int) { return low_half(from.dm); }
  CUDA_FN float minimum(const struct raw &from, int, int) { return high_half(from.dm); }
};

/* ---- K types: sixteen lanes to a block of 256, four runs each ---- */

struct weights_K {
  static constexpr int BLOCK = 256, RUNS = 4, STEP = 512;
  static constexpr bool SCALED = true;
  CUDA_FN int64_t block_of(int64_t step, int lane) { return step * 2 + lane / 16; }
};

/* Quarters of a block: 32 bytes whose low nibbles are 32 elements of one group, the high ones of the next. A lane has
 * eight bytes: two runs of the first group, two of the second. */
struct weights_quarters : weights_K {
  static constexpr int GROUP = 2, ALIGN = 16, UNROLL = 2;
  static constexpr bool MINIMUM = true;
  CUDA_FN int64_t index(int64_t step, int lane, int run) {
    return step * STEP + lane / 4 * 64 + run / 2 * 32 + lane % 4 * 8 + run % 2 * 4;
  }
  /* The header's words: d and dmin, then twelve bytes of scales (td_scale_bits, td_minimum_bits). Of the two groups of
   * this lane's quarter, in bytes 0 and 1. */
  CUDA_FN unsigned two_scales(const uint4 &header, int lane) {
    int quarter = lane / 4 % 4, shift = quarter % 2 * 16;
    unsigned low = quarter < 2 ? header.y >> shift & 0x3f3fu : header.w >> shift & 0x0f0fu;
    return low | (quarter < 2 ? 0u : header.y >> (shift + 2) & 0x3030u);
  }
  CUDA_FN unsigned two_minima(const uint4 &header, int lane) {
    int quarter = lane / 4 % 4, shift = quarter % 2 * 16;
    unsigned low = quarter < 2 ? header.z >> shift & 0x3f3fu : header.w >> (shift + 4) & 0x0f0fu;
    return low | (quarter < 2 ? 0u : header.z >> (shift + 2) & 0x3030u);
  }
  CUDA_FN float scale_of(const uint4 &header, int group, int lane) {
    return low_half(header.x) * byte_code(two_scales(header, lane), group, 0.0f);
  }
  CUDA_FN float minimum_of(const uint4 &header, int group, int lane) {
    return -(high_half(header.x) * byte_code(two_minima(header, lane), group, 0.0f));
  }
};
struct weights_Q4_K : weights_quarters {
  static constexpr int BYTES = 144;
  struct raw {
    uint4 header;
    uint2 words;
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + block_of(step, lane) * BYTES;
    to.header = load_shared_16(block);
    to.words = load_streamed_8(block + 16 + lane % 16 * 8);
  }
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    byte_codes(nibbles(run % 2 ? from.words.y : from.words.x, run / 2), 0.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int group, int lane) { return scale_of(from.header, group, lane); }
  CUDA_FN float minimum(const struct raw &from, int group, int lane) { return minimum_of(from.header, group, lane); }
};
struct weights_Q5_K : weights_quarters {
  static constexpr int BYTES = 176;
  struct raw {
    uint4 header;
    uint2 fifth, words;
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + block_of(step, lane) * BYTES;
    to.header = load_shared_16(block);
    to.fifth = load_streamed_8(block + 16 + lane % 4 * 8);
    to.words = load_streamed_8(block + 48 + lane % 16 * 8);
  }
  CUDA_FN void codes(const struct raw &from, int run, int lane, float out[4]) {
    unsigned fifth = (run % 2 ? from.fifth.y : from.fifth.x) >> (lane / 4 % 4 * 2 + run / 2) & 0x01010101u;
    byte_codes(nibbles(run % 2 ? from.words.y : from.words.x, run / 2) | fifth << 4, 0.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int group, int lane) { return scale_of(from.header, group, lane); }
  CUDA_FN float minimum(const struct raw &from, int group, int lane) { return minimum_of(from.header, group, lane); }
};

/* Halves of a block: 32 bytes of bit pairs, of which a lane has four: a run of each of the half's four quarters. */
struct weights_halves : weights_K {
  static constexpr int GROUP = 1, UNROLL = 1;
  CUDA_FN int64_t index(int64_t step, int lane, int run) {
    return step * STEP + lane / 8 * 128 + run * 32 + lane % 8 * 4;
  }
  /* The block's group of this run. */
  CUDA_FN int group_of(int run, int lane) { return lane / 8 % 2 * 8 + run * 2 + lane % 8 / 4; }
};
struct weights_Q2_K : weights_halves {
  static constexpr int BYTES = 84, ALIGN = 4;
  static constexpr bool MINIMUM = true;
  struct raw {
    unsigned dm, words;
    uint2 scales; /* of the half's eight groups */
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + block_of(step, lane) * BYTES;
    to.scales.x = load_shared_4(block + lane / 8 % 2 * 8);
    to.scales.y = load_shared_4(block + lane / 8 % 2 * 8 + 4);
    to.words = load_shared_4(block + 16 + lane % 16 * 4);
    to.dm = load_shared_4(block + 80);
  }
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    byte_codes(bit_pairs(from.words, run * 2), 0.0f, out);
  }
  CUDA_FN unsigned scale_byte(const struct raw &from, int run, int lane) {
    return (run / 2 ? from.scales.y : from.scales.x) >> (run % 2 * 16 + lane % 8 / 4 * 8);
  }
  CUDA_FN float scale(const struct raw &from, int run, int lane) {
    return low_half(from.dm) * byte_code(scale_byte(from, run, lane) & 15u, 0, 0.0f);
  }
  CUDA_FN float minimum(const struct raw &from, int run, int lane) {
    return -(high_half(from.dm) * byte_code(scale_byte(from, run, lane) >> 4 & 15u, 0, 0.0f));
  }
};
struct weights_Q3_K : weights_halves {
  static constexpr int BYTES = 110, ALIGN = 2;
  static constexpr bool MINIMUM = false;
  struct raw {
    unsigned d, high, words;
    unsigned low_scales, high_scales; /* bytes: of each run's group, as stored */
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + block_of(step, lane) * BYTES;
    int half = lane / 8 % 2, odd = lane % 8 / 4;
    to.high = load_shared_2x2(block + lane % 8 * 4);
    to.words = load_shared_2x2(block + 32 + lane % 16 * 4);
    /* Groups 8 half + 2 run + odd: the low nibbles of bytes 2 run + odd, or the high ones; bit pairs `half * 2` and up
     * of bytes 8 + (2 run + odd) % 4. */
    unsigned first = load_shared_2x2(block + 96), second = load_shared_2x2(block + 100);
    to.low_scales = __byte_perm(first, second, odd ? 0x7531u : 0x6420u) >> (half * 4) & 0x0f0f0f0fu;
    unsigned pairs = load_shared_2x2(block + 104);
    pairs = __byte_perm(pairs, pairs >> 2, odd ? 0x7531u : 0x6420u);
    to.high_scales = pairs >> (half * 4) & 0x03030303u;
    to.d = load_shared_2(block + 108);
  }
  CUDA_FN void codes(const struct raw &from, int run, int lane, float out[4]) {
    unsigned high = from.high >> (lane / 8 % 2 * 4 + run) & 0x01010101u;
    byte_codes(bit_pairs(from.words, run * 2) | high << 2, 4.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int run, int) {
    return half_to_float(from.d) * byte_code(from.low_scales | from.high_scales << 4, run, 32.0f);
  }
};
struct weights_Q6_K : weights_halves {
  static constexpr int BYTES = 210, ALIGN = 2;
  static constexpr bool MINIMUM = false;
  struct raw {
    unsigned d, high, first, second; /* nibbles of runs 0 and 2, 1 and 3 */
    uint2 scales;                    /* of the half's eight groups */
  };
  CUDA_FN void load(struct raw &to, const td_u8 *row, int64_t step, int lane) {
    const td_u8 *block = row + block_of(step, lane) * BYTES;
    int half = lane / 8 % 2;
    to.first = load_shared_2x2(block + half * 64 + lane % 8 * 4);
    to.second = load_shared_2x2(block + half * 64 + 32 + lane % 8 * 4);
    to.high = load_shared_2x2(block + 128 + lane % 16 * 4);
    to.scales.x = load_shared_2x2(block + 192 + half * 8);
    to.scales.y = load_shared_2x2(block + 196 + half * 8);
    to.d = load_shared_2(block + 208);
  }
  CUDA_FN void codes(const struct raw &from, int run, int, float out[4]) {
    unsigned low = nibbles(run % 2 ? from.second : from.first, run / 2);
    byte_codes(low | bit_pairs(from.high, run * 2) << 4, 32.0f, out);
  }
  CUDA_FN float scale(const struct raw &from, int run, int lane) {
    unsigned byte = (run / 2 ? from.scales.y : from.scales.x) >> (run % 2 * 16 + lane % 8 / 4 * 8);
    return half_to_float(from.d) * byte_code((byte ^ 0x80u) & 0xffu, 0, 128.0f);
  }
};

#endif
