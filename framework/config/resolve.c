/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static const char cache_word[] = "${TANDEM_CACHE}";

static td_status join(struct td_config *config, const char *folder, const char *rest, const char **out) {
  struct td_text text = {0};
  td_text_printf(&text, "%s%s%s", folder, *rest && *rest != '/' && strcmp(folder, "/") ? "/" : "", rest);
  td_status status =
      text.failed ? td_fail(TD_NO_MEMORY, "no memory for a path") : td_cfg_copy(config, text.data, text.bytes, out);
  td_text_free(&text);
  return status;
}

/* $TANDEM_CACHE, $XDG_CACHE_HOME/tandem or ~/.cache/tandem, as scripts/fetch-model has it; then `rest`. */
static td_status in_cache(struct td_config *config, const char *rest, const char **out, const char **out_trouble) {
  const char *given = getenv("TANDEM_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  char folder[PATH_MAX];
  int used = 0;
  if (given && *given) {
    used = snprintf(folder, sizeof folder, "%s", given);
  } else if (cache && *cache) {
    used = snprintf(folder, sizeof folder, "%s/tandem", cache);
  } else if (home && *home) {
    used = snprintf(folder, sizeof folder, "%s/.cache/tandem", home);
  }
  if (used <= 0 || used >= (int)sizeof folder) {
    *out_trouble = "found ${TANDEM_CACHE}, expected TANDEM_CACHE, XDG_CACHE_HOME or HOME in the environment";
    return TD_OK;
  }
  return join(config, folder, rest, out);
}

td_status td_cfg_resolve(struct td_config *config, const char *text, bool from_shell, const char **out,
                         const char **out_trouble) {
  size_t word = sizeof cache_word - 1;
  if (!strncmp(text, cache_word, word) && (text[word] == '/' || !text[word])) {
    return in_cache(config, text + word, out, out_trouble);
  }
  if (strstr(text, "${")) {
    *out_trouble = "found ${...} in a path, expected ${TANDEM_CACHE}/... or a plain path";
    return TD_OK;
  }
  if (!*text || *text == '/') return td_cfg_copy(config, text, strlen(text), out);
  while (!strncmp(text, "./", 2)) text += 2;
  char here[PATH_MAX];
  if (from_shell && !getcwd(here, sizeof here)) {
    *out_trouble = "found a relative path, expected an absolute one: the current folder has no name";
    return TD_OK;
  }
  return join(config, from_shell ? here : config->folder, text, out);
}
