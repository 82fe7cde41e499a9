/* SPDX-License-Identifier: Apache-2.0 */
#include "eval_file.h"

#include <errno.h>
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tandem/base.h"

struct td_eval_file {
  char *path, *part;
  hid_t file, logits; /* < 0: not open */
  bool created;
  int32_t vocab;
};

/* ---- errors: HDF5's own printing is off, its reason goes into tandem's line ---- */

static herr_t keep_innermost(unsigned depth, const H5E_error2_t *error, void *context) {
  const char **out = context;
  if (depth == 0) *out = error->desc;
  return 0;
}

/* The system's words inside HDF5's ("..., error message = 'No space left on device', ..."), else HDF5's own. */
static void reason(char *out, size_t size) {
  const char *text = NULL;
  H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &text);
  const char *system = text ? strstr(text, "error message = '") : NULL;
  if (system) {
    system += strlen("error message = '");
    snprintf(out, size, "%.*s", (int)strcspn(system, "'"), system);
  } else {
    snprintf(out, size, "%s", text && *text ? text : "HDF5 gives no reason");
  }
}

static td_status fail(const struct td_eval_file *file, const char *what) {
  char text[256];
  reason(text, sizeof text);
  return td_fail(TD_IO, "%s: %s: %s", file->part, what, text);
}

/* ---- create ---- */

static td_status make_part(const char *path, char **out_part) {
  struct td_text text = {0};
  td_text_printf(&text, "%s.part", path);
  if (text.failed) {
    td_text_free(&text);
    return td_fail(TD_NO_MEMORY, "%s: found no memory for its name", path);
  }
  *out_part = text.data;
  return TD_OK;
}

static td_status create_logits(struct td_eval_file *file, int64_t count) {
  const hsize_t dims[2] = {(hsize_t)count, (hsize_t)file->vocab};
  hid_t space = H5Screate_simple(2, dims, NULL);
  file->logits = H5Dcreate2(file->file, "logits", H5T_IEEE_F32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  td_status status = file->logits < 0 ? fail(file, "creating logits") : TD_OK;
  H5Sclose(space); /* after fail: a call that works clears HDF5's reason */
  return status;
}

/* Without H5dont_atexit, HDF5 1.10 crashes at exit when a file could not be flushed, as on a full disk. Every handle is
 * closed here, so nothing is left to be done at exit. */
static td_status create_part(struct td_eval_file *file, int64_t count, bool logits) {
  H5dont_atexit();
  H5Eset_auto2(H5E_DEFAULT, NULL, NULL);
  file->file = H5Fcreate(file->part, H5F_ACC_TRUNC, H5P_DEFAULT, H5P_DEFAULT);
  if (file->file < 0) return fail(file, "creating");
  file->created = true;
  return logits ? create_logits(file, count) : TD_OK;
}

td_status td_eval_file_create(const char *path, int64_t count, int32_t vocab, bool logits,
                              struct td_eval_file **out_file) {
  struct td_eval_file *file;
  TD_TRY(td_alloc(1, sizeof *file, (void **)&file));
  file->file = file->logits = -1;
  file->vocab = vocab;
  td_status status = td_copy_text(path, &file->path);
  if (!status) status = make_part(path, &file->part);
  if (!status) status = td_check_output(path);
  if (!status) status = create_part(file, count, logits);
  if (status) {
    td_eval_file_abandon(file);
    return status;
  }
  *out_file = file;
  return TD_OK;
}

/* ---- write ---- */

td_status td_eval_file_logits(void *context, int64_t first, int64_t count, const float *logits) {
  struct td_eval_file *file = context;
  const hsize_t start[2] = {(hsize_t)first, 0}, size[2] = {(hsize_t)count, (hsize_t)file->vocab};
  hid_t rows = H5Screate_simple(2, size, NULL), space = H5Dget_space(file->logits);
  herr_t result = H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, size, NULL);
  if (result >= 0) result = H5Dwrite(file->logits, H5T_NATIVE_FLOAT, rows, space, H5P_DEFAULT, logits);
  td_status status = result < 0 ? fail(file, "writing logits") : TD_OK;
  H5Sclose(rows);
  H5Sclose(space);
  return status;
}

static td_status write_attribute(struct td_eval_file *file, hid_t object, const char *name, hid_t type,
                                 const void *value) {
  hid_t space = H5Screate(H5S_SCALAR);
  hid_t attribute = H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t result = attribute < 0 ? -1 : H5Awrite(attribute, type, value);
  td_status status = result < 0 ? fail(file, name) : TD_OK;
  if (attribute >= 0) H5Aclose(attribute);
  H5Sclose(space);
  return status;
}

static td_status write_text(struct td_eval_file *file, hid_t object, const char *name, const char *text) {
  hid_t type = H5Tcopy(H5T_C_S1);
  H5Tset_size(type, strlen(text) + 1);
  H5Tset_cset(type, H5T_CSET_UTF8);
  td_status status = write_attribute(file, object, name, type, text);
  H5Tclose(type);
  return status;
}

td_status td_eval_file_note(struct td_eval_file *file, const char *name, const char *text) {
  return write_text(file, file->file, name, text);
}

td_status td_eval_file_number(struct td_eval_file *file, const char *name, double value) {
  return write_attribute(file, file->file, name, H5T_NATIVE_DOUBLE, &value);
}

/* One vector with its meaning. `wide`: float64, else int32. */
static td_status write_vector(struct td_eval_file *file, const char *name, const char *meaning, bool wide,
                              const void *values, int64_t count) {
  const hsize_t size = (hsize_t)count;
  hid_t space = H5Screate_simple(1, &size, NULL);
  hid_t data =
      H5Dcreate2(file->file, name, wide ? H5T_IEEE_F64LE : H5T_STD_I32LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  td_status status = data < 0 ? fail(file, name) : write_text(file, data, "meaning", meaning);
  hid_t memory = wide ? H5T_NATIVE_DOUBLE : H5T_NATIVE_INT32;
  if (!status && H5Dwrite(data, memory, H5S_ALL, H5S_ALL, H5P_DEFAULT, values) < 0) status = fail(file, name);
  if (data >= 0) H5Dclose(data);
  H5Sclose(space);
  return status;
}

static td_status write_rows(struct td_eval_file *file, const struct td_eval_rows *rows, bool greedy) {
  int64_t count = rows->count, more = rows->greedy_count;
  TD_TRY(write_vector(file, "ids", "token ids of the text", false, rows->ids, count));
  TD_TRY(write_vector(file, "next_logprob", "log p(ids[t+1] | ids[..t]), nats; last is NaN", true, rows->next_logprob,
                      count));
  TD_TRY(write_vector(file, "top_id", "most likely next id", false, rows->top_id, count));
  TD_TRY(write_vector(file, "top_logprob", "log p of top_id, nats", true, rows->top_logprob, count));
  TD_TRY(write_vector(file, "top_gap", "logit of the most likely id minus that of the second", true, rows->top_gap,
                      count));
  if (!greedy) return TD_OK;
  TD_TRY(write_vector(file, "greedy_ids", "greedy tokens after the text; an end token is the last", false,
                      rows->greedy_id, more));
  TD_TRY(write_vector(file, "greedy_logprob", "log p of greedy_ids, nats", true, rows->greedy_logprob, more));
  return write_vector(file, "greedy_gap", "logit of the greedy id minus that of the second", true, rows->greedy_gap,
                      more);
}

/* ---- end ---- */

/* False if what HDF5 still held in memory did not reach the file. */
static bool close_handles(struct td_eval_file *file) {
  bool logits = file->logits < 0 || H5Dclose(file->logits) >= 0;
  bool all = file->file < 0 || H5Fclose(file->file) >= 0;
  file->logits = file->file = -1;
  return logits && all;
}

static void free_file(struct td_eval_file *file) {
  free(file->path);
  free(file->part);
  free(file);
}

td_status td_eval_file_finish(struct td_eval_file *file, const struct td_eval_rows *rows, bool greedy) {
  td_status status = write_rows(file, rows, greedy);
  if (!status && H5Fflush(file->file, H5F_SCOPE_GLOBAL) < 0) status = fail(file, "writing");
  if (!status && !close_handles(file)) status = fail(file, "closing");
  if (!status && rename(file->part, file->path)) {
    status = td_fail(TD_IO, "%s: renaming to %s: %s", file->part, file->path, strerror(errno));
  }
  if (status) {
    td_eval_file_abandon(file);
    return status;
  }
  free_file(file);
  return TD_OK;
}

void td_eval_file_abandon(struct td_eval_file *file) {
  if (!file) return;
  close_handles(file);
  if (file->created) unlink(file->part);
  free_file(file);
}
