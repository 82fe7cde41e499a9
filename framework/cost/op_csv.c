/* SPDX-License-Identifier: Apache-2.0 */
#include "op_csv.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "tandem/base.h"

#define TEXT_MAX ((size_t)256 << 20)

td_status td_csv_text(const char *file, char **out_text, size_t *out_bytes) {
  gzFile in = gzopen(file, "rb");
  if (!in) return td_fail(TD_NOT_FOUND, "%s: %s", file, strerror(errno ? errno : ENOMEM));
  void *text = NULL;
  size_t capacity = 0, used = 0;
  td_status status = TD_OK;
  for (;;) {
    status = td_grow(&text, &capacity, used + 65537, 1);
    if (status) break;
    int got = gzread(in, (char *)text + used, 65536);
    if (got < 0) status = td_fail(TD_IO, "%s: found a file that does not read as text or gzip", file);
    if (got <= 0) break;
    used += (size_t)got;
    if (used <= TEXT_MAX) continue;
    status = td_fail(TD_CONFIG, "%s: found over %zu bytes of text, expected a smaller table", file, TEXT_MAX);
    break;
  }
  bool cut = !status && gzclose(in) != Z_OK;
  if (status) gzclose(in);
  if (cut) status = td_fail(TD_CORRUPT, "%s: found a gzip file that is cut short", file);
  if (status) {
    free(text);
    return status;
  }
  ((char *)text)[used] = 0;
  size_t mark = strncmp(text, "\xef\xbb\xbf", 3) ? 0 : 3; /* byte order mark */
  memmove(text, (char *)text + mark, used + 1 - mark);
  *out_text = text;
  *out_bytes = used - mark;
  return TD_OK;
}

int32_t td_csv_cut(char *line, char **values) {
  int32_t count = 0;
  for (char *at = line; count < TD_CSV_COLUMNS; at++) {
    values[count++] = at;
    at += strcspn(at, ",\r");
    bool more = *at == ',';
    *at = 0;
    if (!more) return count;
  }
  return TD_CSV_COLUMNS + 1;
}

td_status td_csv_names(const char *file, char *header, char **names, int32_t *out_count) {
  *out_count = td_csv_cut(header, names);
  if (*out_count <= TD_CSV_COLUMNS) return TD_OK;
  return td_fail(TD_CONFIG, "%s:1: found over %d columns, expected at most as many", file, TD_CSV_COLUMNS);
}

td_status td_csv_find(const char *file, char *const *names, int32_t count, const char *name, int32_t *out) {
  *out = -1;
  for (int32_t i = 0; i < count; i++) {
    if (strcmp(names[i], name)) continue;
    if (*out >= 0) return td_fail(TD_CONFIG, "%s:1: found two columns %s, expected one", file, name);
    *out = i;
  }
  return TD_OK;
}
