/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolved config as libconfig text, with or without origins. Values come from the parsed struct,
 * origins from the tree; a key the tree does not have is a default.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define ORIGIN_COLUMN 48

struct print {
  const struct td_config *config;
  struct td_text text;
  bool origins;
  int indent;
};

static void print_text(struct td_text *out, const char *text) {
  td_text_add(out, "\"", 1);
  for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
    const char *escape = *c == '"' ? "\\\"" : *c == '\\' ? "\\\\" : *c == '\n' ? "\\n" : *c == '\t' ? "\\t" : NULL;
    if (escape) {
      td_text_add(out, escape, 2);
    } else if (*c < 0x20 || *c == 0x7f) {
      td_text_printf(out, "\\x%02x", *c);
    } else {
      td_text_add(out, c, 1);
    }
  }
  td_text_add(out, "\"", 1);
}

/* The shortest decimal that reads back to the same double, with a point, so that it stays a real. */
void td_cfg_real_text(double value, char *out, size_t size) {
  char digits[40];
  for (int precision = 15; precision <= 17; precision++) {
    snprintf(digits, sizeof digits, "%.*g", precision, value);
    if (strtod(digits, NULL) == value) break;
  }
  size_t whole = strcspn(digits, ".e");
  bool has_point = digits[whole] == '.';
  snprintf(out, size, "%.*s%s%s", (int)whole, digits, has_point ? "" : ".0", digits + whole);
}

static void print_texts(struct td_text *out, const struct td_list *list) {
  td_text_add(out, "[", 1);
  for (int32_t i = 0; i < list->count; i++) {
    if (i) td_text_add(out, ", ", 2);
    print_text(out, ((const char *const *)list->items)[i]);
  }
  td_text_add(out, "]", 1);
}

void td_cfg_print_value(struct td_text *out, const struct td_option *option, const void *field) {
  char number[48];
  int bytes;
  switch (option->type) {
    case TD_OPT_INT: {
      int64_t value = *(const int64_t *)field;
      td_text_printf(out, "%" PRId64 "%s", value, value > INT32_MAX || value < INT32_MIN ? "L" : "");
      break;
    }
    case TD_OPT_REAL:
      td_cfg_real_text(*(const double *)field, number, sizeof number);
      td_text_printf(out, "%s", number);
      break;
    case TD_OPT_BOOL:
      td_text_printf(out, *(const bool *)field ? "true" : "false");
      break;
    case TD_OPT_CHOICE: {
      const char *choice = td_cfg_choice_at(option->choices, *(const int *)field, &bytes);
      td_text_printf(out, "\"%.*s\"", bytes, choice);
      break;
    }
    case TD_OPT_TEXTS:
      print_texts(out, field);
      break;
    default:
      print_text(out, *(const char *const *)field);
  }
}

/* "FILE:LINE", "--set" or "default"; a file name cannot end the comment it stands in. */
void td_cfg_origin_text(const struct td_config *config, const struct cfg_node *node, char *out, size_t size) {
  if (!node) {
    snprintf(out, size, "default");
  } else if (node->file == CFG_FROM_SET) {
    snprintf(out, size, "--set");
  } else {
    snprintf(out, size, "%s:%d", config->files[node->file], node->line);
  }
  for (char *c = out; *c; c++) {
    if ((unsigned char)*c < 0x20 || *c == 0x7f) *c = '?';
  }
}

static void end_line(struct print *print, size_t begin, const char *unit, const struct cfg_node *node) {
  if (print->origins) {
    char origin[1200];
    td_cfg_origin_text(print->config, node, origin, sizeof origin);
    size_t used = print->text.bytes - begin;
    int pad = used < ORIGIN_COLUMN ? (int)(ORIGIN_COLUMN - used) : 1;
    td_text_printf(&print->text, "%*s# %s%s%s", pad, "", unit ? unit : "", unit ? "; " : "", origin);
  }
  td_text_add(&print->text, "\n", 1);
}

/* Left out of the print: an optional group that is absent, an optional number without a value. */
bool td_cfg_is_absent(const struct td_option *option, const struct cfg_node *node, const void *field) {
  if (node) return false;
  if (option->type == TD_OPT_GROUP) return option->fallback != NULL;
  if (option->type == TD_OPT_INT) return *(const int64_t *)field == TD_NO_INT;
  return option->type == TD_OPT_REAL && isnan(*(const double *)field);
}

static void print_group(struct print *print, const struct td_option_group *group, const struct cfg_node *node,
                        const char *parsed);

static void print_list(struct print *print, const struct td_option *option, const struct cfg_node *node,
                       const struct td_list *list) {
  td_text_printf(&print->text, "%*s%s = (\n", print->indent, "", option->name);
  print->indent += 2;
  for (int32_t i = 0; i < list->count; i++) {
    const struct cfg_node *element = node && node->type == CFG_LIST && i < node->count ? &node->children[i] : NULL;
    td_text_printf(&print->text, "%*s{\n", print->indent, "");
    print->indent += 2;
    print_group(print, option->group, element, (const char *)list->items + (size_t)i * option->group->bytes);
    print->indent -= 2;
    td_text_printf(&print->text, "%*s}%s\n", print->indent, "", i + 1 < list->count ? "," : "");
  }
  print->indent -= 2;
  td_text_printf(&print->text, "%*s);\n", print->indent, "");
}

static void print_option(struct print *print, const struct td_option *option, const struct cfg_node *node,
                         const char *field) {
  if (td_cfg_is_absent(option, node, field)) return;
  size_t begin = print->text.bytes;
  if (option->type == TD_OPT_GROUP) {
    td_text_printf(&print->text, "%*s%s = {\n", print->indent, "", option->name);
    print->indent += 2;
    print_group(print, option->group, node, field);
    print->indent -= 2;
    td_text_printf(&print->text, "%*s};\n", print->indent, "");
    return;
  }
  if (option->type == TD_OPT_LIST && ((const struct td_list *)(const void *)field)->count) {
    print_list(print, option, node, (const struct td_list *)(const void *)field);
    return;
  }
  td_text_printf(&print->text, "%*s%s = ", print->indent, "", option->name);
  if (option->type == TD_OPT_LIST) {
    td_text_printf(&print->text, "()");
  } else {
    td_cfg_print_value(&print->text, option, field);
  }
  td_text_add(&print->text, ";", 1);
  end_line(print, begin, option->unit, node);
}

static void print_group(struct print *print, const struct td_option_group *group, const struct cfg_node *node,
                        const char *parsed) {
  for (const struct td_option *option = group->options; option->name; option++) {
    print_option(print, option, td_cfg_member(node, option->name), parsed + option->offset);
  }
}

static td_status render(const struct td_config *config, const struct td_option_group *group, const void *parsed,
                        bool origins, struct td_text *out) {
  struct print print = {.config = config, .origins = origins};
  print_group(&print, group, &config->root, parsed);
  if (!print.text.failed && print.text.data) {
    *out = print.text;
    return TD_OK;
  }
  td_text_free(&print.text);
  return td_fail(TD_NO_MEMORY, "no memory to print a config");
}

td_status td_config_print(const struct td_config *config, const struct td_option_group *group, const void *parsed,
                          FILE *out) {
  struct td_text text = {0};
  TD_TRY(render(config, group, parsed, true, &text));
  fwrite(text.data, 1, text.bytes, out);
  td_text_free(&text);
  return TD_OK;
}

td_status td_config_text(const struct td_config *config, const struct td_option_group *group, const void *parsed,
                         char **out_text) {
  struct td_text text = {0};
  TD_TRY(render(config, group, parsed, false, &text));
  *out_text = text.data;
  return TD_OK;
}
