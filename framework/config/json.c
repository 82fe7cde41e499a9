/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolved config as a flat JSON array of keys.
 */
#include <inttypes.h>
#include <string.h>

#include "internal.h"

struct json {
  const struct td_config *config;
  FILE *out;
  bool more;
};

static void json_group(struct json *json, const struct cfg_path *path, const struct td_option_group *group,
                       const struct cfg_node *node, const char *parsed);

static void json_value(FILE *out, const struct td_option *option, const void *field) {
  const struct td_list *list = field;
  if (option->type == TD_OPT_LIST) {
    fprintf(out, "[]");
  } else if (option->type == TD_OPT_TEXTS) {
    fputc('[', out);
    for (int32_t i = 0; i < list->count; i++) {
      const char *text = ((const char *const *)list->items)[i];
      fputs(i ? ", " : "", out);
      td_json_string(out, text, strlen(text));
    }
    fputc(']', out);
  } else if (option->type == TD_OPT_TEXT || option->type == TD_OPT_PATH) {
    const char *text = *(const char *const *)field;
    td_json_string(out, text, strlen(text));
  } else if (option->type == TD_OPT_INT) {
    fprintf(out, "%" PRId64, *(const int64_t *)field);
  } else {
    struct td_text text = {0};
    td_cfg_print_value(&text, option, field);
    fputs(text.data ? text.data : "null", out);
    td_text_free(&text);
  }
}

static void json_key(struct json *json, const struct cfg_path *path, const struct td_option *option,
                     const struct cfg_node *node, const void *field) {
  struct td_text where = {0};
  char origin[1200];
  td_cfg_path_text(path, &where);
  td_cfg_origin_text(json->config, node, origin, sizeof origin);
  fputs(json->more ? ",\n  {\"path\": " : "\n  {\"path\": ", json->out);
  json->more = true;
  td_json_string(json->out, where.data ? where.data : "", where.bytes);
  fputs(", \"value\": ", json->out);
  json_value(json->out, option, field);
  fputs(", \"unit\": ", json->out);
  if (option->unit) {
    td_json_string(json->out, option->unit, strlen(option->unit));
  } else {
    fputs("null", json->out);
  }
  fputs(", \"origin\": ", json->out);
  td_json_string(json->out, origin, strlen(origin));
  fputc('}', json->out);
  td_text_free(&where);
}

static void json_list(struct json *json, const struct cfg_path *path, const struct td_option *option,
                      const struct cfg_node *node, const struct td_list *list) {
  for (int32_t i = 0; i < list->count; i++) {
    const struct cfg_path below = {path, NULL, i};
    const struct cfg_node *element = node && node->type == CFG_LIST && i < node->count ? &node->children[i] : NULL;
    json_group(json, &below, option->group, element, (const char *)list->items + (size_t)i * option->group->bytes);
  }
}

static void json_group(struct json *json, const struct cfg_path *path, const struct td_option_group *group,
                       const struct cfg_node *node, const char *parsed) {
  for (const struct td_option *option = group->options; option->name; option++) {
    const struct cfg_node *child = td_cfg_member(node, option->name);
    const void *field = parsed + option->offset;
    const struct cfg_path below = {path, option->name, 0};
    if (td_cfg_is_absent(option, child, field)) continue;
    if (option->type == TD_OPT_GROUP) {
      json_group(json, &below, option->group, child, field);
    } else if (option->type == TD_OPT_LIST && ((const struct td_list *)field)->count) {
      json_list(json, &below, option, child, field);
    } else {
      json_key(json, &below, option, child, field);
    }
  }
}

void td_config_json(const struct td_config *config, const struct td_option_group *group, const void *parsed,
                    FILE *out) {
  struct json json = {config, out, false};
  fputc('[', out);
  json_group(&json, NULL, group, &config->root, parsed);
  fputs("\n]", out);
}
