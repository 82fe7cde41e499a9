/* SPDX-License-Identifier: Apache-2.0 */
#include "values.h"

#include <inttypes.h>
#include <math.h>

#include "tandem/trace.h"

struct td_scale td_scale_for(double seconds) {
  if (seconds >= 100) return (struct td_scale){"s", 1};
  if (seconds < 1e-3) return (struct td_scale){"us", 1e6};
  return (struct td_scale){"ms", 1e3};
}

void td_print_value(FILE *out, int width, double value) {
  if (isnan(value)) {
    fprintf(out, "%*s", width, "-");
  } else {
    fprintf(out, " %*.6g", width - 1, value);
  }
}

void td_print_text(FILE *out, int width, const char *text) {
  for (; *text; text++, width--) {
    unsigned char c = (unsigned char)*text;
    fputc(c < 0x20 || c == 0x7f ? '?' : c, out);
  }
  for (; width > 0; width--) fputc(' ', out);
}

void td_json_number(FILE *out, const char *key, double value) {
  fprintf(out, ", \"%s\": ", key);
  if (isfinite(value)) {
    fprintf(out, "%.17g", value);
  } else {
    fprintf(out, "null");
  }
}

void td_json_summary(FILE *out, const char *key, const struct td_summary *summary) {
  fprintf(out, ",\n  \"%s\": {\"count\": %" PRIu64, key, summary->count);
  td_json_number(out, "mean", summary->mean);
  td_json_number(out, "min", summary->min);
  td_json_number(out, "p50", summary->p50);
  td_json_number(out, "p90", summary->p90);
  td_json_number(out, "p95", summary->p95);
  td_json_number(out, "p99", summary->p99);
  td_json_number(out, "max", summary->max);
  fprintf(out, "}");
}

const char *td_executes_name(uint32_t executes) {
  static const char *const names[] = {"modelled", "executed", "emulated"};
  return names[executes];
}

const char *td_times_name(uint32_t time_kinds) {
  if (!time_kinds) return "none";
  if (time_kinds == 1u << TD_TIME_EXECUTED) return "executed";
  if (time_kinds == 1u << TD_TIME_EMULATED) return "emulated";
  return time_kinds == 1u << TD_TIME_MODELLED ? "modelled" : "several";
}

const char *td_role_name(uint32_t role) {
  static const char *const names[] = {"both", "prefill", "decode"};
  return names[role];
}
