/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/cli.h"

/* Does argv word `word` name `flag`, alone or as --flag=value? */
static bool names_flag(const struct td_flag *flag, const char *word, const char **out_inline) {
  size_t length = strlen(flag->name);
  *out_inline = NULL;
  if (strncmp(word, flag->name, length)) return false;
  if (word[length] == '=' && !strncmp(word, "--", 2)) *out_inline = word + length + 1;
  return !word[length] || *out_inline;
}

static td_status unknown_flag(const struct td_flag *flags, const char *word) {
  const char *nearest = NULL;
  int best = 4;
  for (const struct td_flag *flag = flags; flag->name; flag++) {
    int distance = td_edit_distance(flag->name, word);
    if (distance < best) {
      best = distance;
      nearest = flag->name;
    }
  }
  if (nearest) return td_fail(TD_USAGE, "unknown option %s; did you mean %s?", word, nearest);
  return td_fail(TD_USAGE, "unknown option %s", word);
}

static td_status take_value(const struct td_flag *flag, const char *value) {
  if (flag->list) {
    if (*flag->list_count == flag->list_max) {
      return td_fail(TD_USAGE, "%s: found more than %d of them", flag->name, flag->list_max);
    }
    flag->list[(*flag->list_count)++] = value;
  } else if (flag->value) {
    *flag->value = value;
  }
  if (flag->given) *flag->given = true;
  return TD_OK;
}

static td_status take_flag(const struct td_flag *flags, int argc, char **argv, int *i) {
  for (const struct td_flag *flag = flags; flag->name; flag++) {
    const char *value;
    if (!names_flag(flag, argv[*i], &value)) continue;
    bool wants_value = flag->value || flag->list;
    if (!wants_value && value) return td_fail(TD_USAGE, "%s takes no value", flag->name);
    if (wants_value && !value) {
      if (++*i == argc) return td_fail(TD_USAGE, "%s: expected a value after it", flag->name);
      value = argv[*i];
    }
    return take_value(flag, value);
  }
  return unknown_flag(flags, argv[*i]);
}

td_status td_flags_parse(int argc, char **argv, const struct td_flag *flags, const char **positionals,
                         int32_t max_positionals, int32_t *out_count) {
  bool flags_ended = false;
  *out_count = 0;
  for (int i = 1; i < argc; i++) {
    if (!flags_ended && !strcmp(argv[i], "--")) {
      flags_ended = true;
    } else if (!flags_ended && argv[i][0] == '-' && argv[i][1]) {
      TD_TRY(take_flag(flags, argc, argv, &i));
    } else if (*out_count < max_positionals) {
      positionals[(*out_count)++] = argv[i];
    } else {
      return td_fail(TD_USAGE, "unexpected argument \"%s\"", argv[i]);
    }
  }
  return TD_OK;
}

td_status td_flag_int(const char *flag, const char *text, int64_t low, int64_t high, int64_t *out) {
  char *end;
  errno = 0;
  long long value = strtoll(text, &end, 10);
  if (errno || end == text || *end || value < low || value > high) {
    return td_fail(TD_USAGE, "%s: found \"%s\", expected a whole number from %" PRId64 " to %" PRId64, flag, text, low,
                   high);
  }
  *out = value;
  return TD_OK;
}
