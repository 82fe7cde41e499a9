/* SPDX-License-Identifier: Apache-2.0
 *
 * Pages of a file that differ from what the file holds: a sorted list.
 */
#ifndef TRACES_PAGES_H
#define TRACES_PAGES_H

#include <stddef.h>
#include <stdint.h>

#define TD_PAGE_BYTES 4096u

/* Ordered: a page written with two kinds keeps the larger. */
enum td_page_kind { TD_PAGE_DATA, TD_PAGE_INDEX, TD_PAGE_HEADER };

struct td_page {
  uint64_t number; /* offset / TD_PAGE_BYTES */
  enum td_page_kind kind;
  unsigned char *data;
};
/* Zero-initialise. */
struct td_pages {
  struct td_page *items; /* by number */
  size_t count, capacity;
};

/* Fills `data` with what the file holds of page `number`; 0 or -1. */
typedef int (*td_page_load)(void *context, uint64_t number, unsigned char *data);

/* 0, or -1 when memory or `load` fails. */
int td_pages_write(struct td_pages *pages, uint64_t offset, size_t bytes, const void *data, enum td_page_kind kind,
                   td_page_load load, void *context);
int td_pages_read(const struct td_pages *pages, uint64_t offset, size_t bytes, void *out, td_page_load load,
                  void *context);
/* Whether there is a page with begin <= number < end. */
int td_pages_any(const struct td_pages *pages, uint64_t begin, uint64_t end);
void td_pages_clear(struct td_pages *pages);

#endif
