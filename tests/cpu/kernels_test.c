/* SPDX-License-Identifier: Apache-2.0
 *
 * The cpu backend's inner loops against their definition: weights as tandem/blocks.h has them, and sums in sixteen
 * lanes in the order that cpu.h states, for every type and instruction set, bit for bit.
 */
#include "tandem/kernels.h"
#include <math.h>

#include "cpu.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/blocks.h"

#define ROWS 19 /* of weights: more than an item, and no multiple of a tile */
#define TOKENS 6
#define WIDEST 608 /* 256 + 256 + 96 */

struct sample {
  unsigned char weight[ROWS * WIDEST * 4];
  float values[ROWS][WIDEST]; /* of the weights, by definition */
  float x[TOKENS][WIDEST];
  float out[TOKENS][ROWS], want[TOKENS][ROWS];
  const float *x_rows[TOKENS];
  float *out_rows[TOKENS];
  struct cpu_product product;
};
static struct sample sample;

static float value_of(enum td_dtype dtype, const unsigned char *block, int32_t i) {
  switch (dtype) {
#define ROW(type) \
  case TD_##type: \
    return td_value_##type(block, i);
    TD_STORED_TYPES(ROW)
#undef ROW
    default:
      fail_msg("type %d", (int)dtype);
      return 0;
  }
}

/* Random bytes would hold infinite scales: the halves of a block get small exponents. */
static void fill_blocks(enum td_dtype dtype, unsigned char *to, size_t bytes) {
  for (size_t i = 0; i < bytes; i++) to[i] = (unsigned char)td_random(7, (uint64_t)dtype, i);
  const struct td_dtype_info *info = td_dtype_info((uint32_t)dtype);
  static const struct {
    enum td_dtype dtype;
    int at[2];
  } halves[] = {{TD_Q8_0, {0, 0}}, {TD_Q4_0, {0, 0}},   {TD_Q4_1, {0, 2}},     {TD_Q5_0, {0, 0}},
                {TD_Q5_1, {0, 2}}, {TD_IQ4_NL, {0, 0}}, {TD_Q2_K, {80, 82}},   {TD_Q3_K, {108, 108}},
                {TD_Q4_K, {0, 2}}, {TD_Q5_K, {0, 2}},   {TD_Q6_K, {208, 208}}, {TD_F16, {0, 0}}};
  for (size_t h = 0; h < sizeof halves / sizeof halves[0]; h++) {
    if (halves[h].dtype != dtype) continue;
    for (size_t block = 0; block < bytes / (size_t)info->block_bytes; block++) {
      for (int i = 0; i < 2; i++) {
        unsigned char *high = to + block * (size_t)info->block_bytes + halves[h].at[i] + 1;
        *high = (unsigned char)(*high & 0xbf); /* under 2 */
      }
    }
  }
}

static void fill_weights(enum td_dtype dtype) {
  struct cpu_product *product = &sample.product;
  if (dtype == TD_F32 || dtype == TD_BF16) {
    for (int64_t i = 0; i < ROWS * product->k; i++) {
      float value = (float)td_random_unit(1, 2, (uint64_t)i) - 0.5f;
      assert_int_equal(td_quantize(dtype, &value, sample.weight + i * product->block_bytes, 1), TD_OK);
    }
  } else {
    fill_blocks(dtype, sample.weight, ROWS * product->row_bytes);
  }
  for (int64_t r = 0; r < ROWS; r++) {
    for (int64_t i = 0; i < product->k; i++) {
      const unsigned char *row = sample.weight + (uint64_t)r * product->row_bytes;
      sample.values[r][i] = value_of(dtype, row + i / product->block_elements * product->block_bytes,
                                     (int32_t)(i % product->block_elements));
    }
  }
}

/* Element i in lane i % 16, lanes folded by halves. */
static float sum_of(const float *a, const float *b, int64_t k) {
  float lanes[CPU_LANES] = {0};
  for (int64_t i = 0; i < k; i++) lanes[i % CPU_LANES] += a[i] * b[i];
  for (int width = CPU_LANES / 2; width; width /= 2) {
    for (int i = 0; i < width; i++) lanes[i] += lanes[i + width];
  }
  return lanes[0];
}

static void make_sample(enum td_dtype dtype, int64_t k) {
  assert_int_equal(cpu_product_describe(dtype, sample.weight, ROWS, k, &sample.product), TD_OK);
  fill_weights(dtype);
  for (int t = 0; t < TOKENS; t++) {
    sample.x_rows[t] = sample.x[t];
    sample.out_rows[t] = sample.out[t];
    for (int64_t i = 0; i < k; i++) sample.x[t][i] = (float)td_random_unit(3, (uint64_t)t, (uint64_t)i) - 0.5f;
    for (int64_t i = k; i < WIDEST; i++) sample.x[t][i] = NAN; /* nobody may look there */
    for (int r = 0; r < ROWS; r++) sample.want[t][r] = sum_of(sample.x[t], sample.values[r], k);
  }
  sample.product.x = sample.x_rows;
  sample.product.out = sample.out_rows;
}

static void same_bits(const void *got, const void *want, size_t bytes, const char *what, enum td_dtype dtype,
                      const char *set) {
  if (memcmp(got, want, bytes)) printf("%s: %s, %s\n", what, td_dtype_info((uint32_t)dtype)->name, set);
  assert_memory_equal(got, want, bytes);
}

static void check_sample(const struct cpu_kernels *kernels) {
  static float expanded[2 * CPU_ROW_BLOCK][WIDEST];
  struct cpu_product *product = &sample.product;
  memset(expanded, 0, sizeof expanded);
  for (int64_t r = 0; r < ROWS; r++) {
    kernels->expand(product, r, expanded[r]);
    same_bits(expanded[r], sample.values[r], (size_t)product->k * sizeof(float), "expand", product->dtype,
              kernels->name);
  }
  for (product->count = 1; product->count <= TOKENS; product->count++) {
    for (int way = 0; way < 2; way++) {
      memset(sample.out, 0xff, sizeof sample.out);
      for (int64_t first = 0; first < ROWS; first += CPU_ROW_BLOCK) {
        int64_t rows = ROWS - first < CPU_ROW_BLOCK ? ROWS - first : CPU_ROW_BLOCK;
        if (way)
          kernels->products(product, expanded[first], WIDEST, first, rows);
        else
          kernels->dots(product, first, rows);
      }
      same_bits(sample.out, sample.want, (size_t)product->count * sizeof sample.out[0], way ? "products" : "dots",
                product->dtype, kernels->name);
    }
  }
}

static void check_set(const char *set) {
  static const int64_t widths[] = {32, 256, 608, 512, 7, 37};
  const struct cpu_kernels *kernels;
  setenv("TANDEM_CPU_ISA", set, 1);
  td_status status = cpu_kernels_choose(&kernels);
  if (status == TD_UNAVAILABLE) {
    printf("left out: %s\n", td_error_text());
    return;
  }
  assert_int_equal(status, TD_OK);
  for (int t = 0; td_dtype_at(t); t++) {
    for (size_t w = 0; w < sizeof widths / sizeof widths[0]; w++) {
      if (widths[w] % td_dtype_at(t)->block_elements) continue;
      make_sample(td_dtype_at(t)->dtype, widths[w]);
      check_sample(kernels);
    }
  }
}

static void test_plain(void **state) {
  (void)state;
  check_set("plain");
}
static void test_avx2(void **state) {
  (void)state;
  check_set("avx2");
}
static void test_avx512(void **state) {
  (void)state;
  check_set("avx512");
}

/* gelu and silu stay within a few units in the last place of their double forms, from -infinity to infinity. */
static void check_activation(const struct cpu_kernels *kernels, enum td_activation activation) {
  enum { COUNT = 4000 };
  static float x[COUNT], ones[COUNT], out[COUNT];
  for (int i = 0; i < COUNT; i++) {
    ones[i] = 1.0f;
    x[i] = i < 3000 ? -30.0f + 0.02f * (float)i : (float)(i % 2 ? 1 : -1) * powf(10.0f, 0.075f * (float)(i - 3500));
  }
  (activation == TD_ACT_GELU ? kernels->gelu_mul : kernels->silu_mul)(x, ones, COUNT, out);
  for (int i = 0; i < COUNT; i++) {
    double a = (double)x[i], u = sqrt(2 / acos(-1)) * (a + 0.044715 * a * a * a);
    double want = activation == TD_ACT_GELU ? a / (1 + exp(-2 * u)) : a / (1 + exp(-a));
    double error = fabs((double)out[i] - want);
    if (!(error <= 8 * 0x1p-24 * fabs(want) + 1e-36))
      printf("%s: f(%g) = %g, not %g\n", kernels->name, a, (double)out[i], want);
    assert_true(error <= 8 * 0x1p-24 * fabs(want) + 1e-36);
  }
}

static void test_activations(void **state) {
  (void)state;
  static const char *const sets[] = {"plain", "avx2", "avx512"};
  for (int i = 0; i < 3; i++) {
    const struct cpu_kernels *kernels;
    setenv("TANDEM_CPU_ISA", sets[i], 1);
    if (cpu_kernels_choose(&kernels)) continue;
    check_activation(kernels, TD_ACT_SILU);
    check_activation(kernels, TD_ACT_GELU);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_avx2),
                                     cmocka_unit_test(test_avx512), cmocka_unit_test(test_activations)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
