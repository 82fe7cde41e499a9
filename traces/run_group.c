/* SPDX-License-Identifier: Apache-2.0 */
#include "run_group.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "quiet.h"
#include "schema.h"
#include "tandem_revision.h"

static herr_t write_attribute(hid_t object, const char *name, hid_t type, hid_t memory, const void *value) {
  hid_t space = H5Screate(H5S_SCALAR);
  hid_t attribute = space < 0 ? -1 : H5Acreate2(object, name, type, space, H5P_DEFAULT, H5P_DEFAULT);
  herr_t done = attribute < 0 ? -1 : H5Awrite(attribute, memory, value);
  if (attribute >= 0) H5Aclose(attribute);
  if (space >= 0) H5Sclose(space);
  return done;
}

static herr_t write_number(hid_t object, const char *name, uint64_t value) {
  return write_attribute(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value);
}

static herr_t write_real(hid_t object, const char *name, double value) {
  return write_attribute(object, name, H5T_IEEE_F64LE, H5T_NATIVE_DOUBLE, &value);
}

/* A text in `room` bytes, at least its own. Fixed length: reading variable-length texts of hostile files is not safe
 * in HDF5 1.10. */
static herr_t write_text(hid_t object, const char *name, const char *value, size_t bytes, size_t room) {
  if (room < bytes) room = bytes;
  if (room == 0) room = 1;
  char *padded = calloc(1, room);
  hid_t type = padded ? td_schema_text_type(room) : -1;
  if (padded) memcpy(padded, value, bytes);
  herr_t done = type < 0 ? -1 : write_attribute(object, name, type, type, padded);
  if (type >= 0) H5Tclose(type);
  free(padded);
  return done;
}

static herr_t write_line(hid_t object, const char *name, const char *value) {
  if (!value) value = "";
  size_t bytes = strlen(value);
  return write_text(object, name, value, bytes < TD_ATTRIBUTE_BYTES ? bytes : TD_ATTRIBUTE_BYTES, 0);
}

/* The config may be longer than an attribute can be. */
static herr_t write_config(hid_t run, const char *config) {
  size_t left = config ? strlen(config) : 0;
  char name[32] = "config";
  for (int piece = 1;; piece++) {
    size_t now = left < TD_ATTRIBUTE_BYTES ? left : TD_ATTRIBUTE_BYTES;
    if (write_text(run, name, config ? config : "", now, 0) < 0) return -1;
    left -= now;
    if (!left) return 0;
    config += now;
    snprintf(name, sizeof name, "config.%d", piece);
  }
}

/* This process's command line, words separated by spaces; "" where the system does not tell. */
static void command_line(char *out, size_t size) {
  FILE *file = fopen("/proc/self/cmdline", "r");
  size_t bytes = file ? fread(out, 1, size - 1, file) : 0;
  if (file) fclose(file);
  while (bytes && out[bytes - 1] == 0) bytes--;
  for (size_t i = 0; i < bytes; i++) {
    if (out[i] == 0) out[i] = ' ';
  }
  out[bytes] = 0;
}

static herr_t write_place(hid_t run) {
  char host[256] = "", date[32] = "", command[4096], version[32];
  if (gethostname(host, sizeof host - 1)) host[0] = 0;
  time_t now = time(NULL);
  struct tm utc;
  if (gmtime_r(&now, &utc)) strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%SZ", &utc);
  command_line(command, sizeof command);
  unsigned major = 0, minor = 0, release = 0;
  H5get_libversion(&major, &minor, &release);
  snprintf(version, sizeof version, "%u.%u.%u", major, minor, release);
  if (write_line(run, "host", host) < 0 || write_line(run, "date", date) < 0) return -1;
  if (write_line(run, "command", command) < 0 || write_line(run, "hdf5_version", version) < 0) return -1;
  if (write_line(run, "tandem_version", TANDEM_VERSION) < 0) return -1;
  return write_line(run, "compiler", TANDEM_COMPILER) < 0 ? -1 : write_line(run, "git_revision", TANDEM_REVISION);
}

static herr_t write_what(hid_t run, const struct td_trace_run *what) {
  if (write_line(run, "experiment", what->experiment) < 0 || write_line(run, "model", what->model) < 0) return -1;
  if (write_line(run, "pace", what->pace) < 0 || write_line(run, "policy", what->policy) < 0) return -1;
  if (write_line(run, "awake", what->awake ? what->awake : "") < 0) return -1;
  if (write_number(run, "model_digest", what->model_digest) < 0 || write_number(run, "seed", what->seed) < 0) return -1;
  if (write_number(run, "ranks", (uint64_t)what->ranks) < 0) return -1;
  if (write_real(run, "slo_ttft", what->slo_ttft) < 0 || write_real(run, "slo_tpot", what->slo_tpot) < 0) return -1;
  return write_config(run, what->config);
}

hid_t td_run_create(hid_t file, const struct td_trace_run *what) {
  hid_t run = H5Gcreate2(file, TD_SCHEMA_RUN, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  if (run < 0) return run;
  if (write_number(run, "schema", what->paces ? TD_SCHEMA_PACES : TD_SCHEMA_VERSION) < 0 ||
      write_number(run, "complete", 0) < 0 || write_text(run, "reason", "", 0, TD_REASON_BYTES) < 0 ||
      write_what(run, what) < 0 || write_place(run) < 0) {
    H5Gclose(run);
    return -1;
  }
  return run;
}

/* Overwrites an attribute in place: the file's structure stays as it is. */
static herr_t overwrite(hid_t run, const char *name, hid_t memory, const void *value) {
  hid_t attribute = H5Aopen(run, name, H5P_DEFAULT);
  if (attribute < 0) return -1;
  herr_t done = H5Awrite(attribute, memory, value);
  H5Aclose(attribute);
  return done;
}

herr_t td_run_close(hid_t run, int complete, const char *reason) {
  char padded[TD_REASON_BYTES] = "";
  uint64_t flag = complete ? 1 : 0;
  snprintf(padded, sizeof padded, "%s", reason ? reason : "");
  hid_t type = td_schema_text_type(sizeof padded);
  herr_t done = type < 0 ? -1 : overwrite(run, "reason", type, padded);
  if (type >= 0) H5Tclose(type);
  return done < 0 ? -1 : overwrite(run, "complete", H5T_NATIVE_UINT64, &flag);
}
