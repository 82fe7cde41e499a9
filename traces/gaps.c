/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokens are walked several times. The first time sums the gaps and counts them in buckets a thousandth wide; then
 * the buckets that hold a wanted rank are counted more finely, until they are one picosecond wide: two or three more
 * times for gaps of milliseconds.
 */
#include "gaps.h"

#include <math.h>
#include <stdlib.h>

#include "statistics.h"
#include "walk.h"

enum { MANTISSA = 10, FIRST_BUCKETS = (64 - MANTISSA + 1) << MANTISSA, FINE_BITS = 14, BLOCK = 4096 };
static const double percents[] = {50, 90, 95, 99};
enum { PERCENTS = sizeof percents / sizeof *percents, TARGETS = 2 * PERCENTS };

/* ---- the gaps in their order ---- */

struct source {
  struct td_walk walk;
  struct td_span span;
  uint64_t at; /* tokens of the span that were used */
  bool in_request, in_span;
  bool started; /* the request has had a token, at `last` */
  int64_t last;
  td_status status;
};

static bool next_span(struct source *source) {
  while (!source->in_span && !source->status) {
    if (!source->in_request) {
      source->status = td_walk_next(&source->walk, &source->in_request);
      source->started = false;
      if (source->status || !source->in_request) return false;
      if (!source->walk.row) { /* still running: does not count */
        source->in_request = false;
        continue;
      }
    }
    source->status = td_walk_span(&source->walk, &source->span, &source->in_span);
    source->in_request = source->in_span;
    source->at = 0;
  }
  return source->in_span && !source->status;
}

/* Gaps in front of the span's next tokens, at most `room`; the request has had one. */
static uint64_t span_gaps(struct source *source, uint64_t room, int64_t *out) {
  const struct td_span *span = &source->span;
  uint64_t left = span->count * span->per_step - source->at, count = left < room ? left : room, i = 0;
  if (span->per_step > 1) {
    for (; i < count; i++, source->at++) {
      int64_t time = td_span_time(span, source->at / span->per_step);
      out[i] = time - source->last;
      source->last = time;
    }
    return count;
  }
  if (!source->at) out[i++] = span->time - source->last;
  uint64_t step = source->at + i; /* >= 1: its gap follows from the span alone */
  uint64_t gap = (uint64_t)span->gap + (step - 1) * (uint64_t)span->slope;
  for (; i < count; i++, gap += (uint64_t)span->slope) out[i] = (int64_t)gap;
  source->at += count;
  source->last = td_span_time(span, source->at - 1);
  return count;
}

/* As many as there are, up to `room`. */
static uint64_t next_gaps(struct source *source, uint64_t room, int64_t *out) {
  uint64_t count = 0;
  while (count < room && next_span(source)) {
    if (!source->started) {
      source->started = true;
      source->last = source->span.time;
      source->at = 1;
    } else {
      count += span_gaps(source, room - count, out + count);
    }
    source->in_span = source->at < source->span.count * source->span.per_step;
  }
  return count;
}

/* ---- buckets ---- */

static uint32_t first_bucket(uint64_t gap) {
  int high = gap ? 63 - __builtin_clzll(gap) : 0, shift = high > MANTISSA ? high - MANTISSA : 0;
  return ((uint32_t)shift << MANTISSA) + (uint32_t)(gap >> shift);
}

/* The bucket holds [*out_begin, *out_begin + 2^*out_bits). */
static void first_bucket_range(uint32_t bucket, uint64_t *out_begin, int *out_bits) {
  int shift = bucket >> (MANTISSA + 1) ? (int)(bucket >> MANTISSA) - 1 : 0;
  *out_begin = (uint64_t)(bucket - ((uint32_t)shift << MANTISSA)) << shift;
  *out_bits = shift;
}

/* A wanted rank lies `rank` values behind the begin of an interval of values. */
struct target {
  uint64_t rank, begin;
  int bits;
  int32_t counts; /* which fine counters are its interval's */
};

struct work {
  struct source source;
  uint64_t first[FIRST_BUCKETS];
  uint64_t fine[TARGETS][1u << FINE_BITS];
  struct target targets[TARGETS];
  int64_t gaps[BLOCK];
  double seconds[BLOCK];
  int64_t min, max;
};

static void begin_pass(struct work *work) {
  work->source = (struct source){.walk.trace = work->source.walk.trace};
}

/* Seconds of the next `count` gaps, which are counted on the way. */
static const double *take_block(void *context, uint64_t count) {
  struct work *work = context;
  uint64_t got = next_gaps(&work->source, count, work->gaps);
  for (uint64_t i = 0; i < got; i++) {
    int64_t gap = work->gaps[i];
    work->first[first_bucket((uint64_t)gap)]++;
    if (gap < work->min) work->min = gap;
    if (gap > work->max) work->max = gap;
    work->seconds[i] = (double)gap / 1e12;
  }
  for (uint64_t i = got; i < count; i++) work->seconds[i] = NAN; /* a contradiction; source.status or NaN tells */
  return work->seconds;
}

/* Narrows a target to the counter that holds its rank. */
static uint32_t find_rank(struct target *target, const uint64_t *counts, uint32_t buckets) {
  uint32_t bucket = 0;
  while (bucket + 1 < buckets && target->rank >= counts[bucket]) target->rank -= counts[bucket++];
  return bucket;
}

static void set_targets(struct work *work, uint64_t count) {
  for (int i = 0; i < TARGETS; i++) {
    struct td_rank rank = td_rank(count, percents[i / 2]);
    struct target *target = &work->targets[i];
    target->rank = i % 2 ? rank.high : rank.low;
    first_bucket_range(find_rank(target, work->first, FIRST_BUCKETS), &target->begin, &target->bits);
  }
}

/* Gives each interval that is wider than 1 ps its counters; false if there is none. */
static bool share_counters(struct work *work) {
  bool any = false;
  for (int32_t i = 0; i < TARGETS; i++) {
    struct target *target = &work->targets[i];
    target->counts = i;
    for (int32_t j = i - 1; j >= 0; j--) {
      if (work->targets[j].begin == target->begin) target->counts = work->targets[j].counts;
    }
    any |= target->bits > 0;
  }
  return any;
}

static int fine_shift(const struct target *target) {
  return target->bits > FINE_BITS ? target->bits - FINE_BITS : 0;
}

/* Counts what falls into this interval. */
static void count_fine(struct work *work, int32_t number, uint64_t count) {
  const struct target *target = &work->targets[number];
  uint64_t *counts = work->fine[number], width = UINT64_C(1) << target->bits, begin = target->begin;
  int shift = fine_shift(target);
  for (uint64_t i = 0; i < count; i++) {
    uint64_t inside = (uint64_t)work->gaps[i] - begin;
    if (inside < width) counts[inside >> shift]++;
  }
}

static void refine(struct work *work) {
  uint64_t count;
  begin_pass(work);
  for (int i = 0; i < TARGETS; i++) {
    for (uint32_t j = 0; j < 1u << FINE_BITS; j++) work->fine[i][j] = 0;
  }
  while ((count = next_gaps(&work->source, BLOCK, work->gaps))) {
    for (int32_t i = 0; i < TARGETS; i++) {
      if (work->targets[i].counts == i && work->targets[i].bits) count_fine(work, i, count);
    }
  }
  for (int i = 0; i < TARGETS; i++) {
    struct target *target = &work->targets[i];
    int shift = fine_shift(target);
    if (!target->bits) continue;
    target->begin += (uint64_t)find_rank(target, work->fine[target->counts], 1u << FINE_BITS) << shift;
    target->bits = shift;
  }
}

static double percentile(const struct work *work, uint64_t count, int number) {
  const struct target *targets = &work->targets[2 * number];
  return td_between((double)targets[0].begin / 1e12, (double)targets[1].begin / 1e12, td_rank(count, percents[number]));
}

static td_status summarize(struct work *work, uint64_t count, struct td_summary *out) {
  work->min = INT64_MAX;
  begin_pass(work);
  double mean = td_pairwise_sum(take_block, work, count) / (double)count;
  set_targets(work, count);
  while (!work->source.status && share_counters(work)) refine(work);
  if (work->source.status) return work->source.status;
  if (isnan(mean)) return td_fail(TD_INTERNAL, "trace: fewer gaps between tokens than expected");
  *out = (struct td_summary){.count = count,
                             .mean = mean,
                             .min = (double)work->min / 1e12,
                             .p50 = percentile(work, count, 0),
                             .p90 = percentile(work, count, 1),
                             .p95 = percentile(work, count, 2),
                             .p99 = percentile(work, count, 3),
                             .max = (double)work->max / 1e12};
  return TD_OK;
}

td_status td_gaps_summarize(const struct td_trace *trace, uint64_t count, struct td_summary *out) {
  struct work *work = NULL;
  if (!count) {
    td_summarize(NULL, 0, out);
    return TD_OK;
  }
  TD_TRY(td_alloc(1, sizeof *work, (void **)&work));
  work->source.walk.trace = trace;
  td_status status = summarize(work, count, out);
  free(work);
  return status;
}
