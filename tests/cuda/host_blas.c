/* SPDX-License-Identifier: Apache-2.0
 *
 * The inexact path on the emulated driver and a cuBLASLt that computes on the host: what is converted, which rows take
 * it, that residuals, biases and scales arrive, and what is said when the library is not there.
 */
#include <math.h>

#include "blas.h"
#include "host_fixture.h"
#include "tandem/base.h"
#include "tandem/kernels.h"

#define N 48
#define K 64
#define ROWS 20

struct matrices {
  float in[ROWS * K], weight[N * K], add[ROWS * N], bias[N], out[ROWS * N];
  double want[ROWS * N];
};

static void make(struct matrices *m) {
  for (int i = 0; i < ROWS * K; i++) m->in[i] = (float)(2 * td_random_unit(5, 1, (uint64_t)i) - 1);
  for (int i = 0; i < N * K; i++) m->weight[i] = (float)(2 * td_random_unit(5, 2, (uint64_t)i) - 1);
  for (int i = 0; i < ROWS * N; i++) m->add[i] = (float)(2 * td_random_unit(5, 3, (uint64_t)i) - 1);
  for (int i = 0; i < N; i++) m->bias[i] = (float)(2 * td_random_unit(5, 4, (uint64_t)i) - 1);
}

static struct td_buffer *send(struct td_device *device, const void *bytes, uint64_t count) {
  struct td_buffer *buffer = take(device, count);
  assert_ok(td_device_write(device, buffer, 0, bytes, count));
  return buffer;
}

/* The weight in `dtype`, as the device gets it; its values replace those it was made of. */
static struct td_view weight_in(struct td_device *device, struct matrices *m, enum td_dtype dtype) {
  struct td_view view = {.dtype = dtype, .rows = N, .cols = K};
  uint64_t row_bytes;
  static unsigned char encoded[N * K * 4];
  assert_ok(td_dtype_row_bytes(dtype, K, &row_bytes));
  for (int r = 0; r < N; r++) {
    assert_ok(td_quantize(dtype, m->weight + r * K, encoded + (uint64_t)r * row_bytes, K));
    td_dequantize(dtype, encoded + (uint64_t)r * row_bytes, m->weight + r * K, K);
  }
  view.buffer = send(device, encoded, N * row_bytes);
  return view;
}

static void expect(const struct matrices *m, bool add, bool bias, double bound) {
  for (int r = 0; r < ROWS; r++) {
    for (int j = 0; j < N; j++) {
      double want = (add ? m->add[r * N + j] : 0) + (bias ? m->bias[j] : 0);
      for (int i = 0; i < K; i++) want += (double)m->in[r * K + i] * m->weight[j * K + i];
      double off = fabs(m->out[r * N + j] - want);
      if (!(off <= bound)) fail_msg("row %d, column %d: found %g, expected %g", r, j, m->out[r * N + j], want);
    }
  }
}

static void product(enum td_dtype dtype, bool add, bool bias, double bound) {
  static struct matrices m;
  struct td_device *device = open_emulated(true);
  make(&m);
  struct td_view weight = weight_in(device, &m, dtype);
  struct td_buffer *in = send(device, m.in, sizeof m.in), *out = take(device, sizeof m.out);
  struct td_buffer *added = send(device, m.add, sizeof m.add), *biases = send(device, m.bias, sizeof m.bias);
  struct cuda_product_work work = {
      .weight = &weight, .out = out->address, .add = add ? added->address : 0, .bias = bias ? biases->address : 0};
  assert_true(cuda_blas_takes(cuda_of(device), ROWS, &work, 1));
  for (int turn = 0; turn < 2; turn++) { /* the second finds weight and shape where the first left them */
    assert_ok(cuda_products(cuda_of(device), in->address, ROWS, &work, 1));
    assert_ok(td_device_read(device, out, 0, m.out, sizeof m.out));
    expect(&m, add, bias, bound);
  }
  td_device_free(device, in);
  td_device_free(device, out);
  td_device_free(device, added);
  td_device_free(device, biases);
  td_device_free(device, weight.buffer);
  td_device_close(device);
}

/* bf16 keeps 8 bits: 64 terms of up to 1 are off by 2^-9 each at most, and by far less together. */
#define BF16_BOUND 0.06
#define F16_BOUND 0.008

static void test_types(void **state) {
  (void)state;
  product(TD_F32, false, false, BF16_BOUND);
  product(TD_BF16, false, false, BF16_BOUND);
  product(TD_Q8_0, false, false, BF16_BOUND);
  product(TD_Q4_1, false, false, BF16_BOUND);
  product(TD_F16, false, false, F16_BOUND);
}
static void test_sums(void **state) {
  (void)state;
  product(TD_F16, true, false, F16_BOUND);
  product(TD_F16, false, true, F16_BOUND);
}
static void test_fp8(void **state) {
  (void)state;
  setenv("TANDEM_CUDA_FP8", "1", 1);
  product(TD_Q8_0, false, false, 0.8); /* e4m3 keeps 4 bits */
  product(TD_F32, true, false, 0.8);
  setenv("TANDEM_CUDA_FP8", "yes", 1);
  struct td_device *device;
  assert_refused(td_device_open("cuda", &(struct td_device_options){.inexact = true}, &device), TD_CONFIG,
                 "TANDEM_CUDA_FP8: found 'yes', expected 0 or 1");
  unsetenv("TANDEM_CUDA_FP8");
}

/* Few rows and odd shapes stay with the exact kernels. */
static void test_who_takes_it(void **state) {
  (void)state;
  struct td_device *device = open_emulated(true);
  struct td_view weight = {.buffer = take(device, 64), .dtype = TD_BF16, .rows = N, .cols = K};
  struct cuda_product_work work = {.weight = &weight};
  assert_true(cuda_blas_takes(cuda_of(device), CUDA_FEW_ROWS + 1, &work, 1));
  assert_false(cuda_blas_takes(cuda_of(device), CUDA_FEW_ROWS, &work, 1));
  weight.rows = N + 1;
  assert_false(cuda_blas_takes(cuda_of(device), ROWS, &work, 1));
  weight.rows = N;
  weight.cols = K + 8;
  assert_false(cuda_blas_takes(cuda_of(device), ROWS, &work, 1));
  td_device_free(device, weight.buffer);
  td_device_close(device);
}

/* A weight that is written again is converted again. */
static void test_rewritten(void **state) {
  (void)state;
  static struct matrices m;
  struct td_device *device = open_emulated(true);
  make(&m);
  struct td_view weight = weight_in(device, &m, TD_F32);
  struct td_buffer *in = send(device, m.in, sizeof m.in), *out = take(device, sizeof m.out);
  struct cuda_product_work work = {.weight = &weight, .out = out->address};
  assert_ok(cuda_products(cuda_of(device), in->address, ROWS, &work, 1));
  for (int i = 0; i < N * K; i++) m.weight[i] = -m.weight[i];
  assert_ok(td_device_write(device, weight.buffer, 0, m.weight, sizeof m.weight));
  assert_ok(cuda_products(cuda_of(device), in->address, ROWS, &work, 1));
  assert_ok(td_device_read(device, out, 0, m.out, sizeof m.out));
  expect(&m, false, false, BF16_BOUND);
  td_device_free(device, in);
  td_device_free(device, out);
  td_device_free(device, weight.buffer);
  td_device_close(device);
}

/* ---- a whole model ---- */

#define TOKENS 20
#define VOCAB 320

static void prefill(bool inexact, float (*out)[VOCAB]) {
  struct td_device *device = open_emulated(inexact);
  struct td_model *model;
  struct td_graph *graph;
  struct td_runner *runner;
  int32_t ids[TOKENS];
  assert_ok(td_model_open(test_source("tests/data/tiny/llama.gguf"), &model));
  assert_ok(td_graph_build(model, &graph));
  for (int i = 0; i < TOKENS; i++) ids[i] = i * 37 % VOCAB;
  struct td_slice whole = td_slice_whole(graph);
  struct td_runner_options options = {
      .kv_dtype = TD_F16, .block_tokens = 16, .kv_blocks = 4, .max_rows = TOKENS, .max_logits = TOKENS};
  assert_ok(td_runner_open(device, model, graph, &whole, &options, &runner));
  struct td_step_seq seq = {.request = 1, .tokens = TOKENS, .ids = ids};
  const float *logits;
  int64_t rows;
  assert_ok(td_runner_step(runner, &seq, 1, true, NULL, NULL, NULL, NULL, &logits, &rows));
  assert_int_equal(rows, TOKENS);
  memcpy(out, logits, TOKENS * sizeof *out);
  td_runner_close(runner);
  td_graph_free(graph);
  td_model_close(model);
  td_device_close(device);
}

/* Near the exact result, and not it: the narrow products and the tensor cores' attention were really taken. */
static void test_model(void **state) {
  (void)state;
  static float exact[TOKENS][VOCAB], narrow[TOKENS][VOCAB];
  double off = 0, all = 0;
  prefill(false, exact);
  prefill(true, narrow);
  for (int i = 0; i < TOKENS * VOCAB; i++) {
    double want = exact[i / VOCAB][i % VOCAB], difference = narrow[i / VOCAB][i % VOCAB] - want;
    off += difference * difference;
    all += want * want;
  }
  double relative = sqrt(off / all);
  if (!(relative > 1e-5 && relative < 0.08)) fail_msg("found a relative difference of %g", relative);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_types),        cmocka_unit_test(test_sums),      cmocka_unit_test(test_fp8),
      cmocka_unit_test(test_who_takes_it), cmocka_unit_test(test_rewritten), cmocka_unit_test(test_model),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
