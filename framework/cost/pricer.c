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
#define FEW_KINDS 4 /* of layers; with more of them, milestones have fewer places */
#define LINES 8192
#define KNOTS 64 /* for each number of sequences: contexts up to 2^17 */

/* What a part depends on; zeros where it does not. */
struct key {
  int64_t one, tokens, experts, logits, seqs;
  bool launches, used;
};
struct place {
  struct key key;
  struct td_price_part part;
};

struct td_pricer {
  struct td_price_plan plan;
  struct td_fit_step step; /* the one at hand */
  struct td_slice slice;
  struct td_price_layers layers;
  struct key *rest_keys; /* of rest_places; NULL: nobody asked for milestones yet */
  wide *rests;           /* of each place, one a kind of layer */
  size_t rest_places;
  struct td_line_plan line_plan;
  bool has_line_plan;
  struct td_line lines[LINES];
  struct place tokens[BY_TOKENS], logits[BY_LOGITS], decodes[DECODES];
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
  td_price_layers_close(&pricer->layers);
  free(pricer->rest_keys);
  free(pricer->rests);
  td_fit_memory_close(pricer->plan.steps.memory);
  td_price_plan_close(&pricer->plan);
  free(pricer);
}

static bool same(const struct key *a, const struct key *b) {
  return a->one == b->one && a->tokens == b->tokens && a->experts == b->experts && a->logits == b->logits &&
         a->seqs == b->seqs && a->launches == b->launches && a->used == b->used;
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

static struct key tokens_key(const struct td_fit_step *step) {
  const int64_t *v = step->stats->v;
  return (struct key){.one = v[TD_SYM_ONE],
                      .tokens = v[TD_SYM_TOKENS],
                      .experts = v[TD_SYM_EXPERTS],
                      .launches = step->launches,
                      .used = true};
}

/* Steps of few tokens come with launches and without. */
static size_t tokens_place(const struct key *key) {
  return (size_t)(((uint64_t)key->tokens + (key->launches ? 0 : BY_TOKENS / 2)) % BY_TOKENS);
}

/* All but attention. */
static td_status sum_rest(struct td_pricer *pricer, const struct ahead *ahead, struct td_price_part *out) {
  const int64_t *v = pricer->step.stats->v;
  const struct key tokens = tokens_key(&pricer->step);
  const struct key logits = {
      .one = v[TD_SYM_ONE], .logits = v[TD_SYM_LOGITS], .launches = pricer->step.launches, .used = true};
  uint64_t half = logits.launches ? 0 : BY_LOGITS / 2;
  struct place *of_tokens = &pricer->tokens[tokens_place(&tokens)];
  struct place *of_logits = &pricer->logits[((uint64_t)logits.logits + half) % BY_LOGITS];
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
  if (td_line_price(&pricer->plan, &pricer->line_plan, line, &pricer->step, mean, out_price)) return TD_OK;
  struct ahead ahead = td_price_look_ahead(&pricer->plan, stats);
  TD_TRY(recall_decode(pricer, &ahead, &rest));
  TD_TRY(price_any(pricer, rest, &ahead, out_price));
  if (!pricer->has_line_plan) td_line_plan_of(&pricer->plan, &pricer->line_plan); /* rooflines are ready now */
  pricer->has_line_plan = true;
  if (pricer->line_plan.count && stats->v[TD_SYM_ONE] == 1) td_line_of(&pricer->line_plan, &pricer->step, rest, line);
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

static td_status open_layers(struct td_pricer *pricer) {
  if (pricer->rest_keys) return TD_OK;
  td_price_layers_close(&pricer->layers); /* of an earlier attempt */
  free(pricer->rests);
  pricer->rests = NULL;
  TD_TRY(td_price_layers_open(&pricer->plan, &pricer->slice, &pricer->layers));
  size_t kinds = (size_t)pricer->layers.kind_count + 1;
  pricer->rest_places = kinds <= FEW_KINDS ? BY_TOKENS : BY_TOKENS * FEW_KINDS / kinds + 1;
  TD_TRY(td_alloc(pricer->rest_places * kinds, sizeof *pricer->rests, (void **)&pricer->rests));
  return td_alloc(pricer->rest_places, sizeof *pricer->rest_keys, (void **)&pricer->rest_keys);
}

td_status td_pricer_milestones(struct td_pricer *pricer, const struct td_step_stats *stats, int64_t *out_ps) {
  struct td_price_plan *plan = &pricer->plan;
  TD_TRY(td_price_check(stats));
  TD_TRY(open_layers(pricer));
  struct ahead ahead = td_price_look_ahead(plan, stats);
  td_fit_step_at(&pricer->step, stats);
  const struct key key = tokens_key(&pricer->step);
  size_t place = tokens_place(&key) % pricer->rest_places;
  wide *rests = &pricer->rests[place * ((size_t)pricer->layers.kind_count + 1)];
  if (!same(&pricer->rest_keys[place], &key)) {
    pricer->rest_keys[place].used = false;
    TD_TRY(td_price_layers_rests(plan, &pricer->layers, &pricer->step, &ahead, rests));
    pricer->rest_keys[place] = key;
  }
  return td_price_layers_ps(plan, &pricer->layers, &pricer->step, &ahead, rests, out_ps);
}
