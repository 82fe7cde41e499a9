/* SPDX-License-Identifier: Apache-2.0 */
#include "pages.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

/* Index of the first page whose number is not below `number`. */
static size_t find(const struct td_pages *pages, uint64_t number) {
  size_t low = 0, high = pages->count;
  if (high && pages->items[high - 1].number < number) return high;
  while (low < high) {
    size_t middle = low + (high - low) / 2;
    if (pages->items[middle].number < number) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

static struct td_page *insert(struct td_pages *pages, size_t at, uint64_t number) {
  if (td_grow((void **)&pages->items, &pages->capacity, pages->count + 1, sizeof *pages->items)) return NULL;
  unsigned char *data = malloc(TD_PAGE_BYTES);
  if (!data) return NULL;
  struct td_page *page = &pages->items[at];
  memmove(page + 1, page, (pages->count - at) * sizeof *page);
  *page = (struct td_page){.number = number, .data = data};
  pages->count++;
  return page;
}

static void erase(struct td_pages *pages, struct td_page *page) {
  free(page->data);
  size_t at = (size_t)(page - pages->items);
  memmove(page, page + 1, (--pages->count - at) * sizeof *page);
}

/* The page to write to, with the file's bytes unless all of it is about to be replaced. */
static struct td_page *page_for(struct td_pages *pages, uint64_t number, int whole, td_page_load load, void *context) {
  size_t at = find(pages, number);
  if (at < pages->count && pages->items[at].number == number) return &pages->items[at];
  struct td_page *page = insert(pages, at, number);
  if (page && !whole && load(context, number, page->data)) {
    erase(pages, page);
    return NULL;
  }
  return page;
}

int td_pages_write(struct td_pages *pages, uint64_t offset, size_t bytes, const void *data, enum td_page_kind kind,
                   td_page_load load, void *context) {
  const unsigned char *from = data;
  while (bytes) {
    size_t inside = (size_t)(offset % TD_PAGE_BYTES), room = TD_PAGE_BYTES - inside;
    size_t now = bytes < room ? bytes : room;
    struct td_page *page = page_for(pages, offset / TD_PAGE_BYTES, now == TD_PAGE_BYTES, load, context);
    if (!page) return -1;
    memcpy(page->data + inside, from, now);
    if (kind > page->kind) page->kind = kind;
    from += now;
    offset += now;
    bytes -= now;
  }
  return 0;
}

int td_pages_read(const struct td_pages *pages, uint64_t offset, size_t bytes, void *out, td_page_load load,
                  void *context) {
  unsigned char *to = out, loaded[TD_PAGE_BYTES];
  while (bytes) {
    uint64_t number = offset / TD_PAGE_BYTES;
    size_t inside = (size_t)(offset % TD_PAGE_BYTES), room = TD_PAGE_BYTES - inside;
    size_t now = bytes < room ? bytes : room, at = find(pages, number);
    int dirty = at < pages->count && pages->items[at].number == number;
    if (!dirty && load(context, number, loaded)) return -1;
    memcpy(to, (dirty ? pages->items[at].data : loaded) + inside, now);
    to += now;
    offset += now;
    bytes -= now;
  }
  return 0;
}

int td_pages_any(const struct td_pages *pages, uint64_t begin, uint64_t end) {
  size_t at = find(pages, begin);
  return at < pages->count && pages->items[at].number < end;
}

void td_pages_clear(struct td_pages *pages) {
  for (size_t i = 0; i < pages->count; i++) free(pages->items[i].data);
  free(pages->items);
  *pages = (struct td_pages){0};
}
