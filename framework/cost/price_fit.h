/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: operators of a step that are priced by their models (tandem/operators.h).
 */
#ifndef TANDEM_COST_PRICE_FIT_H
#define TANDEM_COST_PRICE_FIT_H

#include "tandem/graph.h"
#include "tandem/operators.h"

__extension__ typedef __int128 td_wide;
#define TD_GRAIN_BITS 20 /* times are integers in units of 2^-20 ps: see price.c */

/* An operator's time is one + context * v[CONTEXT], grains, for `valid` decode steps from this one. */
struct td_fitted {
  bool is; /* false: it stays a roofline */
  td_wide one, context;
  int64_t valid;
  double low, high; /* seconds, of this step */
};

/* What all operators of a step are priced with. */
struct td_fit_step {
  const struct td_device_params *device;
  const struct td_graph *graph;
  enum td_dtype kv_dtype;
  const struct td_step_stats *stats;
  const struct td_op_fit *e2e;  /* NULL: the guesses */
  double scale;                 /* of a framework's fit; else 1 */
  td_wide scale_parts;          /* in 2^-20 */
  struct td_fit_memory *memory; /* of what was asked before; NULL: none */
  bool serving;                 /* everything is priced by models: the device has a fit of e2e, or is asked to guess */
  bool prompts;                 /* some sequence has more than one new token */
  bool launches;                /* show: there is no graph of the step */
};
/* What is the same for all steps. */
void td_fit_steps_of(const struct td_device_params *device, const struct td_graph *graph, enum td_dtype kv_dtype,
                     struct td_fit_step *out_steps);
/* Makes it one of them, or another one. */
void td_fit_step_at(struct td_fit_step *step, const struct td_step_stats *stats);

/* Of grains. */
static inline double td_fit_seconds(td_wide grains) {
  int64_t narrow = (int64_t)grains; /* of which the conversion is an instruction */
  return (narrow == grains ? (double)narrow : (double)grains) / (double)(1 << TD_GRAIN_BITS) * 1e-12;
}
/* A framework's times. */
void td_fit_scale(const struct td_fit_step *step, struct td_fitted *fitted);

/* `bytes`: of the operator in this step, as the roofline counts them. */
td_status td_price_fitted(const struct td_fit_step *step, const struct td_op *op, double bytes,
                          struct td_fitted *out_fitted);

/* ---- between the files of it ---- */

struct td_fit_times {
  int64_t ps;
  double low, high; /* seconds */
};
/* The time of a shape whose last field is `value`; adds to *sum. */
td_status td_fit_add(const struct td_fit_step *step, enum td_operator op, const char *path,
                     const struct td_op_shape *family, int64_t value, struct td_fit_times *sum);
/* A shape the model has no basis for, such as heads of no multiple, stays a roofline. */
bool td_fit_has_basis(enum td_operator op, struct td_op_shape shape, int64_t last);
/* Whether operators of this path are priced by their model. */
bool td_fit_wanted(const struct td_fit_step *step, enum td_operator op, const char *path);
struct td_fitted td_fit_constant(const struct td_fit_step *step, const struct td_fit_times *times, int64_t valid);
td_status td_fit_attention(const struct td_fit_step *step, const struct td_op *op, struct td_fitted *out);
td_status td_fit_product(const struct td_fit_step *step, const struct td_op *op, struct td_fitted *out);
td_status td_fit_experts(const struct td_fit_step *step, const struct td_op *op, struct td_fitted *out);

#endif
