/* SPDX-License-Identifier: Apache-2.0
 *
 * Fits in device files: their option table, and reading them. op_write.c writes them.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "op_model.h"
#include "tandem/base.h"

struct parameter_text {
  const char *name, *unit;
  double value;
};
struct error_text {
  const char *name;
  int64_t rows;
  double mape, p90, time_weighted, low, high;
};
struct range_text {
  const char *field;
  int64_t least, most;
};
struct td_op_fit_text {
  int op;
  const char *path, *source, *command;
  int64_t rows, seed;
  double length, noise;
  struct td_list parameters, errors, measured, residuals;
};

static const struct td_option parameter_options[] = {
    {.name = "name", .type = TD_OPT_TEXT, .help = "of the model", .offset = offsetof(struct parameter_text, name)},
    {.name = "value", .type = TD_OPT_REAL, .help = "in `unit`", .offset = offsetof(struct parameter_text, value)},
    {.name = "unit", .type = TD_OPT_TEXT, .help = "the model's", .offset = offsetof(struct parameter_text, unit)},
    {.name = NULL}};
static const struct td_option_group parameter_group = {"a fitted parameter", sizeof(struct parameter_text),
                                                       parameter_options};

#define ERROR(name_, least_, most_, help_)                                            \
  {                                                                                   \
    .name = #name_, .type = TD_OPT_REAL, .low = least_, .high = most_, .help = help_, \
    .offset = offsetof(struct error_text, name_)                                      \
  }
static const struct td_option error_options[] = {
    {.name = "shapes", .type = TD_OPT_TEXT, .help = "which", .offset = offsetof(struct error_text, name)},
    {.name = "rows",
     .type = TD_OPT_INT,
     .low = 0,
     .high = 1e9,
     .help = "rows held back and compared",
     .offset = offsetof(struct error_text, rows)},
    ERROR(mape, 0, 1e6, "mean of |predicted / measured - 1|"),
    ERROR(p90, 0, 1e6, "its 90th percentile"),
    ERROR(time_weighted, 0, 1e6, "sum of |predicted - measured| / sum of measured"),
    ERROR(low, 1e-6, 1e6, "measured / predicted: 5th percentile; of few families or rows, lower"),
    ERROR(high, 1e-6, 1e6, "measured / predicted: 95th percentile; of few families or rows, higher"),
    {.name = NULL}};
static const struct td_option_group error_group = {"an error", sizeof(struct error_text), error_options};

static const struct td_option range_options[] = {
    {.name = "field", .type = TD_OPT_TEXT, .help = "of the shape", .offset = offsetof(struct range_text, field)},
    {.name = "least", .type = TD_OPT_INT, .help = "measured", .offset = offsetof(struct range_text, least)},
    {.name = "most", .type = TD_OPT_INT, .help = "measured", .offset = offsetof(struct range_text, most)},
    {.name = NULL}};
static const struct td_option_group range_group = {"a measured range", sizeof(struct range_text), range_options};

#define AT(field_) .offset = offsetof(struct td_op_fit_text, field_)
static const struct td_option fit_options[] = {
    {.name = "operator",
     .type = TD_OPT_CHOICE,
     .choices = "gemm|attention_context|attention_generation|moe|collective|e2e",
     .help = "what was measured",
     AT(op)},
    {.name = "path", .type = TD_OPT_TEXT, .help = "its element types, or the collective", AT(path)},
    {.name = "source", .type = TD_OPT_TEXT, .help = "the table", AT(source)},
    {.name = "command", .type = TD_OPT_TEXT, .help = "that made it", AT(command)},
    {.name = "rows", .type = TD_OPT_INT, .low = 1, .high = 1e9, .help = "rows of it that were fitted to", AT(rows)},
    {.name = "seed", .type = TD_OPT_INT, .help = "of what was held back and sampled", AT(seed)},
    {.name = "parameters", .type = TD_OPT_LIST, .help = "of the model", .group = &parameter_group, AT(parameters)},
    {.name = "errors",
     .type = TD_OPT_LIST,
     .fallback = "()",
     .help = "on rows held back",
     .group = &error_group,
     AT(errors)},
    {.name = "measured", .type = TD_OPT_LIST, .help = "range of the rows", .group = &range_group, AT(measured)},
    {.name = "residual_length",
     .type = TD_OPT_REAL,
     .fallback = "1",
     .low = 1e-3,
     .high = 1e3,
     .help = "octaves over which residuals are alike",
     AT(length)},
    {.name = "residual_noise",
     .type = TD_OPT_REAL,
     .fallback = "1",
     .low = 1e-4,
     .high = 1e3,
     .help = "variance of a single residual's noise, that of residuals being 1",
     AT(noise)},
    {.name = "residuals",
     .type = TD_OPT_TEXTS,
     .fallback = "()",
     .help = "\"FIELDS BUT THE LAST: LAST RESIDUAL, ...\": log(measured / modelled), thousandths",
     AT(residuals)},
    {.name = NULL}};
const struct td_option_group td_op_fit_group = {"a fit", sizeof(struct td_op_fit_text), fit_options};

/* ---- reading ---- */

struct place {
  const struct td_config *config;
  const struct td_device_params *device;
  int32_t fit;
};

static td_status wrong(const struct place *place, const char *key, const char *found, const char *expected) {
  char path[96];
  TD_TRY(td_format(path, sizeof path, "fits.[%" PRId32 "].%s", place->fit, key));
  return td_config_fail(place->config, path, "found %.60s, expected %s", found, expected);
}

/* Of a path whose element type is unknown, or for which the file lacks a number: what was just found. */
static td_status no_basis(const struct place *place) {
  char path[96];
  TD_TRY(td_format(path, sizeof path, "fits.[%" PRId32 "].path", place->fit));
  return td_config_fail(place->config, path, "%s", td_error_text());
}

static td_status take_parameters(const struct place *place, const struct td_list *list, struct td_op_fit *fit) {
  const struct td_op_model *model = td_op_model(fit->op);
  const struct parameter_text *texts = list->items;
  if (list->count != model->parameter_count) return wrong(place, "parameters", "another number of them", "the model's");
  for (int32_t i = 0; i < list->count; i++) {
    const struct td_op_parameter *parameter = &model->parameters[i];
    if (strcmp(texts[i].name, parameter->name)) return wrong(place, "parameters", texts[i].name, parameter->name);
    if (strcmp(texts[i].unit, parameter->unit)) return wrong(place, "parameters", texts[i].unit, parameter->unit);
    if (!(texts[i].value >= parameter->low * 0.999 && texts[i].value <= parameter->high * 1.001)) {
      char text[64], range[96];
      snprintf(text, sizeof text, "%s = %g", texts[i].name, texts[i].value);
      snprintf(range, sizeof range, "%g..%g %s", parameter->low, parameter->high, parameter->unit);
      return wrong(place, "parameters", text, range);
    }
    fit->parameters[i] = texts[i].value;
  }
  return TD_OK;
}

static td_status take_errors(const struct place *place, const struct td_list *list, struct td_op_fit *fit) {
  const struct td_op_model *model = td_op_model(fit->op);
  const struct error_text *texts = list->items;
  bool given[TD_OP_CLASSES] = {false};
  for (int32_t i = 0; i < list->count; i++) {
    int32_t class_index = 0;
    while (class_index < TD_OP_CLASSES && strcmp(model->class_names[class_index], texts[i].name)) class_index++;
    if (class_index == TD_OP_CLASSES) return wrong(place, "errors", texts[i].name, "a class of the model's shapes");
    if (texts[i].low > texts[i].high) return wrong(place, "errors", "low above high", "the opposite");
    if (given[class_index]) return wrong(place, "errors", texts[i].name, "each class of shapes once");
    given[class_index] = true;
    fit->errors[class_index] = (struct td_op_error){.rows = texts[i].rows,
                                                    .mape = texts[i].mape,
                                                    .p90 = texts[i].p90,
                                                    .time_weighted = texts[i].time_weighted,
                                                    .low = texts[i].low,
                                                    .high = texts[i].high};
  }
  if (!list->count || given[0]) return TD_OK;
  return wrong(place, "errors", "classes of shapes alone", "the error of all rows held back as well");
}

static td_status take_range(const struct place *place, const struct td_op_field *field, const struct range_text *text) {
  char found[64], range[64];
  if (strcmp(text->field, field->name)) return wrong(place, "measured", text->field, field->name);
  if (text->least >= 0 && text->least <= text->most && text->most <= field->most) return TD_OK;
  snprintf(found, sizeof found, "%.20s = %" PRId64 "..%" PRId64, text->field, text->least, text->most);
  snprintf(range, sizeof range, "a range within 0..%" PRId64, field->most);
  return wrong(place, "measured", found, range);
}

static td_status take_ranges(const struct place *place, const struct td_list *list, struct td_op_fit *fit) {
  const struct td_op_model *model = td_op_model(fit->op);
  const struct range_text *texts = list->items;
  if (list->count != model->field_count) return wrong(place, "measured", "another number of fields", "the model's");
  for (int32_t i = 0; i < list->count; i++) {
    TD_TRY(take_range(place, &model->fields[i], &texts[i]));
    fit->least.v[i] = texts[i].least;
    fit->most.v[i] = texts[i].most;
  }
  return TD_OK;
}

static bool take_number(const char **at, int64_t *out) {
  char *end;
  errno = 0;
  long long value = strtoll(*at, &end, 10);
  if (errno || end == *at) return false;
  *at = end;
  *out = value;
  return true;
}

/* "n k: m residual, m residual, ..." */
static bool take_line(const struct td_op_model *model, const char *text, struct td_op_fit *fit) {
  struct td_op_residual point = {.log_ratio = 0};
  const char *at = text;
  int32_t last = model->field_count - 1;
  for (int32_t i = 0; i < last; i++) {
    if (!take_number(&at, &point.shape.v[i])) return false;
  }
  for (bool first = true; *at; first = false) {
    int64_t thousandths;
    if (*at++ != (first ? ':' : ',')) return false;
    if (!take_number(&at, &point.shape.v[last]) || !take_number(&at, &thousandths)) return false;
    if (thousandths < -10000 || thousandths > 10000 || td_op_shape_check(fit->op, &point.shape)) return false;
    if (fit->residual_count == TD_OP_RESIDUALS_MAX) return false;
    point.log_ratio = (double)thousandths / 1000;
    fit->residuals[fit->residual_count++] = point;
  }
  return true;
}

static td_status take_residuals(const struct place *place, const struct td_list *list, struct td_op_fit *fit) {
  const char *const *texts = list->items;
  size_t commas = 0;
  void *memory;
  for (int32_t i = 0; i < list->count; i++) {
    for (const char *at = texts[i]; *at; at++) commas += *at == ',' || *at == ':';
  }
  if (commas > TD_OP_RESIDUALS_MAX) return wrong(place, "residuals", "over 32768 of them", "fewer");
  TD_TRY(td_alloc(commas + 1, sizeof *fit->residuals, &memory));
  fit->residuals = memory;
  for (int32_t i = 0; i < list->count; i++) {
    if (!take_line(td_op_model(fit->op), texts[i], fit)) {
      return wrong(place, "residuals", texts[i], "\"FIELDS BUT THE LAST: LAST RESIDUAL, ...\" in whole numbers");
    }
  }
  struct td_op_chip chip;
  if (td_op_chip_of(place->device, fit->op, fit->path, &chip)) return no_basis(place);
  return td_op_residual_prepare(&chip, fit);
}

static td_status take_fit(const struct place *place, const struct td_op_fit_text *text, struct td_op_fit *fit) {
  fit->op = (enum td_operator)text->op;
  if (!*text->path || strlen(text->path) >= sizeof fit->path)
    return wrong(place, "path", *text->path ? text->path : "an empty text", "1..47 bytes");
  if (strspn(text->source, " \t\n") == strlen(text->source)) {
    return wrong(place, "source", "an empty text", "where the measurements come from");
  }
  memcpy(fit->path, text->path, strlen(text->path) + 1);
  fit->source = text->source;
  fit->command = text->command;
  fit->rows = text->rows;
  fit->seed = text->seed;
  fit->length = text->length;
  fit->noise = text->noise;
  TD_TRY(take_parameters(place, &text->parameters, fit));
  TD_TRY(take_errors(place, &text->errors, fit));
  TD_TRY(take_ranges(place, &text->measured, fit));
  return take_residuals(place, &text->residuals, fit);
}

static td_status take_all(const struct td_config *config, const struct td_list *list,
                          const struct td_device_params *device, struct td_op_fits *fits) {
  const struct td_op_fit_text *texts = list->items;
  for (int32_t i = 0; i < list->count; i++) {
    const struct place place = {config, device, i};
    struct td_op_fit *fit = &fits->fits[fits->count++];
    TD_TRY(take_fit(&place, &texts[i], fit));
    for (int32_t j = 0; j < i; j++) {
      if (fits->fits[j].op == fit->op && !strcmp(fits->fits[j].path, fit->path)) {
        return wrong(&place, "path", "a second fit of this operator and path", "one");
      }
    }
  }
  return TD_OK;
}

td_status td_op_fits_take(const struct td_config *config, const struct td_list *list,
                          const struct td_device_params *device, struct td_op_fits *out_fits) {
  struct td_op_fits fits = {0};
  void *memory;
  if (list->count > 64) {
    return td_config_fail(config, "fits", "found %" PRId32 ", expected at most 64", list->count);
  }
  TD_TRY(td_alloc((size_t)list->count + 1, sizeof *fits.fits, &memory));
  fits.fits = memory;
  td_status status = take_all(config, list, device, &fits);
  if (status) {
    td_op_fits_free(&fits);
    return status;
  }
  *out_fits = fits;
  return TD_OK;
}

void td_op_fit_free(struct td_op_fit *fit) {
  free(fit->residuals);
  free(fit->places);
  fit->residuals = NULL;
  fit->places = NULL;
  fit->residual_count = 0;
}

void td_op_fits_free(struct td_op_fits *fits) {
  for (int32_t i = 0; i < fits->count; i++) td_op_fit_free(&fits->fits[i]);
  free(fits->fits);
  *fits = (struct td_op_fits){0};
}
