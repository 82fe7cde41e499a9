/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: models of an e2e table.
 */
#ifndef TANDEM_COST_E2E_MODEL_H
#define TANDEM_COST_E2E_MODEL_H

#include "tandem/e2e.h"
#include "tandem/graph.h"

struct td_e2e_model {
  struct td_model *model;
  struct td_graph *graph;
  char *name, *gemm, *moe; /* of the row it was opened for */
};
td_status td_e2e_model_open(const char *folder, const struct td_e2e_row *row, struct td_e2e_model *out_model);
bool td_e2e_model_is(const struct td_e2e_model *model, const struct td_e2e_row *row);
void td_e2e_model_close(struct td_e2e_model *model);
td_status td_e2e_weights(const struct td_graph *graph, const struct td_serving *serving, double *out_bytes);

/* Without the scale of a fit that the device may have already. */
td_status td_e2e_price_plain(struct td_e2e *e2e, const struct td_e2e_row *row, struct td_e2e_price *out_price);

#endif
