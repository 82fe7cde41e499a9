/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows wait in memory; about once a second all of them go to HDF5 and the file is committed (part.h says why that is
 * safe against kills and full disks).
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "part.h"
#include "quiet.h"
#include "run_group.h"
#include "schema.h"

#define FLUSH_PS (TD_PS_PER_SECOND / 2) /* half of what is promised: a caller may be late by as much */
#define FLUSH_BYTES (32u << 20)         /* waiting rows never hold much more than this */
#define TEXT_CHUNK (64 * 1024)

struct dataset {
  hid_t id, memory_type;
  size_t row_bytes;
  char *rows; /* waiting */
  size_t waiting, capacity;
  uint64_t written;
};

struct td_trace_writer {
  char *path, *part_path;
  struct td_part *part;
  hid_t file, run;
  struct dataset tables[TD_TABLE_COUNT + 1]; /* the last is `text` */
  size_t waiting_bytes;
  int64_t flushed;
  char *failure; /* the first one, repeated by every later call */
};

static struct dataset *text_of(struct td_trace_writer *writer) {
  return &writer->tables[TD_TABLE_COUNT];
}

static td_status hdf5_error(const struct td_trace_writer *writer, const char *what) {
  char reason[256];
  td_hdf5_reason(reason, sizeof reason);
  return td_fail(TD_IO, "trace %s: HDF5 cannot %s: %s", writer->part_path, what, reason);
}

/* ---- creation ---- */

/* One unit per field, in the order of the fields. */
static herr_t write_units(hid_t dataset, const struct td_table_schema *table) {
  enum { UNIT_BYTES = 8 };
  char units[32][UNIT_BYTES] = {{0}};
  hsize_t count = (hsize_t)table->field_count;
  for (int32_t i = 0; i < table->field_count; i++) snprintf(units[i], UNIT_BYTES, "%s", table->fields[i].unit);
  hid_t type = td_schema_text_type(UNIT_BYTES), space = H5Screate_simple(1, &count, NULL);
  hid_t attribute = H5Acreate2(dataset, "units", type, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t done = attribute < 0 ? -1 : H5Awrite(attribute, type, units);
  if (attribute >= 0) H5Aclose(attribute);
  H5Sclose(space);
  H5Tclose(type);
  return done;
}

static hid_t create_dataset(hid_t file, const char *name, hid_t type, size_t row_bytes, hsize_t chunk) {
  hsize_t none = 0, unlimited = H5S_UNLIMITED;
  hid_t space = H5Screate_simple(1, &none, &unlimited);
  hid_t create = H5Pcreate(H5P_DATASET_CREATE), access = H5Pcreate(H5P_DATASET_ACCESS);
  hid_t dataset = -1;
  if (H5Pset_chunk(create, 1, &chunk) >= 0 && H5Pset_obj_track_times(create, 0) >= 0 &&
      H5Pset_chunk_cache(access, 7, 2 * chunk * row_bytes, 1) >= 0) {
    dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, access);
  }
  H5Pclose(access);
  H5Pclose(create);
  H5Sclose(space);
  return dataset;
}

static td_status create_table(struct td_trace_writer *writer, const struct td_table_schema *table,
                              struct dataset *out) {
  hid_t type = td_schema_file_type(table);
  out->row_bytes = table->row_bytes;
  out->memory_type = td_schema_memory_type(table, -1);
  out->id = type < 0 ? -1 : create_dataset(writer->file, table->name, type, table->row_bytes, table->chunk_rows);
  if (type >= 0) H5Tclose(type);
  if (out->id < 0 || out->memory_type < 0 || write_units(out->id, table) < 0)
    return hdf5_error(writer, "create a table");
  return TD_OK;
}

static td_status create_objects(struct td_trace_writer *writer, const struct td_trace_run *run) {
  writer->run = td_run_create(writer->file, run);
  if (writer->run < 0) return hdf5_error(writer, "create the group run");
  for (int t = 0; t < TD_TABLE_COUNT; t++) TD_TRY(create_table(writer, &td_schema[t], &writer->tables[t]));
  struct dataset *text = text_of(writer);
  text->row_bytes = 1;
  text->memory_type = H5Tcopy(H5T_NATIVE_UINT8);
  text->id = create_dataset(writer->file, TD_SCHEMA_TEXT, H5T_STD_U8LE, 1, TEXT_CHUNK);
  if (text->id < 0 || text->memory_type < 0) return hdf5_error(writer, "create the data set text");
  return TD_OK;
}

static td_status open_file(struct td_trace_writer *writer) {
  hid_t create = H5Pcreate(H5P_FILE_CREATE), access = td_part_access(writer->part);
  writer->file = access < 0 ? -1 : H5Fcreate(writer->part_path, H5F_ACC_TRUNC, create, access);
  if (access >= 0) H5Pclose(access);
  if (create >= 0) H5Pclose(create);
  return writer->file < 0 ? hdf5_error(writer, "create the file") : TD_OK;
}

static td_status make_path(const char *path, const char *ending, char **out) {
  struct td_text text = {0};
  td_text_printf(&text, "%s%s", path, ending);
  if (text.failed) {
    td_text_free(&text);
    return td_fail(TD_NO_MEMORY, "trace %s: no memory for the path", path);
  }
  *out = text.data;
  return TD_OK;
}

/* Everything is made under another name first: a part file that exists can be opened. */
static td_status create_part(struct td_trace_writer *writer, const char *fresh, const struct td_trace_run *run) {
  if (unlink(fresh) && errno != ENOENT) return td_fail(TD_IO, "trace %s: cannot replace: %s", fresh, strerror(errno));
  TD_TRY(td_part_create(fresh, &writer->part));
  td_status status = open_file(writer);
  if (!status) status = create_objects(writer, run);
  if (!status && H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0) status = hdf5_error(writer, "flush");
  if (!status) status = td_part_commit(writer->part);
  if (!status && rename(fresh, writer->part_path)) {
    status = td_fail(TD_IO, "trace %s: cannot create: %s", writer->part_path, strerror(errno));
  }
  if (status) unlink(fresh);
  return status ? status : td_part_rename(writer->part, writer->part_path);
}

/* Closes what HDF5 holds; the part, if any, gets HDF5's last writes in memory only. */
static herr_t close_objects(struct td_trace_writer *writer) {
  for (int t = 0; t <= TD_TABLE_COUNT; t++) {
    struct dataset *table = &writer->tables[t];
    if (table->memory_type > 0) H5Tclose(table->memory_type);
    if (table->id > 0) H5Dclose(table->id);
    table->id = table->memory_type = 0;
  }
  if (writer->run > 0) H5Gclose(writer->run);
  herr_t done = writer->file > 0 ? H5Fclose(writer->file) : 0;
  writer->run = writer->file = 0;
  return done;
}

static void free_writer(struct td_trace_writer *writer) {
  close_objects(writer);
  td_part_free(writer->part);
  for (int t = 0; t <= TD_TABLE_COUNT; t++) free(writer->tables[t].rows);
  free(writer->failure);
  free(writer->path);
  free(writer->part_path);
  free(writer);
}

td_status td_trace_create(const char *path, const struct td_trace_run *run, struct td_trace_writer **out_writer) {
  struct td_trace_writer *writer = NULL;
  char *fresh = NULL;
  td_hdf5_quiet();
  TD_TRY(td_check_output(path));
  TD_TRY(td_alloc(1, sizeof *writer, (void **)&writer));
  td_status status = td_copy_text(path, &writer->path);
  if (!status) status = make_path(path, ".part", &writer->part_path);
  if (!status) status = make_path(path, ".part.new", &fresh);
  if (!status) status = create_part(writer, fresh, run);
  free(fresh);
  if (status) {
    free_writer(writer);
    return status;
  }
  writer->flushed = td_now_ps();
  *out_writer = writer;
  return TD_OK;
}

/* ---- rows ---- */

static td_status write_table(struct td_trace_writer *writer, struct dataset *table) {
  if (!table->waiting) return TD_OK;
  hsize_t begin = table->written, count = table->waiting, total = begin + count;
  hid_t memory = -1, file = -1;
  herr_t done = H5Dset_extent(table->id, &total);
  if (done >= 0) {
    memory = H5Screate_simple(1, &count, NULL);
    file = H5Dget_space(table->id);
    done = H5Sselect_hyperslab(file, H5S_SELECT_SET, &begin, NULL, &count, NULL);
  }
  if (done >= 0) done = H5Dwrite(table->id, table->memory_type, memory, file, H5P_DEFAULT, table->rows);
  if (memory >= 0) H5Sclose(memory);
  if (file >= 0) H5Sclose(file);
  if (done < 0) return hdf5_error(writer, "write rows");
  table->written = total;
  table->waiting = 0;
  return TD_OK;
}

static td_status write_waiting(struct td_trace_writer *writer) {
  for (int t = 0; t <= TD_TABLE_COUNT; t++) TD_TRY(write_table(writer, &writer->tables[t]));
  writer->waiting_bytes = 0;
  return TD_OK;
}

static td_status flush(struct td_trace_writer *writer) {
  td_status status = write_waiting(writer);
  if (!status && H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0) status = hdf5_error(writer, "flush");
  if (!status) status = td_part_commit(writer->part);
  if (status && td_copy_text(td_error_text(), &writer->failure)) writer->failure = NULL;
  writer->flushed = td_now_ps();
  return status;
}

td_status td_trace_tick(struct td_trace_writer *writer) {
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  if (!writer->waiting_bytes) return TD_OK;
  if (writer->waiting_bytes < FLUSH_BYTES && td_now_ps() - writer->flushed < FLUSH_PS) return TD_OK;
  return flush(writer);
}

static td_status add_rows(struct td_trace_writer *writer, struct dataset *table, const void *rows, size_t count) {
  size_t size = table->row_bytes;
  TD_TRY(td_grow((void **)&table->rows, &table->capacity, table->waiting + count, size));
  memcpy(table->rows + table->waiting * size, rows, count * size);
  table->waiting += count;
  writer->waiting_bytes += count * size;
  return TD_OK;
}

/* Bytes behind a text's end are zeroed, so that equal runs give equal bytes. */
static td_status clean_texts(const struct td_table_schema *table, char *row) {
  for (int32_t i = 0; i < table->field_count; i++) {
    const struct td_field *field = &table->fields[i];
    if (field->type != TD_FIELD_TEXT) continue;
    char *text = row + field->offset, *end = memchr(text, 0, field->bytes);
    if (!end) return td_fail(TD_INTERNAL, "trace: %s.%s has no end", table->name, field->name);
    memset(end, 0, field->bytes - (size_t)(end - text));
  }
  return TD_OK;
}

td_status td_trace_append(struct td_trace_writer *writer, enum td_table which, const void *rows, size_t count) {
  struct dataset *table = &writer->tables[which];
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  if (!count) return TD_OK;
  TD_TRY(add_rows(writer, table, rows, count));
  for (size_t i = table->waiting - count; i < table->waiting; i++) {
    td_status status = clean_texts(&td_schema[which], table->rows + i * table->row_bytes);
    if (!status) continue;
    table->waiting -= count;
    return status;
  }
  return td_trace_tick(writer);
}

td_status td_trace_text(struct td_trace_writer *writer, const char *bytes, size_t count, uint64_t *out_offset) {
  struct dataset *text = text_of(writer);
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  uint64_t offset = text->written + text->waiting;
  if (count) TD_TRY(add_rows(writer, text, bytes, count));
  *out_offset = offset;
  return TD_OK; /* the row that points here comes next, and flushes both */
}

/* ---- the end ---- */

static td_status complete(struct td_trace_writer *writer) {
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  TD_TRY(flush(writer));
  if (td_run_close(writer->run, 1, "") < 0) return hdf5_error(writer, "mark the run complete");
  if (close_objects(writer) < 0) return hdf5_error(writer, "close the file");
  TD_TRY(td_part_commit(writer->part));
  if (!td_part_is(writer->part, writer->part_path)) {
    return td_fail(TD_IO, "trace %s: replaced or removed by somebody else during the run", writer->part_path);
  }
  if (rename(writer->part_path, writer->path)) {
    return td_fail(TD_IO, "trace %s: cannot rename to %s: %s", writer->part_path, writer->path, strerror(errno));
  }
  return TD_OK;
}

td_status td_trace_finish(struct td_trace_writer *writer) {
  td_status status = complete(writer);
  free_writer(writer);
  return status;
}

void td_trace_abandon(struct td_trace_writer *writer, const char *reason) {
  if (!writer) return;
  /* The run has failed already and its error is the one to report: what still can be saved is saved. */
  char error[1024], why[TD_REASON_BYTES]; /* `reason` may be the error text itself */
  snprintf(error, sizeof error, "%s", td_error_text());
  snprintf(why, sizeof why, "%s", reason ? reason : "");
  if (!write_waiting(writer) && td_run_close(writer->run, 0, why) >= 0 && close_objects(writer) >= 0) {
    (void)td_part_commit(writer->part);
  }
  free_writer(writer);
  if (*error) (void)td_fail(TD_ABORTED, "%s", error);
}
