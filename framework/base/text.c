/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

static bool text_room(struct td_text *text, size_t more) {
  if (text->failed || td_grow((void **)&text->data, &text->capacity, text->bytes + more + 1, 1)) text->failed = true;
  return !text->failed;
}

void td_text_add(struct td_text *text, const void *data, size_t bytes) {
  if (!text_room(text, bytes)) return;
  if (bytes) memcpy(text->data + text->bytes, data, bytes);
  text->bytes += bytes;
  text->data[text->bytes] = 0;
}

void td_text_printf(struct td_text *text, const char *format, ...) {
  va_list args, again;
  va_start(args, format);
  va_copy(again, args);
  int bytes = vsnprintf(NULL, 0, format, args);
  if (bytes < 0) {
    text->failed = true;
  } else if (text_room(text, (size_t)bytes)) {
    vsnprintf(text->data + text->bytes, (size_t)bytes + 1, format, again);
    text->bytes += (size_t)bytes;
  }
  va_end(again);
  va_end(args);
}

void td_text_free(struct td_text *text) {
  free(text->data);
  *text = (struct td_text){0};
}

#define DISTANCE_MAX 64
int td_edit_distance(const char *a, const char *b) {
  size_t la = strlen(a), lb = strlen(b);
  if (la >= DISTANCE_MAX || lb >= DISTANCE_MAX) return DISTANCE_MAX;
  int row[DISTANCE_MAX];
  for (size_t j = 0; j <= lb; j++) row[j] = (int)j;
  for (size_t i = 1; i <= la; i++) {
    int diagonal = row[0];
    row[0] = (int)i;
    for (size_t j = 1; j <= lb; j++) {
      int change = diagonal + (tolower((unsigned char)a[i - 1]) != tolower((unsigned char)b[j - 1]));
      int shift = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
      diagonal = row[j];
      row[j] = change < shift ? change : shift;
    }
  }
  return row[lb];
}

/* Length of the valid UTF-8 sequence at `s` (RFC 3629: no overlong forms, no surrogates); 0 if there is none. */
static size_t utf8_length(const unsigned char *s, size_t bytes) {
  if (s[0] < 0x80) return 1;
  size_t need = s[0] >= 0xc2 && s[0] <= 0xdf   ? 2
                : s[0] >= 0xe0 && s[0] <= 0xef ? 3
                : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4
                                               : 0;
  if (!need || need > bytes) return 0;
  for (size_t i = 1; i < need; i++) {
    if ((s[i] & 0xc0) != 0x80) return 0;
  }
  bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
  bool beyond = (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
  return overlong || beyond ? 0 : need;
}

void td_json_string(FILE *out, const char *text, size_t bytes) {
  const unsigned char *s = (const unsigned char *)text;
  fputc('"', out);
  for (size_t i = 0; i < bytes;) {
    size_t length = utf8_length(s + i, bytes - i);
    if (length == 0) {
      fputs("\\ufffd", out);
      length = 1;
    } else if (s[i] == '"' || s[i] == '\\') {
      fprintf(out, "\\%c", s[i]);
    } else if (s[i] < 0x20 || s[i] == 0x7f) {
      fprintf(out, "\\u%04x", s[i]);
    } else {
      fwrite(s + i, 1, length, out);
    }
    i += length;
  }
  fputc('"', out);
}

void td_json_member(FILE *out, const char *name, const char *text) {
  fprintf(out, "\"%s\": ", name);
  if (text) {
    td_json_string(out, text, strlen(text));
  } else {
    fputs("null", out);
  }
}
