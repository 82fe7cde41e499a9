/* SPDX-License-Identifier: Apache-2.0
 *
 * Medians of repeats. A repeat holds enough calls that the clock and the wait at its end do not show.
 */
#include <math.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "bench.h"
#include "tandem/base.h"

#define REPEATS_MIN 3
#define REPEAT_SECONDS 0.01 /* at most, unless one call takes longer: about a pass of the ceiling */
#define QUIET_MIN 10
#define REPEATS_MAX 1000
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
  double repeat = seconds / 10 < REPEAT_SECONDS ? seconds / 10 : REPEAT_SECONDS;
  double calls = ceil(repeat / each);
  *out_calls = calls > CALLS_MAX ? CALLS_MAX : calls < 1 ? 1 : (int64_t)calls;
  return TD_OK;
}

static td_status pass_beside(const struct bench_beside *beside, double *out_rate) {
  *out_rate = 0;
  return beside ? beside->pass(beside, out_rate) : TD_OK;
}

/* How often others took a processor away from this program. */
static long interruptions(void) {
  struct rusage usage;
  return getrusage(RUSAGE_SELF, &usage) ? 0 : usage.ru_nivcsw;
}

struct pairs {
  double seconds[REPEATS_MAX], amounts[REPEATS_MAX], quiet[REPEATS_MAX];
  int32_t count, quiet_count;
};

/* Each repeat stands between two passes of the ceiling and is held against their mean. */
static td_status repeat(struct td_device *device, double seconds, int64_t calls, bench_go go, void *context,
                        const struct bench_beside *beside, struct pairs *pairs) {
  double total = 0, before, after;
  long seen = interruptions();
  TD_TRY(pass_beside(beside, &before));
  while (pairs->count < REPEATS_MIN || (total < seconds && pairs->count < REPEATS_MAX)) {
    double *each = &pairs->seconds[pairs->count];
    TD_TRY(timed(device, go, context, calls, each));
    TD_TRY(pass_beside(beside, &after));
    double amount = pairs->amounts[pairs->count++] = *each * (before + after) / 2;
    long now = interruptions();
    if (now == seen) pairs->quiet[pairs->quiet_count++] = amount;
    total += *each * (double)calls;
    before = after;
    seen = now;
  }
  return TD_OK;
}

/* Of pairs, those that nobody disturbed, if there are enough: a processor that was taken away from one side of a pair
 * says nothing about either. */
td_status bench_measure(struct td_device *device, double seconds, int64_t warm, bench_go go, void *context,
                        const struct bench_beside *beside, struct bench_times *out_times) {
  struct pairs pairs = {.count = 0};
  int64_t calls;
  TD_TRY(warm_up(device, seconds, warm, go, context, &calls));
  TD_TRY(repeat(device, seconds, calls, go, context, beside, &pairs));
  *out_times = (struct bench_times){.seconds = bench_spread_of(pairs.seconds, pairs.count)};
  if (!beside) return TD_OK;
  bool quiet = pairs.quiet_count >= QUIET_MIN;
  out_times->beside =
      quiet ? bench_spread_of(pairs.quiet, pairs.quiet_count) : bench_spread_of(pairs.amounts, pairs.count);
  return TD_OK;
}
