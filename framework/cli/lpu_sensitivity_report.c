/* SPDX-License-Identifier: Apache-2.0
 *
 * Sensitivity in words and as JSON.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "lpu_sensitivity.h"
#include "tandem/base.h"

static double change(const struct lpu_sensitivity *of, int64_t cycles) {
  return of->nominal > 0 ? 100.0 * (double)(cycles - of->nominal) / (double)of->nominal : 0.0;
}

static double seconds(const struct lpu_sensitivity *of, int64_t cycles) {
  return (double)cycles / of->clock_hz;
}

static bool is_inside(const struct lpu_sensitivity *of, double published) {
  return published >= seconds(of, of->least) && published <= seconds(of, of->most);
}

static bool moves(const struct lpu_sensitivity *of, const struct lpu_parameter *parameter) {
  return parameter->low.cycles != of->nominal || parameter->high.cycles != of->nominal;
}

/* ---- words ---- */

static void print_answer(const struct lpu_sensitivity *of, const struct lpu_answer *answer, FILE *out) {
  if (answer->cycles) {
    fprintf(out, " %12" PRId64 " %+8.2f %%", answer->cycles, change(of, answer->cycles));
  } else {
    fprintf(out, " %12s %10s", "refused", "");
  }
}

static void print_parameters(const struct lpu_sensitivity *of, FILE *out) {
  fprintf(
      out,
      "\nsensitivity: %d numbers that are not published, each at the ends of its range, all else at its value: %" PRId64
      " cycles\n%-20s %10s %10s %10s %23s %23s\n",
      of->count, of->nominal, "number, in base units", "low", "value", "high", "cycles at low", "cycles at high");
  for (int32_t i = 0; i < of->count; i++) {
    const struct lpu_parameter *parameter = &of->parameters[i];
    const struct td_quantity *quantity = parameter->quantity;
    if (!moves(of, parameter)) continue;
    fprintf(out, "%-21s %10.4g %10.4g %10.4g", parameter->name, quantity->low, quantity->value, quantity->high);
    print_answer(of, &parameter->low, out);
    print_answer(of, &parameter->high, out);
    fputc('\n', out);
  }
}

static void print_still(const struct lpu_sensitivity *of, FILE *out) {
  int column = 0;
  for (int32_t i = 0; i < of->count; i++) {
    const char *name = of->parameters[i].name;
    if (moves(of, &of->parameters[i])) continue;
    bool full = column + (int)strlen(name) > 112;
    const char *before = full ? ",\n           " : column ? ", " : "no effect: ";
    int printed = fprintf(out, "%s%s", before, name);
    column = full ? printed - 2 : column + printed;
  }
  if (column) fputc('\n', out);
}

static void print_refused(const struct lpu_sensitivity *of, FILE *out) {
  for (int32_t i = 0; i < of->count; i++) {
    const struct lpu_parameter *parameter = &of->parameters[i];
    const struct lpu_answer *ends[2] = {&parameter->low, &parameter->high};
    const double values[2] = {parameter->quantity->low, parameter->quantity->high};
    for (int e = 0; e < 2; e++) {
      if (ends[e]->cycles) continue;
      fprintf(out, "refused: %s = %.6g: %s\n", parameter->name, values[e], ends[e]->refused);
    }
  }
}

static void print_extreme(const struct lpu_sensitivity *of, const struct lpu_extreme *extreme, const char *name,
                          FILE *out) {
  if (!extreme->together.cycles) fprintf(out, "refused: all %s together: %s\n", name, extreme->together.refused);
  for (int32_t i = 0; i < of->count; i++) {
    if (!extreme->left_out[i].refused[0]) continue;
    fprintf(out, "refused: %s beside the %s before it: %s\n", of->parameters[i].name, name,
            extreme->left_out[i].refused);
  }
  for (int32_t i = 0; i < of->count; i++) {
    if (isnan(extreme->joined[i])) continue;
    fprintf(out, "beside the %s ends: %s = %.6g\n", name, of->parameters[i].name, extreme->joined[i]);
  }
  fprintf(out, "all %s ends%s: %" PRId64 " cycles = %.3f us (%+.2f %%)\n", name,
          extreme->together.cycles ? "" : " but those refused", extreme->cycles, seconds(of, extreme->cycles) * 1e6,
          change(of, extreme->cycles));
}

static void print_published(const struct lpu_sensitivity *of, double published, FILE *out) {
  double least = seconds(of, of->least), most = seconds(of, of->most);
  fprintf(out, "published   %.6g us: ", published * 1e6);
  if (is_inside(of, published)) {
    fprintf(out, "inside\n");
  } else if (published < least) {
    fprintf(out, "outside: the fastest end takes %.3f times that\n", least / published);
  } else {
    fprintf(out, "outside: the slowest end takes %.3f times that\n", most / published);
  }
}

void lpu_sensitivity_print(const struct lpu_sensitivity *of, double published, FILE *out) {
  print_parameters(of, out);
  print_still(of, out);
  print_refused(of, out);
  print_extreme(of, &of->fastest, "fastest", out);
  print_extreme(of, &of->slowest, "slowest", out);
  fprintf(out, "interval    %" PRId64 " .. %" PRId64 " cycles = %.3f .. %.3f us around %.3f us\n", of->least, of->most,
          seconds(of, of->least) * 1e6, seconds(of, of->most) * 1e6, seconds(of, of->nominal) * 1e6);
  if (published > 0) print_published(of, published, out);
}

/* ---- JSON ---- */

static void json_answer(const char *name, const struct lpu_answer *answer, FILE *out) {
  if (answer->cycles) {
    fprintf(out, ", \"cycles_%s\": %" PRId64, name, answer->cycles);
    return;
  }
  fprintf(out, ", \"cycles_%s\": null, \"refused_%s\": ", name, name);
  td_json_string(out, answer->refused, strlen(answer->refused));
}

static void json_parameters(const struct lpu_sensitivity *of, FILE *out) {
  fputs(", \"parameters\": [", out);
  for (int32_t i = 0; i < of->count; i++) {
    const struct lpu_parameter *parameter = &of->parameters[i];
    const struct td_quantity *quantity = parameter->quantity;
    fprintf(out, "%s{\"name\": \"%s\", \"low\": %.17g, \"value\": %.17g, \"high\": %.17g, \"evidence\": \"%s\"",
            i ? ", " : "", parameter->name, quantity->low, quantity->value, quantity->high,
            td_evidence_name(quantity->evidence));
    json_answer("low", &parameter->low, out);
    json_answer("high", &parameter->high, out);
    fputc('}', out);
  }
  fputs("]", out);
}

static void json_extreme(const struct lpu_sensitivity *of, const struct lpu_extreme *extreme, const char *name,
                         FILE *out) {
  fprintf(out, ", \"%s\": {\"cycles\": %" PRId64 ", \"refused\": ", name, extreme->cycles);
  td_json_string(out, extreme->together.refused, strlen(extreme->together.refused));
  fputs(", \"left_out\": {", out);
  const char *comma = "";
  for (int32_t i = 0; i < of->count; i++) {
    const char *refused = extreme->left_out[i].refused;
    if (!refused[0]) continue;
    fprintf(out, "%s\"%s\": ", comma, of->parameters[i].name);
    td_json_string(out, refused, strlen(refused));
    comma = ", ";
  }
  fputs("}, \"joined\": {", out);
  comma = "";
  for (int32_t i = 0; i < of->count; i++) {
    if (isnan(extreme->joined[i])) continue;
    fprintf(out, "%s\"%s\": %.17g", comma, of->parameters[i].name, extreme->joined[i]);
    comma = ", ";
  }
  fputs("}}", out);
}

void lpu_sensitivity_json(const struct lpu_sensitivity *of, double published, FILE *out) {
  fprintf(out, ", \"sensitivity\": {\"nominal\": %" PRId64 ", \"least\": %" PRId64 ", \"most\": %" PRId64, of->nominal,
          of->least, of->most);
  fprintf(out, ", \"least_seconds\": %.9g, \"most_seconds\": %.9g", seconds(of, of->least), seconds(of, of->most));
  json_parameters(of, out);
  json_extreme(of, &of->fastest, "fastest", out);
  json_extreme(of, &of->slowest, "slowest", out);
  if (published > 0) {
    fprintf(out, ", \"published_seconds\": %.17g, \"inside\": %s", published,
            is_inside(of, published) ? "true" : "false");
  }
  fputc('}', out);
}
