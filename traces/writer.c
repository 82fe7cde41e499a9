/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows wait in memory until they fill a chunk; twice a second all that wait go to HDF5 and the file is committed
 * (part.h says why that is safe against kills and full disks). A fast simulation appends millions of rows per second,
 * so a row costs a copy and a look at the clock, and HDF5 sees whole chunks, which it passes on without a copy.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "part.h"
#include "quiet.h"
#include "run_group.h"
#include "schema.h"

#define FLUSH_PS (TD_PS_PER_SECOND / 2) /* half of what is promised: a caller may be late by as much */
#define TEXT_CHUNK (64 * 1024)

/* Where a row holds a text. */
struct text_place {
  size_t offset, bytes;
  const char *name;
};
enum { TEXTS_MAX = 4 };

struct dataset {
  hid_t id, memory_type;
  const char *name;
  size_t row_bytes, chunk_rows;
  char *rows;     /* waiting: of one chunk, from row `written` on */
  size_t waiting; /* less than `room` */
  size_t room;    /* rows from `written` to the end of its chunk */
  uint64_t written;
  struct text_place texts[TEXTS_MAX];
  int32_t text_count;
};

struct td_trace_writer {
  char *path, *part_path;
  struct td_part *part;
  hid_t file, run;
  struct dataset tables[TD_TABLE_COUNT + 1]; /* the last is `text` */
  bool dirty;                                /* something was appended since the last flush */
  int64_t flushed;
  char *failure; /* the first one, repeated by every later call */
};

static struct dataset *text_of(struct td_trace_writer *writer) {
  return &writer->tables[TD_TABLE_COUNT];
}

/* A few milliseconds coarse, and several times as cheap as td_now_ps: every row asks. */
static int64_t coarse_now_ps(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return (int64_t)now.tv_sec * TD_PS_PER_SECOND + (int64_t)now.tv_nsec * TD_PS_PER_NS;
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

/* Without a chunk cache and without fill values HDF5 hands the rows to the part file as they are. */
static hid_t create_dataset(hid_t file, const char *name, hid_t type, hsize_t chunk) {
  hsize_t none = 0, unlimited = H5S_UNLIMITED;
  hid_t space = H5Screate_simple(1, &none, &unlimited);
  hid_t create = H5Pcreate(H5P_DATASET_CREATE), access = H5Pcreate(H5P_DATASET_ACCESS);
  hid_t dataset = -1;
  if (H5Pset_chunk(create, 1, &chunk) >= 0 && H5Pset_obj_track_times(create, 0) >= 0 &&
      H5Pset_fill_time(create, H5D_FILL_TIME_NEVER) >= 0 && H5Pset_chunk_cache(access, 0, 0, 1) >= 0) {
    dataset = H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, access);
  }
  H5Pclose(access);
  H5Pclose(create);
  H5Sclose(space);
  return dataset;
}

static td_status make_room(struct dataset *out, const char *name, size_t row_bytes, size_t chunk_rows) {
  out->name = name;
  out->row_bytes = row_bytes;
  out->chunk_rows = out->room = chunk_rows;
  return td_alloc_lines(chunk_rows, row_bytes, (void **)&out->rows); /* whole pages: part.h */
}

static void note_texts(const struct td_table_schema *table, struct dataset *out) {
  for (int32_t i = 0; i < table->field_count; i++) {
    const struct td_field *field = &table->fields[i];
    if (field->type != TD_FIELD_TEXT) continue;
    out->texts[out->text_count++] = (struct text_place){field->offset, field->bytes, field->name};
  }
}

static td_status create_table(struct td_trace_writer *writer, const struct td_table_schema *table,
                              struct dataset *out) {
  TD_TRY(make_room(out, table->name, table->row_bytes, table->chunk_rows));
  note_texts(table, out);
  hid_t type = td_schema_file_type(table);
  out->memory_type = td_schema_memory_type(table, -1);
  out->id = type < 0 ? -1 : create_dataset(writer->file, table->name, type, table->chunk_rows);
  if (type >= 0) H5Tclose(type);
  if (out->id < 0 || out->memory_type < 0 || write_units(out->id, table) < 0)
    return hdf5_error(writer, "create a table");
  return TD_OK;
}

static td_status create_objects(struct td_trace_writer *writer, const struct td_trace_run *run) {
  writer->run = td_run_create(writer->file, run);
  if (writer->run < 0) return hdf5_error(writer, "create the group run");
  for (int t = 0; t < TD_TABLE_COUNT; t++) {
    if (td_schema[t].presence == TD_WITH_TOOLS && !run->tools) continue;
    if (td_schema[t].presence == TD_WITH_PACES && !run->paces) continue;
    TD_TRY(create_table(writer, &td_schema[t], &writer->tables[t]));
  }
  struct dataset *text = text_of(writer);
  TD_TRY(make_room(text, TD_SCHEMA_TEXT, 1, TEXT_CHUNK));
  text->memory_type = H5Tcopy(H5T_NATIVE_UINT8);
  text->id = create_dataset(writer->file, TD_SCHEMA_TEXT, H5T_STD_U8LE, TEXT_CHUNK);
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
  TD_TRY(td_part_create(fresh, &writer->part));
  td_status status = open_file(writer);
  if (!status) status = create_objects(writer, run);
  if (!status && H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0) status = hdf5_error(writer, "flush");
  if (!status) status = td_part_commit(writer->part);
  if (!status) status = td_part_publish(writer->part, writer->part_path);
  if (status && td_part_is(writer->part, fresh)) unlink(fresh);
  return status;
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
  writer->flushed = coarse_now_ps();
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
  TD_TRY(td_part_check(writer->part));
  table->written = total;
  table->room -= table->waiting;
  if (!table->room) table->room = table->chunk_rows;
  table->waiting = 0;
  return TD_OK;
}

static td_status write_waiting(struct td_trace_writer *writer) {
  for (int t = 0; t <= TD_TABLE_COUNT; t++) TD_TRY(write_table(writer, &writer->tables[t]));
  writer->dirty = false;
  return TD_OK;
}

/* The first failure is the one that every later call repeats. */
static td_status keep_failure(struct td_trace_writer *writer, td_status status) {
  if (status && !writer->failure && td_copy_text(td_error_text(), &writer->failure)) writer->failure = NULL;
  return status;
}

static td_status flush(struct td_trace_writer *writer) {
  td_status status = write_waiting(writer);
  if (!status && H5Fflush(writer->file, H5F_SCOPE_GLOBAL) < 0) status = hdf5_error(writer, "flush");
  if (!status) status = td_part_commit(writer->part);
  writer->flushed = coarse_now_ps();
  return keep_failure(writer, status);
}

td_status td_trace_tick(struct td_trace_writer *writer) {
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  if (!writer->dirty || coarse_now_ps() - writer->flushed < FLUSH_PS) return TD_OK;
  return flush(writer);
}

static td_status check_texts(const struct dataset *table, const char *row) {
  for (int32_t i = 0; i < table->text_count; i++) {
    const struct text_place *text = &table->texts[i];
    if (!memchr(row + text->offset, 0, text->bytes))
      return td_fail(TD_INTERNAL, "trace: %s.%s has no end", table->name, text->name);
  }
  return TD_OK;
}

/* Bytes behind a text's end are zeroed, so that equal runs give equal bytes. */
static void clean_texts(const struct dataset *table, char *row) {
  for (int32_t i = 0; i < table->text_count; i++) {
    const struct text_place *text = &table->texts[i];
    size_t length = strlen(row + text->offset);
    memset(row + text->offset + length, 0, text->bytes - length);
  }
}

/* Rows that fill a chunk go to HDF5 at once. */
static td_status add_rows(struct td_trace_writer *writer, struct dataset *table, const char *rows, size_t count) {
  size_t size = table->row_bytes;
  writer->dirty = true;
  while (count) {
    size_t room = table->room - table->waiting, now = count < room ? count : room;
    char *to = table->rows + table->waiting * size;
    memcpy(to, rows, now * size);
    for (size_t i = 0; i < now && table->text_count; i++) clean_texts(table, to + i * size);
    table->waiting += now;
    rows += now * size;
    count -= now;
    if (now == room) TD_TRY(keep_failure(writer, write_table(writer, table)));
  }
  return TD_OK;
}

td_status td_trace_append(struct td_trace_writer *writer, enum td_table which, const void *rows, size_t count) {
  struct dataset *table = &writer->tables[which];
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  if (count && !table->rows) {
    return td_fail(TD_INTERNAL, "trace: found rows of %s, expected none: it was made without", td_schema[which].name);
  }
  for (size_t i = 0; i < count && table->text_count; i++) {
    TD_TRY(check_texts(table, (const char *)rows + i * table->row_bytes));
  }
  TD_TRY(add_rows(writer, table, rows, count));
  return td_trace_tick(writer);
}

td_status td_trace_text(struct td_trace_writer *writer, const char *bytes, size_t count, uint64_t *out_offset) {
  struct dataset *text = text_of(writer);
  if (writer->failure) return td_fail(TD_IO, "%s", writer->failure);
  uint64_t offset = text->written + text->waiting;
  TD_TRY(add_rows(writer, text, bytes, count));
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
