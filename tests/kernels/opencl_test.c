/* SPDX-License-Identifier: Apache-2.0
 *
 * The shared headers as OpenCL C 1.2, on every device here: they build, and say what C says.
 */
#include "kernels/shared_input.h"
#include "kernels/stored.h"
#include "opencl_devices.h"
#include "tandem/portable.h"

#define KERNEL static
#define THREAD one_thread
static td_i32 one_thread;
#include "kernels/shared_kernels.h"

static cl_context context; /* of the device that is checked */
static cl_command_queue queue;
static cl_program program;

static cl_mem buffer(size_t bytes, const void *content) {
  cl_int error;
  cl_mem_flags copy = content ? CL_MEM_COPY_HOST_PTR : 0;
  union {
    const void *in;
    void *out;
  } host = {content};
  cl_mem memory = clCreateBuffer(context, CL_MEM_READ_WRITE | copy, bytes, host.out, &error);
  assert_int_equal(error, CL_SUCCESS);
  return memory;
}

/* Runs one kernel over its buffers and a count, one thread each, and reads the last buffer. */
static void launch(const char *name, cl_mem *buffers, cl_uint count, cl_int threads, void *out, size_t bytes) {
  cl_int error;
  cl_kernel kernel = clCreateKernel(program, name, &error);
  assert_int_equal(error, CL_SUCCESS);
  for (cl_uint i = 0; i < count; i++) {
    assert_int_equal(clSetKernelArg(kernel, i, sizeof buffers[i], &buffers[i]), CL_SUCCESS);
  }
  assert_int_equal(clSetKernelArg(kernel, count, sizeof threads, &threads), CL_SUCCESS);
  size_t size = (size_t)threads;
  assert_int_equal(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &size, NULL, 0, NULL, NULL), CL_SUCCESS);
  assert_int_equal(clEnqueueReadBuffer(queue, buffers[count - 1], CL_TRUE, 0, bytes, out, 0, NULL, NULL), CL_SUCCESS);
  for (cl_uint i = 0; i < count; i++) clReleaseMemObject(buffers[i]);
  clReleaseKernel(kernel);
}

#define CHECK_TYPE(T)                                                                                    \
  {                                                                                                      \
    cl_mem buffers[] = {buffer(sizeof blocks, blocks), buffer(sizeof got, NULL)};                        \
    launch("expand_" #T, buffers, 2, INPUT_BLOCKS, got, sizeof got);                                     \
    td_dequantize(TD_##T, blocks, want, INPUT_BLOCKS *TD_BLOCK_ELEMENTS_##T);                            \
    stored_same(#T, got, want, INPUT_BLOCKS *TD_BLOCK_ELEMENTS_##T);                                     \
    for (one_thread = 0; one_thread < INPUT_BLOCKS; one_thread++) expand_##T(blocks, got, INPUT_BLOCKS); \
    stored_same(#T, got, want, INPUT_BLOCKS *TD_BLOCK_ELEMENTS_##T);                                     \
  }

static void check_values(void) {
  static unsigned char blocks[INPUT_BLOCKS * INPUT_BLOCK_BYTES];
  static float got[INPUT_BLOCKS * 256], want[INPUT_BLOCKS * 256];
  input_bytes(blocks, sizeof blocks);
  TD_STORED_TYPES(CHECK_TYPE)
}

static void check_places(void) {
  const td_i32 table[] = INPUT_TABLE;
  const float routed[] = INPUT_ROUTED;
  td_i64 got[INPUT_POSITIONS * PLACES], want[INPUT_POSITIONS * PLACES];
  cl_mem buffers[] = {buffer(sizeof table, table), buffer(sizeof routed, routed), buffer(sizeof got, NULL)};
  launch("all_places", buffers, 3, INPUT_POSITIONS, got, sizeof got);
  for (one_thread = 0; one_thread < INPUT_POSITIONS; one_thread++) all_places(table, routed, want, INPUT_POSITIONS);
  assert_memory_equal(got, want, sizeof got);
}

static void check_device(cl_context of, cl_device_id device) {
  cl_int error;
  context = of;
  queue = clCreateCommandQueue(context, device, 0, &error);
  assert_int_equal(error, CL_SUCCESS);
  program = test_cl_program(context, device, "#include \"shared_kernels.cl\"\n", "kernels");
  check_values();
  check_places();
  clReleaseProgram(program);
  clReleaseCommandQueue(queue);
}

static void test_devices(void **state) {
  (void)state;
  test_each_device(check_device);
}

int main(void) {
  test_need_opencl();
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_devices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
