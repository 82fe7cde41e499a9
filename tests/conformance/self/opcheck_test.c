/* SPDX-License-Identifier: Apache-2.0
 *
 * Calls that break the contract of enum td_op_kind never reach a backend: each operator once as it should be, then
 * spoiled in one place at a time. What is priced only is refused for every backend.
 */
#include <math.h>

#include "support.h"
#include "tandem/device.h"

#define ROWS 2

static struct td_device *device;
static struct td_buffer *buffer, *pools[2];
static uint64_t next_offset;

/* The call under test, all of it here to be spoiled. */
static struct td_op op;
static struct td_batch batch;
static struct td_seq seq;
static struct td_op_call call;
static int32_t ids[ROWS], positions[ROWS], logit_rows[1], blocks[2];

static struct td_view view(int64_t rows, int64_t cols) {
  struct td_view view = {.buffer = buffer, .offset = next_offset, .dtype = TD_F32, .rows = rows, .cols = cols};
  next_offset += (uint64_t)(rows * cols) * sizeof(float) + 64;
  return view;
}

/* Operands of a call that passes; a width of 0: absent. */
static void make(enum td_op_kind kind, int64_t in0, int64_t in1, int64_t out, int64_t weight_rows,
                 int64_t weight_cols) {
  next_offset = 0;
  op = (struct td_op){.kind = kind,
                      .in = {-1, -1},
                      .out = -1,
                      .weight = -1,
                      .n = 8,
                      .k = 16,
                      .groups = 0,
                      .heads = 4,
                      .kv_heads = 2,
                      .head_dim = 2,
                      .rope_dim = 2,
                      .experts = 3,
                      .experts_used = 2,
                      .epsilon = 1e-5,
                      .theta = 10000,
                      .scale = 1,
                      .position_scale = 1};
  if (kind == TD_OP_ADD) op.experts = 0;
  if (kind == TD_OP_RMS_NORM) op.groups = 4;
  ids[0] = ids[1] = 0;
  positions[0] = 3;
  positions[1] = 4;
  logit_rows[0] = 1;
  blocks[0] = 1;
  blocks[1] = 0;
  seq = (struct td_seq){.past = 3, .tokens = ROWS, .blocks = blocks, .block_count = 2};
  batch = (struct td_batch){.rows = ROWS,
                            .ids = ids,
                            .positions = positions,
                            .seqs = &seq,
                            .seq_count = 1,
                            .logit_rows = logit_rows,
                            .logit_count = 1};
  call = (struct td_op_call){.op = &op, .batch = &batch};
  call.kv = (struct td_kv_view){
      .k = pools[0], .v = pools[1], .dtype = TD_F32, .block_tokens = 4, .kv_heads = 2, .head_dim = 2};
  if (in0) call.in[0] = view(ROWS, in0);
  if (in1) call.in[1] = view(ROWS, in1);
  if (out) call.out = view(ROWS, out);
  if (weight_rows) call.weight = view(weight_rows, weight_cols);
}

static void make_kind(enum td_op_kind kind) {
  switch (kind) {
    case TD_OP_EMBED:
      make(kind, 0, 0, 8, 5, 8);
      break;
    case TD_OP_RMS_NORM:
      make(kind, 8, 0, 8, 1, 2);
      break;
    case TD_OP_MATMUL:
      make(kind, 16, 0, 8, 8, 16);
      break;
    case TD_OP_ROPE:
      make(kind, 8, 0, 8, 1, 1);
      break;
    case TD_OP_KV_APPEND:
      make(kind, 4, 4, 0, 0, 0);
      break;
    case TD_OP_ATTENTION:
      make(kind, 8, 0, 8, 0, 0);
      break;
    case TD_OP_ACTIVATION:
      make(kind, 8, 8, 8, 0, 0);
      break;
    case TD_OP_ADD:
      make(kind, 8, 0, 8, 1, 8);
      break;
    case TD_OP_ROUTER:
      make(kind, 3, 0, 4, 0, 0);
      break;
    case TD_OP_EXPERT_MATMUL:
      make(kind, 16, 4, 16, 24, 16);
      break;
    case TD_OP_EXPERT_SUM:
      make(kind, 16, 4, 8, 0, 0);
      break;
    default:
      make(kind, 8, 0, 8, 0, 0);
      call.out.rows = 1;
      break;
  }
}

static void expect(td_status status, const char *text) {
  td_status got = td_device_op(device, &call);
  if (got != status || (got && !strstr(td_error_text(), text))) {
    printf("found status %d, %s; expected %d, %s\n", (int)got, got ? td_error_text() : "", (int)status, text);
  }
  assert_int_equal(got, status);
  if (got) assert_non_null(strstr(td_error_text(), text));
}

static void test_good_calls(void **state) {
  (void)state;
  for (int kind = 0; kind < TD_OP_EXECUTED_COUNT; kind++) {
    if (kind == TD_OP_SAMPLE) continue;
    make_kind((enum td_op_kind)kind);
    expect(TD_OK, "");
  }
  make(TD_OP_EXPERT_MATMUL, 32, 4, 16, 24, 16); /* an input for every slot */
  expect(TD_OK, "");
  make(TD_OP_ADD, 8, 8, 8, 0, 0);
  call.out = call.in[0];
  expect(TD_OK, "");
}

/* Sets a field of a good call and wants it refused. */
#define SPOILED(kind, change, text) \
  do {                              \
    make_kind(kind);                \
    change;                         \
    expect(TD_INTERNAL, text);      \
  } while (0)

static void test_operators_of_rows(void **state) {
  (void)state;
  SPOILED(TD_OP_EMBED, op.scale = 0, "scale");
  SPOILED(TD_OP_EMBED, op.scale = NAN, "scale");
  SPOILED(TD_OP_EMBED, ids[1] = 5, "vocabulary");
  SPOILED(TD_OP_RMS_NORM, op.groups = 0, "groups");
  SPOILED(TD_OP_RMS_NORM, op.groups = 3, "groups");
  SPOILED(TD_OP_RMS_NORM, op.groups = 2, "expected 1 x 4");
  SPOILED(TD_OP_RMS_NORM, call.in[1] = call.in[0], "takes none");
  SPOILED(TD_OP_MATMUL, call.weight.rows = 7, "expected 8 x 16");
  SPOILED(TD_OP_MATMUL, call.in[1] = call.in[0], "takes none");
  SPOILED(TD_OP_MATMUL, call.weight.dtype = TD_FP8, "priced only");
  SPOILED(TD_OP_MATMUL, call.out.offset = call.in[0].offset + 4, "overlaps");
  SPOILED(TD_OP_ROPE, op.position_scale = 0, "position_scale");
  SPOILED(TD_OP_ROPE, op.heads = -4; op.head_dim = -2, "below 1");
  SPOILED(TD_OP_ROPE, op.rope_dim = 4, "rope_dim");
  SPOILED(TD_OP_ADD, call.in[1] = call.in[0], "takes none");
  SPOILED(TD_OP_ADD, call.weight.rows = 2, "expected 1 x 8");
  SPOILED(TD_OP_ADD, call.weight.buffer = NULL, "in[1]: absent");
  SPOILED(TD_OP_ADD, call.weight.offset = UINT64_MAX - 8, "beyond its buffer");
  SPOILED(TD_OP_SELECT, logit_rows[0] = ROWS, "logit row");
}

static void test_cache(void **state) {
  (void)state;
  SPOILED(TD_OP_ATTENTION, op.window = -1, "window");
  SPOILED(TD_OP_ATTENTION, op.kv_heads = 3, "kv_heads");
  SPOILED(TD_OP_ATTENTION, op.heads = 0, "below 1");
  SPOILED(TD_OP_ATTENTION, blocks[1] = 2, "outside of the pool");
  SPOILED(TD_OP_ATTENTION, blocks[1] = -1, "outside of the pool");
  SPOILED(TD_OP_ATTENTION, seq.block_count = 1, "too short");
  SPOILED(TD_OP_ATTENTION, seq.past = -1, "gaps");
  SPOILED(TD_OP_KV_APPEND, op.kv_heads = op.head_dim = -2, "below 1");
  SPOILED(TD_OP_KV_APPEND, call.kv.dtype = TD_Q8_0, "neither f32 nor f16");
}

static void test_experts(void **state) {
  (void)state;
  SPOILED(TD_OP_ROUTER, op.experts = 0, "experts below 1");
  SPOILED(TD_OP_ROUTER, op.experts = (1 << 24) + 1, "above 2^24");
  SPOILED(TD_OP_ROUTER, op.experts_used = 4, "experts_used");
  SPOILED(TD_OP_ROUTER, op.experts_used = 0, "experts_used");
  SPOILED(TD_OP_ROUTER, op.experts_used = 1, "expected 2 x 2");
  SPOILED(TD_OP_ROUTER, call.in[0].cols = 4, "expected 2 x 3");
  SPOILED(TD_OP_EXPERT_MATMUL, call.weight.rows = 16, "expected 24 x 16");
  SPOILED(TD_OP_EXPERT_MATMUL, call.in[0].cols = 15, "expected 2 x 32");
  SPOILED(TD_OP_EXPERT_MATMUL, call.in[1].cols = 2, "expected 2 x 4");
  SPOILED(TD_OP_EXPERT_MATMUL, call.in[1].buffer = NULL, "in[1]: absent");
  SPOILED(TD_OP_EXPERT_MATMUL, call.out.cols = 8, "expected 2 x 16");
  SPOILED(TD_OP_EXPERT_MATMUL, op.n = INT64_MAX, "above 2^31");
  SPOILED(TD_OP_EXPERT_MATMUL, op.k = INT64_MAX, "above 2^31");
  SPOILED(TD_OP_EXPERT_SUM, call.in[0].cols = 8, "expected 2 x 16");
  SPOILED(TD_OP_EXPERT_SUM, call.out.offset = call.in[1].offset, "overlaps in[1]");
}

static void test_priced_only_calls(void **state) {
  (void)state;
  for (int kind = TD_OP_EXECUTED_COUNT; kind <= TD_OP_LPU_RUN; kind++) {
    SPOILED(TD_OP_MATMUL, op.kind = kind < TD_OP_LPU_RUN ? (enum td_op_kind)kind : TD_OP_SAMPLE, "operator");
  }
  SPOILED(TD_OP_MATMUL, op.kind = TD_OP_LPU_RUN, "operand weight: found 8 x 16, expected 1 x 16");
  SPOILED(TD_OP_ATTENTION, op.bidirectional = true, "causal");
  SPOILED(TD_OP_ATTENTION, call.weight = call.in[0], "sinks");
  SPOILED(TD_OP_ATTENTION, call.in[1] = call.in[0], "latent");
  SPOILED(TD_OP_MATMUL, op.groups = 2, "groups");
  SPOILED(TD_OP_ADD, op.experts = 2, "experts");
  SPOILED(TD_OP_ACTIVATION, op.activation = TD_ACT_RELU, "activation");
}

/* The same asked through `supports`, of a backend that has none of its own. */
static void refused(struct td_op asked, enum td_dtype weight, const char *text) {
  const struct td_op_query query = {.op = &asked, .weight_dtype = weight, .kv_dtype = TD_F32};
  assert_int_equal(td_device_supports(device, &query), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), text));
}

static void test_queries(void **state) {
  (void)state;
  const struct td_op good = {.kind = TD_OP_MATMUL, .in = {1, -1}, .weight = 2};
  assert_int_equal(td_device_supports(device, &(struct td_op_query){.op = &good, .weight_dtype = TD_Q6_K}), TD_OK);
  refused(good, TD_MXFP4, "type is priced only");
  refused(good, (enum td_dtype)4, "type is priced only");
  refused((struct td_op){.kind = TD_OP_LPU_RUN}, TD_F32, "lpu_run");
  for (int kind = TD_OP_EXECUTED_COUNT; kind < TD_OP_LPU_RUN; kind++) {
    refused((struct td_op){.kind = (enum td_op_kind)kind}, TD_F32, "priced only");
  }
  refused((struct td_op){.kind = TD_OP_ATTENTION, .in = {5, -1}, .weight = 9}, TD_F32, "sinks");
  refused((struct td_op){.kind = TD_OP_ATTENTION, .in = {5, 6}, .weight = -1}, TD_F32, "latent");
  refused((struct td_op){.kind = TD_OP_ACTIVATION, .activation = TD_ACT_TANH}, TD_F32, "activation");
}

static int open_all(void **state) {
  (void)state;
  return td_device_open("template", &(struct td_device_options){.threads = 1}, &device) ||
         td_device_alloc(device, 1 << 16, TD_USE_ACTIVATION, &buffer) ||
         td_device_alloc(device, 2 * 4 * 4 * sizeof(float), TD_USE_KV, &pools[0]) ||
         td_device_alloc(device, 2 * 4 * 4 * sizeof(float), TD_USE_KV, &pools[1]);
}

static int close_all(void **state) {
  (void)state;
  td_device_free(device, buffer);
  for (int i = 0; i < 2; i++) td_device_free(device, pools[i]);
  td_device_close(device);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_good_calls), cmocka_unit_test(test_operators_of_rows), cmocka_unit_test(test_cache),
      cmocka_unit_test(test_experts),    cmocka_unit_test(test_priced_only_calls), cmocka_unit_test(test_queries)};
  return cmocka_run_group_tests(tests, open_all, close_all);
}
