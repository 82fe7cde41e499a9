/* SPDX-License-Identifier: Apache-2.0
 *
 * The options of policies: a key of the config's table that the policy lists is taken, one that it does not list is a
 * mistake of whoever gave it.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

static const struct td_policy_option *find(const struct td_policy *policy, const char *name) {
  for (const struct td_policy_option *option = policy->options; option && option->name; option++) {
    if (!strcmp(option->name, name)) return option;
  }
  return NULL;
}

static bool is_given(const struct td_option *key, const void *field) {
  switch (key->type) {
    case TD_OPT_INT:
      return *(const int64_t *)field != TD_NO_INT;
    case TD_OPT_REAL:
      return !isnan(*(const double *)field);
    default:
      return ((const struct td_list *)field)->count > 0;
  }
}

static td_status take_fallback(const struct td_option *key, double value, void *field) {
  if (key->type == TD_OPT_REAL) {
    *(double *)field = value;
  } else if (key->type == TD_OPT_INT) {
    *(int64_t *)field = isinf(value) ? INT64_MAX : (int64_t)value;
  } else {
    return td_fail(TD_INTERNAL, "policy option %s: found a default, expected a list to have none", key->name);
  }
  return TD_OK;
}

/* "conditional, mixed": who reads a key. */
static void readers_of(const char *name, struct td_text *out) {
  for (const struct td_policy *const *policy = td_policies; *policy; policy++) {
    if (find(*policy, name)) td_text_printf(out, "%s%s", out->bytes ? ", " : "", (*policy)->name);
  }
}

static td_status not_read(const struct td_config *config, const struct td_policy *policy, const char *name) {
  char path[96];
  struct td_text readers = {0};
  readers_of(name, &readers);
  snprintf(path, sizeof path, "engine.policy_options.%s", name);
  td_status status = td_config_fail(config, path, "found it with policy %s, which does not read it, expected %s%s",
                                    policy->name, readers.bytes ? "it only with " : "it nowhere: no policy reads it",
                                    readers.bytes ? readers.data : "");
  td_text_free(&readers);
  return status;
}

static td_status resolve_key(const struct td_config *config, const struct td_policy *policy,
                             const struct td_option *key, void *field) {
  const struct td_policy_option *option = find(policy, key->name);
  if (is_given(key, field)) return option ? TD_OK : not_read(config, policy, key->name);
  if (!option) return TD_OK;
  if (!isnan(option->fallback)) return take_fallback(key, option->fallback, field);
  char path[96];
  snprintf(path, sizeof path, "engine.policy_options.%s", key->name);
  return td_config_fail(config, path, "found nothing, which policy %s cannot do without, expected %s%s%s%s",
                        policy->name, key->type == TD_OPT_LIST ? "a list: " : "a number", key->unit ? " of " : "",
                        key->unit ? key->unit : "", key->type == TD_OPT_LIST ? key->help : "");
}

/* A policy that lists a key which no table has would wait for it forever. */
static td_status check_names(const struct td_policy *policy) {
  for (const struct td_policy_option *option = policy->options; option && option->name; option++) {
    const struct td_option *key = td_policy_group.options;
    while (key->name && strcmp(key->name, option->name) != 0) key++;
    if (!key->name) {
      return td_fail(TD_INTERNAL, "policy %s: reads %s, which is no key of engine.policy_options", policy->name,
                     option->name);
    }
  }
  return TD_OK;
}

td_status td_policy_resolve(const struct td_config *config, const struct td_policy *policy,
                            const struct td_cfg_policy *given, struct td_cfg_policy *out_options) {
  struct td_cfg_policy options = *given;
  TD_TRY(check_names(policy));
  for (const struct td_option *key = td_policy_group.options; key->name; key++) {
    TD_TRY(resolve_key(config, policy, key, (char *)&options + key->offset));
  }
  *out_options = options;
  return TD_OK;
}
