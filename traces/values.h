/* SPDX-License-Identifier: Apache-2.0
 *
 * How numbers are written in tables and JSON.
 */
#ifndef TRACES_VALUES_H
#define TRACES_VALUES_H

#include <stdint.h>
#include <stdio.h>

#include "tandem/metrics.h"

struct td_scale {
  const char *unit; /* "s", "ms", "us" */
  double factor;    /* seconds times this */
};
/* The unit in which a column with this largest value (seconds) reads well. */
struct td_scale td_scale_for(double seconds);
/* Right-aligned in `width` columns with six digits; "-" for NaN. A blank comes first if it fills them. */
void td_print_value(FILE *out, int width, double value);
/* A text of a file, left-aligned in `width` columns; control characters become '?', so that a file cannot steer a
 * terminal. */
void td_print_text(FILE *out, int width, const char *text);
/* `, "key": value` with the digits that give the same float64 back; null for NaN and infinity, which JSON lacks. */
void td_json_number(FILE *out, const char *key, double value);
/* `,` and on a line of its own `"key": {...}` with all of a summary. */
void td_json_summary(FILE *out, const char *key, const struct td_summary *summary);

/* td_row_device.executes, td_device_metrics.time_kinds (under pace "priced" executed steps have modelled times), and
 * td_row_device.role. */
const char *td_executes_name(uint32_t executes);
const char *td_times_name(uint32_t time_kinds);
const char *td_role_name(uint32_t role);

#endif
