/* SPDX-License-Identifier: Apache-2.0
 *
 * Files of a fuzz target that reads by path.
 */
#ifndef TESTS_FUZZ_SCRATCH_H
#define TESTS_FUZZ_SCRATCH_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* A path in this process's own folder, good until the next call. */
static inline const char *scratch(const char *name) {
  static char folder[512], path[600];
  if (!*folder) {
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/tandem-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) abort();
  }
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return path;
}

static inline void write_file(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file)) abort();
}

#endif
