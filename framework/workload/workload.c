/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/workload.h"

#include <inttypes.h>
#include <stdlib.h>

#include "list.h"
#include "prefix.h"
#include "queue.h"

#define MOONCAKE_BLOCK 512

/* What the last peek found. */
enum found { FOUND_NOTHING, FOUND_LISTED, FOUND_UNIT, FOUND_EVENT };

struct td_workload {
  const struct td_cfg_source *cfg; /* NULL: a list of requests */
  struct list list;
  struct source source;
  struct prefixes prefixes;
  struct queue queue;
  struct waiters waiters;
  uint64_t number; /* of the next job */
  int64_t now_ps;  /* the latest time told */
  double tier_sum;
  enum found found;
  bool waits; /* somebody waits for jobs to finish: sessions, or a number of users */
};

static bool is_closed(const struct td_workload *workload) {
  return workload->cfg->arrivals == TD_ARRIVALS_CLOSED;
}

static td_status add_users(struct td_workload *workload) {
  const struct td_cfg_source *cfg = workload->cfg;
  for (int64_t user = 0; user < cfg->users; user++) {
    int64_t at_ps = (int64_t)(cfg->ramp * 1e12 * ((double)user / (double)cfg->users) + 0.5);
    TD_TRY(queue_put(&workload->queue, (struct event){at_ps, NULL, user}));
  }
  return TD_OK;
}

static int64_t block_of(const struct td_experiment *experiment) {
  const struct td_cfg_source *cfg = &experiment->workload.source;
  if (cfg->block_tokens) return cfg->block_tokens;
  return cfg->format == TD_SOURCE_MOONCAKE ? MOONCAKE_BLOCK : experiment->engine.block_tokens;
}

static td_status open_source(const struct td_config *config, const struct td_experiment *experiment,
                             struct td_workload *workload) {
  const struct td_cfg_source *cfg = workload->cfg = &experiment->workload.source;
  const struct td_cfg_tier *tiers = cfg->tiers.items;
  bool any;
  for (int32_t i = 0; i < cfg->tiers.count; i++) workload->tier_sum += tiers[i].weight;
  workload->waits = is_closed(workload) || cfg->format == TD_SOURCE_SESSIONS;
  TD_TRY(source_open(config, cfg, block_of(experiment), (uint64_t)experiment->seed, &workload->source));
  TD_TRY(prefixes_open(cfg, block_of(experiment), workload->source.seed, &workload->prefixes));
  if (is_closed(workload)) TD_TRY(add_users(workload));
  return source_peek(&workload->source, &any); /* so that a bad beginning is told at once */
}

td_status td_workload_open(const struct td_config *config, const struct td_experiment *experiment,
                           struct td_workload **out_workload) {
  struct td_workload *workload = NULL;
  TD_TRY(td_alloc(1, sizeof *workload, (void **)&workload));
  td_status status = td_source_given(&experiment->workload.source)
                         ? open_source(config, experiment, workload)
                         : list_open(config, &experiment->workload, &workload->list);
  if (status) {
    td_workload_close(workload);
    return status;
  }
  *out_workload = workload;
  return TD_OK;
}

void td_workload_close(struct td_workload *workload) {
  if (!workload) return;
  source_close(&workload->source);
  prefixes_close(&workload->prefixes);
  queue_close(&workload->queue);
  waiters_close(&workload->waiters);
  list_close(&workload->list);
  free(workload);
}

/* Users whose time has come and for whom nothing is left to ask leave; *out_at_ps of the earliest event that is not
 * theirs. */
static td_status settle_events(struct td_workload *workload, int64_t *out_at_ps, bool *out_any) {
  bool any = true;
  for (*out_any = false; workload->queue.count; queue_take(&workload->queue)) {
    const struct event *first = &workload->queue.events[0];
    bool late = workload->source.duration_ps && first->at_ps >= workload->source.duration_ps;
    if (!first->session) TD_TRY(source_peek(&workload->source, &any));
    *out_at_ps = first->at_ps;
    *out_any = first->session || (any && !late);
    if (*out_any) return TD_OK;
  }
  return TD_OK;
}

/* At equal times what is under way goes before what is new. */
static td_status find_next(struct td_workload *workload, int64_t *out_at_ps) {
  bool event = false, unit = false;
  workload->found = FOUND_NOTHING;
  if (workload->queue.count) TD_TRY(settle_events(workload, out_at_ps, &event));
  if (!is_closed(workload)) TD_TRY(source_peek(&workload->source, &unit));
  if (unit && (!event || workload->source.head.at_ps < *out_at_ps)) {
    *out_at_ps = workload->source.head.at_ps;
    workload->found = FOUND_UNIT;
  } else if (event) {
    workload->found = FOUND_EVENT;
  }
  return TD_OK;
}

td_status td_workload_peek(struct td_workload *workload, int64_t *out_arrival_ps, bool *out_any) {
  if (workload->cfg) {
    TD_TRY(find_next(workload, out_arrival_ps));
    *out_any = workload->found != FOUND_NOTHING;
    return TD_OK;
  }
  *out_any = workload->list.next < workload->list.count;
  workload->found = *out_any ? FOUND_LISTED : FOUND_NOTHING;
  if (*out_any) *out_arrival_ps = workload->list.order[workload->list.next].at_ps;
  return TD_OK;
}

static int32_t tier_of(const struct td_workload *workload, uint64_t unit, int32_t own) {
  const struct td_cfg_tier *tiers = workload->cfg->tiers.items;
  int32_t count = workload->cfg->tiers.count, tier = 0;
  if (!count) return own < 0 ? 0 : own;
  double at = td_random_unit(workload->source.seed, DRAW_TIER, unit) * workload->tier_sum;
  double sum = tiers[0].weight;
  while (tier + 1 < count && !(at < sum)) sum += tiers[++tier].weight;
  return tier;
}

static void lend_prefix(const struct td_workload *workload, const uint64_t *hashes, int32_t count, struct td_job *job) {
  if (!count) return;
  job->prefix = hashes;
  job->prefix_count = count;
  job->prefix_tokens = (int32_t)workload->prefixes.block;
}

/* The hashes the row brings: all of them, or as many whole blocks as a shortened prompt has. */
static void lend_hashes(const struct td_workload *workload, const struct row *row, struct td_job *job) {
  int64_t whole = row->prompt / workload->prefixes.block;
  bool cut = whole + (row->prompt % workload->prefixes.block != 0) < row->hash_count || whole < row->hash_count - 1;
  lend_prefix(workload, row->hashes, cut ? (int32_t)whole : row->hash_count, job);
}

static td_status job_of_row(struct td_workload *workload, const struct unit *unit, struct td_job *job) {
  const struct row *row = &unit->row;
  int64_t shared = row->shared < row->prompt ? row->shared : row->prompt, more = 0;
  job->prompt_tokens = row->prompt;
  job->output_tokens = row->output;
  job->row = row->line;
  job->tier = tier_of(workload, unit->index, row->tier);
  if (row->hashes) {
    lend_hashes(workload, row, job);
    return TD_OK;
  }
  if (row->key) TD_TRY(prefixes_group(&workload->prefixes, row->key, shared));
  if (workload->prefixes.level_count) TD_TRY(prefixes_tree(&workload->prefixes, unit->index, &more));
  if (row->key || more) lend_prefix(workload, workload->prefixes.hashes, workload->prefixes.count, job);
  job->prompt_tokens += more;
  return TD_OK;
}

static td_status job_of_turn(struct td_workload *workload, struct session *session, struct td_job *job) {
  const struct turn *turn = &session->turns[session->next];
  TD_TRY(prefixes_session(&workload->prefixes, session));
  job->prompt_tokens = turn->prompt;
  job->output_tokens = turn->output;
  job->row = turn->line;
  job->session = session->number;
  job->turn = session->next++;
  job->tier = session->tier;
  lend_prefix(workload, workload->prefixes.hashes, workload->prefixes.count, job);
  if (!job->prefix) return TD_OK;
  job->prefix_count = (int32_t)(turn->prompt / workload->prefixes.block);
  job->answer_count = workload->prefixes.count - job->prefix_count;
  return TD_OK;
}

static td_status job_of_unit(struct td_workload *workload, struct unit *unit, int64_t user, struct td_job *job) {
  struct session *session = unit->session;
  if (!session) return job_of_row(workload, unit, job);
  session->user = user;
  session->tier = tier_of(workload, unit->index, session->tier);
  return job_of_turn(workload, session, job);
}

static td_status take_next(struct td_workload *workload, struct td_job *job) {
  struct event event = {workload->source.head.at_ps, NULL, -1};
  struct unit unit;
  if (workload->found == FOUND_EVENT) event = queue_take(&workload->queue);
  job->arrival_ps = event.at_ps;
  td_status status;
  if (event.session) {
    event.user = event.session->user;
    status = job_of_turn(workload, event.session, job);
  } else {
    unit = source_take(&workload->source);
    event.session = unit.session;
    status = job_of_unit(workload, &unit, event.user, job);
  }
  if (!status && workload->waits) {
    status = waiters_put(&workload->waiters, (struct waiter){workload->number, event.session, event.user});
  }
  if (status) session_close(event.session);
  return status;
}

td_status td_workload_take(struct td_workload *workload, struct td_job *out_job) {
  struct td_job job = {0};
  if (workload->found == FOUND_NOTHING) return td_fail(TD_PRECONDITION, "workload: a job was taken without a peek");
  if (workload->found == FOUND_LISTED) {
    job = list_take(&workload->list);
  } else {
    TD_TRY(take_next(workload, &job));
  }
  job.number = workload->number++;
  workload->found = FOUND_NOTHING;
  if (job.arrival_ps > workload->now_ps) workload->now_ps = job.arrival_ps;
  *out_job = job;
  return TD_OK;
}

static td_status think(const struct td_workload *workload, uint64_t number, int64_t now_ps, int64_t *out_ps) {
  const struct td_cfg_source *cfg = workload->cfg;
  int64_t pause;
  double factor = cfg->think;
  if (cfg->think_law == TD_THINK_EXPONENTIAL) factor *= draw_exponential(workload->source.seed, DRAW_THINK, number);
  td_status status = time_scale(TD_PS_PER_SECOND, factor, &pause);
  if (!status) status = time_add(now_ps, pause, out_ps);
  return time_of_key(workload->source.config, "think", status);
}

static td_status not_under_way(uint64_t number) {
  return td_fail(TD_PRECONDITION, "workload: job %" PRIu64 " finished, which is not under way", number);
}

static bool goes_on(const struct session *session) {
  return session && session->next < session->turn_count;
}

td_status td_workload_tool(const struct td_workload *workload, uint64_t number, int64_t *out_ps, bool *out_goes_on) {
  *out_ps = 0;
  *out_goes_on = false;
  if (!workload->waits) return TD_OK;
  const struct waiter *waiter = waiters_find(&workload->waiters, number);
  if (!waiter) return not_under_way(number);
  *out_goes_on = goes_on(waiter->session);
  if (*out_goes_on) *out_ps = waiter->session->turns[waiter->session->next - 1].wait_ps;
  return TD_OK;
}

/* with_tool: the tool's time is still to come. */
static td_status finish(struct td_workload *workload, uint64_t number, int64_t now_ps, bool with_tool) {
  struct waiter waiter;
  struct event event = {0, NULL, -1};
  if (now_ps < workload->now_ps) return td_fail(TD_PRECONDITION, "workload: a job finished before a time told earlier");
  workload->now_ps = now_ps;
  workload->found = FOUND_NOTHING;
  if (!workload->waits) return TD_OK;
  if (!waiters_take(&workload->waiters, number, &waiter)) return not_under_way(number);
  struct session *session = waiter.session;
  if (goes_on(session)) {
    event.session = session;
    int64_t wait_ps = with_tool ? session->turns[session->next - 1].wait_ps : 0;
    td_status status = time_add(now_ps, wait_ps, &event.at_ps);
    status = time_of_key(workload->source.config, "file", status);
    if (!status) status = queue_put(&workload->queue, event);
    if (status) session_close(session);
    return status;
  }
  session_close(session);
  if (waiter.user < 0) return TD_OK;
  event.user = waiter.user;
  TD_TRY(think(workload, number, now_ps, &event.at_ps));
  return queue_put(&workload->queue, event);
}

td_status td_workload_finished(struct td_workload *workload, uint64_t number, int64_t now_ps) {
  return finish(workload, number, now_ps, true);
}

td_status td_workload_tool_done(struct td_workload *workload, uint64_t number, int64_t now_ps) {
  return finish(workload, number, now_ps, false);
}

int64_t td_workload_total(const struct td_workload *workload) {
  const struct td_cfg_source *cfg = workload->cfg;
  if (!cfg) return workload->list.count;
  bool known = cfg->requests && !(cfg->duration > 0) && !(cfg->end > 0) && cfg->format != TD_SOURCE_SESSIONS;
  return known ? cfg->requests : -1;
}
