/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/policy.h"

#include <string.h>

#include "fleet.h"
#include "load.h"
#include "tandem/base.h"
#include "tandem/experiment.h"

const struct td_policy *td_policy_find(const char *name) {
  for (const struct td_policy *const *policy = td_policies; *policy; policy++) {
    if (!strcmp((*policy)->name, name)) return *policy;
  }
  return NULL;
}

int64_t td_policy_work(const struct td_cluster_view *cluster, int32_t worker) {
  enum { ACTIVE_BITS = 17 };
  const struct td_worker_view *view = &cluster->workers[worker];
  return view->waiting_tokens << ACTIVE_BITS | view->active;
}

bool td_policy_has_room(const struct td_worker_view *worker, uint32_t roles, int64_t blocks) {
  return roles & 1u << worker->role && worker->free_blocks >= blocks && worker->free_sequences > 0;
}

int32_t td_policy_least(const struct td_cluster_view *cluster, td_policy_measure measure, uint32_t roles,
                        int64_t blocks) {
  int32_t best = -1;
  int64_t least = TD_NOT_HERE;
  if (cluster->loads && load_least(cluster, measure, roles, blocks, &best)) return best;
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (!td_policy_has_room(&cluster->workers[i], roles, blocks)) continue;
    int64_t said = measure(cluster, i);
    if (said >= least) continue;
    least = said;
    best = i;
  }
  return best;
}

int32_t td_policy_least_work(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks) {
  return td_policy_least(cluster, td_policy_work, roles, blocks);
}

int32_t td_policy_next(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks, int32_t from) {
  if (td_policy_has_room(&cluster->workers[from], roles, blocks)) return from; /* mostly, and the index need not know */
  if (cluster->loads) return load_next(cluster, roles, blocks, from);
  for (int32_t i = 1; i < cluster->worker_count; i++) {
    int32_t at = from + i < cluster->worker_count ? from + i : from + i - cluster->worker_count;
    if (td_policy_has_room(&cluster->workers[at], roles, blocks)) return at;
  }
  return -1;
}

void td_policy_changed(const struct td_cluster_view *cluster, int32_t worker) {
  if (cluster->loads) load_changed(cluster->loads, worker);
}

int64_t td_policy_cached_tokens(const struct td_cluster_view *cluster, int32_t worker,
                                const struct td_request_view *request) {
  if (!cluster->caches) return 0;
  const struct prefix_cache *cache = &cluster->caches->of[worker];
  int32_t found = 0;
  while (found < request->key_count && prefix_cache_tier(cache, request->keys[found]) >= 0) found++;
  return td_policy_key_tokens(cluster, request, found);
}

int64_t td_policy_key_tokens(const struct td_cluster_view *cluster, const struct td_request_view *request,
                             int32_t keys) {
  if (!cluster->caches) return 0;
  int64_t tokens = keys * cluster->caches->unit_tokens;
  return tokens < request->prompt_tokens ? tokens : request->prompt_tokens - 1;
}

int32_t td_policy_holders(const struct td_cluster_view *cluster, uint64_t key, const int32_t **out_workers) {
  const struct td_prefix_caches *caches = cluster->caches;
  int32_t count = 0;
  if (!caches) return 0;
  if (caches->of[0].holders) return holders_of(&caches->holders, key, out_workers);
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (prefix_cache_tier(&caches->of[i], key) >= 0) caches->found[count++] = i;
  }
  *out_workers = caches->found;
  return count;
}

enum td_verdict td_policy_route_split(const struct td_cluster_view *cluster, const struct td_request_view *request,
                                      struct td_step_plan *out_plan) {
  int32_t prefill = td_policy_least_work(cluster, 1u << TD_ROLE_PREFILL, request->prefill_blocks);
  int32_t decode = td_policy_least_work(cluster, 1u << TD_ROLE_DECODE, request->decode_blocks);
  if (prefill < 0 || decode < 0) return TD_WAIT;
  *out_plan = td_plan_split(prefill, decode, cluster->whole);
  return TD_ROUTE;
}

enum td_verdict td_policy_route_least(const struct td_cluster_view *cluster, const struct td_request_view *request,
                                      struct td_step_plan *out_plan) {
  int32_t both = td_policy_least_work(cluster, 1u << TD_ROLE_BOTH, request->decode_blocks);
  if (both >= 0) {
    *out_plan = td_plan_whole(both, cluster->whole);
    return TD_ROUTE;
  }
  return td_policy_route_split(cluster, request, out_plan);
}

bool td_policy_has_role(const struct td_cluster_view *cluster, uint32_t roles) {
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (roles & 1u << cluster->workers[i].role) return true;
  }
  return false;
}

td_status td_policy_needs(const struct td_cluster_view *cluster, const char *name, uint32_t roles) {
  static const char *const names[] = {"both", "prefill", "decode"};
  for (int role = 0; role < (int)(sizeof names / sizeof *names); role++) {
    if (!(roles & 1u << role) || td_policy_has_role(cluster, 1u << role)) continue;
    return td_fail(TD_CONFIG, "policy %s: found no pool with role \"%s\", expected one", name, names[role]);
  }
  return TD_OK;
}

td_status td_policy_needs_any(const struct td_cluster_view *cluster, const char *name) {
  bool split = td_policy_has_role(cluster, 1u << TD_ROLE_PREFILL) && td_policy_has_role(cluster, 1u << TD_ROLE_DECODE);
  if (split || td_policy_has_role(cluster, 1u << TD_ROLE_BOTH)) return TD_OK;
  return td_fail(TD_CONFIG,
                 "policy %s: found neither a pool with role \"both\" nor one of each other role, expected either",
                 name);
}

td_status td_policy_state(const struct td_policy *policy, void **out_state) {
  enum { MOST = 16 << 20 };
  if (policy->state_bytes > MOST) {
    return td_fail(TD_INTERNAL, "policy %s: a state of %zu bytes, expected at most %d", policy->name,
                   policy->state_bytes, MOST);
  }
  return td_alloc(policy->state_bytes ? policy->state_bytes : 1, 1, out_state);
}
