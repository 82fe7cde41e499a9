/* SPDX-License-Identifier: Apache-2.0
 *
 * One line per mistake: where, which key, what was found, what was expected.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"

void td_cfg_path_text(const struct cfg_path *path, struct td_text *out) {
  if (!path) return;
  td_cfg_path_text(path->up, out);
  if (path->up) td_text_add(out, ".", 1);
  if (!path->name) {
    td_text_printf(out, "[%d]", path->index);
  } else {
    td_text_printf(out, "%.*s", CFG_SHOWN, path->name);
  }
}

void td_cfg_shorten(const char *text, char *out, size_t size) {
  size_t bytes = strlen(text), room = size - 6; /* two quotes, three points, NUL */
  if (room > CFG_SHOWN) room = CFG_SHOWN;
  bool cut = bytes > room;
  if (cut) {
    for (bytes = room; bytes > 0 && ((unsigned char)text[bytes] & 0xc0) == 0x80; bytes--) {
    }
  }
  snprintf(out, size, "\"%.*s%s\"", (int)bytes, text, cut ? "..." : "");
}

void td_cfg_found(const struct cfg_node *node, char *out, size_t size) {
  switch (node->type) {
    case CFG_GROUP:
      snprintf(out, size, "a group");
      break;
    case CFG_LIST:
      snprintf(out, size, "a list of %d", node->count);
      break;
    case CFG_INT:
      snprintf(out, size, "%" PRId64, node->value.integer);
      break;
    case CFG_REAL:
      td_cfg_real_text(node->value.real, out, size);
      break;
    case CFG_BOOL:
      snprintf(out, size, "%s", node->value.boolean ? "true" : "false");
      break;
    case CFG_TEXT:
      td_cfg_shorten(node->value.text, out, size);
      break;
  }
}

int td_cfg_choice_count(const char *choices) {
  int count = 1;
  for (; *choices; choices++) count += *choices == '|';
  return count;
}

const char *td_cfg_choice_at(const char *choices, int i, int *out_bytes) {
  for (; i > 0; i--) choices = strchr(choices, '|') + 1;
  *out_bytes = (int)strcspn(choices, "|");
  return choices;
}

static void expected_choice(const char *choices, struct td_text *out) {
  td_text_printf(out, "one of ");
  for (int i = 0, count = td_cfg_choice_count(choices); i < count; i++) {
    int bytes;
    const char *choice = td_cfg_choice_at(choices, i, &bytes);
    td_text_printf(out, "%s%.*s", i ? ", " : "", bytes, choice);
  }
}

static void expected_number(const struct td_option *option, struct td_text *out) {
  td_text_printf(out, option->type == TD_OPT_INT ? "a whole number" : "a number");
  if (option->low != 0 || option->high != 0) {
    if (option->high >= 9e18) {
      td_text_printf(out, " of at least %.17g", option->low);
    } else {
      td_text_printf(out, " %.15g..%.15g", option->low, option->high);
    }
  }
  if (option->unit) td_text_printf(out, " (%s)", option->unit);
}

void td_cfg_expected(const struct td_option *option, struct td_text *out) {
  switch (option->type) {
    case TD_OPT_INT:
    case TD_OPT_REAL:
      expected_number(option, out);
      break;
    case TD_OPT_BOOL:
      td_text_printf(out, "true or false");
      break;
    case TD_OPT_TEXT:
      td_text_printf(out, "a text");
      break;
    case TD_OPT_CHOICE:
      expected_choice(option->choices, out);
      break;
    case TD_OPT_PATH:
      td_text_printf(out, "a path");
      break;
    case TD_OPT_GROUP:
      td_text_printf(out, "a group { ... }");
      break;
    case TD_OPT_LIST:
      td_text_printf(out, "a list ( { ... }, ... )");
      break;
    case TD_OPT_TEXTS:
      td_text_printf(out, "a list of texts [ \"...\", ... ]");
      break;
  }
}

td_status td_cfg_fail_at(const struct td_config *config, const struct cfg_path *path, const struct cfg_node *node,
                         const char *text) {
  struct td_text where = {0};
  td_cfg_path_text(path, &where);
  const char *key = where.data ? where.data : "the top level";
  td_status status = node->file == CFG_FROM_SET
                         ? td_fail(TD_CONFIG, "--set %s: %s", key, text)
                         : td_fail(TD_CONFIG, "%s:%d: %s: %s", config->files[node->file], node->line, key, text);
  td_text_free(&where);
  return status;
}

td_status td_cfg_wrong(const struct td_config *config, const struct cfg_path *path, const struct cfg_node *node,
                       const struct td_option *option) {
  char found[CFG_SHOWN + 32];
  struct td_text text = {0};
  td_cfg_found(node, found, sizeof found);
  td_text_printf(&text, "found %s, expected ", found);
  td_cfg_expected(option, &text);
  td_status status = td_cfg_fail_at(config, path, node, text.data ? text.data : found);
  td_text_free(&text);
  return status;
}

void td_cfg_nearest(const struct td_option_group *group, const char *name, struct td_text *out) {
  const struct td_option *nearest = NULL;
  int best = (int)strlen(name) / 2 + 1;
  if (best > 5) best = 5;
  for (const struct td_option *option = group->options; option->name; option++) {
    int distance = td_edit_distance(option->name, name);
    if (distance < best) {
      best = distance;
      nearest = option;
    }
  }
  td_text_printf(out, "a key of %s", group->name);
  if (nearest) {
    td_text_printf(out, "; did you mean %s?", nearest->name);
    return;
  }
  td_text_printf(out, " (");
  for (const struct td_option *option = group->options; option->name; option++) {
    td_text_printf(out, "%s%s", option == group->options ? "" : ", ", option->name);
  }
  td_text_printf(out, ")");
}
