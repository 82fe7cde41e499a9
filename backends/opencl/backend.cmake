# SPDX-License-Identifier: Apache-2.0
# The loader is opened at run time, so only the headers are needed here; without them the backend says so when probed.
include(TandemEmbed)
if(TANDEM_OPENCL_INCLUDE)
  target_include_directories(tandem_backend_opencl SYSTEM PRIVATE ${TANDEM_OPENCL_INCLUDE})
  target_compile_definitions(tandem_backend_opencl PRIVATE TANDEM_OPENCL_HEADERS=1 CL_TARGET_OPENCL_VERSION=120)
  target_link_libraries(tandem_backend_opencl PRIVATE ${CMAKE_DL_LIBS})
  set(shared ${PROJECT_SOURCE_DIR}/framework/kernels/shared/tandem)
  file(GLOB kernels CONFIGURE_DEPENDS ${folder}/kernels/*.cl)
  tandem_embed(tandem_backend_opencl opencl_sources ${shared}/portable.h ${shared}/blocks.h ${shared}/positions.h
    ${shared}/lpu_math.h ${shared}/lpu_code.h
    ${kernels})
else()
  set_target_properties(tandem_backend_opencl PROPERTIES SOURCES ${folder}/opencl.c)
endif()
