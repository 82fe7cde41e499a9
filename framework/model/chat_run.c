/* SPDX-License-Identifier: Apache-2.0
 *
 * Running statements.
 */
#include <string.h>

#include "chat_jinja.h"

#define OUTPUT_STEP 64 /* bytes written for one step */

enum jump { JUMP_NONE, JUMP_BREAK, JUMP_CONTINUE };

static td_status run_body(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *body,
                          struct td_text *out, enum jump *jump);

static td_status write_text(struct jinja *jinja, struct td_span text, struct td_text *out) {
  TD_TRY(td_jinja_spend(jinja, 1 + text.bytes / OUTPUT_STEP));
  if (text.bytes > jinja->limit || out->bytes > jinja->limit - text.bytes) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, 0, "found a template that writes over %llu bytes",
                         (unsigned long long)jinja->limit);
  }
  td_text_add(out, text.data, text.bytes);
  return out->failed ? td_fail(TD_NO_MEMORY, "no memory for a conversation") : TD_OK;
}

static td_status run_write(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                           struct td_text *out) {
  struct jinja_value value;
  struct td_span text = node->text;
  if (node->kind == JINJA_WRITE) {
    TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &value));
    TD_TRY(td_jinja_written(jinja, &value, node->line, &text));
  }
  return write_text(jinja, text, out);
}

static td_status run_if(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                        struct td_text *out, enum jump *jump) {
  for (;;) {
    struct jinja_value condition;
    TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &condition));
    if (td_jinja_truth(&condition)) return run_body(jinja, scope, node->b, out, jump);
    const struct jinja_node *other = node->c;
    if (!other) return TD_OK;
    if (other->kind != JINJA_IF || other->next) return run_body(jinja, scope, other, out, jump);
    node = other;
  }
}

static td_status run_set(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node) {
  struct jinja_value value, self;
  TD_TRY(node->flag ? td_jinja_capture(jinja, scope, node->b, &value)
                    : td_jinja_evaluate(jinja, scope, node->a, &value));
  if (node->d->kind == JINJA_VARIABLE) return td_jinja_set(jinja, scope, node->d->text, value);
  TD_TRY(td_jinja_evaluate(jinja, scope, node->d->a, &self));
  if (self.kind == JINJA_MAP && self.map->open) return td_jinja_put(jinja, self.map, node->d->text, value);
  return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found an attribute set of %s, expected of a namespace",
                       td_jinja_kind_name(&self));
}

/* Binds the loop's names: one to the item, several to the item's own items. */
static td_status bind_targets(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                              const struct jinja_value *item) {
  const struct jinja_node *target = node->d;
  struct jinja_value parts;
  size_t count = 0;
  if (!target->next) return td_jinja_set(jinja, scope, target->text, *item);
  TD_TRY(td_jinja_items(jinja, item, node->line, &parts));
  for (; target && count < parts.array->count; target = target->next) {
    TD_TRY(td_jinja_set(jinja, scope, target->text, parts.array->items[count++]));
  }
  if (!target && count == parts.array->count) return TD_OK;
  return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found %zu values for the names of a loop",
                       parts.array->count);
}

static td_status bind_loop(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_array *items, size_t at) {
  static const struct td_span name = {"loop", 4};
  struct jinja_value loop;
  int64_t index = (int64_t)at, count = (int64_t)items->count;
  TD_TRY(td_jinja_map(jinja, &loop));
  const struct {
    const char *name;
    struct jinja_value value;
  } parts[] = {
      {"index0", td_jinja_int(index)},
      {"index", td_jinja_int(index + 1)},
      {"revindex0", td_jinja_int(count - index - 1)},
      {"revindex", td_jinja_int(count - index)},
      {"length", td_jinja_int(count)},
      {"first", td_jinja_bool(!at)},
      {"last", td_jinja_bool(index + 1 == count)},
      {"previtem", at ? items->items[at - 1] : td_jinja_missing((struct td_span){"previtem", 8})},
      {"nextitem", index + 1 < count ? items->items[at + 1] : td_jinja_missing((struct td_span){"nextitem", 8})}};
  for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
    TD_TRY(td_jinja_put(jinja, loop.map, (struct td_span){parts[i].name, strlen(parts[i].name)}, parts[i].value));
  }
  return td_jinja_set(jinja, scope, name, loop);
}

/* The items for which the loop's own condition holds. */
static td_status select_items(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                              struct jinja_value *out) {
  struct jinja_value list, all;
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &list));
  TD_TRY(td_jinja_items(jinja, &list, node->line, &all));
  if (!node->e) {
    *out = all;
    return TD_OK;
  }
  TD_TRY(td_jinja_array(jinja, out));
  for (size_t i = 0; i < all.array->count; i++) {
    struct jinja_scope inner = {.outer = scope};
    struct jinja_value condition;
    TD_TRY(bind_targets(jinja, &inner, node, &all.array->items[i]));
    TD_TRY(td_jinja_evaluate(jinja, &inner, node->e, &condition));
    if (td_jinja_truth(&condition)) TD_TRY(td_jinja_append(jinja, out->array, all.array->items[i]));
  }
  return TD_OK;
}

static td_status run_for(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                         struct td_text *out) {
  struct jinja_value items;
  enum jump jump = JUMP_NONE, ignored = JUMP_NONE;
  TD_TRY(select_items(jinja, scope, node, &items));
  if (!items.array->count) return run_body(jinja, scope, node->c, out, &ignored);
  for (size_t i = 0; i < items.array->count && jump != JUMP_BREAK; i++) {
    struct jinja_scope inner = {.outer = scope}; /* what is set inside is gone with the next item */
    TD_TRY(bind_targets(jinja, &inner, node, &items.array->items[i]));
    TD_TRY(bind_loop(jinja, &inner, items.array, i));
    jump = JUMP_NONE;
    TD_TRY(run_body(jinja, &inner, node->b, out, &jump));
  }
  return TD_OK;
}

static td_status run_statement(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                               struct td_text *out, enum jump *jump) {
  switch (node->kind) {
    case JINJA_WRITE:
    case JINJA_WRITE_TEXT:
      return run_write(jinja, scope, node, out);
    case JINJA_IF:
      return run_if(jinja, scope, node, out, jump);
    case JINJA_FOR:
      return run_for(jinja, scope, node, out);
    case JINJA_SET:
      return run_set(jinja, scope, node);
    case JINJA_MACRO:
      return td_jinja_set(jinja, scope, node->text,
                          (struct jinja_value){.kind = JINJA_FUNCTION, .text = node->text, .macro = node});
    case JINJA_BREAK:
    case JINJA_CONTINUE:
      *jump = node->kind == JINJA_BREAK ? JUMP_BREAK : JUMP_CONTINUE;
      return TD_OK;
    default:
      return td_jinja_fail(jinja, TD_INTERNAL, node->line, "found an expression among statements");
  }
}

static td_status run_body(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *body,
                          struct td_text *out, enum jump *jump) {
  td_status status = body ? td_jinja_enter(jinja, body->line) : TD_OK;
  for (const struct jinja_node *node = body; node && status == TD_OK && *jump == JUMP_NONE; node = node->next) {
    status = td_jinja_spend(jinja, 1);
    if (status == TD_OK) status = run_statement(jinja, scope, node, out, jump);
  }
  if (body) jinja->depth--;
  return status;
}

td_status td_jinja_run(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *body,
                       struct td_text *out) {
  enum jump jump = JUMP_NONE;
  return run_body(jinja, scope, body, out, &jump);
}

td_status td_jinja_capture(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *body,
                           struct jinja_value *out) {
  struct td_text written = {0};
  struct td_span text = {"", 0};
  td_status status = td_jinja_run(jinja, scope, body, &written);
  if (status == TD_OK) {
    status = td_jinja_join(jinja, (struct td_span){written.data, written.bytes}, (struct td_span){"", 0}, &text);
  }
  td_text_free(&written);
  *out = td_jinja_text(text);
  return status;
}
