/* SPDX-License-Identifier: Apache-2.0
 *
 * Valid programs written by hand, for the checker's tests and the emulator's.
 */
#ifndef TESTS_LPU_SAMPLE_H
#define TESTS_LPU_SAMPLE_H

#include "lpu/assemble.h"

/* Two chips of lpu-tiny.cfg that use everything: products in both dtypes over two parts of k, ALU chains with feedback,
 * every operation of the switch, KV appends with patches, loops over layers, rows and blocks, links both ways. */
struct td_lpu_program *sample_program(const struct td_lpu_machine *machine);
/* The step that goes with it: two rows of four KV blocks each. */
const struct td_lpu_step *sample_step(void);

#endif
