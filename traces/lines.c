/* SPDX-License-Identifier: Apache-2.0 */
#include "lines.h"

#include <errno.h>
#include <math.h>
#include <stddef.h>
#include <string.h>

#include "tandem/base.h"

static const char pairs[] =
    "000102030405060708091011121314151617181920212223242526272829303132333435363738394041424344454647484950515253545556"
    "57"
    "5859606162636465666768697071727374757677787980818283848586878889909192939495969798"
    "99";

void td_lines_begin(struct td_lines *lines, FILE *out) {
  lines->out = out;
  lines->next = lines->data;
}

td_status td_lines_flush(struct td_lines *lines) {
  size_t bytes = (size_t)(lines->next - lines->data);
  lines->next = lines->data;
  if (fwrite(lines->data, 1, bytes, lines->out) == bytes) return TD_OK;
  return td_fail(TD_IO, "export: cannot write: %s", strerror(errno));
}

td_status td_lines_room(struct td_lines *lines) {
  return lines->next - lines->data <= (ptrdiff_t)(sizeof lines->data - TD_LINES_ROW) ? TD_OK : td_lines_flush(lines);
}

static uint32_t digits_of(uint64_t value) {
  uint32_t bits = 64 - (uint32_t)__builtin_clzll(value | 1), guess = bits * 1233 >> 12; /* log10(2) = 1233 / 4096 */
  return guess + ((value | 1) >= td_powers_of_ten[guess]);                              /* 0 has a digit too */
}

/* Ends at `end`. */
static void write_below_1e8(char *end, uint32_t value) {
  while (value >= 100) {
    end -= 2;
    memcpy(end, &pairs[2 * (value % 100)], 2);
    value /= 100;
  }
  if (value >= 10) {
    memcpy(end - 2, &pairs[2 * value], 2);
  } else {
    end[-1] = (char)('0' + value);
  }
}

static void write_8(char *to, uint32_t value) {
  for (int i = 6; i >= 0; i -= 2, value /= 100) memcpy(to + i, &pairs[2 * (value % 100)], 2);
}

char *td_lines_u64(char *to, uint64_t value) {
  char *last = to + digits_of(value), *end = last;
  for (; value >= 100000000; value /= 100000000) {
    end -= 8;
    write_8(end, (uint32_t)(value % 100000000));
  }
  write_below_1e8(end, (uint32_t)value);
  return last;
}

char *td_lines_i64(char *to, int64_t value) {
  if (value < 0) *to++ = '-';
  return td_lines_u64(to, value < 0 ? -(uint64_t)value : (uint64_t)value);
}

char *td_lines_real(char *to, double value) {
  return isnan(value) ? to : to + snprintf(to, 32, "%.17g", value);
}

char *td_lines_text(char *to, const char *text, size_t size) {
  size_t length = strnlen(text, size);
  if (!memchr(text, ',', length) && !memchr(text, '"', length) && !memchr(text, '\n', length) &&
      !memchr(text, '\r', length)) {
    return td_lines_bytes(to, text, length);
  }
  *to++ = '"';
  for (size_t i = 0; i < length; i++) {
    if (text[i] == '"') *to++ = '"';
    *to++ = text[i];
  }
  *to++ = '"';
  return to;
}

char *td_lines_bytes(char *to, const char *bytes, size_t count) {
  memcpy(to, bytes, count);
  return to + count;
}
