/* SPDX-License-Identifier: Apache-2.0
 *
 * td_lpu_compile_product: one matrix product, the weights installed. Rows pass in chunks that the accumulators hold;
 * the blocks of columns are dealt to the planes, and what is left over is cut: fp16 by rows, int8 (whose sums are exact
 * in any order) by parts of k.
 */
#include <stdlib.h>
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

#define MOST_VECTORS 256
#define MOST_UNITS 8192

struct piece {
  struct lpu_product product;
  struct lpu_unit unit;
  int32_t chunk; /* of rows */
  int32_t y;     /* image */
};

struct study {
  struct lpu_compiler compiler; /* places, builder, machine */
  enum td_lpu_type type;
  int32_t rows, n, k;
  struct lpu_tiles tiles;
  int32_t chunk, chunks;                     /* of rows */
  int32_t *x;                                /* [hemispheres][chunks][vectors] images */
  bool twice;                                /* x lies in both hemispheres */
  int32_t free_word[TD_LPU_HEMISPHERES][64]; /* of inner slices */
  struct piece *pieces;
  int32_t piece_count;
};

/* ---- places ---- */

/* `count` vectors in the emptiest group of inner slices [first, end) of a hemisphere (-1: any). */
static td_status place_inner(struct study *study, const char *name, enum td_lpu_image_kind kind, enum td_lpu_type type,
                             int32_t hemisphere, int32_t first, int32_t end, int32_t count, int32_t *out_image) {
  int32_t width = td_lpu_type_bytes(type), best = -1, best_hemisphere = 0, least = INT32_MAX;
  for (int32_t h = 0; h < TD_LPU_HEMISPHERES; h++) {
    for (int32_t slice = first; (hemisphere < 0 || h == hemisphere) && slice + width <= end; slice += width) {
      int32_t used = 0;
      for (int32_t c = 0; c < width; c++) {
        if (study->free_word[h][slice + c] > used) used = study->free_word[h][slice + c];
      }
      if (used >= least) continue;
      least = used;
      best = slice;
      best_hemisphere = h;
    }
  }
  int32_t room = best < 0 ? 0 : study->compiler.machine->mem_words - least;
  if (count > room) {
    return td_fail(TD_EXHAUSTED, "LPU %s: %s takes %d words of %d slices, found %d free", study->compiler.machine->name,
                   name, count, width, room);
  }
  struct td_lpu_image image;
  memset(&image, 0, sizeof image);
  TD_TRY(td_format(image.name, sizeof image.name, "%s", name));
  image.kind = kind;
  image.hemisphere = best_hemisphere;
  image.slice = best;
  image.slices = width;
  image.word = least;
  image.words = count;
  image.type = type;
  image.rows = count;
  image.cols = study->compiler.machine->lanes;
  for (int32_t c = 0; c < width; c++) study->free_word[best_hemisphere][best + c] = least + count;
  return lpu_add_image(study->compiler.builder, &image, out_image);
}

static int32_t vectors_of(const struct study *study) {
  return (study->k + study->compiler.machine->lanes - 1) / study->compiler.machine->lanes;
}

static int32_t chunk_rows(const struct study *study, int32_t chunk) {
  int32_t left = study->rows - chunk * study->chunk;
  return left < study->chunk ? left : study->chunk;
}

/* Slices [0, 8) of each hemisphere for x and the rest for y, if both have room: then planes read side by side. */
static bool fits_twice(const struct study *study) {
  int64_t words = study->compiler.machine->mem_words, inner = lpu_weight_slice(study->compiler.machine);
  int64_t pairs = 8 / td_lpu_type_bytes(study->type), blocks = (study->tiles.blocks + 1) / 2;
  int64_t x = (int64_t)vectors_of(study) * study->rows, most_x = pairs * (words - words % study->chunk);
  return inner >= 12 && x <= most_x && blocks * study->rows <= words * ((inner - 8) / 4);
}

static int32_t *x_image(struct study *study, int32_t hemisphere, int32_t chunk, int32_t v) {
  return &study->x[(hemisphere * study->chunks + chunk) * vectors_of(study) + v];
}

/* Twice: chunk by chunk, side by side. */
static td_status place_twice(struct study *study, int32_t v) {
  for (int32_t chunk = 0; chunk < study->chunks; chunk++) {
    for (int32_t hemisphere = 0; hemisphere < TD_LPU_HEMISPHERES; hemisphere++) {
      char name[48];
      TD_TRY(td_format(name, sizeof name, "x.%d.%d.%d", v, chunk * study->chunk, hemisphere));
      TD_TRY(place_inner(study, name, TD_IMAGE_INPUT, study->type, hemisphere, 0, 8, chunk_rows(study, chunk),
                         x_image(study, hemisphere, chunk, v)));
    }
  }
  return TD_OK;
}

/* Once, all rows in the same slices: the second hemisphere falls behind by the parts of one vector, and stays there. */
static td_status place_once(struct study *study, int32_t v) {
  int32_t inner = lpu_weight_slice(study->compiler.machine), image = 0;
  char name[48];
  TD_TRY(td_format(name, sizeof name, "x.%d.0.0", v));
  td_status status = place_inner(study, name, TD_IMAGE_INPUT, study->type, -1, 0, 4, study->rows, &image);
  if (status == TD_EXHAUSTED) {
    status = place_inner(study, name, TD_IMAGE_INPUT, study->type, -1, 4, inner, study->rows, &image);
  }
  for (int32_t chunk = 0; chunk < study->chunks; chunk++) {
    *x_image(study, 0, chunk, v) = *x_image(study, 1, chunk, v) = image;
  }
  return status;
}

/* The last vectors come first: they are read while results are written, so they must not be where goes what did not
 * fit into the innermost quads. */
static td_status place_x(struct study *study) {
  study->twice = fits_twice(study);
  for (int32_t v = vectors_of(study) - 1; v >= 0; v--) {
    TD_TRY(study->twice ? place_twice(study, v) : place_once(study, v));
  }
  return TD_OK;
}

static td_status place_weights(struct study *study, const struct piece *pieces, int32_t count) {
  const struct td_lpu_machine *machine = study->compiler.machine;
  int32_t vectors = machine->load_vectors, half = machine->planes / 2;
  for (int32_t block = 0; block < study->tiles.blocks; block++) {
    for (int32_t part = 0; part < study->tiles.parts; part++) {
      const struct piece *piece = NULL;
      for (int32_t i = 0; i < count && !piece; i++) {
        const struct lpu_unit *unit = &pieces[i].unit;
        if (unit->block == block && part >= unit->first_part && part < unit->end_part) piece = &pieces[i];
      }
      int32_t plane = piece->product.plane, image = 0;
      bool whole = lpu_one_plane(study->type);
      int32_t steps = part == study->tiles.parts - 1 ? study->tiles.last_steps : study->tiles.steps;
      char name[48];
      TD_TRY(td_format(name, sizeof name, "w.%d.%d", block, part));
      TD_TRY(lpu_new_outer(&study->compiler, name, TD_IMAGE_WEIGHT, study->type, plane / half,
                           whole ? plane % half % 2 * vectors : 0, whole ? vectors : 2 * vectors, steps, &image));
      if (block == 0 && part == 0) study->tiles.image = image;
      struct td_lpu_image *made = &study->compiler.builder->program->images[image];
      made->rows = steps * vectors;
      made->cols = machine->lanes;
    }
  }
  return TD_OK;
}

/* ---- dealing ---- */

static td_status add_piece(struct study *study, int32_t plane, int32_t block, int32_t first_part, int32_t end_part,
                           int32_t chunk) {
  struct piece piece;
  memset(&piece, 0, sizeof piece);
  if (study->piece_count == MOST_UNITS) return td_fail(TD_UNSUPPORTED, "LPU: a product of over %d units", MOST_UNITS);
  piece.product.rows = chunk_rows(study, chunk);
  piece.product.plane = plane;
  piece.product.x_row_stride = 1;
  piece.product.y_row_stride = 1;
  piece.chunk = chunk;
  piece.unit = (struct lpu_unit){NULL, block, first_part, end_part};
  study->pieces[study->piece_count++] = piece;
  return TD_OK;
}

/* Plane p of the p-th turn: hemispheres alternate. */
static int32_t turn_plane(const struct study *study, int32_t turn) {
  int32_t half = study->compiler.machine->planes / 2;
  return turn % 2 * half + (lpu_one_plane(study->type) ? turn / 2 : turn / 2 * 2);
}

static td_status deal_block(struct study *study, int32_t turn, int32_t block) {
  for (int32_t i = 0; i < study->chunks; i++) {
    TD_TRY(add_piece(study, turn_plane(study, turn), block, 0, study->tiles.parts, i));
  }
  return TD_OK;
}

/* A left-over block, chunk by chunk to the plane that has least. */
static td_status deal_chunks(struct study *study, int32_t planes, int32_t block, int32_t *load) {
  for (int32_t chunk = 0; chunk < study->chunks; chunk++) {
    int32_t best = 0;
    for (int32_t p = 1; p < planes; p++) {
      if (load[p] < load[best]) best = p;
    }
    load[best] += chunk_rows(study, chunk);
    TD_TRY(add_piece(study, turn_plane(study, best), block, 0, study->tiles.parts, chunk));
  }
  return TD_OK;
}

/* The parts of all left-over blocks in one row, cut evenly. */
static td_status deal_parts(struct study *study, int32_t planes, int32_t whole) {
  int32_t parts = study->tiles.parts, all = (study->tiles.blocks - whole) * parts, share = (all + planes - 1) / planes;
  for (int32_t p = 0; p < planes; p++) {
    int32_t limit = (p + 1) * share < all ? (p + 1) * share : all;
    for (int32_t at = p * share, end; at < limit; at = end) {
      int32_t block = at / parts;
      end = (block + 1) * parts < limit ? (block + 1) * parts : limit;
      for (int32_t chunk = 0; chunk < study->chunks; chunk++) {
        TD_TRY(add_piece(study, turn_plane(study, p), whole + block, at % parts, at % parts + end - at, chunk));
      }
    }
  }
  return TD_OK;
}

static td_status deal(struct study *study) {
  int32_t planes = study->compiler.machine->planes / (lpu_one_plane(study->type) ? 1 : 2);
  int32_t blocks = study->tiles.blocks, whole = blocks / planes * planes, load[TD_LPU_MOST_PLANES] = {0};
  for (int32_t block = 0; block < whole; block++) TD_TRY(deal_block(study, block % planes, block));
  if (study->type == TD_LPU_I8) return deal_parts(study, planes, whole);
  for (int32_t block = whole; block < blocks; block++) TD_TRY(deal_chunks(study, planes, block, load));
  return TD_OK;
}

static bool is_cut(const struct study *study, const struct piece *piece) {
  return piece->unit.first_part > 0 || piece->unit.end_part < study->tiles.parts;
}

static td_status place_y(struct study *study) {
  int32_t half = study->compiler.machine->planes / 2, inner = lpu_weight_slice(study->compiler.machine);
  for (int32_t i = 0; i < study->piece_count; i++) {
    struct piece *piece = &study->pieces[i];
    char name[48];
    bool cut = is_cut(study, piece);
    TD_TRY(td_format(name, sizeof name, cut ? "part.%d.%d.%d" : "y.%d.%d", piece->unit.block,
                     piece->chunk * study->chunk, piece->unit.first_part));
    TD_TRY(place_inner(study, name, cut ? TD_IMAGE_SCRATCH : TD_IMAGE_OUTPUT,
                       study->type == TD_LPU_I8 ? TD_LPU_I32 : TD_LPU_F32, piece->product.plane / half,
                       study->twice ? 8
                       : inner > 4  ? 4
                                    : 0,
                       inner, piece->product.rows, &piece->y));
  }
  return TD_OK;
}

/* ---- the segment ---- */

static td_status run_plane(struct study *study, int32_t plane, struct lpu_tensor **xs) {
  struct lpu_unit *units = NULL;
  int32_t count = 0, half = study->compiler.machine->planes / 2;
  TD_TRY(td_alloc((size_t)study->piece_count, sizeof *units, (void **)&units));
  td_status status = TD_OK;
  for (int32_t i = 0; !status && i < study->piece_count; i++) {
    struct piece *piece = &study->pieces[i];
    if (piece->product.plane != plane) continue;
    piece->product.tiles = study->tiles;
    piece->product.x_offset = study->twice ? 0 : piece->chunk * study->chunk;
    piece->product.xs = xs + (plane / half * study->chunks + piece->chunk) * vectors_of(study);
    status = lpu_tensor_of(study->compiler.builder, piece->y, &piece->product.y);
    piece->unit.product = &piece->product;
    units[count++] = piece->unit;
  }
  if (!status) status = lpu_units_run(study->compiler.builder, units, count);
  free(units);
  return status;
}

/* The pieces of a block that was cut by k, added up. */
static td_status add_pieces(struct study *study, int32_t block, int32_t chunk_index) {
  struct lpu_chain chain;
  struct lpu_operand sum = lpu_nothing;
  int32_t out = 0, rows = 0;
  char name[48];
  lpu_chain_begin(&chain, 0, 1);
  for (int32_t i = 0; i < study->piece_count; i++) {
    struct piece *piece = &study->pieces[i];
    if (piece->unit.block != block || piece->chunk != chunk_index || !is_cut(study, piece)) continue;
    rows = piece->product.rows;
    struct lpu_operand next = lpu_chain_input(&chain, piece->product.y, 0, 1);
    sum = sum.from == LPU_FROM_NOTHING ? lpu_chain_step(&chain, TD_ALU_MOVE, next, lpu_nothing, lpu_nothing)
                                       : lpu_chain_step(&chain, TD_ALU_ADD_I32, sum, next, lpu_nothing);
  }
  if (rows == 0) return TD_OK;
  struct lpu_tensor *tensor = NULL;
  chain.n = rows;
  TD_TRY(td_format(name, sizeof name, "y.%d.%d", block, chunk_index * study->chunk));
  int32_t inner = lpu_weight_slice(study->compiler.machine);
  TD_TRY(place_inner(study, name, TD_IMAGE_OUTPUT, TD_LPU_I32, -1, inner > 4 ? 4 : 0, inner, rows, &out));
  TD_TRY(lpu_tensor_of(study->compiler.builder, out, &tensor));
  lpu_chain_result(&chain, sum, tensor, 0, 1);
  return lpu_chain_run(study->compiler.builder, &chain);
}

static td_status place_all(struct study *study, struct lpu_tensor **xs) {
  int32_t count = TD_LPU_HEMISPHERES * study->chunks * vectors_of(study);
  for (int32_t i = 0; i < count; i++) TD_TRY(lpu_tensor_of(study->compiler.builder, study->x[i], &xs[i]));
  for (int32_t plane = 0; plane < study->compiler.machine->planes; plane++) TD_TRY(run_plane(study, plane, xs));
  for (int32_t block = 0; study->type == TD_LPU_I8 && block < study->tiles.blocks; block++) {
    for (int32_t chunk = 0; chunk < study->chunks; chunk++) TD_TRY(add_pieces(study, block, chunk));
  }
  return TD_OK;
}

static td_status build_segment(struct study *study) {
  struct lpu_builder *builder = study->compiler.builder;
  struct lpu_tensor **xs = NULL;
  int32_t segment = 0;
  TD_TRY(lpu_begin_segment(builder, "product"));
  TD_TRY(td_alloc(TD_LPU_HEMISPHERES * (size_t)(study->chunks * vectors_of(study)), sizeof *xs, (void **)&xs));
  td_status status = place_all(study, xs);
  free(xs);
  TD_TRY(status);
  TD_TRY(lpu_end_segment(builder, 0, &segment));
  struct td_lpu_link link = {TD_LINK_RUN, segment, 0, 0, 0, 0};
  struct td_lpu_entry entry = {.rows = 1, .layer = -1, .link_count = 1};
  TD_TRY(lpu_add_link(builder, &link));
  return lpu_add_entry(builder, &entry);
}

static td_status compile_product(struct study *study) {
  const struct td_lpu_machine *machine = study->compiler.machine;
  int32_t part = lpu_one_plane(study->type) ? machine->plane_k : machine->plane_k / 2;
  struct lpu_tiles *tiles = &study->tiles;
  if (study->k > machine->lanes * MOST_VECTORS || lpu_weight_slice(machine) > 64) {
    return td_fail(TD_UNSUPPORTED, "LPU: k = %d, expected at most %d", study->k, machine->lanes * MOST_VECTORS);
  }
  tiles->type = study->type;
  tiles->parts = (study->k + part - 1) / part;
  tiles->blocks = (study->n + machine->lanes - 1) / machine->lanes;
  tiles->steps = part / machine->load_vectors;
  tiles->last_steps = (study->k - (tiles->parts - 1) * part + machine->load_vectors - 1) / machine->load_vectors;
  study->chunk = machine->accumulator_depth * (lpu_one_plane(study->type) ? 1 : 2);
  study->chunks = (study->rows + study->chunk - 1) / study->chunk;
  TD_TRY(
      td_alloc(TD_LPU_HEMISPHERES * (size_t)(study->chunks * vectors_of(study)), sizeof *study->x, (void **)&study->x));
  lpu_place_begin(&study->compiler);
  TD_TRY(deal(study));
  TD_TRY(place_x(study));
  TD_TRY(place_weights(study, study->pieces, study->piece_count));
  TD_TRY(place_y(study));
  return build_segment(study);
}

td_status td_lpu_compile_product(const struct td_lpu_machine *machine, enum td_lpu_type type, int64_t rows, int64_t n,
                                 int64_t k, struct td_lpu_program **out_program) {
  struct study *study = NULL;
  bool known = type == TD_LPU_F16 || type == TD_LPU_I8 || (type == TD_LPU_F8 && machine->fp8);
  if (!known || rows < 1 || n < 1 || k < 1 || rows > INT32_MAX || n > INT32_MAX || k > INT32_MAX) {
    return td_fail(TD_CONFIG, "LPU: a product of %lld x %lld x %lld in type %d, expected sizes from 1 on and f16, i8%s",
                   (long long)rows, (long long)n, (long long)k, (int)type, machine->fp8 ? " or f8" : "");
  }
  TD_TRY(lpu_check_slices(machine));
  TD_TRY(td_alloc(1, sizeof *study, (void **)&study));
  study->compiler.machine = machine;
  study->type = type;
  study->rows = (int32_t)rows;
  study->n = (int32_t)n;
  study->k = (int32_t)k;
  td_status status = td_alloc(MOST_UNITS, sizeof *study->pieces, (void **)&study->pieces);
  if (!status) status = lpu_builder_open(machine, 1, &study->compiler.builder);
  if (!status) status = compile_product(study);
  if (!status) status = lpu_builder_finish(study->compiler.builder, out_program);
  lpu_builder_close(study->compiler.builder);
  free(study->pieces);
  free(study->x);
  free(study);
  return status;
}
