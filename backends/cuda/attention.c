/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention over the paged cache: rows of short sequences by split-KV kernels, tiles of long ones by the prefill
 * kernel; a batch may have both. The results do not tell which kernel made them.
 */
#include "operators.h"

struct cuda_kv cuda_cache(const struct td_kv_view *view) {
  return (struct cuda_kv){.k = view->k->address,
                          .v = view->v->address,
                          .half = view->dtype == TD_F16,
                          .block_tokens = view->block_tokens,
                          .kv_heads = view->kv_heads,
                          .head_dim = view->head_dim};
}

static td_status decode(struct cuda_device *device, const struct cuda_step *step, struct cuda_attention_args args) {
  args.rows = step->decode_rows;
  args.row_count = step->decode_count;
  args.max_splits = step->max_splits;
  uint64_t shares = (uint64_t)args.row_count * (uint64_t)args.heads * (uint64_t)args.max_splits;
  TD_TRY(cuda_scratch(device, shares * (uint64_t)(args.kv.head_dim + 2) * sizeof(float), &args.partial));
  struct cuda_grid grid = cuda_attention_grid(CUDA_KERNEL_ATTENTION_DECODE, &args);
  TD_TRY(cuda_launch(device, CUDA_KERNEL_ATTENTION_DECODE, &grid, &args));
  grid = cuda_attention_grid(CUDA_KERNEL_ATTENTION_MERGE, &args);
  return cuda_launch(device, CUDA_KERNEL_ATTENTION_MERGE, &grid, &args);
}

/* Does the tensor cores' kernel take this cache? */
static bool fits_fast(const struct cuda_device *device, const struct cuda_kv *kv) {
  return device->blas && kv->half && kv->head_dim % 16 == 0;
}

static td_status prefill(struct cuda_device *device, const struct cuda_step *step, struct cuda_attention_args args) {
  bool fast = fits_fast(device, &args.kv);
  args.tiles = fast ? step->fast_tiles : step->tiles;
  args.tile_count = fast ? step->fast_count : step->tile_count;
  enum cuda_kernel kernel = fast ? CUDA_KERNEL_ATTENTION_FAST : CUDA_KERNEL_ATTENTION_PREFILL;
  struct cuda_grid grid = cuda_attention_grid(kernel, &args);
  return cuda_launch(device, kernel, &grid, &args);
}

td_status cuda_attention(struct cuda_device *device, const struct cuda_step *step, const struct cuda_work *work) {
  struct cuda_attention_args args = {.q = work->in[0],
                                     .out = work->out,
                                     .batch = step->batch,
                                     .kv = cuda_cache(work->kv),
                                     .scale = (float)work->op->scale,
                                     .heads = work->op->heads,
                                     .window = work->op->window};
  if (step->decode_count) TD_TRY(decode(device, step, args));
  return step->tile_count ? prefill(device, step, args) : TD_OK;
}
