/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend's tables: host memory, a thread pool, one function per operator. Synchronous: a call returns when its
 * work is done, so sync has nothing to wait for.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu.h"
#include "tandem/base.h"

#define MAX_THREADS 1024
#define ALIGNMENT 64
/* Buffers from here on ask for huge pages: reading them then misses the TLB less, by a third of the time. */
#define LARGE (UINT64_C(4) << 20)
/* Most bytes that are touched when they are allocated, and the smallest page of any system. */
#define PREPARED (UINT64_C(1) << 30)
#define PAGE 4096

static void ask_for_huge_pages(const struct td_buffer *buffer) {
  uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = ((uintptr_t)buffer->data + page - 1) / page * page;
  uintptr_t end = ((uintptr_t)buffer->data + buffer->bytes) / page * page;
  if (buffer->bytes >= LARGE) (void)madvise((void *)begin, end - begin, MADV_HUGEPAGE); /* a wish, not a need */
}

/* What steps write is touched before the first of them, which would otherwise wait for the system to find and clear the
 * pages, tens of milliseconds. Not more than PREPARED in all: a KV cache may be larger than what is ever used. Weights
 * are written when they are loaded. */
static void prepare(struct cpu_device *cpu, struct td_buffer *buffer, enum td_buffer_use use) {
  if (use == TD_USE_WEIGHT || buffer->bytes > PREPARED - cpu->prepared) return;
  volatile unsigned char *bytes = buffer->data;
  for (uint64_t at = 0; at < buffer->bytes; at += PAGE) bytes[at] = 0;
  if (buffer->bytes) bytes[buffer->bytes - 1] = 0;
  buffer->prepared = true;
  cpu->prepared += buffer->bytes;
}

static td_status cpu_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use,
                           struct td_buffer **out_buffer) {
  struct cpu_device *cpu = cpu_of(device);
  if (bytes > cpu->capacity - cpu->used) {
    return td_fail(TD_EXHAUSTED, "cpu: memory: wanted %" PRIu64 " bytes, found %" PRIu64 " of %" PRIu64 " left", bytes,
                   cpu->capacity - cpu->used, cpu->capacity);
  }
  struct td_buffer *buffer;
  TD_TRY(td_alloc(1, sizeof *buffer, (void **)&buffer));
  buffer->block = calloc(1, (size_t)bytes + ALIGNMENT); /* pages of zeros that cost nothing until touched */
  if (!buffer->block) {
    free(buffer);
    return td_fail(TD_EXHAUSTED, "cpu: memory: wanted %" PRIu64 " bytes, found that the system gives none", bytes);
  }
  buffer->bytes = bytes;
  buffer->data = (unsigned char *)(((uintptr_t)buffer->block + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT);
  ask_for_huge_pages(buffer);
  prepare(cpu, buffer, use);
  cpu->used += bytes;
  *out_buffer = buffer;
  return TD_OK;
}

static void cpu_free(struct td_device *device, struct td_buffer *buffer) {
  struct cpu_device *cpu = cpu_of(device);
  cpu->used -= buffer->bytes;
  if (buffer->prepared) cpu->prepared -= buffer->bytes;
  free(buffer->block);
  free(buffer);
}

static td_status cpu_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                           uint64_t bytes) {
  (void)device;
  memcpy(buffer->data + offset, src, (size_t)bytes);
  return TD_OK;
}

static td_status cpu_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                          uint64_t bytes) {
  (void)device;
  memcpy(dst, buffer->data + offset, (size_t)bytes);
  return TD_OK;
}

static td_status cpu_supports(struct td_device *device, const struct td_op_query *query) {
  (void)device;
  unsigned kind = (unsigned)query->op->kind;
  const struct td_dtype_info *weight = td_dtype_info((uint32_t)query->weight_dtype);
  if (kind == TD_OP_SAMPLE) return td_fail(TD_UNSUPPORTED, "cpu: sampling is the framework's");
  if (kind == TD_OP_LPU_RUN) return TD_OK;
  if (kind >= TD_OP_EXECUTED_COUNT) return td_fail(TD_UNSUPPORTED, "cpu: operator %u is priced only", kind);
  if (kind == TD_OP_ATTENTION && query->op->bidirectional) {
    return td_fail(TD_UNSUPPORTED, "cpu: attention without a causal mask is priced only");
  }
  if (!weight || weight->priced_only) {
    return td_fail(TD_UNSUPPORTED, "cpu: weights of type %d: not one that is executed", (int)query->weight_dtype);
  }
  if (query->kv_dtype != TD_F32 && query->kv_dtype != TD_F16) {
    return td_fail(TD_UNSUPPORTED, "cpu: KV of type %d, expected f32 or f16", (int)query->kv_dtype);
  }
  return TD_OK;
}

static td_status cpu_op(struct td_device *device, const struct td_op_call *call) {
  static td_status (*const operators[TD_OP_EXECUTED_COUNT])(struct cpu_device *, const struct td_op_call *) = {
      [TD_OP_EMBED] = cpu_embed,           [TD_OP_RMS_NORM] = cpu_rms_norm,
      [TD_OP_MATMUL] = cpu_matmul,         [TD_OP_ROPE] = cpu_rope,
      [TD_OP_KV_APPEND] = cpu_kv_append,   [TD_OP_ATTENTION] = cpu_attention,
      [TD_OP_ACTIVATION] = cpu_activation, [TD_OP_ADD] = cpu_add,
      [TD_OP_ROUTER] = cpu_router,         [TD_OP_EXPERT_MATMUL] = cpu_expert_matmul,
      [TD_OP_EXPERT_SUM] = cpu_expert_sum, [TD_OP_SELECT] = cpu_select,
  };
  TD_TRY(cpu_supports(device, &(struct td_op_query){.op = call->op,
                                                    .weight_dtype = call->weight.buffer ? call->weight.dtype : TD_F32,
                                                    .kv_dtype = call->kv.k ? call->kv.dtype : TD_F32}));
  if (call->op->kind == TD_OP_LPU_RUN) return cpu_lpu_run(cpu_of(device), call);
  return operators[call->op->kind](cpu_of(device), call);
}

static td_status cpu_sync(struct td_device *device, uint64_t value) {
  (void)device;
  (void)value;
  return TD_OK;
}

td_status cpu_scratch(struct cpu_device *device, int64_t floats) {
  /* Whole cache lines: two workers never write to one. */
  int64_t wanted = (floats + CPU_LANES - 1) / CPU_LANES * CPU_LANES;
  if (wanted <= device->scratch_floats) return TD_OK;
  if (wanted < 2 * device->scratch_floats) wanted = 2 * device->scratch_floats;
  size_t bytes = (size_t)wanted * sizeof(float) * (size_t)cpu_pool_threads(device->pool);
  void *scratch = aligned_alloc(ALIGNMENT, bytes);
  if (!scratch)
    return td_fail(TD_NO_MEMORY, "cpu: %zu bytes of scratch memory wanted, the system has none left", bytes);
  free(device->scratch);
  device->scratch = scratch;
  device->scratch_floats = wanted;
  return TD_OK;
}

td_status cpu_list(struct cpu_device *device, uint64_t bytes, void **out_list) {
  if (bytes > device->list_bytes) {
    void *list;
    TD_TRY(td_alloc(2, (size_t)bytes, &list));
    free(device->list);
    device->list = list;
    device->list_bytes = 2 * (size_t)bytes;
  }
  *out_list = device->list;
  return TD_OK;
}

static void cpu_close(struct td_device *device) {
  struct cpu_device *cpu = cpu_of(device);
  cpu_pool_close(cpu->pool);
  free(cpu->scratch);
  free(cpu->list);
  free(cpu);
}

static const struct td_device_table table = {
    .size = sizeof table,
    .close = cpu_close,
    .alloc = cpu_alloc,
    .free = cpu_free,
    .write = cpu_write,
    .read = cpu_read,
    .op = cpu_op,
    .sync = cpu_sync,
    .supports = cpu_supports,
};

static int32_t cpu_probe(const char **out_reason) {
  (void)out_reason;
  return 1;
}

static td_status cpu_open(int32_t index, const struct td_device_options *options, struct td_device **out_device) {
  (void)index;
  int32_t threads = options->threads;
  if (threads < 0 || threads > MAX_THREADS) {
    return td_fail(TD_CONFIG, "cpu: threads: found %d, expected 0 (one thread) to %d", threads, MAX_THREADS);
  }
  const struct cpu_kernels *kernels;
  cpu_sgemm sgemm = NULL;
  TD_TRY(cpu_kernels_choose(&kernels));
  if (options->inexact) TD_TRY(cpu_blas_open(CPU_BLAS_LIBRARY, &sgemm));
  struct cpu_device *cpu;
  TD_TRY(td_alloc(1, sizeof *cpu, (void **)&cpu));
  td_status status = cpu_pool_open(threads ? threads : 1, &cpu->pool);
  if (status) {
    free(cpu);
    return status;
  }
  cpu->base.table = &table;
  cpu->kernels = kernels;
  cpu->sgemm = sgemm;
  cpu->capacity = (uint64_t)sysconf(_SC_PHYS_PAGES) * (uint64_t)sysconf(_SC_PAGESIZE);
  *out_device = &cpu->base;
  return TD_OK;
}

const struct td_backend td_backend_cpu = {
    .size = sizeof(struct td_backend),
    .name = "cpu",
    .summary = "this machine's cores: threads, vectors, exact; OpenBLAS on request",
    .executes = true,
    .exact = true,
    .probe = cpu_probe,
    .open = cpu_open,
};
