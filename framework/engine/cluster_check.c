/* SPDX-License-Identifier: Apache-2.0 */
#include "cluster_check.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fleet.h"
#include "tandem/base.h"
#include "tandem/device.h"
#include "tandem/engine.h"
#include "tandem/policy.h"

static td_status fail_pool(const struct cluster *cluster, int32_t pool, const char *key, const char *text) {
  char path[64];
  snprintf(path, sizeof path, "cluster.pools.[%d].%s", pool, key);
  return td_config_fail(cluster->config, path, "%s", text);
}

static const struct td_cfg_pool *pool_at(const struct cluster *cluster, int32_t i) {
  return (const struct td_cfg_pool *)cluster->experiment->cluster.pools.items + i;
}

static td_status named_backend(const char *spec, const struct td_backend **out_backend) {
  char name[TD_NAME_BYTES];
  TD_TRY(td_format(name, sizeof name, "%.*s", (int)strcspn(spec, ":"), spec));
  *out_backend = td_backend_find(name);
  return TD_OK;
}

td_status cluster_check_backend(const struct cluster *cluster, int32_t pool, const struct td_backend **out_backend) {
  const struct td_backend *backend = NULL;
  int32_t index;
  const char *spec = pool_at(cluster, pool)->backend;
  td_status status = td_device_find(spec, &backend, &index);
  /* over ranks only the one that holds the worker must have the device, and opening it there says so */
  if (status == TD_UNAVAILABLE && cluster->ranks > 1) status = named_backend(spec, &backend);
  if (status) return fail_pool(cluster, pool, "backend", td_error_text());
  const struct td_device_params *params = cluster->pool_params[pool];
  bool priced = !backend->executes || cluster->experiment->engine.pace == TD_PACE_PRICED;
  if (priced && !params) {
    return fail_pool(cluster, pool, "device",
                     backend->executes ? "found none, expected a device file: pace \"priced\" takes times from it"
                                       : "found none, expected a device file: a modelled device is nothing else");
  }
  *out_backend = backend;
  return TD_OK;
}

td_status cluster_check_devices(const struct cluster *cluster) {
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    const struct cluster_worker *worker = &cluster->workers[i];
    char spec[TD_NAME_BYTES + 16], text[512];
    td_status status = cluster_device(worker, spec, sizeof spec);
    if (!status || (status == TD_UNAVAILABLE && cluster->ranks > 1)) continue;
    snprintf(text, sizeof text,
             "found %d replicas of pool \"%.64s\", expected as many chips (pools that name the same device share it): "
             "worker %s: %.250s",
             (int)worker->pool->count, worker->pool->name, worker->name, td_error_text());
    return fail_pool(cluster, worker->pool_index, "count", text);
  }
  return TD_OK;
}

td_status cluster_check_model(const struct cluster *cluster, td_status status) {
  if (status != TD_NOT_FOUND && status != TD_IO) return status;
  return td_config_fail(cluster->config, "model", "%s", td_error_text());
}

td_status cluster_find_policy(struct cluster *cluster) {
  const struct td_cfg_engine *engine = &cluster->experiment->engine;
  cluster->policy = td_policy_find(engine->policy);
  if (cluster->policy) {
    return td_policy_resolve(cluster->config, cluster->policy, &engine->policy_options, &cluster->policy_options);
  }
  const char *nearest = td_policies[0]->name;
  for (const struct td_policy *const *each = td_policies; *each; each++) {
    if (td_edit_distance((*each)->name, engine->policy) < td_edit_distance(nearest, engine->policy)) {
      nearest = (*each)->name;
    }
  }
  return td_config_fail(cluster->config, "engine.policy", "found \"%s\", expected a policy; did you mean \"%s\"?",
                        engine->policy, nearest);
}

static td_status check_policy(const struct cluster *cluster) {
  struct td_worker_view *views;
  TD_TRY(td_alloc((size_t)cluster->worker_count, sizeof *views, (void **)&views));
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    views[i] = (struct td_worker_view){.pool = cluster->workers[i].pool->name, .role = cluster->workers[i].pool->role};
  }
  struct td_cluster_view view = {.workers = views,
                                 .worker_count = cluster->worker_count,
                                 .engine = &cluster->experiment->engine,
                                 .options = &cluster->policy_options};
  td_status status = cluster->policy->check(&view);
  free(views);
  return status ? td_config_fail(cluster->config, "engine.policy", "%s", td_error_text()) : TD_OK;
}

td_status cluster_check_handoff(const struct cluster *cluster, int32_t from, int32_t to) {
  const struct cluster_worker *sender = &cluster->workers[from], *receiver = &cluster->workers[to];
  if (receiver->backend->executes && !sender->backend->executes) {
    return fail_pool(cluster, receiver->pool_index, "backend",
                     "found an executing decode pool behind a modelled prefill pool, which gives no KV to decode from");
  }
  if (!cluster_prices_transfer(cluster, from, to) || cluster_link(cluster, from, to)) return TD_OK;
  return td_config_fail(cluster->config, "cluster.links",
                        "found no link from \"%s\" to \"%s\", expected one: the time of its KV transfers is modelled",
                        sender->pool->name, receiver->pool->name);
}

/* Roles that get KV from a role, as bits. */
static uint32_t sends_to(const struct td_policy *policy, int role) {
  const uint32_t *sends = policy->sends;
  if (!sends[TD_ROLE_BOTH] && !sends[TD_ROLE_PREFILL] && !sends[TD_ROLE_DECODE]) {
    return role == TD_ROLE_PREFILL ? 1u << TD_ROLE_DECODE : 0;
  }
  return sends[role];
}

bool cluster_sends(const struct cluster *cluster, int32_t from, int32_t to) {
  bool alone = from == to && pool_at(cluster, from)->count * pool_at(cluster, from)->pipeline == 1;
  return !alone && sends_to(cluster->policy, pool_at(cluster, from)->role) & 1u << pool_at(cluster, to)->role;
}

/* The first worker of each pool speaks for all of it. */
static int32_t first_of(const struct cluster *cluster, int32_t pool) {
  int32_t first = 0;
  while (cluster->workers[first].pool_index != pool) first++;
  return first;
}

static td_status check_pairs(const struct cluster *cluster) {
  for (int32_t i = 0; i < cluster->pools; i++) {
    for (int32_t j = 0; j < cluster->pools; j++) {
      if (!cluster_sends(cluster, i, j)) continue;
      TD_TRY(cluster_check_handoff(cluster, first_of(cluster, i), first_of(cluster, j)));
    }
  }
  return TD_OK;
}

/* Half a prompt means nothing to an encoder: every token sees those that follow. */
static td_status check_encoder(const struct cluster *cluster) {
  int64_t chunk = cluster->experiment->engine.chunk_tokens;
  const struct td_shape *shape = td_model_shape(cluster->model);
  if (shape_encodes(shape) && cluster->experiment->engine.prefix_cache) {
    return td_config_fail(cluster->config, "engine.prefix_cache",
                          "found true, expected false: %s is an encoder, whose tokens see those that follow",
                          shape->name);
  }
  if (!shape_encodes(shape) || !chunk) return TD_OK;
  return td_config_fail(cluster->config, "engine.chunk_tokens",
                        "found %" PRId64 ", expected 0: %s is an encoder, which reads a whole prompt in one step",
                        chunk, shape->name);
}

static td_status check_batch(const struct cluster *cluster) {
  const struct td_cfg_engine *engine = &cluster->experiment->engine;
  if (engine->batch_tokens >= engine->batch_sequences) return TD_OK;
  return td_config_fail(cluster->config, "engine.batch_tokens",
                        "found %" PRId64 ", expected at least batch_sequences = %" PRId64
                        ": every decoding request has a token in a step",
                        engine->batch_tokens, engine->batch_sequences);
}

static td_status check_no_faults(const struct cluster *cluster, const char *where) {
  char text[160];
  for (int32_t i = 0; i < cluster->pools; i++) {
    const struct td_cfg_pool *pool = pool_at(cluster, i);
    const char *key = pool->failures.mean_time_between > 0 ? "failures"
                      : pool->outages.count                ? "outages"
                      : pool->power_cap > 0                ? "power_cap"
                                                           : NULL;
    if (!key) continue;
    TD_TRY(td_format(text, sizeof text, "found it, expected none %s", where));
    return fail_pool(cluster, i, key, text);
  }
  if (cluster->experiment->cluster.power_cap == 0) return TD_OK;
  return td_config_fail(cluster->config, "cluster.power_cap", "found a cap, expected none %s", where);
}

/* Who has to leave starts over with the ids of what it has put out, which only workers that execute know. */
static td_status check_growth(const struct cluster *cluster) {
  const struct td_cfg_engine *engine = &cluster->experiment->engine;
  int32_t executing = cluster_executing(cluster);
  if (engine->kv != TD_KV_GROW || !executing) return TD_OK;
  if (executing < cluster->worker_count) {
    return td_config_fail(cluster->config, "engine.kv",
                          "found \"grow\", expected \"reserve\" where some workers execute and others are modelled");
  }
  if (engine->preemption != TD_PREEMPT_SWAP) return TD_OK;
  return td_config_fail(cluster->config, "engine.preemption",
                        "found \"swap\", expected \"recompute\" where workers execute");
}

/* What only a run can do in which nobody is waited for. */
static td_status check_engine(const struct cluster *cluster) {
  const struct td_experiment *experiment = cluster->experiment;
  static const char where[] = "where workers execute or the pace is not \"priced\"";
  TD_TRY(check_batch(cluster));
  if (fleet_is_modelled(cluster)) return TD_OK;
  int64_t context = td_model_shape(cluster->model)->context;
  if (experiment->engine.context > context) {
    return td_config_fail(cluster->config, "engine.context",
                          "found %" PRId64 ", expected at most the model's context of %" PRId64 " %s",
                          experiment->engine.context, context, where);
  }
  if (cluster->kv_dtype == TD_FP8) {
    return td_config_fail(cluster->config, "engine.kv_dtype", "found \"fp8\", expected f32 or f16 %s", where);
  }
  TD_TRY(check_no_faults(cluster, where));
  if (cluster->orchestrator_count) {
    return td_config_fail(cluster->config, "cluster.orchestrators", "found some, expected none %s", where);
  }
  if (experiment->engine.prefix_cache) {
    return td_config_fail(cluster->config, "engine.prefix_cache", "found true, expected false %s", where);
  }
  return check_growth(cluster);
}

td_status cluster_check(const struct cluster *cluster) {
  for (int32_t i = 0; i < cluster->worker_count; i++) {
    if (cluster->workers[i].backend->executes && !td_model_has_weights(cluster->model)) {
      return fail_pool(cluster, cluster->workers[i].pool_index, "backend",
                       "found an executing backend, but the model is a shape without weights");
    }
  }
  TD_TRY(check_engine(cluster));
  TD_TRY(fleet_power_check(cluster));
  TD_TRY(check_encoder(cluster));
  TD_TRY(cluster_check_lpu(cluster));
  TD_TRY(check_policy(cluster));
  return check_pairs(cluster);
}

static td_status check_once(const struct td_config *config, const struct td_experiment *experiment, bool exact) {
  struct cluster cluster;
  TD_TRY(cluster_open(config, experiment, 1, exact, &cluster));
  td_status status = fleet_check(&cluster);
  if (!status) status = cluster_check_prices(&cluster);
  cluster_close(&cluster);
  return status;
}

td_status td_engine_check(const struct td_config *config, const struct td_experiment *experiment) {
  /* what fits when every byte is a token fits; only what does not is worth counting */
  td_status status = check_once(config, experiment, false);
  bool counted = experiment->workload.requests.count > 0;
  return status && counted ? check_once(config, experiment, true) : status;
}
