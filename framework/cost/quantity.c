/* SPDX-License-Identifier: Apache-2.0 */
#include "quantity.h"

#include <math.h>
#include <string.h>

#include "lpu_system.h"
#include "measure.h"
#include "op_model.h"
#include "step_model.h"
#include "tandem/base.h"

#define ROW(name_, kinds_, dimension_, least_, most_, help_) \
  {.name = #name_,                                           \
   .help = help_,                                            \
   .offset = offsetof(struct td_device_params, name_),       \
   .text_offset = offsetof(struct td_device_file, name_),    \
   .kinds = TD_IN_##kinds_,                                  \
   .dimension = TD_DIM_##dimension_,                         \
   .least = least_,                                          \
   .most = most_},
const struct td_quantity_row td_quantity_rows[] = {TD_QUANTITIES(ROW){.name = NULL}};

static const struct td_option quantity_options[] = {
    {.name = "value",
     .type = TD_OPT_REAL,
     .help = "the number, in `unit`",
     .offset = offsetof(struct td_quantity_text, value)},
    {.name = "unit", .type = TD_OPT_TEXT, .help = "its unit", .offset = offsetof(struct td_quantity_text, unit)},
    {.name = "source",
     .type = TD_OPT_TEXT,
     .help = "title and year of where it was published, or how it was measured",
     .offset = offsetof(struct td_quantity_text, source)},
    {.name = "evidence",
     .type = TD_OPT_CHOICE,
     .choices = "measured|vendor|secondary|assumed",
     .help = "how far to trust it",
     .offset = offsetof(struct td_quantity_text, evidence)},
    {.name = "low",
     .type = TD_OPT_REAL,
     .fallback = "nan",
     .help = "lowest value that is credible, in `unit`",
     .offset = offsetof(struct td_quantity_text, low)},
    {.name = "high",
     .type = TD_OPT_REAL,
     .fallback = "nan",
     .help = "highest value that is credible, in `unit`",
     .offset = offsetof(struct td_quantity_text, high)},
    {.name = NULL}};
const struct td_option_group td_quantity_group = {"a number", sizeof(struct td_quantity_text), quantity_options};

#define KEY(name_, kinds_, dimension_, least_, most_, help_) \
  {.name = #name_,                                           \
   .type = TD_OPT_GROUP,                                     \
   .fallback = "",                                           \
   .help = help_,                                            \
   .offset = offsetof(struct td_device_file, name_),         \
   .group = &td_quantity_group},
static const struct td_option file_options[] = {{.name = "title",
                                                 .type = TD_OPT_TEXT,
                                                 .help = "what the device is called",
                                                 .offset = offsetof(struct td_device_file, title)},
                                                {.name = "kind",
                                                 .type = TD_OPT_CHOICE,
                                                 .choices = "chip|link|lpu|rack|site|lpu-system",
                                                 .help = "chip, link, lpu, rack, site or lpu-system",
                                                 .offset = offsetof(struct td_device_file, kind)},
                                                {.name = "imagined",
                                                 .type = TD_OPT_BOOL,
                                                 .fallback = "false",
                                                 .help = "nobody announced such a device",
                                                 .offset = offsetof(struct td_device_file, imagined)},
                                                {.name = "status",
                                                 .type = TD_OPT_CHOICE,
                                                 .fallback = "sold",
                                                 .choices = "sold|announced|cancelled",
                                                 .help = "whether it can be bought",
                                                 .offset = offsetof(struct td_device_file, status)},
                                                {.name = "chip",
                                                 .type = TD_OPT_TEXT,
                                                 .fallback = "",
                                                 .help = "of a rack or system: the device file of its chips",
                                                 .offset = offsetof(struct td_device_file, chip)},
                                                {.name = "host",
                                                 .type = TD_OPT_TEXT,
                                                 .fallback = "",
                                                 .help = "of a rack: the device file of its host processors",
                                                 .offset = offsetof(struct td_device_file, host)},
                                                {.name = "power_basis",
                                                 .type = TD_OPT_CHOICE,
                                                 .fallback = "none",
                                                 .choices = "none|chip|all-in|utility",
                                                 .help = "what the power numbers include",
                                                 .offset = offsetof(struct td_device_file, power_basis)},
                                                {.name = "lpu",
                                                 .type = TD_OPT_GROUP,
                                                 .fallback = "",
                                                 .help = "the numbers of an SRAM-resident, statically scheduled chip",
                                                 .offset = offsetof(struct td_device_file, lpu),
                                                 .group = &td_lpu_group},
                                                {.name = "fits",
                                                 .type = TD_OPT_LIST,
                                                 .fallback = "()",
                                                 .help = "what tandem calibrate fitted, one an operator and path",
                                                 .offset = offsetof(struct td_device_file, fits),
                                                 .group = &td_op_fit_group},
                                                {.name = "wiring",
                                                 .type = TD_OPT_LIST,
                                                 .fallback = "()",
                                                 .help = "of a system of LPUs: its levels, from the inside out",
                                                 .offset = offsetof(struct td_device_file, wiring),
                                                 .group = &td_lpu_level_group},
                                                {.name = "operators",
                                                 .type = TD_OPT_LIST,
                                                 .fallback = "()",
                                                 .help = "operators as they were measured here, by tandem calibrate",
                                                 .offset = offsetof(struct td_device_file, operators),
                                                 .group = &td_measured_group},
                                                {.name = "steps",
                                                 .type = TD_OPT_LIST,
                                                 .fallback = "()",
                                                 .help = "whole steps of models as they were measured",
                                                 .offset = offsetof(struct td_device_file, steps),
                                                 .group = &td_step_group},
                                                TD_QUANTITIES(KEY){.name = NULL}};
const struct td_option_group td_device_file_group = {"a device file", sizeof(struct td_device_file), file_options};

const char *td_device_kind_name(enum td_device_kind kind) {
  static const char *const names[] = {"chip", "link", "lpu", "rack", "site", "lpu-system"};
  return (unsigned)kind < sizeof names / sizeof *names ? names[kind] : "unknown";
}

const char *td_evidence_name(enum td_evidence evidence) {
  static const char *const names[] = {"measured", "vendor", "secondary", "assumed"};
  return (unsigned)evidence < sizeof names / sizeof *names ? names[evidence] : "unknown";
}

const struct td_quantity *td_quantity_at(const struct td_device_params *params, const struct td_quantity_row *row) {
  return (const struct td_quantity *)(const void *)((const char *)params + row->offset);
}

void td_quantity_kinds(const struct td_quantity_row *row, char *out, size_t size) {
  size_t used = 0;
  *out = 0;
  for (int kind = TD_KIND_CHIP; kind <= TD_KIND_SITE; kind++) {
    if (!(row->kinds & 1u << kind) || used >= size) continue;
    used += (size_t)snprintf(out + used, size - used, "%s%s", used ? " or " : "",
                             td_device_kind_name((enum td_device_kind)kind));
  }
}

const char *td_quantity_basis(const struct td_device_params *params, const struct td_quantity_row *row) {
  if (row->dimension != TD_DIM_WATTS) return NULL;
  if (row->offset == offsetof(struct td_device_params, power_all_in)) return "all-in";
  if (row->offset == offsetof(struct td_device_params, power_utility)) return "utility";
  return params->power_basis;
}

struct unit {
  const char *name;
  enum td_dimension dimension;
  double scale;
};

static const struct unit units[] = {
    {"B", TD_DIM_BYTES, 1},
    {"kB", TD_DIM_BYTES, 1e3},
    {"MB", TD_DIM_BYTES, 1e6},
    {"GB", TD_DIM_BYTES, 1e9},
    {"TB", TD_DIM_BYTES, 1e12},
    {"KiB", TD_DIM_BYTES, 1024},
    {"MiB", TD_DIM_BYTES, 1048576},
    {"GiB", TD_DIM_BYTES, 1073741824},
    {"TiB", TD_DIM_BYTES, 1099511627776},
    {"B/s", TD_DIM_BYTES_PER_SECOND, 1},
    {"kB/s", TD_DIM_BYTES_PER_SECOND, 1e3},
    {"MB/s", TD_DIM_BYTES_PER_SECOND, 1e6},
    {"GB/s", TD_DIM_BYTES_PER_SECOND, 1e9},
    {"TB/s", TD_DIM_BYTES_PER_SECOND, 1e12},
    {"PB/s", TD_DIM_BYTES_PER_SECOND, 1e15},
    {"FLOP/s", TD_DIM_FLOPS, 1},
    {"GFLOP/s", TD_DIM_FLOPS, 1e9},
    {"TFLOP/s", TD_DIM_FLOPS, 1e12},
    {"PFLOP/s", TD_DIM_FLOPS, 1e15},
    {"s", TD_DIM_SECONDS, 1},
    {"ms", TD_DIM_SECONDS, 1e-3},
    {"us", TD_DIM_SECONDS, 1e-6},
    {"ns", TD_DIM_SECONDS, 1e-9},
    {"W", TD_DIM_WATTS, 1},
    {"kW", TD_DIM_WATTS, 1e3},
    {"h", TD_DIM_SECONDS, 3600},
    {"1", TD_DIM_FRACTION, 1},
    {"1", TD_DIM_RATIO, 1},
    {"1", TD_DIM_COUNT, 1},
    {"cycles", TD_DIM_CYCLES, 1},
    {"Hz", TD_DIM_HERTZ, 1},
    {"kHz", TD_DIM_HERTZ, 1e3},
    {"MHz", TD_DIM_HERTZ, 1e6},
    {"GHz", TD_DIM_HERTZ, 1e9},
    {"OP/s", TD_DIM_OPS, 1},
    {"GOP/s", TD_DIM_OPS, 1e9},
    {"TOP/s", TD_DIM_OPS, 1e12},
    {"POP/s", TD_DIM_OPS, 1e15},
    {"USD", TD_DIM_DOLLARS, 1},
    {"USD/h", TD_DIM_DOLLARS_PER_HOUR, 1},
    {"USD/kWh", TD_DIM_DOLLARS_PER_KWH, 1},
    {"USD/W", TD_DIM_DOLLARS_PER_WATT, 1},
};

bool td_unit_scale(enum td_dimension dimension, const char *unit, double *out_scale) {
  for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
    if (units[i].dimension != dimension || strcmp(units[i].name, unit)) continue;
    *out_scale = units[i].scale;
    return true;
  }
  return false;
}

/* "B/s, kB/s, ..." for messages. */
static const char *unit_names(enum td_dimension dimension) {
  static const char *const names[] = {"B, kB, MB, GB, TB, KiB, MiB, GiB or TiB",
                                      "B/s, kB/s, MB/s, GB/s, TB/s or PB/s",
                                      "FLOP/s, GFLOP/s, TFLOP/s or PFLOP/s",
                                      "h, s, ms, us or ns",
                                      "W or kW",
                                      "\"1\" (a fraction)",
                                      "\"1\" (a ratio)",
                                      "\"1\" (a number of things)",
                                      "cycles",
                                      "Hz, kHz, MHz or GHz",
                                      "OP/s, GOP/s, TOP/s or POP/s",
                                      "USD",
                                      "USD/h",
                                      "USD/kWh",
                                      "USD/W"};
  return names[dimension];
}

const char *td_unit_base(enum td_dimension dimension) {
  static const char *const names[] = {"B",      "B/s", "FLOP/s", "s",   "W",     "1",       "1",    "1",
                                      "cycles", "Hz",  "OP/s",   "USD", "USD/h", "USD/kWh", "USD/W"};
  return names[dimension];
}

static td_status wrong(const struct td_config *config, const char *path, const char *key, const char *text) {
  char below[128];
  TD_TRY(td_format(below, sizeof below, "%s.%s", path, key));
  return td_config_fail(config, below, "%s", text);
}

static td_status check_range(const struct td_config *config, const char *path, const struct td_quantity_text *text,
                             double low, double high) {
  char line[160];
  bool has_low = !isnan(text->low), has_high = !isnan(text->high);
  if (has_low != has_high) {
    return wrong(config, path, has_low ? "low" : "high", "found it alone, expected both low and high");
  }
  if (!has_low && text->evidence != TD_MEASURED) {
    snprintf(line, sizeof line, "found no range, expected low and high because its evidence is %s",
             td_evidence_name((enum td_evidence)text->evidence));
    return td_config_fail(config, path, "%s", line);
  }
  if (low > high) {
    snprintf(line, sizeof line, "found %.15g, expected no more than high = %.15g", low, high);
    return wrong(config, path, "low", line);
  }
  if (text->value >= low && text->value <= high) return TD_OK;
  snprintf(line, sizeof line, "found %.15g, expected it between low = %.15g and high = %.15g", text->value, low, high);
  return wrong(config, path, "value", line);
}

static bool names_year(const char *text) {
  for (const char *digits = strpbrk(text, "0123456789"); digits; digits = strpbrk(digits, "0123456789")) {
    size_t count = strspn(digits, "0123456789");
    if (count == 4 && (!strncmp(digits, "19", 2) || !strncmp(digits, "20", 2))) return true;
    digits += count;
  }
  return false;
}

/* What was published says where and when; what was measured, how; what is assumed, why. */
static td_status check_source(const struct td_config *config, const char *path, const struct td_quantity_text *text) {
  if (strspn(text->source, " \t\n") == strlen(text->source)) {
    return wrong(config, path, "source", "found an empty text, expected where the number comes from");
  }
  bool published = text->evidence == TD_VENDOR || text->evidence == TD_SECONDARY;
  if (!published || names_year(text->source)) return TD_OK;
  char line[160];
  snprintf(line, sizeof line, "found no year in \"%.60s\", expected title and year of where it was published",
           text->source);
  return wrong(config, path, "source", line);
}

td_status td_quantity_take(const struct td_config *config, const struct td_quantity_row *row, const char *path,
                           const struct td_quantity_text *text, struct td_quantity *out) {
  double scale;
  if (!td_unit_scale(row->dimension, text->unit, &scale)) {
    char line[160];
    snprintf(line, sizeof line, "found \"%.40s\", expected %s", text->unit, unit_names(row->dimension));
    return wrong(config, path, "unit", line);
  }
  double low = isnan(text->low) ? text->value : text->low, high = isnan(text->high) ? text->value : text->high;
  TD_TRY(check_range(config, path, text, low, high));
  TD_TRY(check_source(config, path, text));
  if (low * scale < row->least || high * scale > row->most) {
    char line[200];
    snprintf(line, sizeof line, "found %.15g..%.15g %s, expected it within %g..%g %s", low, high, text->unit,
             row->least, row->most, td_unit_base(row->dimension));
    return wrong(config, path, "value", line);
  }
  *out = (struct td_quantity){.present = true,
                              .value = text->value * scale,
                              .low = low * scale,
                              .high = high * scale,
                              .evidence = (enum td_evidence)text->evidence,
                              .unit = text->unit,
                              .source = text->source};
  return TD_OK;
}

td_status td_quantity_whole(const struct td_config *config, const char *key, const struct td_quantity *quantity) {
  const double values[] = {quantity->value, quantity->low, quantity->high};
  for (int i = 0; i < 3; i++) {
    if (floor(values[i]) == values[i]) continue;
    return td_config_fail(config, key, "found %.15g %s, expected a whole number", values[i], quantity->unit);
  }
  return TD_OK;
}
