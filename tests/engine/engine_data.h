/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs of the engine in this process, and their data sets compared byte for byte. Header only.
 */
#ifndef TESTS_ENGINE_ENGINE_DATA_H
#define TESTS_ENGINE_ENGINE_DATA_H

#include "../support.h"
#include "tandem/engine.h"

/* `set`: one override, or NULL. The caller frees the trace. */
static inline td_status data_run(const char *config_path, const char *folder, const char *set,
                                 struct td_trace **out_trace) {
  char path[4200];
  struct td_config *config;
  struct td_experiment experiment;
  struct td_transport *transport;
  struct td_run_options options = {.trace_path = path};
  snprintf(path, sizeof path, "%s/run.h5", folder);
  TD_TRY(td_experiment_open(config_path, &set, set ? 1 : 0, &config, &experiment));
  td_status status = td_transport_open(&transport);
  if (!status) status = td_engine_run(config, &experiment, transport, &options);
  td_config_close(config);
  return status ? status : td_trace_load(path, out_trace);
}

struct data_table {
  const void *rows;
  size_t bytes;
};

static inline struct data_table data_rows(const struct td_trace *trace, int table) {
  const struct data_table tables[] = {
      {trace->devices, sizeof *trace->devices},     {trace->requests, sizeof *trace->requests},
      {trace->steps, sizeof *trace->steps},         {trace->tokens, sizeof *trace->tokens},
      {trace->residency, sizeof *trace->residency}, {trace->transfers, sizeof *trace->transfers}};
  return tables[table];
}

static inline void data_same(const struct td_trace *a, const struct td_trace *b, const char *what, uint64_t number) {
  for (int table = 0; table < TD_TABLE_COUNT; table++) {
    struct data_table x = data_rows(a, table), y = data_rows(b, table);
    if (a->count[table] != b->count[table]) {
      fail_msg("%s, cluster %d: table %d has %d and %d rows", what, (int)number, table, (int)a->count[table],
               (int)b->count[table]);
    }
    for (uint64_t i = 0; i < a->count[table]; i++) {
      if (!memcmp((const char *)x.rows + i * x.bytes, (const char *)y.rows + i * x.bytes, x.bytes)) continue;
      fail_msg("%s, cluster %d: table %d differs in row %d", what, (int)number, table, (int)i);
    }
  }
}

static inline uint64_t data_digest(uint64_t digest, const struct td_trace *trace) {
  for (int table = 0; table < TD_TABLE_COUNT; table++) {
    struct data_table rows = data_rows(trace, table);
    digest = td_hash(digest, rows.rows, rows.bytes * trace->count[table]);
  }
  return digest;
}

#endif
