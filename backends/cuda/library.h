/* SPDX-License-Identifier: Apache-2.0
 *
 * Libraries that are opened at run time, so that one binary starts on machines with and without them: the driver,
 * cuBLASLt and NVML. A library is a struct of function pointers that X macros declare and fill.
 */
#ifndef CUDA_LIBRARY_H
#define CUDA_LIBRARY_H

#include <stdbool.h>
#include <stddef.h>

struct cuda_symbol {
  const char *name;
  size_t offset; /* of the pointer in the struct */
};

/* Where to look: the file that the environment variable names, else the first of `names` (ends with NULL) that opens.
 */
struct cuda_library_source {
  const char *variable;
  const char *const *names;
};

/* Opens the library and fills `functions`, a struct of pointers, from `symbols` (ends with a NULL name). False with one
 * line in `reason` when nothing opens or a symbol is missing. The library stays open for good. */
bool cuda_library_open(const struct cuda_library_source *source, const struct cuda_symbol *symbols, void *functions,
                       char *reason, size_t reason_bytes);

#endif
