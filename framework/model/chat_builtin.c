/* SPDX-License-Identifier: Apache-2.0
 *
 * Functions and the methods of texts and dictionaries.
 */
#include <string.h>

#include "chat_jinja.h"

#define RANGE_MAX 100000

/* ---- functions ---- */

static td_status raise(struct jinja *jinja, const struct jinja_call *call) {
  const struct jinja_value *words = td_jinja_argument(call, 0, "message");
  struct td_span text = {"", 0};
  if (words) TD_TRY(td_jinja_written(jinja, words, call->line, &text));
  return td_jinja_fail(jinja, TD_CONFIG, 0, "the template refuses this conversation: \"%.*s\"",
                       (int)(text.bytes < 300 ? text.bytes : 300), text.data);
}

static td_status named_values(struct jinja *jinja, const struct jinja_call *call, bool open, struct jinja_value *out) {
  TD_TRY(td_jinja_map(jinja, out));
  out->map->open = open;
  for (size_t i = 0; i < call->count; i++) {
    if (!call->names[i].bytes) {
      return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found a value without name, expected name=value");
    }
    TD_TRY(td_jinja_put(jinja, out->map, call->names[i], call->values[i]));
  }
  return TD_OK;
}

static td_status range(struct jinja *jinja, const struct jinja_call *call, struct jinja_value *out) {
  int64_t numbers[3] = {0, 0, 1};
  for (size_t i = 0; i < call->count && i < 3; i++) numbers[i] = call->values[i].number;
  for (size_t i = 0; i < call->count; i++) {
    if (i < 3 && call->values[i].kind == JINJA_NUMBER && numbers[i] > -(INT64_C(1) << 40) &&
        numbers[i] < INT64_C(1) << 40)
      continue;
    return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found a range of %s, expected numbers",
                         td_jinja_kind_name(&call->values[i]));
  }
  if (call->count == 1) {
    numbers[1] = numbers[0];
    numbers[0] = 0;
  }
  int64_t begin = numbers[0], end = numbers[1], step = numbers[2];
  if (!call->count || !step || (step > 0 ? end - begin : begin - end) / (step > 0 ? step : -step) > RANGE_MAX) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found a range that is empty of sense or over %d long",
                         RANGE_MAX);
  }
  TD_TRY(td_jinja_array(jinja, out));
  for (int64_t i = begin; step > 0 ? i < end : i > end; i += step) {
    TD_TRY(td_jinja_append(jinja, out->array, td_jinja_int(i)));
  }
  return TD_OK;
}

td_status td_jinja_function(struct jinja *jinja, struct td_span name, const struct jinja_call *call,
                            struct jinja_value *out) {
  if (td_span_is(name, "raise_exception")) return raise(jinja, call);
  if (td_span_is(name, "range")) return range(jinja, call, out);
  if (td_span_is(name, "namespace")) return named_values(jinja, call, true, out);
  if (td_span_is(name, "dict")) return named_values(jinja, call, false, out);
  *out = (struct jinja_value){.kind = JINJA_TODAY};
  return TD_OK;
}

/* ---- methods ---- */

static td_status text_argument(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                               size_t place, struct td_span *out) {
  if (place < call->count && call->values[place].kind == JINJA_TEXT_VALUE) {
    *out = call->values[place].text;
    return TD_OK;
  }
  return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found argument %zu of %.*s to be %s, expected a text",
                       place + 1, TD_SPAN_SHOW(method->text),
                       place < call->count ? td_jinja_kind_name(&call->values[place]) : "missing");
}

static td_status strip(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                       struct jinja_value *out) {
  struct td_span set = {0};
  bool left = !td_span_is(method->text, "rstrip"), right = !td_span_is(method->text, "lstrip");
  bool given = call->count && call->values[0].kind != JINJA_NONE;
  if (given) TD_TRY(text_argument(jinja, method, call, 0, &set));
  *out = td_jinja_text(td_jinja_strip(method->self->text, given ? &set : NULL, left, right));
  return TD_OK;
}

/* Without a separator: at white space, and without empty parts. */
static td_status split_words(struct jinja *jinja, struct td_span text, struct jinja_array *out) {
  while ((text = td_jinja_strip(text, NULL, true, false)).bytes) {
    size_t bytes = 0;
    while (bytes < text.bytes) {
      struct td_span rest = {text.data + bytes, text.bytes - bytes};
      if (td_jinja_strip(rest, NULL, true, false).bytes != rest.bytes) break;
      bytes += td_jinja_offset(rest, 1);
    }
    TD_TRY(td_jinja_append(jinja, out, td_jinja_text((struct td_span){text.data, bytes})));
    text = (struct td_span){text.data + bytes, text.bytes - bytes};
  }
  return TD_OK;
}

static td_status split(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                       struct jinja_value *out) {
  struct td_span text = method->self->text, word = {0};
  int64_t most = call->count > 1 ? call->values[1].number : -1, at;
  TD_TRY(td_jinja_array(jinja, out));
  if (!call->count || (call->count == 1 && call->values[0].kind == JINJA_NONE)) {
    return split_words(jinja, text, out->array);
  }
  TD_TRY(text_argument(jinja, method, call, 0, &word));
  if (!word.bytes) return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found a split at the empty text");
  while ((most < 0 || (int64_t)out->array->count < most) && (at = td_jinja_search(text, word, 0)) >= 0) {
    TD_TRY(td_jinja_append(jinja, out->array, td_jinja_text((struct td_span){text.data, (uint64_t)at})));
    text = (struct td_span){text.data + at + word.bytes, text.bytes - (uint64_t)at - word.bytes};
  }
  return td_jinja_append(jinja, out->array, td_jinja_text(text));
}

static bool starts_with(struct td_span text, struct td_span word, bool at_end) {
  if (word.bytes > text.bytes) return false;
  const char *from = at_end ? text.data + text.bytes - word.bytes : text.data;
  return !word.bytes || !memcmp(from, word.data, word.bytes);
}

/* startswith and endswith take several texts too. */
static td_status starts(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                        struct jinja_value *out) {
  bool at_end = td_span_is(method->text, "endswith"), yes = false;
  struct td_span word = {0};
  if (call->count == 1 && call->values[0].kind == JINJA_ARRAY) {
    const struct jinja_array *words = call->values[0].array;
    for (size_t i = 0; i < words->count; i++) {
      const struct jinja_call one = {call->line, &words->items[i], call->names, 1};
      TD_TRY(text_argument(jinja, method, &one, 0, &word));
      yes = yes || starts_with(method->self->text, word, at_end);
    }
  } else {
    TD_TRY(text_argument(jinja, method, call, 0, &word));
    yes = starts_with(method->self->text, word, at_end);
  }
  *out = td_jinja_bool(yes);
  return TD_OK;
}

static td_status remove_affix(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                              struct jinja_value *out) {
  bool at_end = td_span_is(method->text, "removesuffix");
  struct td_span text = method->self->text, word = {0};
  TD_TRY(text_argument(jinja, method, call, 0, &word));
  if (starts_with(text, word, at_end)) {
    text = (struct td_span){text.data + (at_end ? 0 : word.bytes), text.bytes - word.bytes};
  }
  *out = td_jinja_text(text);
  return TD_OK;
}

static td_status count_or_find(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                               struct jinja_value *out) {
  struct td_span text = method->self->text, word = {0};
  int64_t at = 0, count = 0;
  TD_TRY(text_argument(jinja, method, call, 0, &word));
  if (call->count > 1 || !word.bytes) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found %.*s of an empty text or with bounds",
                         TD_SPAN_SHOW(method->text));
  }
  int64_t first = td_jinja_search(text, word, 0);
  while ((at = td_jinja_search(text, word, (size_t)at)) >= 0) {
    count++;
    at += (int64_t)word.bytes;
  }
  int64_t found = first < 0 ? -1 : td_jinja_characters((struct td_span){text.data, (uint64_t)first});
  *out = td_jinja_int(td_span_is(method->text, "count") ? count : found);
  return TD_OK;
}

/* A filter of the same name and meaning. */
static td_status as_filter(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                           struct jinja_value *out) {
  return td_jinja_filter(jinja, method->text, method->self, call, out);
}

/* separator.join(list) is list | join(separator). */
static td_status join(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                      struct jinja_value *out) {
  struct jinja_value separator = *method->self;
  struct td_span no_name = {"", 0};
  const struct jinja_call turned = {call->line, &separator, &no_name, 1};
  if (call->count != 1) return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found a join of %zu", call->count);
  return td_jinja_filter(jinja, method->text, &call->values[0], &turned, out);
}

static td_status map_method(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                            struct jinja_value *out) {
  const struct jinja_map *map = method->self->map;
  if (td_span_is(method->text, "get")) {
    struct td_span key = {0};
    TD_TRY(text_argument(jinja, method, call, 0, &key));
    const struct jinja_value *found = td_jinja_get(map, key), *other = td_jinja_argument(call, 1, "default");
    *out = found ? *found : other ? *other : (struct jinja_value){.kind = JINJA_NONE};
    return TD_OK;
  }
  TD_TRY(td_jinja_array(jinja, out));
  for (size_t i = 0; i < map->count; i++) {
    struct jinja_value key = td_jinja_text(map->pairs[i].key), item = key;
    if (td_span_is(method->text, "values")) item = map->pairs[i].value;
    if (td_span_is(method->text, "items")) {
      TD_TRY(td_jinja_array(jinja, &item));
      TD_TRY(td_jinja_append(jinja, item.array, key));
      TD_TRY(td_jinja_append(jinja, item.array, map->pairs[i].value));
    }
    TD_TRY(td_jinja_append(jinja, out->array, item));
  }
  return TD_OK;
}

td_status td_jinja_method(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                          struct jinja_value *out) {
  static const struct {
    const char *name;
    td_status (*run)(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                     struct jinja_value *out);
  } methods[] = {{"strip", strip},
                 {"lstrip", strip},
                 {"rstrip", strip},
                 {"split", split},
                 {"startswith", starts},
                 {"endswith", starts},
                 {"upper", as_filter},
                 {"lower", as_filter},
                 {"title", as_filter},
                 {"capitalize", as_filter},
                 {"replace", as_filter},
                 {"join", join},
                 {"find", count_or_find},
                 {"count", count_or_find},
                 {"removeprefix", remove_affix},
                 {"removesuffix", remove_affix}};
  if (method->self->kind == JINJA_MAP) return map_method(jinja, method, call, out);
  if (method->self->kind == JINJA_TODAY) {
    *out = *method->self;
    return TD_OK;
  }
  TD_TRY(td_jinja_spend(jinja, 1 + method->self->text.bytes / 16));
  for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
    if (td_span_is(method->text, methods[i].name)) return methods[i].run(jinja, method, call, out);
  }
  return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found the method \"%.*s\", which tandem does not know",
                       TD_SPAN_SHOW(method->text));
}
