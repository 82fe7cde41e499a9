/* SPDX-License-Identifier: Apache-2.0 */
#include "tools.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "values.h"

enum { MACHINES_LISTED = 64 };

/* ---- numbers ---- */

static void add_call(const struct td_row_tool_call *row, struct td_orchestrator_metrics *machine) {
  machine->calls += !row->lost;
  machine->lost += row->lost;
  machine->busy_s += td_seconds(row->end - row->start) * row->cores;
  machine->energy_j += row->energy;
}

static void add_machine(const struct td_orchestrator_metrics *machine, uint32_t cores, struct td_tool_metrics *tools) {
  tools->machines++;
  tools->cores += cores;
  tools->lost += machine->lost;
  tools->busy_s += machine->busy_s;
  tools->energy_j += machine->energy_j;
}

/* Of calls that were not lost: tools, or the host's own work. */
static void summarize_waits(const struct td_trace *trace, bool tools, double *scratch, struct td_summary *out) {
  uint64_t count = 0;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_TOOL_CALLS]; i++) {
    const struct td_row_tool_call *row = &trace->tool_calls[i];
    if (row->lost || (row->kind == TD_CALL_TOOL) != tools) continue;
    scratch[count++] = td_seconds(row->start - row->enqueued);
  }
  td_summarize(scratch, count, out);
}

td_status td_tools_compute(const struct td_trace *trace, struct td_metrics *metrics) {
  uint64_t machines = trace->count[TD_TABLE_ORCHESTRATORS], calls = trace->count[TD_TABLE_TOOL_CALLS];
  double *scratch;
  TD_TRY(td_alloc(machines ? machines : 1, sizeof *metrics->orchestrators, (void **)&metrics->orchestrators));
  TD_TRY(td_alloc(calls ? calls : 1, sizeof *scratch, (void **)&scratch));
  for (uint64_t i = 0; i < calls; i++) {
    add_call(&trace->tool_calls[i], &metrics->orchestrators[trace->tool_calls[i].orchestrator]);
  }
  for (uint64_t i = 0; i < machines; i++) {
    struct td_orchestrator_metrics *machine = &metrics->orchestrators[i];
    machine->utilisation = machine->busy_s / (trace->orchestrators[i].cores * metrics->makespan_s);
    add_machine(machine, trace->orchestrators[i].cores, &metrics->tools);
  }
  summarize_waits(trace, true, scratch, &metrics->tool_queueing);
  summarize_waits(trace, false, scratch, &metrics->host_queueing);
  metrics->tools.calls = metrics->tool_queueing.count;
  metrics->tools.host_calls = metrics->host_queueing.count;
  free(scratch);
  return TD_OK;
}

/* ---- text ---- */

/* Machines [begin, end), which are of one pool, as one line. */
static void print_group(const struct td_trace *trace, const struct td_metrics *metrics, uint64_t begin, uint64_t end,
                        FILE *out) {
  const struct td_row_orchestrator *row = &trace->orchestrators[begin];
  struct td_orchestrator_metrics sum = {0};
  double cores = 0;
  char name[sizeof row->pool + 32];
  for (uint64_t i = begin; i < end; i++) {
    const struct td_orchestrator_metrics *machine = &metrics->orchestrators[i];
    cores += trace->orchestrators[i].cores;
    sum.calls += machine->calls;
    sum.lost += machine->lost;
    sum.busy_s += machine->busy_s;
    sum.energy_j += machine->energy_j;
  }
  snprintf(name, sizeof name, "%s", row->name);
  if (end - begin > 1) snprintf(name, sizeof name, "%s x %" PRIu64, row->pool, end - begin);
  td_print_text(out, 14, name);
  fprintf(out, " ");
  td_print_text(out, 16, row->file);
  fprintf(out, " %7.0f %9" PRIu64 " %7" PRIu64, cores, sum.calls, sum.lost);
  td_print_value(out, 12, sum.busy_s);
  td_print_value(out, 12, 100 * sum.busy_s / (cores * metrics->makespan_s));
  td_print_value(out, 12, sum.energy_j);
  fprintf(out, "\n");
}

static void print_waits(const char *title, const struct td_summary *s, FILE *out) {
  const struct td_scale scale = td_scale_for(s->max);
  if (!s->count) return;
  fprintf(out, "%s, queueing %s: ", title, scale.unit);
  fprintf(out, "%" PRIu64 " calls, mean %.6g, p50 %.6g, p90 %.6g, p99 %.6g, max %.6g\n", s->count,
          s->mean * scale.factor, s->p50 * scale.factor, s->p90 * scale.factor, s->p99 * scale.factor,
          s->max * scale.factor);
}

void td_tools_print(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  uint64_t count = trace->count[TD_TABLE_ORCHESTRATORS], end;
  if (!count) return;
  fprintf(out, "\n%-14s %-16s %7s %9s %7s %11s %11s %11s\n", "orchestrator", "file", "cores", "calls", "lost",
          "busy core s", "busy %", "energy J");
  for (uint64_t begin = 0; begin < count; begin = end) {
    const char *pool = trace->orchestrators[begin].pool;
    end = begin + 1;
    while (count > MACHINES_LISTED && end < count && !strcmp(trace->orchestrators[end].pool, pool)) end++;
    print_group(trace, metrics, begin, end, out);
  }
  print_waits("tools", &metrics->tool_queueing, out);
  print_waits("texts", &metrics->host_queueing, out);
}

/* ---- JSON ---- */

void td_tools_json(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  uint64_t count = trace->count[TD_TABLE_ORCHESTRATORS];
  fprintf(out, ",\n  \"orchestrators\": [");
  for (uint64_t i = 0; i < count; i++) {
    const struct td_row_orchestrator *row = &trace->orchestrators[i];
    const struct td_orchestrator_metrics *machine = &metrics->orchestrators[i];
    fprintf(out, "%s\n    {", i ? "," : "");
    td_json_member(out, "name", row->name);
    fprintf(out, ", ");
    td_json_member(out, "pool", row->pool);
    fprintf(out, ", ");
    td_json_member(out, "file", row->file);
    fprintf(out, ", \"cores\": %" PRIu32 ", \"calls\": %" PRIu64 ", \"lost\": %" PRIu64, row->cores, machine->calls,
            machine->lost);
    td_json_number(out, "busy_core_s", machine->busy_s);
    td_json_number(out, "utilisation", machine->utilisation);
    td_json_number(out, "energy_j", machine->energy_j);
    fprintf(out, "}");
  }
  fprintf(out, "]");
}
