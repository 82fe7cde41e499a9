/* SPDX-License-Identifier: Apache-2.0
 *
 * A step's time as a waterfall, from what streaming the weights alone would take to what the program takes.
 */
#ifndef TD_CLI_LPU_EXPLAIN_H
#define TD_CLI_LPU_EXPLAIN_H

#include "lpu_study.h"

enum { LPU_TERMS = 8 + LPU_WAITED_COUNT };
struct lpu_term {
  const char *name, *removed_by;
  int64_t cycles; /* below zero: what the terms before it count and the step does not wait for */
};
struct lpu_waterfall {
  struct lpu_term terms[LPU_TERMS];
  int32_t count;
  int64_t cycles; /* the sum of the terms: the step's length; of a program with an entry a layer, that of all layers */
};
/* matrix_bytes: of the weights that the step multiplies with, as the program has them, no tile filled up. TD_INTERNAL
 * if the terms do not add up. */
td_status lpu_waterfall_make(const struct lpu_study *study, int64_t matrix_bytes, struct lpu_waterfall *out);
void lpu_waterfall_print(const struct lpu_study *study, const struct lpu_waterfall *fall, FILE *out);
/* Members of an object: "explain": [...]. */
void lpu_waterfall_json(const struct lpu_waterfall *fall, FILE *out);

#endif
