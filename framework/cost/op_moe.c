/* SPDX-License-Identifier: Apache-2.0
 *
 * The experts of one layer on one device: tokens are sorted by expert, each expert that has any multiplies its rows in
 * tiles (so a single row costs what a small tile costs), and every such expert's weights are read once.
 */
#include <math.h>

#include "op_model.h"

enum { HIDDEN, INTER, TOP_K, EXPERTS, TP, EP, SKEW, MATRICES, TOKENS };
enum { COMPUTE, MEMORY, START, RAMP, SHARPNESS, PER_EXPERT, PER_ROW, PER_TOKEN, UNEVEN, FEWER, CROWDED, PARAMETERS };

static const struct td_op_parameter parameters[] = {
    {"compute_share", "1", 0.7, 0.05, 1.5, "share of the peak that full tiles reach"},
    {"memory_share", "1", 0.8, 0.05, 1.5, "share of the memory bandwidth that experts' weights stream at"},
    {"start", "us", 25, 0.1, 500, "launches of routing, products and the sum"},
    {"ramp", "1", 200, 1, 20000, "a tile's start and end, as that many steps of its inner dimension"},
    {"sharpness", "1", 2, 1, 40, "of the corner between the bounds"},
    {"per_expert", "us", 1, 0.001, 50, "for each doubling of the experts on this device: finding their rows"},
    {"per_row", "ns", 1, 0.001, 100, "moving a row to its expert and back, each"},
    {"per_token", "ns", 0.1, 0.0001, 100, "looking at a token of the group that may not come here"},
    {"uneven", "1", 0.2, 0.001, 10, "how much longer uneven load makes the products, for exponent 1"},
    {"fewer", "1", 0.3, 0.001, 10, "how many fewer experts uneven load reaches, for exponent 1"},
    {"crowded", "1", 0.2, 0.001, 1,
     "share of a group's uneven load that comes to the busiest device: exponent of its size"},
};

/* Kernels are tuned for each model's experts by themselves: one model's residuals say nothing of another's. */
static const struct td_op_field fields[] = {
    {.name = "hidden_size", .octaves = 0.05, .most = 1 << 24},
    {.name = "inter_size", .octaves = 0.05, .most = 1 << 24},
    {.name = "topk", .octaves = 0.05, .most = 1 << 12},
    {.name = "num_experts", .octaves = 0.05, .most = 1 << 16},
    {.name = "moe_tp_size", .octaves = 0.25, .most = 1 << 12},
    {.name = "moe_ep_size", .octaves = 0.25, .most = 1 << 12},
    {.name = "distribution", .octaves = 200, .linear = true, .most = 100000},
    {.name = "kernel_source", .octaves = 0.25, .linear = true, .most = 3},
    {.name = "num_tokens", .octaves = 1, .most = 1 << 26},
};

static const char *refuses(const int64_t *v) {
  if (v[MATRICES] < 2) return "an expert has two matrices, or three with a gate";
  if (v[TOP_K] > v[EXPERTS]) return "topk is more than num_experts";
  if (v[EP] > v[EXPERTS]) return "moe_ep_size is more than num_experts";
  if (v[TP] > v[INTER]) return "moe_tp_size is more than inter_size";
  return NULL;
}

/* Experts of this device that get at least one row. */
static double reached(const double *p, const int64_t *v, double rows, double skew) {
  double here = (double)v[EXPERTS] / (double)v[EP], share = (double)v[TOP_K] / (double)v[EXPERTS];
  double even = rows > 1 ? rows : 1;
  if (skew <= 0) return even < here ? even : here;
  double likely = here * (1 - pow(1 - share, (double)v[TOKENS] / (1 + p[FEWER] * skew)));
  return likely > 1 ? likely : 1;
}

/* With uneven load, those of the busiest device of the group, for which all others wait. */
static double rows_here(const double *p, const int64_t *v, double skew) {
  double even = (double)v[TOKENS] * (double)v[TOP_K] / (double)v[EP];
  double rows = even * pow((double)v[EP], p[CROWDED] * (skew < 1 ? skew : 1));
  double here = (double)v[EXPERTS] / (double)v[EP], at_once = here < (double)v[TOP_K] ? here : (double)v[TOP_K];
  double most = (double)v[TOKENS] * (at_once > 1 ? at_once : 1);
  return rows < most ? rows : most > even ? most : even;
}

static double tile_rows(double rows) {
  return rows <= 16 ? 16 : rows <= 32 ? 32 : rows <= 64 ? 64 : 128;
}

static double seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double hidden = (double)v[HIDDEN], inter = (double)v[INTER] / (double)v[TP], matrices = (double)v[MATRICES];
  double skew = (double)v[SKEW] / 1000, here = (double)v[EXPERTS] / (double)v[EP];
  double rows = rows_here(p, v, skew);
  double experts = reached(p, v, rows, skew), each = rows / experts, tile = tile_rows(each);
  double tiles = experts * ceil(each / tile) * (1 + p[UNEVEN] * skew);
  double columns = (matrices - 1) * ceil(inter / 128) + ceil(hidden / 128);
  double flops = 2 * tiles * tile * (matrices * hidden * inter + columns * 128 * p[RAMP]);
  double bytes = experts * matrices * hidden * inter * chip->bytes + 2 * rows * (2 * hidden + matrices * inter);
  double compute = flops / (p[COMPUTE] * chip->peak), memory = bytes / (p[MEMORY] * chip->bandwidth);
  double fixed = p[START] + p[PER_EXPERT] * log2(1 + here);
  double moved = p[PER_ROW] * rows + p[PER_TOKEN] * (double)v[TOKENS] * (double)v[TOP_K];
  return fixed * 1e-6 + moved * 1e-9 + td_op_smooth_max(compute, memory, p[SHARPNESS]);
}

static void work(const struct td_op_chip *chip, const int64_t *v, double *out_flops, double *out_bytes) {
  double here = (double)v[EXPERTS] / (double)v[EP], rows = (double)v[TOKENS] * (double)v[TOP_K] / (double)v[EP];
  double matrix = (double)v[HIDDEN] * (double)v[INTER] / (double)v[TP] * (double)v[MATRICES];
  *out_flops = 2 * rows * matrix;
  *out_bytes = (rows < here ? rows : here) * matrix * chip->bytes + 4 * rows * (double)v[HIDDEN];
}

const struct td_op_model td_op_moe = {
    .name = "moe",
    .parameters = parameters,
    .parameter_count = PARAMETERS,
    .fields = fields,
    .field_count = 9,
    .family_fields = 4,
    .class_bounds = {64, 512},
    .class_names = {"all", "tokens <= 64", "tokens 65..512", "tokens > 512", "sums of four"},
    .refuses = refuses,
    .seconds = seconds,
    .work = work,
};
