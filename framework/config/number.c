/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as libconfig's grammar knows them. libconfig 1.5 cuts an integer without L, and every hexadecimal number, to
 * 32 bits without a word; so each number is read here first and handed over in a spelling that cannot be cut.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static bool is_digit(char c) {
  return isdigit((unsigned char)c) != 0;
}

static size_t digits(const char *at) {
  size_t n = 0;
  while (is_digit(at[n])) n++;
  return n;
}

static size_t suffix(const char *at) {
  return at[0] == 'L' ? (at[1] == 'L' ? 2 : 1) : 0;
}

static bool write_integer(int64_t value, bool asked_long, char *out, size_t size) {
  bool wide = asked_long || value > INT32_MAX || value < INT32_MIN;
  return snprintf(out, size, "%" PRId64 "%s", value, wide ? "L" : "") < (int)size;
}

static size_t hexadecimal(const char *at, char *out, size_t size) {
  size_t n = 2;
  while (isxdigit((unsigned char)at[n])) n++;
  errno = 0;
  unsigned long long value = strtoull(at, NULL, 16);
  if (errno || value > INT64_MAX) return 0;
  size_t tail = suffix(at + n);
  return write_integer((int64_t)value, tail > 0, out, size) ? n + tail : 0;
}

/* Length of a fraction and exponent behind the integer digits; 0 if the number is an integer. */
static size_t real_part(const char *at) {
  size_t n = 0;
  if (at[n] == '.') n += 1 + digits(at + 1);
  if (at[n] != 'e' && at[n] != 'E') return n;
  size_t e = n + 1;
  if (at[e] == '+' || at[e] == '-') e++;
  return is_digit(at[e]) ? e + digits(at + e) : n;
}

static size_t real(const char *at, size_t bytes, char *out, size_t size) {
  char token[80];
  if (bytes >= sizeof token) return 0;
  memcpy(token, at, bytes);
  token[bytes] = 0;
  double value = strtod(token, NULL);
  if (!isfinite(value)) return 0;
  const char *exponent = strpbrk(token, "eE");
  bool dot = strchr(token, '.') != NULL;
  /* some releases take an exponent only behind a point */
  int used = exponent && !dot ? snprintf(out, size, "%.*s.0%s", (int)(exponent - token), token, exponent)
                              : snprintf(out, size, "%s", token);
  return used < (int)size ? bytes : 0;
}

size_t td_cfg_number(const char *at, char *out, size_t size) {
  size_t sign = at[0] == '-' || at[0] == '+';
  if (!sign && at[0] == '0' && (at[1] == 'x' || at[1] == 'X') && isxdigit((unsigned char)at[2])) {
    return hexadecimal(at, out, size);
  }
  size_t whole = sign + digits(at + sign), more = real_part(at + whole);
  if (more) return real(at, whole + more, out, size);
  errno = 0;
  long long value = strtoll(at, NULL, 10);
  if (errno) return 0;
  size_t tail = suffix(at + whole);
  return write_integer(value, tail > 0, out, size) ? whole + tail : 0;
}
