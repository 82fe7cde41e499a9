/* SPDX-License-Identifier: Apache-2.0
 *
 * Two traces of the same requests, request by request: what `tandem diff` says.
 *
 * Requests pair by name; a name that is empty, or not unique in one of the traces, pairs with the same name and the
 * same request number. Two traces are the SAME when every request pairs, prompt and output lengths are equal, and
 * every token that both executed has the same id and a log-probability within the tolerance (0: the same bits). A
 * modelled token has neither; only its place and time compare.
 *
 * Runs on different kernels agree within a bound on logits, not to the bit. With `bound` > 0, a token may differ where
 * A's two most likely ids are closer than the bound: the request is compared up to there ("near"), and every position
 * under the bound is listed. So with A = the monolithic run, SAME means: equal greedy tokens wherever the gap says
 * that they must be equal. KV bytes must be equal if both runs had the same
 * policy. Times make traces differ only on request.
 */
#ifndef TANDEM_DIFF_H
#define TANDEM_DIFF_H

#include "tandem/metrics.h"

struct td_diff_options {
  double logprob_tolerance; /* natural-log units; 0: bit-identical */
  double bound;             /* of the gap between two logits; 0: every token must be equal */
  bool times;               /* times count too ... */
  double time_tolerance;    /* ... TTFT, TPOT and E2E may differ by this fraction of A's */
};

enum td_diff_what {
  TD_DIFF_NONE,
  TD_DIFF_UNMATCHED,
  TD_DIFF_PROMPT,
  TD_DIFF_ID,
  TD_DIFF_LOGPROB,
  TD_DIFF_LENGTH,
  TD_DIFF_KV_BYTES,
  TD_DIFF_TIME
};

/* A token of a paired request whose gap in A is under the bound; up to the first that differs. */
struct td_diff_near {
  uint64_t request; /* index into td_diff.requests */
  uint32_t token;
  int32_t id_a, id_b;
  double gap;
};

/* One paired request. */
struct td_diff_request {
  uint64_t row_a, row_b;  /* in td_trace.requests */
  enum td_diff_what what; /* the gravest difference; the order of the enum */
  uint64_t compared;      /* tokens that both executed */
  uint64_t ids, logprobs; /* how many of them differ */
  bool near;              /* a token under the bound differs; nothing after it was compared */
  uint32_t token;         /* the first token that differs, for ID and LOGPROB */
  int32_t id_a, id_b;     /* of that token */
  double logprob_a, logprob_b;
  double max_logprob;     /* largest |difference| over tokens with equal ids so far */
  double ttft, tpot, e2e; /* (B - A) / A; NaN where one of them has none */
};

struct td_diff {
  bool same;
  bool compares_kv; /* both runs had the same policy */
  uint64_t paired, unmatched_a, unmatched_b;
  uint64_t *rows_a, *rows_b; /* unmatched rows */
  uint64_t compared, ids, logprobs;
  double max_logprob;
  struct td_diff_request *requests; /* [paired], by request number of A */
  struct td_diff_near *near;        /* [near_count], by request and token */
  uint64_t near_count;
  uint64_t first; /* first differing pair; = paired if none */
};

td_status td_diff_compute(const struct td_trace *a, const struct td_metrics *metrics_a, const struct td_trace *b,
                          const struct td_metrics *metrics_b, const struct td_diff_options *options,
                          struct td_diff *out_diff);
void td_diff_free(struct td_diff *diff);

/* One trace of a report. */
struct td_diff_side {
  const char *path;
  const struct td_trace *trace;
  const struct td_metrics *metrics;
};
void td_diff_print(const struct td_diff *diff, const struct td_diff_side *a, const struct td_diff_side *b, FILE *out);
void td_diff_json(const struct td_diff *diff, const struct td_diff_side *a, const struct td_diff_side *b, FILE *out);

#endif
