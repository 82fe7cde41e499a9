/* SPDX-License-Identifier: Apache-2.0
 *
 * A device that exists as a device file only: it accounts memory and is priced by the framework's roofline; an LPU by
 * the length of the program that is compiled for it, without data. Its memory holds no bytes and its operators refuse,
 * so that nothing can take a model's answer for a computed one.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "tandem/backend.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/lpu_price.h"

struct td_buffer {
  uint64_t bytes;
};

struct modelled {
  struct td_device device; /* first */
  uint64_t capacity, used;
  /* of an LPU */
  const struct td_lpu_machine *machine;
  struct td_lpu_choice choice;
  const struct td_lpu_price *price; /* of: */
  const struct td_graph *graph;
  int32_t block_tokens;
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
  td_lpu_timing_close(((struct modelled *)device)->price);
  free(device);
}

/* ---- an LPU ---- */

/* What lies where in its SRAM is the compiler's. */
static td_status refuse_memory(struct td_device *device, uint64_t bytes, enum td_buffer_use use,
                               struct td_buffer **out) {
  (void)bytes, (void)use, (void)out;
  return refuse(device, "memory");
}

static td_status check_whole(const struct td_graph *graph, const struct td_slice *slice) {
  struct td_slice whole = td_slice_whole(graph);
  if (slice->layer_begin == whole.layer_begin && slice->layer_end == whole.layer_end && slice->parts == whole.parts) {
    return TD_OK;
  }
  return td_fail(TD_UNSUPPORTED, "modelled LPU: found layers [%d, %d) and parts %u, expected the whole model",
                 slice->layer_begin, slice->layer_end, slice->parts);
}

static td_status find_price(struct modelled *modelled, const struct td_graph *graph, int64_t tile) {
  const struct td_lpu_machine *machine = modelled->machine;
  int32_t block = tile ? (int32_t)tile : machine->lanes / machine->load_vectors * machine->load_vectors;
  if (modelled->price && modelled->graph == graph && modelled->block_tokens == block) return TD_OK;
  td_lpu_timing_close(modelled->price);
  modelled->price = NULL;
  TD_TRY(td_lpu_timing_open(machine, &modelled->choice, graph, block, &modelled->price));
  modelled->graph = graph;
  modelled->block_tokens = block;
  return TD_OK;
}

static td_status lpu_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                           enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                           struct td_price *out_price) {
  struct modelled *modelled = (struct modelled *)device;
  if (kv_dtype != TD_F16) return td_fail(TD_UNSUPPORTED, "modelled LPU: found no f16 KV cache, expected one");
  TD_TRY(check_whole(graph, slice));
  TD_TRY(find_price(modelled, graph, stats->v[TD_SYM_TILE]));
  return td_lpu_price_stats(modelled->price, stats, layer_done_ps, out_price);
}

static double lpu_idle_watts(struct td_device *device) {
  return td_lpu_price_idle_watts(((struct modelled *)device)->price);
}

/* ---- opening ---- */

static const struct td_device_table table = {.size = sizeof table,
                                             .close = dev_close,
                                             .alloc = mem_alloc,
                                             .free = mem_free,
                                             .write = mem_write,
                                             .read = mem_read,
                                             .op = run_op,
                                             .sync = sync_value,
                                             .supports = supports};

static const struct td_device_table lpu_table = {.size = sizeof lpu_table,
                                                 .close = dev_close,
                                                 .alloc = refuse_memory,
                                                 .free = mem_free,
                                                 .write = mem_write,
                                                 .read = mem_read,
                                                 .op = run_op,
                                                 .sync = sync_value,
                                                 .supports = supports,
                                                 .price = lpu_price,
                                                 .idle_watts = lpu_idle_watts};

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
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  if (params->kind != TD_KIND_CHIP && !machine) {
    return td_fail(TD_CONFIG, "backend modelled: found the %s %s, expected a device file of kind chip or lpu",
                   td_device_kind_name(params->kind), params->name);
  }
  if (!machine && !params->memory_bytes.present) {
    return td_fail(TD_CONFIG, "backend modelled: %s: found no memory_bytes, expected the device's capacity",
                   params->path);
  }
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct modelled), &memory));
  struct modelled *modelled = memory;
  modelled->device.table = machine ? &lpu_table : &table;
  modelled->machine = machine;
  if (machine && options->lpu) modelled->choice = *options->lpu;
  modelled->choice.emulate_on = NULL; /* nothing is */
  if (!machine) modelled->capacity = (uint64_t)params->memory_bytes.value;
  *out = &modelled->device;
  return TD_OK;
}

const struct td_backend td_backend_modelled = {
    .size = sizeof td_backend_modelled,
    .name = "modelled",
    .summary = "prices steps by a device file: a roofline, or an LPU's program; runs nothing",
    .executes = false,
    .exact = false,
    .probe = probe,
    .open = dev_open};
