/* SPDX-License-Identifier: Apache-2.0
 *
 * From spans to token rows.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "walk.h"

#define BATCH 4096u /* rows of a stream at a time: they stay in a core's cache */

/* Token rows of a span from its token `from` on, as many as there are, up to `room`. */
struct part {
  const struct td_walk *walk;
  const struct td_span *span;
  uint64_t from;
};

static struct td_trace_token executed_row(uint64_t request, const struct td_row_token *row) {
  return (struct td_trace_token){.request = request,
                                 .time = row->time,
                                 .index = row->index,
                                 .id = row->id,
                                 .device = row->device,
                                 .logprob = row->logprob,
                                 .gap = row->gap};
}

/* Unsigned, so that the sums behind the last row, which nobody reads, may wrap around. */
static void step_rows(const struct part *part, uint64_t step, uint64_t count, struct td_trace_token *out) {
  const struct td_span *span = part->span;
  struct td_trace_token row = {.request = part->walk->request,
                               .index = (uint32_t)(span->index + part->from),
                               .id = -1,
                               .device = span->device,
                               .logprob = NAN,
                               .gap = NAN};
  uint64_t time = (uint64_t)td_span_time(span, step);
  uint64_t gap = (uint64_t)span->gap + step * (uint64_t)span->slope;
  for (uint64_t i = 0; i < count; i++) {
    row.time = (int64_t)time;
    out[i] = row;
    row.index++;
    time += gap;
    gap += (uint64_t)span->slope;
  }
}

static uint64_t part_rows(const struct part *part, uint64_t room, struct td_trace_token *out) {
  const struct td_span *span = part->span;
  uint64_t left = span->count * span->per_step - part->from, count = left < room ? left : room;
  if (span->executed) {
    *out = executed_row(part->walk->request, span->executed);
  } else if (span->per_step == 1) {
    step_rows(part, part->from, count, out);
  } else { /* tokens that come together */
    for (uint64_t i = 0; i < count; i++) {
      struct part one = {part->walk, span, part->from + i};
      step_rows(&one, one.from / span->per_step, 1, &out[i]);
    }
  }
  return count;
}

/* ---- one request ---- */

static td_status too_many(uint64_t request) {
  return td_fail(TD_UNSUPPORTED, "trace: request %" PRIu64 " has more than %" PRIu64 " output tokens", request,
                 TD_TRACE_MAX_TOKENS);
}

/* All that is left of a request, of which there is room for `room` tokens. */
static td_status take_tokens(struct td_walk *walk, uint64_t room, struct td_trace_token *out) {
  struct td_span span;
  bool more = true;
  for (uint64_t done = 0;;) {
    TD_TRY(td_walk_span(walk, &span, &more));
    if (!more) return TD_OK;
    if (walk->tokens > room) return too_many(walk->request);
    done += part_rows(&(struct part){walk, &span, 0}, room - done, out + done);
  }
}

td_status td_trace_request_tokens(const struct td_trace *trace, uint64_t request, struct td_trace_token **out_tokens,
                                  uint64_t *out_count) {
  struct td_walk walk = {.trace = trace};
  struct td_trace_token *tokens = NULL;
  td_walk_seek(&walk, request);
  uint64_t most = td_walk_most_of_request(&walk), room = most < TD_TRACE_MAX_TOKENS ? most : TD_TRACE_MAX_TOKENS;
  if (room) TD_TRY(td_alloc(room, sizeof *tokens, (void **)&tokens));
  td_status status = take_tokens(&walk, room, tokens);
  if (status || !walk.tokens) {
    free(tokens);
    tokens = NULL;
  }
  if (status) return status;
  *out_tokens = tokens;
  *out_count = walk.tokens;
  return TD_OK;
}

/* ---- all of them ---- */

struct td_trace_stream {
  struct td_walk walk;
  struct td_span span;
  uint64_t from; /* tokens of the span that were handed out */
  bool in_request, in_span;
  struct td_trace_token rows[BATCH];
};

td_status td_trace_stream_open(const struct td_trace *trace, struct td_trace_stream **out_stream) {
  struct td_trace_stream *stream = NULL;
  TD_TRY(td_alloc(1, sizeof *stream, (void **)&stream));
  stream->walk.trace = trace;
  *out_stream = stream;
  return TD_OK;
}

/* Goes to the next span with tokens; *out_end at the end of the trace. */
static td_status next_span(struct td_trace_stream *stream, bool *out_end) {
  *out_end = false;
  while (!stream->in_span) {
    if (!stream->in_request) {
      TD_TRY(td_walk_next(&stream->walk, &stream->in_request));
      *out_end = !stream->in_request;
      if (*out_end) return TD_OK;
    }
    TD_TRY(td_walk_span(&stream->walk, &stream->span, &stream->in_span));
    stream->in_request = stream->in_span;
    stream->from = 0;
  }
  return TD_OK;
}

td_status td_trace_stream_next(struct td_trace_stream *stream, const struct td_trace_token **out_rows,
                               size_t *out_count) {
  size_t count = 0;
  bool end = false;
  for (;;) {
    TD_TRY(next_span(stream, &end));
    if (end || count == BATCH) break;
    struct part part = {&stream->walk, &stream->span, stream->from};
    uint64_t rows = part_rows(&part, BATCH - count, stream->rows + count);
    count += rows;
    stream->from += rows;
    stream->in_span = stream->from < stream->span.count * stream->span.per_step;
  }
  *out_rows = stream->rows;
  *out_count = count;
  return TD_OK;
}

void td_trace_stream_close(struct td_trace_stream *stream) {
  free(stream);
}
