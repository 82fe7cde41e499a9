/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "internal.h"

static td_status parse_group(struct td_config *config, const struct cfg_path *path, const struct td_option_group *group,
                             const struct cfg_node *node, const struct cfg_node *place, char *out);

static const struct td_option *find_option(const struct td_option_group *group, const char *name) {
  for (const struct td_option *option = group->options; option->name; option++) {
    if (!strcmp(option->name, name)) return option;
  }
  return NULL;
}

static td_status refuse_unknown(struct td_config *config, const struct cfg_path *path,
                                const struct td_option_group *group, const struct cfg_node *node) {
  for (int32_t i = 0; node && i < node->count; i++) {
    const struct cfg_node *child = &node->children[i];
    if (find_option(group, child->name)) continue;
    struct td_text text = {0};
    struct cfg_path below = {path, child->name, 0};
    td_text_printf(&text, "found an unknown key, expected ");
    td_cfg_nearest(group, child->name, &text);
    td_status status = td_cfg_fail_at(config, &below, child, text.data ? text.data : "found an unknown key");
    td_text_free(&text);
    return status;
  }
  return TD_OK;
}

static td_status missing(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                         const struct cfg_node *place) {
  struct td_text text = {0};
  td_text_printf(&text, "found nothing, expected ");
  td_cfg_expected(option, &text);
  if (option->help) td_text_printf(&text, ": %s", option->help);
  td_status status = td_cfg_fail_at(config, path, place, text.data ? text.data : "found nothing");
  td_text_free(&text);
  return status;
}

static td_status parse_list(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                            const struct cfg_node *node, struct td_list *out) {
  if (node->type != CFG_LIST) return td_cfg_wrong(config, path, node, option);
  if (node->count > CFG_MAX_ITEMS) {
    char text[96];
    snprintf(text, sizeof text, "found a list of %d, expected at most %d elements", node->count, CFG_MAX_ITEMS);
    return td_cfg_fail_at(config, path, node, text);
  }
  void *items = NULL;
  TD_TRY(td_cfg_alloc(config, (size_t)node->count, option->group->bytes, &items));
  for (int32_t i = 0; i < node->count; i++) {
    const struct cfg_node *child = &node->children[i];
    const struct cfg_path below = {path, NULL, i};
    const struct td_option element = {.name = option->name, .type = TD_OPT_GROUP};
    if (child->type != CFG_GROUP) return td_cfg_wrong(config, &below, child, &element);
    TD_TRY(parse_group(config, &below, option->group, child, child, (char *)items + (size_t)i * option->group->bytes));
  }
  *out = (struct td_list){items, node->count};
  return TD_OK;
}

/* `place`: the nearest group that is there, to name its line when a key in it is missing. */
static td_status parse_option(struct td_config *config, const struct cfg_path *path, const struct td_option *option,
                              const struct cfg_node *node, const struct cfg_node *place, char *out) {
  if (option->type == TD_OPT_GROUP) {
    if (!node && option->fallback) return TD_OK;
    if (node && node->type != CFG_GROUP) return td_cfg_wrong(config, path, node, option);
    return parse_group(config, path, option->group, node, node ? node : place, out);
  }
  if (!node) {
    return option->fallback ? td_cfg_fallback(config, option, out) : missing(config, path, option, place);
  }
  if (option->type == TD_OPT_LIST) return parse_list(config, path, option, node, (struct td_list *)(void *)out);
  return td_cfg_value(config, path, option, node, out);
}

static td_status parse_group(struct td_config *config, const struct cfg_path *path, const struct td_option_group *group,
                             const struct cfg_node *node, const struct cfg_node *place, char *out) {
  TD_TRY(refuse_unknown(config, path, group, node));
  for (const struct td_option *option = group->options; option->name; option++) {
    const struct cfg_path below = {path, option->name, 0};
    TD_TRY(parse_option(config, &below, option, td_cfg_member(node, option->name), place, out + option->offset));
  }
  return TD_OK;
}

td_status td_config_parse(struct td_config *config, const struct td_option_group *group, void *out) {
  memset(out, 0, group->bytes);
  return parse_group(config, NULL, group, &config->root, &config->root, out);
}
