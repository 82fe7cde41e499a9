/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli_input.h"
#include "tandem/base.h"

bool td_input_is_stdin(const char *path) {
  return !strcmp(path, "-");
}

const char *td_input_name(const char *path) {
  return td_input_is_stdin(path) ? "standard input" : path;
}

static td_status check_stdin(const struct td_text *text) {
  if (ferror(stdin)) return td_fail(TD_IO, "standard input: cannot read");
  if (text->failed) return td_fail(TD_NO_MEMORY, "standard input: no memory for the text");
  if (text->bytes <= TD_INPUT_BYTES_MAX) return TD_OK;
  return td_fail(TD_IO, "standard input: found more than %zu bytes, expected at most that", TD_INPUT_BYTES_MAX);
}

/* Not td_read_file on /dev/stdin: somebody who types may take longer than a pipe. */
static td_status read_stdin(char **out_data, size_t *out_bytes) {
  struct td_text text = {0};
  char block[65536];
  size_t got = 0;
  do {
    td_text_add(&text, block, got);
    got = fread(block, 1, sizeof block, stdin);
  } while (got && !text.failed && text.bytes <= TD_INPUT_BYTES_MAX);
  td_status status = check_stdin(&text);
  if (status) {
    td_text_free(&text);
    return status;
  }
  *out_data = text.data;
  *out_bytes = text.bytes;
  return TD_OK;
}

td_status td_input_read(const char *path, char **out_data, size_t *out_bytes) {
  return td_input_is_stdin(path) ? read_stdin(out_data, out_bytes)
                                 : td_read_file(path, TD_INPUT_BYTES_MAX, out_data, out_bytes);
}
