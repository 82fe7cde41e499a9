/* SPDX-License-Identifier: Apache-2.0
 *
 * Any bytes as a device file; what opens must print.
 */
#include <stdio.h>
#include <stdlib.h>

#include "tandem/devices.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size) {
  static char folder[512], path[600];
  if (!*folder) {
    const char *tmp = getenv("TMPDIR");
    snprintf(folder, sizeof folder, "%s/tandem-fuzz-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) abort();
    snprintf(path, sizeof path, "%s/device.cfg", folder);
  }
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, size, file) != size || fclose(file)) abort();
  struct td_device_params *params;
  if (td_device_params_open(path, &params)) return 0;
  FILE *sink = fopen("/dev/null", "w");
  if (!sink) abort();
  td_device_params_print(params, sink);
  td_device_params_json(params, sink);
  fclose(sink);
  td_device_params_close(params);
  return 0;
}
