/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend on the emulated driver, with the driver's functions in the test's hands: each may be counted or made
 * to fail. Nothing here says anything about a GPU.
 */
#ifndef TESTS_CUDA_HOST_FIXTURE_H
#define TESTS_CUDA_HOST_FIXTURE_H

#include "device.h"
#include "support.h"
#include "tandem/device.h"

#define assert_ok(expr)                                   \
  do {                                                    \
    if (expr) fail_msg("%s: %s", #expr, td_error_text()); \
  } while (0)

/* `expr` must fail with `code` and say `words`. */
#define assert_refused(expr, code, words)                                                               \
  do {                                                                                                  \
    assert_int_equal(expr, code);                                                                       \
    if (!strstr(td_error_text(), words)) fail_msg("found '%s', expected '%s'", td_error_text(), words); \
  } while (0)

/* The driver as the device under test sees it. */
static struct cuda_driver test_driver;
static const struct cuda_driver *real_driver;

static struct {
  int kernels, graph_launches, captures, stream_syncs, event_syncs, stream_waits;
  int fail_kernel_at, fail_with; /* the n-th launch from now on answers this; 0: none */
  int sync_fails_with;           /* waiting for a stream answers this; 0: it works */
} driver_calls;

static int counted_launch(cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                          unsigned block_y, unsigned block_z, unsigned shared_bytes, cuda_stream stream,
                          void **parameters, void **extra) {
  driver_calls.kernels++;
  if (driver_calls.fail_kernel_at && --driver_calls.fail_kernel_at == 0) return driver_calls.fail_with;
  return real_driver->cuLaunchKernel(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes, stream,
                                     parameters, extra);
}
static int counted_graph_launch(cuda_graph_exec exec, cuda_stream stream) {
  driver_calls.graph_launches++;
  return real_driver->cuGraphLaunch(exec, stream);
}
static int counted_capture(cuda_stream stream, int mode) {
  driver_calls.captures++;
  return real_driver->cuStreamBeginCapture_v2(stream, mode);
}
static int counted_stream_sync(cuda_stream stream) {
  driver_calls.stream_syncs++;
  if (driver_calls.sync_fails_with) return driver_calls.sync_fails_with;
  return real_driver->cuStreamSynchronize(stream);
}
static int counted_event_sync(cuda_event event) {
  driver_calls.event_syncs++;
  return real_driver->cuEventSynchronize(event);
}
static int counted_stream_wait(cuda_stream stream, cuda_event event, unsigned flags) {
  driver_calls.stream_waits++;
  return real_driver->cuStreamWaitEvent(stream, event, flags);
}

static inline struct td_device *open_emulated(bool inexact) {
  struct td_device *device = NULL;
  struct td_device_options options = {.inexact = inexact};
  assert_ok(td_device_open("cuda", &options, &device));
  real_driver = cuda_of(device)->driver;
  test_driver = *real_driver;
  test_driver.cuLaunchKernel = counted_launch;
  test_driver.cuGraphLaunch = counted_graph_launch;
  test_driver.cuStreamBeginCapture_v2 = counted_capture;
  test_driver.cuStreamSynchronize = counted_stream_sync;
  test_driver.cuEventSynchronize = counted_event_sync;
  test_driver.cuStreamWaitEvent = counted_stream_wait;
  cuda_of(device)->driver = &test_driver;
  memset(&driver_calls, 0, sizeof driver_calls);
  return device;
}

static inline struct td_buffer *take(struct td_device *device, uint64_t bytes) {
  struct td_buffer *buffer = NULL;
  assert_ok(td_device_alloc(device, bytes, TD_USE_ACTIVATION, &buffer));
  return buffer;
}

#endif
