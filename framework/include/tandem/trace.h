/* SPDX-License-Identifier: Apache-2.0
 *
 * The trace, schemas 1 and 2: HDF5 tables, documented for readers in traces/README.md. Only rank 0 writes. The structs
 * below are the rows, field by field; the schema table in traces/schema.c gives names and units and is the only other
 * place.
 *
 * Every number `tandem show` prints follows from these rows; nothing else is stored. Rows are appended in the engine's
 * event order, which under pace "priced" is the same for any number of ranks and threads.
 */
#ifndef TANDEM_TRACE_H
#define TANDEM_TRACE_H

#include <stdint.h>

#include "tandem/base.h"

enum td_time_kind { TD_TIME_EXECUTED = 0, TD_TIME_EMULATED = 1, TD_TIME_MODELLED = 2 };
enum td_step_kind { TD_STEP_PREFILL = 0, TD_STEP_DECODE = 1, TD_STEP_MIXED = 2 };
enum td_finish { TD_FINISH_LENGTH = 0, TD_FINISH_END = 1, TD_FINISH_REFUSED = 2 };
enum td_change {
  TD_CHANGE_BOTH = 0,
  TD_CHANGE_PREFILL = 1,
  TD_CHANGE_DECODE = 2,
  TD_CHANGE_DOWN = 3,
  TD_CHANGE_UP = 4
};
enum td_payload { TD_PAYLOAD_KV = 0, TD_PAYLOAD_LIVE = 1 };

struct td_row_device {
  uint32_t device; /* id: worker number */
  char name[32];   /* "prefill.0" */
  char pool[32];
  char backend[16];
  char file[48];                  /* device file's name, "" if none */
  uint32_t role;                  /* enum td_role */
  uint32_t executes;              /* 0 modelled, 1 executed, 2 emulated */
  uint32_t exact;                 /* 1: opened so that its bits do not depend on the batch (tandem/backend.h) */
  uint32_t model;                 /* 0: the run's model */
  int32_t layer_begin, layer_end; /* of the slice that lives there, see struct td_slice */
  uint32_t parts;
};
/* Written when the request finishes, or is refused: then it has no output and its devices say nothing. Times: ps since
 * the run began; -1 = never. */
struct td_row_request {
  uint64_t request; /* 0, 1, ... in config order */
  char name[32];
  int64_t arrival, admitted, first_step, first_token, finished;
  uint32_t prompt_tokens, output_tokens, max_tokens;
  uint32_t finish; /* enum td_finish */
  uint32_t prefill_device, decode_device;
  uint64_t kv_bytes;      /* handed over for this request */
  uint32_t cached_tokens; /* that it did not prefill, as prefix caches had them: of all its prefills */
  uint32_t interruptions; /* times it lost its place on a worker: it was preempted, or a worker failed */
};
/* Step i of a row with count k (i = 0..k-1) lasts duration + i * slope and starts where i-1 ended; its number is
 * step + i and its place on its device is index + i. Executed rows have count 1. */
struct td_row_step {
  uint64_t step;         /* number in the run */
  uint64_t index;        /* number on its device */
  uint32_t device, kind; /* kind: enum td_step_kind */
  int64_t start, duration, slope;
  uint64_t count;
  uint32_t batch;     /* sequences */
  uint32_t tokens;    /* new tokens computed in one step */
  uint32_t time_kind; /* enum td_time_kind */
  /* Of modelled steps: low + 65536 * high: nine of ten such steps last between duration * low / 1000 and duration *
   * high / 1000 (65535: or longer). 0: not known, or not modelled. */
  uint32_t interval;
  double energy; /* J of the first step; NaN if not known */
};
/* Steps of a row of steps, from number `step` of the run on until the row or the next of these rows of it ends: step i
 * of them lasts duration + i * slope, and the first takes the row's energy. Only of modelled steps of batches that
 * share a replica's pipeline stages; in order of `step`, as the rows of steps are then. */
struct td_row_pace {
  uint64_t step;
  int64_t duration, slope;
};
/* One row per token of an executed step. */
struct td_row_token {
  uint64_t request;
  uint32_t index; /* 0 = first output token */
  int32_t id;
  uint64_t text_offset; /* of its bytes in the data set `text` */
  uint32_t text_bytes;
  uint32_t device;
  int64_t time;
  uint64_t step;
  double logprob;
  double gap; /* logit of the most likely id minus that of the second */
};
/* The request took part in device-steps first_index .. first_index + count - 1 of `device`, each yielding
 * tokens_per_step output tokens (0: prefill that is not the last chunk). One row per stretch of MODELLED steps. */
struct td_row_residency {
  uint64_t request;
  uint32_t device, tokens_per_step;
  uint64_t first_index, count;
  uint64_t first_token; /* output index of the first token yielded */
};
struct td_row_transfer {
  uint64_t request;
  uint32_t from, to; /* devices */
  uint32_t layer_begin, layer_end;
  uint64_t token_begin, token_end;
  uint64_t bytes;
  int64_t start, duration;
  uint32_t time_kind;
  uint32_t payload; /* enum td_payload */
};

/* A worker serves another role from `time` on, fails, or is repaired. Its first role is that of its row in devices. */
struct td_row_change {
  int64_t time;
  uint32_t device;
  uint32_t change; /* enum td_change */
};

/* What a core of an orchestrator was at: a tool that a session called with its answer to the request, or the host's own
 * work on the request's text. */
enum td_call_kind { TD_CALL_TOOL = 0, TD_CALL_TOKENIZE = 1, TD_CALL_DETOKENIZE = 2 };

/* A machine whose cores run calls. Traces of runs without any have neither this table nor the next. */
struct td_row_orchestrator {
  uint32_t orchestrator; /* number */
  uint32_t cores;
  char name[32]; /* "cpu.0" */
  char pool[32];
  char file[48];                 /* device file's name, "" if none */
  double speed;                  /* of a core, over the machine of the workload's tool times */
  double power_busy, power_idle; /* W of a core at a call, and of one without; NaN if not known */
};
/* Written when a call ends, or its orchestrator fails: then it is lost, and begins again elsewhere or later. */
struct td_row_tool_call {
  uint64_t request;
  uint64_t session; /* 1, 2, ...; 0: none */
  uint32_t orchestrator;
  uint32_t kind; /* enum td_call_kind */
  uint32_t cores;
  uint32_t lost;                /* 1: with its orchestrator */
  int64_t enqueued, start, end; /* enqueued: when it was asked for, however often it began */
  double energy;                /* J of the cores it had; NaN if not known */
};

enum td_table {
  TD_TABLE_DEVICES,
  TD_TABLE_REQUESTS,
  TD_TABLE_STEPS,
  TD_TABLE_TOKENS,
  TD_TABLE_RESIDENCY,
  TD_TABLE_TRANSFERS,
  TD_TABLE_CHANGES,
  TD_TABLE_ORCHESTRATORS,
  TD_TABLE_TOOL_CALLS,
  TD_TABLE_PACES,
  TD_TABLE_COUNT
};

/* ---- writing ---- */
struct td_trace_writer;

/* Attributes of the group /run. `config` is the resolved config. Facts that differ between equal runs (host, ranks,
 * date, command line) are attributes here and never in a data set. */
struct td_trace_run {
  const char *config, *experiment, *model, *pace, *policy;
  const char *awake; /* pace wall: "yes", or "no" and why: whether rank 0's processors were kept from sleeping; else ""
                        or NULL */
  uint64_t model_digest, seed;
  int32_t ranks;
  double slo_ttft, slo_tpot; /* s; 0: none */
  bool tools;                /* with the tables of orchestrators and their calls */
  bool paces;                /* with their table, which makes it schema 2: who does not know it would get times wrong */
};

/* Creates PATH.part (TD_IO names the path and the system's reason; an existing PATH is replaced only on finish). */
td_status td_trace_create(const char *path, const struct td_trace_run *run, struct td_trace_writer **out_writer);
/* Appends `count` rows of the table's struct, for about a tenth of a microsecond each. Rows wait until they fill a
 * chunk; about twice a second (of real time) a call writes and flushes everything, so that PATH.part opens after a kill
 * and lacks at most the last second. Not thread-safe. */
td_status td_trace_append(struct td_trace_writer *writer, enum td_table table, const void *rows, size_t count);
/* Appends bytes to the data set `text`; *out_offset is where they begin. */
td_status td_trace_text(struct td_trace_writer *writer, const char *bytes, size_t count, uint64_t *out_offset);
/* Flushes if a second has passed: call it while waiting. */
td_status td_trace_tick(struct td_trace_writer *writer);
/* Flushes, marks the run complete and renames PATH.part to PATH. Frees the writer even on failure. */
td_status td_trace_finish(struct td_trace_writer *writer);
/* Keeps the part file, marked incomplete with `reason`, and frees the writer. NULL is fine. */
void td_trace_abandon(struct td_trace_writer *writer, const char *reason);

/* ---- reading ---- */
/* A whole trace in memory. Tables are checked on load: schema version, types, device and request numbers in range,
 * times not negative; sizes are bounded by the file's. A part file loads too (complete = false). */
struct td_trace {
  bool complete;
  char *config, *experiment, *model, *pace, *policy;
  char *awake;               /* NULL in traces made before it was told */
  double slo_ttft, slo_tpot; /* s; 0: none */
  struct td_row_device *devices;
  struct td_row_request *requests;
  struct td_row_step *steps; /* a row for each of their paces: what those say is in them */
  struct td_row_token *tokens;
  struct td_row_residency *residency;
  struct td_row_transfer *transfers;
  struct td_row_change *changes;             /* none in traces made before there were any */
  struct td_row_orchestrator *orchestrators; /* none in traces without their tables */
  struct td_row_tool_call *tool_calls;
  struct td_row_pace *paces; /* none in traces without their table */
  uint64_t count[TD_TABLE_COUNT];
  char *text;
  uint64_t text_bytes;
  char *reason;                 /* why an incomplete run ended, "" if it was killed */
  struct td_trace_index *index; /* sorted row numbers, private to traces/ */
};
td_status td_trace_load(const char *path, struct td_trace **out_trace);
void td_trace_free(struct td_trace *trace); /* NULL is fine */

/* An output token, executed or expanded from residency x steps alike. id = -1 and logprob = gap = NaN where it was
 * modelled. */
struct td_trace_token {
  uint64_t request;
  int64_t time; /* ps */
  uint32_t index;
  int32_t id;
  uint32_t device;
  double logprob, gap;
};

/* All output tokens of a trace, by request and index, in memory that does not grow with them. Indices are 0, 1, ...
 * without gap in each request and as many as its row says, else TD_CORRUPT; in a part file, a running request may lack
 * tokens at its end. The trace is borrowed until the stream is closed. */
struct td_trace_stream;
td_status td_trace_stream_open(const struct td_trace *trace, struct td_trace_stream **out_stream);
/* The next rows, some thousands at a time; they belong to the stream and last until the next call. *out_count = 0 at
 * the end. Not to be called again after an error. */
td_status td_trace_stream_next(struct td_trace_stream *stream, const struct td_trace_token **out_rows,
                               size_t *out_count);
void td_trace_stream_close(struct td_trace_stream *stream); /* NULL is fine */

/* Most output tokens of one request that are expanded at once; more is TD_UNSUPPORTED, so that no file makes a reader
 * run out of memory. The stream has no such limit. */
#define TD_TRACE_MAX_TOKENS (UINT64_C(1) << 25)

/* The output tokens of one request, as the stream gives them. *out_tokens is NULL when there are none. Free with
 * free(). */
td_status td_trace_request_tokens(const struct td_trace *trace, uint64_t request, struct td_trace_token **out_tokens,
                                  uint64_t *out_count);

#endif
