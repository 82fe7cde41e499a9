/* SPDX-License-Identifier: Apache-2.0
 *
 * Cost models of single operators: how long one GEMM, attention, MoE layer or collective takes on a device, from the
 * device's datasheet, a few named parameters fitted to measurements (tandem calibrate), and, where the fit has one, a
 * bounded table of what measurements say beyond the parameters. Pure functions; a device's fits may be read from any
 * thread.
 */
#ifndef TANDEM_OPERATORS_H
#define TANDEM_OPERATORS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/devices.h"

enum td_operator {
  TD_GEMM,
  TD_ATTENTION_CONTEXT,    /* prefill: every sequence brings `isl` new tokens after none */
  TD_ATTENTION_GENERATION, /* decode: one new token a sequence, which reads `step` + 1 positions */
  TD_MOE,                  /* all expert products of one layer on one device, routing included */
  TD_COLLECTIVE,
  TD_E2E, /* serving: what steps have beyond the operators above, and a framework's scale over their sum */
  TD_OPERATOR_COUNT
};
const char *td_operator_name(enum td_operator op); /* "gemm", "attention_context", ... */
/* False: no such operator. */
bool td_operator_find(const char *name, enum td_operator *out_op);

/* A shape: the operator's fields in the order of its model (td_operator_field):
 *   gemm                  n, k, m
 *   attention_context     num_heads, num_key_value_heads, head_dim, window_size (0: none), batch_size, isl
 *   attention_generation  the same, with step + 1 for isl
 *   moe                   hidden_size, inter_size, topk, num_experts, moe_tp_size, moe_ep_size, skew (1000 times the
 *                         exponent of the experts' load, 0: even), matrices (3: gated, 2: not), num_tokens
 *   collective            dtype (bytes of an element), num_gpus, bytes
 *   e2e                   isl, osl, batch_size */
#define TD_SHAPE_FIELDS 9
struct td_op_shape {
  int64_t v[TD_SHAPE_FIELDS];
};
int32_t td_operator_fields(enum td_operator op);
const char *td_operator_field(enum td_operator op, int32_t field); /* its name; NULL past the end */

/* What a path says about element types: "bfloat16", "fp8", "nvfp4", "float16", "half"; of attention two of them, of
 * products and cache: "bfloat16/fp8"; of a collective its name: "all_reduce"; of e2e the framework's. Two tables of the
 * same path are of the same kind of kernel. */
#define TD_PATH_BYTES 48

/* A price: the time, and between what times nine of ten measurements lie if this shape is like those of the fit.
 * `note`: why the interval is wider than the fit's; NULL if it is not. Static storage. */
struct td_op_price {
  double seconds, low, high;
  double
      energy_j; /* td_op_energy of the operator's FLOPs and bytes; NaN: the device file lacks power, or a collective */
  const char *note;
};
/* Idle power for `seconds`, and what arithmetic and memory add: at the rates that the file's efficiencies say, products
 * draw the high end of power_busy and memory its low end. Never more than power_busy's high end all along. `peak`: of
 * the products, FLOP/s. NaN if the file lacks power_idle or power_busy. */
double td_op_energy(const struct td_device_params *device, double seconds, double flops, double peak, double bytes);
/* Uses the device's fit for (op, path); without one, the model's guesses and an interval that says so. TD_UNSUPPORTED
 * names what the datasheet lacks, or why the model has no basis for this shape or path. */
td_status td_op_price(const struct td_device_params *device, enum td_operator op, const char *path,
                      const struct td_op_shape *shape, struct td_op_price *out_price);

/* ---- prices at speed ---- */

/* One operator of a family (all fields but the last fixed) as a curve over the last field (m, isl, tokens, bytes):
 * the model's exact time with the residual table's say at the curve's knots, straight lines between them.
 * td_op_curve_ps is a few nanoseconds for a value that was asked for lately, well under a microsecond for any other.
 * Not thread-safe: a curve remembers. Free with td_op_curve_close. */
struct td_op_curve;
td_status td_op_curve_open(const struct td_device_params *device, enum td_operator op, const char *path,
                           const struct td_op_shape *family, struct td_op_curve **out_curve);
/* Picoseconds; the shape's last field is `value`, which is >= 1. */
int64_t td_op_curve_ps(struct td_op_curve *curve, int64_t value);
void td_op_curve_close(struct td_op_curve *curve); /* NULL is fine */

/* ---- fits ---- */

#define TD_OP_PARAMS 16
/* all; small, medium, large by the last field; sums of four: of gemm, four held back products of one m, as a layer has
 * them, in which errors of one sign add up and others do not */
#define TD_OP_CLASSES 5
#define TD_OP_RESIDUALS_MAX 32768

/* How far the fit is from measurements it did not see. */
struct td_op_error {
  int64_t rows;         /* 0: none, and the rest is 0 */
  double mape, p90;     /* mean and 90th percentile of |predicted / measured - 1| */
  double time_weighted; /* sum |predicted - measured| / sum measured */
  /* measured / predicted: 5th and 95th percentile; of fewer than 20 families or rows, further apart
   * (docs/calibration.md) */
  double low, high;
};
struct td_op_residual {
  struct td_op_shape shape;
  double log_ratio; /* log(measured / modelled) */
};
struct td_op_fit {
  enum td_operator op;
  char path[TD_PATH_BYTES];
  const char *source, *command; /* the table, and what fitted to it; owned by whoever owns the fit */
  int64_t rows, seed;           /* rows it was fitted to */
  double parameters[TD_OP_PARAMS];
  struct td_op_error errors[TD_OP_CLASSES];
  struct td_op_shape least, most; /* of the rows */
  double length, noise;           /* of the residual's interpolation */
  struct td_op_residual *residuals;
  int32_t residual_count;
  float *places; /* of the residuals, for the interpolation; private to framework/cost */
};

int32_t td_operator_parameters(enum td_operator op);
const char *td_operator_parameter(enum td_operator op, int32_t parameter, const char **out_unit);
/* "m <= 64" and so on; class 0 is "all". */
const char *td_operator_class(enum td_operator op, int32_t class_index);
int32_t td_operator_class_of(enum td_operator op, const struct td_op_shape *shape); /* 1..3 */

/* NULL if the device has none for this. */
const struct td_op_fit *td_device_fit(const struct td_device_params *device, enum td_operator op, const char *path);
/* `device` with the parameters fitted on `other`, for one that was never measured: intervals are as wide as the step
 * from one generation to the next was on measured pairs. Residuals stay behind: they are of that device's kernels. The
 * copy borrows from both; its fits are freed with free(). */
td_status td_device_borrow_fits(const struct td_device_params *device, const struct td_device_params *other,
                                struct td_device_params *out_copy, struct td_op_fit **out_fits);
void td_op_fit_print(const struct td_op_fit *fit, FILE *out);
void td_op_fit_json(const struct td_op_fit *fit, FILE *out);

/* ---- tables of measurements ---- */

/* Rows of one CSV file (gzip is read too) with the columns of docs/calibration.md. */
struct td_op_row {
  struct td_op_shape shape;
  double seconds; /* NaN where the table has no latency_ms and needs none */
  int32_t path;   /* index into paths */
  int32_t line;   /* in the file, the header is line 1 */
};
struct td_op_table {
  const char *path_names[16];
  int32_t path_count;
  struct td_op_row *rows;
  int64_t row_count;
  char *text; /* the file's text; NULs end its lines */
  const char **lines;
  const char *header;
};
/* `measured`: latency_ms is required, positive, and a shape may stand once only. Errors name FILE:LINE. */
td_status td_op_table_read(const char *file, enum td_operator op, bool measured, struct td_op_table *out_table);
void td_op_table_free(struct td_op_table *table);

/* ---- calibration ---- */

/* What is held back: whole families, whose error is that of shapes beyond the measured ones; single rows, between
 * them (all that differ in nothing but a drawn load go together); or families and, of the rest, half the share of rows.
 */
enum td_held { TD_HELD_FAMILIES, TD_HELD_ROWS, TD_HELD_BOTH };
struct td_calibration {
  const struct td_device_params *device;
  enum td_operator op;
  const char *path; /* of the table, which has several; NULL: each */
  bool analytic;    /* parameters only, no residual table */
  int64_t rows;     /* 0: all; else a seeded sample of so many is all the fit may see */
  double held_back; /* share of the families (of the rows, of a collective) to measure the error on */
  enum td_held held_as;
  int64_t seed;
  const char *source;  /* what to say of the table */
  const char *command; /* and of the fit */
};
/* Fits one path. The error is that of a fit that did not see the rows held back; what comes out is then fitted to all
 * rows (with `rows`: to that sample). TD_UNAVAILABLE: built without NLopt. Free with td_op_fit_free. */
td_status td_op_calibrate(const struct td_calibration *how, const struct td_op_table *table, int32_t path,
                          struct td_op_fit *out_fit);
void td_op_fit_free(struct td_op_fit *fit);

/* Writes a device file: the device's own numbers and fits, and `fits`, which replace those of the same operator and
 * path. */
td_status td_device_params_write(const struct td_device_params *device, const struct td_op_fit *fits, int32_t fit_count,
                                 FILE *out);

#endif
