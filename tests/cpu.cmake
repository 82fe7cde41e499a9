# SPDX-License-Identifier: Apache-2.0
# Inside the cpu backend: what the conformance suite cannot reach through its tables.
set(cpu_libraries tandem_backend_cpu tandem_kernels tandem_base Threads::Threads)
foreach(topic kernels long_rows errors inexact memory)
  tandem_test(cpu_${topic} SOURCES ${CMAKE_CURRENT_LIST_DIR}/cpu/${topic}_test.c LINK ${cpu_libraries} LABELS threads)
  target_include_directories(cpu_${topic} PRIVATE ${PROJECT_SOURCE_DIR}/backends/cpu)
endforeach()
# One test lets the start of a thread fail.
target_link_options(cpu_errors PRIVATE -Wl,--wrap=pthread_create)
