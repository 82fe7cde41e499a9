/* SPDX-License-Identifier: Apache-2.0
 *
 * A run on all ranks: open, agree, start, drive (rank 0) or serve (the others), stop.
 */
#include <stdio.h>
#include <stdlib.h>

#include "fleet.h"
#include "node.h"
#include "tandem/engine.h"

static const char *const pace_names[] = {"wall", "measured", "priced"};

static td_status create_trace(const struct cluster *cluster, const struct td_transport *transport, const char *awake,
                              const char *path, struct td_trace_writer **out_trace) {
  const struct td_experiment *experiment = cluster->experiment;
  char *text;
  TD_TRY(td_config_text(cluster->config, &td_experiment_group, experiment, &text));
  struct td_trace_run run = {.config = text,
                             .experiment = experiment->name,
                             .model = td_model_shape(cluster->model)->name,
                             .pace = pace_names[experiment->engine.pace],
                             .policy = experiment->engine.policy,
                             .model_digest = cluster->model_digest,
                             .seed = (uint64_t)experiment->seed,
                             .awake = awake,
                             .ranks = transport->ranks,
                             .slo_ttft = experiment->slo.ttft,
                             .slo_tpot = experiment->slo.tpot,
                             .tools = cluster->orchestrator_count > 0,
                             .paces = cluster_has_stages(cluster)};
  td_status status = td_trace_create(path, &run, out_trace);
  free(text);
  return status;
}

static void name_run(const struct cluster *cluster, struct td_run_summary *summary) {
  const struct td_experiment *experiment = cluster->experiment;
  snprintf(summary->experiment, sizeof summary->experiment, "%s", experiment->name);
  snprintf(summary->model, sizeof summary->model, "%s", td_model_shape(cluster->model)->name);
  snprintf(summary->pace, sizeof summary->pace, "%s", pace_names[experiment->engine.pace]);
  snprintf(summary->policy, sizeof summary->policy, "%s", experiment->engine.policy);
}

/* On rank 0. `node`: NULL where nobody is waited for. */
static td_status run_fleet(const struct cluster *cluster, struct node *node, struct td_trace_writer **trace,
                           const struct td_run_options *options) {
  struct td_run_summary *summary = options->summary, *own = NULL;
  if (!summary) TD_TRY(td_alloc(1, sizeof *own, (void **)&own));
  td_status status = fleet_run(cluster, node, *trace, options, summary ? summary : own);
  if (!status && summary) name_run(cluster, summary);
  free(own);
  if (status || !*trace) return status;
  status = td_trace_finish(*trace);
  *trace = NULL;
  return status;
}

static td_status lead(const struct cluster *cluster, struct node *node, struct td_trace_writer **trace,
                      const struct td_run_options *options) {
  td_status status = run_fleet(cluster, node, trace, options);
  td_status told = node_shutdown(node);
  return status ? status : told;
}

static td_status work(const struct cluster *cluster, struct node *node, struct td_trace_writer **trace,
                      const struct td_run_options *options) {
  TD_TRY(node->transport->table->start(node->transport, node_deliver, node));
  node_start(node);
  if (node->transport->rank == 0) return lead(cluster, node, trace, options);
  node_wait(node);
  return TD_OK;
}

/* Nobody is waited for: rank 0 does all of it. */
static td_status run_modelled(const struct cluster *cluster, const struct td_transport *transport,
                              struct td_trace_writer **trace, const struct td_run_options *options) {
  return transport->rank ? TD_OK : run_fleet(cluster, NULL, trace, options);
}

td_status td_engine_run(const struct td_config *config, const struct td_experiment *experiment,
                        struct td_transport *transport, const struct td_run_options *options) {
  struct cluster cluster = {0};
  struct node node = {0};
  struct td_trace_writer *trace = NULL;
  td_status status = cluster_open(config, experiment, transport->ranks, true, &cluster);
  bool modelled = !status && fleet_is_modelled(&cluster), opened = !status && !modelled;
  if (!status && opened) status = node_open(&node, transport, &cluster);
  if (!status && transport->rank == 0 && options->trace_path) {
    status = create_trace(&cluster, transport, node.awake, options->trace_path, &trace);
  }
  status = transport->table->agree(transport, status);
  if (!status) {
    status = modelled ? run_modelled(&cluster, transport, &trace, options) : work(&cluster, &node, &trace, options);
  }
  if (opened) node_stop(&node);
  if (trace) td_trace_abandon(trace, td_error_text());
  transport->table->close(transport);
  if (opened) node_close(&node);
  cluster_close(&cluster);
  return status;
}
