/* SPDX-License-Identifier: Apache-2.0
 *
 * Times as traces write them, exact to the picosecond.
 */
#include <math.h>

#include "tandem/base.h"
#include "text.h"

static int64_t ten_to(int power) {
  return (int64_t)td_powers_of_ten[power];
}

static bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

/* Digits from *at on, up to 18; false if there are none or more. */
static bool read_digits(const char **at, const char *end, int64_t *out) {
  const char *begin = *at;
  int64_t value = 0;
  while (*at < end && is_digit(**at)) {
    if (*at - begin == 18) return false;
    value = value * 10 + (*(*at)++ - '0');
  }
  *out = value;
  return *at > begin;
}

/* The digits behind a point as a number of 10^-places, rounded half up. */
static int64_t read_fraction(const char **at, const char *end, int places) {
  int64_t value = 0;
  int seen = 0;
  bool up = false;
  for (; *at < end && is_digit(**at); ++*at, seen++) {
    if (seen < places) value = value * 10 + (**at - '0');
    if (seen == places) up = **at >= '5';
  }
  if (seen < places) value *= ten_to(places - seen);
  return value + up;
}

static struct instant make_instant(int64_t whole, int64_t fraction, int power) {
  int64_t in_second = ten_to(12 - power);
  struct instant out = {whole / in_second, whole % in_second * ten_to(power) + fraction};
  if (out.ps >= TD_PS_PER_SECOND) {
    out.ps -= TD_PS_PER_SECOND;
    out.s++;
  }
  return out;
}

/* With an exponent, as floating-point numbers are printed: as exact as a double is. */
static bool real_time(struct field field, int power, struct instant *out) {
  double value, whole;
  if (!field_real(field, &value)) return false;
  value /= (double)ten_to(12 - power);
  if (value > (double)TEXT_SECONDS_MAX) return false;
  double part = modf(value, &whole);
  *out = make_instant((int64_t)whole, (int64_t)llround(part * 1e12), 12);
  return true;
}

bool field_time(struct field field, int power, struct instant *out) {
  const char *at = field.at, *end = field.at + field.bytes;
  int64_t whole = 0, fraction = 0;
  bool digits = at < end && is_digit(*at);
  if (digits && !read_digits(&at, end, &whole)) return false;
  if (at < end && *at == '.') {
    at++;
    digits |= at < end && is_digit(*at);
    fraction = read_fraction(&at, end, power);
  }
  if (at < end) return real_time(field, power, out);
  *out = make_instant(whole, fraction, power);
  return digits && out->s <= TEXT_SECONDS_MAX;
}

/* A number of exactly `count` digits and what must follow it (0: nothing). */
static bool read_part(const char **at, const char *end, int count, const char *behind, int64_t *out) {
  int64_t value = 0;
  if (end - *at < count) return false;
  for (int i = 0; i < count; i++, ++*at) {
    if (!is_digit(**at)) return false;
    value = value * 10 + (**at - '0');
  }
  *out = value;
  if (!*behind) return true;
  if (*at == end) return false;
  char found = *(*at)++;
  return found == behind[0] || found == behind[1];
}

/* Days from 1970-01-01 in the Gregorian calendar, counted in eras of 400 years that begin in March. */
static int64_t days_of(int64_t year, int64_t month, int64_t day) {
  year -= month <= 2;
  int64_t era = year / 400, of_era = year % 400;
  int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int64_t days_in(int64_t year, int64_t month) {
  static const int8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  bool leap = (year % 4 == 0 && year % 100) || year % 400 == 0;
  return days[month - 1] + (month == 2 && leap);
}

bool field_stamp(struct field field, struct instant *out) {
  const char *at = field.at, *end = field.at + field.bytes;
  int64_t year, month, day, hour, minute, second, fraction = 0;
  if (!read_part(&at, end, 4, "--", &year) || !read_part(&at, end, 2, "--", &month) ||
      !read_part(&at, end, 2, " T", &day) || !read_part(&at, end, 2, "::", &hour) ||
      !read_part(&at, end, 2, "::", &minute) || !read_part(&at, end, 2, "", &second)) {
    return false;
  }
  if (at < end && *at == '.') {
    at++;
    if (at == end || !is_digit(*at)) return false;
    fraction = read_fraction(&at, end, 12);
  }
  struct field rest = {at, (size_t)(end - at)};
  if (rest.bytes && !field_is(rest, "Z") && !field_is(rest, "+00:00")) return false;
  if (year < 1970 || month < 1 || month > 12 || day < 1 || day > days_in(year, month)) return false;
  if (hour > 23 || minute > 59 || second > 59) return false;
  *out = make_instant(((days_of(year, month, day) * 24 + hour) * 60 + minute) * 60 + second, fraction, 12);
  return true;
}

bool instant_since(struct instant a, struct instant b, int64_t *out_ps) {
  int64_t ps;
  if (__builtin_mul_overflow(b.s - a.s, TD_PS_PER_SECOND, &ps) || __builtin_add_overflow(ps, b.ps - a.ps, &ps)) {
    return false;
  }
  if (ps < 0) return false;
  *out_ps = ps;
  return true;
}

int instant_compare(struct instant a, struct instant b) {
  if (a.s != b.s) return a.s < b.s ? -1 : 1;
  return (a.ps > b.ps) - (a.ps < b.ps);
}
