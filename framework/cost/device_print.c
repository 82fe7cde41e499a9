/* SPDX-License-Identifier: Apache-2.0 */
#include <math.h>
#include <string.h>

#include "lpu_system.h"
#include "measure.h"
#include "quantity.h"
#include "step_model.h"
#include "tandem/base.h"
#include "tandem/operators.h"

static double scale_of(const struct td_quantity_row *row, const struct td_quantity *quantity) {
  double scale = 1;
  td_unit_scale(row->dimension, quantity->unit, &scale);
  return scale;
}

/* Six digits are enough for people; scripts take --json. */
void td_quantity_print(const struct td_quantity_row *row, const struct td_quantity *quantity, const char *basis,
                       FILE *out) {
  double scale = scale_of(row, quantity);
  char value[64], range[64] = "";
  snprintf(value, sizeof value, "%.6g %s%s%s", quantity->value / scale,
           strcmp(quantity->unit, "1") ? quantity->unit : "", basis ? " " : "", basis ? basis : "");
  if (quantity->low < quantity->high) {
    snprintf(range, sizeof range, "%.6g..%.6g", quantity->low / scale, quantity->high / scale);
  }
  fprintf(out, "  %-20s %-16s %-16s %-10s %s\n", row->name, value, range, td_evidence_name(quantity->evidence),
          quantity->source);
}

static const char *state_of(const struct td_device_params *params) {
  if (params->imagined) return ", imagined: no such device is sold";
  if (!strcmp(params->status, "announced")) return ", announced: not sold yet";
  return strcmp(params->status, "cancelled") ? "" : ", announced and cancelled: never sold";
}

void td_device_params_print(const struct td_device_params *params, FILE *out) {
  fprintf(out, "%s: %s (%s%s)\n", params->name, params->title, td_device_kind_name(params->kind), state_of(params));
  if (params->power_basis) fprintf(out, "power basis: %s\n", params->power_basis);
  if (params->chip)
    fprintf(out, "chip: %s%s%s\n", params->chip, params->host ? ", host: " : "", params->host ? params->host : "");
  fprintf(out, "  %-20s %-16s %-16s %-10s %s\n", "number", "value", "range", "evidence", "source");
  for (const struct td_quantity_row *row = td_quantity_rows; row->name; row++) {
    const struct td_quantity *quantity = td_quantity_at(params, row);
    if (quantity->present) td_quantity_print(row, quantity, td_quantity_basis(params, row), out);
  }
  for (int32_t i = 0; i < params->fit_count; i++) td_op_fit_print(&params->fits[i], out);
  td_measured_print(params, out);
  td_step_models_print(params, out);
  if (!params->lpu) return;
  if (params->lpu->machine.levels) {
    td_lpu_print_system(params, out);
    return;
  }
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    const struct td_quantity *quantity = &params->lpu->numbers[i];
    const struct td_quantity_row *row = &td_lpu_number_rows[i].quantity;
    if (quantity->present)
      td_quantity_print(row, quantity, row->dimension == TD_DIM_WATTS ? params->power_basis : NULL, out);
  }
  td_lpu_print_rates(&params->lpu->machine, out);
}

void td_quantity_json(const struct td_quantity_row *row, const struct td_quantity *quantity, const char *basis,
                      FILE *out) {
  fprintf(out, "{\"value\": %.17g, \"low\": %.17g, \"high\": %.17g, \"unit\": \"%s\", ", quantity->value, quantity->low,
          quantity->high, td_unit_base(row->dimension));
  td_json_member(out, "evidence", td_evidence_name(quantity->evidence));
  fputs(", ", out);
  td_json_member(out, "source", quantity->source);
  if (basis) fprintf(out, ", \"basis\": \"%s\"", basis);
  fputc('}', out);
}

/* The names of the group's numbers are a level of their own: "power_base" and "power_busy" do not mix. */
static void json_lpu(const struct td_lpu_params *lpu, const char *basis, FILE *out) {
  bool more = false;
  fputs(", \"lpu\": {", out);
  for (int i = 0; i < TD_LPU_NUMBER_COUNT; i++) {
    const struct td_lpu_number_row *row = &td_lpu_number_rows[i];
    if (!lpu->numbers[i].present) continue;
    fprintf(out, "%s\"%s\": ", more ? ", " : "", row->quantity.name);
    td_quantity_json(&row->quantity, &lpu->numbers[i], row->quantity.dimension == TD_DIM_WATTS ? basis : NULL, out);
    more = true;
  }
  fputs("}, \"rates\": ", out);
  td_lpu_json_rates(&lpu->machine, out);
}

static void json_fits(const struct td_device_params *params, FILE *out) {
  fputs(", \"fits\": [", out);
  for (int32_t i = 0; i < params->fit_count; i++) {
    if (i) fputs(", ", out);
    td_op_fit_json(&params->fits[i], out);
  }
  fputc(']', out);
}

void td_device_params_json(const struct td_device_params *params, FILE *out) {
  fputc('{', out);
  td_json_member(out, "name", params->name);
  fputs(", ", out);
  td_json_member(out, "title", params->title);
  fprintf(out, ", \"kind\": \"%s\", \"imagined\": %s, ", td_device_kind_name(params->kind),
          params->imagined ? "true" : "false");
  td_json_member(out, "status", params->status);
  fputs(", ", out);
  if (params->kind == TD_KIND_RACK || params->kind == TD_KIND_LPU_SYSTEM) {
    td_json_member(out, "chip", params->chip);
    fputs(", ", out);
    td_json_member(out, "host", params->host);
    fputs(", ", out);
  }
  td_json_member(out, "path", params->path);
  fputs(", ", out);
  td_json_member(out, "power_basis", params->power_basis);
  fputs(", \"numbers\": {", out);
  bool more = false;
  for (const struct td_quantity_row *row = td_quantity_rows; row->name; row++) {
    const struct td_quantity *quantity = td_quantity_at(params, row);
    if (!quantity->present) continue;
    fprintf(out, "%s\"%s\": ", more ? ", " : "", row->name);
    td_quantity_json(row, quantity, td_quantity_basis(params, row), out);
    more = true;
  }
  fputc('}', out);
  if (params->fit_count) json_fits(params, out);
  if (params->measured_count) td_measured_json(params, out);
  if (params->step_count) td_step_models_json(params, out);
  if (params->lpu && params->lpu->machine.levels) {
    td_lpu_json_system(params, out);
  } else if (params->lpu)
    json_lpu(params->lpu, params->power_basis, out);
  fputc('}', out);
}
