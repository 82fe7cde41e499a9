/* SPDX-License-Identifier: Apache-2.0
 *
 * A study in words and as JSON.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_study.h"

static double share(int64_t part, int64_t whole) {
  return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

static int64_t segment_cycles(const struct lpu_study *study, int32_t segment) {
  return study->runs[segment] * study->program->segments[segment].length;
}

/* ---- words ---- */

/* Of few chips each by itself, of many those that hold the same together. */
#define FEW_CHIPS 16
static bool same_sram(const struct lpu_study *study, int32_t a, int32_t b) {
  return study->program->chips > FEW_CHIPS && memcmp(&study->sram[a], &study->sram[b], sizeof study->sram[a]) == 0;
}

static bool is_listed(const struct lpu_study *study, int32_t chip) {
  for (int32_t c = 0; c < chip; c++) {
    if (same_sram(study, c, chip)) return true;
  }
  return false;
}

static void print_chips(const struct lpu_study *study, int32_t chip, FILE *out) {
  int32_t alike = 1;
  char name[32];
  for (int32_t c = chip + 1; c < study->program->chips; c++) alike += same_sram(study, c, chip);
  snprintf(name, sizeof name, alike > 1 ? "%d chips" : "chip %d", alike > 1 ? alike : chip);
  fprintf(out, "%-12s", name);
}

static void print_sram(const struct lpu_study *study, FILE *out) {
  fprintf(out, "\nSRAM, KiB   ");
  for (int32_t kind = 0; kind <= TD_IMAGE_SCRATCH; kind++) fprintf(out, "%11s", lpu_image_kind_name(kind));
  fprintf(out, "%11s   free of\n", "free");
  for (int32_t c = 0; c < study->program->chips; c++) {
    const struct lpu_sram *sram = &study->sram[c];
    if (is_listed(study, c)) continue;
    print_chips(study, c, out);
    for (int32_t kind = 0; kind <= TD_IMAGE_SCRATCH; kind++) fprintf(out, "%11.1f", (double)sram->bytes[kind] / 1024);
    fprintf(out, "%11.1f   %.0f\n", (double)sram->free / 1024, (double)(sram->used + sram->free) / 1024);
  }
}

static void print_units(const struct lpu_study *study, FILE *out) {
  fprintf(out, "\nunit          number   busy unit cycles   occupancy\n");
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    int64_t units = td_lpu_program_units(study->program, (enum td_lpu_unit)unit), busy = study->counts.busy[unit];
    fprintf(out, "%-12s %7" PRId64 " %18" PRId64 " %9.2f %%\n", td_lpu_unit_name((enum td_lpu_unit)unit), units, busy,
            share(busy, units * study->counts.cycles));
  }
}

/* The unit that a segment keeps busiest. */
static enum td_lpu_unit busiest(const struct lpu_study *study, int32_t segment, double *out_share) {
  int best = 0;
  *out_share = -1.0;
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    int64_t units = td_lpu_program_units(study->program, (enum td_lpu_unit)unit);
    double of = share(study->tallies[segment].busy[unit], units * study->program->segments[segment].length);
    if (of <= *out_share) continue;
    *out_share = of;
    best = unit;
  }
  return (enum td_lpu_unit)best;
}

/* Cycles of a run with vectors under way from chip to chip, and how busy links are. */
static void print_exchange(const struct lpu_study *study, int32_t segment, FILE *out) {
  int64_t links = td_lpu_program_units(study->program, TD_UNIT_LINK);
  fprintf(out, "%8" PRId64 " %5.1f %%   ", study->spent[segment].exchange,
          share(study->tallies[segment].busy[TD_UNIT_LINK], links * study->program->segments[segment].length));
}

static void print_path(const struct lpu_study *study, FILE *out) {
  bool alone = study->program->chips == 1;
  fprintf(out, "\nsegment      runs   cycles    in all   share   busiest unit      %swhat it does\n",
          alone ? "" : "exchange   links   ");
  for (int32_t i = 0; i < study->program->segment_count; i++) {
    const struct td_lpu_segment *segment = &study->program->segments[i];
    double occupancy;
    enum td_lpu_unit unit = busiest(study, i, &occupancy);
    int64_t cycles = segment_cycles(study, i);
    if (!study->runs[i]) continue;
    fprintf(out, "%-10.31s %6" PRId64 " %8d %9" PRId64 " %5.1f %%   %-7s %5.1f %%   ", segment->name, study->runs[i],
            segment->length, cycles, share(cycles, study->counts.cycles), td_lpu_unit_name(unit), occupancy);
    if (!alone) print_exchange(study, i, out);
    fprintf(out, "%s\n", lpu_segment_words(segment->name));
  }
  int32_t tail = study->program->machine.superlanes - 1;
  fprintf(out, "%-10s %6d %8d %9d %5.1f %%   the last instruction reaches the last superlane\n", "tail", study->parts,
          tail, study->parts * tail, share((int64_t)study->parts * tail, study->counts.cycles));
}

/* Each cycle of a segment counts for the first unit, in the order of the columns, that is told something in it. */
static void print_spent(const struct lpu_study *study, FILE *out) {
  fprintf(out, "\ncycles by who is told something, the first from the left\n%-10s", "segment");
  for (int i = 0; i < LPU_SPENT_COUNT; i++) fprintf(out, "%10s", lpu_spent_name(i));
  int64_t all[LPU_SPENT_COUNT] = {0};
  for (int32_t s = 0; s < study->program->segment_count; s++) {
    if (!study->runs[s]) continue;
    fprintf(out, "\n%-10.31s", study->program->segments[s].name);
    for (int i = 0; i < LPU_SPENT_COUNT; i++) {
      int64_t cycles = study->runs[s] * study->spent[s].of[i];
      fprintf(out, "%10" PRId64, cycles);
      all[i] += cycles;
    }
  }
  all[SPENT_WAITING] += (int64_t)study->parts * (study->program->machine.superlanes - 1);
  fprintf(out, "\n%-10s", "step");
  for (int i = 0; i < LPU_SPENT_COUNT; i++) fprintf(out, "%10" PRId64, all[i]);
  fprintf(out, "\n%-10s", "");
  for (int i = 0; i < LPU_SPENT_COUNT; i++) fprintf(out, "%8.1f %%", share(all[i], study->counts.cycles));
  fputc('\n', out);
}

/* The segments one after another are the critical path; the longest of them says where to look. */
static void print_longest(const struct lpu_study *study, FILE *out) {
  int32_t longest = 0, layers;
  int64_t cycles = lpu_study_layers(study, &layers);
  if (!layers) cycles = study->counts.cycles;
  double occupancy;
  for (int32_t i = 1; i < study->program->segment_count; i++) {
    if (segment_cycles(study, i) > segment_cycles(study, longest)) longest = i;
  }
  const struct td_lpu_segment *segment = &study->program->segments[longest];
  enum td_lpu_unit unit = busiest(study, longest, &occupancy);
  fprintf(out,
          "\nThe segments follow one another: their paths in a row are the step's. The longest part is %.31s, %.1f %% "
          "of the step; it keeps its busiest "
          "unit, %s, at %.1f %%.\n",
          segment->name, share(segment_cycles(study, longest), study->counts.cycles), td_lpu_unit_name(unit),
          occupancy);
  if (study->program->entries[study->entry].work) return; /* of whose weights few are the entry's */
  fprintf(out,
          "Weights alone, %" PRId64 " B at the streams' rate, would take %" PRId64 " cycles: %s %.2f times that.\n",
          study->weight_bytes, study->bound_cycles, layers ? "the layers take" : "the step takes",
          study->bound_cycles ? (double)cycles / (double)study->bound_cycles : 0.0);
}

/* What the numbers are of, where the program has an entry a layer. */
static void print_layers(const struct lpu_study *study, FILE *out) {
  int32_t layers, first = study->program->entries[study->entry].layer;
  if (first < 0) return;
  int64_t cycles = lpu_study_layers(study, &layers);
  fprintf(out,
          "layers      %d, an entry each: the numbers are those of layer %d; all of them take %" PRId64
          " cycles = %.3f us beside what is computed elsewhere\n",
          layers, first, cycles, (double)cycles / study->program->machine.clock_hz * 1e6);
  if (study->program->entries[study->entry].work == TD_LPU_WORK_ALL) return;
  fprintf(
      out,
      "experts     these numbers are of the entries in front of the host's routing: tandem lpu experts has the rest\n");
}

/* Without them it is not the program that is saved. */
static bool has_weights(const struct td_lpu_program *program) {
  for (int32_t i = 0; i < program->image_count; i++) {
    if (program->images[i].kind == TD_IMAGE_WEIGHT && !program->images[i].data_bytes) return false;
  }
  return true;
}

/* Stages work on one step each. */
static void print_pipeline(const struct lpu_study *study, FILE *out) {
  double seconds = (double)study->slowest / study->program->machine.clock_hz;
  if (study->stages == 1 || study->program->entries[study->entry].layer >= 0) return;
  fprintf(out,
          "pipeline    the slowest of %d stages is busy for %" PRId64
          " cycles = %.3f us: with a step in each, %.1f tokens/s in all\n",
          study->stages, study->slowest, seconds * 1e6, study->step.row_count / seconds);
}

void lpu_study_print(const struct lpu_study *study, FILE *out) {
  const struct td_lpu_program *program = study->program;
  double seconds = (double)study->counts.cycles / program->machine.clock_hz;
  fprintf(out, "program     %d chip%s %s", program->chips, program->chips == 1 ? "" : "s", program->machine.name);
  if (has_weights(program)) {
    fprintf(out, ", digest %016" PRIx64 "\n", td_lpu_program_digest(program));
  } else {
    fputs(", timing only (-o: with weights)\n", out);
  }
  fprintf(out, "step        %d row%s", study->step.row_count, study->step.row_count == 1 ? "" : "s");
  if (program->block_tokens) {
    fprintf(out, " at position %d%s, KV blocks of %d", study->position, study->one_sequence ? " of one sequence" : "",
            program->block_tokens);
  }
  fputc('\n', out);
  fprintf(
      out, "layout      %s%s\n",
      study->spread ? "weights over all slices, where words are free" : "weights in the slices that feed the planes",
      study->shared ? "; segments' scratches share words" : "");
  if (study->parts > 1) {
    fprintf(out, "outputs     in %d groups of rows, each read before the next is computed\n", study->parts);
  }
  fprintf(out, "length      %" PRId64 " cycles = %.3f us at %.0f MHz: %.1f tokens/s", study->counts.cycles,
          seconds * 1e6, program->machine.clock_hz / 1e6, study->step.row_count / seconds);
  if (!isnan(study->counts.energy_j)) {
    fprintf(out, ", %.4g mJ a token", study->counts.energy_j * 1e3 / study->step.row_count);
  }
  fputc('\n', out);
  print_pipeline(study, out);
  print_layers(study, out);
  print_sram(study, out);
  print_units(study, out);
  print_path(study, out);
  print_spent(study, out);
  lpu_path_print(study, out);
  print_longest(study, out);
}

/* ---- JSON ---- */

static void json_sram(const struct lpu_study *study, FILE *out) {
  fputs(", \"sram\": [", out);
  for (int32_t c = 0; c < study->program->chips; c++) {
    const struct lpu_sram *sram = &study->sram[c];
    fprintf(out, "%s{\"chip\": %d", c ? ", " : "", c);
    for (int32_t kind = 0; kind <= TD_IMAGE_SCRATCH; kind++) {
      fprintf(out, ", \"%s\": %" PRId64, lpu_image_kind_name(kind), sram->bytes[kind]);
    }
    fprintf(out, ", \"free\": %" PRId64 "}", sram->free);
  }
  fputs("]", out);
}

static void json_units(const struct lpu_study *study, FILE *out) {
  fputs(", \"units\": {", out);
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    int64_t units = td_lpu_program_units(study->program, (enum td_lpu_unit)unit), busy = study->counts.busy[unit];
    fprintf(out, "%s\"%s\": {\"number\": %" PRId64 ", \"busy\": %" PRId64 ", \"occupancy\": %.6f}", unit ? ", " : "",
            td_lpu_unit_name((enum td_lpu_unit)unit), units, busy, share(busy, units * study->counts.cycles) / 100.0);
  }
  fputs("}", out);
}

/* Names come from the file: kept to what needs no escape. */
static void json_name(const char *name, size_t size, FILE *out) {
  fputc('"', out);
  for (size_t i = 0; i < size && name[i]; i++) {
    fputc(name[i] < 0x20 || name[i] == '"' || name[i] == '\\' || (unsigned char)name[i] > 0x7e ? '?' : name[i], out);
  }
  fputc('"', out);
}

static void json_segments(const struct lpu_study *study, FILE *out) {
  fputs(", \"segments\": [", out);
  for (int32_t i = 0; i < study->program->segment_count; i++) {
    const struct td_lpu_segment *segment = &study->program->segments[i];
    fprintf(out, "%s{\"name\": ", i ? ", " : "");
    json_name(segment->name, sizeof segment->name, out);
    fprintf(out,
            ", \"runs\": %" PRId64 ", \"cycles\": %d, \"exchange\": %" PRId64
            ", \"instructions\": %d, \"does\": \"%s\", \"spent\": {",
            study->runs[i], segment->length, study->spent[i].exchange, segment->instruction_count,
            lpu_segment_words(segment->name));
    for (int s = 0; s < LPU_SPENT_COUNT; s++) {
      fprintf(out, "%s\"%s\": %" PRId64, s ? ", " : "", lpu_spent_name(s), study->spent[i].of[s]);
    }
    fputs("}, \"critical_path\": {", out);
    for (int w = 0; w < LPU_WAITED_COUNT; w++) {
      fprintf(out, "%s\"%s\": %" PRId64, w ? ", " : "", lpu_waited_name(w), study->paths[i].of[w]);
    }
    fputs("}}", out);
  }
  fputs("]", out);
}

void lpu_study_json(const struct lpu_study *study, FILE *out) {
  const struct td_lpu_program *program = study->program;
  fprintf(out, "{\"chips\": %d, \"tensor\": %d, \"machine\": ", program->chips, program->tensor);
  json_name(program->machine.name, sizeof program->machine.name, out);
  if (has_weights(program)) fprintf(out, ", \"digest\": \"%016" PRIx64 "\"", td_lpu_program_digest(program));
  fprintf(out, ", \"clock_hz\": %.17g", program->machine.clock_hz);
  fprintf(out, ", \"spread\": %s, \"shared\": %s, \"output_groups\": %d", study->spread ? "true" : "false",
          study->shared ? "true" : "false", study->parts);
  fprintf(out, ", \"rows\": %d, \"position\": %d, \"block_tokens\": %d", study->step.row_count, study->position,
          program->block_tokens);
  fprintf(out, ", \"cycles\": %" PRId64 ", \"seconds\": %.9g, \"energy_j\": ", study->counts.cycles,
          (double)study->counts.cycles / program->machine.clock_hz);
  fprintf(out, isnan(study->counts.energy_j) ? "null" : "%.9g", study->counts.energy_j);
  fprintf(out, ", \"weight_bytes\": %" PRId64 ", \"weight_stream_cycles\": %" PRId64, study->weight_bytes,
          study->bound_cycles);
  fprintf(out, ", \"stages\": %d, \"slowest_stage_cycles\": %" PRId64, study->stages, study->slowest);
  int32_t layers;
  int64_t cycles = lpu_study_layers(study, &layers);
  if (layers) {
    fprintf(out, ", \"layer\": %d, \"layers\": %d, \"layers_cycles\": %" PRId64, program->entries[study->entry].layer,
            layers, cycles);
  }
  json_sram(study, out);
  json_units(study, out);
  json_segments(study, out);
}
