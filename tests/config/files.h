/* SPDX-License-Identifier: Apache-2.0
 *
 * What the config tests share: scratch files and a small valid experiment whose lines can be replaced one at a time.
 */
#ifndef TESTS_CONFIG_FILES_H
#define TESTS_CONFIG_FILES_H

#include "../scratch_files.h"

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
