/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: traces, row by row. The formats stand in formats.c, the rows of CSV files are read in
 * csv.c, those of JSON lines in json.c.
 */
#ifndef TANDEM_WORKLOAD_TRACE_H
#define TANDEM_WORKLOAD_TRACE_H

#include "tandem/experiment_source.h"
#include "text.h"

#define ROW_TOKENS_MAX INT64_C(10000000)

struct row {
  int64_t at_ps; /* from the trace's, or the window's, beginning */
  int64_t prompt, output;
  int64_t shared;  /* leading prompt tokens: sessions: of the session so far; blis: of the group, in prompt too */
  uint64_t key;    /* of the session or group, 0: none */
  int64_t turn;    /* sessions */
  int64_t wait_ps; /* sessions: after the answer */
  int64_t line;    /* of the file, from 1; 0: not known, the row was kept or there is no file */
  int32_t tier;    /* -1: the trace does not say */
  const uint64_t *hashes; /* the trace's, until its next row */
  int32_t hash_count;
};

enum column_kind {
  COLUMN_IGNORED,
  COLUMN_TIME,
  COLUMN_PROMPT,
  COLUMN_OUTPUT,
  COLUMN_SESSION,
  COLUMN_TURN,
  COLUMN_PREFIX, /* tokens of it */
  COLUMN_WAIT,
  COLUMN_GROUP,
  COLUMN_SERVER, /* prompt tokens as the server counted them, 0: it did not */
  COLUMN_CLASS,
  COLUMN_KINDS
};
struct column {
  const char *name;
  enum column_kind kind;
  bool needed; /* COLUMN_TIME also where the trace's times are used */
};
struct format {
  const char *name;
  const struct column *columns; /* ends with a NULL name */
  int8_t power;                 /* a unit of time has 10^power ps */
  bool stamps;                  /* times are dates */
  bool from_first;              /* times count from the first row's */
  bool open;                    /* further columns are the format's own custom */
  bool failures;                /* an output of 0 is a request that failed */
  bool bare;                    /* the header line may be absent */
};
/* By enum td_source_format; generated has no columns. */
extern const struct format trace_formats[TD_SOURCE_FORMATS];

struct trace {
  const struct td_cfg_source *source;
  const struct format *format;
  struct lines lines;
  struct field fields[TEXT_FIELDS_MAX];
  const struct column *columns[TEXT_FIELDS_MAX]; /* of the file, in its order */
  int32_t column_count;
  bool timed;      /* the rows have times */
  bool uses_times; /* and they count: their order is checked */
  bool window_ended;
  struct instant origin, last;
  uint64_t key; /* the row before's, where times count */
  int64_t begin_ps, end_ps;
  int64_t block;
  int64_t rows; /* seen since the beginning, in the window or not */
  uint64_t *hashes;
  size_t hash_capacity;
};

/* Opens source->file, whose hashes stand for `block` tokens each. Borrows both. */
td_status trace_open(const struct td_config *config, const struct td_cfg_source *source, int64_t block,
                     struct trace *out_trace);
void trace_close(struct trace *trace);
td_status trace_rewind(struct trace *trace);
/* The next row of the window. *out_any false: there is none. */
td_status trace_next(struct trace *trace, struct row *out_row, bool *out_any);

/* TD_CORRUPT: "FILE:ROW: COLUMN: found "X", expected ...". */
td_status trace_wrong(const struct trace *trace, const char *column, struct field found, const char *expected)
    __attribute__((cold));

/* ---- csv.c: the header line, and a row's columns; the time is left to the caller ---- */
td_status csv_header(struct trace *trace);
td_status csv_row(struct trace *trace, char *line, size_t bytes, struct row *out_row, struct instant *out_time);

/* ---- json.c ---- */
td_status json_row(struct trace *trace, const char *line, size_t bytes, struct row *out_row, struct instant *out_time);

/* ---- blis_header.c: TD_CORRUPT for a YAML file that is no TraceV2 header ---- */
td_status blis_header_check(const char *path);

#endif
