/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: CSV files, plain or gzip.
 */
#ifndef TANDEM_COST_OP_CSV_H
#define TANDEM_COST_OP_CSV_H

#include <stddef.h>
#include <stdint.h>

#include "tandem/status.h"

#define TD_CSV_COLUMNS 64

/* The whole file, unpacked, with a NUL behind it; freed with free(). */
td_status td_csv_text(const char *file, char **out_text, size_t *out_bytes);
/* A line's values, cut in place: TD_CSV_COLUMNS at most. */
int32_t td_csv_cut(char *line, char **values);
/* -1: none. */
int32_t td_csv_find(char *const *names, int32_t count, const char *name);

#endif
