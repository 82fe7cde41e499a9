/* SPDX-License-Identifier: Apache-2.0
 *
 * Requests and devices are numbered densely and rows mostly arrive in order, so counting sorts them: time and memory
 * grow with the rows. What is neither dense nor in order is sorted by comparison.
 */
#include "index.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* A uint32 or uint64 field of all rows of a table; `base` NULL: 0 everywhere. */
struct column {
  const char *base;
  size_t stride, bytes;
};
#define COLUMN(rows, field) \
  { (const char *)(rows) + offsetof(__typeof__(*(rows)), field), sizeof *(rows), sizeof((rows)->field) }

static inline uint64_t at(const struct column *column, uint64_t row) {
  const char *place = column->base + row * column->stride;
  uint64_t wide;
  uint32_t narrow;
  if (!column->base) return 0;
  if (column->bytes == sizeof wide) {
    memcpy(&wide, place, sizeof wide);
    return wide;
  }
  memcpy(&narrow, place, sizeof narrow);
  return narrow;
}

struct key {
  uint64_t major, minor, row;
};

static int compare(uint64_t a, uint64_t b) {
  return a < b ? -1 : a > b;
}

static int by_key(const void *left, const void *right) {
  const struct key *a = left, *b = right;
  int order = compare(a->major, b->major);
  if (!order) order = compare(a->minor, b->minor);
  return order ? order : compare(a->row, b->row);
}

static td_status sort_keys(uint64_t *rows, uint64_t count, const struct column *major, const struct column *minor) {
  struct key *keys = NULL;
  TD_TRY(td_alloc(count, sizeof *keys, (void **)&keys));
  for (uint64_t i = 0; i < count; i++) keys[i] = (struct key){at(major, rows[i]), at(minor, rows[i]), rows[i]};
  qsort(keys, count, sizeof *keys, by_key);
  for (uint64_t i = 0; i < count; i++) rows[i] = keys[i].row;
  free(keys);
  return TD_OK;
}

static td_status sort_unless_sorted(uint64_t *rows, uint64_t count, const struct column *major,
                                    const struct column *minor) {
  for (uint64_t i = 1; i < count; i++) {
    uint64_t a = at(major, rows[i - 1]), b = at(major, rows[i]);
    if (a > b || (a == b && at(minor, rows[i - 1]) > at(minor, rows[i]))) return sort_keys(rows, count, major, minor);
  }
  return TD_OK;
}

/* Stable, by major; begin[m] is where the rows with major >= m begin, for m up to `majors`. */
static void count_out(uint64_t *rows, uint64_t count, const struct column *major, uint64_t majors, uint64_t *begin) {
  for (uint64_t i = 0; i < count; i++) begin[at(major, i) + 1]++;
  for (uint64_t m = 0; m < majors; m++) begin[m + 1] += begin[m];
  for (uint64_t i = 0; i < count; i++) rows[begin[at(major, i)]++] = i;
  memmove(begin + 1, begin, majors * sizeof *begin);
  begin[0] = 0;
}

/* *out_begin (may be NULL) as in count_out. */
static td_status order_dense(struct td_order *order, const struct column *major, uint64_t majors,
                             const struct column *minor, uint64_t **out_begin) {
  uint64_t *begin = NULL;
  TD_TRY(td_alloc(majors + 1, sizeof *begin, (void **)&begin));
  count_out(order->rows, order->count, major, majors, begin);
  td_status status = TD_OK;
  for (uint64_t m = 0; m < majors && !status; m++) {
    status = sort_unless_sorted(order->rows + begin[m], begin[m + 1] - begin[m], major, minor);
  }
  if (out_begin && !status) {
    *out_begin = begin;
  } else {
    free(begin);
  }
  return status;
}

static td_status order_rows(struct td_order *order, uint64_t count, const struct column *major,
                            const struct column *minor) {
  uint64_t majors = 0;
  TD_TRY(td_alloc(count ? count : 1, sizeof *order->rows, (void **)&order->rows));
  order->count = count;
  for (uint64_t i = 0; i < count; i++) {
    uint64_t major_i = at(major, i);
    if (major_i >= majors) majors = major_i == UINT64_MAX ? major_i : major_i + 1;
  }
  if (majors / 2 <= count) return order_dense(order, major, majors, minor, NULL);
  for (uint64_t i = 0; i < count; i++) order->rows[i] = i;
  return sort_unless_sorted(order->rows, count, major, minor);
}

static void copy_steps(const struct td_row_step *rows, const struct td_order *order, struct td_stretch *out) {
  for (uint64_t i = 0; i < order->count; i++) {
    const struct td_row_step *row = &rows[order->rows[i]];
    out[i] = (struct td_stretch){.index = row->index,
                                 .start = row->start,
                                 .duration = row->duration,
                                 .slope = row->slope,
                                 .count = (uint32_t)row->count,
                                 .row = (uint32_t)order->rows[i]};
  }
}

static td_status order_steps(const struct td_trace *trace, struct td_trace_index *index) {
  const struct column device = COLUMN(trace->steps, device), number = COLUMN(trace->steps, index);
  struct td_order order = {.count = trace->count[TD_TABLE_STEPS]};
  if (order.count > UINT32_MAX) return td_fail(TD_UNSUPPORTED, "trace: found 2^32 rows of steps or more");
  TD_TRY(td_alloc(order.count ? order.count : 1, sizeof *order.rows, (void **)&order.rows));
  td_status status = order_dense(&order, &device, trace->count[TD_TABLE_DEVICES], &number, &index->device_steps);
  if (!status) status = td_alloc(order.count ? order.count : 1, sizeof *index->steps, (void **)&index->steps);
  if (!status) copy_steps(trace->steps, &order, index->steps);
  free(order.rows);
  return status;
}

static td_status order_lengths(const struct td_trace *trace, struct td_trace_index *index) {
  uint64_t count = index->requests.count;
  TD_TRY(td_alloc(count ? count : 1, sizeof *index->lengths, (void **)&index->lengths));
  for (uint64_t i = 0; i < count; i++) {
    const struct td_row_request *row = &trace->requests[index->requests.rows[i]];
    index->lengths[i] = (struct td_length){row->request, row->output_tokens};
  }
  return TD_OK;
}

td_status td_index_build(struct td_trace *trace) {
  const uint64_t *count = trace->count;
  const struct column request = COLUMN(trace->requests, request), none = {0};
  const struct column token_request = COLUMN(trace->tokens, request), token_index = COLUMN(trace->tokens, index);
  const struct column stay_request = COLUMN(trace->residency, request);
  const struct column stay_token = COLUMN(trace->residency, first_token);
  TD_TRY(td_alloc(1, sizeof *trace->index, (void **)&trace->index)); /* td_trace_free frees what there is */
  TD_TRY(order_rows(&trace->index->requests, count[TD_TABLE_REQUESTS], &request, &none));
  TD_TRY(order_rows(&trace->index->tokens, count[TD_TABLE_TOKENS], &token_request, &token_index));
  TD_TRY(order_rows(&trace->index->residency, count[TD_TABLE_RESIDENCY], &stay_request, &stay_token));
  TD_TRY(order_lengths(trace, trace->index));
  return order_steps(trace, trace->index);
}

void td_index_free(struct td_trace_index *index) {
  if (!index) return;
  free(index->requests.rows);
  free(index->lengths);
  free(index->tokens.rows);
  free(index->residency.rows);
  free(index->steps);
  free(index->device_steps);
  free(index);
}

/* ---- looking up ---- */

/* Values in ascending order: of the rows of an order, or of a column itself (NULL). */
struct ascending {
  struct column column;
  const uint64_t *rows;
};

static inline uint64_t value_at(const struct ascending *values, uint64_t place) {
  return at(&values->column, values->rows ? values->rows[place] : place);
}

/* The place of a value in [low, high), which is not empty, if they were spread evenly. */
static uint64_t guess(const struct ascending *values, uint64_t low, uint64_t high, uint64_t value) {
  uint64_t first = value_at(values, low), last = value_at(values, high - 1);
  if (value <= first) return low;
  if (value >= last) return high - 1;
  return low + (uint64_t)((double)(value - first) / (double)(last - first) * (double)(high - 1 - low));
}

/* First place in [low, high) with at least this value; high if none has it. Requests are numbered densely and steps of
 * a device too, so that it is near the guess: looked for in doubling steps from there, halving where they lead outside.
 */
static uint64_t first_from(const struct ascending *values, uint64_t low, uint64_t high, uint64_t value) {
  uint64_t middle = low < high ? guess(values, low, high, value) : low;
  for (uint64_t step = 1; low < high; step *= 2) {
    bool less = value_at(values, middle) < value;
    *(less ? &low : &high) = less ? middle + 1 : middle;
    middle = less ? low + step : high - step;
    if (middle - low >= high - low) middle = low + (high - low) / 2; /* in unsigned numbers */
  }
  return low;
}

uint64_t td_index_requests_from(const struct td_trace *trace, uint64_t request) {
  const struct ascending lengths = {.column = COLUMN(trace->index->lengths, request)};
  return first_from(&lengths, 0, trace->index->requests.count, request);
}

uint64_t td_index_tokens_from(const struct td_trace *trace, uint64_t request) {
  const struct td_order *order = &trace->index->tokens;
  return first_from(&(struct ascending){COLUMN(trace->tokens, request), order->rows}, 0, order->count, request);
}

uint64_t td_index_residency_from(const struct td_trace *trace, uint64_t request) {
  const struct td_order *order = &trace->index->residency;
  return first_from(&(struct ascending){COLUMN(trace->residency, request), order->rows}, 0, order->count, request);
}

bool td_index_step(const struct td_trace *trace, uint32_t device, uint64_t index, uint64_t *out_at) {
  const struct td_trace_index *order = trace->index;
  const struct ascending steps = {.column = COLUMN(order->steps, index)};
  uint64_t begin = order->device_steps[device];
  *out_at = first_from(&steps, begin, order->device_steps[device + 1], index + 1) - 1;
  return *out_at + 1 > begin;
}
