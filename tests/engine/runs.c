/* SPDX-License-Identifier: Apache-2.0
 *
 * The engine from outside: whole runs of the program, compared by their traces. `engine_runs CASE` runs one case.
 */
#include "runs.h"

#include "../support.h"

#define RUNS_ENTRY(name) cmocka_unit_test(name),
static const struct CMUnitTest cases[] = {RUNS_CASES(RUNS_ENTRY)};

int main(int argc, char **argv) {
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (argc != 2 || strcmp(cases[i].name, argv[1])) continue;
#ifndef TANDEM_HAVE_MPI
    if (strstr(argv[1], "rank") || strstr(argv[1], "mpi")) test_skip_all("built without MPI");
#endif
    return _cmocka_run_group_tests(argv[1], &cases[i], 1, NULL, NULL);
  }
  fprintf(stderr, "usage: engine_runs CASE\n");
  return 2;
}
