# SPDX-License-Identifier: Apache-2.0
set(kernels_tests ${CMAKE_CURRENT_LIST_DIR}/kernels)
tandem_test(kernels_dequant SOURCES ${kernels_tests}/dequant_test.c LINK tandem_kernels tandem_base tandem_hdf5)
tandem_test(kernels_half SOURCES ${kernels_tests}/half_test.c LINK tandem_kernels tandem_base)
tandem_test(kernels_rows SOURCES ${kernels_tests}/rows_test.c LINK tandem_kernels tandem_base)
tandem_test(kernels_gcc_trap SOURCES ${kernels_tests}/gcc_trap_test.c LINK tandem_base)
# The trap needs an optimiser, whatever the build type.
target_compile_options(kernels_gcc_trap PRIVATE -O2)

# framework/kernels/shared in its other two languages. The test asks the ICD loader itself, so it needs the loader.
find_library(KERNELS_TEST_OPENCL NAMES OpenCL libOpenCL.so.1 DOC "The OpenCL ICD loader, for tests")
if(TANDEM_OPENCL_INCLUDE AND KERNELS_TEST_OPENCL)
  tandem_test(kernels_opencl SOURCES ${kernels_tests}/opencl_test.c LINK tandem_kernels tandem_base
    ${KERNELS_TEST_OPENCL})
  target_include_directories(kernels_opencl SYSTEM PRIVATE ${TANDEM_OPENCL_INCLUDE})
else()
  add_test(NAME kernels_opencl COMMAND sh -c "echo SKIPPED: no OpenCL headers or no ICD loader here; exit 77")
  set_tests_properties(kernels_opencl PROPERTIES SKIP_RETURN_CODE 77)
endif()
# Compiled wherever nvcc is, linked and run only beside a GPU. Not in sanitized builds: no sanitizer looks in there.
if(TANDEM_CUDA_VERSION AND NOT TANDEM_SANITIZE)
  set(kernels_cuda ${CMAKE_CURRENT_BINARY_DIR}/kernels_cuda)
  add_test(NAME kernels_cuda_build COMMAND ${TANDEM_NVCC} -gencode arch=compute_80,code=[sm_80,compute_80]
    -fmad=false -Werror all-warnings -Xcompiler -Wall,-Wextra,-Werror -I ${PROJECT_SOURCE_DIR}/framework/kernels/shared
    -c -o ${kernels_cuda}.o ${kernels_tests}/shared_kernels.cu)
  set_tests_properties(kernels_cuda_build PROPERTIES TIMEOUT 120 FIXTURES_SETUP kernels_cuda)
  add_test(NAME kernels_cuda COMMAND sh -c "[ -e /dev/nvidiactl ] || { echo SKIPPED: no GPU here; exit 77; }; \
'${TANDEM_NVCC}' -o '${kernels_cuda}' '${kernels_cuda}.o' && '${kernels_cuda}'")
  set_tests_properties(kernels_cuda PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120 FIXTURES_REQUIRED kernels_cuda)
endif()
