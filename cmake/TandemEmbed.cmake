# SPDX-License-Identifier: Apache-2.0
# Text files inside the binary. tandem_embed(TARGET NAME FILE...) gives TARGET a header NAME.h with, per file and in the
# order given, a row of
#   struct NAME_file { const char *name; const char *text; size_t bytes; };   text has a NUL behind its last byte
#   extern const struct NAME_file NAME_files[NAME_COUNT];
# name is the file's name without its folder. Editing a file rebuilds TARGET. Binary files work too.
set(TANDEM_EMBED_SCRIPT ${CMAKE_CURRENT_LIST_DIR}/WriteEmbedded.cmake)

function(tandem_embed target name)
  set(folder ${PROJECT_BINARY_DIR}/generated/${target})
  set(output ${folder}/${name}.c ${folder}/${name}.h)
  string(REPLACE ";" "|" list "${ARGN}") # a list does not survive as one argument
  add_custom_command(OUTPUT ${output}
    COMMAND ${CMAKE_COMMAND} -D NAME=${name} -D FOLDER=${folder} -D FILES=${list} -P ${TANDEM_EMBED_SCRIPT}
    DEPENDS ${ARGN} ${TANDEM_EMBED_SCRIPT} COMMENT "Embedding ${name}" VERBATIM)
  target_sources(${target} PRIVATE ${output})
  target_include_directories(${target} PRIVATE ${folder})
endfunction()
