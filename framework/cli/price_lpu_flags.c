/* SPDX-License-Identifier: Apache-2.0
 *
 * The command line of `tandem price` where it is about steps on LPUs.
 */
#include <string.h>

#include "price_lpu.h"
#include "tandem/base.h"
#include "tandem/cli.h"

static bool is_flag(const char *word, const char *flag) {
  size_t length = strlen(flag);
  return strncmp(word, flag, length) == 0 && (!word[length] || word[length] == '=');
}

bool price_lpu_is_asked(int argc, char **argv) {
  if (argc > 1 && argv[1][0] != '-') return true;
  for (int i = 1; i < argc; i++) {
    if (is_flag(argv[i], "--context") || is_flag(argv[i], "--model")) return true;
  }
  return false;
}

static td_status refuse(const char *flag, bool given, const char *what) {
  return given ? td_fail(TD_USAGE, "price: found %s, expected it with %s only", flag, what) : TD_OK;
}

static td_status check_given(const struct price_lpu_options *options) {
  const char *config = options->config;
  if (!config && !options->model) {
    return td_fail(TD_USAGE, "price: found --context without a model, expected CONFIG, or --model M --device D");
  }
  TD_TRY(refuse("--model beside a config", config && options->model, "--device"));
  TD_TRY(refuse("--device", config && options->device, "--model"));
  TD_TRY(refuse("--lpu", config && options->lpu, "--model"));
  TD_TRY(refuse("--pool", !config && options->pool, "a config"));
  return refuse("--set", !config && options->set_count, "a config");
}

td_status price_lpu(int argc, char **argv) {
  struct price_lpu_options options = {0};
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--model", .value = &options.model},
      {.name = "--device", .value = &options.device},
      {.name = "--lpu", .value = &options.lpu},
      {.name = "--pool", .value = &options.pool},
      {.name = "--set",
       .list = options.sets,
       .list_count = &options.set_count,
       .list_max = (int32_t)(sizeof options.sets / sizeof *options.sets)},
      {.name = "--batch", .value = &options.batch},
      {.name = "--context", .value = &options.context},
      {.name = "--in-flight", .value = &options.in_flight},
      {.name = "--draft", .value = &options.draft},
      {.name = "--acceptance", .value = &options.acceptance},
      {.name = "--against", .value = &options.against},
      {.name = "--ranges", .given = &options.ranges},
      {.name = "--sensitivity", .given = &options.sensitivity},
      {.name = "--json", .given = &options.json},
      {0},
  };
  TD_TRY(td_flags_parse(argc, argv, flags, &options.config, 1, &count));
  TD_TRY(check_given(&options));
  return price_lpu_steps(&options);
}
