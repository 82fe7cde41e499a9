# SPDX-License-Identifier: Apache-2.0
# The LPU's arithmetic: accuracy in C, the same bits in OpenCL C and CUDA.
set(lpu_tests ${CMAKE_CURRENT_LIST_DIR}/lpu)
tandem_test(lpu_math SOURCES ${lpu_tests}/math_test.c LINK tandem_kernels tandem_base)

find_library(LPU_TEST_OPENCL NAMES OpenCL libOpenCL.so.1 DOC "The OpenCL ICD loader, for tests")
if(TANDEM_OPENCL_INCLUDE AND LPU_TEST_OPENCL)
  tandem_test(lpu_math_opencl SOURCES ${lpu_tests}/math_opencl_test.c LINK tandem_base ${LPU_TEST_OPENCL})
  target_include_directories(lpu_math_opencl SYSTEM PRIVATE ${TANDEM_OPENCL_INCLUDE})
else()
  add_test(NAME lpu_math_opencl COMMAND sh -c "echo SKIPPED: no OpenCL headers or no ICD loader here; exit 77")
  set_tests_properties(lpu_math_opencl PROPERTIES SKIP_RETURN_CODE 77)
endif()
# Compiled wherever nvcc is, linked and run only beside a GPU. Not in sanitized builds: no sanitizer looks in there.
if(TANDEM_CUDA_VERSION AND NOT TANDEM_SANITIZE)
  set(lpu_math_cuda ${CMAKE_CURRENT_BINARY_DIR}/lpu_math_cuda)
  add_test(NAME lpu_math_cuda_build COMMAND ${TANDEM_NVCC} -gencode arch=compute_80,code=[sm_80,compute_80]
    -fmad=false -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror,-ffp-contract=off
    -I ${PROJECT_SOURCE_DIR}/framework/kernels/shared -c -o ${lpu_math_cuda}.o ${lpu_tests}/math_cuda.cu)
  set_tests_properties(lpu_math_cuda_build PROPERTIES TIMEOUT 120 FIXTURES_SETUP lpu_math_cuda)
  add_test(NAME lpu_math_cuda COMMAND sh -c "[ -e /dev/nvidiactl ] || { echo SKIPPED: no GPU here; exit 77; }; \
'${TANDEM_NVCC}' -o '${lpu_math_cuda}' '${lpu_math_cuda}.o' && '${lpu_math_cuda}'")
  set_tests_properties(lpu_math_cuda PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120 FIXTURES_REQUIRED lpu_math_cuda)
endif()
