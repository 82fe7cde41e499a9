/* SPDX-License-Identifier: Apache-2.0
 *
 * Traces made by hand, as an engine would write them, for the tests of traces/.
 */
#ifndef TESTS_TRACES_SAMPLES_H
#define TESTS_TRACES_SAMPLES_H

#include "tandem/trace.h"

enum sample_kind {
  SAMPLE_EXECUTED, /* prefill and decode executed: a token row each, count 1 everywhere */
  SAMPLE_MODELLED, /* priced: stretches of decode steps, no token rows */
  SAMPLE_MIXED     /* prefill executed, decode modelled */
};
struct sample {
  enum sample_kind kind;
  uint64_t requests, seed;
  const char *policy;   /* NULL: "disaggregated" */
  double logprob_shift; /* added to one log-probability: request 1, token 2 */
  int32_t id_shift;     /* added to one id: request 1, token 2 */
  int64_t time_scale;   /* 0: 1; every time is this many times as long */
  uint64_t drop;        /* 1 + a request that is left out */
  uint64_t longer;      /* 1 + a request with one more prompt token */
  bool one_token;       /* every request ends with its first token */
  int paces;            /* modelled decode steps change their pace: 1: in rows of steps of their own, 2: in paces */
  bool tools;           /* every answer calls a tool on one of two orchestrators, and every seventh call is lost */
};

/* What td_trace_run holds in samples. */
struct td_trace_run sample_run(const char *policy);
/* Writes a whole trace; the sample decides every row. */
td_status sample_write(const char *path, const struct sample *sample);

#endif
