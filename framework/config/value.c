/* SPDX-License-Identifier: Apache-2.0
 *
 * Single values: from a node of the tree, or from an option's default, into a field of the typed struct.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define MOST_EXACT (INT64_C(1) << 53) /* whole numbers up to here are doubles */

static bool in_range(const struct td_option *option, double value) {
  if (option->low == 0 && option->high == 0) return true;
  return value >= option->low && value <= option->high;
}

static td_status set_integer(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                             const struct cfg_node *node, int64_t *field) {
  if (node->type != CFG_INT || !in_range(option, (double)node->value.integer)) {
    return td_cfg_wrong(config, path, node, option);
  }
  *field = node->value.integer;
  return TD_OK;
}

/* A whole number is a number too, if a double holds it exactly. */
static td_status set_real(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                          const struct cfg_node *node, double *field) {
  double value = node->value.real;
  bool fits = node->type == CFG_REAL && isfinite(value);
  if (node->type == CFG_INT) {
    int64_t integer = node->value.integer;
    value = (double)integer;
    fits = integer >= -MOST_EXACT && integer <= MOST_EXACT;
  }
  if (!fits || !in_range(option, value)) return td_cfg_wrong(config, path, node, option);
  *field = value;
  return TD_OK;
}

/* The text of a node; a --set value that is no quoted text counts as typed. */
static const char *text_of(const struct cfg_node *node) {
  if (node->type == CFG_TEXT) return node->value.text;
  return node->raw;
}

static int find_choice(const char *choices, const char *text) {
  for (int i = 0, count = td_cfg_choice_count(choices); i < count; i++) {
    int bytes;
    const char *choice = td_cfg_choice_at(choices, i, &bytes);
    if (strlen(text) == (size_t)bytes && !memcmp(choice, text, (size_t)bytes)) return i;
  }
  return -1;
}

static td_status wrong_choice(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                              const struct cfg_node *node, const char *text) {
  char found[CFG_SHOWN + 8], choice[CFG_NAME_BYTES], nearest[CFG_NAME_BYTES] = "";
  int best = strlen(text) < 6 ? (int)strlen(text) / 2 + 1 : 4;
  for (int i = 0, count = td_cfg_choice_count(option->choices); i < count; i++) {
    int bytes;
    const char *at = td_cfg_choice_at(option->choices, i, &bytes);
    snprintf(choice, sizeof choice, "%.*s", bytes, at);
    int distance = td_edit_distance(choice, text);
    if (distance >= best || distance >= bytes) continue;
    best = distance;
    memcpy(nearest, choice, sizeof nearest);
  }
  struct td_text line = {0};
  td_cfg_shorten(text, found, sizeof found);
  td_text_printf(&line, "found %s, expected ", found);
  td_cfg_expected(option, &line);
  if (*nearest) td_text_printf(&line, "; did you mean %s?", nearest);
  td_status status = td_cfg_fail_at(config, path, node, line.data ? line.data : found);
  td_text_free(&line);
  return status;
}

static td_status set_choice(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                            const struct cfg_node *node, int *field) {
  const char *text = text_of(node);
  if (!text) return td_cfg_wrong(config, path, node, option);
  int index = find_choice(option->choices, text);
  if (index < 0) return wrong_choice(config, path, option, node, text);
  *field = index;
  return TD_OK;
}

static td_status set_texts(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                           const struct cfg_node *node, struct td_list *field) {
  if (node->type != CFG_LIST || node->count > CFG_MAX_ITEMS) return td_cfg_wrong(config, path, node, option);
  void *items = NULL;
  TD_TRY(td_cfg_alloc(config, (size_t)node->count, sizeof(const char *), &items));
  for (int32_t i = 0; i < node->count; i++) {
    const struct td_option element = {.name = option->name, .type = TD_OPT_TEXT};
    const struct cfg_path below = {path, NULL, i};
    if (node->children[i].type != CFG_TEXT) return td_cfg_wrong(config, &below, &node->children[i], &element);
    ((const char **)items)[i] = node->children[i].value.text;
  }
  *field = (struct td_list){items, node->count};
  return TD_OK;
}

static td_status set_path(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                          const struct cfg_node *node, const char **field) {
  const char *text = text_of(node);
  if (!text) return td_cfg_wrong(config, path, node, option);
  const char *trouble = NULL;
  TD_TRY(td_cfg_resolve(config, text, node->file == CFG_FROM_SET, field, &trouble));
  return trouble ? td_cfg_fail_at(config, path, node, trouble) : TD_OK;
}

td_status td_cfg_value(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                       const struct cfg_node *node, void *field) {
  switch (option->type) {
    case TD_OPT_INT:
      return set_integer(config, path, option, node, field);
    case TD_OPT_REAL:
      return set_real(config, path, option, node, field);
    case TD_OPT_BOOL:
      if (node->type != CFG_BOOL) return td_cfg_wrong(config, path, node, option);
      *(bool *)field = node->value.boolean;
      return TD_OK;
    case TD_OPT_TEXT:
      if (!text_of(node)) return td_cfg_wrong(config, path, node, option);
      *(const char **)field = text_of(node);
      return TD_OK;
    case TD_OPT_CHOICE:
      return set_choice(config, path, option, node, field);
    case TD_OPT_PATH:
      return set_path(config, path, option, node, field);
    case TD_OPT_TEXTS:
      return set_texts(config, path, option, node, field);
    default:
      return td_fail(TD_INTERNAL, "config: %s: found a group, expected a value", option->name);
  }
}

/* A default that does not parse is a mistake in an option table. */
static td_status bad_default(const struct td_option *option) {
  return td_fail(TD_INTERNAL, "config: option %s has the default \"%s\", which is none of its values", option->name,
                 option->fallback);
}

static td_status default_text(struct td_config *config, const char *text, const char **field) {
  size_t bytes = strlen(text);
  bool quoted = bytes >= 2 && text[0] == '"' && text[bytes - 1] == '"';
  return td_cfg_copy(config, text + quoted, bytes - 2 * (size_t)quoted, field);
}

static td_status default_choice(struct td_config *config, const struct td_option *option, int *field) {
  const char *text;
  TD_TRY(default_text(config, option->fallback, &text));
  int index = find_choice(option->choices, text);
  if (index < 0) return bad_default(option);
  *field = index;
  return TD_OK;
}

static td_status default_path(struct td_config *config, const struct td_option *option, const char **field) {
  const char *text, *trouble = NULL;
  TD_TRY(default_text(config, option->fallback, &text));
  TD_TRY(td_cfg_resolve(config, text, false, field, &trouble));
  return trouble ? bad_default(option) : TD_OK;
}

td_status td_cfg_fallback(struct td_config *config, const struct td_option *option, void *field) {
  const char *text = option->fallback;
  char *end = NULL;
  errno = 0;
  switch (option->type) {
    case TD_OPT_INT:
      if (!strcmp(text, "none")) {
        *(int64_t *)field = TD_NO_INT;
        return TD_OK;
      }
      *(int64_t *)field = strtoll(text, &end, 10);
      return end == text || *end || errno ? bad_default(option) : TD_OK;
    case TD_OPT_REAL:
      *(double *)field = strtod(text, &end);
      return end == text || *end ? bad_default(option) : TD_OK;
    case TD_OPT_BOOL:
      *(bool *)field = !strcmp(text, "true");
      return *(bool *)field || !strcmp(text, "false") ? TD_OK : bad_default(option);
    case TD_OPT_TEXT:
      return default_text(config, text, field);
    case TD_OPT_CHOICE:
      return default_choice(config, option, field);
    case TD_OPT_PATH:
      return default_path(config, option, field);
    default: /* lists: only the empty one */
      *(struct td_list *)field = (struct td_list){0};
      return !*text || !strcmp(text, "()") || !strcmp(text, "[]") ? TD_OK : bad_default(option);
  }
}
