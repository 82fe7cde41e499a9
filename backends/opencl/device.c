/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing, and the table of the device's entries.
 */
#include "device.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

/* ---- operators ---- */

static td_status supports(struct td_device *base, const struct td_op_query *query) {
  const struct td_dtype_info *weight = td_dtype_info((uint32_t)query->weight_dtype);
  if (query->op->kind == TD_OP_LPU_RUN) return opencl_lpu_supports(opencl_of(base));
  if (query->op->kind >= TD_OP_EXECUTED_COUNT || query->op->kind == TD_OP_SAMPLE) {
    return td_fail(TD_UNSUPPORTED, "opencl does not run %s", td_op_kind_name(query->op->kind));
  }
  if (!weight || weight->priced_only) {
    return td_fail(TD_UNSUPPORTED, "opencl does not read weights of type %s", weight ? weight->name : "unknown");
  }
  if (query->kv_dtype == TD_F32 || query->kv_dtype == TD_F16) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "opencl keeps KV as f32 or f16");
}

static td_status run_op(struct td_device *base, const struct td_op_call *call) {
  static td_status (*const operators[TD_OP_EXECUTED_COUNT])(struct opencl_device *, const struct td_op_call *) = {
      [TD_OP_EMBED] = opencl_embed,           [TD_OP_RMS_NORM] = opencl_rms_norm,
      [TD_OP_MATMUL] = opencl_matmul,         [TD_OP_ROPE] = opencl_rope,
      [TD_OP_KV_APPEND] = opencl_kv_append,   [TD_OP_ATTENTION] = opencl_attention,
      [TD_OP_ACTIVATION] = opencl_activation, [TD_OP_ADD] = opencl_add,
      [TD_OP_ROUTER] = opencl_route,          [TD_OP_EXPERT_MATMUL] = opencl_expert_matmul,
      [TD_OP_EXPERT_SUM] = opencl_expert_sum, [TD_OP_SELECT] = opencl_select,
  };
  struct opencl_device *device = opencl_of(base);
  const struct td_op_query query = {call->op, call->weight.buffer ? call->weight.dtype : TD_F32,
                                    call->kv.k ? call->kv.dtype : TD_F32};
  TD_TRY(opencl_alive(device));
  TD_TRY(supports(base, &query));
  if (call->op->kind == TD_OP_LPU_RUN) return opencl_lpu_run(device, call);
  return operators[call->op->kind](device, call);
}

/* ---- open and close ---- */

/* PoCL's own thread may still let go of a command's event when clFinish has returned, and reads the event's queue then:
 * seen with 3.1 as a crash in POclReleaseEvent, in some of many openings and closings. So there queues and contexts
 * stay until the process ends. */
static bool outlives(const struct opencl_device *device) {
  return strstr(device->found->platform, "PoCL") || strstr(device->found->platform, "pocl");
}

static void close_device(struct td_device *base) {
  struct opencl_device *device = opencl_of(base);
  if (device->queue) OPENCL(Finish)(device->queue);
  if (device->exports) OPENCL(Finish)(device->exports);
  opencl_drop_marks(device);
  opencl_free_staged(device, UINT64_MAX);
  opencl_drop_batch(device);
  opencl_drop_turns(device);
  opencl_drop_programs(device);
  if (device->order.memory) OPENCL(ReleaseMemObject)(device->order.memory);
  if (device->row.memory) OPENCL(ReleaseMemObject)(device->row.memory);
  bool release = !outlives(device);
  if (device->exports && release) OPENCL(ReleaseCommandQueue)(device->exports);
  if (device->queue && release) OPENCL(ReleaseCommandQueue)(device->queue);
  if (device->context && release) OPENCL(ReleaseContext)(device->context);
  if (device->part && release) OPENCL(ReleaseDevice)(device->id);
  free(device);
}

static const struct td_device_table table = {.size = sizeof table,
                                             .close = close_device,
                                             .alloc = opencl_alloc,
                                             .free = opencl_free,
                                             .write = opencl_write,
                                             .read = opencl_read,
                                             .op = run_op,
                                             .sync = opencl_sync,
                                             .supports = supports,
                                             .kv_export = opencl_kv_export,
                                             .kv_import = opencl_kv_import};

static td_status choose_form(struct opencl_device *device) {
  const char *given = getenv("TANDEM_OPENCL_FORM");
  device->cpu_form = device->found->processor;
  if (!given || !*given) return TD_OK;
  if (strcmp(given, "cpu") != 0 && strcmp(given, "gpu") != 0) {
    return td_fail(TD_CONFIG, "TANDEM_OPENCL_FORM: found '%s', expected cpu or gpu", given);
  }
  device->cpu_form = strcmp(given, "cpu") == 0;
  return TD_OK;
}

/* An explicit fma on a processor without one would be a library call. */
static bool has_fma(const struct opencl_device *device) {
  cl_device_fp_config config = 0;
  OPENCL(GetDeviceInfo)(device->id, CL_DEVICE_SINGLE_FP_CONFIG, sizeof config, &config, NULL);
#if defined(__x86_64__)
  if (device->found->processor && !__builtin_cpu_supports("fma")) return false;
#endif
  return (config & CL_FP_FMA) != 0;
}

static bool partitions(cl_device_id id) {
  cl_device_partition_property ways[16] = {0};
  size_t bytes = 0;
  if (OPENCL(GetDeviceInfo)(id, CL_DEVICE_PARTITION_PROPERTIES, sizeof ways, ways, &bytes)) return false;
  for (size_t i = 0; i < bytes / sizeof *ways; i++) {
    if (ways[i] == CL_DEVICE_PARTITION_BY_COUNTS) return true;
  }
  return false;
}

/* `threads` of a processor's compute units, where there are more and the driver can divide them. */
static td_status take_part(struct opencl_device *device, int32_t threads) {
  cl_uint units = 1, made = 0;
  OPENCL(GetDeviceInfo)(device->id, CL_DEVICE_MAX_COMPUTE_UNITS, sizeof units, &units, NULL);
  if (!device->found->processor || threads <= 0 || (cl_uint)threads >= units || !partitions(device->id)) return TD_OK;
  const cl_device_partition_property counts[] = {CL_DEVICE_PARTITION_BY_COUNTS, threads,
                                                 CL_DEVICE_PARTITION_BY_COUNTS_LIST_END, 0};
  cl_int error = OPENCL(CreateSubDevices)(device->found->id, counts, 1, &device->id, &made);
  if (error) {
    device->id = device->found->id;
    return td_fail(TD_UNAVAILABLE, "OpenCL device '%s': asked for %d of %u compute units: %s", device->found->name,
                   (int)threads, (unsigned)units, opencl_error(error));
  }
  device->part = true;
  return TD_OK;
}

static td_status open_queues(struct opencl_device *device) {
  cl_int error = CL_SUCCESS;
  device->context = OPENCL(CreateContext)(NULL, 1, &device->id, NULL, NULL, &error);
  if (!error) device->queue = OPENCL(CreateCommandQueue)(device->context, device->id, 0, &error);
  if (!error) device->exports = OPENCL(CreateCommandQueue)(device->context, device->id, 0, &error);
  if (!error) return TD_OK;
  return td_fail(TD_UNAVAILABLE, "OpenCL device '%s' (driver %s): %s: %s", device->found->name, device->found->driver,
                 device->context ? "clCreateCommandQueue" : "clCreateContext", opencl_error(error));
}

static td_status ask_sizes(struct opencl_device *device) {
  cl_ulong memory = 0, largest = 0;
  cl_int error = OPENCL(GetDeviceInfo)(device->id, CL_DEVICE_GLOBAL_MEM_SIZE, sizeof memory, &memory, NULL);
  if (!error) {
    error = OPENCL(GetDeviceInfo)(device->id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, sizeof largest, &largest, NULL);
  }
  if (error)
    return td_fail(TD_UNAVAILABLE, "OpenCL device '%s': clGetDeviceInfo: %s", device->found->name, opencl_error(error));
  device->memory = memory;
  device->largest = largest;
  device->fma = has_fma(device);
  return TD_OK;
}

td_status opencl_open(int32_t index, const struct td_device_options *options, struct td_device **out) {
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct opencl_device), &memory));
  struct opencl_device *device = memory;
  device->base.table = &table;
  device->found = opencl_found(index);
  device->id = device->found->id;
  td_status status = choose_form(device);
  if (!status) status = take_part(device, options->threads);
  if (!status) status = ask_sizes(device);
  if (!status) status = open_queues(device);
  if (status) {
    close_device(&device->base);
    return status;
  }
  *out = &device->base;
  return TD_OK;
}
