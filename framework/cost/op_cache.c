/* SPDX-License-Identifier: Apache-2.0 */
#include <pthread.h>
#include <stdlib.h>

#include "op_curve.h"
#include "tandem/base.h"

/* Curves by hash; a family that finds its places taken pushes out the first of them, so memory is bounded. */
#define PLACES 1024
#define LOOK 8

struct td_op_cache {
  pthread_mutex_t mutex;
  struct td_op_curve *curves[PLACES];
};

td_status td_op_cache_open(struct td_op_cache **out_cache) {
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct td_op_cache), &memory));
  struct td_op_cache *cache = memory;
  if (pthread_mutex_init(&cache->mutex, NULL)) {
    free(cache);
    return td_fail(TD_NO_MEMORY, "cost: found no memory for a mutex");
  }
  *out_cache = cache;
  return TD_OK;
}

void td_op_cache_close(struct td_op_cache *cache) {
  if (!cache) return;
  for (int32_t i = 0; i < PLACES; i++) td_op_curve_close(cache->curves[i]);
  pthread_mutex_destroy(&cache->mutex);
  free(cache);
}

static uint64_t hash_of(enum td_operator op, const struct td_op_shape *family) {
  uint64_t hash = TD_HASH_INIT ^ (uint64_t)op;
  for (int i = 0; i < TD_SHAPE_FIELDS; i++) {
    hash = (hash ^ (uint64_t)family->v[i]) * UINT64_C(0x9e3779b97f4a7c15);
    hash ^= hash >> 32;
  }
  return hash;
}

static td_status find(struct td_op_cache *cache, const struct td_device_params *device, enum td_operator op,
                      const char *path, const struct td_op_shape *family, struct td_op_curve **out) {
  uint64_t hash = hash_of(op, family);
  struct td_op_curve **place = NULL;
  for (uint64_t i = 0; i < LOOK && !place; i++) {
    struct td_op_curve **here = &cache->curves[(hash + i) % PLACES];
    if (!*here) place = here;
    if (*here && td_op_curve_is(*here, op, path, family)) {
      *out = *here;
      return TD_OK;
    }
  }
  if (!place) place = &cache->curves[hash % PLACES];
  TD_TRY(td_op_curve_make(device, op, path, family, true, out));
  td_op_curve_close(*place);
  *place = *out;
  return TD_OK;
}

td_status td_op_cache_ps(struct td_op_cache *cache, const struct td_device_params *device, enum td_operator op,
                         const char *path, const struct td_op_shape *family, const int64_t *values, int32_t count,
                         int64_t *out_ps, double *out_low, double *out_high) {
  struct td_op_curve *curve = NULL;
  pthread_mutex_lock(&cache->mutex);
  td_status status = find(cache, device, op, path, family, &curve);
  for (int32_t i = 0; i < count && !status; i++) out_ps[i] = td_op_curve_ps(curve, values[i]);
  if (!status) td_op_curve_range(curve, values[0], out_low, out_high);
  pthread_mutex_unlock(&cache->mutex);
  return status;
}
