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

void td_bpe_free(struct td_bpe *bpe) {
  free(bpe->symbols);
  free(bpe->heap.pairs);
  *bpe = (struct td_bpe){0};
}

td_status td_id_push(struct td_id_list *list, int32_t id) {
  TD_TRY(td_grow((void **)&list->ids, &list->capacity, list->count + 1, sizeof id));
  list->ids[list->count++] = id;
  return TD_OK;
}

static td_status offer(struct td_bpe *bpe, const struct td_encoder *encoder, int32_t left) {
  if (left == NONE || bpe->symbols[left].after == NONE) return TD_OK;
  struct td_pair pair = {
      .left = left, .left_id = bpe->symbols[left].id, .right_id = bpe->symbols[bpe->symbols[left].after].id};
  if (!td_encoder_merge(encoder, pair.left_id, pair.right_id, &pair.rank, &pair.merged)) return TD_OK;
  return td_heap_push(&bpe->heap, pair);
}

/* Its symbols may no longer be what they were when the pair was offered. */
static bool is_stale(const struct td_bpe *bpe, const struct td_pair *pair) {
  const struct td_bpe_symbol *left = &bpe->symbols[pair->left];
  return left->id != pair->left_id || left->after == NONE || bpe->symbols[left->after].id != pair->right_id;
}

static td_status apply(struct td_bpe *bpe, const struct td_encoder *encoder, const struct td_pair *pair) {
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
  bpe->heap.count = 0;
  for (size_t i = 0; i < count; i++) {
    bpe->symbols[i] = (struct td_bpe_symbol){ids[i], (int32_t)i - 1, i + 1 < count ? (int32_t)i + 1 : NONE};
  }
  for (size_t i = 0; i < count; i++) TD_TRY(offer(bpe, encoder, (int32_t)i));
  while (bpe->heap.count) {
    struct td_pair pair = td_heap_pop(&bpe->heap);
    if (!is_stale(bpe, &pair)) TD_TRY(apply(bpe, encoder, &pair));
  }
  for (int32_t i = count ? 0 : NONE; i != NONE; i = bpe->symbols[i].after) TD_TRY(td_id_push(out, bpe->symbols[i].id));
  return TD_OK;
}
