/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: what calibration is made of.
 */
#ifndef TANDEM_COST_OP_CALIBRATE_H
#define TANDEM_COST_OP_CALIBRATE_H

#include "op_model.h"

#define TD_OP_CLASS_SUMS (TD_OP_CLASSES - 1)

/* A row beside its prediction. */
struct td_op_compared {
  double measured, predicted;
  int32_t class_index;
};
/* TD_OP_CLASSES errors of rows of so many families (0: single rows). Fewer than TD_FEW_FAMILIES of either do not tell
 * what one in 20 is like: low and high are then further apart than the rows' percentiles. */
#define TD_FEW_FAMILIES 20
td_status td_op_errors(const struct td_op_compared *rows, int64_t count, int64_t families,
                       struct td_op_error *out_errors);

/* Refuses a row's time that is further from its prediction than device files hold: in another unit, or none. */
td_status td_op_row_check(int32_t line, const char *column, double measured, double predicted);

/* Fits the model's parameters to rows by least mean |log(measured / modelled)|. */
td_status td_op_minimise(const struct td_op_chip *chip, const struct td_op_row *const *rows, int64_t count,
                         struct td_op_fit *fit);

#endif
