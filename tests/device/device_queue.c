/* SPDX-License-Identifier: Apache-2.0
 *
 * A device whose reads return before the bytes are there: what waits, how often, and for which value of the time line.
 */
#include "kv_fixture.h"
#include "tandem/cost.h"
#include "tandem/devices.h"

#define TOKENS 10

/* ---- the template with a queue: reads are done when somebody waits, or when later work could change the bytes ---- */

struct waiting {
  struct td_buffer *buffer;
  uint64_t offset, bytes, value;
  void *dst;
};

static struct {
  const struct td_device_table *plain;
  struct td_device_table table;
  struct waiting reads[64];
  int count;          /* reads under way */
  int syncs, writes;  /* calls so far */
  uint64_t synced;    /* the largest value waited for */
  int32_t last_layer; /* of the last operator */
} queue;

static void drain(struct td_device *device, uint64_t value) {
  int left = 0;
  for (int i = 0; i < queue.count; i++) {
    struct waiting *read = &queue.reads[i];
    if (read->value > value) {
      queue.reads[left++] = *read;
    } else {
      assert_ok(queue.plain->read(device, read->buffer, read->offset, read->dst, read->bytes));
    }
  }
  queue.count = left;
}

static td_status queue_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                            uint64_t bytes) {
  assert_true(queue.count < 64);
  queue.reads[queue.count++] = (struct waiting){buffer, offset, bytes, device->submitted, dst};
  memset(dst, 0xee, bytes);
  return TD_OK;
}

static td_status queue_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                             uint64_t bytes) {
  drain(device, UINT64_MAX);
  queue.writes++;
  return queue.plain->write(device, buffer, offset, src, bytes);
}

static td_status queue_op(struct td_device *device, const struct td_op_call *call) {
  drain(device, UINT64_MAX);
  queue.last_layer = call->op->layer;
  return queue.plain->op(device, call);
}

static td_status queue_sync(struct td_device *device, uint64_t value) {
  assert_true(value <= device->submitted);
  drain(device, value);
  queue.syncs++;
  if (value > queue.synced) queue.synced = value;
  return TD_OK;
}

static struct td_device *open_queue(void) {
  struct td_device *device = open_template();
  memset(&queue, 0, sizeof queue);
  queue.plain = device->table;
  queue.table = *queue.plain;
  queue.table.read = queue_read;
  queue.table.write = queue_write;
  queue.table.op = queue_op;
  queue.table.sync = queue_sync;
  device->table = &queue.table;
  return device;
}

/* ---- KV chunks ---- */

static void test_chunks(void **state) {
  (void)state;
  struct td_device *device = open_queue();
  struct td_kv_store *from = open_store(device, TD_F16, 4, 8), *to = open_store(device, TD_F16, 4, 8);
  struct td_kv_chunk chunk;
  char payload[LAYERS * TOKENS * WIDTH * 2 * 2];
  int32_t ids[TOKENS] = {0};
  bool complete = false;
  fill(device, from, 1, TOKENS, 3);
  uint64_t submitted = device->submitted;
  assert_int_equal(queue.syncs, 0);
  assert_ok(td_kv_export(from, 1, 0, LAYERS, 0, TOKENS, payload, sizeof payload, &chunk));
  assert_int_equal(queue.syncs, 1); /* for 3 layers of 3 blocks */
  assert_int_equal(device->submitted - submitted, LAYERS * 3 * 2);
  assert_true(queue.synced == device->submitted && queue.count == 0);
  struct td_kv_expect expect = {
      .request = 1, .generation = 1, .tokens = TOKENS, .ids = ids, .layout = *td_kv_store_layout(from)};
  assert_ok(td_kv_import_begin(to, &expect));
  chunk.generation = 1;
  chunk.prefix_hash = td_hash(TD_HASH_INIT, ids, sizeof ids);
  assert_ok(td_kv_import(to, &chunk, payload, &complete));
  assert_true(complete);
  assert_int_equal(queue.syncs, 1);
  assert_ok(td_kv_import_commit(to, 1));
  assert_int_equal(queue.syncs, 2);
  assert_true(holds(device, to, 1, TOKENS, 3));
  td_kv_store_close(from);
  td_kv_store_close(to);
  device->table = queue.plain;
  td_device_close(device);
}

static int reads_left;

static td_status failing_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                              uint64_t bytes) {
  if (reads_left-- == 0) return td_fail(TD_UNAVAILABLE, "the device is gone");
  return queue_read(device, buffer, offset, dst, bytes);
}

/* The payload belongs to the caller again: no read that was queued before the failure is under way. */
static void test_failed_export(void **state) {
  (void)state;
  struct td_device *device = open_queue();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 8);
  struct td_kv_chunk chunk;
  char payload[LAYERS * TOKENS * WIDTH * 2 * 4];
  fill(device, store, 1, TOKENS, 3);
  queue.table.read = failing_read;
  reads_left = 5;
  assert_refused(td_kv_export(store, 1, 0, LAYERS, 0, TOKENS, payload, sizeof payload, &chunk), TD_UNAVAILABLE, "gone");
  assert_int_equal(queue.count, 0);
  td_kv_store_close(store);
  device->table = queue.plain;
  td_device_close(device);
}

static td_status own_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                            void *v) {
  (void)device;
  memset(k, 1, (size_t)seq->tokens * WIDTH * element_bytes(view->dtype));
  memset(v, 2, (size_t)seq->tokens * WIDTH * element_bytes(view->dtype));
  return TD_OK;
}

/* An export of the device's own may overtake the queue: nothing waits for what is queued behind. */
static void test_own_export(void **state) {
  (void)state;
  struct td_device *device = open_queue();
  struct td_kv_store *store = open_store(device, TD_F32, 4, 8);
  struct td_kv_chunk chunk;
  char payload[LAYERS * TOKENS * WIDTH * 2 * 4];
  fill(device, store, 1, TOKENS, 3);
  queue.table.kv_export = own_export;
  uint64_t submitted = device->submitted;
  assert_ok(td_kv_export(store, 1, 0, LAYERS, 0, TOKENS, payload, sizeof payload, &chunk));
  assert_int_equal(queue.syncs, 0);
  assert_int_equal(device->submitted - submitted, LAYERS);
  td_kv_store_close(store);
  device->table = queue.plain;
  td_device_close(device);
}

/* ---- steps ---- */

struct world {
  struct td_model *model;
  struct td_graph *graph;
  struct td_device *device;
  struct td_runner *runner;
  int32_t ids[TOKENS];
  struct td_step_seq seq;
};

static void open_runner(struct world *world) {
  const struct td_slice whole = td_slice_whole(world->graph);
  const struct td_runner_options options = {
      .kv_dtype = TD_F32, .block_tokens = 4, .kv_blocks = 8, .max_rows = 16, .max_logits = 1};
  assert_ok(td_runner_open(world->device, world->model, world->graph, &whole, &options, &world->runner));
  queue.syncs = 0;
  queue.synced = 0;
}

static int setup(void **state) {
  struct world *world = calloc(1, sizeof *world);
  assert_non_null(world);
  assert_ok(td_model_open(test_source("tests/data/tiny/llama.gguf"), &world->model));
  assert_ok(td_graph_build(world->model, &world->graph));
  for (int i = 0; i < TOKENS; i++) world->ids[i] = 10 + i;
  world->seq = (struct td_step_seq){.request = 1, .tokens = TOKENS, .ids = world->ids, .logits = true};
  world->device = open_queue();
  *state = world;
  return 0;
}

static int teardown(void **state) {
  struct world *world = *state;
  td_runner_close(world->runner);
  world->device->table = queue.plain;
  td_device_close(world->device);
  td_graph_free(world->graph);
  td_model_close(world->model);
  free(world);
  return 0;
}

struct listener {
  int32_t next, fails_at; /* -1: never */
  int32_t op_layer;       /* of the last operator when called */
  int syncs;              /* so far, when last called */
  uint64_t synced[8];     /* per layer */
};

static td_status listen(void *context, int32_t layer, int64_t elapsed_ps) {
  struct listener *listener = context;
  (void)elapsed_ps;
  assert_int_equal(layer, listener->next++);
  assert_true(layer < 8);
  listener->op_layer = queue.last_layer;
  listener->syncs = queue.syncs;
  listener->synced[layer] = queue.synced;
  return layer == listener->fails_at ? td_fail(TD_ABORTED, "stopped by the test") : TD_OK;
}

static td_status step(struct world *world, struct listener *listener, const float **out_logits) {
  int64_t count = 0;
  return td_runner_step(world->runner, &world->seq, 1, false, NULL, NULL, listener ? listen : NULL, listener,
                        out_logits, &count);
}

/* Nobody listens: one wait, at the end, and the logits are there. */
static void test_quiet_step(void **state) {
  struct world *world = *state;
  const float *logits = NULL;
  open_runner(world);
  assert_ok(step(world, NULL, &logits));
  assert_int_equal(queue.syncs, 1);
  assert_true(queue.synced == world->device->submitted && queue.count == 0);
  struct td_sample sample;
  const struct td_sampling greedy = {.top_p = 1.0};
  assert_ok(td_sample_row(logits, world->graph->shape.vocab, &greedy, 1, 0, &sample));
}

/* Somebody listens: one wait more per layer, each before the next layer's operators. */
static void test_heard_step(void **state) {
  struct world *world = *state;
  struct listener listener = {.fails_at = -1};
  open_runner(world);
  assert_ok(step(world, &listener, NULL));
  assert_int_equal(listener.next, world->graph->shape.layers);
  assert_int_equal(queue.syncs, world->graph->shape.layers + 1);
  assert_int_equal(listener.op_layer, world->graph->shape.layers - 1);
}

/* A listener that fails ends the step there: no operator more, lengths and blocks as before, and the device is fit. */
static void test_aborted_step(void **state) {
  struct world *world = *state;
  struct listener listener = {.fails_at = 0};
  open_runner(world);
  struct td_kv_store *kv = td_runner_kv(world->runner);
  int32_t free_before = td_kv_store_free_blocks(kv);
  assert_true(world->graph->shape.layers > 1);
  assert_refused(step(world, &listener, NULL), TD_ABORTED, "stopped");
  assert_int_equal(listener.next, 1);
  assert_int_equal(queue.last_layer, 0);
  assert_true(queue.synced == world->device->submitted && queue.count == 0);
  assert_int_equal(td_kv_length(kv, 1), 0);
  assert_int_equal(td_kv_store_free_blocks(kv), free_before);
  assert_ok(step(world, NULL, NULL));
  assert_int_equal(td_kv_length(kv, 1), TOKENS);
}

/* ---- compiled slices that say when their layers are done ---- */

static struct {
  uint64_t first;
  int gap;  /* values per layer */
  bool bad; /* one value beyond what was taken */
  bool asked;
} compiled;

static td_status own_plan(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                          const struct td_plan_bindings *bindings, struct td_plan **out_plan) {
  (void)device, (void)graph, (void)slice, (void)bindings;
  *out_plan = (struct td_plan *)&compiled;
  return TD_OK;
}

static td_status own_run(struct td_device *device, struct td_plan *plan, const struct td_batch *batch,
                         struct td_view *live_in, struct td_view *live_out, uint64_t *layer_values) {
  const int layers = 2;
  (void)plan, (void)batch, (void)live_in, (void)live_out;
  compiled.first = device->submitted;
  compiled.asked = layer_values != NULL;
  device->submitted += (uint64_t)(layers * compiled.gap);
  for (int i = 0; layer_values && i < layers; i++) layer_values[i] = compiled.first + (uint64_t)(i * compiled.gap);
  if (layer_values && compiled.bad) layer_values[layers - 1] = device->submitted + 1;
  return TD_OK;
}

static void test_plan_layers(void **state) {
  struct world *world = *state;
  assert_int_equal(world->graph->shape.layers, 2);
  queue.table.plan = own_plan;
  queue.table.run = own_run;
  open_runner(world);
  compiled.gap = 3;
  struct listener listener = {.fails_at = -1};
  assert_ok(step(world, &listener, NULL));
  assert_int_equal(listener.next, 2);
  for (int i = 0; i < 2; i++) assert_int_equal(listener.synced[i], compiled.first + 3 * (uint64_t)i);
  assert_int_equal(queue.syncs, 3);
}

static void test_plan_unheard(void **state) {
  struct world *world = *state;
  queue.table.plan = own_plan;
  queue.table.run = own_run;
  open_runner(world);
  assert_ok(step(world, NULL, NULL));
  assert_false(compiled.asked);
  assert_int_equal(queue.syncs, 1);
}

static void test_plan_aborted(void **state) {
  struct world *world = *state;
  queue.table.plan = own_plan;
  queue.table.run = own_run;
  open_runner(world);
  struct listener listener = {.fails_at = 0};
  assert_refused(step(world, &listener, NULL), TD_ABORTED, "stopped");
  assert_int_equal(listener.next, 1);
  assert_int_equal(td_kv_length(td_runner_kv(world->runner), 1), 0);
  assert_true(queue.synced == world->device->submitted);
  compiled.bad = true;
  listener = (struct listener){.fails_at = -1};
  assert_refused(step(world, &listener, NULL), TD_INTERNAL, "layer 1 is done at value");
  assert_int_equal(listener.next, 0);
  assert_int_equal(td_kv_length(td_runner_kv(world->runner), 1), 0);
}

/* ---- prices ---- */

static struct td_quantity number(double value) {
  return (struct td_quantity){.present = true, .value = value};
}

static const int64_t own_done_ps = 77;

static td_status own_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                           enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                           struct td_price *out_price) {
  (void)device, (void)slice, (void)kv_dtype, (void)stats;
  for (int32_t i = 0; layer_done_ps && i < graph->shape.layers; i++) layer_done_ps[i] = own_done_ps;
  *out_price = (struct td_price){.base_ps = own_done_ps};
  return TD_OK;
}

/* Price and layer times come from one place: the device's entry, or the roofline. */
static void test_prices(void **state) {
  struct world *world = *state;
  struct td_device_params params = {.name = "test", .kind = TD_KIND_CHIP};
  params.memory_bandwidth = params.flops_f32 = params.flops_f16 = number(1e12);
  params.memory_efficiency = params.compute_efficiency = number(0.5);
  params.op_overhead = number(1e-6);
  world->device->params = &params;
  struct td_slice slice = td_slice_whole(world->graph);
  struct td_step_stats stats = {{0}};
  td_step_stats_add(&stats, 0, TOKENS, true);
  struct td_price want, got, unasked;
  int64_t want_ps[2], got_ps[2] = {0};
  assert_ok(td_price_roofline(&params, world->graph, &slice, TD_F16, &stats, &want));
  assert_ok(td_price_milestones(&params, world->graph, &slice, TD_F16, &stats, want_ps));
  assert_ok(td_device_price(world->device, world->graph, &slice, TD_F16, &stats, got_ps, &got));
  assert_ok(td_device_price(world->device, world->graph, &slice, TD_F16, &stats, NULL, &unasked));
  assert_memory_equal(got_ps, want_ps, sizeof want_ps);
  assert_true(got.base_ps == want.base_ps && unasked.base_ps == want.base_ps);
  queue.table.price = own_price;
  assert_ok(td_device_price(world->device, world->graph, &slice, TD_F16, &stats, got_ps, &got));
  assert_true(got.base_ps == own_done_ps && got_ps[0] == own_done_ps && got_ps[1] == own_done_ps);
  world->device->params = NULL;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_chunks),
      cmocka_unit_test(test_failed_export),
      cmocka_unit_test(test_own_export),
      cmocka_unit_test_setup_teardown(test_quiet_step, setup, teardown),
      cmocka_unit_test_setup_teardown(test_heard_step, setup, teardown),
      cmocka_unit_test_setup_teardown(test_aborted_step, setup, teardown),
      cmocka_unit_test_setup_teardown(test_plan_layers, setup, teardown),
      cmocka_unit_test_setup_teardown(test_plan_unheard, setup, teardown),
      cmocka_unit_test_setup_teardown(test_plan_aborted, setup, teardown),
      cmocka_unit_test_setup_teardown(test_prices, setup, teardown),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
