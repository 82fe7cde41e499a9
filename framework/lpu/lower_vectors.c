/* SPDX-License-Identifier: Apache-2.0
 *
 * Vectors by name while a segment is replayed: what is on the streams, where operands lie, what a read still sees.
 */
#include "lower.h"
#include "tandem/base.h"

/* ---- streams: moving slots, as in execute_streams.c ---- */

static struct lower_slot *slot_at(const struct lowering *lower, uint8_t base, int32_t offset, int32_t *out_key) {
  int32_t east = base & TD_LPU_EAST, index = (base & TD_LPU_STREAM_INDEX) + offset;
  int32_t streams = lower->machine->streams, position = lower->op->queue.position;
  int32_t key = lower->now + (east ? -position : position);
  *out_key = key;
  int64_t row = (int64_t)(east ? streams : 0) + index;
  return &lower_chip_of(lower)->slots[row * (lower->slot_mask + 1) + (key & lower->slot_mask)];
}

const int32_t *lower_passing(const struct lowering *lower, uint8_t base, int32_t offset) {
  int32_t key;
  const struct lower_slot *slot = slot_at(lower, base, offset, &key);
  return slot->key == key ? &slot->ref : NULL;
}

td_status lower_produce(struct lowering *lower, uint8_t base, int32_t offset, int32_t ref) {
  int32_t key;
  struct lower_slot *slot = slot_at(lower, base, offset, &key);
  if (slot->key == key && slot->made == lower->now) return lower_refuse(lower, "two results on one stream");
  *slot = (struct lower_slot){key, lower->now, ref};
  return TD_OK;
}

/* ---- work vectors ---- */

td_status lower_temp_new(struct lowering *lower, int32_t vectors, int32_t *out_first) {
  void *temps = lower->temps, *numbers = lower->temp_of;
  TD_TRY(td_grow(&temps, &lower->temp_capacity, lower->temp_count + 1, sizeof *lower->temps));
  lower->temps = temps;
  TD_TRY(td_grow(&numbers, &lower->vector_capacity, lower->vector_count + (size_t)vectors, sizeof *lower->temp_of));
  lower->temp_of = numbers;
  *out_first = (int32_t)lower->vector_count;
  for (int32_t i = 0; i < vectors; i++) lower->temp_of[lower->vector_count++] = (int32_t)lower->temp_count;
  lower->temps[lower->temp_count++] = (struct lower_temp){.first = *out_first,
                                                          .vectors = vectors,
                                                          .chip = lower->op->of->chip,
                                                          .begin = -1,
                                                          .end = -1,
                                                          .place = -1,
                                                          .twin = -1};
  return TD_OK;
}

struct lower_temp *lower_temp_at(const struct lowering *lower, int32_t vector) {
  return &lower->temps[lower->temp_of[vector]];
}

/* ---- operations ---- */

td_status lower_emit(struct lowering *lower, const struct td_lpu_code_op *op) {
  struct lower_ops *all = &lower->all;
  struct lower_chip *chip = lower_chip_of(lower);
  void *ops = all->ops, *origins = all->origins, *phases = all->phases, *chips = all->chips;
  if (all->count >= INT32_MAX / 16) return lower_refuse(lower, "too many operations");
  TD_TRY(td_grow(&ops, &all->ops_capacity, all->count + 1, sizeof *all->ops));
  all->ops = ops;
  TD_TRY(td_grow(&origins, &all->origins_capacity, all->count + 1, sizeof *all->origins));
  all->origins = origins;
  TD_TRY(td_grow(&phases, &all->phases_capacity, all->count + 1, sizeof *all->phases));
  all->phases = phases;
  TD_TRY(td_grow(&chips, &all->chips_capacity, all->count + 1, sizeof *all->chips));
  all->chips = chips;
  chip->last = (int32_t)all->count;
  all->ops[all->count] = *op;
  all->origins[all->count] = (struct lower_origin){lower->index, lower->op->index};
  all->phases[all->count] = chip->phase;
  all->chips[all->count] = lower->op->of->chip;
  all->count++;
  return TD_OK;
}

static bool follows(const struct lowering *lower, struct td_lpu_code_place next, struct td_lpu_code_place first,
                    int32_t count) {
  if (next.patch != first.patch || next.vector != first.vector + count) return false;
  return next.patch != TD_CODE_WORK || lower->temp_of[next.vector] == lower->temp_of[first.vector];
}

/* A copy right behind that of the vector before goes with it. */
td_status lower_copy(struct lowering *lower, struct td_lpu_code_place from, struct td_lpu_code_place to,
                     int32_t count) {
  struct lower_chip *chip = lower_chip_of(lower);
  struct td_lpu_code_op *last = chip->last >= lower->first_op ? &lower->all.ops[chip->last] : NULL;
  if (last && last->kind == TD_CODE_COPY && lower->all.phases[chip->last] == chip->phase &&
      follows(lower, from, last->a, last->count) && follows(lower, to, last->out, last->count)) {
    last->count += count;
    return TD_OK;
  }
  return lower_emit(lower,
                    &(struct td_lpu_code_op){.kind = TD_CODE_COPY, .out = to, .a = from, .whole = -1, .count = count});
}

/* ---- places in SRAM ---- */

static bool same_patch(const struct lowering *lower, const struct lower_patch *entry, int32_t patch, int32_t base,
                       int32_t scale) {
  if (entry->patch != patch || entry->scale != scale) return false;
  return lower->segment->patches[patch].lane < 0 || entry->base == base;
}

td_status lower_patch_entry(struct lowering *lower, int32_t patch, int32_t base, int32_t scale, int32_t *out) {
  struct lower_segment *segment = &lower->code->segments[lower->index];
  *out = 0;
  if (!patch) return TD_OK;
  for (size_t i = 1; i < segment->patch_count; i++) {
    struct lower_patch *entry = &segment->patches[i];
    if (!same_patch(lower, entry, patch - 1, base, scale)) continue;
    if (base < entry->low) entry->low = base;
    if (base > entry->high) entry->high = base;
    *out = (int32_t)i;
    return TD_OK;
  }
  void *patches = segment->patches;
  TD_TRY(td_grow(&patches, &segment->patch_capacity, segment->patch_count + 1, sizeof *segment->patches));
  segment->patches = patches;
  *out = (int32_t)segment->patch_count;
  segment->patches[segment->patch_count++] = (struct lower_patch){patch - 1, base, scale, base, base};
  return TD_OK;
}

td_status lower_sram(struct lowering *lower, int32_t chip, int32_t slice, int32_t word, int32_t patch,
                     struct td_lpu_code_place *out) {
  const struct td_lpu_machine *machine = lower->machine;
  if (!patch && (word < 0 || word >= machine->mem_words)) return lower_refuse(lower, "word %d does not exist", word);
  int64_t vector = ((int64_t)chip * machine->mem_words + word) * machine->mem_slices + slice;
  if (vector > INT32_MAX / 2 || vector < INT32_MIN / 2) return lower_refuse(lower, "too much SRAM to number");
  out->vector = (int32_t)vector;
  return lower_patch_entry(lower, patch, word, machine->mem_slices, &out->patch);
}

/* ---- what reads still see ---- */

/* Addresses that one access may have. */
struct span {
  int64_t low, high, other; /* other: -1, or where a patch for one lane goes in other steps */
};

static struct span span_of(const struct td_lpu_segment *segment, int32_t word, int32_t patch) {
  struct span span = {word, word, -1};
  if (!patch) return span;
  const struct td_lpu_patch *of = &segment->patches[patch - 1];
  for (int v = 0; v < TD_LPU_VARIABLES; v++) {
    int64_t a = (int64_t)of->coefficient[v] * of->low[v], b = (int64_t)of->coefficient[v] * of->high[v];
    span.low += a < b ? a : b;
    span.high += a < b ? b : a;
  }
  if (of->lane >= 0) span.other = of->otherwise;
  return span;
}

static bool holds(struct span span, int64_t word) {
  return word >= 0 && ((word >= span.low && word <= span.high) || word == span.other);
}

static bool meet(const struct td_lpu_segment *segment, int32_t word_a, int32_t patch_a, int32_t word_b,
                 int32_t patch_b) {
  if (patch_a == patch_b && (!patch_a || segment->patches[patch_a - 1].lane < 0)) return word_a == word_b;
  struct span a = span_of(segment, word_a, patch_a), b = span_of(segment, word_b, patch_b);
  return (a.low <= b.high && b.low <= a.high) || holds(a, b.other) || holds(b, a.other);
}

bool lower_stale(struct lowering *lower, int32_t ref) {
  if (ref < 0) return false;
  const struct lower_read *read = &lower->reads[ref];
  const struct lower_log *log = &lower->chips[read->chip].logs[read->slice];
  for (size_t i = log->count; i > 0 && log->stores[i - 1].time >= read->time; i--) {
    const struct lower_store *store = &log->stores[i - 1];
    if (meet(lower->segment, read->word, read->patch, store->word, store->patch)) return true;
  }
  return false;
}

static void mark(struct lowering *lower, int32_t ref) {
  lower->marks[lower->reads[ref].instance] |= LOWER_COPY_READ;
  lower->again = true;
}

/* ---- operands ---- */

static bool beside(const struct lowering *lower, int32_t first, int32_t next, int32_t by) {
  if ((first < 0) != (next < 0)) return false;
  if (first < 0) return ~next == ~first + by && lower->temp_of[~next] == lower->temp_of[~first];
  const struct lower_read *a = &lower->reads[first], *b = &lower->reads[next];
  return a->chip == b->chip && a->word == b->word && a->patch == b->patch && b->slice == a->slice + by;
}

static td_status place_one(struct lowering *lower, int32_t ref, struct td_lpu_code_place *out) {
  if (ref < 0) {
    *out = (struct td_lpu_code_place){~ref, TD_CODE_WORK};
    return TD_OK;
  }
  if (lower_stale(lower, ref)) mark(lower, ref);
  const struct lower_read *read = &lower->reads[ref];
  return lower_sram(lower, read->chip, read->slice, read->word, read->patch, out);
}

td_status lower_place(struct lowering *lower, const int32_t *refs, int32_t width, struct td_lpu_code_place *out) {
  bool together = true;
  struct td_lpu_code_place from;
  for (int32_t i = 1; i < width; i++) together &= beside(lower, refs[0], refs[i], i);
  for (int32_t i = 1; together && i < width; i++) TD_TRY(place_one(lower, refs[i], &from));
  if (together) return place_one(lower, refs[0], out);
  *out = (struct td_lpu_code_place){0, TD_CODE_WORK};
  TD_TRY(lower_temp_new(lower, width, &out->vector));
  for (int32_t i = 0; i < width; i++) {
    TD_TRY(place_one(lower, refs[i], &from));
    TD_TRY(lower_copy(lower, from, (struct td_lpu_code_place){out->vector + i, TD_CODE_WORK}, 1));
  }
  return TD_OK;
}

td_status lower_operand(struct lowering *lower, int which, int32_t width, struct td_lpu_code_place *out) {
  int32_t refs[LPU_MOST_VECTORS];
  for (int32_t i = 0; i < width; i++) {
    const int32_t *ref = lower_passing(lower, lower->op->of->in[which], i);
    if (!ref) return lower_refuse(lower, "an operand is not there");
    refs[i] = *ref;
  }
  return lower_place(lower, refs, width, out);
}
