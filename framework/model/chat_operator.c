/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators, attributes, items and slices.
 */
#include <string.h>

#include "chat_jinja.h"

static bool is_number(const struct jinja_value *value) {
  return value->kind == JINJA_NUMBER || value->kind == JINJA_BOOL;
}

static bool is_text(const struct jinja_value *value) {
  return value->kind == JINJA_TEXT_VALUE || value->kind == JINJA_TODAY;
}

static td_status wrong_kinds(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *a,
                             const struct jinja_value *b) {
  struct td_span name = a->kind == JINJA_UNDEFINED ? a->text : b->kind == JINJA_UNDEFINED ? b->text : node->text;
  return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found %s %.*s %s, where no such thing is defined (%.*s)",
                       td_jinja_kind_name(a), TD_SPAN_SHOW(node->text), td_jinja_kind_name(b), TD_SPAN_SHOW(name));
}

/* ---- numbers ---- */

static bool multiply(int64_t a, int64_t b, int64_t *out) {
  return !__builtin_mul_overflow(a, b, out);
}

/* As Python: rounds down, and the remainder has the divisor's sign. */
static bool divide(int64_t a, int64_t b, int64_t *out_quotient, int64_t *out_rest) {
  if (!b || (a == INT64_MIN && b == -1)) return false;
  *out_quotient = a / b;
  *out_rest = a % b;
  if (*out_rest && (*out_rest < 0) != (b < 0)) {
    *out_rest += b;
    --*out_quotient;
  }
  return true;
}

static td_status calculate(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *a,
                           const struct jinja_value *b, struct jinja_value *out) {
  int64_t result = 0, other = 0;
  bool fits = false, known = true;
  if (td_span_is(node->text, "+")) {
    fits = !__builtin_add_overflow(a->number, b->number, &result);
  } else if (td_span_is(node->text, "-")) {
    fits = !__builtin_sub_overflow(a->number, b->number, &result);
  } else if (td_span_is(node->text, "*")) {
    fits = multiply(a->number, b->number, &result);
  } else if (td_span_is(node->text, "//")) {
    fits = divide(a->number, b->number, &result, &other);
  } else if (td_span_is(node->text, "%")) {
    fits = divide(a->number, b->number, &other, &result);
  } else {
    known = false;
  }
  if (!known) return wrong_kinds(jinja, node, a, b);
  if (!fits) return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found a number out of range, or a division by 0");
  *out = td_jinja_int(result);
  return TD_OK;
}

/* ---- texts and lists ---- */

static td_status join_texts(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *a,
                            const struct jinja_value *b, struct jinja_value *out) {
  struct td_span left, right, text;
  if (a->kind == JINJA_TODAY || b->kind == JINJA_TODAY) {
    *out = (struct jinja_value){.kind = JINJA_TODAY};
    return TD_OK;
  }
  TD_TRY(td_jinja_written(jinja, a, node->line, &left));
  TD_TRY(td_jinja_written(jinja, b, node->line, &right));
  TD_TRY(td_jinja_join(jinja, left, right, &text));
  *out = td_jinja_text(text);
  return td_jinja_spend(jinja, text.bytes / 64);
}

static td_status join_arrays(struct jinja *jinja, const struct jinja_value *a, const struct jinja_value *b,
                             struct jinja_value *out) {
  TD_TRY(td_jinja_array(jinja, out));
  for (size_t i = 0; i < a->array->count; i++) TD_TRY(td_jinja_append(jinja, out->array, a->array->items[i]));
  for (size_t i = 0; i < b->array->count; i++) TD_TRY(td_jinja_append(jinja, out->array, b->array->items[i]));
  return TD_OK;
}

static td_status contains(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *part,
                          const struct jinja_value *whole, bool *out) {
  *out = false;
  if (whole->kind == JINJA_UNDEFINED) return TD_OK;
  if (whole->kind == JINJA_TEXT_VALUE && part->kind == JINJA_TEXT_VALUE) {
    *out = td_jinja_search(whole->text, part->text, 0) >= 0;
    return td_jinja_spend(jinja, whole->text.bytes / 64);
  }
  if (whole->kind == JINJA_MAP) {
    *out = part->kind == JINJA_TEXT_VALUE && td_jinja_get(whole->map, part->text);
    return td_jinja_spend(jinja, whole->map->count / 8);
  }
  if (whole->kind != JINJA_ARRAY) return wrong_kinds(jinja, node, part, whole);
  for (size_t i = 0; i < whole->array->count && !*out; i++) {
    TD_TRY(td_jinja_equal(jinja, part, &whole->array->items[i], out));
  }
  return TD_OK;
}

static td_status order(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *a,
                       const struct jinja_value *b, struct jinja_value *out) {
  int sign;
  if (is_number(a) && is_number(b)) {
    sign = (a->number > b->number) - (a->number < b->number);
  } else if (a->kind == JINJA_TEXT_VALUE && b->kind == JINJA_TEXT_VALUE) {
    sign = td_span_compare(a->text, b->text); /* UTF-8 sorts like its characters */
  } else {
    return wrong_kinds(jinja, node, a, b);
  }
  bool strict = node->text.bytes == 1, less = node->text.data[0] == '<';
  *out = td_jinja_bool(sign ? (sign < 0) == less : !strict);
  return TD_OK;
}

td_status td_jinja_binary(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *a,
                          const struct jinja_value *b, struct jinja_value *out) {
  struct td_span sign = node->text;
  bool is_equal, is_inside;
  if (td_span_is(sign, "==") || td_span_is(sign, "!=")) {
    TD_TRY(td_jinja_equal(jinja, a, b, &is_equal));
    *out = td_jinja_bool(is_equal == td_span_is(sign, "=="));
    return TD_OK;
  }
  if (td_span_is(sign, "in") || td_span_is(sign, "not in")) {
    TD_TRY(contains(jinja, node, a, b, &is_inside));
    *out = td_jinja_bool(is_inside == td_span_is(sign, "in"));
    return TD_OK;
  }
  if (sign.data[0] == '<' || sign.data[0] == '>') return order(jinja, node, a, b, out);
  if (td_span_is(sign, "~")) return join_texts(jinja, node, a, b, out);
  if (td_span_is(sign, "+") && is_text(a) && is_text(b)) return join_texts(jinja, node, a, b, out);
  if (td_span_is(sign, "+") && a->kind == JINJA_ARRAY && b->kind == JINJA_ARRAY) return join_arrays(jinja, a, b, out);
  if (is_number(a) && is_number(b)) return calculate(jinja, node, a, b, out);
  return wrong_kinds(jinja, node, a, b);
}

/* ---- parts of values ---- */

static bool has_method(const struct jinja_value *self, struct td_span name) {
  static const char *const of_text[] = {
      "strip", "lstrip", "rstrip",     "split",   "startswith", "endswith",     "upper",        "lower", "title",
      "find",  "join",   "capitalize", "replace", "splitlines", "removeprefix", "removesuffix", "count", NULL};
  static const char *const of_map[] = {"get", "items", "keys", "values", NULL};
  const char *const *names = is_text(self) ? of_text : self->kind == JINJA_MAP && !self->map->open ? of_map : NULL;
  for (; names && *names; names++) {
    if (td_span_is(name, *names)) return true;
  }
  return false;
}

static td_status undefined_part(struct jinja *jinja, const struct jinja_value *self, struct td_span name,
                                int32_t line) {
  return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found \"%.*s\" of \"%.*s\", which is not defined",
                       TD_SPAN_SHOW(name), TD_SPAN_SHOW(self->text));
}

td_status td_jinja_attribute(struct jinja *jinja, const struct jinja_value *self, struct td_span name, int32_t line,
                             struct jinja_value *out) {
  struct jinja_value *copy;
  if (self->kind == JINJA_UNDEFINED) return undefined_part(jinja, self, name, line);
  if (has_method(self, name)) {
    TD_TRY(td_jinja_alloc(jinja, sizeof *copy, (void **)&copy));
    *copy = *self;
    *out = (struct jinja_value){.kind = JINJA_METHOD, .text = name, .self = copy};
    return TD_OK;
  }
  const struct jinja_value *found = NULL;
  if (self->kind == JINJA_MAP) {
    TD_TRY(td_jinja_spend(jinja, self->map->count / 8));
    found = td_jinja_get(self->map, name);
  }
  *out = found ? *found : td_jinja_missing(name);
  return TD_OK;
}

static td_status item_of_text(struct jinja *jinja, struct td_span text, int64_t index, struct jinja_value *out) {
  int64_t count = td_jinja_characters(text);
  TD_TRY(td_jinja_spend(jinja, text.bytes / 16));
  if (index < 0) index += count;
  *out = td_jinja_missing((struct td_span){"an index", 8});
  if (index < 0 || index >= count) return TD_OK;
  size_t begin = td_jinja_offset(text, index), end = td_jinja_offset(text, index + 1);
  *out = td_jinja_text((struct td_span){text.data + begin, end - begin});
  return TD_OK;
}

td_status td_jinja_item(struct jinja *jinja, const struct jinja_value *self, const struct jinja_value *index,
                        int32_t line, struct jinja_value *out) {
  if (self->kind == JINJA_UNDEFINED) return undefined_part(jinja, self, (struct td_span){"an item", 7}, line);
  *out = td_jinja_missing((struct td_span){"an item", 7});
  if (index->kind == JINJA_TEXT_VALUE && self->kind == JINJA_MAP) {
    TD_TRY(td_jinja_spend(jinja, self->map->count / 8));
    const struct jinja_value *found = td_jinja_get(self->map, index->text);
    *out = found ? *found : td_jinja_missing(index->text);
  } else if (is_number(index) && self->kind == JINJA_ARRAY) {
    int64_t count = (int64_t)self->array->count, at = index->number < 0 ? index->number + count : index->number;
    if (at >= 0 && at < count) *out = self->array->items[at];
  } else if (is_number(index) && self->kind == JINJA_TEXT_VALUE) {
    return item_of_text(jinja, self->text, index->number, out);
  }
  return TD_OK;
}

/* Python's rule for the bounds of a slice: counted from the end when negative, then held inside. */
static int64_t bound(const struct jinja_value *value, int64_t absent, int64_t count, int64_t low, int64_t high) {
  if (value->kind == JINJA_NONE) return absent;
  int64_t at = value->number < 0 ? value->number + count : value->number;
  return at < low ? low : at > high ? high : at;
}

static td_status slice_text(struct jinja *jinja, struct td_span text, int64_t begin, int64_t end, int64_t step,
                            struct jinja_value *out) {
  struct td_text reversed = {0};
  if (step == 1) {
    size_t from = td_jinja_offset(text, begin), to = td_jinja_offset(text, end > begin ? end : begin);
    *out = td_jinja_text((struct td_span){text.data + from, to - from});
    return TD_OK;
  }
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    struct jinja_value item;
    td_status status = item_of_text(jinja, text, i, &item);
    if (status) {
      td_text_free(&reversed);
      return status;
    }
    td_text_add(&reversed, item.text.data, item.text.bytes);
  }
  struct td_span whole = {reversed.data, reversed.bytes};
  td_status status = td_jinja_join(jinja, whole, (struct td_span){"", 0}, &whole);
  td_text_free(&reversed);
  *out = td_jinja_text(whole);
  return status;
}

td_status td_jinja_slice(struct jinja *jinja, const struct jinja_value *self, const struct jinja_value bounds[3],
                         int32_t line, struct jinja_value *out) {
  bool array = self->kind == JINJA_ARRAY;
  if (self->kind == JINJA_UNDEFINED) return undefined_part(jinja, self, (struct td_span){"a slice", 7}, line);
  for (int i = 0; i < 3; i++) {
    if (bounds[i].kind == JINJA_NONE || is_number(&bounds[i])) continue;
    return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found %s as the bound of a slice, expected a number",
                         td_jinja_kind_name(&bounds[i]));
  }
  int64_t step = bounds[2].kind == JINJA_NONE ? 1 : bounds[2].number;
  if ((!array && self->kind != JINJA_TEXT_VALUE) || !step || step < -(1 << 30) || step > 1 << 30) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found a slice of %s with step %lld, expected one of a list",
                         td_jinja_kind_name(self), (long long)step);
  }
  int64_t count = array ? (int64_t)self->array->count : td_jinja_characters(self->text);
  int64_t low = step > 0 ? 0 : -1, high = step > 0 ? count : count - 1;
  int64_t begin = bound(&bounds[0], step > 0 ? 0 : high, count, low, high);
  int64_t end = bound(&bounds[1], step > 0 ? high : low, count, low, high);
  TD_TRY(td_jinja_spend(jinja, array ? 1 : 1 + self->text.bytes / 16));
  if (!array) return slice_text(jinja, self->text, begin, end, step, out);
  TD_TRY(td_jinja_array(jinja, out));
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    TD_TRY(td_jinja_append(jinja, out->array, self->array->items[i]));
  }
  return TD_OK;
}

td_status td_jinja_items(struct jinja *jinja, const struct jinja_value *value, int32_t line, struct jinja_value *out) {
  if (value->kind == JINJA_ARRAY) {
    *out = *value;
    return TD_OK;
  }
  TD_TRY(td_jinja_array(jinja, out));
  if (value->kind == JINJA_UNDEFINED) return TD_OK;
  if (value->kind == JINJA_MAP) {
    for (size_t i = 0; i < value->map->count; i++) {
      TD_TRY(td_jinja_append(jinja, out->array, td_jinja_text(value->map->pairs[i].key)));
    }
    return TD_OK;
  }
  if (value->kind != JINJA_TEXT_VALUE) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found %s, expected a list", td_jinja_kind_name(value));
  }
  for (size_t at = 0, bytes; at < value->text.bytes; at += bytes) {
    struct td_span rest = {value->text.data + at, value->text.bytes - at};
    bytes = td_jinja_offset(rest, 1);
    TD_TRY(td_jinja_append(jinja, out->array, td_jinja_text((struct td_span){rest.data, bytes})));
  }
  return TD_OK;
}
