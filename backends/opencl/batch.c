/* SPDX-License-Identifier: Apache-2.0
 *
 * A step's batch on the device: one array of int32, made anew for each operator that reads it (a few microseconds) and
 * sent when it differs from the one that is there, which is once per step.
 *   ids[T]         token ids, if there are any
 *   positions[T]
 *   tables[T]      where in blocks the table of the row's sequence begins
 *   logit_rows[L]
 *   tiles[2 n]     pairs (first row, rows): the attention of processors takes a few rows of a sequence at a time
 *   blocks         the block tables of all sequences
 */
#include <stdlib.h>
#include <string.h>

#include "device.h"
#include "tandem/base.h"

static td_status reserve(struct opencl_batch *state, const struct td_batch *batch) {
  size_t need = 3 * (size_t)batch->rows + (size_t)batch->logit_count;
  for (int32_t s = 0; s < batch->seq_count; s++) {
    need += 2 * (size_t)(batch->seqs[s].tokens / OPENCL_QUERIES + 1) + (size_t)batch->seqs[s].block_count;
  }
  void *next = state->next;
  td_status status = td_grow(&next, &state->next_capacity, need, sizeof *state->next);
  state->next = next;
  state->next_count = 0;
  return status;
}

static uint64_t begin_part(const struct opencl_batch *state) {
  return state->next_count * sizeof *state->next;
}
static void put(struct opencl_batch *state, int64_t value) {
  state->next[state->next_count++] = (int32_t)value;
}
static void put_all(struct opencl_batch *state, const int32_t *values, int64_t count) {
  if (values && count > 0) memcpy(state->next + state->next_count, values, (size_t)count * sizeof *values);
  if (values && count > 0) state->next_count += (size_t)count;
}

static void put_positions(struct opencl_batch *state, const struct td_batch *batch) {
  state->positions = begin_part(state);
  if (batch->positions) {
    put_all(state, batch->positions, batch->rows);
    return;
  }
  for (int32_t s = 0; s < batch->seq_count; s++) {
    for (int64_t t = 0; t < batch->seqs[s].tokens; t++) put(state, batch->seqs[s].past + t);
  }
}

static void put_tables(struct opencl_batch *state, const struct td_batch *batch) {
  int64_t begin = 0;
  state->tables = begin_part(state);
  for (int32_t s = 0; s < batch->seq_count; s++) {
    for (int64_t t = 0; t < batch->seqs[s].tokens; t++) put(state, begin);
    if (batch->seqs[s].blocks) begin += batch->seqs[s].block_count;
  }
}

static void put_tiles(struct opencl_batch *state, const struct td_batch *batch) {
  state->tiles = begin_part(state);
  state->tile_count = 0;
  for (int32_t s = 0; s < batch->seq_count; s++) {
    const struct td_seq *seq = &batch->seqs[s];
    for (int64_t t = 0; t < seq->tokens; t += OPENCL_QUERIES, state->tile_count++) {
      put(state, seq->first_row + t);
      put(state, seq->tokens - t < OPENCL_QUERIES ? seq->tokens - t : OPENCL_QUERIES);
    }
  }
}

static td_status build(struct opencl_batch *state, const struct td_batch *batch) {
  TD_TRY(reserve(state, batch));
  state->ids = begin_part(state);
  put_all(state, batch->ids, batch->rows);
  put_positions(state, batch);
  put_tables(state, batch);
  state->logit_rows = begin_part(state);
  put_all(state, batch->logit_rows, batch->logit_count);
  put_tiles(state, batch);
  state->blocks = begin_part(state);
  for (int32_t s = 0; s < batch->seq_count; s++) put_all(state, batch->seqs[s].blocks, batch->seqs[s].block_count);
  return TD_OK;
}

/* Same numbers, same parts: where the parts begin depends on the counts, which the numbers alone do not tell. */
static bool unchanged(const struct opencl_batch *state, const struct opencl_batch *before) {
  return state->next_count == state->image_count && state->positions == before->positions &&
         state->tables == before->tables && state->logit_rows == before->logit_rows && state->tiles == before->tiles &&
         state->blocks == before->blocks &&
         memcmp(state->next, state->image, state->next_count * sizeof *state->next) == 0;
}

static td_status send(struct opencl_device *device) {
  struct opencl_batch *state = &device->batch;
  uint64_t bytes = state->next_count * sizeof *state->next;
  for (int i = 0; i < OPENCL_TURNS; i++) device->turns[i].fresh = false;
  if (bytes == 0) return TD_OK;
  TD_TRY(opencl_scratch(device, &state->memory, bytes));
  return opencl_send(device, state->memory.memory, 0, state->next, bytes, NULL);
}

static void keep(struct opencl_batch *state) {
  int32_t *image = state->image;
  size_t capacity = state->image_capacity;
  state->image = state->next;
  state->image_capacity = state->next_capacity;
  state->image_count = state->next_count;
  state->next = image;
  state->next_capacity = capacity;
}

td_status opencl_batch(struct opencl_device *device, const struct td_batch *batch) {
  struct opencl_batch *state = &device->batch, before = *state;
  state->sent = false;
  TD_TRY(build(state, batch));
  if (!before.sent || !unchanged(state, &before)) {
    TD_TRY(send(device));
    keep(state);
  }
  state->sent = true;
  return TD_OK;
}

void opencl_drop_batch(struct opencl_device *device) {
  if (device->batch.memory.memory) OPENCL(ReleaseMemObject)(device->batch.memory.memory);
  free(device->batch.image);
  free(device->batch.next);
}
