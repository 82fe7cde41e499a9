/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/diff.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "index.h"
#include "pairing.h"

struct work {
  const struct td_trace *a, *b;
  const struct td_metrics *metrics_a, *metrics_b;
  const struct td_diff_options *options;
  struct td_diff *diff;
};

static void mark(struct td_diff_request *request, enum td_diff_what what) {
  if (request->what == TD_DIFF_NONE || what < request->what) request->what = what;
}

static bool same_bits(double a, double b) {
  return !memcmp(&a, &b, sizeof a);
}

static bool logprobs_agree(const struct work *work, double a, double b) {
  return same_bits(a, b) || fabs(a - b) <= work->options->logprob_tolerance;
}

static void keep(struct td_diff_request *out, const struct td_trace_token *a, const struct td_trace_token *b) {
  out->token = a->index;
  out->id_a = a->id;
  out->id_b = b->id;
  out->logprob_a = a->logprob;
  out->logprob_b = b->logprob;
}

/* Lists a position that either answer may have taken. */
static td_status list_near(struct td_diff *diff, const struct td_diff_request *request, const struct td_trace_token *a,
                           const struct td_trace_token *b) {
  uint64_t count = diff->near_count;
  if ((count & (count - 1)) == 0) { /* 0 or a power of two: full */
    void *more = realloc(diff->near, (count ? 2 * count : 1) * sizeof *diff->near);
    if (!more) return td_fail(TD_NO_MEMORY, "found no memory for a list of %" PRIu64 " positions", 2 * count);
    diff->near = more;
  }
  diff->near[diff->near_count++] = (struct td_diff_near){
      .request = (uint64_t)(request - diff->requests), .token = a->index, .id_a = a->id, .id_b = b->id, .gap = a->gap};
  return TD_OK;
}

/* After the first other id the two requests say different things, and log-probabilities of equal ids mean nothing. */
static td_status compare_token(const struct work *work, const struct td_trace_token *a, const struct td_trace_token *b,
                               struct td_diff_request *out) {
  if (a->id < 0 || b->id < 0 || out->near) return TD_OK;
  if (a->gap < work->options->bound && !out->ids) {
    TD_TRY(list_near(work->diff, out, a, b));
    out->near = a->id != b->id;
    if (out->near) return TD_OK;
  }
  out->compared++;
  if (a->id != b->id) {
    if (!out->ids) keep(out, a, b); /* graver than a log-probability before it */
    out->ids++;
    mark(out, TD_DIFF_ID);
    return TD_OK;
  }
  if (out->ids) return TD_OK;
  double difference = fabs(a->logprob - b->logprob);
  if (difference > out->max_logprob) out->max_logprob = difference;
  if (logprobs_agree(work, a->logprob, b->logprob)) return TD_OK;
  if (!out->logprobs) keep(out, a, b);
  out->logprobs++;
  mark(out, TD_DIFF_LOGPROB);
  return TD_OK;
}

static double relative(double a, double b) {
  if (isnan(a) || isnan(b)) return NAN;
  return a == b ? 0 : (b - a) / a;
}

static void compare_times(const struct work *work, struct td_diff_request *out) {
  const struct td_request_metrics *a = &work->metrics_a->per_request[out->row_a];
  const struct td_request_metrics *b = &work->metrics_b->per_request[out->row_b];
  double allowed = work->options->time_tolerance;
  out->ttft = relative(a->ttft, b->ttft);
  out->tpot = relative(a->tpot, b->tpot);
  out->e2e = relative(a->e2e, b->e2e);
  if (!work->options->times) return;
  if (fabs(out->ttft) > allowed || fabs(out->tpot) > allowed || fabs(out->e2e) > allowed) mark(out, TD_DIFF_TIME);
}

static td_status compare_tokens(const struct work *work, struct td_diff_request *out) {
  const struct td_row_request *row_a = &work->a->requests[out->row_a], *row_b = &work->b->requests[out->row_b];
  struct td_trace_token *a = NULL, *b = NULL;
  uint64_t count_a = 0, count_b = 0;
  if (!work->a->count[TD_TABLE_TOKENS] || !work->b->count[TD_TABLE_TOKENS]) return TD_OK; /* no ids to compare */
  td_status status = td_trace_request_tokens(work->a, row_a->request, &a, &count_a);
  if (!status) status = td_trace_request_tokens(work->b, row_b->request, &b, &count_b);
  for (uint64_t i = 0; i < count_a && i < count_b && !status; i++) status = compare_token(work, &a[i], &b[i], out);
  free(a);
  free(b);
  return status;
}

static td_status compare_request(const struct work *work, struct td_diff_request *out) {
  const struct td_row_request *a = &work->a->requests[out->row_a], *b = &work->b->requests[out->row_b];
  TD_TRY(compare_tokens(work, out));
  if (a->prompt_tokens != b->prompt_tokens) mark(out, TD_DIFF_PROMPT);
  if (a->output_tokens != b->output_tokens && !out->near) mark(out, TD_DIFF_LENGTH);
  if (work->diff->compares_kv && a->kv_bytes != b->kv_bytes && !out->near) mark(out, TD_DIFF_KV_BYTES);
  compare_times(work, out);
  return TD_OK;
}

/* ---- all of them ---- */

static void add_request(struct td_diff *diff, const struct td_diff_request *request) {
  diff->compared += request->compared;
  diff->ids += request->ids;
  diff->logprobs += request->logprobs;
  if (request->max_logprob > diff->max_logprob) diff->max_logprob = request->max_logprob;
  if (request->what != TD_DIFF_NONE && diff->first == diff->paired) diff->first = (uint64_t)(request - diff->requests);
}

/* Lists pairs and left-overs in the order of A's request numbers. */
static td_status list_pairs(const struct work *work, const uint64_t *partner) {
  struct td_diff *diff = work->diff;
  uint64_t count_a = work->a->count[TD_TABLE_REQUESTS], count_b = work->b->count[TD_TABLE_REQUESTS];
  bool *taken = NULL;
  TD_TRY(td_alloc(count_a, sizeof *diff->requests, (void **)&diff->requests));
  TD_TRY(td_alloc(count_a, sizeof *diff->rows_a, (void **)&diff->rows_a));
  TD_TRY(td_alloc(count_b, sizeof *diff->rows_b, (void **)&diff->rows_b));
  TD_TRY(td_alloc(count_b, sizeof *taken, (void **)&taken));
  for (uint64_t i = 0; i < count_a; i++) {
    uint64_t row = work->a->index->requests.rows[i];
    if (partner[row] == TD_UNPAIRED) {
      diff->rows_a[diff->unmatched_a++] = row;
    } else {
      diff->requests[diff->paired++] = (struct td_diff_request){.row_a = row, .row_b = partner[row]};
      taken[partner[row]] = true;
    }
  }
  for (uint64_t i = 0; i < count_b; i++) {
    uint64_t row = work->b->index->requests.rows[i];
    if (!taken[row]) diff->rows_b[diff->unmatched_b++] = row;
  }
  free(taken);
  return TD_OK;
}

static td_status compare_all(const struct work *work) {
  struct td_diff *diff = work->diff;
  uint64_t *partner = NULL;
  TD_TRY(td_pair_requests(work->a, work->b, &partner));
  td_status status = list_pairs(work, partner);
  free(partner);
  diff->first = diff->paired;
  for (uint64_t i = 0; i < diff->paired && !status; i++) {
    status = compare_request(work, &diff->requests[i]);
    add_request(diff, &diff->requests[i]);
  }
  diff->same = diff->first == diff->paired && !diff->unmatched_a && !diff->unmatched_b;
  return status;
}

td_status td_diff_compute(const struct td_trace *a, const struct td_metrics *metrics_a, const struct td_trace *b,
                          const struct td_metrics *metrics_b, const struct td_diff_options *options,
                          struct td_diff *out_diff) {
  struct td_diff diff = {.compares_kv = !strcmp(a->policy, b->policy)};
  struct work work = {a, b, metrics_a, metrics_b, options, &diff};
  td_status status = compare_all(&work);
  if (status) {
    td_diff_free(&diff);
  } else {
    *out_diff = diff;
  }
  return status;
}

void td_diff_free(struct td_diff *diff) {
  free(diff->rows_a);
  free(diff->rows_b);
  free(diff->requests);
  free(diff->near);
  *diff = (struct td_diff){0};
}
