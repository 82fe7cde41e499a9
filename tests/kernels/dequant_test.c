/* SPDX-License-Identifier: Apache-2.0
 *
 * Dequantisation against recorded values, to the bit: a slice of them in the tree, all of them where ../shared is.
 */
#include <hdf5.h>
#include <math.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

static void parse_hex(const char *text, unsigned char *out, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) {
    unsigned value;
    assert_int_equal(sscanf(text + 2 * i, "%2x", &value), 1);
    out[i] = (unsigned char)value;
  }
}

static void check_block(enum td_dtype dtype, const unsigned char *block, const void *want) {
  unsigned char shifted[64]; /* the source needs no alignment */
  float got[32];
  size_t bytes = (size_t)td_dtype_info((uint32_t)dtype)->block_bytes;
  for (size_t shift = 0; shift < 4; shift++) {
    memcpy(shifted + shift, block, bytes);
    td_dequantize(dtype, shifted + shift, got, 32);
    assert_memory_equal(got, want, sizeof got);
  }
}

static void test_recorded_slice(void **state) {
  (void)state;
  FILE *file = fopen(test_source("tests/data/kernels/dequant.txt"), "r");
  assert_non_null(file);
  char line[512], name[8], block_text[80], value_text[272];
  int seen = 0;
  while (fgets(line, sizeof line, file)) {
    if (line[0] == '#') continue;
    assert_int_equal(sscanf(line, "%7s %79s %271s", name, block_text, value_text), 3);
    const struct td_dtype_info *info = td_dtype_find(name);
    assert_non_null(info);
    unsigned char block[64], values[128];
    assert_int_equal(strlen(block_text), 2 * (size_t)info->block_bytes);
    assert_int_equal(strlen(value_text), 2 * sizeof values);
    parse_hex(block_text, block, (size_t)info->block_bytes);
    parse_hex(value_text, values, sizeof values);
    check_block(info->dtype, block, values);
    seen++;
  }
  fclose(file);
  assert_int_equal(seen, 24);
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
  static const struct {
    const char *group;
    enum td_dtype dtype;
  } types[] = {{"Q8_0", TD_Q8_0}, {"Q4_0", TD_Q4_0}, {"Q4_1", TD_Q4_1}};
  hid_t file = H5Fopen(path, H5F_ACC_RDONLY, H5P_DEFAULT);
  assert_true(file >= 0);
  for (size_t t = 0; t < sizeof types / sizeof types[0]; t++) {
    unsigned char blocks[64 * 34];
    float values[64][32];
    size_t bytes = (size_t)td_dtype_info((uint32_t)types[t].dtype)->block_bytes;
    read_set(file, types[t].group, "blocks", H5T_NATIVE_UINT8, blocks, 64 * bytes);
    read_set(file, types[t].group, "values", H5T_IEEE_F32LE, values, sizeof values);
    for (size_t b = 0; b < 64; b++) check_block(types[t].dtype, blocks + b * bytes, values[b]);
    float row[64 * 32]; /* many blocks in one call */
    td_dequantize(types[t].dtype, blocks, row, 64 * 32);
    assert_memory_equal(row, values, sizeof row);
  }
  H5Fclose(file);
}

/* Quantising and expanding again is off by at most the format's own step. */
static void test_quantize(void **state) {
  (void)state;
  float src[96], back[96];
  for (uint64_t i = 0; i < 96; i++) src[i] = (float)(4.0 * td_random_unit(7, 1, i) - 2.0);
  for (int t = 0; td_dtype_at(t); t++) {
    const struct td_dtype_info *info = td_dtype_at(t);
    unsigned char blocks[96 * 4];
    uint64_t bytes;
    assert_int_equal(td_dtype_row_bytes(info->dtype, 96, &bytes), TD_OK);
    assert_true(bytes <= sizeof blocks);
    assert_int_equal(td_quantize(info->dtype, src, blocks, 96), TD_OK);
    td_dequantize(info->dtype, blocks, back, 96);
    double step = 0.0;
    if (info->dtype == TD_F16) step = 0x1p-10;
    if (info->dtype == TD_BF16) step = 0x1p-7;
    if (info->dtype == TD_Q8_0) step = 2.0 / 127;
    if (info->dtype == TD_Q4_0) step = 2.0 / 7;
    if (info->dtype == TD_Q4_1) step = 4.0 / 15;
    for (int i = 0; i < 96; i++) assert_true(fabs((double)back[i] - (double)src[i]) <= step);
  }
  unsigned char waste[8];
  assert_int_equal(td_quantize((enum td_dtype)12, src, waste, 32), TD_UNSUPPORTED);
  assert_int_equal(td_quantize(TD_Q8_0, src, waste, 31), TD_UNSUPPORTED);
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
                                     cmocka_unit_test(test_quantize), cmocka_unit_test(test_types)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
