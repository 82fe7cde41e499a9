/* SPDX-License-Identifier: Apache-2.0
 *
 * Who gets which words of SRAM. Places are given in order and never taken back.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

#define LEAST_INNER 8 /* a quad of activations and one of constants */
td_status lpu_check_slices(const struct td_lpu_machine *machine) {
  int32_t least = 2 * machine->load_vectors + LEAST_INNER;
  if (machine->mem_slices / 2 >= least) return TD_OK;
  return td_fail(TD_UNSUPPORTED,
                 "LPU %s: found %d memory slices in a hemisphere, expected at least %d: %d that feed the "
                 "planes and %d for activations and constants",
                 machine->name, machine->mem_slices / 2, least, 2 * machine->load_vectors, LEAST_INNER);
}

void lpu_place_begin(struct lpu_compiler *compiler) {
  struct lpu_place *place = &compiler->place;
  memset(place, 0, sizeof *place);
  place->quads = lpu_weight_slice(compiler->machine) / 4;
  if (place->quads > 16) place->quads = 16;
  for (int32_t h = 0; h < TD_LPU_HEMISPHERES; h++) {
    for (int32_t quad = 0; quad < place->quads; quad++) place->quad_end[h][quad] = compiler->machine->mem_words;
  }
}

/* ---- outer quads ---- */

void lpu_open_outer(struct lpu_compiler *compiler) {
  struct lpu_place *place = &compiler->place;
  int32_t vectors = compiler->machine->load_vectors;
  if (compiler->layout.spread) return;
  place->outer_quads = 2 * vectors / 4;
  if (place->quads + place->outer_quads > LPU_MOST_QUADS) place->outer_quads = LPU_MOST_QUADS - place->quads;
  for (int32_t h = 0; h < TD_LPU_HEMISPHERES; h++) {
    for (int32_t i = 0; i < place->outer_quads; i++) {
      int32_t first = place->outer_word[h][i * 4 / vectors], last = place->outer_word[h][(i * 4 + 3) / vectors];
      place->quad_word[h][place->quads + i] = first > last ? first : last;
      place->quad_end[h][place->quads + i] = compiler->machine->mem_words;
    }
  }
}

/* The first slice of a quad. */
static int32_t quad_slice(const struct lpu_compiler *compiler, int32_t quad) {
  int32_t quads = compiler->place.quads;
  return quad < quads ? quad * 4 : lpu_weight_slice(compiler->machine) + (quad - quads) * 4;
}

/* Quads of a hemisphere for activations, and the n-th of them: the last inner one has the constants. */
static int32_t quad_count(const struct lpu_place *place) {
  return place->quads - 1 + place->outer_quads;
}

static int32_t nth_quad(const struct lpu_place *place, int32_t n) {
  return n < place->quads - 1 ? n : n + 1;
}

void lpu_place_scratches(struct lpu_compiler *compiler) {
  memcpy(compiler->place.first_scratch, compiler->place.quad_word, sizeof compiler->place.quad_word);
  compiler->place.first_turn = compiler->place.turn;
}

void lpu_reuse_scratches(struct lpu_compiler *compiler) {
  memset(compiler->place.busy, 0, sizeof compiler->place.busy);
  if (!compiler->layout.shared) return;
  memcpy(compiler->place.quad_word, compiler->place.first_scratch, sizeof compiler->place.quad_word);
}

/* Behind the cursor, before word `end`. */
static td_status new_image(struct lpu_compiler *compiler, struct td_lpu_image *image, int32_t *cursor, int32_t end,
                           int32_t *out_image) {
  if (image->words > end - *cursor) {
    return td_fail(TD_EXHAUSTED, "LPU %s: %s takes %d words of slices %d and up, found %d free of %d",
                   compiler->machine->name, image->name, image->words, image->slice, end - *cursor,
                   compiler->machine->mem_words);
  }
  image->word = *cursor;
  *cursor += image->words;
  return lpu_add_image(compiler->builder, image, out_image);
}

/* `own`: a scratch of the segment that is being built. */
static td_status in_quad(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind, bool own,
                         enum td_lpu_type type, int32_t hemisphere, int32_t quad, int32_t count, int32_t *out_image) {
  struct td_lpu_image image;
  memset(&image, 0, sizeof image);
  TD_TRY(td_format(image.name, sizeof image.name, "%s", name));
  image.kind = kind;
  image.chip = compiler->chip;
  image.hemisphere = hemisphere;
  image.slice = quad_slice(compiler, quad);
  image.slices = td_lpu_type_bytes(type);
  image.words = count;
  image.type = type;
  image.rows = count;
  image.cols = compiler->machine->lanes;
  image.owner = own && compiler->layout.shared ? compiler->builder->program->segment_count + 1 : 0;
  struct lpu_place *place = &compiler->place;
  int32_t *cursor = &place->quad_word[hemisphere][quad], *most = &place->most_word[hemisphere][quad];
  TD_TRY(new_image(compiler, &image, cursor, place->quad_end[hemisphere][quad], out_image));
  if (*cursor > *most) *most = *cursor;
  return TD_OK;
}

td_status lpu_new_vectors(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                          enum td_lpu_type type, int32_t count, int32_t *out_image) {
  struct lpu_place *place = &compiler->place;
  int32_t turn = place->turn++ % (quad_count(place) * 2);
  return in_quad(compiler, name, kind, false, type, turn % 2, nth_quad(place, turn / 2), count, out_image);
}

/* The first free word of neighbouring outer quads. */
static int32_t word_of(const struct lpu_place *place, int32_t hemisphere, int32_t first, int32_t quads) {
  int32_t word = 0;
  for (int32_t i = first; i < first + quads; i++) {
    int32_t used = place->quad_word[hemisphere][place->quads + i];
    if (used > word) word = used;
  }
  return word;
}

/* The turn's hemisphere, and in it the neighbours with most room. */
static td_status beside_each_other(struct lpu_compiler *compiler, struct td_lpu_image *image, int32_t quads,
                                   int32_t *out_image) {
  struct lpu_place *place = &compiler->place;
  int32_t hemisphere = place->turn++ % TD_LPU_HEMISPHERES, best = 0;
  for (int32_t first = 1; first + quads <= place->outer_quads; first++) {
    if (word_of(place, hemisphere, first, quads) < word_of(place, hemisphere, best, quads)) best = first;
  }
  int32_t cursor = word_of(place, hemisphere, best, quads);
  image->hemisphere = hemisphere;
  image->slice = quad_slice(compiler, place->quads + best);
  TD_TRY(new_image(compiler, image, &cursor, compiler->machine->mem_words, out_image));
  for (int32_t i = best; i < best + quads; i++) place->quad_word[hemisphere][place->quads + i] = cursor;
  return TD_OK;
}

td_status lpu_new_rows_image(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                             enum td_lpu_type type, int32_t rows, int32_t vectors, int32_t *out_image) {
  int32_t slices = vectors * td_lpu_type_bytes(type), quads = (slices + 3) / 4;
  struct td_lpu_image image;
  if (quads > compiler->place.outer_quads) {
    return lpu_new_vectors(compiler, name, kind, type, rows * vectors, out_image);
  }
  memset(&image, 0, sizeof image);
  TD_TRY(td_format(image.name, sizeof image.name, "%s", name));
  image.kind = kind;
  image.chip = compiler->chip;
  image.slices = slices;
  image.words = rows;
  image.type = type;
  image.rows = rows * vectors;
  image.cols = compiler->machine->lanes;
  image.by_steps = vectors;
  return beside_each_other(compiler, &image, quads, out_image);
}

/* ---- scratches ---- */

/* Tensors whose quads a new one stays out of. */
#define MOST_OTHERS (LPU_CHAIN_INPUTS + LPU_CHAIN_RESULTS)
struct others {
  const struct lpu_tensor *of[MOST_OTHERS];
};

static bool touches(const struct lpu_tensor *tensor, int32_t hemisphere, int32_t slice) {
  for (int32_t i = 0; i < tensor->column_count; i++) {
    if (touches(tensor->columns[i], hemisphere, slice)) return true;
  }
  if (tensor->columns || tensor->hemisphere != hemisphere) return false;
  return tensor->slice < slice + 4 && slice < tensor->slice + td_lpu_type_bytes(tensor->type);
}

static bool is_there(const struct lpu_compiler *compiler, const struct others *others, int32_t hemisphere,
                     int32_t quad) {
  for (int i = 0; i < MOST_OTHERS && others->of[i]; i++) {
    if (touches(others->of[i], hemisphere, quad_slice(compiler, quad))) return true;
  }
  return false;
}

static bool has_room(const struct lpu_compiler *compiler, int32_t hemisphere, int32_t quad, int32_t count) {
  return compiler->machine->mem_words - compiler->place.quad_word[hemisphere][quad] >= count;
}

/* The next turn's place; false if the others are everywhere. */
static bool next_quad(struct lpu_compiler *compiler, const struct others *others, int32_t *out_hemisphere,
                      int32_t *out_quad) {
  struct lpu_place *place = &compiler->place;
  int32_t turns = quad_count(place) * 2;
  for (int32_t i = 0; i < turns; i++) {
    int32_t turn = place->turn++ % turns;
    *out_hemisphere = turn % 2;
    *out_quad = nth_quad(place, turn / 2);
    if (!is_there(compiler, others, *out_hemisphere, *out_quad)) return true;
  }
  return false;
}

/* Of a hemisphere, the quad with most room; -1: the others are in all. */
static int32_t roomiest(const struct lpu_compiler *compiler, const struct others *others, int32_t hemisphere) {
  const struct lpu_place *place = &compiler->place;
  const int32_t *words = place->quad_word[hemisphere];
  int32_t best = -1;
  for (int32_t n = 0; n < quad_count(place); n++) {
    int32_t quad = nth_quad(place, n);
    if (is_there(compiler, others, hemisphere, quad)) continue;
    if (best < 0 || words[quad] < words[best]) best = quad;
  }
  return best;
}

/* Where there is most room in the turn's hemisphere, or if it is not enough, in the other. */
static void room_quad(const struct lpu_compiler *compiler, const struct others *others, int32_t count,
                      int32_t *hemisphere, int32_t *quad) {
  int32_t here = roomiest(compiler, others, *hemisphere);
  int32_t there = roomiest(compiler, others, 1 - *hemisphere);
  if (here >= 0) *quad = here;
  if (here >= 0 && has_room(compiler, *hemisphere, here, count)) return;
  if (there < 0 || !has_room(compiler, 1 - *hemisphere, there, count)) return;
  *hemisphere = 1 - *hemisphere;
  *quad = there;
}

/* Turns keep apart what is read together, by and large; where there is no room, room comes first. What weights leave is
 * not looked at: a trial without them must come to the same. */
static bool choose_quad(struct lpu_compiler *compiler, const struct others *others, int32_t count, int32_t *hemisphere,
                        int32_t *quad) {
  if (!next_quad(compiler, others, hemisphere, quad)) return false;
  if (!compiler->layout.shared) return true;
  if (compiler->layout.balanced || !has_room(compiler, *hemisphere, *quad, count)) {
    room_quad(compiler, others, count, hemisphere, quad);
  }
  return true;
}

/* The least busy quad of a hemisphere that has room and none of the others; else the roomiest one. */
static int32_t column_quad(const struct lpu_compiler *compiler, const struct others *others, int32_t hemisphere,
                           int32_t count) {
  const struct lpu_place *place = &compiler->place;
  int32_t best = -1;
  for (int32_t i = 0; i < quad_count(place); i++) {
    int32_t quad = nth_quad(place, i);
    if (is_there(compiler, others, hemisphere, quad) || !has_room(compiler, hemisphere, quad, count)) continue;
    if (best < 0 || place->busy[hemisphere][quad] < place->busy[hemisphere][best]) best = quad;
  }
  return best >= 0 ? best : roomiest(compiler, others, hemisphere);
}

/* Written once, and read. */
#define USES 3
static td_status scratch_in(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count, int32_t hemisphere,
                            int32_t quad, struct lpu_tensor **out) {
  char name[48];
  int32_t image = 0;
  TD_TRY(
      td_format(name, sizeof name, "%s.%d", compiler->builder->segment.name, compiler->builder->program->image_count));
  TD_TRY(in_quad(compiler, name, TD_IMAGE_SCRATCH, true, type, hemisphere, quad, count, &image));
  compiler->place.busy[hemisphere][quad] += USES * (int64_t)count;
  return lpu_tensor_of(compiler->builder, image, out);
}

static td_status new_scratch(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                             const struct others *others, struct lpu_tensor **out) {
  int32_t hemisphere = 0, quad = 0;
  if (compiler->place.outer_quads > 0) {
    hemisphere = compiler->place.turn++ % TD_LPU_HEMISPHERES;
    quad = column_quad(compiler, others, hemisphere, count);
    if (quad < 0 || !has_room(compiler, hemisphere, quad, count)) {
      hemisphere = 1 - hemisphere;
      quad = column_quad(compiler, others, hemisphere, count);
    }
    if (quad >= 0) return scratch_in(compiler, type, count, hemisphere, quad, out);
  }
  if (!choose_quad(compiler, others, count, &hemisphere, &quad)) {
    return td_fail(TD_UNSUPPORTED,
                   "LPU %s: found %d memory slices for activations in a hemisphere, expected more: %s reads and writes "
                   "three tensors in one cycle",
                   compiler->machine->name, (compiler->place.quads - 1) * 4, compiler->builder->segment.name);
  }
  return scratch_in(compiler, type, count, hemisphere, quad, out);
}

td_status lpu_new_scratch(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                          const struct lpu_tensor *beside, struct lpu_tensor **out) {
  return new_scratch(compiler, type, count, &(struct others){{beside}}, out);
}

/* Where there are outer quads: not in them. What comes through a switch and straight too would want its slices twice in
 * one cycle if it lay close to the switch. */
td_status lpu_new_inner(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count, struct lpu_tensor **out) {
  struct lpu_place *place = &compiler->place;
  int32_t turns = (place->quads - 1) * 2;
  if (place->outer_quads == 0) return lpu_new_scratch(compiler, type, count, NULL, out);
  for (int32_t i = 0; i < turns; i++) {
    int32_t turn = place->inner_turn++ % turns;
    if (!has_room(compiler, turn % 2, turn / 2, count)) continue;
    place->busy[turn % 2][turn / 2] += USES * (int64_t)count; /* twice as often as others */
    return scratch_in(compiler, type, count, turn % 2, turn / 2, out);
  }
  int32_t turn = place->inner_turn++ % turns;
  return scratch_in(compiler, type, count, turn % 2, turn / 2, out);
}

td_status lpu_new_fold(struct lpu_compiler *compiler, int32_t rows, const struct lpu_tensor *x,
                       struct lpu_tensor **out) {
  return x && compiler->place.outer_quads == 0 ? lpu_new_scratch(compiler, TD_LPU_F32, rows, x, out)
                                               : lpu_new_inner(compiler, TD_LPU_F32, rows, out);
}

static td_status new_apart(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                           const struct others *others, struct lpu_tensor **out) {
  int32_t hemisphere = compiler->place.turn++ % TD_LPU_HEMISPHERES;
  int32_t quad = column_quad(compiler, others, hemisphere, count);
  if (quad < 0) return new_scratch(compiler, type, count, others, out);
  return scratch_in(compiler, type, count, hemisphere, quad, out);
}

/* Rows as wide are read beside column v in their own column v. */
static struct others columns_of(const struct others *others, int32_t v, int32_t vectors) {
  struct others of = *others;
  for (int i = 0; i < MOST_OTHERS && of.of[i]; i++) {
    if (of.of[i]->column_count == vectors) of.of[i] = of.of[i]->columns[v];
  }
  return of;
}

/* Columns of one hemisphere, in quads as far apart as there are. */
static td_status new_rows(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t rows, int32_t vectors,
                          const struct others *others, struct lpu_tensor **out) {
  struct lpu_place *place = &compiler->place;
  struct lpu_tensor *columns[TD_LPU_MOST_LANES];
  if (place->outer_quads == 0 || vectors == 1 || vectors > TD_LPU_MOST_LANES) {
    return new_scratch(compiler, type, rows * vectors, others, out);
  }
  int32_t hemisphere = place->turn++ % TD_LPU_HEMISPHERES;
  for (int32_t v = 0; v < vectors; v++) {
    const struct others beside = columns_of(others, v, vectors);
    int32_t quad = column_quad(compiler, &beside, hemisphere, rows);
    if (quad < 0 || !has_room(compiler, hemisphere, quad, rows)) {
      TD_TRY(new_scratch(compiler, type, rows, &beside, &columns[v]));
      continue;
    }
    TD_TRY(scratch_in(compiler, type, rows, hemisphere, quad, &columns[v]));
  }
  return lpu_join_columns(compiler->builder, columns, vectors, out);
}

td_status lpu_new_rows(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t rows, int32_t vectors,
                       const struct lpu_tensor *beside, struct lpu_tensor **out) {
  return new_rows(compiler, type, rows, vectors, &(struct others){{beside}}, out);
}

void lpu_note_busy(struct lpu_compiler *compiler, const struct lpu_tensor *tensor, int32_t times) {
  for (int32_t i = 0; i < tensor->column_count; i++) lpu_note_busy(compiler, tensor->columns[i], times);
  for (int32_t n = 0; n < quad_count(&compiler->place) && !tensor->columns; n++) {
    int32_t quad = nth_quad(&compiler->place, n);
    if (!touches(tensor, tensor->hemisphere, quad_slice(compiler, quad))) continue;
    compiler->place.busy[tensor->hemisphere][quad] += (int64_t)times * tensor->count;
  }
}

td_status lpu_new_apart(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                        const struct lpu_tensor *apart, struct lpu_tensor **out) {
  const struct others others = {{apart}};
  return new_apart(compiler, type, count, &others, out);
}

/* ---- constants of a chain ---- */

static void list_others(const struct lpu_chain *chain, int32_t but, struct others *out) {
  int32_t count = 0;
  memset(out, 0, sizeof *out);
  for (int32_t i = 0; i < chain->input_count; i++) {
    if (i != but) out->of[count++] = chain->inputs[i].tensor;
  }
  for (int32_t i = 0; i < chain->result_count && count < MOST_OTHERS; i++) out->of[count++] = chain->results[i].tensor;
}

static td_status copy_constant(struct lpu_compiler *compiler, struct lpu_chain *chain, int32_t index) {
  struct lpu_input *input = &chain->inputs[index];
  struct lpu_tensor *copy = NULL;
  struct others others;
  struct lpu_chain alone;
  list_others(chain, index, &others);
  TD_TRY(new_apart(compiler, input->tensor->type, 1, &others, &copy));
  lpu_chain_begin(&alone, compiler->chip, 1);
  struct lpu_operand value = lpu_chain_input(&alone, input->tensor, input->offset, 0);
  alone.inputs[value.index].patch = input->patch;
  lpu_chain_result(&alone, lpu_chain_step(&alone, TD_ALU_MOVE, value, lpu_nothing, lpu_nothing), copy, 0, 1);
  TD_TRY(lpu_chain_run(compiler->builder, &alone));
  *input = (struct lpu_input){.tensor = copy};
  return TD_OK;
}

static bool is_constant(const struct lpu_compiler *compiler, const struct lpu_input *input) {
  return compiler->builder->program->images[input->tensor->image].kind == TD_IMAGE_CONSTANT && input->stride == 0;
}

td_status lpu_run_rows(struct lpu_compiler *compiler, struct lpu_chain *chain) {
  if (compiler->place.outer_quads > 0 && chain->input_count <= LPU_CHAIN_INPUTS) {
    for (int32_t i = 0; i < chain->input_count; i++) {
      if (is_constant(compiler, &chain->inputs[i])) TD_TRY(copy_constant(compiler, chain, i));
    }
  }
  return lpu_chain_run(compiler->builder, chain);
}

td_status lpu_new_scratch_with(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                               const struct lpu_tensor *with, struct lpu_tensor **out) {
  char name[48];
  int32_t image = 0;
  TD_TRY(
      td_format(name, sizeof name, "%s.%d", compiler->builder->segment.name, compiler->builder->program->image_count));
  TD_TRY(in_quad(compiler, name, TD_IMAGE_SCRATCH, true, type, with->hemisphere, with->slice / 4, count, &image));
  return lpu_tensor_of(compiler->builder, image, out);
}

bool lpu_scales_lie_with_rows(const struct lpu_compiler *compiler) {
  return compiler->place.quads > 2;
}

/* So few rows have passed before the first sums leave. */
#define FEW_ROWS 16
/* What is read while sums leave: the last vector of rows. */
static const struct lpu_tensor *last_column(const struct lpu_tensor *x) {
  return x && x->columns ? x->columns[x->column_count - 1] : x;
}

td_status lpu_new_sums(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t rows, int32_t vectors,
                       const struct lpu_activation *x, const struct lpu_tensor *beside, struct lpu_tensor **out) {
  bool many = rows > FEW_ROWS;
  /* The scales of FP8 rows, which lie with x, are read in a cycle with sums. */
  bool scaled = type == TD_LPU_F32 && x->scale[0] && lpu_scales_lie_with_rows(compiler);
  struct others others = {{NULL}};
  int32_t known = 0;
  if (beside) others.of[known++] = beside;
  if ((many || scaled) && x->x) others.of[known++] = last_column(x->x);
  if (many && x->twin) others.of[known++] = last_column(x->twin);
  return new_rows(compiler, type, rows, vectors, &others, out);
}

/* Float32 rows into words: [words][4 slices][lanes], low byte first. */
static void spread(const struct td_lpu_machine *machine, const float *data, int32_t rows, int32_t cols,
                   uint8_t *words) {
  int32_t lanes = machine->lanes, blocks = (cols + lanes - 1) / lanes;
  for (int32_t row = 0; row < rows; row++) {
    for (int32_t col = 0; col < cols; col++) {
      uint32_t bits;
      memcpy(&bits, &data[(int64_t)row * cols + col], sizeof bits);
      uint8_t *word = words + (size_t)(row * blocks + col / lanes) * 4 * (size_t)lanes + col % lanes;
      for (int32_t c = 0; c < 4; c++) word[c * lanes] = (uint8_t)(bits >> (8 * c));
    }
  }
}

td_status lpu_new_constants(struct lpu_compiler *compiler, const char *name, int32_t hemisphere, int32_t rows,
                            int32_t cols, const float *data, int32_t *out_image) {
  const struct td_lpu_machine *machine = compiler->machine;
  int32_t blocks = (cols + machine->lanes - 1) / machine->lanes, quad = compiler->place.quads - 1;
  TD_TRY(in_quad(compiler, name, TD_IMAGE_CONSTANT, false, TD_LPU_F32, hemisphere, quad, rows * blocks, out_image));
  struct td_lpu_program *program = compiler->builder->program;
  program->images[*out_image].rows = rows;
  program->images[*out_image].cols = cols;
  if (!data) return TD_OK;
  uint64_t at = 0, bytes = (uint64_t)rows * (uint64_t)blocks * 4 * (uint64_t)machine->lanes;
  TD_TRY(lpu_add_data(compiler->builder, bytes, &at));
  program->images[*out_image].data = at;
  program->images[*out_image].data_bytes = bytes;
  spread(machine, data, rows, cols, program->data + at);
  return TD_OK;
}

td_status lpu_new_outer(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                        enum td_lpu_type type, int32_t hemisphere, int32_t first, int32_t slices, int32_t words,
                        int32_t *out_image) {
  int32_t vectors = compiler->machine->load_vectors, *cursors = compiler->place.outer_word[hemisphere];
  struct td_lpu_image image;
  memset(&image, 0, sizeof image);
  TD_TRY(td_format(image.name, sizeof image.name, "%s", name));
  image.kind = kind;
  image.chip = compiler->chip;
  image.hemisphere = hemisphere;
  image.slice = lpu_weight_slice(compiler->machine) + first;
  image.slices = slices;
  image.words = words;
  image.type = type;
  image.by_steps = slices / td_lpu_type_bytes(type);
  int32_t end = compiler->machine->mem_words;
  if (slices == vectors) return new_image(compiler, &image, &cursors[first / vectors], end, out_image);
  int32_t cursor = cursors[0] > cursors[1] ? cursors[0] : cursors[1];
  TD_TRY(new_image(compiler, &image, &cursor, end, out_image));
  cursors[0] = cursors[1] = cursor;
  return TD_OK;
}
