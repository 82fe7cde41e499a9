# SPDX-License-Identifier: Apache-2.0
# The OpenCL backend. Most tests go through a loader of their own that fails on request (opencl/shim.c); it needs the
# real one to link with. All skip, with the reason, where there is no device: `tandem conform opencl` is conform.cmake's.
set(environment TANDEM_OPENCL_CACHE=${PROJECT_BINARY_DIR}/opencl-cache)
tandem_test(opencl_absent SOURCES opencl/absent.c LABELS opencl ENVIRONMENT ${environment})
add_dependencies(opencl_absent tandem)

find_library(TANDEM_OPENCL_LOADER NAMES OpenCL libOpenCL.so.1)
if(TANDEM_OPENCL_INCLUDE AND TANDEM_OPENCL_LOADER)
  add_library(opencl_shim SHARED opencl/shim.c)
  target_include_directories(opencl_shim SYSTEM PRIVATE ${TANDEM_OPENCL_INCLUDE})
  target_link_libraries(opencl_shim PRIVATE tandem_flags ${TANDEM_OPENCL_LOADER} ${CMAKE_DL_LIBS})
  target_link_options(opencl_shim PRIVATE -Wl,--no-as-needed)
  foreach(topic failures cache names gpu_form)
    tandem_test(opencl_${topic} SOURCES opencl/${topic}.c LINK tandem_device tandem_backends ${CMAKE_DL_LIBS}
      LABELS opencl ENVIRONMENT ${environment})
    target_compile_definitions(opencl_${topic} PRIVATE OPENCL_SHIM="$<TARGET_FILE:opencl_shim>")
    add_dependencies(opencl_${topic} tandem opencl_shim)
  endforeach()
  # Label `plain`: most of it is kernels, which sanitizers do not see; conform_opencl runs the host's code under them.
  set_tests_properties(opencl_gpu_form PROPERTIES LABELS "opencl;plain")
else()
  message(STATUS "tandem: no opencl_failures, opencl_cache, opencl_names, opencl_gpu_form tests: no OpenCL loader")
endif()
