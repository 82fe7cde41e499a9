/* SPDX-License-Identifier: Apache-2.0
 *
 * Schema 1 as data: the one place, beside the structs of tandem/trace.h, that knows the fields. The HDF5 types, the
 * attribute `units` of each data set, the reader's checks and the tables of README.md all follow from it.
 */
#ifndef TRACES_SCHEMA_H
#define TRACES_SCHEMA_H

#include <hdf5.h>
#include <stdbool.h>
#include <stdio.h>

#include "tandem/trace.h"

#define TD_SCHEMA_VERSION 1
#define TD_SCHEMA_PACES 2 /* of traces with the table `paces` */
#define TD_SCHEMA_TEXT "text"
#define TD_SCHEMA_RUN "run"

enum td_field_type { TD_FIELD_U32, TD_FIELD_I32, TD_FIELD_U64, TD_FIELD_I64, TD_FIELD_F64, TD_FIELD_TEXT };

struct td_field {
  const char *name;
  enum td_field_type type;
  bool later; /* traces made before lack it, and what stands behind it; they read as 0 */
  size_t offset, bytes;
  const char *unit;   /* "" for numbers and names without one */
  const char *what;   /* for README.md */
  const char *before; /* what older traces call it; NULL: always so */
};

/* Traces made before lack it; or those of runs without orchestrators, or without pipeline stages. */
enum td_presence { TD_IN_EACH, TD_NOT_IN_OLDER, TD_WITH_TOOLS, TD_WITH_PACES };

struct td_table_schema {
  const char *name;
  size_t row_bytes;
  hsize_t chunk_rows;
  const struct td_field *fields;
  int32_t field_count;
  enum td_presence presence;
  const char *what;
};
extern const struct td_table_schema td_schema[TD_TABLE_COUNT];

/* The compound type of a row: as stored (little-endian) or in this machine's memory. Negative on failure. */
hid_t td_schema_file_type(const struct td_table_schema *table);
/* `file`: the type that is read, whose older names it then has, and only its fields; -1: none. */
hid_t td_schema_memory_type(const struct td_table_schema *table, hid_t file);
/* What a file's rows call this field, its older name if only that is there. */
const char *td_schema_name_in(const struct td_field *field, hid_t file);
/* A fixed-length UTF-8 string type. */
hid_t td_schema_text_type(size_t bytes);
/* "uint32", "text[32]", ... as README.md writes it. */
void td_schema_type_name(const struct td_field *field, char *out, size_t size);
/* The tables of README.md. */
void td_schema_markdown(FILE *out);

#endif
