/* SPDX-License-Identifier: Apache-2.0
 *
 * A batch's numbers on their way to the device: one block, one copy, none at all if the device has the same already.
 */
#include <stdlib.h>
#include <string.h>

#include "device.h"

/* The block's sections, in words. Equal rows, sequences and logit rows give equal places, whatever the batch; what may
 * differ in size (tiles, block tables) comes last. */
struct layout {
  size_t ids, positions, row_seq, decode_rows, seqs, logit_rows, tiles, fast_tiles, blocks, words;
  bool fast; /* there are fast tiles */
};

static size_t section(size_t *at, size_t words) {
  size_t begin = *at;
  *at += (words + 3) / 4 * 4; /* 16-byte loads */
  return begin;
}

static bool decodes(const struct td_seq *seq) {
  return seq->tokens <= CUDA_DECODE_TOKENS;
}

static size_t tiles_of(const struct td_seq *seq, int64_t tile) {
  return decodes(seq) ? 0 : (size_t)((seq->tokens + tile - 1) / tile);
}

static struct layout lay_out(const struct td_batch *batch, int32_t seq_count, bool fast) {
  struct layout layout = {.fast = fast};
  size_t at = 0, rows = (size_t)batch->rows, tiles = 0, fast_tiles = 0, blocks = 0;
  for (int32_t i = 0; i < seq_count; i++) {
    tiles += tiles_of(&batch->seqs[i], CUDA_QUERY_TILE);
    fast_tiles += fast ? tiles_of(&batch->seqs[i], CUDA_FAST_TILE) : 0;
    blocks += (size_t)batch->seqs[i].block_count;
  }
  layout.ids = section(&at, rows);
  layout.positions = section(&at, rows);
  layout.row_seq = section(&at, rows);
  layout.decode_rows = section(&at, rows);
  layout.seqs = section(&at, (size_t)seq_count * (sizeof(struct cuda_seq) / sizeof(int32_t)));
  layout.logit_rows = section(&at, (size_t)batch->logit_count);
  layout.tiles = section(&at, tiles * (sizeof(struct cuda_tile) / sizeof(int32_t)));
  layout.fast_tiles = section(&at, fast_tiles * (sizeof(struct cuda_tile) / sizeof(int32_t)));
  layout.blocks = section(&at, blocks);
  layout.words = at;
  return layout;
}

static int32_t splits_of(const struct td_seq *seq) {
  return (int32_t)((seq->past + seq->tokens - 1) / CUDA_SPLIT) + 1;
}

static void put_rows(int32_t *words, const struct layout *layout, const struct td_seq *seq, int32_t index,
                     struct cuda_step *step) {
  for (int64_t t = 0; t < seq->tokens; t++) {
    words[layout->row_seq + (size_t)(seq->first_row + t)] = index;
    words[layout->positions + (size_t)(seq->first_row + t)] = (int32_t)(seq->past + t);
    if (decodes(seq)) words[layout->decode_rows + (size_t)step->decode_count++] = (int32_t)(seq->first_row + t);
  }
  while (decodes(seq) && step->max_splits < splits_of(seq)) step->max_splits *= 2;
}

/* Appends the sequence's tiles of `size` rows to the *count that are at `to`. */
static void put_tiles(int32_t *to, const struct td_seq *seq, int32_t index, int64_t size, int32_t *count) {
  for (size_t i = 0; i < tiles_of(seq, size); i++) {
    int64_t first = (int64_t)i * size, left = seq->tokens - first;
    struct cuda_tile tile = {index, (int32_t)first, (int32_t)(left < size ? left : size), 0};
    memcpy(to + (size_t)(*count)++ * sizeof tile / sizeof *to, &tile, sizeof tile);
  }
}

static void put_sequences(int32_t *words, const struct layout *layout, const struct td_batch *batch,
                          struct cuda_step *step) {
  size_t blocks = 0;
  for (int32_t i = 0; i < batch->seq_count; i++) {
    const struct td_seq *seq = &batch->seqs[i];
    struct cuda_seq out = {(int32_t)seq->past, (int32_t)seq->tokens, (int32_t)seq->first_row, (int32_t)blocks};
    memcpy(words + layout->seqs + (size_t)i * sizeof out / sizeof *words, &out, sizeof out);
    if (seq->block_count) {
      memcpy(words + layout->blocks + blocks, seq->blocks, (size_t)seq->block_count * sizeof *words);
    }
    blocks += (size_t)seq->block_count;
    put_rows(words, layout, seq, i, step);
    put_tiles(words + layout->tiles, seq, i, CUDA_QUERY_TILE, &step->tile_count);
    if (layout->fast) put_tiles(words + layout->fast_tiles, seq, i, CUDA_FAST_TILE, &step->fast_count);
  }
}

static void put_words(int32_t *words, const struct layout *layout, const struct td_batch *batch, bool sequences,
                      struct cuda_step *step) {
  memset(words, 0, layout->words * sizeof *words);
  size_t rows = (size_t)batch->rows * sizeof *words;
  if (batch->ids) memcpy(words + layout->ids, batch->ids, rows);
  if (batch->positions) memcpy(words + layout->positions, batch->positions, rows);
  if (batch->logit_count) {
    memcpy(words + layout->logit_rows, batch->logit_rows, (size_t)batch->logit_count * sizeof *words);
  }
  if (sequences) put_sequences(words, layout, batch, step);
}

/* Room for `bytes` on the device; twice what is needed, so that it seldom moves. */
static td_status make_room(struct cuda_device *device, uint64_t bytes) {
  struct cuda_metadata *metadata = &device->metadata;
  if (bytes <= metadata->capacity) return TD_OK;
  cuda_release(device, metadata->address);
  metadata->address = 0;
  metadata->capacity = metadata->uploaded_count = 0;
  device->addresses++;
  TD_TRY(cuda_alloc(device, 2 * bytes, "a batch's numbers", &metadata->address));
  metadata->capacity = 2 * bytes;
  return TD_OK;
}

/* Makes `words` what the device has. */
static td_status send(struct cuda_device *device, size_t count) {
  struct cuda_metadata *metadata = &device->metadata;
  if (count == metadata->uploaded_count &&
      memcmp(metadata->words, metadata->uploaded, count * sizeof *metadata->words) == 0) {
    return TD_OK;
  }
  metadata->uploaded_count = 0;
  TD_TRY(cuda_up(device, metadata->address, metadata->words, count * sizeof *metadata->words));
  TD_TRY(td_grow((void **)&metadata->uploaded, &metadata->uploaded_capacity, count, sizeof *metadata->uploaded));
  memcpy(metadata->uploaded, metadata->words, count * sizeof *metadata->words);
  metadata->uploaded_count = count;
  return TD_OK;
}

td_status cuda_batch_upload(struct cuda_device *device, const struct td_batch *batch, bool sequences,
                            struct cuda_step *out_step) {
  struct cuda_metadata *metadata = &device->metadata;
  int32_t seq_count = sequences ? batch->seq_count : 0;
  struct layout layout = lay_out(batch, seq_count, device->blas != NULL);
  struct cuda_step step = {.max_splits = 1};
  TD_TRY(td_grow((void **)&metadata->words, &metadata->words_capacity, layout.words, sizeof *metadata->words));
  put_words(metadata->words, &layout, batch, sequences, &step);
  TD_TRY(make_room(device, layout.words * sizeof *metadata->words));
  TD_TRY(send(device, layout.words));
  cuda_ptr at = metadata->address;
  step.batch = (struct cuda_batch){.ids = at + layout.ids * sizeof(int32_t),
                                   .positions = at + layout.positions * sizeof(int32_t),
                                   .row_seq = at + layout.row_seq * sizeof(int32_t),
                                   .seqs = at + layout.seqs * sizeof(int32_t),
                                   .blocks = at + layout.blocks * sizeof(int32_t),
                                   .logit_rows = at + layout.logit_rows * sizeof(int32_t),
                                   .rows = (int32_t)batch->rows,
                                   .seq_count = seq_count,
                                   .logit_count = (int32_t)batch->logit_count};
  step.decode_rows = at + layout.decode_rows * sizeof(int32_t);
  step.tiles = at + layout.tiles * sizeof(int32_t);
  step.fast_tiles = at + layout.fast_tiles * sizeof(int32_t);
  *out_step = step;
  return TD_OK;
}

void cuda_batch_close(struct cuda_device *device) {
  cuda_release(device, device->metadata.address);
  free(device->metadata.words);
  free(device->metadata.uploaded);
}
