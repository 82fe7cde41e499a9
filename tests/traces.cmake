# SPDX-License-Identifier: Apache-2.0
set(traces_tests ${CMAKE_CURRENT_LIST_DIR}/traces)
set(traces_samples ${traces_tests}/samples.c)

foreach(test roundtrip metrics sigkill disk_full direct)
  tandem_test(trace_${test} SOURCES ${traces_tests}/${test}.c ${traces_samples} LINK tandem_traces tandem_hdf5)
endforeach()
# File systems that refuse writes past the page cache.
target_link_options(trace_direct PRIVATE -Wl,--wrap=open -Wl,--wrap=pwrite)
tandem_test(trace_stream SOURCES ${traces_tests}/stream.c ${traces_tests}/fleet.c ${traces_samples}
  LINK tandem_traces tandem_hdf5)
tandem_test(trace_export SOURCES ${traces_tests}/export.c ${traces_tests}/fleet.c ${traces_samples}
  LINK tandem_traces PkgConfig::JANSSON)
add_dependencies(trace_export tandem)
tandem_test(trace_hostile SOURCES ${traces_tests}/hostile.c ${traces_samples} LINK tandem_traces tandem_hdf5)
tandem_test(trace_show_diff SOURCES ${traces_tests}/diff.c ${traces_samples} LINK tandem_traces)
add_dependencies(trace_show_diff tandem)

# Python tests run README.md's own snippets and the package, against samples written by trace_helper.
add_executable(trace_helper ${traces_tests}/helper.c ${traces_tests}/fleet.c ${traces_samples})
target_include_directories(trace_helper PRIVATE ${PROJECT_SOURCE_DIR}/traces)
target_link_libraries(trace_helper PRIVATE tandem_traces tandem_api tandem_hdf5)
add_dependencies(trace_helper tandem)

# How fast: by hand, tests/bench/trace_speed.c.
add_executable(trace_speed bench/trace_speed.c ${traces_tests}/fleet.c ${traces_samples})
target_include_directories(trace_speed PRIVATE ${CMAKE_CURRENT_SOURCE_DIR} ${traces_tests})
target_link_libraries(trace_speed PRIVATE tandem_traces tandem_base tandem_api tandem_hdf5)

# The first Python that has h5py, -s: without packages of the user that do not fit it; without one the tests say why they
# are skipped.
set(traces_python python3)
foreach(candidate "python3" "/usr/bin/python3" "/usr/bin/python3;-s")
  execute_process(COMMAND ${candidate} -c "import h5py" RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed)
    set(traces_python ${candidate})
    break()
  endif()
endforeach()

function(traces_python_test name)
  add_test(NAME ${name} COMMAND ${traces_python} ${ARGN})
  set_tests_properties(${name} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120)
endfunction()
set(traces_folder ${PROJECT_SOURCE_DIR}/traces)
traces_python_test(trace_schema ${traces_tests}/schema.py ${traces_folder}/README.md $<TARGET_FILE:trace_helper>)
traces_python_test(trace_percentiles ${traces_tests}/percentiles.py $<TARGET_FILE:trace_helper>)
traces_python_test(trace_readme ${traces_tests}/readme.py ${traces_folder}/README.md $<TARGET_FILE:tandem>
  $<TARGET_FILE:trace_helper>)
traces_python_test(trace_python ${traces_tests}/reader.py ${traces_folder}/python $<TARGET_FILE:tandem>
  $<TARGET_FILE:trace_helper>)
