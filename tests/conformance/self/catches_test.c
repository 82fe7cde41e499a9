/* SPDX-License-Identifier: Apache-2.0
 *
 * The suite can fail: the cpu backend with one thing bent at a time must fail the cases of that thing, and pass others.
 * This file defines its own registry, with the bent backend as the only one.
 */
#include "conformance/suite.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/lpu_code.h"

extern const struct td_backend td_backend_cpu;

struct fault {
  const char *name, *fails, *passes;
  enum td_op_kind kind;
  void (*bend)(struct td_op_call *call); /* the call's own copy, before it runs; NULL: none */
  td_status (*before)(struct td_device *device, const struct td_op_call *call); /* changes inputs on the device */
  td_status (*after)(struct td_device *device, const struct td_op_call *call);  /* changes the result there */
  float factor;                                                                 /* of the first result; 0: none */
  int64_t least_rows;                                                           /* for factor */
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
static void bend_attention_large(struct td_op_call *call) {
  op.scale = op.scale > 1 ? 88 : op.scale; /* as exponents are cut where a float's exponential ends */
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

static void bend_embed_scale(struct td_op_call *call) {
  op.scale = 1;
  (void)call;
}
static void bend_norm_groups(struct td_op_call *call) {
  op.n /= op.groups;
  op.groups = 1;
  (void)call;
}
static void bend_rope_pairs(struct td_op_call *call) {
  op.rope_pairs = op.rope_pairs == TD_ROPE_HALVES ? TD_ROPE_ADJACENT : TD_ROPE_HALVES;
  (void)call;
}
static void bend_rope_scale(struct td_op_call *call) {
  op.position_scale = 1;
  (void)call;
}
static void bend_window_less(struct td_op_call *call) {
  op.window -= op.window > 1;
  (void)call;
}
static void bend_window_more(struct td_op_call *call) {
  op.window += op.window > 0 && op.window < INT32_MAX;
  (void)call;
}
static void bend_window_none(struct td_op_call *call) {
  op.window = 0;
  (void)call;
}
static void bend_activation(struct td_op_call *call) {
  op.activation = op.activation == TD_ACT_SILU ? TD_ACT_GELU : TD_ACT_SILU;
  (void)call;
}
static void bend_type(struct td_op_call *call) {
  if (call->weight.dtype == TD_IQ4_NL) call->weight.dtype = TD_Q4_0; /* as many bytes */
}
static void bend_expert_input(struct td_op_call *call) {
  call->in[0].cols = op.k; /* the same for every slot */
}

/* ---- changes on the device ---- */

#define MOST 4096 /* floats of a matrix that is changed */

static td_status read_view(struct td_device *device, const struct td_view *view, float *out) {
  assert_true(view->rows * view->cols <= MOST);
  return good_table->read(device, view->buffer, view->offset, out, (uint64_t)(view->rows * view->cols) * sizeof *out);
}
static td_status write_view(struct td_device *device, const struct td_view *view, const float *values) {
  return good_table->write(device, view->buffer, view->offset, values,
                           (uint64_t)(view->rows * view->cols) * sizeof *values);
}

/* A product with half-precision operands, as many devices have it. */
static td_status halve_input(struct td_device *device, const struct td_op_call *call) {
  float values[MOST];
  if (call->in[0].rows * call->in[0].cols > MOST) return TD_OK;
  TD_TRY(read_view(device, &call->in[0], values));
  for (int64_t i = 0; i < call->in[0].rows * call->in[0].cols; i++) {
    values[i] = td_half_to_float(td_float_to_half(values[i]));
  }
  return write_view(device, &call->in[0], values);
}

/* Zero bytes are zeros in every type. */
static td_status blank_weight(struct td_device *device, const struct td_op_call *call) {
  static const unsigned char zeros[MOST];
  uint64_t bytes;
  if (!call->weight.buffer) return TD_OK;
  TD_TRY(td_dtype_row_bytes(call->weight.dtype, call->weight.cols, &bytes));
  assert_true(bytes <= sizeof zeros);
  return good_table->write(device, call->weight.buffer, call->weight.offset, zeros, bytes);
}

/* What routed(row, used) does to each row of a router's result. */
static td_status each_routed(struct td_device *device, const struct td_view *view, void (*change)(float *, int32_t)) {
  float values[MOST];
  TD_TRY(read_view(device, view, values));
  for (int64_t r = 0; r < view->rows; r++) change(values + r * view->cols, (int32_t)view->cols / 2);
  return write_view(device, view, values);
}
static void swap_slots(float *routed, int32_t used) {
  for (int32_t i = 0; i + 1 < used; i += 2) {
    float id = routed[i];
    routed[i] = routed[i + 1];
    routed[i + 1] = id;
  }
}
static void next_expert(float *routed, int32_t used) {
  for (int32_t i = 0; i < used; i++) routed[i] = (float)(((int32_t)routed[i] + 1) % op.experts);
}
static void shrink_weights(float *routed, int32_t used) {
  for (int32_t i = used; i < 2 * used; i++) routed[i] *= 0.999f;
}
static void even_weights(float *routed, int32_t used) {
  for (int32_t i = used; i < 2 * used; i++) routed[i] = 1.0f;
}
static void later_on_ties(float *routed, int32_t used) {
  for (int32_t i = 0; i + 1 < used; i++) {
    if (routed[used + i] != routed[used + i + 1]) continue;
    float id = routed[i];
    routed[i] = routed[i + 1];
    routed[i + 1] = id;
  }
}
static td_status swap_input_slots(struct td_device *device, const struct td_op_call *call) {
  return each_routed(device, &call->in[1], swap_slots);
}
static td_status next_input_expert(struct td_device *device, const struct td_op_call *call) {
  return each_routed(device, &call->in[1], next_expert);
}
static td_status even_input_weights(struct td_device *device, const struct td_op_call *call) {
  return each_routed(device, &call->in[1], even_weights);
}
static td_status swap_result_slots(struct td_device *device, const struct td_op_call *call) {
  return each_routed(device, &call->out, swap_slots);
}
static td_status shrink_result_weights(struct td_device *device, const struct td_op_call *call) {
  return each_routed(device, &call->out, shrink_weights);
}
static td_status reverse_result_ties(struct td_device *device, const struct td_op_call *call) {
  return each_routed(device, &call->out, later_on_ties);
}

/* Changes every operation of an LPU code, which its device has already. */
static td_status each_operation(struct td_device *device, const struct td_op_call *call,
                                void (*change)(struct td_lpu_code_op *)) {
  struct td_lpu_code_head head;
  struct td_lpu_code_op one;
  TD_TRY(good_table->read(device, call->weight.buffer, call->weight.offset, &head, sizeof head));
  for (int32_t i = 0; i < head.ops; i++) {
    uint64_t at = call->weight.offset + (uint64_t)head.at_ops * sizeof(int32_t) + (uint64_t)i * sizeof one;
    TD_TRY(good_table->read(device, call->weight.buffer, at, &one, sizeof one));
    change(&one);
    TD_TRY(good_table->write(device, call->weight.buffer, at, &one, sizeof one));
  }
  return TD_OK;
}
static void lane_further(struct td_lpu_code_op *one) {
  one->immediate += one->kind == TD_CODE_ROTATE;
}
static void smaller_for_larger(struct td_lpu_code_op *one) {
  if (one->kind == TD_CODE_ALU && one->detail == TD_CODE_MAX) one->detail = TD_CODE_MIN;
}
static void step_short(struct td_lpu_code_op *one) {
  one->count -= one->kind == TD_CODE_PASS && one->detail == TD_TILE_I8 && one->count > 0;
}
static void column_short(struct td_lpu_code_op *one) {
  one->count -= one->kind == TD_CODE_EXPAND && one->detail == TD_OPERAND_F16;
}
static td_status rotate_further(struct td_device *device, const struct td_op_call *call) {
  return each_operation(device, call, lane_further);
}
static td_status take_smaller(struct td_device *device, const struct td_op_call *call) {
  return each_operation(device, call, smaller_for_larger);
}
static td_status drop_step(struct td_device *device, const struct td_op_call *call) {
  return each_operation(device, call, step_short);
}
static td_status drop_columns(struct td_device *device, const struct td_op_call *call) {
  return each_operation(device, call, column_short);
}
static td_status forget_stop(struct td_device *device, const struct td_op_call *call) {
  static const struct td_lpu_code_state none;
  return good_table->write(device, call->in[1].buffer, call->in[1].offset, &none, sizeof none);
}

static td_status scale_first(struct td_device *device, const struct td_op_call *call) {
  float value;
  TD_TRY(good_table->read(device, call->out.buffer, call->out.offset, &value, sizeof value));
  value *= fault->factor;
  return good_table->write(device, call->out.buffer, call->out.offset, &value, sizeof value);
}

/* ---- the list ---- */

static const struct fault faults[] = {
    {"rope one position late", "rope/*", "attention/f32/*", TD_OP_ROPE, .bend = bend_rope_position},
    {"rope base 0.1 % off", "rope/*", "matmul/q8_0/*", TD_OP_ROPE, .bend = bend_rope_theta},
    {"rope factors ignored", "rope/*factors=1*", "rope/*factors=0*", TD_OP_ROPE, .bend = bend_rope_factors},
    {"rope pairs of the other kind", "rope/halves/*", "add/*", TD_OP_ROPE, .bend = bend_rope_pairs},
    {"rope pairs of the other kind, adjacent", "rope/adjacent/*", "add/*", TD_OP_ROPE, .bend = bend_rope_pairs},
    {"rope scale dropped", "rope/*scale=0.125*", "rope/*scale=1,*", TD_OP_ROPE, .bend = bend_rope_scale},
    {"attention one position short", "attention/*", "rope/*", TD_OP_ATTENTION, .bend = bend_attention_mask},
    {"attention scale 1 % off", "attention/*", "kv_append/*", TD_OP_ATTENTION, .bend = bend_attention_scale},
    {"attention of large scores cut", "attention/*scale=200", "attention/*window=0", TD_OP_ATTENTION,
     .bend = bend_attention_large},
    {"attention ignores the block table", "attention/*", "kv_append/*", TD_OP_ATTENTION, .bend = bend_attention_paging},
    {"attention takes K for V", "attention/f16/*", "kv_append/*", TD_OP_ATTENTION, .bend = bend_attention_order},
    {"attention result 1e-4 off", "attention/*", "add/*", TD_OP_ATTENTION, .factor = 1.0001f},
    {"window one short", "attention/*window=7", "attention/*window=0", TD_OP_ATTENTION, .bend = bend_window_less},
    {"window one long", "attention/*window=16", "attention/*window=0", TD_OP_ATTENTION, .bend = bend_window_more},
    {"window ignored", "attention/*window=100", "attention/*window=1000", TD_OP_ATTENTION, .bend = bend_window_none},
    {"KV_APPEND swaps K and V", "kv_append/*", "attention/*", TD_OP_KV_APPEND, .bend = bend_swap_inputs},
    {"KV_APPEND swaps K and V, seen by export", "kv_export/*", "memory/*", TD_OP_KV_APPEND, .bend = bend_swap_inputs},
    {"KV_APPEND swaps K and V, seen by truncate", "kv_truncate/*", "add/*", TD_OP_KV_APPEND, .bend = bend_swap_inputs},
    {"norm with twice the epsilon", "rms_norm/*", "add/*", TD_OP_RMS_NORM, .bend = bend_norm_epsilon},
    {"norm of the first head only", "rms_norm/*groups=9", "rms_norm/*n=576", TD_OP_RMS_NORM, .bend = bend_norm_groups},
    {"embedding of the wrong token", "embed/*", "add/*", TD_OP_EMBED, .bend = bend_embed_id},
    {"embedding's scale dropped", "embed/*scale=33.94", "embed/*n=576", TD_OP_EMBED, .bend = bend_embed_scale},
    {"activation with its inputs swapped", "activation/*", "add/*", TD_OP_ACTIVATION, .bend = bend_swap_inputs},
    {"SiLU for GELU", "activation/gelu/*", "add/*", TD_OP_ACTIVATION, .bend = bend_activation},
    {"select of the wrong rows", "select/*", "add/*", TD_OP_SELECT, .bend = bend_select_first},
    {"matmul 0.1 % off", "matmul/q4_1/*", "add/*", TD_OP_MATMUL, .factor = 1.001f},
    {"matmul in half precision", "matmul/f32/*k=160", "add/*", TD_OP_MATMUL, .before = halve_input},
    {"IQ4_NL read as Q4_0", "matmul/iq4_nl/*", "matmul/q4_0/*", TD_OP_MATMUL, .bend = bend_type},
    {"add off by its last bit", "add/rows=*", "activation/*", TD_OP_ADD, .factor = 1.0000002f},
    {"bias skipped", "add/bias=*", "add/rows=*", TD_OP_ADD, .before = blank_weight},
    {"router's slots swapped", "router/*used=8", "router/*used=1", TD_OP_ROUTER, .after = swap_result_slots},
    {"router's weights not renormalised", "router/*", "add/*", TD_OP_ROUTER, .after = shrink_result_weights},
    {"router takes the later of equals", "router/*used=4", "router/*used=1", TD_OP_ROUTER,
     .after = reverse_result_ties},
    {"expert slots swapped", "expert_matmul/*used=2*", "expert_matmul/*used=1*", TD_OP_EXPERT_MATMUL,
     .before = swap_input_slots},
    {"the next expert's matrix", "expert_matmul/q8_0/*", "matmul/q8_0/*", TD_OP_EXPERT_MATMUL,
     .before = next_input_expert},
    {"every slot the same input", "expert_matmul/*per_slot=1", "expert_matmul/*per_slot=0", TD_OP_EXPERT_MATMUL,
     .bend = bend_expert_input},
    {"expert matmul 0.1 % off", "expert_matmul/q6_k/*", "add/*", TD_OP_EXPERT_MATMUL, .factor = 1.001f},
    {"expert sum without weights", "expert_sum/*", "add/*", TD_OP_EXPERT_SUM, .before = even_input_weights},
    {"matmul that depends on its batch", "exact_rows/matmul/*", "matmul/*", TD_OP_MATMUL, .factor = 1.0000001f,
     .least_rows = 2},
    {"expert matmul that depends on its batch", "exact_rows/expert_matmul/*", "expert_matmul/*", TD_OP_EXPERT_MATMUL,
     .factor = 1.0000001f, .least_rows = 2},
    {"attention that depends on its batch", "exact_chunks/*", "attention/*", TD_OP_ATTENTION, .factor = 1.0000001f,
     .least_rows = 9},
    {"attention scale 1 % off, in steps", "step_values/*", "kv_append/*", TD_OP_ATTENTION,
     .bend = bend_attention_scale},
    {"KV_APPEND swaps K and V, in steps", "step_values/f16/*", "add/*", TD_OP_KV_APPEND, .bend = bend_swap_inputs},
    {"matmul that depends on its batch, in chunks", "step_chunks/*", "matmul/*", TD_OP_MATMUL, .factor = 1.0000001f,
     .least_rows = 9},
    {"matmul that depends on its batch, in batches", "step_batch/*", "matmul/*", TD_OP_MATMUL, .factor = 1.00001f,
     .least_rows = 40},
    {"LPU: a rotation one lane further", "lpu_run/moves,*", "lpu_run/floats,*", TD_OP_LPU_RUN,
     .before = rotate_further},
    {"LPU: the smaller for the larger", "lpu_run/floats,*", "lpu_run/integers,*", TD_OP_LPU_RUN,
     .before = take_smaller},
    {"LPU: int8 passes one step short", "lpu_run/int8,*", "lpu_run/fp16,*", TD_OP_LPU_RUN, .before = drop_step},
    {"LPU: columns one step short", "lpu_run/fp16,*", "lpu_run/int8,*", TD_OP_LPU_RUN, .before = drop_columns},
    {"LPU: a stop that is not told", "lpu_run/stop,*", "lpu_run/moves,*", TD_OP_LPU_RUN, .after = forget_stop},
};

static td_status bent_op(struct td_device *device, const struct td_op_call *call) {
  if (!fault || call->op->kind != fault->kind) return good_table->op(device, call);
  struct td_op_call copy = *call;
  op = *call->op;
  copy.op = &op;
  if (call->batch) {
    batch = *call->batch;
    for (int32_t s = 0; s < batch.seq_count && s < 8; s++) seqs[s] = batch.seqs[s];
    batch.seqs = seqs;
    copy.batch = &batch;
  }
  if (fault->bend) fault->bend(&copy);
  if (fault->before) TD_TRY(fault->before(device, &copy));
  TD_TRY(good_table->op(device, &copy));
  if (fault->after) TD_TRY(fault->after(device, &copy));
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
  assert_int_equal(result.unsupported, 2); /* step_clock: of emulated devices */
  assert_int_equal(result.failed + result.expected_failures + result.unexpected_passes, 0);
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

/* Whole words only, as a careless copy has it. */
static td_status word_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                            uint64_t bytes) {
  return good_table->write(device, buffer, offset, src, bytes / 4 * 4);
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
  assert_int_equal(run_suite("memory/large/*").failed, 1);
  assert_int_equal(run_suite("memory/edges/*").passed, 3);
  bent_table.write = word_write;
  assert_true(run_suite("memory/edges/*").failed > 0);
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
  assert_int_equal(run_suite("add/rows=*").unexpected_passes, 5);
  fault = &(const struct fault){"", "", "", TD_OP_ADD, .factor = 1.5f};
  assert_int_equal(run_suite("add/rows=*").expected_failures, 5);
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
