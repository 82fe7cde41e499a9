/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ERROR_BYTES 1024
static _Thread_local char error_text[ERROR_BYTES];

/* One error is one line, whatever bytes a file name holds. */
static void keep_one_line(char *text) {
  for (unsigned char *c = (unsigned char *)text; *c; c++) {
    if (*c < 0x20 || *c == 0x7f) *c = '?';
  }
}

td_status td_fail(enum td_code code, const char *format, ...) {
  char line[ERROR_BYTES]; /* the arguments may point into error_text */
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  keep_one_line(line);
  memcpy(error_text, line, sizeof line);
  return code;
}

td_status td_fail_within(enum td_code code, const char *format, ...) {
  char line[3 * ERROR_BYTES]; /* words and text, cut below */
  va_list args;
  va_start(args, format);
  int used = vsnprintf(line, ERROR_BYTES, format, args);
  va_end(args);
  if (used >= 0 && used < ERROR_BYTES) snprintf(line + used, ERROR_BYTES + 3, ": %s", error_text);
  line[ERROR_BYTES - 1] = 0;
  keep_one_line(line);
  memcpy(error_text, line, ERROR_BYTES);
  return code;
}

const char *td_error_text(void) {
  return error_text;
}

int td_exit_code(td_status status) {
  if (status == TD_OK) return 0;
  return status == TD_USAGE || status == TD_CONFIG ? 2 : 1;
}

const char *td_code_name(enum td_code code) {
  static const char *const names[] = {"ok",        "usage",        "config",        "not found",   "io",
                                      "corrupt",   "unsupported",  "unimplemented", "unavailable", "no memory",
                                      "exhausted", "precondition", "aborted",       "internal"};
  return (unsigned)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
