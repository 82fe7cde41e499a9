/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

static td_status remember_folder(struct td_config *config) {
  const char *slash = strrchr(config->path, '/');
  char folder[PATH_MAX], absolute[PATH_MAX];
  size_t bytes = slash ? (size_t)(slash - config->path) : 0;
  if (bytes >= sizeof folder) {
    return td_fail(TD_CONFIG, "%.80s...: found a path of %zu bytes, expected a shorter one", config->path,
                   strlen(config->path));
  }
  memcpy(folder, config->path, bytes);
  folder[bytes] = 0;
  const char *asked = slash ? (*folder ? folder : "/") : ".";
  if (!realpath(asked, absolute)) return td_fail(TD_CONFIG, "%s: %s", config->path, strerror(errno));
  return td_cfg_copy(config, absolute, strlen(absolute), &config->folder);
}

static td_status read_tree(struct td_config *config) {
  struct cfg_scanned scanned = {0};
  td_status status = td_cfg_scan_file(config, &scanned);
  if (!status) status = td_cfg_tree(config, &scanned, &config->root);
  td_cfg_scanned_free(&scanned);
  config->root.file = 0;
  config->root.line = 1;
  return status;
}

static td_status fill(struct td_config *config, const char *path, const char *const *sets, int32_t set_count) {
  TD_TRY(td_cfg_copy(config, path, strlen(path), &config->path));
  config->files[0] = config->path;
  config->file_count = 1;
  TD_TRY(remember_folder(config));
  TD_TRY(read_tree(config));
  for (int32_t i = 0; i < set_count; i++) TD_TRY(td_cfg_set(config, sets[i]));
  return TD_OK;
}

td_status td_config_open(const char *path, const char *const *sets, int32_t set_count, struct td_config **out_config) {
  void *memory = NULL;
  TD_TRY(td_alloc(1, sizeof(struct td_config), &memory));
  struct td_config *config = memory;
  td_status status = fill(config, path, sets, set_count);
  if (status) {
    td_config_close(config);
    return status;
  }
  *out_config = config;
  return TD_OK;
}

void td_config_close(struct td_config *config) {
  if (!config) return;
  td_cfg_release(config);
  free(config);
}

const char *td_config_path(const struct td_config *config) {
  return config->path;
}

td_status td_config_fail(const struct td_config *config, const char *path, const char *format, ...) {
  char text[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  bool exact;
  const struct cfg_node *node = td_cfg_locate(config, path, &exact);
  const struct cfg_path whole = {NULL, path, 0};
  return td_cfg_fail_at(config, &whole, node, text);
}
