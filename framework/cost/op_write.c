/* SPDX-License-Identifier: Apache-2.0
 *
 * Writing a device file: the numbers of a device as they were given, its fits and new ones.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "measure.h"
#include "op_model.h"
#include "quantity.h"
#include "tandem/base.h"

/* libconfig's own escapes. */
static void put_text(FILE *out, const char *text) {
  fputc('"', out);
  for (; *text; text++) {
    if (*text == '\n') {
      fputs("\\n", out);
    } else if ((unsigned char)*text < 0x20) {
      fprintf(out, "\\x%02x", (unsigned char)*text);
    } else {
      if (*text == '"' || *text == '\\') fputc('\\', out);
      fputc(*text, out);
    }
  }
  fputc('"', out);
}

/* A real that libconfig reads as one. */
static void put_real(FILE *out, double value) {
  char text[40];
  snprintf(text, sizeof text, "%.9g", value);
  fprintf(out, "%s%s", text, strpbrk(text, ".e") ? "" : ".0");
}

static void put_quantity(const struct td_quantity_row *row, const struct td_quantity *quantity, FILE *out) {
  double scale = 1;
  td_unit_scale(row->dimension, quantity->unit, &scale);
  fprintf(out, "%s = { value = ", row->name);
  put_real(out, quantity->value / scale);
  fputs("; unit = ", out);
  put_text(out, quantity->unit);
  if (quantity->low < quantity->value || quantity->high > quantity->value || quantity->evidence != TD_MEASURED) {
    fputs("; low = ", out);
    put_real(out, quantity->low / scale);
    fputs("; high = ", out);
    put_real(out, quantity->high / scale);
  }
  fprintf(out, "; evidence = \"%s\";\n  source = ", td_evidence_name(quantity->evidence));
  put_text(out, quantity->source);
  fputs("; };\n", out);
}

/* ---- fits ---- */

static void put_parameters(const struct td_op_fit *fit, FILE *out) {
  fputs("    parameters = (", out);
  for (int32_t i = 0; i < td_operator_parameters(fit->op); i++) {
    const char *unit, *name = td_operator_parameter(fit->op, i, &unit);
    fprintf(out, "%s\n      { name = \"%s\"; value = ", i ? "," : "", name);
    put_real(out, fit->parameters[i]);
    fprintf(out, "; unit = \"%s\"; }", unit);
  }
  fputs(");\n", out);
}

static void put_errors(const struct td_op_fit *fit, FILE *out) {
  bool more = false;
  fputs("    errors = (", out);
  for (int32_t i = 0; i < TD_OP_CLASSES; i++) {
    const struct td_op_error *error = &fit->errors[i];
    if (!error->rows) continue;
    fprintf(out, "%s\n      { shapes = \"%s\"; rows = %" PRId64 "; mape = ", more ? "," : "",
            td_operator_class(fit->op, i), error->rows);
    put_real(out, error->mape);
    fputs("; p90 = ", out);
    put_real(out, error->p90);
    fputs("; time_weighted = ", out);
    put_real(out, error->time_weighted);
    fputs("; low = ", out);
    put_real(out, error->low);
    fputs("; high = ", out);
    put_real(out, error->high);
    fputs("; }", out);
    more = true;
  }
  fputs(");\n", out);
}

static void put_ranges(const struct td_op_fit *fit, FILE *out) {
  fputs("    measured = (", out);
  for (int32_t i = 0; i < td_operator_fields(fit->op); i++) {
    fprintf(out, "%s\n      { field = \"%s\"; least = %" PRId64 "; most = %" PRId64 "; }", i ? "," : "",
            td_operator_field(fit->op, i), fit->least.v[i], fit->most.v[i]);
  }
  fputs(");\n", out);
}

static bool same_family(int32_t fields, const struct td_op_shape *a, const struct td_op_shape *b) {
  return !memcmp(a->v, b->v, sizeof *a->v * (size_t)(fields - 1));
}

static void put_residuals(const struct td_op_fit *fit, FILE *out) {
  int32_t fields = td_operator_fields(fit->op);
  if (!fit->residual_count) return;
  fputs("    residual_length = ", out);
  put_real(out, fit->length);
  fputs(";\n    residual_noise = ", out);
  put_real(out, fit->noise);
  fputs(";\n    residuals = (", out);
  for (int32_t i = 0; i < fit->residual_count; i++) {
    const struct td_op_residual *point = &fit->residuals[i];
    bool goes_on = i && same_family(fields, &point->shape, &fit->residuals[i - 1].shape);
    if (!goes_on) fputs(i ? "\",\n      \"" : "\n      \"", out);
    for (int32_t f = 0; f < fields - 1 && !goes_on; f++) fprintf(out, f ? " %" PRId64 : "%" PRId64, point->shape.v[f]);
    fprintf(out, "%s%" PRId64 " %ld", goes_on ? ", " : ": ", point->shape.v[fields - 1],
            lround(point->log_ratio * 1000));
  }
  fputs("\");\n", out);
}

static void put_fit(const struct td_op_fit *fit, FILE *out) {
  fprintf(out, "  { operator = \"%s\";\n    path = ", td_operator_name(fit->op));
  put_text(out, fit->path);
  fputs(";\n    source = ", out);
  put_text(out, fit->source);
  fputs(";\n    command = ", out);
  put_text(out, fit->command);
  fprintf(out, ";\n    rows = %" PRId64 ";\n    seed = %" PRId64 ";\n", fit->rows, fit->seed);
  put_parameters(fit, out);
  put_errors(fit, out);
  put_ranges(fit, out);
  put_residuals(fit, out);
  fputs("  }", out);
}

static bool replaced(const struct td_op_fit *old, const struct td_op_fit *fits, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    if (fits[i].op == old->op && !strcmp(fits[i].path, old->path)) return true;
  }
  return false;
}

static void put_fits(const struct td_device_params *device, const struct td_op_fit *fits, int32_t count, FILE *out) {
  bool more = false;
  fputs("\nfits = (\n", out);
  for (int32_t i = 0; i < device->fit_count; i++) {
    if (replaced(&device->fits[i], fits, count)) continue;
    if (more) fputs(",\n", out);
    put_fit(&device->fits[i], out);
    more = true;
  }
  for (int32_t i = 0; i < count; i++) {
    if (more) fputs(",\n", out);
    put_fit(&fits[i], out);
    more = true;
  }
  fputs(");\n", out);
}

td_status td_device_params_write(const struct td_device_params *device, const struct td_op_fit *fits, int32_t fit_count,
                                 FILE *out) {
  bool link = device->kind == TD_KIND_LINK && !fit_count;
  if (device->kind != TD_KIND_CHIP && !link) {
    return td_fail(TD_UNSUPPORTED, "device %s: found a file of kind %s, expected a chip to write fits for",
                   device->name, td_device_kind_name(device->kind));
  }
  if (device->step_count) {
    return td_fail(TD_UNSUPPORTED, "device %s: found measured steps, expected a file without them to write fits for",
                   device->name);
  }
  fprintf(out,
          "# SPDX-License-Identifier: Apache-2.0\n# Made by tandem calibrate; each %s says by which command.\ntitle = ",
          link ? "number" : "fit");
  put_text(out, device->title);
  fprintf(out, ";\nkind = \"%s\";\n", td_device_kind_name(device->kind));
  if (device->imagined) fputs("imagined = true;\n", out);
  fprintf(out, "status = \"%s\";\n", device->status);
  if (device->power_basis) fprintf(out, "power_basis = \"%s\";\n", device->power_basis);
  for (const struct td_quantity_row *row = td_quantity_rows; row->name; row++) {
    const struct td_quantity *quantity = td_quantity_at(device, row);
    if (quantity->present) put_quantity(row, quantity, out);
  }
  if (fit_count || device->fit_count) put_fits(device, fits, fit_count, out);
  if (device->measured_count) td_measured_write(device, out);
  return ferror(out) ? td_fail(TD_IO, "device file: found the disk does not take it all") : TD_OK;
}
