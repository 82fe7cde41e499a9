/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening devices by name, the checked calls, and the defaults of optional entries.
 */
#include "kv_fixture.h"
#include "tandem/cost.h"

static void test_names(void **state) {
  (void)state;
  struct td_device *device = NULL;
  assert_non_null(td_backend_find("template"));
  assert_null(td_backend_find("templat"));
  assert_string_equal(td_backend_nearest("tempalte"), "template");
  assert_null(td_backend_nearest("something else"));
  assert_refused(td_device_open("tempalte", &(struct td_device_options){.threads = 1}, &device), TD_NOT_FOUND,
                 "did you mean 'template'?");
  assert_refused(td_device_open("", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG, "no backend name");
  assert_refused(td_device_open(":1", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
                 "no backend name");
  assert_refused(td_device_open("template:x", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG, "'x'");
  assert_refused(td_device_open("template:EPYC", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
                 "devices of template have no names");
  assert_refused(td_device_open("template:", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
                 "device number");
  assert_refused(td_device_open("template:0x1", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
                 "'0x1'");
  assert_refused(td_device_open("template:99999999999", &(struct td_device_options){.threads = 1}, &device), TD_CONFIG,
                 "device number");
  assert_refused(td_device_open("template:1", &(struct td_device_options){.threads = 1}, &device), TD_UNAVAILABLE,
                 "found 1 device(s)");
  assert_ok(td_device_open("template:0", &(struct td_device_options){.threads = 1}, &device));
  assert_int_equal(device->index, 0);
  assert_ptr_equal(device->backend, td_backend_find("template"));
  td_device_close(device);
  td_device_close(NULL);
}

static void test_memory(void **state) {
  (void)state;
  struct td_device *device = open_template(), *other = open_template();
  struct td_buffer *buffer = NULL;
  char data[16] = "fifteen letters";
  assert_refused(td_device_alloc(device, 0, TD_USE_KV, &buffer), TD_INTERNAL, "0 bytes");
  assert_ok(td_device_alloc(device, 100, TD_USE_KV, &buffer));
  assert_ok(td_device_write(device, buffer, 84, data, 16));
  assert_refused(td_device_write(device, buffer, 85, data, 16), TD_INTERNAL, "offset 85");
  assert_refused(td_device_write(device, buffer, UINT64_MAX, data, 16), TD_INTERNAL, "offset");
  assert_refused(td_device_write(device, buffer, 2, data, UINT64_MAX), TD_INTERNAL, "offset 2");
  assert_refused(td_device_read(other, buffer, 0, data, 16), TD_INTERNAL, "not this device's");
  assert_refused(td_device_read(device, NULL, 0, data, 16), TD_INTERNAL, "not this device's");
  memset(data, 1, sizeof data);
  assert_ok(td_device_read(device, buffer, 83, data, 16));
  assert_memory_equal(data, "\0fifteen letters", 16);
  assert_int_equal(device->submitted, 2);
  td_device_free(device, buffer);
  assert_refused(td_device_read(device, buffer, 0, data, 16), TD_INTERNAL, "not this device's");
  td_device_close(device);
  td_device_close(other);
}

static void test_defaults(void **state) {
  (void)state;
  struct td_device *device = open_template();
  struct td_price price;
  struct td_step_stats stats = {{1}};
  struct td_graph graph = {0};
  struct td_slice slice = {0};
  struct td_op op = {.kind = TD_OP_ADD};
  assert_refused(td_device_price(device, &graph, &slice, TD_F32, &stats, NULL, &price), TD_UNSUPPORTED,
                 "no device file");
  assert_ok(td_device_supports(device, &(struct td_op_query){&op, TD_F32, TD_F32}));
  int64_t before = td_now_ps(), now = td_device_now(device);
  assert_true(now >= before && now <= td_now_ps());
  td_device_close(device);
}

/* ---- operator calls ---- */

struct call {
  struct td_device *device;
  struct td_buffer *buffer;
  struct td_op op;
  struct td_batch batch;
  struct td_op_call call;
  int32_t ids[2];
};

static struct td_view floats(struct td_buffer *buffer, uint64_t offset, int64_t rows, int64_t cols) {
  return (struct td_view){buffer, offset, TD_F32, rows, cols};
}

static void open_call(struct call *c) {
  *c = (struct call){.device = open_template(), .ids = {1, 4}};
  assert_ok(td_device_alloc(c->device, 1024, TD_USE_ACTIVATION, &c->buffer));
  c->op = (struct td_op){.kind = TD_OP_ADD, .n = 8};
  c->batch = (struct td_batch){.rows = 2, .ids = c->ids};
  c->call = (struct td_op_call){.op = &c->op, .batch = &c->batch};
  c->call.in[0] = floats(c->buffer, 0, 2, 8);
  c->call.in[1] = floats(c->buffer, 64, 2, 8);
  c->call.out = floats(c->buffer, 128, 2, 8);
}

static void close_call(struct call *c) {
  td_device_free(c->device, c->buffer);
  td_device_close(c->device);
}

static void test_operands(void **state) {
  (void)state;
  struct call c;
  open_call(&c);
  assert_ok(td_device_op(c.device, &c.call));
  c.call.out = c.call.in[0];
  assert_ok(td_device_op(c.device, &c.call));
  c.call.out.offset = 32;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "out: overlaps in[0]");
  c.call.out.offset = 96;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "out: overlaps in[1]");
  c.call.out.offset = 1024 - 60;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "out: beyond its buffer");
  c.call.out = floats(c.buffer, 128, 3, 8);
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "out: found 3 x 8, expected 2 x 8");
  c.call.out = floats(c.buffer, 128, 2, 8);
  c.call.in[1].dtype = TD_F16;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "in[1]: not float32");
  c.call.in[1].buffer = NULL;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "in[1]: absent");
  c.op.kind = TD_OP_SAMPLE;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "the operator is the host's");
  close_call(&c);
}

static void test_ids(void **state) {
  (void)state;
  struct call c;
  open_call(&c);
  c.op = (struct td_op){.kind = TD_OP_EMBED, .n = 8, .scale = 1};
  c.call.in[0].buffer = c.call.in[1].buffer = NULL;
  c.call.weight = floats(c.buffer, 512, 5, 8);
  assert_ok(td_device_op(c.device, &c.call));
  c.call.weight.rows = 4;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "outside of the vocabulary");
  c.ids[0] = -1;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "outside of the vocabulary");
  close_call(&c);
}

static void test_block_tables(void **state) {
  (void)state;
  struct call c;
  int32_t blocks[2] = {1, 3};
  struct td_seq seq = {.past = 3, .tokens = 2, .blocks = blocks, .block_count = 2};
  struct td_buffer *k = NULL, *v = NULL;
  open_call(&c);
  assert_ok(td_device_alloc(c.device, 4 * 4 * 8 * 4, TD_USE_KV, &k)); /* 4 blocks of 4 positions of 8 floats */
  assert_ok(td_device_alloc(c.device, 4 * 4 * 8 * 4, TD_USE_KV, &v));
  c.op = (struct td_op){.kind = TD_OP_KV_APPEND, .heads = 4, .kv_heads = 2, .head_dim = 4};
  c.batch.seqs = &seq;
  c.batch.seq_count = 1;
  c.call.out.buffer = NULL;
  c.call.kv = (struct td_kv_view){k, v, TD_F32, 4, 2, 4};
  assert_ok(td_device_op(c.device, &c.call));
  blocks[1] = 4;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "outside of the pool");
  blocks[1] = 3;
  seq.past = 7;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "too short");
  seq.past = 3;
  seq.tokens = 1;
  assert_refused(td_device_op(c.device, &c.call), TD_INTERNAL, "do not add up");
  td_device_free(c.device, k);
  td_device_free(c.device, v);
  close_call(&c);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_names),    cmocka_unit_test(test_memory), cmocka_unit_test(test_defaults),
      cmocka_unit_test(test_operands), cmocka_unit_test(test_ids),    cmocka_unit_test(test_block_tables),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
