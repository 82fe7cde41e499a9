/* SPDX-License-Identifier: Apache-2.0
 *
 * How long the cpu backend takes for the operators of one step of SmolLM2-135M's shape, with random weights. Run on
 * demand, never as a test:
 *   bench_cpu [THREADS [TOKENS [PAST [DTYPE [KV_DTYPE]]]]]     (1 1 256 q4_1 f32)
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/backend.h"
#include "tandem/base.h"

#define LAYERS 30
#define HIDDEN 576
#define KV_HEADS 3
#define HEADS 9
#define HEAD_DIM 64
#define FFN 1536
#define VOCAB 49152
#define BLOCK_TOKENS 16

extern const struct td_backend td_backend_cpu;

static struct td_device *device;
static int64_t tokens = 1, past = 256;
static enum td_dtype weight_dtype = TD_Q4_1, kv_dtype = TD_F32;
static int64_t spent[TD_OP_KIND_COUNT];

static void must(td_status status) {
  if (status == TD_OK) return;
  fprintf(stderr, "bench_cpu: %s\n", td_error_text());
  exit(1);
}

static struct td_buffer *allocate(uint64_t bytes) {
  struct td_buffer *buffer;
  must(device->table->alloc(device, bytes, TD_USE_WEIGHT, &buffer));
  return buffer;
}

static struct td_view activation(int64_t rows, int64_t cols) {
  struct td_view view = {allocate((uint64_t)(rows * cols) * 4), 0, TD_F32, rows, cols};
  float *values = malloc((size_t)(rows * cols) * 4);
  if (!values) exit(1);
  for (int64_t i = 0; i < rows * cols; i++) values[i] = (float)td_random_unit(1, 2, (uint64_t)i) - 0.5f;
  must(device->table->write(device, view.buffer, 0, values, (uint64_t)(rows * cols) * 4));
  free(values);
  return view;
}

/* Small scales: random bytes would hold infinities. */
static struct td_view weights(int64_t rows, int64_t cols, enum td_dtype dtype) {
  uint64_t row_bytes;
  must(td_dtype_row_bytes(dtype, cols, &row_bytes));
  struct td_view view = {allocate((uint64_t)rows * row_bytes), 0, dtype, rows, cols};
  unsigned char *row = malloc(row_bytes);
  if (!row) exit(1);
  for (uint64_t i = 0; i < row_bytes; i++) row[i] = (unsigned char)(i % 20 == 1 || i % 20 == 3 ? 0x20 : i * 7);
  if (dtype == TD_F32) memset(row, 0, row_bytes);
  for (int64_t r = 0; r < rows; r++) {
    must(device->table->write(device, view.buffer, (uint64_t)r * row_bytes, row, row_bytes));
  }
  free(row);
  return view;
}

static void run(struct td_op op, struct td_view a, struct td_view b, struct td_view weight, struct td_view out,
                struct td_kv_view kv, const struct td_batch *batch) {
  op.n = out.cols;
  op.k = weight.cols;
  op.heads = HEADS;
  op.kv_heads = KV_HEADS;
  op.head_dim = op.rope_dim = HEAD_DIM;
  op.theta = 1e4;
  op.epsilon = 1e-5;
  op.scale = 0.125;
  struct td_op_call call = {.op = &op, .in = {a, b}, .out = out, .weight = weight, .kv = kv, .batch = batch};
  int64_t begin = td_now_ps();
  must(device->table->op(device, &call));
  spent[op.kind] += td_now_ps() - begin;
}

#define RUN(kind_, ...) run((struct td_op){.kind = kind_}, __VA_ARGS__, kv, batch)

struct layer {
  struct td_view norm, q, k, v, o, gate, up, down;
  struct td_kv_view kv;
};
struct state {
  struct td_view x, y, q, k, v, gate, up, logits, embedding;
};

static void open_layer(struct layer *layer, int64_t blocks) {
  uint64_t element = kv_dtype == TD_F16 ? 2 : 4, pool = (uint64_t)blocks * BLOCK_TOKENS * KV_HEADS * HEAD_DIM * element;
  int64_t kv_width = KV_HEADS * HEAD_DIM;
  *layer = (struct layer){.norm = weights(1, HIDDEN, TD_F32),
                          .q = weights(HIDDEN, HIDDEN, weight_dtype),
                          .k = weights(kv_width, HIDDEN, weight_dtype),
                          .v = weights(kv_width, HIDDEN, weight_dtype),
                          .o = weights(HIDDEN, HIDDEN, weight_dtype),
                          .gate = weights(FFN, HIDDEN, weight_dtype),
                          .up = weights(FFN, HIDDEN, weight_dtype),
                          .down = weights(HIDDEN, FFN, weight_dtype),
                          .kv = {allocate(pool), allocate(pool), kv_dtype, BLOCK_TOKENS, KV_HEADS, HEAD_DIM}};
}

static void run_layer(const struct layer *l, const struct state *s, const struct td_batch *batch) {
  struct td_view none = {0};
  struct td_kv_view kv = l->kv;
  struct td_view q_heads = s->q, k_heads = s->k;
  RUN(TD_OP_RMS_NORM, s->x, none, l->norm, s->y);
  RUN(TD_OP_MATMUL, s->y, none, l->q, s->q);
  RUN(TD_OP_MATMUL, s->y, none, l->k, s->k);
  RUN(TD_OP_MATMUL, s->y, none, l->v, s->v);
  RUN(TD_OP_ROPE, q_heads, none, none, s->q);
  (void)k_heads;
  RUN(TD_OP_KV_APPEND, s->k, s->v, none, none);
  RUN(TD_OP_ATTENTION, s->q, none, none, s->y);
  RUN(TD_OP_MATMUL, s->y, none, l->o, s->q);
  RUN(TD_OP_ADD, s->x, s->q, none, s->x);
  RUN(TD_OP_RMS_NORM, s->x, none, l->norm, s->y);
  RUN(TD_OP_MATMUL, s->y, none, l->gate, s->gate);
  RUN(TD_OP_MATMUL, s->y, none, l->up, s->up);
  RUN(TD_OP_ACTIVATION, s->gate, s->up, none, s->gate);
  RUN(TD_OP_MATMUL, s->gate, none, l->down, s->q);
  RUN(TD_OP_ADD, s->x, s->q, none, s->x);
}

static void report(int64_t steps, int64_t total) {
  static const char *const names[TD_OP_KIND_COUNT] = {"embed",     "rms_norm", "matmul", "rope",   "kv_append",
                                                      "attention", "activation", "add",    "select", "sample"};
  for (int i = 0; i < TD_OP_KIND_COUNT; i++) {
    if (spent[i]) printf("%-10s %9.3f ms a step\n", names[i], td_seconds(spent[i]) * 1e3 / (double)steps);
  }
  printf("step       %9.3f ms: %.1f tokens/s\n", td_seconds(total) * 1e3 / (double)steps,
         (double)(tokens * steps) / td_seconds(total));
}

static void parse(int argc, char **argv, int32_t *threads) {
  *threads = argc > 1 ? atoi(argv[1]) : 1;
  if (argc > 2) tokens = atoll(argv[2]);
  if (argc > 3) past = atoll(argv[3]);
  const struct td_dtype_info *weight = td_dtype_find(argc > 4 ? argv[4] : "q4_1");
  const struct td_dtype_info *kv = td_dtype_find(argc > 5 ? argv[5] : "f32");
  if (*threads < 1 || tokens < 1 || past < 0 || !weight || !kv) {
    fprintf(stderr, "usage: bench_cpu [THREADS [TOKENS [PAST [DTYPE [KV_DTYPE]]]]]\n");
    exit(2);
  }
  weight_dtype = weight->dtype;
  kv_dtype = kv->dtype;
}

int main(int argc, char **argv) {
  int32_t threads;
  parse(argc, argv, &threads);
  must(td_backend_cpu.open(0, &(struct td_device_options){.threads = threads}, &device));
  int64_t blocks = (past + tokens + BLOCK_TOKENS - 1) / BLOCK_TOKENS;
  int32_t *table = calloc((size_t)blocks, sizeof *table), *positions = calloc((size_t)tokens, sizeof *positions);
  if (!table || !positions) return 1;
  for (int64_t i = 0; i < blocks; i++) table[i] = (int32_t)i;
  for (int64_t i = 0; i < tokens; i++) positions[i] = (int32_t)(past + i);
  struct td_seq seq = {.past = past, .tokens = tokens, .blocks = table, .block_count = (int32_t)blocks};
  struct td_batch batch = {.rows = tokens, .positions = positions, .seqs = &seq, .seq_count = 1};
  static struct layer layers[LAYERS];
  for (int i = 0; i < LAYERS; i++) open_layer(&layers[i], blocks);
  struct state s = {.x = activation(tokens, HIDDEN),
                    .y = activation(tokens, HIDDEN),
                    .q = activation(tokens, HIDDEN),
                    .k = activation(tokens, KV_HEADS * HEAD_DIM),
                    .v = activation(tokens, KV_HEADS * HEAD_DIM),
                    .gate = activation(tokens, FFN),
                    .up = activation(tokens, FFN),
                    .logits = activation(1, VOCAB),
                    .embedding = weights(VOCAB, HIDDEN, weight_dtype)};
  struct td_view last = s.x, none = {0};
  last.rows = 1;
  int64_t steps = 0, begin = td_now_ps(), total;
  do {
    for (int i = 0; i < LAYERS; i++) run_layer(&layers[i], &s, &batch);
    run((struct td_op){.kind = TD_OP_MATMUL}, last, none, s.embedding, s.logits, layers[0].kv, &batch);
    steps++;
    total = td_now_ps() - begin;
  } while (total < 2 * TD_PS_PER_SECOND);
  report(steps, total);
  device->table->close(device); /* the buffers end with the process */
  free(table);
  free(positions);
  return 0;
}
