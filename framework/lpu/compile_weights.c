/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights into tiles: a vector is one k, its lanes are n, so that it can be loaded as it lies.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"
#include "tandem/kernels.h"
#include "tandem/lpu_math.h"

/* Rows of a matrix that are turned into lanes together: the destinations of one k are neighbours. */
#define GROUP 64

struct filling {
  const struct lpu_compiler *compiler;
  const struct lpu_matrix *matrix;
  const struct lpu_rows *rows;
  const struct td_weight *weight;
  const void *data;
  int32_t layer;
  int64_t above; /* the matrix's rows that are other weights' */
  float *row;
  int8_t *bytes;    /* [GROUP][k] */
  uint16_t *halves; /* [GROUP][k] */
  float *scales;    /* [n] of the matrix */
};

static int32_t part_k(const struct lpu_compiler *compiler, enum td_lpu_type type) {
  return lpu_one_plane(type) ? compiler->machine->plane_k : compiler->machine->plane_k / 2;
}

/* q = w / scale to nearest even, scale = max |w| / 127: binary32, as the numerics say. */
static float quantize_row(const float *row, int64_t k, int8_t *out) {
  float most = 0.0f;
  for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(row[i]));
  float scale = most / 127.0f;
  const float magic = 12582912.0f; /* 1.5 * 2^23: adding it rounds to an integer */
  for (int64_t i = 0; i < k; i++) {
    float rounded = (row[i] / scale + magic) - magic;
    out[i] = scale > 0.0f ? (int8_t)rounded : 0;
  }
  return scale;
}

/* The same of FP8: scale = max |w| / 448, of a row of next to nothing as if that were 2^-100, as for activations: then
 * w / scale is at most a rounding above 448, and so rounds to 448. */
static float narrow_row(const float *row, int64_t k, int8_t *out) {
  float most = LPU_LEAST_TOP;
  for (int64_t i = 0; i < k; i++) most = fmaxf(most, fabsf(row[i]));
  float scale = most / TD_LPU_F8_MOST;
  for (int64_t i = 0; i < k; i++) out[i] = (int8_t)td_lpu_f32_to_f8(row[i] / scale);
  return scale;
}

/* Rows [first, first + rows) of the matrix. */
static td_status convert_rows(struct filling *filling, int64_t first, int64_t rows) {
  const struct td_weight *weight = filling->weight;
  int64_t from = filling->rows->first + first - filling->above;
  uint64_t row_bytes = 0;
  TD_TRY(td_dtype_row_bytes(weight->dtype, weight->cols, &row_bytes));
  for (int64_t r = 0; r < rows; r++) {
    td_dequantize(weight->dtype, (const char *)filling->data + (uint64_t)(from + r) * row_bytes, filling->row,
                  weight->cols);
    if (filling->bytes) {
      int8_t *out = filling->bytes + r * weight->cols;
      bool fp8 = filling->compiler->options->weights == TD_LPU_WEIGHTS_F8;
      filling->scales[first + r] = (fp8 ? narrow_row : quantize_row)(filling->row, weight->cols, out);
      continue;
    }
    for (int64_t i = 0; i < weight->cols; i++) {
      uint16_t half = td_float_to_half(filling->row[i]);
      if ((half & 0x7c00u) == 0x7c00u) {
        return td_fail(TD_UNSUPPORTED, "%s: weight %g at row %" PRId64 " is beyond float16", weight->name,
                       (double)filling->row[i], from + r);
      }
      filling->halves[r * weight->cols + i] = half;
    }
  }
  return TD_OK;
}

/* Component 0 of vector `v` of a tile, in the data of its image, or of that piece of it. */
static uint8_t *vector_at(const struct filling *filling, int32_t block, int32_t part, int32_t v) {
  const struct lpu_tiles *tiles = &filling->matrix->tiles;
  struct td_lpu_program *program = filling->compiler->builder->program;
  int32_t pieces = tiles->pieces > 0 ? tiles->pieces : 1;
  const struct td_lpu_image *image = &program->images[tiles->image + (block * tiles->parts + part) * pieces];
  int32_t words = part == tiles->parts - 1 ? filling->matrix->last_words : filling->matrix->words;
  int32_t beside = image->by_steps * pieces, word = filling->layer * words + v / beside;
  image += v % beside / image->by_steps;
  int32_t slice = v % image->by_steps * td_lpu_type_bytes(tiles->type);
  return program->data + image->data +
         ((size_t)word * (size_t)image->slices + (size_t)slice) * (size_t)filling->compiler->machine->lanes;
}

static void store_part(const struct filling *filling, int64_t first, int64_t rows, int32_t part) {
  const struct lpu_compiler *compiler = filling->compiler;
  const struct lpu_matrix *matrix = filling->matrix;
  int32_t lanes = compiler->machine->lanes, k = part_k(compiler, matrix->tiles.type);
  int32_t block = (int32_t)(first / lanes), lane = (int32_t)(first % lanes);
  int64_t begin = (int64_t)part * k, end = begin + k < matrix->k ? begin + k : matrix->k;
  for (int64_t i = begin; i < end; i++) {
    uint8_t *out = vector_at(filling, block, part, (int32_t)(i - begin)) + lane;
    for (int64_t r = 0; r < rows; r++) {
      if (filling->bytes) {
        out[r] = (uint8_t)filling->bytes[r * matrix->k + i];
      } else {
        out[r] = (uint8_t)filling->halves[r * matrix->k + i];
        out[lanes + r] = (uint8_t)(filling->halves[r * matrix->k + i] >> 8);
      }
    }
  }
}

static td_status fill_rows(struct filling *filling) {
  int32_t lanes = filling->compiler->machine->lanes;
  int64_t end = filling->above + filling->rows->rows;
  for (int64_t first = filling->above; first < end;) {
    int64_t rows = GROUP, left = lanes - first % lanes;
    if (rows > left) rows = left;
    if (rows > end - first) rows = end - first;
    TD_TRY(convert_rows(filling, first, rows));
    for (int32_t part = 0; part < filling->matrix->tiles.parts; part++) store_part(filling, first, rows, part);
    first += rows;
  }
  return TD_OK;
}

static td_status fill_weight(const struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                             const struct lpu_rows *rows, int64_t above, int32_t layer, float *scales) {
  struct filling filling = {.compiler = compiler,
                            .matrix = matrix,
                            .rows = rows,
                            .weight = &compiler->graph->weights[rows->weight],
                            .data = compiler->weights[rows->weight],
                            .layer = layer,
                            .above = above,
                            .scales = scales};
  size_t k = (size_t)matrix->k;
  bool bytes = matrix->tiles.type != TD_LPU_F16;
  td_status status = td_alloc(k, sizeof(float), (void **)&filling.row);
  if (!status && bytes) status = td_alloc(k * GROUP, 1, (void **)&filling.bytes);
  if (!status && !bytes) status = td_alloc(k * GROUP, 2, (void **)&filling.halves);
  if (!status) status = fill_rows(&filling);
  free(filling.row);
  free(filling.bytes);
  free(filling.halves);
  return status;
}

static td_status fill_layer(const struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                            const struct lpu_rows *rows, int32_t count, int32_t layer, float *scales) {
  int64_t above = 0;
  for (int32_t i = 0; i < count; i++) {
    if (rows[i].weight >= 0) TD_TRY(fill_weight(compiler, matrix, &rows[i], above, layer, scales));
    above += rows[i].rows;
  }
  return TD_OK;
}

/* ---- places ---- */

static enum td_lpu_type tile_type(const struct td_lpu_options *options) {
  bool widened = options->activations == TD_LPU_ACTIVATIONS_F16;
  switch (options->weights) {
    case TD_LPU_WEIGHTS_I8:
      return widened ? TD_LPU_W8 : TD_LPU_I8;
    case TD_LPU_WEIGHTS_F8:
      return widened ? TD_LPU_WF8 : TD_LPU_F8;
    default:
      return TD_LPU_F16;
  }
}

static void shape_tiles(const struct lpu_compiler *compiler, struct lpu_matrix *matrix) {
  const struct td_lpu_options *options = compiler->options;
  const struct td_lpu_machine *machine = compiler->machine;
  struct lpu_tiles *tiles = &matrix->tiles;
  tiles->type = tile_type(options);
  int32_t k = part_k(compiler, tiles->type), vectors = machine->load_vectors;
  tiles->parts = (int32_t)((matrix->k + k - 1) / k);
  tiles->blocks = (int32_t)((matrix->n + machine->lanes - 1) / machine->lanes);
  tiles->steps = k / vectors;
  tiles->last_steps = (int32_t)(matrix->k - (int64_t)(tiles->parts - 1) * k + vectors - 1) / vectors;
  int32_t per_word = tiles->type == TD_LPU_W8 || tiles->type == TD_LPU_WF8 ? 2 : 1;
  matrix->words = (tiles->steps + per_word - 1) / per_word;
  matrix->last_words = (tiles->last_steps + per_word - 1) / per_word;
  tiles->pieces = compiler->layout.spread ? (lpu_one_plane(tiles->type) ? 1 : 2) * vectors / LPU_PIECE : 0;
}

/* Groups of slices that feed planes: of int8 and FP8 tiles, a plane's each; else a hemisphere's. */
struct group {
  int32_t hemisphere, first; /* of its slices, from lpu_weight_slice on */
};

static struct group group_of(const struct lpu_compiler *compiler, enum td_lpu_type type, int32_t index) {
  if (!lpu_one_plane(type) || compiler->layout.spread) return (struct group){index, 0};
  return (struct group){index % 2, index / 2 * compiler->machine->load_vectors};
}

/* Where the next block goes: blocks of one matrix spread, so that they are computed side by side. Over the two groups
 * of wide tiles evenly, among those with as few where least is; over four groups a few large blocks would leave one
 * full and one empty, so that from the fourth block on only the room counts. */
/* Words that are used where a group's next block goes. */
static int64_t used_words(const struct lpu_compiler *compiler, struct group group) {
  if (compiler->layout.spread) return compiler->place.spread_words[group.hemisphere];
  return compiler->place.outer_word[group.hemisphere][group.first > 0];
}

#define NO_ROOM (INT64_C(1) << 40) /* more than any other cost: where else there is room */
static struct group choose_group(const struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                                 int32_t blocks[4]) {
  bool spread = compiler->layout.spread, even = !lpu_one_plane(matrix->tiles.type) && !spread;
  int32_t groups = even || spread ? 2 : 4, best = 0;
  int64_t room = compiler->machine->mem_words - lpu_cache_words(compiler);
  int64_t block_words = ((int64_t)(matrix->tiles.parts - 1) * matrix->words + matrix->last_words) * matrix->layers;
  int64_t each = even ? compiler->machine->mem_words : 2 * block_words, least = INT64_MAX;
  for (int32_t i = 0; i < groups; i++) {
    struct group group = group_of(compiler, matrix->tiles.type, i);
    int64_t used = used_words(compiler, group);
    int64_t cost = used + each * (even || blocks[i] < 4 ? blocks[i] : 4);
    if (!spread && used + block_words > room) cost += NO_ROOM;
    if (cost < least) {
      least = cost;
      best = i;
    }
  }
  blocks[best]++;
  return group_of(compiler, matrix->tiles.type, best);
}

static td_status add_data(struct lpu_compiler *compiler, int32_t first) {
  struct td_lpu_program *program = compiler->builder->program;
  for (int32_t i = first; compiler->weights && i < program->image_count; i++) {
    struct td_lpu_image *image = &program->images[i];
    image->data_bytes = (uint64_t)image->words * (uint64_t)image->slices * (uint64_t)compiler->machine->lanes;
    TD_TRY(lpu_add_data(compiler->builder, image->data_bytes, &image->data));
  }
  return TD_OK;
}

static td_status place_tile(struct lpu_compiler *compiler, const char *name, struct lpu_matrix *matrix, int32_t block,
                            int32_t part, struct group group) {
  const struct td_lpu_machine *machine = compiler->machine;
  struct lpu_tiles *tiles = &matrix->tiles;
  char full[48];
  int32_t vectors = machine->load_vectors, words = part == tiles->parts - 1 ? matrix->last_words : matrix->words;
  int32_t slices = lpu_one_plane(tiles->type) ? vectors : 2 * vectors, image = 0;
  TD_TRY(td_format(full, sizeof full, "%s.%d.%d", name, block, part));
  words *= matrix->layers;
  if (compiler->layout.spread) {
    TD_TRY(lpu_spread_tile(compiler, full, tiles->type, group.hemisphere, slices, words, &image));
  } else {
    TD_TRY(lpu_new_outer(compiler, full, TD_IMAGE_WEIGHT, tiles->type, group.hemisphere, group.first, slices, words,
                         &image));
    struct td_lpu_image *made = &compiler->builder->program->images[image];
    made->rows = words * made->by_steps;
    made->cols = machine->lanes;
  }
  if (block == 0 && part == 0) tiles->image = image;
  return add_data(compiler, image);
}

static td_status fill(struct lpu_compiler *compiler, const char *name, const struct lpu_rows *rows, int32_t parts,
                      struct lpu_matrix *matrix) {
  float *scales = NULL;
  size_t count = (size_t)matrix->n * (size_t)matrix->layers;
  td_status status = td_alloc(count, sizeof *scales, (void **)&scales);
  for (int32_t layer = 0; !status && compiler->weights && layer < matrix->layers; layer++) {
    status = fill_layer(compiler, matrix, rows + (int64_t)layer * parts, parts, layer, scales + layer * matrix->n);
  }
  char full[48];
  if (!status) status = td_format(full, sizeof full, "%s.scale", name);
  matrix->scale = -1;
  if (!status && matrix->tiles.type != TD_LPU_F16) {
    status = lpu_new_constants(compiler, full, compiler->place.constant_turn++ % 2, matrix->layers, (int32_t)matrix->n,
                               compiler->weights ? scales : NULL, &matrix->scale);
  }
  free(scales);
  return status;
}

td_status lpu_new_matrix(struct lpu_compiler *compiler, const char *name, const struct lpu_rows *rows, int32_t count,
                         int32_t layers, struct lpu_matrix *out) {
  struct lpu_matrix matrix = {
      .k = compiler->graph->weights[rows[0].weight].cols, .layers = layers, .scale = -1, .bias = -1};
  for (int32_t i = 0; i < count; i++) matrix.n += rows[i].rows;
  shape_tiles(compiler, &matrix);
  matrix.row_blocks = matrix.tiles.blocks;
  *out = matrix;
  if (matrix.n == 0) return TD_OK; /* other chips have all of it */
  int32_t blocks[4] = {0, 0, 0, 0};
  for (int32_t block = 0; !compiler->measuring && block < matrix.tiles.blocks; block++) {
    struct group group = choose_group(compiler, &matrix, blocks);
    for (int32_t part = 0; part < matrix.tiles.parts; part++) {
      TD_TRY(place_tile(compiler, name, &matrix, block, part, group));
    }
  }
  TD_TRY(fill(compiler, name, rows, count, &matrix));
  *out = matrix;
  return TD_OK;
}

td_status lpu_matrix_tiles(struct lpu_compiler *compiler, const struct lpu_matrix *matrix, struct lpu_tiles *out) {
  *out = matrix->tiles;
  TD_TRY(lpu_matrix_patch(compiler, matrix, matrix->words, &out->patch));
  return lpu_matrix_patch(compiler, matrix, matrix->last_words, &out->last_patch);
}
