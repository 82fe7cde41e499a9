/* SPDX-License-Identifier: Apache-2.0
 *
 * The schedule over time: groups of queues by cycles. A bar's height is the share of a group's queues that issue, in
 * the mean over the bar's cycles and over all chips. Three plots: the whole step, one layer, what follows the layers.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu_svg.h"

#define LANE_HEIGHT 26.0
#define BINS 530 /* two pixels each */
#define PLOT_HEAD 74.0

enum lane {
  LANE_MEMORY_WEST,
  LANE_MEMORY_EAST,
  LANE_LOAD,
  LANE_INSTALL,
  LANE_PASS,
  LANE_SUM,
  LANE_VECTOR,
  LANE_SWITCH_WEST,
  LANE_SWITCH_EAST,
  LANE_LINK,
  LANES
};
static const char *const lane_names[LANES] = {"memory, west", "memory, east", "matrix: load", "matrix: install",
                                              "matrix: pass", "matrix: sum",  "vector ALUs",  "switch, west",
                                              "switch, east", "links"};
static const char *const palette[] = {"#4e79a7", "#f28e2b", "#e15759", "#76b7b2", "#59a14f",
                                      "#edc948", "#b07aa1", "#9c755f", "#bab0ac", "#d37295"};
#define COLOURS ((int32_t)(sizeof palette / sizeof *palette))

struct calls {
  struct td_lpu_call *items;
  size_t count, capacity;
  int64_t base; /* the cycle that the entry starts in */
};
struct plot {
  const struct lpu_study *study;
  const struct calls *calls;
  int64_t begin, end; /* cycles */
  double bins[LANES][BINS];
};

static int lane_count(const struct lpu_study *study) {
  return study->program->chips > 1 ? LANES : LANE_LINK;
}

static double plot_height(const struct lpu_study *study) {
  return PLOT_HEAD + lane_count(study) * LANE_HEIGHT + 40;
}

double lpu_schedule_height(const struct lpu_study *study) {
  return 60 + 3 * plot_height(study);
}

static td_status collect(void *context, const struct td_lpu_call *call) {
  struct calls *calls = context;
  TD_TRY(td_grow((void **)&calls->items, &calls->capacity, calls->count + 1, sizeof *call));
  calls->items[calls->count] = *call;
  calls->items[calls->count++].cycle += calls->base;
  return TD_OK;
}

/* The calls of the step, entry after entry. */
static td_status collect_all(const struct lpu_study *study, struct calls *calls) {
  const struct td_lpu_program *program = study->program;
  int32_t rows = study->step.row_count;
  for (int32_t entry = study->entry; entry >= 0; entry = td_lpu_program_next(program, entry, rows)) {
    TD_TRY(td_lpu_program_walk(program, entry, &study->step, collect, calls));
    int32_t next = td_lpu_program_next(program, entry, rows);
    int64_t left = next < 0 ? 0 : td_lpu_program_cycles(program, next, &study->step);
    calls->base = study->counts.cycles - left;
  }
  return calls->count ? TD_OK : td_fail(TD_CORRUPT, "found a program that runs nothing");
}

/* ---- who is busy when ---- */

static enum lane lane_of(const struct td_lpu_queue *queue) {
  switch (queue->unit) {
    case TD_UNIT_MEMORY:
      return queue->hemisphere ? LANE_MEMORY_EAST : LANE_MEMORY_WEST;
    case TD_UNIT_MATRIX:
      return (enum lane)(LANE_LOAD + queue->function);
    case TD_UNIT_VECTOR:
      return LANE_VECTOR;
    case TD_UNIT_SWITCH:
      return queue->hemisphere ? LANE_SWITCH_EAST : LANE_SWITCH_WEST;
    default:
      return LANE_LINK;
  }
}

static int32_t queues_of(const struct td_lpu_machine *machine, enum lane lane) {
  if (lane <= LANE_MEMORY_EAST) return machine->mem_slices / 2;
  if (lane <= LANE_SUM) return machine->planes;
  if (lane == LANE_VECTOR) return machine->alus;
  return lane <= LANE_SWITCH_EAST ? machine->switch_functions : machine->links_used;
}

static void add_instruction(struct plot *plot, const struct td_lpu_call *call, const struct td_lpu_instruction *of) {
  struct td_lpu_queue queue;
  int64_t span = plot->end - plot->begin;
  if (!td_lpu_queue_at(&plot->study->program->machine, of->queue, &queue)) return;
  for (int32_t r = 0; r < of->repeat; r++) {
    int64_t cycle = call->cycle + of->cycle + (int64_t)r * of->gap;
    if (cycle < plot->begin || cycle >= plot->end) continue;
    plot->bins[lane_of(&queue)][(cycle - plot->begin) * BINS / span] += 1.0;
  }
}

static void fill_bins(struct plot *plot) {
  const struct td_lpu_program *program = plot->study->program;
  memset(plot->bins, 0, sizeof plot->bins);
  for (size_t i = 0; i < plot->calls->count; i++) {
    const struct td_lpu_call *call = &plot->calls->items[i];
    const struct td_lpu_segment *segment = &program->segments[call->segment];
    if (call->cycle >= plot->end || call->cycle + segment->length <= plot->begin) continue;
    for (int32_t j = 0; j < segment->instruction_count; j++) add_instruction(plot, call, &segment->instructions[j]);
  }
}

/* ---- drawing ---- */

static void draw_lane(struct td_text *svg, const struct plot *plot, enum lane lane, double y) {
  const struct td_lpu_program *program = plot->study->program;
  double cycles = (double)(plot->end - plot->begin) / BINS, pixel = LPU_SVG_PLOT / BINS, all = LANE_HEIGHT - 4;
  double full = cycles * queues_of(&program->machine, lane) * program->chips;
  lpu_svg_words(svg, LPU_SVG_LEFT - 8, y + LANE_HEIGHT - 9, 12, "end", lane_names[lane]);
  lpu_svg_line(svg, LPU_SVG_LEFT, y + LANE_HEIGHT - 2, LPU_SVG_LEFT + LPU_SVG_PLOT, y + LANE_HEIGHT - 2);
  for (int i = 0, next; i < BINS; i = next) {
    double value = plot->bins[lane][i];
    for (next = i + 1; next < BINS && plot->bins[lane][next] == value;) next++;
    double height = value / full > 1.0 ? all : value / full * all;
    if (value > 0.0 && height < 1.0) height = 1.0; /* seen at all */
    if (value <= 0.0) continue;
    lpu_svg_box(svg, LPU_SVG_LEFT + i * pixel, y + LANE_HEIGHT - 2 - height, (next - i) * pixel, height, "#35618f");
  }
}

static double at_cycle(const struct plot *plot, int64_t cycle) {
  return LPU_SVG_LEFT + (double)(cycle - plot->begin) / (double)(plot->end - plot->begin) * LPU_SVG_PLOT;
}

/* Names where they have room: about seven pixels a letter. */
static void draw_segments(struct td_text *svg, const struct plot *plot, double y, double bottom) {
  double free_from = 0;
  for (size_t i = 0; i < plot->calls->count; i++) {
    const struct td_lpu_call *call = &plot->calls->items[i];
    const struct td_lpu_segment *segment = &plot->study->program->segments[call->segment];
    if (call->cycle < plot->begin || call->cycle >= plot->end) continue;
    double x = at_cycle(plot, call->cycle), width = at_cycle(plot, call->cycle + segment->length) - x;
    char name[96];
    snprintf(name, sizeof name, "%.31s: %d cycles from %lld", segment->name, segment->length, (long long)call->cycle);
    lpu_svg_named_box(svg, x, y, width, 10, palette[call->segment % COLOURS], name);
    if (width >= 20) lpu_svg_line(svg, x, y, x, bottom);
    snprintf(name, sizeof name, "%.31s", segment->name);
    if (x < free_from || width < 7 * (double)strlen(name)) continue;
    lpu_svg_words(svg, x + 1, y - 4, 12, "start", name);
    free_from = x + 7 * (double)strlen(name);
  }
}

static void draw_axis(struct td_text *svg, const struct plot *plot, double y) {
  for (int i = 0; i <= 5; i++) {
    int64_t cycle = plot->begin + (plot->end - plot->begin) * i / 5;
    char words[32];
    snprintf(words, sizeof words, "%lld", (long long)cycle);
    lpu_svg_words(svg, at_cycle(plot, cycle), y, 11, i == 5 ? "end" : i ? "middle" : "start", words);
  }
}

static double draw_plot(struct td_text *svg, struct plot *plot, const char *title, double y) {
  double lanes = y + PLOT_HEAD, bottom = lanes + lane_count(plot->study) * LANE_HEIGHT;
  char words[200];
  snprintf(words, sizeof words, "%s: cycles %lld to %lld", title, (long long)plot->begin, (long long)plot->end);
  lpu_svg_words(svg, 20, y + 20, 14, "start", words);
  fill_bins(plot);
  draw_segments(svg, plot, lanes - 14, bottom);
  for (int lane = 0; lane < lane_count(plot->study); lane++) {
    draw_lane(svg, plot, (enum lane)lane, lanes + lane * LANE_HEIGHT);
  }
  draw_axis(svg, plot, bottom + 14);
  return y + plot_height(plot->study);
}

static void legend(struct td_text *svg, const struct lpu_study *study, double y) {
  double x = LPU_SVG_LEFT;
  lpu_svg_words(svg, LPU_SVG_LEFT - 8, y, 12, "end", "segments");
  for (int32_t i = 0; i < study->program->segment_count && x < LPU_SVG_LEFT + LPU_SVG_PLOT; i++) {
    char name[32];
    if (!study->runs[i]) continue;
    snprintf(name, sizeof name, "%.31s", study->program->segments[i].name);
    lpu_svg_box(svg, x, y - 10, 12, 12, palette[i % COLOURS]);
    lpu_svg_words(svg, x + 16, y, 12, "start", name);
    x += 34 + 7 * (double)strlen(name);
  }
}

/* Where the first layer ends and where the last one does: calls inside a loop over layers bear its number. */
static void find_layers(const struct calls *calls, const struct lpu_study *study, int64_t *out_first,
                        int64_t *out_last) {
  int32_t head = calls->items[calls->count - 1].segment;
  *out_first = *out_last = study->counts.cycles;
  for (size_t i = 0; i < calls->count; i++) {
    const struct td_lpu_call *call = &calls->items[i];
    if (call->variable[TD_VAR_LAYER] == 1 && call->cycle < *out_first) *out_first = call->cycle;
    if (call->segment == head && call->cycle < *out_last) *out_last = call->cycle;
  }
}

static void draw_all(struct td_text *svg, const struct lpu_study *study, const struct calls *calls, struct plot *plot,
                     double y) {
  int64_t first, last;
  find_layers(calls, study, &first, &last);
  *plot = (struct plot){.study = study, .calls = calls, .begin = 0, .end = study->counts.cycles};
  y = draw_plot(svg, plot, "The whole step", y);
  plot->end = first;
  y = draw_plot(svg, plot, "The first layer", y);
  plot->begin = last < study->counts.cycles ? last : 0;
  plot->end = study->counts.cycles;
  draw_plot(svg, plot, "The end of the step", y);
}

td_status lpu_schedule(struct td_text *svg, const struct lpu_study *study, double y) {
  struct calls calls = {0};
  void *plot = NULL;
  td_status status = collect_all(study, &calls);
  if (!status) status = td_alloc(1, sizeof(struct plot), &plot);
  if (!status) {
    lpu_svg_words(svg, 20, y + 20, 14, "start", "Schedule: share of each group's queues that issue, over cycles");
    legend(svg, study, y + 44);
    draw_all(svg, study, &calls, plot, y + 56);
  }
  free(plot);
  free(calls.items);
  return status;
}
