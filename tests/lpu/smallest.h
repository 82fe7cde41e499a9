/* SPDX-License-Identifier: Apache-2.0
 *
 * Per rule a smallest program that breaks it, and the same program put right.
 */
#ifndef TESTS_LPU_SMALLEST_H
#define TESTS_LPU_SMALLEST_H

#include "tandem/lpu.h"

/* Of a machine as lpu-tiny.cfg's: cycles are written out for its delays. */
struct td_lpu_program *smallest_program(const struct td_lpu_machine *machine, enum td_lpu_rule rule, bool broken);
const struct td_lpu_step *smallest_step(void);

#endif
