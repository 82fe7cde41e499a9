/* SPDX-License-Identifier: Apache-2.0
 *
 * The experiment config as `run` and `check` read it. The option tables are framework/config/experiment.c and
 * experiment_source.c; their help texts are the documentation of each key (`tandem check --help-keys` prints them).
 */
#ifndef TANDEM_EXPERIMENT_H
#define TANDEM_EXPERIMENT_H

#include "tandem/config.h"
#include "tandem/device.h"
#include "tandem/experiment_source.h"
#include "tandem/lpu.h"

enum td_pace { TD_PACE_WALL, TD_PACE_MEASURED, TD_PACE_PRICED };
enum td_role { TD_ROLE_BOTH, TD_ROLE_PREFILL, TD_ROLE_DECODE };
enum td_kv_room { TD_KV_RESERVE, TD_KV_GROW };
enum td_preemption { TD_PREEMPT_RECOMPUTE, TD_PREEMPT_SWAP };
enum td_handoff { TD_HANDOFF_LAYERS, TD_HANDOFF_BLOB };
enum td_awake { TD_AWAKE_AUTO, TD_AWAKE_YES, TD_AWAKE_NO };
enum td_first { TD_FIRST_OUTPUTS, TD_FIRST_PROMPTS };

struct td_cfg_tier_slo {
  double slo_ttft; /* s */
};
/* What policies go by. In a parsed config NaN, TD_NO_INT and an empty list are "not given"; in a policy's view they are
 * filled in from its own table (struct td_policy_option). */
struct td_cfg_policy {
  int64_t threshold_tokens, queue_limit, minimum_workers;
  double slo_ttft; /* s */
  double prefix_weight, high, low;
  struct td_list tiers; /* struct td_cfg_tier_slo */
};
struct td_cfg_engine {
  int pace;                /* enum td_pace */
  const char *policy;      /* file name in framework/engine/policies without .c */
  int awake;               /* enum td_awake */
  int64_t chunk_tokens;    /* prefill micro-batch: most prompt tokens of one request in a step; 0: the whole prompt */
  int64_t batch_tokens;    /* most tokens in a step; with chunk_tokens = 0 a longer prompt goes alone */
  int64_t batch_sequences; /* most sequences in a step */
  int first;               /* enum td_first */
  int64_t pauses;          /* see the option table */
  int64_t block_tokens;    /* KV block size */
  int kv_dtype;            /* choice "f32|f16|fp8"; use td_experiment_kv_dtype */
  int handoff;             /* enum td_handoff */
  int64_t handoff_layers;  /* layers per push in mode "layers" */
  int kv;                  /* enum td_kv_room */
  int preemption;          /* enum td_preemption */
  bool prefix_cache;       /* workers keep prompts' KV for others that begin alike */
  bool merge;              /* decode steps alike of a modelled worker are one event */
  int64_t context;         /* most positions of a request; 0: the model's */
  double policy_interval;  /* s between a policy's ticks */
  struct td_cfg_policy policy_options;
};
struct td_cfg_lpu {
  int64_t chips, tensor;
  int objective;            /* enum td_lpu_objective */
  double latency_bound;     /* s; 0: none */
  int weights, activations; /* enum td_lpu_weights, td_lpu_activations */
  int64_t rows, context;
  int64_t expert_parts, expert_rows, expert_routed;
  const char *emulate_on;
};
enum td_failure_law { TD_FAILURE_EXPONENTIAL, TD_FAILURE_CONSTANT };
struct td_cfg_failures {
  double mean_time_between, mean_time_to_repair; /* s; 0: no failures */
  int law;                                       /* enum td_failure_law */
};
struct td_cfg_outage {
  int64_t worker;   /* of its pool */
  double at, lasts; /* s; lasts 0: for good */
};
struct td_cfg_tier_below {
  const char *name;
  int64_t tokens;
  double bandwidth; /* GB/s; NaN: the host's */
  bool survives;    /* a failure of its worker */
};
struct td_cfg_pool {
  const char *name;
  int role;                  /* enum td_role */
  const char *backend;       /* "cpu", "template:0", "modelled" */
  const char *device;        /* device file name or path; "" = none */
  int64_t count;             /* replicas */
  int64_t tensor;            /* chips that act as one worker, or one stage of it */
  int64_t pipeline;          /* stages of a replica, each of so many chips with layers of its own */
  const char *pipeline_link; /* device file of kind link between stages; "" without */
  int64_t expert;            /* chips that a stage's experts are spread over; 1: as all else */
  const char *expert_link;   /* device file of kind link that tokens take to them; "": the chips' own collectives */
  const char *framework;     /* td_serving.framework; "" = NULL */
  bool graphs;               /* false: td_serving.no_graph */
  bool exact;                /* false: td_device_options.inexact */
  int64_t threads;           /* host threads of each */
  int64_t kv_tokens;         /* KV capacity in positions; 0: see the option table */
  struct td_list tiers;      /* struct td_cfg_tier_below: where what leaves the KV cache goes, the next first */
  struct td_cfg_lpu lpu;     /* backend lpu only; absent: emulate_on is NULL */
  struct td_cfg_failures failures;
  struct td_list outages; /* struct td_cfg_outage */
  double power_cap;       /* W; 0: none */
};
struct td_cfg_link {
  const char *from, *to; /* pool names */
  const char *device;    /* a device file of kind link */
};
/* Machines that run tool calls. */
struct td_cfg_orchestrator {
  const char *name;
  const char *device;            /* device file name or path; "" = none */
  int64_t count;                 /* machines */
  int64_t cores;                 /* of each; 0: the device file's */
  double speed;                  /* of a core, over the machine of the workload's tool times */
  double power_busy, power_idle; /* W of a machine; NaN: the device file's */
  struct td_cfg_failures failures;
  struct td_list outages; /* struct td_cfg_outage */
};
struct td_cfg_orchestrators {
  struct td_list pools;        /* struct td_cfg_orchestrator; empty when the group is absent: tools are delays */
  int64_t call_cores;          /* of a tool call */
  bool sticky;                 /* a session's calls stay where its first was */
  double tokenize, detokenize; /* s of a core for each token */
};
struct td_cfg_cluster {
  struct td_list pools; /* struct td_cfg_pool */
  struct td_list links; /* struct td_cfg_link */
  struct td_cfg_orchestrators orchestrators;
  double power_cap; /* W; 0: none */
};
struct td_cfg_sampling {
  double temperature;
  int64_t top_k;
  double top_p;
};
struct td_cfg_request {
  const char *name;   /* "" = "r" + number */
  const char *prompt; /* user message, or raw text with chat = false; "" with prompt_tokens */
  const char *system; /* system message; "" = the template's default */
  bool chat;
  int64_t prompt_tokens; /* length of a prompt without text (modelled runs); executed: seeded random ids */
  int64_t max_tokens;    /* output length bound; 0 = workload.max_tokens */
  double arrival;        /* s */
};
struct td_cfg_workload {
  struct td_list requests;     /* struct td_cfg_request; empty with a source */
  struct td_cfg_source source; /* td_source_given tells whether there is one */
  int64_t max_tokens;          /* default output bound of requests */
  bool stop_at_end;            /* end tokens stop a request (executed steps) */
};
struct td_cfg_slo {
  double ttft, tpot; /* s; 0: none */
};
struct td_experiment {
  const char *name, *description;
  int64_t seed;
  const char *model; /* path of a GGUF or shape file; "${TANDEM_CACHE}/..." expands */
  struct td_cfg_engine engine;
  struct td_cfg_cluster cluster;
  struct td_cfg_sampling sampling;
  struct td_cfg_workload workload;
  struct td_cfg_slo slo;
};

extern const struct td_option_group td_experiment_group;
extern const struct td_option_group td_policy_group; /* engine.policy_options */

/* td_config_open + parse + the checks within the file: pools have unique names, links name pools, device files open and
 * are of the right kind, numbers agree with each other, a request has text or prompt_tokens and not both. Backends,
 * policy, roles and paces are checked by td_engine_check (tandem/engine.h). TD_CONFIG. The config owns the strings;
 * close it last. */
td_status td_experiment_open(const char *path, const char *const *sets, int32_t set_count,
                             struct td_config **out_config, struct td_experiment *out_experiment);
/* The group `lpu` of a pool as the backend takes it. */
struct td_lpu_choice td_experiment_lpu(const struct td_cfg_pool *pool);
enum td_dtype td_experiment_kv_dtype(const struct td_experiment *experiment);

#endif
