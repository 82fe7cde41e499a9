/* SPDX-License-Identifier: Apache-2.0
 *
 * GGUF: mapping the file and its fixed header.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gguf_cursor.h"
#include "tandem/base.h"

#define VERSION 3
#define ALIGNMENT_DEFAULT 32
#define ALIGNMENT_MAX (1 << 20)
/* Smallest encodings, to judge a count before believing it: key (8 + 1), type, one byte; name (8 + 1), dimension count,
 * one dimension, type, offset. */
#define VALUE_BYTES_MIN 14
#define INFO_BYTES_MIN 33
/* Far above any real file; they keep our lists small beside a file that is nothing but keys. */
#define VALUES_MAX (1 << 16)
#define INFOS_MAX (1 << 18)

static td_status map_open_file(const char *path, int file, const unsigned char **out_base, uint64_t *out_size) {
  struct stat info;
  if (fstat(file, &info)) return td_fail(TD_IO, "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) {
    return td_fail(TD_IO, "%s: found %s, expected a model file", path,
                   S_ISDIR(info.st_mode) ? "a folder" : "a special file");
  }
  if (!info.st_size) return td_fail(TD_CORRUPT, "%s: found an empty file, expected a model", path);
  void *base = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, file, 0);
  if (base == MAP_FAILED) return td_fail(TD_IO, "%s: cannot map the file: %s", path, strerror(errno));
  *out_base = base;
  *out_size = (uint64_t)info.st_size;
  return TD_OK;
}

td_status td_map_file(const char *path, const unsigned char **out_base, uint64_t *out_size) {
  /* O_NONBLOCK: opening a named pipe must not wait for a writer */
  int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) return td_fail(errno == ENOENT ? TD_NOT_FOUND : TD_IO, "%s: %s", path, strerror(errno));
  td_status status = map_open_file(path, file, out_base, out_size);
  close(file);
  return status;
}

void td_unmap_file(const unsigned char *base, uint64_t size) {
  munmap((void *)(uintptr_t)base, size);
}

static td_status check_magic(struct td_cursor *cursor) {
  const unsigned char *magic;
  TD_TRY(td_cursor_take(cursor, 4, "magic", &magic));
  if (!memcmp(magic, "GGUF", 4)) return TD_OK;
  return td_cursor_fail(cursor, TD_UNSUPPORTED, "magic",
                        "found bytes %02x %02x %02x %02x (\"%.4s\"), expected \"GGUF\" (or a name ending in .cfg)",
                        magic[0], magic[1], magic[2], magic[3], (const char *)magic);
}

static td_status check_version(struct td_cursor *cursor) {
  uint32_t version;
  TD_TRY(td_cursor_u32(cursor, "version", &version));
  if (version == VERSION) return TD_OK;
  if (version && !(version & 0xffff)) {
    return td_cursor_fail(cursor, TD_UNSUPPORTED, "version", "found a big-endian file, expected little endian");
  }
  return td_cursor_fail(cursor, version && version < VERSION ? TD_UNSUPPORTED : TD_CORRUPT, "version",
                        "found %" PRIu32 ", expected %d", version, VERSION);
}

static td_status check_count(const struct td_cursor *cursor, const char *field, uint64_t count, uint64_t bytes_each,
                             uint64_t limit) {
  uint64_t most = (cursor->size - cursor->at) / bytes_each;
  if (count <= most && count > limit) {
    return td_cursor_fail(cursor, TD_UNSUPPORTED, field, "found %" PRIu64 ", expected at most %" PRIu64, count, limit);
  }
  if (count <= most) return TD_OK;
  return td_cursor_fail(cursor, TD_CORRUPT, field,
                        "found %" PRIu64 ", expected at most the %" PRIu64 " that fit into the file's %" PRIu64
                        " bytes",
                        count, most, cursor->size);
}

static td_status find_data(struct td_gguf *gguf, uint64_t header_end) {
  int64_t alignment = ALIGNMENT_DEFAULT;
  if (td_gguf_find(gguf, "general.alignment")) {
    TD_TRY(td_gguf_int(gguf, "general.alignment", 1, ALIGNMENT_MAX, &alignment));
  }
  if (alignment & (alignment - 1) || alignment < 8) {
    return td_fail(TD_CORRUPT, "%s: general.alignment: found %" PRId64 ", expected a power of two from 8", gguf->path,
                   alignment);
  }
  gguf->alignment = (uint64_t)alignment;
  gguf->data_begin = (header_end + gguf->alignment - 1) / gguf->alignment * gguf->alignment;
  /* a file without data may end before the padding */
  if (gguf->data_begin > gguf->size) gguf->data_begin = gguf->size;
  return TD_OK;
}

static td_status parse(struct td_gguf *gguf) {
  struct td_cursor cursor = {.path = gguf->path, .base = gguf->base, .size = gguf->size};
  uint64_t tensors, values;
  TD_TRY(check_magic(&cursor));
  TD_TRY(check_version(&cursor));
  TD_TRY(td_cursor_u64(&cursor, "tensor count", &tensors));
  TD_TRY(td_cursor_u64(&cursor, "metadata count", &values));
  TD_TRY(check_count(&cursor, "metadata count", values, VALUE_BYTES_MIN, VALUES_MAX));
  TD_TRY(check_count(&cursor, "tensor count", tensors, INFO_BYTES_MIN, INFOS_MAX));
  TD_TRY(td_gguf_read_values(gguf, &cursor, values));
  TD_TRY(td_gguf_read_infos(gguf, &cursor, tensors));
  return find_data(gguf, cursor.at);
}

td_status td_gguf_parse(const char *path, const unsigned char *base, uint64_t size, struct td_gguf **out_gguf) {
  struct td_gguf *gguf;
  TD_TRY(td_alloc(1, sizeof *gguf, (void **)&gguf));
  gguf->base = base;
  gguf->size = size;
  td_status status = td_copy_text(path, &gguf->path);
  if (status == TD_OK) status = parse(gguf);
  if (status) {
    td_gguf_close(gguf);
    return status;
  }
  *out_gguf = gguf;
  return TD_OK;
}

void td_gguf_close(struct td_gguf *gguf) {
  if (!gguf) return;
  if (gguf->mapped) td_unmap_file(gguf->base, gguf->size);
  free(gguf->values);
  free(gguf->infos);
  free(gguf->tensors);
  free(gguf->names);
  free(gguf->path);
  free(gguf);
}
