/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of one layer. Kernels work on tiles: 128 rows of queries (of a decode step: a group's query heads padded to
 * 64 rows) against 128 cached positions. Where a batch is large and its contexts short, the padding decides, not the
 * bytes; where contexts are long, the bytes of the cache do.
 */
#include <math.h>

#include "op_model.h"

enum { HEADS, KV_HEADS, HEAD_DIM, WINDOW, BATCH, LENGTH };

#define FIELDS(length_)                                                         \
  {.name = "num_heads", .octaves = 2, .most = 1 << 16},                         \
      {.name = "num_key_value_heads", .octaves = 2, .most = 1 << 16},           \
      {.name = "head_dim", .octaves = 2, .most = 1 << 14},                      \
      {.name = "window_size", .octaves = 3, .may_lack = true, .most = 1 << 30}, \
      {.name = "batch_size", .octaves = 1, .most = 1 << 20}, {                  \
    .name = length_, .octaves = 1, .most = TD_CONTEXT_MOST                      \
  }
static const struct td_op_field context_fields[] = {FIELDS("isl")};
static const struct td_op_field generation_fields[] = {FIELDS("step + 1")};

static const char *refuses(const int64_t *v) {
  if (v[HEADS] % v[KV_HEADS]) return "num_heads is no multiple of num_key_value_heads";
  return NULL;
}

static double reach(const int64_t *v) {
  return (double)(v[WINDOW] && v[WINDOW] < v[LENGTH] ? v[WINDOW] : v[LENGTH]);
}

/* ---- decode ---- */

enum {
  G_COMPUTE,
  G_MEMORY,
  G_START,
  G_GROUP,
  G_SHARPNESS,
  G_DEPTH,
  G_WIDTH,
  G_START_WIDTH,
  G_WINDOW,
  G_WIDE,
  G_WIDE_SEQUENCE,
  G_PARAMETERS
};

static const struct td_op_parameter generation_parameters[] = {
    {"compute_share", "1", 0.5, 0.02, 1.2, "share of the peak that padded tiles reach"},
    {"memory_share", "1", 0.85, 0.1, 3, "share of the memory bandwidth that the cache streams at"},
    {"start", "us", 9, 0.1, 200, "launch, and what always comes with it"},
    {"group", "us", 1, 0.001, 50, "a sequence's group of heads on one multiprocessor, before it reads"},
    {"sharpness", "1", 2, 1, 40, "of the corner between the bounds"},
    {"depth", "us", 0.3, 0.001, 20, "for each doubling of the context past 512: longer sums of parts"},
    {"width", "1", 20, 0.01, 500, "head_dim at which tiles reach half of their share"},
    {"start_width", "us", 1, 0.001, 50, "start, for each 128 of head_dim"},
    {"window", "us", 2, 0.001, 50, "what finding the window's place adds, once the context is past it"},
    {"wide", "1", 1.5, 1, 10, "how much longer tiles and bytes take the kernels for a head_dim over 256"},
    {"wide_sequence", "us", 2, 0.001, 50, "each sequence of such kernels, which split contexts in a fixed way"},
};

static double generation(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double context = reach(v), heads = (double)v[HEADS], kv = (double)v[KV_HEADS], width = (double)v[HEAD_DIM];
  double groups = (double)v[BATCH] * kv;
  double bytes = 2 * groups * width * context * chip->kv_bytes + 4 * (double)v[BATCH] * heads * width;
  bool windowed = context < (double)v[LENGTH];
  double columns = windowed ? context + 128 : ceil(context / 128) * 128; /* a window straddles tiles */
  double flops = 4 * groups * ceil(heads / kv / 64) * 64 * columns * width;
  double memory = bytes / (p[G_MEMORY] * chip->bandwidth);
  double compute = flops * (1 + p[G_WIDTH] / width) / (p[G_COMPUTE] * chip->peak);
  double fixed = p[G_START] + p[G_GROUP] * groups / chip->units + p[G_DEPTH] * log2(1 + context / 512) +
                 p[G_START_WIDTH] * width / 128 + (windowed ? p[G_WINDOW] : 0);
  bool wide = width > 256;
  if (wide) fixed += p[G_WIDE_SEQUENCE] * (double)v[BATCH];
  return fixed * 1e-6 + td_op_smooth_max(memory, compute, p[G_SHARPNESS]) * (wide ? p[G_WIDE] : 1);
}

static void generation_work(const struct td_op_chip *chip, const int64_t *v, double *out_flops, double *out_bytes) {
  double batch = (double)v[BATCH], width = (double)v[HEAD_DIM];
  *out_flops = 4 * batch * (double)v[HEADS] * width * reach(v);
  *out_bytes = 2 * batch * (double)v[KV_HEADS] * width * reach(v) * chip->kv_bytes;
}

const struct td_op_model td_op_attention_generation = {
    .name = "attention_generation",
    .parameters = generation_parameters,
    .parameter_count = G_PARAMETERS,
    .fields = generation_fields,
    .field_count = 6,
    .family_fields = 3,
    .class_bounds = {512, 8192},
    .class_names = {"all", "context <= 512", "context 513..8192", "context > 8192", "sums of four"},
    .refuses = refuses,
    .seconds = generation,
    .work = generation_work,
};

/* ---- prefill ---- */

enum { C_COMPUTE, C_MEMORY, C_START, C_RAMP, C_SHARPNESS, C_BATCH, C_WIDTH, C_KEYS, C_WINDOW, C_WIDE, C_PARAMETERS };

static const struct td_op_parameter context_parameters[] = {
    {"compute_share", "1", 0.65, 0.05, 1.2, "share of the peak that full tiles reach"},
    {"memory_share", "1", 0.6, 0.05, 2, "share of the memory bandwidth that queries, keys and values stream at"},
    {"start", "us", 10, 0.1, 200, "launch, and what always comes with it"},
    {"ramp", "1", 150, 1, 5000, "a tile's start and end, as that many cached positions"},
    {"sharpness", "1", 2, 1, 40, "of the corner between the bounds"},
    {"batch", "us", 0.1, 0.001, 20, "for each doubling of the batch: finding each sequence's place"},
    {"width", "1", 20, 0.01, 500, "head_dim at which tiles reach half of their share"},
    {"keys", "1", 1, 0.05, 20, "time of a byte of keys and values, that of queries being 1"},
    {"window", "us", 2, 0.001, 50, "what finding the window's place adds, once the context is past it"},
    {"wide", "1", 1.5, 1, 10, "how much longer tiles and bytes take the kernels for a head_dim over 256"},
};

#define TILE 128.0

static double context(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double length = (double)v[LENGTH], heads = (double)v[HEADS], kv = (double)v[KV_HEADS], width = (double)v[HEAD_DIM];
  double batch = (double)v[BATCH], window = reach(v);
  double apart = batch * heads * ceil(length / TILE), packed = batch * kv * ceil(length * heads / kv / TILE);
  double tiles = apart < packed ? apart : packed, full = ceil(length / TILE) * TILE;
  double even = (full + TILE) / 2, columns = even < window + TILE ? even : window + TILE;
  double widest = full < window + TILE ? full : window + TILE;
  double waves = tiles / chip->units > 1 ? tiles / chip->units : 1;
  double column = 4 * TILE * (width + p[C_WIDTH]) * chip->units / (p[C_COMPUTE] * chip->peak);
  double compute = td_op_smooth_max(waves * (columns + p[C_RAMP]) * column, (widest + p[C_RAMP]) * column, 4);
  double bytes = 4 * batch * heads * width * length + 2 * batch * kv * width * length * chip->kv_bytes * p[C_KEYS];
  double memory = bytes / (p[C_MEMORY] * chip->bandwidth);
  double fixed = p[C_START] + p[C_BATCH] * log2(1 + batch) + (window < length ? p[C_WINDOW] : 0);
  return fixed * 1e-6 + td_op_smooth_max(compute, memory, p[C_SHARPNESS]) * (width > 256 ? p[C_WIDE] : 1);
}

static void context_work(const struct td_op_chip *chip, const int64_t *v, double *out_flops, double *out_bytes) {
  double rows = (double)v[BATCH] * (double)v[LENGTH], width = (double)v[HEAD_DIM], window = reach(v);
  double mean = window * (1 - (window - 1) / (2 * (double)v[LENGTH])); /* positions a new token sees */
  *out_flops = 4 * rows * (double)v[HEADS] * width * mean;
  *out_bytes = rows * width * (4 * (double)v[HEADS] + 2 * (double)v[KV_HEADS] * chip->kv_bytes);
}

const struct td_op_model td_op_attention_context = {
    .name = "attention_context",
    .parameters = context_parameters,
    .parameter_count = C_PARAMETERS,
    .fields = context_fields,
    .field_count = 6,
    .family_fields = 3,
    .class_bounds = {64, 512},
    .class_names = {"all", "isl <= 64", "isl 65..512", "isl > 512", "sums of four"},
    .refuses = refuses,
    .seconds = context,
    .work = context_work,
};
