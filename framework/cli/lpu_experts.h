/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem lpu experts`: what a layer's experts take on LPUs, over batches and over how tokens fall on experts.
 */
#ifndef TD_CLI_LPU_EXPERTS_H
#define TD_CLI_LPU_EXPERTS_H

#include "lpu_sensitivity.h"
#include "tandem/lpu.h"
#include "tandem/lpu_moe.h"

/* What is asked: one layer, dealt to options.expert_parts systems (0: the fewest that fit). */
struct lpu_experts_question {
  const struct td_device_params *params; /* of the machine */
  const struct td_lpu_machine *machine;
  const struct td_graph *graph;
  struct td_lpu_options options;
  double zipf;
  uint64_t seed;
  int32_t draws, most; /* most: tokens of the largest batch; more than options.rows go in several passes */
};

/* Cycles of the system that takes longest, without ROUTE. */
struct lpu_experts_batch {
  int32_t tokens, passes; /* equal ones, one after another; what follows is of all of them, but for means of loads */
  double distinct, largest_low, largest_high; /* expected, all chances alike */
  int64_t route;                              /* cycles of ROUTE */
  int64_t even;                               /* tokens dealt to experts in turn */
  double drawn;                               /* the mean over draws */
  int64_t drawn_most;                         /* the longest of them */
  double drawn_distinct, drawn_largest;       /* means over draws: experts with tokens, the largest load */
  int64_t same;                               /* all tokens choose the same experts, of one system if it has so many */
};

#define LPU_EXPERTS_BATCHES 16
struct lpu_experts {
  struct td_moe_routing routing;
  int32_t layer, layers, parts, chips,
      experts;                      /* layers: with experts; chips: of a part; experts: of a part, at most */
  int64_t weight_bytes, sram_bytes; /* of a chip, at most */
  struct td_moe_costs costs; /* routes: of the system that has the experts that all tokens share, if there are any */
  struct lpu_experts_batch batches[LPU_EXPERTS_BATCHES];
  int32_t batch_count;
  double clock_hz;
};
td_status lpu_experts_make(const struct lpu_experts_question *question, struct lpu_experts *out);
/* How the drawn mean of the largest batch moves with what is not published, on as many systems. *out_cycles: that mean.
 */
td_status lpu_experts_vary(const struct lpu_experts_question *question, const struct lpu_experts *experts,
                           struct lpu_sensitivity *out);
void lpu_experts_print(const struct lpu_experts *experts, FILE *out);
/* An object that is not closed. */
void lpu_experts_json(const struct lpu_experts *experts, FILE *out);

#endif
