/* SPDX-License-Identifier: Apache-2.0 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tandem/base.h"

td_status td_alloc(size_t count, size_t size, void **out) {
  /* calloc(0) may give NULL, which callers would take for a failure */
  void *memory = calloc(count ? count : 1, size ? size : 1);
  if (!memory) return td_fail(TD_NO_MEMORY, "no memory for %zu x %zu bytes", count, size);
  *out = memory;
  return TD_OK;
}

enum { LINE_BYTES = 64, PAGE_BYTES = 4096, LARGE_BYTES = 1 << 21 };

/* Before it is touched. It may be refused, which costs nothing but time. */
static void want_large_pages(void *memory, size_t bytes) {
#ifdef MADV_HUGEPAGE
  uintptr_t begin = ((uintptr_t)memory + LARGE_BYTES - 1) & ~(uintptr_t)(LARGE_BYTES - 1);
  uintptr_t end = ((uintptr_t)memory + bytes) & ~(uintptr_t)(LARGE_BYTES - 1);
  if (begin < end) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE);
#else
  (void)memory, (void)bytes;
#endif
}

td_status td_alloc_lines(size_t count, size_t size, void **out) {
  uint64_t bytes, whole;
  void *memory = NULL;
  if (td_mul_size(count, size, &bytes) && td_add_size(bytes, LINE_BYTES, &whole)) {
    whole -= whole % LINE_BYTES;
    size_t begin = whole < PAGE_BYTES ? LINE_BYTES : whole < LARGE_BYTES ? PAGE_BYTES : LARGE_BYTES;
    if (posix_memalign(&memory, begin, whole)) memory = NULL;
  }
  if (!memory) return td_fail(TD_NO_MEMORY, "no memory for %zu x %zu bytes", count, size);
  want_large_pages(memory, whole);
  *out = memory;
  return TD_OK;
}

td_status td_grow(void **array, size_t *capacity, size_t need, size_t size) {
  if (need <= *capacity) return TD_OK;
  size_t wanted = *capacity < 8 ? 8 : *capacity;
  while (wanted < need && wanted <= SIZE_MAX / 2) wanted *= 2;
  if (wanted < need) wanted = need;
  uint64_t bytes;
  void *grown = td_mul_size(wanted, size, &bytes) ? realloc(*array, bytes) : NULL;
  if (!grown) return td_fail(TD_NO_MEMORY, "no memory for %zu x %zu bytes", wanted, size);
  *array = grown;
  *capacity = wanted;
  return TD_OK;
}

td_status td_copy_text(const char *text, char **out) {
  char *copy = strdup(text);
  if (!copy) return td_fail(TD_NO_MEMORY, "no memory for a text of %zu bytes", strlen(text));
  *out = copy;
  return TD_OK;
}

td_status td_format(char *out, size_t size, const char *format, ...) {
  va_list args;
  va_start(args, format);
  int used = vsnprintf(out, size, format, args);
  va_end(args);
  if (used < 0 || (size_t)used >= size) {
    return td_fail(TD_CONFIG, "\"%.40s...\": found %d bytes, expected at most %zu", out, used, size - 1);
  }
  return TD_OK;
}
