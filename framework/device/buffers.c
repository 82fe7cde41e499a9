/* SPDX-License-Identifier: Apache-2.0
 *
 * The sizes of the buffers a device handed out, so that the checked calls can refuse what lies outside of one. Sorted
 * by address: a lookup is a binary search over a few hundred entries.
 */
#include <stdlib.h>
#include <string.h>

#include "device_private.h"
#include "tandem/base.h"

struct book_entry {
  const struct td_buffer *buffer;
  uint64_t bytes;
};
struct td_device_books {
  struct book_entry *entries;
  size_t count, capacity;
};

td_status td_books_open(struct td_device_books **out_books) {
  void *books;
  TD_TRY(td_alloc(1, sizeof(struct td_device_books), &books));
  *out_books = books;
  return TD_OK;
}

void td_books_close(struct td_device_books *books) {
  if (!books) return;
  free(books->entries);
  free(books);
}

/* Index of the first entry that is not below `buffer`. */
static size_t lower_bound(const struct td_device_books *books, const struct td_buffer *buffer) {
  size_t low = 0, high = books->count;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if ((uintptr_t)books->entries[middle].buffer < (uintptr_t)buffer) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

td_status td_books_add(struct td_device_books *books, struct td_buffer *buffer, uint64_t bytes) {
  void *entries = books->entries;
  TD_TRY(td_grow(&entries, &books->capacity, books->count + 1, sizeof *books->entries));
  books->entries = entries;
  size_t at = lower_bound(books, buffer);
  memmove(&books->entries[at + 1], &books->entries[at], (books->count - at) * sizeof *books->entries);
  books->entries[at] = (struct book_entry){buffer, bytes};
  books->count++;
  return TD_OK;
}

void td_books_remove(struct td_device_books *books, const struct td_buffer *buffer) {
  size_t at = lower_bound(books, buffer);
  if (at == books->count || books->entries[at].buffer != buffer) return;
  books->count--;
  memmove(&books->entries[at], &books->entries[at + 1], (books->count - at) * sizeof *books->entries);
}

bool td_books_find(const struct td_device_books *books, const struct td_buffer *buffer, uint64_t *out_bytes) {
  size_t at = lower_bound(books, buffer);
  if (at == books->count || books->entries[at].buffer != buffer) return false;
  *out_bytes = books->entries[at].bytes;
  return true;
}
