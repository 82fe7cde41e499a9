/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem calibrate BACKEND`: measures this machine's operators and steps and makes a device file of them; `--link`:
 * of the transfers of a run.
 */
#ifndef TD_CLI_CALIBRATE_H
#define TD_CLI_CALIBRATE_H

#include "bench.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/measured.h"
#include "tandem/operators.h"

#define CALIBRATE_TYPES 16
#define CALIBRATE_MODELS 2
/* Everything is measured so many times, minutes apart: a machine's pace may change by half within seconds. */
#define CALIBRATE_ROUNDS 5

struct calibrate_options {
  const char *spec, *output, *types; /* types NULL: the default's */
  const char *base;                  /* a device file whose numbers are carried over; NULL: the host's are measured */
  int32_t threads;
  bool quick, json, inexact;
};

/* ---- a list of measurements of one kind (calibrate_operators.c) ---- */

struct calibrate_rows {
  struct td_measured_row *items;
  size_t count, capacity;
  int64_t most;
};
td_status calibrate_add_row(struct calibrate_rows *rows, const struct td_measured_row *row, int64_t count);
void calibrate_rows_free(struct calibrate_rows *rows);

/* ---- the whole (calibrate_machine.c) ---- */

struct calibrate {
  struct calibrate_options options;
  enum td_dtype types[CALIBRATE_TYPES];
  int32_t type_count;
  int awake_file; /* of td_awake_begin; -1 before */
  struct td_device *device;
  struct bench_model models[CALIBRATE_MODELS]; /* made ones; their weights are of the first type */
  int32_t model_count;
  struct calibrate_case *cases; /* operators by themselves (calibrate_operators.c) */
  size_t case_count, case_capacity;
  struct bench_ceilings ceilings;
  struct td_device_params *base;  /* NULL: none */
  struct td_device_params params; /* what becomes the file */
  struct td_measured_op ops[256];
  char title[128], source[256];
  const char *command;
  struct td_progress progress;
  uint64_t done, all; /* measurements, for the progress */
};
/* Measures the backend, and fills `params`; nothing is written. Close it even if this fails. */
td_status calibrate_machine(struct calibrate *calibrate);
void calibrate_machine_close(struct calibrate *calibrate);
/* Whether OUTPUT could be written, before the work. */
td_status calibrate_check_output(const char *output);
/* Writes OUTPUT.part and renames it. */
td_status calibrate_write(const struct td_device_params *device, const struct td_op_fit *fits, int32_t fit_count,
                          const char *output);

/* A link's latency and bandwidth from the executed transfers of a trace; `command` is for the file (calibrate_link.c).
 */
td_status calibrate_link(const char *path, const char *output, const char *command, bool json);

/* Operators by themselves (calibrate_operators.c): which, timed once more, and one entry of calibrate->ops for each
 * kind and type, from the medians of the rounds. */
td_status calibrate_operators_list(struct calibrate *calibrate);
td_status calibrate_operators_round(struct calibrate *calibrate);
td_status calibrate_operators_fit(struct calibrate *calibrate);
/* Whole steps of the made models (calibrate_steps.c), for the entry "step"; fitted after the operators. */
struct calibrate_steps;
td_status calibrate_steps_open(struct calibrate *calibrate, struct calibrate_steps **out_steps);
td_status calibrate_steps_round(struct calibrate *calibrate, struct calibrate_steps *steps);
td_status calibrate_steps_fit(struct calibrate *calibrate, struct calibrate_steps *steps);
void calibrate_steps_close(struct calibrate_steps *steps);
/* How many measurements a round is. */
uint64_t calibrate_step_count(const struct calibrate *calibrate);
td_status calibrate_add_op(struct calibrate *calibrate, const struct calibrate_rows *rows, enum td_op_kind kind,
                           enum td_dtype type);

#endif
