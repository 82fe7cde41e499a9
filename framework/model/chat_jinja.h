/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to chat rendering: the part of the Jinja template language (jinja.palletsprojects.com/templates, with the
 * settings that Hugging Face's apply_chat_template gives it) that chat templates are written in. A construct that is
 * not here is refused by name, when it is met; nothing is left out of a rendering in silence.
 *
 * Templates come from untrusted files: memory, steps and nesting are bounded (see the limits in chat_arena.c).
 */
#ifndef TANDEM_MODEL_CHAT_JINJA_H
#define TANDEM_MODEL_CHAT_JINJA_H

#include "gguf.h"
#include "tandem/base.h"

/* ---- memory and limits of one rendering ---- */

struct jinja_block;
struct jinja {
  const char *path; /* of the model, for messages */
  struct jinja_block *blocks;
  uint64_t used, limit; /* bytes */
  uint64_t steps;       /* left */
  int32_t depth;        /* of nested evaluation */
  struct jinja_scope *globals;
};
/* `text_bytes`: of the template and the conversation; limits grow with it. */
void td_jinja_open(struct jinja *jinja, const char *path, uint64_t text_bytes);
void td_jinja_close(struct jinja *jinja);
/* Zeroed memory that lives until td_jinja_close. */
td_status td_jinja_alloc(struct jinja *jinja, size_t bytes, void **out);
/* Counts work: one step for each evaluation, one for 64 bytes looked at. */
td_status td_jinja_spend(struct jinja *jinja, uint64_t steps);
/* "PATH: tokenizer.chat_template: ..." */
td_status td_jinja_fail(const struct jinja *jinja, enum td_code code, int32_t line, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- tokens ---- */

enum jinja_token_kind {
  JINJA_TEXT,   /* between tags */
  JINJA_OUTPUT, /* {{ */
  JINJA_TAG,    /* {% */
  JINJA_CLOSE,  /* }} or %} */
  JINJA_NAME,
  JINJA_STRING, /* text: without quotes, escapes undone */
  JINJA_INT,
  JINJA_REAL,
  JINJA_SIGN, /* text: one of the operators and brackets */
  JINJA_END
};
struct jinja_token {
  enum jinja_token_kind kind;
  int32_t line;
  struct td_span text;
  int64_t number;
};
struct jinja_tokens {
  struct jinja_token *list;
  size_t count, capacity;
};
/* The list is freed by the caller, also after an error. */
td_status td_jinja_lex(struct jinja *jinja, struct td_span source, struct jinja_tokens *out);

/* ---- syntax tree ---- */

enum jinja_node_kind {
  /* expressions */
  JINJA_CONSTANT,  /* value */
  JINJA_VARIABLE,  /* text */
  JINJA_ATTRIBUTE, /* a.text */
  JINJA_ITEM,      /* a[b] */
  JINJA_SLICE,     /* a[b:c:d] */
  JINJA_CALL,      /* a(b...) */
  JINJA_FILTER,    /* a | text(b...) */
  JINJA_TEST,      /* a is text(b...); flag: is not */
  JINJA_NOT,
  JINJA_NEGATE,
  JINJA_BINARY, /* a text b */
  JINJA_AND,
  JINJA_OR,
  JINJA_CHOICE,   /* a if b else c */
  JINJA_LIST,     /* [a...] */
  JINJA_DICT,     /* {a...}: pairs, a: key, b: value */
  JINJA_ARGUMENT, /* text = a, or a */
  /* statements */
  JINJA_WRITE_TEXT, /* text */
  JINJA_WRITE,      /* a */
  JINJA_IF,         /* a: condition, b: body, c: else */
  JINJA_FOR,        /* d: targets, a: list, b: body, c: else, e: condition */
  JINJA_SET,        /* d: target, a: value; or b: body */
  JINJA_MACRO,      /* text(a...), b: body */
  JINJA_BREAK,
  JINJA_CONTINUE
};

struct jinja_value;
struct jinja_node {
  enum jinja_node_kind kind;
  int32_t line, height;
  bool flag;
  struct td_span text;
  const struct jinja_value *value;
  struct jinja_node *a, *b, *c, *d, *e, *next;
};
td_status td_jinja_parse(struct jinja *jinja, const struct jinja_tokens *tokens, struct jinja_node **out);

/* One parse under way; between chat_parse.c (statements) and chat_expression.c. */
struct jinja_parser {
  struct jinja *jinja;
  const struct jinja_token *at;
  int32_t depth;
};
td_status td_jinja_node(struct jinja_parser *parser, enum jinja_node_kind kind, struct jinja_node **out);
/* Sets the node's height from its children; refuses a tree that is too high. */
td_status td_jinja_finish(struct jinja_parser *parser, struct jinja_node *node);
td_status td_jinja_expression(struct jinja_parser *parser, struct jinja_node **out);
/* Without "a if b else c" at its top: the list of a for. */
td_status td_jinja_or(struct jinja_parser *parser, struct jinja_node **out);
bool td_jinja_sign(const struct jinja_parser *parser, const char *sign);
bool td_jinja_word(const struct jinja_parser *parser, const char *word);
bool td_jinja_accept(struct jinja_parser *parser, const char *sign); /* steps over the sign if it is there */
td_status td_jinja_expect(struct jinja_parser *parser, const char *sign);
td_status td_jinja_name(struct jinja_parser *parser, struct td_span *out);
td_status td_jinja_unexpected(const struct jinja_parser *parser, const char *expected);

/* ---- values ---- */

enum jinja_kind {
  JINJA_UNDEFINED, /* text: the name that was not there */
  JINJA_NONE,
  JINJA_BOOL,
  JINJA_NUMBER,
  JINJA_TEXT_VALUE,
  JINJA_TODAY, /* a text that depends on today's date: must not be written */
  JINJA_ARRAY,
  JINJA_MAP,
  JINJA_FUNCTION, /* text: its name; macro: its node */
  JINJA_METHOD    /* text of `self` */
};

struct jinja_value {
  enum jinja_kind kind;
  int64_t number; /* also of bool */
  struct td_span text;
  struct jinja_array *array;
  struct jinja_map *map;
  const struct jinja_node *macro;
  const struct jinja_value *self;
};
struct jinja_array {
  struct jinja_value *items;
  size_t count, capacity;
};
struct jinja_pair {
  struct td_span key;
  struct jinja_value value;
};
struct jinja_map {
  struct jinja_pair *pairs;
  size_t count, capacity;
  bool open; /* a namespace: its attributes may be set */
};

struct jinja_value td_jinja_text(struct td_span text);
struct jinja_value td_jinja_words(const char *text); /* borrows */
struct jinja_value td_jinja_int(int64_t number);
struct jinja_value td_jinja_bool(bool yes);
struct jinja_value td_jinja_missing(struct td_span name);
td_status td_jinja_array(struct jinja *jinja, struct jinja_value *out);
td_status td_jinja_append(struct jinja *jinja, struct jinja_array *array, struct jinja_value value);
td_status td_jinja_map(struct jinja *jinja, struct jinja_value *out);
td_status td_jinja_put(struct jinja *jinja, struct jinja_map *map, struct td_span key, struct jinja_value value);
const struct jinja_value *td_jinja_get(const struct jinja_map *map, struct td_span key);
const char *td_jinja_kind_name(const struct jinja_value *value);
bool td_jinja_truth(const struct jinja_value *value);
td_status td_jinja_equal(struct jinja *jinja, const struct jinja_value *a, const struct jinja_value *b, bool *out);
/* How a value is written out; TD_UNSUPPORTED for lists and the like. */
td_status td_jinja_written(struct jinja *jinja, const struct jinja_value *value, int32_t line, struct td_span *out);
td_status td_jinja_join(struct jinja *jinja, struct td_span a, struct td_span b, struct td_span *out);
td_status td_jinja_json(struct jinja *jinja, const struct jinja_value *value, int32_t line, struct td_text *out);

/* ---- texts ---- */

bool td_jinja_is_space(uint32_t character); /* as Python's str.isspace */
struct td_span td_jinja_strip(struct td_span text, const struct td_span *set, bool left, bool right);
int64_t td_jinja_characters(struct td_span text);
/* Bytes before character `index`. */
size_t td_jinja_offset(struct td_span text, int64_t index);
/* -1 if it is not there. */
int64_t td_jinja_search(struct td_span text, struct td_span word, size_t from);

/* ---- evaluation ---- */

struct jinja_variable {
  struct td_span name;
  struct jinja_value value;
  struct jinja_variable *next;
};
struct jinja_scope {
  struct jinja_scope *outer;
  struct jinja_variable *variables;
};
td_status td_jinja_set(struct jinja *jinja, struct jinja_scope *scope, struct td_span name, struct jinja_value value);

/* Arguments of a call, evaluated. */
struct jinja_call {
  int32_t line;
  struct jinja_value *values;
  struct td_span *names; /* empty: by position */
  size_t count;
};
/* The argument of this name or place; NULL if it was not given. */
const struct jinja_value *td_jinja_argument(const struct jinja_call *call, size_t place, const char *name);

td_status td_jinja_evaluate(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *node,
                            struct jinja_value *out);
td_status td_jinja_run(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *body,
                       struct td_text *out);
/* What `body` writes, as a text. */
td_status td_jinja_capture(struct jinja *jinja, struct jinja_scope *scope, const struct jinja_node *body,
                           struct jinja_value *out);
/* Bounds the nesting of evaluation; the caller takes jinja->depth down again, also after an error. */
td_status td_jinja_enter(struct jinja *jinja, int32_t line);
td_status td_jinja_call_macro(struct jinja *jinja, const struct jinja_node *macro, const struct jinja_call *call,
                              struct jinja_value *out);
td_status td_jinja_binary(struct jinja *jinja, const struct jinja_node *node, const struct jinja_value *a,
                          const struct jinja_value *b, struct jinja_value *out);
td_status td_jinja_attribute(struct jinja *jinja, const struct jinja_value *self, struct td_span name, int32_t line,
                             struct jinja_value *out);
td_status td_jinja_item(struct jinja *jinja, const struct jinja_value *self, const struct jinja_value *index,
                        int32_t line, struct jinja_value *out);
td_status td_jinja_slice(struct jinja *jinja, const struct jinja_value *self, const struct jinja_value bounds[3],
                         int32_t line, struct jinja_value *out);
td_status td_jinja_items(struct jinja *jinja, const struct jinja_value *value, int32_t line, struct jinja_value *out);
td_status td_jinja_function(struct jinja *jinja, struct td_span name, const struct jinja_call *call,
                            struct jinja_value *out);
td_status td_jinja_method(struct jinja *jinja, const struct jinja_value *method, const struct jinja_call *call,
                          struct jinja_value *out);
td_status td_jinja_filter(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                          const struct jinja_call *call, struct jinja_value *out);
td_status td_jinja_test(struct jinja *jinja, struct td_span name, const struct jinja_value *value,
                        const struct jinja_call *call, bool *out);

#endif
