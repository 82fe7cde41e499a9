/* SPDX-License-Identifier: Apache-2.0
 *
 * Many prices of one slice. What depends on the number of tokens only, or of logits only, is remembered by it; of
 * decode steps all but attention is remembered in one. Tables have so many places and no more: what finds its place
 * taken pushes the other out.
 */
#include <stdlib.h>

#include "op_curve.h"
#include "pricer_line.h"
#include "tandem/base.h"

/* Powers of two. */
#define BY_TOKENS 16384
#define BY_LOGITS 4096
#define DECODES 4096
#define LINES 8192
#define KNOTS 64 /* for each number of sequences: contexts up to 2^17 */

/* What a part depends on; zeros where it does not. */
struct key {
  int64_t one, tokens, all_tokens, experts, logits, seqs;
  bool launches, used;
};
struct place {
  struct key key;
  struct td_price_part part;
};

/* What operators that depend on tokens come to before the ends of two layers. */
struct ends {
  struct key key;
  int32_t layers[2];
  wide upto[2];
};

struct td_pricer {
  struct td_fit_step step; /* the one at hand */
  struct td_line lines[LINES];
  struct place tokens[BY_TOKENS], logits[BY_LOGITS], decodes[DECODES];
  struct td_line_plan line_plan;
  struct td_price_plan plan;
  struct td_price_layers layers;
  struct ends *ends; /* [BY_TOKENS]; NULL before the first question */
  struct td_slice slice;
  bool has_layers, has_line_plan;
};

td_status td_pricer_open(const struct td_device_params *device, const struct td_graph *graph,
                         const struct td_slice *slice, enum td_dtype kv_dtype, struct td_pricer **out_pricer) {
  struct td_price_plan plan;
  struct td_pricer *pricer = NULL;
  TD_TRY(td_price_plan_open(device, graph, slice, kv_dtype, &plan));
  td_status status = td_alloc(1, sizeof *pricer, (void **)&pricer);
  if (!status) status = td_fit_memory_open(&plan.steps.memory);
  if (status) {
    free(pricer);
    td_price_plan_close(&plan);
    return status;
  }
  pricer->plan = plan;
  pricer->step = plan.steps;
  pricer->slice = *slice;
  *out_pricer = pricer;
  return TD_OK;
}

void td_pricer_close(struct td_pricer *pricer) {
  if (!pricer) return;
  if (pricer->has_layers) td_price_layers_close(&pricer->layers);
  free(pricer->ends);
  td_fit_memory_close(pricer->plan.steps.memory);
  td_price_plan_close(&pricer->plan);
  free(pricer);
}

static bool same(const struct key *a, const struct key *b) {
  return a->one == b->one && a->tokens == b->tokens && a->all_tokens == b->all_tokens && a->experts == b->experts &&
         a->logits == b->logits && a->seqs == b->seqs && a->launches == b->launches && a->used == b->used;
}

/* One dependence, remembered. */
static td_status recall(struct td_pricer *pricer, enum td_dependence by, const struct ahead *ahead,
                        const struct key *key, struct place *place) {
  struct td_sums sums = {.valid = INT64_MAX};
  if (same(&place->key, key)) return TD_OK;
  TD_TRY(td_price_add(&pricer->plan, by, &pricer->step, ahead, &sums));
  place->part = td_price_part_of(&sums);
  place->key = *key;
  return TD_OK;
}

/* All but attention. */
static td_status sum_rest(struct td_pricer *pricer, const struct ahead *ahead, struct td_price_part *out) {
  const int64_t *v = pricer->step.stats->v;
  const struct key any = {.one = v[TD_SYM_ONE], .launches = pricer->step.launches, .used = true};
  struct key tokens = any, logits = any;
  tokens.tokens = v[TD_SYM_TOKENS];
  tokens.all_tokens = v[TD_SYM_ALL_TOKENS];
  tokens.experts = v[TD_SYM_EXPERTS];
  logits.logits = v[TD_SYM_LOGITS];
  uint64_t half = any.launches ? 0 : BY_TOKENS / 2; /* steps of few tokens are of both kinds */
  struct place *of_tokens = &pricer->tokens[((uint64_t)tokens.tokens + half) % BY_TOKENS];
  struct place *of_logits = &pricer->logits[((uint64_t)logits.logits + half / 4) % BY_LOGITS];
  struct td_sums sums = {.valid = INT64_MAX};
  TD_TRY(recall(pricer, TD_BY_TOKENS, ahead, &tokens, of_tokens));
  TD_TRY(recall(pricer, TD_BY_LOGITS, ahead, &logits, of_logits));
  TD_TRY(td_price_add(&pricer->plan, TD_BY_SEQS, &pricer->step, ahead, &sums));
  const struct td_price_part of_seqs = td_price_part_of(&sums);
  struct td_price_part part = {.all = 0};
  td_price_join(&part, &of_tokens->part);
  td_price_join(&part, &of_logits->part);
  td_price_join(&part, &of_seqs);
  *out = part;
  return TD_OK;
}

/* The same of a decode step, in one look. */
static td_status recall_decode(struct td_pricer *pricer, const struct ahead *ahead, const struct td_price_part **out) {
  const int64_t *v = pricer->step.stats->v;
  const struct key key = {.one = v[TD_SYM_ONE],
                          .tokens = v[TD_SYM_TOKENS],
                          .all_tokens = v[TD_SYM_ALL_TOKENS],
                          .experts = v[TD_SYM_EXPERTS],
                          .logits = v[TD_SYM_LOGITS],
                          .seqs = v[TD_SYM_SEQS],
                          .launches = pricer->step.launches,
                          .used = true};
  uint64_t off = (uint64_t)(key.tokens - key.logits) * UINT64_C(0x9e3779b97f4a7c15) >> 40;
  struct place *place = &pricer->decodes[((uint64_t)key.tokens + off) % DECODES];
  if (!same(&place->key, &key)) {
    place->key.used = false;
    TD_TRY(sum_rest(pricer, ahead, &place->part));
    place->key = key;
  }
  *out = &place->part;
  return TD_OK;
}

static td_status price_any(struct td_pricer *pricer, const struct td_price_part *rest, const struct ahead *ahead,
                           struct td_price *out_price) {
  struct td_sums sums = td_price_sums(rest);
  TD_TRY(td_price_add(&pricer->plan, TD_BY_ALL, &pricer->step, ahead, &sums));
  return td_price_finish(&pricer->plan, &pricer->step, ahead, &sums, out_price);
}

/* One token a sequence, at least one of them. */
static td_status price_decode(struct td_pricer *pricer, struct td_price *out_price) {
  const struct td_step_stats *stats = pricer->step.stats;
  int64_t seqs = stats->v[TD_SYM_SEQS], mean = stats->v[TD_SYM_CONTEXT] / seqs;
  uint64_t place = ((uint64_t)seqs * KNOTS + (uint64_t)td_op_knot_below(mean)) % LINES;
  struct td_line *line = &pricer->lines[place];
  const struct td_price_part *rest;
  bool alike = !stats->v[TD_SYM_ALL_TOKENS];
  if (alike && td_line_price(&pricer->plan, &pricer->line_plan, line, &pricer->step, mean, out_price)) return TD_OK;
  struct ahead ahead = td_price_look_ahead(&pricer->plan, stats);
  TD_TRY(recall_decode(pricer, &ahead, &rest));
  TD_TRY(price_any(pricer, rest, &ahead, out_price));
  if (!pricer->has_line_plan) td_line_plan_of(&pricer->plan, &pricer->line_plan); /* rooflines are ready now */
  pricer->has_line_plan = true;
  if (alike && pricer->line_plan.count && stats->v[TD_SYM_ONE] == 1)
    td_line_of(&pricer->line_plan, &pricer->step, rest, line);
  return TD_OK;
}

td_status td_pricer_step(struct td_pricer *pricer, const struct td_step_stats *stats, struct td_price *out_price) {
  struct td_price_part rest;
  TD_TRY(td_price_check(stats));
  td_fit_step_at(&pricer->step, stats);
  if (stats->v[TD_SYM_TOKENS] == stats->v[TD_SYM_SEQS] && stats->v[TD_SYM_SEQS]) return price_decode(pricer, out_price);
  struct ahead ahead = td_price_look_ahead(&pricer->plan, stats);
  TD_TRY(sum_rest(pricer, &ahead, &rest));
  return price_any(pricer, &rest, &ahead, out_price);
}

static td_status need_layers(struct td_pricer *pricer) {
  if (pricer->has_layers) return TD_OK;
  TD_TRY(td_price_layers_open(&pricer->plan, &pricer->slice, &pricer->layers));
  pricer->has_layers = true;
  return TD_OK;
}

/* Operators of the first dependence, remembered. */
static td_status recall_ends(struct td_pricer *pricer, const struct ahead *ahead, const int32_t layers[2],
                             const struct ends **out) {
  const int64_t *v = pricer->step.stats->v;
  const struct key key = {.one = v[TD_SYM_ONE],
                          .tokens = v[TD_SYM_TOKENS],
                          .all_tokens = v[TD_SYM_ALL_TOKENS],
                          .experts = v[TD_SYM_EXPERTS],
                          .launches = pricer->step.launches,
                          .used = true};
  if (!pricer->ends) TD_TRY(td_alloc(BY_TOKENS, sizeof *pricer->ends, (void **)&pricer->ends));
  struct ends *place = &pricer->ends[(uint64_t)key.tokens % BY_TOKENS];
  *out = place;
  if (same(&place->key, &key) && place->layers[0] == layers[0] && place->layers[1] == layers[1]) return TD_OK;
  int32_t end = pricer->plan.begin[TD_BY_TOKENS + 1];
  TD_TRY(td_price_layers_add(&pricer->plan, &pricer->layers, &pricer->step, ahead, 0, end));
  for (int i = 0; i < 2; i++) {
    place->layers[i] = layers[i];
    place->upto[i] = td_price_layers_sum(&pricer->plan, &pricer->layers, layers[i], 0, end).rest;
  }
  place->key = key;
  return TD_OK;
}

td_status td_pricer_layer_ends(struct td_pricer *pricer, const struct td_step_stats *stats, const int32_t layers[2],
                               int64_t out_ps[2]) {
  const struct td_price_plan *plan = &pricer->plan;
  const struct ends *ends;
  int64_t ignored;
  TD_TRY(td_price_check(stats));
  TD_TRY(need_layers(pricer));
  struct ahead ahead = td_price_look_ahead(plan, stats);
  td_fit_step_at(&pricer->step, stats);
  for (int i = 0; i < 2 && plan->model; i++) {
    TD_TRY(td_price_layers_even(plan, &pricer->layers, stats, layers[i], &out_ps[i]));
  }
  if (plan->model) return TD_OK;
  int32_t begin = plan->begin[TD_BY_TOKENS + 1], end = pricer->layers.ops;
  TD_TRY(recall_ends(pricer, &ahead, layers, &ends));
  TD_TRY(td_price_layers_add(&pricer->plan, &pricer->layers, &pricer->step, &ahead, begin, end));
  for (int i = 0; i < 2; i++) {
    struct td_total sum = td_price_layers_sum(plan, &pricer->layers, layers[i], begin, end);
    sum.rest += ends->upto[i];
    TD_TRY(td_price_round(&sum, &ahead, stats, &out_ps[i], &ignored));
  }
  return TD_OK;
}
