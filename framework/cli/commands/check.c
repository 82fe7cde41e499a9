/* SPDX-License-Identifier: Apache-2.0 */
#include <string.h>

#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/engine.h"
#include "tandem/experiment.h"

enum { SETS_MAX = 64 };

struct arguments {
  const char *config;
  const char *sets[SETS_MAX];
  int32_t set_count;
  bool json, help_keys;
};

static td_status read_arguments(int argc, char **argv, struct arguments *arguments) {
  int32_t positionals;
  const struct td_flag flags[] = {
      {.name = "--set", .list = arguments->sets, .list_count = &arguments->set_count, .list_max = SETS_MAX},
      {.name = "--json", .given = &arguments->json},
      {.name = "--help-keys", .given = &arguments->help_keys},
      {.name = NULL},
  };
  TD_TRY(td_flags_parse(argc, argv, flags, &arguments->config, 1, &positionals));
  if (arguments->help_keys && (positionals || arguments->json || arguments->set_count)) {
    return td_fail(TD_USAGE, "check: found --help-keys beside other arguments, expected it alone");
  }
  if (!positionals && !arguments->help_keys) {
    return td_fail(TD_USAGE, "check: expected a config file (see tandem check --help)");
  }
  return TD_OK;
}

/* docs/configs.md, whole: a test compares them. */
static void print_keys(void) {
  fputs(
      "# Experiment configs\n\n"
      "Made by `tandem check --help-keys > docs/configs.md`; the help texts live in "
      "`framework/config/experiment.c` and `experiment_source.c`.\n\n"
      "A config is a libconfig file. `tandem check CONFIG` reads it, finds what is wrong (one line: file, line, key, "
      "what was found, what was expected), and prints every value with where it comes from. What it prints is a config "
      "again.\n\n"
      "- `@include \"FILE\"` takes another file in, relative to the file it stands in.\n"
      "- Paths are relative to the config's folder; `${TANDEM_CACHE}` is that variable, else `$XDG_CACHE_HOME/tandem` "
      "or "
      "`~/.cache/tandem`.\n"
      "- `--set PATH=VALUE` overrides any key: `--set engine.chunk_tokens=7`, `--set cluster.pools.[0].count=2`. The "
      "value is written as in a config; plain text needs no quotes. Paths given here are relative to the current "
      "folder.\n"
      "- An unknown key is an error with the nearest known one. Nothing is clamped or skipped.\n",
      stdout);
  td_config_help(&td_experiment_group, stdout);
}

static td_status print_config(const struct td_config *config, const struct td_experiment *experiment, bool json) {
  if (!json) return td_config_print(config, &td_experiment_group, experiment, stdout);
  const char *path = td_config_path(config);
  fputs("{\"config\": ", stdout);
  td_json_string(stdout, path, strlen(path));
  fputs(", \"valid\": true, \"keys\": ", stdout);
  td_config_json(config, &td_experiment_group, experiment, stdout);
  fputs("}\n", stdout);
  return TD_OK;
}

static td_status check(int argc, char **argv, int *out_exit) {
  struct arguments arguments = {0};
  struct td_config *config;
  struct td_experiment experiment;
  (void)out_exit;
  TD_TRY(read_arguments(argc, argv, &arguments));
  if (arguments.help_keys) {
    print_keys();
    return TD_OK;
  }
  TD_TRY(td_experiment_open(arguments.config, arguments.sets, arguments.set_count, &config, &experiment));
  td_status status = td_engine_check(config, &experiment);
  if (!status) status = print_config(config, &experiment, arguments.json);
  td_config_close(config);
  return status;
}

const struct td_command td_command_check = {
    .name = "check",
    .usage = "CONFIG [--set PATH=VALUE]... [--json]",
    .summary = "validates a config and prints every value with its origin",
    .help =
        "  CONFIG            an experiment config\n"
        "  --set PATH=VALUE  overrides a key, such as engine.chunk_tokens=7 or cluster.pools.[0].count=2\n"
        "  --json            one JSON object: the keys with value, unit and origin\n"
        "  --help-keys       the reference of every key instead (docs/configs.md)\n",
    .run = check,
};
