/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels launched one by one on the emulated driver, with their arguments in the test's hands.
 */
#ifndef TESTS_CUDA_KERNEL_FIXTURE_H
#define TESTS_CUDA_KERNEL_FIXTURE_H

#include <math.h>

#include "device.h"
#include "support.h"
#include "tandem/device.h"
#include "tandem/kernels.h"

#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

#define KERNEL_BUFFERS 256

static struct td_device *kernel_device;
static struct td_buffer *kernel_buffers[KERNEL_BUFFERS];
static int kernel_buffer_count;

static inline int kernel_open(void **state) {
  (void)state;
  assert_ok(td_device_open("cuda", &(struct td_device_options){0}, &kernel_device));
  return 0;
}
static inline int kernel_close(void **state) {
  (void)state;
  td_device_close(kernel_device);
  return 0;
}
/* After each test. */
static inline int kernel_release(void **state) {
  (void)state;
  while (kernel_buffer_count) td_device_free(kernel_device, kernel_buffers[--kernel_buffer_count]);
  return 0;
}

/* Device memory with these contents (NULL: zeros) at `shift` bytes behind an aligned address. */
static inline cuda_ptr shifted(const void *contents, size_t bytes, uint64_t shift) {
  struct td_buffer *buffer = NULL;
  assert_true(kernel_buffer_count < KERNEL_BUFFERS);
  assert_ok(td_device_alloc(kernel_device, bytes + shift, TD_USE_ACTIVATION, &buffer));
  kernel_buffers[kernel_buffer_count++] = buffer;
  if (contents) assert_ok(td_device_write(kernel_device, buffer, shift, contents, bytes));
  return buffer->address + shift;
}
static inline cuda_ptr sent(const void *contents, size_t bytes) {
  return shifted(contents, bytes, 0);
}
static inline cuda_ptr room(size_t bytes) {
  return shifted(NULL, bytes, 0);
}
static inline void fetch(cuda_ptr from, void *to, size_t bytes) {
  for (int i = 0; i < kernel_buffer_count; i++) {
    struct td_buffer *buffer = kernel_buffers[i];
    if (from < buffer->address || from + bytes > buffer->address + buffer->bytes) continue;
    assert_ok(td_device_read(kernel_device, buffer, from - buffer->address, to, bytes));
    return;
  }
  fail_msg("not the test's memory");
}

static inline void launch(enum cuda_kernel kernel, struct cuda_grid grid, const void *args) {
  assert_ok(cuda_enter(cuda_of(kernel_device)));
  assert_ok(cuda_launch(cuda_of(kernel_device), kernel, &grid, args));
}
static inline void launch_family(enum cuda_family family, enum td_dtype dtype, struct cuda_grid grid,
                                 const void *args) {
  assert_ok(cuda_enter(cuda_of(kernel_device)));
  assert_ok(cuda_launch_family(cuda_of(kernel_device), family, dtype, &grid, args));
}

/* ---- data ---- */

#define MOST 65536

/* `count` values around zero that depend on `stream` and their index alone; static memory, good until the eighth next
 * call. */
static inline float *values(uint64_t stream, int64_t count) {
  static float memory[8][MOST];
  static int next;
  float *out = memory[next++ % 8];
  assert_true(count <= MOST);
  for (int64_t i = 0; i < count; i++) out[i] = (float)(td_random_unit(11, stream, (uint64_t)i) * 2 - 1);
  return out;
}

static inline void assert_same(const char *what, const float *got, const float *want, int64_t count) {
  for (int64_t i = 0; i < count; i++) {
    if (memcmp(&got[i], &want[i], sizeof *got) != 0) {
      fail_msg("%s: element %lld: found %a, expected %a", what, (long long)i, (double)got[i], (double)want[i]);
    }
  }
}
static inline void assert_close(const char *what, const float *got, const float *want, int64_t count, double bound) {
  for (int64_t i = 0; i < count; i++) {
    if (!(fabs((double)got[i] - (double)want[i]) <= bound)) {
      fail_msg("%s: element %lld: found %g, expected %g within %g", what, (long long)i, (double)got[i], (double)want[i],
               bound);
    }
  }
}

#endif
