/* SPDX-License-Identifier: Apache-2.0
 *
 * Operators as they were measured on a device, in its device file: of every kind and element type a few named times
 * whose sum, each times a count of the step, is what the operator takes. No peaks and no rooflines: that is for devices
 * that are here and can be asked (`tandem calibrate BACKEND`). Because every count is a linear form of the step's, a
 * price stays exact over decode steps. Pure functions.
 */
#ifndef TANDEM_MEASURED_H
#define TANDEM_MEASURED_H

#include "tandem/graph.h"

/* Rows of a product at which the time of a weight is a number of its own; between them it is a straight line, above
 * the last it grows with the rows. This is the table of residuals, bounded to so many. */
#define TD_MEASURED_KNOTS 16
#define TD_MEASURED_TERMS (TD_MEASURED_KNOTS + 3)

/* What an entry is of. Kinds of operators as the graph has them; TD_OP_SAMPLE stands for the step around them. Terms:
 * - matmul: call, input (an element of the activations), output (of the result), weight_M (of the weights, at M rows);
 * - attention: call, row (a query of a head), pair (an element of a key against a query), context (an element of the
 *   cache, read once);
 * - step: step, logit (an entry of the vocabulary, a sampled row), and what operators take in a step over what they
 *   take by themselves: matmul_few (of up to 8 rows, which wait for memory), matmul_many, attention_decode (one row a
 *   sequence), attention_prefill, rest;
 * - all others: call, element (of the result). */
struct td_measured_op {
  enum td_op_kind kind;
  enum td_dtype type; /* of the weights (matmul, embed) or of the cache (attention, kv_append); else TD_F32 */
  double terms[TD_MEASURED_TERMS]; /* seconds; of a step's last five: ratios */
  int64_t rows;                    /* measurements */
  int64_t most;                    /* the largest count of rows, of an attention the longest context, among them */
  /* Of predictions of each family of shapes from a fit that did not see it. */
  double mape, p90;
  double low, high; /* measured / predicted: 5th and 95th percentile */
  const char *source, *command;
};
enum { TD_MEASURED_STEP = 0, TD_MEASURED_LOGIT, TD_MEASURED_RATIOS };
#define TD_MEASURED_CLASSES 5

int32_t td_measured_terms(enum td_op_kind kind);
/* The term's name; *out_unit: "s" or "1". */
const char *td_measured_term(enum td_op_kind kind, int32_t term, const char **out_unit);
int64_t td_measured_knot(int32_t knot);
/* "step" for TD_OP_SAMPLE, else the kind's name. */
const char *td_measured_kind_name(enum td_op_kind kind);
/* Which of the step's ratios an operator of such a step has, from 0. */
int32_t td_measured_class(const struct td_op *op, const struct td_step_stats *stats);

/* One term of an operator: counts[symbol] * factor of it. */
struct td_measured_use {
  int32_t term;
  enum td_symbol symbol;
  double factor;
};
/* How often a step has each term: at most TD_MEASURED_USES of them. */
#define TD_MEASURED_USES 5
int32_t td_measured_uses(const struct td_graph *graph, const struct td_op *op, const struct td_step_stats *stats,
                         struct td_measured_use *out_uses);
/* The type under which an operator is measured. */
enum td_dtype td_measured_type(const struct td_graph *graph, const struct td_op *op, enum td_dtype kv_dtype);

struct td_device_params;
/* NULL: the device has none. */
const struct td_measured_op *td_measured_find(const struct td_device_params *device, enum td_op_kind kind,
                                              enum td_dtype type);
/* The sum of what the operators of a slice take by themselves, seconds, by class (td_measured_class). TD_UNSUPPORTED
 * names an operator that the device has no entry for. */
td_status td_measured_sum(const struct td_device_params *device, const struct td_graph *graph,
                          const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                          double out_seconds[TD_MEASURED_CLASSES]);

/* ---- fitting ---- */

/* One measurement: how often each term, the time, and the family of shapes it belongs to (0, 1, ...). */
struct td_measured_row {
  double uses[TD_MEASURED_TERMS];
  double seconds;
  int32_t family;
};
/* Terms >= 0 with the least sum of squared relative errors, outliers weighing less. Needs 4 rows or more. The error is
 * that of predicting each family from the others (of a single family: of the fit itself). kind and type are the
 * caller's, and so is `most`. */
td_status td_measured_fit(enum td_op_kind kind, const struct td_measured_row *rows, int64_t count,
                          struct td_measured_op *out_op);

#endif
