/* SPDX-License-Identifier: Apache-2.0
 *
 * How many chips, and how many of them share each layer: the fewest chips, then the fewest cycles.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "compile.h"
#include "tandem/base.h"

/* Chips that can share a layer: one a head of queries; where FFNs are all there is, one a block of them; encoders are
 * not shared. */
static int32_t most_tensor(const struct lpu_compiler *compiler) {
  if (compiler->ffn_only) return compiler->ffn_vectors;
  if (compiler->encoder) return 1;
  return compiler->graph->ops[compiler->layer.attention].heads;
}

static const char *sharers(const struct lpu_compiler *compiler) {
  return compiler->ffn_only ? "FFN block" : compiler->encoder ? "encoder" : "head";
}

static int32_t layers_of(const struct lpu_compiler *compiler) {
  return compiler->end - compiler->begin;
}

/* That a program may have: those of the system. */
static int32_t chips_there(const struct lpu_compiler *compiler) {
  const struct td_lpu_machine *machine = compiler->machine;
  return machine->levels && machine->system_chips < LPU_MOST_CHIPS ? machine->system_chips : LPU_MOST_CHIPS;
}

static td_status check_wishes(const struct lpu_compiler *compiler) {
  int32_t chips = compiler->options->chips, tensor = compiler->options->tensor, most = most_tensor(compiler);
  TD_TRY(lpu_in_range("chips", chips, 0, chips_there(compiler)));
  TD_TRY(lpu_in_range("tensor", tensor, 0, LPU_MOST_CHIPS));
  if (tensor > most) {
    return td_fail(TD_CONFIG, "lpu.tensor: found %d, expected at most one chip per %s: %d", tensor, sharers(compiler),
                   most);
  }
  if (chips == 0 || tensor == 0 || chips % tensor == 0) return TD_OK;
  return td_fail(TD_CONFIG, "lpu.tensor: found %d, expected a divisor of lpu.chips: %d", tensor, chips);
}

/* The fewest chips of a group whose shares of the heads a chip each can do with; TD_UNSUPPORTED: there are none. */
static td_status find_least_tensor(const struct lpu_compiler *compiler, int32_t *out_least) {
  int32_t wish = compiler->options->tensor, most = most_tensor(compiler);
  char why[256];
  TD_TRY(lpu_check_share(compiler, most));
  for (*out_least = most; *out_least > 1 && !lpu_check_share(compiler, *out_least - 1);) --*out_least;
  if (wish == 0 || wish >= *out_least) return TD_OK;
  (void)lpu_check_share(compiler, wish); /* for its text */
  snprintf(why, sizeof why, "%s", td_error_text());
  return td_fail(TD_CONFIG, "lpu.tensor: found %d, expected at least %d: %s", wish, *out_least, why);
}

/* Whether `chips` may be in groups of `tensor`, by the wish, the heads and the layers. */
static bool may_group(const struct lpu_compiler *compiler, int32_t chips, int32_t tensor) {
  int32_t wish = compiler->options->tensor;
  return chips % tensor == 0 && (wish == 0 || wish == tensor) && tensor <= most_tensor(compiler) &&
         chips / tensor <= layers_of(compiler);
}

/* Whether it fits so. Where the shares of the heads are too big, that is a question of room too: more chips do. */
td_status lpu_try_grouping(const struct lpu_compiler *compiler, int32_t tensor, int32_t stages,
                           struct lpu_candidate *out) {
  out->grouping = (struct td_lpu_grouping){.tensor = tensor, .stages = stages};
  if (!lpu_check_share(compiler, tensor)) return lpu_try_places(compiler, tensor, stages, &out->layout);
  char why[256];
  snprintf(why, sizeof why, "%s", td_error_text());
  return td_fail(TD_EXHAUSTED, "%s", why);
}

/* The groupings of so many chips that fit. If none does: TD_EXHAUSTED, with the text of the last for which there is no
 * room, the one with the smallest shares; other failures, of which more chips are no cure; TD_EXHAUSTED where the
 * shares are too big in all; TD_CONFIG where there is no such grouping. */
static td_status find_groupings(const struct lpu_compiler *compiler, int32_t chips,
                                struct lpu_candidate out[TD_LPU_MOST_GROUPINGS], int32_t *out_count) {
  td_status failure = TD_CONFIG;
  char why[512] = "";
  bool tried = false; /* those whose shares are too big come first */
  *out_count = 0;
  for (int32_t tensor = 1; tensor <= chips && *out_count < TD_LPU_MOST_GROUPINGS; tensor++) {
    if (!may_group(compiler, chips, tensor)) continue;
    td_status status = lpu_try_grouping(compiler, tensor, chips / tensor, &out[*out_count]);
    *out_count += status == TD_OK;
    if (!status || (tried && failure == TD_EXHAUSTED && status != failure)) continue;
    failure = status;
    snprintf(why, sizeof why, "%s", td_error_text());
    tried = !lpu_check_share(compiler, tensor);
  }
  if (*out_count > 0) return TD_OK;
  if (*why) return td_fail(failure, "%s", why);
  int32_t most = compiler->options->tensor ? compiler->options->tensor : most_tensor(compiler);
  return td_fail(TD_CONFIG, "lpu.chips: found %d, expected at most one a layer and %s, %d x %d, in equal groups", chips,
                 sharers(compiler), layers_of(compiler), most);
}

/* One a layer and head. */
static int32_t most_chips(const struct lpu_compiler *compiler) {
  int64_t most = (int64_t)layers_of(compiler) * most_tensor(compiler);
  return most < chips_there(compiler) ? (int32_t)most : chips_there(compiler);
}

/* ---- the fewest that it fits ---- */

/* What a group of so many chips side by side turned out to be. */
enum { GROUP_UNTRIED, GROUP_FITS, GROUP_NEVER_FITS };

static double weight_bytes(const struct lpu_compiler *compiler) {
  return compiler->options->weights == TD_LPU_WEIGHTS_F16 ? 2.0 : 1.0;
}

/* Whether the layers of the fullest stage have less weights than its chips have SRAM. */
static bool weights_fit(const struct lpu_compiler *compiler, int32_t tensor, int32_t stages) {
  const struct td_lpu_machine *machine = compiler->machine;
  double layer, head, sram = (double)machine->mem_slices * machine->mem_words * machine->lanes;
  int32_t layers = layers_of(compiler), fullest = (layers + stages - 1) / stages;
  lpu_weight_sizes(compiler, &layer, &head);
  double most = fullest * layer > (layers * layer + head) / stages ? fullest * layer : (layers * layer + head) / stages;
  return most * weight_bytes(compiler) <= sram * tensor;
}

/* More stages are less on each: what does not fit in the most stages that there can be fits in none. */
static bool ever_fits(const struct lpu_compiler *compiler, int32_t tensor, uint8_t *known) {
  int32_t most = chips_there(compiler) / tensor;
  struct lpu_candidate tried;
  if (most > layers_of(compiler)) most = layers_of(compiler);
  if (known[tensor] == GROUP_UNTRIED) {
    td_status status = lpu_try_grouping(compiler, tensor, most, &tried);
    known[tensor] = status == TD_EXHAUSTED ? GROUP_NEVER_FITS : GROUP_FITS;
  }
  return known[tensor] == GROUP_FITS;
}

static bool is_worth_trying(const struct lpu_compiler *compiler, int32_t chips, uint8_t *known) {
  int32_t most = chips < most_tensor(compiler) ? chips : most_tensor(compiler);
  for (int32_t tensor = 1; tensor <= most; tensor++) {
    if (!may_group(compiler, chips, tensor) || !weights_fit(compiler, tensor, chips / tensor)) continue;
    if (ever_fits(compiler, tensor, known)) return true;
  }
  return false;
}

/* The fewest chips, from `first` on, that it fits. */
static td_status find_least(const struct lpu_compiler *compiler, int32_t first,
                            struct lpu_candidate out[TD_LPU_MOST_GROUPINGS], int32_t *out_count) {
  uint8_t known[LPU_MOST_CHIPS + 1] = {GROUP_UNTRIED};
  for (int32_t chips = first; chips <= most_chips(compiler); chips++) {
    if (!is_worth_trying(compiler, chips, known)) continue;
    td_status status = find_groupings(compiler, chips, out, out_count);
    if (status != TD_EXHAUSTED && status != TD_CONFIG) return status;
  }
  return TD_EXHAUSTED;
}

/* MB of K and V, a vector of fp16 each a token and layer; on every chip that shares a layer. */
static double cache_size(const struct lpu_compiler *compiler) {
  if (compiler->ffn_only || compiler->encoder) return 0.0;
  double tokens = (double)compiler->options->kv_blocks * compiler->options->block_tokens;
  return tokens * compiler->graph->shape.layers * 4.0 * compiler->machine->lanes / 1e6;
}

/* `why` it does not fit, the arithmetic, and the least number of chips that would do: least[0], or none if it is NULL.
 */
static td_status too_much(const struct lpu_compiler *compiler, const char *why, const struct lpu_candidate *least) {
  const struct td_lpu_machine *machine = compiler->machine;
  double layer, head, bytes = compiler->options->weights == TD_LPU_WEIGHTS_F16 ? 2.0 : 1.0;
  char fit[96];
  int32_t chips = least ? least->grouping.tensor * least->grouping.stages : most_chips(compiler);
  lpu_weight_sizes(compiler, &layer, &head);
  snprintf(fit, sizeof fit, "no number of chips up to %d, one a layer and %s, would do", chips, sharers(compiler));
  if (least) snprintf(fit, sizeof fit, "%d chip%s would do", chips, chips > 1 ? "s" : "");
  return td_fail(TD_EXHAUSTED, "%s; weights of %.1f MB and a KV cache of %.1f MB on chips of %.1f MB each: %s", why,
                 (layer * layers_of(compiler) + head) / 1e6 * bytes, cache_size(compiler),
                 (double)machine->mem_slices * machine->mem_words * machine->lanes / 1e6, fit);
}

/* A vector is received link_latency cycles after its SEND, all of it: a link that takes longer cannot hand it on. */
static td_status check_links(const struct lpu_compiler *compiler, int32_t chips) {
  const struct td_lpu_machine *machine = compiler->machine;
  int32_t bytes = machine->lanes + machine->link_overhead_bytes;
  double cycles = bytes * machine->clock_hz / machine->link_bytes_per_second;
  if (chips == 1 || cycles <= machine->link_latency) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "LPU %s: %d chips need links, and a vector of %d B takes %.0f cycles of %g MHz on one of %g GB/s: "
                 "expected at most the %d of link_latency, that is %.3g GB/s",
                 machine->name, chips, bytes, cycles, machine->clock_hz / 1e6, machine->link_bytes_per_second / 1e9,
                 machine->link_latency, bytes * machine->clock_hz / machine->link_latency / 1e9);
}

/* ---- which of them ---- */

/* The last position that the KV cache holds for all rows of a full step; for one, whose rows they are, if it has fewer
 * blocks than rows. */
static int32_t last_position(const struct td_lpu_options *options) {
  int32_t blocks = options->kv_blocks / options->rows;
  int64_t held = (int64_t)(blocks > 0 ? blocks : options->kv_blocks) * options->block_tokens;
  return (held < options->context ? (int32_t)held : options->context) - 1;
}

static td_status count_stages(const struct td_lpu_program *program, const struct td_lpu_step *step,
                              struct lpu_counted *out) {
  int32_t count = program->chips / program->tensor;
  int64_t *stages = NULL;
  TD_TRY(td_alloc((size_t)count, sizeof *stages, (void **)&stages));
  td_lpu_program_stages(program, 0, step, stages);
  *out = (struct lpu_counted){td_lpu_program_cycles(program, 0, step), stages[0], stages[count - 1], 0};
  for (int32_t i = 0; i < count; i++) {
    if (stages[i] > out->slowest) out->slowest = stages[i];
  }
  free(stages);
  return TD_OK;
}

td_status lpu_count_candidate(const struct lpu_compiler *compiler, const struct lpu_candidate *candidate,
                              struct lpu_counted *out) {
  struct lpu_compiler trial = *compiler;
  struct td_lpu_program *program = NULL;
  int32_t tokens = compiler->ffn_only || compiler->encoder ? 0 : compiler->options->block_tokens;
  int32_t last = tokens ? last_position(compiler->options) : 0, count = compiler->options->rows;
  struct td_lpu_row *rows = NULL;
  trial.weights = NULL;
  trial.places_only = trial.full_steps_only = trial.repeats = true;
  TD_TRY(td_alloc((size_t)count, sizeof *rows, (void **)&rows));
  td_status status = lpu_compile_candidate(&trial, candidate, &program);
  for (int32_t r = 0; r < count; r++) rows[r] = (struct td_lpu_row){last, NULL, tokens ? last / tokens + 1 : 0};
  const struct td_lpu_step step = {rows, count};
  if (!status) status = count_stages(program, &step, out);
  td_lpu_program_free(program);
  free(rows);
  return status;
}

static int compare(int64_t a, int64_t b) {
  return a < b ? -1 : a > b;
}

static int by_cycles(const void *left, const void *right) {
  const struct td_lpu_grouping *a = &((const struct lpu_candidate *)left)->grouping;
  const struct td_lpu_grouping *b = &((const struct lpu_candidate *)right)->grouping;
  int order = compare(a->cycles, b->cycles);
  return order ? order : compare(a->tensor, b->tensor);
}

static int by_interval(const void *left, const void *right) {
  const struct td_lpu_grouping *a = &((const struct lpu_candidate *)left)->grouping;
  const struct td_lpu_grouping *b = &((const struct lpu_candidate *)right)->grouping;
  int order = compare(a->interval, b->interval);
  return order ? order : by_cycles(left, right);
}

/* options->chips, or as few as there can be; if that does not fit, the least that does, or why. */
static td_status find_chips(const struct lpu_compiler *compiler, struct lpu_candidate out[TD_LPU_MOST_GROUPINGS],
                            int32_t *out_count) {
  int32_t wanted = compiler->options->chips, fewest;
  char why[512];
  TD_TRY(find_least_tensor(compiler, &fewest));
  if (wanted > 0 && compiler->options->objective != TD_LPU_ALL_CHIPS) {
    td_status found = lpu_search(compiler, fewest, most_tensor(compiler), out, out_count);
    if (found != TD_EXHAUSTED) return found;
  }
  if (compiler->options->tensor) fewest = compiler->options->tensor;
  td_status status = find_groupings(compiler, wanted > 0 ? wanted : fewest, out, out_count);
  if (status != TD_EXHAUSTED) return status;
  snprintf(why, sizeof why, "%s", td_error_text());
  status = find_least(compiler, wanted > 0 ? fewest : fewest + 1, out, out_count);
  if (status && status != TD_EXHAUSTED) return status;
  if (!status && wanted == 0) return TD_OK;
  return too_much(compiler, why, status ? NULL : out);
}

static td_status count_all(const struct lpu_compiler *compiler, struct lpu_candidate *candidates, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    struct lpu_counted counted;
    TD_TRY(lpu_count_candidate(compiler, &candidates[i], &counted));
    candidates[i].grouping.cycles = counted.cycles;
    candidates[i].grouping.interval = counted.slowest;
  }
  return TD_OK;
}

/* Leaves out groupings whose step takes longer than it may. */
static td_status keep_within(const struct lpu_compiler *compiler, struct lpu_candidate *candidates, int32_t *count) {
  double bound = lpu_latency_bound(compiler), shortest = INFINITY;
  int32_t kept = 0;
  for (int32_t i = 0; bound > 0 && i < *count; i++) {
    double cycles = (double)candidates[i].grouping.cycles;
    if (cycles < shortest) shortest = cycles;
    if (cycles <= bound) candidates[kept++] = candidates[i];
  }
  if (bound == 0) return TD_OK;
  *count = kept;
  return kept ? TD_OK : lpu_refuse_bound(compiler, shortest);
}

static td_status choose(const struct lpu_compiler *compiler, struct lpu_candidate out[TD_LPU_MOST_GROUPINGS],
                        int32_t *out_count) {
  TD_TRY(check_wishes(compiler));
  TD_TRY(find_chips(compiler, out, out_count));
  TD_TRY(check_links(compiler, out->grouping.tensor * out->grouping.stages));
  TD_TRY(lpu_keep_promising(compiler, out, out_count));
  if (*out_count > 1 || lpu_latency_bound(compiler) > 0) TD_TRY(count_all(compiler, out, *out_count));
  bool rate = compiler->options->objective == TD_LPU_THROUGHPUT;
  TD_TRY(keep_within(compiler, out, out_count));
  qsort(out, (size_t)*out_count, sizeof *out, rate ? by_interval : by_cycles);
  return TD_OK;
}

/* Guesses leave the head out: where none of the best is short enough after all, the shortest may be. */
td_status lpu_choose(const struct lpu_compiler *compiler, struct lpu_candidate out[TD_LPU_MOST_GROUPINGS],
                     int32_t *out_count) {
  td_status status = choose(compiler, out, out_count);
  if (status != TD_CONFIG || lpu_latency_bound(compiler) == 0) return status;
  struct td_lpu_options options = *compiler->options;
  struct lpu_compiler shortest = *compiler;
  options.objective = TD_LPU_LATENCY;
  shortest.options = &options;
  TD_TRY(choose(&shortest, out, out_count));
  if (*out_count == 1) TD_TRY(count_all(compiler, out, 1));
  TD_TRY(keep_within(compiler, out, out_count));
  qsort(out, (size_t)*out_count, sizeof *out, by_interval);
  return TD_OK;
}
