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

/* The whole file, unpacked, without a byte order mark, with a NUL behind it; freed with free(). */
td_status td_csv_text(const char *file, char **out_text, size_t *out_bytes);
/* A line's values, cut in place into room for TD_CSV_COLUMNS; one more than that: there are more. */
int32_t td_csv_cut(char *line, char **values);
/* The same of a header, which may not have more. */
td_status td_csv_names(const char *file, char *header, char **names, int32_t *out_count);
/* -1: none. Two of that name are an error. */
td_status td_csv_find(const char *file, char *const *names, int32_t count, const char *name, int32_t *out);

#endif
