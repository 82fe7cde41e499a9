/* SPDX-License-Identifier: Apache-2.0
 *
 * One operator on an opened cpu device, without the framework's checks in between.
 */
#ifndef TESTS_CPU_HARNESS_H
#define TESTS_CPU_HARNESS_H

#include "support.h"
#include "tandem/backend.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

extern const struct td_backend td_backend_cpu;

static inline struct td_device *harness_open(int32_t threads, bool inexact) {
  struct td_device *device;
  td_status status =
      td_backend_cpu.open(0, &(struct td_device_options){.threads = threads, .inexact = inexact}, &device);
  if (status == TD_UNAVAILABLE && inexact) test_skip_all(td_error_text());
  assert_int_equal(status, TD_OK);
  return device;
}

/* A view of `rows` x `cols` with these bytes in it; values NULL: zeros. */
static inline struct td_view harness_view(struct td_device *device, enum td_dtype dtype, int64_t rows, int64_t cols,
                                          const void *values) {
  struct td_view view = {.dtype = dtype, .rows = rows, .cols = cols};
  uint64_t row_bytes;
  assert_int_equal(td_dtype_row_bytes(dtype, cols, &row_bytes), TD_OK);
  assert_int_equal(device->table->alloc(device, (uint64_t)rows * row_bytes, TD_USE_ACTIVATION, &view.buffer), TD_OK);
  if (values) {
    assert_int_equal(device->table->write(device, view.buffer, 0, values, (uint64_t)rows * row_bytes), TD_OK);
  }
  return view;
}

#endif
