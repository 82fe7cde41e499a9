/* SPDX-License-Identifier: Apache-2.0
 *
 * libconfig's tree copied into our own, where --set may change types and every node knows its file.
 */
#include <libconfig.h>
#include <string.h>

#include "internal.h"

/* The scanned text's line `wanted`, shortened, without spaces in front. */
static void quote_line(const struct cfg_scanned *scanned, int32_t wanted, char *out, size_t size) {
  const char *at = scanned->text.data ? scanned->text.data : "";
  for (int32_t line = 1; line < wanted && at; line++) {
    at = strchr(at, '\n');
    if (at) at++;
  }
  at = at ? at + strspn(at, " \t") : "";
  char line[CFG_SHOWN];
  snprintf(line, sizeof line, "%.*s", (int)strcspn(at, "\r\n"), at);
  td_cfg_shorten(line, out, size);
}

static td_status parse_failed(const struct td_config *config, const struct cfg_scanned *scanned,
                              const config_t *parsed) {
  const char *reason = config_error_text(parsed) ? config_error_text(parsed) : "syntax error";
  int32_t at = config_error_line(parsed), file, line;
  td_cfg_origin_of(scanned, at > 0 ? at : 1, &file, &line);
  char quoted[CFG_SHOWN + 8];
  quote_line(scanned, at, quoted, sizeof quoted);
  const char *expected = strstr(reason, "duplicate")    ? "each key once in its group"
                         : strstr(reason, "mismatched") ? "elements of one type in [...]; (...) may mix them"
                                                        : "KEY = VALUE; with every text in quotes";
  if (file == CFG_FROM_SET) return td_fail(TD_CONFIG, "--set: %s", reason);
  return td_fail(TD_CONFIG, "%s:%d: %s: found %s, expected %s", config->files[file], line, reason, quoted, expected);
}

static td_status copy_node(struct td_config *config, const struct cfg_scanned *scanned, const config_setting_t *setting,
                           struct cfg_node *out);

static td_status copy_children(struct td_config *config, const struct cfg_scanned *scanned,
                               const config_setting_t *setting, struct cfg_node *out) {
  out->type = setting->type == CONFIG_TYPE_GROUP ? CFG_GROUP : CFG_LIST;
  out->count = config_setting_length(setting);
  if (!out->count) return TD_OK;
  void *children = NULL;
  TD_TRY(td_cfg_alloc(config, (size_t)out->count, sizeof *out->children, &children));
  out->children = children;
  for (int32_t i = 0; i < out->count; i++) {
    TD_TRY(copy_node(config, scanned, config_setting_get_elem(setting, (unsigned)i), &out->children[i]));
  }
  return TD_OK;
}

static td_status copy_text(struct td_config *config, const char *text, struct cfg_node *out) {
  out->type = CFG_TEXT;
  if (!text) text = "";
  return td_cfg_copy(config, text, strlen(text), &out->value.text);
}

static td_status copy_node(struct td_config *config, const struct cfg_scanned *scanned, const config_setting_t *setting,
                           struct cfg_node *out) {
  td_cfg_origin_of(scanned, setting->line ? (int32_t)setting->line : 1, &out->file, &out->line);
  if (setting->name) TD_TRY(td_cfg_copy(config, setting->name, strlen(setting->name), &out->name));
  switch (setting->type) {
    case CONFIG_TYPE_INT:
      out->type = CFG_INT;
      out->value.integer = setting->value.ival;
      return TD_OK;
    case CONFIG_TYPE_INT64:
      out->type = CFG_INT;
      out->value.integer = setting->value.llval;
      return TD_OK;
    case CONFIG_TYPE_FLOAT:
      out->type = CFG_REAL;
      out->value.real = setting->value.fval;
      return TD_OK;
    case CONFIG_TYPE_BOOL:
      out->type = CFG_BOOL;
      out->value.boolean = setting->value.ival != 0;
      return TD_OK;
    case CONFIG_TYPE_STRING:
      return copy_text(config, setting->value.sval, out);
    default:
      return copy_children(config, scanned, setting, out);
  }
}

td_status td_cfg_tree(struct td_config *config, const struct cfg_scanned *scanned, struct cfg_node *out_root) {
  config_t parsed;
  config_init(&parsed);
  struct cfg_node root = {0};
  td_status status = config_read_string(&parsed, scanned->text.data ? scanned->text.data : "")
                         ? copy_node(config, scanned, config_root_setting(&parsed), &root)
                         : parse_failed(config, scanned, &parsed);
  config_destroy(&parsed);
  if (!status) *out_root = root;
  return status;
}

struct cfg_node *td_cfg_member(const struct cfg_node *group, const char *name) {
  if (!group || group->type != CFG_GROUP) return NULL;
  for (int32_t i = 0; i < group->count; i++) {
    if (!strcmp(group->children[i].name, name)) return &group->children[i];
  }
  return NULL;
}
