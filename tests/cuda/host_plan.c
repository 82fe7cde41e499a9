/* SPDX-License-Identifier: Apache-2.0
 *
 * Plans on the emulated driver: fused stages, captured graphs and marked layers give the bits of the operators one by
 * one, and the graphs really are replayed.
 */
#include "host_fixture.h"
#include "plan.h"
#include "tandem/base.h"

#define TOKENS 19
#define VOCAB 320
#define DECODES 3
#define STEPS (1 + DECODES)

struct world {
  struct td_model *model;
  struct td_graph *graph;
  struct td_device *device;
  int32_t ids[2][TOKENS + DECODES];
};

static struct td_device_table interpreted;

static struct td_runner *open_runner(struct world *world, struct td_slice slice, bool planned, enum td_dtype kv) {
  static const struct td_device_table *table;
  const struct td_runner_options options = {
      .kv_dtype = kv, .block_tokens = 4, .kv_blocks = 32, .max_rows = 64, .max_logits = 64};
  if (!table) {
    table = world->device->table;
    interpreted = *table;
    interpreted.plan = NULL;
  }
  world->device->table = planned ? table : &interpreted;
  struct td_runner *runner = NULL;
  assert_ok(td_runner_open(world->device, world->model, world->graph, &slice, &options, &runner));
  world->device->table = table;
  return runner;
}

static struct world *open_world(const char *model) {
  struct world *world = calloc(1, sizeof *world);
  assert_non_null(world);
  assert_ok(td_model_open(model, &world->model));
  assert_ok(td_graph_build(world->model, &world->graph));
  assert_int_equal(world->graph->shape.vocab, VOCAB);
  world->device = open_emulated(false);
  for (int s = 0; s < 2; s++) {
    for (int i = 0; i < TOKENS + DECODES; i++) {
      world->ids[s][i] = (int32_t)(td_random(3, (uint64_t)s, (uint64_t)i) % VOCAB);
    }
  }
  return world;
}

static void close_world(struct world *world) {
  td_device_close(world->device);
  td_graph_free(world->graph);
  td_model_close(world->model);
  free(world);
}

static void step(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count, bool all, float *out) {
  const float *logits = NULL;
  int64_t rows = 0;
  assert_ok(td_runner_step(runner, seqs, count, all, NULL, NULL, NULL, NULL, &logits, &rows));
  if (rows) memcpy(out, logits, (size_t)rows * VOCAB * sizeof *out);
}

/* A prompt of every row's logits, a prompt beside a decode, and decodes of two sequences of different lengths. */
static void session(struct world *world, struct td_runner *runner, float (*out)[VOCAB]) {
  struct td_step_seq first = {.request = 1, .tokens = TOKENS - 3, .ids = world->ids[0]};
  step(runner, &first, 1, true, out[0]);
  out += TOKENS - 3;
  struct td_step_seq mixed[2] = {
      {.request = 1, .past = TOKENS - 3, .tokens = 3, .ids = world->ids[0] + TOKENS - 3, .logits = true},
      {.request = 2, .tokens = TOKENS - 9, .ids = world->ids[1], .logits = true}};
  step(runner, mixed, 2, false, out[0]);
  out += 2;
  for (int i = 0; i < DECODES; i++) {
    struct td_step_seq both[2] = {
        {.request = 1, .past = TOKENS + i, .tokens = 1, .ids = world->ids[0] + TOKENS + i, .logits = true},
        {.request = 2, .past = TOKENS - 9 + i, .tokens = 1, .ids = world->ids[1] + i, .logits = true}};
    step(runner, both, 2, false, out[0]);
    out += 2;
  }
}
#define SESSION_ROWS (TOKENS - 3 + 2 + 2 * DECODES)

static void compare(const char *model, enum td_dtype kv) {
  static float plain[SESSION_ROWS][VOCAB], planned[SESSION_ROWS][VOCAB];
  struct world *world = open_world(model);
  struct td_slice whole = td_slice_whole(world->graph);
  struct td_runner *runner = open_runner(world, whole, false, kv);
  session(world, runner, plain);
  td_runner_close(runner);
  int operators = driver_calls.kernels;
  memset(&driver_calls, 0, sizeof driver_calls);
  runner = open_runner(world, whole, true, kv);
  session(world, runner, planned);
  td_runner_close(runner);
  assert_memory_equal(plain, planned, sizeof plain);
  assert_true(driver_calls.kernels < operators);
  assert_int_equal(driver_calls.captures, 1);
  assert_int_equal(driver_calls.graph_launches, DECODES - 1);
  close_world(world);
}

static void test_llama(void **state) {
  (void)state;
  compare(test_source("tests/data/tiny/llama.gguf"), TD_F32);
}
static void test_factors(void **state) {
  (void)state;
  compare(test_source("tests/data/tiny/llama-ropescale.gguf"), TD_F16);
}

/* Biases and tied weights; norms around branches, windows and GELU; experts. The second is slow under sanitizers. */
static void test_families(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  static const char *const names[] = {"qwen2", "qwen3moe"};
#else
  static const char *const names[] = {"qwen2", "gemma3", "qwen3moe"};
#endif
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    char file[64];
    snprintf(file, sizeof file, "reference/tiny/%s.gguf", names[i]);
    const char *path = test_shared(file);
    if (!path) skip();
    compare(path, TD_F16);
  }
}

/* ---- layers ---- */

struct layers {
  struct world *world;
  struct td_runner *runner;
  int32_t next;
  int waits_of_all;
  char pushed[8][2 * TOKENS * 1024]; /* K and V of each layer as they were when the layer was done */
  uint64_t bytes;
};

/* Exports a layer as soon as it is done. The emulated device has run nothing beyond that layer yet. */
static td_status push(void *context, int32_t layer, int64_t elapsed_ps) {
  (void)elapsed_ps;
  struct layers *layers = context;
  struct td_kv_chunk chunk;
  assert_int_equal(layer, layers->next++);
  int before = driver_calls.stream_syncs;
  assert_ok(td_kv_export(td_runner_kv(layers->runner), 1, layer, layer + 1, 0, TOKENS, layers->pushed[layer],
                         layers->bytes, &chunk));
  layers->waits_of_all += driver_calls.stream_syncs - before;
  return TD_OK;
}

static void test_layers(void **state) {
  (void)state;
  static struct layers layers;
  static char late[sizeof layers.pushed[0]];
  struct world *world = layers.world = open_world(test_source("tests/data/tiny/llama.gguf"));
  layers.runner = open_runner(world, td_slice_whole(world->graph), true, TD_F16);
  layers.bytes = td_kv_bytes(&world->graph->shape, TD_F16, 1, TOKENS);
  assert_true(layers.bytes <= sizeof late);
  struct td_step_seq seq = {.request = 1, .tokens = TOKENS, .ids = world->ids[0], .logits = true};
  const float *logits;
  int64_t rows;
  assert_ok(td_runner_step(layers.runner, &seq, 1, false, NULL, NULL, push, &layers, &logits, &rows));
  assert_int_equal(layers.next, world->graph->shape.layers);
  /* the layer's own mark was waited for, and its export waited on the copy stream, for K and for V */
  assert_int_equal(layers.waits_of_all, 2 * layers.next);
  assert_int_equal(driver_calls.event_syncs, layers.next);
  for (int32_t layer = 0; layer < layers.next; layer++) {
    struct td_kv_chunk chunk;
    assert_ok(td_kv_export(td_runner_kv(layers.runner), 1, layer, layer + 1, 0, TOKENS, late, layers.bytes, &chunk));
    assert_memory_equal(layers.pushed[layer], late, layers.bytes);
  }
  td_runner_close(layers.runner);
  close_world(world);
}

/* An export without a wait on the host before it: the copy stream waits for the work that wrote the positions. */
static void test_export_waits(void **state) {
  (void)state;
  struct world *world = open_world(test_source("tests/data/tiny/llama.gguf"));
  struct td_runner *runner = open_runner(world, td_slice_whole(world->graph), true, TD_F32);
  struct td_kv_store *store = td_runner_kv(runner);
  const int64_t width = (int64_t)world->graph->shape.kv_heads * world->graph->shape.head_dim;
  static float values[64 * 1024], k[64 * 1024], v[64 * 1024];
  struct td_kv_view view;
  struct td_seq seq = {.request = 9, .tokens = 6};
  assert_ok(td_kv_reserve(store, 9, seq.tokens));
  assert_ok(td_kv_blocks(store, 9, &seq.blocks, &seq.block_count));
  assert_ok(td_kv_store_view(store, 0, &view));
  for (int64_t i = 0; i < seq.tokens * width; i++) values[i] = (float)i;
  world->device->submitted++;
  assert_ok(world->device->table->kv_import(world->device, &view, &seq, values, values));
  memset(values, 0, sizeof values);
  world->device->submitted++;
  assert_ok(world->device->table->kv_export(world->device, &view, &seq, k, v));
  assert_int_equal(driver_calls.stream_waits, 1);
  for (int64_t i = 0; i < seq.tokens * width; i++) {
    assert_true(k[i] == (float)i);
    assert_true(v[i] == (float)i);
  }
  td_runner_close(runner);
  close_world(world);
}

/* ---- slices ---- */

static void run_slice(struct world *world, struct td_slice slice, float **values, float *logits_out) {
  struct td_slice_ops live;
  assert_ok(td_slice_ops_build(world->graph, &slice, &live));
  struct td_runner *runner = open_runner(world, slice, true, TD_F32);
  const float *in[8] = {NULL}, *logits = NULL;
  float *out[8] = {NULL};
  int64_t rows = 0;
  assert_true(live.live_in_count <= 8 && live.live_out_count <= 8);
  for (int32_t i = 0; i < live.live_in_count; i++) in[i] = values[live.live_in[i]];
  for (int32_t i = 0; i < live.live_out_count; i++) {
    float **value = &values[live.live_out[i]];
    free(*value);
    *value = calloc(TOKENS, (size_t)world->graph->values[live.live_out[i]].cols * sizeof **value);
    out[i] = *value;
  }
  struct td_step_seq seq = {.request = 1, .tokens = TOKENS, .ids = world->ids[0]};
  assert_ok(td_runner_step(runner, &seq, 1, true, in, out, NULL, NULL, &logits, &rows));
  if (logits) memcpy(logits_out, logits, TOKENS * VOCAB * sizeof *logits);
  td_runner_close(runner);
  td_slice_ops_free(&live);
}

/* Attention and FFN of every layer as slices of their own, one after the other, against the whole. */
static void test_slices(void **state) {
  (void)state;
  static float whole[TOKENS][VOCAB], parts[TOKENS][VOCAB];
  struct world *world = open_world(test_source("tests/data/tiny/llama.gguf"));
  float **values = calloc((size_t)world->graph->value_count, sizeof *values);
  assert_non_null(values);
  int32_t layers = world->graph->shape.layers;
  run_slice(world, td_slice_whole(world->graph), values, whole[0]);
  run_slice(world, (struct td_slice){-1, 0, TD_PART_ALL}, values, parts[0]);
  for (int32_t layer = 0; layer < layers; layer++) {
    run_slice(world, (struct td_slice){layer, layer + 1, TD_PART_ATTENTION}, values, parts[0]);
    run_slice(world, (struct td_slice){layer, layer + 1, TD_PART_FFN}, values, parts[0]);
  }
  run_slice(world, (struct td_slice){layers, layers + 1, TD_PART_ALL}, values, parts[0]);
  assert_memory_equal(whole, parts, sizeof whole);
  for (int32_t i = 0; i < world->graph->value_count; i++) free(values[i]);
  free(values);
  close_world(world);
}

/* ---- graphs ---- */

/* One step of `count` sequences with one token each, of which the last `wanted` want logits. */
static void decode_many(struct world *world, struct td_runner *runner, int32_t count, int32_t wanted,
                        float (*out)[VOCAB]) {
  struct td_step_seq seqs[8];
  for (int32_t i = 0; i < count; i++) {
    seqs[i] =
        (struct td_step_seq){.request = (uint64_t)i, .tokens = 1, .ids = world->ids[0], .logits = i >= count - wanted};
  }
  step(runner, seqs, count, false, out[0]);
  for (int32_t i = 0; i < count; i++) td_kv_release(td_runner_kv(runner), (uint64_t)i);
}

/* More shapes than graphs are kept, then the first again, which was forgotten in between. */
static void test_many_shapes(void **state) {
  (void)state;
  static float first[8][VOCAB], logits[8][VOCAB];
  struct world *world = open_world(test_source("tests/data/tiny/llama.gguf"));
  struct td_runner *runner = open_runner(world, td_slice_whole(world->graph), true, TD_F32);
  int32_t shapes = 0;
  for (int i = 0; i < 3; i++) {
    decode_many(world, runner, 7, 7, i ? logits : first);
    if (i) assert_memory_equal(first, logits, 7 * sizeof *first);
  }
  assert_int_equal(driver_calls.graph_launches, 2);
  for (int32_t count = 1; count <= 7; count++) {
    for (int32_t wanted = 0; wanted <= count && !(wanted == 7); wanted++, shapes++) {
      decode_many(world, runner, count, wanted, logits);
      if (wanted) assert_memory_equal(logits[wanted - 1], first[0], sizeof *first);
    }
  }
  assert_true(shapes > CUDA_GRAPHS);
  assert_int_equal(driver_calls.graph_launches, 2);
  for (int i = 0; i < 2; i++) {
    decode_many(world, runner, 7, 7, logits);
    assert_memory_equal(first, logits, 7 * sizeof *first);
  }
  assert_int_equal(driver_calls.graph_launches, 3); /* seen, then captured anew */
  td_runner_close(runner);
  close_world(world);
}

/* A kernel that fails while a graph is captured: the stream leaves capture, and the next step works. */
static void test_capture_fails(void **state) {
  (void)state;
  static float logits[2][VOCAB];
  struct world *world = open_world(test_source("tests/data/tiny/llama.gguf"));
  struct td_runner *runner = open_runner(world, td_slice_whole(world->graph), true, TD_F32);
  struct td_step_seq one = {.request = 1, .tokens = 1, .ids = world->ids[0], .logits = true};
  step(runner, &one, 1, false, logits[0]);
  td_kv_release(td_runner_kv(runner), 1);
  driver_calls.fail_kernel_at = 3;
  driver_calls.fail_with = 701;
  assert_refused(td_runner_step(runner, &one, 1, false, NULL, NULL, NULL, NULL, NULL, NULL), TD_UNAVAILABLE,
                 "launching cuda_");
  td_kv_release(td_runner_kv(runner), 1);
  step(runner, &one, 1, false, logits[1]);
  assert_memory_equal(logits[0], logits[1], sizeof logits[0]);
  td_runner_close(runner);
  close_world(world);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_llama),       cmocka_unit_test(test_factors),       cmocka_unit_test(test_families),
      cmocka_unit_test(test_layers),      cmocka_unit_test(test_export_waits),  cmocka_unit_test(test_slices),
      cmocka_unit_test(test_many_shapes), cmocka_unit_test(test_capture_fails),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
