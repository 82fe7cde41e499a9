/* SPDX-License-Identifier: Apache-2.0
 *
 * Whether the rows of a trace agree with the schema and with each other. Everything later code relies on is checked
 * here: numbers in range, times that cannot overflow, steps of a device that do not overlap.
 */
#ifndef TRACES_CHECK_H
#define TRACES_CHECK_H

#include "tandem/trace.h"

/* Row by row. TD_CORRUPT names the file, table, row and field. */
td_status td_check_rows(const struct td_trace *trace, const char *path);
/* What only the sorted rows show; after td_index_build. */
td_status td_check_order(const struct td_trace *trace, const char *path);
/* Picoseconds from the start of the row's first step to the end of its step `i`; i < count, of a checked row. */
int64_t td_step_end(const struct td_row_step *step, uint64_t i);

#endif
