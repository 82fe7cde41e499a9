/* SPDX-License-Identifier: Apache-2.0
 *
 * What a step costs without running it: the table of the plan's program, or, before there is a plan, of one compiled
 * without data.
 */
#include "lpu_device.h"
#include "tandem/base.h"

void lpu_price_close(struct lpu_device *lpu) {
  td_lpu_timing_close(lpu->timing);
  lpu->timing = NULL;
}

static td_status find_timing(struct lpu_device *lpu, const struct td_graph *graph, int64_t tile,
                             const struct td_lpu_price **out) {
  const struct td_lpu_machine *machine = lpu->machine;
  int32_t block = tile ? (int32_t)tile : machine->lanes / machine->load_vectors * machine->load_vectors;
  if (!lpu->timing || lpu->timing_graph != graph || lpu->timing_block != block) {
    lpu_price_close(lpu);
    TD_TRY(td_lpu_timing_open(machine, &lpu->choice, graph, block, &lpu->timing));
    lpu->timing_graph = graph;
    lpu->timing_block = block;
  }
  *out = lpu->timing;
  return TD_OK;
}

double lpu_idle_watts(struct td_device *device) {
  const struct lpu_device *lpu = lpu_of(device);
  return td_lpu_price_idle_watts(lpu->last ? lpu->last->price : lpu->timing);
}

td_status lpu_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                    enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                    struct td_price *out_price) {
  struct lpu_device *lpu = lpu_of(device);
  const struct td_lpu_price *price = lpu->last && lpu->last->graph == graph ? lpu->last->price : NULL;
  if (kv_dtype != TD_F16) return td_fail(TD_UNSUPPORTED, "backend lpu: found no f16 KV cache, expected one");
  TD_TRY(lpu_check_slice(graph, slice));
  if (!price) TD_TRY(find_timing(lpu, graph, stats->v[TD_SYM_TILE], &price));
  return td_lpu_price_stats(price, stats, layer_done_ps, out_price);
}
