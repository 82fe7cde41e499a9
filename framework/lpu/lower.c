/* SPDX-License-Identifier: Apache-2.0
 *
 * Lowering a program: segment by segment, then all of it as one array of int32.
 */
#include "lower.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

enum { MOST_TRIES = 64 };

/* ---- a segment's state ---- */

static td_status keep(struct lowering *lower, size_t count, size_t size, void *out) {
  return execute_keep(&lower->decoded, count, size, out);
}

static int32_t ring_over(int32_t need) {
  int32_t size = 1;
  while (size <= need) size *= 2;
  return size;
}

static int32_t longest_operation(const struct td_lpu_machine *machine) {
  int32_t most = 0;
  for (int i = 0; i < TD_ALU_COUNT; i++) most = machine->alu_func[i] > most ? machine->alu_func[i] : most;
  return most;
}

static td_status open_chip(struct lowering *lower, struct lower_chip *chip) {
  const struct td_lpu_machine *machine = lower->machine;
  size_t slots = 2 * (size_t)machine->streams * ((size_t)lower->slot_mask + 1);
  size_t results = (size_t)machine->alus * ((size_t)lower->result_mask + 1);
  TD_TRY(keep(lower, slots, sizeof *chip->slots, &chip->slots));
  TD_TRY(keep(lower, results, sizeof *chip->results, &chip->results));
  TD_TRY(keep(lower, (size_t)machine->mem_slices, sizeof *chip->logs, &chip->logs));
  for (int32_t p = 0; p < machine->planes; p++) {
    struct lower_plane *plane = &chip->planes[p];
    TD_TRY(keep(lower, TD_LPU_MOST_LANES, sizeof *plane->filling, &plane->filling));
    TD_TRY(keep(lower, (size_t)lower->row_mask + 1, sizeof *plane->rows, &plane->rows));
    TD_TRY(keep(lower, 2 * (size_t)machine->accumulator_depth, sizeof *plane->sums, &plane->sums));
  }
  return TD_OK;
}

static td_status open_chips(struct lowering *lower) {
  const struct td_lpu_machine *machine = lower->machine;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine, &rates);
  lower->link_cycles = (int32_t)rates.link_vector_cycles;
  lower->slot_mask = ring_over(td_lpu_positions(machine)) - 1;
  lower->row_mask = ring_over(machine->delay[TD_LPU_PASS].func) - 1;
  lower->result_mask = ring_over(longest_operation(machine)) - 1;
  TD_TRY(keep(lower, (size_t)lower->program->chips, sizeof *lower->chips, &lower->chips));
  for (int32_t c = 0; c < lower->program->chips; c++) TD_TRY(open_chip(lower, &lower->chips[c]));
  return TD_OK;
}

static void reset_plane(const struct lowering *lower, struct lower_plane *plane) {
  for (int32_t s = 0; s < TD_LPU_MOST_LANES; s++) plane->filling[s] = -1;
  for (int32_t r = 0; r <= lower->row_mask; r++) plane->rows[r].issued = LOWER_NEVER;
  for (int32_t a = 0; a < 2 * lower->machine->accumulator_depth; a++) plane->sums[a].issued = LOWER_NEVER;
  plane->loaded = 0;
  plane->tile = -1;
}

static void reset_chip(const struct lowering *lower, struct lower_chip *chip) {
  const struct td_lpu_machine *machine = lower->machine;
  int64_t slots = 2 * (int64_t)machine->streams * (lower->slot_mask + 1);
  int64_t results = (int64_t)machine->alus * (lower->result_mask + 1);
  for (int64_t i = 0; i < slots; i++) chip->slots[i].key = LOWER_NEVER;
  for (int64_t i = 0; i < results; i++) chip->results[i].ready = LOWER_NEVER;
  for (int32_t s = 0; s < machine->mem_slices; s++) chip->logs[s].count = 0;
  for (int32_t p = 0; p < machine->planes; p++) reset_plane(lower, &chip->planes[p]);
  for (int32_t l = 0; l < TD_LPU_MOST_LINKS; l++) chip->sent[l] = LOWER_NEVER;
  chip->phase = 0;
  chip->last = -1;
}

static void reset(struct lowering *lower) {
  for (int32_t c = 0; c < lower->chip_count; c++) reset_chip(lower, &lower->chips[c]);
  lower->all.count = (size_t)lower->first_op;
  lower->step_count = (size_t)lower->first_step;
  lower->read_count = lower->temp_count = lower->vector_count = lower->load_count = 0;
  lower->step_load_count = lower->tile_count = lower->flight_count = 0;
  lower->again = false;
}

/* ---- a segment ---- */

static td_status number_instances(struct lowering *lower) {
  const struct td_lpu_segment *segment = lower->segment;
  int64_t count = 0;
  TD_TRY(keep(lower, (size_t)segment->instruction_count, sizeof *lower->instances, &lower->instances));
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    lower->instances[i] = (int32_t)count;
    count += segment->instructions[i].repeat;
    if (count > INT32_MAX / 16) return lower_refuse(lower, "too many instructions");
  }
  TD_TRY(keep(lower, (size_t)count, sizeof *lower->state, &lower->state));
  return keep(lower, (size_t)count, sizeof *lower->marks, &lower->marks);
}

static td_status lower_segment(struct lowering *lower, int32_t index) {
  struct lower_segment *kept = &lower->code->segments[index];
  void *patches = NULL;
  lower->index = index;
  lower->segment = &lower->program->segments[index];
  lower->op = NULL;
  if (lower->segment->arrays_in || lower->segment->arrays_out) return lower_refuse(lower, "arrays cross its seams");
  TD_TRY(execute_decode(&lower->decoded, index));
  lower->from = &lower->decoded.code[index];
  lower->chip_count = lower->from->chip_count > 0 ? lower->from->chip_count : 1;
  if (lower->chip_count > lower->program->chips) return lower_refuse(lower, "more chips than the program's");
  TD_TRY(number_instances(lower));
  TD_TRY(td_grow(&patches, &kept->patch_capacity, 1, sizeof *kept->patches));
  kept->patches = patches;
  kept->patches[kept->patch_count++] = (struct lower_patch){.patch = -1};
  lower->first_op = (int32_t)lower->all.count;
  lower->first_step = (int32_t)lower->step_count;
  for (int tries = 0; tries < MOST_TRIES; tries++) {
    reset(lower);
    TD_TRY(lower_replay(lower));
    if (!lower->again) return lower_finish(lower);
  }
  lower->op = NULL;
  return lower_refuse(lower, "no order of reads and writes was found");
}

/* ---- the code ---- */

static int32_t add_words(int64_t *words, int64_t count, int64_t size) {
  int64_t at = *words;
  *words += count * size;
  return (int32_t)at;
}

#define WORDS(type) ((int64_t)(sizeof(type) / sizeof(int32_t)))

static td_status lay_out(const struct lowering *lower, struct td_lpu_code_head *head, int64_t *out_words) {
  const struct td_lpu_machine *machine = lower->machine;
  int64_t words = WORDS(struct td_lpu_code_head);
  *head = (struct td_lpu_code_head){.version = TD_CODE_VERSION,
                                    .chips = lower->program->chips,
                                    .lanes = machine->lanes,
                                    .lanes_per_superlane = machine->lanes_per_superlane,
                                    .mem_slices = machine->mem_slices,
                                    .mem_words = machine->mem_words,
                                    .load_vectors = machine->load_vectors,
                                    .plane_k = machine->plane_k,
                                    .work_vectors = lower->code->work_vectors,
                                    .segments = lower->program->segment_count,
                                    .runs = (int32_t)lower->run_count,
                                    .ops = (int32_t)lower->all.count,
                                    .steps = (int32_t)lower->step_count,
                                    .maps = lower->program->map_count};
  head->at_segments = add_words(&words, head->segments, WORDS(struct td_lpu_code_segment));
  head->at_runs = add_words(&words, head->runs, WORDS(struct td_lpu_code_run));
  head->at_ops = add_words(&words, head->ops, WORDS(struct td_lpu_code_op));
  head->at_steps = add_words(&words, head->steps, WORDS(struct td_lpu_code_load));
  head->at_maps = add_words(&words, head->maps, TD_CODE_MAP_WORDS);
  if (words > INT32_MAX) return td_fail(TD_UNSUPPORTED, "found %zu operations, too many to number", lower->all.count);
  head->words = (int32_t)words;
  *out_words = words;
  return TD_OK;
}

static void put(int32_t *words, int32_t at, const void *from, int64_t count, int64_t size) {
  if (count) memcpy(words + at, from, (size_t)(count * size) * sizeof *words);
}

_Static_assert(sizeof(struct td_lpu_code_map) == TD_CODE_MAP_WORDS * sizeof(int32_t), "a map's words");

/* The lanes from `at` on that one piece can hold. */
static struct td_lpu_code_map_piece piece_at(const struct td_lpu_map *map, int32_t at, int32_t lanes) {
  struct td_lpu_code_map_piece piece = {at, 1, map->lane[at], 0};
  if (at + 1 < lanes && piece.from >= 0 && map->lane[at + 1] == piece.from + 1) piece.step = 1;
  while (at + piece.count < lanes && map->lane[at + piece.count] == piece.from + piece.count * piece.step)
    piece.count++;
  return piece;
}

static void fill_map(const struct lowering *lower, const struct td_lpu_map *map, struct td_lpu_code_map *out) {
  int32_t lanes = lower->machine->lanes, pieces = 0;
  *out = (struct td_lpu_code_map){.pieces = 0};
  for (int32_t l = 0; l < TD_LPU_MOST_LANES; l++) out->lane[l] = map->lane[l] < 0 ? -1 : map->lane[l];
  for (int32_t at = 0; at < lanes; pieces++) {
    if (pieces == TD_CODE_MAP_PIECES) return;
    out->piece[pieces] = piece_at(map, at, lanes);
    at += out->piece[pieces].count;
  }
  out->pieces = pieces;
}

static td_status write_code(struct lowering *lower) {
  struct td_lpu_code *code = lower->code;
  struct td_lpu_code_head head;
  void *words;
  TD_TRY(lay_out(lower, &head, &code->word_count));
  TD_TRY(td_alloc((size_t)code->word_count, sizeof *code->words, &words));
  code->words = words;
  put(words, 0, &head, 1, WORDS(head));
  put(words, head.at_segments, lower->segments, head.segments, WORDS(*lower->segments));
  put(words, head.at_runs, lower->runs, head.runs, WORDS(*lower->runs));
  put(words, head.at_ops, lower->all.ops, head.ops, WORDS(*lower->all.ops));
  put(words, head.at_steps, lower->steps, head.steps, WORDS(*lower->steps));
  for (int32_t m = 0; m < head.maps; m++) {
    struct td_lpu_code_map map;
    fill_map(lower, &lower->program->maps[m], &map);
    put(words, head.at_maps + m * TD_CODE_MAP_WORDS, &map, 1, TD_CODE_MAP_WORDS);
  }
  code->origins = lower->all.origins;
  lower->all.origins = NULL;
  return TD_OK;
}

static td_status lower_all(struct lowering *lower) {
  const struct td_lpu_program *program = lower->program;
  size_t segments = (size_t)program->segment_count;
  void *memory;
  TD_TRY(td_alloc(segments + 1, sizeof *lower->code->segments, &memory));
  lower->code->segments = memory;
  TD_TRY(keep(lower, segments + 1, sizeof *lower->segments, &lower->segments));
  TD_TRY(keep(lower, segments + 1, sizeof *lower->decoded.code, &lower->decoded.code));
  TD_TRY(open_chips(lower));
  for (int32_t s = 0; s < program->segment_count; s++) TD_TRY(lower_segment(lower, s));
  return write_code(lower);
}

static void close_lowering(struct lowering *lower) {
  for (int32_t c = 0; lower->chips && c < lower->program->chips; c++) {
    for (int32_t s = 0; lower->chips[c].logs && s < lower->machine->mem_slices; s++) {
      free(lower->chips[c].logs[s].stores);
    }
  }
  while (lower->decoded.chunks) {
    struct execute_chunk *next = lower->decoded.chunks->next;
    free(lower->decoded.chunks);
    lower->decoded.chunks = next;
  }
  void *grown[] = {lower->all.ops, lower->all.origins, lower->all.phases, lower->all.chips, lower->steps,
                   lower->runs,    lower->reads,       lower->temps,      lower->temp_of,   lower->loads,
                   lower->tiles,   lower->step_loads,  lower->flights};
  for (size_t i = 0; i < sizeof grown / sizeof *grown; i++) free(grown[i]);
}

td_status td_lpu_lower(const struct td_lpu_program *program, struct td_lpu_code **out_code) {
  void *memory;
  if (program->machine.lanes % LOWER_LANES) {
    return td_fail(TD_UNSUPPORTED, "found %d lanes, expected a multiple of %d", program->machine.lanes, LOWER_LANES);
  }
  if (program->chips < 1) return td_fail(TD_CORRUPT, "found a program of %d chips, expected 1 or more", program->chips);
  TD_TRY(td_alloc(1, sizeof(struct td_lpu_code), &memory));
  struct td_lpu_code *code = memory;
  code->program = program;
  struct lowering lower = {.program = program, .machine = &program->machine, .code = code};
  lower.decoded.system.program = program;
  td_status status = lower_all(&lower);
  close_lowering(&lower);
  if (status) {
    td_lpu_code_free(code);
    return status;
  }
  *out_code = code;
  return TD_OK;
}

void td_lpu_code_free(struct td_lpu_code *code) {
  if (!code) return;
  for (int32_t s = 0; code->segments && s < code->program->segment_count; s++) free(code->segments[s].patches);
  free(code->segments);
  free(code->origins);
  free(code->words);
  free(code);
}

const int32_t *td_lpu_code_words(const struct td_lpu_code *code, uint64_t *out_bytes) {
  *out_bytes = (uint64_t)code->word_count * sizeof *code->words;
  return code->words;
}

uint64_t td_lpu_code_work_bytes(const struct td_lpu_code *code) {
  return TD_CODE_STATE_BYTES + (uint64_t)code->work_vectors * (uint64_t)code->program->machine.lanes;
}
