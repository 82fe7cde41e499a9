/* SPDX-License-Identifier: Apache-2.0
 *
 * Collectives as LPU programs of their own: reads, sends, receives, additions, writes; every link and cycle fixed.
 *
 * A message is `vectors` vectors of the machine's lanes in fp32 or fp16, the same number on every chip (all-gather: in
 * all). The first chips of the machine's system take part. Images: all-reduce reads "x.C" and leaves the sum over all
 * chips C in each "y.C"; broadcast leaves what is in "y.0" in each "y.C"; all-gather gives each "y.C" the vectors that
 * td_lpu_collective_owner of which is another chip.
 *
 * Ways:
 *  - DIRECT: every chip's message to all others over as few hops as direct links allow, and each adds all up, by chip
 *    numbers. Broadcast, all-gather: likewise, without sums.
 *  - SCATTERED: vector v's sum is made on chip v % chips: on the tree that leads there, each chip adds what it gets to
 *    its own, by chip numbers, and passes that on; then the sums go to all. Broadcast: vector v first goes to that
 * chip.
 *  - BY_LEVELS: all-reduce in each group of the wiring's first level, DIRECT, then, with those sums, in each group of
 * the next: all chips of a unit have its sum, and give it over the links that lead out.
 *
 * Sums are fp32 additions, one after another, eight operands at most before the sum is rounded to the message's type.
 */
#ifndef TANDEM_LPU_COLLECTIVE_H
#define TANDEM_LPU_COLLECTIVE_H

#include "tandem/lpu_program.h"

enum td_lpu_collective_op { TD_LPU_ALL_REDUCE, TD_LPU_BROADCAST, TD_LPU_ALL_GATHER, TD_LPU_COLLECTIVE_OPS };
enum td_lpu_collective_way { TD_LPU_DIRECT, TD_LPU_SCATTERED, TD_LPU_BY_LEVELS, TD_LPU_COLLECTIVE_WAYS };
const char *td_lpu_collective_op_name(enum td_lpu_collective_op op);    /* "all-reduce" */
const char *td_lpu_collective_way_name(enum td_lpu_collective_way way); /* "direct" */

struct td_lpu_collective {
  enum td_lpu_collective_op op;
  enum td_lpu_collective_way way;
  enum td_lpu_type type; /* TD_LPU_F32, TD_LPU_F16; where nothing is added, TD_LPU_I8 too */
  int32_t chips, vectors;
};
/* Whether an operation has this way: all-gather has one, and only all-reduce goes by levels, of a wiring with several
 * that the chips reach. */
bool td_lpu_collective_has(const struct td_lpu_machine *machine, const struct td_lpu_collective *what);
/* Who has vector v of an all-gather before. */
int32_t td_lpu_collective_owner(const struct td_lpu_collective *what, int32_t vector);
/* TD_CONFIG: no such collective; TD_EXHAUSTED: SRAM does not hold what is under way; TD_UNSUPPORTED: links do not lead
 * to all chips. */
td_status td_lpu_compile_collective(const struct td_lpu_machine *machine, const struct td_lpu_collective *what,
                                    struct td_lpu_program **out_program);

#endif
