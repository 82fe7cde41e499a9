/* SPDX-License-Identifier: Apache-2.0
 *
 * The device file that a calibration makes: whole, or not at all.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "calibrate.h"
#include "tandem/base.h"
#include "tandem/operators.h"

static td_status part_of(const char *output, struct td_text *out) {
  td_text_printf(out, "%s.part", output);
  return out->failed ? td_fail(TD_NO_MEMORY, "calibrate: found no memory") : TD_OK;
}

/* Calls it a mistake of the user's, as other outputs that cannot be. */
td_status calibrate_check_output(const char *output) {
  struct td_text part = {0};
  size_t bytes = strlen(output);
  if (bytes <= 4 || strcmp(output + bytes - 4, ".cfg")) {
    return td_fail(TD_USAGE, "-o: found %s, expected the name of a device file, which ends in .cfg", output);
  }
  TD_TRY(td_check_output(output));
  TD_TRY(part_of(output, &part));
  FILE *file = fopen(part.data, "w");
  td_status status = file ? TD_OK : td_fail(TD_IO, "%s: %s", part.data, strerror(errno));
  if (file) {
    fclose(file);
    unlink(part.data);
  }
  td_text_free(&part);
  return status;
}

static td_status write_part(const struct td_device_params *device, const struct td_op_fit *fits, int32_t fit_count,
                            const char *part, const char *output) {
  FILE *out = fopen(part, "w");
  if (!out) return td_fail(TD_IO, "%s: %s", part, strerror(errno));
  td_status status = td_device_params_write(device, fits, fit_count, out);
  if (fclose(out) && !status) status = td_fail(TD_IO, "%s: %s", part, strerror(errno));
  if (!status && rename(part, output)) status = td_fail(TD_IO, "%s: %s", output, strerror(errno));
  if (status) unlink(part);
  return status;
}

td_status calibrate_write(const struct td_device_params *device, const struct td_op_fit *fits, int32_t fit_count,
                          const char *output) {
  struct td_text part = {0};
  td_status status = part_of(output, &part);
  if (!status) status = write_part(device, fits, fit_count, part.data, output);
  td_text_free(&part);
  return status;
}
