/* SPDX-License-Identifier: Apache-2.0
 *
 * Filters and tests.
 */
#include <string.h>

#include "chat_jinja.h"

typedef td_status filter_run(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                             const struct jinja_call *call, struct jinja_value *out);

static td_status unknown(struct jinja *jinja, const char *what, struct td_span name, int32_t line) {
  return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found the %s \"%.*s\", which tandem does not know", what,
                       TD_SPAN_SHOW(name));
}

static td_status copy_text(struct jinja *jinja, struct td_text *text, struct jinja_value *out) {
  struct td_span span = {text->data, text->bytes};
  td_status status = text->failed ? td_fail(TD_NO_MEMORY, "no memory for a conversation")
                                  : td_jinja_join(jinja, span, (struct td_span){"", 0}, &span);
  td_text_free(text);
  *out = td_jinja_text(span);
  return status;
}

/* ---- texts ---- */

static td_status trim(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                      const struct jinja_call *call, struct jinja_value *out) {
  struct td_span text;
  (void)name;
  const struct jinja_value *set = td_jinja_argument(call, 0, "chars");
  TD_TRY(td_jinja_written(jinja, value, call->line, &text));
  bool given = set && set->kind == JINJA_TEXT_VALUE;
  *out = td_jinja_text(td_jinja_strip(text, given ? &set->text : NULL, true, true));
  return TD_OK;
}

static char change_case(char c, bool up) {
  if (up) return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
  return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* upper, lower, title, capitalize: of ASCII, since other scripts need tables that no template has called for. */
static td_status letters(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                         const struct jinja_call *call, struct jinja_value *out) {
  struct td_span text;
  char *copy;
  TD_TRY(td_jinja_written(jinja, value, call->line, &text));
  TD_TRY(td_jinja_alloc(jinja, text.bytes + 1, (void **)&copy));
  for (uint64_t i = 0; i < text.bytes; i++) {
    if ((unsigned char)text.data[i] >= 0x80) {
      return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found %.*s of a text that is not ASCII",
                           TD_SPAN_SHOW(name));
    }
    bool first = td_span_is(name, "title") ? !i || !is_letter(text.data[i - 1]) : !i;
    copy[i] = change_case(text.data[i], td_span_is(name, "upper") || (!td_span_is(name, "lower") && first));
  }
  *out = td_jinja_text((struct td_span){copy, text.bytes});
  return TD_OK;
}

static td_status replace(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                         const struct jinja_call *call, struct jinja_value *out) {
  struct td_span text, old, new;
  struct td_text result = {0};
  int64_t at;
  (void)name;
  TD_TRY(td_jinja_written(jinja, value, call->line, &text));
  if (call->count != 2) return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found replace with a count");
  TD_TRY(td_jinja_written(jinja, &call->values[0], call->line, &old));
  TD_TRY(td_jinja_written(jinja, &call->values[1], call->line, &new));
  if (!old.bytes) return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found replace of the empty text");
  while ((at = td_jinja_search(text, old, 0)) >= 0 && result.bytes <= jinja->limit) {
    td_text_add(&result, text.data, (size_t)at);
    td_text_add(&result, new.data, new.bytes);
    text = (struct td_span){text.data + at + old.bytes, text.bytes - (uint64_t)at - old.bytes};
  }
  td_text_add(&result, text.data, text.bytes);
  return copy_text(jinja, &result, out);
}

static td_status string(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                        const struct jinja_call *call, struct jinja_value *out) {
  struct td_span text;
  (void)name;
  *out = *value;
  if (value->kind == JINJA_TODAY) return TD_OK;
  TD_TRY(td_jinja_written(jinja, value, call->line, &text));
  *out = td_jinja_text(text);
  return TD_OK;
}

static td_status json(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                      const struct jinja_call *call, struct jinja_value *out) {
  struct td_text text = {0};
  const struct jinja_value *indent = td_jinja_argument(call, 9, "indent");
  (void)name;
  if (indent && indent->kind != JINJA_NONE)
    return unknown(jinja, "argument", (struct td_span){"indent", 6}, call->line);
  td_status status = td_jinja_json(jinja, value, call->line, &text);
  if (status == TD_OK) return copy_text(jinja, &text, out);
  td_text_free(&text);
  return status;
}

/* ---- lists ---- */

static td_status length(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                        const struct jinja_call *call, struct jinja_value *out) {
  (void)name;
  switch (value->kind) {
    case JINJA_UNDEFINED:
      *out = td_jinja_int(0);
      return TD_OK;
    case JINJA_ARRAY:
      *out = td_jinja_int((int64_t)value->array->count);
      return TD_OK;
    case JINJA_MAP:
      *out = td_jinja_int((int64_t)value->map->count);
      return TD_OK;
    case JINJA_TEXT_VALUE:
      *out = td_jinja_int(td_jinja_characters(value->text));
      return TD_OK;
    default:
      return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found the length of %s", td_jinja_kind_name(value));
  }
}

static td_status list(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                      const struct jinja_call *call, struct jinja_value *out) {
  struct jinja_value items;
  TD_TRY(td_jinja_items(jinja, value, call->line, &items));
  *out = items;
  size_t count = items.array->count;
  if (td_span_is(name, "list")) return TD_OK;
  if (td_span_is(name, "reverse")) {
    TD_TRY(td_jinja_array(jinja, out));
    for (size_t i = count; i > 0; i--) TD_TRY(td_jinja_append(jinja, out->array, items.array->items[i - 1]));
    return TD_OK;
  }
  *out = td_jinja_missing(name);
  if (count) *out = items.array->items[td_span_is(name, "last") ? count - 1 : 0];
  return TD_OK;
}

static td_status items(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                       const struct jinja_call *call, struct jinja_value *out) {
  struct jinja_value method = {.kind = JINJA_METHOD, .text = name, .self = value};
  if (value->kind == JINJA_MAP) return td_jinja_method(jinja, &method, call, out);
  if (value->kind == JINJA_UNDEFINED) return td_jinja_array(jinja, out);
  return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found items of %s", td_jinja_kind_name(value));
}

static td_status join(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                      const struct jinja_call *call, struct jinja_value *out) {
  struct jinja_value parts;
  struct td_span between = {"", 0}, part;
  struct td_text text = {0};
  const struct jinja_value *separator = td_jinja_argument(call, 0, "d");
  (void)name;
  if (separator) TD_TRY(td_jinja_written(jinja, separator, call->line, &between));
  TD_TRY(td_jinja_items(jinja, value, call->line, &parts));
  td_status status = TD_OK;
  for (size_t i = 0; i < parts.array->count && status == TD_OK && text.bytes <= jinja->limit; i++) {
    status = td_jinja_written(jinja, &parts.array->items[i], call->line, &part);
    if (status) break;
    if (i) td_text_add(&text, between.data, between.bytes);
    td_text_add(&text, part.data, part.bytes);
  }
  if (status == TD_OK) return copy_text(jinja, &text, out);
  td_text_free(&text);
  return status;
}

static td_status integer(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                         const struct jinja_call *call, struct jinja_value *out) {
  (void)name;
  if (value->kind != JINJA_NUMBER && value->kind != JINJA_BOOL) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found int of %s, expected a number",
                         td_jinja_kind_name(value));
  }
  *out = td_jinja_int(value->number);
  return TD_OK;
}

static td_status fallback(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                          const struct jinja_call *call, struct jinja_value *out) {
  const struct jinja_value *other = td_jinja_argument(call, 0, "default_value");
  const struct jinja_value *falsy = td_jinja_argument(call, 1, "boolean");
  (void)jinja;
  (void)name;
  bool replaced = value->kind == JINJA_UNDEFINED || (falsy && td_jinja_truth(falsy) && !td_jinja_truth(value));
  *out = !replaced ? *value : other ? *other : td_jinja_words("");
  return TD_OK;
}

/* ---- choosing among items ---- */

static td_status attribute_of(struct jinja *jinja, const struct jinja_value *item, struct td_span name, int32_t line,
                              struct jinja_value *out) {
  struct jinja_value key = td_jinja_text(name);
  if (item->kind == JINJA_MAP) return td_jinja_item(jinja, item, &key, line, out);
  return td_jinja_attribute(jinja, item, name, line, out);
}

/* The test that select("test", x) and selectattr("name", "test", x) ask for; without one, whether it counts as true. */
static td_status is_chosen(struct jinja *jinja, const struct jinja_value *value, const struct jinja_call *call,
                           size_t place, bool *out) {
  *out = td_jinja_truth(value);
  if (place >= call->count) return TD_OK;
  const struct jinja_value *test = &call->values[place];
  if (test->kind != JINJA_TEXT_VALUE) return unknown(jinja, "test", (struct td_span){"?", 1}, call->line);
  const struct jinja_call rest = {call->line, call->values + place + 1, call->names + place + 1,
                                  call->count - place - 1};
  return td_jinja_test(jinja, test->text, value, &rest, out);
}

static td_status choose(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                        const struct jinja_call *call, struct jinja_value *out) {
  bool by_attribute = name.bytes > 6, wanted = name.data[0] == 's';
  struct jinja_value all, looked_at;
  TD_TRY(td_jinja_array(jinja, out));
  if (!td_jinja_truth(value)) return TD_OK; /* also none */
  TD_TRY(td_jinja_items(jinja, value, call->line, &all));
  if (by_attribute && (!call->count || call->values[0].kind != JINJA_TEXT_VALUE)) {
    return unknown(jinja, "attribute", (struct td_span){"?", 1}, call->line);
  }
  for (size_t i = 0; i < all.array->count; i++) {
    bool chosen;
    looked_at = all.array->items[i];
    if (by_attribute) {
      TD_TRY(attribute_of(jinja, &all.array->items[i], call->values[0].text, call->line, &looked_at));
    }
    TD_TRY(is_chosen(jinja, &looked_at, call, by_attribute ? 1 : 0, &chosen));
    if (chosen == wanted) TD_TRY(td_jinja_append(jinja, out->array, all.array->items[i]));
  }
  return TD_OK;
}

static td_status map(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                     const struct jinja_call *call, struct jinja_value *out) {
  const struct jinja_value *attribute = td_jinja_argument(call, 99, "attribute");
  struct jinja_value all, item;
  struct td_span no_names[1] = {{"", 0}};
  (void)name;
  TD_TRY(td_jinja_array(jinja, out));
  if (!td_jinja_truth(value)) return TD_OK;
  TD_TRY(td_jinja_items(jinja, value, call->line, &all));
  const struct jinja_value *key = attribute ? attribute : call->count ? &call->values[0] : NULL;
  if (!key || key->kind != JINJA_TEXT_VALUE || call->count > 1) {
    return unknown(jinja, "argument", (struct td_span){"of map", 6}, call->line);
  }
  for (size_t i = 0; i < all.array->count; i++) {
    const struct jinja_call none = {call->line, NULL, no_names, 0};
    if (attribute) {
      TD_TRY(attribute_of(jinja, &all.array->items[i], key->text, call->line, &item));
    } else {
      TD_TRY(td_jinja_filter(jinja, key->text, &all.array->items[i], &none, &item));
    }
    TD_TRY(td_jinja_append(jinja, out->array, item));
  }
  return TD_OK;
}

td_status td_jinja_filter(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                          const struct jinja_call *call, struct jinja_value *out) {
  static const struct {
    const char *name;
    filter_run *run;
  } filters[] = {
      {"trim", trim},       {"upper", letters}, {"lower", letters},     {"title", letters},     {"capitalize", letters},
      {"replace", replace}, {"string", string}, {"safe", string},       {"tojson", json},       {"length", length},
      {"count", length},    {"list", list},     {"first", list},        {"last", list},         {"reverse", list},
      {"items", items},     {"join", join},     {"int", integer},       {"default", fallback},  {"d", fallback},
      {"select", choose},   {"reject", choose}, {"selectattr", choose}, {"rejectattr", choose}, {"map", map}};
  if (jinja->depth > 1000) return unknown(jinja, "nesting of filter", name, call->line);
  if (value->kind == JINJA_TEXT_VALUE) TD_TRY(td_jinja_spend(jinja, value->text.bytes / 16));
  if (value->kind == JINJA_TODAY && !td_span_is(name, "default")) return string(jinja, name, value, call, out);
  for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++) {
    if (!td_span_is(name, filters[i].name)) continue;
    jinja->depth += 2;
    td_status status = filters[i].run(jinja, name, value, call, out);
    jinja->depth -= 2;
    return status;
  }
  return unknown(jinja, "filter", name, call->line);
}

/* ---- tests ---- */

static bool is_kind(struct td_span name, const struct jinja_value *value, bool *out) {
  enum jinja_kind kind = value->kind;
  bool text = kind == JINJA_TEXT_VALUE || kind == JINJA_TODAY;
  const struct {
    const char *name;
    bool yes;
  } tests[] = {{"defined", kind != JINJA_UNDEFINED},
               {"undefined", kind == JINJA_UNDEFINED},
               {"none", kind == JINJA_NONE},
               {"string", text},
               {"mapping", kind == JINJA_MAP && !value->map->open},
               {"sequence", kind == JINJA_ARRAY || kind == JINJA_MAP || text || kind == JINJA_UNDEFINED},
               {"iterable", kind == JINJA_ARRAY || kind == JINJA_MAP || text || kind == JINJA_UNDEFINED},
               {"number", kind == JINJA_NUMBER || kind == JINJA_BOOL},
               {"integer", kind == JINJA_NUMBER},
               {"float", false},
               {"boolean", kind == JINJA_BOOL},
               {"true", kind == JINJA_BOOL && value->number},
               {"false", kind == JINJA_BOOL && !value->number},
               {"callable", kind == JINJA_FUNCTION || kind == JINJA_METHOD}};
  for (size_t i = 0; i < sizeof tests / sizeof tests[0]; i++) {
    if (!td_span_is(name, tests[i].name)) continue;
    *out = tests[i].yes;
    return true;
  }
  return false;
}

/* Tests that are operators under another name. */
static const char *operator_of(struct td_span name) {
  static const char *const names[][2] = {{"equalto", "=="}, {"eq", "=="},         {"sameas", "=="},  {"ne", "!="},
                                         {"in", "in"},      {"lt", "<"},          {"lessthan", "<"}, {"le", "<="},
                                         {"gt", ">"},       {"greaterthan", ">"}, {"ge", ">="}};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (td_span_is(name, names[i][0])) return names[i][1];
  }
  return NULL;
}

static td_status test_number(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                             const struct jinja_call *call, bool *out) {
  int64_t divisor = 2;
  bool divisible = td_span_is(name, "divisibleby");
  if (!divisible && !td_span_is(name, "even") && !td_span_is(name, "odd")) {
    return unknown(jinja, "test", name, call->line);
  }
  if (divisible) divisor = call->count && call->values[0].kind == JINJA_NUMBER ? call->values[0].number : 0;
  if (value->kind != JINJA_NUMBER || divisor <= 0) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, call->line, "found the test \"%.*s\" of %s, expected numbers",
                         TD_SPAN_SHOW(name), td_jinja_kind_name(value));
  }
  *out = (value->number % divisor == 0) != td_span_is(name, "odd");
  return TD_OK;
}

td_status td_jinja_test(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                        const struct jinja_call *call, bool *out) {
  const char *sign = operator_of(name);
  struct jinja_value result;
  if (is_kind(name, value, out)) return TD_OK;
  if (!sign) return test_number(jinja, name, value, call, out);
  if (call->count != 1) return unknown(jinja, "test without argument", name, call->line);
  struct jinja_node node = {.kind = JINJA_BINARY, .line = call->line, .text = {sign, strlen(sign)}};
  TD_TRY(td_jinja_binary(jinja, &node, value, &call->values[0], &result));
  *out = td_jinja_truth(&result);
  return TD_OK;
}
