/* SPDX-License-Identifier: Apache-2.0
 *
 * The reference of an option table, as Markdown: one table per group.
 */
#include <string.h>

#include "internal.h"

static void help_type(const struct td_option *option, FILE *out) {
  struct td_text text = {0};
  td_cfg_expected(option, &text);
  for (const char *c = text.data ? text.data : ""; *c; c++) {
    if (*c == '|') fputc('\\', out);
    fputc(*c, out);
  }
  td_text_free(&text);
}

static void help_default(const struct td_option *option, FILE *out) {
  bool is_group = option->type == TD_OPT_GROUP, is_list = option->type == TD_OPT_LIST || option->type == TD_OPT_TEXTS;
  if (is_group) {
    fputs(option->fallback ? "absent" : "see below", out);
  } else if (!option->fallback) {
    fputs("**required**", out);
  } else if (is_list) {
    fputs("`()`", out);
  } else if (!*option->fallback) {
    fputs("`\"\"`", out);
  } else {
    fprintf(out, "`%s`", option->fallback);
  }
}

static void help_group(const struct td_option_group *group, const char *path, FILE *out) {
  fprintf(out, "\n## %s\n\n| key | value | default | meaning |\n| --- | --- | --- | --- |\n",
          *path ? path : group->name);
  for (const struct td_option *option = group->options; option->name; option++) {
    fprintf(out, "| `%s` | ", option->name);
    help_type(option, out);
    fputs(" | ", out);
    help_default(option, out);
    fprintf(out, " | %s |\n", option->help ? option->help : "");
  }
  for (const struct td_option *option = group->options; option->name; option++) {
    if (!option->group) continue;
    char below[512];
    snprintf(below, sizeof below, "%s%s%s%s", path, *path ? "." : "", option->name,
             option->type == TD_OPT_LIST ? ".[N]" : "");
    help_group(option->group, below, out);
  }
}

void td_config_help(const struct td_option_group *group, FILE *out) {
  help_group(group, "", out);
}
