/* SPDX-License-Identifier: Apache-2.0
 *
 * Reading whole files that may be anything, and names that a finished file will get.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tandem/base.h"

enum { PATIENCE_MS = 5000 }; /* for the next bytes of a pipe */

static const char *kind_of(mode_t mode) {
  if (S_ISDIR(mode)) return "a folder";
  if (S_ISFIFO(mode)) return "a pipe";
  if (S_ISSOCK(mode)) return "a socket";
  return "a device";
}

static td_status fail_errno(const char *path) {
  return td_fail(errno == ENOENT ? TD_NOT_FOUND : TD_IO, "%s: %s", path, strerror(errno));
}

/* Reads once; *out_got = 0 at the end. The descriptor does not block, so that a pipe nobody writes to is an error and
 * not a hang. */
static td_status read_some(int file, const char *path, char *data, size_t room, size_t *out_got) {
  struct pollfd ready = {.fd = file, .events = POLLIN};
  for (;;) {
    /* before a pipe's first writer comes, read would take it for empty */
    int events = poll(&ready, 1, PATIENCE_MS);
    if (events == 0) return td_fail(TD_IO, "%s: found nothing to read for %d s", path, PATIENCE_MS / 1000);
    ssize_t got = events < 0 ? -1 : read(file, data, room);
    if (got >= 0) {
      *out_got = (size_t)got;
      return TD_OK;
    }
    if (errno != EINTR && errno != EAGAIN) return fail_errno(path);
    if (errno == EAGAIN) td_sleep_ps(TD_PS_PER_SECOND / 1000);
  }
}

struct contents {
  char *data;
  size_t bytes, capacity;
};

static td_status read_all(int file, const char *path, size_t limit, struct contents *contents) {
  struct stat info;
  if (fstat(file, &info)) return fail_errno(path);
  if (!S_ISREG(info.st_mode) && !S_ISFIFO(info.st_mode)) {
    return td_fail(TD_IO, "%s: found %s, expected a file", path, kind_of(info.st_mode));
  }
  for (size_t got = 1; got; contents->bytes += got) {
    if (contents->bytes > limit)
      return td_fail(TD_IO, "%s: found more than %zu bytes, expected at most that", path, limit);
    TD_TRY(td_grow((void **)&contents->data, &contents->capacity, contents->bytes + 4097, 1));
    TD_TRY(read_some(file, path, contents->data + contents->bytes, contents->capacity - 1 - contents->bytes, &got));
  }
  contents->data[contents->bytes] = 0;
  return TD_OK;
}

td_status td_read_file(const char *path, size_t limit, char **out_data, size_t *out_bytes) {
  struct contents contents = {0};
  int file = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
  if (file < 0) return fail_errno(path);
  td_status status = read_all(file, path, limit, &contents);
  close(file);
  if (status) {
    free(contents.data);
    return status;
  }
  *out_data = contents.data;
  *out_bytes = contents.bytes;
  return TD_OK;
}

td_status td_check_output(const char *path) {
  struct stat info;
  if (!*path) return td_fail(TD_IO, "output: found an empty path, expected a file name");
  if (path[strlen(path) - 1] == '/') return td_fail(TD_IO, "%s: found a folder, expected a file name", path);
  if (stat(path, &info) || S_ISREG(info.st_mode)) return TD_OK;
  return td_fail(TD_IO, "%s: found %s, expected a file name", path, kind_of(info.st_mode));
}
