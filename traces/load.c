/* SPDX-License-Identifier: Apache-2.0
 *
 * Loads a trace, also while its run goes on: what was updated between two reads of HDF5's may not fit together, so it
 * is read again.
 */
#include <stdbool.h>
#include <stdio.h>
#include <sys/stat.h>

#include "reader.h"

#define TRIES 8

static bool was_written(const struct stat *before, const char *path) {
  struct stat now;
  if (stat(path, &now) || now.st_ino != before->st_ino) return false;
  return now.st_size != before->st_size || now.st_mtim.tv_sec != before->st_mtim.tv_sec ||
         now.st_mtim.tv_nsec != before->st_mtim.tv_nsec;
}

td_status td_trace_load(const char *path, struct td_trace **out_trace) {
  struct stat before;
  char text[1024];
  td_status status = TD_OK;
  for (int i = 0; i < TRIES; i++) {
    bool there = stat(path, &before) == 0;
    status = td_read_trace(path, out_trace);
    if (!status || !there || !was_written(&before, path)) return status;
  }
  snprintf(text, sizeof text, "%s", td_error_text());
  return td_fail(status, "%s; it was written to during each of %d readings", text, TRIES);
}
