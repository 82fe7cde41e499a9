/* SPDX-License-Identifier: Apache-2.0
 *
 * The table of prices against the closed forms and the walk that it stands for: random small models, machines,
 * groupings and steps; nothing may differ in a single cycle or bit.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lpu/small_model.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/lpu_price.h"
#include "tandem/model.h"

#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

enum { MOST_ROWS = 24, CONTEXT = 128 };

/* ---- a priced program ---- */

struct priced {
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
  struct td_lpu_program *program;
  struct td_lpu_tally *tallies;
  struct td_lpu_price *price;
};

static td_status open_priced(const char *device, const char *model, const struct td_slice *slice,
                             const struct td_lpu_options *options, struct priced *out) {
  *out = (struct priced){0};
  assert_ok(td_device_params_open(device, &out->params));
  assert_ok(td_model_open(model, &out->model));
  assert_ok(td_graph_build(out->model, &out->graph));
  const struct td_slice whole = td_slice_whole(out->graph);
  TD_TRY(
      td_lpu_compile(td_lpu_machine_of(out->params), out->graph, slice ? slice : &whole, NULL, options, &out->program));
  assert_ok(td_lpu_program_tallies(out->program, &out->tallies));
  assert_ok(td_lpu_price_open(out->program, out->graph, &out->price));
  return TD_OK;
}

static void close_priced(struct priced *priced) {
  td_lpu_price_close(priced->price);
  free(priced->tallies);
  td_lpu_program_free(priced->program);
  td_graph_free(priced->graph);
  td_model_close(priced->model);
  td_device_params_close(priced->params);
}

/* ---- what the walk says ---- */

struct walked {
  const struct td_lpu_program *program;
  int64_t before;       /* cycles of entries before this one */
  int64_t stages[64];   /* cycles in which each is at work */
  int64_t layer_ps[64]; /* the cycle after each "output" */
  int32_t layers;
};

static td_status add_call(void *context, const struct td_lpu_call *call) {
  struct walked *walked = context;
  const struct td_lpu_segment *segment = &walked->program->segments[call->segment];
  bool works[64] = {false};
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    works[(call->chip + segment->instructions[i].chip) / walked->program->tensor] = true;
  }
  for (int i = 0; i < 64; i++) walked->stages[i] += works[i] ? segment->length : 0;
  if (strncmp(segment->name, "output", 6) == 0) {
    walked->layer_ps[walked->layers++] = walked->before + call->cycle + segment->length;
  }
  return TD_OK;
}

static void walk(const struct priced *priced, const struct td_lpu_step *step, struct walked *out) {
  int32_t entry = td_lpu_program_entry(priced->program, step->row_count);
  *out = (struct walked){.program = priced->program};
  for (; entry >= 0; entry = td_lpu_program_next(priced->program, entry, step->row_count)) {
    assert_ok(td_lpu_program_walk(priced->program, entry, step, add_call, out));
  }
}

/* ---- a step ---- */

static void same_counts(const struct td_lpu_cost *cost, const struct td_lpu_counts *want) {
  assert_int_equal(cost->cycles, want->cycles);
  for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) assert_int_equal(cost->busy[i], want->busy[i]);
  assert_memory_equal(&cost->energy_j, &want->energy_j, sizeof want->energy_j);
}

/* Runs of each segment times what a run goes to. */
static void same_spent(const struct priced *priced, const struct td_lpu_step *step, const struct td_lpu_cost *cost) {
  const struct td_lpu_program *program = priced->program;
  int64_t *runs = calloc((size_t)program->segment_count, sizeof *runs), want[TD_LPU_SPENT_COUNT] = {0}, sum = 0;
  int32_t first = td_lpu_program_entry(program, step->row_count), parts = 0;
  assert_non_null(runs);
  td_lpu_program_runs(program, first, step, runs);
  for (int32_t at = first; at >= 0; at = td_lpu_program_next(program, at, step->row_count)) parts++;
  for (int32_t s = 0; s < program->segment_count; s++) {
    int64_t spent[TD_LPU_SPENT_COUNT], exchange;
    assert_ok(td_lpu_segment_spent(program, s, spent, &exchange));
    for (int i = 0; i < TD_LPU_SPENT_COUNT; i++) want[i] += runs[s] * spent[i];
  }
  want[TD_SPENT_WAIT] += parts * (program->machine.superlanes - 1);
  for (int i = 0; i < TD_LPU_SPENT_COUNT; i++) {
    assert_int_equal(cost->spent[i], want[i]);
    sum += cost->spent[i];
  }
  assert_int_equal(sum, cost->cycles);
  free(runs);
}

static void same_stages(const struct priced *priced, const struct td_lpu_step *step, const struct td_lpu_cost *cost) {
  struct walked walked;
  int64_t longest = 0;
  walk(priced, step, &walked);
  for (int i = 0; i < 64; i++) longest = walked.stages[i] > longest ? walked.stages[i] : longest;
  assert_int_equal(cost->stage_cycles, longest);
}

static int64_t fill_rows(struct td_lpu_row *rows, int32_t count, int32_t block_tokens, uint64_t seed) {
  static const int32_t blocks[CONTEXT];
  int64_t sum = 0;
  for (int32_t r = 0; r < count; r++) {
    int32_t position = (int32_t)(td_random(seed, 7, (uint64_t)r) % CONTEXT);
    rows[r] = (struct td_lpu_row){position, blocks, block_tokens ? position / block_tokens + 1 : 0};
    sum += rows[r].block_count;
  }
  return sum;
}

static void check_step(const struct priced *priced, int32_t count, uint64_t seed) {
  struct td_lpu_row rows[MOST_ROWS];
  struct td_lpu_step step = {rows, count};
  struct td_lpu_cost cost;
  struct td_lpu_counts want;
  int64_t blocks = fill_rows(rows, count, priced->program->block_tokens, seed);
  int32_t entry = td_lpu_program_entry(priced->program, count);
  assert_ok(td_lpu_price_pass(priced->price, count, blocks, &cost));
  assert_int_equal(cost.cycles, td_lpu_program_cycles(priced->program, entry, &step));
  assert_ok(td_lpu_program_counts(priced->program, priced->tallies, entry, &step, &want));
  same_counts(&cost, &want);
  same_spent(priced, &step, &cost);
  same_stages(priced, &step, &cost);
}

/* All rows at one position, for every number of rows and some contexts. */
static void check_contexts(const struct priced *priced, int32_t most) {
  static const int32_t blocks[CONTEXT];
  struct td_lpu_row rows[MOST_ROWS];
  int32_t tokens = priced->program->block_tokens;
  for (int32_t count = 1; count <= most; count++) {
    int32_t entry = td_lpu_program_entry(priced->program, count);
    for (int32_t position = 0; position < CONTEXT; position += 7) {
      for (int32_t r = 0; r < count; r++) rows[r] = (struct td_lpu_row){position, blocks, position / tokens + 1};
      struct td_lpu_cost cost;
      assert_ok(td_lpu_price_context(priced->price, count, position + 1, &cost));
      assert_int_equal(cost.cycles, td_lpu_program_cycles(priced->program, entry, &(struct td_lpu_step){rows, count}));
    }
  }
}

/* ---- random models ---- */

static int32_t pick(uint64_t seed, uint64_t what, const int32_t *from, int32_t count) {
  return from[td_random(seed, what, 0) % (uint64_t)count];
}

/* False: this one does not fit so. */
static bool one_model(uint64_t seed, const char *path) {
  static const char *const devices[] = {"groq-lpu-v1", "lpu-imagined", TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg"};
  const char *device = devices[seed % 3];
  bool tiny = seed % 3 == 2;
  const int32_t widths[] = {16, 32}, kvs[] = {1, 2, 4}, layers[] = {1, 2, 3, 5}, ffns[] = {64, 160, 352};
  const int32_t rows[] = {1, 2, 5, 8, 17, MOST_ROWS}, chips[] = {1, 2, 4};
  struct small_model model = {.layers = pick(seed, 1, layers, 4), .kv_heads = pick(seed, 2, kvs, tiny ? 1 : 3)};
  model.heads = model.kv_heads * (1 + (int32_t)(td_random(seed, 3, 0) % 3));
  model.hidden = model.heads * pick(seed, 4, widths, tiny ? 1 : 2);
  model.ffn = pick(seed, 5, ffns, 3);
  struct td_lpu_options options = {.rows = pick(seed, 6, rows, tiny ? 3 : 6),
                                   .chips = pick(seed, 7, chips, 3),
                                   .weights = seed % 2 ? TD_LPU_WEIGHTS_I8 : TD_LPU_WEIGHTS_F16,
                                   .block_tokens = 32,
                                   .context = CONTEXT};
  options.kv_blocks = options.rows * 4;
  small_model_write(&model, path);
  struct priced priced;
  td_status status = open_priced(device, path, NULL, &options, &priced);
  if (!status) {
    for (uint64_t i = 0; i < 6; i++) {
      check_step(&priced, 1 + (int32_t)(td_random(seed, 8, i) % (uint64_t)options.rows), td_random(seed, 9, i));
    }
    check_contexts(&priced, options.rows);
  }
  close_priced(&priced);
  return !status;
}

static void test_random_models(void **state) {
  char path[64];
  int32_t compiled = 0;
  (void)state;
  snprintf(path, sizeof path, "lpu_price_%ld.gguf", (long)getpid());
  for (uint64_t seed = 0; seed < 18; seed++) compiled += one_model(seed, path);
  remove(path);
  print_message("%d models compiled and priced\n", compiled);
  assert_true(compiled >= 10);
}

/* ---- one model ---- */

#define TINY TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf"

static void open_tiny(struct priced *out, int32_t rows, int32_t chips) {
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8,
                                         .rows = rows,
                                         .chips = chips,
                                         .tensor = 1,
                                         .block_tokens = 32,
                                         .kv_blocks = rows * 4,
                                         .context = CONTEXT};
  assert_ok(open_priced("groq-lpu-v1", TINY, NULL, &options, out));
}

/* Layers of a step are done where the walk's are. */
static void test_layers(void **state) {
  struct priced priced;
  struct walked walked;
  struct td_lpu_row rows[5];
  struct td_step_stats stats = {{[TD_SYM_TILE] = 32}};
  struct td_price price;
  int64_t layers[64] = {0};
  (void)state;
  open_tiny(&priced, 5, 2);
  fill_rows(rows, 5, 32, 11);
  walk(&priced, &(struct td_lpu_step){rows, 5}, &walked);
  for (int i = 0; i < 5; i++) td_step_stats_add(&stats, &priced.graph->shape, rows[i].position, 1, 1);
  assert_ok(td_lpu_price_stats(priced.price, &stats, layers, &price));
  assert_int_equal(walked.layers, priced.graph->shape.layers);
  for (int32_t i = 0; i < walked.layers; i++) {
    assert_int_equal(layers[i], td_lpu_price_ps(priced.price, walked.layer_ps[i]));
  }
  close_priced(&priced);
}

/* A step of more rows than a pass takes: the passes' cycles, rounded once; a price holds until a block is full. */
static void test_stats(void **state) {
  struct priced priced;
  struct td_lpu_cost full, rest;
  struct td_price price;
  struct td_step_stats stats = {{[TD_SYM_TILE] = 32}};
  (void)state;
  open_tiny(&priced, 5, 1);
  for (int i = 0; i < 13; i++) td_step_stats_add(&stats, &priced.graph->shape, 20 + i % 3, 1, 1);
  assert_ok(td_lpu_price_stats(priced.price, &stats, NULL, &price));
  assert_ok(td_lpu_price_pass(priced.price, 5, 5, &full));
  assert_ok(td_lpu_price_pass(priced.price, 3, 3, &rest));
  assert_int_equal(price.base_ps, td_lpu_price_ps(priced.price, 2 * full.cycles + rest.cycles));
  assert_int_equal(price.slope_ps, 0);
  assert_int_equal(price.valid_steps, 32 - 22);
  assert_true(price.flops > 0 && price.bytes > 0);
  stats.v[TD_SYM_TILE] = 16;
  assert_int_equal(td_lpu_price_stats(priced.price, &stats, NULL, &price), TD_UNSUPPORTED);
  close_priced(&priced);
}

/* Compiled once for all that ask for the same. */
static void test_timing(void **state) {
  const struct td_lpu_price *first = NULL, *second = NULL, *other = NULL;
  struct td_lpu_choice choice = {.weights = TD_LPU_WEIGHTS_I8, .rows = 2, .context = 64};
  struct priced priced;
  struct td_lpu_cost cost, same;
  (void)state;
  open_tiny(&priced, 2, 1);
  const struct td_lpu_machine *machine = td_lpu_machine_of(priced.params);
  assert_ok(td_lpu_timing_open(machine, &choice, priced.graph, 32, &first));
  assert_ok(td_lpu_timing_open(machine, &choice, priced.graph, 32, &second));
  assert_ptr_equal(first, second);
  choice.rows = 4;
  assert_ok(td_lpu_timing_open(machine, &choice, priced.graph, 32, &other));
  assert_ptr_not_equal(first, other);
  td_lpu_timing_close(first);
  assert_ok(td_lpu_price_context(second, 2, 40, &cost));
  assert_ok(td_lpu_price_context(priced.price, 2, 40, &same));
  assert_int_equal(cost.cycles, same.cycles);
  choice.rows = -1;
  assert_int_equal(td_lpu_timing_open(machine, &choice, priced.graph, 32, &first), TD_CONFIG);
  td_lpu_timing_close(second);
  td_lpu_timing_close(other);
  close_priced(&priced);
}

static void test_refused(void **state) {
  struct priced priced;
  struct td_lpu_cost cost;
  struct td_lpu_flow flow;
  (void)state;
  open_tiny(&priced, 5, 1);
  assert_int_equal(td_lpu_price_pass(priced.price, 0, 1, &cost), TD_CONFIG);
  assert_int_equal(td_lpu_price_pass(priced.price, 6, 6, &cost), TD_CONFIG);
  assert_int_equal(td_lpu_price_pass(priced.price, 3, 2, &cost), TD_CONFIG);
  assert_int_equal(td_lpu_price_pass(priced.price, 3, INT64_MAX, &cost), TD_CONFIG);
  assert_int_equal(td_lpu_price_context(priced.price, 3, 0, &cost), TD_CONFIG);
  assert_ok(td_lpu_price_context(priced.price, 3, INT32_MAX, &cost));
  assert_int_equal(td_lpu_flow(priced.price, &cost, 3, 0, &flow), TD_CONFIG);
  close_priced(&priced);
}

/* A loop whose length is no linear form in rows and blocks is refused by name. */
static void test_no_form(void **state) {
  struct priced priced;
  struct td_lpu_price *price = NULL;
  (void)state;
  open_tiny(&priced, 2, 1);
  for (int32_t i = 0; i < priced.program->link_count; i++) {
    struct td_lpu_link *link = &priced.program->links[i];
    if (link->kind == TD_LINK_LOOP && link->variable == TD_VAR_BLOCK) link->first = 1;
  }
  assert_int_equal(td_lpu_price_open(priced.program, NULL, &price), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "KV blocks from 1, expected all of a row's"));
  close_priced(&priced);
}

/* ---- FFNs alone, encoders ---- */

/* A step is all layers' entries. */
static void test_ffns(void **state) {
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8, .rows = 5};
  const struct td_slice slice = {0, 4, TD_PART_FFN};
  struct priced priced;
  struct td_lpu_cost cost;
  (void)state;
  assert_ok(open_priced("groq-lpu-v1", TINY, &slice, &options, &priced));
  for (int32_t rows = 1; rows <= 5; rows++) {
    struct td_lpu_row none[5] = {{0}};
    int64_t want = 0;
    for (int32_t layer = 0; layer < 4; layer++) {
      int32_t entry = td_lpu_program_layer_entry(priced.program, layer, rows);
      want += td_lpu_program_cycles(priced.program, entry, &(struct td_lpu_step){none, rows});
    }
    assert_ok(td_lpu_price_pass(priced.price, rows, 0, &cost));
    assert_int_equal(cost.cycles, want);
  }
  assert_int_equal(td_lpu_price_facts(priced.price).layers, 4);
  close_priced(&priced);
}

static void test_encoder(void **state) {
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8, .rows = 64};
  struct priced priced;
  struct td_lpu_cost cost;
  struct td_lpu_row rows[64] = {{0}};
  (void)state;
  assert_ok(open_priced("groq-lpu-v1", TANDEM_SOURCE_DIR "/tests/data/tiny/bert-small.cfg", NULL, &options, &priced));
  assert_ok(td_lpu_price_context(priced.price, 64, 64, &cost));
  assert_int_equal(cost.cycles, td_lpu_program_cycles(priced.program, 0, &(struct td_lpu_step){rows, 64}));
  close_priced(&priced);
}

/* ---- batches in flight, drafts ---- */

static void test_flow(void **state) {
  struct priced priced;
  struct td_lpu_cost cost;
  struct td_lpu_flow one, two, many;
  (void)state;
  open_tiny(&priced, 2, 4);
  assert_int_equal(td_lpu_price_facts(priced.price).stages, 4);
  assert_ok(td_lpu_price_context(priced.price, 2, 100, &cost));
  assert_true(cost.stage_cycles < cost.cycles / 2 && cost.stage_cycles > cost.cycles / 5);
  int32_t full = td_lpu_flow_full(priced.price, &cost), epoch = priced.program->machine.link_epoch;
  double clock = priced.program->machine.clock_hz;
  assert_ok(td_lpu_flow(priced.price, &cost, 2, 1, &one));
  assert_ok(td_lpu_flow(priced.price, &cost, 2, 2, &two));
  assert_ok(td_lpu_flow(priced.price, &cost, 2, 4 * full, &many));
  assert_int_equal(one.beat, cost.cycles);
  assert_true(fabs(one.tokens_per_second * (double)cost.cycles / clock - 2.0) < 1e-12);
  assert_true(fabs(one.user_tokens_per_second * 2.0 - one.tokens_per_second) < 1e-6);
  assert_true(two.beat >= (cost.cycles + 1) / 2 && two.beat < (cost.cycles + 1) / 2 + epoch && two.beat % epoch == 0);
  assert_true(many.beat >= cost.stage_cycles && many.beat < cost.stage_cycles + epoch && many.beat % epoch == 0);
  assert_true((full - 1) * many.beat < cost.cycles && full * many.beat >= cost.cycles);
  assert_true(fabs(one.joules_per_token * 2.0 - cost.energy_j) <= 1e-12 * cost.energy_j);
  assert_true(many.joules_per_token < one.joules_per_token);
  close_priced(&priced);
}

static void test_accepted(void **state) {
  (void)state;
  assert_true(td_lpu_accepted(0, 0.7) == 1.0);
  assert_true(td_lpu_accepted(5, 0.0) == 1.0);
  assert_true(td_lpu_accepted(5, 1.0) == 6.0);
  assert_true(fabs(td_lpu_accepted(2, 0.5) - 1.75) < 1e-15);
  assert_true(fabs(td_lpu_accepted(7, 0.8) - (1 - pow(0.8, 8)) / 0.2) < 1e-12);
  assert_true(fabs(td_lpu_accepted(7, 1.0 - 1e-15) - 8.0) < 1e-9);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_random_models), cmocka_unit_test(test_layers),  cmocka_unit_test(test_stats),
      cmocka_unit_test(test_refused),       cmocka_unit_test(test_no_form), cmocka_unit_test(test_ffns),
      cmocka_unit_test(test_encoder),       cmocka_unit_test(test_flow),    cmocka_unit_test(test_accepted),
      cmocka_unit_test(test_timing),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
