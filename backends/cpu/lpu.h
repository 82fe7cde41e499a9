/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to LPU_RUN: lowered LPU programs (tandem/lpu_code.h) interpreted, in one form per instruction set.
 */
#ifndef CPU_LPU_H
#define CPU_LPU_H

#include <stdbool.h>

#include "tandem/lpu_code.h"

#define LPU_LANES 512  /* at most */
#define LPU_DISTANCE 5 /* steps of weights that are fetched ahead */
#define LPU_AHEAD 16   /* operations that are looked through for the next pass */

/* What operations of one call refer to. */
struct lpu_context {
  const struct td_lpu_code_head *head;
  const struct td_lpu_code_load *steps;
  const struct td_lpu_code_map *maps;
  const td_i32 *patches; /* of the call */
  td_u8 *sram;           /* from the call's chip on */
  td_u8 *work;
};

/* Executes ops[0] .. ops[count - 1]; stops at one that fails and says why. */
struct lpu_form {
  const char *name;
  bool (*here)(void);
  enum td_lpu_code_reason (*run)(const struct lpu_context *context, const struct td_lpu_code_op *ops, td_i32 count,
                                 td_i32 *out_failed);
};
extern const struct lpu_form *const lpu_forms[]; /* widest first, up to NULL */

static inline td_u8 *lpu_at(const struct lpu_context *context, struct td_lpu_code_place place) {
  if (place.patch == TD_CODE_WORK) return context->work + (td_i64)place.vector * context->head->lanes;
  return context->sram + ((td_i64)place.vector + context->patches[place.patch]) * context->head->lanes;
}
static inline td_u32 *lpu_whole(const struct lpu_context *context, td_i32 vector) {
  return (td_u32 *)(void *)(context->work + (td_i64)vector * context->head->lanes);
}

#endif
