/* SPDX-License-Identifier: Apache-2.0
 *
 * What tests of OpenCL C share: every device here, a program for it. Header only.
 */
#ifndef TESTS_OPENCL_DEVICES_H
#define TESTS_OPENCL_DEVICES_H

#define CL_TARGET_OPENCL_VERSION 120
#include <CL/cl.h>

#include "support.h"

#define TEST_MOST_DEVICES 8 /* of a platform; and platforms */

/* Calls `check` for every device; prints the device's name before. */
static inline void test_each_device(void (*check)(cl_context context, cl_device_id device)) {
  cl_platform_id platforms[TEST_MOST_DEVICES];
  cl_uint count = 0;
  assert_int_equal(clGetPlatformIDs(TEST_MOST_DEVICES, platforms, &count), CL_SUCCESS);
  for (cl_uint p = 0; p < count && p < TEST_MOST_DEVICES; p++) {
    cl_device_id devices[TEST_MOST_DEVICES];
    cl_uint found = 0;
    cl_int error = clGetDeviceIDs(platforms[p], CL_DEVICE_TYPE_ALL, TEST_MOST_DEVICES, devices, &found);
    for (cl_uint d = 0; error == CL_SUCCESS && d < found && d < TEST_MOST_DEVICES; d++) {
      char name[256] = "";
      clGetDeviceInfo(devices[d], CL_DEVICE_NAME, sizeof name - 1, name, NULL);
      printf("device %s\n", name);
      cl_context context = clCreateContext(NULL, 1, &devices[d], NULL, NULL, &error);
      assert_int_equal(error, CL_SUCCESS);
      check(context, devices[d]);
      clReleaseContext(context);
    }
  }
}

/* Ends the test program as skipped where there is no platform. */
static inline void test_need_opencl(void) {
  cl_uint count = 0;
  if (clGetPlatformIDs(0, NULL, &count) != CL_SUCCESS || count == 0) test_skip_all("no OpenCL platform here");
}

/* `text` as OpenCL C 1.2, including from a folder of tests/ and the headers that devices share. */
static inline cl_program test_cl_program(cl_context context, cl_device_id device, const char *text,
                                         const char *folder) {
  char options[8400], log[4096] = "";
  snprintf(options, sizeof options, "-cl-std=CL1.2 -I %s/%s -I %s", test_source("tests"), folder,
           test_source("framework/kernels/shared"));
  cl_int error;
  cl_program program = clCreateProgramWithSource(context, 1, &text, NULL, &error);
  assert_int_equal(error, CL_SUCCESS);
  error = clBuildProgram(program, 1, &device, options, NULL, NULL);
  clGetProgramBuildInfo(program, device, CL_PROGRAM_BUILD_LOG, sizeof log - 1, log, NULL);
  if (error != CL_SUCCESS) fail_msg("does not build: %s", log);
  return program;
}

#endif
