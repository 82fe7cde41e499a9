/* SPDX-License-Identifier: Apache-2.0
 *
 * Finding tokens that are written out in a text.
 */
#include <stdlib.h>

#include "tokenizer.h"

static int compare_specials(const void *a, const void *b) {
  return td_span_compare(((const struct td_special *)a)->text, ((const struct td_special *)b)->text);
}

td_status td_specials_add(struct td_specials *specials, struct td_special special) {
  TD_TRY(td_grow((void **)&specials->list, &specials->capacity, (size_t)specials->count + 1, sizeof special));
  specials->list[specials->count++] = special;
  return TD_OK;
}

void td_specials_index(struct td_specials *specials) {
  int32_t next = 0;
  if (specials->count) qsort(specials->list, (size_t)specials->count, sizeof *specials->list, compare_specials);
  for (int byte = 0; byte < 256; byte++) {
    specials->begin[byte] = next;
    while (next < specials->count && (unsigned char)specials->list[next].text.data[0] == byte) next++;
  }
  specials->begin[256] = next;
}

void td_specials_free(struct td_specials *specials) {
  free(specials->list);
}

/* First special in [low, high) whose byte `depth` is at least `byte`; all of them share the bytes before. */
static int32_t lower_bound(const struct td_special *specials, int32_t low, int32_t high, size_t depth, int byte) {
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    struct td_span text = specials[middle].text;
    int found = depth < text.bytes ? (unsigned char)text.data[depth] : -1;
    if (found < byte) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

const struct td_special *td_specials_find(const struct td_specials *specials, const char *text, size_t bytes,
                                          bool all) {
  const struct td_special *best = NULL, *list = specials->list;
  int32_t low = specials->begin[(unsigned char)text[0]], high = specials->begin[(unsigned char)text[0] + 1];
  for (size_t depth = 1; low < high; depth++) {
    /* the shortest of a range comes first: it is the one that ends here, if any does */
    if (list[low].text.bytes == depth && (all || list[low].always)) best = &list[low];
    if (depth == bytes) break;
    int byte = (unsigned char)text[depth];
    low = lower_bound(list, low, high, depth, byte);
    high = lower_bound(list, low, high, depth, byte + 1);
  }
  return best;
}
