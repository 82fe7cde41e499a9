/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening a device, its host memory, what it supports, and the two tables.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_device.h"
#include "tandem/base.h"
#include "tandem/device.h"

int64_t lpu_ps(const struct td_lpu_machine *machine, int64_t cycles) {
  return (int64_t)llround((double)cycles * ((double)TD_PS_PER_SECOND / machine->clock_hz));
}

/* ---- memory: what the host holds for the chips ---- */

static td_status mem_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out) {
  (void)device, (void)use;
  *out = bytes < SIZE_MAX / 2 ? calloc(1, sizeof **out + bytes) : NULL;
  if (!*out) return td_fail(TD_EXHAUSTED, "found no host memory for a buffer of %.0f bytes", (double)bytes);
  (*out)->bytes = bytes;
  return TD_OK;
}

static void mem_free(struct td_device *device, struct td_buffer *buffer) {
  (void)device;
  free(buffer);
}

/* The cache of a plan is not the host's to read by offsets. */
static td_status check_unbound(const struct td_buffer *buffer) {
  if (!buffer->plan) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "found a write or read of layer %d's KV cache by offset, expected import or export: it is in SRAM",
                 buffer->layer);
}

static td_status mem_write(struct td_device *device, struct td_buffer *to, uint64_t at, const void *src, uint64_t n) {
  (void)device;
  TD_TRY(check_unbound(to));
  to->touched = true;
  memcpy(to->data + at, src, n);
  return TD_OK;
}

static td_status mem_read(struct td_device *device, struct td_buffer *from, uint64_t at, void *dst, uint64_t n) {
  (void)device;
  TD_TRY(check_unbound(from));
  memcpy(dst, from->data + at, n);
  return TD_OK;
}

/* ---- what it runs ---- */

static const char alone[] = "an LPU runs compiled programs of whole models, no single operators";

static td_status refuse_op(struct td_device *device, const struct td_op_call *call) {
  (void)device;
  return td_fail(TD_UNSUPPORTED, "%s: %s", td_op_kind_name(call->op->kind), alone);
}

static bool is_compiled(enum td_op_kind kind) {
  switch (kind) {
    case TD_OP_EMBED:
    case TD_OP_RMS_NORM:
    case TD_OP_MATMUL:
    case TD_OP_ROPE:
    case TD_OP_KV_APPEND:
    case TD_OP_ATTENTION:
    case TD_OP_ACTIVATION:
    case TD_OP_ADD:
    case TD_OP_SELECT:
    case TD_OP_SAMPLE:
      return true;
    default:
      return false;
  }
}

/* As part of a program; the compiler says what else it expects of the graph. */
static td_status supports(struct td_device *device, const struct td_op_query *query) {
  (void)device;
  const struct td_op *op = query->op;
  bool caches = op->kind == TD_OP_KV_APPEND || op->kind == TD_OP_ATTENTION;
  if (!is_compiled(op->kind)) {
    return td_fail(TD_UNSUPPORTED, "the LPU compiler has no %s", td_op_kind_name(op->kind));
  }
  if (caches && query->kv_dtype != TD_F16) {
    return td_fail(TD_UNSUPPORTED, "found a KV cache of type %s, expected f16: what the matrix planes take",
                   td_dtype_info((uint32_t)query->kv_dtype)->name);
  }
  if (op->kind == TD_OP_RMS_NORM && query->weight_dtype != TD_F32) {
    return td_fail(TD_UNSUPPORTED, "found a norm's weight of type %s, expected f32",
                   td_dtype_info((uint32_t)query->weight_dtype)->name);
  }
  return TD_OK;
}

static td_status sync_value(struct td_device *device, uint64_t value) {
  (void)device, (void)value; /* every call has done its work when it returns */
  return TD_OK;
}

static double energy(struct td_device *device) {
  return lpu_of(device)->energy_j;
}

static int64_t now(struct td_device *device) {
  return lpu_of(device)->clock_ps;
}

static void dev_close(struct td_device *device) {
  lpu_price_close(lpu_of(device));
  free(device);
}

static const struct td_device_table table = {.size = sizeof table,
                                             .close = dev_close,
                                             .alloc = mem_alloc,
                                             .free = mem_free,
                                             .write = mem_write,
                                             .read = mem_read,
                                             .op = refuse_op,
                                             .sync = sync_value,
                                             .supports = supports,
                                             .plan = lpu_plan,
                                             .run = lpu_run,
                                             .plan_free = lpu_plan_free,
                                             .price = lpu_price,
                                             .kv_export = lpu_kv_export,
                                             .kv_import = lpu_kv_import,
                                             .energy = energy,
                                             .now = now,
                                             .idle_watts = lpu_idle_watts};

/* ---- opening ---- */

static td_status take_machine(const struct td_device_params *params, const struct td_lpu_machine **out) {
  if (!params) {
    return td_fail(TD_CONFIG,
                   "backend lpu: found no device file, expected one of kind lpu, such as device = \"groq-lpu-v1\"");
  }
  *out = td_lpu_machine_of(params);
  if (*out) return TD_OK;
  return td_fail(TD_CONFIG, "backend lpu: found %s, a device file of kind %s, expected one of kind lpu", params->name,
                 td_device_kind_name(params->kind));
}

/* A host is a device that computes; not one that is emulated itself. */
static td_status check_host_device(const char *spec) {
  const struct td_backend *backend = NULL;
  int32_t index;
  td_status status = td_device_find(spec, &backend, &index);
  if (status) return td_fail_within(status, "backend lpu: emulate_on");
  if (backend->executes && !backend->emulates) return TD_OK;
  return td_fail(TD_CONFIG, "backend lpu: emulate_on: found \"%s\", expected \"step\" or a device that executes", spec);
}

static td_status take_choice(const struct td_lpu_choice *given, struct td_lpu_choice *out) {
  if (given) *out = *given;
  if (out->rows == 0) out->rows = 1;
  if (!out->emulate_on) out->emulate_on = "step";
  return strcmp(out->emulate_on, "step") == 0 ? TD_OK : check_host_device(out->emulate_on);
}

static int32_t probe(const char **out_reason) {
  (void)out_reason;
  return 1; /* an emulated machine needs nothing of this one */
}

static td_status dev_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  const struct td_lpu_machine *machine = NULL;
  struct td_lpu_choice choice = {0};
  void *memory = NULL;
  (void)index;
  TD_TRY(take_machine(options->params, &machine));
  TD_TRY(take_choice(options->lpu, &choice));
  TD_TRY(td_alloc(1, sizeof(struct lpu_device), &memory));
  struct lpu_device *lpu = memory;
  lpu->device.table = &table;
  lpu->machine = machine;
  lpu->choice = choice;
  lpu->energy_j = machine->has_power ? 0.0 : (double)NAN;
  *out = &lpu->device;
  return TD_OK;
}

static const struct td_conform_note unsupported[] = {
    {"activation/*", alone},
    {"add/*", alone},
    {"attention/*", alone},
    {"embed/*", alone},
    {"exact_*", alone},
    {"expert_*", alone},
    {"kv_*", "the cache is written by compiled programs: the step cases export, import and truncate it"},
    {"matmul/*", alone},
    {"price/*", "the suite's graph for prices is no whole model: the step cases compare prices"},
    {"rms_norm/*", alone},
    {"rope/*", alone},
    {"router/*", alone},
    {"select/*", alone},
    {NULL, NULL}};

const struct td_backend td_backend_lpu = {.size = sizeof td_backend_lpu,
                                          .name = "lpu",
                                          .summary = "an SRAM-resident, statically scheduled machine, emulated",
                                          .executes = true,
                                          .emulates = true,
                                          .exact = true,
                                          .probe = probe,
                                          .open = dev_open,
                                          .conform_device = "groq-lpu-v1",
                                          .unsupported = unsupported};
