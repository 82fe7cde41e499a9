/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: devices of which whole steps were measured, and how a step is priced with them. Formulas
 * in tandem/cost.h.
 */
#ifndef TANDEM_COST_STEP_MODEL_H
#define TANDEM_COST_STEP_MODEL_H

#include <stdio.h>

#include "price_roofline.h"
#include "tandem/config.h"
#include "tandem/cost.h"

/* Tokens of a prefill step, or sequences of a decode step, and the step's time. */
struct td_step_point {
  int64_t at;
  struct td_quantity time;
};
/* Steps of one kind: a formula of three numbers, or points. */
struct td_step_side {
  struct td_quantity step;
  struct td_quantity each; /* new token of a prompt; sequence that decodes */
  struct td_quantity more; /* square of a prompt's tokens; position of a context */
  struct td_quantity power;
  struct td_step_point *points;
  int32_t count; /* 0: the formula */
};
struct td_step_model {
  const char *model; /* the shape's name */
  int32_t tensor;    /* chips that act as one */
  struct td_step_side prefill, decode, large;
  int64_t large_from; /* sequences from which decode steps are `large`; 0: none are */
  struct td_quantity mixed;
};

extern const struct td_option_group td_step_group;
td_status td_step_models_take(const struct td_config *config, const struct td_list *list,
                              struct td_step_model **out_models, int32_t *out_count);
void td_step_models_free(struct td_step_model *models, int32_t count);
bool td_step_models_have_power(const struct td_step_model *models, int32_t count);
void td_step_models_print(const struct td_device_params *device, FILE *out);
void td_step_models_json(const struct td_device_params *device, FILE *out);

/* The one of a graph on the chips that serve it. TD_UNSUPPORTED says which there are, or that the slice is no whole
 * model. */
td_status td_step_model_find(const struct td_device_params *device, const struct td_graph *graph,
                             const struct td_slice *slice, const struct td_step_model **out_model);
/* Times and energy; flops and bytes stay as they are. */
td_status td_step_model_price(const struct td_device_params *device, const struct td_step_model *model,
                              const struct td_step_stats *stats, struct td_price *price);

#endif
