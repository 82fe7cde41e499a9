/* SPDX-License-Identifier: Apache-2.0
 *
 * Sessions: the rows of one stand together, its turns in order. Only those that live are in memory.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "stream.h"

#define TURNS_MAX 1000000

void session_close(struct session *session) {
  if (!session) return;
  free(session->turns);
  free(session->segments);
  free(session);
}

static td_status check_turn(const struct lines *lines, const struct session *session, const struct row *row) {
  if (row->turn != session->turn_count) {
    return lines_fail(lines,
                      "round_idx: found %" PRId64 ", expected %d: a session's rounds stand together and in order",
                      row->turn, session->turn_count);
  }
  if (session->turn_count == TURNS_MAX) return lines_fail(lines, "found over %d rounds, expected fewer", TURNS_MAX);
  if (!session->turn_count) return TD_OK;
  const struct turn *before = &session->turns[session->turn_count - 1];
  if (row->shared <= before->prompt + before->output) return TD_OK;
  return lines_fail(lines, "prefix_len: found %" PRId64 ", expected at most %" PRId64 ", what the session has by then",
                    row->shared, before->prompt + before->output);
}

static td_status add_turn(const struct lines *lines, struct session *session, const struct row *row) {
  TD_TRY(check_turn(lines, session, row));
  TD_TRY(td_grow((void **)&session->turns, &session->turn_capacity, (size_t)session->turn_count + 1,
                 sizeof *session->turns));
  session->turns[session->turn_count++] = (struct turn){row->prompt, row->output, row->shared, row->wait_ps, row->line};
  return TD_OK;
}

static td_status read_head(struct sessions *sessions, struct rows *rows) {
  bool any;
  TD_TRY(rows_next(rows, sessions->rows++, &sessions->head, &any));
  sessions->headed = any;
  sessions->ended = !any;
  return TD_OK;
}

/* All rows with the head's key; a round 0 begins another session, of whatever name. */
static td_status join(struct sessions *sessions, struct rows *rows, struct session *session) {
  uint64_t key = sessions->head.key;
  session->at_ps = sessions->head.at_ps;
  session->tier = sessions->head.tier;
  do {
    TD_TRY(add_turn(&rows->trace.lines, session, &sessions->head));
    TD_TRY(read_head(sessions, rows));
  } while (sessions->headed && sessions->head.key == key && sessions->head.turn > 0);
  return TD_OK;
}

td_status sessions_next(struct sessions *sessions, struct rows *rows, struct session **out_session) {
  struct session *session = NULL;
  *out_session = NULL;
  if (!sessions->headed && !sessions->ended) TD_TRY(read_head(sessions, rows));
  if (!sessions->headed) return TD_OK;
  TD_TRY(td_alloc(1, sizeof *session, (void **)&session));
  td_status status = join(sessions, rows, session);
  if (status) {
    session_close(session);
    return status;
  }
  *out_session = session;
  return TD_OK;
}
