/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <string.h>

#include "op_model.h"
#include "tandem/base.h"

void td_op_fit_print(const struct td_op_fit *fit, FILE *out) {
  fprintf(out, "%s %s: fitted to %" PRId64 " rows, seed %" PRId64 ", %" PRId32 " residuals; %s\n",
          td_operator_name(fit->op), fit->path, fit->rows, fit->seed, fit->residual_count, fit->source);
  fprintf(out, "  by: %s\n", fit->command);
  for (int32_t i = 0; i < td_operator_parameters(fit->op); i++) {
    const char *unit, *name = td_operator_parameter(fit->op, i, &unit);
    fprintf(out, "  %-20s %.4g %s\n", name, fit->parameters[i], strcmp(unit, "1") ? unit : "");
  }
  if (!fit->errors[0].rows) {
    fputs("  error: not known, no rows were held back\n", out);
    return;
  }
  fprintf(out, "  %-22s %8s %8s %8s %14s %18s\n", "error on rows held back", "rows", "MAPE", "p90", "time-weighted",
          "measured/predicted");
  for (int32_t i = 0; i < TD_OP_CLASSES; i++) {
    const struct td_op_error *error = &fit->errors[i];
    if (!error->rows) continue;
    fprintf(out, "  %-23s %8" PRId64 " %7.2f%% %7.2f%% %13.2f%% %11.3f..%.3f\n", td_operator_class(fit->op, i),
            error->rows, 100 * error->mape, 100 * error->p90, 100 * error->time_weighted, error->low, error->high);
  }
}

void td_op_fit_json(const struct td_op_fit *fit, FILE *out) {
  fprintf(out, "{\"operator\": \"%s\", \"path\": ", td_operator_name(fit->op));
  td_json_string(out, fit->path, strlen(fit->path));
  fputs(", \"source\": ", out);
  td_json_string(out, fit->source, strlen(fit->source));
  fprintf(out, ", \"rows\": %" PRId64 ", \"seed\": %" PRId64 ", \"residuals\": %" PRId32 ", \"parameters\": {",
          fit->rows, fit->seed, fit->residual_count);
  for (int32_t i = 0; i < td_operator_parameters(fit->op); i++) {
    const char *unit, *name = td_operator_parameter(fit->op, i, &unit);
    fprintf(out, "%s\"%s\": {\"value\": %.9g, \"unit\": \"%s\"}", i ? ", " : "", name, fit->parameters[i], unit);
  }
  fputs("}, \"errors\": {", out);
  bool more = false;
  for (int32_t i = 0; i < TD_OP_CLASSES; i++) {
    const struct td_op_error *error = &fit->errors[i];
    if (!error->rows) continue;
    fprintf(out,
            "%s\"%s\": {\"rows\": %" PRId64
            ", \"mape\": %.6g, \"p90\": %.6g, \"time_weighted\": %.6g, \"low\": %.6g, \"high\": %.6g}",
            more ? ", " : "", td_operator_class(fit->op, i), error->rows, error->mape, error->p90, error->time_weighted,
            error->low, error->high);
    more = true;
  }
  fputs("}}", out);
}
