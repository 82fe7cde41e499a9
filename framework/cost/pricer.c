/* SPDX-License-Identifier: Apache-2.0
 *
 * Many prices of one slice. What depends on the number of tokens only, or of logits only, is remembered by it; of
 * decode steps all but attention is remembered in one. Tables have so many places and no more: what finds its place
 * taken pushes the other out.
 */
#include <stdlib.h>

#include "price_memory.h"
#include "price_sum.h"
#include "tandem/base.h"

/* Powers of two. */
#define BY_TOKENS 16384
#define BY_LOGITS 4096
#define DECODES 4096

/* A part whose sums do not grow. */
struct part {
  wide all, bound;
  double low, high, flops, bytes, octaves;
};
/* What it depends on; zeros where it does not. */
struct key {
  int64_t one, tokens, experts, logits, seqs;
  bool launches, used;
};
struct place {
  struct key key;
  struct part part;
};

struct td_pricer {
  struct td_price_plan plan;
  struct td_slice slice;
  struct td_price_layers layers;
  bool has_layers;
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
  pricer->slice = *slice;
  *out_pricer = pricer;
  return TD_OK;
}

void td_pricer_close(struct td_pricer *pricer) {
  if (!pricer) return;
  if (pricer->has_layers) td_price_layers_close(&pricer->layers);
  td_fit_memory_close(pricer->plan.steps.memory);
  td_price_plan_close(&pricer->plan);
  free(pricer);
}

static bool same(const struct key *a, const struct key *b) {
  return a->one == b->one && a->tokens == b->tokens && a->experts == b->experts && a->logits == b->logits &&
         a->seqs == b->seqs && a->launches == b->launches && a->used == b->used;
}

static void widen(const struct part *part, struct td_sums *out) {
  *out = (struct td_sums){.all.rest = part->all,
                          .bound.rest = part->bound,
                          .low = part->low,
                          .high = part->high,
                          .flops = part->flops,
                          .bytes = part->bytes,
                          .octaves = part->octaves,
                          .valid = INT64_MAX};
}

static struct part narrow(const struct td_sums *sums) {
  return (struct part){sums->all.rest, sums->bound.rest, sums->low,    sums->high,
                       sums->flops,    sums->bytes,      sums->octaves};
}

/* One dependence, remembered. */
static td_status recall(struct td_price_plan *plan, enum td_dependence by, const struct td_fit_step *step,
                        const struct ahead *ahead, const struct key *key, struct place *place, struct td_sums *out) {
  if (!same(&place->key, key)) {
    TD_TRY(td_price_sum(plan, by, step, ahead, out));
    place->part = narrow(out);
    place->key = *key;
    return TD_OK;
  }
  widen(&place->part, out);
  return TD_OK;
}

/* All but attention. */
static td_status sum_rest(struct td_pricer *pricer, const struct td_fit_step *step, const struct ahead *ahead,
                          struct td_sums *out) {
  const int64_t *v = step->stats->v;
  const struct key any = {.one = v[TD_SYM_ONE], .launches = step->launches, .used = true};
  struct key tokens = any, logits = any;
  tokens.tokens = v[TD_SYM_TOKENS];
  tokens.experts = v[TD_SYM_EXPERTS];
  logits.logits = v[TD_SYM_LOGITS];
  uint64_t half = step->launches ? 0 : BY_TOKENS / 2; /* steps of few tokens are of both kinds */
  struct place *of_tokens = &pricer->tokens[((uint64_t)tokens.tokens + half) % BY_TOKENS];
  struct place *of_logits = &pricer->logits[((uint64_t)logits.logits + half) % BY_LOGITS];
  struct td_sums sums, part;
  TD_TRY(recall(&pricer->plan, TD_BY_TOKENS, step, ahead, &tokens, of_tokens, &sums));
  TD_TRY(recall(&pricer->plan, TD_BY_LOGITS, step, ahead, &logits, of_logits, &part));
  td_price_join(&sums, &part);
  TD_TRY(td_price_sum(&pricer->plan, TD_BY_SEQS, step, ahead, &part));
  td_price_join(&sums, &part);
  *out = sums;
  return TD_OK;
}

/* The same of a decode step, in one look. */
static td_status sum_decode_rest(struct td_pricer *pricer, const struct td_fit_step *step, const struct ahead *ahead,
                                 struct td_sums *out) {
  const int64_t *v = step->stats->v;
  const struct key key = {.one = v[TD_SYM_ONE],
                          .tokens = v[TD_SYM_TOKENS],
                          .experts = v[TD_SYM_EXPERTS],
                          .logits = v[TD_SYM_LOGITS],
                          .seqs = v[TD_SYM_SEQS],
                          .launches = step->launches,
                          .used = true};
  uint64_t off = (uint64_t)(key.tokens - key.logits) * UINT64_C(0x9e3779b97f4a7c15) >> 40;
  struct place *place = &pricer->decodes[((uint64_t)key.tokens + off) % DECODES];
  if (same(&place->key, &key)) {
    widen(&place->part, out);
    return TD_OK;
  }
  TD_TRY(sum_rest(pricer, step, ahead, out));
  place->part = narrow(out);
  place->key = key;
  return TD_OK;
}

td_status td_pricer_step(struct td_pricer *pricer, const struct td_step_stats *stats, struct td_price *out_price) {
  struct td_price_plan *plan = &pricer->plan;
  struct td_sums sums, part;
  TD_TRY(td_price_check(stats));
  struct ahead ahead = td_price_look_ahead(plan, stats);
  struct td_fit_step step = td_fit_step_of(&plan->steps, stats);
  bool decode = stats->v[TD_SYM_TOKENS] == stats->v[TD_SYM_SEQS];
  TD_TRY(decode ? sum_decode_rest(pricer, &step, &ahead, &sums) : sum_rest(pricer, &step, &ahead, &sums));
  TD_TRY(td_price_sum(plan, TD_BY_ALL, &step, &ahead, &part));
  td_price_join(&sums, &part);
  return td_price_finish(plan, &step, &ahead, &sums, out_price);
}

td_status td_pricer_milestones(struct td_pricer *pricer, const struct td_step_stats *stats, int64_t *out_ps) {
  TD_TRY(td_price_check(stats));
  if (!pricer->has_layers) TD_TRY(td_price_layers_open(&pricer->plan, &pricer->slice, &pricer->layers));
  pricer->has_layers = true;
  return td_price_layers_ps(&pricer->plan, &pricer->layers, stats, out_ps);
}
