/* SPDX-License-Identifier: Apache-2.0
 *
 * Stored blocks as tests need them: the recorded slice in the tree, and comparison of values to the bit.
 */
#ifndef TESTS_KERNELS_STORED_H
#define TESTS_KERNELS_STORED_H

#include <math.h>

#include "support.h"
#include "tandem/kernels.h"

#define STORED_MAX 256 /* values, and bytes, of the largest block */

struct stored_block {
  enum td_dtype dtype;
  size_t bytes, elements;
  unsigned char block[STORED_MAX];
  float values[STORED_MAX];
};

static inline void stored_parse_hex(const char *text, void *out, size_t bytes) {
  assert_int_equal(strlen(text), 2 * bytes);
  for (size_t i = 0; i < bytes; i++) {
    unsigned value;
    assert_int_equal(sscanf(text + 2 * i, "%2x", &value), 1);
    ((unsigned char *)out)[i] = (unsigned char)value;
  }
}

/* The next block of tests/data/kernels/dequant.txt, false at its end. */
static inline bool stored_next(FILE *file, struct stored_block *out) {
  char line[3072], name[8], block_text[1024], value_text[2056];
  do {
    if (!fgets(line, sizeof line, file)) return false;
  } while (line[0] == '#');
  assert_int_equal(sscanf(line, "%7s %1023s %2055s", name, block_text, value_text), 3);
  const struct td_dtype_info *info = td_dtype_find(name);
  assert_non_null(info);
  *out = (struct stored_block){info->dtype, (size_t)info->block_bytes, (size_t)info->block_elements, {0}, {0}};
  stored_parse_hex(block_text, out->block, out->bytes);
  stored_parse_hex(value_text, out->values, out->elements * sizeof(float));
  return true;
}

/* The same bits, or both NaN: which NaN comes of infinity minus infinity is the machine's choice. */
static inline void stored_same(const char *type, const float *got, const float *want, size_t count) {
  for (size_t i = 0; i < count; i++) {
    if (memcmp(&got[i], &want[i], sizeof *got) == 0 || (isnan(got[i]) && isnan(want[i]))) continue;
    fail_msg("%s: value %zu: found %a, expected %a", type, i, (double)got[i], (double)want[i]);
  }
}

#endif
