# SPDX-License-Identifier: Apache-2.0
tandem_test(engine_units SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/units.c
  LINK tandem_engine tandem_device tandem_backends tandem_kernels LABELS threads)

set(engine_libraries tandem_engine tandem_traces tandem_hdf5 tandem_comm tandem_device tandem_backends tandem_config tandem_model
  tandem_kernels)
tandem_test(engine_queues SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/queues.c LINK ${engine_libraries})
tandem_test(engine_prefix_cache SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/prefix_cache.c LINK ${engine_libraries})
tandem_test(engine_policies SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/policies.c LINK ${engine_libraries})
tandem_test(engine_policies_indexed SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/policies_indexed.c LINK ${engine_libraries})
foreach(name exactness experts faults limits pipeline policy_runs preemption prefix tools tools_limits)
  tandem_test(engine_${name} SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/${name}.c
    ${CMAKE_CURRENT_LIST_DIR}/engine/random_cluster.c ${CMAKE_CURRENT_LIST_DIR}/engine/random_files.c
    ${CMAKE_CURRENT_LIST_DIR}/engine/rows.c LINK ${engine_libraries})
endforeach()

foreach(name experts pipeline)
  target_sources(engine_${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/engine/split_runs.c)
endforeach()
foreach(name tools tools_limits)
  target_sources(engine_${name} PRIVATE ${CMAKE_CURRENT_LIST_DIR}/engine/tools_runs.c)
endforeach()

tandem_test(engine_summary SOURCES ${CMAKE_CURRENT_LIST_DIR}/engine/summary.c
  ${CMAKE_CURRENT_LIST_DIR}/engine/random_files.c LINK tandem_base PkgConfig::JANSSON)
add_dependencies(engine_summary tandem)

# The policies' reference is what the program prints.
add_test(NAME engine_docs_current COMMAND sh -c
  "'$<TARGET_FILE:tandem>' policies --docs | diff - '${PROJECT_SOURCE_DIR}/docs/policies.md'")
add_test(NAME engine_policy_misspelt COMMAND sh -c "'$<TARGET_FILE:tandem>' policies colocatd; test $? -eq 2")

# One program, many named runs of `tandem`: engine_runs CASE.
set(engine_runs_sources)
foreach(file runs runs_clusters runs_parity runs_requests harness)
  list(APPEND engine_runs_sources ${CMAKE_CURRENT_LIST_DIR}/engine/${file}.c)
endforeach()
add_executable(engine_runs ${engine_runs_sources})
target_include_directories(engine_runs PRIVATE ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(engine_runs PRIVATE tandem_traces tandem_model tandem_config tandem_cost tandem_kernels tandem_base
  tandem_api PkgConfig::CMOCKA)
target_compile_definitions(engine_runs PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
  TANDEM_PROGRAM="${PROJECT_BINARY_DIR}/tandem" $<$<BOOL:${MPI_C_FOUND}>:TANDEM_HAVE_MPI=1>)
add_dependencies(engine_runs tandem)

# Modelled workers against those that execute and against plain rules, and against queueing theory.
foreach(program fleet queueing)
  add_executable(engine_${program} ${CMAKE_CURRENT_LIST_DIR}/engine/${program}.c
    ${CMAKE_CURRENT_LIST_DIR}/engine/harness.c)
  target_include_directories(engine_${program} PRIVATE ${CMAKE_CURRENT_LIST_DIR})
  target_link_libraries(engine_${program} PRIVATE tandem_traces tandem_base tandem_api PkgConfig::CMOCKA m)
  target_compile_definitions(engine_${program} PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
    TANDEM_PROGRAM="${PROJECT_BINARY_DIR}/tandem")
  add_dependencies(engine_${program} tandem)
  add_test(NAME engine_${program} COMMAND engine_${program})
  set_tests_properties(engine_${program} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600)
endforeach()

target_sources(engine_fleet PRIVATE ${CMAKE_CURRENT_LIST_DIR}/engine/plain.c)
target_link_libraries(engine_fleet PRIVATE tandem_cost tandem_model)

function(engine_case name)
  add_test(NAME ${name} COMMAND engine_runs ${name})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS "${ARGN}")
endfunction()
foreach(case parity_one_process measured_paces transfer_bytes mixed_cluster modelled_cluster handoff_blob sampling_seeded
    arrivals_do_not_matter long_prefill_counts stops_at_length kept_awake end_tokens source_live one_token_requests kv_pressure
    kv_grows_live live_without_a_trace policies_live refused_live refusals_are_shown goodput_of_live_runs)
  engine_case(${case} threads)
endforeach()
foreach(case parity_2_ranks parity_4_ranks priced_ranks_identical paces_agree_under_mpi)
  engine_case(${case} mpi)
endforeach()
engine_case(parity_smollm2 model)
engine_case(quickstart_modelled_and_mixed model)
