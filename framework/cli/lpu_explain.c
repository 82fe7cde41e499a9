/* SPDX-License-Identifier: Apache-2.0
 *
 * The waterfall. Loads are counted as the program issues them, at the rate of all streams; what a segment's critical
 * path waits for them may be more (they come slower) or less (other units work meanwhile), and the rest of the path is
 * the other terms. A path's cycles are its segment's, so the terms are the step's.
 */
#include "lpu_explain.h"

#include <inttypes.h>
#include <stdlib.h>

#include "tandem/base.h"

/* What a load puts into a plane. */
enum tile { TILE_WEIGHTS, TILE_KV, TILE_OTHER, TILE_COUNT };

struct sums {
  int64_t *runs;             /* [segments] */
  int64_t entries;           /* that have a tail each */
  int64_t loads[TILE_COUNT]; /* cycles at the rate of all streams */
  int64_t slower, beside;    /* what paths wait for loads beyond that rate; what they do not wait */
  int64_t of[LPU_WAITED_COUNT];
};

static int64_t cycles_of(int64_t bytes, int64_t rate) {
  return (bytes + rate - 1) / rate;
}

/* ---- loads ---- */

static enum tile tile_of(const struct td_lpu_program *program, const struct td_lpu_segment *segment,
                         const struct td_lpu_instruction *load) {
  for (int32_t i = load->meaning; i < load->meaning + load->meaning_count; i++) {
    const struct td_lpu_meaning *meaning = &segment->meanings[i];
    if (meaning->operand < 0 || meaning->producer < 0 || meaning->producer >= segment->instruction_count) continue;
    const struct td_lpu_instruction *read = &segment->instructions[meaning->producer];
    int32_t image = read->opcode == TD_LPU_MEMORY ? read->image[0] : -1;
    if (image < 0 || image >= program->image_count) return TILE_OTHER;
    int32_t kind = program->images[image].kind;
    return kind == TD_IMAGE_WEIGHT ? TILE_WEIGHTS : kind == TD_IMAGE_KV ? TILE_KV : TILE_OTHER;
  }
  return TILE_OTHER;
}

/* bytes[chips][TILE_COUNT] of one run. */
static void count_bytes(const struct td_lpu_program *program, const struct td_lpu_segment *segment, int64_t *bytes) {
  const struct td_lpu_machine *machine = &program->machine;
  for (int32_t i = 0; i < program->chips * TILE_COUNT; i++) bytes[i] = 0;
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct td_lpu_instruction *of = &segment->instructions[i];
    if (of->opcode != TD_LPU_LOAD || of->chip >= program->chips) continue;
    int64_t each = (int64_t)machine->load_vectors * machine->lanes * td_lpu_type_bytes((enum td_lpu_type)of->type);
    bytes[of->chip * TILE_COUNT + tile_of(program, segment, of)] += each * of->repeat;
  }
}

/* Chips load at the same time: the one with most counts. Rounded up in all, so that the parts add up. */
static int64_t rate_loads(const struct td_lpu_program *program, const int64_t *bytes, int64_t *loads) {
  struct td_lpu_rates rates;
  td_lpu_machine_rates(&program->machine, &rates);
  const int64_t *most = bytes;
  int64_t highest = -1, before = 0, sum = 0;
  for (int32_t chip = 0; chip < program->chips; chip++) {
    const int64_t *of = bytes + (int64_t)chip * TILE_COUNT;
    if (of[TILE_WEIGHTS] + of[TILE_KV] + of[TILE_OTHER] <= highest) continue;
    most = of;
    highest = of[TILE_WEIGHTS] + of[TILE_KV] + of[TILE_OTHER];
  }
  for (int t = 0; t < TILE_COUNT; t++) {
    sum += most[t];
    int64_t upto = cycles_of(sum, rates.stream_bytes_per_cycle);
    loads[t] = upto - before;
    before = upto;
  }
  return before;
}

static void add_segment(const struct lpu_study *study, int32_t number, int64_t *bytes, struct sums *sums) {
  const struct td_lpu_program *program = study->program;
  int64_t loads[TILE_COUNT], runs = sums->runs[number];
  if (!runs) return;
  count_bytes(program, &program->segments[number], bytes);
  int64_t issued = rate_loads(program, bytes, loads), waited = study->paths[number].of[WAITED_LOADS];
  for (int t = 0; t < TILE_COUNT; t++) sums->loads[t] += runs * loads[t];
  if (waited > issued) sums->slower += runs * (waited - issued);
  if (waited < issued) sums->beside += runs * (issued - waited);
  for (int w = 0; w < LPU_WAITED_COUNT; w++) sums->of[w] += runs * study->paths[number].of[w];
}

/* ---- the step, or all layers ---- */

static void count_runs(const struct lpu_study *study, struct sums *sums) {
  const struct td_lpu_program *program = study->program;
  int32_t layers;
  lpu_study_layers(study, &layers);
  sums->entries = layers ? layers : study->parts;
  for (int32_t i = 0; i < program->entry_count; i++) {
    const struct td_lpu_entry *entry = &program->entries[i];
    const struct td_lpu_entry *looked_at = &program->entries[study->entry];
    bool alike = entry->layer >= 0 && entry->rows == looked_at->rows && entry->work == looked_at->work;
    bool meant = layers ? alike : i == study->entry;
    if (meant) td_lpu_program_runs(program, i, &study->step, sums->runs);
  }
}

static td_status add_up(const struct lpu_study *study, struct sums *sums) {
  const struct td_lpu_program *program = study->program;
  void *runs = NULL, *bytes = NULL;
  TD_TRY(td_alloc((size_t)program->segment_count + 1, sizeof(int64_t), &runs));
  td_status status = td_alloc((size_t)program->chips * TILE_COUNT, sizeof(int64_t), &bytes);
  sums->runs = runs;
  if (!status) count_runs(study, sums);
  for (int32_t i = 0; !status && i < program->segment_count; i++) add_segment(study, i, bytes, sums);
  sums->runs = NULL;
  free(runs);
  free(bytes);
  return status;
}

/* ---- the terms ---- */

static void add_term(struct lpu_waterfall *fall, const char *name, int64_t cycles, const char *removed_by) {
  fall->terms[fall->count++] = (struct lpu_term){name, removed_by, cycles};
  fall->cycles += cycles;
}

static void add_loads(const struct lpu_study *study, int64_t matrix_bytes, const struct sums *sums,
                      struct lpu_waterfall *fall) {
  const struct td_lpu_program *program = study->program;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(&program->machine, &rates);
  int64_t a_chip = rates.stream_bytes_per_cycle, together = program->tensor > 0 ? program->tensor : 1;
  int64_t bound = cycles_of(matrix_bytes, a_chip * program->chips), turns = cycles_of(matrix_bytes, a_chip * together);
  add_term(fall, "weights", bound, "more chips, narrower weights, wider streams");
  add_term(fall, "chips in turn", turns - bound, "chips that share layers; or other sequences meanwhile, for tokens/s");
  add_term(fall, "whole tiles", sums->loads[TILE_WEIGHTS] - turns,
           "matrices that fill their tiles, dealt evenly, each loaded once");
  add_term(fall, "KV tiles", sums->loads[TILE_KV], "a shorter context, fuller KV blocks");
  add_term(fall, "other tiles", sums->loads[TILE_OTHER], "no activations in the planes");
  add_term(fall, "slower loads", sums->slower, "loads in every cycle of every plane; shorter load_func, no transposer");
  add_term(fall, "loads beside", -sums->beside, "(other units work meanwhile: taken off)");
}

static void add_waits(const struct sums *sums, struct lpu_waterfall *fall) {
  static const char *const words[LPU_WAITED_COUNT] = {
      "operations chained without SRAM between; shorter memory_func",
      NULL, /* above */
      "fewer passes one after another, more planes; shorter pass_func, sum_func",
      "operations fused or side by side, more ALUs; shorter alu_*",
      "fewer exchanges across lanes; shorter shift, permute, rotate",
      "fewer exchanges a layer; a shorter link_latency",
      "units nearer to each other: more slices a hop; operands next to who needs them",
      "more streams, ports and planes, or another order of the work"};
  for (int w = 0; w < LPU_WAITED_COUNT; w++) {
    if (w != WAITED_LOADS) add_term(fall, lpu_waited_name(w), sums->of[w], words[w]);
  }
}

td_status lpu_waterfall_make(const struct lpu_study *study, int64_t matrix_bytes, struct lpu_waterfall *out) {
  struct sums sums = {0};
  int32_t layers;
  int64_t cycles = lpu_study_layers(study, &layers);
  if (!layers) cycles = study->counts.cycles;
  *out = (struct lpu_waterfall){.count = 0};
  TD_TRY(add_up(study, &sums));
  add_loads(study, matrix_bytes, &sums, out);
  add_waits(&sums, out);
  add_term(out, "tail", sums.entries * (study->program->machine.superlanes - 1), "fewer superlanes");
  if (out->cycles == cycles) return TD_OK;
  return td_fail(TD_INTERNAL, "explain: the terms add up to %" PRId64 " cycles, expected the step's %" PRId64,
                 out->cycles, cycles);
}

/* ---- words, JSON ---- */

void lpu_waterfall_print(const struct lpu_study *study, const struct lpu_waterfall *fall, FILE *out) {
  int64_t sum = 0;
  fprintf(out,
          "\nwhere %" PRId64
          " cycles = %.3f us go, from the weights through the streams once\n"
          "%-14s %10s %9s %10s   would be less with\n",
          fall->cycles, (double)fall->cycles / study->program->machine.clock_hz * 1e6, "term", "cycles", "share",
          "so far");
  for (int32_t i = 0; i < fall->count; i++) {
    const struct lpu_term *term = &fall->terms[i];
    sum += term->cycles;
    if (!term->cycles) continue;
    fprintf(out, "%-14s %10" PRId64 " %7.1f %% %10" PRId64 "   %s\n", term->name, term->cycles,
            fall->cycles ? 100.0 * (double)term->cycles / (double)fall->cycles : 0.0, sum, term->removed_by);
  }
}

void lpu_waterfall_json(const struct lpu_waterfall *fall, FILE *out) {
  int64_t sum = 0;
  fputs(", \"explain\": [", out);
  for (int32_t i = 0; i < fall->count; i++) {
    const struct lpu_term *term = &fall->terms[i];
    sum += term->cycles;
    fprintf(out,
            "%s{\"term\": \"%s\", \"cycles\": %" PRId64 ", \"share\": %.6f, \"cumulated\": %" PRId64
            ", \"removed_by\": \"%s\"}",
            i ? ", " : "", term->name, term->cycles, fall->cycles ? (double)term->cycles / (double)fall->cycles : 0.0,
            sum, term->removed_by);
  }
  fputs("]", out);
}
