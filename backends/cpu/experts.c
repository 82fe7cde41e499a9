/* SPDX-License-Identifier: Apache-2.0
 *
 * Choosing experts and adding up what they made. Their products are in matmul.c.
 */
#include "cpu.h"
#include "rows.h"
#include "tandem/kernels.h"
#include "tandem/positions.h"

static void route_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op *op = rows->call->op;
  td_route_row(cpu_row(&rows->call->in[0], row), cpu_row(&rows->call->out, row), op->experts, op->experts_used);
}

td_status cpu_router(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_rows rows = {.call = call, .work = route_row};
  /* A row is sorted, not streamed: each of its logits is looked at once for every expert used. */
  cpu_rows_run(device, &rows, call->in[0].cols * call->op->experts_used);
  return TD_OK;
}

static void sum_row(const struct cpu_rows *rows, int64_t row) {
  const struct td_op *op = rows->call->op;
  const float *routed = cpu_row(&rows->call->in[1], row), *in = cpu_row(&rows->call->in[0], row);
  float *out = cpu_row(&rows->call->out, row);
  for (int64_t i = 0; i < op->n; i++) out[i] = td_routed_weight(routed, op->experts_used, 0) * in[i];
  for (int32_t slot = 1; slot < op->experts_used; slot++) {
    float weight = td_routed_weight(routed, op->experts_used, slot);
    const float *part = in + slot * op->n;
    for (int64_t i = 0; i < op->n; i++) out[i] += weight * part[i];
  }
}

td_status cpu_expert_sum(struct cpu_device *device, const struct td_op_call *call) {
  struct cpu_rows rows = {.call = call, .work = sum_row};
  cpu_rows_run(device, &rows, call->in[0].cols);
  return TD_OK;
}
