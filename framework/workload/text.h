/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: text files read line by line in constant memory, and what stands in a line.
 */
#ifndef TANDEM_WORKLOAD_TEXT_H
#define TANDEM_WORKLOAD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "tandem/base.h"

#define TEXT_LINE_MAX ((size_t)1 << 20) /* bytes of a line, so that no file takes more memory */
#define TEXT_FIELDS_MAX 64
#define TEXT_SECONDS_MAX INT64_C(100000000000000) /* of a time as written: 3 million years */

/* ---- lines.c: a regular file, plain or gzip, with LF or CRLF, with or without a byte-order mark ---- */
struct lines {
  const char *path; /* borrowed */
  struct packed *file;
  char *room;
  size_t at, end;
  int64_t row; /* of the line given last, from 1 */
  struct timespec written;
  int64_t bytes;
  int fd;
  bool ended;
};
/* TD_CONFIG if there is no such file, or it is none. */
td_status lines_open(const char *path, struct lines *out_lines);
void lines_close(struct lines *lines);
/* Begins again; TD_CORRUPT if the file was written to meanwhile. */
td_status lines_rewind(struct lines *lines);
/* *out_any false: the end. The line has no line end, a NUL behind it, is UTF-8 and not empty; it is the caller's to
 * change, until the next call. */
td_status lines_next(struct lines *lines, char **out_line, size_t *out_bytes, bool *out_any);
/* TD_CORRUPT, "FILE:ROW: " and the text. */
td_status lines_fail(const struct lines *lines, const char *format, ...) __attribute__((format(printf, 2, 3), cold));

/* ---- fields.c ---- */
struct field {
  const char *at;
  size_t bytes;
};
/* Cuts a line at its commas, in place: blanks around a field go, and quotes. NULL, or what is wrong. */
const char *fields_cut(char *line, size_t bytes, struct field *out, int32_t *out_count);
bool field_is(struct field field, const char *text);
/* A whole number of digits only, up to `most`. */
bool field_count(struct field field, uint64_t most, uint64_t *out);
/* A number that is finite and not negative. */
bool field_real(struct field field, double *out);

/* ---- times.c ---- */
struct instant {
  int64_t s, ps; /* ps below one second */
};
/* A decimal number of units; a unit has 10^power ps. Not negative. */
bool field_time(struct field field, int power, struct instant *out);
/* "2023-11-16 18:15:46.6805900", with T or a blank between, UTC: nothing, Z or +00:00 behind. */
bool field_stamp(struct field field, struct instant *out);
/* b - a in ps; false if b is earlier, or more than int64 holds. */
bool instant_since(struct instant a, struct instant b, int64_t *out_ps);
int instant_compare(struct instant a, struct instant b);

#endif
