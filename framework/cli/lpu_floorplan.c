/* SPDX-License-Identifier: Apache-2.0
 *
 * SRAM's use: a chip's slices from west to east, words downwards, a box for each image.
 */
#include "lpu_svg.h"

#define CHIPS_SHOWN 4
#define PLOT_HEIGHT 240.0
#define CAPTION 34.0
#define GAP 26.0 /* of the vector unit between the hemispheres */

static const char *const colours[TD_IMAGE_SCRATCH + 1] = {"#4e79a7", "#f28e2b", "#59a14f",
                                                          "#edc948", "#e15759", "#b07aa1"};

static int32_t shown(const struct lpu_study *study) {
  return study->program->chips < CHIPS_SHOWN ? study->program->chips : CHIPS_SHOWN;
}

double lpu_floorplan_height(const struct lpu_study *study) {
  return 56 + shown(study) * (PLOT_HEIGHT + CAPTION);
}

static void legend(struct td_text *svg, double y) {
  double x = LPU_SVG_LEFT;
  for (int32_t kind = 0; kind <= TD_IMAGE_SCRATCH; kind++) {
    lpu_svg_box(svg, x, y - 10, 12, 12, colours[kind]);
    lpu_svg_words(svg, x + 17, y, 12, "start", lpu_image_kind_name(kind));
    x += 110;
  }
  lpu_svg_box(svg, x, y - 10, 12, 12, "#e6e6e6");
  lpu_svg_words(svg, x + 17, y, 12, "start", "free");
}

static void draw_image(struct td_text *svg, const struct td_lpu_machine *machine, const struct td_lpu_image *image,
                       double y) {
  int32_t half = machine->mem_slices / 2;
  double slice = (LPU_SVG_PLOT - GAP) / machine->mem_slices, word = PLOT_HEIGHT / machine->mem_words;
  int32_t first = image->hemisphere ? half + image->slice : half - image->slice - image->slices;
  double x = LPU_SVG_LEFT + first * slice + (image->hemisphere ? GAP : 0);
  char name[160];
  snprintf(name, sizeof name, "%.47s: %s, words %d..%d, slices %d..%d of hemisphere %d", image->name,
           lpu_image_kind_name(image->kind), image->word, image->word + image->words - 1, image->slice,
           image->slice + image->slices - 1, image->hemisphere);
  lpu_svg_named_box(svg, x, y + image->word * word, image->slices * slice, image->words * word, colours[image->kind],
                    name);
}

static void draw_chip(struct td_text *svg, const struct lpu_study *study, int32_t chip, double y) {
  const struct td_lpu_machine *machine = &study->program->machine;
  double width = (LPU_SVG_PLOT - GAP) / 2;
  char words[64];
  lpu_svg_box(svg, LPU_SVG_LEFT, y, width, PLOT_HEIGHT, "#e6e6e6");
  lpu_svg_box(svg, LPU_SVG_LEFT + width + GAP, y, width, PLOT_HEIGHT, "#e6e6e6");
  for (int32_t i = 0; i < study->program->image_count; i++) {
    if (study->program->images[i].chip == chip) draw_image(svg, machine, &study->program->images[i], y);
  }
  snprintf(words, sizeof words, "chip %d", chip);
  lpu_svg_words(svg, LPU_SVG_LEFT - 10, y + 14, 13, "end", words);
  lpu_svg_words(svg, LPU_SVG_LEFT - 10, y + 32, 11, "end", "word 0");
  snprintf(words, sizeof words, "word %d", machine->mem_words - 1);
  lpu_svg_words(svg, LPU_SVG_LEFT - 10, y + PLOT_HEIGHT, 11, "end", words);
  snprintf(words, sizeof words, "west: slice %d", machine->mem_slices / 2 - 1);
  lpu_svg_words(svg, LPU_SVG_LEFT, y + PLOT_HEIGHT + 14, 11, "start", words);
  lpu_svg_words(svg, LPU_SVG_LEFT + width + GAP / 2, y + PLOT_HEIGHT + 14, 11, "middle", "slice 0 | vector | slice 0");
  snprintf(words, sizeof words, "east: slice %d", machine->mem_slices / 2 - 1);
  lpu_svg_words(svg, LPU_SVG_LEFT + LPU_SVG_PLOT, y + PLOT_HEIGHT + 14, 11, "end", words);
}

double lpu_floorplan(struct td_text *svg, const struct lpu_study *study, double y) {
  char words[96];
  snprintf(words, sizeof words, "SRAM: slices by words, %d of %d chip(s)", shown(study), study->program->chips);
  lpu_svg_words(svg, 20, y + 16, 14, "start", words);
  legend(svg, y + 38);
  y += 56;
  for (int32_t chip = 0; chip < shown(study); chip++) {
    draw_chip(svg, study, chip, y);
    y += PLOT_HEIGHT + CAPTION;
  }
  return y;
}
