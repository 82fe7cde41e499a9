/* SPDX-License-Identifier: Apache-2.0
 *
 * The chip's ceilings: reading, copying and a triad over memory far larger than the cache, cuBLASLt on random matrices
 * (zeros draw less power and run faster than real data).
 */
#include "ceiling.h"

#include <stdio.h>
#include <stdlib.h>

#include "blas.h"

#define MOST_BYTES (1ull << 30)
#define MATRIX 8192
#define SAMPLE_PS (TD_PS_PER_SECOND / 10)
#define MOST_TURNS 1000
#define PATTERN_WORDS (1 << 20)

struct probe {
  struct cuda_device *device;
  cuda_ptr buffers[3];
  uint64_t bytes; /* of each buffer */
  bool wide;      /* products in float32 */
  td_status (*once)(const struct probe *probe);
};

static td_status copy_once(const struct probe *probe) {
  CUDA_TRY(probe->device,
           cuMemcpyDtoDAsync_v2(probe->buffers[1], probe->buffers[0], (size_t)probe->bytes, probe->device->compute),
           "copying on the device");
  return TD_OK;
}

static td_status launch_once(const struct probe *probe, enum cuda_kernel kernel) {
  struct cuda_memory_args args = {.a = probe->buffers[0],
                                  .b = probe->buffers[1],
                                  .out = probe->buffers[2],
                                  .count = (int64_t)(probe->bytes / sizeof(float)),
                                  .factor = 0.5f};
  struct cuda_grid grid = cuda_elements_grid(args.count / 16);
  return cuda_launch(probe->device, kernel, &grid, &args);
}
static td_status read_once(const struct probe *probe) {
  return launch_once(probe, CUDA_KERNEL_MEMORY_READ);
}
static td_status triad_once(const struct probe *probe) {
  return launch_once(probe, CUDA_KERNEL_MEMORY_TRIAD);
}

static td_status multiply_once(const struct probe *probe) {
  return cuda_blas_square(probe->device, probe->wide, MATRIX, probe->buffers[0], probe->buffers[1], probe->buffers[2]);
}

/* Seconds of one turn: the mean over a tenth of a second, after a turn to warm up and one to see how many fit. */
static td_status time_turns(const struct probe *probe, double *out_seconds) {
  int64_t begin = 0, turns = 1;
  for (int round = 0; round < 3; round++) {
    begin = td_now_ps();
    for (int64_t i = 0; i < turns; i++) TD_TRY(probe->once(probe));
    TD_TRY(cuda_wait(probe->device, probe->device->base.submitted + 1));
    int64_t turn = (td_now_ps() - begin) / turns + 1;
    *out_seconds = (double)turn / TD_PS_PER_SECOND;
    turns = round == 0 ? 1 : SAMPLE_PS / turn + 1;
    if (turns > MOST_TURNS) turns = MOST_TURNS;
  }
  return TD_OK;
}

/* Random floats in [-1, 1), or pairs of bf16 ones, over the whole buffer. */
static td_status fill_buffer(const struct probe *probe, cuda_ptr buffer) {
  uint32_t *words;
  TD_TRY(td_alloc(PATTERN_WORDS, sizeof *words, (void **)&words));
  for (uint64_t i = 0; i < PATTERN_WORDS; i++) {
    union {
      float value;
      uint32_t bits;
    } random = {.value = (float)(2.0 * td_random_unit(1, buffer, i) - 1.0)};
    words[i] = probe->wide ? random.bits : (random.bits & 0xffff0000u) | (random.bits >> 16 ^ 0x8000u);
  }
  td_status status = TD_OK;
  for (uint64_t done = 0, piece; done < probe->bytes && !status; done += piece) {
    piece = PATTERN_WORDS * sizeof *words;
    if (piece > probe->bytes - done) piece = probe->bytes - done;
    status = cuda_up(probe->device, buffer + done, words, piece);
  }
  free(words);
  return status;
}

static td_status measure(struct probe *probe, double *out_seconds) {
  for (int i = 0; i < 3; i++) {
    TD_TRY(cuda_alloc(probe->device, probe->bytes, "a ceiling's buffers", &probe->buffers[i]));
    TD_TRY(fill_buffer(probe, probe->buffers[i]));
  }
  return time_turns(probe, out_seconds);
}

static td_status measure_and_free(struct probe *probe, double *out_seconds) {
  td_status status = measure(probe, out_seconds);
  for (int i = 0; i < 3; i++) cuda_release(probe->device, probe->buffers[i]);
  return status;
}

/* A quarter of what is free at most, in whole rows of the pattern. */
static td_status memory_bytes(struct cuda_device *device, uint64_t *out_bytes) {
  size_t left, total;
  CUDA_TRY(device, cuMemGetInfo_v2(&left, &total), "asking how much memory is free");
  uint64_t bytes = left / 4 < MOST_BYTES ? left / 4 : MOST_BYTES;
  *out_bytes = bytes / (PATTERN_WORDS * sizeof(float)) * (PATTERN_WORDS * sizeof(float));
  if (*out_bytes) return TD_OK;
  return td_fail(TD_EXHAUSTED, "%s: found %zu bytes free, expected 16 MiB to measure memory with", device->chip->name,
                 left);
}

/* `moved`: how often the buffer's bytes go over the bus in one turn. */
static td_status bandwidth(struct cuda_device *device, td_status (*once)(const struct probe *), int moved,
                           double *out_rate) {
  struct probe probe = {.device = device, .once = once, .wide = true};
  double seconds;
  TD_TRY(memory_bytes(device, &probe.bytes));
  TD_TRY(measure_and_free(&probe, &seconds));
  *out_rate = (double)probe.bytes * moved / seconds;
  return TD_OK;
}

/* The rate of reading; the text also has that of a copy, which others quote. */
static td_status reading(struct cuda_device *device, double *out_rate, const char **out_how) {
  static _Thread_local char how[96];
  double rate, copy;
  TD_TRY(bandwidth(device, read_once, 1, &rate));
  TD_TRY(bandwidth(device, copy_once, 2, &copy));
  snprintf(how, sizeof how, "own kernel; copying on the device reads and writes %.4g GB/s", copy * 1e-9);
  *out_rate = rate;
  *out_how = how;
  return TD_OK;
}

static td_status products(struct cuda_device *device, bool wide, double *out_rate) {
  struct probe probe = {.device = device, .once = multiply_once, .wide = wide};
  probe.bytes = (uint64_t)MATRIX * MATRIX * sizeof(float); /* of the result, the largest */
  bool opened = !device->blas;
  double seconds;
  if (opened && cuda_blas_open(device)) return TD_UNIMPLEMENTED;
  td_status status = measure_and_free(&probe, &seconds);
  if (opened) cuda_blas_close(device);
  if (status) return status;
  *out_rate = 2.0 * MATRIX * MATRIX * MATRIX / seconds;
  return TD_OK;
}

td_status cuda_ceiling(struct td_device *base, enum td_ceiling which, double *out_rate, const char **out_how) {
  static const char *const how[TD_CEILING_COUNT] = {
      [TD_CEILING_TRIAD] = "own kernel",
      [TD_CEILING_GEMM_F32] = "cuBLASLt float32 8192^3",
      [TD_CEILING_GEMM_F16] = "cuBLASLt bf16 8192^3",
  };
  struct cuda_device *device = cuda_of(base);
  double rate;
  TD_TRY(cuda_enter(device));
  if (which == TD_CEILING_READ) return reading(device, out_rate, out_how);
  if (which == TD_CEILING_TRIAD) {
    TD_TRY(bandwidth(device, triad_once, 3, &rate));
  } else if (which == TD_CEILING_GEMM_F32 || which == TD_CEILING_GEMM_F16) {
    TD_TRY(products(device, which == TD_CEILING_GEMM_F32, &rate));
  } else {
    return td_fail(TD_UNIMPLEMENTED, "%s: ceiling %d", device->chip->name, (int)which);
  }
  *out_rate = rate;
  *out_how = how[which];
  return TD_OK;
}
