# SPDX-License-Identifier: Apache-2.0
set(config_libraries tandem_config tandem_cost tandem_model tandem_kernels tandem_base)
foreach(topic mistakes set print limits)
  tandem_test(config_${topic} SOURCES ${CMAKE_CURRENT_LIST_DIR}/config/${topic}_test.c LINK ${config_libraries})
endforeach()

# The reference of every key is what the program prints.
add_test(NAME config_docs_current COMMAND sh -c
  "'$<TARGET_FILE:tandem>' check --help-keys | diff - '${PROJECT_SOURCE_DIR}/docs/configs.md'")
tandem_test(config_check SOURCES ${CMAKE_CURRENT_LIST_DIR}/config/check_test.c)
add_dependencies(config_check tandem)
