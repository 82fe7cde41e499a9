/* SPDX-License-Identifier: Apache-2.0
 *
 * Medians of repeats. A repeat holds enough calls that the clock and the wait at its end do not show.
 */
#include <math.h>
#include <stdlib.h>

#include "bench.h"
#include "tandem/base.h"

#define REPEATS_MIN 3
#define REPEATS_MAX 200
#define CALLS_MAX 1000000

static int ascending(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

struct bench_spread bench_spread_of(double *values, int32_t count) {
  qsort(values, (size_t)count, sizeof *values, ascending);
  double middle = values[count / 2];
  if (count % 2 == 0) middle = (middle + values[count / 2 - 1]) / 2;
  return (struct bench_spread){.median = middle, .low = values[0], .high = values[count - 1], .count = count};
}

static td_status timed(struct td_device *device, bench_go go, void *context, int64_t calls, double *out_seconds) {
  int64_t begin = td_device_now(device);
  TD_TRY(go(context, calls));
  int64_t elapsed = td_device_now(device) - begin;
  if (elapsed <= 0) return td_fail(TD_INTERNAL, "the device's clock stood still over %lld calls", (long long)calls);
  *out_seconds = td_seconds(elapsed) / (double)calls;
  return TD_OK;
}

/* The first call pays for what is made once and says nothing about the others; those tell how many fit a repeat. */
static td_status warm_up(struct td_device *device, double seconds, int64_t warm, bench_go go, void *context,
                         int64_t *out_calls) {
  double first = 0, each = 0;
  TD_TRY(timed(device, go, context, 1, &first));
  double fit = floor(seconds / first);
  int64_t rest = fit > (double)(warm - 1) ? warm - 1 : (int64_t)fit;
  TD_TRY(timed(device, go, context, rest > 0 ? rest : 1, &each));
  double calls = ceil(seconds / 10 / each);
  *out_calls = calls > CALLS_MAX ? CALLS_MAX : calls < 1 ? 1 : (int64_t)calls;
  return TD_OK;
}

td_status bench_measure(struct td_device *device, double seconds, int64_t warm, bench_go go, void *context,
                        struct bench_spread *out_seconds) {
  double samples[REPEATS_MAX], total = 0;
  int32_t count = 0;
  int64_t calls;
  TD_TRY(warm_up(device, seconds, warm, go, context, &calls));
  while (count < REPEATS_MIN || (total < seconds && count < REPEATS_MAX)) {
    TD_TRY(timed(device, go, context, calls, &samples[count]));
    total += samples[count++] * (double)calls;
  }
  *out_seconds = bench_spread_of(samples, count);
  return TD_OK;
}
