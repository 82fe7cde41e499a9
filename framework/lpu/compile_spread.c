/* SPDX-License-Identifier: Apache-2.0
 *
 * The layout for what is nearly full: weights lie over all slices of a hemisphere.
 *
 * The plain layout leaves a hemisphere's inner slices to activations and constants, and most of their words to nobody.
 * Here a tile's slices come in pieces of LPU_PIECE neighbours, and a tile takes those pieces that have most words left:
 * as long as no piece is asked for more often than there are tiles, that fills all of them to the last word. KV stays
 * where it is plain, in words 0 and up of the outer slices; activations and constants are in words 0 and up of the
 * inner ones, and weights come behind either. How many words activations take is found by a trial without weights.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

bool lpu_can_spread(const struct td_lpu_machine *machine) {
  return machine->load_vectors % LPU_PIECE == 0 && machine->mem_slices / 2 / LPU_PIECE <= LPU_MOST_PIECES;
}

/* Pieces are the quads of the inner slices, then the outer slices from the first on. */
static int32_t piece_slice(const struct lpu_compiler *compiler, int32_t piece) {
  int32_t quads = compiler->place.quads;
  if (piece < quads) return piece * LPU_PIECE;
  return lpu_weight_slice(compiler->machine) + (piece - quads) * LPU_PIECE;
}

/* ---- what there is besides weights ---- */

static td_status try_chip(struct lpu_compiler *trial) {
  TD_TRY(lpu_add_weights(trial));
  TD_TRY(lpu_add_state(trial));
  lpu_place_scratches(trial);
  for (int32_t rows = trial->rows; rows > 0; rows = lpu_fewer_rows(trial, rows)) {
    trial->rows = rows;
    TD_TRY(lpu_add_stage(trial, NULL));
  }
  return TD_OK;
}

static td_status measure(const struct lpu_compiler *compiler, struct lpu_place *out) {
  struct lpu_compiler trial = *compiler;
  trial.weights = NULL;
  trial.places_only = trial.measuring = true;
  TD_TRY(lpu_builder_open(compiler->machine, compiler->chips, &trial.builder));
  trial.builder->dry = true;
  td_status status = try_chip(&trial);
  lpu_builder_close(trial.builder);
  *out = trial.place;
  return status;
}

td_status lpu_spread_begin(struct lpu_compiler *compiler) {
  struct lpu_place *place = &compiler->place, measured;
  if (compiler->measuring) return TD_OK;
  TD_TRY(measure(compiler, &measured));
  place->piece_count = place->quads + 2 * compiler->machine->load_vectors / LPU_PIECE;
  for (int32_t h = 0; h < TD_LPU_HEMISPHERES; h++) {
    for (int32_t piece = 0; piece < place->piece_count; piece++) {
      bool inner = piece < place->quads;
      if (inner) place->quad_end[h][piece] = measured.most_word[h][piece];
      place->piece_word[h][piece] = inner ? place->quad_end[h][piece] : lpu_cache_words(compiler);
    }
  }
  return TD_OK;
}

/* ---- tiles ---- */

/* The pieces with most words left, `count` of them, as bits; fewer if there are not so many. */
static uint64_t choose_pieces(const struct lpu_place *place, int32_t hemisphere, int32_t count) {
  uint64_t chosen = 0;
  for (; count > 0; count--) {
    int32_t best = -1;
    for (int32_t piece = 0; piece < place->piece_count; piece++) {
      if (chosen >> piece & 1) continue;
      if (best < 0 || place->piece_word[hemisphere][piece] < place->piece_word[hemisphere][best]) best = piece;
    }
    if (best >= 0) chosen |= UINT64_C(1) << best;
  }
  return chosen;
}

static td_status add_piece(struct lpu_compiler *compiler, const char *name, enum td_lpu_type type, int32_t hemisphere,
                           int32_t piece, int32_t number, int32_t words) {
  struct td_lpu_image image;
  int32_t *word = &compiler->place.piece_word[hemisphere][piece], index;
  memset(&image, 0, sizeof image);
  TD_TRY(td_format(image.name, sizeof image.name, "%s.%d", name, number));
  if (words > compiler->machine->mem_words - *word) {
    return td_fail(TD_EXHAUSTED, "LPU %s: %s takes %d words of slices %d and up, found %d free of %d",
                   compiler->machine->name, image.name, words, piece_slice(compiler, piece),
                   compiler->machine->mem_words - *word, compiler->machine->mem_words);
  }
  image.kind = TD_IMAGE_WEIGHT;
  image.chip = compiler->chip;
  image.hemisphere = hemisphere;
  image.slice = piece_slice(compiler, piece);
  image.slices = LPU_PIECE;
  image.word = *word;
  image.words = words;
  image.type = (int32_t)type;
  image.by_steps = LPU_PIECE / td_lpu_type_bytes(type);
  image.rows = words * image.by_steps;
  image.cols = compiler->machine->lanes;
  *word += words;
  return lpu_add_image(compiler->builder, &image, &index);
}

td_status lpu_spread_tile(struct lpu_compiler *compiler, const char *name, enum td_lpu_type type, int32_t hemisphere,
                          int32_t slices, int32_t words, int32_t *out_image) {
  uint64_t chosen = choose_pieces(&compiler->place, hemisphere, slices / LPU_PIECE);
  int32_t number = 0;
  *out_image = compiler->builder->program->image_count;
  for (int32_t piece = 0; piece < compiler->place.piece_count; piece++) {
    if (!(chosen >> piece & 1)) continue;
    TD_TRY(add_piece(compiler, name, type, hemisphere, piece, number++, words));
  }
  compiler->place.spread_words[hemisphere] += words;
  return TD_OK;
}
