/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_svg.h"

#include <errno.h>
#include <string.h>

void lpu_svg_begin(struct td_text *svg, double width, double height) {
  td_text_printf(svg,
                 "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%.0f\" height=\"%.0f\" viewBox=\"0 0 %.0f %.0f\" "
                 "font-family=\"sans-serif\" fill=\"#222\" shape-rendering=\"crispEdges\">\n",
                 width, height, width, height);
  lpu_svg_box(svg, 0, 0, width, height, "#fff");
}

void lpu_svg_end(struct td_text *svg) {
  td_text_printf(svg, "</svg>\n");
}

void lpu_svg_box(struct td_text *svg, double x, double y, double width, double height, const char *fill) {
  td_text_printf(svg, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"/>\n", x, y, width, height,
                 fill);
}

/* Names come from files. */
static void put_words(struct td_text *svg, const char *words) {
  for (; *words; words++) {
    if (*words == '<') {
      td_text_printf(svg, "&lt;");
    } else if (*words == '&') {
      td_text_printf(svg, "&amp;");
    } else {
      td_text_printf(svg, "%c", (unsigned char)*words < 0x20 || (unsigned char)*words > 0x7e ? '?' : *words);
    }
  }
}

void lpu_svg_named_box(struct td_text *svg, double x, double y, double width, double height, const char *fill,
                       const char *name) {
  td_text_printf(svg, "<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" height=\"%.2f\" fill=\"%s\"><title>", x, y, width,
                 height, fill);
  put_words(svg, name);
  td_text_printf(svg, "</title></rect>\n");
}

void lpu_svg_words(struct td_text *svg, double x, double y, double size, const char *anchor, const char *words) {
  td_text_printf(svg, "<text x=\"%.2f\" y=\"%.2f\" font-size=\"%.0f\" text-anchor=\"%s\">", x, y, size, anchor);
  put_words(svg, words);
  td_text_printf(svg, "</text>\n");
}

void lpu_svg_line(struct td_text *svg, double x1, double y1, double x2, double y2) {
  td_text_printf(svg, "<line x1=\"%.2f\" y1=\"%.2f\" x2=\"%.2f\" y2=\"%.2f\" stroke=\"#999\" stroke-width=\"0.6\"/>\n",
                 x1, y1, x2, y2);
}

/* ---- the whole ---- */

td_status lpu_svg_save(const char *path, const struct td_text *svg) {
  char part[4096];
  TD_TRY(td_format(part, sizeof part, "%s.part", path));
  FILE *file = fopen(part, "w");
  if (!file) return td_fail(TD_IO, "%s: %s", part, strerror(errno));
  bool written = fwrite(svg->data, 1, svg->bytes, file) == svg->bytes;
  if (fclose(file) || !written) return td_fail(TD_IO, "%s: %s", part, strerror(errno));
  return rename(part, path) ? td_fail(TD_IO, "%s: %s", path, strerror(errno)) : TD_OK;
}

static td_status draw(struct td_text *svg, const struct lpu_study *study) {
  const double head = 40;
  double height = head + lpu_floorplan_height(study) + lpu_schedule_height(study);
  char title[160];
  TD_TRY(td_format(title, sizeof title, "%d x %s: %d row(s) at position %d, %lld cycles", study->program->chips,
                   study->program->machine.name, study->step.row_count, study->position,
                   (long long)study->counts.cycles));
  lpu_svg_begin(svg, LPU_SVG_WIDTH, height);
  lpu_svg_words(svg, 20, 26, 17, "start", title);
  td_status status = lpu_schedule(svg, study, lpu_floorplan(svg, study, head));
  lpu_svg_end(svg);
  if (status) return status;
  return svg->failed ? td_fail(TD_NO_MEMORY, "found no memory for a picture") : TD_OK;
}

td_status lpu_study_picture(const struct lpu_study *study, const char *path) {
  struct td_text svg = {0};
  td_status status = draw(&svg, study);
  if (!status) status = lpu_svg_save(path, &svg);
  td_text_free(&svg);
  return status;
}
