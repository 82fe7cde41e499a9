/* SPDX-License-Identifier: Apache-2.0 */
#include "tools_runs.h"

#include "../support.h"
#include "random_cluster.h"
#include "tandem/base.h"

const char *tools_folder;

/* Sessions whose times hardly ever coincide: waits are odd numbers of microseconds. */
void tools_write_sessions(void) {
  struct td_text text = {0};
  td_text_printf(&text, "session_id,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n");
  for (int session = 0; session < SESSIONS; session++) {
    int held = 0;
    for (int turn = 0; turn < 2 + session % 4; turn++) {
      uint64_t at = (uint64_t)(session * 8 + turn);
      int input = 1 + (int)(td_random(7, at, 0) % 40), output = 2 + (int)(td_random(7, at, 1) % 40);
      double wait = 0.001 * (double)(1 + td_random(7, at, 2) % 9999);
      td_text_printf(&text, "%d,%d,%d,%d,%d,%.3f\n", session, turn, held, input, output, wait);
      held += input + output;
    }
  }
  random_cluster_file(tools_folder, "calls.csv", text.data);
  td_text_free(&text);
}

/* Workers of one place each, so that answers hardly ever end together; cluster: more keys of it. */
const char *tools_config(const char *cluster, const char *source) {
  static char path[4200];
  struct td_text text = {0};
  td_text_printf(
      &text,
      "name = \"tools\"; seed = 5; model = \"%s/dense.cfg\";\n"
      "engine = { pace = \"priced\"; policy = \"colocated\"; batch_sequences = 1; };\n"
      "cluster = { pools = ( { name = \"gpu\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; count = 30; } "
      ");\n%s };\n"
      "workload = { source = { format = \"sessions\"; file = \"%s/calls.csv\"; %s }; };\n",
      tools_folder, tools_folder, cluster, tools_folder, source);
  random_cluster_file(tools_folder, "tools.cfg", text.data);
  td_text_free(&text);
  snprintf(path, sizeof path, "%s/tools.cfg", tools_folder);
  return path;
}

void tools_run(const char *cluster, const char *source, struct rows *rows) {
  if (rows_run(tools_config(cluster, source), "engine.merge=true", rows)) fail_msg("%s", td_error_text());
}

const struct td_row_tool_call *tools_calls(const struct rows *rows, int *out_count) {
  *out_count = (int)(rows->tables[TD_TABLE_TOOL_CALLS].bytes / sizeof(struct td_row_tool_call));
  return (const void *)rows->tables[TD_TABLE_TOOL_CALLS].data;
}
