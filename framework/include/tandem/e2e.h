/* SPDX-License-Identifier: Apache-2.0
 *
 * Served models end to end: the time per output token of a configuration (model, precision, chips, batch, lengths) on a
 * device, from the prices of its steps, and one scale per framework fitted to measurements.
 */
#ifndef TANDEM_E2E_H
#define TANDEM_E2E_H

#include "tandem/operators.h"

/* One configuration: a row of a table with the columns of docs/calibration.md. */
struct td_e2e_row {
  const char *model, *backend, *gemm, *moe; /* model_path, backend, *_quant_mode */
  int64_t isl, osl, batch;                  /* batch: concurrent requests (of one replica, with attention_dp_size) */
  int64_t running_most;                     /* max_num_seqs: the server runs no more of them at once; 0: not given */
  int32_t tensor, pipeline, replicas;       /* tp_size, pp_size, attention_dp_size */
  int32_t expert_tensor, expert;            /* moe_tp_size, moe_ep_size; 0: not given */
  double tpot;                              /* measured, seconds; NaN */
  bool aggregated;                          /* prompts and tokens on the same chips; others have no price */
  int32_t line;
};
struct td_e2e_table {
  struct td_e2e_row *rows;
  int64_t row_count;
  const char **lines, *header;
  char *text, *cut; /* the file, and what rows point into */
};
/* `measured`: silicon_tpot_ms is required where the row is aggregated. Errors name FILE:LINE. */
td_status td_e2e_table_read(const char *file, bool measured, struct td_e2e_table *out_table);
void td_e2e_table_free(struct td_e2e_table *table);

/* A device ready to price rows: it keeps the models' graphs and the curves of operators. Borrows the device. `models`:
 * the folder of the models' shapes (NAME.cfg); NULL: $TANDEM_MODELS, else experiments/models beside the source. */
struct td_e2e;
td_status td_e2e_open(const struct td_device_params *device, const char *models, struct td_e2e **out_e2e);
void td_e2e_close(struct td_e2e *e2e); /* NULL is fine */

/* Seconds per output token, with the scale of the framework's fit if the device has one:
 *   TPOT = step(B sequences of isl + osl / 2 positions) + B / osl * step(a prompt of isl tokens)
 * in the steady state: while a request gets its osl tokens, B prompts are taken in. Prompts are priced in steps of up
 * to 8192 tokens. B is no larger than row->running_most and what nine tenths of the memory hold beside the weights;
 * `running` says it. vLLM rows of 512 requests without running_most are those of a sweep in which the server ran 4 to
 * 64 (docs/calibration.md): the price of 16, in an interval from 4 to 64. */
struct td_e2e_price {
  struct td_op_price tpot;
  double decode, prompts; /* seconds of tpot.seconds */
  int64_t running;
  double least; /* what reading weights and caches once at the datasheet's bandwidth takes: nothing is faster */
};
/* TD_UNSUPPORTED, TD_NOT_FOUND: what the row lacks, such as a model's shape. */
td_status td_e2e_price(struct td_e2e *e2e, const struct td_e2e_row *row, struct td_e2e_price *out_price);

/* Fits the scale of one framework: from the configurations that are not held back (share `how->held_back`, by seed and
 * configuration, so that repeats stay on one side), with the error on the others; what comes out is then fitted to all.
 * Uses op, held_back, seed, source and command of `how`. Rows without a price are left out; *out_left_out counts them.
 * `out_before`: the error without the scale on all rows. */
td_status td_e2e_calibrate(struct td_e2e *e2e, const struct td_calibration *how, const struct td_e2e_table *table,
                           const char *backend, struct td_op_fit *out_fit, struct td_op_error *out_before,
                           int64_t *out_left_out);

#endif
