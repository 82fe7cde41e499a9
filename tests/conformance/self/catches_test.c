/* SPDX-License-Identifier: Apache-2.0
 *
 * The suite can fail: the cpu backend with one thing bent at a time must fail the cases of that thing, and pass others.
 * This file defines its own registry, with the bent backend as the only one.
 */
#include "conformance/suite.h"
#include "support.h"
#include "tandem/base.h"

extern const struct td_backend td_backend_cpu;

struct fault {
  const char *name, *fails, *passes;
  void (*bend)(struct td_op_call *call); /* before the operator runs; NULL: none */
  enum td_op_kind kind;
  float factor; /* 0: none; else the first result is multiplied by it */
  int64_t least_rows;
  bool halve; /* rounds in[0] to half precision first */
};

static const struct fault *fault;
static struct td_device_table bent_table;
static const struct td_device_table *good_table;

/* Copies of what a call borrows, to bend. */
static struct td_op op;
static struct td_batch batch;
static struct td_seq seqs[8];
static int32_t numbers[64];

static void bend_rope_position(struct td_op_call *call) {
  for (int64_t i = 0; i < batch.rows; i++) numbers[i] = batch.positions[i] + 1;
  batch.positions = numbers;
  (void)call;
}
static void bend_rope_theta(struct td_op_call *call) {
  op.theta *= 1.001;
  (void)call;
}
static void bend_rope_factors(struct td_op_call *call) {
  call->weight.buffer = NULL;
}
static void bend_attention_mask(struct td_op_call *call) {
  for (int32_t s = 0; s < batch.seq_count; s++) seqs[s].past -= seqs[s].past > 0;
  (void)call;
}
static void bend_attention_scale(struct td_op_call *call) {
  op.scale *= 1.01;
  (void)call;
}
static void bend_attention_paging(struct td_op_call *call) {
  for (int32_t s = 0; s < batch.seq_count; s++) seqs[s].blocks = numbers;
  for (int32_t i = 0; i < 64; i++) numbers[i] = i;
  call->batch = &batch;
}
static void bend_attention_order(struct td_op_call *call) {
  struct td_buffer *k = call->kv.k;
  call->kv.k = call->kv.v;
  call->kv.v = k;
}
static void bend_norm_epsilon(struct td_op_call *call) {
  op.epsilon *= 2;
  (void)call;
}
static void bend_embed_id(struct td_op_call *call) {
  for (int64_t i = 0; i < batch.rows; i++) numbers[i] = batch.ids[i] ? batch.ids[i] - 1 : 1;
  batch.ids = numbers;
  (void)call;
}
static void bend_swap_inputs(struct td_op_call *call) {
  struct td_view first = call->in[0];
  call->in[0] = call->in[1];
  call->in[1] = first;
}
static void bend_select_first(struct td_op_call *call) {
  for (int64_t i = 0; i < batch.logit_count; i++) numbers[i] = 0;
  batch.logit_rows = numbers;
  (void)call;
}

static const struct fault faults[] = {
    {"rope one position late", "rope/*", "attention/f32/*", bend_rope_position, TD_OP_ROPE, 0, 0, false},
    {"rope base 0.1 % off", "rope/*", "matmul/q8_0/*", bend_rope_theta, TD_OP_ROPE, 0, 0, false},
    {"rope factors ignored", "rope/*factors=1*", "rope/*factors=0*", bend_rope_factors, TD_OP_ROPE, 0, 0, false},
    {"attention one position short", "attention/*", "rope/*", bend_attention_mask, TD_OP_ATTENTION, 0, 0, false},
    {"attention scale 1 % off", "attention/*", "kv_append/*", bend_attention_scale, TD_OP_ATTENTION, 0, 0, false},
    {"attention ignores the block table", "attention/*", "kv_append/*", bend_attention_paging, TD_OP_ATTENTION, 0, 0,
     false},
    {"attention takes K for V", "attention/f16/*", "kv_append/*", bend_attention_order, TD_OP_ATTENTION, 0, 0, false},
    {"attention result 1e-4 off", "attention/*", "add/*", NULL, TD_OP_ATTENTION, 1.0001f, 0, false},
    {"KV_APPEND swaps K and V", "kv_append/*", "attention/*", bend_swap_inputs, TD_OP_KV_APPEND, 0, 0, false},
    {"KV_APPEND swaps K and V, seen by export", "kv_export/*", "memory/*", bend_swap_inputs, TD_OP_KV_APPEND, 0, 0,
     false},
    {"KV_APPEND swaps K and V, seen by truncate", "kv_truncate/*", "add/*", bend_swap_inputs, TD_OP_KV_APPEND, 0, 0,
     false},
    {"norm with twice the epsilon", "rms_norm/*", "add/*", bend_norm_epsilon, TD_OP_RMS_NORM, 0, 0, false},
    {"embedding of the wrong token", "embed/*", "add/*", bend_embed_id, TD_OP_EMBED, 0, 0, false},
    {"activation with its inputs swapped", "activation/*", "add/*", bend_swap_inputs, TD_OP_ACTIVATION, 0, 0, false},
    {"select of the wrong rows", "select/*", "add/*", bend_select_first, TD_OP_SELECT, 0, 0, false},
    {"matmul 0.1 % off", "matmul/q4_1/*", "add/*", NULL, TD_OP_MATMUL, 1.001f, 0, false},
    {"matmul in half precision", "matmul/f32/*k=576", "add/*", NULL, TD_OP_MATMUL, 0, 0, true},
    {"add off by its last bit", "add/*", "activation/*", NULL, TD_OP_ADD, 1.0000002f, 0, false},
    {"matmul that depends on its batch", "exact_rows/matmul/*", "matmul/*", NULL, TD_OP_MATMUL, 1.0000001f, 2, false},
    {"attention that depends on its batch", "exact_chunks/*", "attention/*", NULL, TD_OP_ATTENTION, 1.0000001f, 9,
     false},
};

static td_status scale_first(struct td_device *device, const struct td_op_call *call) {
  float value;
  TD_TRY(good_table->read(device, call->out.buffer, call->out.offset, &value, sizeof value));
  value *= fault->factor;
  return good_table->write(device, call->out.buffer, call->out.offset, &value, sizeof value);
}

/* A product with half-precision operands, as many devices have it. */
static td_status halve_first(struct td_device *device, const struct td_op_call *call) {
  float values[576];
  uint64_t row = (uint64_t)call->in[0].cols * sizeof(float);
  for (int64_t r = 0; r < call->in[0].rows && row <= sizeof values; r++) {
    TD_TRY(good_table->read(device, call->in[0].buffer, call->in[0].offset + (uint64_t)r * row, values, row));
    for (int64_t i = 0; i < call->in[0].cols; i++) values[i] = td_half_to_float(td_float_to_half(values[i]));
    TD_TRY(good_table->write(device, call->in[0].buffer, call->in[0].offset + (uint64_t)r * row, values, row));
  }
  return TD_OK;
}

static td_status bent_op(struct td_device *device, const struct td_op_call *call) {
  if (!fault || call->op->kind != fault->kind) return good_table->op(device, call);
  struct td_op_call copy = *call;
  op = *call->op;
  batch = *call->batch;
  for (int32_t s = 0; s < batch.seq_count && s < 8; s++) seqs[s] = batch.seqs[s];
  batch.seqs = seqs;
  copy.op = &op;
  copy.batch = &batch;
  if (fault->bend) fault->bend(&copy);
  if (fault->halve) TD_TRY(halve_first(device, &copy));
  TD_TRY(good_table->op(device, &copy));
  return fault->factor != 0 && batch.rows >= fault->least_rows ? scale_first(device, &copy) : TD_OK;
}

static td_status bent_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  TD_TRY(td_backend_cpu.open(index, options, out));
  good_table = (*out)->table;
  td_status (*alloc)(struct td_device *, uint64_t, enum td_buffer_use, struct td_buffer **) = bent_table.alloc;
  td_status (*write)(struct td_device *, struct td_buffer *, uint64_t, const void *, uint64_t) = bent_table.write;
  td_status (*price)(struct td_device *, const struct td_graph *, const struct td_slice *, enum td_dtype,
                     const struct td_step_stats *, int64_t *, struct td_price *) = bent_table.price;
  bent_table = *good_table;
  bent_table.op = bent_op;
  if (alloc && alloc != good_table->alloc) bent_table.alloc = alloc;
  if (write && write != good_table->write) bent_table.write = write;
  bent_table.price = price;
  (*out)->table = &bent_table;
  return TD_OK;
}

static struct td_backend bent;
const struct td_backend *const td_backends[] = {&bent, NULL};

static struct td_conform_result run_suite(const char *filter) {
  FILE *sink = fopen("/dev/null", "w");
  assert_non_null(sink);
  struct td_conform_options options = {.filter = filter, .threads = 2};
  struct td_conform_result result = {0};
  td_status status = td_conform_run("bent", &options, sink, &result);
  if (status) printf("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  fclose(sink);
  return result;
}

static int reset(void **state) {
  (void)state;
  fault = NULL;
  memset(&bent_table, 0, sizeof bent_table);
  bent = td_backend_cpu;
  bent.name = "bent";
  bent.open = bent_open;
  return 0;
}

static void test_straight(void **state) {
  (void)state;
  struct td_conform_result result = run_suite(NULL);
  assert_true(result.passed > 200);
  assert_int_equal(result.failed + result.unsupported + result.expected_failures + result.unexpected_passes, 0);
}

static void test_operators(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
    fault = &faults[i];
    struct td_conform_result fails = run_suite(fault->fails), passes = run_suite(fault->passes);
    printf("%s: %d of %d cases fail\n", fault->name, fails.failed, fails.failed + fails.passed);
    assert_true(fails.failed > 0);
    assert_true(passes.passed > 0);
    assert_int_equal(passes.failed, 0);
  }
}

static td_status dirty_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  TD_TRY(good_table->alloc(device, bytes, use, out));
  return good_table->write(device, *out, bytes - 1, "x", 1);
}

static td_status short_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                             uint64_t bytes) {
  return good_table->write(device, buffer, offset, src, bytes > 100 ? bytes - 1 : bytes);
}

static td_status small_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  return good_table->alloc(device, bytes > UINT64_C(1) << 40 ? 64 : bytes, use, out);
}

static void test_memory(void **state) {
  (void)state;
  bent_table.alloc = dirty_alloc;
  assert_int_equal(run_suite("memory/zeroed/*").passed, 0);
  bent_table.alloc = small_alloc;
  assert_int_equal(run_suite("errors/alloc_absurd").failed, 1);
  bent_table.alloc = NULL;
  bent_table.write = short_write;
  assert_int_equal(run_suite("memory/offsets/*").failed, 1);
}

static td_status steep_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                             enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                             struct td_price *out) {
  TD_TRY(td_price_roofline(device->params, graph, slice, kv_dtype, stats, out));
  out->slope_ps++;
  if (layer_done_ps) layer_done_ps[0] = out->base_ps + 1; /* a layer that ends after its step */
  return TD_OK;
}

static td_status free_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                            enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                            struct td_price *out) {
  TD_TRY(td_price_roofline(device->params, graph, slice, kv_dtype, stats, out));
  (void)layer_done_ps;
  out->base_ps = -stats->v[TD_SYM_PAIRS];
  return TD_OK;
}

static void test_price(void **state) {
  (void)state;
  bent_table.price = steep_price;
  assert_true(run_suite("price/steps/*").failed > 0);
  assert_int_equal(run_suite("price/positive/*").passed, 0);
  bent_table.price = free_price;
  assert_int_equal(run_suite("price/positive/*").passed, 0);
  assert_int_equal(run_suite("price/monotone/*").passed, 0);
}

/* The backend's own lists: unexpected passes and stale patterns show. */
static void test_notes(void **state) {
  (void)state;
  static const struct td_conform_note selects[] = {{"select/*", "tested"}, {NULL, NULL}},
                                      adds[] = {{"add/*", "tested"}, {NULL, NULL}},
                                      stale[] = {{"no_such/*", "tested"}, {NULL, NULL}};
  bent.unsupported = selects;
  bent.expected_to_fail = adds;
  assert_int_equal(run_suite("select/*").unsupported, 3);
  assert_int_equal(run_suite("add/*").unexpected_passes, 5);
  fault = &(const struct fault){"", "", "", NULL, TD_OP_ADD, 1.5f, 0, false};
  assert_int_equal(run_suite("add/*").expected_failures, 5);
  fault = NULL;
  bent.unsupported = stale;
  bent.expected_to_fail = NULL;
  assert_int_equal(run_suite(NULL).failed, 1);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup(test_straight, reset), cmocka_unit_test_setup(test_operators, reset),
      cmocka_unit_test_setup(test_memory, reset), cmocka_unit_test_setup(test_price, reset),
      cmocka_unit_test_setup(test_notes, reset)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
