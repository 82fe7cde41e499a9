# SPDX-License-Identifier: Apache-2.0
# What goes wrong for users, seen from outside: one line, the right exit code, nothing lost, no hang.
add_executable(faults ${CMAKE_CURRENT_LIST_DIR}/faults/faults.c ${CMAKE_CURRENT_LIST_DIR}/faults/killed.c
  ${CMAKE_CURRENT_LIST_DIR}/engine/harness.c)
target_include_directories(faults PRIVATE ${CMAKE_CURRENT_LIST_DIR}/engine)
target_link_libraries(faults PRIVATE tandem_traces tandem_base tandem_api PkgConfig::CMOCKA)
target_compile_definitions(faults PRIVATE TANDEM_SOURCE_DIR="${PROJECT_SOURCE_DIR}"
  TANDEM_PROGRAM="${PROJECT_BINARY_DIR}/tandem" $<$<BOOL:${MPI_C_FOUND}>:TANDEM_HAVE_MPI=1>)
add_dependencies(faults tandem)
foreach(case faults_usage faults_config faults_not_files faults_model faults_cluster faults_output faults_full_disk
    faults_full_disk_in_a_step faults_file_limit faults_under_mpi
    live_run_sigkill mpi_killed_rank)
  add_test(NAME ${case} COMMAND faults ${case})
  set_tests_properties(${case} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 300 LABELS faults)
endforeach()
