/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to what counts and prices programs: links in nested loops.
 */
#ifndef TD_LPU_LOOPS_H
#define TD_LPU_LOOPS_H

#include "tandem/lpu_program.h"

/* The link that ends the loop which link `loop` begins; `end` if none before it does. */
static inline int32_t lpu_loop_end(const struct td_lpu_program *program, int32_t loop, int32_t end) {
  int32_t depth = 0;
  for (int32_t i = loop; i < end; i++) {
    depth += program->links[i].kind == TD_LINK_LOOP ? 1 : program->links[i].kind == TD_LINK_END ? -1 : 0;
    if (!depth) return i;
  }
  return end;
}

#endif
