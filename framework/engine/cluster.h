/* SPDX-License-Identifier: Apache-2.0
 *
 * The cluster of a config: workers (replicas of pools), the ranks that hold them, links, the model they share. Every
 * rank builds the same one.
 */
#ifndef ENGINE_CLUSTER_H
#define ENGINE_CLUSTER_H

#include "tandem/backend.h"
#include "tandem/devices.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"
#include "workload.h"

struct cluster_worker {
  const struct td_cfg_pool *pool;
  int32_t pool_index, rank;
  int32_t replica; /* its number among the pool's workers on its rank */
  int32_t batch;   /* with pipeline stages: which of the replica's batches in flight it is */
  int32_t leader;  /* the worker that is its replica's batch 0; without stages itself */
  char name[32];   /* "prefill.0" */
  const struct td_backend *backend;
  const struct td_device_params *params; /* NULL if the pool names no device file */
  struct td_slice slice;                 /* of the model that lives there: this engine places whole models */
  int64_t kv_blocks;                     /* below 2^31 of devices that number them: those that execute, and LPUs */
};

/* A machine whose cores run tool calls. */
struct cluster_orchestrator {
  const struct td_cfg_orchestrator *pool;
  char name[32];                         /* "cpu.0" */
  const struct td_device_params *params; /* NULL if its pool names no device file */
  int32_t cores;
  double core_busy, core_idle; /* W of a core at a call, and of one without; NaN: not known */
};

struct cluster {
  const struct td_config *config;
  const struct td_experiment *experiment;
  struct td_model *model;
  struct td_graph *graph;
  struct workload workload;
  struct td_device_params **pool_params;                 /* [pools], NULL entries where none */
  struct td_device_params **links;                       /* [pools * pools], from * pools + to; NULL where none */
  struct td_device_params **stage_links, **expert_links; /* [pools], NULL where none */
  int32_t pools, ranks;
  struct cluster_worker *workers;
  int32_t worker_count;
  struct td_device_params **orchestrator_params; /* [orchestrator_pools], NULL entries where none */
  struct cluster_orchestrator *orchestrators;    /* cluster_tools.c */
  int32_t orchestrator_pools, orchestrator_count;
  enum td_dtype kv_dtype;
  const struct td_policy *policy;
  struct td_cfg_policy policy_options; /* what it goes by */
  uint64_t config_hash, model_digest;  /* set by cluster_open if `exact` */
};

/* Opens everything the config names and checks that it fits together; TD_CONFIG with file:line, or the model's own
 * error. Borrows config and experiment until cluster_close. `exact`: see workload_open. */
td_status cluster_open(const struct td_config *config, const struct td_experiment *experiment, int32_t ranks,
                       bool exact, struct cluster *out_cluster);
void cluster_close(struct cluster *cluster);

/* The device that a worker opens, "cuda:1": the one its pool names, which replicas share if it is the host's own or an
 * OpenCL device on the host's processors; of chips that are numbered, the replicas of a pool take that one and those
 * that follow it, counted per rank. Pools that name the same device share it. TD_UNAVAILABLE if it is not here. */
td_status cluster_device(const struct cluster_worker *worker, char *out_spec, size_t size);

/* The link from one worker to another; NULL if the config has none. */
const struct td_device_params *cluster_link(const struct cluster *cluster, int32_t from, int32_t to);
/* True if the time of a KV transfer between these workers comes from the link's file and not from a clock. */
bool cluster_prices_transfer(const struct cluster *cluster, int32_t from, int32_t to);
/* Workers whose backend executes. */
int32_t cluster_executing(const struct cluster *cluster);
/* Most rows and most logit rows a step can have. */
int64_t cluster_max_rows(const struct cluster *cluster);

/* cluster_split.c: pools whose replicas have pipeline stages or experts on chips of their own. */
bool cluster_is_split(const struct td_cfg_pool *pool);
bool cluster_has_stages(const struct cluster *cluster); /* some pool's replicas */
int32_t cluster_ranks(const struct td_cfg_pool *pool);  /* groups of chips that deal out a step's sequences */
struct td_slice cluster_stage(const struct cluster *cluster, const struct td_cfg_pool *pool, int32_t stage);
int32_t cluster_most_layers(const struct cluster *cluster, const struct td_cfg_pool *pool); /* of a stage */
td_status cluster_check_split(const struct cluster *cluster);
/* Positions for which each stage's memory has room beside its weights. */
td_status cluster_split_positions(const struct cluster *cluster, const struct cluster_worker *worker,
                                  int64_t *out_tokens);

/* cluster_lpu.c: workers of backend lpu, and modelled LPUs and systems of them. */
bool cluster_is_lpu(const struct cluster_worker *worker);
/* How such a worker wants its program. */
struct td_lpu_choice cluster_lpu(const struct cluster *cluster, const struct cluster_worker *worker);
/* What only the requests tell about such pools. */
td_status cluster_check_lpu(const struct cluster *cluster);

#endif
