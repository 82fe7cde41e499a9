/* SPDX-License-Identifier: Apache-2.0
 *
 * The text of `tandem diff`.
 */
#include <inttypes.h>
#include <math.h>

#include "diff_interval.h"
#include "diff_spread.h"
#include "values.h"

#define SHOWN_ROWS 32 /* more are for --json */

static const char *const member_titles[] = {"TTFT", "TPOT", "E2E"};

static const struct td_row_request *row_a(const struct td_diff_side *a, const struct td_diff_request *request) {
  return &a->trace->requests[request->row_a];
}
static const struct td_row_request *row_b(const struct td_diff_side *b, const struct td_diff_request *request) {
  return &b->trace->requests[request->row_b];
}

static void print_side(const char *letter, const struct td_diff_side *side, FILE *out) {
  const struct td_trace *trace = side->trace;
  fprintf(out, "%s  %s: ", letter, side->path);
  td_print_text(out, 0, trace->experiment);
  fprintf(out, ", ");
  td_print_text(out, 0, trace->model);
  fprintf(out, ", pace ");
  td_print_text(out, 0, trace->pace);
  fprintf(out, ", policy ");
  td_print_text(out, 0, trace->policy);
  fprintf(out, ", %" PRIu64 " requests%s\n", side->metrics->requests, trace->complete ? "" : ", INCOMPLETE");
}

static void print_unmatched(const char *letter, const struct td_diff_side *side, const uint64_t *rows, uint64_t count,
                            FILE *out) {
  if (!count) return;
  fprintf(out, "only in %s: ", letter);
  for (uint64_t i = 0; i < count && i < SHOWN_ROWS; i++) {
    const struct td_row_request *row = &side->trace->requests[rows[i]];
    fprintf(out, "%s", i ? ", " : "");
    td_print_text(out, 0, row->name);
    fprintf(out, " (request %" PRIu64 ")", row->request);
  }
  if (count > SHOWN_ROWS) fprintf(out, " and %" PRIu64 " more", count - SHOWN_ROWS);
  fprintf(out, "\n");
}

static void print_tokens(const struct td_diff *diff, FILE *out) {
  fprintf(out, "paired      %" PRIu64 " requests\n", diff->paired);
  if (!diff->compared) {
    fprintf(out, "tokens      none that both executed: a modelled side has no ids, only lengths and times compare\n");
    return;
  }
  fprintf(out, "tokens      %" PRIu64 " executed by both: ", diff->compared);
  if (diff->ids) {
    fprintf(out, "%" PRIu64 " ids differ", diff->ids);
  } else {
    fprintf(out, "same ids");
  }
  if (diff->logprobs || diff->max_logprob > 0) {
    fprintf(out, ", log-probabilities differ by up to %.3g", diff->max_logprob);
  } else {
    fprintf(out, ", bit-identical log-probabilities%s", diff->ids ? " before that" : "");
  }
  fprintf(out, "\n");
}

static void print_percent(FILE *out, double fraction) {
  if (isnan(fraction)) {
    fprintf(out, " %9s", "-");
  } else {
    fprintf(out, " %+8.2f%%", 100 * fraction);
  }
}

static void print_row(const struct td_diff_request *request, const struct td_diff_side *a, const struct td_diff_side *b,
                      FILE *out) {
  const struct td_row_request *one = row_a(a, request), *two = row_b(b, request);
  td_print_text(out, 20, one->name);
  fprintf(out, " %7" PRIu32 " %7" PRIu32 " %8" PRIu64 " %-9s", one->output_tokens, two->output_tokens,
          request->compared, td_diff_what_name(request->what));
  print_percent(out, request->ttft);
  print_percent(out, request->tpot);
  print_percent(out, request->e2e);
  fprintf(out, " %11" PRIu64 " %11" PRIu64 "\n", one->kv_bytes, two->kv_bytes);
}

static void print_rows(const struct td_diff *diff, const struct td_diff_side *a, const struct td_diff_side *b,
                       FILE *out) {
  if (!diff->paired) return;
  fprintf(out, "\n%-20s %7s %7s %8s %-9s %9s %9s %9s %11s %11s\n", "request", "len A", "len B", "compared", "verdict",
          "TTFT B/A", "TPOT B/A", "E2E B/A", "KV bytes A", "KV bytes B");
  for (uint64_t i = 0; i < diff->paired && i < SHOWN_ROWS; i++) print_row(&diff->requests[i], a, b, out);
  if (diff->paired > SHOWN_ROWS) fprintf(out, "and %" PRIu64 " more: --json lists all\n", diff->paired - SHOWN_ROWS);
  fprintf(out, "\n");
  for (int m = 0; m < TD_MEMBER_COUNT; m++) {
    struct td_spread spread = td_diff_spread(diff, (enum td_diff_member)m);
    if (!spread.count) continue;
    fprintf(out, "%-4s        B against A: mean |difference| %.2f%%, largest %.2f%% (", member_titles[m],
            100 * spread.mean, 100 * spread.max);
    td_print_text(out, 0, row_a(a, &diff->requests[spread.worst])->name);
    fprintf(out, ")\n");
  }
}

/* Of means over all requests, where something is modelled. */
static void print_sure(const struct td_diff_side *a, const struct td_diff_side *b, FILE *out) {
  bool any = false;
  for (int m = 0; m < TD_MEMBER_COUNT; m++) {
    struct td_sure one = td_diff_sure(a, (enum td_diff_member)m), two = td_diff_sure(b, (enum td_diff_member)m);
    enum td_verdict verdict = td_diff_verdict(&one, &two);
    if (verdict == TD_VERDICT_NONE) continue;
    fprintf(out, "%-4s        mean of A %.4g s (%.4g..%.4g), of B %.4g s (%.4g..%.4g): %s\n", member_titles[m],
            one.mean, one.low, one.high, two.mean, two.low, two.high, td_diff_verdict_name(verdict));
    any = true;
  }
  if (any) fprintf(out, "            if only steps were shorter or longer: queues and batches as they are\n");
}

/* Positions where the bound lets the runs disagree. */
static void print_near(const struct td_diff *diff, const struct td_diff_side *a, FILE *out) {
  if (!diff->near_count) return;
  fprintf(out, "\nunder the bound, so either id will do:\n%-20s %7s %9s %9s %12s\n", "request", "token", "id A", "id B",
          "gap in A");
  for (uint64_t i = 0; i < diff->near_count && i < SHOWN_ROWS; i++) {
    const struct td_diff_near *near = &diff->near[i];
    td_print_text(out, 20, row_a(a, &diff->requests[near->request])->name);
    fprintf(out, " %7" PRIu32 " %9" PRId32 " %9" PRId32 " %12.3g%s\n", near->token, near->id_a, near->id_b, near->gap,
            near->id_a == near->id_b ? "" : "  differs; nothing after it compares");
  }
  if (diff->near_count > SHOWN_ROWS)
    fprintf(out, "and %" PRIu64 " more: --json lists all\n", diff->near_count - SHOWN_ROWS);
}

static void print_first(const struct td_diff *diff, const struct td_diff_side *a, const struct td_diff_side *b,
                        FILE *out) {
  const struct td_diff_request *request = &diff->requests[diff->first];
  const struct td_row_request *one = row_a(a, request), *two = row_b(b, request);
  fprintf(out, "first difference: request ");
  td_print_text(out, 0, one->name);
  switch (request->what) {
    case TD_DIFF_ID:
      fprintf(out, ", token %" PRIu32 ": id %" PRId32 " in A, %" PRId32 " in B\n", request->token, request->id_a,
              request->id_b);
      break;
    case TD_DIFF_LOGPROB:
      fprintf(out, ", token %" PRIu32 " (id %" PRId32 "): log-probability %.17g in A, %.17g in B\n", request->token,
              request->id_a, request->logprob_a, request->logprob_b);
      break;
    case TD_DIFF_PROMPT:
      fprintf(out, ": %" PRIu32 " prompt tokens in A, %" PRIu32 " in B\n", one->prompt_tokens, two->prompt_tokens);
      break;
    case TD_DIFF_LENGTH:
      fprintf(out, ": %" PRIu32 " output tokens in A, %" PRIu32 " in B\n", one->output_tokens, two->output_tokens);
      break;
    case TD_DIFF_KV_BYTES:
      fprintf(out, ": %" PRIu64 " KV bytes in A, %" PRIu64 " in B\n", one->kv_bytes, two->kv_bytes);
      break;
    default:
      fprintf(out, ": times (TTFT %+.3g%%, TPOT %+.3g%%, E2E %+.3g%%)\n", 100 * request->ttft, 100 * request->tpot,
              100 * request->e2e);
  }
}

void td_diff_print(const struct td_diff *diff, const struct td_diff_side *a, const struct td_diff_side *b, FILE *out) {
  print_side("A", a, out);
  print_side("B", b, out);
  print_unmatched("A", a, diff->rows_a, diff->unmatched_a, out);
  print_unmatched("B", b, diff->rows_b, diff->unmatched_b, out);
  print_tokens(diff, out);
  if (!diff->compares_kv) fprintf(out, "KV bytes    shown only: the policies differ\n");
  print_rows(diff, a, b, out);
  print_sure(a, b, out);
  print_near(diff, a, out);
  if (diff->first < diff->paired) print_first(diff, a, b, out);
  fprintf(out, "%s\n", diff->same ? "same" : "DIFFERENT");
}
