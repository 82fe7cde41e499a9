/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: curves, and the ones a device keeps.
 */
#ifndef TANDEM_COST_OP_CURVE_H
#define TANDEM_COST_OP_CURVE_H

#include "op_model.h"

/* The places where curves are exact in their residuals: 1, 2, .. 8, then four an octave. */
int64_t td_op_knot(int32_t index);
int32_t td_op_knot_below(int64_t value); /* the last knot that is <= value */

/* `cold`: a model's weights, which are never in the cache from the step before. */
td_status td_op_curve_make(const struct td_device_params *device, enum td_operator op, const char *path,
                           const struct td_op_shape *family, bool cold, struct td_op_curve **out_curve);
/* measured / predicted: where nine of ten lie. */
void td_op_curve_range(const struct td_op_curve *curve, int64_t value, double *out_low, double *out_high);
bool td_op_curve_is(const struct td_op_curve *curve, enum td_operator op, const char *path,
                    const struct td_op_shape *family);

/* Cold curves of one device, made when first asked for; any thread may ask. */
struct td_op_cache;
td_status td_op_cache_open(struct td_op_cache **out_cache);
void td_op_cache_close(struct td_op_cache *cache); /* NULL is fine */
/* Times at several values of the last field, picoseconds, and the range at the first. */
td_status td_op_cache_ps(struct td_op_cache *cache, const struct td_device_params *device, enum td_operator op,
                         const char *path, const struct td_op_shape *family, const int64_t *values, int32_t count,
                         int64_t *out_ps, double *out_low, double *out_high);

#endif
