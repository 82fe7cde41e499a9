/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem/lpu_math.h as OpenCL C 1.2, on every device here, gives the bits that C gives.
 */
#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "lpu/math_cases.h"
#include "support.h"

static const char source[] =
    "#include \"math_cases.h\"\n"
    "__kernel void all_results(__global uint *out) {\n"
    "  int i = (int)get_global_id(0);\n"
    "  uint results[MATH_RESULTS];\n"
    "  math_results(math_pattern(i), results);\n"
    "  for (int r = 0; r < MATH_RESULTS; r++) out[MATH_RESULTS * i + r] = results[r];\n"
    "}\n";

static cl_uint got[MATH_COUNT * MATH_RESULTS];

static cl_program build(cl_context context, cl_device_id device) {
  char options[8400], log[4096] = "";
  const char *text = source;
  snprintf(options, sizeof options, "-cl-std=CL1.2 -I %s -I %s", test_source("tests/lpu"),
           test_source("framework/kernels/shared"));
  cl_int error;
  cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  error = clBuildProgram(program, 1, &device, options, NULL, NULL);
  clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
  if (error != CL_SUCCESS) fail_msg("does not build: %s", log);
  return program;
}

static void compute(cl_context context, cl_device_id device) {
  cl_int error;
  cl_command_queue queue = clCreateCommandQueue(context, device, 0, &error);
  assert_int_equal(error, CL_SUCCESS);
  cl_program program = build(context, device);
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

static void check_device(cl_device_id device) {
  char name[256] = "";
  cl_int error;
  clGetDeviceInfo(device, CL_DEVICE_NAME, sizeof name - 1, name, NULL);
  printf("device %s\n", name);
  cl_context context = clCreateContext(NULL, 1, &device, NULL, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  compute(context, device);
  clReleaseContext(context);
  for (int i = 0; i < MATH_COUNT; i++) {
    td_u32 want[MATH_RESULTS];
    math_results(math_pattern(i), want);
    for (int r = 0; r < MATH_RESULTS; r++) {
      if (got[MATH_RESULTS * i + r] == want[r]) continue;
      fail_msg("result %d of %08x: found %08x, expected %08x", r, math_pattern(i), got[MATH_RESULTS * i + r], want[r]);
    }
  }
}

static cl_platform_id platforms[8];
static cl_uint platform_count;

static void test_devices(void **state) {
  (void)state;
  for (cl_uint p = 0; p < platform_count; p++) {
    cl_device_id devices[8];
    cl_uint count = 0;
    if (clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, 8, devices, &count) != CL_SUCCESS) continue;
    for (cl_uint d = 0; d < count && d < 8; d++) check_device(devices[d]);
  }
}

int main(void) {
  if (clGetPlatformIDs(8, platforms, &platform_count) != CL_SUCCESS || platform_count == 0) {
    test_skip_all("no OpenCL platform here");
  }
  if (platform_count > 8) platform_count = 8;
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_devices)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
