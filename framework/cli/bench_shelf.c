/* SPDX-License-Identifier: Apache-2.0
 *
 * What operators read from memory, kept from one to the next: filling more than the caches hold takes longer than a
 * short measurement.
 */
#include <stdlib.h>
#include <string.h>

#include "bench.h"
#include "tandem/base.h"

#define CHUNK ((uint64_t)1 << 20)

/* ---- weights ---- */

static void drop_weights(struct td_device *device, struct bench_shelf *shelf) {
  for (int64_t i = 0; i < shelf->weight_count; i++) td_device_free(device, shelf->weights[i]);
  free(shelf->weights);
  shelf->weights = NULL;
  shelf->weight_count = 0;
}

static td_status fill_weights(struct td_device *device, const void *host, uint64_t bytes, int64_t copies,
                              struct bench_shelf *shelf) {
  for (int64_t i = 0; i < copies; i++) {
    TD_TRY(td_device_alloc(device, bytes, TD_USE_WEIGHT, &shelf->weights[i]));
    shelf->weight_count++;
    TD_TRY(td_device_write(device, shelf->weights[i], 0, host, bytes));
  }
  return TD_OK;
}

td_status bench_shelf_weights(struct td_device *device, const struct td_weight *weight, int64_t copies, uint64_t seed,
                              struct bench_shelf *shelf) {
  bool same = shelf->dtype == weight->dtype && shelf->rows == weight->rows && shelf->cols == weight->cols;
  uint64_t bytes;
  void *host;
  if (same && shelf->weight_count >= copies) return TD_OK;
  drop_weights(device, shelf);
  TD_TRY(td_dtype_row_bytes(weight->dtype, weight->cols, &bytes));
  bytes *= (uint64_t)weight->rows;
  TD_TRY(td_alloc((size_t)copies, sizeof(struct td_buffer *), (void **)&shelf->weights));
  TD_TRY(td_alloc(1, bytes, &host));
  td_status status = bench_fill_weight(weight->dtype, weight->rows, weight->cols, seed, host);
  if (!status) status = fill_weights(device, host, bytes, copies, shelf);
  free(host);
  shelf->dtype = weight->dtype;
  shelf->rows = weight->rows;
  shelf->cols = weight->cols;
  return status;
}

/* ---- the cache ---- */

static void drop_cache(struct td_device *device, struct bench_shelf *shelf) {
  td_device_free(device, shelf->k);
  td_device_free(device, shelf->v);
  shelf->k = shelf->v = NULL;
  shelf->cache_bytes = 0;
}

static td_status fill_cache(struct td_device *device, const float *host, uint64_t bytes, struct td_buffer **out) {
  td_status status = td_device_alloc(device, bytes, TD_USE_KV, out);
  for (uint64_t at = 0; at < bytes && !status; at += CHUNK) {
    status = td_device_write(device, *out, at, host, bytes - at < CHUNK ? bytes - at : CHUNK);
  }
  return status;
}

/* Keys and values of an eighth in each element: finite, and not zero, which some chips compute faster. */
static td_status make_cache(struct td_device *device, enum td_dtype dtype, uint64_t bytes, struct bench_shelf *shelf) {
  const uint32_t eighths = dtype == TD_F16 ? 0x30003000u : 0x3e000000u;
  float *host;
  TD_TRY(td_alloc(1, CHUNK, (void **)&host));
  for (uint64_t i = 0; i < CHUNK / sizeof eighths; i++) memcpy(host + i, &eighths, sizeof eighths);
  td_status status = fill_cache(device, host, bytes, &shelf->k);
  if (!status) status = fill_cache(device, host, bytes, &shelf->v);
  free(host);
  return status;
}

td_status bench_shelf_cache(struct td_device *device, enum td_dtype dtype, uint64_t bytes, struct bench_shelf *shelf) {
  if (shelf->cache_dtype == dtype && shelf->cache_bytes >= bytes) return TD_OK;
  drop_cache(device, shelf);
  TD_TRY(make_cache(device, dtype, bytes, shelf));
  shelf->cache_dtype = dtype;
  shelf->cache_bytes = bytes;
  return TD_OK;
}

void bench_shelf_close(struct td_device *device, struct bench_shelf *shelf) {
  drop_weights(device, shelf);
  drop_cache(device, shelf);
}
