/* SPDX-License-Identifier: Apache-2.0
 *
 * Values of the template language.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "chat_jinja.h"

#define COMPARE_DEPTH_MAX 50

struct jinja_value td_jinja_text(struct td_span text) {
  return (struct jinja_value){.kind = JINJA_TEXT_VALUE, .text = text};
}

struct jinja_value td_jinja_words(const char *text) {
  return td_jinja_text((struct td_span){text, strlen(text)});
}

struct jinja_value td_jinja_int(int64_t number) {
  return (struct jinja_value){.kind = JINJA_NUMBER, .number = number};
}

struct jinja_value td_jinja_bool(bool yes) {
  return (struct jinja_value){.kind = JINJA_BOOL, .number = yes};
}

struct jinja_value td_jinja_missing(struct td_span name) {
  return (struct jinja_value){.kind = JINJA_UNDEFINED, .text = name};
}

/* Like td_grow, in the memory of the rendering; what was there before is left behind. */
static td_status grow(struct jinja *jinja, void **list, size_t *capacity, size_t need, size_t size) {
  size_t wanted = *capacity < 4 ? 4 : 2 * *capacity;
  void *grown;
  if (need <= *capacity) return TD_OK;
  TD_TRY(td_jinja_alloc(jinja, wanted * size, &grown));
  if (*capacity) memcpy(grown, *list, *capacity * size);
  *list = grown;
  *capacity = wanted;
  return TD_OK;
}

td_status td_jinja_array(struct jinja *jinja, struct jinja_value *out) {
  *out = (struct jinja_value){.kind = JINJA_ARRAY};
  return td_jinja_alloc(jinja, sizeof *out->array, (void **)&out->array);
}

td_status td_jinja_append(struct jinja *jinja, struct jinja_array *array, struct jinja_value value) {
  TD_TRY(grow(jinja, (void **)&array->items, &array->capacity, array->count + 1, sizeof value));
  array->items[array->count++] = value;
  return td_jinja_spend(jinja, 1);
}

td_status td_jinja_map(struct jinja *jinja, struct jinja_value *out) {
  *out = (struct jinja_value){.kind = JINJA_MAP};
  return td_jinja_alloc(jinja, sizeof *out->map, (void **)&out->map);
}

const struct jinja_value *td_jinja_get(const struct jinja_map *map, struct td_span key) {
  for (size_t i = 0; i < map->count; i++) {
    if (!td_span_compare(map->pairs[i].key, key)) return &map->pairs[i].value;
  }
  return NULL;
}

td_status td_jinja_put(struct jinja *jinja, struct jinja_map *map, struct td_span key, struct jinja_value value) {
  TD_TRY(td_jinja_spend(jinja, 1 + map->count / 8));
  for (size_t i = 0; i < map->count; i++) {
    if (td_span_compare(map->pairs[i].key, key)) continue;
    map->pairs[i].value = value;
    return TD_OK;
  }
  TD_TRY(grow(jinja, (void **)&map->pairs, &map->capacity, map->count + 1, sizeof *map->pairs));
  map->pairs[map->count++] = (struct jinja_pair){key, value};
  return TD_OK;
}

const char *td_jinja_kind_name(const struct jinja_value *value) {
  static const char *const names[] = {
      [JINJA_UNDEFINED] = "an undefined value",
      [JINJA_NONE] = "none",
      [JINJA_BOOL] = "a truth value",
      [JINJA_NUMBER] = "a number",
      [JINJA_TEXT_VALUE] = "a text",
      [JINJA_TODAY] = "a text with today's date",
      [JINJA_ARRAY] = "a list",
      [JINJA_MAP] = "a dictionary",
      [JINJA_FUNCTION] = "a function",
      [JINJA_METHOD] = "a method",
  };
  return names[value->kind];
}

bool td_jinja_truth(const struct jinja_value *value) {
  switch (value->kind) {
    case JINJA_UNDEFINED:
    case JINJA_NONE:
      return false;
    case JINJA_BOOL:
    case JINJA_NUMBER:
      return value->number != 0;
    case JINJA_TEXT_VALUE:
      return value->text.bytes != 0;
    case JINJA_ARRAY:
      return value->array->count != 0;
    case JINJA_MAP:
      return value->map->count != 0 || value->map->open;
    default:
      return true;
  }
}

static bool is_number(const struct jinja_value *value) {
  return value->kind == JINJA_BOOL || value->kind == JINJA_NUMBER;
}

static td_status equal(struct jinja *jinja, const struct jinja_value *a, const struct jinja_value *b, int depth,
                       bool *out);

static td_status equal_arrays(struct jinja *jinja, const struct jinja_array *a, const struct jinja_array *b, int depth,
                              bool *out) {
  *out = a->count == b->count;
  for (size_t i = 0; *out && i < a->count; i++) TD_TRY(equal(jinja, &a->items[i], &b->items[i], depth, out));
  return TD_OK;
}

static td_status equal_maps(struct jinja *jinja, const struct jinja_map *a, const struct jinja_map *b, int depth,
                            bool *out) {
  *out = a == b || (a->count == b->count && !a->open && !b->open);
  for (size_t i = 0; *out && a != b && i < a->count; i++) {
    const struct jinja_value *other = td_jinja_get(b, a->pairs[i].key);
    *out = other != NULL;
    if (other) TD_TRY(equal(jinja, &a->pairs[i].value, other, depth, out));
  }
  return TD_OK;
}

static td_status equal(struct jinja *jinja, const struct jinja_value *a, const struct jinja_value *b, int depth,
                       bool *out) {
  *out = false;
  TD_TRY(td_jinja_spend(jinja, 1));
  if (depth > COMPARE_DEPTH_MAX) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, 0, "found lists nested over %d deep in a comparison",
                         COMPARE_DEPTH_MAX);
  }
  if (a->kind == JINJA_TODAY || b->kind == JINJA_TODAY) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, 0, "found a comparison with today's date, expected none");
  }
  if (is_number(a) && is_number(b)) *out = a->number == b->number;
  if (a->kind != b->kind) return TD_OK;
  if (a->kind == JINJA_NONE || a->kind == JINJA_UNDEFINED) *out = true;
  if (a->kind == JINJA_FUNCTION) *out = !td_span_compare(a->text, b->text) && a->macro == b->macro;
  if (a->kind == JINJA_TEXT_VALUE) {
    TD_TRY(td_jinja_spend(jinja, a->text.bytes / 64));
    *out = !td_span_compare(a->text, b->text);
  }
  if (a->kind == JINJA_ARRAY) return equal_arrays(jinja, a->array, b->array, depth + 1, out);
  return a->kind == JINJA_MAP ? equal_maps(jinja, a->map, b->map, depth + 1, out) : TD_OK;
}

td_status td_jinja_equal(struct jinja *jinja, const struct jinja_value *a, const struct jinja_value *b, bool *out) {
  return equal(jinja, a, b, 0, out);
}

td_status td_jinja_written(struct jinja *jinja, const struct jinja_value *value, int32_t line, struct td_span *out) {
  char digits[32];
  switch (value->kind) {
    case JINJA_UNDEFINED:
      *out = (struct td_span){"", 0};
      return TD_OK;
    case JINJA_NONE:
      *out = (struct td_span){"None", 4};
      return TD_OK;
    case JINJA_BOOL:
      *out = value->number ? (struct td_span){"True", 4} : (struct td_span){"False", 5};
      return TD_OK;
    case JINJA_NUMBER:
      snprintf(digits, sizeof digits, "%" PRId64, value->number);
      return td_jinja_join(jinja, (struct td_span){digits, strlen(digits)}, (struct td_span){"", 0}, out);
    case JINJA_TEXT_VALUE:
      *out = value->text;
      return TD_OK;
    case JINJA_TODAY:
      return td_jinja_fail(jinja, TD_UNSUPPORTED, line,
                           "found that it writes today's date, expected a text that does not change (a system message "
                           "may take its place)");
    default:
      return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found that it writes %s out, expected a text",
                           td_jinja_kind_name(value));
  }
}

/* ---- JSON, as json.dumps(ensure_ascii=False) writes it ---- */

static void add_json_text(struct td_span text, struct td_text *out) {
  static const char letters[] = "\"\\\n\r\t\b\f", escapes[] = "\"\\nrtbf";
  td_text_add(out, "\"", 1);
  for (uint64_t i = 0; i < text.bytes; i++) {
    unsigned char c = (unsigned char)text.data[i];
    const char *known = c ? strchr(letters, c) : NULL;
    if (known) {
      td_text_printf(out, "\\%c", escapes[known - letters]);
    } else if (c < 0x20) {
      td_text_printf(out, "\\u%04x", c);
    } else {
      td_text_add(out, &text.data[i], 1);
    }
  }
  td_text_add(out, "\"", 1);
}

static td_status add_json(struct jinja *jinja, const struct jinja_value *value, int32_t line, int depth,
                          struct td_text *out);

static td_status add_json_list(struct jinja *jinja, const struct jinja_value *value, int32_t line, int depth,
                               struct td_text *out) {
  bool array = value->kind == JINJA_ARRAY;
  size_t count = array ? value->array->count : value->map->count;
  td_text_add(out, array ? "[" : "{", 1);
  for (size_t i = 0; i < count; i++) {
    if (i) td_text_add(out, ", ", 2);
    if (!array) {
      add_json_text(value->map->pairs[i].key, out);
      td_text_add(out, ": ", 2);
    }
    TD_TRY(add_json(jinja, array ? &value->array->items[i] : &value->map->pairs[i].value, line, depth + 1, out));
  }
  td_text_add(out, array ? "]" : "}", 1);
  return TD_OK;
}

static td_status add_json(struct jinja *jinja, const struct jinja_value *value, int32_t line, int depth,
                          struct td_text *out) {
  TD_TRY(td_jinja_spend(jinja, 1));
  bool list = value->kind == JINJA_ARRAY || (value->kind == JINJA_MAP && !value->map->open);
  if (out->bytes > jinja->limit || (list && depth > COMPARE_DEPTH_MAX)) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found JSON that is too large");
  }
  if (list) return add_json_list(jinja, value, line, depth, out);
  if (value->kind == JINJA_TEXT_VALUE) {
    TD_TRY(td_jinja_spend(jinja, value->text.bytes / 16));
    add_json_text(value->text, out);
  } else if (value->kind == JINJA_NUMBER) {
    td_text_printf(out, "%" PRId64, value->number);
  } else if (value->kind == JINJA_BOOL) {
    td_text_printf(out, "%s", value->number ? "true" : "false");
  } else if (value->kind == JINJA_NONE) {
    td_text_printf(out, "null");
  } else {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found %s to be written as JSON", td_jinja_kind_name(value));
  }
  return TD_OK;
}

td_status td_jinja_json(struct jinja *jinja, const struct jinja_value *value, int32_t line, struct td_text *out) {
  return add_json(jinja, value, line, 0, out);
}
