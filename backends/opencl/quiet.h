/* SPDX-License-Identifier: Apache-2.0
 *
 * PoCL's compiler writes "1 error generated." to stderr besides the log it returns; an error of tandem is one line.
 */
#ifndef OPENCL_QUIET_H
#define OPENCL_QUIET_H

#include <stdbool.h>

struct opencl_quiet {
  int saved, kept; /* file descriptors; saved -1: stderr is as it was */
};
/* From here to the end, what this process writes to stderr is kept. One thread at a time: others wait. */
void opencl_quiet_begin(struct opencl_quiet *quiet);
/* show: it is written after all; else dropped. */
void opencl_quiet_end(struct opencl_quiet *quiet, bool show);

#endif
