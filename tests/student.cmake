# SPDX-License-Identifier: Apache-2.0
# The student's promise: a backend, a policy and a device file are each added by one copied file, nothing else edited.
# A whole build of its own, so only where it says something new.
if(NOT TANDEM_SANITIZE)
  foreach(part backend policy device)
    add_test(NAME student_${part} COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/student/student ${part}
      ${CMAKE_CURRENT_BINARY_DIR}/student WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
    set_tests_properties(student_${part} PROPERTIES SKIP_RETURN_CODE 77 TIMEOUT 600 LABELS student
      FIXTURES_REQUIRED student_build)
  endforeach()
  add_test(NAME student_build COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/student/student build
    ${CMAKE_CURRENT_BINARY_DIR}/student WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(student_build PROPERTIES TIMEOUT 600 LABELS student PROCESSORS 2 FIXTURES_SETUP student_build)
endif()
