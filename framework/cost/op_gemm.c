/* SPDX-License-Identifier: Apache-2.0
 *
 * A matrix product out[m, n] = in[m, k] * weight[n, k]^T. The library has kernels of several tile sizes, each of which
 * may also split k; it takes the one that is soonest done. Tiles are dealt to the multiprocessors in waves, and the
 * last wave is as long as a full one: that is where the steps in measured curves come from. A tile's time is its
 * products, or its operands at the rate one multiprocessor can load; the whole cannot be faster than its bytes from
 * memory.
 */
#include <math.h>

#include "op_model.h"

enum {
  COMPUTE,
  MEMORY,
  START,
  LOAD,
  RAMP,
  SHARPNESS,
  SPLIT,
  CACHED,
  SUSTAINED,
  NARROW,
  DEPTH,
  COPIES,
  RESIDENT,
  PARAMETERS
};

static const struct td_op_parameter parameters[] = {
    {"compute_share", "1", 1, 0.1, 1.2, "share of the peak that full tiles reach"},
    {"memory_share", "1", 0.83, 0.1, 1.2, "share of the memory bandwidth that weights stream at"},
    {"start", "us", 3, 0.1, 100, "launch, and kernels that always come with it (activation quantisation)"},
    {"unit_load", "1", 7, 0.5, 100, "a multiprocessor's load rate, in even shares of the memory bandwidth"},
    {"ramp", "1", 170, 1, 5000, "a tile's start and end, as that many steps of k"},
    {"sharpness", "1", 3, 1, 40, "of the corner between the bounds"},
    {"split", "us", 2.5, 0.05, 50, "what summing the parts of a split k adds"},
    {"cached_share", "1", 0.8, 0.02, 1, "part of the activations' bytes that memory sees while they fit the cache"},
    {"sustained", "1", 0.15, 0.001, 2, "how much longer products take once the chip is warm and throttles"},
    {"narrowing", "1", 0.5, 0.02, 5, "share of the memory bandwidth at which activations are narrowed, if they are"},
    {"depth", "ns", 1, 0.01, 20, "of one step of k, however small the tile: the latency of loads"},
    {"copies", "1", 6, 1, 100, "weights stay in the cache up to this part of it: a benchmark's copies of them"},
    {"resident_share", "1", 0.4, 0.02, 1, "part of such weights' bytes that memory sees"},
};

static const struct td_op_field fields[] = {
    {.name = "n", .octaves = 2, .most = INT64_C(1) << 24},
    {.name = "k", .octaves = 2, .most = INT64_C(1) << 24},
    {.name = "m", .octaves = 1, .most = INT64_C(1) << 24},
};

/* Tiles of so many rows come in several widths, next to each other: binary logarithms, and indices. */
#define WIDTHS 4
static const int32_t widths[WIDTHS] = {5, 6, 7, 8};
static const struct { int32_t rows, first, last; } tiles[] = {{6, 0, 3}, {7, 1, 3}, {8, 2, 2}};
static const uint64_t splits[] = {2, 3, 4, 6, 8, 12, 16, 32};

#define K_STEP 64
#define WARM_SECONDS 2e-3 /* half of the throttling shows in products of that length at peak */

/* In 32 bits where they suffice: such divisions take a third of the time. */
static uint64_t ceil_div(uint64_t a, uint64_t b) {
  uint64_t sum = a + b - 1;
  return sum <= UINT32_MAX && b <= UINT32_MAX ? (uint32_t)sum / (uint32_t)b : sum / b;
}

struct product {
  uint64_t m, n, k, units, depth;
  double per_flop, per_load; /* seconds: of a multiprocessor's multiply-add and of an operand's element */
  double memory, ramp, split, latency;
};

struct choice {
  double soonest, compute, load, extra;
};

/* Seconds that no tile and split is done before: full tiles, full waves. Rounding may bring a tile's a little below. */
static double floor_of(const struct product *p) {
  double m = (double)(int64_t)p->m, n = (double)(int64_t)p->n, k = (double)(int64_t)p->k;
  double compute = m * n * (k + p->ramp) * p->per_flop / (double)(int64_t)p->units * (1 - 1e-12);
  return compute > p->memory ? compute : p->memory;
}

/* A product's rows or columns cut into tiles of one size. */
struct cut {
  uint64_t count;
  double size, filled; /* filled: of the size, what the first tile has of the product */
};

static inline struct cut cut_of(uint64_t all, int32_t size) {
  const uint64_t whole = UINT64_C(1) << size;
  return (struct cut){.count = (all + whole - 1) >> size,
                      .size = (double)(int64_t)whole,
                      .filled = (double)(int64_t)(all < whole ? all : whole)};
}

/* What all splits of a tile have in common. */
struct tiled {
  uint64_t count;
  double area, step; /* products of a step of k; seconds that a step of k loads */
};

static inline struct tiled tile_of(const struct product *p, const struct cut *rows, const struct cut *columns) {
  double step = (rows->filled + columns->filled) * p->per_load;
  return (struct tiled){.count = rows->count * columns->count,
                        .area = rows->size * columns->size,
                        .step = step > p->latency ? step : p->latency};
}

static uint64_t whole_steps(uint64_t k) {
  return (k + K_STEP - 1) / K_STEP * K_STEP;
}

/* `ctas` tiles, each of `depth` steps. Conversions of signed numbers take a third of the time of unsigned. */
static inline void try_one(const struct product *p, const struct tiled *tile, uint64_t ctas, uint64_t depth,
                           double extra, struct choice *best) {
  double waves = (double)(int64_t)ceil_div(ctas, p->units), steps = (double)(int64_t)depth;
  double compute = waves * tile->area * (steps + p->ramp) * p->per_flop, load = waves * steps * tile->step;
  double longest = compute > load ? compute : load;
  if (p->memory > longest) longest = p->memory;
  if (longest + extra < best->soonest) *best = (struct choice){longest + extra, compute, load, extra};
}

/* More parts do not help where tiles are many or parts short. */
static void try_splits(const struct product *p, const struct tiled *tile, double least, struct choice *best) {
  uint64_t ctas = tile->count, depth = p->depth;
  for (size_t i = 0; i < sizeof splits / sizeof *splits; i++) {
    if (ctas >= 4 * p->units || depth <= K_STEP || least + p->split >= best->soonest) return;
    ctas = tile->count * splits[i];
    depth = whole_steps(ceil_div(p->k, splits[i]));
    try_one(p, tile, ctas, depth, p->split, best);
  }
}

/* The first of the soonest: what cannot be sooner than the best so far is not looked at. */
static struct choice choose(const struct product *p) {
  struct choice best = {.soonest = INFINITY};
  struct cut columns[WIDTHS];
  double least = floor_of(p);
  for (int32_t i = 0; i < WIDTHS; i++) columns[i] = cut_of(p->n, widths[i]);
  for (int32_t i = 0; i < (int32_t)(sizeof tiles / sizeof *tiles); i++) {
    const struct cut rows = cut_of(p->m, tiles[i].rows);
    for (int32_t j = tiles[i].first; j <= tiles[i].last && best.soonest > least; j++) {
      const struct tiled tile = tile_of(p, &rows, &columns[j]);
      try_one(p, &tile, tile.count, p->depth, 0, &best);
      try_splits(p, &tile, least, &best);
    }
  }
  return best;
}

/* How much of weights that fill so much of the cache is still there at the next call: a steep step at 1. */
static double resident(double fill) {
  double square = fill * fill, fourth = square * square;
  return 1 / (1 + fourth * fourth);
}

static double memory_seconds(const struct td_op_chip *chip, const double *p, double m, double n, double k) {
  double activations = m * k * chip->bytes + m * n * 2, fill = activations / (0.5 * chip->cache);
  double cached = 1 / (1 + fill * fill);
  double seen = activations * (cached * p[CACHED] + 1 - cached), weights = n * k * chip->bytes;
  if (!chip->cold) weights *= 1 - resident(weights * p[COPIES] / chip->cache) * (1 - p[RESIDENT]);
  return (weights + seen) / (p[MEMORY] * chip->bandwidth);
}

/* Activations come in 16 bits: read, and written in the product's type, by a kernel before it. Its launch is part of
 * the start. */
static double narrowing_seconds(const struct td_op_chip *chip, const double *p, double m, double k) {
  return chip->bytes < 2 ? m * k * (2 + chip->bytes) / (p[NARROW] * chip->bandwidth) : 0;
}

static double before(const struct td_op_chip *chip, const double *p, double m, double k) {
  double start = p[START] * 1e-6;
  if (chip->start > 0 && start > chip->start) start = chip->start;
  return start + narrowing_seconds(chip, p, m, k);
}

static double seconds(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double n = (double)v[0], k = (double)v[1], m = (double)v[2];
  double ideal = 2 * m * n * k / (chip->peak * p[COMPUTE]);
  double warm = 1 + p[SUSTAINED] * ideal / (ideal + WARM_SECONDS);
  const struct product product = {.m = (uint64_t)v[2],
                                  .n = (uint64_t)v[0],
                                  .k = (uint64_t)v[1],
                                  .units = (uint64_t)chip->units,
                                  .depth = whole_steps((uint64_t)v[1]),
                                  .per_flop = 2 * warm * chip->units / (chip->peak * p[COMPUTE]),
                                  .per_load = chip->bytes * chip->units / (p[LOAD] * chip->bandwidth),
                                  .memory = memory_seconds(chip, p, m, n, k),
                                  .ramp = p[RAMP],
                                  .split = p[SPLIT] * 1e-6,
                                  .latency = p[DEPTH] * 1e-9};
  struct choice best = choose(&product);
  double longest = td_op_smooth_max_of_three(best.compute, best.load, product.memory, p[SHARPNESS]);
  return before(chip, p, m, k) + longest + best.extra;
}

static double plain(const struct td_op_chip *chip, const double *p, const int64_t *v) {
  double n = (double)v[0], k = (double)v[1], m = (double)v[2];
  double compute = 2 * m * n * k / (chip->peak * p[COMPUTE]);
  return before(chip, p, m, k) + td_op_smooth_max(compute, memory_seconds(chip, p, m, n, k), p[SHARPNESS]);
}

static const char *refuses(const int64_t *v) {
  (void)v;
  return NULL;
}

static void work(const struct td_op_chip *chip, const int64_t *v, double *out_flops, double *out_bytes) {
  double n = (double)v[0], k = (double)v[1], m = (double)v[2];
  *out_flops = 2 * m * n * k;
  *out_bytes = (n * k + m * k) * chip->bytes + 2 * m * n;
}

const struct td_op_model td_op_gemm = {
    .name = "gemm",
    .parameters = parameters,
    .parameter_count = PARAMETERS,
    .fields = fields,
    .field_count = 3,
    .family_fields = 2,
    .class_bounds = {64, 512},
    .class_names = {"all", "m <= 64", "m 65..512", "m > 512", "sums of four"},
    .refuses = refuses,
    .seconds = seconds,
    .plain = plain,
    .work = work,
};
