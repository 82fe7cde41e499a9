/* SPDX-License-Identifier: Apache-2.0
 *
 * The checked forms of the table's entries and the defaults of the optional ones. Every write, read and op takes the
 * next value of the device's time line before the backend is called, so a backend finds its own in `submitted`.
 */
#include <inttypes.h>
#include <math.h>

#include "device_private.h"
#include "tandem/base.h"
#include "tandem/cost.h"

td_status td_device_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  if (bytes == 0) return td_fail(TD_INTERNAL, "%s: alloc of 0 bytes", td_device_label(device).text);
  struct td_buffer *buffer;
  td_status status = device->table->alloc(device, bytes, use, &buffer);
  if (status) return td_fail_within(status, "%s", td_device_label(device).text);
  status = td_books_add(device->books, buffer, bytes);
  if (status) {
    device->table->free(device, buffer);
    return status;
  }
  *out = buffer;
  return TD_OK;
}

void td_device_free(struct td_device *device, struct td_buffer *buffer) {
  if (!buffer) return;
  td_books_remove(device->books, buffer);
  device->table->free(device, buffer);
}

/* [offset, offset + bytes) must lie in a buffer of this device. */
static td_status check_range(const struct td_device *device, const char *what, const struct td_buffer *buffer,
                             uint64_t offset, uint64_t bytes) {
  uint64_t size;
  if (!buffer || !td_books_find(device->books, buffer, &size)) {
    return td_fail(TD_INTERNAL, "%s: %s of a buffer that is not this device's", td_device_label(device).text, what);
  }
  if (offset <= size && bytes <= size - offset) return TD_OK;
  return td_fail(TD_INTERNAL, "%s: %s of %" PRIu64 " bytes at offset %" PRIu64 " of a buffer of %" PRIu64 " bytes",
                 td_device_label(device).text, what, bytes, offset, size);
}

td_status td_device_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                          uint64_t bytes) {
  TD_TRY(check_range(device, "write", buffer, offset, bytes));
  if (bytes == 0) return TD_OK;
  device->submitted++;
  return device->table->write(device, buffer, offset, src, bytes);
}

td_status td_device_enqueue_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                                 uint64_t bytes) {
  TD_TRY(check_range(device, "read", buffer, offset, bytes));
  if (bytes == 0) return TD_OK;
  device->submitted++;
  return device->table->read(device, buffer, offset, dst, bytes);
}

td_status td_device_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                         uint64_t bytes) {
  TD_TRY(td_device_enqueue_read(device, buffer, offset, dst, bytes));
  return bytes ? td_device_sync(device) : TD_OK;
}

td_status td_device_op(struct td_device *device, const struct td_op_call *call) {
  TD_TRY(td_op_call_check(device, call));
  device->submitted++;
  return device->table->op(device, call);
}

td_status td_device_sync(struct td_device *device) {
  return device->table->sync(device, device->submitted);
}

int64_t td_device_now(struct td_device *device) {
  int64_t (*now)(struct td_device *) = TD_ENTRY(device, now);
  return now ? now(device) : td_now_ps();
}

double td_device_energy(struct td_device *device) {
  double (*energy)(struct td_device *) = TD_ENTRY(device, energy);
  return energy ? energy(device) : (double)NAN;
}

double td_device_idle_watts(struct td_device *device) {
  double (*idle_watts)(struct td_device *) = TD_ENTRY(device, idle_watts);
  if (idle_watts) return idle_watts(device);
  return device->params && device->params->power_idle.present ? device->params->power_idle.value : (double)NAN;
}

td_status td_device_ceiling(struct td_device *device, enum td_ceiling which, double *out_rate, const char **out_how) {
  td_status (*ceiling)(struct td_device *, enum td_ceiling, double *, const char **) = TD_ENTRY(device, ceiling);
  if (!ceiling) return td_fail(TD_UNIMPLEMENTED, "%s measures no ceilings", td_device_label(device).text);
  double rate = 0;
  const char *how = NULL;
  TD_TRY(ceiling(device, which, &rate, &how));
  if (!(rate > 0) || !isfinite(rate) || !how) {
    return td_fail(TD_INTERNAL, "%s: ceiling %d: found a rate of %g by %s, expected a positive one by a named means",
                   td_device_label(device).text, (int)which, rate, how ? how : "no means");
  }
  *out_rate = rate;
  *out_how = how;
  return TD_OK;
}

td_status td_device_supports(struct td_device *device, const struct td_op_query *query) {
  if (!device->backend->executes) {
    return td_fail(TD_UNSUPPORTED, "backend %s prices steps and executes none", device->backend->name);
  }
  TD_TRY(td_op_query_check(query));
  td_status (*supports)(struct td_device *, const struct td_op_query *) = TD_ENTRY(device, supports);
  if (!supports && query->op->kind == TD_OP_LPU_RUN) {
    return td_fail(TD_UNSUPPORTED, "backend %s does not say that it runs lpu_run", device->backend->name);
  }
  return supports ? supports(device, query) : TD_OK;
}

td_status td_device_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                          enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                          struct td_price *out_price) {
  td_status (*price)(struct td_device *, const struct td_graph *, const struct td_slice *, enum td_dtype,
                     const struct td_step_stats *, int64_t *, struct td_price *) = TD_ENTRY(device, price);
  if (price) return price(device, graph, slice, kv_dtype, stats, layer_done_ps, out_price);
  if (!device->params) {
    return td_fail(TD_UNSUPPORTED, "%s: found no device file, expected one to price steps from",
                   td_device_label(device).text);
  }
  TD_TRY(td_price_roofline(device->params, graph, slice, kv_dtype, stats, out_price));
  return layer_done_ps ? td_price_milestones(device->params, graph, slice, kv_dtype, stats, layer_done_ps) : TD_OK;
}
