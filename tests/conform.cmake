# SPDX-License-Identifier: Apache-2.0
# Built, never run as a test: how long the cpu backend's operators take.
add_executable(bench_cpu ${CMAKE_CURRENT_LIST_DIR}/bench/bench_cpu.c)
target_link_libraries(bench_cpu PRIVATE tandem_backend_cpu tandem_kernels tandem_base tandem_api)
