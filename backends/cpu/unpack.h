/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks of every type to integers, scales and minima, included by loops.h once per instruction set. Twins of the
 * formulas in tandem/blocks.h whose loops run along the bytes, so that compilers make vectors of them; what each block
 * holds is told there. A piece is up to CPU_PIECE values of a row, in whole blocks.
 */

/* ---- 32 values with one scale ---- */

#define UNPACK_32(type, minimum_, CODES)                                                                               \
  LOOPS_TARGET static void LOOPS(unpack_##type)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece) { \
    for (int64_t b = 0; b < blocks && b < CPU_PIECE / 32; b++, block += TD_BLOCK_BYTES_##type) {                       \
      piece->scale[b] = LOOPS_HALF(block);                                                                             \
      if (minimum_) piece->minimum[b] = LOOPS_HALF(block + 2);                                                         \
      CODES;                                                                                                           \
    }                                                                                                                  \
  }
UNPACK_32(Q8_0, false, memcpy(piece->q + 32 * b, block + 2, 32))
UNPACK_32(Q4_0, false, LOOPS_FOUR(block + 2, 8, piece->q + 32 * b))
UNPACK_32(Q4_1, true, LOOPS_FOUR(block + 4, 0, piece->q + 32 * b))
UNPACK_32(Q5_0, false, LOOPS_FIVE(block + 6, block + 2, 16, piece->q + 32 * b))
UNPACK_32(Q5_1, true, LOOPS_FIVE(block + 8, block + 4, 0, piece->q + 32 * b))
UNPACK_32(IQ4_NL, false, LOOPS_LEVELS(block + 2, piece->q + 32 * b))
#undef UNPACK_32

/* ---- K types: one block is one piece ---- */

/* 32 bytes at once, shifted as pairs: what a shift brings in from the neighbour is masked off. */
INLINE void LOOPS(get32)(const unsigned char *from, cpu_pairs *to) {
  memcpy(to, from, sizeof *to);
}

/* Codes, less an offset. */
INLINE void LOOPS(put32)(const cpu_pairs *codes, const int offset, int8_t *to) {
  cpu_codes q = (cpu_codes)*codes - (int8_t)offset;
  memcpy(to, &q, sizeof q);
}

/* Bit `bit` of each byte, moved to `place`. */
INLINE void LOOPS(move_bit)(const cpu_pairs *from, const int bit, const int place, cpu_pairs *to) {
  *to = (bit < place ? *from << (place - bit) : *from >> (bit - place)) & (uint16_t)(0x0101 << place);
}

/* Sixteen bytes, each times `factor`, less `offset` before. They are stored as one vector, not piece by piece: a load
 * of more than a store wrote would wait for it. */
INLINE void LOOPS(scales)(const cpu_words *words, const int offset, float factor, float *out) {
  int8_t bytes[16];
  memcpy(bytes, words, sizeof bytes);
  for (int p = 0; p < PARTS; p++) {
    VECTOR value = (LOOPS_BYTES(bytes + p * LOOPS_WIDTH) - (float)offset) * factor;
    memcpy(out + p * LOOPS_WIDTH, &value, sizeof value);
  }
}

LOOPS_TARGET static void LOOPS(unpack_Q2_K)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece) {
  (void)blocks;
  cpu_words both, low, high;
  memcpy(&both, block, sizeof both);
  low = both & 0x0f0f0f0fu;
  high = both >> 4 & 0x0f0f0f0fu;
  LOOPS(scales)(&low, 0, LOOPS_HALF(block + 80), piece->scale);
  LOOPS(scales)(&high, 0, -LOOPS_HALF(block + 82), piece->minimum);
  for (int half = 0; half < 2; half++) {
    cpu_pairs bits, two;
    LOOPS(get32)(block + 16 + 32 * half, &bits);
    for (int pair = 0; pair < 4; pair++) {
      two = bits >> (2 * pair) & 0x0303;
      LOOPS(put32)(&two, 0, piece->q + 128 * half + 32 * pair);
    }
  }
}

LOOPS_TARGET static void LOOPS(unpack_Q3_K)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece) {
  (void)blocks;
  uint32_t words[3];
  cpu_pairs top, bits, two, third;
  memcpy(words, block + 96, sizeof words);
  cpu_words low = {words[0], words[1], words[0] >> 4, words[1] >> 4};
  cpu_words high = {words[2], words[2] >> 2, words[2] >> 4, words[2] >> 6};
  cpu_words codes = (low & 0x0f0f0f0fu) | (high & 0x03030303u) << 4;
  LOOPS(scales)(&codes, 32, LOOPS_HALF(block + 108), piece->scale);
  LOOPS(get32)(block, &top);
  for (int half = 0; half < 2; half++) {
    LOOPS(get32)(block + 32 + 32 * half, &bits);
    for (int pair = 0; pair < 4; pair++) {
      LOOPS(move_bit)(&top, 4 * half + pair, 2, &third);
      two = (bits >> (2 * pair) & 0x0303) | third;
      LOOPS(put32)(&two, 4, piece->q + 128 * half + 32 * pair);
    }
  }
}

/* The eight scales and eight minima of Q4_K and Q5_K, four bytes at a time. */
INLINE void LOOPS(k_scales)(const unsigned char *block, struct cpu_piece *piece) {
  uint32_t words[3];
  memcpy(words, block + 4, sizeof words);
  cpu_words scales = {words[0] & 0x3f3f3f3fu, (words[2] & 0x0f0f0f0fu) | (words[0] >> 6 & 0x03030303u) << 4};
  cpu_words minima = {words[1] & 0x3f3f3f3fu, (words[2] >> 4 & 0x0f0f0f0fu) | (words[1] >> 6 & 0x03030303u) << 4};
  LOOPS(scales)(&scales, 0, LOOPS_HALF(block), piece->scale);
  LOOPS(scales)(&minima, 0, -LOOPS_HALF(block + 2), piece->minimum);
}

LOOPS_TARGET static void LOOPS(unpack_Q4_K)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece) {
  (void)blocks;
  LOOPS(k_scales)(block, piece);
  for (int quarter = 0; quarter < 4; quarter++) {
    cpu_pairs both, low, high;
    LOOPS(get32)(block + 16 + 32 * quarter, &both);
    low = both & 0x0f0f;
    high = both >> 4 & 0x0f0f;
    LOOPS(put32)(&low, 0, piece->q + 64 * quarter);
    LOOPS(put32)(&high, 0, piece->q + 64 * quarter + 32);
  }
}

LOOPS_TARGET static void LOOPS(unpack_Q5_K)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece) {
  (void)blocks;
  cpu_pairs top, both, low, high, fifth;
  LOOPS(k_scales)(block, piece);
  LOOPS(get32)(block + 16, &top);
  for (int quarter = 0; quarter < 4; quarter++) {
    LOOPS(get32)(block + 48 + 32 * quarter, &both);
    LOOPS(move_bit)(&top, 2 * quarter, 4, &fifth);
    low = (both & 0x0f0f) | fifth;
    LOOPS(move_bit)(&top, 2 * quarter + 1, 4, &fifth);
    high = (both >> 4 & 0x0f0f) | fifth;
    LOOPS(put32)(&low, 0, piece->q + 64 * quarter);
    LOOPS(put32)(&high, 0, piece->q + 64 * quarter + 32);
  }
}

LOOPS_TARGET static void LOOPS(unpack_Q6_K)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece) {
  (void)blocks;
  cpu_words scales;
  memcpy(&scales, block + 192, sizeof scales);
  LOOPS(scales)(&scales, 0, LOOPS_HALF(block + 208), piece->scale);
  for (int half = 0; half < 2; half++) {
    cpu_pairs low[2], top, six;
    LOOPS(get32)(block + 64 * half, &low[0]);
    LOOPS(get32)(block + 64 * half + 32, &low[1]);
    LOOPS(get32)(block + 128 + 32 * half, &top);
    for (int pair = 0; pair < 4; pair++) {
      six = low[pair % 2] >> (pair / 2 * 4) & 0x0f0f;
      six |= (pair < 2 ? top << (4 - 2 * pair) : top >> (2 * pair - 4)) & 0x3030;
      LOOPS(put32)(&six, 32, piece->q + 128 * half + 32 * pair);
    }
  }
}

typedef void LOOPS(unpacker)(const unsigned char *block, int64_t blocks, struct cpu_piece *piece);

/* NULL: the type's values are floats already. */
static LOOPS(unpacker) * LOOPS(unpacker_of)(enum td_dtype dtype) {
  switch (dtype) {
#define ROW(type) \
  case TD_##type: \
    return LOOPS(unpack_##type);
    TD_QUANTISED_TYPES(ROW)
#undef ROW
    default:
      return NULL;
  }
}
