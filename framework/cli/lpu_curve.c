/* SPDX-License-Identifier: Apache-2.0
 *
 * The bandwidth of a collective over the size of its message, both in steps of ten.
 */
#include <math.h>
#include <stdio.h>

#include "lpu_collective.h"
#include "lpu_svg.h"

#define WIDTH 760.0
#define HEIGHT 440.0
#define LEFT 90.0
#define RIGHT 720.0
#define TOP 60.0
#define BOTTOM 380.0

/* From 10^low to 10^high. */
struct axis {
  double low, high, from, to; /* pixels */
};

static struct axis axis_of(double least, double most, double from, double to) {
  struct axis axis = {floor(log10(least)), ceil(log10(most)), from, to};
  if (axis.high <= axis.low) axis.high = axis.low + 1;
  return axis;
}

static double at(const struct axis *axis, double value) {
  return axis->from + (axis->to - axis->from) * (log10(value) - axis->low) / (axis->high - axis->low);
}

static void words_of(double value, const char *unit, char *out, size_t size) {
  static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
  size_t prefix = 0;
  for (; value >= 999.5 && prefix + 1 < sizeof prefixes / sizeof *prefixes; prefix++) value /= 1000;
  snprintf(out, size, "%.3g %s%s", value, prefixes[prefix], unit);
}

static void draw_axes(struct td_text *svg, const struct axis *x, const struct axis *y) {
  char words[40];
  for (int p = (int)x->low; p <= (int)x->high; p++) {
    double value = pow(10, p);
    words_of(value, "B", words, sizeof words);
    lpu_svg_line(svg, at(x, value), TOP, at(x, value), BOTTOM);
    lpu_svg_words(svg, at(x, value), BOTTOM + 20, 12, "middle", words);
  }
  for (int p = (int)y->low; p <= (int)y->high; p++) {
    double value = pow(10, p);
    words_of(value, "B/s", words, sizeof words);
    lpu_svg_line(svg, LEFT, at(y, value), RIGHT, at(y, value));
    lpu_svg_words(svg, LEFT - 8, at(y, value) + 4, 12, "end", words);
  }
  lpu_svg_words(svg, (LEFT + RIGHT) / 2, BOTTOM + 44, 13, "middle", "message");
}

static const char *color_of(enum td_lpu_collective_way way) {
  static const char *const colors[TD_LPU_COLLECTIVE_WAYS] = {"#1f6fb4", "#c2571a", "#2a8a4a"};
  return colors[way];
}

static void draw_messages(struct td_text *svg, const struct axis *x, const struct axis *y,
                          const struct lpu_message *messages, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    const struct lpu_message *message = &messages[i];
    char name[160], size[40], rate[40];
    double px = at(x, (double)message->bytes), py = at(y, message->bus);
    if (i > 0) lpu_svg_line(svg, at(x, (double)messages[i - 1].bytes), at(y, messages[i - 1].bus), px, py);
    words_of((double)message->bytes, "B", size, sizeof size);
    words_of(message->bus, "B/s", rate, sizeof rate);
    snprintf(name, sizeof name, "%s: %s, %.3f us, %s", size, rate, message->seconds * 1e6,
             td_lpu_collective_way_name(message->best));
    lpu_svg_named_box(svg, px - 4, py - 4, 8, 8, color_of(message->best), name);
  }
}

static void draw_legend(struct td_text *svg) {
  for (int way = 0; way < TD_LPU_COLLECTIVE_WAYS; way++) {
    double px = LEFT + 10 + 110 * way;
    lpu_svg_box(svg, px, TOP - 20, 8, 8, color_of((enum td_lpu_collective_way)way));
    lpu_svg_words(svg, px + 14, TOP - 12, 12, "start", td_lpu_collective_way_name((enum td_lpu_collective_way)way));
  }
}

td_status lpu_collective_picture(const char *path, const char *title, const struct lpu_message *messages,
                                 int32_t count) {
  struct td_text svg = {0};
  double least[2] = {(double)messages[0].bytes, messages[0].bus}, most[2] = {least[0], least[1]};
  for (int32_t i = 1; i < count; i++) {
    least[0] = fmin(least[0], (double)messages[i].bytes);
    most[0] = fmax(most[0], (double)messages[i].bytes);
    least[1] = fmin(least[1], messages[i].bus);
    most[1] = fmax(most[1], messages[i].bus);
  }
  struct axis x = axis_of(least[0], most[0], LEFT, RIGHT), y = axis_of(least[1], most[1], BOTTOM, TOP);
  lpu_svg_begin(&svg, WIDTH, HEIGHT);
  lpu_svg_words(&svg, 20, 26, 16, "start", title);
  draw_axes(&svg, &x, &y);
  draw_legend(&svg);
  draw_messages(&svg, &x, &y, messages, count);
  lpu_svg_end(&svg);
  td_status status = svg.failed ? td_fail(TD_NO_MEMORY, "found no memory for a picture") : lpu_svg_save(path, &svg);
  td_text_free(&svg);
  return status;
}
