/* SPDX-License-Identifier: Apache-2.0
 *
 * Ceilings of a device: its own measurement, the host's, or through its operators; the output says which.
 */
#include <stdlib.h>

#include "bench.h"
#include "tandem/base.h"

#define OWN_SAMPLES 5
#define OTHER_CHIP_BYTES ((uint64_t)1 << 28) /* more than the caches of the accelerators we know */
#define PRODUCT_MIN 512
#define PRODUCT_MAX 4096
#define PASSES_MIN 3
#define PASSES_MAX 100 /* a round */
#define CALL_COLUMNS 16

const char *bench_ceiling_name(enum td_ceiling which) {
  static const char *const names[TD_CEILING_COUNT] = {"read", "triad", "gemm_f32", "gemm_f16"};
  return names[which];
}

uint64_t bench_beyond_caches(const struct td_device *device) {
  return td_backend_on_host(device->backend, device->index) ? bench_host_beyond_caches() : OTHER_CHIP_BYTES;
}

static td_status own_samples(struct td_device *device, enum td_ceiling which, struct bench_ceiling *ceiling) {
  for (int i = 0; i < OWN_SAMPLES && ceiling->rate.count < BENCH_SAMPLES; i++) {
    const char *how;
    TD_TRY(td_device_ceiling(device, which, &ceiling->samples[ceiling->rate.count], &how));
    TD_TRY(td_format(ceiling->how, sizeof ceiling->how, "%.90s", how));
    ceiling->rate.count++;
  }
  return TD_OK;
}

/* ---- through the device's operators: one ADD, one MATMUL ---- */

struct probe {
  struct td_device *device;
  struct td_op op;
  struct td_batch batch;
  struct td_op_call call;
  struct td_buffer *buffers[3];
};

static td_status probe_view(struct probe *probe, int i, int64_t rows, int64_t cols, struct td_view *out) {
  *out = (struct td_view){.dtype = TD_F32, .rows = rows, .cols = cols};
  TD_TRY(
      td_device_alloc(probe->device, (uint64_t)(rows * cols) * sizeof(float), TD_USE_ACTIVATION, &probe->buffers[i]));
  out->buffer = probe->buffers[i];
  return TD_OK;
}

static void probe_close(struct probe *probe) {
  for (int i = 0; i < 3; i++) {
    td_device_free(probe->device, probe->buffers[i]);
    probe->buffers[i] = NULL;
  }
}

static td_status probe_go(void *context, int64_t calls) {
  struct probe *probe = context;
  for (int64_t i = 0; i < calls; i++) TD_TRY(td_device_op(probe->device, &probe->call));
  return td_device_sync(probe->device);
}

/* An ADD over three long vectors. */
static td_status probe_add(struct probe *probe, int64_t cols) {
  probe->op = (struct td_op){.kind = TD_OP_ADD, .n = cols};
  probe->batch = (struct td_batch){.rows = 1};
  probe->call = (struct td_op_call){.op = &probe->op, .batch = &probe->batch};
  TD_TRY(probe_view(probe, 0, 1, cols, &probe->call.in[0]));
  TD_TRY(probe_view(probe, 1, 1, cols, &probe->call.in[1]));
  return probe_view(probe, 2, 1, cols, &probe->call.out);
}

static td_status probe_product(struct probe *probe, int64_t size) {
  probe->op = (struct td_op){.kind = TD_OP_MATMUL, .n = size, .k = size};
  probe->batch = (struct td_batch){.rows = size};
  probe->call = (struct td_op_call){.op = &probe->op, .batch = &probe->batch};
  TD_TRY(probe_view(probe, 0, size, size, &probe->call.in[0]));
  TD_TRY(probe_view(probe, 1, size, size, &probe->call.weight));
  return probe_view(probe, 2, size, size, &probe->call.out);
}

static void add_rate(struct bench_ceiling *ceiling, double amount, const struct bench_spread *seconds) {
  const double times[] = {seconds->median, seconds->low, seconds->high};
  for (int i = 0; i < 3 && ceiling->rate.count < BENCH_SAMPLES; i++) {
    ceiling->samples[ceiling->rate.count++] = amount / times[i];
  }
}

static td_status sample_add(struct td_device *device, double seconds, struct bench_ceiling *ceiling) {
  struct probe probe = {.device = device};
  struct bench_times times;
  int64_t bytes = (int64_t)bench_beyond_caches(device);
  td_status status = probe_add(&probe, bytes / (int64_t)sizeof(float));
  if (!status) status = bench_measure(device, seconds, 1, probe_go, &probe, NULL, &times);
  probe_close(&probe);
  TD_TRY(status);
  add_rate(ceiling, 3.0 * (double)bytes, &times.seconds);
  return td_format(ceiling->how, sizeof ceiling->how, "the device's own ADD, 3 arrays of %lld MiB",
                   (long long)bytes >> 20);
}

/* The largest product that takes no longer than `seconds`. */
static td_status sample_product(struct td_device *device, double seconds, struct bench_ceiling *ceiling) {
  struct bench_times times = {0};
  int64_t size = PRODUCT_MIN;
  for (;; size *= 2) {
    struct probe probe = {.device = device};
    td_status status = probe_product(&probe, size);
    if (!status) status = bench_measure(device, seconds, 1, probe_go, &probe, NULL, &times);
    probe_close(&probe);
    TD_TRY(status);
    if (size == PRODUCT_MAX || times.seconds.median * 8 > seconds) break;
  }
  add_rate(ceiling, 2.0 * (double)size * (double)size * (double)size, &times.seconds);
  return td_format(ceiling->how, sizeof ceiling->how, "the device's own f32 MATMUL, %lld x %lld x %lld",
                   (long long)size, (long long)size, (long long)size);
}

static td_status operator_samples(struct td_device *device, enum td_ceiling which, double seconds,
                                  struct bench_ceiling *ceiling) {
  if (which == TD_CEILING_TRIAD) return sample_add(device, seconds, ceiling);
  if (which == TD_CEILING_GEMM_F32) return sample_product(device, seconds, ceiling);
  return TD_OK; /* no operator only reads, or multiplies halves without reading weights */
}

/* ---- of the host's processors ---- */

static td_status add_pass(struct bench_ceilings *ceilings, enum td_ceiling which, double *out_rate) {
  struct bench_ceiling *ceiling = &ceilings->of[which];
  TD_TRY(bench_memory_pass(ceilings->memory, which, out_rate));
  if (ceiling->rate.count < BENCH_SAMPLES) ceiling->samples[ceiling->rate.count++] = *out_rate;
  return TD_OK;
}

/* The first pass warms up. */
static td_status host_memory(struct bench_ceilings *ceilings, enum td_ceiling which, double seconds) {
  struct bench_ceiling *ceiling = &ceilings->of[which];
  int64_t begin = td_now_ps();
  double rate;
  TD_TRY(bench_memory_pass(ceilings->memory, which, &rate));
  for (int i = 0; i < PASSES_MAX && (i < PASSES_MIN || td_seconds(td_now_ps() - begin) < seconds); i++) {
    TD_TRY(add_pass(ceilings, which, &rate));
  }
  return bench_memory_how(ceilings->memory, which, ceiling->how, sizeof ceiling->how);
}

static td_status host_samples(struct bench_ceilings *ceilings, enum td_ceiling which, double seconds) {
  if (which == TD_CEILING_GEMM_F16) return td_fail(TD_UNAVAILABLE, "OpenBLAS has no half-precision product");
  if (which == TD_CEILING_GEMM_F32) return bench_host_product(ceilings->threads, seconds, &ceilings->of[which]);
  return host_memory(ceilings, which, seconds);
}

static td_status pass_beside(const struct bench_beside *beside, double *out_rate) {
  return add_pass(beside->ceilings, beside->which, out_rate);
}

bool bench_ceilings_beside(struct bench_ceilings *ceilings, const struct bench_work *work,
                           struct bench_beside *out_beside) {
  *out_beside = (struct bench_beside){.pass = pass_beside, .ceilings = ceilings};
  bench_work_bound(work, ceilings, &out_beside->which);
  return ceilings->memory && (out_beside->which == TD_CEILING_READ || out_beside->which == TD_CEILING_TRIAD);
}

/* ---- the first that can ---- */

static td_status sample(struct td_device *device, enum td_ceiling which, double seconds,
                        struct bench_ceilings *ceilings) {
  td_status status = own_samples(device, which, &ceilings->of[which]);
  if (status != TD_UNIMPLEMENTED) return status;
  if (ceilings->memory) {
    status = host_samples(ceilings, which, seconds);
    if (status != TD_UNAVAILABLE) return status;
  }
  return operator_samples(device, which, seconds, &ceilings->of[which]);
}

td_status bench_ceilings_sample(struct td_device *device, double seconds, struct bench_ceilings *ceilings) {
  for (enum td_ceiling which = 0; which < TD_CEILING_COUNT; which++) {
    struct bench_ceiling *ceiling = &ceilings->of[which];
    td_status status = sample(device, which, seconds, ceilings);
    if (status) return td_fail_within(status, "ceiling %s", bench_ceiling_name(which));
    if (ceiling->rate.count) ceiling->rate = bench_spread_of(ceiling->samples, ceiling->rate.count);
  }
  return TD_OK;
}

/* The least that a call of an operator takes. */
static td_status measure_call(struct td_device *device, double seconds, struct bench_spread *out_seconds) {
  struct probe probe = {.device = device};
  struct bench_times times = {0};
  td_status status = probe_add(&probe, CALL_COLUMNS);
  if (!status) status = bench_measure(device, seconds, 1, probe_go, &probe, NULL, &times);
  probe_close(&probe);
  *out_seconds = times.seconds;
  return status;
}

td_status bench_ceilings_open(struct td_device *device, int32_t threads, double seconds,
                              struct bench_ceilings *ceilings) {
  ceilings->threads = threads;
  if (td_backend_on_host(device->backend, device->index)) TD_TRY(bench_memory_open(threads, &ceilings->memory));
  td_status status = measure_call(device, seconds, &ceilings->call);
  return status ? td_fail_within(status, "the time of a call") : TD_OK;
}

void bench_ceilings_close(struct bench_ceilings *ceilings) {
  bench_memory_close(ceilings->memory);
  ceilings->memory = NULL;
}
