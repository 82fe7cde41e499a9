/* SPDX-License-Identifier: Apache-2.0
 *
 * The experts of one layer on one device: tokens are sorted by expert, each expert that has any multiplies its rows in
 * tiles (so a single row costs what a small tile costs), and every such expert's weights are read once.
 */
#include <math.h>

#include "op_model.h"
#include "op_moe.h"

enum { HIDDEN, INTER, TOP_K, EXPERTS, TP, EP, SKEW, MATRICES, TOKENS };
enum { COMPUTE, MEMORY, START, WIDE, RAMP, TILE, SHARPNESS, PER_EXPERT, PER_ROW, PER_TOKEN, PER_CHOICE, PARAMETERS };

static const struct td_op_parameter parameters[] = {
    {"compute_share", "1", 0.9, 0.05, 1.5, "share of the peak that full tiles reach"},
    {"memory_share", "1", 1, 0.05, 1.5, "share of the memory bandwidth that experts' weights stream at"},
    {"start", "us", 19, 0.1, 500, "launches of routing, products and the sum"},
    {"wide", "us", 2, 0.001, 50,
     "for each 1024 of hidden and inner size: products' inner dimensions, one step after the other"},
    {"ramp", "1", 110, 1, 20000, "a tile's start and end, as that many steps of its inner dimension"},
    {"tile", "us", 0.75, 0.001, 20, "start of a multiprocessor's next expert and columns"},
    {"sharpness", "1", 1.3, 1, 40, "of the corner between the bounds"},
    {"per_expert", "us", 0.3, 0.001, 50, "for each doubling of the experts on this device: finding their rows"},
    {"per_row", "ns", 9, 0.001, 100, "moving a row of 4096 to its expert and back"},
    {"per_token", "ns", 3, 0.0001, 100, "of 4096: reading a token of the group, and writing its sum"},
    {"per_choice", "ns", 0.5, 0.0001, 100, "looking at an expert of a token of the group, which may not be here"},
};

/* As far as an octave of the tokens' neighbours: so many thousandths of the exponent, so much of a matrix. */
#define SKEW_OCTAVE 600
#define MATRICES_OCTAVE 0.25

/* The first four are a model's experts, which are held back together. */
static const struct td_op_field fields[] = {
    {.name = "hidden_size", .most = 1 << 24},
    {.name = "inter_size", .most = 1 << 24},
    {.name = "topk", .most = 1 << 12},
    {.name = "num_experts", .most = 1 << 16},
    {.name = "moe_tp_size", .most = 1 << 12},
    {.name = "moe_ep_size", .most = 1 << 12},
    {.name = "distribution", .octaves = SKEW_OCTAVE, .linear = true, .most = 100000},
    {.name = "kernel_source", .octaves = MATRICES_OCTAVE, .linear = true, .most = 3},
    {.name = "num_tokens", .most = 1 << 26},
};

static const char *refuses(const int64_t *v) {
  if (v[MATRICES] < 2) return "an expert has two matrices, or three with a gate";
  if (v[TOP_K] > v[EXPERTS]) return "topk is more than num_experts";
  if (v[EP] > v[EXPERTS]) return "moe_ep_size is more than num_experts";
  if (v[TP] > v[INTER]) return "moe_tp_size is more than inter_size";
  return NULL;
}

static double tile_rows(double rows) {
  return rows <= 16 ? 16 : rows <= 32 ? 32 : rows <= 64 ? 64 : 128;
}

static void load_of(const int64_t *v, struct td_moe_load *out) {
  td_moe_load((double)v[TOKENS], (double)v[TOP_K], (double)v[EXPERTS], (double)v[EP], (double)v[SKEW] / 1000, out);
}

/* What comes before and after the products, and is not hidden behind anything. */
static double around(const double *p, const int64_t *v, const struct td_moe_load *load) {
  double hidden = (double)v[HIDDEN], inter = (double)v[INTER] / (double)v[TP], tokens = (double)v[TOKENS];
  double fixed = p[START] + p[WIDE] * (hidden + inter) / 1024 + p[PER_EXPERT] * log2(1 + load->here);
  double moved = (p[PER_ROW] * load->rows + p[PER_TOKEN] * tokens) * hidden / 4096;
  return fixed * 1e-6 + (moved + p[PER_CHOICE] * tokens * (double)v[TOP_K]) * 1e-9;
}

/* Columns in tiles of 128, inner dimensions in steps of 64: what an expert's part of many chips is padded to. */
static double seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double hidden = (double)v[HIDDEN], inter = (double)v[INTER] / (double)v[TP], matrices = (double)v[MATRICES];
  struct td_moe_load load;
  load_of(v, &load);
  double tile = tile_rows(load.rows / load.reached), wide = ceil(inter / 128), deep = ceil(inter / 64) * 64;
  double columns = (matrices - 1) * wide + ceil(hidden / 128);
  double inner = (matrices - 1) * hidden * wide * 128 + deep * hidden + columns * 128 * p[RAMP];
  double flops = 2 * td_moe_tiles(&load, tile) * tile * inner;
  double bytes = load.reached * matrices * hidden * inter * chip->bytes;
  bytes += 2 * load.rows * (2 * hidden + matrices * inter);
  double compute = flops / (p[COMPUTE] * chip->peak), memory = bytes / (p[MEMORY] * chip->bandwidth);
  double starts = p[TILE] * load.reached * columns / chip->units * 1e-6;
  return around(p, v, &load) + starts + td_op_smooth_max(compute, memory, p[SHARPNESS]);
}

/* Kernels see a device's part: experts of other models, and other divisions of this one, are near if their parts are.
 */
static void local(const int64_t *v, double *out) {
  out[HIDDEN] = log2((double)v[HIDDEN]);
  out[INTER] = log2((double)v[INTER] / (double)v[TP]);
  out[TOP_K] = log2((double)v[TOP_K]) / 2;
  out[EXPERTS] = log2((double)v[EXPERTS]);
  out[EP] = log2((double)v[EXPERTS] / (double)v[EP]);
  out[SKEW] = (double)v[SKEW] / SKEW_OCTAVE;
  out[MATRICES] = (double)v[MATRICES] / MATRICES_OCTAVE;
  out[TOKENS] = log2((double)v[TOKENS]) / 0.7;
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
    .drawn_field = SKEW,
    .other_kernel = 0.4,
    .local = local,
    .class_bounds = {64, 512},
    .class_names = {"all", "tokens <= 64", "tokens 65..512", "tokens > 512", "sums of four"},
    .refuses = refuses,
    .seconds = seconds,
    .work = work,
};
