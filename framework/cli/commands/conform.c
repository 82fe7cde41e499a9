/* SPDX-License-Identifier: Apache-2.0 */
#include "tandem/conform.h"

#include <stddef.h>

#include "tandem/cli.h"
#include "tandem/device.h"

static td_status run_table(const char *spec) {
  if (spec) return td_fail(TD_USAGE, "--table covers every backend: found '%s', expected no device", spec);
  return td_conform_table(stdout);
}

static td_status run_conform(int argc, char **argv, int *out_exit) {
  struct td_conform_options options = {0};
  const char *threads = NULL, *spec = NULL;
  bool table = false;
  int32_t given;
  const struct td_flag flags[] = {
      {.name = "--filter", .value = &options.filter}, {.name = "--threads", .value = &threads},
      {.name = "--list", .given = &options.list},     {.name = "--verbose", .given = &options.verbose},
      {.name = "-v", .given = &options.verbose},      {.name = "--json", .given = &options.json},
      {.name = "--table", .given = &table},           {0}};
  TD_TRY(td_flags_parse(argc, argv, flags, &spec, 1, &given));
  if (table) return run_table(spec);
  if (!spec && !options.list) return td_fail(TD_USAGE, "conform: found no device, expected BACKEND or BACKEND:N");
  int64_t count = 2;
  if (threads) TD_TRY(td_flag_int("--threads", threads, 1, 1024, &count));
  options.threads = (int32_t)count;
  const struct td_backend *backend;
  int32_t index;
  td_status status = spec ? td_device_find(spec, &backend, &index) : TD_OK;
  if (status) return td_fail_within(status == TD_UNAVAILABLE ? status : TD_USAGE, "conform");
  struct td_conform_result result;
  TD_TRY(td_conform_run(spec, &options, stdout, &result));
  *out_exit = result.failed || result.unexpected_passes ? 1 : 0;
  return TD_OK;
}

const struct td_command td_command_conform = {
    .name = "conform",
    .usage = "BACKEND[:N] [--filter PATTERN] [--threads N] [--list] [--verbose] [--json] | --table",
    .summary = "runs the conformance suite on a device",
    .help =
        "  --filter PATTERN  only cases whose name matches, e.g. 'matmul/q4_1/*'\n"
        "  --threads N       host threads for the device (2)\n"
        "  --list            prints the names and runs nothing; needs no device\n"
        "  -v, --verbose     prints every case, with the bound and how much of it was used\n"
        "  --json            prints one JSON object\n"
        "  --table           prints docs/support.md, from the outcomes on every backend here\n",
    .run = run_conform,
};
