/* SPDX-License-Identifier: Apache-2.0
 *
 * Merging one word: a linked list of symbols and a heap of the pairs that can merge, lowest rank and then leftmost
 * first. O(n log n), so a word of a megabyte is no problem.
 */
#include <stdlib.h>

#include "tandem/base.h"
#include "tokenizer.h"

#define NONE (-1)

struct td_bpe_symbol {
  int32_t id; /* NONE: swallowed by its left neighbour */
  int32_t before, after;
};

/* Stale when its symbols are no longer what they were: checked when it comes out. */
struct td_bpe_pair {
  int32_t rank, left, left_id, right_id, merged;
};

void td_bpe_free(struct td_bpe *bpe) {
  free(bpe->symbols);
  free(bpe->heap);
  *bpe = (struct td_bpe){0};
}

td_status td_id_push(struct td_id_list *list, int32_t id) {
  TD_TRY(td_grow((void **)&list->ids, &list->capacity, list->count + 1, sizeof id));
  list->ids[list->count++] = id;
  return TD_OK;
}

static bool comes_before(const struct td_bpe_pair *a, const struct td_bpe_pair *b) {
  return a->rank != b->rank ? a->rank < b->rank : a->left < b->left;
}

static td_status heap_push(struct td_bpe *bpe, struct td_bpe_pair pair) {
  TD_TRY(td_grow((void **)&bpe->heap, &bpe->heap_capacity, bpe->heap_count + 1, sizeof pair));
  size_t at = bpe->heap_count++;
  while (at && comes_before(&pair, &bpe->heap[(at - 1) / 2])) {
    bpe->heap[at] = bpe->heap[(at - 1) / 2];
    at = (at - 1) / 2;
  }
  bpe->heap[at] = pair;
  return TD_OK;
}

static struct td_bpe_pair heap_pop(struct td_bpe *bpe) {
  struct td_bpe_pair first = bpe->heap[0], last = bpe->heap[--bpe->heap_count];
  size_t at = 0, count = bpe->heap_count;
  for (size_t child; (child = 2 * at + 1) < count; at = child) {
    if (child + 1 < count && comes_before(&bpe->heap[child + 1], &bpe->heap[child])) child++;
    if (!comes_before(&bpe->heap[child], &last)) break;
    bpe->heap[at] = bpe->heap[child];
  }
  bpe->heap[at] = last;
  return first;
}

static td_status offer(struct td_bpe *bpe, const struct td_encoder *encoder, int32_t left) {
  if (left == NONE || bpe->symbols[left].after == NONE) return TD_OK;
  struct td_bpe_pair pair = {
      .left = left, .left_id = bpe->symbols[left].id, .right_id = bpe->symbols[bpe->symbols[left].after].id};
  if (!td_encoder_merge(encoder, pair.left_id, pair.right_id, &pair.rank, &pair.merged)) return TD_OK;
  return heap_push(bpe, pair);
}

static bool is_stale(const struct td_bpe *bpe, const struct td_bpe_pair *pair) {
  const struct td_bpe_symbol *left = &bpe->symbols[pair->left];
  return left->id != pair->left_id || left->after == NONE || bpe->symbols[left->after].id != pair->right_id;
}

static td_status apply(struct td_bpe *bpe, const struct td_encoder *encoder, const struct td_bpe_pair *pair) {
  struct td_bpe_symbol *left = &bpe->symbols[pair->left], *right = &bpe->symbols[left->after];
  left->id = pair->merged;
  left->after = right->after;
  right->id = NONE;
  if (left->after != NONE) bpe->symbols[left->after].before = pair->left;
  TD_TRY(offer(bpe, encoder, left->before));
  return offer(bpe, encoder, pair->left);
}

td_status td_bpe_merge(struct td_bpe *bpe, const struct td_encoder *encoder, const int32_t *ids, size_t count,
                       struct td_id_list *out) {
  TD_TRY(td_grow((void **)&bpe->symbols, &bpe->symbol_capacity, count, sizeof *bpe->symbols));
  bpe->heap_count = 0;
  for (size_t i = 0; i < count; i++) {
    bpe->symbols[i] = (struct td_bpe_symbol){ids[i], (int32_t)i - 1, i + 1 < count ? (int32_t)i + 1 : NONE};
  }
  for (size_t i = 0; i < count; i++) TD_TRY(offer(bpe, encoder, (int32_t)i));
  while (bpe->heap_count) {
    struct td_bpe_pair pair = heap_pop(bpe);
    if (!is_stale(bpe, &pair)) TD_TRY(apply(bpe, encoder, &pair));
  }
  for (int32_t i = count ? 0 : NONE; i != NONE; i = bpe->symbols[i].after) TD_TRY(td_id_push(out, bpe->symbols[i].id));
  return TD_OK;
}
