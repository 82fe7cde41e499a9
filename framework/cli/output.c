/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "cli_output.h"
#include "tandem/base.h"

static td_status check(const char *written, const char *output, const char *input, const char *what) {
  struct stat out, in;
  if (stat(written, &out) || stat(input, &in) || out.st_dev != in.st_dev || out.st_ino != in.st_ino) return TD_OK;
  return td_fail(TD_USAGE, "output %s: found it would replace %s %s, expected another file", output, what, input);
}

td_status td_output_is_not(const char *output, const char *input, const char *what) {
  struct td_text part = {0};
  td_text_printf(&part, "%s.part", output);
  td_status status = part.failed ? td_fail(TD_NO_MEMORY, "%s: found no memory for its name", output) : TD_OK;
  if (!status) status = check(output, output, input, what);
  if (!status) status = check(part.data, output, input, what);
  td_text_free(&part);
  return status;
}
