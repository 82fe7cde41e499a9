/* SPDX-License-Identifier: Apache-2.0
 *
 * The table behind td_lpu_price: linear forms over a step's rows and their KV blocks.
 */
#ifndef TD_LPU_PRICE_INTERNAL_H
#define TD_LPU_PRICE_INTERNAL_H

#include "tandem/lpu_price.h"

/* one + row * rows + block * blocks; none is negative. */
struct lpu_form {
  int64_t one, row, block;
};

static inline int64_t lpu_form_at(const struct lpu_form *form, int64_t rows, int64_t blocks) {
  return form->one + form->row * rows + form->block * blocks;
}

/* Of all steps that run the same entries. */
struct lpu_part {
  struct lpu_form cycles;
  struct lpu_form spent[TD_SPENT_WAIT]; /* the rest of the cycles is WAIT */
  struct lpu_form busy[TD_LPU_UNIT_COUNT];
  struct lpu_form *stages; /* those that may be the longest */
  int32_t stage_count;
  struct lpu_form *layers; /* when each is done */
  int32_t layer_count;
};

struct td_lpu_price {
  struct td_lpu_machine machine;
  struct td_lpu_price_facts facts;
  double ps_a_cycle;
  int64_t most_blocks; /* with more a sum might overflow */
  struct lpu_part *parts;
  size_t part_room;
  int32_t part_count;
  int32_t *part_of; /* [rows + 1] */
  struct td_poly flops, bytes;
  int32_t graph_layers;
};

/* The parts of all steps: price_build.c. */
td_status lpu_price_build(const struct td_lpu_program *program, struct td_lpu_price *price);

#endif
