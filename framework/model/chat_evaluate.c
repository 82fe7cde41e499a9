/* SPDX-License-Identifier: Apache-2.0
 *
 * Evaluating expressions.
 */
#include <string.h>

#include "chat_jinja.h"

#define DEPTH_MAX 1500 /* of nested evaluation, macros included: some 300 kB of stack */
#define CALL_VALUES_MAX 16

/* ---- variables ---- */

static struct jinja_variable *find_variable(const struct jinja_scope *scope, struct td_span name) {
  for (struct jinja_variable *variable = scope->variables; variable; variable = variable->next) {
    if (!td_span_compare(variable->name, name)) return variable;
  }
  return NULL;
}

td_status td_jinja_set(struct jinja *jinja, struct jinja_scope *scope, struct td_span name, struct jinja_value value) {
  struct jinja_variable *variable = find_variable(scope, name);
  if (!variable) {
    TD_TRY(td_jinja_alloc(jinja, sizeof *variable, (void **)&variable));
    variable->name = name;
    variable->next = scope->variables;
    scope->variables = variable;
  }
  variable->value = value;
  return TD_OK;
}

static bool is_function(struct td_span name) {
  return td_span_is(name, "raise_exception") || td_span_is(name, "namespace") || td_span_is(name, "range") ||
         td_span_is(name, "dict");
}

/* strftime_now is callable but "not defined", so that a template that can do without today's date does. */
static struct jinja_value lookup(const struct jinja_scope *scope, struct td_span name) {
  for (; scope; scope = scope->outer) {
    const struct jinja_variable *variable = find_variable(scope, name);
    if (variable) return variable->value;
  }
  return is_function(name) ? (struct jinja_value){.kind = JINJA_FUNCTION, .text = name} : td_jinja_missing(name);
}

/* ---- calls ---- */

const struct jinja_value *td_jinja_argument(const struct jinja_call *call, size_t place, const char *name) {
  for (size_t i = 0; i < call->count; i++) {
    if (call->names[i].bytes ? td_span_is(call->names[i], name) : i == place) return &call->values[i];
  }
  return NULL;
}

static td_status evaluate_arguments(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                                    struct jinja_call *out) {
  size_t count = 0;
  for (const struct jinja_node *argument = node->b; argument; argument = argument->next) count++;
  out->line = node->line;
  if (count > CALL_VALUES_MAX) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found %zu arguments, expected at most %d", count,
                         CALL_VALUES_MAX);
  }
  TD_TRY(td_jinja_alloc(jinja, count * sizeof *out->values, (void **)&out->values));
  TD_TRY(td_jinja_alloc(jinja, count * sizeof *out->names, (void **)&out->names));
  for (const struct jinja_node *argument = node->b; argument; argument = argument->next) {
    out->names[out->count] = argument->text;
    TD_TRY(td_jinja_evaluate(jinja, scope, argument->a, &out->values[out->count++]));
  }
  return TD_OK;
}

static td_status call(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                      struct jinja_value *out) {
  struct jinja_value callee;
  struct jinja_call arguments = {0};
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &callee));
  TD_TRY(evaluate_arguments(jinja, scope, node, &arguments));
  if (callee.kind == JINJA_METHOD) return td_jinja_method(jinja, &callee, &arguments, out);
  if (callee.kind == JINJA_FUNCTION && callee.macro) return td_jinja_call_macro(jinja, callee.macro, &arguments, out);
  if (callee.kind == JINJA_FUNCTION || td_span_is(callee.text, "strftime_now")) {
    return td_jinja_function(jinja, callee.text, &arguments, out);
  }
  return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found a call of \"%.*s\", %s, expected a function",
                       TD_SPAN_SHOW(callee.text), td_jinja_kind_name(&callee));
}

static td_status bind_parameter(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *parameter,
                                size_t place, const struct jinja_call *arguments) {
  struct jinja_value value = td_jinja_missing(parameter->text);
  bool found = false;
  for (size_t i = 0; i < arguments->count && !found; i++) {
    struct td_span name = arguments->names[i];
    found = name.bytes ? !td_span_compare(name, parameter->text) : i == place;
    if (found) value = arguments->values[i];
  }
  if (!found && parameter->a) TD_TRY(td_jinja_evaluate(jinja, scope, parameter->a, &value));
  return td_jinja_set(jinja, scope, parameter->text, value);
}

/* A macro sees the template's own variables, not its caller's. */
td_status td_jinja_call_macro(struct jinja *jinja, const struct jinja_node *macro, const struct jinja_call *arguments,
                              struct jinja_value *out) {
  struct jinja_scope scope = {.outer = jinja->globals};
  size_t place = 0;
  for (const struct jinja_node *parameter = macro->a; parameter; parameter = parameter->next) {
    TD_TRY(bind_parameter(jinja, &scope, parameter, place++, arguments));
  }
  if (arguments->count > place) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, arguments->line, "found %zu arguments of macro %.*s, expected %zu",
                         arguments->count, TD_SPAN_SHOW(macro->text), place);
  }
  return td_jinja_capture(jinja, &scope, macro->b, out);
}

/* ---- expressions ---- */

static td_status evaluate_list(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                               struct jinja_value *out) {
  TD_TRY(td_jinja_array(jinja, out));
  for (const struct jinja_node *item = node->a; item; item = item->next) {
    struct jinja_value value;
    TD_TRY(td_jinja_evaluate(jinja, scope, item, &value));
    TD_TRY(td_jinja_append(jinja, out->array, value));
  }
  return TD_OK;
}

static td_status evaluate_dict(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                               struct jinja_value *out) {
  TD_TRY(td_jinja_map(jinja, out));
  for (const struct jinja_node *pair = node->a; pair; pair = pair->next) {
    struct jinja_value key, value;
    TD_TRY(td_jinja_evaluate(jinja, scope, pair->a, &key));
    TD_TRY(td_jinja_evaluate(jinja, scope, pair->b, &value));
    if (key.kind != JINJA_TEXT_VALUE) {
      return td_jinja_fail(jinja, TD_UNSUPPORTED, pair->line, "found %s as a key, expected a text",
                           td_jinja_kind_name(&key));
    }
    TD_TRY(td_jinja_put(jinja, out->map, key.text, value));
  }
  return TD_OK;
}

static td_status evaluate_slice(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                                struct jinja_value *out) {
  const struct jinja_node *const parts[] = {node->b, node->c, node->d};
  struct jinja_value self, bounds[3] = {{.kind = JINJA_NONE}, {.kind = JINJA_NONE}, {.kind = JINJA_NONE}};
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &self));
  for (int i = 0; i < 3; i++) {
    if (parts[i]) TD_TRY(td_jinja_evaluate(jinja, scope, parts[i], &bounds[i]));
  }
  return td_jinja_slice(jinja, &self, bounds, node->line, out);
}

static td_status evaluate_item(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                               struct jinja_value *out) {
  struct jinja_value self, index;
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &self));
  TD_TRY(td_jinja_evaluate(jinja, scope, node->b, &index));
  return td_jinja_item(jinja, &self, &index, node->line, out);
}

static td_status evaluate_binary(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                                 struct jinja_value *out) {
  struct jinja_value a, b;
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &a));
  TD_TRY(td_jinja_evaluate(jinja, scope, node->b, &b));
  return td_jinja_binary(jinja, node, &a, &b, out);
}

/* and, or: the last operand that was looked at. */
static td_status evaluate_either(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                                 struct jinja_value *out) {
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, out));
  if (td_jinja_truth(out) == (node->kind == JINJA_OR)) return TD_OK;
  return td_jinja_evaluate(jinja, scope, node->b, out);
}

static td_status evaluate_choice(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                                 struct jinja_value *out) {
  struct jinja_value condition;
  TD_TRY(td_jinja_evaluate(jinja, scope, node->b, &condition));
  if (td_jinja_truth(&condition)) return td_jinja_evaluate(jinja, scope, node->a, out);
  *out = td_jinja_missing((struct td_span){"an if without else", 18});
  return node->c ? td_jinja_evaluate(jinja, scope, node->c, out) : TD_OK;
}

static td_status evaluate_not(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                              struct jinja_value *out) {
  struct jinja_value a;
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &a));
  *out = td_jinja_bool(!td_jinja_truth(&a));
  if (node->kind == JINJA_NOT) return TD_OK;
  if ((a.kind != JINJA_NUMBER && a.kind != JINJA_BOOL) || a.number == INT64_MIN) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, node->line, "found minus %s, expected a number",
                         td_jinja_kind_name(&a));
  }
  *out = td_jinja_int(-a.number);
  return TD_OK;
}

static td_status evaluate_named(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                                struct jinja_value *out) {
  struct jinja_value self;
  struct jinja_call arguments = {0};
  bool yes;
  TD_TRY(td_jinja_evaluate(jinja, scope, node->a, &self));
  if (node->kind == JINJA_ATTRIBUTE) return td_jinja_attribute(jinja, &self, node->text, node->line, out);
  TD_TRY(evaluate_arguments(jinja, scope, node, &arguments));
  if (node->kind == JINJA_FILTER) return td_jinja_filter(jinja, node->text, &self, &arguments, out);
  TD_TRY(td_jinja_test(jinja, node->text, &self, &arguments, &yes));
  *out = td_jinja_bool(yes != node->flag);
  return TD_OK;
}

static td_status evaluate(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                          struct jinja_value *out) {
  switch (node->kind) {
    case JINJA_CONSTANT:
      *out = *node->value;
      return TD_OK;
    case JINJA_VARIABLE:
      *out = lookup(scope, node->text);
      return TD_OK;
    case JINJA_ITEM:
      return evaluate_item(jinja, scope, node, out);
    case JINJA_SLICE:
      return evaluate_slice(jinja, scope, node, out);
    case JINJA_CALL:
      return call(jinja, scope, node, out);
    case JINJA_ATTRIBUTE:
    case JINJA_FILTER:
    case JINJA_TEST:
      return evaluate_named(jinja, scope, node, out);
    case JINJA_NOT:
    case JINJA_NEGATE:
      return evaluate_not(jinja, scope, node, out);
    case JINJA_BINARY:
      return evaluate_binary(jinja, scope, node, out);
    case JINJA_AND:
    case JINJA_OR:
      return evaluate_either(jinja, scope, node, out);
    case JINJA_CHOICE:
      return evaluate_choice(jinja, scope, node, out);
    case JINJA_LIST:
      return evaluate_list(jinja, scope, node, out);
    case JINJA_DICT:
      return evaluate_dict(jinja, scope, node, out);
    default:
      return td_jinja_fail(jinja, TD_INTERNAL, node->line, "found a statement in an expression");
  }
}

td_status td_jinja_enter(struct jinja *jinja, int32_t line) {
  if (jinja->depth++ < DEPTH_MAX) return td_jinja_spend(jinja, 1);
  return td_jinja_fail(jinja, TD_UNSUPPORTED, line, "found calls nested over %d deep", DEPTH_MAX);
}

td_status td_jinja_evaluate(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                            struct jinja_value *out) {
  td_status status = td_jinja_enter(jinja, node->line);
  if (status == TD_OK) status = evaluate(jinja, scope, node, out);
  jinja->depth--;
  return status;
}
