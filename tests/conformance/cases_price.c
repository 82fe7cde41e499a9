/* SPDX-License-Identifier: Apache-2.0
 *
 * What every backend must be able to say: the price of a step on a device file. The graph is a small decoder layer with
 * an output head, built by hand, so that the suite needs no model file.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

/* No window, no experts. */
static const struct td_shape plain_shape;

enum { IDS_EMBED, NORM, Q, K, V, Q_ROPED, ATTENDED, RESIDUAL, PICKED, LOGITS, VALUES };
enum { W_EMBED, W_NORM, W_Q, W_K, W_V, W_HEAD, WEIGHTS };

#define HIDDEN 1024
#define HEADS 8
#define KV_HEADS 2
#define HEAD_DIM 128
#define VOCAB 4096
#define OPS 10

struct small {
  struct td_graph graph;
  struct td_op ops[OPS];
  struct td_value values[VALUES];
  struct td_weight weights[WEIGHTS];
};

static struct td_op operator_of(enum td_op_kind kind, int32_t layer, enum td_part part, int32_t in0, int32_t in1,
                                int32_t out, int32_t weight, int64_t n, int64_t k) {
  return (struct td_op){.kind = kind,
                        .layer = layer,
                        .part = part,
                        .rows = TD_ROWS_TOKENS,
                        .in = {in0, in1},
                        .out = out,
                        .weight = weight,
                        .n = n,
                        .k = k,
                        .heads = HEADS,
                        .kv_heads = KV_HEADS,
                        .head_dim = HEAD_DIM,
                        .rope_dim = HEAD_DIM,
                        .epsilon = 1e-5,
                        .theta = 10000.0,
                        .scale = 0.08838834764831845};
}

static void fill_tables(struct small *s) {
  static const struct {
    const char *name;
    int64_t cols;
    enum td_rows rows;
  } values[VALUES] = {{"embedding", HIDDEN, TD_ROWS_TOKENS},
                      {"norm", HIDDEN, TD_ROWS_TOKENS},
                      {"q", HIDDEN, TD_ROWS_TOKENS},
                      {"k", KV_HEADS * HEAD_DIM, TD_ROWS_TOKENS},
                      {"v", KV_HEADS * HEAD_DIM, TD_ROWS_TOKENS},
                      {"q_roped", HIDDEN, TD_ROWS_TOKENS},
                      {"attended", HIDDEN, TD_ROWS_TOKENS},
                      {"residual", HIDDEN, TD_ROWS_TOKENS},
                      {"picked", HIDDEN, TD_ROWS_LOGITS},
                      {"logits", VOCAB, TD_ROWS_LOGITS}};
  static const struct td_weight weights[WEIGHTS] = {{"embedding", TD_F16, VOCAB, HIDDEN},
                                                    {"norm", TD_F32, 1, HIDDEN},
                                                    {"q", TD_F16, HIDDEN, HIDDEN},
                                                    {"k", TD_F16, KV_HEADS * HEAD_DIM, HIDDEN},
                                                    {"v", TD_F16, KV_HEADS * HEAD_DIM, HIDDEN},
                                                    {"head", TD_F16, VOCAB, HIDDEN}};
  for (int i = 0; i < VALUES; i++) {
    s->values[i] = (struct td_value){.rows = values[i].rows, .cols = values[i].cols};
    memcpy(s->values[i].name, values[i].name, strlen(values[i].name) + 1);
  }
  memcpy(s->weights, weights, sizeof weights);
}

static void build(struct small *s) {
  int64_t kv = KV_HEADS * HEAD_DIM;
  *s = (struct small){.ops = {operator_of(TD_OP_EMBED, -1, TD_PART_ENDS, -1, -1, IDS_EMBED, W_EMBED, HIDDEN, 0),
                              operator_of(TD_OP_RMS_NORM, 0, TD_PART_ATTENTION, IDS_EMBED, -1, NORM, W_NORM, HIDDEN, 0),
                              operator_of(TD_OP_MATMUL, 0, TD_PART_ATTENTION, NORM, -1, Q, W_Q, HIDDEN, HIDDEN),
                              operator_of(TD_OP_MATMUL, 0, TD_PART_ATTENTION, NORM, -1, K, W_K, kv, HIDDEN),
                              operator_of(TD_OP_MATMUL, 0, TD_PART_ATTENTION, NORM, -1, V, W_V, kv, HIDDEN),
                              operator_of(TD_OP_ROPE, 0, TD_PART_ATTENTION, Q, -1, Q_ROPED, -1, HIDDEN, 0),
                              operator_of(TD_OP_KV_APPEND, 0, TD_PART_ATTENTION, K, V, -1, -1, 0, 0),
                              operator_of(TD_OP_ATTENTION, 0, TD_PART_ATTENTION, Q_ROPED, -1, ATTENDED, -1, HIDDEN, 0),
                              operator_of(TD_OP_SELECT, 1, TD_PART_ENDS, ATTENDED, -1, PICKED, -1, HIDDEN, 0),
                              operator_of(TD_OP_MATMUL, 1, TD_PART_ENDS, PICKED, -1, LOGITS, W_HEAD, VOCAB, HIDDEN)}};
  s->ops[8].rows = s->ops[9].rows = TD_ROWS_LOGITS;
  fill_tables(s);
  s->graph = (struct td_graph){.shape = {.name = "conformance",
                                         .layers = 1,
                                         .hidden = HIDDEN,
                                         .heads = HEADS,
                                         .kv_heads = KV_HEADS,
                                         .head_dim = HEAD_DIM,
                                         .ffn = HIDDEN,
                                         .vocab = VOCAB,
                                         .context = 1 << 20,
                                         .rope_dim = HEAD_DIM,
                                         .rope_theta = 10000.0,
                                         .norm_epsilon = 1e-5,
                                         .weight_dtype = TD_F16},
                               .ops = s->ops,
                               .op_count = OPS,
                               .values = s->values,
                               .value_count = VALUES,
                               .weights = s->weights,
                               .weight_count = WEIGHTS};
}

/* p.seqs sequences of p.rows new tokens after p.past. */
static struct td_step_stats stats_of(const struct conform_params *p, int64_t past, int64_t tokens) {
  struct td_step_stats stats = {{0}};
  for (int32_t s = 0; s < p->seqs; s++) td_step_stats_add(&stats, &plain_shape, past + s, tokens, 1);
  return stats;
}

static td_status price_of(struct conform_run *run, const struct conform_params *p, int64_t past, int64_t tokens,
                          int64_t *layer_done_ps, struct td_price *out_price) {
  struct small small;
  struct td_device *device;
  struct td_step_stats stats = stats_of(p, past, tokens);
  CONFORM_CHECK(run->params, "no device file h100_sxm to price on: $TANDEM_DEVICES, or devices/ of the source tree");
  build(&small);
  struct td_slice slice = td_slice_whole(&small.graph);
  TD_TRY(td_device_open(run->spec, &(struct td_device_options){.params = run->params, .threads = 1}, &device));
  td_status status = td_device_price(device, &small.graph, &slice, p->kv, &stats, layer_done_ps, out_price);
  td_device_close(device);
  return status ? td_fail_within(TD_CORRUPT, "no price") : TD_OK;
}

/* The layer is done within the step, and asking when does not change the price. */
static td_status check_layers(struct conform_run *run, const struct conform_params *p, const struct td_price *price) {
  struct td_price asked;
  int64_t layer_done_ps[2] = {-1, -1};
  TD_TRY(price_of(run, p, p->past, p->rows, layer_done_ps, &asked));
  CONFORM_CHECK(asked.base_ps == price->base_ps, "found %" PRId64 " ps with layer times asked, expected %" PRId64,
                asked.base_ps, price->base_ps);
  CONFORM_CHECK(layer_done_ps[0] > 0 && layer_done_ps[0] <= price->base_ps,
                "layer 0 is done after %" PRId64 " ps, expected 1 to %" PRId64 ", the step's", layer_done_ps[0],
                price->base_ps);
  CONFORM_CHECK(layer_done_ps[1] == -1, "found a time for layer 1, expected one layer");
  return TD_OK;
}

static td_status run_positive(struct conform_run *run, const struct conform_case *test) {
  struct td_price price;
  TD_TRY(price_of(run, &test->p, test->p.past, test->p.rows, NULL, &price));
  CONFORM_CHECK(price.base_ps > 0, "a step lasts %" PRId64 " ps", price.base_ps);
  CONFORM_CHECK(price.base_ps < TD_PS_PER_SECOND, "a step of one layer lasts %g s", td_seconds(price.base_ps));
  CONFORM_CHECK(price.slope_ps >= 0, "steps get shorter as contexts grow: slope %" PRId64 " ps", price.slope_ps);
  CONFORM_CHECK(price.valid_steps >= 1, "valid for %" PRId64 " steps", price.valid_steps);
  CONFORM_CHECK(price.flops > 0 && price.bytes > 0, "found %g FLOPs and %g bytes", price.flops, price.bytes);
  CONFORM_CHECK(isnan(price.energy_j) || price.energy_j > 0, "a step takes %g J", price.energy_j);
  return check_layers(run, &test->p, &price);
}

/* base + i slope equals the price of step i asked by itself, for as long as the price says it holds. */
static td_status run_steps(struct conform_run *run, const struct conform_case *test) {
  const struct conform_params *p = &test->p;
  struct td_price first, single;
  TD_TRY(price_of(run, p, p->past, 1, NULL, &first));
  int64_t steps = first.valid_steps < p->count ? first.valid_steps : p->count;
  int64_t sum = 0;
  for (int64_t i = 0; i < steps; i++) {
    TD_TRY(price_of(run, p, p->past + i, 1, NULL, &single));
    CONFORM_CHECK(single.base_ps == first.base_ps + i * first.slope_ps,
                  "step %" PRId64 " of %" PRId64 ": found %" PRId64 " ps by itself, expected %" PRId64 " + %" PRId64
                  " x %" PRId64,
                  i, steps, single.base_ps, first.base_ps, i, first.slope_ps);
    sum += single.base_ps;
  }
  CONFORM_CHECK(sum == steps * first.base_ps + steps * (steps - 1) / 2 * first.slope_ps, "the closed form is off");
  return TD_OK;
}

/* More tokens, and longer contexts, never cost less. */
static td_status run_monotone(struct conform_run *run, const struct conform_case *test) {
  const struct conform_params *p = &test->p;
  int64_t last = 0;
  for (int64_t tokens = 1; tokens <= 8192; tokens *= 2) {
    struct td_price price;
    TD_TRY(price_of(run, p, p->past, tokens, NULL, &price));
    CONFORM_CHECK(price.base_ps >= last, "%" PRId64 " tokens: found %" PRId64 " ps, expected at least %" PRId64, tokens,
                  price.base_ps, last);
    last = price.base_ps;
  }
  last = 0;
  for (int64_t past = 1; past <= 65536; past *= 4) {
    struct td_price price;
    TD_TRY(price_of(run, p, past, 1, NULL, &price));
    CONFORM_CHECK(price.base_ps >= last, "context %" PRId64 ": found %" PRId64 " ps, expected at least %" PRId64, past,
                  price.base_ps, last);
    last = price.base_ps;
  }
  return TD_OK;
}

void conform_list_price(struct conform_list *list) {
  static const struct {
    int32_t seqs;
    int64_t past, tokens;
  } steps[] = {{1, 0, 1}, {1, 0, 512}, {1, 4096, 1}, {32, 1000, 1}, {8, 100, 64}};
  static const enum td_dtype types[] = {TD_F32, TD_F16};
  for (int t = 0; t < 2; t++) {
    const char *type = td_dtype_info((uint32_t)types[t])->name;
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
      struct conform_params p = {
          .kv = types[t], .seqs = steps[i].seqs, .past = steps[i].past, .rows = steps[i].tokens, .count = 64};
      conform_add(list, run_positive, &p, "price/positive/%s/seqs=%d,past=%" PRId64 ",tokens=%" PRId64, type, p.seqs,
                  p.past, p.rows);
      if (p.rows == 1) {
        conform_add(list, run_steps, &p, "price/steps/%s/seqs=%d,past=%" PRId64 ",steps=%" PRId64, type, p.seqs, p.past,
                    p.count);
      }
    }
    struct conform_params p = {.kv = types[t], .seqs = 4, .past = 64};
    conform_add(list, run_monotone, &p, "price/monotone/%s/seqs=%d,past=%" PRId64, type, p.seqs, p.past);
  }
}
