/* SPDX-License-Identifier: Apache-2.0 */
#include "codec.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

static void fail_io(struct td_codec *code) {
  code->status = td_fail(TD_IO, "%s: %s", code->path, errno ? strerror(errno) : "the file ended early");
}

td_status td_codec_flush(struct td_codec *code) {
  if (code->status) return code->status;
  code->hash = td_hash(code->hash, code->buffer, code->at);
  errno = 0;
  if (code->file && code->at && fwrite(code->buffer, 1, code->at, code->file) != code->at) fail_io(code);
  code->at = 0;
  return code->status;
}

static void put(struct td_codec *code, const unsigned char *data, size_t bytes) {
  while (bytes && !code->status) {
    size_t room = sizeof code->buffer - code->at, now = bytes < room ? bytes : room;
    memcpy(code->buffer + code->at, data, now);
    code->at += now;
    data += now;
    bytes -= now;
    if (code->at == sizeof code->buffer) td_codec_flush(code);
  }
}

/* `left` was checked: there is more in the buffer or in the file. */
static void refill(struct td_codec *code) {
  uint64_t behind = code->left;
  size_t want = behind < sizeof code->buffer ? (size_t)behind : sizeof code->buffer;
  errno = 0;
  code->at = 0;
  code->end = fread(code->buffer, 1, want, code->file);
  if (code->end != want) fail_io(code);
  code->hash = td_hash(code->hash, code->buffer, code->end);
}

static void get(struct td_codec *code, unsigned char *data, size_t bytes) {
  if (bytes > code->left) {
    code->status = td_fail(TD_CORRUPT, "%s: found the end of the file in %s, expected %zu bytes more", code->path,
                           code->what, bytes);
  }
  while (bytes && !code->status) {
    if (code->at == code->end) refill(code);
    if (code->status) break;
    size_t there = code->end - code->at, now = bytes < there ? bytes : there;
    memcpy(data, code->buffer + code->at, now);
    code->at += now;
    code->left -= now;
    data += now;
    bytes -= now;
  }
}

void td_codec_bytes(struct td_codec *code, void *data, size_t bytes) {
  if (code->status) return;
  if (code->reads) {
    get(code, data, bytes);
  } else {
    put(code, data, bytes);
  }
}

void td_codec_name(struct td_codec *code, char *name, size_t bytes) {
  char field[64] = {0};
  if (!code->reads) memcpy(field, name, strnlen(name, bytes));
  td_codec_bytes(code, field, bytes);
  if (code->reads) memcpy(name, field, bytes);
}

/* The low `bytes` of a word, low byte first. */
static void word(struct td_codec *code, uint64_t *value, size_t bytes) {
  unsigned char raw[8] = {0};
  for (size_t i = 0; i < bytes && !code->reads; i++) raw[i] = (unsigned char)(*value >> (8 * i));
  td_codec_bytes(code, raw, bytes);
  if (!code->reads) return;
  *value = 0;
  for (size_t i = 0; i < bytes && !code->status; i++) *value |= (uint64_t)raw[i] << (8 * i);
}

#define CODE(name, type, as, bytes)                          \
  void td_codec_##name(struct td_codec *code, type *value) { \
    uint64_t wide = code->reads ? 0 : (uint64_t)(as)*value;  \
    word(code, &wide, bytes);                                \
    if (code->reads) *value = (type)(as)wide;                \
  }
CODE(u8, uint8_t, uint8_t, 1)
CODE(u16, uint16_t, uint16_t, 2)
CODE(i16, int16_t, uint16_t, 2)
CODE(u32, uint32_t, uint32_t, 4)
CODE(i32, int32_t, uint32_t, 4)
CODE(u64, uint64_t, uint64_t, 8)

void td_codec_f64(struct td_codec *code, double *value) {
  uint64_t bits = 0;
  if (!code->reads) memcpy(&bits, value, sizeof bits);
  word(code, &bits, 8);
  if (code->reads) memcpy(value, &bits, sizeof bits);
}

void td_codec_i32s(struct td_codec *code, int32_t *values, size_t count) {
  for (size_t i = 0; i < count; i++) td_codec_i32(code, &values[i]);
}

bool td_codec_array(struct td_codec *code, const char *what, int32_t *count, void *array, size_t element,
                    size_t file_bytes) {
  code->what = what;
  int32_t found = code->reads ? 0 : *count;
  td_codec_i32(code, &found);
  if (code->status || !code->reads) return !code->status && found > 0;
  if (found < 0 || (uint64_t)found > code->left / file_bytes) {
    code->status = td_fail(TD_CORRUPT, "%s: found %d %s, expected at most the %llu that the rest of the file can hold",
                           code->path, found, what, (unsigned long long)(code->left / file_bytes));
    return false;
  }
  void *memory = NULL;
  code->status = found ? td_alloc((size_t)found, element, &memory) : TD_OK;
  if (code->status) return false;
  memcpy(array, &memory, sizeof memory);
  *count = found;
  return found > 0;
}
