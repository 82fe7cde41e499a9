/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps on a device with a queue: who waits for what when layers are listened to and when not, interpreted and
 * compiled; what a listener's failure ends; where prices come from.
 */
#include "queue_fixture.h"
#include "tandem/cost.h"
#include "tandem/devices.h"

#define TOKENS 10
#define DEPTH 4 /* layers of the tiny model */

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
  assert_int_equal(world->graph->shape.layers, DEPTH);
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
  uint64_t synced[DEPTH]; /* per layer */
};

static td_status listen(void *context, int32_t layer, int64_t elapsed_ps) {
  struct listener *listener = context;
  (void)elapsed_ps;
  assert_int_equal(layer, listener->next++);
  assert_true(layer < DEPTH);
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
  assert_int_equal(listener.next, DEPTH);
  assert_int_equal(queue.syncs, DEPTH + 1);
  assert_int_equal(listener.op_layer, DEPTH - 1);
}

/* A listener that fails ends the step there: no operator more, lengths and blocks as before, and the device is fit. */
static void test_aborted_step(void **state) {
  struct world *world = *state;
  struct listener listener = {.fails_at = 0};
  open_runner(world);
  struct td_kv_store *kv = td_runner_kv(world->runner);
  int32_t free_before = td_kv_store_free_blocks(kv);
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
  int plans, runs, frees;
  int64_t rows;
  uint64_t first;
  int gap;  /* values per layer */
  bool bad; /* one value beyond what was taken */
  bool asked;
} compiled;

static td_status own_plan(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                          const struct td_plan_bindings *bindings, struct td_plan **out_plan) {
  (void)device, (void)slice;
  for (int32_t i = 0; i < graph->weight_count; i++) assert_non_null(bindings->weights[i].buffer);
  for (int32_t i = 0; i < graph->shape.layers; i++) assert_non_null(bindings->kv[i].k);
  compiled.plans++;
  *out_plan = (struct td_plan *)&compiled;
  return TD_OK;
}

static td_status own_run(struct td_device *device, struct td_plan *plan, const struct td_batch *batch,
                         struct td_view *live_in, struct td_view *live_out, uint64_t *layer_values) {
  const float answer[2] = {1.5f, 2.5f};
  (void)live_in;
  assert_ptr_equal(plan, &compiled);
  compiled.runs++;
  compiled.rows = batch->rows;
  compiled.first = device->submitted;
  compiled.asked = layer_values != NULL;
  device->submitted += (uint64_t)(DEPTH * compiled.gap);
  for (int i = 0; layer_values && i < DEPTH; i++) layer_values[i] = compiled.first + (uint64_t)(i * compiled.gap);
  if (layer_values && compiled.bad) layer_values[DEPTH - 1] = device->submitted + 1;
  return device->table->write(device, live_out[0].buffer, live_out[0].offset, answer, sizeof answer);
}

static void own_free(struct td_device *device, struct td_plan *plan) {
  (void)device, (void)plan;
  compiled.frees++;
}

static void open_compiled(struct world *world, int gap) {
  memset(&compiled, 0, sizeof compiled);
  compiled.gap = gap;
  queue.table.plan = own_plan;
  queue.table.run = own_run;
  queue.table.plan_free = own_free;
  open_runner(world);
}

static void test_plan_layers(void **state) {
  struct world *world = *state;
  open_compiled(world, 3);
  struct listener listener = {.fails_at = -1};
  assert_ok(step(world, &listener, NULL));
  assert_int_equal(listener.next, DEPTH);
  for (int i = 0; i < DEPTH; i++) assert_int_equal(listener.synced[i], compiled.first + 3 * (uint64_t)i);
  assert_int_equal(queue.syncs, DEPTH + 1);
}

static void test_plan_unheard(void **state) {
  struct world *world = *state;
  const float *logits = NULL;
  open_compiled(world, 3);
  assert_ok(step(world, NULL, &logits));
  assert_false(compiled.asked);
  assert_int_equal(queue.syncs, 1);
  assert_true(logits[0] == 1.5f && logits[1] == 2.5f);
  td_runner_close(world->runner);
  world->runner = NULL;
  assert_true(compiled.plans == 1 && compiled.runs == 1 && compiled.frees == 1 && compiled.rows == TOKENS);
}

static void test_plan_aborted(void **state) {
  struct world *world = *state;
  open_compiled(world, 0); /* does not tell layers apart */
  struct listener listener = {.fails_at = 0};
  assert_refused(step(world, &listener, NULL), TD_ABORTED, "stopped");
  assert_int_equal(listener.next, 1);
  assert_int_equal(td_kv_length(td_runner_kv(world->runner), 1), 0);
  assert_true(queue.synced == world->device->submitted);
  compiled.bad = true;
  listener = (struct listener){.fails_at = -1};
  assert_refused(step(world, &listener, NULL), TD_INTERNAL, "layer 3 is done at value");
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
  (void)device, (void)graph, (void)slice, (void)kv_dtype, (void)stats;
  for (int32_t i = 0; layer_done_ps && i < DEPTH; i++) layer_done_ps[i] = own_done_ps;
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
  td_step_stats_add(&stats, &world->graph->shape, 0, TOKENS, true);
  struct td_price want, got, unasked;
  int64_t want_ps[DEPTH], got_ps[DEPTH] = {0};
  assert_ok(td_price_roofline(&params, world->graph, &slice, TD_F16, &stats, &want));
  assert_ok(td_price_milestones(&params, world->graph, &slice, TD_F16, &stats, want_ps));
  assert_ok(td_device_price(world->device, world->graph, &slice, TD_F16, &stats, got_ps, &got));
  assert_ok(td_device_price(world->device, world->graph, &slice, TD_F16, &stats, NULL, &unasked));
  assert_memory_equal(got_ps, want_ps, sizeof want_ps);
  assert_true(got.base_ps == want.base_ps && unasked.base_ps == want.base_ps);
  queue.table.price = own_price;
  assert_ok(td_device_price(world->device, world->graph, &slice, TD_F16, &stats, got_ps, &got));
  assert_true(got.base_ps == own_done_ps && got_ps[0] == own_done_ps && got_ps[DEPTH - 1] == own_done_ps);
  world->device->params = NULL;
}

int main(void) {
  const struct CMUnitTest tests[] = {
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
