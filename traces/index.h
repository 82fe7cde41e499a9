/* SPDX-License-Identifier: Apache-2.0
 *
 * Row numbers of a loaded trace, sorted the way the expansion looks them up.
 */
#ifndef TRACES_INDEX_H
#define TRACES_INDEX_H

#include "tandem/trace.h"

/* Row numbers by major, minor and themselves. */
struct td_order {
  uint64_t *rows;
  uint64_t count;
};
/* What a walk needs of a row of `requests`, which is ten times as long. */
struct td_length {
  uint64_t request;
  uint32_t output_tokens;
};
/* What a token's time needs of a row of `steps`: rows of one of many devices lie far from one another in the table, and
 * here one behind the other. */
struct td_stretch {
  uint64_t index;
  int64_t start, duration, slope;
  uint32_t count; /* below 2^31: checked */
  uint32_t row;
};
struct td_trace_index {
  struct td_order requests;  /* by request number */
  struct td_length *lengths; /* in this order */
  struct td_order tokens;    /* by request, token index */
  struct td_order residency; /* by request, first token */
  struct td_stretch *steps;  /* by device, index on the device */
  uint64_t *device_steps;    /* where a device begins in `steps`; one more for the end */
};

td_status td_index_build(struct td_trace *trace);
void td_index_free(struct td_trace_index *index); /* NULL is fine */

/* Where the rows of a request begin in an order. */
uint64_t td_index_requests_from(const struct td_trace *trace, uint64_t request);
uint64_t td_index_tokens_from(const struct td_trace *trace, uint64_t request);
uint64_t td_index_residency_from(const struct td_trace *trace, uint64_t request);
/* Where in `steps` the stretch is that holds step `index` of a device or would stand in front of it: the last one that
 * begins at or before it; false if none does. */
bool td_index_step(const struct td_trace *trace, uint32_t device, uint64_t index, uint64_t *out_at);
/* Picoseconds from the start of the first step of a stretch to the end of its step `i`; i < count. */
int64_t td_stretch_end(const struct td_stretch *stretch, uint64_t i);

#endif
