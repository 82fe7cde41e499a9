/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: a step's price as a sum over the operators of a slice, in parts by what of the step they
 * depend on. td_price_roofline adds up all parts each time, a pricer remembers those that it has had before; both add
 * each part by itself, then the parts in order, then what depends on everything on top: so sums of doubles come out
 * equal too.
 */
#ifndef TANDEM_COST_PRICE_SUM_H
#define TANDEM_COST_PRICE_SUM_H

#include "measure.h"
#include "price_roofline.h"
#include "step_model.h"
#include "tandem/cost.h"

enum td_dependence {
  TD_BY_TOKENS, /* on TOKENS and EXPERTS, and whether launches show */
  TD_BY_LOGITS, /* on LOGITS, and whether launches show */
  TD_BY_SEQS,   /* on SEQS and LOGITS: the host */
  TD_BY_ALL,    /* attention */
  TD_DEPENDENCES
};

struct td_priced_op {
  const struct td_op *op;
  int32_t count; /* of this slice's operators alike */
  bool ready;    /* roofline is set: the device file has the rates it needs */
  struct td_roofline roofline;
};

/* What prices of a slice on a device have in common. */
struct td_price_plan {
  const struct td_step_model *model; /* whole steps, of which operators add FLOPs and bytes only; NULL: none */
  struct rates rates;
  struct td_fit_step steps; /* without counts */
  struct td_measured_form whole;
  double step_low, step_high; /* of measured operators: ratios to the whole step's time; 0: none */
  struct td_priced_op *ops;   /* by dependence, then in order of their first appearance */
  int32_t begin[TD_DEPENDENCES + 1];
};
td_status td_price_plan_open(const struct td_device_params *device, const struct td_graph *graph,
                             const struct td_slice *slice, enum td_dtype kv_dtype, struct td_price_plan *out_plan);
void td_price_plan_close(struct td_price_plan *plan);

/* Grains: what counts that do not grow come to, and how much a unit of each other one is. */
struct td_total {
  wide rest, growing[TD_GROWING];
};
struct td_sums {
  struct td_total all, bound; /* bound by arithmetic */
  double low, high;           /* ps */
  double flops, bytes;
  double octaves; /* how far an operator lies beyond what was measured */
  int64_t valid;  /* steps */
};

td_status td_price_check(const struct td_step_stats *stats);
struct ahead td_price_look_ahead(const struct td_price_plan *plan, const struct td_step_stats *stats);
/* Adds all operators of one dependence. */
td_status td_price_add(struct td_price_plan *plan, enum td_dependence by, const struct td_fit_step *step,
                       const struct ahead *ahead, struct td_sums *sums);
/* One operator of the plan, once. */
td_status td_price_one(struct td_price_plan *plan, int32_t index, const struct td_fit_step *step,
                       const struct ahead *ahead, struct td_total *out_total);
/* A sum over operators whose times do not grow: all dependences but the last. */
struct td_price_part {
  wide all, bound;
  double low, high, flops, bytes, octaves;
};
struct td_price_part td_price_part_of(const struct td_sums *sums);
void td_price_join(struct td_price_part *sum, const struct td_price_part *part);
struct td_sums td_price_sums(const struct td_price_part *part);
td_status td_price_round(const struct td_total *total, const struct ahead *ahead, const struct td_step_stats *stats,
                         int64_t *out_base, int64_t *out_slope);
td_status td_price_finish(const struct td_price_plan *plan, const struct td_fit_step *step, const struct ahead *ahead,
                          const struct td_sums *sums, struct td_price *out_price);

double td_price_energy(const struct td_fit_step *step, double flops, double bytes, int64_t base_ps);

/* The real layers of a slice, for milestones. Layers of one kind have the same operators. */
struct td_price_layers {
  int32_t count;
  int32_t *kinds; /* of each layer */
  int32_t kind_count;
  int32_t *ops, *ends;                /* of each kind: indices into the plan, and where they end */
  struct td_total *totals, *of_kinds; /* of the plan's operators and of the kinds, in the step at hand */
  bool *priced;                       /* which of the former are */
};
td_status td_price_layers_open(const struct td_price_plan *plan, const struct td_slice *slice,
                               struct td_price_layers *out_layers);
void td_price_layers_close(struct td_price_layers *layers);
/* Of each kind, what depends on TOKENS only, grains. */
td_status td_price_layers_rests(struct td_price_plan *plan, struct td_price_layers *layers,
                                const struct td_fit_step *step, const struct ahead *ahead, wide *out_rests);
td_status td_price_layers_ps(struct td_price_plan *plan, struct td_price_layers *layers, const struct td_fit_step *step,
                             const struct ahead *ahead, const wide *rests, int64_t *out_ps);

#endif
