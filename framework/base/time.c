/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <math.h>
#include <time.h>

#include "tandem/base.h"

int64_t td_now_ps(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * TD_PS_PER_SECOND + (int64_t)now.tv_nsec * TD_PS_PER_NS;
}

void td_sleep_ps(int64_t ps) {
  if (ps <= 0) return;
  int64_t ns = (ps + TD_PS_PER_NS - 1) / TD_PS_PER_NS;
  struct timespec left = {.tv_sec = (time_t)(ns / 1000000000), .tv_nsec = (long)(ns % 1000000000)};
  while (nanosleep(&left, &left) && errno == EINTR) {
  }
}

td_status td_ps_from_seconds(double seconds, int64_t *out_ps) {
  double ps = seconds * 1e12;
  if (!(ps >= 0) || ps >= 9.2e18) {
    return td_fail(TD_CONFIG, "time: found %g s, expected 0 to 9.2e6 s", seconds);
  }
  *out_ps = (int64_t)llround(ps);
  return TD_OK;
}

double td_seconds(int64_t ps) {
  return (double)ps / 1e12;
}
