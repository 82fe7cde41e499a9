/* SPDX-License-Identifier: Apache-2.0
 *
 * Attention of one layer. Kernels work on tiles of queries (the query heads of a group in the rows of one tile) against
 * tiles of cached positions, dealt to the multiprocessors as they become free. Few tiles take as long as the longest
 * of them, many as long as their sum or as their bytes do; but bytes that stay in the last cache from one call to the
 * next never come from memory.
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

/* Near 1 below 1, near 0 above: 1 / (1 + x^(2^doublings)). */
static double below_one(double x, int doublings) {
  for (int i = 0; i < doublings; i++) x *= x;
  return 1 / (1 + x);
}

/* The share of `bytes` that the last cache still has from the call before: all or nothing, nearly, as they come in
 * turn. */
static double resident(const struct td_op_chip *chip, double bytes, double share) {
  return below_one(bytes / (share * chip->cache), 3);
}

/* Cached positions of a tile: as many as fit beside the queries. */
static double tile_columns(double width) {
  return width <= 128 ? 128 : width <= 192 ? 96 : 80;
}

/* Seconds of one multiprocessor for a product of a tile's rows with one cached position, and back. Exponentials take as
 * long as `more` columns of the heads would. */
static double column_seconds(const struct td_op_chip *chip, double rows, double width, double more, double share) {
  return 4 * rows * (width + more) * chip->units / (share * chip->peak);
}

/* ---- decode ---- */

enum {
  G_COMPUTE,
  G_MEMORY,
  G_START,
  G_START_WIDTH,
  G_ITEM,
  G_ITEM_WIDTH,
  G_WIDTH,
  G_SHARPNESS,
  G_COMBINE,
  G_DEPTH,
  G_PARTS,
  G_FILL,
  G_SEQUENCE,
  G_PLANNED,
  G_WINDOW,
  G_WIDE_SEQUENCE,
  G_PARAMETERS
};

static const struct td_op_parameter generation_parameters[] = {
    {"compute_share", "1", 0.5, 0.02, 3, "share of the peak at which padded tiles are worked through"},
    {"memory_share", "1", 0.9, 0.1, 1.2, "share of the memory bandwidth that the cache streams at"},
    {"start", "us", 9, 0.1, 200, "launch, and what always comes with it"},
    {"start_width", "us", 0.8, 0.001, 50, "start, for each 128 of head_dim"},
    {"item", "us", 1.5, 0.001, 50, "start and end of one group's part on a multiprocessor, past the first"},
    {"item_width", "us", 0.8, 0.001, 50, "the same, for each 128 of head_dim"},
    {"width", "1", 20, 0.01, 500, "what exponentials add to head_dim"},
    {"sharpness", "1", 1.6, 1, 40, "of the corner between the bounds"},
    {"combine", "us", 1.2, 0.001, 20, "summing parts of contexts of more than one tile"},
    {"depth", "us", 0.5, 0.001, 20, "for each doubling of the parts"},
    {"parts", "1", 32, 2, 256, "parts of a context, at most"},
    {"fill", "1", 0.7, 0.05, 4, "share of the last cache in which a call's bytes stay until the next"},
    {"sequence", "ns", 20, 0.01, 500, "looking for a sequence's work, each"},
    {"planned", "1", 992, 900, 100000,
     "sequences up to which kernels look for work in that way: FlashAttention-3's 31 * 32"},
    {"window", "us", 0.8, 0.001, 50, "what finding the window's place adds, once the context is past it"},
    {"wide_sequence", "us", 1.7, 0.001, 50, "looking for a sequence's work, of the kernels for a head_dim over 256"},
};

/* As many parts as keep all multiprocessors at work with a tenth to spare, as kernels plan it. */
#define SPARE 1.1

struct plan {
  double columns, waves, parts; /* of a tile; tiles of a part; parts of a context */
  double tiles;
};

static struct plan plan_of(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  struct plan plan = {.columns = tile_columns((double)v[HEAD_DIM])};
  double context = reach(v), groups = (double)v[BATCH] * (double)v[KV_HEADS];
  double all = ceil((double)v[LENGTH] / plan.columns), tiles = ceil(context / plan.columns);
  if (context < (double)v[LENGTH] && tiles < all) tiles++; /* a window straddles tiles */
  double each = ceil(SPARE * groups * tiles / chip->units), least = ceil(tiles / p[G_PARTS]);
  if (each < least) each = least;
  if (each > tiles) each = tiles;
  plan.parts = ceil(tiles / each);
  plan.tiles = ceil(tiles / plan.parts);
  plan.waves = ceil(groups * plan.parts / chip->units);
  return plan;
}

/* Rows of a group's tile: the smallest that products have, but kernels with a window keep those they have for prompts
 * of narrow heads. */
static double tile_rows(const int64_t *v) {
  double rows = reach(v) < (double)v[LENGTH] && v[HEAD_DIM] <= 64 ? 192 : 64;
  return ceil((double)v[HEADS] / (double)v[KV_HEADS] / rows) * rows;
}

/* Each multiprocessor looks through all sequences; kernels of wide heads look through those before each one again. More
 * sequences than are planned are not looked through at all, which is no gradual matter: 512 of 512-wide heads take 2.4
 * ms in NVIDIA's table (vLLM 0.24), 1024 of them 0.18 ms. */
static double looking(const double *p, const int64_t *v) {
  double batch = (double)v[BATCH], share = batch / p[G_PLANNED];
  double each = p[G_SEQUENCE] * 1e-3;
  if (v[HEAD_DIM] > 256) each += p[G_WIDE_SEQUENCE] * (1 + 2 * share);
  return share <= 1 ? each * batch : 0;
}

static double generation(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  const struct plan plan = plan_of(chip, p, v);
  double context = reach(v), width = (double)v[HEAD_DIM], groups = (double)v[BATCH] * (double)v[KV_HEADS];
  double bytes = 2 * groups * width * context * chip->kv_bytes + 4 * (double)v[BATCH] * (double)v[HEADS] * width;
  double memory = bytes / (p[G_MEMORY] * chip->bandwidth);
  if (!chip->cold) memory *= 1 - resident(chip, bytes, p[G_FILL]);
  double column = column_seconds(chip, tile_rows(v), width, p[G_WIDTH], p[G_COMPUTE]);
  double between = (plan.waves - 1) * (p[G_ITEM] + p[G_ITEM_WIDTH] * width / 128) * 1e-6;
  double work = between + plan.waves * plan.tiles * plan.columns * column;
  double fixed = p[G_START] + p[G_START_WIDTH] * width / 128 + p[G_DEPTH] * log2(plan.parts) + looking(p, v);
  if (context > plan.columns) fixed += p[G_COMBINE];
  if (context < (double)v[LENGTH]) fixed += p[G_WINDOW];
  return fixed * 1e-6 + td_op_smooth_max(memory, work, p[G_SHARPNESS]);
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

enum {
  C_COMPUTE,
  C_MEMORY,
  C_START,
  C_PROMPT,
  C_ITEM,
  C_SHARPNESS,
  C_BATCH,
  C_WIDTH,
  C_KEYS,
  C_APPEND,
  C_FILL,
  C_CACHED,
  C_WIDE,
  C_PARAMETERS
};

static const struct td_op_parameter context_parameters[] = {
    {"compute_share", "1", 0.9, 0.05, 1.5, "share of the peak that full tiles reach"},
    {"memory_share", "1", 0.9, 0.05, 1.3, "share of the memory bandwidth that queries, keys and values stream at"},
    {"start", "us", 8, 0.1, 200, "launch, and what always comes with it"},
    {"prompt", "us", 2, 0.01, 20, "start, where a prompt has more than one token"},
    {"item", "us", 2.5, 0.01, 50, "a tile's start and end"},
    {"sharpness", "1", 1.2, 1, 40, "of the corner between the bounds"},
    {"batch", "us", 0.2, 0.001, 20, "for each doubling of the batch: finding each sequence's place"},
    {"width", "1", 60, 0.01, 500, "what exponentials add to head_dim"},
    {"keys", "1", 2, 0.05, 20, "copies of keys and values to their place in the cache, as that many times their bytes"},
    {"append", "ns", 3, 0.01, 50, "finding a position's place in the cache, each, by a block of 512 threads"},
    {"fill", "1", 0.55, 0.05, 4, "share of the last cache in which a call's bytes stay until they are needed"},
    {"cached_rate", "1", 1.7, 0.3, 50, "how much faster such bytes come"},
    {"wide", "1", 2, 1, 10, "how much longer products take the kernels for a head_dim over 256"},
};

/* Blocks that append to the cache have a thread for each element of a position's keys, but no more than so many. */
#define APPEND_THREADS 512.0

/* A tile's rows: 64 where a group's heads at all positions are no more. */
static double prompt_rows(const int64_t *v) {
  int64_t heads = v[HEADS] / v[KV_HEADS];
  bool windowed = v[WINDOW] && v[WINDOW] < v[LENGTH];
  if (v[HEAD_DIM] > 256 || (v[HEAD_DIM] <= 128 && !windowed && v[LENGTH] <= 64 / heads)) return 64;
  return v[HEAD_DIM] <= 64 ? 192 : 128;
}

/* Products. Tiles hold the heads of a group at as many positions as fit; what lies after a tile's last is skipped. Few
 * tiles are parted as those of a decode step are. */
static double tiled_seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double length = (double)v[LENGTH], width = (double)v[HEAD_DIM], window = reach(v), rows = prompt_rows(v);
  double group = (double)v[HEADS] / (double)v[KV_HEADS], each = ceil(length * group / rows);
  double span = rows / group < length ? rows / group : length, tiles = (double)v[BATCH] * (double)v[KV_HEADS] * each;
  double columns = tile_columns(width), all = ceil(length / columns), most = window + span + columns;
  double mean = fmin(each > 1 ? fmin((length + span + columns) / 2, all * columns) : all * columns, most);
  double longest = fmin(fmin(all, ceil(SPARE * tiles * all / chip->units)) * columns, most);
  double column = column_seconds(chip, rows, width, p[C_WIDTH], p[C_COMPUTE]) * (width > 256 ? p[C_WIDE] : 1);
  double item = p[C_ITEM] * 1e-6, waves = tiles / chip->units;
  return td_op_smooth_max(waves * (mean * column + item), longest * column + item, 4);
}

/* Keys and values are copied to their place in the cache by a kernel before; a single token's with it. */
static double context(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double length = (double)v[LENGTH], width = (double)v[HEAD_DIM], batch = (double)v[BATCH];
  double place = (double)v[KV_HEADS] * width, rows = batch * length;
  double queries = 4 * rows * (double)v[HEADS] * width, keys = 2 * rows * place * chip->kv_bytes;
  double stays = resident(chip, queries + 2 * keys, p[C_FILL]);
  double byte = (1 - stays + stays / p[C_CACHED]) / (p[C_MEMORY] * chip->bandwidth);
  double threads = place < APPEND_THREADS ? place : APPEND_THREADS;
  double append = keys * p[C_KEYS] * byte + rows * p[C_APPEND] * 1e-9 * threads / APPEND_THREADS;
  double fixed = p[C_START] + p[C_BATCH] * log2(1 + batch);
  if (v[LENGTH] > 1) fixed += p[C_PROMPT];
  return fixed * 1e-6 + (v[LENGTH] > 1 ? append : 0) +
         td_op_smooth_max(tiled_seconds(chip, p, v), (queries + keys) * byte, p[C_SHARPNESS]);
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
