/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "packed.h"
#include "text.h"

#define CHUNK ((size_t)1 << 16)
#define BLANKS_MAX 64 /* empty lines at the end of a file */

td_status lines_fail(const struct lines *lines, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  return td_fail(TD_CORRUPT, "%s:%lld: %s", lines->path, (long long)lines->row, text);
}

/* Of what is open at fd: a regular file, whose size and time say later whether it changed. */
static td_status check_kind(struct lines *lines) {
  struct stat found;
  if (fstat(lines->fd, &found)) return td_fail(TD_IO, "%s: %s", lines->path, strerror(errno));
  if (!S_ISREG(found.st_mode)) {
    return td_fail(TD_CONFIG, "%s: found a %s, expected a file", lines->path,
                   S_ISDIR(found.st_mode) ? "folder" : "pipe or device");
  }
  lines->written = found.st_mtim;
  lines->bytes = found.st_size;
  return TD_OK;
}

td_status lines_open(const char *path, struct lines *out_lines) {
  struct lines lines = {.path = path, .fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (lines.fd < 0) return td_fail(TD_CONFIG, "%s: %s", path, strerror(errno));
  td_status status = check_kind(&lines);
  if (!status) status = td_alloc(TEXT_LINE_MAX + CHUNK + 1, 1, (void **)&lines.room);
  if (!status) status = packed_open(path, lines.fd, &lines.file);
  if (status) {
    lines_close(&lines);
    return status;
  }
  *out_lines = lines;
  return TD_OK;
}

void lines_close(struct lines *lines) {
  if (!lines->path) return;
  packed_close(lines->file);
  close(lines->fd);
  free(lines->room);
  *lines = (struct lines){0};
}

td_status lines_rewind(struct lines *lines) {
  struct timespec written = lines->written;
  int64_t bytes = lines->bytes;
  TD_TRY(check_kind(lines));
  if (bytes != lines->bytes || written.tv_sec != lines->written.tv_sec || written.tv_nsec != lines->written.tv_nsec) {
    return td_fail(TD_CORRUPT, "%s: found it changed since its first reading, expected the same file", lines->path);
  }
  TD_TRY(packed_rewind(lines->file));
  lines->at = lines->end = 0;
  lines->row = 0;
  lines->ended = false;
  return TD_OK;
}

static td_status fill(struct lines *lines) {
  memmove(lines->room, lines->room + lines->at, lines->end - lines->at);
  lines->end -= lines->at;
  lines->at = 0;
  size_t got;
  TD_TRY(packed_read(lines->file, lines->room + lines->end, CHUNK, &got));
  lines->ended = got == 0;
  lines->end += got;
  return TD_OK;
}

static td_status too_long(const struct lines *lines) {
  return lines_fail(lines, "found a line of over %zu bytes, expected a shorter one", TEXT_LINE_MAX);
}

/* The next line with its end cut off, blank or not; *out_line NULL at the end of the file. */
static td_status raw_line(struct lines *lines, char **out_line, size_t *out_bytes) {
  char *end = NULL;
  for (size_t seen = 0;;) {
    char *begin = lines->room + lines->at;
    size_t left = lines->end - lines->at;
    end = left > seen ? memchr(begin + seen, '\n', left - seen) : NULL;
    if (end || lines->ended || left > TEXT_LINE_MAX) break;
    seen = left;
    TD_TRY(fill(lines));
  }
  size_t left = lines->end - lines->at;
  char *begin = lines->room + lines->at;
  *out_line = left ? begin : NULL;
  *out_bytes = end ? (size_t)(end - begin) : left;
  lines->at += *out_bytes + (end ? 1 : 0);
  lines->row += left > 0;
  return *out_bytes <= TEXT_LINE_MAX ? TD_OK : too_long(lines);
}

/* Bytes of the UTF-8 sequence at `c`, 0 if it is none. */
static size_t sequence(const unsigned char *c, size_t left) {
  if (c[0] < 0x80) return 1;
  size_t bytes = c[0] >= 0xf0 ? 4 : c[0] >= 0xe0 ? 3 : 2;
  if (c[0] < 0xc2 || c[0] > 0xf4 || bytes > left) return 0;
  for (size_t i = 1; i < bytes; i++) {
    if ((c[i] & 0xc0) != 0x80) return 0;
  }
  bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
  bool outside = (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf4 && c[1] > 0x8f);
  return overlong || outside ? 0 : bytes;
}

static td_status check_text(const struct lines *lines, const char *line, size_t bytes) {
  const unsigned char *c = (const unsigned char *)line;
  unsigned char all = 0, least = 0xff;
  for (size_t i = 0; i < bytes; i++) {
    all |= c[i];
    least = c[i] < least ? c[i] : least;
  }
  if (bytes && least == 0) return lines_fail(lines, "found a byte of 0, expected text");
  if (all < 0x80) return TD_OK;
  for (size_t i = 0, step; i < bytes; i += step) {
    step = sequence(c + i, bytes - i);
    if (!step) return lines_fail(lines, "found bytes that are not UTF-8 after %zu others, expected text", i);
  }
  return TD_OK;
}

static td_status next_line(struct lines *lines, char **out_line, size_t *out_bytes) {
  TD_TRY(raw_line(lines, out_line, out_bytes));
  if (!*out_line) return TD_OK;
  if (*out_bytes && (*out_line)[*out_bytes - 1] == '\r') --*out_bytes;
  (*out_line)[*out_bytes] = 0;
  if (lines->row == 1 && *out_bytes >= 3 && !memcmp(*out_line, "\xef\xbb\xbf", 3)) {
    *out_line += 3;
    *out_bytes -= 3;
  }
  return check_text(lines, *out_line, *out_bytes);
}

td_status lines_next(struct lines *lines, char **out_line, size_t *out_bytes, bool *out_any) {
  int64_t blank = 0;
  for (int blanks = 0; blanks <= BLANKS_MAX; blanks++) {
    TD_TRY(next_line(lines, out_line, out_bytes));
    *out_any = *out_line != NULL;
    if (!*out_line) return TD_OK;
    if (*out_bytes && blank) break;
    if (*out_bytes) return TD_OK;
    if (!blank) blank = lines->row;
  }
  lines->row = blank;
  return lines_fail(lines, "found an empty line, expected one only at the end of the file");
}
