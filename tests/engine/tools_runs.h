/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of sessions whose turns call tools.
 */
#ifndef TESTS_ENGINE_TOOLS_RUNS_H
#define TESTS_ENGINE_TOOLS_RUNS_H

#include "rows.h"

enum { SESSIONS = 120, PS_PER_MS = 1000000000 };
#define POISSON "arrivals = \"poisson\"; rate = 700.0;"

extern const char *tools_folder; /* with random_cluster_files in it */

/* Sessions whose times hardly ever coincide: waits are odd numbers of microseconds. */
void tools_write_sessions(void);
/* Workers of one place each, so that answers hardly ever end together; cluster: more keys of it. */
const char *tools_config(const char *cluster, const char *source);
void tools_run(const char *cluster, const char *source, struct rows *rows); /* must end well */
const struct td_row_tool_call *tools_calls(const struct rows *rows, int *out_count);

#endif
