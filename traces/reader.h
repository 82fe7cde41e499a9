/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRACES_READER_H
#define TRACES_READER_H

#include "tandem/trace.h"

/* td_trace_load of a file that nobody writes to meanwhile. */
td_status td_read_trace(const char *path, struct td_trace **out_trace);

#endif
