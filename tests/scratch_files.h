/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of a test in a folder that goes when it ends.
 */
#ifndef TESTS_SCRATCH_FILES_H
#define TESTS_SCRATCH_FILES_H

#include "support.h"

static inline const char *scratch_folder(void) {
  static char folder[4096];
  if (!*folder) snprintf(folder, sizeof folder, "%s", test_scratch());
  return folder;
}

/* Writes a scratch file of `bytes` bytes; its path is good until the next call. */
static inline const char *scratch_bytes(const char *name, const void *data, size_t bytes) {
  static char path[4200];
  snprintf(path, sizeof path, "%s/%s", scratch_folder(), name);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
  return path;
}

static inline const char *scratch_file(const char *name, const char *text) {
  return scratch_bytes(name, text, strlen(text));
}

#endif
