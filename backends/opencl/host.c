/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices that are the host's own processors take the host's memory, and a driver that finds none may end the program:
 * PoCL asserts. So the host is asked first.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "tandem/base.h"

/* What Linux can give without swapping; UINT64_MAX where it does not say. */
static uint64_t available(void) {
  static const char field[] = "MemAvailable:";
  char line[128];
  uint64_t bytes = UINT64_MAX;
  FILE *file = fopen("/proc/meminfo", "re");
  if (!file) return bytes;
  while (bytes == UINT64_MAX && fgets(line, sizeof line, file)) {
    if (!strncmp(line, field, sizeof field - 1)) bytes = strtoull(line + sizeof field - 1, NULL, 10) * 1024;
  }
  fclose(file);
  return bytes;
}

td_status opencl_host_room(const struct opencl_device *device, uint64_t bytes) {
  if (!device->found->processor) return TD_OK;
  uint64_t room = available();
  if (bytes > room) {
    return td_fail(TD_EXHAUSTED,
                   "'%s': asked for %" PRIu64 " bytes, found %" PRIu64 " available on the host (%" PRIu64
                   " bytes are in use)",
                   device->found->name, bytes, room, device->used);
  }
  void *probe = malloc(bytes);
  if (!probe) {
    return td_fail(TD_EXHAUSTED,
                   "'%s': asked for %" PRIu64 " bytes, found that the system gives none (%" PRIu64 " bytes are in use)",
                   device->found->name, bytes, device->used);
  }
  free(probe);
  return TD_OK;
}
