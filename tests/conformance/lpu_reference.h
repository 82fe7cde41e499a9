/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU_RUN (tandem/lpu_code.h) in plain loops over lanes, for the suite: what any device must leave, bit for bit.
 */
#ifndef CONFORMANCE_LPU_REFERENCE_H
#define CONFORMANCE_LPU_REFERENCE_H

#include "tandem/lpu_code.h"

#define LPU_CASE_LANES 32

/* What the operations of one call see. */
struct lpu_reference {
  const struct td_lpu_code_head *head;
  const struct td_lpu_code_load *steps;
  const struct td_lpu_code_map *maps;
  const td_i32 *patches;
  td_u8 *sram, *work; /* work: behind the state */
};
/* The first failure, TD_CODE_FINE if there is none. */
enum td_lpu_code_reason lpu_reference_op(const struct lpu_reference *of, const struct td_lpu_code_op *op);

#endif
