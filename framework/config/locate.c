/* SPDX-License-Identifier: Apache-2.0
 *
 * Key paths: names joined by dots, list elements as [N]: "cluster.pools.[1].backend" or "cluster.pools[1].backend".
 */
#include <stdlib.h>
#include <string.h>

#include "internal.h"

/* Takes the first part off *path: a name (copied) or an index (>= 0). False if what is there is neither. */
bool td_cfg_next_part(const char **path, char *name, size_t size, int32_t *out_index) {
  const char *at = *path;
  if (*at == '.') at++;
  *out_index = -1;
  if (*at == '[') {
    char *end;
    if (at[1] < '0' || at[1] > '9') return false;
    long value = strtol(at + 1, &end, 10);
    if (*end != ']' || value >= INT32_MAX) return false;
    *out_index = (int32_t)value;
    *path = end + 1;
    return true;
  }
  size_t bytes = strcspn(at, ".[");
  if (!bytes || bytes >= size) return false;
  memcpy(name, at, bytes);
  name[bytes] = 0;
  *path = at + bytes;
  return true;
}

const struct cfg_node *td_cfg_locate(const struct td_config *config, const char *path, bool *out_exact) {
  const struct cfg_node *node = &config->root;
  *out_exact = false;
  while (*path) {
    char name[CFG_NAME_BYTES];
    int32_t index;
    if (!td_cfg_next_part(&path, name, sizeof name, &index)) return node;
    const struct cfg_node *next = index < 0                                       ? td_cfg_member(node, name)
                                  : node->type == CFG_LIST && index < node->count ? &node->children[index]
                                                                                  : NULL;
    if (!next) return node;
    node = next;
  }
  *out_exact = true;
  return node;
}
