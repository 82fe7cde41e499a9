/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of a step: its sequences are only known by their sums, so those of one kind are taken to be alike.
 */
#include "op_curve.h"
#include "price_memory.h"
#include "tandem/base.h"

static const char *path_of(enum td_dtype kv_dtype) {
  return kv_dtype == TD_F16 || kv_dtype == TD_BF16 ? "bfloat16/bfloat16" : kv_dtype == TD_FP8 ? "bfloat16/fp8" : NULL;
}

static int64_t share(int64_t heads, int32_t chips) {
  return chips > 1 ? heads > chips ? heads / chips : 1 : heads;
}

/* A chip's heads; fewer key and value heads than chips are copied. */
static struct td_op_shape family_of(const struct td_fit_step *step, const struct td_op *op, int64_t batch) {
  int32_t chips = step->device->serving.tensor;
  return (struct td_op_shape){
      {share(op->heads, chips), share(op->kv_heads, chips), op->head_dim, op->window, batch > 0 ? batch : 1}};
}

/* One kernel; adds to *sum. */
static td_status add(const struct td_fit_step *step, const struct td_op *op, enum td_operator operator,
                     const char * path, int64_t batch, int64_t value, struct td_fit_times *sum) {
  struct td_asked *place = step->memory ? td_fit_asked(step->memory, op, operator, batch, value) : NULL, asked;
  if (place && place->op == op && place->batch == batch && place->value == value) {
    asked = *place;
  } else {
    const struct td_op_shape family = family_of(step, op, batch);
    asked = (struct td_asked){.op = op, .batch = batch, .value = value};
    TD_TRY(td_fit_add(step, operator, path, &family, value, &asked.times));
    if (place) *place = asked;
  }
  sum->ps += asked.times.ps;
  sum->low += asked.times.low;
  sum->high += asked.times.high;
  return TD_OK;
}

/* ---- decode ---- */

/* All sequences of one length, the mean. From one knot to the next the time is a line in the sum of contexts. */
static td_status price_knot(const struct td_fit_step *step, const struct td_op *op, const char *path,
                            struct td_knot *knot) {
  const struct td_op_shape family = family_of(step, op, knot->seqs);
  const int64_t ends[2] = {td_op_knot(knot->knot), td_op_knot(knot->knot + 1)};
  int64_t ps[2];
  TD_TRY(td_op_cache_ps(step->device->op_cache, step->device, TD_ATTENTION_GENERATION, path, &family, ends, 2, ps,
                        &knot->low, &knot->high));
  if (ps[1] < ps[0]) ps[1] = ps[0]; /* residuals may dip: a longer context takes no less time */
  const struct td_fit_times first = {ps[0], 0, 0};
  knot->is = true;
  knot->begin = ends[0];
  knot->end = ends[1];
  knot->context = ((td_wide)(ps[1] - ps[0]) << TD_GRAIN_BITS) / ((td_wide)knot->seqs * (ends[1] - ends[0]));
  knot->one = td_fit_constant(step, &first, INT64_MAX).one - knot->context * knot->seqs * ends[0];
  return TD_OK;
}

/* The knot's place in memory, or `own`. */
static td_status find_knot(const struct td_fit_step *step, const struct td_op *op, const char *path, int64_t mean,
                           struct td_knot *own, const struct td_knot **out) {
  int64_t seqs = step->stats->v[TD_SYM_SEQS];
  int32_t index = td_op_knot_below(mean);
  bool kept = step->memory && mean < TD_CONTEXT_MOST; /* the model has a basis for all of the knot or for none */
  struct td_knot *knot = kept ? td_fit_knot(step->memory, op, seqs, index) : own;
  *out = knot;
  if (kept && knot->op == op && knot->seqs == seqs && knot->knot == index) return TD_OK;
  *knot = (struct td_knot){.seqs = seqs, .knot = index};
  if (td_fit_wanted(step, TD_ATTENTION_GENERATION, path) &&
      td_fit_has_basis(TD_ATTENTION_GENERATION, family_of(step, op, seqs), mean)) {
    TD_TRY(price_knot(step, op, path, knot));
  }
  knot->op = op;
  return TD_OK;
}

const struct td_knot *td_fit_known_knot(const struct td_fit_step *step, const struct td_op *op) {
  int64_t seqs = step->stats->v[TD_SYM_SEQS], context = step->stats->v[TD_SYM_CONTEXT];
  if (!step->memory || seqs < 1 || context < seqs) return NULL;
  int32_t index = td_op_knot_below(context / seqs);
  const struct td_knot *knot = td_fit_knot(step->memory, op, seqs, index);
  return knot->op == op && knot->seqs == seqs && knot->knot == index ? knot : NULL;
}

static td_status decode(const struct td_fit_step *step, const struct td_op *op, const char *path,
                        struct td_fitted *out) {
  int64_t seqs = step->stats->v[TD_SYM_SEQS], context = step->stats->v[TD_SYM_CONTEXT];
  const struct td_knot *knot;
  struct td_knot own;
  if (context < seqs) return TD_OK;
  int64_t mean = context / seqs;
  TD_TRY(find_knot(step, op, path, mean, &own, &knot));
  if (!knot->is) return TD_OK;
  double seconds = td_fit_seconds(knot->one + knot->context * context);
  out->is = true;
  out->one = knot->one;
  out->context = knot->context;
  out->valid = knot->end - mean;
  out->low = knot->low * seconds;
  out->high = knot->high * seconds;
  return TD_OK;
}

/* ---- prompts ---- */

/* Chunks of prompts in a step with more tokens than sequences: `count` sequences bring `tokens` new ones each, after
 * `past`; the other sequences bring one each. */
struct chunks {
  int64_t count, tokens, past;
};

/* n new tokens after p: the prompt of n + p less that of p; at least the new ones by themselves. */
static td_status chunk_times(const struct td_fit_step *step, const struct td_op *op, const char *path,
                             const struct chunks *chunks, struct td_fit_times *sum) {
  struct td_fit_times alone = {0}, all = {0}, before = {0}, first = {0};
  TD_TRY(add(step, op, TD_ATTENTION_CONTEXT, path, chunks->count, chunks->tokens, &alone));
  if (chunks->past > 0) {
    TD_TRY(add(step, op, TD_ATTENTION_CONTEXT, path, chunks->count, chunks->past + chunks->tokens, &all));
    TD_TRY(add(step, op, TD_ATTENTION_CONTEXT, path, chunks->count, chunks->past, &before));
    TD_TRY(add(step, op, TD_ATTENTION_CONTEXT, path, chunks->count, 1, &first));
  }
  int64_t ps = all.ps - before.ps + first.ps;
  double longer = ps > alone.ps ? (double)ps / (double)alone.ps : 1;
  sum->ps += ps > alone.ps ? ps : alone.ps;
  sum->low += alone.low * longer;
  sum->high += alone.high * longer;
  return TD_OK;
}

/* Prompts of several lengths that start in this step become as many of one length as have the same tokens and pairs. */
static struct chunks whole_prompts(int64_t tokens, int64_t pairs) {
  struct chunks chunks = {.tokens = (2 * pairs + tokens / 2) / tokens - 1};
  if (chunks.tokens < 1) chunks.tokens = 1;
  chunks.count = (tokens + chunks.tokens / 2) / chunks.tokens;
  return chunks;
}

/* Of S sequences with T new tokens, C positions and A pairs, one brings T - S + 1 and the others one each; its past
 * follows from A - C = (T - S) (past + (T - S + 1) / 2). If that is negative there are several: whole prompts that
 * have T - S tokens after their first, and pairs to match. */
static struct chunks chunks_of(const int64_t *v) {
  int64_t rest = v[TD_SYM_TOKENS] - v[TD_SYM_SEQS], pairs = v[TD_SYM_PAIRS] - v[TD_SYM_CONTEXT];
  struct chunks chunks = {.count = 1, .tokens = rest + 1};
  int64_t mean = (pairs + rest / 2) / rest; /* past + half of the chunk */
  chunks.past = mean - (rest + 1) / 2;
  if (chunks.past >= 0) return chunks;
  chunks.past = 0;
  chunks.tokens = 2 * mean > 2 ? 2 * mean : 2;
  chunks.count = (rest + (chunks.tokens - 1) / 2) / (chunks.tokens - 1);
  if (chunks.count > v[TD_SYM_SEQS]) chunks.count = v[TD_SYM_SEQS];
  if (chunks.count < 1) chunks.count = 1;
  return chunks;
}

static td_status mixed(const struct td_fit_step *step, const struct td_op *op, const char *path,
                       struct td_fitted *out) {
  const int64_t *v = step->stats->v;
  bool fresh = v[TD_SYM_CONTEXT] == v[TD_SYM_TOKENS];
  struct chunks chunks = fresh ? whole_prompts(v[TD_SYM_TOKENS], v[TD_SYM_PAIRS]) : chunks_of(v);
  struct td_fit_times times = {0};
  if (!td_fit_has_basis(TD_ATTENTION_CONTEXT, family_of(step, op, chunks.count), chunks.tokens + chunks.past)) {
    return TD_OK;
  }
  TD_TRY(chunk_times(step, op, path, &chunks, &times));
  int64_t seqs = fresh ? 0 : v[TD_SYM_SEQS] - chunks.count;
  int64_t context = v[TD_SYM_CONTEXT] - chunks.count * (chunks.tokens + chunks.past);
  if (seqs > 0) {
    int64_t mean = context > seqs ? context / seqs : 1;
    if (!td_fit_wanted(step, TD_ATTENTION_GENERATION, path)) return TD_OK;
    if (!td_fit_has_basis(TD_ATTENTION_GENERATION, family_of(step, op, seqs), mean)) return TD_OK;
    TD_TRY(add(step, op, TD_ATTENTION_GENERATION, path, seqs, mean, &times));
  }
  *out = td_fit_constant(step, &times, 1);
  return TD_OK;
}

td_status td_fit_attention(const struct td_fit_step *step, const struct td_op *op, struct td_fitted *out) {
  const char *path = path_of(step->kv_dtype);
  bool latent = op->in[1] >= 0;
  if (!path || op->bidirectional || latent || step->stats->v[TD_SYM_PAIRS] > INT64_MAX / 4) return TD_OK;
  if (!step->prompts) return decode(step, op, path, out);
  return td_fit_wanted(step, TD_ATTENTION_CONTEXT, path) ? mixed(step, op, path, out) : TD_OK;
}
