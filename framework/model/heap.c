/* SPDX-License-Identifier: Apache-2.0
 *
 * A binary heap of pairs that can merge.
 */
#include "tokenizer.h"

static bool comes_before(const struct td_pair *a, const struct td_pair *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

td_status td_heap_push(struct td_heap *heap, struct td_pair pair) {
  TD_TRY(td_grow((void **)&heap->pairs, &heap->capacity, heap->count + 1, sizeof pair));
  size_t at = heap->count++;
  while (at && comes_before(&pair, &heap->pairs[(at - 1) / 2])) {
    heap->pairs[at] = heap->pairs[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  heap->pairs[at] = pair;
  return TD_OK;
}

struct td_pair td_heap_pop(struct td_heap *heap) {
  struct td_pair first = heap->pairs[0], last = heap->pairs[--heap->count];
  size_t at = 0, count = heap->count;
  for (size_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && comes_before(&heap->pairs[child + 1], &heap->pairs[child])) child++;
    if (!comes_before(&heap->pairs[child], &last)) break;
    heap->pairs[at] = heap->pairs[child];
  }
  heap->pairs[at] = last;
  return first;
}
