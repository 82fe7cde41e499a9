/* SPDX-License-Identifier: Apache-2.0
 *
 * Template text to tokens, with white space around tags treated as under trim_blocks and lstrip_blocks: the line end
 * after a tag goes, and so do the blanks before a tag that is first on its line.
 */
#include <stdlib.h>
#include <string.h>

#include "chat_jinja.h"
#include "tokenizer.h"

struct lexer {
  struct jinja *jinja;
  const char *text;
  size_t at, bytes;
  int32_t line;
  bool line_start; /* the last tag took a line end with it */
  struct jinja_tokens *out;
};

static td_status push(struct lexer *lexer, enum jinja_token_kind kind, struct td_span text, int64_t number) {
  struct jinja_token token = {kind, lexer->line, text, number};
  TD_TRY(td_jinja_spend(lexer->jinja, 1));
  TD_TRY(td_grow((void **)&lexer->out->list, &lexer->out->capacity, lexer->out->count + 1, sizeof token));
  lexer->out->list[lexer->out->count++] = token;
  return TD_OK;
}

static bool starts(const struct lexer *lexer, const char *word) {
  size_t bytes = strlen(word);
  return lexer->bytes - lexer->at >= bytes && !memcmp(lexer->text + lexer->at, word, bytes);
}

static void advance(struct lexer *lexer, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) lexer->line += lexer->text[lexer->at + i] == '\n';
  lexer->at += bytes;
}

/* Bytes of the white space at `at`. */
static size_t space_bytes(const struct lexer *lexer, size_t at) {
  size_t begin = at;
  while (at < lexer->bytes) {
    size_t bytes = td_utf8_bytes(lexer->text + at, lexer->bytes - at);
    if (!bytes || !td_jinja_is_space(td_utf8_character(lexer->text + at, bytes))) break;
    at += bytes;
  }
  return at - begin;
}

/* ---- between tags ---- */

static bool is_opening(const char *text) {
  return text[0] == '{' && (text[1] == '{' || text[1] == '%' || text[1] == '#');
}

static size_t next_tag(const struct lexer *lexer) {
  size_t at = lexer->at;
  for (; at + 1 < lexer->bytes; at++) {
    if (is_opening(lexer->text + at)) return at;
  }
  return lexer->bytes;
}

/* The blanks before a tag that stands first on its line. */
static struct td_span without_indent(const struct lexer *lexer, struct td_span text) {
  const char *line = text.bytes ? memrchr(text.data, '\n', text.bytes) : NULL;
  if (!line && !lexer->line_start) return text;
  size_t begin = line ? (size_t)(line - text.data) + 1 : 0;
  struct td_span last = {text.data + begin, text.bytes - begin};
  return td_jinja_strip(last, NULL, true, true).bytes ? text : (struct td_span){text.data, begin};
}

static td_status lex_text(struct lexer *lexer) {
  size_t tag = next_tag(lexer);
  struct td_span text = {lexer->text + lexer->at, tag - lexer->at};
  if (tag < lexer->bytes) {
    char mark = tag + 2 < lexer->bytes ? lexer->text[tag + 2] : 0;
    if (mark == '-') {
      text = td_jinja_strip(text, NULL, false, true);
    } else if (mark != '+' && lexer->text[tag + 1] != '{') {
      text = without_indent(lexer, text);
    }
  }
  if (text.bytes) TD_TRY(push(lexer, JINJA_TEXT, text, 0));
  advance(lexer, tag - lexer->at);
  return TD_OK;
}

/* Steps over the end of a tag, and what goes with it: all white space after "-%}", one line end after "%}". */
static void close_tag(struct lexer *lexer, size_t bytes, char mark, bool output) {
  advance(lexer, bytes);
  size_t space = 0;
  if (mark == '-') {
    space = space_bytes(lexer, lexer->at);
  } else if (mark != '+' && !output) {
    space = starts(lexer, "\n");
  }
  lexer->line_start = space && lexer->text[lexer->at + space - 1] == '\n';
  advance(lexer, space);
}

static td_status lex_comment(struct lexer *lexer) {
  const char *begin = lexer->text + lexer->at + 2, *end = memmem(begin, lexer->bytes - lexer->at - 2, "#}", 2);
  if (!end) return td_jinja_fail(lexer->jinja, TD_CORRUPT, lexer->line, "found a comment without end, expected \"#}\"");
  char mark = end > begin ? end[-1] : 0;
  close_tag(lexer, (size_t)(end - begin) + 4, mark, false);
  return TD_OK;
}

/* ---- inside tags ---- */

static int digit_of(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : 99;
}

static size_t write_utf8(uint32_t c, char *out) {
  if (c < 0x80) {
    out[0] = (char)c;
    return 1;
  }
  size_t bytes = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
  for (size_t i = bytes - 1; i; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
  out[0] = (char)((0xf00u >> bytes & 0xff) | c);
  return bytes;
}

static td_status wrong_escape(const struct lexer *lexer) {
  return td_jinja_fail(lexer->jinja, TD_UNSUPPORTED, lexer->line, "found an escape in a string that is no character");
}

/* "\x41", "\u00e9", "\101": `digits` at most, of `base`. */
static td_status escape_number(const struct lexer *lexer, struct td_span raw, uint64_t *at, int digits, int base,
                               struct td_text *out) {
  uint32_t code = 0;
  char utf8[4];
  int seen = 0;
  for (; seen < digits && *at < raw.bytes && digit_of(raw.data[*at]) < base; seen++, (*at)++) {
    code = code * (uint32_t)base + (uint32_t)digit_of(raw.data[*at]);
  }
  bool surrogate = code >= 0xd800 && code < 0xe000;
  if ((base == 16 && seen < digits) || surrogate || code > 0x10ffff) return wrong_escape(lexer);
  td_text_add(out, utf8, write_utf8(code, utf8));
  return TD_OK;
}

static td_status escape(const struct lexer *lexer, struct td_span raw, uint64_t *at, struct td_text *out) {
  static const char letters[] = "abfnrtv\\'\"", meanings[] = "\a\b\f\n\r\t\v\\'\"";
  char letter = raw.data[*at];
  const char *known = letter ? strchr(letters, letter) : NULL;
  if (digit_of(letter) < 8) return escape_number(lexer, raw, at, 3, 8, out);
  ++*at;
  if (letter == 'x') return escape_number(lexer, raw, at, 2, 16, out);
  if (letter == 'u') return escape_number(lexer, raw, at, 4, 16, out);
  if (letter == 'U') return escape_number(lexer, raw, at, 8, 16, out);
  if (letter == 'N') return wrong_escape(lexer);
  if (letter == '\n') return TD_OK;
  if (known) {
    td_text_add(out, &meanings[known - letters], 1);
  } else {
    td_text_add(out, "\\", 1); /* as Python: an unknown escape stays as it is */
    td_text_add(out, &letter, 1);
  }
  return TD_OK;
}

static td_status unescape(const struct lexer *lexer, struct td_span raw, struct td_text *out) {
  for (uint64_t at = 0; at < raw.bytes;) {
    const char *slash = memchr(raw.data + at, '\\', raw.bytes - at);
    uint64_t plain = slash ? (uint64_t)(slash - raw.data) - at : raw.bytes - at;
    td_text_add(out, raw.data + at, plain);
    at += plain;
    if (slash) at++;
    if (slash && at < raw.bytes) TD_TRY(escape(lexer, raw, &at, out));
  }
  return out->failed ? td_fail(TD_NO_MEMORY, "no memory for a chat template") : TD_OK;
}

static td_status lex_string(struct lexer *lexer) {
  char quote = lexer->text[lexer->at];
  size_t end = lexer->at + 1;
  while (end < lexer->bytes && lexer->text[end] != quote) end += lexer->text[end] == '\\' ? 2 : 1;
  if (end >= lexer->bytes) {
    return td_jinja_fail(lexer->jinja, TD_CORRUPT, lexer->line, "found a string without end, expected %c", quote);
  }
  struct td_span raw = {lexer->text + lexer->at + 1, end - lexer->at - 1}, text = raw;
  if (memchr(raw.data, '\\', raw.bytes)) {
    struct td_text plain = {0};
    td_status status = unescape(lexer, raw, &plain);
    if (status == TD_OK) {
      status = td_jinja_join(lexer->jinja, (struct td_span){plain.data, plain.bytes}, (struct td_span){"", 0}, &text);
    }
    td_text_free(&plain);
    TD_TRY(status);
  }
  TD_TRY(push(lexer, JINJA_STRING, text, 0));
  advance(lexer, end + 1 - lexer->at);
  return TD_OK;
}

static td_status lex_number(struct lexer *lexer) {
  size_t begin = lexer->at, end = begin;
  int64_t number = 0;
  bool real = false;
  for (; end < lexer->bytes; end++) {
    char c = lexer->text[end];
    bool point = c == '.' && end + 1 < lexer->bytes && digit_of(lexer->text[end + 1]) < 10;
    real = real || point || c == 'e' || c == 'E';
    if (c == '_' || real) {
      if (c != '_' && !point && digit_of(c) > 9 && c != 'e' && c != 'E') break;
      continue;
    }
    if (digit_of(c) > 9) break;
    if (number > (INT64_MAX - 9) / 10) {
      return td_jinja_fail(lexer->jinja, TD_UNSUPPORTED, lexer->line, "found a number over 2^63 - 1");
    }
    number = number * 10 + digit_of(c);
  }
  TD_TRY(push(lexer, real ? JINJA_REAL : JINJA_INT, (struct td_span){lexer->text + begin, end - begin}, number));
  lexer->at = end;
  return TD_OK;
}

static bool is_letter(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static td_status lex_name(struct lexer *lexer) {
  size_t begin = lexer->at, end = begin;
  while (end < lexer->bytes && (is_letter(lexer->text[end]) || digit_of(lexer->text[end]) < 10)) end++;
  TD_TRY(push(lexer, JINJA_NAME, (struct td_span){lexer->text + begin, end - begin}, 0));
  lexer->at = end;
  return TD_OK;
}

static td_status lex_sign(struct lexer *lexer, int32_t *depth) {
  static const char *const signs[] = {"==", "!=", "<=", ">=", "//", "**", "<", ">", "=", "+", "-", "*", "/",
                                      "%",  "~",  "|",  ".",  ",",  ":",  "(", ")", "[", "]", "{", "}"};
  for (size_t i = 0; i < sizeof signs / sizeof signs[0]; i++) {
    if (!starts(lexer, signs[i])) continue;
    size_t bytes = strlen(signs[i]);
    *depth += strchr("([{", signs[i][0]) ? 1 : strchr(")]}", signs[i][0]) ? -1 : 0;
    TD_TRY(push(lexer, JINJA_SIGN, (struct td_span){lexer->text + lexer->at, bytes}, 0));
    lexer->at += bytes;
    return TD_OK;
  }
  return td_jinja_fail(lexer->jinja, TD_CORRUPT, lexer->line, "found byte 0x%02x inside a tag, expected an expression",
                       (unsigned char)lexer->text[lexer->at]);
}

/* True if the tag ends here, which brackets inside it may hide. */
static bool at_end(const struct lexer *lexer, bool output, int32_t depth, size_t *out_bytes, char *out_mark) {
  const char *end = output ? "}}" : "%}";
  *out_mark = lexer->text[lexer->at];
  bool marked = *out_mark == '-' || (*out_mark == '+' && !output);
  struct lexer inner = *lexer;
  inner.at += marked ? 1 : 0;
  *out_bytes = marked ? 3 : 2;
  return depth <= 0 && starts(&inner, end);
}

static td_status lex_tag(struct lexer *lexer) {
  bool output = lexer->text[lexer->at + 1] == '{';
  int32_t depth = 0, line = lexer->line;
  TD_TRY(push(lexer, output ? JINJA_OUTPUT : JINJA_TAG, (struct td_span){lexer->text + lexer->at, 2}, 0));
  advance(lexer, 2);
  if (starts(lexer, "-") || starts(lexer, "+")) advance(lexer, 1);
  for (;;) {
    advance(lexer, space_bytes(lexer, lexer->at));
    if (lexer->at >= lexer->bytes) {
      return td_jinja_fail(lexer->jinja, TD_CORRUPT, line, "found a tag without end, expected \"%s\"",
                           output ? "}}" : "%}");
    }
    size_t bytes;
    char mark, c = lexer->text[lexer->at];
    if (at_end(lexer, output, depth, &bytes, &mark)) {
      TD_TRY(push(lexer, JINJA_CLOSE, (struct td_span){lexer->text + lexer->at, bytes}, 0));
      close_tag(lexer, bytes, mark, output);
      return TD_OK;
    }
    TD_TRY(c == '"' || c == '\'' ? lex_string(lexer)
           : digit_of(c) < 10    ? lex_number(lexer)
           : is_letter(c)        ? lex_name(lexer)
                                 : lex_sign(lexer, &depth));
  }
}

/* Line ends become "\n", and the last one goes. */
static td_status normalise(struct jinja *jinja, struct td_span source, char **out, size_t *out_bytes) {
  size_t used = 0;
  TD_TRY(td_jinja_alloc(jinja, source.bytes + 1, (void **)out));
  for (uint64_t i = 0; i < source.bytes; i++) {
    char c = source.data[i];
    if (c == '\r' && i + 1 < source.bytes && source.data[i + 1] == '\n') continue;
    (*out)[used++] = c == '\r' ? '\n' : c;
  }
  if (used && (*out)[used - 1] == '\n') used--;
  *out_bytes = used;
  return TD_OK;
}

td_status td_jinja_lex(struct jinja *jinja, struct td_span source, struct jinja_tokens *out) {
  char *text;
  struct lexer lexer = {.jinja = jinja, .line = 1, .line_start = true, .out = out};
  TD_TRY(normalise(jinja, source, &text, &lexer.bytes));
  lexer.text = text;
  while (lexer.at < lexer.bytes) {
    TD_TRY(lex_text(&lexer));
    if (lexer.at >= lexer.bytes) break;
    TD_TRY(lexer.text[lexer.at + 1] == '#' ? lex_comment(&lexer) : lex_tag(&lexer));
  }
  return push(&lexer, JINJA_END, (struct td_span){"", 0}, 0);
}
