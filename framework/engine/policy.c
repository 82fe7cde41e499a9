/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/policy.h"

#include <string.h>

#include "load.h"

const struct td_policy *td_policy_find(const char *name) {
  for (const struct td_policy *const *policy = td_policies; *policy; policy++) {
    if (!strcmp((*policy)->name, name)) return *policy;
  }
  return NULL;
}

static bool less_work(const struct td_worker_view *a, const struct td_worker_view *b) {
  if (a->waiting_tokens != b->waiting_tokens) return a->waiting_tokens < b->waiting_tokens;
  return a->active < b->active;
}

int32_t td_policy_least_work(const struct td_cluster_view *cluster, uint32_t roles, int64_t blocks) {
  int32_t best = -1;
  if (cluster->loads) return load_least(cluster->loads, roles, blocks);
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    const struct td_worker_view *worker = &cluster->workers[i];
    if (!(roles & 1u << worker->role) || worker->free_blocks < blocks || worker->free_sequences < 1) continue;
    if (best < 0 || less_work(worker, &cluster->workers[best])) best = i;
  }
  return best;
}

bool td_policy_has_role(const struct td_cluster_view *cluster, uint32_t roles) {
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (roles & 1u << cluster->workers[i].role) return true;
  }
  return false;
}
