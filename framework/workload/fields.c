/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text.h"

static bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

/* A field in quotes, doubled quotes within taken for one. Returns what follows the closing quote, NULL if none does. */
static char *cut_quoted(char *at, char *end, struct field *out) {
  char *to = ++at;
  out->at = to;
  for (; at < end; at++) {
    if (*at == '"') {
      if (at + 1 == end || at[1] != '"') break;
      at++;
    }
    *to++ = *at;
  }
  out->bytes = (size_t)(to - out->at);
  return at < end ? at + 1 : NULL;
}

static char *cut_plain(char *at, char *end, struct field *out) {
  char *comma = memchr(at, ',', (size_t)(end - at)), *last = comma ? comma : end;
  out->at = at;
  while (last > at && is_blank(last[-1])) last--;
  out->bytes = (size_t)(last - at);
  return comma ? comma : end;
}

const char *fields_cut(char *line, size_t bytes, struct field *out, int32_t *out_count) {
  char *at = line, *end = line + bytes;
  for (int32_t count = 0; count < TEXT_FIELDS_MAX;) {
    while (at < end && is_blank(*at)) at++;
    bool quoted = at < end && *at == '"';
    at = quoted ? cut_quoted(at, end, &out[count]) : cut_plain(at, end, &out[count]);
    if (!at) return "found a quote that does not end in its line, expected it closed";
    while (at < end && is_blank(*at)) at++;
    *out_count = ++count;
    if (at == end) return NULL;
    if (*at++ != ',') return "found text behind a closing quote, expected a comma";
  }
  return "found over 64 fields, expected fewer";
}

bool field_is(struct field field, const char *text) {
  return strlen(text) == field.bytes && !memcmp(field.at, text, field.bytes);
}

bool field_count(struct field field, uint64_t most, uint64_t *out) {
  uint64_t value = 0;
  if (!field.bytes) return false;
  for (size_t i = 0; i < field.bytes; i++) {
    unsigned digit = (unsigned)(unsigned char)field.at[i] - '0';
    if (digit > 9 || __builtin_mul_overflow(value, 10u, &value) || __builtin_add_overflow(value, digit, &value)) {
      return false;
    }
  }
  if (value > most) return false;
  *out = value;
  return true;
}

bool field_real(struct field field, double *out) {
  char text[64], *end;
  if (!field.bytes || field.bytes >= sizeof text) return false;
  memcpy(text, field.at, field.bytes);
  text[field.bytes] = 0;
  if (strspn(text, "0123456789.eE+-") != field.bytes) return false;
  double value = strtod(text, &end);
  if (*end || !isfinite(value) || value < 0) return false;
  *out = value + 0.0; /* -0 becomes 0 */
  return true;
}
