/* SPDX-License-Identifier: Apache-2.0
 *
 * Measured steps in device files: reading and printing.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "quantity.h"
#include "step_model.h"
#include "tandem/base.h"

#define MODELS_MAX 256
#define POINTS_MAX 4096

struct point_text {
  int64_t at;
  struct td_quantity_text time;
};
struct side_text {
  struct td_quantity_text step, each, more, power;
  struct td_list points;
  int64_t from;
};
struct model_text {
  const char *model;
  int64_t tensor;
  struct side_text prefill, decode, large;
  struct td_quantity_text mixed;
  struct td_step_profile_text profile;
};

#define NUMBER(type_, name_, field_, help_)                                                                \
  {                                                                                                        \
    .name = name_, .type = TD_OPT_GROUP, .fallback = "", .help = help_, .offset = offsetof(type_, field_), \
    .group = &td_quantity_group                                                                            \
  }
static const struct td_option point_options[] = {{.name = "at",
                                                  .type = TD_OPT_INT,
                                                  .low = 1,
                                                  .high = 1e9,
                                                  .help = "tokens of a prefill step, sequences of a decode step",
                                                  .offset = offsetof(struct point_text, at)},
                                                 {.name = "time",
                                                  .type = TD_OPT_GROUP,
                                                  .help = "of the step",
                                                  .offset = offsetof(struct point_text, time),
                                                  .group = &td_quantity_group},
                                                 {.name = NULL}};
static const struct td_option_group point_group = {"a measured step", sizeof(struct point_text), point_options};

#define POWER NUMBER(struct side_text, "power", power, "one chip's in such a step, of power_basis")
#define POINTS                                                                                \
  {                                                                                           \
    .name = "points", .type = TD_OPT_LIST, .fallback = "()", .help = "in place of a formula", \
    .offset = offsetof(struct side_text, points), .group = &point_group                       \
  }
static const struct td_option prefill_options[] = {
    NUMBER(struct side_text, "step", step, "time of the step itself"),
    NUMBER(struct side_text, "token", each, "time of a token"),
    NUMBER(struct side_text, "square", more, "time of each of the square of a prompt's tokens"),
    POWER,
    POINTS,
    {.name = NULL}};
#define DECODE_NUMBERS                                                  \
  NUMBER(struct side_text, "step", step, "time of the step itself"),    \
      NUMBER(struct side_text, "sequence", each, "time of a sequence"), \
      NUMBER(struct side_text, "context", more, "time of a position of a context")
static const struct td_option decode_options[] = {DECODE_NUMBERS, POWER, POINTS, {.name = NULL}};
static const struct td_option large_options[] = {DECODE_NUMBERS,
                                                 {.name = "from",
                                                  .type = TD_OPT_INT,
                                                  .low = 2,
                                                  .high = 1e9,
                                                  .help = "sequences from which on",
                                                  .offset = offsetof(struct side_text, from)},
                                                 {.name = NULL}};
static const struct td_option_group prefill_group = {"prefill steps", sizeof(struct side_text), prefill_options};
static const struct td_option_group decode_group = {"decode steps", sizeof(struct side_text), decode_options};
static const struct td_option_group large_group = {"decode steps of many sequences", sizeof(struct side_text),
                                                   large_options};

#define SIDE(name_, fallback_, help_)                                           \
  {                                                                             \
    .name = #name_, .type = TD_OPT_GROUP, .fallback = fallback_, .help = help_, \
    .offset = offsetof(struct model_text, name_), .group = &name_##_group       \
  }
static const struct td_option model_options[] = {
    {.name = "model", .type = TD_OPT_TEXT, .help = "name of its shape", .offset = offsetof(struct model_text, model)},
    {.name = "tensor",
     .type = TD_OPT_INT,
     .low = 1,
     .high = 4096,
     .help = "chips that share it in tensor parallel",
     .offset = offsetof(struct model_text, tensor)},
    SIDE(prefill, "", "steps of prompts"),
    SIDE(decode, "", "steps of one token a sequence"),
    SIDE(large, "", "the same of many sequences"),
    NUMBER(struct model_text, "mixed", mixed, "steps of both, as so many times prefill of all their tokens"),
    {.name = "profile",
     .type = TD_OPT_GROUP,
     .fallback = "",
     .help = "in place of prefill, decode and mixed: steps in parts",
     .offset = offsetof(struct model_text, profile),
     .group = &td_step_profile_group},
    {.name = NULL}};
const struct td_option_group td_step_group = {"measured steps of a model", sizeof(struct model_text), model_options};

/* ---- reading ---- */

static const struct td_quantity_row time_row = {.dimension = TD_DIM_SECONDS, .least = 0, .most = 1e5};
static const struct td_quantity_row power_row = {.dimension = TD_DIM_WATTS, .least = 0, .most = 1e9};
static const struct td_quantity_row ratio_row = {.dimension = TD_DIM_RATIO, .least = 1, .most = 100};

/* Where something stands: "steps.[0].prefill". */
struct place {
  const struct td_config *config;
  char path[64];
};

static struct place inside(const struct place *place, const char *key) {
  struct place in = {.config = place->config};
  snprintf(in.path, sizeof in.path, "%.40s.%.20s", place->path, key);
  return in;
}

static td_status wrong(const struct place *place, const char *key, const char *text) {
  const struct place at = inside(place, key);
  return td_config_fail(place->config, at.path, "%s", text);
}

static td_status take_number(const struct place *place, const char *key, const struct td_quantity_row *row,
                             const struct td_quantity_text *text, struct td_quantity *out) {
  const struct place at = inside(place, key);
  return text->unit ? td_quantity_take(place->config, row, at.path, text, out) : TD_OK;
}

static td_status take_points(const struct place *place, const struct td_list *list, struct td_step_side *side) {
  const struct point_text *texts = list->items;
  if (list->count < 2 || list->count > POINTS_MAX) {
    return wrong(place, "points", "found another number of points, expected 2 to 4096");
  }
  TD_TRY(td_alloc((size_t)list->count, sizeof *side->points, (void **)&side->points));
  side->count = list->count;
  for (int32_t i = 0; i < list->count; i++) {
    char key[32];
    snprintf(key, sizeof key, "points.[%" PRId32 "]", i);
    const struct place at = inside(place, key);
    if (i && texts[i].at <= texts[i - 1].at) return wrong(&at, "at", "found no more than before, expected more");
    side->points[i].at = texts[i].at;
    TD_TRY(take_number(&at, "time", &time_row, &texts[i].time, &side->points[i].time));
  }
  return TD_OK;
}

/* `each`, `more`: what the file calls them. */
static td_status take_side(const struct place *place, const struct side_text *text, const char *each, const char *more,
                           struct td_step_side *side) {
  TD_TRY(take_number(place, "step", &time_row, &text->step, &side->step));
  TD_TRY(take_number(place, each, &time_row, &text->each, &side->each));
  TD_TRY(take_number(place, more, &time_row, &text->more, &side->more));
  TD_TRY(take_number(place, "power", &power_row, &text->power, &side->power));
  bool any = side->step.present || side->each.present || side->more.present;
  if (text->points.count && any) return wrong(place, "points", "found them beside a formula, expected one of both");
  if (text->points.count) return take_points(place, &text->points, side);
  const char *lacking = !side->step.present ? "step" : !side->each.present ? each : !side->more.present ? more : NULL;
  return lacking ? wrong(place, lacking, "found nothing, expected a time (0 if there is none), or points") : TD_OK;
}

static bool has_side(const struct side_text *text) {
  return text->step.unit || text->each.unit || text->more.unit || text->power.unit || text->points.count;
}

static td_status take_profile(const struct place *place, const struct model_text *text, struct td_step_model *model) {
  const struct place profile = inside(place, "profile");
  if (has_side(&text->prefill) || has_side(&text->decode) || has_side(&text->large) || text->mixed.unit) {
    return wrong(place, "profile", "found it beside other times of steps, expected one of both");
  }
  return td_step_profile_take(place->config, profile.path, &text->profile, &model->profile);
}

static td_status take_model(const struct place *place, const struct model_text *text, struct td_step_model *model) {
  const struct place prefill = inside(place, "prefill"), decode = inside(place, "decode"),
                     large = inside(place, "large");
  if (!*text->model) return wrong(place, "model", "found an empty text, expected the name of a shape");
  model->model = text->model;
  model->tensor = (int32_t)text->tensor;
  if (text->profile.source) return take_profile(place, text, model);
  model->large_from = text->large.from;
  TD_TRY(take_side(&prefill, &text->prefill, "token", "square", &model->prefill));
  TD_TRY(take_side(&decode, &text->decode, "sequence", "context", &model->decode));
  if (model->large_from) TD_TRY(take_side(&large, &text->large, "sequence", "context", &model->large));
  if (model->large_from && model->decode.count)
    return wrong(place, "large", "found it beside points, expected them only");
  TD_TRY(take_number(place, "mixed", &ratio_row, &text->mixed, &model->mixed));
  if (model->decode.count && !model->mixed.present) {
    return wrong(place, "mixed", "found nothing, expected it because decode steps are points");
  }
  return TD_OK;
}

static td_status take_all(const struct td_config *config, const struct td_list *list, struct td_step_model *models) {
  const struct model_text *texts = list->items;
  for (int32_t i = 0; i < list->count; i++) {
    struct place place = {.config = config};
    TD_TRY(td_format(place.path, sizeof place.path, "steps.[%" PRId32 "]", i));
    TD_TRY(take_model(&place, &texts[i], &models[i]));
    for (int32_t j = 0; j < i; j++) {
      if (strcmp(models[j].model, models[i].model) || models[j].tensor != models[i].tensor) continue;
      return wrong(&place, "model", "found a second one on as many chips, expected one");
    }
  }
  return TD_OK;
}

td_status td_step_models_take(const struct td_config *config, const struct td_list *list,
                              struct td_step_model **out_models, int32_t *out_count) {
  struct td_step_model *models;
  if (list->count > MODELS_MAX) {
    return td_config_fail(config, "steps", "found %" PRId32 ", expected at most %d", list->count, MODELS_MAX);
  }
  TD_TRY(td_alloc((size_t)list->count + 1, sizeof *models, (void **)&models));
  td_status status = take_all(config, list, models);
  if (status) {
    td_step_models_free(models, list->count);
    return status;
  }
  *out_models = models;
  *out_count = list->count;
  return TD_OK;
}

static void free_side(struct td_step_side *side) {
  free(side->points);
}

void td_step_models_free(struct td_step_model *models, int32_t count) {
  for (int32_t i = 0; models && i < count; i++) {
    free_side(&models[i].prefill);
    free_side(&models[i].decode);
    free_side(&models[i].large);
    td_step_profile_free(models[i].profile);
  }
  free(models);
}

bool td_step_models_have_power(const struct td_step_model *models, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    if (models[i].prefill.power.present || models[i].decode.power.present) return true;
  }
  return false;
}

/* ---- printing ---- */

static void print_number(const char *side, const char *name, const struct td_quantity_row *row, const char *basis,
                         const struct td_quantity *quantity, FILE *out) {
  char text[48];
  struct td_quantity_row named = *row;
  snprintf(text, sizeof text, "%s%s%s", side, *side ? " " : "", name);
  named.name = text;
  if (quantity->present) td_quantity_print(&named, quantity, basis, out);
}

static void print_side(const char *side, const struct td_step_side *of, bool prompts, const char *basis, FILE *out) {
  print_number(side, "step", &time_row, NULL, &of->step, out);
  print_number(side, prompts ? "token" : "sequence", &time_row, NULL, &of->each, out);
  print_number(side, prompts ? "square" : "context", &time_row, NULL, &of->more, out);
  print_number(side, "power", &power_row, basis, &of->power, out);
  for (int32_t i = 0; i < of->count; i++) {
    char at[32];
    snprintf(at, sizeof at, "at %" PRId64, of->points[i].at);
    print_number(side, at, &time_row, NULL, &of->points[i].time, out);
  }
}

void td_step_models_print(const struct td_device_params *device, FILE *out) {
  for (int32_t i = 0; i < device->step_count; i++) {
    const struct td_step_model *model = &device->steps[i];
    fprintf(out, "steps of %s on %" PRId32 " chip%s\n", model->model, model->tensor, model->tensor > 1 ? "s" : "");
    if (model->profile) td_step_profile_print(model->profile, out);
    print_side("prefill", &model->prefill, true, device->power_basis, out);
    print_side("decode", &model->decode, false, device->power_basis, out);
    if (model->large_from) fprintf(out, "  from %" PRId64 " sequences:\n", model->large_from);
    print_side("decode", &model->large, false, device->power_basis, out);
    print_number("", "mixed", &ratio_row, NULL, &model->mixed, out);
  }
}

static void json_number(const char *name, const struct td_quantity_row *row, const struct td_quantity *quantity,
                        FILE *out) {
  fprintf(out, ", \"%s\": ", name);
  if (quantity->present) td_quantity_json(row, quantity, NULL, out);
  if (!quantity->present) fputs("null", out);
}

static void json_side(const char *side, const struct td_step_side *of, bool prompts, FILE *out) {
  fprintf(out, ", \"%s\": {\"points\": [", side);
  for (int32_t i = 0; i < of->count; i++) {
    fprintf(out, "%s{\"at\": %" PRId64, i ? ", " : "", of->points[i].at);
    json_number("time", &time_row, &of->points[i].time, out);
    fputc('}', out);
  }
  fputc(']', out);
  json_number("step", &time_row, &of->step, out);
  json_number(prompts ? "token" : "sequence", &time_row, &of->each, out);
  json_number(prompts ? "square" : "context", &time_row, &of->more, out);
  json_number("power", &power_row, &of->power, out);
  fputc('}', out);
}

void td_step_models_json(const struct td_device_params *device, FILE *out) {
  fputs(", \"steps\": [", out);
  for (int32_t i = 0; i < device->step_count; i++) {
    const struct td_step_model *model = &device->steps[i];
    fprintf(out, "%s{\"model\": ", i ? ", " : "");
    td_json_string(out, model->model, strlen(model->model));
    fprintf(out, ", \"tensor\": %" PRId32 ", \"large_from\": %" PRId64, model->tensor, model->large_from);
    json_side("prefill", &model->prefill, true, out);
    json_side("decode", &model->decode, false, out);
    json_side("large", &model->large, false, out);
    json_number("mixed", &ratio_row, &model->mixed, out);
    fputs(", \"profile\": ", out);
    td_step_profile_json(model->profile, out);
    fputc('}', out);
  }
  fputc(']', out);
}
