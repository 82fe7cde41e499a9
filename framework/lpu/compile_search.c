/* SPDX-License-Identifier: Apache-2.0
 *
 * Groupings of many chips: too many to compile all. A sample, a stage of one layer, says what that and the way
 * to the next stage take on so many chips; what a whole model takes follows from that but for how it lies in
 * SRAM. The most promising by that guess are compiled and compared. Groups whose weights alone take longer to stream
 * than the last of those are not even sampled.
 */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

/* Cycles, of chips in groups of `tensor`. */
struct sample {
  int32_t tensor; /* 0: none yet */
  double layer, forward;
};

/* What groupings are compared by: less is better. */
struct guess {
  double first, second;
};

struct search {
  const struct lpu_compiler *compiler;
  struct sample sample; /* of the tensor that is being looked at */
  struct lpu_candidate best[LPU_MOST_COMPARED];
  struct guess guess[LPU_MOST_COMPARED];
  int32_t count;
  double shortest; /* of the steps that the bound of a step's length leaves out; 0: it left none out */
};

double lpu_latency_bound(const struct lpu_compiler *compiler) {
  bool rate = compiler->options->objective == TD_LPU_THROUGHPUT;
  return rate ? compiler->options->latency_bound * compiler->machine->clock_hz : 0.0;
}

td_status lpu_refuse_bound(const struct lpu_compiler *compiler, double shortest) {
  return td_fail(TD_CONFIG,
                 "lpu.latency_bound: found %g s, expected more: of the groupings that were looked at, the "
                 "shortest step takes %.4g s",
                 compiler->options->latency_bound, shortest / compiler->machine->clock_hz);
}

static bool is_less(struct guess a, struct guess b) {
  return a.first != b.first ? a.first < b.first : a.second < b.second;
}

/* ---- guesses ---- */

/* Whether there is a way on to sample: to another stage, of as many chips, in the same system. */
static bool has_way(const struct lpu_compiler *compiler, int32_t tensor) {
  const struct td_lpu_machine *machine = compiler->machine;
  if (compiler->end - compiler->begin == 1) return false;
  return machine->levels == 0 || tensor <= machine->system_chips / 2;
}

static td_status take_sample(const struct lpu_compiler *compiler, int32_t tensor, struct sample *out) {
  struct lpu_compiler two = *compiler;
  struct lpu_candidate candidate = {.grouping = {.tensor = tensor}, .layout = {.head_rows = compiler->rows}};
  struct lpu_counted counted;
  bool pair = has_way(compiler, tensor);
  if (out->tensor == tensor) return TD_OK;
  candidate.grouping.stages = pair ? 2 : 1;
  two.end = two.begin + candidate.grouping.stages;
  two.samples = pair;
  TD_TRY(lpu_try_places(&two, tensor, candidate.grouping.stages, &candidate.layout));
  TD_TRY(lpu_count_candidate(&two, &candidate, &counted));
  out->tensor = tensor;
  out->forward = pair ? (double)counted.last : 0.0;
  out->layer = (double)counted.first - out->forward;
  return TD_OK;
}

/* The slowest stage. */
static double interval_of(const struct lpu_compiler *compiler, const struct sample *sample, int32_t stages) {
  struct lpu_compiler grouped = *compiler;
  double most = 0.0;
  grouped.tensor = sample->tensor;
  grouped.stages = stages;
  for (int32_t stage = 0; stage < stages; stage++) {
    double own = lpu_layers_of(&grouped, stage) * sample->layer;
    own += sample->forward * ((stage > 0) + (stage < stages - 1));
    if (own > most) most = own;
  }
  return most;
}

static struct guess guess_of(const struct lpu_compiler *compiler, const struct sample *sample, int32_t stages) {
  double layers = compiler->end - compiler->begin;
  double whole = layers * sample->layer + (stages - 1) * sample->forward;
  double slowest = interval_of(compiler, sample, stages);
  bool rate = compiler->options->objective == TD_LPU_THROUGHPUT;
  return rate ? (struct guess){slowest, whole} : (struct guess){whole, slowest};
}

/* No program on `tensor` chips side by side is shorter: a layer's weights once through all streams. */
static double least_of(const struct lpu_compiler *compiler, int32_t tensor, int32_t stages) {
  struct td_lpu_rates rates;
  double layer, head, bytes = compiler->options->weights == TD_LPU_WEIGHTS_F16 ? 2.0 : 1.0;
  int32_t layers = compiler->end - compiler->begin;
  td_lpu_machine_rates(compiler->machine, &rates);
  lpu_weight_sizes(compiler, &layer, &head);
  double cycles = layer * bytes / tensor / (double)rates.stream_bytes_per_cycle;
  return cycles * (compiler->options->objective == TD_LPU_THROUGHPUT ? (layers + stages - 1) / stages : layers);
}

/* ---- the most promising ---- */

static void keep(struct search *search, const struct lpu_candidate *candidate, struct guess guess) {
  int32_t at = search->count;
  while (at > 0 && is_less(guess, search->guess[at - 1])) at--;
  if (at == LPU_MOST_COMPARED) return;
  int32_t last = search->count < LPU_MOST_COMPARED ? search->count++ : LPU_MOST_COMPARED - 1;
  for (int32_t i = last; i > at; i--) {
    search->best[i] = search->best[i - 1];
    search->guess[i] = search->guess[i - 1];
  }
  search->best[at] = *candidate;
  search->guess[at] = guess;
}

static bool is_hopeless(const struct search *search, double least) {
  return search->count == LPU_MOST_COMPARED && least >= search->guess[LPU_MOST_COMPARED - 1].first;
}

td_status lpu_keep_promising(const struct lpu_compiler *compiler, struct lpu_candidate *candidates, int32_t *count) {
  struct search search = {.compiler = compiler};
  if (*count <= LPU_MOST_COMPARED) return TD_OK;
  for (int32_t i = *count - 1; i >= 0; i--) {
    const struct td_lpu_grouping *grouping = &candidates[i].grouping;
    if (is_hopeless(&search, least_of(compiler, grouping->tensor, grouping->stages))) continue;
    TD_TRY(take_sample(compiler, grouping->tensor, &search.sample));
    keep(&search, &candidates[i], guess_of(compiler, &search.sample, grouping->stages));
  }
  memcpy(candidates, search.best, (size_t)search.count * sizeof *candidates);
  *count = search.count;
  return TD_OK;
}

/* ---- at most so many chips ---- */

/* The fewest stages, up to `most`, that so many chips side by side fit in; TD_EXHAUSTED: none. More stages are less on
 * each. */
static td_status find_fewest(const struct lpu_compiler *compiler, int32_t tensor, int32_t most,
                             struct lpu_candidate *out) {
  struct lpu_candidate tried;
  int32_t low = 1, high = most;
  TD_TRY(lpu_try_grouping(compiler, tensor, most, out));
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    td_status status = lpu_try_grouping(compiler, tensor, middle, &tried);
    if (status && status != TD_EXHAUSTED) return status;
    if (status) low = middle + 1;
    if (!status) high = middle;
    if (!status) *out = tried;
  }
  return TD_OK;
}

/* Whether a step is guessed to take no longer than it may. */
static bool is_within(struct search *search, struct guess guess) {
  double bound = lpu_latency_bound(search->compiler);
  if (bound == 0 || guess.second <= bound) return true;
  if (search->shortest == 0 || guess.second < search->shortest) search->shortest = guess.second;
  return false;
}

/* Groups of `tensor` chips: of those numbers of stages that fit, the best by its guess. */
static td_status look_at(struct search *search, int32_t tensor, int32_t most) {
  const struct lpu_compiler *compiler = search->compiler;
  struct lpu_candidate fewest, best;
  if (is_hopeless(search, least_of(compiler, tensor, most))) return TD_OK;
  TD_TRY(find_fewest(compiler, tensor, most, &fewest));
  TD_TRY(take_sample(compiler, tensor, &search->sample));
  int32_t stages = 0;
  for (int32_t i = fewest.grouping.stages; i <= most; i++) {
    struct guess guess = guess_of(compiler, &search->sample, i);
    if (!is_within(search, guess)) continue;
    if (stages == 0 || is_less(guess, guess_of(compiler, &search->sample, stages))) stages = i;
  }
  if (stages == 0) return TD_OK;
  best = fewest;
  if (stages != fewest.grouping.stages) TD_TRY(lpu_try_grouping(compiler, tensor, stages, &best));
  keep(search, &best, guess_of(compiler, &search->sample, stages));
  return TD_OK;
}

/* Groups that the system or the heads are a multiple of. */
static bool is_sensible(const struct lpu_compiler *compiler, int32_t tensor) {
  int32_t wish = compiler->options->tensor;
  if (wish) return tensor == wish;
  bool heads = !compiler->ffn_only && !compiler->encoder;
  return compiler->options->chips % tensor == 0 ||
         (heads && compiler->graph->ops[compiler->layer.attention].heads % tensor == 0);
}

td_status lpu_search(const struct lpu_compiler *compiler, int32_t least, int32_t most, struct lpu_candidate *out,
                     int32_t *out_count) {
  struct search search = {.compiler = compiler};
  int32_t chips = compiler->options->chips, layers = compiler->end - compiler->begin;
  td_status status = TD_OK;
  /* The largest groups first: their weights are through soonest. */
  for (int32_t tensor = most < chips ? most : chips; tensor >= least; tensor--) {
    int32_t stages = chips / tensor < layers ? chips / tensor : layers;
    if (!is_sensible(compiler, tensor)) continue;
    status = look_at(&search, tensor, stages);
    if (status && status != TD_EXHAUSTED) return status;
  }
  if (search.count == 0) return search.shortest > 0 ? lpu_refuse_bound(compiler, search.shortest) : status;
  memcpy(out, search.best, (size_t)search.count * sizeof *out);
  *out_count = search.count;
  return TD_OK;
}
