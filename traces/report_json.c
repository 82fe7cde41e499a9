/* SPDX-License-Identifier: Apache-2.0
 *
 * The JSON of `tandem show` and `tandem run`: one set of keys, whether the numbers come from a trace, were counted
 * while the run went on, or both. What is not known is null; numbers have full precision, and those that JSON lacks are
 * null.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "report.h"
#include "schema.h"
#include "tandem/engine.h"
#include "tools.h"
#include "values.h"

/* One of the two may be NULL. */
struct report {
  const struct td_trace *trace;
  const struct td_metrics *metrics;
  const struct td_run_summary *counted;
};

/* ---- values ---- */

static void put_text(FILE *out, const char *key, const char *text) {
  fprintf(out, "\"%s\": ", key);
  td_json_string(out, text, strlen(text));
  fprintf(out, ", ");
}

static void put_count(FILE *out, const char *key, uint64_t count) {
  fprintf(out, ", \"%s\": %" PRIu64, key, count);
}

/* A count that only the engine knows. */
static void put_counted(FILE *out, const char *key, const uint64_t *count) {
  if (count) {
    put_count(out, key, *count);
  } else {
    td_json_number(out, key, NAN);
  }
}

static void put_summary(const char *key, const struct td_summary *summary, bool known, FILE *out) {
  if (known) {
    td_json_summary(out, key, summary);
  } else {
    fprintf(out, ",\n  \"%s\": null", key);
  }
}

/* ---- all together ---- */

static void put_header(const struct report *report, FILE *out) {
  const struct td_trace *trace = report->trace;
  const struct td_run_summary *counted = report->counted;
  fprintf(out, "{\n  \"schema\": %d, \"complete\": %s,\n  ", TD_SCHEMA_VERSION,
          !trace || trace->complete ? "true" : "false");
  put_text(out, "reason", trace ? trace->reason : "");
  put_text(out, "experiment", trace ? trace->experiment : counted->experiment);
  put_text(out, "model", trace ? trace->model : counted->model);
  put_text(out, "pace", trace ? trace->pace : counted->pace);
  put_text(out, "policy", trace ? trace->policy : counted->policy);
  if (trace && trace->awake) {
    put_text(out, "awake", trace->awake);
  } else {
    fprintf(out, "\"awake\": null, ");
  }
}

static void put_requests(const struct td_metrics *metrics, FILE *out) {
  fprintf(out, "\n  \"requests\": %" PRIu64, metrics->requests);
  put_count(out, "refused", metrics->refused);
  put_count(out, "prompt_tokens", metrics->prompt_tokens);
  put_count(out, "output_tokens", metrics->output_tokens);
  put_count(out, "cached_tokens", metrics->cached_tokens);
  put_count(out, "interruptions", metrics->interruptions);
  td_json_number(out, "makespan_s", metrics->makespan_s);
  td_json_number(out, "requests_per_s", (double)metrics->requests / metrics->makespan_s);
  td_json_number(out, "output_tokens_per_s", metrics->output_tokens_per_s);
}

static void put_bound(FILE *out, const char *key, double bound, const char *end) {
  fprintf(out, "\"%s\": ", key);
  if (bound > 0) {
    fprintf(out, "%.17g%s", bound, end);
  } else {
    fprintf(out, "null%s", end);
  }
}

static void put_slo(const struct td_metrics *metrics, FILE *out) {
  bool any = metrics->slo_ttft > 0 || metrics->slo_tpot > 0;
  fprintf(out, ",\n  \"slo\": ");
  if (any) {
    fprintf(out, "{");
    put_bound(out, "ttft", metrics->slo_ttft, ", ");
    put_bound(out, "tpot", metrics->slo_tpot, "}");
  } else {
    fprintf(out, "null");
  }
  put_counted(out, "within_ttft", any ? &metrics->within_ttft : NULL);
  put_counted(out, "within_tpot", any ? &metrics->within_tpot : NULL);
  put_counted(out, "within_slo", any ? &metrics->within : NULL);
  td_json_number(out, "goodput_per_s", any ? (double)metrics->within / metrics->makespan_s : NAN);
}

/* Gaps between tokens are the trace's alone. */
static void put_lines(const struct report *report, FILE *out) {
  struct td_line lines[TD_LINES];
  td_report_lines(report->metrics, lines);
  for (int i = 0; i < TD_LINES; i++) {
    put_summary(lines[i].key, lines[i].summary, report->trace || lines[i].summary != &report->metrics->itl, out);
  }
}

static void put_steps(const struct report *report, FILE *out) {
  const struct td_run_summary *counted = report->counted;
  fprintf(out, ",\n  \"steps\": %" PRIu64, report->metrics->steps);
  put_counted(out, "events", counted ? &counted->events : NULL);
  put_counted(out, "decode_steps", counted ? &counted->decode_steps : NULL);
  td_json_number(out, "mean_batch", counted ? (double)counted->decode_tokens / (double)counted->decode_steps : NAN);
  put_counted(out, "stage_bytes", counted ? &counted->stage_bytes : NULL);
  put_counted(out, "preemptions", counted ? &counted->preemptions : NULL);
  put_counted(out, "pauses", counted ? &counted->pauses : NULL);
  put_counted(out, "restarts", counted ? &counted->restarts : NULL);
  put_counted(out, "lost_steps", counted ? &counted->lost_steps : NULL);
  put_counted(out, "lost_tokens", counted ? &counted->lost_tokens : NULL);
  put_count(out, "role_changes", report->metrics->role_changes);
  put_count(out, "failures", report->metrics->failures);
  td_json_number(out, "down_s", report->metrics->down_s);
}

static void put_port(const struct report *report, FILE *out) {
  const struct td_run_port *port = report->counted ? &report->counted->busiest_port : NULL;
  fprintf(out, ", \"busiest_port\": ");
  if (!port || !port->busy_ps) {
    fprintf(out, "null");
    return;
  }
  fprintf(out, "{");
  put_text(out, "worker", port->worker);
  fprintf(out, "\"sends\": %s, \"bytes\": %" PRIu64, port->sends ? "true" : "false", port->bytes);
  td_json_number(out, "busy_s", td_seconds(port->busy_ps));
  td_json_number(out, "share", td_seconds(port->busy_ps) / report->metrics->makespan_s);
  fprintf(out, "}");
}

static void put_transfers(const struct report *report, FILE *out) {
  const struct td_metrics *metrics = report->metrics;
  fprintf(out, ",\n  \"transfers\": %" PRIu64 ", \"kv_bytes\": %" PRIu64, metrics->transfers, metrics->kv_bytes);
  td_json_number(out, "transfer_busy_s", report->trace ? metrics->transfer_busy_s : NAN);
  put_port(report, out);
}

static void put_energy(const struct report *report, FILE *out) {
  const struct td_run_summary *counted = report->counted;
  double steps = counted ? counted->energy_j : report->metrics->energy_j, idle = counted ? counted->energy_idle_j : NAN;
  double all = steps + idle + (counted ? counted->tools.energy_j + counted->tools.energy_idle_j : 0);
  td_json_number(out, "energy_j", steps);
  td_json_number(out, "energy_idle_j", idle);
  td_json_number(out, "energy_total_j", all);
  td_json_number(out, "watts", all / report->metrics->makespan_s);
  td_json_number(out, "tokens_per_j", (double)report->metrics->output_tokens / all);
  fprintf(out, ", \"power_basis\": ");
  if (counted) {
    td_json_string(out, counted->power_basis, strlen(counted->power_basis));
  } else {
    fprintf(out, "null");
  }
}

static void put_prefix(const struct td_run_prefix *prefix, FILE *out) {
  uint64_t hits = 0;
  fprintf(out, ",\n  \"prefix_cache\": ");
  if (!prefix || !prefix->on) {
    fprintf(out, "null");
    return;
  }
  for (int32_t i = 0; i < prefix->tier_count; i++) hits += prefix->tiers[i].hit_tokens;
  uint64_t all = hits + prefix->computed_tokens;
  fprintf(out, "{\"computed_tokens\": %" PRIu64 ", \"lost_tokens\": %" PRIu64, prefix->computed_tokens,
          prefix->lost_tokens);
  td_json_number(out, "hit_share", all ? (double)hits / (double)all : 0);
  td_json_number(out, "load_s", prefix->load_s);
  fprintf(out, ", \"tiers\": [");
  for (int32_t i = 0; i < prefix->tier_count; i++) {
    const struct td_run_tier *tier = &prefix->tiers[i];
    fprintf(out, "%s{", i ? ", " : "");
    put_text(out, "name", tier->name);
    fprintf(out, "\"hit_tokens\": %" PRIu64 ", \"evicted_tokens\": %" PRIu64 "}", tier->hit_tokens,
            tier->evicted_tokens);
  }
  fprintf(out, "]}");
}

/* Of orchestrators; null without any. */
static void put_tools(const struct report *report, FILE *out) {
  const struct td_tool_metrics *tools = &report->metrics->tools;
  const struct td_run_tools *counted = report->counted ? &report->counted->tools : NULL;
  put_summary("tool_queueing", &report->metrics->tool_queueing, tools->machines > 0, out);
  put_summary("host_queueing", &report->metrics->host_queueing, tools->machines > 0, out);
  fprintf(out, ",\n  \"tools\": ");
  if (!tools->machines) {
    fprintf(out, "null");
    return;
  }
  fprintf(out, "{\"orchestrators\": %" PRIu64, tools->machines);
  put_count(out, "cores", tools->cores);
  put_count(out, "calls", tools->calls);
  put_count(out, "host_calls", tools->host_calls);
  put_counted(out, "failures", counted ? &counted->failures : NULL);
  put_count(out, "lost", tools->lost);
  td_json_number(out, "down_s", counted ? counted->down_s : NAN);
  td_json_number(out, "busy_core_s", tools->busy_s);
  td_json_number(out, "utilisation", tools->busy_s / ((double)tools->cores * report->metrics->makespan_s));
  td_json_number(out, "energy_j", tools->energy_j);
  td_json_number(out, "energy_idle_j", counted ? counted->energy_idle_j : NAN);
  fprintf(out, "}");
}

/* ---- of a trace ---- */

static void put_device(const struct td_row_device *row, const struct td_device_metrics *device, FILE *out) {
  fprintf(out, "{");
  put_text(out, "name", row->name);
  put_text(out, "pool", row->pool);
  put_text(out, "backend", row->backend);
  put_text(out, "file", row->file);
  put_text(out, "role", td_role_name(row->role));
  put_text(out, "executes", td_executes_name(row->executes));
  put_text(out, "time_kind", td_times_name(device->time_kinds));
  fprintf(out, "\"steps\": %" PRIu64, device->steps);
  put_count(out, "tokens_computed", device->tokens_computed);
  put_count(out, "output_tokens", device->output_tokens);
  put_count(out, "kv_sent", device->kv_sent);
  put_count(out, "kv_received", device->kv_received);
  td_json_number(out, "busy_s", device->busy_s);
  td_json_number(out, "tokens_per_s", device->tokens_per_s);
  td_json_number(out, "energy_j", device->energy_j);
  fprintf(out, "}");
}

static void put_request(const struct td_row_request *row, const struct td_request_metrics *request, FILE *out) {
  fprintf(out, "{\"request\": %" PRIu64 ", ", row->request);
  put_text(out, "name", row->name);
  fprintf(out, "\"prompt_tokens\": %" PRIu32, row->prompt_tokens);
  put_count(out, "cached_tokens", row->cached_tokens);
  put_count(out, "output_tokens", row->output_tokens);
  fprintf(out, ", \"finish\": \"%s\"", td_finish_names[row->finish]);
  put_count(out, "kv_bytes", row->kv_bytes);
  put_count(out, "interruptions", row->interruptions);
  td_json_number(out, "ttft", request->ttft);
  td_json_number(out, "tpot", request->tpot);
  td_json_number(out, "e2e", request->e2e);
  td_json_number(out, "queueing", request->queueing);
  td_json_number(out, "user_rate", request->user_rate);
  fprintf(out, "}");
}

static void put_rows(const struct td_trace *trace, const struct td_metrics *metrics, FILE *out) {
  fprintf(out, ",\n  \"devices\": [");
  for (uint64_t i = 0; i < trace->count[TD_TABLE_DEVICES]; i++) {
    fprintf(out, "%s\n    ", i ? "," : "");
    put_device(&trace->devices[i], &metrics->devices[i], out);
  }
  fprintf(out, "]");
  td_tools_json(trace, metrics, out);
  fprintf(out, ",\n  \"per_request\": [");
  for (uint64_t i = 0; i < trace->count[TD_TABLE_REQUESTS]; i++) {
    fprintf(out, "%s\n    ", i ? "," : "");
    put_request(&trace->requests[metrics->per_request[i].row], &metrics->per_request[i], out);
  }
  fprintf(out, "]\n}\n");
}

void td_metrics_json(const struct td_trace *trace, const struct td_metrics *metrics,
                     const struct td_run_summary *counted, FILE *out) {
  const struct report report = {trace, metrics, counted};
  put_header(&report, out);
  put_requests(metrics, out);
  put_slo(metrics, out);
  put_lines(&report, out);
  put_steps(&report, out);
  put_transfers(&report, out);
  put_energy(&report, out);
  put_prefix(counted ? &counted->prefix : NULL, out);
  put_tools(&report, out);
  if (trace) {
    put_rows(trace, metrics, out);
  } else {
    fprintf(out, ",\n  \"devices\": null, \"orchestrators\": null, \"per_request\": null\n}\n");
  }
}
