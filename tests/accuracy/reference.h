/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading reference outputs: whole HDF5 data sets into memory.
 */
#ifndef TESTS_ACCURACY_REFERENCE_H
#define TESTS_ACCURACY_REFERENCE_H

#include <stdbool.h>
#include <stdint.h>

/* All elements of a data set, converted; free() them. Ends the test with a message if there is none of that name. */
int32_t *reference_ints(int64_t file, const char *name, int64_t *out_count);
double *reference_reals(int64_t file, const char *name, int64_t *out_count);

int64_t reference_open(const char *path);
void reference_close(int64_t file);
bool reference_has(int64_t file, const char *name);
/* Names of the groups of the file, in order; the list ends with NULL and lives until the next call. */
const char *const *reference_groups(int64_t file);

#endif
