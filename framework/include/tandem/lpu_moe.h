/* SPDX-License-Identifier: Apache-2.0
 *
 * Experts on LPUs: what the host does between a layer's entries (struct td_lpu_entry), what it costs, and how tokens
 * may fall on experts.
 *
 * A program has some of a layer's experts, whole or shared by its chips. Its entry ROUTE norms the tokens and gives the
 * router's logits. The host chooses experts and gates (td_moe_choose), lists which routed token goes where
 * (td_moe_plan_build), and starts TAKE, EXPERT and GIVE with these lists. A schedule is fixed before a program runs: a
 * list changes how often a segment runs and what its addresses are, never what it does. Hence the cycles follow from
 * how many tokens each expert has, and from nothing else.
 *
 * Numbers: the residual plus each expert's result times its gate, one after another, ascending experts; where several
 * programs have a layer's experts, each sums its own from 0 (the first of them from the residual), and whoever collects
 * them adds ascending programs.
 */
#ifndef TANDEM_LPU_MOE_H
#define TANDEM_LPU_MOE_H

#include "tandem/lpu_program.h"

/* The `used` largest of logits[experts], ties: the lower id; gates: the softmax over those, in binary64, rounded. */
void td_moe_choose(const float *logits, int32_t experts, int32_t used, int32_t *ids, float *gates);

/* The name of the image with the logits of a ROUTE entry; NULL if it has none. */
const char *td_moe_routes(const struct td_lpu_program *program, int32_t entry);

/* ---- what a layer costs ---- */

#define TD_MOE_MOST_RUNS 8
struct td_moe_length {
  int32_t rows;
  int64_t cycles;
};
/* Cycles of the segments of a layer's entries; those that a list repeats, of one row of it. */
struct td_moe_costs {
  struct td_moe_length routes[TD_MOE_MOST_RUNS], runs[TD_MOE_MOST_RUNS]; /* ascending rows */
  int32_t route_count, run_count;
  int64_t take, give, tail; /* tail: of each entry that is started */
  int32_t places;           /* for routed tokens */
};
/* TD_CONFIG if the layer has no such entries. */
td_status td_moe_costs_of(const struct td_lpu_program *program, int32_t layer, struct td_moe_costs *out);

/* What a pass over some of the routed tokens is. */
struct td_moe_work {
  int64_t cycles;           /* of TAKE, EXPERT and GIVE */
  int64_t passes, runs;     /* runs of experts */
  int64_t routed, distinct; /* tokens, experts that have any */
  int64_t entries;          /* started: each is a word from the host */
};
/* loads[count]: tokens of each of the program's experts. Tokens of one expert are cut into runs so that they take the
 * fewest cycles. TD_CONFIG for a negative load. */
td_status td_moe_work_of(const struct td_moe_costs *costs, const int32_t *loads, int32_t count,
                         struct td_moe_work *out);
/* Of ROUTE for `tokens` tokens; -1: more than it takes. */
int64_t td_moe_route_cycles(const struct td_moe_costs *costs, int32_t tokens);

/* ---- the lists ---- */

/* An entry to be started with a step. Before a GIVE, row p of the image "gates" (all lanes alike) is gates[p], for
 * p < gate_count; else there are none. */
struct td_moe_call {
  int32_t entry;
  struct td_lpu_step step;
  const float *gates;
  int32_t gate_count;
};
/* After ROUTE, in order. */
struct td_moe_plan {
  struct td_moe_call *calls;
  int32_t call_count;
  struct td_lpu_row *rows; /* of all steps */
  int32_t *numbers;
  float *gates;
};
/* ids, gates: [tokens][used] as td_moe_choose gives them. The program's experts are [first, first + experts) of the
 * layer's. */
struct td_moe_tokens {
  const int32_t *ids;
  const float *gates;
  int32_t tokens, used, first, experts;
};
/* The plan of what td_moe_work_of counts. Free with td_moe_plan_free. */
td_status td_moe_plan_build(const struct td_lpu_program *program, int32_t layer, const struct td_moe_tokens *tokens,
                            struct td_moe_plan *out);
void td_moe_plan_free(struct td_moe_plan *plan);

/* ---- how tokens fall on experts ---- */

/* Each token takes `used` different ones of `experts`, one after another, with chances as 1 / rank^zipf among those
 * left; 0: all alike. Tokens are independent. */
struct td_moe_routing {
  int32_t experts, used;
  double zipf;
};
/* TD_CONFIG: out of range. */
td_status td_moe_routing_check(const struct td_moe_routing *routing);
/* loads[experts] of `tokens` tokens, drawn; ranks are dealt to experts at random. Same seed, same loads. */
td_status td_moe_draw(const struct td_moe_routing *routing, int32_t tokens, uint64_t seed, int32_t *loads);
/* All chances alike: the expected number of experts that have any token, experts * (1 - (1 - used / experts)^tokens),
 * and bounds of the expected largest load. A load is binomial; loads are negatively associated (each token's choice is
 * a permutation distribution: Joag-Dev, Proschan 1983), so independent ones are a lower bound, and the union bound is
 * an upper one. */
double td_moe_distinct(int32_t experts, int32_t used, int32_t tokens);
void td_moe_largest(int32_t experts, int32_t used, int32_t tokens, double *out_low, double *out_high);

#endif
