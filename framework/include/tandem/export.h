/* SPDX-License-Identifier: Apache-2.0
 *
 * A trace in other tools' formats. What is written grows with the rows; memory does not.
 */
#ifndef TANDEM_EXPORT_H
#define TANDEM_EXPORT_H

#include "tandem/trace.h"

/* One table as comma-separated values: a line of field names, then a line per row. "tokens": every output token,
 * executed and modelled alike, by request and index (struct td_trace_token); "steps": one row per step, stretches
 * expanded, as td_row_step without slope and count; the others as stored, fields and units as in traces/README.md. What
 * is not known (NaN) is empty. TD_USAGE names the tables; TD_UNSUPPORTED: more than TD_EXPORT_MAX_ROWS; TD_IO. */
#define TD_EXPORT_MAX_ROWS (UINT64_C(1) << 31)
td_status td_export_csv(const struct td_trace *trace, const char *table, FILE *out);

/* Chrome's trace format (JSON), which Perfetto and chrome://tracing open: a track per device with its steps (a stretch
 * is one slice), requests and transfers as spans of their own. What overlaps [from, until] (ps) is written; more than
 * TD_EXPORT_MAX_EVENTS, which no viewer would show, are TD_UNSUPPORTED, with their number. */
#define TD_EXPORT_MAX_EVENTS UINT64_C(1000000)
td_status td_export_perfetto(const struct td_trace *trace, int64_t from, int64_t until, FILE *out);

#endif
