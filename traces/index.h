/* SPDX-License-Identifier: Apache-2.0
 *
 * Row numbers of a loaded trace, sorted the way the expansion looks them up.
 */
#ifndef TRACES_INDEX_H
#define TRACES_INDEX_H

#include "tandem/trace.h"

struct td_key {
  uint64_t major, minor, row;
};
struct td_keys {
  struct td_key *items; /* by major, minor, row */
  uint64_t count;
};
struct td_trace_index {
  struct td_keys requests;  /* request number, 0 */
  struct td_keys tokens;    /* request, token index */
  struct td_keys residency; /* request, first token */
  struct td_keys steps;     /* device, index on the device */
};

td_status td_index_build(struct td_trace *trace);
void td_index_free(struct td_trace_index *index); /* NULL is fine */

/* Keys of one major value: [*out_begin, return value). */
uint64_t td_keys_range(const struct td_keys *keys, uint64_t major, uint64_t *out_begin);
/* Number of the last key <= (major, minor), or keys->count if there is none. */
uint64_t td_keys_before(const struct td_keys *keys, uint64_t major, uint64_t minor);
/* The row of a request number; NULL if it has not finished. */
const struct td_row_request *td_index_request(const struct td_trace *trace, uint64_t request);

#endif
