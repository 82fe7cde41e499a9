/* SPDX-License-Identifier: Apache-2.0
 *
 * The policies' documentation, out of their own tables: docs/policies.md and `tandem policies`.
 */
#include <math.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/experiment.h"
#include "tandem/policy.h"

static const struct td_option *key_of(const char *name) {
  for (const struct td_option *key = td_policy_group.options; key->name; key++) {
    if (!strcmp(key->name, name)) return key;
  }
  return NULL;
}

static void fallback_text(const struct td_policy_option *option, char *out, size_t size) {
  if (isnan(option->fallback)) {
    snprintf(out, size, "required");
  } else if (isinf(option->fallback)) {
    snprintf(out, size, "no bound");
  } else {
    snprintf(out, size, "%.15g", option->fallback);
  }
}

static void print_option(const struct td_policy_option *option, FILE *out) {
  const struct td_option *key = key_of(option->name);
  char fallback[40];
  fallback_text(option, fallback, sizeof fallback);
  fprintf(out, "| `%s` | %s | %s | %s |\n", option->name, key && key->unit ? key->unit : "", fallback, option->help);
}

void td_policy_help(const struct td_policy *policy, FILE *out) {
  fprintf(out, "## %s\n\n%s.\n", policy->name, policy->summary);
  if (policy->help) fprintf(out, "\n%s\n", policy->help);
  if (!policy->options) return;
  fputs("\n| engine.policy_options | unit | default | meaning |\n| --- | --- | --- | --- |\n", out);
  for (const struct td_policy_option *option = policy->options; option->name; option++) print_option(option, out);
}

void td_policies_help(FILE *out) {
  for (const struct td_policy *const *policy = td_policies; *policy; policy++) {
    fputc('\n', out);
    td_policy_help(*policy, out);
  }
}

/* ---- JSON ---- */

static void json_option(const struct td_policy_option *option, FILE *out) {
  const struct td_option *key = key_of(option->name);
  fputc('{', out);
  td_json_member(out, "name", option->name);
  fputs(", ", out);
  td_json_member(out, "unit", key ? key->unit : NULL);
  fprintf(out, ", \"required\": %s, \"default\": ", isnan(option->fallback) ? "true" : "false");
  if (isfinite(option->fallback)) {
    fprintf(out, "%.15g, ", option->fallback);
  } else {
    fputs("null, ", out);
  }
  td_json_member(out, "help", option->help);
  fputc('}', out);
}

void td_policy_json(const struct td_policy *policy, FILE *out) {
  fputc('{', out);
  td_json_member(out, "name", policy->name);
  fputs(", ", out);
  td_json_member(out, "summary", policy->summary);
  fputs(", ", out);
  td_json_member(out, "help", policy->help);
  fputs(", \"options\": [", out);
  for (const struct td_policy_option *option = policy->options; option && option->name; option++) {
    if (option != policy->options) fputs(", ", out);
    json_option(option, out);
  }
  fputs("]}", out);
}
