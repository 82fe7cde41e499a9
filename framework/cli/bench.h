/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem bench`: how fast a device runs each operator and whole steps, beside what the chip gives in the same run.
 */
#ifndef TD_CLI_BENCH_H
#define TD_CLI_BENCH_H

#include <stdio.h>

#include "tandem/device.h"

/* ---- repeated measurements (bench_measure.c) ---- */

struct bench_spread {
  double median, low, high;
  int32_t count;
};
struct bench_spread bench_spread_of(double *values, int32_t count); /* sorts them; count >= 1 */

/* Does `calls` calls of what is measured, one after another, and returns when the device has done them. */
typedef td_status (*bench_go)(void *context, int64_t calls);
/* A ceiling that is measured between the repeats, so that a machine that changes its pace changes both. */
struct bench_ceilings;
struct bench_beside {
  td_status (*pass)(const struct bench_beside *beside, double *out_rate);
  struct bench_ceilings *ceilings;
  enum td_ceiling which;
};
struct bench_times {
  struct bench_spread seconds; /* per call */
  struct bench_spread beside;  /* what the ceiling would have moved meanwhile, bytes per call; count 0: not measured */
};
/* By the device's clock: a warm-up of `warm` calls, then repeats of a tenth of `seconds` each, 10 ms at most, until
 * `seconds` are over, at least three. beside: NULL for none. */
td_status bench_measure(struct td_device *device, double seconds, int64_t warm, bench_go go, void *context,
                        const struct bench_beside *beside, struct bench_times *out_times);

/* ---- ceilings (bench_ceiling.c, bench_memory.c, bench_host.c) ---- */

#define BENCH_SAMPLES 1024
struct bench_ceiling {
  double samples[BENCH_SAMPLES]; /* bytes/s or flop/s */
  struct bench_spread rate;
  char how[96];
};
struct bench_memory;
struct bench_ceilings {
  struct bench_ceiling of[TD_CEILING_COUNT];
  struct bench_spread call;    /* seconds of the shortest operator, one after the other */
  int32_t threads;             /* of the host */
  struct bench_memory *memory; /* NULL for devices that do not compute on the host */
};
/* "read", "triad", "gemm_f32", "gemm_f16" */
const char *bench_ceiling_name(enum td_ceiling which);
/* ceilings: zeroed. Close it even if this fails. */
td_status bench_ceilings_open(struct td_device *device, int32_t threads, double seconds,
                              struct bench_ceilings *ceilings);
void bench_ceilings_close(struct bench_ceilings *ceilings);
/* Adds samples: the device's own, the host's where it computes on the host, else through its operators. A ceiling that
 * none of these gives keeps count 0. */
td_status bench_ceilings_sample(struct td_device *device, double seconds, struct bench_ceilings *ceilings);
struct bench_work;
/* The ceiling that binds this work, to be measured beside it. False if that cannot be measured a pass at a time. */
bool bench_ceilings_beside(struct bench_ceilings *ceilings, const struct bench_work *work,
                           struct bench_beside *out_beside);

/* Memory that no cache of the device holds, bytes. */
uint64_t bench_beyond_caches(const struct td_device *device);
uint64_t bench_host_beyond_caches(void);
/* Threads and arrays of the host for passes of TD_CEILING_READ and TD_CEILING_TRIAD; `how` says with what. */
td_status bench_memory_open(int32_t threads, struct bench_memory **out_memory);
void bench_memory_close(struct bench_memory *memory);
td_status bench_memory_pass(struct bench_memory *memory, enum td_ceiling which, double *out_rate);
td_status bench_memory_how(const struct bench_memory *memory, enum td_ceiling which, char *out, size_t size);
/* Adds samples of TD_CEILING_GEMM_F32 by `threads` host threads for about `seconds`. TD_UNAVAILABLE without OpenBLAS.
 */
td_status bench_host_product(int32_t threads, double seconds, struct bench_ceiling *ceiling);

/* ---- work and what bounds it (bench_work.c) ---- */

/* td_op_cost of one operator or of many, by the ceiling that each part meets: bytes of operators that mostly read
 * weights or cache under READ, other bytes under TRIAD, flops as td_price_roofline assigns peaks. */
struct bench_work {
  double of[TD_CEILING_COUNT];
};
void bench_work_add(struct bench_work *work, const struct td_graph *graph, const struct td_op *op,
                    enum td_dtype kv_dtype, const struct td_step_stats *stats);
double bench_work_bytes(const struct bench_work *work);
double bench_work_flops(const struct bench_work *work);
/* The time that the ceilings allow at best, seconds, and the ceiling that says so. Those that were not measured are
 * stood in for: TRIAD by READ and back, GEMM_F16 by GEMM_F32 and back. */
double bench_work_bound(const struct bench_work *work, const struct bench_ceilings *ceilings,
                        enum td_ceiling *out_bound);

/* ---- models (bench_model.c, bench_gguf.c) ---- */

struct bench_model {
  struct td_model *model;  /* as named: GGUF, or a shape */
  struct td_model *seeded; /* weights made for a shape, NULL before bench_model_weights */
  struct td_graph *graph;  /* of `model` */
};
/* A GGUF file, a shape file, or a built-in shape: "smollm2-135m", "llama-3.1-8b". */
td_status bench_model_open(const char *name, struct bench_model *out_model);
/* The text of a shape file. */
td_status bench_model_open_text(const char *text, struct bench_model *out_model);
/* The model with weights: its own, or seeded ones made in memory. TD_EXHAUSTED, with what is there, if the host has no
 * room for them (`copies` times). */
td_status bench_model_weights(struct bench_model *bench, int32_t copies, const struct td_model **out_model);
/* TD_EXHAUSTED as bench_model_weights, before the work. */
td_status bench_model_check_room(const struct bench_model *bench, int32_t copies);
void bench_model_close(struct bench_model *bench);

/* Seeded rows of a weight, encoded: uniform numbers that keep the size of what is multiplied; ones in a vector. */
td_status bench_fill_weight(enum td_dtype dtype, int64_t rows, int64_t cols, uint64_t seed, void *dst);
/* Bytes of host memory that could be had now; UINT64_MAX if the system does not say. */
uint64_t bench_host_available(void);
/* Writes a GGUF with seeded weights for a shape into memory and opens it. */
td_status bench_gguf_open(const struct td_graph *graph, struct td_model **out_model);

/* ---- cases and results (bench_cases.c, bench_operator.c, bench_step.c) ---- */

#define BENCH_NAME 96
#define BENCH_BLOCK_TOKENS 16

/* One operator by itself: a graph of one. */
struct bench_case {
  char name[BENCH_NAME]; /* "matmul/q4_1/576x1536/decode" */
  struct td_shape shape;
  struct td_op op;
  struct td_value values[TD_OP_INPUTS + 1]; /* inputs, then the output */
  struct td_weight weight;
  enum td_dtype kv_dtype;
  int64_t past, tokens;
  bool warm;  /* activations are in a cache whatever their rows, as the operator before leaves them in a step */
  bool still; /* one copy of everything: quick, and no measure of memory */
};
struct bench_cases {
  struct bench_case *items;
  size_t count, capacity;
};
/* Every operator of the model once, at decode and prefill shapes; with `sweep` also every type of weight, and experts,
 * as far as the model has none. */
td_status bench_cases_list(const struct td_graph *graph, int64_t prompt, bool sweep, struct bench_cases *out_cases);
void bench_cases_free(struct bench_cases *cases);
/* An operator with its operands, by itself. */
struct bench_case bench_case_of(const struct td_graph *graph, const struct td_op *op);
/* The case's graph: borrows the case. */
struct td_graph bench_case_graph(struct bench_case *item);

struct bench_result {
  char name[BENCH_NAME];
  struct bench_times times; /* per call or step; seconds.count 0: not run, see note */
  enum td_ceiling beside;   /* whose passes times.beside speaks of */
  struct bench_work work;
  int64_t tokens, past;
  double energy_j; /* of one step; NaN if not known */
  bool is_step;
  bool cached;    /* on so few numbers that they stay in a cache: no ceiling of memory says anything about it */
  char note[256]; /* "" or what to know: the device's reason for not running it */
};
/* What an operator left for one after it that reads the same weights, or a cache no larger (bench_shelf.c). Zeroed; of
 * one device, to be closed before it. An operator that appends changes what the cache says. */
struct bench_shelf {
  struct td_buffer **weights; /* [weight_count], copies of one matrix */
  int64_t weight_count, rows, cols;
  enum td_dtype dtype, cache_dtype;
  struct td_buffer *k, *v;
  uint64_t cache_bytes; /* of each */
};
td_status bench_shelf_weights(struct td_device *device, const struct td_weight *weight, int64_t copies, uint64_t seed,
                              struct bench_shelf *shelf);
td_status bench_shelf_cache(struct td_device *device, enum td_dtype dtype, uint64_t bytes, struct bench_shelf *shelf);
void bench_shelf_close(struct td_device *device, struct bench_shelf *shelf);
/* shelf NULL: nothing is kept. */
td_status bench_operator(struct td_device *device, double seconds, struct bench_case *item,
                         struct bench_ceilings *ceilings, struct bench_shelf *shelf, struct bench_result *out_result);
/* What the ceiling that binds would allow, over what was reached: by the passes beside the repeats if there were any
 * (bench_is_paired), else by the medians of the run. In bench_work.c. */
double bench_share(const struct bench_result *result, const struct bench_ceilings *ceilings,
                   enum td_ceiling *out_bound);
bool bench_is_paired(const struct bench_result *result, enum td_ceiling bound);

/* Whole steps of a model with weights, one sequence: a prompt, then a decode step after that prompt. */
enum bench_step { BENCH_PREFILL, BENCH_DECODE };
const char *bench_step_name(enum bench_step step);
struct bench_stepper;
/* A prompt whose prefill would take more than a hundred times `seconds` is halved until it does not; results say so. */
td_status bench_stepper_open(struct td_device *device, const struct td_model *model, int64_t prompt, double seconds,
                             struct bench_stepper **out_stepper);
void bench_stepper_close(struct bench_stepper *stepper);
td_status bench_stepper_run(struct bench_stepper *stepper, enum bench_step step, double seconds,
                            struct bench_ceilings *ceilings, struct bench_result *out_result);

/* ---- output (bench_print.c, bench_json.c) ---- */

struct bench_report {
  const struct td_device *device;
  const char *device_name; /* NULL: none */
  const struct td_shape *shape;
  const char *weights; /* "seeded", or the file */
  uint64_t weight_bytes;
  int32_t threads;
  bool inexact;
  double seconds;
  int64_t prompt;
  const struct bench_ceilings *ceilings;
  const struct bench_result *results;
  size_t count;
};
void bench_print(const struct bench_report *report, FILE *out);
td_status bench_print_json(const struct bench_report *report, FILE *out);
/* The host's processor as /proc/cpuinfo names it; "unknown" if it does not. */
void bench_processor_name(char *out, size_t size);

#endif
