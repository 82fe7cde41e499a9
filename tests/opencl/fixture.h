/* SPDX-License-Identifier: Apache-2.0
 *
 * The backend over the misbehaving loader (shim.c), and an operator to run on it.
 */
#ifndef TESTS_OPENCL_FIXTURE_H
#define TESTS_OPENCL_FIXTURE_H

#include <dlfcn.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/device.h"

#define assert_ok(call)                                      \
  do {                                                       \
    td_status status_ = (call);                              \
    if (status_) fail_msg("%s: %s", #call, td_error_text()); \
  } while (0)
#define assert_refused(call, status, words)                                                       \
  do {                                                                                            \
    assert_int_equal((call), (status));                                                           \
    if (!strstr(td_error_text(), (words))) fail_msg("'%s' lacks '%s'", td_error_text(), (words)); \
    assert_null(strchr(td_error_text(), '\n'));                                                   \
  } while (0)

/* First thing in main: the loader is chosen once in a process. Skips without a device. */
static inline void use_shim(void) {
  const char *reason = "";
  setenv("TANDEM_OPENCL_LIBRARY", OPENCL_SHIM, 1);
  if (td_backend_find("opencl")->probe(&reason) <= 0) test_skip_all(reason);
}

/* A counter of the shim. */
static inline int shim_count(const char *name) {
  void *library = dlopen(OPENCL_SHIM, RTLD_NOW), *found = library ? dlsym(library, name) : NULL;
  assert_non_null(found);
  int count = *(int *)found;
  dlclose(library);
  return count;
}

static inline struct td_device *open_opencl(void) {
  struct td_device *device = NULL;
  assert_ok(td_device_open("opencl", &(struct td_device_options){.threads = 1}, &device));
  return device;
}

static inline void forget_wishes(void) {
  static const char *const names[] = {"SHIM_FAIL", "SHIM_MEMORY", "SHIM_LARGEST", "SHIM_PREPEND", "SHIM_DRIVER"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) unsetenv(names[i]);
}

/* Two rows of eight: out = a + b. */
struct sum {
  struct td_buffer *buffer;
  struct td_op op;
  struct td_batch batch;
  struct td_op_call call;
};

static inline void prepare_sum(struct td_device *device, struct sum *sum) {
  float values[32];
  for (int i = 0; i < 32; i++) values[i] = (float)i;
  *sum = (struct sum){.op = {.kind = TD_OP_ADD, .n = 8}, .batch = {.rows = 2}};
  assert_ok(td_device_alloc(device, 256, TD_USE_ACTIVATION, &sum->buffer));
  assert_ok(td_device_write(device, sum->buffer, 0, values, sizeof values));
  sum->call = (struct td_op_call){.op = &sum->op, .batch = &sum->batch};
  sum->call.in[0] = (struct td_view){sum->buffer, 0, TD_F32, 2, 8};
  sum->call.in[1] = (struct td_view){sum->buffer, 64, TD_F32, 2, 8};
  sum->call.out = (struct td_view){sum->buffer, 128, TD_F32, 2, 8};
}

static inline void check_sum(struct td_device *device, struct sum *sum) {
  float out[16];
  assert_ok(td_device_op(device, &sum->call));
  assert_ok(td_device_read(device, sum->buffer, 128, out, sizeof out));
  for (int i = 0; i < 16; i++) assert_true(out[i] == (float)(i + i + 16));
}

#endif
