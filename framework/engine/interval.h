/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_INTERVAL_H
#define ENGINE_INTERVAL_H

#include <stdint.h>

#include "tandem/cost.h"

/* A step's interval as the trace has it (struct td_row_step). */
static inline uint32_t step_interval(const struct td_price *price) {
  double base = (double)price->base_ps, low = 1000 * price->low_ps / base, high = 1000 * price->high_ps / base;
  if (!(low >= 0) || !(high >= low) || price->base_ps <= 0) return 0;
  uint32_t thousandths = high < 65535 ? (uint32_t)(high + 0.5) : 65535;
  return (low < 65535 ? (uint32_t)(low + 0.5) : 65535) | thousandths << 16;
}

#endif
