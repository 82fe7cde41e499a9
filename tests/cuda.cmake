# SPDX-License-Identifier: Apache-2.0
# The cuda backend without a GPU. First what makes the emulated driver (kernels on the host), then what runs on it. No
# result here is a GPU's: tests on the emulated driver say so in their name or label (cuda-emulated).

# ---- the emulated device ----

include(${CMAKE_CURRENT_LIST_DIR}/cuda/emulator/emulator.cmake)
if(TARGET tandem_cuda_emulator AND TANDEM_CUDA_VERSION)
  add_test(NAME cuda_emulated_conform COMMAND tandem conform cuda)
  set_tests_properties(cuda_emulated_conform PROPERTIES TIMEOUT 300 LABELS "cuda-emulated;conform"
    ENVIRONMENT TANDEM_CUDA_DRIVER=$<TARGET_FILE:tandem_cuda_emulator>)
endif()

# ---- the host side ----

# cuda_fake(NAME FILES...): a library that stands in for one of NVIDIA's.
function(cuda_fake name)
  list(TRANSFORM ARGN PREPEND ${CMAKE_CURRENT_SOURCE_DIR}/cuda/)
  add_library(${name} MODULE ${ARGN})
  target_include_directories(${name} PRIVATE ${PROJECT_SOURCE_DIR}/backends/cuda)
  target_link_libraries(${name} PRIVATE tandem_api ${CMAKE_DL_LIBS})
endfunction()
cuda_fake(cuda_fake_driver host_fake_driver.c host_fake_stubs.c)
cuda_fake(cuda_fake_short host_fake_short.c)
cuda_fake(cuda_fake_nvml host_fake_nvml.c)
cuda_fake(cuda_fake_blas host_fake_blas.c)

tandem_test(cuda_host_probe SOURCES ${CMAKE_CURRENT_LIST_DIR}/cuda/host_probe.c LINK tandem_device tandem_backends
  LABELS cuda)
target_compile_definitions(cuda_host_probe PRIVATE TEST_FAKE_DRIVER="$<TARGET_FILE:cuda_fake_driver>"
  TEST_FAKE_SHORT="$<TARGET_FILE:cuda_fake_short>")
add_dependencies(cuda_host_probe cuda_fake_driver cuda_fake_short)

if(TANDEM_CUDA_INCLUDE AND EXISTS ${TANDEM_CUDA_INCLUDE}/cublasLt.h)
  tandem_test(cuda_host_declarations SOURCES ${CMAKE_CURRENT_LIST_DIR}/cuda/host_declarations.c LABELS cuda)
  target_include_directories(cuda_host_declarations SYSTEM PRIVATE ${TANDEM_CUDA_INCLUDE})
  target_include_directories(cuda_host_declarations PRIVATE ${PROJECT_SOURCE_DIR}/backends/cuda)
endif()

# cuda_emulated_test(NAME ENVIRONMENT...): tests/cuda/NAME.c on the emulated driver.
function(cuda_emulated_test name)
  tandem_test(cuda_emulated_${name} SOURCES ${CMAKE_CURRENT_SOURCE_DIR}/cuda/${name}.c
    LINK tandem_device tandem_backends tandem_model tandem_kernels LABELS cuda-emulated
    ENVIRONMENT TANDEM_CUDA_DRIVER=$<TARGET_FILE:tandem_cuda_emulator>;${ARGN})
  target_include_directories(cuda_emulated_${name} PRIVATE ${PROJECT_SOURCE_DIR}/backends/cuda)
  add_dependencies(cuda_emulated_${name} tandem_cuda_emulator)
endfunction()
if(TARGET tandem_cuda_emulator AND TANDEM_CUDA_VERSION)
  cuda_emulated_test(host_memory)
  cuda_emulated_test(host_plan)
  cuda_emulated_test(host_ceiling TANDEM_EMULATED_MEMORY=20000000)
  cuda_emulated_test(host_energy TANDEM_CUDA_NVML=$<TARGET_FILE:cuda_fake_nvml>)
  add_dependencies(cuda_emulated_host_energy cuda_fake_nvml)
  cuda_emulated_test(host_blas TANDEM_CUDA_CUBLASLT=$<TARGET_FILE:cuda_fake_blas>)
  add_dependencies(cuda_emulated_host_blas cuda_fake_blas)
  cuda_emulated_test(host_blas_missing TANDEM_CUDA_CUBLASLT=/nowhere/libcublasLt.so TANDEM_EMULATED_CC=86)
endif()

# ---- the kernels, on the emulated device ----

if(TARGET tandem_cuda_emulator AND TANDEM_CUDA_VERSION)
  # Its cases lose the device on purpose, and what lived there stays behind.
  cuda_emulated_test(emulator_test ASAN_OPTIONS=detect_leaks=0)
  cuda_emulated_test(kernel_products)
  cuda_emulated_test(kernel_attention)
  cuda_emulated_test(kernel_rows)
endif()
