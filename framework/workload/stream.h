/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: from rows to units in order of arrival. A unit is a request, or a session of requests
 * that follow one another.
 *
 *   trace.c -> rows.c (repeated, drawn, kept) -> source.c (arrivals.c, lengths.c) -> workload.c (queue.c, prefix.c)
 *                 `-> sessions.c (rows joined)  -'
 */
#ifndef TANDEM_WORKLOAD_STREAM_H
#define TANDEM_WORKLOAD_STREAM_H

#include "draw.h"
#include "trace.h"

/* ---- rows.c: a trace's rows, again and again if need be; those of formats that are lengths only are kept in memory
 * for that, up to a bound, and else read anew ---- */
#define ROWS_KEPT_MAX ((size_t)64 << 20) /* bytes */
struct kept_row {
  uint32_t prompt, output;
};
struct rows {
  struct trace trace;
  bool timed, keep, complete; /* complete: every row of the window is kept */
  struct kept_row *kept;
  int64_t *times;
  size_t kept_max, kept_capacity, times_capacity, count;
  size_t next;
  int64_t pass_ps, last_ps; /* when this pass began; the last row's time in it */
  uint64_t seed;
};
td_status rows_open(const struct td_config *config, const struct td_cfg_source *source, int64_t block, uint64_t seed,
                    size_t kept_max, struct rows *out_rows);
void rows_close(struct rows *rows);
/* Row `i` of the unbounded sequence; to be asked for in order. *out_any false: the trace ended. */
td_status rows_next(struct rows *rows, uint64_t i, struct row *out_row, bool *out_any);

/* ---- sessions.c ---- */
struct turn {
  int64_t prompt, output, shared, wait_ps, line;
};
struct segment {
  int64_t begin; /* position in the session's text; what was there before is forgotten from here on */
  int32_t turn;
};
struct session {
  int64_t at_ps;
  uint64_t number; /* 1, 2, ... */
  int64_t user;    /* closed arrivals: who waits for its end, else -1 */
  struct turn *turns;
  size_t turn_capacity, segment_capacity;
  struct segment *segments;
  int32_t turn_count, segment_count, next; /* next: the turn to come */
  int32_t tier;
};
struct sessions {
  struct row head; /* the first row of the next session */
  bool ready, ended, headed;
  uint64_t rows;
};
/* Joins the rows of the next session; the caller frees it with session_close. *out_session NULL: there is none. */
td_status sessions_next(struct sessions *sessions, struct rows *rows, struct session **out_session);
void session_close(struct session *session);

/* ---- arrivals.c: times of their own ---- */
struct arrivals {
  int law; /* enum td_arrivals: poisson, gamma, constant */
  double period_ps, shape;
  uint64_t seed;
  int64_t at_ps;
};
void arrivals_open(const struct td_cfg_source *source, uint64_t seed, struct arrivals *out_arrivals);
/* Arrival i, asked for in order. */
td_status arrivals_next(struct arrivals *arrivals, uint64_t i, int64_t *out_ps);
/* Says which key of workload.source made a time too late: passes `status` on, TD_CONFIG with the key's line. */
td_status time_of_key(const struct td_config *config, const char *key, td_status status);
/* a + b, or the product of a time and a factor: TD_CONFIG beyond what int64 picoseconds hold. */
td_status time_add(int64_t a, int64_t b, int64_t *out);
td_status time_scale(int64_t ps, double factor, int64_t *out);

/* ---- lengths.c ---- */
struct length_step {
  double up_to; /* sum of weights so far */
  int64_t tokens;
};
struct lengths {
  const struct td_cfg_lengths *law;
  double mu, sigma;
  struct length_step *steps;
  size_t step_count, step_capacity;
  enum draw_stream stream;
  uint64_t seed;
};
td_status lengths_open(const struct td_config *config, const char *key, const struct td_cfg_lengths *law,
                       enum draw_stream stream, uint64_t seed, struct lengths *out_lengths);
void lengths_close(struct lengths *lengths);
int64_t lengths_draw(const struct lengths *lengths, uint64_t i);

/* ---- source.c ---- */
struct unit {
  int64_t at_ps;           /* not with closed arrivals */
  uint64_t index;          /* 0, 1, ... */
  struct row row;          /* without a session */
  struct session *session; /* the taker's */
};
struct source {
  const struct td_config *config;
  const struct td_cfg_source *cfg;
  struct rows rows;
  struct sessions sessions;
  struct arrivals arrivals;
  struct lengths prompt, output;
  uint64_t seed, given;
  int64_t duration_ps;
  struct unit head;
  bool ready, ended;
};
/* block: tokens of a block of prefix hashes. */
td_status source_open(const struct td_config *config, const struct td_cfg_source *cfg, int64_t block, uint64_t seed,
                      struct source *out_source);
void source_close(struct source *source);
/* Makes `head` the next unit; *out_any false: there is none. */
td_status source_peek(struct source *source, bool *out_any);
/* Takes it, after a peek that found one. */
struct unit source_take(struct source *source);

#endif
