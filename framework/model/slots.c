/* SPDX-License-Identifier: Apache-2.0
 *
 * Open-addressed tables of numbers below a known count: 4 to 16 bytes an entry, so that what a vocabulary or a list of
 * merges takes stays in proportion to the file it comes from.
 */
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

uint64_t td_mix(uint64_t hash) {
  hash ^= hash >> 32;
  hash *= UINT64_C(0xd6e8feb86659fd93);
  return hash ^ hash >> 32;
}

td_status td_slots_open(size_t count, struct td_slots *out) {
  uint64_t slots = 2;
  while (slots < 2 * (uint64_t)count) slots *= 2;
  TD_TRY(td_alloc(slots, sizeof *out->ids, (void **)&out->ids));
  memset(out->ids, 0xff, slots * sizeof *out->ids);
  out->mask = slots - 1;
  return TD_OK;
}

void td_slots_free(struct td_slots *slots) {
  free(slots->ids);
}
