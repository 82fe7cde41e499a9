/* SPDX-License-Identifier: Apache-2.0
 *
 * The output tokens of a trace, request after request, as spans: tokens whose times follow from one another. What
 * README.md says in ten lines of numpy, in memory that does not grow and in time that grows with spans, not tokens.
 */
#ifndef TRACES_WALK_H
#define TRACES_WALK_H

#include "tandem/trace.h"

/* `count` steps of one device, each yielding `per_step` tokens of one request. Step i ends at
 * time + i * gap + i (i - 1) / 2 * slope: never before the one in front of it. */
struct td_span {
  const struct td_row_token *executed; /* its row, of an executed token (one step, one token); else NULL */
  uint64_t index;                      /* of the first token */
  uint64_t count;
  uint32_t per_step, device;
  int64_t time, gap, slope;
};

/* Zero-initialise, but for `trace`, which td_trace_load checked. */
struct td_walk {
  const struct td_trace *trace;
  bool started;                     /* there is a current request */
  uint64_t request;                 /* the current one */
  const struct td_row_request *row; /* its row; NULL: it had not finished */
  uint64_t tokens, most;            /* of it so far; that it may have */
  /* Places in the index: of the next request, and of the next rows of the current one. */
  uint64_t request_at, token_at, stay_at;
  const struct td_row_residency *stay; /* being walked */
  uint64_t stay_done;                  /* steps of it so far */
  uint64_t step_at;                    /* place of the step row that holds the next one, or lies in front of it */
};

/* Goes to the next request that has a row anywhere; *out_more = false at the end. What is left of the current one is
 * skipped. */
td_status td_walk_next(struct td_walk *walk, bool *out_more);
/* Goes to this request, whether it has rows or not. */
void td_walk_seek(struct td_walk *walk, uint64_t request);
/* The next span of the current request; *out_more = false at its end, where its tokens were found to be 0, 1, ...
 * without gap and as many as its row says, else TD_CORRUPT. In a part file, a request without row ends where something
 * is missing. */
td_status td_walk_span(struct td_walk *walk, struct td_span *out_span, bool *out_more);
/* No walk of this trace gives more tokens; and never more spans than tokens. */
uint64_t td_walk_most_tokens(const struct td_trace *trace);
/* The same of what is left of the current request, by its rows in front of the walk: none of its spans were asked for.
 */
uint64_t td_walk_most_of_request(const struct td_walk *walk);
/* When step i of a span ends. */
int64_t td_span_time(const struct td_span *span, uint64_t i);

#endif
