/* SPDX-License-Identifier: Apache-2.0
 *
 * The container of GGUF v3: metadata values and tensor infos of one mapped file. Knows nothing of any architecture.
 * Everything handed out here was checked to lie inside the file.
 */
#ifndef TANDEM_MODEL_GGUF_H
#define TANDEM_MODEL_GGUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/model.h"

enum td_gguf_type {
  TD_GGUF_U8,
  TD_GGUF_I8,
  TD_GGUF_U16,
  TD_GGUF_I16,
  TD_GGUF_U32,
  TD_GGUF_I32,
  TD_GGUF_F32,
  TD_GGUF_BOOL,
  TD_GGUF_STRING,
  TD_GGUF_ARRAY,
  TD_GGUF_U64,
  TD_GGUF_I64,
  TD_GGUF_F64,
  TD_GGUF_TYPE_COUNT
};

/* Text inside the mapped file: not NUL-terminated. */
struct td_span {
  const char *data;
  uint64_t bytes;
};

struct td_gguf_value {
  struct td_span key;
  uint32_t type; /* enum td_gguf_type, never ARRAY: of the elements if is_array */
  bool is_array;
  uint64_t count;            /* elements; 1 if not an array */
  const unsigned char *data; /* the first element; of a string: its length */
  uint64_t bytes;            /* of all elements */
};

/* A tensor as the file describes it, before its type and place are judged. */
struct td_gguf_info {
  struct td_span name;
  uint32_t type, dims;
  uint64_t ne[4];
  uint64_t offset; /* from data_begin */
};

struct td_gguf {
  char *path;
  const unsigned char *base;
  uint64_t size;
  bool mapped; /* td_gguf_close unmaps the file */
  uint64_t alignment, data_begin;
  struct td_gguf_value *values; /* ascending by key */
  size_t value_count;
  struct td_gguf_info *infos; /* ascending by name */
  size_t info_count;
  struct td_tensor *tensors; /* same order as infos; filled by td_gguf_place */
  char *names;
};

/* Maps a regular file read-only. TD_NOT_FOUND, TD_IO, TD_CORRUPT (empty). *out_base is never NULL. */
td_status td_map_file(const char *path, const unsigned char **out_base, uint64_t *out_size);
void td_unmap_file(const unsigned char *base, uint64_t size);

/* Parses a whole file lying at `base`, borrowed until td_gguf_close; `path` is for messages. Set `mapped` afterwards to
 * hand a mapping over. */
td_status td_gguf_parse(const char *path, const unsigned char *base, uint64_t size, struct td_gguf **out_gguf);
void td_gguf_close(struct td_gguf *gguf); /* NULL is fine */

/* Second half of opening, once the caller knows that it wants this file: checks every tensor's type, size, alignment
 * and place, and builds gguf->tensors. */
td_status td_gguf_place(struct td_gguf *gguf);
/* NULL if absent. */
const struct td_tensor *td_gguf_tensor(const struct td_gguf *gguf, const char *name);

/* ---- values ---- */

/* Bytes of a fixed-size element; 0 for strings, arrays and unknown types. */
uint32_t td_gguf_type_bytes(uint32_t type);
/* NULL if absent. */
const struct td_gguf_value *td_gguf_find(const struct td_gguf *gguf, const char *key);
/* Element `index` of an integer value or array. `index` is below count; TD_CORRUPT if it does not fit int64. */
td_status td_gguf_element(const struct td_gguf *gguf, const struct td_gguf_value *value, uint64_t index, int64_t *out);
/* The four getters find the key and check its type and bounds: TD_CORRUPT names the key, found and expected. */
td_status td_gguf_int(const struct td_gguf *gguf, const char *key, int64_t low, int64_t high, int64_t *out);
td_status td_gguf_real(const struct td_gguf *gguf, const char *key, double *out);
td_status td_gguf_bool(const struct td_gguf *gguf, const char *key, bool *out);
td_status td_gguf_text(const struct td_gguf *gguf, const char *key, struct td_span *out);
/* TD_CORRUPT unless the key holds an array whose elements are of `type`. */
td_status td_gguf_array(const struct td_gguf *gguf, const char *key, uint32_t type, const struct td_gguf_value **out);

/* Steps through an array of strings: start at value->data, at most value->count times. */
struct td_span td_gguf_next_text(const unsigned char **position);
bool td_span_is(struct td_span span, const char *text);
int td_span_compare(struct td_span a, struct td_span b);
/* For "%.*s" in messages: at most 80 bytes of it. */
#define TD_SPAN_SHOW(span) (int)((span).bytes < 80 ? (span).bytes : 80), (span).data

#endif
