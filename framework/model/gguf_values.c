/* SPDX-License-Identifier: Apache-2.0
 *
 * GGUF metadata: reading the list and looking values up.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_cursor.h"
#include "tandem/base.h"

#define KEY_BYTES_MAX 65535 /* the format's own limit */

static const struct {
  const char *name;
  uint32_t bytes;
} types[TD_GGUF_TYPE_COUNT] = {
    [TD_GGUF_U8] = {"uint8", 1},    [TD_GGUF_I8] = {"int8", 1},    [TD_GGUF_U16] = {"uint16", 2},
    [TD_GGUF_I16] = {"int16", 2},   [TD_GGUF_U32] = {"uint32", 4}, [TD_GGUF_I32] = {"int32", 4},
    [TD_GGUF_F32] = {"float32", 4}, [TD_GGUF_BOOL] = {"bool", 1},  [TD_GGUF_STRING] = {"string", 0},
    [TD_GGUF_ARRAY] = {"array", 0}, [TD_GGUF_U64] = {"uint64", 8}, [TD_GGUF_I64] = {"int64", 8},
    [TD_GGUF_F64] = {"float64", 8},
};

static const char *type_name(uint32_t type) {
  return type < TD_GGUF_TYPE_COUNT ? types[type].name : "unknown";
}

uint32_t td_gguf_type_bytes(uint32_t type) {
  return type < TD_GGUF_TYPE_COUNT ? types[type].bytes : 0;
}

static td_status read_type(struct td_cursor *cursor, const char *field, uint32_t *out) {
  TD_TRY(td_cursor_u32(cursor, field, out));
  if (*out < TD_GGUF_TYPE_COUNT) return TD_OK;
  return td_cursor_fail(cursor, TD_CORRUPT, field, "found %" PRIu32 ", expected 0 to %d", *out, TD_GGUF_TYPE_COUNT - 1);
}

static td_status read_strings(struct td_cursor *cursor, uint64_t count) {
  for (uint64_t i = 0; i < count; i++) {
    struct td_span text;
    TD_TRY(td_cursor_text(cursor, "string", &text));
  }
  return TD_OK;
}

static td_status check_bools(const struct td_cursor *cursor, const struct td_gguf_value *value) {
  for (uint64_t i = 0; i < value->count; i++) {
    if (value->data[i] > 1) {
      return td_cursor_fail(cursor, TD_CORRUPT, "bool", "found %d, expected 0 or 1", value->data[i]);
    }
  }
  return TD_OK;
}

static td_status read_elements(struct td_cursor *cursor, struct td_gguf_value *value) {
  value->data = cursor->base + cursor->at;
  if (value->type == TD_GGUF_STRING) {
    TD_TRY(read_strings(cursor, value->count));
    value->bytes = (uint64_t)(cursor->base + cursor->at - value->data);
    return TD_OK;
  }
  if (!td_mul_size(value->count, td_gguf_type_bytes(value->type), &value->bytes)) {
    return td_cursor_fail(cursor, TD_CORRUPT, "array length", "found %" PRIu64 ", expected what the file can hold",
                          value->count);
  }
  TD_TRY(td_cursor_take(cursor, value->bytes, "value", &value->data));
  return value->type == TD_GGUF_BOOL ? check_bools(cursor, value) : TD_OK;
}

static td_status read_value(struct td_cursor *cursor, struct td_gguf_value *value) {
  TD_TRY(td_cursor_text(cursor, "key", &value->key));
  if (!value->key.bytes || value->key.bytes > KEY_BYTES_MAX || memchr(value->key.data, 0, value->key.bytes)) {
    return td_cursor_fail(cursor, TD_CORRUPT, "key", "found %" PRIu64 " bytes, expected 1 to %d without NUL",
                          value->key.bytes, KEY_BYTES_MAX);
  }
  cursor->name = value->key;
  value->count = 1;
  TD_TRY(read_type(cursor, "type", &value->type));
  if (value->type == TD_GGUF_ARRAY) {
    value->is_array = true;
    TD_TRY(read_type(cursor, "array type", &value->type));
    TD_TRY(td_cursor_u64(cursor, "array length", &value->count));
    if (value->type == TD_GGUF_ARRAY) {
      return td_cursor_fail(cursor, TD_UNSUPPORTED, "array type",
                            "found arrays inside an array, expected plain values");
    }
  }
  return read_elements(cursor, value);
}

static int compare_values(const void *a, const void *b) {
  return td_span_compare(((const struct td_gguf_value *)a)->key, ((const struct td_gguf_value *)b)->key);
}

td_status td_gguf_read_values(struct td_gguf *gguf, struct td_cursor *cursor, uint64_t count) {
  size_t capacity = 0;
  for (uint64_t i = 0; i < count; i++) {
    cursor->section = "metadata key";
    cursor->index = i;
    cursor->name = (struct td_span){0};
    struct td_gguf_value value = {0};
    TD_TRY(read_value(cursor, &value));
    TD_TRY(td_grow((void **)&gguf->values, &capacity, gguf->value_count + 1, sizeof value));
    gguf->values[gguf->value_count++] = value;
  }
  cursor->section = NULL;
  if (gguf->value_count) qsort(gguf->values, gguf->value_count, sizeof *gguf->values, compare_values);
  for (size_t i = 1; i < gguf->value_count; i++) {
    if (!td_span_compare(gguf->values[i - 1].key, gguf->values[i].key)) {
      return td_fail(TD_CORRUPT, "%s: metadata key %.*s: found twice, expected once", gguf->path,
                     TD_SPAN_SHOW(gguf->values[i].key));
    }
  }
  return TD_OK;
}

const struct td_gguf_value *td_gguf_find(const struct td_gguf *gguf, const char *key) {
  struct td_gguf_value wanted = {.key = {key, strlen(key)}};
  if (!gguf->value_count) return NULL;
  return bsearch(&wanted, gguf->values, gguf->value_count, sizeof wanted, compare_values);
}

static td_status wrong_type(const struct td_gguf *gguf, const char *key, const struct td_gguf_value *value,
                            const char *expected) {
  if (!value) return td_fail(TD_CORRUPT, "%s: %s: found nothing, expected %s", gguf->path, key, expected);
  return td_fail(TD_CORRUPT, "%s: %s: found %s%s, expected %s", gguf->path, key, type_name(value->type),
                 value->is_array ? " array" : "", expected);
}

static bool is_integer(uint32_t type) {
  return type <= TD_GGUF_I32 || type == TD_GGUF_U64 || type == TD_GGUF_I64;
}

/* Files and hosts are both little endian, so the low bytes come first; signed types are extended by hand. */
td_status td_gguf_element(const struct td_gguf *gguf, const struct td_gguf_value *value, uint64_t index, int64_t *out) {
  uint32_t bytes = td_gguf_type_bytes(value->type);
  uint64_t raw = 0;
  memcpy(&raw, value->data + index * bytes, bytes);
  bool is_signed = value->type == TD_GGUF_I8 || value->type == TD_GGUF_I16 || value->type == TD_GGUF_I32;
  uint64_t sign = UINT64_C(1) << (8 * bytes - 1);
  if (is_signed && (raw & sign)) raw |= ~(sign - 1);
  if (value->type == TD_GGUF_U64 && raw > INT64_MAX) {
    return td_fail(TD_CORRUPT, "%s: %.*s: found %" PRIu64 ", expected at most 2^63 - 1", gguf->path,
                   TD_SPAN_SHOW(value->key), raw);
  }
  *out = (int64_t)raw;
  return TD_OK;
}

td_status td_gguf_int(const struct td_gguf *gguf, const char *key, int64_t low, int64_t high, int64_t *out) {
  const struct td_gguf_value *value = td_gguf_find(gguf, key);
  if (!value || value->is_array || !is_integer(value->type)) return wrong_type(gguf, key, value, "an integer");
  int64_t number = 0;
  TD_TRY(td_gguf_element(gguf, value, 0, &number));
  if (number < low || number > high) {
    return td_fail(TD_CORRUPT, "%s: %s: found %" PRId64 ", expected %" PRId64 " to %" PRId64, gguf->path, key, number,
                   low, high);
  }
  *out = number;
  return TD_OK;
}

td_status td_gguf_real(const struct td_gguf *gguf, const char *key, double *out) {
  const struct td_gguf_value *value = td_gguf_find(gguf, key);
  if (!value || value->is_array || (value->type != TD_GGUF_F32 && value->type != TD_GGUF_F64)) {
    return wrong_type(gguf, key, value, "a float32 or float64");
  }
  float narrow;
  double number;
  if (value->type == TD_GGUF_F32) {
    memcpy(&narrow, value->data, sizeof narrow);
    number = (double)narrow;
  } else {
    memcpy(&number, value->data, sizeof number);
  }
  if (!isfinite(number)) return td_fail(TD_CORRUPT, "%s: %s: found %g, expected a number", gguf->path, key, number);
  *out = number;
  return TD_OK;
}

td_status td_gguf_bool(const struct td_gguf *gguf, const char *key, bool *out) {
  const struct td_gguf_value *value = td_gguf_find(gguf, key);
  if (!value || value->is_array || value->type != TD_GGUF_BOOL) return wrong_type(gguf, key, value, "a bool");
  *out = value->data[0] != 0;
  return TD_OK;
}

td_status td_gguf_text(const struct td_gguf *gguf, const char *key, struct td_span *out) {
  const struct td_gguf_value *value = td_gguf_find(gguf, key);
  if (!value || value->is_array || value->type != TD_GGUF_STRING) return wrong_type(gguf, key, value, "a string");
  const unsigned char *position = value->data;
  *out = td_gguf_next_text(&position);
  return TD_OK;
}

td_status td_gguf_array(const struct td_gguf *gguf, const char *key, uint32_t type, const struct td_gguf_value **out) {
  const struct td_gguf_value *value = td_gguf_find(gguf, key);
  if (!value || !value->is_array || value->type != type) {
    char expected[40];
    TD_TRY(td_format(expected, sizeof expected, "an array of %s", type_name(type)));
    return wrong_type(gguf, key, value, expected);
  }
  *out = value;
  return TD_OK;
}

struct td_span td_gguf_next_text(const unsigned char **position) {
  struct td_span text;
  memcpy(&text.bytes, *position, sizeof text.bytes);
  text.data = (const char *)*position + sizeof text.bytes;
  *position += sizeof text.bytes + text.bytes;
  return text;
}
