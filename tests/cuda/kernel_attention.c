/* SPDX-License-Identifier: Apache-2.0
 *
 * The attention kernels against each other: decode and prefill bit for bit, tensor cores within half precision.
 */
#include "kernel_fixture.h"

enum { BLOCK = 16, MOST_BLOCKS = 32 };

struct shape {
  int past, tokens, heads, kv_heads, head_dim, window;
};

/* A sequence in a cache whose blocks are in another order; what lies behind its end is NaN. */
struct scene {
  struct shape shape;
  struct cuda_attention_args args;
  size_t out_bytes;
};

static void make_cache(struct scene *scene, int half) {
  const struct shape *s = &scene->shape;
  int64_t row = (int64_t)s->kv_heads * s->head_dim, count = MOST_BLOCKS * BLOCK * row;
  size_t bytes = (size_t)count * (half ? sizeof(uint16_t) : sizeof(float));
  cuda_ptr pools[2];
  for (int p = 0; p < 2; p++) {
    void *pool = malloc(bytes);
    assert_non_null(pool);
    memset(pool, 0xff, bytes);
    for (int at = 0; at < s->past + s->tokens; at++) {
      int64_t slot = (int64_t)(MOST_BLOCKS - 1 - at / BLOCK) * BLOCK + at % BLOCK;
      char *to = (char *)pool + (size_t)(slot * row) * (half ? sizeof(uint16_t) : sizeof(float));
      assert_ok(td_quantize(half ? TD_F16 : TD_F32, values(1000 * (uint64_t)(p + 1) + (uint64_t)at, row), to, row));
    }
    pools[p] = sent(pool, bytes);
    free(pool);
  }
  scene->args.kv = (struct cuda_kv){pools[0], pools[1], half, BLOCK, s->kv_heads, s->head_dim};
}

static void make_batch(struct scene *scene) {
  const struct shape *s = &scene->shape;
  int32_t positions[512], row_seq[512] = {0}, rows[512], blocks[MOST_BLOCKS];
  for (int i = 0; i < s->tokens; i++) positions[i] = s->past + i, rows[i] = i;
  for (int i = 0; i < MOST_BLOCKS; i++) blocks[i] = MOST_BLOCKS - 1 - i;
  struct cuda_seq seq = {s->past, s->tokens, 0, 0};
  size_t words = (size_t)s->tokens * sizeof(int32_t);
  scene->args.batch = (struct cuda_batch){.positions = sent(positions, words),
                                          .row_seq = sent(row_seq, words),
                                          .seqs = sent(&seq, sizeof seq),
                                          .blocks = sent(blocks, sizeof blocks),
                                          .rows = s->tokens,
                                          .seq_count = 1};
  scene->args.rows = sent(rows, words);
}

static void make_scene(struct scene *scene, struct shape shape, int half) {
  int64_t width = (int64_t)shape.heads * shape.head_dim;
  memset(scene, 0, sizeof *scene);
  scene->shape = shape;
  scene->out_bytes = (size_t)(shape.tokens * width) * sizeof(float);
  make_cache(scene, half);
  make_batch(scene);
  scene->args.q = sent(values(7, shape.tokens * width), scene->out_bytes);
  scene->args.out = room(scene->out_bytes);
  scene->args.scale = (float)(1 / sqrt(shape.head_dim));
  scene->args.heads = shape.heads;
  scene->args.window = shape.window;
}

static void by_decode(struct scene *scene, float *out) {
  struct cuda_attention_args *args = &scene->args;
  args->row_count = scene->shape.tokens;
  args->max_splits = (scene->shape.past + scene->shape.tokens) / CUDA_SPLIT + 2; /* more than there are */
  size_t shares = (size_t)(args->row_count * args->heads * args->max_splits);
  args->partial = room(shares * (size_t)(args->kv.head_dim + 2) * sizeof(float));
  launch(CUDA_KERNEL_ATTENTION_DECODE, cuda_attention_grid(CUDA_KERNEL_ATTENTION_DECODE, args), args);
  launch(CUDA_KERNEL_ATTENTION_MERGE, cuda_attention_grid(CUDA_KERNEL_ATTENTION_MERGE, args), args);
  fetch(args->out, out, scene->out_bytes);
}

static void by_tiles(struct scene *scene, enum cuda_kernel kernel, int tile_rows, float *out) {
  struct cuda_tile tiles[64];
  int count = 0;
  for (int first = 0; first < scene->shape.tokens; first += tile_rows, count++) {
    int left = scene->shape.tokens - first;
    tiles[count] = (struct cuda_tile){0, first, left < tile_rows ? left : tile_rows, 0};
  }
  scene->args.tiles = sent(tiles, sizeof tiles);
  scene->args.tile_count = count;
  launch(kernel, cuda_attention_grid(kernel, &scene->args), &scene->args);
  fetch(scene->args.out, out, scene->out_bytes);
}

static const struct shape shapes[] = {
    {0, 1, 1, 1, 64, 0},      {0, 70, 2, 1, 64, 0},   {61, 9, 4, 2, 32, 0},     {130, 40, 2, 1, 128, 0},
    {100, 33, 2, 2, 80, 0},   {3, 90, 2, 1, 16, 20},  {200, 30, 3, 1, 64, 100}, {60, 20, 1, 1, 256, 0},
    {150, 17, 20, 1, 16, 70}, {63, 2, 40, 2, 256, 0},
};
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void test_decode_is_prefill(void **state) {
  static float by_rows[MOST], by_tile[MOST];
  for (size_t i = 0; i < COUNT(shapes) * 2; i++) {
    struct scene scene;
    make_scene(&scene, shapes[i / 2], (int)(i % 2));
    by_decode(&scene, by_rows);
    by_tiles(&scene, CUDA_KERNEL_ATTENTION_PREFILL, CUDA_QUERY_TILE, by_tile);
    assert_same("prefill", by_tile, by_rows, (int64_t)(scene.out_bytes / sizeof(float)));
    by_tiles(&scene, CUDA_KERNEL_ATTENTION_PREFILL, 5, by_tile);
    assert_same("tiles of five", by_tile, by_rows, (int64_t)(scene.out_bytes / sizeof(float)));
    kernel_release(state);
  }
}

static void test_tensor_cores(void **state) {
  static float exact[MOST], fast[MOST];
  for (size_t i = 0; i < COUNT(shapes); i++) {
    struct scene scene;
    make_scene(&scene, shapes[i], 1);
    int64_t count = (int64_t)(scene.out_bytes / sizeof(float));
    by_decode(&scene, exact);
    by_tiles(&scene, CUDA_KERNEL_ATTENTION_FAST, CUDA_FAST_TILE, fast);
    assert_close("tensor cores", fast, exact, count, 2e-3);
    by_tiles(&scene, CUDA_KERNEL_ATTENTION_FAST, CUDA_QUERY_TILE, fast);
    assert_close("tensor cores, small tiles", fast, exact, count, 2e-3);
    kernel_release(state);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_decode_is_prefill, kernel_release),
      cmocka_unit_test_teardown(test_tensor_cores, kernel_release),
  };
  return cmocka_run_group_tests(tests, kernel_open, kernel_close);
}
