/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas over many chips: pipeline stages, and experts on chips of their own.
 *
 * A stage is `tensor` chips, or `expert` if that is more: then as many groups of `tensor` chips as fit have all of the
 * stage but its experts, each for its part of the sequences, and the experts are whole on one chip each (as vLLM's
 * expert parallelism over tensor x data parallel chips).
 */
#include <inttypes.h>
#include <string.h>

#include "cluster_check.h"
#include "fleet.h"
#include "tandem/base.h"

int32_t cluster_ranks(const struct td_cfg_pool *pool) {
  return pool->expert > pool->tensor ? (int32_t)(pool->expert / pool->tensor) : 1;
}

bool cluster_is_split(const struct td_cfg_pool *pool) {
  return pool->pipeline > 1 || pool->expert > 1;
}

bool cluster_has_stages(const struct cluster *cluster) {
  const struct td_cfg_pool *pools = cluster->experiment->cluster.pools.items;
  for (int32_t i = 0; i < cluster->pools; i++) {
    if (pools[i].pipeline > 1) return true;
  }
  return false;
}

/* Left-over layers go one each to the stages before the last, from the back (as vLLM's get_pp_indices): the last has
 * the head, and the first, which has the embedding, is the last to get one. */
struct td_slice cluster_stage(const struct cluster *cluster, const struct td_cfg_pool *pool, int32_t stage) {
  int32_t layers = cluster->graph->shape.layers, stages = (int32_t)pool->pipeline;
  int32_t each = layers / stages, left = layers % stages, first_with = stages - 1 - left;
  int32_t before = stage > first_with ? stage - first_with : 0;
  int32_t begin = stage * each + (before < left ? before : left);
  int32_t end = begin + each + (stage >= first_with && stage < stages - 1);
  return (struct td_slice){stage ? begin : -1, stage < stages - 1 ? end : layers + 1, TD_PART_ALL};
}

static int32_t stage_layers(const struct cluster *cluster, const struct td_slice *slice) {
  int32_t layers = cluster->graph->shape.layers, begin = slice->layer_begin > 0 ? slice->layer_begin : 0;
  return (slice->layer_end < layers ? slice->layer_end : layers) - begin;
}

int32_t cluster_most_layers(const struct cluster *cluster, const struct td_cfg_pool *pool) {
  int32_t most = 0;
  for (int32_t s = 0; s < pool->pipeline; s++) {
    const struct td_slice slice = cluster_stage(cluster, pool, s);
    int32_t layers = stage_layers(cluster, &slice);
    if (layers > most) most = layers;
  }
  return most;
}

/* ---- what must hold ---- */

static td_status fail_pool(const struct cluster *cluster, int32_t pool, const char *key, const char *text) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].%s", pool, key));
  return td_config_fail(cluster->config, path, "%s", text);
}

static td_status check_pool(const struct cluster *cluster, int32_t index, const struct td_cfg_pool *pool) {
  const struct td_shape *shape = &cluster->graph->shape;
  const char *key = pool->pipeline > 1 ? "pipeline" : "expert";
  char text[200];
  if (!fleet_is_modelled(cluster)) {
    return fail_pool(cluster, index, key,
                     "found more than 1, expected 1 where workers execute or the pace is not \"priced\"");
  }
  if (strcmp(pool->backend, "modelled") || cluster->pool_params[index]->kind != TD_KIND_CHIP) {
    return fail_pool(cluster, index, key, "found more than 1, expected it on backend \"modelled\" with a chip only");
  }
  if (td_shape_check_stages(shape, pool->pipeline)) return fail_pool(cluster, index, "pipeline", td_error_text());
  if (pool->expert == 1 || pool->expert <= shape->experts) return TD_OK;
  TD_TRY(td_format(text, sizeof text,
                   "found %" PRId64 " chips for the experts, expected at most the %" PRId32 " experts of %.64s",
                   pool->expert, shape->experts, shape->name));
  return fail_pool(cluster, index, "expert", text);
}

static td_status check_heads(const struct cluster *cluster, int32_t index, int64_t chips) {
  if (!td_shape_check_tensor(&cluster->graph->shape, chips)) return TD_OK;
  return fail_pool(cluster, index, "tensor", td_error_text());
}

td_status cluster_check_split(const struct cluster *cluster) {
  const struct td_cfg_pool *pools = cluster->experiment->cluster.pools.items;
  for (int32_t i = 0; i < cluster->pools; i++) {
    if (pools[i].tensor > 1) TD_TRY(check_heads(cluster, i, pools[i].tensor));
    if (cluster_is_split(&pools[i])) TD_TRY(check_pool(cluster, i, &pools[i]));
  }
  return TD_OK;
}

/* ---- what fits ---- */

/* Bytes of a stage's weights on all its chips: what the groups have each, and experts as if each chip had as many as
 * the one with most. */
static td_status stage_weights(const struct cluster *cluster, const struct td_cfg_pool *pool,
                               const struct td_slice *slice, double *out_bytes) {
  uint64_t experts, rest;
  int64_t count = cluster->graph->shape.experts, chips = pool->expert, fullest = (count + chips - 1) / chips;
  TD_TRY(td_slice_weight_bytes(cluster->graph, slice, &experts, &rest));
  double share = chips > 1 ? (double)(chips * fullest) / (double)count : 1;
  *out_bytes = (double)rest * cluster_ranks(pool) + (double)experts * share;
  return TD_OK;
}

static td_status too_small(const struct cluster *cluster, const struct cluster_worker *worker, int32_t stage,
                           double weights, double position) {
  char path[64];
  TD_TRY(td_format(path, sizeof path, "cluster.pools.[%" PRId32 "].device", worker->pool_index));
  return td_config_fail(cluster->config, path,
                        "%s: stage %" PRId32 " has %.4g GB: found weights of %.4g GB, expected room for %" PRId64
                        " positions of %.0f B beside them, and so for each of %" PRId64
                        " batches in flight, on each of %" PRId32 " groups of chips",
                        worker->params->name, stage, worker->params->memory_bytes.value / 1e9, weights / 1e9,
                        cluster->workload.longest_total, position, worker->pool->pipeline, cluster_ranks(worker->pool));
}

td_status cluster_split_positions(const struct cluster *cluster, const struct cluster_worker *worker,
                                  int64_t *out_tokens) {
  const struct td_cfg_pool *pool = worker->pool;
  double memory = worker->params->memory_bytes.value, least = 1e12;
  for (int32_t s = 0; s < pool->pipeline; s++) {
    const struct td_slice slice = cluster_stage(cluster, pool, s);
    double weights, tokens;
    TD_TRY(stage_weights(cluster, pool, &slice, &weights));
    double position = (double)td_kv_bytes(&cluster->graph->shape, cluster->kv_dtype, stage_layers(cluster, &slice), 1);
    tokens = (memory - weights) / position;
    if (!(tokens >= (double)cluster->workload.longest_total * (double)pool->pipeline * cluster_ranks(pool))) {
      return too_small(cluster, worker, s, weights, position);
    }
    if (tokens < least) least = tokens;
  }
  *out_tokens = (int64_t)least;
  return TD_OK;
}
