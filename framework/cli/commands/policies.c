/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/policy.h"

/* docs/policies.md, whole: a test compares them. */
static void print_docs(void) {
  fputs(
      "# Policies\n\n"
      "Made by `tandem policies --docs > docs/policies.md`; the texts live with the policies, in "
      "`framework/engine/policies/`.\n\n"
      "`engine.policy = \"NAME\"` chooses one, the group `engine.policy_options` says what it goes by. A key that the "
      "policy does not read is refused. To write your own, see [add-a-policy.md](add-a-policy.md).\n",
      stdout);
  td_policies_help(stdout);
}

static void print_all(bool json) {
  if (json) printf("{\"policies\": [");
  for (const struct td_policy *const *policy = td_policies; *policy; policy++) {
    if (!json) {
      printf("  %-14s %s\n", (*policy)->name, (*policy)->summary);
      continue;
    }
    if (policy != td_policies) printf(", ");
    td_policy_json(*policy, stdout);
  }
  puts(json ? "]}" : "\ntandem policies NAME: what it does and the options it reads");
}

static td_status print_one(const char *name, bool json) {
  const struct td_policy *policy = td_policy_find(name), *nearest = td_policies[0];
  if (policy) {
    if (json) {
      td_policy_json(policy, stdout);
      puts("");
    } else {
      td_policy_help(policy, stdout);
    }
    return TD_OK;
  }
  for (const struct td_policy *const *each = td_policies; *each; each++) {
    if (td_edit_distance((*each)->name, name) < td_edit_distance(nearest->name, name)) nearest = *each;
  }
  return td_fail(TD_USAGE, "found no policy \"%.64s\", expected one of `tandem policies`; did you mean \"%s\"?", name,
                 nearest->name);
}

static td_status run(int argc, char **argv, int *out_exit) {
  const char *name = NULL;
  bool json = false, docs = false;
  int32_t positionals;
  const struct td_flag flags[] = {
      {.name = "--json", .given = &json}, {.name = "--docs", .given = &docs}, {.name = NULL}};
  (void)out_exit;
  TD_TRY(td_flags_parse(argc, argv, flags, &name, 1, &positionals));
  if (docs && (json || positionals)) {
    return td_fail(TD_USAGE, "policies: found --docs beside other arguments, expected it alone");
  }
  if (docs) {
    print_docs();
    return TD_OK;
  }
  if (positionals) return print_one(name, json);
  print_all(json);
  return TD_OK;
}

const struct td_command td_command_policies = {
    .name = "policies",
    .usage = "[NAME] [--json]",
    .summary = "lists the policies that say where and when requests run, or documents one",
    .help =
        "  NAME    what this policy does and the options it reads\n"
        "  --json  one JSON object\n"
        "  --docs  the documentation of all of them as Markdown instead (docs/policies.md)\n",
    .run = run,
};
