/* SPDX-License-Identifier: Apache-2.0
 *
 * Workloads: who asks what and when. A workload is a stream of jobs in order of arrival, read from a trace of requests
 * or generated from a seed; memory grows with the jobs in flight and not with the trace. Closed loops (sessions whose
 * next turn comes after an answer and a tool's wait, a bounded number of users) hear of finished jobs and answer with
 * later ones.
 */
#ifndef TANDEM_WORKLOAD_H
#define TANDEM_WORKLOAD_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/experiment.h"

struct td_job {
  uint64_t number; /* 0, 1, ... in the order td_workload_take gives them out */
  int64_t arrival_ps;
  int64_t prompt_tokens, output_tokens; /* both >= 1; an output of 1 ends with prefill */
  int32_t tier;                         /* of service: 0 is the most urgent */
  uint64_t session;                     /* 1, 2, ...; 0: not part of one */
  int32_t turn;                         /* of the session, from 0 */
  int64_t row;                          /* of the source's file that asked for it, from 1; 0: none, or not known */
  /* Hashes of the prompt's leading blocks of prefix_tokens tokens each (the last may be shorter): prompts whose first n
   * hashes agree share their first n blocks. Equal hashes at different places are different blocks. Borrowed until the
   * next call. NULL, 0 without. Where a later prompt may go on from the answer, answer_count more hashes follow, of the
   * whole blocks that the answer completes; the prompt's are then whole ones too. */
  const uint64_t *prefix;
  int32_t prefix_count, prefix_tokens, answer_count;
};

struct td_workload;

/* Opens experiment->workload: its source (tandem/experiment_source.h) or its list of requests, of which one with text
 * is TD_UNSUPPORTED: who has a tokenizer reads those. TD_CONFIG with file:line, or TD_CORRUPT naming the trace's file
 * and row. The first row of a trace is read here, the rest as jobs are taken, so that a bad row may be told by any
 * later call. Borrows config and experiment, where they are, until td_workload_close. */
td_status td_workload_open(const struct td_config *config, const struct td_experiment *experiment,
                           struct td_workload **out_workload);
void td_workload_close(struct td_workload *workload); /* NULL is fine */

/* When the next job known so far arrives; *out_any false: there is none now, and none will come unless
 * td_workload_finished brings one. Never earlier than a time already returned by td_workload_take. */
td_status td_workload_peek(struct td_workload *workload, int64_t *out_arrival_ps, bool *out_any);
/* Takes that job; only after a peek that found one. */
td_status td_workload_take(struct td_workload *workload, struct td_job *out_job);
/* A job is done (or was refused) at now_ps, no earlier than any time told before: closed loops may have a new job, not
 * before now_ps. */
td_status td_workload_finished(struct td_workload *workload, uint64_t number, int64_t now_ps);
/* For who runs tools himself, and so says when one is done: how long the tool runs that the session of job `number`,
 * which is under way, calls with its answer; 0 without. *out_goes_on: the session has another turn. */
td_status td_workload_tool(const struct td_workload *workload, uint64_t number, int64_t *out_ps, bool *out_goes_on);
/* As td_workload_finished, but the session's next turn comes now: its tool has run. */
td_status td_workload_tool_done(struct td_workload *workload, uint64_t number, int64_t now_ps);

/* Draw i of a stream of exponential numbers of mean 1: the same on every machine. */
double td_random_exponential(uint64_t seed, uint64_t stream, uint64_t i);

/* How many jobs there will be in all, -1 if only the end tells: for progress. */
int64_t td_workload_total(const struct td_workload *workload);

#endif
