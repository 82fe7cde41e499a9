/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing, memory, the time line, and calls that must be refused.
 */
#include <inttypes.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

static void fill(unsigned char *bytes, size_t count, uint64_t stream) {
  for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)td_random(3, stream, i);
}

static td_status expect_bytes(const char *what, const unsigned char *got, const unsigned char *want, size_t count) {
  for (size_t i = 0; i < count; i++) {
    CONFORM_CHECK(got[i] == want[i], "%s: byte %zu: found 0x%02x, expected 0x%02x", what, i, got[i], want[i]);
  }
  return TD_OK;
}

/* ---- lifecycle ---- */

static td_status run_reopen(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  for (int i = 0; i < 3; i++) {
    struct td_device *device;
    TD_TRY(td_device_open(run->spec, &(struct td_device_options){.params = run->open_params, .threads = run->threads},
                          &device));
    td_status status = td_device_sync(device);
    CONFORM_CHECK(device->backend == run->backend, "the device names another backend");
    td_device_close(device);
    if (status) return status;
  }
  return TD_OK;
}

/* Two devices at once: writing to one leaves the other alone. */
static td_status run_two(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  struct td_device *other;
  struct td_buffer *mine, *theirs;
  unsigned char a[64], b[64], got[64];
  fill(a, sizeof a, 1);
  fill(b, sizeof b, 2);
  TD_TRY(conform_open(run, 2, &other));
  TD_TRY(conform_buffer(run, run->device, sizeof a, &mine));
  TD_TRY(conform_buffer(run, other, sizeof b, &theirs));
  TD_TRY(td_device_write(run->device, mine, 0, a, sizeof a));
  TD_TRY(td_device_write(other, theirs, 0, b, sizeof b));
  TD_TRY(td_device_read(run->device, mine, 0, got, sizeof got));
  TD_TRY(expect_bytes("first device", got, a, sizeof a));
  TD_TRY(td_device_read(other, theirs, 0, got, sizeof got));
  return expect_bytes("second device", got, b, sizeof b);
}

static td_status run_absent_index(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  char spec[TD_NAME_BYTES];
  struct td_device *device;
  TD_TRY(td_format(spec, sizeof spec, "%s:99999", run->backend->name));
  td_status status =
      td_device_open(spec, &(struct td_device_options){.params = run->open_params, .threads = 1}, &device);
  if (status == TD_OK) td_device_close(device);
  CONFORM_CHECK(status == TD_UNAVAILABLE || status == TD_NOT_FOUND, "device %s: found status %s, expected unavailable",
                spec, td_code_name(status));
  return TD_OK;
}

static td_status run_clock(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  int64_t last = td_device_now(run->device);
  for (int i = 0; i < 1000; i++) {
    int64_t now = td_device_now(run->device);
    CONFORM_CHECK(now >= last, "the clock went back from %" PRId64 " to %" PRId64 " ps", last, now);
    last = now;
  }
  return TD_OK;
}

/* ---- memory ---- */

/* Fresh memory is zero, also where something else was before. */
static td_status run_zeroed(struct conform_run *run, const struct conform_case *test) {
  unsigned char *bytes, *zeros;
  size_t count = (size_t)test->p.count;
  TD_TRY(conform_memory(run, count, 1, &bytes));
  TD_TRY(conform_memory(run, count, 1, &zeros));
  for (int round = 0; round < 3; round++) {
    struct td_buffer *buffer;
    TD_TRY(conform_buffer(run, run->device, count, &buffer));
    TD_TRY(td_device_read(run->device, buffer, 0, bytes, count));
    TD_TRY(expect_bytes("fresh buffer", bytes, zeros, count));
    fill(bytes, count, 5);
    TD_TRY(td_device_write(run->device, buffer, 0, bytes, count));
    conform_release(run);
    TD_TRY(conform_memory(run, count, 1, &bytes));
    TD_TRY(conform_memory(run, count, 1, &zeros));
  }
  return TD_OK;
}

/* Pieces at odd places against a copy on the host. */
static td_status run_offsets(struct conform_run *run, const struct conform_case *test) {
  unsigned char *mirror, *got, piece[300];
  size_t count = (size_t)test->p.count;
  struct td_buffer *buffer;
  TD_TRY(conform_memory(run, count, 1, &mirror));
  TD_TRY(conform_memory(run, count, 1, &got));
  TD_TRY(conform_buffer(run, run->device, count, &buffer));
  for (uint64_t i = 0; i < 100; i++) {
    size_t bytes = 1 + (size_t)(td_random(4, 1, i) % (sizeof piece - 1));
    size_t offset = (size_t)(td_random(4, 2, i) % (count - bytes + 1));
    fill(piece, bytes, 100 + i);
    memcpy(mirror + offset, piece, bytes);
    TD_TRY(td_device_write(run->device, buffer, offset, piece, bytes));
    memset(piece, 0, sizeof piece); /* the source may be reused at once */
    TD_TRY(td_device_read(run->device, buffer, offset / 2, got, bytes));
    TD_TRY(expect_bytes("piece", got, mirror + offset / 2, bytes));
  }
  TD_TRY(td_device_read(run->device, buffer, 0, got, count));
  return expect_bytes("whole buffer", got, mirror, count);
}

static td_status run_many(struct conform_run *run, const struct conform_case *test) {
  struct td_buffer *buffers[300];
  unsigned char want[40], got[40];
  for (int64_t i = 0; i < test->p.count; i++) {
    TD_TRY(conform_buffer(run, run->device, sizeof want, &buffers[i]));
    fill(want, sizeof want, (uint64_t)i);
    TD_TRY(td_device_write(run->device, buffers[i], 0, want, sizeof want));
  }
  for (int64_t i = test->p.count - 1; i >= 0; i--) {
    fill(want, sizeof want, (uint64_t)i);
    TD_TRY(td_device_read(run->device, buffers[i], 0, got, sizeof got));
    TD_TRY(expect_bytes("one of many buffers", got, want, sizeof want));
  }
  return TD_OK;
}

/* The first and the last byte, nothing at all, and a piece that ends where the buffer does. */
static td_status run_edges(struct conform_run *run, const struct conform_case *test) {
  struct td_buffer *buffer;
  unsigned char *want, *got;
  size_t count = (size_t)test->p.count;
  TD_TRY(conform_memory(run, count, 1, &want));
  TD_TRY(conform_memory(run, count, 1, &got));
  TD_TRY(conform_buffer(run, run->device, count, &buffer));
  want[0] = 1;
  TD_TRY(td_device_write(run->device, buffer, 0, want, 1));
  want[count - 1] = 2;
  TD_TRY(td_device_write(run->device, buffer, count - 1, want + count - 1, 1));
  TD_TRY(td_device_write(run->device, buffer, count, want, 0));
  TD_TRY(td_device_read(run->device, buffer, count, got, 0));
  TD_TRY(td_device_read(run->device, buffer, count / 2, got, count - count / 2));
  TD_TRY(expect_bytes("second half", got, want + count / 2, count - count / 2));
  TD_TRY(td_device_read(run->device, buffer, 0, got, count));
  return expect_bytes("whole buffer", got, want, count);
}

/* More than any staging buffer holds, of an odd length, in two calls that meet at an odd place. */
static td_status run_large(struct conform_run *run, const struct conform_case *test) {
  struct td_buffer *buffer;
  uint32_t *want, *got;
  size_t count = (size_t)test->p.count, words = count / sizeof *want + 1, first = count / 3 | 1;
  TD_TRY(conform_memory(run, words, sizeof *want, &want));
  TD_TRY(conform_memory(run, words, sizeof *got, &got));
  for (size_t i = 0; i < words; i++) want[i] = (uint32_t)i * 2654435761u;
  const unsigned char *from = (const unsigned char *)want;
  unsigned char *to = (unsigned char *)got;
  TD_TRY(conform_buffer(run, run->device, count, &buffer));
  TD_TRY(td_device_write(run->device, buffer, 0, from, first));
  TD_TRY(td_device_write(run->device, buffer, first, from + first, count - first));
  TD_TRY(td_device_read(run->device, buffer, 0, to, count - first));
  TD_TRY(td_device_read(run->device, buffer, count - first, to + count - first, first));
  return expect_bytes("large buffer", to, from, count);
}

/* Freeing some of many buffers leaves the others as they were, and what comes next is zero. */
static td_status run_holes(struct conform_run *run, const struct conform_case *test) {
  struct td_buffer *buffers[64];
  unsigned char bytes[1000], zeros[1000] = {0}, got[1000];
  int64_t count = test->p.count;
  for (int64_t i = 0; i < count; i++) {
    fill(bytes, sizeof bytes, (uint64_t)i);
    TD_TRY(td_device_alloc(run->device, sizeof bytes, TD_USE_WEIGHT, &buffers[i]));
    run->buffers[run->buffer_count++] = (struct owned){run->device, buffers[i]};
    TD_TRY(td_device_write(run->device, buffers[i], 0, bytes, sizeof bytes));
  }
  for (int64_t i = 0; i < count; i += 3) {
    td_device_free(run->device, buffers[i]);
    run->buffers[i].buffer = NULL;
    TD_TRY(td_device_alloc(run->device, sizeof bytes, TD_USE_ACTIVATION, &run->buffers[i].buffer));
    TD_TRY(td_device_read(run->device, run->buffers[i].buffer, 0, got, sizeof got));
    TD_TRY(expect_bytes("buffer in a hole", got, zeros, sizeof got));
  }
  for (int64_t i = 0; i < count; i++) {
    if (i % 3 == 0) continue;
    fill(bytes, sizeof bytes, (uint64_t)i);
    TD_TRY(td_device_read(run->device, buffers[i], 0, got, sizeof got));
    TD_TRY(expect_bytes("buffer beside a hole", got, bytes, sizeof got));
  }
  return TD_OK;
}

/* ---- the time line ---- */

static td_status run_timeline(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  struct td_buffer *buffer;
  unsigned char byte = 7;
  TD_TRY(conform_buffer(run, run->device, 64, &buffer));
  uint64_t before = run->device->submitted;
  for (int i = 0; i < 5; i++) TD_TRY(td_device_write(run->device, buffer, 0, &byte, 1));
  CONFORM_CHECK(run->device->submitted == before + 5, "5 writes moved the time line by %" PRIu64,
                run->device->submitted - before);
  const struct td_device_table *table = run->device->table;
  TD_TRY(table->sync(run->device, run->device->submitted));
  TD_TRY(table->sync(run->device, before)); /* long past */
  TD_TRY(table->sync(run->device, 0));
  return table->sync(run->device, run->device->submitted);
}

/* ---- refusals ---- */

/* More memory than any device has: an error that leaves the device in order. */
static td_status run_absurd(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  static const enum td_buffer_use uses[] = {TD_USE_WEIGHT, TD_USE_KV, TD_USE_ACTIVATION};
  struct td_buffer *buffer;
  for (int i = 0; i < 3; i++) {
    td_status status = td_device_alloc(run->device, UINT64_C(1) << 63, uses[i], &buffer);
    if (status == TD_OK) td_device_free(run->device, buffer);
    if (status == TD_UNSUPPORTED && !run->backend->executes) return status;
    CONFORM_CHECK(status == TD_EXHAUSTED, "2^63 bytes: found status %s, expected exhausted", td_code_name(status));
  }
  return conform_buffer(run, run->device, 64, &buffer);
}

static td_status run_beyond(struct conform_run *run, const struct conform_case *test) {
  (void)test;
  struct td_buffer *buffer;
  unsigned char bytes[65] = {0};
  TD_TRY(conform_buffer(run, run->device, 64, &buffer));
  CONFORM_CHECK(td_device_write(run->device, buffer, 0, bytes, 65) == TD_INTERNAL, "a write beyond the end passed");
  CONFORM_CHECK(td_device_read(run->device, buffer, 64, bytes, 1) == TD_INTERNAL, "a read beyond the end passed");
  CONFORM_CHECK(td_device_read(run->device, buffer, UINT64_MAX, bytes, 1) == TD_INTERNAL, "an offset of 2^64 passed");
  return TD_OK;
}

/* What `supports` refuses, `op` refuses: with TD_UNSUPPORTED, and a reason. */
static td_status run_refused(struct conform_run *run, const struct conform_case *test) {
  struct conform_inputs inputs;
  TD_TRY(conform_inputs_make(run, &test->p, &inputs));
  const struct td_op_query query = {.op = &inputs.op, .weight_dtype = test->p.weight, .kv_dtype = TD_F32};
  if (td_device_supports(run->device, &query) == TD_OK) return TD_OK; /* supported: tested elsewhere */
  CONFORM_CHECK(td_error_text()[0], "`supports` refused without a reason");
  if (!run->backend->executes) {
    struct td_op_call call = {.op = &inputs.op, .batch = &inputs.batch};
    td_status direct = run->device->table->op(run->device, &call);
    CONFORM_CHECK(direct == TD_UNSUPPORTED, "op of a priced device: found status %s, expected unsupported",
                  td_code_name(direct));
    return TD_OK;
  }
  float *out;
  TD_TRY(conform_memory(run, (size_t)(inputs.out_rows * inputs.out_cols), sizeof *out, &out));
  td_status status = conform_execute(run, run->device, &inputs, out);
  CONFORM_CHECK(status == TD_UNSUPPORTED, "op refused by `supports`: found status %s, expected unsupported",
                td_code_name(status));
  return TD_OK;
}

void conform_list_memory(struct conform_list *list) {
  static const int64_t sizes[] = {1, 64, 4097, 1 << 20};
  struct conform_params p = {.rows = 1};
  conform_add(list, run_reopen, &p, "lifecycle/reopen");
  conform_add(list, run_two, &p, "lifecycle/two_devices");
  conform_add(list, run_absent_index, &p, "lifecycle/absent_index");
  conform_add(list, run_clock, &p, "lifecycle/clock");
  conform_add(list, run_timeline, &p, "lifecycle/timeline");
  for (int i = 0; i < 4; i++) {
    p.count = sizes[i];
    conform_add(list, run_zeroed, &p, "memory/zeroed/bytes=%" PRId64, p.count);
  }
  p.count = 5000;
  conform_add(list, run_offsets, &p, "memory/offsets/bytes=%" PRId64, p.count);
  p.count = 300;
  conform_add(list, run_many, &p, "memory/many/buffers=%" PRId64, p.count);
  for (int i = 0; i < 3; i++) {
    p.count = sizes[i];
    conform_add(list, run_edges, &p, "memory/edges/bytes=%" PRId64, p.count);
  }
  p.count = (16 << 20) + 3;
  conform_add(list, run_large, &p, "memory/large/bytes=%" PRId64, p.count);
  p.count = 40;
  conform_add(list, run_holes, &p, "memory/holes/buffers=%" PRId64, p.count);
  conform_add(list, run_absurd, &p, "errors/alloc_absurd");
  conform_add(list, run_beyond, &p, "errors/beyond_buffer");
  for (int t = 0; td_dtype_at(t); t++) {
    struct conform_params op = {.kind = TD_OP_MATMUL, .weight = td_dtype_at(t)->dtype, .rows = 1, .n = 2, .k = 256};
    conform_add(list, run_refused, &op, "errors/refused/matmul/%s", td_dtype_at(t)->name);
  }
}
