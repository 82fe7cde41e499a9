/* SPDX-License-Identifier: Apache-2.0
 *
 * Subcommands of the program: one file each in framework/cli/commands/, found by CMake. The file NAME.c defines
 * `const struct td_command td_command_NAME`.
 */
#ifndef TANDEM_CLI_H
#define TANDEM_CLI_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/status.h"

struct td_command {
  const char *name;
  const char *usage;   /* "CONFIG [-o FILE.h5] [--set PATH=VALUE]..." */
  const char *summary; /* one line for `tandem --help` */
  const char *help;    /* the options, one per line */
  /* argv[0] is the command's name. Returns the status; "differs" and "a case failed" are reported with
   * *out_exit = 1 and TD_OK. Anything else: the program prints td_error_text() as one line and exits with
   * td_exit_code. */
  td_status (*run)(int argc, char **argv, int *out_exit);
};
extern const struct td_command *const td_commands[]; /* generated; ends with NULL */

/* Option parsing shared by commands: a row per flag; the table ends with a NULL name. `value` NULL: a switch. */
struct td_flag {
  const char *name;   /* "--text" or "-o" */
  const char **value; /* last one wins; repeated flags go to `list` */
  bool *given;
  const char **list; /* with list_count, list_max: collects every occurrence */
  int32_t *list_count;
  int32_t list_max;
};
/* Sorts argv into flags and positionals ("--flag value" and "--flag=value"; "--" ends flags). TD_USAGE with the nearest
 * flag name. At most max_positionals are taken; *out_count tells how many. */
td_status td_flags_parse(int argc, char **argv, const struct td_flag *flags, const char **positionals,
                         int32_t max_positionals, int32_t *out_count);
/* Whole-number and real arguments with bounds; TD_USAGE names the flag. */
td_status td_flag_int(const char *flag, const char *text, int64_t low, int64_t high, int64_t *out);

#endif
