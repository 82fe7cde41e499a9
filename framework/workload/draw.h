/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/workload: random draws. Draw i of a stream depends on (seed, stream, i) alone, and on no library
 * function whose last bit differs between machines.
 */
#ifndef TANDEM_WORKLOAD_DRAW_H
#define TANDEM_WORKLOAD_DRAW_H

#include <stdint.h>

enum draw_stream { DRAW_ARRIVAL, DRAW_ROW, DRAW_PROMPT, DRAW_OUTPUT, DRAW_TIER, DRAW_THINK, DRAW_SHARE, DRAW_BRANCH };

/* What a workload's streams start from, so that they are none of those that sampling and prompts take. */
uint64_t draw_seed(uint64_t experiment_seed);

double draw_log(double x); /* of a normal, positive x; within 2 units in the last place */
double draw_exp(double x); /* of |x| below 700 */
/* Mean 1. */
double draw_exponential(uint64_t seed, enum draw_stream stream, uint64_t i);
double draw_normal(uint64_t seed, enum draw_stream stream, uint64_t i);
/* Of this shape and mean 1. */
double draw_gamma(uint64_t seed, enum draw_stream stream, uint64_t i, double shape);

#endif
