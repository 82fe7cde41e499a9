/* SPDX-License-Identifier: Apache-2.0
 *
 * From rows to tokens: what README.md says in ten lines of numpy.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#include "check.h"
#include "index.h"

struct expansion {
  const struct td_trace *trace;
  uint64_t request;
  struct td_trace_token *tokens;
  uint64_t count, capacity;
};

static td_status missing_step(const struct expansion *expansion, const struct td_row_residency *row, uint64_t index) {
  return td_fail(TD_CORRUPT,
                 "trace: request %" PRIu64 " was in step %" PRIu64 " of device %" PRIu32 ", which has no row in steps",
                 expansion->request, index, row->device);
}

/* The step row that holds step `index` of a device; NULL if there is none. */
static const struct td_row_step *find_step(const struct td_trace *trace, uint32_t device, uint64_t index) {
  const struct td_keys *keys = &trace->index->steps;
  uint64_t at = td_keys_before(keys, device, index);
  if (at == keys->count || keys->items[at].major != device) return NULL;
  const struct td_row_step *step = &trace->steps[keys->items[at].row];
  return index - step->index < step->count ? step : NULL;
}

static void add_modelled(struct expansion *expansion, const struct td_row_residency *row, uint64_t i, int64_t time) {
  for (uint32_t t = 0; t < row->tokens_per_step; t++) {
    uint64_t index = row->first_token + i * row->tokens_per_step + t;
    expansion->tokens[expansion->count++] = (struct td_trace_token){
        .index = (uint32_t)index, .id = -1, .time = time, .device = row->device, .logprob = NAN, .gap = NAN};
  }
}

static td_status expand_residency(struct expansion *expansion, const struct td_row_residency *row) {
  const struct td_row_step *step = NULL;
  if (!row->tokens_per_step) return TD_OK;
  for (uint64_t i = 0; i < row->count; i++) {
    uint64_t index = row->first_index + i;
    if (!step || index - step->index >= step->count) step = find_step(expansion->trace, row->device, index);
    if (!step && !expansion->trace->complete) return TD_OK; /* killed before that step was written */
    if (!step) return missing_step(expansion, row, index);
    add_modelled(expansion, row, i, step->start + td_step_end(step, index - step->index));
  }
  return TD_OK;
}

static void add_executed(struct expansion *expansion, const struct td_row_token *row) {
  expansion->tokens[expansion->count++] = (struct td_trace_token){.index = row->index,
                                                                  .id = row->id,
                                                                  .time = row->time,
                                                                  .device = row->device,
                                                                  .logprob = row->logprob,
                                                                  .gap = row->gap};
}

static int by_index(const void *left, const void *right) {
  uint32_t a = ((const struct td_trace_token *)left)->index, b = ((const struct td_trace_token *)right)->index;
  return a < b ? -1 : a > b;
}

static td_status check_tokens(struct expansion *expansion) {
  const struct td_row_request *request = td_index_request(expansion->trace, expansion->request);
  for (uint64_t i = 0; i < expansion->count; i++) {
    if (expansion->tokens[i].index == i) continue;
    if (!request && !expansion->trace->complete && expansion->tokens[i].index > i) {
      expansion->count = i; /* what comes between was not written yet */
      return TD_OK;
    }
    return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has token %" PRIu32 " where token %" PRIu64 " should be",
                   expansion->request, expansion->tokens[i].index, i);
  }
  if (!request || request->output_tokens == expansion->count) return TD_OK;
  return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has %" PRIu64 " tokens, its row says %" PRIu32,
                 expansion->request, expansion->count, request->output_tokens);
}

/* How many tokens the rows claim, refused before memory is taken if that cannot be. */
static td_status count_tokens(const struct expansion *expansion, uint64_t *out_count) {
  const struct td_trace *trace = expansion->trace;
  uint64_t begin, end = td_keys_range(&trace->index->tokens, expansion->request, &begin), count = end - begin;
  end = td_keys_range(&trace->index->residency, expansion->request, &begin);
  for (uint64_t i = begin; i < end && count <= TD_TRACE_MAX_TOKENS; i++) {
    const struct td_row_residency *row = &trace->residency[trace->index->residency.items[i].row];
    count += row->count * row->tokens_per_step;
  }
  const struct td_row_request *request = td_index_request(trace, expansion->request);
  if (request && count > request->output_tokens) {
    return td_fail(TD_CORRUPT, "trace: request %" PRIu64 " has more tokens than the %" PRIu32 " of its row",
                   expansion->request, request->output_tokens);
  }
  if (count > TD_TRACE_MAX_TOKENS) {
    return td_fail(TD_UNSUPPORTED, "trace: request %" PRIu64 " has more than %" PRIu64 " output tokens",
                   expansion->request, TD_TRACE_MAX_TOKENS);
  }
  *out_count = count;
  return TD_OK;
}

static td_status expand(struct expansion *expansion) {
  const struct td_trace *trace = expansion->trace;
  uint64_t begin, end = td_keys_range(&trace->index->tokens, expansion->request, &begin);
  for (uint64_t i = begin; i < end; i++) add_executed(expansion, &trace->tokens[trace->index->tokens.items[i].row]);
  end = td_keys_range(&trace->index->residency, expansion->request, &begin);
  for (uint64_t i = begin; i < end; i++) {
    TD_TRY(expand_residency(expansion, &trace->residency[trace->index->residency.items[i].row]));
  }
  qsort(expansion->tokens, expansion->count, sizeof *expansion->tokens, by_index);
  return check_tokens(expansion);
}

td_status td_trace_request_tokens(const struct td_trace *trace, uint64_t request, struct td_trace_token **out_tokens,
                                  uint64_t *out_count) {
  struct expansion expansion = {.trace = trace, .request = request};
  uint64_t count = 0;
  TD_TRY(count_tokens(&expansion, &count));
  if (count) TD_TRY(td_alloc(count, sizeof *expansion.tokens, (void **)&expansion.tokens));
  td_status status = count ? expand(&expansion) : check_tokens(&expansion);
  if (status) {
    free(expansion.tokens);
    return status;
  }
  *out_tokens = expansion.tokens;
  *out_count = expansion.count;
  return TD_OK;
}
