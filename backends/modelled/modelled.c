/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that exists as a device file only: it accounts memory and is priced by the framework's roofline. Its memory
 * holds no bytes and its operators refuse, so that nothing can take a model's answer for a computed one.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "tandem/backend.h"
#include "tandem/base.h"
#include "tandem/devices.h"

struct td_buffer {
  uint64_t bytes;
};

struct modelled {
  struct td_device device; /* first */
  uint64_t capacity, used;
};

static const char reason[] = "a modelled device prices steps and holds no bytes";

static td_status refuse(const struct td_device *device, const char *what) {
  return td_fail(TD_UNSUPPORTED, "modelled device %s: %s: found a call that needs real data, expected none: %s",
                 device->params->name, what, reason);
}

static td_status mem_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  static const char *const uses[] = {"weights", "KV cache", "activations"};
  struct modelled *modelled = (struct modelled *)device;
  uint64_t left = modelled->capacity - modelled->used;
  if (bytes > left) {
    return td_fail(TD_EXHAUSTED,
                   "modelled device %s: found %" PRIu64 " bytes left (memory_bytes %" PRIu64 " - in use %" PRIu64
                   "), expected %" PRIu64 " for %s",
                   device->params->name, left, modelled->capacity, modelled->used, bytes, uses[use]);
  }
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct td_buffer), &memory));
  modelled->used += bytes;
  *out = memory;
  (*out)->bytes = bytes;
  return TD_OK;
}

static void mem_free(struct td_device *device, struct td_buffer *buffer) {
  ((struct modelled *)device)->used -= buffer->bytes;
  free(buffer);
}

static td_status mem_write(struct td_device *device, struct td_buffer *to, uint64_t at, const void *src, uint64_t n) {
  (void)to, (void)at, (void)src, (void)n;
  return refuse(device, "write");
}

static td_status mem_read(struct td_device *device, struct td_buffer *from, uint64_t at, void *dst, uint64_t n) {
  (void)from, (void)at, (void)dst, (void)n;
  return refuse(device, "read");
}

static td_status run_op(struct td_device *device, const struct td_op_call *call) {
  return refuse(device, td_op_kind_name(call->op->kind));
}

static td_status supports(struct td_device *device, const struct td_op_query *query) {
  return refuse(device, td_op_kind_name(query->op->kind));
}

static td_status sync_value(struct td_device *device, uint64_t value) {
  (void)device, (void)value;
  return TD_OK;
}

static void dev_close(struct td_device *device) {
  free(device);
}

static const struct td_device_table table = {.size = sizeof table,
                                             .close = dev_close,
                                             .alloc = mem_alloc,
                                             .free = mem_free,
                                             .write = mem_write,
                                             .read = mem_read,
                                             .op = run_op,
                                             .sync = sync_value,
                                             .supports = supports};

static int32_t probe(const char **out_reason) {
  (void)out_reason;
  return 1; /* needs nothing of this machine */
}

static td_status dev_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  (void)index;
  const struct td_device_params *params = options->params;
  if (!params) {
    return td_fail(TD_CONFIG, "backend modelled: found no device file, expected one, such as device = \"h100_sxm\"");
  }
  if (params->kind != TD_KIND_CHIP && params->kind != TD_KIND_LPU) {
    return td_fail(TD_CONFIG, "backend modelled: found the %s %s, expected a device file of kind chip",
                   td_device_kind_name(params->kind), params->name);
  }
  if (!params->memory_bytes.present && params->kind == TD_KIND_LPU) {
    return td_fail(TD_CONFIG,
                   "backend modelled: %s: found an lpu without memory_bytes and the other numbers of a chip, expected "
                   "them for a roofline",
                   params->path);
  }
  if (!params->memory_bytes.present) {
    return td_fail(TD_CONFIG, "backend modelled: %s: found no memory_bytes, expected the device's capacity",
                   params->path);
  }
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct modelled), &memory));
  struct modelled *modelled = memory;
  modelled->device.table = &table;
  modelled->capacity = (uint64_t)params->memory_bytes.value;
  *out = &modelled->device;
  return TD_OK;
}

const struct td_backend td_backend_modelled = {.size = sizeof td_backend_modelled,
                                               .name = "modelled",
                                               .summary = "prices steps by a roofline over a device file; runs nothing",
                                               .executes = false,
                                               .exact = false,
                                               .probe = probe,
                                               .open = dev_open};
