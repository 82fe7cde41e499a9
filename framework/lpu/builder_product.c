/* SPDX-License-Identifier: Apache-2.0
 *
 * Products on the matrix planes: tiles of the installed side are loaded behind the passes of the tile before, rows pass
 * one a cycle, parts of k are summed in the accumulators, totals leave on quads to SRAM.
 */
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "tandem/base.h"

int32_t lpu_weight_slice(const struct td_lpu_machine *machine) {
  return machine->mem_slices / 2 - 2 * machine->load_vectors;
}

int32_t lpu_tile_plane(const struct td_lpu_machine *machine, const struct td_lpu_image *image,
                       const struct lpu_tiles *tiles, int32_t block) {
  int32_t half = machine->planes / 2, first = image->hemisphere * half, pair = block % (half / 2) * 2;
  int32_t second = (image->slice - lpu_weight_slice(machine)) / machine->load_vectors;
  if (tiles->pieces > 0) second = block / TD_LPU_HEMISPHERES % 2;
  return first + pair + (lpu_one_plane(tiles->type) ? second : 0);
}

/* Patterns of products that are in their own way are a fault of who placed their tensors. */
static td_status place(struct lpu_builder *builder, int32_t *out_cycle) {
  td_status status = lpu_place(builder, &builder->pattern, out_cycle);
  if (status != TD_EXHAUSTED) return status;
  return td_fail(TD_INTERNAL, "lpu: segment %s: a product reads and writes the same slices", builder->segment.name);
}

/* One tile on its plane. */
struct tile {
  const struct lpu_product *product;
  const struct td_lpu_image *image;
  int32_t plane, block, part, steps;
  bool first, last;             /* of the parts that are summed up */
  int32_t loads[2], load_count; /* instructions */
  int32_t install, pass, sum;
};

/* A pair of planes is as far as the later one: int8 tiles have them one by one. */
static struct lpu_plane *state_of(struct lpu_builder *builder, const struct tile *tile) {
  struct lpu_plane *plane = &builder->planes[tile->product->chip][tile->plane];
  if (tile->product->tiles.type == TD_LPU_I8) return plane;
  if (plane[1].filled > plane->filled) plane->filled = plane[1].filled;
  if (plane[1].installed > plane->installed) plane->installed = plane[1].installed;
  if (plane[1].passed > plane->passed) plane->passed = plane[1].passed;
  return plane;
}

static void share_state(struct lpu_builder *builder, const struct tile *tile) {
  struct lpu_plane *plane = &builder->planes[tile->product->chip][tile->plane];
  if (tile->product->tiles.type != TD_LPU_I8) plane[1] = plane[0];
}

static int32_t plane_position(const struct lpu_builder *builder, int32_t plane) {
  return td_lpu_matrix_position(builder->machine, plane / (builder->machine->planes / 2));
}

static int32_t tile_image(const struct lpu_tiles *tiles, int32_t block, int32_t part) {
  int32_t pieces = tiles->pieces > 0 ? tiles->pieces : 1;
  return tiles->one_image ? tiles->image : tiles->image + (block * tiles->parts + part) * pieces;
}

/* ---- loads ---- */

/* One LOAD instruction with its READs: steps first, first + stride, ... from the tile's slices from `slice` on. */
struct load {
  int32_t queue, first, stride, n;
  int32_t slice, streams; /* counted through the tile's images */
  int32_t use, reads, stream_use;
};

static int32_t loads_of(const struct lpu_builder *builder, const struct tile *tile, struct load load[2]) {
  const struct td_lpu_machine *machine = builder->machine;
  int32_t vectors = machine->load_vectors, steps = tile->steps;
  int32_t queue = td_lpu_matrix_queue(machine, tile->plane, TD_MATRIX_LOAD);
  enum td_lpu_type type = tile->product->tiles.type;
  if (type != TD_LPU_W8 && type != TD_LPU_WF8) {
    int32_t bytes = td_lpu_type_bytes(type);
    load[0] = (struct load){queue, 0, 1, steps, 0, vectors * bytes, 0, 0, 0};
    return 1;
  }
  int32_t second = td_lpu_matrix_queue(machine, tile->plane + 1, TD_MATRIX_LOAD);
  load[0] = (struct load){queue, 0, 2, (steps + 1) / 2, 0, vectors, 0, 0, 0};
  load[1] = (struct load){second, 1, 2, steps / 2, vectors, vectors, 0, 0, 0};
  return steps > 1 ? 2 : 1;
}

/* The image of the tile's slice number `*slice`, which becomes the hemisphere's. */
static int32_t image_of_slice(const struct lpu_builder *builder, const struct tile *tile, int32_t *slice) {
  const struct lpu_tiles *tiles = &tile->product->tiles;
  int32_t image = tile_image(tiles, tile->block, tile->part);
  if (tiles->pieces > 0) {
    image += *slice / LPU_PIECE;
    *slice %= LPU_PIECE;
  }
  *slice += builder->program->images[image].slice;
  return image;
}

static void book_load(struct lpu_builder *builder, const struct tile *tile, struct load *load) {
  const struct td_lpu_machine *machine = builder->machine;
  const struct td_lpu_image *image = tile->image;
  int32_t at = plane_position(builder, tile->plane), arrives = machine->delay[TD_LPU_LOAD].skew, farthest = at;
  load->use = lpu_use_queue(&builder->pattern, image->chip, load->queue, 0, load->n);
  for (int32_t i = 0; i < load->streams; i++) {
    int32_t slice = load->slice + i;
    (void)image_of_slice(builder, tile, &slice);
    int32_t from = td_lpu_memory_position(machine, image->hemisphere, slice);
    int32_t issue = arrives - lpu_distance(from, at) - machine->delay[TD_LPU_MEMORY].func;
    int32_t use = lpu_use_queue(&builder->pattern, image->chip, td_lpu_memory_queue(machine, image->hemisphere, slice),
                                issue, load->n);
    if (i == 0) load->reads = use;
    if (lpu_distance(from, at) > lpu_distance(farthest, at)) farthest = from;
  }
  load->stream_use = lpu_use_stream(&builder->pattern, image->chip, farthest, at, arrives, load->streams, load->n);
}

static td_status emit_load(struct lpu_builder *builder, const struct tile *tile, const struct load *load, int32_t cycle,
                           int32_t *out_index) {
  const struct lpu_use *uses = builder->pattern.uses;
  const struct lpu_tiles *tiles = &tile->product->tiles;
  int32_t first = builder->segment.instruction_count;
  /* Reads are over before the LOAD is. */
  for (int32_t i = 0; i < load->streams && !builder->counting; i++) {
    const struct lpu_use *use = &uses[load->reads + i];
    int32_t index, slice = load->slice + i, image = image_of_slice(builder, tile, &slice);
    struct td_lpu_instruction read =
        lpu_instruction(TD_LPU_MEMORY, tile->image->chip, use->queue, cycle + use->at, load->n);
    read.flags = TD_LPU_READ;
    read.out = lpu_stream_of(&uses[load->stream_use], i);
    read.address[0] = builder->program->images[image].word + (tiles->one_image ? tile->part * tiles->steps : 0);
    read.stride[0] = 1;
    read.patch[0] = tile->part == tiles->parts - 1 ? tiles->last_patch : tiles->patch;
    read.image[0] = image;
    TD_TRY(lpu_emit(builder, &read, &index));
  }
  struct td_lpu_instruction instruction =
      lpu_instruction(TD_LPU_LOAD, tile->image->chip, load->queue, cycle + uses[load->use].at, load->n);
  instruction.type = (uint8_t)tiles->type;
  instruction.flags = tiles->columns ? TD_LPU_COLUMNS : 0;
  instruction.half = (uint8_t)tiles->half;
  instruction.in[0] = lpu_stream_of(&uses[load->stream_use], 0);
  instruction.address[0] = load->first;
  instruction.stride[0] = load->stride;
  TD_TRY(lpu_emit(builder, &instruction, out_index));
  for (int32_t i = 0; i < load->streams; i++) TD_TRY(lpu_mean(builder, i, first + i, 0, 1, 0));
  return TD_OK;
}

static td_status load_tile(struct lpu_builder *builder, struct tile *tile, struct load load[2]) {
  const struct td_lpu_machine *machine = builder->machine;
  struct lpu_plane *plane = state_of(builder, tile);
  int32_t func = machine->delay[TD_LPU_LOAD].func + (tile->product->tiles.columns ? machine->transpose_cycles : 0);
  int32_t cycle = 0;
  tile->load_count = loads_of(builder, tile, load);
  lpu_pattern_begin(&builder->pattern);
  for (int32_t i = 0; i < tile->load_count; i++) book_load(builder, tile, &load[i]);
  /* The buffer is empty from the cycle after the install on. */
  int32_t earliest = plane->installed + 1 - func;
  if (earliest > builder->pattern.not_before) builder->pattern.not_before = earliest;
  TD_TRY(place(builder, &cycle));
  for (int32_t i = 0; i < tile->load_count; i++) {
    TD_TRY(emit_load(builder, tile, &load[i], cycle, &tile->loads[i]));
    int32_t filled = cycle + load[i].n - 1 + func;
    if (filled > plane->filled) plane->filled = filled;
  }
  share_state(builder, tile);
  return TD_OK;
}

/* ---- install ---- */

static td_status install_tile(struct lpu_builder *builder, struct tile *tile, const struct load load[2]) {
  struct lpu_plane *plane = state_of(builder, tile);
  int32_t cycle = 0, queue = td_lpu_matrix_queue(builder->machine, tile->plane, TD_MATRIX_INSTALL);
  lpu_pattern_begin(&builder->pattern);
  lpu_use_queue(&builder->pattern, tile->image->chip, queue, 0, 1);
  builder->pattern.not_before = (plane->filled > plane->passed ? plane->filled : plane->passed) + 1;
  TD_TRY(place(builder, &cycle));
  struct td_lpu_instruction instruction = lpu_instruction(TD_LPU_INSTALL, tile->image->chip, queue, cycle, 1);
  instruction.type = (uint8_t)tile->product->tiles.type;
  TD_TRY(lpu_emit(builder, &instruction, &tile->install));
  for (int32_t i = 0; i < tile->load_count; i++) {
    for (int32_t step = 0; step < load[i].n; step++) {
      TD_TRY(lpu_mean(builder, TD_MEANING_STEP, tile->loads[i], load[i].first + step * load[i].stride, 0, step));
    }
  }
  plane->installed = cycle;
  share_state(builder, tile);
  return TD_OK;
}

/* ---- passes ---- */

static uint8_t sum_flags(const struct tile *tile) {
  return (uint8_t)((tile->first ? 0 : TD_LPU_ADD) | (tile->last ? TD_LPU_EMIT : TD_LPU_KEEP));
}

/* What an fp16 part takes: vector part / 2, half part % 2. */
static void fill_read(const struct lpu_builder *builder, const struct tile *tile, struct lpu_read *read) {
  const struct lpu_product *product = tile->product;
  bool one = lpu_one_plane(product->tiles.type) || product->tiles.columns;
  int32_t vector = one ? tile->part : tile->part / 2;
  memset(read, 0, sizeof *read);
  read->tensor = product->xs ? product->xs[vector] : product->x;
  int32_t hemisphere = tile->plane / (builder->machine->planes / TD_LPU_HEMISPHERES);
  if (product->twin && hemisphere != product->x->hemisphere) read->tensor = product->twin;
  read->offset = product->x_offset + (product->xs ? 0 : vector);
  read->stride = product->x_row_stride;
  read->n = product->rows;
  lpu_take_column(&read->tensor, &read->offset, &read->stride);
}

static int32_t pass_half(const struct tile *tile) {
  return tile->product->tiles.columns ? tile->product->tiles.half : tile->part % 2;
}

struct passing {
  struct lpu_read read;
  struct lpu_write write;
  int32_t pass_use, sum_use;
};

static void book_pass(struct lpu_builder *builder, const struct tile *tile, struct passing *passing) {
  const struct td_lpu_machine *machine = builder->machine;
  const struct lpu_product *product = tile->product;
  int32_t chip = product->chip, at = plane_position(builder, tile->plane);
  int32_t summed = machine->delay[TD_LPU_PASS].func;
  fill_read(builder, tile, &passing->read);
  passing->read.at = at;
  passing->read.when = machine->delay[TD_LPU_PASS].skew;
  passing->pass_use = lpu_use_queue(&builder->pattern, chip, td_lpu_matrix_queue(machine, tile->plane, TD_MATRIX_PASS),
                                    0, product->rows);
  passing->sum_use = lpu_use_queue(&builder->pattern, chip, td_lpu_matrix_queue(machine, tile->plane, TD_MATRIX_SUM),
                                   summed, product->rows);
  lpu_read_book(builder, &builder->pattern, &passing->read);
  if (!(sum_flags(tile) & TD_LPU_EMIT)) return;
  passing->write = (struct lpu_write){
      .tensor = product->y,
      .offset = product->y_offset + tile->block * product->y_block_stride + tile->part * product->y_part_stride,
      .stride = product->y_row_stride,
      .n = product->rows,
      .from = at,
      .reach = -1,
      .tap = -1,
      .when = summed + machine->delay[TD_LPU_SUM].func};
  lpu_take_column(&passing->write.tensor, &passing->write.offset, &passing->write.stride);
  lpu_write_book(builder, &builder->pattern, &passing->write);
}

static td_status emit_pass(struct lpu_builder *builder, struct tile *tile, struct passing *passing, int32_t cycle) {
  const struct lpu_use *uses = builder->pattern.uses;
  const struct lpu_product *product = tile->product;
  bool whole = lpu_one_plane(product->tiles.type);
  TD_TRY(lpu_read_emit(builder, &builder->pattern, cycle, &passing->read));
  struct td_lpu_instruction pass =
      lpu_instruction(TD_LPU_PASS, product->chip, uses[passing->pass_use].queue, cycle, product->rows);
  pass.type = whole ? (uint8_t)product->tiles.type : TD_LPU_F16;
  pass.half = (uint8_t)(whole ? 0 : pass_half(tile));
  pass.in[0] = lpu_stream_of(&uses[passing->read.stream_use], 0);
  TD_TRY(lpu_emit(builder, &pass, &tile->pass));
  for (int32_t c = 0; c < (whole ? 1 : 2); c++) TD_TRY(lpu_mean(builder, c, passing->read.first + c, 0, 1, 0));
  return lpu_mean(builder, TD_MEANING_ARRAY, tile->install, 0, 0, 0);
}

static td_status emit_sum(struct lpu_builder *builder, struct tile *tile, struct passing *passing, int32_t cycle,
                          int32_t before) {
  const struct lpu_use *uses = builder->pattern.uses;
  const struct lpu_product *product = tile->product;
  struct td_lpu_instruction sum = lpu_instruction(TD_LPU_SUM, product->chip, uses[passing->sum_use].queue,
                                                  cycle + uses[passing->sum_use].at, product->rows);
  sum.type = product->tiles.type == TD_LPU_I8 ? TD_LPU_I32 : product->tiles.type == TD_LPU_F8 ? TD_LPU_F8 : TD_LPU_F32;
  sum.flags = sum_flags(tile);
  sum.stride[0] = 1;
  if (sum.flags & TD_LPU_EMIT) sum.out = lpu_stream_of(&uses[passing->write.stream_use], 0);
  TD_TRY(lpu_emit(builder, &sum, &tile->sum));
  TD_TRY(lpu_mean(builder, TD_MEANING_ROW, tile->pass, 0, 1, 0));
  if (sum.flags & TD_LPU_ADD) TD_TRY(lpu_mean(builder, TD_MEANING_TOTAL, before, 0, 1, 0));
  return sum.flags & TD_LPU_EMIT ? lpu_write_emit(builder, &builder->pattern, cycle, &passing->write, tile->sum)
                                 : TD_OK;
}

static td_status pass_tile(struct lpu_builder *builder, struct tile *tile, int32_t before) {
  struct lpu_plane *plane = state_of(builder, tile);
  struct passing passing;
  int32_t cycle = 0;
  lpu_pattern_begin(&builder->pattern);
  book_pass(builder, tile, &passing);
  int32_t earliest = plane->installed + builder->machine->install_cycles;
  if (earliest > builder->pattern.not_before) builder->pattern.not_before = earliest;
  TD_TRY(place(builder, &cycle));
  TD_TRY(emit_pass(builder, tile, &passing, cycle));
  TD_TRY(emit_sum(builder, tile, &passing, cycle, before));
  plane->passed = cycle + tile->product->rows - 1;
  share_state(builder, tile);
  return TD_OK;
}

/* ---- whole ---- */

/* The last block of the hemisphere that has an odd one more; -1: neither has. */
static int32_t odd_block(const struct lpu_builder *builder, const struct lpu_product *product) {
  int32_t counts[TD_LPU_HEMISPHERES] = {0, 0}, last[TD_LPU_HEMISPHERES] = {-1, -1};
  for (int32_t block = product->first_block; block < product->first_block + product->blocks; block++) {
    int32_t hemisphere = builder->program->images[tile_image(&product->tiles, block, 0)].hemisphere;
    counts[hemisphere]++;
    last[hemisphere] = block;
  }
  if (counts[0] == counts[1] + 1) return last[0];
  return counts[1] == counts[0] + 1 ? last[1] : -1;
}

static struct tile tile_of(const struct lpu_builder *builder, const struct lpu_product *product, int32_t block,
                           int32_t part) {
  const struct lpu_tiles *tiles = &product->tiles;
  struct tile tile = {.product = product, .block = block, .part = part};
  tile.image = &builder->program->images[tile_image(tiles, block, part)];
  tile.plane = product->plane >= 0 ? product->plane : lpu_tile_plane(builder->machine, tile.image, tiles, block);
  if (product->crosses && block == odd_block(builder, product)) {
    tile.plane = (tile.plane + builder->machine->planes / 2) % builder->machine->planes;
  }
  tile.steps = part == tiles->parts - 1 ? tiles->last_steps : tiles->steps;
  return tile;
}

static td_status run_block(struct lpu_builder *builder, const struct lpu_product *product, int32_t block) {
  int32_t before = -1;
  for (int32_t part = 0; part < product->tiles.parts; part++) {
    struct load load[2];
    struct tile tile = tile_of(builder, product, block, part);
    tile.first = product->separate || part == 0;
    tile.last = product->separate || part == product->tiles.parts - 1;
    TD_TRY(load_tile(builder, &tile, load));
    TD_TRY(install_tile(builder, &tile, load));
    TD_TRY(pass_tile(builder, &tile, before));
    before = tile.sum;
  }
  return TD_OK;
}

static td_status check_rows(const struct lpu_builder *builder, const struct lpu_product *product) {
  int32_t most = builder->machine->accumulator_depth * (lpu_one_plane(product->tiles.type) ? 1 : 2);
  if (product->rows <= most) return TD_OK;
  return td_fail(TD_INTERNAL, "lpu: a product of %d rows, accumulators for %d", product->rows, most);
}

td_status lpu_units_run(struct lpu_builder *builder, const struct lpu_unit *units, int32_t count) {
  struct tile waiting = {.product = NULL};
  int32_t before = -1;
  if (builder->dry) return TD_OK;
  for (int32_t i = 0; i < count; i++) {
    TD_TRY(check_rows(builder, units[i].product));
    for (int32_t part = units[i].first_part; part < units[i].end_part; part++) {
      struct load load[2];
      struct tile tile = tile_of(builder, units[i].product, units[i].block, part);
      tile.first = part == units[i].first_part;
      tile.last = part == units[i].end_part - 1;
      TD_TRY(load_tile(builder, &tile, load));
      if (waiting.product) {
        TD_TRY(pass_tile(builder, &waiting, before));
        before = waiting.sum;
      }
      TD_TRY(install_tile(builder, &tile, load));
      waiting = tile;
    }
  }
  return waiting.product ? pass_tile(builder, &waiting, before) : TD_OK;
}

/* The blocks of one plane, one behind the other. */
static td_status run_plane(struct lpu_builder *builder, const struct lpu_product *product, int32_t plane,
                           struct lpu_unit *units) {
  int32_t count = 0;
  for (int32_t block = product->first_block; block < product->first_block + product->blocks; block++) {
    struct tile tile = tile_of(builder, product, block, 0);
    if (tile.plane == plane) units[count++] = (struct lpu_unit){product, block, 0, product->tiles.parts};
  }
  return count > 0 ? lpu_units_run(builder, units, count) : TD_OK;
}

static td_status run_planes(struct lpu_builder *builder, const struct lpu_product *product) {
  struct lpu_unit *units = NULL;
  td_status status = td_alloc((size_t)product->blocks, sizeof *units, (void **)&units);
  for (int32_t plane = 0; !status && plane < builder->machine->planes; plane++) {
    status = run_plane(builder, product, plane, units);
  }
  free(units);
  return status;
}

/* From so many rows on, passes leave a load's streams no gap but the one before them. */
#define MANY_ROWS 64
td_status lpu_product_run(struct lpu_builder *builder, const struct lpu_product *product) {
  TD_TRY(check_rows(builder, product));
  if (builder->dry) return TD_OK;
  if (product->rows >= MANY_ROWS && !product->separate) return run_planes(builder, product);
  for (int32_t block = product->first_block; block < product->first_block + product->blocks; block++) {
    TD_TRY(run_block(builder, product, block));
  }
  return TD_OK;
}
