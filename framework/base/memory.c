/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "tandem/base.h"

td_status td_alloc(size_t count, size_t size, void **out) {
  /* calloc(0) may give NULL, which callers would take for a failure */
  void *memory = calloc(count ? count : 1, size ? size : 1);
  if (!memory) return td_fail(TD_NO_MEMORY, "no memory for %zu x %zu bytes", count, size);
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

static td_status read_open_file(FILE *file, const char *path, size_t limit, char **out_data, size_t *out_bytes) {
  struct stat info;
  if (fstat(fileno(file), &info)) return td_fail(TD_IO, "%s: %s", path, strerror(errno));
  if (S_ISDIR(info.st_mode)) return td_fail(TD_IO, "%s: found a folder, expected a file", path);
  char *data = NULL;
  size_t used = 0, capacity = 0;
  for (;;) {
    td_status status = used >= limit
                           ? td_fail(TD_IO, "%s: found more than %zu bytes, expected at most that", path, limit)
                           : td_grow((void **)&data, &capacity, used + 4097, 1);
    if (status) return free(data), status;
    size_t room = capacity - 1 - used, got = fread(data + used, 1, room, file);
    used += got;
    if (got < room) break;
  }
  if (ferror(file)) return free(data), td_fail(TD_IO, "%s: %s", path, strerror(errno));
  if (used > limit) {
    return free(data), td_fail(TD_IO, "%s: found %zu bytes, expected at most %zu", path, used, limit);
  }
  data[used] = 0;
  *out_data = data;
  *out_bytes = used;
  return TD_OK;
}

td_status td_read_file(const char *path, size_t limit, char **out_data, size_t *out_bytes) {
  FILE *file = fopen(path, "rb");
  if (!file) return td_fail(errno == ENOENT ? TD_NOT_FOUND : TD_IO, "%s: %s", path, strerror(errno));
  td_status status = read_open_file(file, path, limit, out_data, out_bytes);
  fclose(file);
  return status;
}

td_status td_check_output(const char *path) {
  struct stat info;
  if (!*path) return td_fail(TD_IO, "output: found an empty path, expected a file name");
  if (path[strlen(path) - 1] == '/') return td_fail(TD_IO, "%s: found a folder, expected a file name", path);
  if (stat(path, &info) || S_ISREG(info.st_mode)) return TD_OK;
  return td_fail(TD_IO, "%s: found %s, expected a file name", path,
                 S_ISDIR(info.st_mode) ? "a folder" : "a device or pipe");
}
