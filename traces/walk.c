/* SPDX-License-Identifier: Apache-2.0 */
#include "walk.h"

#include <inttypes.h>

#include "index.h"

/* Sums may need more than 64 bits on their way to a time that was checked to fit. */
__extension__ typedef __int128 wide;

int64_t td_span_time(const struct td_span *span, uint64_t i) {
  wide steps = (wide)i;
  return (int64_t)(span->time + steps * span->gap + steps * (steps - 1) / 2 * span->slope);
}

uint64_t td_walk_most_tokens(const struct td_trace *trace) {
  uint64_t sum = trace->count[TD_TABLE_TOKENS];
  for (uint64_t i = 0; i < trace->count[TD_TABLE_RESIDENCY]; i++) { /* each below 2^32: checked */
    sum += trace->residency[i].count * trace->residency[i].tokens_per_step;
  }
  return sum;
}

/* ---- requests ---- */

static const struct td_length *next_length(const struct td_walk *walk) {
  const struct td_trace_index *index = walk->trace->index;
  return walk->request_at < index->requests.count ? &index->lengths[walk->request_at] : NULL;
}

static const struct td_row_token *token_row(const struct td_walk *walk) {
  const struct td_order *order = &walk->trace->index->tokens;
  return walk->token_at < order->count ? &walk->trace->tokens[order->rows[walk->token_at]] : NULL;
}

static const struct td_row_residency *stay_row(const struct td_walk *walk) {
  const struct td_order *order = &walk->trace->index->residency;
  return walk->stay_at < order->count ? &walk->trace->residency[order->rows[walk->stay_at]] : NULL;
}

static void begin_request(struct td_walk *walk, uint64_t request) {
  const struct td_length *length = next_length(walk);
  walk->row = NULL;
  walk->most = UINT32_MAX;
  if (length && length->request == request) {
    walk->row = &walk->trace->requests[walk->trace->index->requests.rows[walk->request_at++]];
    walk->most = length->output_tokens;
  }
  walk->started = true;
  walk->request = request;
  walk->tokens = walk->stay_done = 0;
  walk->stay = NULL;
}

/* Passes what the caller did not want to see of the current request. */
static void pass_rest(struct td_walk *walk) {
  const struct td_row_token *token = token_row(walk);
  const struct td_row_residency *stay = stay_row(walk);
  for (; token && token->request == walk->request; token = token_row(walk)) walk->token_at++;
  for (; stay && stay->request == walk->request; stay = stay_row(walk)) walk->stay_at++;
}

td_status td_walk_next(struct td_walk *walk, bool *out_more) {
  if (walk->started) pass_rest(walk);
  const struct td_length *length = next_length(walk);
  const struct td_row_token *token = token_row(walk);
  const struct td_row_residency *stay = stay_row(walk);
  uint64_t least = UINT64_MAX;
  *out_more = length || token || stay;
  if (length && length->request < least) least = length->request;
  if (token && token->request < least) least = token->request;
  if (stay && stay->request < least) least = stay->request;
  if (*out_more) begin_request(walk, least);
  return TD_OK;
}

void td_walk_seek(struct td_walk *walk, uint64_t request) {
  walk->request_at = td_index_requests_from(walk->trace, request);
  walk->token_at = td_index_tokens_from(walk->trace, request);
  walk->stay_at = td_index_residency_from(walk->trace, request);
  begin_request(walk, request);
}

uint64_t td_walk_most_of_request(const struct td_walk *walk) {
  struct td_walk ahead = *walk;
  const struct td_row_token *token;
  const struct td_row_residency *stay;
  uint64_t sum = 0;
  for (; (token = token_row(&ahead)) && token->request == walk->request; ahead.token_at++) sum++;
  for (; (stay = stay_row(&ahead)) && stay->request == walk->request; ahead.stay_at++) {
    sum += stay->count * stay->tokens_per_step;
  }
  return sum;
}

/* ---- spans ---- */

static td_status out_of_order(const struct td_walk *walk, uint64_t found) {
  return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has token %" PRIu64 " where token %" PRIu64 " should be",
                 walk->request, found, walk->tokens);
}

/* `more` tokens are about to come: refused here if there cannot be as many, before anybody does anything with them. */
static td_status check_length(const struct td_walk *walk, uint64_t more) {
  if (more <= walk->most - walk->tokens) return TD_OK;
  return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has more tokens than the %" PRIu64 " of %s", walk->request,
                 walk->most, walk->row ? "its row" : "32 bits");
}

static td_status end_request(const struct td_walk *walk) {
  if (!walk->row || walk->most == walk->tokens) return TD_OK;
  return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has %" PRIu64 " tokens, its row says %" PRIu64, walk->request,
                 walk->tokens, walk->most);
}

/* Nothing continues the tokens so far; `next` is where they go on, if they do. */
static td_status end_at_gap(const struct td_walk *walk, uint64_t next) {
  bool running = !walk->row && !walk->trace->complete; /* what comes between was not written yet */
  return running && next > walk->tokens ? TD_OK : out_of_order(walk, next);
}

static td_status take_executed(struct td_walk *walk, const struct td_row_token *token, struct td_span *out) {
  TD_TRY(check_length(walk, 1));
  *out = (struct td_span){.executed = token,
                          .index = walk->tokens++,
                          .count = 1,
                          .per_step = 1,
                          .device = token->device,
                          .time = token->time};
  walk->token_at++;
  return TD_OK;
}

/* The stretch that holds a step of the device, from the one before on; NULL: the file has none. */
static const struct td_stretch *find_step(struct td_walk *walk, uint64_t index) {
  const struct td_trace_index *order = walk->trace->index;
  const struct td_stretch *row = &order->steps[walk->step_at];
  if (index - row->index < row->count) return row;
  if (++walk->step_at >= order->device_steps[walk->stay->device + 1]) return NULL;
  row++;
  return row->index <= index && index - row->index < row->count ? row : NULL;
}

/* In a part file the run was killed before the step was written: the stay ends. */
static td_status no_step(struct td_walk *walk, uint64_t index) {
  uint32_t device = walk->stay->device;
  walk->stay = NULL;
  if (!walk->trace->complete) return TD_OK;
  return td_fail(TD_CORRUPT,
                 "trace: request %" PRIu64 " was in step %" PRIu64 " of device %" PRIu32 ", which has no row in steps",
                 walk->request, index, device);
}

static td_status begin_stay(struct td_walk *walk, const struct td_row_residency *stay) {
  TD_TRY(check_length(walk, stay->count * stay->tokens_per_step));
  walk->stay = stay;
  walk->stay_done = 0;
  walk->stay_at++;
  if (td_index_step(walk->trace, stay->device, stay->first_index, &walk->step_at)) return TD_OK;
  return no_step(walk, stay->first_index);
}

static td_status go_on(struct td_walk *walk, struct td_span *out, bool *out_found) {
  const struct td_row_residency *stay = walk->stay;
  uint64_t index = stay->first_index + walk->stay_done, left = stay->count - walk->stay_done;
  const struct td_stretch *row = find_step(walk, index);
  *out_found = row != NULL;
  if (!row) return no_step(walk, index);
  uint64_t inside = index - row->index, count = row->count - inside < left ? row->count - inside : left;
  *out = (struct td_span){.index = walk->tokens,
                          .count = count,
                          .per_step = stay->tokens_per_step,
                          .device = stay->device,
                          .time = row->start + td_stretch_end(row, inside),
                          .slope = row->slope};
  if (count > 1) out->gap = row->duration + (int64_t)(inside + 1) * row->slope; /* that of a step that exists */
  walk->tokens += count * stay->tokens_per_step;
  walk->stay_done += count;
  if (walk->stay_done == stay->count) walk->stay = NULL;
  return TD_OK;
}

/* What continues the tokens so far: an executed token, found; or the beginning of a stay; or nothing, the end. */
static td_status begin_next(struct td_walk *walk, struct td_span *out, bool *out_found, bool *out_end) {
  const struct td_row_token *token = token_row(walk);
  const struct td_row_residency *stay = stay_row(walk);
  while (stay && stay->request == walk->request && !stay->tokens_per_step) {
    walk->stay_at++;
    stay = stay_row(walk);
  }
  if (token && token->request != walk->request) token = NULL;
  if (stay && stay->request != walk->request) stay = NULL;
  *out_end = false;
  *out_found = token && token->index == walk->tokens;
  if (*out_found) return take_executed(walk, token, out);
  if (stay && stay->first_token == walk->tokens) return begin_stay(walk, stay);
  *out_end = true;
  if (!token && !stay) return end_request(walk);
  uint64_t next = stay ? stay->first_token : token->index;
  if (token && token->index < next) next = token->index;
  return end_at_gap(walk, next);
}

td_status td_walk_span(struct td_walk *walk, struct td_span *out_span, bool *out_more) {
  bool found = false, end = false;
  while (!found && !end) {
    if (walk->stay) {
      TD_TRY(go_on(walk, out_span, &found));
    } else {
      TD_TRY(begin_next(walk, out_span, &found, &end));
    }
  }
  *out_more = found;
  return TD_OK;
}
