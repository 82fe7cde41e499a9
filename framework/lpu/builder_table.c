/* SPDX-License-Identifier: Apache-2.0
 *
 * The reservation table: which queue issues when, which moving slot carries something in which half of the chip.
 */
#include <stdlib.h>
#include <string.h>

#include "builder.h"
#include "tandem/base.h"

/* Bits [from, from + n): *out_hit is the last one set among them, -1 if all are free. */
static int32_t last_set(const struct lpu_bits *bits, int32_t from, int32_t n) {
  for (int32_t bit = from + n - 1; bit >= from;) {
    size_t word = (size_t)bit / 64;
    if (word >= bits->capacity || !bits->words[word]) {
      bit = (int32_t)(word * 64) - 1;
      continue;
    }
    uint64_t below = bits->words[word] << (63 - bit % 64);
    if (below) {
      int32_t hit = bit - __builtin_clzll(below);
      return hit >= from ? hit : -1;
    }
    bit = (int32_t)(word * 64) - 1;
  }
  return -1;
}

/* Bits [bit, end) of bit's word. */
static uint64_t ones(int32_t bit, int32_t end) {
  int32_t count = end - bit < 64 - bit % 64 ? end - bit : 64 - bit % 64;
  return UINT64_MAX >> (64 - count) << (bit % 64);
}

static td_status set_range(struct lpu_bits *bits, int32_t from, int32_t n) {
  const size_t need = (size_t)(from + n + 63) / 64;
  if (need > bits->capacity) {
    void *words = bits->words;
    size_t old = bits->capacity;
    TD_TRY(td_grow(&words, &bits->capacity, need, sizeof(uint64_t)));
    bits->words = words;
    memset(bits->words + old, 0, (bits->capacity - old) * sizeof(uint64_t));
  }
  if (need > bits->used) bits->used = need;
  for (int32_t bit = from; bit < from + n; bit += 64 - bit % 64) bits->words[bit / 64] |= ones(bit, from + n);
  return TD_OK;
}

static void clear_range(struct lpu_bits *bits, int32_t from, int32_t n) {
  for (int32_t bit = from; bit < from + n; bit += 64 - bit % 64) bits->words[bit / 64] &= ~ones(bit, from + n);
}

void lpu_pattern_begin(struct lpu_pattern *pattern) {
  pattern->count = 0;
  pattern->not_before = 0;
  pattern->too_many = false;
}

static struct lpu_use *add_use(struct lpu_pattern *pattern, int32_t *out_index) {
  if (pattern->count == LPU_MOST_USES) {
    pattern->too_many = true;
    pattern->count--;
  }
  *out_index = pattern->count++;
  memset(&pattern->uses[*out_index], 0, sizeof pattern->uses[0]);
  return &pattern->uses[*out_index];
}

static void not_before(struct lpu_pattern *pattern, int32_t at) {
  if (-at > pattern->not_before) pattern->not_before = -at;
}

int32_t lpu_use_queue(struct lpu_pattern *pattern, int32_t chip, int32_t queue, int32_t at, int32_t n) {
  int32_t index;
  struct lpu_use *use = add_use(pattern, &index);
  use->kind = LPU_USE_QUEUE;
  use->chip = chip;
  use->queue = queue;
  use->at = at;
  use->n = n;
  not_before(pattern, at);
  return index;
}

int32_t lpu_use_alu(struct lpu_pattern *pattern, int32_t chip, int32_t at, int32_t func, int32_t n) {
  int32_t index = lpu_use_queue(pattern, chip, -1, at, n);
  pattern->uses[index].kind = LPU_USE_ALU;
  pattern->uses[index].func = func;
  return index;
}

void lpu_use_link(struct lpu_pattern *pattern, int32_t chip, int32_t link, int32_t at, int32_t n) {
  int32_t index = lpu_use_queue(pattern, chip, link, at, n);
  pattern->uses[index].kind = LPU_USE_LINK;
}

int32_t lpu_use_stream(struct lpu_pattern *pattern, int32_t chip, int32_t from, int32_t to, int32_t at, int32_t width,
                       int32_t n) {
  int32_t index;
  struct lpu_use *use = add_use(pattern, &index);
  use->kind = LPU_USE_STREAM;
  use->chip = chip;
  use->from = from;
  use->to = to;
  use->at = at;
  use->width = width;
  use->n = n;
  return index;
}

uint8_t lpu_stream_of(const struct lpu_use *use, int32_t component) {
  return (uint8_t)((use->to > use->from ? TD_LPU_EAST : 0) | (use->stream + component));
}

static struct lpu_bits *queue_bits(struct lpu_builder *builder, const struct lpu_use *use) {
  if (use->kind == LPU_USE_LINK) return &builder->sends[use->chip * builder->machine->links + use->queue];
  return &builder->queues[use->chip * builder->machine->instruction_queues + use->queue];
}

static struct lpu_bits *stream_bits(struct lpu_builder *builder, const struct lpu_use *use, int32_t zone,
                                    int32_t stream) {
  int32_t east = use->to > use->from;
  return &builder->streams[((use->chip * 2 + east) * LPU_ZONES + zone) * builder->machine->streams + stream];
}

/* The zones a stream goes through: bit 0 west of the vector unit, bit 1 east of it. */
static uint32_t zones_of(const struct lpu_builder *builder, const struct lpu_use *use) {
  int32_t middle = builder->middle;
  int32_t low = use->from < use->to ? use->from : use->to, high = use->from < use->to ? use->to : use->from;
  return (low < middle ? 1u : 0u) | (high > middle ? 2u : 0u);
}

/* The moving slot that passes `to` at T + at; never negative for cycles from 0 on. */
static int32_t first_key(const struct lpu_builder *builder, const struct lpu_use *use, int32_t cycle) {
  int32_t passes = cycle + use->at;
  return use->to > use->from ? passes - use->to + builder->positions : passes + use->to;
}

static bool group_free(struct lpu_builder *builder, const struct lpu_use *use, uint32_t zones, int32_t key,
                       int32_t stream) {
  for (int32_t zone = 0; zone < LPU_ZONES; zone++) {
    if (!(zones & 1u << zone)) continue;
    for (int32_t i = 0; i < use->width; i++) {
      if (last_set(stream_bits(builder, use, zone, stream + i), key, use->n) >= 0) return false;
    }
  }
  return true;
}

static td_status mark_group(struct lpu_builder *builder, const struct lpu_use *use, int32_t key) {
  uint32_t zones = zones_of(builder, use);
  for (int32_t zone = 0; zone < LPU_ZONES; zone++) {
    if (!(zones & 1u << zone)) continue;
    for (int32_t i = 0; i < use->width; i++) {
      TD_TRY(set_range(stream_bits(builder, use, zone, use->stream + i), key, use->n));
    }
  }
  return TD_OK;
}

/* Books one use at T = cycle. *out_skip: 0 if booked, else how far T must move at least. */
static td_status book_stream(struct lpu_builder *builder, struct lpu_use *use, int32_t cycle, int32_t *out_skip) {
  uint32_t zones = zones_of(builder, use);
  int32_t key = first_key(builder, use, cycle);
  *out_skip = 1;
  if (key < 0) return TD_OK;
  for (int32_t stream = 0; stream + use->width <= builder->machine->streams; stream += use->width) {
    if (!group_free(builder, use, zones, key, stream)) continue;
    use->stream = stream;
    *out_skip = 0;
    return mark_group(builder, use, key);
  }
  return TD_OK;
}

static td_status book_queue(struct lpu_builder *builder, struct lpu_use *use, int32_t cycle, int32_t *out_skip) {
  struct lpu_bits *bits = queue_bits(builder, use);
  int32_t hit = last_set(bits, cycle + use->at, use->n);
  *out_skip = hit < 0 ? 0 : hit - (cycle + use->at) + 1;
  return hit < 0 ? set_range(bits, cycle + use->at, use->n) : TD_OK;
}

static struct lpu_bits *result_bits(struct lpu_builder *builder, int32_t chip, int32_t queue) {
  return &builder->results[chip * builder->machine->alus + queue - td_lpu_vector_queue(builder->machine, 0)];
}

static td_status book_alu(struct lpu_builder *builder, struct lpu_use *use, int32_t cycle, int32_t *out_skip) {
  int32_t begin = cycle + use->at;
  *out_skip = 1;
  for (int32_t alu = 0; alu < builder->machine->alus; alu++) {
    use->queue = td_lpu_vector_queue(builder->machine, alu);
    struct lpu_bits *issues = queue_bits(builder, use);
    struct lpu_bits *results = result_bits(builder, use->chip, use->queue);
    if (last_set(issues, begin, use->n) >= 0 || last_set(results, begin + use->func, use->n) >= 0) continue;
    *out_skip = 0;
    TD_TRY(set_range(issues, begin, use->n));
    return set_range(results, begin + use->func, use->n);
  }
  return TD_OK;
}

static td_status book(struct lpu_builder *builder, struct lpu_use *use, int32_t cycle, int32_t *out_skip) {
  if (use->kind == LPU_USE_QUEUE || use->kind == LPU_USE_LINK) return book_queue(builder, use, cycle, out_skip);
  if (use->kind == LPU_USE_ALU) return book_alu(builder, use, cycle, out_skip);
  return book_stream(builder, use, cycle, out_skip);
}

static void unbook(struct lpu_builder *builder, const struct lpu_use *use, int32_t cycle) {
  if (use->kind != LPU_USE_STREAM) {
    clear_range(queue_bits(builder, use), cycle + use->at, use->n);
    if (use->kind == LPU_USE_ALU) {
      clear_range(result_bits(builder, use->chip, use->queue), cycle + use->at + use->func, use->n);
    }
    return;
  }
  uint32_t zones = zones_of(builder, use);
  for (int32_t zone = 0; zone < LPU_ZONES; zone++) {
    if (!(zones & 1u << zone)) continue;
    for (int32_t i = 0; i < use->width; i++) {
      clear_range(stream_bits(builder, use, zone, use->stream + i), first_key(builder, use, cycle), use->n);
    }
  }
}

td_status lpu_place(struct lpu_builder *builder, struct lpu_pattern *pattern, int32_t *out_cycle) {
  if (pattern->too_many) return td_fail(TD_INTERNAL, "lpu: a pattern of more than %d uses", LPU_MOST_USES);
  int32_t cycle = pattern->not_before;
  /* Everything is free far behind the last work: what finds no place there is in its own way. */
  int32_t last = (cycle > builder->end ? cycle : builder->end) + 4 * builder->positions + 4096;
  for (int32_t i = 0; i < pattern->count; i++) {
    builder->booked[pattern->uses[i].chip] = builder->ever_booked[pattern->uses[i].chip] = true;
  }
  while (cycle < last) {
    int32_t skip = 0, booked = 0;
    while (booked < pattern->count) {
      TD_TRY(book(builder, &pattern->uses[booked], cycle, &skip));
      if (skip) break;
      booked++;
    }
    if (!skip) {
      *out_cycle = cycle;
      return TD_OK;
    }
    while (booked > 0) unbook(builder, &pattern->uses[--booked], cycle);
    cycle += skip;
  }
  return TD_EXHAUSTED;
}
