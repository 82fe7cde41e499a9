/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "lpu_check.h"
#include "lpu_collective.h"
#include "lpu_command.h"
#include "tandem/base.h"
#include "tandem/cli.h"

static td_status read_arguments(int argc, char **argv, struct lpu_arguments *arguments) {
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "-o", .value = &arguments->output},
      {.name = "--svg", .value = &arguments->picture},
      {.name = "--pool", .value = &arguments->pool},
      {.name = "--part", .value = &arguments->part},
      {.name = "--rows", .value = &arguments->rows},
      {.name = "--position", .value = &arguments->position},
      {.name = "--segment", .value = &arguments->segment},
      {.name = "--set", .list = arguments->sets, .list_count = &arguments->set_count, .list_max = LPU_SETS_MAX},
      {.name = "--dump", .given = &arguments->dump},
      {.name = "--json", .given = &arguments->json},
      {.name = "--explain", .given = &arguments->explain},
      {.name = "--sensitivity", .given = &arguments->sensitivity},
      {.name = "--against", .value = &arguments->against},
      {.name = "--zipf", .value = &arguments->experts.zipf},
      {.name = "--draws", .value = &arguments->experts.draws},
      {.name = "--seed", .value = &arguments->experts.seed},
      {.name = "--most", .value = &arguments->experts.most},
      {.name = "--attention", .value = &arguments->experts.attention},
      {.name = "--context", .value = &arguments->experts.context},
      {.name = NULL},
  };
  TD_TRY(td_flags_parse(argc, argv, flags, arguments->positionals, 2, &count));
  if (count == 2) return TD_OK;
  return td_fail(TD_USAGE,
                 "lpu: expected compile CONFIG, experts CONFIG, check PROGRAM, dump PROGRAM, collective or reach "
                 "(see tandem lpu --help)");
}

td_status lpu_refuse_flag(const char *action, const char *flag, bool given) {
  return given ? td_fail(TD_USAGE, "lpu %s: found %s, expected it with another action", action, flag) : TD_OK;
}

td_status lpu_read_step(const struct lpu_arguments *arguments, int32_t rows, int32_t *out_rows, int32_t *out_position) {
  int64_t number = rows;
  if (arguments->rows) TD_TRY(td_flag_int("--rows", arguments->rows, 1, 65536, &number));
  *out_rows = (int32_t)number;
  number = -1;
  if (arguments->position) TD_TRY(td_flag_int("--position", arguments->position, 0, INT32_MAX - 1, &number));
  *out_position = (int32_t)number;
  return TD_OK;
}

td_status lpu_refuse_draws(const char *action, const struct lpu_experts_flags *flags) {
  const char *const given[] = {flags->zipf, flags->draws, flags->seed, flags->most, flags->attention, flags->context};
  static const char *const names[] = {"--zipf", "--draws", "--seed", "--most", "--attention", "--context"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) TD_TRY(lpu_refuse_flag(action, names[i], given[i] != NULL));
  return TD_OK;
}

/* ---- check, dump ---- */

static td_status read_program(const struct lpu_arguments *arguments, int *out_exit) {
  struct td_lpu_program *program = NULL;
  const char *action = arguments->positionals[0];
  int32_t rows, position;
  bool checks = strcmp(action, "check") == 0;
  TD_TRY(lpu_refuse_flag(action, "-o", arguments->output != NULL));
  TD_TRY(lpu_refuse_flag(action, "--svg", arguments->picture != NULL));
  TD_TRY(lpu_refuse_flag(action, "--pool", arguments->pool != NULL));
  TD_TRY(lpu_refuse_flag(action, "--part", arguments->part != NULL));
  TD_TRY(lpu_refuse_flag(action, "--set", arguments->set_count > 0));
  TD_TRY(lpu_refuse_flag(action, "--explain", arguments->explain));
  TD_TRY(lpu_refuse_flag(action, "--sensitivity", arguments->sensitivity));
  TD_TRY(lpu_refuse_flag(action, "--against", arguments->against != NULL));
  TD_TRY(lpu_refuse_flag(action, "--segment", checks && arguments->segment));
  TD_TRY(lpu_refuse_flag(action, "--dump", arguments->dump));
  TD_TRY(lpu_refuse_draws(action, &arguments->experts));
  TD_TRY(lpu_refuse_flag(action, "--json", !checks && arguments->json));
  TD_TRY(lpu_refuse_flag(action, "--rows", !checks && arguments->rows));
  TD_TRY(lpu_refuse_flag(action, "--position", !checks && arguments->position));
  TD_TRY(lpu_read_step(arguments, 0, &rows, &position));
  TD_TRY(td_lpu_program_open(arguments->positionals[1], &program));
  td_status status = checks ? lpu_check_print(program, rows, position, arguments->json, out_exit)
                            : lpu_dump_print(program, arguments->segment);
  td_lpu_program_free(program);
  return status;
}

static td_status run(int argc, char **argv, int *out_exit) {
  struct lpu_arguments arguments = {0};
  if (argc > 1 && strcmp(argv[1], "collective") == 0) return lpu_collective_command(argc, argv);
  if (argc > 1 && strcmp(argv[1], "reach") == 0) return lpu_reach_command(argc, argv);
  TD_TRY(read_arguments(argc, argv, &arguments));
  const char *action = arguments.positionals[0];
  if (strcmp(action, "compile") == 0) return lpu_compile_command(&arguments);
  if (strcmp(action, "experts") == 0) return lpu_experts_command(&arguments);
  if (strcmp(action, "check") == 0 || strcmp(action, "dump") == 0) return read_program(&arguments, out_exit);
  return td_fail(TD_USAGE, "lpu: found \"%s\", expected compile, experts, check, dump, collective or reach", action);
}

const struct td_command td_command_lpu = {
    .name = "lpu",
    .usage =
        "compile CONFIG [-o PROGRAM] [--svg FILE] | experts CONFIG | check PROGRAM | dump PROGRAM | "
        "collective --device SYSTEM | reach --device SYSTEM",
    .summary = "compiles decode steps for LPUs, checks and shows programs; exchanges of systems by themselves",
    .help =
        "  compile CONFIG    the program of the config's LPU pool: chips, SRAM, cycles of a step, who is busy, and "
        "why\n"
        "    -o PROGRAM      saves it, weights and all\n"
        "    --svg FILE      a picture of SRAM's use and of the schedule\n"
        "    --pool NAME     of this pool, not of the first one with backend lpu\n"
        "    --part ffn      of the layers' FFNs alone, an entry a layer: attention is another device's (all)\n"
        "    --set PATH=VALUE  overrides a config key; may be repeated\n"
        "    --dump          prints the program too, an instruction a line\n"
        "    --explain       the step's time as a waterfall, from the weights through the streams once to the answer\n"
        "    --sensitivity   compiles at both ends of each unpublished number's range, and at all fastest and slowest "
        "ones\n"
        "    --against SECONDS  says whether a published time is inside that interval\n"
        "  experts CONFIG    a layer's experts: cycles over batches of 1, 2, 4, ... tokens, as they may fall on "
        "experts\n"
        "    --zipf S        experts are chosen with chances as 1 / rank^S (0: all alike)\n"
        "    --draws N       batches drawn from that (16), from --seed N (1)\n"
        "    --attention POOL --context N  beside attention on that pool's devices, over N positions, and the link "
        "between\n"
        "    --sensitivity   how the largest batch moves over the ranges of unpublished numbers\n"
        "    --pool, --set   as of compile\n"
        "    --most N        up to batches of N tokens, in passes of as many as the program takes (that many)\n"
        "  check PROGRAM     replays a step of every entry against the machine's rules: exit 1 and the first violation "
        "if\n"
        "                    there is one\n"
        "  dump PROGRAM      prints it, an instruction a line\n"
        "    --segment NAME  of segments of this name only\n"
        "  --rows N          compile, check: rows of the step that is looked at (compile: as many as the program "
        "takes)\n"
        "  --position N      position of its rows (the last that the program takes and its KV cache holds)\n"
        "  --json            one JSON object (all but dump)\n"
        "  collective        compiles an exchange for messages of several sizes, in every way of up to 500,000 sends, "
        "and "
        "takes the shortest\n"
        "    --device SYSTEM   an LPU's or a system's device file\n"
        "    --op OP         all-reduce (the default), broadcast or all-gather\n"
        "    --chips N       its first chips (a node)\n"
        "    --type T        f32 (the default) or f16\n"
        "    --bytes LIST    sizes, with commas between (one vector and doublings of it), rounded up to whole vectors\n"
        "    --svg FILE      bandwidth over size\n"
        "    --against SECONDS  says whether a published time of the first size is inside the interval\n"
        "  reach             how long until a chip has got at so much of the system's SRAM, hop by hop\n"
        "    --gigabytes LIST  for these sizes\n"
        "    --against LIST  beside these published seconds\n",
    .run = run,
};
