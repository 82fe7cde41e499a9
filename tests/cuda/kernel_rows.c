/* SPDX-License-Identifier: Apache-2.0
 *
 * Fused kernels of rows against the single ones, conversions against plain code, the bench's streams.
 */
#include "kernel_fixture.h"

enum { ROWS = 5, HEADS = 6, KV_HEADS = 2, HEAD_DIM = 24, BLOCK = 4, BLOCKS = 8, PAST = 3 };
#define WIDTH (HEADS * HEAD_DIM)
#define KV_WIDTH (KV_HEADS * HEAD_DIM)
#define POOL (BLOCKS * BLOCK * KV_WIDTH)

/* ---- rope and append ---- */

static struct cuda_rope_append_args rope_append_args(int half, int halves, int rope_dim, bool factors) {
  static const int32_t positions[ROWS] = {3, 4, 5, 6, 7}, row_seq[ROWS] = {0}, blocks[2] = {6, 1};
  static const struct cuda_seq seq = {PAST, ROWS, 0, 0};
  size_t pool_bytes = POOL * (half ? sizeof(uint16_t) : sizeof(float));
  float slower[HEAD_DIM];
  for (int i = 0; i < HEAD_DIM; i++) slower[i] = 1.0f + (float)i / 8;
  struct cuda_rope_append_args args = {
      .rope = {.in = sent(values(1, ROWS * WIDTH), ROWS * WIDTH * sizeof(float)),
               .out = room(ROWS * WIDTH * sizeof(float)),
               .factors = factors ? sent(slower, sizeof slower) : 0,
               .positions = sent(positions, sizeof positions),
               .theta = 10000,
               .position_scale = 0.5,
               .rows = ROWS,
               .heads = HEADS,
               .head_dim = HEAD_DIM,
               .rope_dim = rope_dim,
               .halves = halves,
               .dtype = TD_F32},
      .append = {.k = sent(values(2, ROWS * KV_WIDTH), ROWS * KV_WIDTH * sizeof(float)),
                 .v = sent(values(3, ROWS * KV_WIDTH), ROWS * KV_WIDTH * sizeof(float)),
                 .kv = {room(pool_bytes), room(pool_bytes), half, BLOCK, KV_HEADS, HEAD_DIM}}};
  args.append.batch = (struct cuda_batch){.positions = args.rope.positions,
                                          .row_seq = sent(row_seq, sizeof row_seq),
                                          .seqs = sent(&seq, sizeof seq),
                                          .blocks = sent(blocks, sizeof blocks),
                                          .rows = ROWS,
                                          .seq_count = 1};
  return args;
}

/* ROPE of q, ROPE of k, KV_APPEND. */
static struct cuda_rope_append_args one_by_one(struct cuda_rope_append_args args) {
  struct cuda_rope_args rope = args.rope;
  size_t pool_bytes = POOL * (args.append.kv.half ? sizeof(uint16_t) : sizeof(float));
  args.rope.out = rope.out = room(ROWS * WIDTH * sizeof(float));
  launch(CUDA_KERNEL_ROPE, cuda_rows_grid(ROWS), &rope);
  rope.in = args.append.k;
  rope.out = args.append.k = room(ROWS * KV_WIDTH * sizeof(float));
  rope.heads = KV_HEADS;
  launch(CUDA_KERNEL_ROPE, cuda_rows_grid(ROWS), &rope);
  args.append.kv.k = room(pool_bytes);
  args.append.kv.v = room(pool_bytes);
  launch(CUDA_KERNEL_KV_APPEND, cuda_rows_grid(ROWS), &args.append);
  return args;
}

static void check_rope_append(int half, int halves, int rope_dim, bool factors) {
  static float want[ROWS * WIDTH], got[ROWS * WIDTH];
  static unsigned char want_pool[POOL * 4], got_pool[POOL * 4];
  size_t pool_bytes = POOL * (half ? sizeof(uint16_t) : sizeof(float));
  struct cuda_rope_append_args fused = rope_append_args(half, halves, rope_dim, factors);
  struct cuda_rope_append_args single = one_by_one(fused);
  launch(CUDA_KERNEL_ROPE_APPEND, cuda_rows_grid(ROWS), &fused);
  fetch(single.rope.out, want, sizeof want);
  fetch(fused.rope.out, got, sizeof got);
  assert_same("q", got, want, ROWS * WIDTH);
  fetch(single.append.kv.k, want_pool, pool_bytes);
  fetch(fused.append.kv.k, got_pool, pool_bytes);
  assert_memory_equal(got_pool, want_pool, pool_bytes);
  fetch(single.append.kv.v, want_pool, pool_bytes);
  fetch(fused.append.kv.v, got_pool, pool_bytes);
  assert_memory_equal(got_pool, want_pool, pool_bytes);
}

static void test_rope_append(void **state) {
  for (int i = 0; i < 8; i++) {
    check_rope_append(i & 1, i >> 1 & 1, i & 4 ? HEAD_DIM : 16, i & 4);
    kernel_release(state);
  }
}

/* ---- norm ---- */

/* The sum in place of one of its operands, then the norm of it. */
static void check_norm(int64_t n, int groups) {
  static float want_sum[3 * 6000], sum[3 * 6000], want[3 * 6000], got[3 * 6000];
  float *in = values(1, 3 * n), *add = values(2, 3 * n), *weight = values(3, n / groups);
  size_t bytes = (size_t)(3 * n) * sizeof(float);
  for (int64_t i = 0; i < 3 * n; i++) want_sum[i] = in[i] + add[i];
  struct cuda_rms_norm_args args = {.in = sent(want_sum, bytes),
                                    .weight = sent(weight, (size_t)(n / groups) * sizeof(float)),
                                    .out = room(bytes),
                                    .n = n,
                                    .rows = 3,
                                    .groups = groups,
                                    .dtype = TD_F32,
                                    .epsilon = 1e-5f};
  launch(CUDA_KERNEL_RMS_NORM, cuda_rows_grid(3 * groups), &args);
  fetch(args.out, want, bytes);
  for (int form = 0; form < 3; form++) { /* sum elsewhere, in place, not stored */
    args.in = sent(in, bytes);
    args.add = sent(add, bytes);
    args.sum = form == 0 ? room(bytes) : form == 1 ? args.add : 0;
    launch(CUDA_KERNEL_RMS_NORM, cuda_rows_grid(3 * groups), &args);
    fetch(args.out, got, bytes);
    assert_same("norm of a sum", got, want, 3 * n);
    if (!args.sum) continue;
    fetch(args.sum, sum, bytes);
    assert_same("sum", sum, want_sum, 3 * n);
  }
}

static void test_norm(void **state) {
  (void)state;
  check_norm(96, 1);
  check_norm(96, 3);
  check_norm(5000, 1); /* more than a thread keeps */
}

/* ---- narrow types ---- */

static uint16_t plain_bf16(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint32_t cut = bits & 0xffffu, out = bits >> 16;
  if (cut > 0x8000u || (cut == 0x8000u && (out & 1))) out++;
  return (uint16_t)out;
}

static double e4m3_value(int code) {
  int exponent = code >> 3 & 15, mantissa = code & 7;
  double size = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
  return code & 128 ? -size : size;
}

/* The nearest of all codes, the even one of two. */
static int plain_e4m3(double value) {
  int best = 0;
  for (int code = 0; code < 127; code++) {
    double error = fabs(e4m3_value(code) - fabs(value)), least = fabs(e4m3_value(best) - fabs(value));
    if (error < least || (!(error > least) && code % 2 == 0)) best = code;
  }
  return value < 0 ? best | 128 : best;
}

static struct cuda_narrow_args narrow_args(enum td_dtype dtype, const void *src, int64_t cols,
                                           enum cuda_narrow narrow) {
  uint64_t row_bytes;
  assert_ok(td_dtype_row_bytes(dtype, cols, &row_bytes));
  return (struct cuda_narrow_args){.src = sent(src, 3 * row_bytes),
                                   .dst = room((size_t)(3 * cols) * 2),
                                   .rows = 3,
                                   .cols = cols,
                                   .row_bytes = (int64_t)row_bytes,
                                   .dtype = (int32_t)dtype,
                                   .narrow = (int32_t)narrow};
}

static void check_narrow(enum td_dtype dtype, int64_t cols) {
  static unsigned char src[3 * 512 * 4];
  static uint16_t got[3 * 512];
  static float plain[3 * 512];
  assert_ok(td_quantize(dtype, values(9, 3 * cols), src, 3 * cols));
  td_dequantize(dtype, src, plain, 3 * cols);
  for (int narrow = CUDA_BF16; narrow <= CUDA_FP16; narrow++) {
    struct cuda_narrow_args args = narrow_args(dtype, src, cols, (enum cuda_narrow)narrow);
    launch(CUDA_KERNEL_NARROW, cuda_elements_grid(3 * cols), &args);
    fetch(args.dst, got, (size_t)(3 * cols) * sizeof *got);
    for (int64_t i = 0; i < 3 * cols; i++) {
      assert_int_equal(got[i], narrow == CUDA_BF16 ? plain_bf16(plain[i]) : td_float_to_half(plain[i]));
    }
  }
}

static void test_narrow(void **state) {
  for (int i = 0; td_dtype_at(i); i++) {
    check_narrow(td_dtype_at(i)->dtype, td_dtype_at(i)->block_elements > 32 ? 512 : 96);
    kernel_release(state);
  }
  check_narrow(TD_F32, 37);
}

/* Every float16 value, scaled so that the largest is 448, comes out as the nearest e4m3. */
static void test_e4m3(void **state) {
  (void)state;
  enum { COLS = 1024 };
  static float src[3 * COLS];
  static unsigned char got[3 * COLS];
  float scale[2], *noise = values(4, 3 * COLS);
  for (int i = 0; i < 3 * COLS; i++) src[i] = ldexpf(noise[i], i % 24 - 18);
  src[5] = 448 * 2;
  for (int i = 0; i < 2 * 127; i++) src[10 + i] = (float)(e4m3_value(i / 2) + e4m3_value((i + 1) / 2)); /* and ties */
  src[10 + 253] = 1;
  struct cuda_amax_args amax = {.src = sent(src, sizeof src),
                                .scale = room(sizeof scale),
                                .max_bits = room(4),
                                .counter = room(4),
                                .rows = 3,
                                .cols = COLS,
                                .row_bytes = COLS * 4,
                                .dtype = TD_F32};
  launch(CUDA_KERNEL_AMAX, cuda_elements_grid(700), &amax);
  fetch(amax.scale, scale, sizeof scale);
  assert_true(scale[0] == 2.0f && scale[1] == 0.5f);
  struct cuda_narrow_args args = narrow_args(TD_F32, src, COLS, CUDA_E4M3);
  args.inverse_scale = amax.scale + sizeof(float);
  launch(CUDA_KERNEL_NARROW, cuda_elements_grid(3 * COLS), &args);
  fetch(args.dst, got, sizeof got);
  for (int i = 0; i < 3 * COLS; i++) {
    int want = plain_e4m3((double)src[i] / 2);
    if ((want & 127) == 0 && (got[i] & 127) == 0) continue; /* zeros of either sign */
    if (got[i] != want) fail_msg("%g: found %#x, expected %#x", (double)src[i] / 2, got[i], (unsigned)want);
  }
}

/* ---- the bench's streams ---- */

static void test_streams(void **state) {
  (void)state;
  enum { COUNT = 30000 };
  static float got[COUNT];
  float *a = values(1, COUNT), *b = values(2, COUNT);
  struct cuda_memory_args args = {.a = sent(a, COUNT * sizeof(float)),
                                  .b = sent(b, COUNT * sizeof(float)),
                                  .out = room(COUNT * sizeof(float)),
                                  .count = COUNT,
                                  .factor = 0.5f};
  launch(CUDA_KERNEL_MEMORY_COPY, cuda_elements_grid(COUNT / 16), &args);
  fetch(args.out, got, sizeof got);
  assert_same("copy", got, a, COUNT);
  launch(CUDA_KERNEL_MEMORY_TRIAD, cuda_elements_grid(COUNT / 16), &args);
  fetch(args.out, got, sizeof got);
  for (int i = 0; i < COUNT; i++) assert_true(got[i] == a[i] + 0.5f * b[i]);
  struct cuda_grid grid = cuda_elements_grid(COUNT / 16);
  launch(CUDA_KERNEL_MEMORY_READ, grid, &args);
  fetch(args.out, got, sizeof got);
  for (uint32_t block = 0; block < grid.x; block++) { /* the first warp of each block tells its sum */
    double sum = 0;
    for (uint32_t i = block * grid.threads * 4; i < COUNT; i += grid.x * grid.threads * 4) {
      for (uint32_t e = i; e < i + 128 && e < COUNT; e++) sum += (double)a[e];
    }
    float want = (float)sum;
    assert_close("read", &got[block], &want, 1, 1e-3);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_teardown(test_rope_append, kernel_release), cmocka_unit_test_teardown(test_norm, kernel_release),
      cmocka_unit_test_teardown(test_narrow, kernel_release),      cmocka_unit_test_teardown(test_e4m3, kernel_release),
      cmocka_unit_test_teardown(test_streams, kernel_release),
  };
  return cmocka_run_group_tests(tests, kernel_open, kernel_close);
}
