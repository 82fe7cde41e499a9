/* SPDX-License-Identifier: Apache-2.0
 *
 * From files to one text that libconfig can take: @include is expanded here, so that every byte read is bounded and
 * every line keeps its file and number; brackets, strings and numbers are checked, because libconfig would say only
 * "syntax error", recurse without bound or cut a number.
 */
#include <ctype.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

struct bracket {
  char close;
  int32_t file, line, keys;
};

struct scan {
  struct td_config *config;
  struct cfg_scanned *out;
  int32_t file, line, out_line; /* file CFG_FROM_SET: a --set value */
  int32_t include_depth, depth;
  struct bracket brackets[CFG_MAX_DEPTH];
  int32_t root_keys;
  size_t total; /* bytes of all files so far */
};

static td_status fail(const struct scan *scan, int32_t line, const char *format, ...)
    __attribute__((format(printf, 3, 4), cold));
static td_status fail(const struct scan *scan, int32_t line, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (scan->file == CFG_FROM_SET) return td_fail(TD_CONFIG, "--set: %s", text);
  return td_fail(TD_CONFIG, "%s:%d: %s", scan->config->files[scan->file], line, text);
}

static void emit(struct scan *scan, const char *from, const char *to) {
  td_text_add(&scan->out->text, from, (size_t)(to - from));
}

static td_status mark_line(struct scan *scan) {
  struct cfg_scanned *out = scan->out;
  TD_TRY(td_grow((void **)&out->lines, &out->line_capacity, out->line_count + 1, sizeof *out->lines));
  out->lines[out->line_count++] = (struct cfg_line){scan->out_line, scan->file, scan->line};
  return TD_OK;
}

static void newline(struct scan *scan) {
  scan->line++;
  scan->out_line++;
}

static void count_lines(struct scan *scan, const char *from, const char *to) {
  for (; from < to; from++) {
    if (*from == '\n') newline(scan);
  }
}

/* `at` is behind the opening quote; gives the byte behind the closing one. */
static td_status skip_string(struct scan *scan, const char *at, const char *end, const char **out) {
  int32_t begin = scan->line;
  for (; at < end && *at != '"'; at++) {
    if (*at == '\n') newline(scan);
    if (*at != '\\' || at + 1 == end) continue;
    at++;
    if (*at == '\n') newline(scan);
    if ((*at == 'x' || *at == 'X') && end - at > 2 && at[1] == '0' && at[2] == '0') {
      return fail(scan, scan->line, "found \\x00 in a text, expected no zero bytes");
    }
  }
  if (at == end) return fail(scan, begin, "found the opening quote of a text, expected a closing one behind it");
  *out = at + 1;
  return TD_OK;
}

/* Gives the byte behind the comment that begins at `at`, or `at` if there is none. */
static td_status skip_comment(struct scan *scan, const char *at, const char *end, const char **out) {
  const char *from = at;
  if (*at == '#' || (end - at > 1 && at[0] == '/' && at[1] == '/')) {
    at = memchr(at, '\n', (size_t)(end - at));
    *out = at ? at : end;
    return TD_OK;
  }
  *out = at;
  if (end - at < 2 || at[0] != '/' || at[1] != '*') return TD_OK;
  for (at += 2; end - at > 1 && !(at[0] == '*' && at[1] == '/'); at++) {
  }
  if (end - at < 2) return fail(scan, scan->line, "found the beginning of a comment /*, expected its end */");
  count_lines(scan, from, at);
  *out = at + 2;
  return TD_OK;
}

static td_status open_bracket(struct scan *scan, char open) {
  if (scan->depth == CFG_MAX_DEPTH) {
    return fail(scan, scan->line, "found brackets nested deeper than %d, expected at most that", CFG_MAX_DEPTH);
  }
  char close = open == '{' ? '}' : open == '(' ? ')' : ']';
  scan->brackets[scan->depth++] = (struct bracket){close, scan->file, scan->line, 0};
  return TD_OK;
}

static td_status close_bracket(struct scan *scan, char close, int32_t floor) {
  if (scan->depth == floor) return fail(scan, scan->line, "found '%c', expected a bracket opened before it", close);
  const struct bracket *top = &scan->brackets[scan->depth - 1];
  if (top->close != close) {
    return fail(scan, scan->line, "found '%c', expected '%c' for the bracket opened in line %d", close, top->close,
                top->line);
  }
  scan->depth--;
  return TD_OK;
}

static td_status count_key(struct scan *scan) {
  int32_t *keys = scan->depth ? &scan->brackets[scan->depth - 1].keys : &scan->root_keys;
  if (++*keys <= CFG_MAX_KEYS) return TD_OK;
  return fail(scan, scan->line, "found more than %d keys in one group, expected at most that", CFG_MAX_KEYS);
}

static td_status scan_path(struct scan *scan, const char *path);

/* @include "path": gives the byte behind the closing quote. */
static td_status include(struct scan *scan, const char *at, const char *end, const char **out) {
  static const char word[] = "@include";
  const size_t length = sizeof word - 1;
  const char *from = at;
  bool is_include = scan->file != CFG_FROM_SET && (size_t)(end - at) > length && !memcmp(at, word, length);
  for (at += is_include ? length : 0; is_include && at < end && (*at == ' ' || *at == '\t'); at++) {
  }
  const char *close = is_include && at < end && *at == '"' ? memchr(at + 1, '"', (size_t)(end - at - 1)) : NULL;
  size_t name = close ? (size_t)(close - at - 1) : 0;
  if (name == 0 || name >= PATH_MAX / 2 || memchr(from, '\n', (size_t)(close - from))) {
    return fail(scan, scan->line, "found '@', expected @include \"FILE\"");
  }
  const char *base = scan->config->files[scan->file], *slash = strrchr(base, '/');
  int folder = at[1] == '/' || !slash ? 0 : (int)(slash - base) + 1;
  char path[PATH_MAX];
  if (snprintf(path, sizeof path, "%.*s%.*s", folder, base, (int)name, at + 1) >= (int)sizeof path) {
    return fail(scan, scan->line, "found an @include path of over %d bytes, expected a shorter one", PATH_MAX - 1);
  }
  *out = close + 1;
  return scan_path(scan, path);
}

static bool starts_number(const char *at) {
  size_t i = *at == '-' || *at == '+';
  if (at[i] == '.') i++;
  return isdigit((unsigned char)at[i]) != 0;
}

static td_status number(struct scan *scan, const char **at) {
  char text[96];
  size_t bytes = td_cfg_number(*at, text, sizeof text);
  if (!bytes) {
    int shown = (int)strcspn(*at, " \t\r\n;,)]}");
    return fail(scan, scan->line, "found %.*s, expected a number that fits in 64 bits", shown < 40 ? shown : 40, *at);
  }
  td_text_printf(&scan->out->text, "%s", text);
  *at += bytes;
  return TD_OK;
}

static bool is_name(char c) {
  return isalnum((unsigned char)c) || c == '_' || c == '-' || c == '*';
}

/* One character that is no part of a string, comment, name or number. */
static td_status punctuation(struct scan *scan, char c, int32_t floor) {
  switch (c) {
    case '\n':
      newline(scan);
      return TD_OK;
    case '{':
    case '(':
    case '[':
      return open_bracket(scan, c);
    case '}':
    case ')':
    case ']':
      return close_bracket(scan, c, floor);
    case '=':
    case ':':
      return count_key(scan);
    default:
      if ((unsigned char)c >= 0x20 && c != 0x7f) return TD_OK;
      if (strchr("\t\r\f\v", c)) return TD_OK;
      return fail(scan, scan->line, "found the byte 0x%02x, expected text", (unsigned char)c);
  }
}

/* Takes what begins at *at; everything but numbers and includes is copied as it is. */
static td_status scan_token(struct scan *scan, const char **at, const char *end, int32_t floor) {
  const char *from = *at, *next = from + 1;
  char c = *from;
  if (c == '@') {
    td_text_add(&scan->out->text, "\n", 1);
    scan->out_line++;
    TD_TRY(include(scan, from, end, at));
    td_text_add(&scan->out->text, "\n", 1);
    scan->out_line++;
    return mark_line(scan);
  }
  if (starts_number(from)) return number(scan, at);
  if (c == '"') {
    TD_TRY(skip_string(scan, from + 1, end, &next));
  } else if (c == '#' || c == '/') {
    TD_TRY(skip_comment(scan, from, end, &next));
    if (next == from) next = from + 1; /* a lone '/': libconfig's syntax error */
  } else if (is_name(c)) {
    while (next < end && is_name(*next)) next++;
  } else {
    TD_TRY(punctuation(scan, c, floor));
  }
  emit(scan, from, next);
  *at = next;
  return TD_OK;
}

static td_status scan_bytes(struct scan *scan, const char *text, size_t bytes) {
  int32_t floor = scan->depth;
  const char *zero = memchr(text, 0, bytes), *at = text, *end = text + bytes;
  if (zero) {
    count_lines(scan, text, zero);
    return fail(scan, scan->line, "found a zero byte, expected text");
  }
  if (bytes >= 3 && !memcmp(text, "\xef\xbb\xbf", 3)) at += 3; /* byte order mark */
  while (at < end) TD_TRY(scan_token(scan, &at, end, floor));
  if (scan->depth != floor) {
    const struct bracket *top = &scan->brackets[scan->depth - 1];
    return fail(scan, top->line, "found an opening bracket, expected '%c' behind it", top->close);
  }
  if (scan->out->text.failed) return td_fail(TD_NO_MEMORY, "no memory for a config of %zu bytes", scan->total);
  return TD_OK;
}

/* Reads files[file] and puts its text into the output. */
static td_status scan_file(struct scan *scan, int32_t file) {
  char *data;
  size_t bytes;
  td_status status = td_read_file(scan->config->files[file], CFG_MAX_BYTES, &data, &bytes);
  if (status == TD_NO_MEMORY) return status;
  if (status) return scan->include_depth ? fail(scan, scan->line, "@include: %s", td_error_text()) : TD_CONFIG;
  int32_t from_file = scan->file, from_line = scan->line;
  scan->file = file;
  scan->line = 1;
  scan->total += bytes;
  status = scan->total > CFG_MAX_BYTES ? fail(scan, 1, "found %zu bytes with all included files, expected at most %u",
                                              scan->total, CFG_MAX_BYTES)
                                       : mark_line(scan);
  if (!status) status = scan_bytes(scan, data, bytes);
  free(data);
  scan->file = from_file;
  scan->line = from_line;
  return status;
}

static td_status scan_path(struct scan *scan, const char *path) {
  struct td_config *config = scan->config;
  if (scan->include_depth == CFG_MAX_INCLUDE_DEPTH || config->file_count > CFG_MAX_INCLUDES) {
    return fail(scan, scan->line, "found @include nested over %d deep or over %d files, expected fewer",
                CFG_MAX_INCLUDE_DEPTH, CFG_MAX_INCLUDES);
  }
  TD_TRY(td_cfg_copy(config, path, strlen(path), &config->files[config->file_count]));
  config->file_count++;
  scan->include_depth++;
  td_status status = scan_file(scan, config->file_count - 1);
  scan->include_depth--;
  return status;
}

td_status td_cfg_scan_file(struct td_config *config, struct cfg_scanned *out) {
  struct scan scan = {.config = config, .out = out, .out_line = 1};
  return scan_file(&scan, 0);
}

td_status td_cfg_scan_text(struct td_config *config, const char *text, struct cfg_scanned *out) {
  struct scan scan = {.config = config, .out = out, .file = CFG_FROM_SET, .line = 1, .out_line = 1};
  TD_TRY(mark_line(&scan));
  return scan_bytes(&scan, text, strlen(text));
}

void td_cfg_scanned_free(struct cfg_scanned *scanned) {
  td_text_free(&scanned->text);
  free(scanned->lines);
  *scanned = (struct cfg_scanned){0};
}

void td_cfg_origin_of(const struct cfg_scanned *scanned, int32_t scanned_line, int32_t *out_file, int32_t *out_line) {
  size_t low = 0, high = scanned->line_count;
  while (high - low > 1) {
    size_t middle = (low + high) / 2;
    if (scanned->lines[middle].scanned <= scanned_line) {
      low = middle;
    } else {
      high = middle;
    }
  }
  const struct cfg_line *found = &scanned->lines[low];
  *out_file = found->file;
  *out_line = found->line + (scanned_line - found->scanned);
}
