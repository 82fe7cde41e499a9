/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON of `tandem diff`. Relative differences are fractions of A; NaN is null.
 */
#include <inttypes.h>
#include <string.h>

#include "diff_interval.h"
#include "diff_spread.h"
#include "values.h"

static void put_text(FILE *out, const char *key, const char *text) {
  fprintf(out, "\"%s\": ", key);
  td_json_string(out, text, strlen(text));
}

static void put_side(FILE *out, const char *key, const struct td_diff_side *side) {
  const struct td_trace *trace = side->trace;
  fprintf(out, ",\n  \"%s\": {", key);
  put_text(out, "path", side->path);
  fprintf(out, ", ");
  put_text(out, "experiment", trace->experiment);
  fprintf(out, ", ");
  put_text(out, "model", trace->model);
  fprintf(out, ", ");
  put_text(out, "pace", trace->pace);
  fprintf(out, ", ");
  put_text(out, "policy", trace->policy);
  fprintf(out, ", \"complete\": %s, \"requests\": %" PRIu64 "}", trace->complete ? "true" : "false",
          side->metrics->requests);
}

static void put_unmatched(FILE *out, const char *key, const struct td_diff_side *side, const uint64_t *rows,
                          uint64_t count) {
  fprintf(out, ",\n  \"%s\": [", key);
  for (uint64_t i = 0; i < count; i++) {
    const struct td_row_request *row = &side->trace->requests[rows[i]];
    fprintf(out, "%s{\"request\": %" PRIu64 ", ", i ? ", " : "", row->request);
    put_text(out, "name", row->name);
    fprintf(out, "}");
  }
  fprintf(out, "]");
}

/* The first token that differs, of a request where ids or log-probabilities do. */
static void put_token(FILE *out, const struct td_diff_request *request) {
  if (!request->ids && !request->logprobs) return;
  fprintf(out, ", \"token\": %" PRIu32 ", \"id_a\": %" PRId32 ", \"id_b\": %" PRId32, request->token, request->id_a,
          request->id_b);
  td_json_number(out, "logprob_a", request->logprob_a);
  td_json_number(out, "logprob_b", request->logprob_b);
}

static void put_request(FILE *out, const struct td_diff_request *request, const struct td_diff_side *a,
                        const struct td_diff_side *b) {
  const struct td_row_request *one = &a->trace->requests[request->row_a], *two = &b->trace->requests[request->row_b];
  fprintf(out, "{");
  put_text(out, "name", one->name);
  fprintf(out, ", \"request_a\": %" PRIu64 ", \"request_b\": %" PRIu64 ", \"verdict\": \"%s\"", one->request,
          two->request, td_diff_what_name(request->what));
  fprintf(out, ", \"prompt_tokens_a\": %" PRIu32 ", \"prompt_tokens_b\": %" PRIu32, one->prompt_tokens,
          two->prompt_tokens);
  fprintf(out, ", \"output_tokens_a\": %" PRIu32 ", \"output_tokens_b\": %" PRIu32, one->output_tokens,
          two->output_tokens);
  fprintf(out,
          ", \"kv_bytes_a\": %" PRIu64 ", \"kv_bytes_b\": %" PRIu64 ", \"compared\": %" PRIu64 ", \"ids\": %" PRIu64
          ", \"logprobs\": %" PRIu64,
          one->kv_bytes, two->kv_bytes, request->compared, request->ids, request->logprobs);
  td_json_number(out, "max_logprob_difference", request->max_logprob);
  put_token(out, request);
  td_json_number(out, "ttft", request->ttft);
  td_json_number(out, "tpot", request->tpot);
  td_json_number(out, "e2e", request->e2e);
  fprintf(out, "}");
}

static void put_near(FILE *out, const struct td_diff *diff, const struct td_diff_side *a) {
  fprintf(out, ",\n  \"under_bound\": [");
  for (uint64_t i = 0; i < diff->near_count; i++) {
    const struct td_diff_near *near = &diff->near[i];
    fprintf(out, "%s{", i ? ", " : "");
    put_text(out, "name", a->trace->requests[diff->requests[near->request].row_a].name);
    fprintf(out, ", \"token\": %" PRIu32 ", \"id_a\": %" PRId32 ", \"id_b\": %" PRId32, near->token, near->id_a,
            near->id_b);
    td_json_number(out, "gap", near->gap);
    fprintf(out, "}");
  }
  fprintf(out, "]");
}

static void put_times(FILE *out, const struct td_diff *diff) {
  static const char *const keys[] = {"ttft", "tpot", "e2e"};
  for (int m = 0; m < TD_MEMBER_COUNT; m++) {
    struct td_spread spread = td_diff_spread(diff, (enum td_diff_member)m);
    fprintf(out, ",\n  \"%s\": {\"count\": %" PRIu64, keys[m], spread.count);
    td_json_number(out, "mean_abs", spread.mean);
    td_json_number(out, "max_abs", spread.max);
    fprintf(out, "}");
  }
}

static void put_sure(FILE *out, const char *key, const struct td_sure *sure) {
  fprintf(out, ", \"%s\": {\"known\": %s", key, sure->known ? "true" : "false");
  td_json_number(out, "mean", sure->mean);
  td_json_number(out, "low", sure->low);
  td_json_number(out, "high", sure->high);
  fprintf(out, "}");
}

/* Means over all requests, seconds, with where they lie. */
static void put_verdicts(FILE *out, const struct td_diff_side *a, const struct td_diff_side *b) {
  static const char *const keys[] = {"ttft", "tpot", "e2e"};
  fprintf(out, ",\n  \"decidable\": {");
  for (int m = 0; m < TD_MEMBER_COUNT; m++) {
    struct td_sure one = td_diff_sure(a, (enum td_diff_member)m), two = td_diff_sure(b, (enum td_diff_member)m);
    fprintf(out, "%s\"%s\": {\"verdict\": \"%s\"", m ? ", " : "", keys[m],
            td_diff_verdict_name(td_diff_verdict(&one, &two)));
    put_sure(out, "a", &one);
    put_sure(out, "b", &two);
    fprintf(out, "}");
  }
  fprintf(out, "}");
}

void td_diff_json(const struct td_diff *diff, const struct td_diff_side *a, const struct td_diff_side *b, FILE *out) {
  fprintf(out, "{\n  \"same\": %s", diff->same ? "true" : "false");
  put_side(out, "a", a);
  put_side(out, "b", b);
  fprintf(out, ",\n  \"paired\": %" PRIu64, diff->paired);
  put_unmatched(out, "only_a", a, diff->rows_a, diff->unmatched_a);
  put_unmatched(out, "only_b", b, diff->rows_b, diff->unmatched_b);
  fprintf(out, ",\n  \"tokens_compared\": %" PRIu64 ", \"ids_differ\": %" PRIu64 ", \"logprobs_differ\": %" PRIu64,
          diff->compared, diff->ids, diff->logprobs);
  td_json_number(out, "max_logprob_difference", diff->max_logprob);
  fprintf(out, ", \"kv_bytes_compared\": %s", diff->compares_kv ? "true" : "false");
  put_near(out, diff, a);
  put_times(out, diff);
  put_verdicts(out, a, b);
  fprintf(out, ",\n  \"first_difference\": ");
  if (diff->first < diff->paired) {
    put_request(out, &diff->requests[diff->first], a, b);
  } else {
    fprintf(out, "null");
  }
  fprintf(out, ",\n  \"per_request\": [");
  for (uint64_t i = 0; i < diff->paired; i++) {
    fprintf(out, "%s\n    ", i ? "," : "");
    put_request(out, &diff->requests[i], a, b);
  }
  fprintf(out, "]\n}\n");
}
