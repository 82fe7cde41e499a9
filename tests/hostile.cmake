# SPDX-License-Identifier: Apache-2.0
# Spoiled model files: a one-line error or a correct read, in bounded time and memory.
set(hostile_sources hostile/victim.c model/gguf_builder.c)
tandem_test(hostile_gguf_fields SOURCES hostile/gguf_fields.c hostile/fields.c ${hostile_sources} LINK tandem_model
  LABELS hostile)
add_dependencies(hostile_gguf_fields tandem)
tandem_test(hostile_odd_files SOURCES hostile/odd_files.c ${hostile_sources} LINK tandem_model LABELS hostile)
add_dependencies(hostile_odd_files tandem)
