/* SPDX-License-Identifier: Apache-2.0
 *
 * The runner on a tiny model: whatever the cut, the micro-batch or the neighbours, the logits are the same bits; a step
 * that fails leaves nothing behind; a prefill handed over layer by layer decodes as if it had stayed.
 */
#include "kv_fixture.h"
#include "tandem/devices.h"

#define TOKENS 24
#define ROWS 32
#define VOCAB 320

struct world {
  struct td_model *model;
  struct td_graph *graph;
  struct td_device *device;
  int32_t ids[TOKENS];
  float whole[TOKENS][VOCAB]; /* logits of the whole prompt in one step */
};

static struct td_runner *open_runner(struct world *world, struct td_slice slice, int32_t kv_blocks) {
  const struct td_runner_options options = {
      .kv_dtype = TD_F32, .block_tokens = 4, .kv_blocks = kv_blocks, .max_rows = ROWS, .max_logits = ROWS};
  struct td_runner *runner = NULL;
  assert_ok(td_runner_open(world->device, world->model, world->graph, &slice, &options, &runner));
  return runner;
}

static struct td_runner *open_whole(struct world *world) {
  return open_runner(world, td_slice_whole(world->graph), 16);
}

static struct td_step_seq seq_of(struct world *world, uint64_t request, int64_t past, int64_t tokens) {
  return (struct td_step_seq){.request = request, .past = past, .tokens = tokens, .ids = world->ids + past};
}

/* One sequence, all logits, into out[tokens][VOCAB]. */
static void run(struct td_runner *runner, struct td_step_seq seq, float (*out)[VOCAB]) {
  const float *logits = NULL;
  int64_t count = 0;
  assert_ok(td_runner_step(runner, &seq, 1, true, NULL, NULL, NULL, NULL, &logits, &count));
  assert_int_equal(count, seq.tokens);
  memcpy(out, logits, (size_t)count * sizeof *out);
}

static int setup(void **state) {
  struct world *world = calloc(1, sizeof *world);
  assert_non_null(world);
  assert_ok(td_model_open(test_source("tests/data/tiny/llama.gguf"), &world->model));
  assert_ok(td_graph_build(world->model, &world->graph));
  assert_int_equal(world->graph->shape.vocab, VOCAB);
  world->device = open_template();
  for (int i = 0; i < TOKENS; i++) world->ids[i] = (int32_t)(td_random(1, 2, (uint64_t)i) % VOCAB);
  struct td_runner *runner = open_whole(world);
  run(runner, seq_of(world, 1, 0, TOKENS), world->whole);
  td_runner_close(runner);
  *state = world;
  return 0;
}

static int teardown(void **state) {
  struct world *world = *state;
  td_device_close(world->device);
  td_graph_free(world->graph);
  td_model_close(world->model);
  free(world);
  return 0;
}

static void test_micro_batches(void **state) {
  struct world *world = *state;
  const int64_t sizes[] = {1, 7, 16};
  static float logits[TOKENS][VOCAB];
  for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
    struct td_runner *runner = open_whole(world);
    for (int64_t past = 0; past < TOKENS; past += sizes[i]) {
      int64_t tokens = TOKENS - past < sizes[i] ? TOKENS - past : sizes[i];
      run(runner, seq_of(world, 1, past, tokens), logits + past);
    }
    assert_memory_equal(logits, world->whole, sizeof logits);
    assert_int_equal(td_kv_length(td_runner_kv(runner), 1), TOKENS);
    td_runner_close(runner);
  }
}

/* A decode and a prefill chunk in one step; only the wanted rows come back. */
static void test_batches(void **state) {
  struct world *world = *state;
  struct td_runner *runner = open_whole(world);
  struct td_step_seq first = seq_of(world, 5, 0, 9);
  const float *logits = NULL;
  int64_t count = 9;
  assert_ok(td_runner_step(runner, &first, 1, false, NULL, NULL, NULL, NULL, &logits, &count));
  assert_int_equal(count, 0);
  struct td_step_seq seqs[3] = {seq_of(world, 6, 0, 12), seq_of(world, 5, 9, 1), seq_of(world, 7, 0, 5)};
  seqs[0].logits = seqs[1].logits = true;
  assert_ok(td_runner_step(runner, seqs, 3, false, NULL, NULL, NULL, NULL, &logits, &count));
  assert_int_equal(count, 2);
  assert_memory_equal(logits, world->whole[11], sizeof world->whole[0]);
  assert_memory_equal(logits + VOCAB, world->whole[9], sizeof world->whole[0]);
  td_runner_close(runner);
}

/* ---- slices ---- */

static struct td_slice_ops live_of(struct world *world, struct td_slice slice) {
  struct td_slice_ops ops = {0};
  assert_ok(td_slice_ops_build(world->graph, &slice, &ops));
  return ops;
}

/* One slice of a chain: live-ins from `values`, live-outs into it, by index of the graph's values. */
static void run_slice(struct world *world, struct td_slice slice, float **values, bool last) {
  struct td_slice_ops live = live_of(world, slice);
  struct td_runner *runner = open_runner(world, slice, 16);
  const float *in[8] = {NULL}, *logits = NULL;
  float *out[8] = {NULL};
  int64_t count = 0;
  struct td_step_seq seq = seq_of(world, 1, 0, TOKENS);
  if (slice.layer_begin >= 0) seq.ids = NULL;
  for (int32_t i = 0; i < live.live_in_count; i++) in[i] = values[live.live_in[i]];
  for (int32_t i = 0; i < live.live_out_count; i++) {
    size_t cols = (size_t)world->graph->values[live.live_out[i]].cols;
    out[i] = values[live.live_out[i]] = calloc(TOKENS * cols, sizeof(float));
    assert_non_null(out[i]);
  }
  if (live.live_in_count) {
    assert_refused(td_runner_step(runner, &seq, 1, true, NULL, out, NULL, NULL, &logits, &count), TD_INTERNAL,
                   "live-in");
  }
  assert_ok(td_runner_step(runner, &seq, 1, true, in, out, NULL, NULL, &logits, &count));
  assert_true((logits != NULL) == last);
  if (last) assert_memory_equal(logits, world->whole, sizeof world->whole);
  td_runner_close(runner);
  td_slice_ops_free(&live);
}

/* Slices one after the other, the values between them through host memory: the whole's bits. */
static void run_chain(struct world *world, const struct td_slice *slices, int count) {
  float **values = calloc((size_t)world->graph->value_count, sizeof *values);
  assert_non_null(values);
  for (int i = 0; i < count; i++) run_slice(world, slices[i], values, i + 1 == count);
  for (int32_t i = 0; i < world->graph->value_count; i++) free(values[i]);
  free(values);
}

static void test_layer_cuts(void **state) {
  struct world *world = *state;
  int32_t layers = world->graph->shape.layers;
  for (int32_t cut = 0; cut <= layers; cut++) {
    run_chain(world, (struct td_slice[]){{-1, cut, TD_PART_ALL}, {cut, layers + 1, TD_PART_ALL}}, 2);
  }
}

/* Attention here, feed-forward there. */
static void test_part_cuts(void **state) {
  struct world *world = *state;
  int32_t layers = world->graph->shape.layers;
  run_chain(world,
            (struct td_slice[]){
                {-1, 1, TD_PART_ALL}, {1, 2, TD_PART_ATTENTION}, {1, 2, TD_PART_FFN}, {2, layers + 1, TD_PART_ALL}},
            4);
}

/* The slice that does not attend has no KV, and no KV is asked of it. */
static void test_slice_without_kv(void **state) {
  struct world *world = *state;
  struct td_runner *runner = open_runner(world, (struct td_slice){0, 1, TD_PART_FFN}, 16);
  assert_null(td_runner_kv(runner));
  td_runner_close(runner);
}

/* ---- hand-off while the prefill goes on ---- */

struct push {
  struct world *world;
  struct td_kv_store *from, *to;
  int32_t layers_seen;
  int64_t elapsed;
};

static td_status push_layer(void *context, int32_t layer, int64_t elapsed_ps) {
  struct push *push = context;
  static char payload[1 << 20];
  struct td_kv_chunk chunk;
  bool complete;
  uint64_t bytes = td_kv_bytes(&push->world->graph->shape, TD_F32, 1, TOKENS - 4);
  assert_int_equal(layer, push->layers_seen++);
  assert_true(elapsed_ps >= push->elapsed);
  push->elapsed = elapsed_ps;
  assert_true(bytes <= sizeof payload);
  if (layer + 1 < push->world->graph->shape.layers) { /* the next layer's bytes are not there yet */
    assert_int_equal(td_kv_export(push->from, 1, layer + 1, layer + 2, 0, TOKENS - 4, payload, bytes, &chunk),
                     TD_PRECONDITION);
  }
  assert_ok(td_kv_export(push->from, 1, layer, layer + 1, 0, TOKENS - 4, payload, bytes, &chunk));
  chunk.generation = 1;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, push->world->ids, (TOKENS - 4) * sizeof(int32_t));
  return td_kv_import(push->to, &chunk, payload, &complete);
}

static void test_hand_off(void **state) {
  struct world *world = *state;
  struct td_runner *a = open_whole(world), *b = open_whole(world);
  struct push push = {.world = world, .from = td_runner_kv(a), .to = td_runner_kv(b)};
  struct td_kv_expect expect = {
      .request = 1, .generation = 1, .tokens = TOKENS - 4, .ids = world->ids, .layout = *td_kv_store_layout(push.from)};
  static float logits[4][VOCAB];
  assert_ok(td_kv_import_begin(push.to, &expect));
  struct td_step_seq seq = seq_of(world, 1, 0, TOKENS - 4);
  assert_ok(td_runner_step(a, &seq, 1, false, NULL, NULL, push_layer, &push, NULL, NULL));
  assert_int_equal(push.layers_seen, world->graph->shape.layers);
  seq = seq_of(world, 1, TOKENS - 4, 1);
  assert_refused(td_runner_step(b, &seq, 1, false, NULL, NULL, NULL, NULL, NULL, NULL), TD_PRECONDITION,
                 "not committed");
  assert_ok(td_kv_import_commit(push.to, 1));
  for (int64_t i = 0; i < 4; i++) run(b, seq_of(world, 1, TOKENS - 4 + i, 1), logits + i);
  assert_memory_equal(logits, world->whole[TOKENS - 4], sizeof logits);
  td_runner_close(a);
  td_runner_close(b);
}

/* ---- what is refused, and what a failure leaves ---- */

static void refuse(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count, td_status code,
                   const char *words) {
  struct td_kv_store *kv = td_runner_kv(runner);
  int32_t free_before = td_kv_store_free_blocks(kv);
  int64_t length = td_kv_length(kv, 1);
  assert_refused(td_runner_step(runner, seqs, count, false, NULL, NULL, NULL, NULL, NULL, NULL), code, words);
  assert_int_equal(td_kv_store_free_blocks(kv), free_before);
  assert_int_equal(td_kv_length(kv, 1), length);
}

static void test_refusals(void **state) {
  struct world *world = *state;
  struct td_runner *runner = open_runner(world, td_slice_whole(world->graph), 4);
  float scratch[6][VOCAB];
  run(runner, seq_of(world, 1, 0, 6), scratch);
  struct td_step_seq seq = seq_of(world, 1, 5, 1);
  refuse(runner, &seq, 1, TD_PRECONDITION, "after 5 positions, expected 6");
  seq = seq_of(world, 2, 0, TOKENS);
  refuse(runner, &seq, 1, TD_EXHAUSTED, "request 2");
  struct td_step_seq twice[2] = {seq_of(world, 1, 6, 1), seq_of(world, 1, 6, 1)};
  refuse(runner, twice, 2, TD_PRECONDITION, "twice");
  struct td_step_seq second_fails[2] = {seq_of(world, 3, 0, 5), seq_of(world, 2, 0, 12)};
  refuse(runner, second_fails, 2, TD_EXHAUSTED, "request 2");
  assert_int_equal(td_kv_length(td_runner_kv(runner), 3), 0);
  int32_t bad[2] = {0, VOCAB};
  seq = (struct td_step_seq){.request = 2, .tokens = 2, .ids = bad};
  refuse(runner, &seq, 1, TD_PRECONDITION, "position 1: found token id 320, expected 0 to 319");
  bad[0] = -1;
  refuse(runner, &seq, 1, TD_PRECONDITION, "position 0: found token id -1");
  int32_t context = world->graph->shape.context;
  seq = (struct td_step_seq){.request = 2, .past = context, .tokens = 1, .ids = bad};
  char words[64];
  snprintf(words, sizeof words, "found position %d, expected less than the model's context of %d", context, context);
  refuse(runner, &seq, 1, TD_PRECONDITION, words);
  seq.tokens = INT64_MAX;
  refuse(runner, &seq, 1, TD_PRECONDITION, "found position 9223372036854775807");
  struct td_step_seq many[2] = {seq_of(world, 2, 0, 20), seq_of(world, 3, 0, 20)};
  refuse(runner, many, 2, TD_EXHAUSTED, "expected at most 32");
  td_runner_close(runner);
}

static td_status fail_at_layer(void *context, int32_t layer, int64_t elapsed_ps) {
  (void)elapsed_ps;
  return layer == *(int *)context ? td_fail(TD_ABORTED, "stopped by the test") : TD_OK;
}

static void test_rollback(void **state) {
  struct world *world = *state;
  struct td_runner *runner = open_whole(world);
  struct td_kv_store *kv = td_runner_kv(runner);
  static float logits[TOKENS][VOCAB];
  int layer = 1;
  run(runner, seq_of(world, 1, 0, 6), logits);
  int32_t free_before = td_kv_store_free_blocks(kv);
  struct td_step_seq seqs[2] = {seq_of(world, 1, 6, 8), seq_of(world, 2, 0, 9)};
  assert_refused(td_runner_step(runner, seqs, 2, false, NULL, NULL, fail_at_layer, &layer, NULL, NULL), TD_ABORTED,
                 "stopped");
  assert_int_equal(td_kv_length(kv, 1), 6);
  assert_int_equal(td_kv_length(kv, 2), 0);
  assert_int_equal(td_kv_store_free_blocks(kv), free_before);
  run(runner, seq_of(world, 1, 6, TOKENS - 6), logits + 6);
  assert_memory_equal(logits, world->whole, sizeof logits);
  td_runner_close(runner);
}

/* Dropping positions and computing them anew gives the same bits (speculative decoding). */
static void test_truncate(void **state) {
  struct world *world = *state;
  struct td_runner *runner = open_whole(world);
  static float logits[TOKENS][VOCAB];
  int32_t other[TOKENS];
  for (int i = 0; i < TOKENS; i++) other[i] = (world->ids[i] + 1) % VOCAB;
  run(runner, seq_of(world, 1, 0, 10), logits);
  run(runner, (struct td_step_seq){.request = 1, .past = 10, .tokens = 6, .ids = other}, logits + 10);
  assert_ok(td_kv_truncate(td_runner_kv(runner), 1, 10));
  run(runner, seq_of(world, 1, 10, TOKENS - 10), logits + 10);
  assert_memory_equal(logits, world->whole, sizeof logits);
  td_runner_close(runner);
}

static void test_options(void **state) {
  struct world *world = *state;
  struct td_slice slice = td_slice_whole(world->graph);
  struct td_runner *runner = NULL;
  const struct td_runner_options good = {
      .kv_dtype = TD_F16, .block_tokens = 4, .kv_blocks = 4, .max_rows = 4, .max_logits = 4};
  struct td_runner_options bad = good;
  bad.kv_dtype = TD_BF16;
  assert_refused(td_runner_open(world->device, world->model, world->graph, &slice, &bad, &runner), TD_UNSUPPORTED,
                 "kv_dtype");
  bad = good;
  bad.max_rows = 0;
  assert_refused(td_runner_open(world->device, world->model, world->graph, &slice, &bad, &runner), TD_CONFIG,
                 "max_rows");
  bad = good;
  bad.kv_blocks = 0;
  assert_refused(td_runner_open(world->device, world->model, world->graph, &slice, &bad, &runner), TD_CONFIG, "blocks");
  assert_null(runner);
  td_runner_close(NULL);
}

/* What does not fit the device file's memory is refused with the arithmetic. */
static void test_memory(void **state) {
  struct world *world = *state;
  struct td_slice slice = td_slice_whole(world->graph);
  struct td_device_params params = {.name = "small", .memory_bytes = {.present = true, .value = 100000}};
  const struct td_runner_options options = {
      .kv_dtype = TD_F32, .block_tokens = 4, .kv_blocks = 4, .max_rows = 4, .max_logits = 4};
  struct td_device *device = NULL;
  struct td_runner *runner = NULL;
  assert_ok(td_device_open("template", &(struct td_device_options){.params = &params, .threads = 1}, &device));
  assert_refused(td_runner_open(device, world->model, world->graph, &slice, &options, &runner), TD_EXHAUSTED,
                 "bytes, found 100000 on small");
  params.memory_bytes.value = 1e9;
  assert_ok(td_runner_open(device, world->model, world->graph, &slice, &options, &runner));
  td_runner_close(runner);
  td_device_close(device);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_micro_batches), cmocka_unit_test(test_batches),          cmocka_unit_test(test_layer_cuts),
      cmocka_unit_test(test_part_cuts),     cmocka_unit_test(test_slice_without_kv), cmocka_unit_test(test_hand_off),
      cmocka_unit_test(test_refusals),      cmocka_unit_test(test_rollback),         cmocka_unit_test(test_truncate),
      cmocka_unit_test(test_options),       cmocka_unit_test(test_memory),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
