/* SPDX-License-Identifier: Apache-2.0
 *
 * What the config tests share: scratch files and a small valid experiment whose lines can be replaced one at a time.
 */
#ifndef TESTS_CONFIG_FILES_H
#define TESTS_CONFIG_FILES_H

#include "../support.h"

/* clang-format off */
static const char *const base_lines[] = {
  "name = \"t\";",
  "model = \"m.gguf\";",
  "engine = { chunk_tokens = 7; };",
  "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; },",
  "                      { name = \"b\"; backend = \"modelled\"; device = \"h100_sxm\"; } ); };",
  "workload = { requests = ( { prompt = \"hi\"; } ); };",
};
/* clang-format on */
#define BASE_LINES ((int)(sizeof base_lines / sizeof *base_lines))

static inline const char *scratch_folder(void) {
  static char folder[4096];
  if (!*folder) snprintf(folder, sizeof folder, "%s", test_scratch());
  return folder;
}

/* Writes a scratch file; the result is good until the next call. */
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

/* The base experiment with line `line` (from 1; 0: none) replaced by `text`. */
static inline const char *scratch_base(int line, const char *text) {
  char all[8192] = "";
  size_t used = 0;
  for (int i = 1; i <= BASE_LINES; i++) {
    used += (size_t)snprintf(all + used, sizeof all - used, "%s\n", i == line ? text : base_lines[i - 1]);
  }
  return scratch_file("e.cfg", all);
}

#endif
