/* SPDX-License-Identifier: Apache-2.0
 *
 * What `tandem conform` prints.
 */
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

#include "reference.h"
#include "tandem/base.h"

#define REASONS 16

struct report {
  const char *spec;
  const struct td_conform_options *options;
  FILE *out;
  struct td_conform_result result;
  bool any;
  struct {
    char text[200];
    int32_t cases;
  } reasons[REASONS]; /* of unsupported cases; the last one collects the rest */
  int32_t reason_count;
};

static void count(struct td_conform_result *result, enum conform_verdict verdict) {
  if (verdict == CONFORM_PASSED) result->passed++;
  if (verdict == CONFORM_FAILED) result->failed++;
  if (verdict == CONFORM_UNSUPPORTED) result->unsupported++;
  if (verdict == CONFORM_EXPECTED_FAILURE) result->expected_failures++;
  if (verdict == CONFORM_UNEXPECTED_PASS) result->unexpected_passes++;
}

static void note_reason(struct report *report, const char *text) {
  int32_t i = 0;
  while (i < report->reason_count && strncmp(report->reasons[i].text, text, sizeof report->reasons[i].text - 1)) i++;
  if (i == REASONS) i = REASONS - 1;
  if (i == report->reason_count) {
    report->reason_count++;
    snprintf(report->reasons[i].text, sizeof report->reasons[i].text, "%s",
             i == REASONS - 1 ? "further reasons (--verbose)" : text);
  }
  report->reasons[i].cases++;
}

static void print_line(const struct report *report, const struct conform_case *test, enum conform_verdict verdict,
                       const char *text, double worst) {
  bool quiet = verdict == CONFORM_PASSED || verdict == CONFORM_UNSUPPORTED;
  if (quiet && !report->options->verbose) return;
  fprintf(report->out, "%-16s %s", conform_verdict_name(verdict), test->name);
  if (*text) fprintf(report->out, ": %s", text);
  if (verdict == CONFORM_PASSED && test->is_operator && strncmp(test->name, "kv_", 3) &&
      strncmp(test->name, "step_", 5)) {
    fprintf(report->out, ": worst error %.2g of the bound %s", worst, reference_bound(test->p.kind));
  }
  fputc('\n', report->out);
}

static void print_json(struct report *report, const struct conform_case *test, enum conform_verdict verdict,
                       const char *text) {
  if (!report->any) { /* only now: a device that does not open leaves stdout empty */
    fputs("{\"device\": ", report->out);
    td_json_string(report->out, report->spec, strlen(report->spec));
    fputs(", \"cases\": [", report->out);
  }
  fputs(report->any ? ",\n  {\"name\": " : "\n  {\"name\": ", report->out);
  td_json_string(report->out, test->name, strlen(test->name));
  fprintf(report->out, ", \"verdict\": \"%s\", \"reason\": ", conform_verdict_name(verdict));
  td_json_string(report->out, text, strlen(text));
  fputc('}', report->out);
  report->any = true;
}

static void on_case(void *context, const struct conform_case *test, enum conform_verdict verdict, const char *text,
                    double worst) {
  struct report *report = context;
  count(&report->result, verdict);
  if (verdict == CONFORM_UNSUPPORTED) note_reason(report, text);
  if (report->options->json) {
    print_json(report, test, verdict, text);
  } else {
    print_line(report, test, verdict, text, worst);
  }
}

static void print_end(const struct report *report) {
  const struct td_conform_result *r = &report->result;
  if (report->options->json) {
    fprintf(report->out,
            "\n], \"passed\": %d, \"failed\": %d, \"unsupported\": %d, \"expected_failures\": %d, "
            "\"unexpected_passes\": %d}\n",
            r->passed, r->failed, r->unsupported, r->expected_failures, r->unexpected_passes);
    return;
  }
  for (int32_t i = 0; i < report->reason_count && !report->options->verbose; i++) {
    fprintf(report->out, "unsupported: %d cases: %s\n", report->reasons[i].cases, report->reasons[i].text);
  }
  fprintf(report->out, "%d passed, %d failed, %d unsupported, %d expected failures, %d unexpected passes\n", r->passed,
          r->failed, r->unsupported, r->expected_failures, r->unexpected_passes);
}

static td_status print_names(const char *filter, FILE *out) {
  struct conform_list list = {0};
  td_status status = conform_list_all(&list);
  for (size_t i = 0; i < list.count && !status; i++) {
    if (!filter || fnmatch(filter, list.cases[i].name, 0) == 0) fprintf(out, "%s\n", list.cases[i].name);
  }
  free(list.cases);
  return status;
}

td_status td_conform_run(const char *spec, const struct td_conform_options *options, FILE *out,
                         struct td_conform_result *out_result) {
  struct report report = {.spec = spec, .options = options, .out = out};
  if (options->list) {
    TD_TRY(print_names(options->filter, out));
    *out_result = report.result;
    return TD_OK;
  }
  TD_TRY(conform_run_cases(spec, options->filter, options->threads, on_case, &report));
  print_end(&report);
  *out_result = report.result;
  return TD_OK;
}
