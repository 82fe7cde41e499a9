/* SPDX-License-Identifier: Apache-2.0
 *
 * HDF5 1.10 can crash or spin on a damaged file, inside the library, where no check of ours reaches. So a child process
 * reads a file first, and this process only if the child lived and found nothing wrong.
 */
#ifndef TRACES_PROBE_H
#define TRACES_PROBE_H

#include <stdint.h>

#include "tandem/status.h"

/* Runs read(context) in a child process and gives its status with its error text; TD_CORRUPT if the child died. */
td_status td_probe(const char *path, uint64_t file_bytes, td_status (*read)(void *context), void *context);

#endif
