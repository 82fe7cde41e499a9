/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to compile_self.c and compile_self_scores.c.
 */
#ifndef TANDEM_LPU_COMPILE_SELF_H
#define TANDEM_LPU_COMPILE_SELF_H

#include "compile.h"

/* Row 0 of a head vector in the image of the keys; the heads of a vector; the tokens of a block. */
int32_t lpu_self_row(const struct lpu_compiler *compiler, int32_t vector);
int32_t lpu_self_slots(const struct lpu_self *self, int32_t vector);
int32_t lpu_self_tokens(const struct lpu_compiler *compiler, int32_t block);
/* Pair `lane` of an image that LOAD takes: what a chain writes there is every load_vectors-th vector. */
td_status lpu_self_pair(struct lpu_compiler *compiler, int32_t image, int32_t lane, struct lpu_tensor **out);

#endif
