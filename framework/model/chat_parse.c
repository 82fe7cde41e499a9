/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsing statements.
 */
#include <string.h>

#include "chat_jinja.h"

#define BODY_DEPTH_MAX 60
#define HEIGHT_MAX 500 /* of the tree: a + b + c is one higher for each term */

static td_status parse_body(struct jinja_parser *parser, struct jinja_node **out);

/* ---- helpers, also of the expressions ---- */

td_status td_jinja_node(struct jinja_parser *parser, enum jinja_node_kind kind, struct jinja_node **out) {
  TD_TRY(td_jinja_alloc(parser->jinja, sizeof **out, (void **)out));
  (*out)->kind = kind;
  (*out)->line = parser->at->line;
  return TD_OK;
}

td_status td_jinja_finish(struct jinja_parser *parser, struct jinja_node *node) {
  const struct jinja_node *const children[] = {node->a, node->b, node->c, node->d, node->e};
  for (size_t i = 0; i < sizeof children / sizeof children[0]; i++) {
    for (const struct jinja_node *child = children[i]; child; child = child->next) {
      if (child->height >= node->height) node->height = child->height + 1;
    }
  }
  if (node->height <= HEIGHT_MAX) return TD_OK;
  return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, node->line, "found expressions nested over %d deep", HEIGHT_MAX);
}

bool td_jinja_sign(const struct jinja_parser *parser, const char *sign) {
  return parser->at->kind == JINJA_SIGN && td_span_is(parser->at->text, sign);
}

bool td_jinja_word(const struct jinja_parser *parser, const char *word) {
  return parser->at->kind == JINJA_NAME && td_span_is(parser->at->text, word);
}

bool td_jinja_accept(struct jinja_parser *parser, const char *sign) {
  if (!td_jinja_sign(parser, sign)) return false;
  parser->at++;
  return true;
}

td_status td_jinja_unexpected(const struct jinja_parser *parser, const char *expected) {
  const struct jinja_token *token = parser->at;
  struct td_span found = token->kind == JINJA_END ? (struct td_span){"the end", 7} : token->text;
  return td_jinja_fail(parser->jinja, TD_CORRUPT, token->line, "found \"%.*s\", expected %s", TD_SPAN_SHOW(found),
                       expected);
}

td_status td_jinja_expect(struct jinja_parser *parser, const char *sign) {
  return td_jinja_accept(parser, sign) ? TD_OK : td_jinja_unexpected(parser, sign);
}

td_status td_jinja_name(struct jinja_parser *parser, struct td_span *out) {
  if (parser->at->kind != JINJA_NAME) return td_jinja_unexpected(parser, "a name");
  *out = (parser->at++)->text;
  return TD_OK;
}

/* ---- statements ---- */

/* True for {% WORD, and steps over it. */
static bool accept_tag(struct jinja_parser *parser, const char *word) {
  const struct jinja_token *name = parser->at + 1;
  if (parser->at->kind != JINJA_TAG || name->kind != JINJA_NAME || !td_span_is(name->text, word)) return false;
  parser->at += 2;
  return true;
}

static td_status expect_close(struct jinja_parser *parser) {
  if (parser->at->kind != JINJA_CLOSE) return td_jinja_unexpected(parser, "the end of the tag");
  parser->at++;
  return TD_OK;
}

static td_status expect_end(struct jinja_parser *parser, const char *word) {
  if (!accept_tag(parser, word)) return td_jinja_unexpected(parser, word);
  return expect_close(parser);
}

static td_status parse_text(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_WRITE_TEXT, out));
  (*out)->text = (parser->at++)->text;
  return TD_OK;
}

static td_status parse_output(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_WRITE, out));
  parser->at++;
  TD_TRY(td_jinja_expression(parser, &(*out)->a));
  TD_TRY(expect_close(parser));
  return td_jinja_finish(parser, *out);
}

/* Behind "if" or "elif". An elif hangs in c, as an if of its own; one endif closes them all. */
static td_status parse_if(struct jinja_parser *parser, struct jinja_node **out) {
  struct jinja_node *first = NULL, *node;
  for (;;) {
    TD_TRY(td_jinja_node(parser, JINJA_IF, &node));
    *out = node;
    if (!first) first = node;
    TD_TRY(td_jinja_expression(parser, &node->a));
    TD_TRY(expect_close(parser));
    TD_TRY(parse_body(parser, &node->b));
    TD_TRY(td_jinja_finish(parser, node));
    if (!accept_tag(parser, "elif")) break;
    out = &node->c;
  }
  if (accept_tag(parser, "else")) {
    TD_TRY(expect_close(parser));
    TD_TRY(parse_body(parser, &node->c));
    TD_TRY(td_jinja_finish(parser, node));
  }
  for (struct jinja_node *at = first->c; at; at = at->kind == JINJA_IF && !at->next ? at->c : NULL) {
    if (at->height > first->height) first->height = at->height; /* evaluated in a loop: no nesting */
  }
  return expect_end(parser, "endif");
}

static td_status parse_targets(struct jinja_parser *parser, struct jinja_node **out) {
  do {
    TD_TRY(td_jinja_node(parser, JINJA_VARIABLE, out));
    TD_TRY(td_jinja_name(parser, &(*out)->text));
    out = &(*out)->next;
  } while (td_jinja_accept(parser, ","));
  return TD_OK;
}

static td_status parse_for(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_FOR, out));
  struct jinja_node *node = *out;
  TD_TRY(parse_targets(parser, &node->d));
  if (!td_jinja_word(parser, "in")) return td_jinja_unexpected(parser, "in");
  parser->at++;
  TD_TRY(td_jinja_or(parser, &node->a));
  if (td_jinja_word(parser, "if")) {
    parser->at++;
    TD_TRY(td_jinja_expression(parser, &node->e));
  }
  if (td_jinja_word(parser, "recursive")) {
    return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, node->line, "found a recursive loop, expected a plain one");
  }
  TD_TRY(expect_close(parser));
  TD_TRY(parse_body(parser, &node->b));
  if (accept_tag(parser, "else")) {
    TD_TRY(expect_close(parser));
    TD_TRY(parse_body(parser, &node->c));
  }
  TD_TRY(td_jinja_finish(parser, node));
  return expect_end(parser, "endfor");
}

/* "name" or "name.attribute". */
static td_status parse_set_target(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_VARIABLE, out));
  TD_TRY(td_jinja_name(parser, &(*out)->text));
  if (!td_jinja_accept(parser, ".")) return TD_OK;
  struct jinja_node *outer;
  TD_TRY(td_jinja_node(parser, JINJA_ATTRIBUTE, &outer));
  TD_TRY(td_jinja_name(parser, &outer->text));
  outer->a = *out;
  *out = outer;
  return TD_OK;
}

static td_status parse_set(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_SET, out));
  struct jinja_node *node = *out;
  TD_TRY(parse_set_target(parser, &node->d));
  if (td_jinja_accept(parser, "=")) {
    TD_TRY(td_jinja_expression(parser, &node->a));
    TD_TRY(expect_close(parser));
  } else {
    if (parser->at->kind != JINJA_CLOSE) {
      return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, node->line, "found a set of several names or with a filter");
    }
    parser->at++;
    node->flag = true;
    TD_TRY(parse_body(parser, &node->b));
    TD_TRY(expect_end(parser, "endset"));
  }
  return td_jinja_finish(parser, node);
}

static td_status parse_parameters(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_expect(parser, "("));
  while (!td_jinja_accept(parser, ")")) {
    TD_TRY(td_jinja_node(parser, JINJA_ARGUMENT, out));
    TD_TRY(td_jinja_name(parser, &(*out)->text));
    if (td_jinja_accept(parser, "=")) TD_TRY(td_jinja_expression(parser, &(*out)->a));
    TD_TRY(td_jinja_finish(parser, *out));
    out = &(*out)->next;
    if (!td_jinja_accept(parser, ",")) return td_jinja_expect(parser, ")");
  }
  return TD_OK;
}

static td_status parse_macro(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, JINJA_MACRO, out));
  struct jinja_node *node = *out;
  TD_TRY(td_jinja_name(parser, &node->text));
  TD_TRY(parse_parameters(parser, &node->a));
  TD_TRY(expect_close(parser));
  TD_TRY(parse_body(parser, &node->b));
  TD_TRY(td_jinja_finish(parser, node));
  return expect_end(parser, "endmacro");
}

/* Hugging Face's mark around what the model answers; it writes nothing. */
static td_status parse_generation(struct jinja_parser *parser, struct jinja_node **out) {
  TD_TRY(expect_close(parser));
  TD_TRY(parse_body(parser, out));
  return expect_end(parser, "endgeneration");
}

static td_status parse_jump(struct jinja_parser *parser, enum jinja_node_kind kind, struct jinja_node **out) {
  TD_TRY(td_jinja_node(parser, kind, out));
  return expect_close(parser);
}

static td_status parse_tag(struct jinja_parser *parser, struct jinja_node **out) {
  if (accept_tag(parser, "if")) return parse_if(parser, out);
  if (accept_tag(parser, "for")) return parse_for(parser, out);
  if (accept_tag(parser, "set")) return parse_set(parser, out);
  if (accept_tag(parser, "macro")) return parse_macro(parser, out);
  if (accept_tag(parser, "generation")) return parse_generation(parser, out);
  if (accept_tag(parser, "break")) return parse_jump(parser, JINJA_BREAK, out);
  if (accept_tag(parser, "continue")) return parse_jump(parser, JINJA_CONTINUE, out);
  return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, parser->at->line,
                       "found the tag \"%.*s\", expected if, for, set, macro, generation, break or continue",
                       TD_SPAN_SHOW(parser->at[1].text));
}

/* At a tag that only its opener can read: "else", "endif", ... */
static bool at_body_end(const struct jinja_parser *parser) {
  static const char *const words[] = {"else", "elif", "endif", "endfor", "endset", "endmacro", "endgeneration"};
  if (parser->at->kind == JINJA_END) return true;
  if (parser->at->kind != JINJA_TAG || parser->at[1].kind != JINJA_NAME) return false;
  for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
    if (td_span_is(parser->at[1].text, words[i])) return true;
  }
  return false;
}

static td_status parse_statement(struct jinja_parser *parser, struct jinja_node **out) {
  switch (parser->at->kind) {
    case JINJA_TEXT:
      return parse_text(parser, out);
    case JINJA_OUTPUT:
      return parse_output(parser, out);
    default:
      return parse_tag(parser, out);
  }
}

static td_status parse_body(struct jinja_parser *parser, struct jinja_node **out) {
  if (++parser->depth > BODY_DEPTH_MAX) {
    return td_jinja_fail(parser->jinja, TD_UNSUPPORTED, parser->at->line, "found statements nested over %d deep",
                         BODY_DEPTH_MAX);
  }
  while (!at_body_end(parser)) {
    TD_TRY(parse_statement(parser, out));
    while (*out) out = &(*out)->next; /* generation brings a whole body */
  }
  parser->depth--;
  return TD_OK;
}

td_status td_jinja_parse(struct jinja *jinja, const struct jinja_tokens *tokens, struct jinja_node **out) {
  struct jinja_parser parser = {.jinja = jinja, .at = tokens->list};
  *out = NULL;
  TD_TRY(parse_body(&parser, out));
  return parser.at->kind == JINJA_END ? TD_OK : td_jinja_unexpected(&parser, "no end of what was not opened");
}
