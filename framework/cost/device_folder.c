/* SPDX-License-Identifier: Apache-2.0
 *
 * The devices folder: names, the nearest name, all of them.
 */
#include "device_folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tandem/base.h"

static const char *folder(void) {
  const char *given = getenv("TANDEM_DEVICES");
  return given && *given ? given : TANDEM_DEVICES_DIR;
}

static bool is_device_file(const char *name) {
  size_t bytes = strlen(name);
  return bytes > 4 && name[0] != '.' && !strcmp(name + bytes - 4, ".cfg");
}

static int wanted(const struct dirent *entry) {
  return is_device_file(entry->d_name);
}

/* By bytes, not by the locale's order. */
static int by_name(const struct dirent **a, const struct dirent **b) {
  return strcmp((*a)->d_name, (*b)->d_name);
}

static td_status list(struct dirent ***out, int *out_count) {
  *out_count = scandir(folder(), out, wanted, by_name);
  if (*out_count >= 0) return TD_OK;
  return td_fail(TD_CONFIG, "devices folder %s: %s", folder(), strerror(errno));
}

static void free_list(struct dirent **entries, int count) {
  for (int i = 0; i < count; i++) free(entries[i]);
  free(entries);
}

static td_status unknown(const char *name) {
  struct dirent **entries;
  int count, best = 6;
  TD_TRY(list(&entries, &count));
  char nearest[256] = "";
  for (int i = 0; i < count; i++) {
    char candidate[256];
    snprintf(candidate, sizeof candidate, "%.*s", (int)strlen(entries[i]->d_name) - 4, entries[i]->d_name);
    bool begins = *name && strncmp(candidate, name, strlen(name)) == 0; /* h100 is short for h100_sxm, not near a40 */
    int distance = begins ? 1 : td_edit_distance(candidate, name);
    if (distance >= best) continue;
    best = distance;
    memcpy(nearest, candidate, sizeof nearest);
  }
  free_list(entries, count);
  return td_fail(TD_CONFIG, "found \"%.80s\", expected the name or path of a device file (%s)%s%s%s", name, folder(),
                 *nearest ? "; did you mean " : "", nearest, *nearest ? "?" : "");
}

/* The file of a device by name or path, without what the name sets. */
static td_status find_file(const char *name, char path[PATH_MAX]) {
  if (strchr(name, '/') || is_device_file(name)) return td_format(path, PATH_MAX, "%s", name);
  int used = snprintf(path, PATH_MAX, "%s/%s.cfg", folder(), name);
  return !*name || used >= PATH_MAX || access(path, F_OK) ? unknown(name) : TD_OK;
}

td_status td_device_params_open(const char *name_or_path, struct td_device_params **out_params) {
  const char *spec = td_device_spec_of(name_or_path);
  char name[PATH_MAX], path[PATH_MAX];
  int bytes = spec ? (int)(spec - name_or_path) - 1 : (int)strlen(name_or_path);
  TD_TRY(td_format(name, sizeof name, "%.*s", bytes, name_or_path));
  TD_TRY(find_file(name, path));
  return spec ? td_device_spec_open(path, spec, out_params) : td_device_file_open(path, true, NULL, out_params);
}

td_status td_device_params_each(td_status (*each)(void *context, const struct td_device_params *params),
                                void *context) {
  struct dirent **entries;
  int count;
  TD_TRY(list(&entries, &count));
  td_status first = TD_OK;
  char *text = NULL; /* of the first file that does not parse */
  for (int i = 0; i < count; i++) {
    char path[PATH_MAX];
    struct td_device_params *params;
    td_status status = td_format(path, sizeof path, "%s/%s", folder(), entries[i]->d_name);
    if (!status) status = td_device_file_open(path, true, NULL, &params);
    if (status && !first) {
      first = status;
      if (td_copy_text(td_error_text(), &text)) text = NULL;
    }
    if (status) continue;
    status = each(context, params);
    td_device_params_close(params);
    if (!status) continue;
    free_list(entries, count);
    free(text);
    return status;
  }
  free_list(entries, count);
  if (first) td_fail(first, "%s", text ? text : "a device file does not parse");
  free(text);
  return first;
}
