# SPDX-License-Identifier: Apache-2.0
# One header, tandem_revision.h, says which revision this is; every build looks again, since commits come between
# configures. tandem_uses_revision(TARGET...) gives it to targets.
set(TANDEM_REVISION_FOLDER ${PROJECT_BINARY_DIR}/generated)
set(revision_command ${CMAKE_COMMAND} -D SOURCE=${PROJECT_SOURCE_DIR}
  -D HEADER=${TANDEM_REVISION_FOLDER}/tandem_revision.h -P ${CMAKE_CURRENT_LIST_DIR}/WriteRevision.cmake)
add_custom_target(tandem_revision COMMAND ${revision_command}
  BYPRODUCTS ${TANDEM_REVISION_FOLDER}/tandem_revision.h COMMENT "" VERBATIM)
execute_process(COMMAND ${revision_command}) # for tools that read the sources without a build

function(tandem_uses_revision)
  foreach(target ${ARGN})
    target_include_directories(${target} PRIVATE ${TANDEM_REVISION_FOLDER})
    add_dependencies(${target} tandem_revision)
  endforeach()
endfunction()
