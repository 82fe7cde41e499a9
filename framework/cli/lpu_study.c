/* SPDX-License-Identifier: Apache-2.0
 *
 * Looking at a program: nothing is executed, everything follows from the images, the links and the instructions.
 */
#include "lpu_study.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/lpu_price.h"

/* A file may say anything: what a step may take here. */
#define MOST_BLOCKS (INT64_C(1) << 26)

const char *lpu_image_kind_name(int32_t kind) {
  static const char *const names[] = {"weights", "constants", "KV", "inputs", "outputs", "scratch"};
  return kind >= 0 && kind <= TD_IMAGE_SCRATCH ? names[kind] : "?";
}

const char *lpu_segment_words(const char *name) {
  static const char *const words[][2] = {
      {"dense", "norm; products with Q, K, V"},
      {"row", "rotary positions; K and V into the cache"},
      {"scores", "K installed, queries passed; scale and mask"},
      {"soft", "maximum of the scores over the lanes"},
      {"values", "exponentials; V installed, weights passed"},
      {"merge", "division; heads side by side"},
      {"hide", "where the sequence ends; norm of the embeddings"},
      {"heads", "products with Q, K, V; heads into their places"},
      {"project", "heads side by side; output product and residual; norm"},
      {"up", "the FFN's first product; activation"},
      {"down", "the FFN's second product and residual; norm"},
      {"pool", "the first row through the pooler"},
      {"forward", "rows over the links, to the next stage"},
      {"ffn", "norm; FFN and residual, of one layer"},
      {"route", "norm; the router's product; what all tokens share"},
      {"take", "a routed token into its place"},
      {"expert", "one expert on some routed tokens"},
      {"give", "a routed token's result, times its gate, into its sum"},
      {"output", "output product and residual; norm; FFN and residual"},
      {"head", "final norm; product with the vocabulary"},
  };
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    size_t length = strlen(words[i][0]);
    bool other = name[length] == '.'; /* of layers of another kind */
    if (strncmp(words[i][0], name, length) == 0 && (!name[length] || other)) return words[i][1];
  }
  return "";
}

/* ---- the step ---- */

/* The largest value of a variable that every patch takes. */
static int32_t most_of(const struct td_lpu_program *program, enum td_lpu_variable variable, int32_t most) {
  for (int32_t s = 0; s < program->segment_count; s++) {
    const struct td_lpu_segment *segment = &program->segments[s];
    for (int32_t p = 0; p < segment->patch_count; p++) {
      const struct td_lpu_patch *patch = &segment->patches[p];
      if (patch->coefficient[variable] && patch->high[variable] < most) most = patch->high[variable];
    }
  }
  return most;
}

/* Of a whole step, or, where there is none, of the first layer alone. */
static int32_t find_entry(const struct td_lpu_program *program, int32_t rows) {
  int32_t whole = td_lpu_program_entry(program, rows), first = INT32_MAX;
  for (int32_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].layer < first) first = program->entries[i].layer;
  }
  return whole >= 0 || first < 0 ? whole : td_lpu_program_layer_entry(program, first, rows);
}

int64_t lpu_study_layers(const struct lpu_study *study, int32_t *out_layers) {
  const struct td_lpu_program *program = study->program;
  int64_t cycles = 0;
  *out_layers = 0;
  for (int32_t i = 0; i < program->entry_count; i++) {
    const struct td_lpu_entry *entry = &program->entries[i], *looked_at = &program->entries[study->entry];
    if (entry->layer < 0 || entry->rows != looked_at->rows || entry->work != looked_at->work) continue;
    cycles += td_lpu_program_cycles(program, i, &study->step);
    *out_layers += 1;
  }
  return cycles;
}

/* Rows that the program takes: of a whole step, or of a layer. */
static int32_t most_rows(const struct td_lpu_program *program) {
  int32_t most = 1;
  for (int32_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].rows > most) most = program->entries[i].rows;
  }
  return most;
}

/* The last position that addresses and the KV cache's `held` blocks allow, if each row has blocks of its own. */
static td_status find_position(struct lpu_study *study, int32_t rows, int32_t position, int32_t held) {
  int32_t tokens = study->program->block_tokens, most = most_of(study->program, TD_VAR_POSITION, INT32_MAX);
  if (most == INT32_MAX && position > 0) {
    return td_fail(TD_CONFIG, "--position: found %d, expected none: no address of the program moves by it", position);
  }
  if (most == INT32_MAX) most = 0;
  if (position > most) {
    return td_fail(TD_CONFIG, "--position: found %d, expected 0..%d: the program's context", position, most);
  }
  study->one_sequence = tokens && held < rows;
  int64_t room = tokens ? (study->one_sequence ? held : held / rows) * (int64_t)tokens - 1 : most;
  if (position > room) {
    return td_fail(TD_CONFIG, "--position: found %d, expected 0..%lld: %d KV blocks of %d tokens for %d rows", position,
                   (long long)room, held, tokens, rows);
  }
  study->position = position >= 0 ? position : room < most ? (int32_t)room : most;
  return TD_OK;
}

static td_status make_rows(struct lpu_study *study, int32_t rows) {
  int32_t tokens = study->program->block_tokens, count = tokens ? study->position / tokens + 1 : 0;
  if ((int64_t)rows * count > MOST_BLOCKS) {
    return td_fail(TD_UNSUPPORTED, "found a step of %d rows with %d KV blocks each, expected at most %lld in all", rows,
                   count, (long long)MOST_BLOCKS);
  }
  TD_TRY(td_alloc((size_t)rows, sizeof *study->rows, (void **)&study->rows));
  TD_TRY(td_alloc((size_t)rows * (size_t)(count + 1), sizeof *study->blocks, (void **)&study->blocks));
  for (int32_t r = 0; r < rows; r++) {
    int32_t *blocks = study->blocks + (int64_t)r * count;
    for (int32_t i = 0; i < count; i++) blocks[i] = (study->one_sequence ? 0 : r * count) + i;
    study->rows[r] = (struct td_lpu_row){study->position, blocks, count};
  }
  study->step = (struct td_lpu_step){study->rows, rows};
  return TD_OK;
}

static td_status make_step(struct lpu_study *study, int32_t rows, int32_t position) {
  const struct td_lpu_program *program = study->program;
  int32_t held = program->block_tokens ? most_of(program, TD_VAR_KV_BLOCK, INT32_MAX - 1) + 1 : 1;
  if (study->entry < 0) study->entry = find_entry(program, rows);
  if (study->entry < 0) {
    return td_fail(TD_CONFIG, "--rows: found %d, expected 1..%d: what the program takes", rows, most_rows(program));
  }
  TD_TRY(find_position(study, rows, position, held));
  TD_TRY(make_rows(study, rows));
  for (int32_t at = study->entry; at >= 0; at = td_lpu_program_next(program, at, rows)) study->parts++;
  return TD_OK;
}

/* ---- cycles ---- */

const char *lpu_spent_name(int spent) {
  static const char *const names[LPU_SPENT_COUNT] = {"loads", "products", "vector", "switch",
                                                     "links", "memory",   "waiting"};
  return spent >= 0 && spent < LPU_SPENT_COUNT ? names[spent] : "?";
}

static td_status spend_segment(const struct td_lpu_program *program, int32_t segment, struct lpu_cycles *out) {
  int64_t spent[TD_LPU_SPENT_COUNT];
  TD_TRY(td_lpu_segment_spent(program, segment, spent, &out->exchange));
  out->of[SPENT_LOADS] = spent[TD_SPENT_LOAD];
  out->of[SPENT_PRODUCTS] = spent[TD_SPENT_INSTALL] + spent[TD_SPENT_PASS];
  out->of[SPENT_VECTOR] = spent[TD_SPENT_VECTOR];
  out->of[SPENT_SWITCH] = spent[TD_SPENT_SWITCH];
  out->of[SPENT_LINKS] = spent[TD_SPENT_LINK];
  out->of[SPENT_MEMORY] = spent[TD_SPENT_MEMORY];
  out->of[SPENT_WAITING] = spent[TD_SPENT_WAIT];
  return TD_OK;
}

static td_status spend(struct lpu_study *study) {
  const struct td_lpu_program *program = study->program;
  TD_TRY(td_alloc((size_t)program->segment_count, sizeof *study->spent, (void **)&study->spent));
  for (int32_t i = 0; i < program->segment_count; i++) {
    TD_TRY(spend_segment(program, i, &study->spent[i]));
  }
  return TD_OK;
}

/* ---- SRAM ---- */

/* Words of an image that none of the chip's before it had: scratches of segments share theirs. */
static int64_t new_words(const struct td_lpu_machine *machine, const struct td_lpu_image *image, uint8_t *used) {
  int64_t words = 0, slice = (int64_t)image->hemisphere * (machine->mem_slices / TD_LPU_HEMISPHERES) + image->slice;
  for (int64_t s = slice; s < slice + image->slices; s++) {
    uint8_t *at = used + s * machine->mem_words + image->word;
    for (int32_t w = 0; w < image->words; w++) {
      words += !at[w];
      at[w] = 1;
    }
  }
  return words;
}

/* Whether a tile lies where the plain layout has activations. */
static bool is_spread(const struct td_lpu_machine *machine, const struct td_lpu_image *image) {
  return image->kind == TD_IMAGE_WEIGHT && image->slice < machine->mem_slices / 2 - 2 * machine->load_vectors;
}

static int by_chip(const void *a, const void *b) {
  const struct td_lpu_image *const *x = a, *const *y = b;
  if ((*x)->chip != (*y)->chip) return (*x)->chip < (*y)->chip ? -1 : 1;
  return *x < *y ? -1 : *x > *y;
}

/* Chips that a chip's images stand for, itself too. */
static int64_t stands_for(const struct td_lpu_program *program, int32_t chip) {
  int64_t count = 0;
  for (int32_t c = 0; program->alike && c < program->chips; c++) count += program->alike[c] == chip;
  return program->alike ? count : 1;
}

static void count_image(struct lpu_study *study, const struct td_lpu_image *image, int64_t chips, uint8_t *used) {
  const struct td_lpu_machine *machine = &study->program->machine;
  int64_t bytes = new_words(machine, image, used) * machine->lanes;
  struct lpu_sram *sram = &study->sram[image->chip];
  sram->bytes[image->kind] += bytes;
  sram->used += bytes;
  if (image->kind == TD_IMAGE_WEIGHT) study->weight_bytes += bytes * chips;
  study->shared |= image->owner > 0;
  study->spread |= is_spread(machine, image);
}

static td_status count_images(struct lpu_study *study) {
  const struct td_lpu_program *program = study->program;
  size_t words = (size_t)program->machine.mem_slices * (size_t)program->machine.mem_words;
  void *memory = NULL, *marks = NULL;
  TD_TRY(td_alloc((size_t)program->image_count + 1, sizeof(struct td_lpu_image *), &memory));
  td_status status = td_alloc(words, 1, &marks);
  const struct td_lpu_image **images = memory;
  for (int32_t i = 0; i < program->image_count; i++) images[i] = &program->images[i];
  qsort(images, (size_t)program->image_count, sizeof *images, by_chip);
  int64_t chips = 1;
  for (int32_t i = 0; !status && i < program->image_count; i++) {
    bool first = i == 0 || images[i]->chip != images[i - 1]->chip;
    if (first) memset(marks, 0, words);
    if (first) chips = stands_for(program, images[i]->chip);
    count_image(study, images[i], chips, marks);
  }
  for (int32_t c = 0; !status && program->alike && c < program->chips; c++) {
    study->sram[c] = study->sram[program->alike[c]];
  }
  free(memory);
  free(marks);
  return status;
}

static td_status count_sram(struct lpu_study *study) {
  const struct td_lpu_program *program = study->program;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(&program->machine, &rates);
  TD_TRY(td_alloc((size_t)program->chips, sizeof *study->sram, (void **)&study->sram));
  TD_TRY(count_images(study));
  for (int32_t c = 0; c < program->chips; c++) study->sram[c].free = rates.sram_bytes - study->sram[c].used;
  int64_t a_cycle = rates.stream_bytes_per_cycle * program->chips;
  study->bound_cycles = (study->weight_bytes + a_cycle - 1) / a_cycle;
  return TD_OK;
}

/* A program from a file may say anything. */
static td_status check_images(const struct td_lpu_program *program) {
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    bool right = image->chip >= 0 && image->chip < program->chips && image->kind >= 0 &&
                 image->kind <= TD_IMAGE_SCRATCH && image->words >= 0 && image->slices >= 0;
    if (!right) {
      return td_fail(TD_CORRUPT, "image %.47s: found chip %d of %d, kind %d", image->name, image->chip, program->chips,
                     image->kind);
    }
  }
  return TD_OK;
}

static td_status count_stages(struct lpu_study *study) {
  const struct td_lpu_program *program = study->program;
  int64_t *cycles = NULL;
  study->stages = program->chips / program->tensor;
  TD_TRY(td_alloc((size_t)study->stages, sizeof *cycles, (void **)&cycles));
  td_lpu_program_stages(program, study->entry, &study->step, cycles);
  for (int32_t i = 0; i < study->stages; i++) {
    if (cycles[i] > study->slowest) study->slowest = cycles[i];
  }
  free(cycles);
  return TD_OK;
}

static td_status open_all(struct lpu_study *study, int32_t rows, int32_t position) {
  const struct td_lpu_program *program = study->program;
  TD_TRY(check_images(program));
  TD_TRY(make_step(study, rows, position));
  TD_TRY(count_sram(study));
  TD_TRY(count_stages(study));
  TD_TRY(spend(study));
  TD_TRY(td_alloc((size_t)program->segment_count, sizeof *study->paths, (void **)&study->paths));
  for (int32_t i = 0; i < program->segment_count; i++) lpu_path_trace(program, i, &study->paths[i]);
  TD_TRY(td_lpu_program_tallies(program, &study->tallies));
  TD_TRY(td_alloc((size_t)program->segment_count, sizeof *study->runs, (void **)&study->runs));
  td_lpu_program_runs(program, study->entry, &study->step, study->runs);
  return td_lpu_program_counts(program, study->tallies, study->entry, &study->step, &study->counts);
}

td_status lpu_study_open_entry(const struct td_lpu_program *program, int32_t entry, int32_t rows, int32_t position,
                               struct lpu_study *out_study) {
  *out_study = (struct lpu_study){.program = program, .entry = entry};
  td_status status = open_all(out_study, rows, position);
  if (status) lpu_study_close(out_study);
  return status;
}

td_status lpu_study_open(const struct td_lpu_program *program, int32_t rows, int32_t position,
                         struct lpu_study *out_study) {
  return lpu_study_open_entry(program, -1, rows, position, out_study);
}

td_status lpu_study_length(const struct td_lpu_program *program, int32_t rows, int32_t position, int64_t *out_cycles) {
  struct lpu_study study = {.program = program, .entry = -1};
  td_status status = make_step(&study, rows, position);
  int32_t layers = 0;
  if (!status) *out_cycles = lpu_study_layers(&study, &layers);
  if (!status && !layers) *out_cycles = td_lpu_program_cycles(program, study.entry, &study.step);
  lpu_study_close(&study);
  return status;
}

void lpu_study_close(struct lpu_study *study) {
  free(study->rows);
  free(study->blocks);
  free(study->tallies);
  free(study->runs);
  free(study->spent);
  free(study->paths);
  free(study->sram);
}
