/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "tandem/base.h"

#define PATH "/dev/cpu_dma_latency"

/* The request lasts as long as the file is open, so it ends with the process, however that ends. */
td_status td_awake_begin(int *out_file) {
  const int32_t microseconds = 0;
  *out_file = open(PATH, O_WRONLY | O_CLOEXEC);
  if (*out_file < 0) return td_fail(TD_UNAVAILABLE, PATH ": %s", strerror(errno));
  if (write(*out_file, &microseconds, sizeof microseconds) == sizeof microseconds) return TD_OK;
  td_status status = td_fail(TD_UNAVAILABLE, PATH ": %s", strerror(errno));
  td_awake_end(*out_file);
  *out_file = -1;
  return status;
}

void td_awake_end(int file) {
  if (file >= 0) close(file);
}
