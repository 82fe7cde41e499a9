/* SPDX-License-Identifier: Apache-2.0
 *
 * The program: finds the subcommand, prints the one error line, sets the exit code.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem_revision.h"

static void print_version(void) {
  printf("tandem %s (git %s)\nbuild: %s, %s%s\n", TANDEM_VERSION, TANDEM_REVISION, TANDEM_BUILD_TYPE, TANDEM_COMPILER,
#ifdef TANDEM_SANITIZED
         ", sanitizers"
#else
         ""
#endif
  );
  printf("HDF5: %s\nlibconfig: %s\nMPI: %s\nOpenCL: %s\nCUDA: %s\n", TANDEM_HDF5, TANDEM_LIBCONFIG, TANDEM_MPI,
         TANDEM_OPENCL, TANDEM_CUDA);
}

static void print_help(FILE *out) {
  fputs("tandem: heterogeneous prefill/decode co-design of LLM inference\n\nusage: tandem COMMAND ...\n\n", out);
  for (const struct td_command *const *command = td_commands; *command; command++) {
    fprintf(out, "  %-9s %s\n", (*command)->name, (*command)->summary);
  }
  fputs(
      "\n  tandem COMMAND --help shows a command's options; tandem --version what it was built with.\n"
      "  Exit codes: 0 done; 1 the run failed (diff: differs, conform: a case failed); 2 wrong usage or config.\n",
      out);
}

static const struct td_command *find_command(const char *name, const char **out_nearest) {
  int best = 8; /* 4 edits or more are not a typing mistake */
  *out_nearest = NULL;
  for (const struct td_command *const *command = td_commands; *command; command++) {
    if (!strcmp((*command)->name, name)) return *command;
    /* Of names as near as each other, one that begins alike. */
    int distance = 2 * td_edit_distance((*command)->name, name) + ((*command)->name[0] != name[0]);
    if (distance < best) {
      best = distance;
      *out_nearest = (*command)->name;
    }
  }
  return NULL;
}

static bool wants_help(int argc, char **argv) {
  for (int i = 1; i < argc && strcmp(argv[i], "--"); i++) {
    if (!strcmp(argv[i], "--help") || !strcmp(argv[i], "-h")) return true;
  }
  return false;
}

static td_status run_command(int argc, char **argv, int *out_exit) {
  const char *nearest;
  const struct td_command *command = find_command(argv[0], &nearest);
  if (!command && nearest) return td_fail(TD_USAGE, "no command \"%s\"; did you mean \"%s\"?", argv[0], nearest);
  if (!command) return td_fail(TD_USAGE, "no command \"%s\"; see tandem --help", argv[0]);
  if (wants_help(argc, argv)) {
    printf("usage: tandem %s %s\n\n%s\n\n%s", command->name, command->usage, command->summary, command->help);
    return TD_OK;
  }
  return command->run(argc, argv, out_exit);
}

/* Output that could not be written is a failure, not a silence. */
static td_status flush_output(void) {
  if (fflush(stdout) || ferror(stdout)) return td_fail(TD_IO, "standard output: cannot write");
  return TD_OK;
}

int main(int argc, char **argv) {
  int code = 0;
  td_status status = TD_OK;
  signal(SIGXFSZ, SIG_IGN); /* a file over the limit of its size (ulimit -f) is an error to tell, not a silent end */
  if (argc < 2) {
    print_help(stderr);
    return 2;
  }
  if (!strcmp(argv[1], "--version")) {
    print_version();
  } else if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
    print_help(stdout);
  } else {
    status = run_command(argc - 1, argv + 1, &code);
  }
  if (status == TD_OK) status = flush_output();
  if (status) {
    fprintf(stderr, "tandem: %s\n", td_error_text());
    code = td_exit_code(status);
  }
  return code;
}
