/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem/lpu_math.h as OpenCL C 1.2, on every device here, gives the bits that C gives.
 */
#include "lpu/math_cases.h"
#include "opencl_devices.h"

static const char source[] =
    "#include \"math_cases.h\"\n"
    "__kernel void all_results(__global uint *out) {\n"
    "  int i = (int)get_global_id(0);\n"
    "  uint results[MATH_RESULTS];\n"
    "  math_results(math_pattern(i), results);\n"
    "  for (int r = 0; r < MATH_RESULTS; r++) out[MATH_RESULTS * i + r] = results[r];\n"
    "}\n";

static cl_uint got[MATH_COUNT * MATH_RESULTS];

static void compute(cl_context context, cl_device_id device) {
  cl_int error;
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
  assert_int_equal(error, CL_SUCCESS);
  cl_program program = test_cl_program(context, device, source, "lpu");
  cl_kernel kernel = clCreateKernel(program, "all_results", &error);
  assert_int_equal(error, CL_SUCCESS);
  cl_mem out = clCreateBuffer(context, CL_MEM_WRITE_ONLY, sizeof got, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  size_t size = MATH_COUNT;
  assert_int_equal(clSetKernelArg(kernel, 0, sizeof(cl_mem), &out), CL_SUCCESS);
  assert_int_equal(clEnqueueNDRangeKernel(queue, kernel, 1, NULL, &size, NULL, 0, NULL, NULL), CL_SUCCESS);
  assert_int_equal(clEnqueueReadBuffer(queue, out, CL_TRUE, 0, sizeof got, got, 0, NULL, NULL), CL_SUCCESS);
  clReleaseMemObject(out);
  clReleaseKernel(kernel);
  clReleaseProgram(program);
  clReleaseCommandQueue(queue);
}

static void check_device(cl_context context, cl_device_id device) {
  compute(context, device);
  for (int i = 0; i < MATH_COUNT; i++) {
    td_u32 want[MATH_RESULTS];
    math_results(math_pattern(i), want);
    for (int r = 0; r < MATH_RESULTS; r++) {
      if (got[MATH_RESULTS * i + r] == want[r]) continue;
      fail_msg("result %d of %08x: found %08x, expected %08x", r, math_pattern(i), got[MATH_RESULTS * i + r], want[r]);
    }
  }
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
