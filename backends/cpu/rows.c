/* SPDX-License-Identifier: Apache-2.0 */
#include "rows.h"

/* Elements that are worth waking a thread for. */
#define CHUNK_ELEMENTS 16384

static void work_rows(void *context, int32_t worker, int32_t item) {
  (void)worker;
  const struct cpu_rows *rows = context;
  int64_t begin = item * rows->per_item, end = begin + rows->per_item;
  if (end > rows->call->out.rows) end = rows->call->out.rows;
  for (int64_t row = begin; row < end; row++) rows->work(rows, row);
}

void cpu_rows_run(struct cpu_device *device, struct cpu_rows *rows, int64_t elements) {
  rows->kernels = device->kernels;
  rows->per_item = elements < CHUNK_ELEMENTS ? CHUNK_ELEMENTS / elements : 1;
  int64_t items = (rows->call->out.rows + rows->per_item - 1) / rows->per_item;
  cpu_pool_run(device->pool, work_rows, rows, (int32_t)items);
}
