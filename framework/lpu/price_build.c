/* SPDX-License-Identifier: Apache-2.0
 *
 * From a program's links to linear forms: each RUN counts its segment as often as the loops around it turn, and loops
 * turn a fixed number of times, once a row, or once a KV block of a row.
 */
#include <stdlib.h>
#include <string.h>

#include "loops.h"
#include "price.h"
#include "tandem/base.h"

/* A file may say anything. */
#define MOST_ROWS 65536
#define MOST_FORM (INT64_C(1) << 60)

struct build {
  const struct td_lpu_program *program;
  struct td_lpu_price *price;
  struct td_lpu_tally *tallies;         /* [segments] of one run */
  int64_t (*spent)[TD_LPU_SPENT_COUNT]; /* [segments] of one run */
  struct reach {
    int32_t low, high;
  } * reach;               /* [segments] chips that it tells something, from its first on */
  struct lpu_form *runs;   /* [segments] of the part being made */
  struct lpu_form *stages; /* [stages] of the same */
  struct lpu_part *part;
  size_t layer_room;
  int32_t first_row; /* of the entry being walked */
  bool inside;       /* a loop over rows: a fixed one */
  bool overflows;
};

/* ---- forms ---- */

static void add(struct build *build, struct lpu_form *to, const struct lpu_form *times, int64_t factor) {
  int64_t *parts[3] = {&to->one, &to->row, &to->block};
  const int64_t counts[3] = {times->one, times->row, times->block};
  for (int i = 0; i < 3; i++) {
    int64_t product;
    build->overflows |= __builtin_mul_overflow(counts[i], factor, &product) ||
                        __builtin_add_overflow(*parts[i], product, parts[i]) || *parts[i] > MOST_FORM;
  }
}

static struct lpu_form turned(struct build *build, const struct lpu_form *times, int64_t count) {
  struct lpu_form form = {0, 0, 0};
  add(build, &form, times, count);
  return form;
}

/* ---- links ---- */

static td_status add_run(struct build *build, const struct td_lpu_link *link, const struct lpu_form *times) {
  const struct td_lpu_segment *segment = &build->program->segments[link->segment];
  const struct reach *reach = &build->reach[link->segment];
  int32_t tensor = build->price->facts.tensor, stages = build->price->facts.stages;
  int32_t first = (link->chip + reach->low) / tensor, last = (link->chip + reach->high) / tensor;
  if (link->chip < 0 || last >= stages) {
    return td_fail(TD_CORRUPT, "segment %.31s: found chips %d..%d, expected them among %d", segment->name,
                   link->chip + reach->low, link->chip + reach->high, build->program->chips);
  }
  add(build, &build->runs[link->segment], times, 1);
  add(build, &build->part->cycles, times, segment->length);
  for (int32_t stage = first; stage <= last; stage++) add(build, &build->stages[stage], times, segment->length);
  return TD_OK;
}

static td_status no_form(const char *what, int32_t found, const char *expected) {
  return td_fail(TD_UNSUPPORTED, "price of a program: found a loop over %s %d, expected %s", what, found, expected);
}

/* Over the step's rows; or over some that every step which gets here has. */
static td_status turn_rows(struct build *build, const struct td_lpu_link *loop, const struct lpu_form *times,
                           struct lpu_form *out) {
  if (loop->count > 0) {
    if (loop->first + (int64_t)loop->count - 1 > build->first_row) {
      return no_form("rows up to", loop->first + loop->count - 1, "rows that every step of the entry has");
    }
    build->inside = true;
    *out = turned(build, times, loop->count);
    return TD_OK;
  }
  if (loop->first) return no_form("rows from", loop->first, "all of them");
  if (times->row || times->block) return no_form("rows inside one, first", loop->first, "one loop over rows");
  *out = (struct lpu_form){0, times->one, 0};
  return TD_OK;
}

static td_status turn_blocks(struct build *build, const struct td_lpu_link *loop, const struct lpu_form *times,
                             struct lpu_form *out) {
  *out = (struct lpu_form){0, 0, 0};
  if (build->inside) return no_form("the KV blocks of row", build->first_row, "those of all rows");
  if (loop->first) return no_form("KV blocks from", loop->first, "all of a row's");
  if (times->block) return no_form("KV blocks inside one, first", loop->first, "one loop over KV blocks");
  *out = (struct lpu_form){0, 0, times->row};
  return TD_OK;
}

static td_status turn(struct build *build, const struct td_lpu_link *loop, const struct lpu_form *times,
                      struct lpu_form *out) {
  if (loop->variable == TD_VAR_ROW) return turn_rows(build, loop, times, out);
  if (loop->variable == TD_VAR_BLOCK && loop->count == 0) return turn_blocks(build, loop, times, out);
  if (loop->count <= 0 && loop->variable != TD_VAR_LAYER) {
    return no_form("a count that the step does not give, of variable", loop->variable, "layers, rows or KV blocks");
  }
  *out = turned(build, times, loop->count > 0 ? loop->count : 0);
  return TD_OK;
}

static td_status walk(struct build *build, int32_t begin, int32_t end, const struct lpu_form *times);

/* Layers are done one after another, in loops of equal ones. */
static td_status note_layers(struct build *build, const struct lpu_form *before, int32_t count) {
  struct lpu_part *part = build->part;
  struct lpu_form done = *before;
  const struct lpu_form *after = &part->cycles;
  const struct lpu_form each = {(after->one - before->one) / count, (after->row - before->row) / count,
                                (after->block - before->block) / count};
  TD_TRY(td_grow((void **)&part->layers, &build->layer_room, (size_t)part->layer_count + (size_t)count, sizeof done));
  for (int32_t i = 0; i < count; i++) {
    add(build, &done, &each, 1);
    part->layers[part->layer_count++] = done;
  }
  return TD_OK;
}

static td_status walk_loop(struct build *build, int32_t begin, int32_t end, const struct lpu_form *times) {
  const struct td_lpu_link *loop = &build->program->links[begin];
  const struct lpu_form before = build->part->cycles;
  bool inside = build->inside;
  struct lpu_form turns;
  TD_TRY(turn(build, loop, times, &turns));
  TD_TRY(walk(build, begin + 1, end, &turns));
  build->inside = inside;
  bool is_layers = loop->variable == TD_VAR_LAYER && loop->count > 0 && times->one == 1;
  return is_layers && !build->overflows ? note_layers(build, &before, loop->count) : TD_OK;
}

static td_status walk(struct build *build, int32_t begin, int32_t end, const struct lpu_form *times) {
  for (int32_t i = begin; i < end; i++) {
    const struct td_lpu_link *link = &build->program->links[i];
    if (link->kind == TD_LINK_RUN) TD_TRY(add_run(build, link, times));
    if (link->kind != TD_LINK_LOOP) continue;
    int32_t close = lpu_loop_end(build->program, i, end);
    TD_TRY(walk_loop(build, i, close, times));
    i = close;
  }
  return TD_OK;
}

/* ---- a part ---- */

static void sum_segments(struct build *build) {
  struct lpu_part *part = build->part;
  for (int32_t s = 0; s < build->program->segment_count; s++) {
    for (int i = 0; i < TD_SPENT_WAIT; i++) add(build, &part->spent[i], &build->runs[s], build->spent[s][i]);
    for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) {
      add(build, &part->busy[i], &build->runs[s], build->tallies[s].busy[i]);
    }
  }
}

static bool is_under(const struct lpu_form *a, const struct lpu_form *b) {
  return a->one <= b->one && a->row <= b->row && a->block <= b->block;
}

/* The stages that no other one is as long as, whatever the step. */
static td_status keep_longest(struct build *build) {
  struct lpu_part *part = build->part;
  TD_TRY(td_alloc((size_t)build->price->facts.stages, sizeof *part->stages, (void **)&part->stages));
  for (int32_t s = 0; s < build->price->facts.stages; s++) {
    const struct lpu_form *form = &build->stages[s];
    bool under = false;
    int32_t kept = 0;
    for (int32_t i = 0; i < part->stage_count; i++) under |= is_under(form, &part->stages[i]);
    if (under) continue;
    for (int32_t i = 0; i < part->stage_count; i++) {
      if (!is_under(&part->stages[i], form)) part->stages[kept++] = part->stages[i];
    }
    part->stages[kept] = *form;
    part->stage_count = kept + 1;
  }
  return TD_OK;
}

static td_status walk_entry(struct build *build, int32_t number) {
  static const struct lpu_form once = {1, 0, 0};
  const struct td_lpu_entry *entry = &build->program->entries[number];
  build->first_row = entry->first_row;
  TD_TRY(walk(build, entry->link, entry->link + entry->link_count, &once));
  add(build, &build->part->cycles, &once, build->program->machine.superlanes - 1);
  return TD_OK;
}

static td_status make_part(struct build *build, const int32_t *entries, int32_t count) {
  struct td_lpu_price *price = build->price;
  build->part = &price->parts[price->part_count++];
  build->layer_room = 0;
  memset(build->runs, 0, (size_t)build->program->segment_count * sizeof *build->runs);
  memset(build->stages, 0, (size_t)price->facts.stages * sizeof *build->stages);
  for (int32_t i = 0; i < count; i++) TD_TRY(walk_entry(build, entries[i]));
  sum_segments(build);
  TD_TRY(keep_longest(build));
  if (!build->overflows) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "price of a program: found a step of over 2^60 cycles, expected a shorter one");
}

/* ---- all steps ---- */

/* The entries of a step of so many rows: a chain; or, where there are none of whole steps, those of all layers. */
static int32_t entries_of(const struct td_lpu_program *program, int32_t rows, int32_t layers, int32_t *out) {
  int32_t count = 0, entry = td_lpu_program_entry(program, rows);
  for (; !layers && entry >= 0; entry = td_lpu_program_next(program, entry, rows)) out[count++] = entry;
  for (int32_t i = 0, layer = 0; i < program->entry_count && layers; i++) {
    layer = program->entries[i].layer;
    if (layer >= 0 && td_lpu_program_layer_entry(program, layer, rows) == i) out[count++] = i;
  }
  return count;
}

/* A part for each list of entries; rows with the list of those before share it. */
static td_status make_parts(struct build *build, int32_t *now, int32_t *before) {
  struct td_lpu_price *price = build->price;
  int32_t count_before = -1;
  for (int32_t rows = 1; rows <= price->facts.rows; rows++) {
    int32_t count = entries_of(build->program, rows, price->facts.layers, now);
    if (!count) return td_fail(TD_UNSUPPORTED, "price of a program: found no entry for a step of %d rows", rows);
    bool same = count == count_before && memcmp(now, before, (size_t)count * sizeof *now) == 0;
    if (!same) {
      TD_TRY(td_grow((void **)&price->parts, &price->part_room, (size_t)price->part_count + 1, sizeof *price->parts));
      memset(&price->parts[price->part_count], 0, sizeof *price->parts);
      TD_TRY(make_part(build, now, count));
      memcpy(before, now, (size_t)count * sizeof *now);
      count_before = count;
    }
    price->part_of[rows] = price->part_count - 1;
  }
  return TD_OK;
}

static td_status measure_segments(struct build *build) {
  const struct td_lpu_program *program = build->program;
  for (int32_t s = 0; s < program->segment_count; s++) {
    const struct td_lpu_segment *segment = &program->segments[s];
    int64_t exchange;
    TD_TRY(td_lpu_segment_spent(program, s, build->spent[s], &exchange));
    for (int32_t i = 0; i < segment->instruction_count; i++) {
      int32_t chip = segment->instructions[i].chip;
      if (!i || chip < build->reach[s].low) build->reach[s].low = chip;
      if (!i || chip > build->reach[s].high) build->reach[s].high = chip;
    }
  }
  return td_lpu_program_tallies(program, &build->tallies);
}

static td_status build_all(struct build *build) {
  size_t segments = (size_t)build->program->segment_count + 1, entries = (size_t)build->program->entry_count + 1;
  int32_t *lists = NULL;
  TD_TRY(td_alloc(segments, sizeof *build->spent, (void **)&build->spent));
  TD_TRY(td_alloc(segments, sizeof *build->reach, (void **)&build->reach));
  TD_TRY(td_alloc(segments, sizeof *build->runs, (void **)&build->runs));
  TD_TRY(td_alloc((size_t)build->price->facts.stages, sizeof *build->stages, (void **)&build->stages));
  TD_TRY(td_alloc((size_t)build->price->facts.rows + 1, sizeof(int32_t), (void **)&build->price->part_of));
  TD_TRY(measure_segments(build));
  TD_TRY(td_alloc(2 * entries, sizeof *lists, (void **)&lists));
  td_status status = make_parts(build, lists, lists + entries);
  free(lists);
  return status;
}

/* ---- whether it holds, and how far ---- */

/* The program's own closed form of a step, which knows no table. */
static int64_t walked_cycles(const struct td_lpu_program *program, int32_t layers, const struct td_lpu_step *step) {
  int64_t cycles = 0;
  if (!layers) return td_lpu_program_cycles(program, td_lpu_program_entry(program, step->row_count), step);
  for (int32_t i = 0; i < program->entry_count; i++) {
    int32_t layer = program->entries[i].layer;
    bool meant = layer >= 0 && td_lpu_program_layer_entry(program, layer, step->row_count) == i;
    if (meant) cycles += td_lpu_program_cycles(program, i, step);
  }
  return cycles;
}

/* Each part at two steps: links of a kind that this file does not know cannot be priced wrongly. */
static td_status check_parts(const struct td_lpu_program *program, const struct td_lpu_price *price) {
  struct td_lpu_row *rows = NULL;
  td_status status = td_alloc((size_t)price->facts.rows, sizeof *rows, (void **)&rows);
  for (int32_t count = 1; count <= price->facts.rows && !status; count++) {
    const struct lpu_part *part = &price->parts[price->part_of[count]];
    rows[count - 1].block_count = 1;
    if (count < price->facts.rows && price->part_of[count + 1] == price->part_of[count]) continue;
    for (int32_t extra = 0; extra < 2 && !status; extra++) {
      rows[0].block_count = 1 + extra;
      int64_t found = lpu_form_at(&part->cycles, count, price->facts.block_tokens ? count + extra : 0);
      int64_t want = walked_cycles(program, price->facts.layers, &(struct td_lpu_step){rows, count});
      if (found == want) continue;
      status = td_fail(TD_UNSUPPORTED, "price of a program: found %lld cycles of %d rows, expected the walk's %lld",
                       (long long)found, count, (long long)want);
    }
    rows[0].block_count = 1;
  }
  free(rows);
  return status;
}

/* So many blocks that neither a form nor units times cycles come near 2^63. */
static td_status bound(struct td_lpu_price *price, const struct lpu_form *form, int64_t most) {
  int64_t rest;
  bool too_much =
      __builtin_mul_overflow(form->row, price->facts.rows, &rest) || rest > most / 2 || form->one > most / 4;
  if (too_much) return td_fail(TD_UNSUPPORTED, "price of a program: found a step too long to count its unit cycles");
  if (form->block && most / 4 / form->block < price->most_blocks) price->most_blocks = most / 4 / form->block;
  return TD_OK;
}

static td_status bound_all(struct td_lpu_price *price, int64_t most_units) {
  const int64_t most = INT64_MAX / 2;
  price->most_blocks = (int64_t)price->facts.rows * INT32_MAX;
  for (int32_t i = 0; i < price->part_count; i++) {
    const struct lpu_part *part = &price->parts[i];
    TD_TRY(bound(price, &part->cycles, most / (most_units > 0 ? most_units : 1)));
    for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) TD_TRY(bound(price, &part->busy[unit], most));
  }
  return TD_OK;
}

/* Rows, and whether a step is a chain or all layers. */
static td_status find_facts(const struct td_lpu_program *program, struct td_lpu_price *price) {
  int32_t tensor = program->tensor > 0 ? program->tensor : 1, whole = 0, layered = 0, layers = 0;
  for (int32_t i = 0; i < program->entry_count; i++) {
    const struct td_lpu_entry *entry = &program->entries[i];
    int32_t *most = entry->layer < 0 ? &whole : &layered;
    if (entry->work) {
      return td_fail(TD_UNSUPPORTED,
                     "price of a program: entry %d is a layer with experts, whose cycles follow from "
                     "which experts tokens take, expected none (tandem lpu experts)",
                     i);
    }
    if (entry->rows > *most) *most = entry->rows;
    layers += entry->layer >= 0 && td_lpu_program_layer_entry(program, entry->layer, 1) == i;
  }
  price->facts = (struct td_lpu_price_facts){.chips = program->chips,
                                             .tensor = tensor,
                                             .stages = program->chips / tensor,
                                             .rows = whole > 0 ? whole : layered,
                                             .block_tokens = program->block_tokens,
                                             .layers = whole > 0 ? 0 : layers,
                                             .clock_hz = program->machine.clock_hz,
                                             .has_power = program->machine.has_power};
  if (price->facts.rows >= 1 && price->facts.rows <= MOST_ROWS && price->facts.stages >= 1) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "price of a program: found steps of up to %d rows on %d stages, expected 1..%d rows",
                 price->facts.rows, price->facts.stages, MOST_ROWS);
}

td_status lpu_price_build(const struct td_lpu_program *program, struct td_lpu_price *price) {
  struct build build = {.program = program, .price = price};
  TD_TRY(find_facts(program, price));
  td_status status = build_all(&build);
  free(build.tallies);
  free(build.spent);
  free(build.reach);
  free(build.runs);
  free(build.stages);
  TD_TRY(status);
  int64_t most_units = 0;
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    int64_t units = td_lpu_program_units(program, (enum td_lpu_unit)unit);
    if (units > most_units) most_units = units;
  }
  TD_TRY(bound_all(price, most_units));
  return check_parts(program, price);
}
