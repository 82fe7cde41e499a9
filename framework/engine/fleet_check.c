/* SPDX-License-Identifier: Apache-2.0
 *
 * What a run would fail at as soon as its first request is here, without the run: everything is opened as it would be,
 * the first request comes and is routed, and its first steps and its hand-off are priced on every pool that may get
 * them.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "cluster_check.h"
#include "fleet.h"
#include "tandem/base.h"

/* Roles do not tell who does what once a policy changes them. */
static bool may(const struct fleet *fleet, int32_t pool, int not_role) {
  return fleet->policy->tick || fleet->pools[pool].worker->pool->role != not_role;
}

/* ---- room ---- */

/* KV blocks for one request at most. */
static int64_t most_blocks(const struct fleet *fleet, int32_t pool) {
  return fleet->pools[pool].worker->kv_blocks / fleet->pools[pool].ranks;
}

/* The pool whose workers have the most KV blocks for a request of those that may do it; -1: none may. */
static int32_t roomiest(const struct fleet *fleet, int not_role) {
  int32_t best = -1;
  for (int32_t i = 0; i < fleet->cluster->pools; i++) {
    if (may(fleet, i, not_role) && (best < 0 || most_blocks(fleet, i) > most_blocks(fleet, best))) best = i;
  }
  return best;
}

static td_status check_room(const struct fleet *fleet, int32_t slot, int not_role, int64_t positions) {
  int32_t pool = roomiest(fleet, not_role);
  int64_t need = (positions + fleet->block_tokens - 1) / fleet->block_tokens;
  char path[64], of[FLEET_ROW_TEXT];
  if (pool < 0 || most_blocks(fleet, pool) >= need) return TD_OK;
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].kv_tokens", pool));
  TD_TRY(fleet_row_text(fleet, fleet->requests[slot].row, of, sizeof of));
  return td_config_fail(fleet->cluster->config, path,
                        "found %" PRId64 " KV blocks of %" PRId64 " positions, expected at least %" PRId64
                        " for request %" PRIu64 "%s, which no other pool has either",
                        most_blocks(fleet, pool), fleet->block_tokens, need, fleet->requests[slot].number, of);
}

td_status fleet_check_room(const struct fleet *fleet, int32_t slot) {
  const struct fleet_request *request = &fleet->requests[slot];
  TD_TRY(check_room(fleet, slot, TD_ROLE_DECODE, request->prompt));
  return check_room(fleet, slot, TD_ROLE_PREFILL, request->prompt + request->output - 1);
}

/* ---- prices ---- */

/* Of its prompt, what its first step takes. */
static int64_t first_tokens(const struct fleet *fleet, int32_t slot) {
  int64_t most = fleet->chunk_tokens < fleet->batch_tokens ? fleet->chunk_tokens : fleet->batch_tokens;
  int64_t prompt = fleet->requests[slot].prompt;
  return fleet->chunk_tokens && prompt > most ? most : prompt;
}

static td_status try_prefill(struct fleet *fleet, int32_t slot, int32_t pool) {
  struct chunk chunk = {.slot = slot, .tokens = (int32_t)first_tokens(fleet, slot)};
  struct replica replica = {.pool = pool, .chunks = &chunk, .chunk_count = 1};
  struct td_price price;
  TD_TRY(fleet_price_mixed(fleet, &replica, &price));
  return fleet_slow_price(fleet, &replica, &price);
}

/* The step of its second token, alone. */
static td_status try_decode(struct fleet *fleet, int32_t slot, int32_t pool) {
  const struct fleet_request *request = &fleet->requests[slot];
  struct ending member = {request->output - 1, 0, slot};
  struct replica replica = {.pool = pool, .endings = {.heap = &member, .count = 1}, .context = request->prompt};
  struct td_price price;
  TD_TRY(fleet_price_decode(fleet, &replica, &price));
  return fleet_slow_price(fleet, &replica, &price);
}

static int32_t first_of(const struct fleet *fleet, int32_t pool) {
  return (int32_t)(fleet->pools[pool].worker - fleet->cluster->workers);
}

static td_status try_links(struct fleet *fleet, int32_t slot, int32_t from) {
  const struct cluster *cluster = fleet->cluster;
  for (int32_t to = 0; to < cluster->pools; to++) {
    if (!cluster->links[from * cluster->pools + to] || !cluster_sends(cluster, from, to)) continue;
    if (!cluster_prices_transfer(cluster, first_of(fleet, from), first_of(fleet, to))) continue;
    TD_TRY(fleet_try_push(fleet, slot, first_of(fleet, from), first_of(fleet, to), first_tokens(fleet, slot)));
  }
  return TD_OK;
}

static td_status try_pools(struct fleet *fleet, int32_t slot) {
  bool decodes = fleet->requests[slot].output > 1;
  for (int32_t i = 0; i < fleet->cluster->pools; i++) {
    bool priced = !fleet->pools[i].worker->backend->executes;
    if (priced && may(fleet, i, TD_ROLE_DECODE)) TD_TRY(try_prefill(fleet, slot, i));
    if (priced && decodes && may(fleet, i, TD_ROLE_PREFILL)) TD_TRY(try_decode(fleet, slot, i));
    if (decodes) TD_TRY(try_links(fleet, slot, i));
  }
  return TD_OK;
}

static td_status try_first(struct fleet *fleet) {
  if (fleet->arrival_ps == INT64_MAX) return TD_OK;
  fleet->now_ps = fleet->arrival_ps;
  TD_TRY(fleet_arrive(fleet));
  bool text = fleet->live && fleet->tools && fleet_tools_pending(fleet); /* an orchestrator has it before */
  if (text) TD_TRY(fleet_line_up(fleet, 0));
  TD_TRY(fleet_route(fleet));
  if (!fleet->live) return TD_OK;     /* it was refused */
  TD_TRY(fleet_check_room(fleet, 0)); /* the first slot is its */
  return try_pools(fleet, 0);
}

td_status fleet_check(const struct cluster *cluster) {
  struct fleet fleet = {.cluster = cluster, .policy = cluster->policy};
  TD_TRY(td_alloc(1, sizeof *fleet.summary, (void **)&fleet.summary));
  td_status status = fleet_open(&fleet);
  if (!status) status = try_first(&fleet);
  fleet_close(&fleet);
  free(fleet.summary);
  return status;
}
