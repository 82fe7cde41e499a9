/* SPDX-License-Identifier: Apache-2.0
 *
 * A buffer of CSV on its way to a file. Writing a number costs a few nanoseconds, which is what printf's arguments
 * alone would.
 */
#ifndef TRACES_LINES_H
#define TRACES_LINES_H

#include <stdint.h>
#include <stdio.h>

#include "tandem/status.h"

#define TD_LINES_ROW 2048u /* no row is longer */

struct td_lines {
  FILE *out;
  char *next; /* in data */
  char data[(1u << 18) + TD_LINES_ROW];
};

void td_lines_begin(struct td_lines *lines, FILE *out);
/* Makes room for one row. TD_IO if the file takes no more. */
td_status td_lines_room(struct td_lines *lines);
/* Writes what waits. */
td_status td_lines_flush(struct td_lines *lines);

/* Each writes at `to` and returns the end of what it wrote. */
char *td_lines_u64(char *to, uint64_t value);
char *td_lines_i64(char *to, int64_t value);
char *td_lines_real(char *to, double value);                  /* nothing for NaN */
char *td_lines_text(char *to, const char *text, size_t size); /* in quotes where CSV wants them */
char *td_lines_bytes(char *to, const char *bytes, size_t count);

#endif
