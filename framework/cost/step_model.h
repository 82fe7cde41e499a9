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
/* Times at every combination of a few numbers a step has, straight lines between them: one last number after the
 * other, those before it in the order of the axes. */
#define TD_STEP_AXES 4
#define TD_STEP_VALUES 512 /* of an axis */
struct td_step_grid {
  int32_t axes, count[TD_STEP_AXES];
  int64_t at[TD_STEP_AXES][TD_STEP_VALUES];
  double *seconds;
};
/* Steps in parts that were measured each for itself: see tandem/cost.h. */
struct td_step_profile {
  int64_t layers;                             /* that each take what `decode` and its like say */
  struct td_step_grid tokens, outputs;        /* of the step */
  struct td_step_grid decode, prefill, mixed; /* of a layer */
  double low, high;                           /* measured / interpolated */
  const char *source, *command;
};
struct td_step_model {
  const char *model; /* the shape's name */
  int32_t tensor;    /* chips that act as one */
  struct td_step_side prefill, decode, large;
  int64_t large_from; /* sequences from which decode steps are `large`; 0: none are */
  struct td_quantity mixed;
  struct td_step_profile *profile; /* in place of all that; NULL: none */
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

/* ---- parts ---- */

struct td_step_profile_text {
  const char *source, *command;
  double low, high;
  int64_t layers;
  struct td_list tokens, outputs, decode, prefill, mixed;
};
extern const struct td_option_group td_step_profile_group;
/* `path`: of the group in the file. NULL if the file has none. */
td_status td_step_profile_take(const struct td_config *config, const char *path,
                               const struct td_step_profile_text *text, struct td_step_profile **out_profile);
void td_step_profile_free(struct td_step_profile *profile); /* NULL is fine */
void td_step_profile_print(const struct td_step_profile *profile, FILE *out);
void td_step_profile_json(const struct td_step_profile *profile, FILE *out); /* null for NULL */

/* What the counts say of a step with prompts. */
struct td_step_parts {
  int64_t tokens, past; /* of prompts: all tokens; before each chunk, on average */
  int64_t squares;
  int64_t decodes, context; /* of the rest */
};
/* A step: grains, constant and for each position of the contexts, for so many decode steps. Low and high: picoseconds,
 * all of the step. */
struct td_step_line {
  wide rest, context;
  int64_t valid;
  double low, high;
};
td_status td_step_profile_decode(const struct td_step_profile *profile, const struct td_step_stats *stats,
                                 struct td_step_line *line);
td_status td_step_profile_prompts(const struct td_step_profile *profile, const struct td_step_stats *stats,
                                  const struct td_step_parts *parts, struct td_step_line *line);

#endif
