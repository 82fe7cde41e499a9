/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads a trace into memory. The file may come from anywhere: every type, length and count is compared with the schema
 * and with the file's size before memory is taken for it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "check.h"
#include "index.h"
#include "paces.h"
#include "probe.h"
#include "quiet.h"
#include "reader.h"
#include "schema.h"

struct reader {
  const char *path;
  uint64_t file_bytes;
  hid_t file, run;
  struct td_trace *trace;
};

static td_status corrupt(const struct reader *reader, const char *what, const char *name, const char *problem) {
  return td_fail(TD_CORRUPT, "trace %s: %s %s %s", reader->path, what, name, problem);
}

/* ---- the file ---- */

static td_status check_signature(const char *path, uint64_t *out_bytes) {
  static const unsigned char signature[8] = {0x89, 'H', 'D', 'F', '\r', '\n', 0x1a, '\n'};
  unsigned char begin[8] = {0};
  struct stat info;
  int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0)
    return td_fail(errno == ENOENT ? TD_NOT_FOUND : TD_IO, "trace %s: cannot open: %s", path, strerror(errno));
  ssize_t got = fstat(fd, &info) ? -1 : S_ISREG(info.st_mode) ? pread(fd, begin, sizeof begin, 0) : -2;
  int code = errno;
  close(fd);
  if (got == -2) return td_fail(TD_IO, "trace %s: not a regular file", path);
  if (got < 0) return td_fail(TD_IO, "trace %s: cannot read: %s", path, strerror(code));
  if (memcmp(begin, signature, sizeof signature)) {
    return td_fail(TD_CORRUPT, "trace %s: not an HDF5 file (its first 8 bytes are not HDF5's signature)", path);
  }
  *out_bytes = (uint64_t)info.st_size;
  return TD_OK;
}

static td_status open_file(struct reader *reader) {
  hid_t access = H5Pcreate(H5P_FILE_ACCESS);
  if (access >= 0 && H5Pset_fclose_degree(access, H5F_CLOSE_STRONG) >= 0) {
    reader->file = H5Fopen(reader->path, H5F_ACC_RDONLY, access);
  }
  if (access >= 0) H5Pclose(access);
  if (reader->file >= 0) return TD_OK;
  char reason[256];
  td_hdf5_reason(reason, sizeof reason);
  return td_fail(TD_CORRUPT, "trace %s: HDF5 cannot open it: %s", reader->path, reason);
}

/* A link that leaves the file could make a trace read something else. */
static td_status check_link(const struct reader *reader, const char *name) {
  H5L_info_t info;
  if (H5Lget_info(reader->file, name, &info, H5P_DEFAULT) < 0) return corrupt(reader, "object", name, "is missing");
  if (info.type != H5L_TYPE_HARD) return corrupt(reader, "object", name, "is a link, expected the object itself");
  return TD_OK;
}

/* ---- attributes of /run ---- */

static td_status open_attribute(const struct reader *reader, const char *name, hid_t *out_attribute, hid_t *out_type) {
  if (H5Aexists(reader->run, name) <= 0) return corrupt(reader, "attribute", name, "of run is missing");
  hid_t attribute = H5Aopen(reader->run, name, H5P_DEFAULT);
  hid_t space = attribute < 0 ? -1 : H5Aget_space(attribute), type = attribute < 0 ? -1 : H5Aget_type(attribute);
  hssize_t points = space < 0 ? -1 : H5Sget_simple_extent_npoints(space);
  if (space >= 0) H5Sclose(space);
  if (points == 1 && type >= 0) {
    *out_attribute = attribute;
    *out_type = type;
    return TD_OK;
  }
  if (type >= 0) H5Tclose(type);
  if (attribute >= 0) H5Aclose(attribute);
  return corrupt(reader, "attribute", name, "of run is not one value");
}

static td_status read_number(const struct reader *reader, const char *name, uint64_t *out) {
  hid_t attribute, type;
  TD_TRY(open_attribute(reader, name, &attribute, &type));
  herr_t done = -1;
  if (H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) <= 8) done = H5Aread(attribute, H5T_NATIVE_UINT64, out);
  H5Tclose(type);
  H5Aclose(attribute);
  return done < 0 ? corrupt(reader, "attribute", name, "of run is not a whole number") : TD_OK;
}

/* Appends a fixed-length text to *text. */
static td_status read_text(const struct reader *reader, const char *name, struct td_text *text) {
  hid_t attribute, type;
  TD_TRY(open_attribute(reader, name, &attribute, &type));
  size_t bytes = H5Tget_class(type) == H5T_STRING && H5Tis_variable_str(type) == 0 ? H5Tget_size(type) : 0;
  char *data = NULL;
  herr_t done = -1;
  td_status status = TD_OK;
  if (bytes && bytes <= reader->file_bytes) {
    status = td_alloc(bytes + 1, 1, (void **)&data);
    if (!status) done = H5Aread(attribute, type, data);
  }
  if (done >= 0) td_text_add(text, data, strlen(data));
  free(data);
  H5Tclose(type);
  H5Aclose(attribute);
  return status || done >= 0 ? status : corrupt(reader, "attribute", name, "of run is not a fixed-length text");
}

static td_status take_text(struct td_text *text, char **out) {
  td_text_add(text, "", 0);
  if (text->failed) {
    td_text_free(text);
    return td_fail(TD_NO_MEMORY, "trace: no memory for the attributes of run");
  }
  if (!text->data) return td_copy_text("", out);
  *out = text->data;
  return TD_OK;
}

static td_status read_line(const struct reader *reader, const char *name, char **out) {
  struct td_text text = {0};
  td_status status = read_text(reader, name, &text);
  if (!status) return take_text(&text, out);
  td_text_free(&text);
  return status;
}

/* config, config.1, config.2, ...: together not longer than the file. */
static td_status read_config(const struct reader *reader, char **out) {
  struct td_text text = {0};
  char name[32] = "config";
  td_status status = TD_OK;
  for (int piece = 1; !status; piece++) {
    status = read_text(reader, name, &text);
    snprintf(name, sizeof name, "config.%d", piece);
    if (H5Aexists(reader->run, name) <= 0) break;
  }
  if (!status) return take_text(&text, out);
  td_text_free(&text);
  return status;
}

/* Traces made before runs had one lack it: 0. */
static td_status read_real(const struct reader *reader, const char *name, double *out) {
  hid_t attribute, type;
  if (H5Aexists(reader->run, name) == 0) return TD_OK;
  TD_TRY(open_attribute(reader, name, &attribute, &type));
  herr_t done = -1;
  if (H5Tget_class(type) == H5T_FLOAT && H5Tget_size(type) == 8) done = H5Aread(attribute, H5T_NATIVE_DOUBLE, out);
  H5Tclose(type);
  H5Aclose(attribute);
  return done < 0 || !(*out >= 0) ? corrupt(reader, "attribute", name, "of run is not a time") : TD_OK;
}

static td_status read_run(struct reader *reader) {
  struct td_trace *trace = reader->trace;
  uint64_t schema = 0, complete = 0;
  TD_TRY(check_link(reader, TD_SCHEMA_RUN));
  reader->run = H5Gopen2(reader->file, TD_SCHEMA_RUN, H5P_DEFAULT);
  if (reader->run < 0) return corrupt(reader, "object", TD_SCHEMA_RUN, "is not a group");
  TD_TRY(read_number(reader, "schema", &schema));
  bool paced = schema == TD_SCHEMA_PACES && H5Lexists(reader->file, td_schema[TD_TABLE_PACES].name, H5P_DEFAULT) > 0;
  if (schema != TD_SCHEMA_VERSION && !paced) {
    return td_fail(TD_UNSUPPORTED, "trace %s: schema %" PRIu64 ", this program reads schema %d, and %d with a table %s",
                   reader->path, schema, TD_SCHEMA_VERSION, TD_SCHEMA_PACES, td_schema[TD_TABLE_PACES].name);
  }
  TD_TRY(read_number(reader, "complete", &complete));
  if (complete > 1) return corrupt(reader, "attribute", "complete", "of run is neither 0 nor 1");
  trace->complete = complete == 1;
  TD_TRY(read_line(reader, "reason", &trace->reason));
  TD_TRY(read_line(reader, "experiment", &trace->experiment));
  TD_TRY(read_line(reader, "model", &trace->model));
  TD_TRY(read_line(reader, "pace", &trace->pace));
  TD_TRY(read_line(reader, "policy", &trace->policy));
  if (H5Aexists(reader->run, "awake") > 0) TD_TRY(read_line(reader, "awake", &trace->awake));
  TD_TRY(read_real(reader, "slo_ttft", &trace->slo_ttft));
  TD_TRY(read_real(reader, "slo_tpot", &trace->slo_tpot));
  return read_config(reader, &trace->config);
}

/* ---- data sets ---- */

static bool scalar_fits(hid_t type, const struct td_field *field) {
  H5T_class_t class = H5Tget_class(type);
  if (H5Tget_size(type) != field->bytes) return false;
  if (field->type != TD_FIELD_TEXT && (H5Tget_precision(type) != 8 * field->bytes || H5Tget_offset(type) != 0))
    return false;
  switch (field->type) {
    case TD_FIELD_U32:
    case TD_FIELD_U64:
      return class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_NONE;
    case TD_FIELD_I32:
    case TD_FIELD_I64:
      return class == H5T_INTEGER && H5Tget_sign(type) == H5T_SGN_2;
    case TD_FIELD_F64:
      return class == H5T_FLOAT;
    case TD_FIELD_TEXT:
      return class == H5T_STRING && H5Tis_variable_str(type) == 0;
  }
  return false;
}

static td_status check_field(const struct reader *reader, const struct td_table_schema *table, hid_t type,
                             const struct td_field *field) {
  int at = H5Tget_member_index(type, td_schema_name_in(field, type));
  hid_t member = at < 0 ? -1 : H5Tget_member_type(type, (unsigned)at);
  /* HDF5 1.10 believes whatever offsets a file gives and would copy from outside of the row. */
  bool fits = member >= 0 && scalar_fits(member, field) && H5Tget_member_offset(type, (unsigned)at) == field->offset;
  if (member >= 0) H5Tclose(member);
  if (fits) return TD_OK;
  char expected[32];
  td_schema_type_name(field, expected, sizeof expected);
  return td_fail(TD_CORRUPT, "trace %s: field %s of table %s is %s, expected %s", reader->path, field->name,
                 table->name, at < 0 ? "missing" : "of another type or place", expected);
}

/* How many of a table's fields a file's rows have: the later ones may all be missing. */
static int32_t fields_in(const struct td_table_schema *table, hid_t type) {
  int32_t count = 0;
  while (count < table->field_count &&
         (!table->fields[count].later || H5Tget_member_index(type, table->fields[count].name) >= 0)) {
    count++;
  }
  return count;
}

static td_status check_row_type(const struct reader *reader, const struct td_table_schema *table, hid_t type) {
  if (H5Tget_class(type) != H5T_COMPOUND) return corrupt(reader, "table", table->name, "does not hold records");
  int32_t count = fields_in(table, type);
  size_t bytes = count < table->field_count ? table->fields[count].offset : table->row_bytes;
  for (int32_t i = 0; i < count; i++) TD_TRY(check_field(reader, table, type, &table->fields[i]));
  if (H5Tget_nmembers(type) == count && H5Tget_size(type) == bytes) return TD_OK;
  return td_fail(TD_CORRUPT, "trace %s: table %s has %d fields in rows of %zu bytes, expected %d in %zu", reader->path,
                 table->name, H5Tget_nmembers(type), H5Tget_size(type), count, bytes);
}

/* HDF5 leaves whatever it likes where a file's rows have nothing. */
static void clear_later(const struct td_table_schema *table, hid_t type, uint64_t count, char *rows) {
  int32_t fields = fields_in(table, type);
  if (fields == table->field_count) return;
  size_t from = table->fields[fields].offset;
  for (uint64_t i = 0; i < count; i++) memset(rows + i * table->row_bytes + from, 0, table->row_bytes - from);
}

/* Filters could hide gigabytes in a small file, external and virtual storage could read others. */
static td_status check_storage(const struct reader *reader, const char *name, hid_t dataset) {
  hid_t create = H5Dget_create_plist(dataset);
  if (create < 0) return corrupt(reader, "data set", name, "has no readable properties");
  H5D_layout_t layout = H5Pget_layout(create);
  bool plain = H5Pget_nfilters(create) == 0 && H5Pget_external_count(create) == 0 &&
               (layout == H5D_CHUNKED || layout == H5D_CONTIGUOUS || layout == H5D_COMPACT);
  H5Pclose(create);
  return plain ? TD_OK
               : corrupt(reader, "data set", name, "is filtered, external or virtual; schema 1 is none of these");
}

static td_status count_rows(const struct reader *reader, const char *name, hid_t dataset, size_t row_bytes,
                            uint64_t *out_count) {
  hsize_t rows = 0;
  hid_t space = H5Dget_space(dataset);
  int rank = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
  if (rank == 1 && H5Sget_simple_extent_dims(space, &rows, NULL) < 0) rank = -1;
  if (space >= 0) H5Sclose(space);
  if (rank != 1) return corrupt(reader, "data set", name, "is not one-dimensional");
  if (rows > reader->file_bytes / row_bytes) {
    return td_fail(TD_CORRUPT,
                   "trace %s: data set %s claims %" PRIu64 " rows of %zu bytes in a file of %" PRIu64 " bytes",
                   reader->path, name, (uint64_t)rows, row_bytes, reader->file_bytes);
  }
  *out_count = rows;
  return TD_OK;
}

static td_status open_dataset(const struct reader *reader, const char *name, hid_t *out_dataset) {
  TD_TRY(check_link(reader, name));
  hid_t dataset = H5Dopen2(reader->file, name, H5P_DEFAULT);
  if (dataset < 0) return corrupt(reader, "object", name, "is not a data set");
  td_status status = check_storage(reader, name, dataset);
  if (status) {
    H5Dclose(dataset);
  } else {
    *out_dataset = dataset;
  }
  return status;
}

static td_status read_rows(const struct reader *reader, const char *name, hid_t dataset, hid_t memory, size_t row_bytes,
                           uint64_t *out_count, void **out_rows) {
  uint64_t count = 0;
  void *rows = NULL;
  TD_TRY(count_rows(reader, name, dataset, row_bytes, &count));
  TD_TRY(td_alloc(count ? count : 1, row_bytes, &rows));
  if (count && H5Dread(dataset, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, rows) < 0) {
    char reason[256];
    td_hdf5_reason(reason, sizeof reason);
    free(rows);
    return td_fail(TD_CORRUPT, "trace %s: cannot read data set %s: %s", reader->path, name, reason);
  }
  *out_count = count;
  *out_rows = rows;
  return TD_OK;
}

static td_status read_table(const struct reader *reader, enum td_table which) {
  void **out_rows = td_schema_rows(reader->trace, which);
  const struct td_table_schema *table = &td_schema[which];
  hid_t dataset = -1;
  bool lacking = table->presence != TD_IN_EACH && H5Lexists(reader->file, table->name, H5P_DEFAULT) == 0;
  if (lacking) return td_alloc(1, 1, out_rows);
  TD_TRY(open_dataset(reader, table->name, &dataset));
  hid_t type = H5Dget_type(dataset), memory = td_schema_memory_type(table, type);
  td_status status = type < 0 || memory < 0 ? corrupt(reader, "table", table->name, "has no readable type") : TD_OK;
  if (!status) status = check_row_type(reader, table, type);
  if (!status) {
    status = read_rows(reader, table->name, dataset, memory, table->row_bytes, &reader->trace->count[which], out_rows);
  }
  if (!status) clear_later(table, type, reader->trace->count[which], *out_rows);
  if (memory >= 0) H5Tclose(memory);
  if (type >= 0) H5Tclose(type);
  H5Dclose(dataset);
  return status;
}

static td_status read_text_dataset(const struct reader *reader) {
  hid_t dataset = -1;
  TD_TRY(open_dataset(reader, TD_SCHEMA_TEXT, &dataset));
  hid_t type = H5Dget_type(dataset);
  bool bytes = type >= 0 && H5Tget_class(type) == H5T_INTEGER && H5Tget_size(type) == 1;
  if (type >= 0) H5Tclose(type);
  td_status status = bytes ? TD_OK : corrupt(reader, "data set", TD_SCHEMA_TEXT, "does not hold bytes");
  if (!status) {
    status = read_rows(reader, TD_SCHEMA_TEXT, dataset, H5T_NATIVE_UINT8, 1, &reader->trace->text_bytes,
                       (void **)&reader->trace->text);
  }
  H5Dclose(dataset);
  return status;
}

static td_status read_file(struct reader *reader) {
  td_status status = open_file(reader);
  if (!status) status = read_run(reader);
  if (!status) status = read_text_dataset(reader);
  for (int t = 0; t < TD_TABLE_COUNT && !status; t++) status = read_table(reader, (enum td_table)t);
  if (reader->run >= 0) H5Gclose(reader->run);
  if (reader->file >= 0) H5Fclose(reader->file);
  reader->run = reader->file = -1;
  return status;
}

static td_status try_file(void *reader) {
  return read_file(reader);
}

static td_status read_all(struct reader *reader) {
  TD_TRY(check_signature(reader->path, &reader->file_bytes));
  TD_TRY(td_probe(reader->path, reader->file_bytes, try_file, reader));
  TD_TRY(read_file(reader));
  TD_TRY(td_paces_apply(reader->trace, reader->path));
  TD_TRY(td_check_rows(reader->trace, reader->path));
  TD_TRY(td_index_build(reader->trace));
  return td_check_order(reader->trace, reader->path);
}

td_status td_read_trace(const char *path, struct td_trace **out_trace) {
  struct reader reader = {.path = path, .file = -1, .run = -1};
  td_hdf5_quiet();
  TD_TRY(td_alloc(1, sizeof *reader.trace, (void **)&reader.trace));
  td_status status = read_all(&reader);
  if (status) {
    td_trace_free(reader.trace);
    return status;
  }
  *out_trace = reader.trace;
  return TD_OK;
}

void td_trace_free(struct td_trace *trace) {
  if (!trace) return;
  void *const parts[] = {trace->config, trace->experiment, trace->model,  trace->pace,
                         trace->policy, trace->awake,      trace->reason, trace->text};
  for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) free(parts[i]);
  for (int t = 0; t < TD_TABLE_COUNT; t++) free(*td_schema_rows(trace, (enum td_table)t));
  td_index_free(trace->index);
  free(trace);
}
