/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: measured operators in device files and in prices.
 */
#ifndef TANDEM_COST_MEASURE_H
#define TANDEM_COST_MEASURE_H

#include <stdio.h>

#include "price_fit.h"
#include "tandem/config.h"
#include "tandem/measured.h"

#define TD_WIDER_OCTAVE 0.15 /* an interval's growth on each side for each octave beyond what was measured */

/* An operator's time in a step: a linear form of the counts, in grains. */
struct td_measured_form {
  bool is; /* false: the device has no measured operators */
  td_wide c[TD_SYM_COUNT];
  double octaves; /* how far the shape lies beyond what was measured; 0: it does not */
};
/* TD_UNSUPPORTED if the device has measured operators and none for this one. */
td_status td_price_measured(const struct td_device_params *device, const struct td_graph *graph, const struct td_op *op,
                            enum td_dtype kv_dtype, const struct td_step_stats *stats,
                            struct td_measured_form *out_form);
/* What a step takes beside its operators, and between what times nine of ten steps lie: ratios of its own. */
void td_price_measured_step(const struct td_device_params *device, const struct td_graph *graph,
                            struct td_measured_form *out_form, double *out_low, double *out_high);

/* The option table of a device file's `operators`; measure_file.c. */
extern const struct td_option_group td_measured_group;
td_status td_measured_take(const struct td_config *config, const struct td_list *list, struct td_measured_op **out_ops,
                           int32_t *out_count);
void td_measured_write(const struct td_device_params *device, FILE *out);
void td_measured_print(const struct td_device_params *device, FILE *out);
void td_measured_json(const struct td_device_params *device, FILE *out);

#endif
