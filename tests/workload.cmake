# SPDX-License-Identifier: Apache-2.0
set(workload_libraries tandem_workload tandem_config tandem_cost tandem_model tandem_kernels tandem_base)
file(GLOB workload_tests CONFIGURE_DEPENDS ${CMAKE_CURRENT_LIST_DIR}/workload/*_test.c)
foreach(source ${workload_tests})
  get_filename_component(topic ${source} NAME_WE)
  string(REPLACE "_test" "" topic ${topic})
  tandem_test(workload_${topic} SOURCES ${source} LINK ${workload_libraries} ZLIB::ZLIB)
endforeach()

# How many jobs a second: by hand, not a test.
add_executable(workload_speed EXCLUDE_FROM_ALL ${CMAKE_CURRENT_LIST_DIR}/bench/workload_speed.c)
target_include_directories(workload_speed PRIVATE ${CMAKE_CURRENT_LIST_DIR})
target_link_libraries(workload_speed PRIVATE ${workload_libraries} tandem_api PkgConfig::CMOCKA)
