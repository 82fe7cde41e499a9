/* SPDX-License-Identifier: Apache-2.0 */
#include "index.h"

#include <stdlib.h>

static int compare(uint64_t a, uint64_t b) {
  return a < b ? -1 : a > b;
}

static int by_key(const void *left, const void *right) {
  const struct td_key *a = left, *b = right;
  int order = compare(a->major, b->major);
  if (!order) order = compare(a->minor, b->minor);
  return order ? order : compare(a->row, b->row);
}

static td_status keys_alloc(struct td_keys *keys, uint64_t count) {
  TD_TRY(td_alloc(count ? count : 1, sizeof *keys->items, (void **)&keys->items));
  keys->count = count;
  return TD_OK;
}

/* Rows mostly arrive in order already. */
static void keys_sort(struct td_keys *keys) {
  for (uint64_t i = 1; i < keys->count; i++) {
    if (by_key(&keys->items[i - 1], &keys->items[i]) <= 0) continue;
    qsort(keys->items, keys->count, sizeof *keys->items, by_key);
    return;
  }
}

#define FILL(keys, rows, total, major_field, minor_value)                                 \
  do {                                                                                    \
    TD_TRY(keys_alloc(&(keys), (total)));                                                 \
    for (uint64_t i = 0; i < (total); i++)                                                \
      (keys).items[i] = (struct td_key){(rows)[i].major_field, (rows)[i].minor_value, i}; \
    keys_sort(&(keys));                                                                   \
  } while (0)

static td_status fill(struct td_trace *trace, struct td_trace_index *index) {
  const uint64_t *count = trace->count;
  TD_TRY(keys_alloc(&index->requests, count[TD_TABLE_REQUESTS]));
  for (uint64_t i = 0; i < count[TD_TABLE_REQUESTS]; i++) {
    index->requests.items[i] = (struct td_key){trace->requests[i].request, 0, i};
  }
  keys_sort(&index->requests);
  FILL(index->tokens, trace->tokens, count[TD_TABLE_TOKENS], request, index);
  FILL(index->residency, trace->residency, count[TD_TABLE_RESIDENCY], request, first_token);
  FILL(index->steps, trace->steps, count[TD_TABLE_STEPS], device, index);
  return TD_OK;
}

td_status td_index_build(struct td_trace *trace) {
  TD_TRY(td_alloc(1, sizeof *trace->index, (void **)&trace->index));
  return fill(trace, trace->index); /* td_trace_free frees what there is */
}

void td_index_free(struct td_trace_index *index) {
  if (!index) return;
  free(index->requests.items);
  free(index->tokens.items);
  free(index->residency.items);
  free(index->steps.items);
  free(index);
}

/* Number of the first key >= (major, minor, row). */
static uint64_t lower_bound(const struct td_keys *keys, struct td_key key) {
  uint64_t low = 0, high = keys->count;
  while (low < high) {
    uint64_t middle = low + (high - low) / 2;
    if (by_key(&keys->items[middle], &key) < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

uint64_t td_keys_range(const struct td_keys *keys, uint64_t major, uint64_t *out_begin) {
  *out_begin = lower_bound(keys, (struct td_key){major, 0, 0});
  return major == UINT64_MAX ? keys->count : lower_bound(keys, (struct td_key){major + 1, 0, 0});
}

uint64_t td_keys_before(const struct td_keys *keys, uint64_t major, uint64_t minor) {
  uint64_t after = lower_bound(keys, (struct td_key){major, minor, UINT64_MAX});
  return after ? after - 1 : keys->count;
}

const struct td_row_request *td_index_request(const struct td_trace *trace, uint64_t request) {
  uint64_t begin, end = td_keys_range(&trace->index->requests, request, &begin);
  return begin < end ? &trace->requests[trace->index->requests.items[begin].row] : NULL;
}
