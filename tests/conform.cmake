# SPDX-License-Identifier: Apache-2.0
# One test per registered backend, by the rule of backends/CMakeLists.txt: a new folder gets its test by being there.
file(GLOB backend_folders CONFIGURE_DEPENDS LIST_DIRECTORIES true ${PROJECT_SOURCE_DIR}/backends/*)
foreach(folder ${backend_folders})
  file(GLOB backend_sources CONFIGURE_DEPENDS ${folder}/*.c)
  if(NOT backend_sources OR EXISTS ${folder}/.ignore)
    continue()
  endif()
  cmake_path(GET folder FILENAME backend)
  add_test(NAME conform_${backend} COMMAND tandem conform ${backend})
  set_tests_properties(conform_${backend} PROPERTIES TIMEOUT 300 LABELS conform
    SKIP_REGULAR_EXPRESSION "has no device here")
endforeach()

tandem_test(conform_catches SOURCES ${CMAKE_CURRENT_LIST_DIR}/conformance/self/catches_test.c
  LINK tandem_conformance LABELS conform)
tandem_test(conform_overtakes SOURCES ${CMAKE_CURRENT_LIST_DIR}/conformance/self/overtakes_test.c
  LINK tandem_conformance LABELS conform)
tandem_test(cpu_exactness SOURCES ${CMAKE_CURRENT_LIST_DIR}/conformance/self/cpu_exactness_test.c
  LINK tandem_conformance LABELS conform)
tandem_test(op_check SOURCES ${CMAKE_CURRENT_LIST_DIR}/conformance/self/opcheck_test.c
  LINK tandem_conformance LABELS conform)
tandem_test(support_table SOURCES ${CMAKE_CURRENT_LIST_DIR}/conformance/self/support_table_test.c
  LINK tandem_conformance LABELS "conform;plain")
