/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_keys.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/cli.h"

static td_status find_word(const char *key, const char *value, const char *const *words, int count, int *out) {
  char all[64] = "";
  for (int i = 0; i < count; i++) {
    if (strcmp(words[i], value) == 0) {
      *out = i;
      return TD_OK;
    }
    TD_TRY(td_format(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", words[i]));
  }
  return td_fail(TD_USAGE, "--lpu: %s: found \"%s\", expected one of %s", key, value, all);
}

static td_status take_number(const char *key, const char *value, int32_t most, int32_t *out) {
  int64_t number = 0;
  td_status status = td_flag_int(key, value, 0, most, &number);
  if (status) return td_fail_within(status, "--lpu");
  *out = (int32_t)number;
  return TD_OK;
}

static td_status take_seconds(const char *key, const char *value, double *out) {
  char *end = NULL;
  *out = strtod(value, &end);
  if (end != value && !*end && *out >= 0 && *out <= 1e6) return TD_OK;
  return td_fail(TD_USAGE, "--lpu: %s: found \"%s\", expected seconds, 0 to 1e6", key, value);
}

static td_status take(const char *key, const char *value, struct td_lpu_choice *choice) {
  static const char *const weights[] = {"f16", "i8", "f8"}, *const activations[] = {"f16", "i8", "i8x2", "f8"};
  static const char *const objectives[] = {"all", "latency", "throughput"};
  int word = 0;
  if (strcmp(key, "chips") == 0) return take_number(key, value, 65536, &choice->chips);
  if (strcmp(key, "tensor") == 0) return take_number(key, value, 65536, &choice->tensor);
  if (strcmp(key, "rows") == 0) return take_number(key, value, 512, &choice->rows);
  if (strcmp(key, "context") == 0) return take_number(key, value, 10000000, &choice->context);
  if (strcmp(key, "emulate_on") == 0) {
    choice->emulate_on = value;
    return TD_OK;
  }
  if (strcmp(key, "latency_bound") == 0) return take_seconds(key, value, &choice->latency_bound);
  if (strcmp(key, "objective") == 0) {
    TD_TRY(find_word(key, value, objectives, 3, &word));
    choice->objective = (enum td_lpu_objective)word;
    return TD_OK;
  }
  if (strcmp(key, "weights") == 0) {
    TD_TRY(find_word(key, value, weights, TD_LPU_WEIGHTS_COUNT, &word));
    choice->weights = (enum td_lpu_weights)word;
    return TD_OK;
  }
  if (strcmp(key, "activations") == 0) {
    TD_TRY(find_word(key, value, activations, TD_LPU_ACTIVATIONS_COUNT, &word));
    choice->activations = (enum td_lpu_activations)word;
    return TD_OK;
  }
  return td_fail(TD_USAGE,
                 "--lpu: found \"%s\", expected chips, tensor, objective, latency_bound, weights, activations, rows, "
                 "context or emulate_on",
                 key);
}

td_status lpu_keys_parse(const char *text, struct lpu_keys *out_keys) {
  memset(out_keys, 0, sizeof *out_keys);
  if (td_format(out_keys->room, sizeof out_keys->room, "%s", text)) {
    return td_fail(TD_USAGE, "--lpu: found over %zu bytes, expected KEY=VALUE[,KEY=VALUE]...",
                   sizeof out_keys->room - 1);
  }
  for (char *item = out_keys->room, *next; item; item = next) {
    next = strchr(item, ',');
    if (next) *next++ = 0;
    char *value = strchr(item, '=');
    if (!value) return td_fail(TD_USAGE, "--lpu: found \"%s\", expected KEY=VALUE[,KEY=VALUE]...", item);
    *value++ = 0;
    TD_TRY(take(item, value, &out_keys->choice));
  }
  return TD_OK;
}
