/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps in parts that were measured each for itself: their tables in device files.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "quantity.h"
#include "step_model.h"
#include "tandem/base.h"

#define TIMES_MAX 65536

#define AT(field_) .offset = offsetof(struct td_step_profile_text, field_)
#define TABLE(name_, help_) \
  { .name = #name_, .type = TD_OPT_TEXTS, .fallback = "()", .help = help_, AT(name_) }
static const struct td_option profile_options[] = {
    {.name = "source", .type = TD_OPT_TEXT, .help = "the measurements", AT(source)},
    {.name = "command", .type = TD_OPT_TEXT, .help = "that made the tables", AT(command)},
    {.name = "layers", .type = TD_OPT_INT, .low = 1, .high = 1e5, .help = "of attention", AT(layers)},
    {.name = "low", .type = TD_OPT_REAL, .low = 0.01, .high = 1, .help = "measured / interpolated, at least", AT(low)},
    {.name = "high", .type = TD_OPT_REAL, .low = 1, .high = 100, .help = "and at most", AT(high)},
    TABLE(tokens, "\"TOKENS US, ...\": all of a step but attention and what comes after the layers"),
    TABLE(outputs, "\"SEQUENCES US, ...\": what comes after the layers, of so many sampled sequences"),
    TABLE(decode, "\"SEQUENCES: CONTEXT US, ...\": attention of a layer, a token a sequence"),
    TABLE(prefill, "\"CHUNK: PAST US, ...\": attention of a layer, a chunk of a prompt after so many positions"),
    TABLE(mixed, "\"CHUNK PAST SEQUENCES: CONTEXT US, ...\": attention of a layer, both"),
    {.name = NULL}};
const struct td_option_group td_step_profile_group = {"measured parts of steps", sizeof(struct td_step_profile_text),
                                                      profile_options};

/* ---- reading ---- */

static bool take_whole(const char **at, int64_t *out) {
  char *end;
  while (**at == ' ') (*at)++;
  if (**at < '0' || **at > '9') return false;
  *out = strtoll(*at, &end, 10);
  *at = end;
  return *out <= INT64_C(1000000000);
}

static bool take_time(const char **at, double *out_seconds) {
  char *end;
  while (**at == ' ') (*at)++;
  if (**at < '0' || **at > '9') return false;
  double microseconds = strtod(*at, &end);
  *out_seconds = microseconds * 1e-6;
  *at = end;
  return microseconds > 0 && microseconds < 1e10;
}

/* "A B: C US, C US": the numbers before the last axis, up to the colon. */
static bool take_key(const struct td_step_grid *grid, const char **at, int64_t *key) {
  for (int32_t i = 0; i + 1 < grid->axes; i++) {
    if (!take_whole(at, &key[i])) return false;
  }
  return grid->axes == 1 || *(*at)++ == ':';
}

/* A value that the axis has, or its next one. */
static bool take_value(struct td_step_grid *grid, int32_t axis, int64_t value) {
  int32_t count = grid->count[axis];
  for (int32_t i = 0; i < count; i++) {
    if (grid->at[axis][i] == value) return true;
  }
  if (count == TD_STEP_VALUES || (count && value < grid->at[axis][count - 1])) return false;
  grid->at[axis][grid->count[axis]++] = value;
  return true;
}

static bool take_axes(struct td_step_grid *grid, const char *text) {
  int64_t key[TD_STEP_AXES], value;
  double ignored;
  if (!take_key(grid, &text, key)) return false;
  for (int32_t i = 0; i + 1 < grid->axes; i++) {
    if (!take_value(grid, i, key[i])) return false;
  }
  do {
    if (!take_whole(&text, &value) || !take_time(&text, &ignored)) return false;
    if (!take_value(grid, grid->axes - 1, value)) return false;
  } while (*text++ == ',');
  return !text[-1];
}

/* Line `row` of all combinations, in order. */
static bool take_row(struct td_step_grid *grid, const char *text, int32_t row) {
  int32_t last = grid->axes - 1, left = row;
  int64_t key[TD_STEP_AXES], value;
  if (!take_key(grid, &text, key)) return false;
  for (int32_t i = last - 1; i >= 0; i--) {
    if (key[i] != grid->at[i][left % grid->count[i]]) return false;
    left /= grid->count[i];
  }
  for (int32_t i = 0; i < grid->count[last]; i++, text++) {
    if (!take_whole(&text, &value) || value != grid->at[last][i]) return false;
    if (!take_time(&text, &grid->seconds[(size_t)row * (size_t)grid->count[last] + (size_t)i])) return false;
    if (*text != (i + 1 < grid->count[last] ? ',' : '\0')) return false;
  }
  return true;
}

struct table {
  const struct td_config *config;
  const char *path, *key;
  const struct td_list *list;
};

static td_status wrong(const struct table *table, const char *text) {
  char path[96];
  TD_TRY(td_format(path, sizeof path, "%.64s.%.16s", table->path, table->key));
  return td_config_fail(table->config, path,
                        "found \"%.40s\", expected numbers and times (docs/calibration.md), all combinations in order",
                        text);
}

static td_status take_grid(const struct table *table, int32_t axes, struct td_step_grid *grid) {
  const char *const *texts = table->list->items;
  int64_t rows = 1;
  grid->axes = axes;
  for (int32_t i = 0; i < table->list->count; i++) {
    if (!take_axes(grid, texts[i])) return wrong(table, texts[i]);
  }
  for (int32_t i = 0; i + 1 < axes; i++) rows *= grid->count[i];
  if (!table->list->count || rows != table->list->count) return wrong(table, "another number of lines");
  if (rows * grid->count[axes - 1] > TIMES_MAX) return wrong(table, "more than 65536 times");
  TD_TRY(td_alloc((size_t)(rows * grid->count[axes - 1]), sizeof *grid->seconds, (void **)&grid->seconds));
  for (int32_t i = 0; i < table->list->count; i++) {
    if (!take_row(grid, texts[i], i)) return wrong(table, texts[i]);
  }
  return TD_OK;
}

static td_status take_grids(const struct td_config *config, const char *path, const struct td_step_profile_text *text,
                            struct td_step_profile *profile) {
  const struct {
    const char *key;
    const struct td_list *list;
    int32_t axes;
    struct td_step_grid *grid;
  } all[] = {
      {"tokens", &text->tokens, 1, &profile->tokens}, {"outputs", &text->outputs, 1, &profile->outputs},
      {"decode", &text->decode, 2, &profile->decode}, {"prefill", &text->prefill, 2, &profile->prefill},
      {"mixed", &text->mixed, 4, &profile->mixed},
  };
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
    const struct table table = {config, path, all[i].key, all[i].list};
    TD_TRY(take_grid(&table, all[i].axes, all[i].grid));
  }
  return TD_OK;
}

td_status td_step_profile_take(const struct td_config *config, const char *path,
                               const struct td_step_profile_text *text, struct td_step_profile **out_profile) {
  struct td_step_profile *profile;
  if (strspn(text->source, " \t\n") == strlen(text->source)) {
    return td_config_fail(config, path, "found an empty source, expected where the measurements come from");
  }
  TD_TRY(td_alloc(1, sizeof *profile, (void **)&profile));
  *profile = (struct td_step_profile){
      .layers = text->layers, .low = text->low, .high = text->high, .source = text->source, .command = text->command};
  td_status status = take_grids(config, path, text, profile);
  if (status) {
    td_step_profile_free(profile);
    return status;
  }
  *out_profile = profile;
  return TD_OK;
}

void td_step_profile_free(struct td_step_profile *profile) {
  if (!profile) return;
  free(profile->tokens.seconds);
  free(profile->outputs.seconds);
  free(profile->decode.seconds);
  free(profile->prefill.seconds);
  free(profile->mixed.seconds);
  free(profile);
}

/* ---- printing ---- */

static const char *const names[] = {"tokens", "outputs", "decode", "prefill", "mixed"};

static const struct td_step_grid *grid_at(const struct td_step_profile *profile, size_t i) {
  const struct td_step_grid *const grids[] = {&profile->tokens, &profile->outputs, &profile->decode, &profile->prefill,
                                              &profile->mixed};
  return grids[i];
}

static int64_t times_of(const struct td_step_grid *grid) {
  int64_t times = 1;
  for (int32_t i = 0; i < grid->axes; i++) times *= grid->count[i];
  return times;
}

void td_step_profile_print(const struct td_step_profile *profile, FILE *out) {
  fprintf(out, "  in parts, measured / interpolated %.3g..%.3g, measured: %s\n", profile->low, profile->high,
          profile->source);
  fprintf(out, "  made by: %s\n", profile->command);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    const struct td_step_grid *grid = grid_at(profile, i);
    fprintf(out, "  %-8s %6" PRId64 " times, over", names[i], times_of(grid));
    for (int32_t j = 0; j < grid->axes; j++) {
      fprintf(out, "%s %" PRId64 "..%" PRId64, j ? " x" : "", grid->at[j][0], grid->at[j][grid->count[j] - 1]);
    }
    fputc('\n', out);
  }
}

void td_step_profile_json(const struct td_step_profile *profile, FILE *out) {
  if (!profile) {
    fputs("null", out);
    return;
  }
  fputs("{\"source\": ", out);
  td_json_string(out, profile->source, strlen(profile->source));
  fputs(", \"command\": ", out);
  td_json_string(out, profile->command, strlen(profile->command));
  fprintf(out, ", \"layers\": %" PRId64 ", \"low\": %.17g, \"high\": %.17g", profile->layers, profile->low,
          profile->high);
  for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
    fprintf(out, ", \"%s\": %" PRId64, names[i], times_of(grid_at(profile, i)));
  }
  fputc('}', out);
}
