/* SPDX-License-Identifier: Apache-2.0
 *
 * Dequantisation against recorded values, to the bit: a slice of them in the tree, all of them where ../shared is.
 */
#include <hdf5.h>

#include "kernels/stored.h"
#include "tandem/base.h"
#include "tandem/blocks.h"

static void check_block(const struct td_dtype_info *info, const unsigned char *block, const float *want) {
  unsigned char shifted[STORED_MAX + 4]; /* the source needs no alignment */
  float got[STORED_MAX];
  for (size_t shift = 0; shift < 4; shift++) {
    memcpy(shifted + shift, block, (size_t)info->block_bytes);
    td_dequantize(info->dtype, shifted + shift, got, info->block_elements);
    stored_same(info->name, got, want, (size_t)info->block_elements);
  }
}

/* The forms of tandem/blocks.h: one value, and scale, code and minimum by themselves. */
#define CHECK_VALUES(T)                                                                        \
  if (stored->dtype == TD_##T) {                                                               \
    for (td_i32 i = 0; i < TD_BLOCK_ELEMENTS_##T; i++) {                                       \
      td_i32 group = i / TD_GROUP_ELEMENTS_##T;                                                \
      float one = td_value_##T(stored->block, i);                                              \
      float parts = td_scale_##T(stored->block, group) * (float)td_code_##T(stored->block, i); \
      if (TD_HAS_MINIMUM_##T) parts += td_minimum_##T(stored->block, group);                   \
      stored_same(#T, &one, &stored->values[i], 1);                                            \
      stored_same(#T, &parts, &stored->values[i], 1);                                          \
    }                                                                                          \
    return;                                                                                    \
  }
static void check_forms(const struct stored_block *stored) {
  TD_QUANTISED_TYPES(CHECK_VALUES)
  fail();
}

static void test_recorded_slice(void **state) {
  (void)state;
  FILE *file = fopen(test_source("tests/data/kernels/dequant.txt"), "r");
  assert_non_null(file);
  struct stored_block stored;
  int seen[64] = {0};
  while (stored_next(file, &stored)) {
    check_block(td_dtype_info((uint32_t)stored.dtype), stored.block, stored.values);
    check_forms(&stored);
    seen[stored.dtype]++;
  }
  fclose(file);
  for (int t = 0; td_dtype_at(t); t++) {
    int elements = td_dtype_at(t)->block_elements;
    assert_int_equal(seen[td_dtype_at(t)->dtype], elements == 1 ? 0 : elements == 32 ? 8 : 2);
  }
}

static void read_set(hid_t file, const char *group, const char *name, hid_t type, void *out, size_t bytes) {
  char path[32];
  snprintf(path, sizeof path, "%s/%s", group, name);
  hid_t set = H5Dopen2(file, path, H5P_DEFAULT);
  assert_true(set >= 0);
  hid_t space = H5Dget_space(set);
  assert_int_equal((size_t)H5Sget_simple_extent_npoints(space) * H5Tget_size(type), bytes);
  assert_true(H5Dread(set, type, H5S_ALL, H5S_ALL, H5P_DEFAULT, out) >= 0);
  H5Sclose(space);
  H5Dclose(set);
}

static void test_shared_reference(void **state) {
  (void)state;
  const char *path = test_shared("reference/dequant.h5");
  if (!path) {
    printf("SKIPPED: ../shared/reference/dequant.h5 is not here\n");
    skip();
  }
  static const char *const groups[] = {"Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1",  "Q2_K",
                                       "Q3_K", "Q4_K", "Q5_K", "Q6_K", "IQ4_NL"};
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(file >= 0);
  for (size_t t = 0; t < sizeof groups / sizeof groups[0]; t++) {
    static unsigned char blocks[64 * STORED_MAX];
    static float values[64 * STORED_MAX], row[64 * STORED_MAX];
    const struct td_dtype_info *info = td_dtype_find(groups[t]);
    assert_non_null(info);
    size_t bytes = (size_t)info->block_bytes, elements = (size_t)info->block_elements;
    read_set(file, groups[t], "blocks", H5T_NATIVE_UINT8, blocks, 64 * bytes);
    read_set(file, groups[t], "values", H5T_IEEE_F32LE, values, 64 * elements * sizeof *values);
    for (size_t b = 0; b < 64; b++) check_block(info, blocks + b * bytes, values + b * elements);
    td_dequantize(info->dtype, blocks, row, 64 * info->block_elements); /* many blocks in one call */
    stored_same(info->name, row, values, 64 * elements);
  }
  H5Fclose(file);
}

/* Every bit pattern of a block is some block: random bytes expand, and value by value as in one go. */
#define CHECK_RANDOM(T)                                                                                       \
  for (uint64_t b = 0; b < 100; b++) {                                                                        \
    unsigned char block[TD_BLOCK_BYTES_##T];                                                                  \
    float got[TD_BLOCK_ELEMENTS_##T];                                                                         \
    for (size_t i = 0; i < sizeof block; i++) block[i] = (unsigned char)(256 * td_random_unit(b, TD_##T, i)); \
    td_dequantize(TD_##T, block, got, TD_BLOCK_ELEMENTS_##T);                                                 \
    for (td_i32 i = 0; i < TD_BLOCK_ELEMENTS_##T; i++) {                                                      \
      float want = td_value_##T(block, i);                                                                    \
      stored_same(#T, &got[i], &want, 1);                                                                     \
    }                                                                                                         \
  }
static void test_random_bytes(void **state) {
  (void)state;
  TD_STORED_TYPES(CHECK_RANDOM)
}

/* Largest error of quantising values from -2 to 2 and expanding again, at least one of each sign: the format's own
 * step, half of which rounding may take; the K types' integer scales add up to one step of theirs. */
static double step_of(enum td_dtype dtype) {
  switch (dtype) {
    case TD_F32:
      return 0.0;
    case TD_F16:
      return 0x1p-11 * 2;
    case TD_BF16:
      return 0x1p-8 * 2;
    case TD_Q8_0:
      return 1.01 * 2.0 / 127 / 2;
    case TD_Q4_0: /* symmetric types: the mirror image of the extreme is a whole step out of reach */
      return 1.01 * 2.0 / 8;
    case TD_Q5_0:
      return 1.01 * 2.0 / 16;
    case TD_Q4_1:
      return 1.01 * 4.0 / 15 / 2;
    case TD_Q5_1:
      return 1.01 * 4.0 / 31 / 2;
    case TD_Q2_K:
      return 1.01 * (4.0 / 3 * 16 / 15) / 2 * 16 / 15;
    case TD_Q3_K:
      return 1.01 * 2.0 / 4 * 32 / 31;
    case TD_Q4_K:
      return 1.01 * (4.0 / 15) / 2 * 64 / 63 * 64 / 63;
    case TD_Q5_K:
      return 1.01 * (4.0 / 31) / 2 * 64 / 63 * 64 / 63;
    case TD_Q6_K:
      return 1.01 * 2.0 / 32 * 128 / 127;
    case TD_IQ4_NL: /* half the table's widest gap; at its positive end 113 stands for up to 127 */
      return 1.01 * 14 * 2.0 / 127;
    case TD_MXFP4:
    case TD_FP8:
    case TD_NVFP4:
      break;
  }
  return -1.0;
}

static void check_quantised(const struct td_dtype_info *info, const float *src, int64_t count, double factor) {
  static unsigned char blocks[1024 * 4];
  static float back[1024];
  uint64_t bytes;
  assert_int_equal(td_dtype_row_bytes(info->dtype, count, &bytes), TD_OK);
  assert_true(bytes <= sizeof blocks);
  assert_int_equal(td_quantize(info->dtype, src, blocks, count), TD_OK);
  td_dequantize(info->dtype, blocks, back, count);
  for (int64_t i = 0; i < count; i++) {
    if (fabs((double)back[i] - (double)src[i]) <= step_of(info->dtype) * factor) continue;
    fail_msg("%s: value %d: found %g, expected %g", info->name, (int)i, (double)back[i], (double)src[i]);
  }
}

static void test_quantize(void **state) {
  (void)state;
  float src[1024];
  for (int t = 0; td_dtype_at(t); t++) {
    const struct td_dtype_info *info = td_dtype_at(t);
    for (uint64_t seed = 0; seed < 20; seed++) {
      for (uint64_t i = 0; i < 1024; i++) src[i] = (float)(4.0 * td_random_unit(7, seed, i) - 2.0);
      check_quantised(info, src, 1024, 1);
      for (int i = 0; i < 1024; i++) src[i] *= 0.25f; /* groups of different widths in one block */
      for (int i = 0; i < 1024; i += 17) src[i] *= 4.0f;
      check_quantised(info, src, 1024, 1);
    }
    for (int i = 0; i < 1024; i++) src[i] = 0.0f;
    check_quantised(info, src, 1024, 0);
    for (int i = 0; i < 1024; i++) src[i] = i % 256 == 40 ? -INFINITY : i % 256 == 41 ? NAN : 1.0f;
    unsigned char waste[1024 * 4];
    assert_int_equal(td_quantize(info->dtype, src, waste, 1024), TD_OK); /* some value, and no trap */
  }
  unsigned char waste[8];
  assert_int_equal(td_quantize(TD_MXFP4, src, waste, 32), TD_UNSUPPORTED);
  assert_int_equal(td_quantize(TD_Q8_0, src, waste, 31), TD_UNSUPPORTED);
  assert_int_equal(td_quantize(TD_Q6_K, src, waste, 32), TD_UNSUPPORTED);
}

static void test_types(void **state) {
  (void)state;
  uint64_t bytes = 0;
  assert_int_equal(td_dtype_row_bytes(TD_Q4_1, 576, &bytes), TD_OK);
  assert_int_equal(bytes, 360);
  assert_int_equal(td_dtype_row_bytes(TD_Q4_1, 577, &bytes), TD_UNSUPPORTED);
  assert_string_equal(td_error_text(), "row of 577 q4_1 values: expected a multiple of 32");
  assert_int_equal(td_dtype_row_bytes(TD_F32, INT64_MAX, &bytes), TD_UNSUPPORTED);
  assert_int_equal(td_dtype_row_bytes(TD_F32, -32, &bytes), TD_UNSUPPORTED);
  assert_int_equal(td_dtype_row_bytes((enum td_dtype)4, 32, &bytes), TD_UNSUPPORTED);
  assert_int_equal(bytes, 360);
  assert_ptr_equal(td_dtype_find("Q8_0"), td_dtype_info(TD_Q8_0));
  assert_null(td_dtype_find("q8"));
  assert_null(td_dtype_info(4));
  assert_null(td_dtype_at(-1));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_recorded_slice), cmocka_unit_test(test_shared_reference),
                                     cmocka_unit_test(test_random_bytes), cmocka_unit_test(test_quantize),
                                     cmocka_unit_test(test_types)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
