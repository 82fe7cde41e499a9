/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsing expressions, by falling strength of their operators. A filter or a test binds tighter than any operator.
 */
#include <string.h>

#include "chat_jinja.h"

#define DEPTH_MAX 100 /* of brackets in brackets, statements around them included */

static td_status parse_choice(struct jinja_parser *parser, struct jinja_node **out);
static td_status parse_unary(struct jinja_parser *parser, bool with_filter, struct jinja_node **out);

static td_status nest(struct jinja_parser *parser) {
  if (++parser->depth <= DEPTH_MAX) return TD_OK;
  return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, parser->at->line, "found expressions nested over %d deep",
                       DEPTH_MAX);
}

static td_status accept_word(struct jinja_parser *parser, const char *word, bool *out) {
  *out = td_jinja_word(parser, word);
  if (*out) parser->at++;
  return TD_OK;
}

/* ---- values written out ---- */

static td_status constant(struct jinja_parser *parser, struct jinja_value value, struct jinja_node **out) {
  struct jinja_value *copy;
  TD_TRY(td_jinja_node(parser, JINJA_CONSTANT, out));
  TD_TRY(td_jinja_alloc(parser->jinja, sizeof *copy, (void **)&copy));
  *copy = value;
  (*out)->value = copy;
  parser->at++;
  return TD_OK;
}

static td_status parse_string(struct jinja_parser *parser, struct jinja_node **out) {
  struct td_span text = parser->at->text;
  while (parser->at[1].kind == JINJA_STRING) { /* side by side: one string */
    parser->at++;
    TD_TRY(td_jinja_join(parser->jinja, text, parser->at->text, &text));
  }
  return constant(parser, td_jinja_text(text), out);
}

static td_status parse_name(struct jinja_parser *parser, struct jinja_node **out) {
  static const struct {
    const char *name;
    enum jinja_kind kind;
    int number;
  } known[] = {{"true", JINJA_BOOL, 1},  {"True", JINJA_BOOL, 1}, {"false", JINJA_BOOL, 0},
               {"False", JINJA_BOOL, 0}, {"none", JINJA_NONE, 0}, {"None", JINJA_NONE, 0}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    if (!td_span_is(parser->at->text, known[i].name)) continue;
    return constant(parser, (struct jinja_value){.kind = known[i].kind, .number = known[i].number}, out);
  }
  TD_TRY(td_jinja_node(parser, JINJA_VARIABLE, out));
  return td_jinja_name(parser, &(*out)->text);
}

/* The items of "[...]" or of "(...)", whose opening bracket is behind us; a tuple is taken for a list. */
static td_status parse_items(struct jinja_parser *parser, const char *close, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_LIST, out));
  struct jinja_node **end = &(*out)->a;
  while (!td_jinja_accept(parser, close)) {
    TD_TRY(parse_choice(parser, end));
    end = &(*end)->next;
    if (!td_jinja_accept(parser, ",")) {
      TD_TRY(td_jinja_expect(parser, close));
      break;
    }
  }
  return td_jinja_finish(parser, *out);
}

static td_status parse_dict(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_DICT, out));
  struct jinja_node **end = &(*out)->a;
  while (!td_jinja_accept(parser, "}")) {
    TD_TRY(td_jinja_node(parser, JINJA_ARGUMENT, end));
    TD_TRY(parse_choice(parser, &(*end)->a));
    TD_TRY(td_jinja_expect(parser, ":"));
    TD_TRY(parse_choice(parser, &(*end)->b));
    TD_TRY(td_jinja_finish(parser, *end));
    end = &(*end)->next;
    if (!td_jinja_accept(parser, ",")) {
      TD_TRY(td_jinja_expect(parser, "}"));
      break;
    }
  }
  return td_jinja_finish(parser, *out);
}

static td_status parse_bracket(struct jinja_parser *parser, struct jinja_node **out) {
  if (td_jinja_accept(parser, "[")) return parse_items(parser, "]", out);
  if (td_jinja_accept(parser, "{")) return parse_dict(parser, out);
  TD_TRY(td_jinja_expect(parser, "("));
  if (td_jinja_sign(parser, ")")) return parse_items(parser, ")", out);
  TD_TRY(parse_choice(parser, out));
  if (!td_jinja_accept(parser, ",")) return td_jinja_expect(parser, ")");
  struct jinja_node *first = *out;
  TD_TRY(parse_items(parser, ")", out));
  first->next = (*out)->a;
  (*out)->a = first;
  return td_jinja_finish(parser, *out);
}

static td_status parse_primary(struct jinja_parser *parser, struct jinja_node **out) {
  switch (parser->at->kind) {
    case JINJA_STRING:
      return parse_string(parser, out);
    case JINJA_INT:
      return constant(parser, td_jinja_int(parser->at->number), out);
    case JINJA_REAL:
      return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, parser->at->line, "found the number %.*s, expected integers",
                           TD_SPAN_SHOW(parser->at->text));
    case JINJA_NAME:
      return parse_name(parser, out);
    case JINJA_SIGN:
      if (td_jinja_sign(parser, "(") || td_jinja_sign(parser, "[") || td_jinja_sign(parser, "{")) {
        return parse_bracket(parser, out);
      }
      return td_jinja_unexpected(parser, "a value");
    default:
      return td_jinja_unexpected(parser, "a value");
  }
}

/* ---- what follows a value ---- */

static td_status parse_argument(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_ARGUMENT, out));
  const struct jinja_token *after = parser->at + 1;
  if (parser->at->kind == JINJA_NAME && after->kind == JINJA_SIGN && td_span_is(after->text, "=")) {
    (*out)->text = parser->at->text;
    parser->at += 2;
  }
  TD_TRY(parse_choice(parser, &(*out)->a));
  return td_jinja_finish(parser, *out);
}

/* "(a, b=c)", if it is there. */
static td_status parse_arguments(struct jinja_parser *parser, struct jinja_node **out) {
  if (!td_jinja_accept(parser, "(")) return TD_OK;
  while (!td_jinja_accept(parser, ")")) {
    TD_TRY(parse_argument(parser, out));
    out = &(*out)->next;
    if (!td_jinja_accept(parser, ",")) return td_jinja_expect(parser, ")");
  }
  return TD_OK;
}

static td_status parse_subscript(struct jinja_parser *parser, struct jinja_node *node) {
  struct jinja_node **const parts[] = {&node->b, &node->c, &node->d};
  node->kind = JINJA_ITEM;
  for (size_t i = 0; i < 3; i++) {
    if (!td_jinja_sign(parser, ":") && !td_jinja_sign(parser, "]")) TD_TRY(parse_choice(parser, parts[i]));
    if (!td_jinja_accept(parser, ":")) break;
    node->kind = JINJA_SLICE;
  }
  if (node->kind == JINJA_ITEM && !node->b) return td_jinja_unexpected(parser, "an index");
  return td_jinja_expect(parser, "]");
}

/* Wraps *node in what follows it; *out_done when nothing does. */
static td_status parse_postfix(struct jinja_parser *parser, struct jinja_node **node, bool *out_done) {
  struct jinja_node *outer;
  *out_done = !td_jinja_sign(parser, ".") && !td_jinja_sign(parser, "[") && !td_jinja_sign(parser, "(");
  if (*out_done) return TD_OK;
  TD_TRY(td_jinja_node(parser, JINJA_CALL, &outer));
  outer->a = *node;
  if (td_jinja_accept(parser, ".")) {
    outer->kind = JINJA_ATTRIBUTE;
    TD_TRY(td_jinja_name(parser, &outer->text));
  } else if (td_jinja_accept(parser, "[")) {
    TD_TRY(parse_subscript(parser, outer));
  } else {
    TD_TRY(parse_arguments(parser, &outer->b));
  }
  *node = outer;
  return td_jinja_finish(parser, outer);
}

static td_status parse_postfixes(struct jinja_parser *parser, struct jinja_node **node) {
  bool done = false;
  while (!done) TD_TRY(parse_postfix(parser, node, &done));
  return TD_OK;
}

/* "is divisibleby 3": a test takes one argument without brackets. */
static td_status parse_bare_argument(struct jinja_parser *parser, struct jinja_node **out) {
  static const char *const operators[] = {"else", "or", "and", "if", "in", "not", "is"};
  for (size_t i = 0; i < sizeof operators / sizeof operators[0]; i++) {
    if (td_jinja_word(parser, operators[i])) return TD_OK;
  }
  enum jinja_token_kind kind = parser->at->kind;
  bool opens = td_jinja_sign(parser, "[") || td_jinja_sign(parser, "{");
  if (kind != JINJA_NAME && kind != JINJA_STRING && kind != JINJA_INT && !opens) return TD_OK;
  TD_TRY(td_jinja_node(parser, JINJA_ARGUMENT, out));
  TD_TRY(parse_primary(parser, &(*out)->a));
  TD_TRY(parse_postfixes(parser, &(*out)->a));
  return td_jinja_finish(parser, *out);
}

static td_status parse_filter_or_test(struct jinja_parser *parser, struct jinja_node **node) {
  struct jinja_node *outer;
  bool filter = td_jinja_accept(parser, "|");
  if (!filter) parser->at++; /* is */
  TD_TRY(td_jinja_node(parser, filter ? JINJA_FILTER : JINJA_TEST, &outer));
  outer->a = *node;
  if (!filter) TD_TRY(accept_word(parser, "not", &outer->flag));
  TD_TRY(td_jinja_name(parser, &outer->text));
  if (filter || td_jinja_sign(parser, "(")) {
    TD_TRY(parse_arguments(parser, &outer->b));
  } else {
    TD_TRY(parse_bare_argument(parser, &outer->b));
  }
  *node = outer;
  return td_jinja_finish(parser, outer);
}

static td_status parse_unary(struct jinja_parser *parser, bool with_filter, struct jinja_node **out) {
  if (td_jinja_accept(parser, "+")) return parse_unary(parser, with_filter, out);
  if (td_jinja_sign(parser, "-")) {
    TD_TRY(td_jinja_node(parser, JINJA_NEGATE, out));
    parser->at++;
    TD_TRY(nest(parser));
    TD_TRY(parse_unary(parser, false, &(*out)->a));
    parser->depth--;
    TD_TRY(td_jinja_finish(parser, *out));
  } else {
    TD_TRY(parse_primary(parser, out));
  }
  TD_TRY(parse_postfixes(parser, out));
  while (with_filter && (td_jinja_sign(parser, "|") || td_jinja_word(parser, "is"))) {
    TD_TRY(parse_filter_or_test(parser, out));
    TD_TRY(parse_postfixes(parser, out));
  }
  return TD_OK;
}

/* ---- operators ---- */

static const char *const levels[][5] = {{"**"}, {"*", "/", "//", "%"}, {"~"}, {"+", "-"}};

static const char *operator_at(const struct jinja_parser *parser, const char *const signs[5]) {
  for (size_t i = 0; i < 5 && signs[i]; i++) {
    if (td_jinja_sign(parser, signs[i])) return signs[i];
  }
  return NULL;
}

static td_status parse_level(struct jinja_parser *parser, int level, struct jinja_node **out) {
  const char *sign;
  if (level < 0) return parse_unary(parser, true, out);
  TD_TRY(parse_level(parser, level - 1, out));
  while ((sign = operator_at(parser, levels[level]))) {
    struct jinja_node *outer;
    TD_TRY(td_jinja_node(parser, JINJA_BINARY, &outer));
    parser->at++;
    outer->text = (struct td_span){sign, strlen(sign)};
    outer->a = *out;
    TD_TRY(parse_level(parser, level - 1, &outer->b));
    *out = outer;
    TD_TRY(td_jinja_finish(parser, outer));
  }
  return TD_OK;
}

static const char *comparison_at(const struct jinja_parser *parser) {
  static const char *const equal[5] = {"==", "!="}, *const order[5] = {"<=", ">=", "<", ">"};
  const char *sign = operator_at(parser, equal);
  if (!sign) sign = operator_at(parser, order);
  if (sign) return sign;
  if (td_jinja_word(parser, "in")) return "in";
  bool not_in =
      td_jinja_word(parser, "not") && parser->at[1].kind == JINJA_NAME && td_span_is(parser->at[1].text, "in");
  return not_in ? "not in" : NULL;
}

/* a < b < c is a < b and b < c. */
static td_status parse_comparison(struct jinja_parser *parser, struct jinja_node **out) {
  const int top = (int)(sizeof levels / sizeof levels[0]) - 1;
  const char *sign;
  struct jinja_node *left = NULL;
  TD_TRY(parse_level(parser, top, out));
  for (left = *out; (sign = comparison_at(parser));) {
    struct jinja_node *outer, *both;
    TD_TRY(td_jinja_node(parser, JINJA_BINARY, &outer));
    parser->at += sign[0] == 'n' ? 2 : 1; /* "not in" is two words */
    outer->text = (struct td_span){sign, strlen(sign)};
    outer->a = left;
    TD_TRY(parse_level(parser, top, &outer->b));
    TD_TRY(td_jinja_finish(parser, outer));
    if (left == *out) {
      *out = outer;
    } else {
      TD_TRY(td_jinja_node(parser, JINJA_AND, &both));
      both->a = *out;
      both->b = outer;
      *out = both;
      TD_TRY(td_jinja_finish(parser, both));
    }
    left = outer->b;
  }
  return TD_OK;
}

static td_status parse_not(struct jinja_parser *parser, struct jinja_node **out) {
  if (!td_jinja_word(parser, "not")) return parse_comparison(parser, out);
  TD_TRY(td_jinja_node(parser, JINJA_NOT, out));
  parser->at++;
  TD_TRY(nest(parser));
  TD_TRY(parse_not(parser, &(*out)->a));
  parser->depth--;
  return td_jinja_finish(parser, *out);
}

static td_status parse_and(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(parse_not(parser, out));
  while (td_jinja_word(parser, "and")) {
    struct jinja_node *outer;
    TD_TRY(td_jinja_node(parser, JINJA_AND, &outer));
    parser->at++;
    outer->a = *out;
    TD_TRY(parse_not(parser, &outer->b));
    *out = outer;
    TD_TRY(td_jinja_finish(parser, outer));
  }
  return TD_OK;
}

td_status td_jinja_or(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(nest(parser));
  TD_TRY(parse_and(parser, out));
  while (td_jinja_word(parser, "or")) {
    struct jinja_node *outer;
    TD_TRY(td_jinja_node(parser, JINJA_OR, &outer));
    parser->at++;
    outer->a = *out;
    TD_TRY(parse_and(parser, &outer->b));
    *out = outer;
    TD_TRY(td_jinja_finish(parser, outer));
  }
  parser->depth--;
  return TD_OK;
}

static td_status parse_choice(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_or(parser, out));
  while (td_jinja_word(parser, "if")) {
    struct jinja_node *outer;
    bool has_else;
    TD_TRY(td_jinja_node(parser, JINJA_CHOICE, &outer));
    parser->at++;
    outer->a = *out;
    TD_TRY(td_jinja_or(parser, &outer->b));
    TD_TRY(accept_word(parser, "else", &has_else));
    TD_TRY(nest(parser));
    if (has_else) TD_TRY(parse_choice(parser, &outer->c));
    parser->depth--;
    *out = outer;
    TD_TRY(td_jinja_finish(parser, outer));
  }
  return TD_OK;
}

td_status td_jinja_expression(struct jinja_parser *parser, struct jinja_node **out) {
  return parse_choice(parser, out);
}
