/* SPDX-License-Identifier: Apache-2.0
 *
 * What a runner's step does to the store: all sequences get their room or none, and a failed step leaves lengths, block
 * tables and the order of free blocks as they were.
 */
#include <inttypes.h>

#include "kv_private.h"
#include "tandem/base.h"

static td_status begin_one(struct td_kv_store *store, struct td_kv_step *step) {
  struct td_kv_request *record = td_kv_find(store, step->request);
  if (record) TD_TRY(td_kv_committed(store, step->request, &record));
  int64_t length = record ? record->length : 0;
  if (record && record->pending != length) {
    return td_fail(TD_PRECONDITION, "request %" PRIu64 ": found twice in one step", step->request);
  }
  if (step->past != length) {
    return td_fail(TD_PRECONDITION,
                   "request %" PRIu64 ": found a step after %" PRId64 " positions, expected %" PRId64
                   " (what its KV cache holds)",
                   step->request, step->past, length);
  }
  step->blocks_before = record ? record->block_count : -1;
  TD_TRY(td_kv_reserve(store, step->request, step->past + step->tokens));
  td_kv_find(store, step->request)->pending = step->past + step->tokens;
  return TD_OK;
}

static void take_back(struct td_kv_store *store, const struct td_kv_step *steps, int32_t count) {
  while (count-- > 0) {
    struct td_kv_request *record = td_kv_find(store, steps[count].request);
    if (!record) continue;
    record->length = record->pending = steps[count].past;
    td_kv_shrink(store, record, steps[count].blocks_before < 0 ? 0 : steps[count].blocks_before);
    if (steps[count].blocks_before < 0) td_kv_release(store, steps[count].request);
  }
}

td_status td_kv_step_begin(struct td_kv_store *store, struct td_kv_step *steps, int32_t count) {
  store->step_layer_end = store->layer_begin;
  for (int32_t i = 0; i < count; i++) {
    td_status status = begin_one(store, &steps[i]);
    if (!status) continue;
    take_back(store, steps, i);
    return status;
  }
  return TD_OK;
}

void td_kv_step_layer(struct td_kv_store *store, int32_t layer) {
  store->step_layer_end = layer + 1;
}

void td_kv_step_end(struct td_kv_store *store, const struct td_kv_step *steps, int32_t count, bool failed) {
  store->step_layer_end = store->layer_begin;
  if (failed) take_back(store, steps, count);
  for (int32_t i = 0; i < count && !failed; i++) {
    struct td_kv_request *record = td_kv_find(store, steps[i].request);
    if (record) record->length = record->pending; /* absent: released by the layer callback */
  }
}
