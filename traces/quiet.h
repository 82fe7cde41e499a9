/* SPDX-License-Identifier: Apache-2.0
 *
 * Small HDF5 helpers that writer and reader share.
 */
#ifndef TRACES_QUIET_H
#define TRACES_QUIET_H

#include <hdf5.h>
#include <stddef.h>

/* Attributes of the earliest format end at 64 KiB; longer texts go on in NAME.1, NAME.2, ... */
#define TD_ATTRIBUTE_BYTES 60000

/* Turns off HDF5's own printing to stderr: its errors come out as tandem's one line. */
void td_hdf5_quiet(void);
/* HDF5's innermost message of the last failure, "no reason given" if there is none. */
void td_hdf5_reason(char *out, size_t size);

#endif
