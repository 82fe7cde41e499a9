/* SPDX-License-Identifier: Apache-2.0
 *
 * Sixteen values of a weight row at a time, WEIGHT = the type's name in blocks.h. The scalar meaning of every layout is
 * td_value_T there; these are its twins for vectors: a 16-aligned stretch shares a scale in every type, and its codes
 * lie in sixteen consecutive bytes.
 */
#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define OF_WEIGHT(name) PASTE(name, WEIGHT)

/* Sixteen bytes, in lanes as wide as the floats they become: vector units shift those, and not bytes. */
#define BYTES16(at) convert_int16(vload16(0, (at)))

/* The fifth bits of values i .. i + 15. */
static inline int16 fifth_bits(__global const uchar *bits, int i) {
  const int16 lane = (int16)(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
  int both = td_load_u16(bits + (i >> 3));
  return ((int16)(both) >> lane & 1) << 4;
}
static inline int16 nibbles(__global const uchar *at, int i) {
  return BYTES16(at) >> (i >> 2 & 4) & 15;
}

#define codes_Q8_0(block, i) convert_int16(vload16(0, (__global const char *)(block) + 2 + (i)))
#define codes_Q4_0(block, i) (nibbles((block) + 2, i) - 8)
#define codes_Q4_1(block, i) nibbles((block) + 4, i)
#define codes_Q5_0(block, i) ((nibbles((block) + 6, i) | fifth_bits((block) + 2, i)) - 16)
#define codes_Q5_1(block, i) (nibbles((block) + 8, i) | fifth_bits((block) + 4, i))

/* td_level_of: a table of sixteen bytes, the lowest first. */
static inline int16 codes_IQ4_NL(__global const uchar *block, int i) {
  int16 index = nibbles(block + 2, i);
  uint16 shift = as_uint16((index & 3) << 3);
  uint16 low = (index & 4) == 0 ? (uint16)(0xbfad9881u) : (uint16)(0xf6eaddcfu);
  uint16 high = (index & 4) == 0 ? (uint16)(0x26190d01u) : (uint16)(0x71594535u);
  uint16 word = (index & 8) == 0 ? low : high;
  return as_int16(word >> shift << 24) >> 24;
}

static inline int16 two_bits(__global const uchar *bytes, int i) {
  return BYTES16(bytes + (i >> 7 << 5) + (i & 16)) >> (i >> 4 & 6) & 3;
}
static inline int16 quarter_nibbles(__global const uchar *bytes, int i) {
  return BYTES16(bytes + (i >> 6 << 5) + (i & 16)) >> (i >> 3 & 4) & 15;
}
static inline int16 high_bits(__global const uchar *bytes, int i) {
  return BYTES16(bytes + (i & 16)) >> (i >> 5) & 1;
}
static inline int16 low_nibbles(__global const uchar *block, int i) {
  return BYTES16(block + (i >> 7 << 6) + (i & 48)) >> (i >> 4 & 4) & 15;
}
#define codes_Q2_K(block, i) two_bits((block) + 16, i)
#define codes_Q3_K(block, i) ((two_bits((block) + 32, i) | high_bits(block, i) << 2) - 4)
#define codes_Q4_K(block, i) quarter_nibbles((block) + 16, i)
#define codes_Q5_K(block, i) (quarter_nibbles((block) + 48, i) | high_bits((block) + 16, i) << 4)
#define codes_Q6_K(block, i) ((low_nibbles(block, i) | two_bits((block) + 128, i) << 4) - 32)

#define fetch_F32(row, i) vload16(0, (__global const float *)(row) + (i))
#define fetch_F16(row, i) vload_half16(0, (__global const half *)(row) + (i))
#define fetch_BF16(row, i) as_float16(convert_uint16(vload16(0, (__global const ushort *)(row) + (i))) << 16)

#if WEIGHT_BLOCK > 1
/* Values i .. i + 15 of a block, i a multiple of 16. */
static inline float16 scaled(__global const uchar *block, int i, int group) {
  float16 product = convert_float16(OF_WEIGHT(codes_)(block, i)) * OF_WEIGHT(td_scale_)(block, group);
  return OF_WEIGHT(TD_HAS_MINIMUM_) ? product + OF_WEIGHT(td_minimum_)(block, group) : product;
}
/* Values i .. i + 15 of a row. */
static inline float16 fetch(__global const uchar *row, int i) {
  __global const uchar *block = row + (long)(i / WEIGHT_BLOCK) * OF_WEIGHT(TD_BLOCK_BYTES_);
  int at = i % WEIGHT_BLOCK;
  return scaled(block, at, at / OF_WEIGHT(TD_GROUP_ELEMENTS_));
}
/* Values i .. i + 31 of a block, i a multiple of 32: written so that one look at a scale serves all it can. */
static inline void block_pair(__global const uchar *block, int i, float16 *first, float16 *second) {
  int group = i / OF_WEIGHT(TD_GROUP_ELEMENTS_);
  *first = scaled(block, i, group);
  *second = scaled(block, i + 16, OF_WEIGHT(TD_GROUP_ELEMENTS_) == 16 ? group + 1 : group);
}
#else
static inline float16 fetch(__global const uchar *row, int i) {
  return OF_WEIGHT(fetch_)(row, i);
}
/* The last left < 16 values, then zeros. */
static inline float16 fetch_last(__global const uchar *row, int i, int left) {
  float values[16] = {0};
  for (int j = 0; j < left; j++) values[j] = OF_WEIGHT(td_value_)(row, i + j);
  return vload16(0, values);
}
#endif

static inline long row_bytes(int k) {
  return (long)(k / WEIGHT_BLOCK) * OF_WEIGHT(TD_BLOCK_BYTES_);
}

/* Item: (sixteen columns, row). rows: which row of the weight; every type by its scalar meaning. */
__kernel ONE_ALONE void embed(BUFFER(weight), BUFFER(rows), OUTPUT(out), int n, float scale) {
  long to = get_global_id(1) * (long)n;
  int begin = get_global_id(0) * 16, end = min(n, begin + 16);
  __global const uchar *row = BYTES(weight) + INTS(rows)[get_global_id(1)] * row_bytes(n);
  for (int i = begin; i < end; i++) {
    float value = OF_WEIGHT(td_value_)(row + i / WEIGHT_BLOCK * (long)OF_WEIGHT(TD_BLOCK_BYTES_), i % WEIGHT_BLOCK);
    FLOATS_OUT(out)[to + i] = value * scale;
  }
}

/* ---- which rows of in go with which rows of a weight, for plain and for expert products alike ---- */

/* used 0: row i of in. Else i is a (row, slot) pair: slot's part of its row. */
static inline __global const float *input_of(__global const float *in, int i, int in_cols, int k, int used) {
  if (used == 0) return in + (long)i * in_cols;
  return in + (i / used) * (long)in_cols + td_expert_input(i % used, in_cols, k);
}
