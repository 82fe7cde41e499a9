/* SPDX-License-Identifier: Apache-2.0
 *
 * Several batches in flight through the stages; several tokens a pass.
 */
#include <math.h>

#include "price.h"
#include "tandem/base.h"

static int64_t ceil_div(int64_t a, int64_t b) {
  return a / b + (a % b != 0);
}

/* Beats of several batches begin at alignment epochs: what a stage hands on has a cycle of its own there. */
static int64_t whole_epochs(const struct td_lpu_price *price, int64_t cycles) {
  int64_t epoch = price->machine.link_epoch > 0 ? price->machine.link_epoch : 1;
  return ceil_div(cycles, epoch) * epoch;
}

int32_t td_lpu_flow_full(const struct td_lpu_price *price, const struct td_lpu_cost *cost) {
  int64_t stage = cost->stage_cycles > 0 ? cost->stage_cycles : 1;
  if (stage >= cost->cycles || price->facts.stages == 1) return 1;
  return (int32_t)ceil_div(cost->cycles, whole_epochs(price, stage));
}

td_status td_lpu_flow(const struct td_lpu_price *price, const struct td_lpu_cost *cost, int32_t rows, int32_t batches,
                      struct td_lpu_flow *out) {
  if (batches < 1) return td_fail(TD_CONFIG, "batches in flight: found %d, expected 1 or more", batches);
  int64_t beat = cost->cycles;
  if (batches > 1) {
    int64_t turn = ceil_div(cost->cycles, batches);
    int64_t stage = price->facts.stages == 1 ? cost->cycles : cost->stage_cycles;
    beat = whole_epochs(price, turn > stage ? turn : stage);
  }
  double seconds = (double)beat / price->facts.clock_hz;
  *out = (struct td_lpu_flow){.batches = batches,
                              .beat = beat,
                              .user_tokens_per_second = 1.0 / (seconds * batches),
                              .tokens_per_second = rows / seconds};
  out->joules_per_token = td_lpu_energy(&price->machine, price->facts.chips, beat, cost->busy) / rows;
  return TD_OK;
}

double td_lpu_accepted(int32_t draft, double acceptance) {
  if (acceptance >= 1.0) return draft + 1.0;
  return -expm1((draft + 1.0) * log(acceptance)) / (1.0 - acceptance); /* log 0 = -inf: 1 */
}
