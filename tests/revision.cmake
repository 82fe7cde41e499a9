# SPDX-License-Identifier: Apache-2.0
# A small project with cmake/TandemRevision.cmake, built before and after commits. It says the same in every build.
if(NOT TANDEM_SANITIZE)
  add_test(NAME revision COMMAND ${CMAKE_CURRENT_LIST_DIR}/revision/revision ${PROJECT_SOURCE_DIR}/cmake)
  set_tests_properties(revision PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 120)
endif()
