# SPDX-License-Identifier: Apache-2.0
# `tandem bench`: what it prints and refuses, never how fast. And devices in the engine: replicas, energy.
set(bench_sources ${PROJECT_SOURCE_DIR}/framework/cli)
tandem_test(bench_parts SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/parts.c ${bench_sources}/bench_measure.c
  ${bench_sources}/bench_work.c ${bench_sources}/bench_cases.c ${bench_sources}/bench_gguf.c
  LINK tandem_device tandem_backends tandem_model tandem_kernels tandem_base)
target_include_directories(bench_parts PRIVATE ${bench_sources})

tandem_test(bench_command SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/command.c LINK PkgConfig::JANSSON)
add_dependencies(bench_command tandem)

# Backends of its own: numbered chips with an energy counter, made from the template.
tandem_test(engine_devices SOURCES ${CMAKE_CURRENT_LIST_DIR}/bench/devices.c
  LINK tandem_engine tandem_traces tandem_comm tandem_backend_template LABELS threads)
add_dependencies(engine_devices tandem)

# scripts/bench-engine: that it measures, never how fast.
add_test(NAME bench_engine COMMAND ${CMAKE_CURRENT_LIST_DIR}/bench/engine_table $<TARGET_FILE:tandem>
  ${CMAKE_CURRENT_BINARY_DIR}/bench_engine)
set_tests_properties(bench_engine PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120)
