/* SPDX-License-Identifier: Apache-2.0 */
#include "gguf_cursor.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

td_status td_cursor_fail(const struct td_cursor *cursor, enum td_code code, const char *field, const char *format,
                         ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (!cursor->section) return td_fail(code, "%s: %s: %s", cursor->path, field, text);
  if (!cursor->name.data) {
    return td_fail(code, "%s: %s %" PRIu64 ": %s: %s", cursor->path, cursor->section, cursor->index, field, text);
  }
  return td_fail(code, "%s: %s %" PRIu64 " (%.*s): %s: %s", cursor->path, cursor->section, cursor->index,
                 TD_SPAN_SHOW(cursor->name), field, text);
}

td_status td_cursor_take(struct td_cursor *cursor, uint64_t bytes, const char *field, const unsigned char **out) {
  uint64_t left = cursor->size - cursor->at;
  if (bytes > left) {
    return td_cursor_fail(cursor, TD_CORRUPT, field,
                          "found the end of the file after %" PRIu64 " bytes, expected %" PRIu64 " at byte %" PRIu64,
                          left, bytes, cursor->at);
  }
  *out = cursor->base + cursor->at;
  cursor->at += bytes;
  return TD_OK;
}

td_status td_cursor_u32(struct td_cursor *cursor, const char *field, uint32_t *out) {
  const unsigned char *data = NULL;
  TD_TRY(td_cursor_take(cursor, sizeof *out, field, &data));
  memcpy(out, data, sizeof *out);
  return TD_OK;
}

td_status td_cursor_u64(struct td_cursor *cursor, const char *field, uint64_t *out) {
  const unsigned char *data = NULL;
  TD_TRY(td_cursor_take(cursor, sizeof *out, field, &data));
  memcpy(out, data, sizeof *out);
  return TD_OK;
}

td_status td_cursor_text(struct td_cursor *cursor, const char *field, struct td_span *out) {
  uint64_t bytes;
  const unsigned char *data = NULL;
  TD_TRY(td_cursor_u64(cursor, field, &bytes));
  TD_TRY(td_cursor_take(cursor, bytes, field, &data));
  *out = (struct td_span){(const char *)data, bytes};
  return TD_OK;
}

bool td_span_is(struct td_span span, const char *text) {
  return span.bytes == strlen(text) && !memcmp(span.data, text, span.bytes);
}

int td_span_compare(struct td_span a, struct td_span b) {
  uint64_t common = a.bytes < b.bytes ? a.bytes : b.bytes;
  int order = common ? memcmp(a.data, b.data, common) : 0;
  return order ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}
