/* SPDX-License-Identifier: Apache-2.0
 *
 * --set path=value: changes the tree before it is parsed, so that wrong names, types and ranges are found by the same
 * code as those of a file.
 */
#include <string.h>

#include "internal.h"

/* The value as libconfig reads it; what it does not read is plain text. */
static td_status parse_value(struct td_config *config, const char *text, struct cfg_node *out) {
  struct cfg_scanned scanned = {0};
  struct cfg_node root = {0};
  struct td_text line = {0};
  td_text_printf(&line, "value = %s\n;", text); /* the newline ends a comment in the text */
  td_status status = line.failed ? td_fail(TD_NO_MEMORY, "no memory for --set") : TD_OK;
  if (!status) status = td_cfg_scan_text(config, line.data, &scanned);
  if (!status) status = td_cfg_tree(config, &scanned, &root);
  td_cfg_scanned_free(&scanned);
  td_text_free(&line);
  if (status == TD_NO_MEMORY) return status;
  if (!status && root.count == 1) {
    *out = root.children[0];
  } else {
    out->type = CFG_TEXT;
    TD_TRY(td_cfg_copy(config, text, strlen(text), &out->value.text));
  }
  out->file = CFG_FROM_SET;
  return td_cfg_copy(config, text, strlen(text), &out->raw);
}

static td_status add_member(struct td_config *config, struct cfg_node *group, const char *name, struct cfg_node **out) {
  void *grown = NULL;
  TD_TRY(td_cfg_alloc(config, (size_t)group->count + 1, sizeof *group->children, &grown));
  struct cfg_node *children = grown;
  if (group->count) memcpy(children, group->children, (size_t)group->count * sizeof *children);
  struct cfg_node *added = &children[group->count];
  added->type = CFG_GROUP;
  added->file = CFG_FROM_SET;
  TD_TRY(td_cfg_copy(config, name, strlen(name), &added->name));
  group->children = children;
  group->count++;
  *out = added;
  return TD_OK;
}

/* Goes one part of the path down from *node, adding a group where a name is not there yet. */
static td_status descend(struct td_config *config, const char *assignment, int path_bytes, const char **at,
                         struct cfg_node **node) {
  char name[CFG_NAME_BYTES], found[CFG_SHOWN + 32];
  int32_t index;
  const char *from = *at;
  if (!td_cfg_next_part(at, name, sizeof name, &index)) {
    return td_fail(TD_CONFIG, "--set %.*s: found \"%.20s\", expected a key or [N]", path_bytes, assignment, from);
  }
  struct cfg_node *here = *node;
  td_cfg_found(here, found, sizeof found);
  if (index >= 0) {
    if (here->type != CFG_LIST || index >= here->count) {
      return td_fail(TD_CONFIG, "--set %.*s: found index [%d] in %s, expected an element that exists", path_bytes,
                     assignment, index, found);
    }
    *node = &here->children[index];
    return TD_OK;
  }
  if (here->type != CFG_GROUP) {
    return td_fail(TD_CONFIG, "--set %.*s: found the key %s in %s, expected a group", path_bytes, assignment, name,
                   found);
  }
  struct cfg_node *member = td_cfg_member(here, name);
  if (!member) TD_TRY(add_member(config, here, name, &member));
  *node = member;
  return TD_OK;
}

td_status td_cfg_set(struct td_config *config, const char *assignment) {
  const char *equals = strchr(assignment, '=');
  if (!equals || equals == assignment || equals - assignment > CFG_MAX_SET_PATH) {
    return td_fail(TD_CONFIG, "--set: found \"%.60s\", expected PATH=VALUE", assignment);
  }
  char path[CFG_MAX_SET_PATH + 1];
  int bytes = (int)(equals - assignment);
  snprintf(path, sizeof path, "%.*s", bytes, assignment);
  struct cfg_node value = {0}, *node = &config->root;
  TD_TRY(parse_value(config, equals + 1, &value));
  for (const char *at = path; *at;) TD_TRY(descend(config, path, bytes, &at, &node));
  value.name = node->name;
  *node = value;
  return TD_OK;
}
