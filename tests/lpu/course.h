/* SPDX-License-Identifier: Apache-2.0
 *
 * A course of steps through a compiled model, compared with the graph's reference bit for bit.
 */
#ifndef TESTS_LPU_COURSE_H
#define TESTS_LPU_COURSE_H

#include "lpu/modes.h"

struct lpu_course {
  const char *model;
  int32_t rows, block_tokens, context, steps;
  int32_t lag;   /* row r begins so many steps later than row r - 1 */
  int32_t chips; /* 0: the compiler's choice */
};

/* Rows that have not begun repeat their first token at position 0. */
void lpu_course_run(const struct lpu_course *course, const struct lpu_mode *mode);
/* The token of a row at a position. */
int32_t lpu_course_id(int32_t row, int32_t position, int32_t vocab);
/* Fails the test at the first difference. */
void lpu_assert_same_bits(const float *found, const float *expected, int32_t count, const char *what, int32_t row,
                          int32_t position);

#endif
