/* SPDX-License-Identifier: Apache-2.0
 *
 * The suite asks no more than the contract gives: a device that appends to its KV cache when somebody waits, and whose
 * exports overtake what is queued, conforms. It reads the batch as late as it may.
 */
#include "conformance/suite.h"
#include "device/device_private.h"
#include "support.h"
#include "tandem/base.h"

extern const struct td_backend td_backend_cpu;

static const struct td_device_table *plain;
static struct td_device_table late_table;
static struct td_op_call waiting[16];
static int count, late;

static td_status drain(struct td_device *device) {
  td_status status = TD_OK;
  for (int i = 0; i < count && !status; i++) status = plain->op(device, &waiting[i]);
  count = 0;
  return status;
}

static td_status late_op(struct td_device *device, const struct td_op_call *call) {
  if (call->op->kind != TD_OP_KV_APPEND || count == 16) {
    TD_TRY(drain(device));
    return plain->op(device, call);
  }
  waiting[count++] = *call;
  late++;
  return TD_OK;
}

static td_status late_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                           uint64_t bytes) {
  TD_TRY(drain(device));
  return plain->read(device, buffer, offset, dst, bytes);
}

static td_status late_sync(struct td_device *device, uint64_t value) {
  TD_TRY(drain(device));
  return plain->sync(device, value);
}

/* The framework's default over the plain table: reads of what lies there now. */
static td_status overtaking_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                                   void *k, void *v) {
  device->table = plain;
  td_status status = td_device_kv_export(device, view, seq, k, v);
  device->table = &late_table;
  return status;
}

static td_status late_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  TD_TRY(td_backend_cpu.open(index, options, out));
  plain = (*out)->table;
  late_table = *plain;
  late_table.op = late_op;
  late_table.read = late_read;
  late_table.sync = late_sync;
  late_table.kv_export = overtaking_export;
  (*out)->table = &late_table;
  return TD_OK;
}

static struct td_backend backend;
const struct td_backend *const td_backends[] = {&backend, NULL};

static void test_kv(void **state) {
  (void)state;
  FILE *sink = fopen("/dev/null", "w");
  assert_non_null(sink);
  struct td_conform_options options = {.filter = "kv_*", .threads = 1};
  struct td_conform_result result = {0};
  backend = td_backend_cpu;
  backend.name = "late";
  backend.open = late_open;
  assert_int_equal(td_conform_run("late", &options, sink, &result), TD_OK);
  fclose(sink);
  assert_true(late > 100);
  assert_true(result.passed > 20);
  assert_int_equal(result.failed, 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_kv)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
