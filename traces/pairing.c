/* SPDX-License-Identifier: Apache-2.0 */
#include "pairing.h"

#include <stdlib.h>
#include <string.h>

struct named {
  const char *name;
  uint64_t request, row;
};
struct names {
  struct named *items; /* by name, request number */
  uint64_t count;
};

static int by_name(const void *left, const void *right) {
  const struct named *a = left, *b = right;
  int order = strcmp(a->name, b->name);
  return order ? order : a->request < b->request ? -1 : a->request > b->request;
}

static td_status collect(const struct td_trace *trace, struct names *out) {
  uint64_t count = trace->count[TD_TABLE_REQUESTS];
  TD_TRY(td_alloc(count, sizeof *out->items, (void **)&out->items));
  for (uint64_t i = 0; i < count; i++) {
    const struct td_row_request *row = &trace->requests[i];
    out->items[i] = (struct named){row->name, row->request, i};
  }
  out->count = count;
  qsort(out->items, count, sizeof *out->items, by_name);
  return TD_OK;
}

/* One past the last entry with the name of entry `begin`. */
static uint64_t same_name(const struct names *names, uint64_t begin) {
  uint64_t end = begin;
  while (end < names->count && !strcmp(names->items[end].name, names->items[begin].name)) end++;
  return end;
}

/* Pairs entries of one name: both unique pair as they are, else the request numbers decide. */
static void pair_group(const struct named *a, uint64_t count_a, const struct named *b, uint64_t count_b,
                       uint64_t *partner) {
  if (count_a == 1 && count_b == 1 && *a->name) {
    partner[a->row] = b->row;
    return;
  }
  for (uint64_t i = 0, j = 0; i < count_a && j < count_b;) {
    if (a[i].request == b[j].request) partner[a[i].row] = b[j].row;
    uint64_t number_a = a[i].request, number_b = b[j].request;
    if (number_a <= number_b) i++;
    if (number_b <= number_a) j++;
  }
}

static void pair_sorted(const struct names *a, const struct names *b, uint64_t *partner) {
  for (uint64_t i = 0, j = 0; i < a->count && j < b->count;) {
    int order = strcmp(a->items[i].name, b->items[j].name);
    uint64_t end_a = same_name(a, i), end_b = same_name(b, j);
    if (order == 0) pair_group(&a->items[i], end_a - i, &b->items[j], end_b - j, partner);
    if (order <= 0) i = end_a;
    if (order >= 0) j = end_b;
  }
}

td_status td_pair_requests(const struct td_trace *a, const struct td_trace *b, uint64_t **out_partner) {
  struct names names_a = {0}, names_b = {0};
  uint64_t *partner = NULL, count = a->count[TD_TABLE_REQUESTS];
  td_status status = collect(a, &names_a);
  if (!status) status = collect(b, &names_b);
  if (!status) status = td_alloc(count, sizeof *partner, (void **)&partner);
  if (!status) {
    for (uint64_t i = 0; i < count; i++) partner[i] = TD_UNPAIRED;
    pair_sorted(&names_a, &names_b, partner);
    *out_partner = partner;
  }
  free(names_a.items);
  free(names_b.items);
  return status;
}
