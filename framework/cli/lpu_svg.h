/* SPDX-License-Identifier: Apache-2.0
 *
 * The few shapes that a picture of a program is made of, as SVG text. Coordinates are pixels.
 */
#ifndef TD_CLI_LPU_SVG_H
#define TD_CLI_LPU_SVG_H

#include "lpu_study.h"
#include "tandem/base.h"

void lpu_svg_begin(struct td_text *svg, double width, double height);
void lpu_svg_end(struct td_text *svg);
void lpu_svg_box(struct td_text *svg, double x, double y, double width, double height, const char *fill);
/* The same with words that a viewer shows when pointed at. */
void lpu_svg_named_box(struct td_text *svg, double x, double y, double width, double height, const char *fill,
                       const char *name);
/* `anchor`: "start", "middle" or "end". */
void lpu_svg_words(struct td_text *svg, double x, double y, double size, const char *anchor, const char *words);
void lpu_svg_line(struct td_text *svg, double x1, double y1, double x2, double y2);

/* Through PATH.part. */
td_status lpu_svg_save(const char *path, const struct td_text *svg);

/* ---- the parts of the picture; each begins at `y` and returns where it ends ---- */

#define LPU_SVG_WIDTH 1240.0
#define LPU_SVG_LEFT 150.0 /* where plots begin: lane names stand before */
#define LPU_SVG_PLOT 1060.0

double lpu_floorplan_height(const struct lpu_study *study);
double lpu_floorplan(struct td_text *svg, const struct lpu_study *study, double y);
double lpu_schedule_height(const struct lpu_study *study);
td_status lpu_schedule(struct td_text *svg, const struct lpu_study *study, double y);

#endif
