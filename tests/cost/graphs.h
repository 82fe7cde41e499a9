/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_COST_GRAPHS_H
#define TESTS_COST_GRAPHS_H

#include "../support.h"
#include "tandem/graph.h"

/* Of a shape of experiments/models. */
static inline struct td_graph *graph_of(const char *name) {
  char path[128];
  struct td_model *model;
  struct td_graph *graph = NULL;
  snprintf(path, sizeof path, "experiments/models/%s.cfg", name);
  td_status status = td_model_open(test_source(path), &model);
  if (!status) status = td_graph_build(model, &graph);
  if (status) fail_msg("%s: %s", path, td_error_text());
  td_model_close(model);
  return graph;
}

#endif
