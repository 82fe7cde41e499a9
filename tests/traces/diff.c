/* SPDX-License-Identifier: Apache-2.0
 *
 * The commands `show` and `diff` on sample traces: what they say and with which exit code.
 */
#include "../support.h"
#include "samples.h"

static char folder[4096], out[1 << 16];

static const char *make(const char *name, struct sample sample) {
  static char paths[4][4200];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s.h5", folder, name);
  if (!sample.requests) sample.requests = 9;
  if (!sample.seed) sample.seed = 4;
  if (sample_write(path, &sample)) fail_msg("%s", td_error_text());
  return path;
}

static void diff(const char *a, const char *b, const char *flags, int code, const char *says) {
  int found = test_run(out, sizeof out, "%s diff %s %s %s 2>&1", TANDEM_PROGRAM, a, b, flags);
  if (found != code || !strstr(out, says)) fail_msg("exit %d, expected %d and \"%s\":\n%s", found, code, says, out);
}

static void same_runs(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_EXECUTED});
  diff(a, a, "", 0, "bit-identical");
  diff(a, a, "--times 0", 0, "same");
  const char *slow = make("slow", (struct sample){.kind = SAMPLE_EXECUTED, .time_scale = 2});
  diff(a, slow, "", 0, "same");
  diff(a, slow, "--times 10", 1, "first difference: request r0: times");
  diff(a, slow, "--times 120", 0, "same");
  diff(a, slow, "--json", 0, "\"same\": true");
}

static void other_tokens(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_EXECUTED});
  diff(a, make("id", (struct sample){.kind = SAMPLE_EXECUTED, .id_shift = 1}), "", 1,
       "first difference: request r1, token 2: id ");
  const char *logprob = make("logprob", (struct sample){.kind = SAMPLE_EXECUTED, .logprob_shift = 1e-9});
  diff(a, logprob, "", 1, "first difference: request r1, token 2 (id ");
  diff(a, logprob, "--tolerance 1e-6", 0, "differ by up to 1e-09");
  diff(a, logprob, "--json", 1, "\"verdict\": \"logprob\"");
  diff(a, make("longer", (struct sample){.kind = SAMPLE_EXECUTED, .longer = 3}), "", 1,
       "first difference: request r2: ");
}

/* Token 2 of request r1 is the only one with a gap under 1. */
static void bounded(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_EXECUTED});
  const char *id = make("id", (struct sample){.kind = SAMPLE_EXECUTED, .id_shift = 1});
  diff(a, id, "--bound 0.4", 1, "first difference: request r1, token 2: id ");
  diff(a, id, "--bound 0.6", 0, "differs; nothing after it compares");
  diff(a, id, "--bound 0.6 --json", 0, "\"under_bound\": [{\"name\": \"r1\", \"token\": 2, ");
  diff(a, a, "--bound 0.6", 0, "under the bound, so either id will do");
  diff(a, a, "--bound 0.4", 0, "same ids, bit-identical");
  const char *logprob = make("logprob", (struct sample){.kind = SAMPLE_EXECUTED, .logprob_shift = 0.3});
  diff(a, logprob, "--bound 0.2", 1, "first difference: request r1, token 2 (id ");
  diff(a, logprob, "--bound 0.4", 0, "differ by up to 0.3");
}

static void modelled_sides(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_EXECUTED});
  const char *modelled = make("modelled", (struct sample){.kind = SAMPLE_MODELLED});
  const char *mixed = make("mixed", (struct sample){.kind = SAMPLE_MIXED, .policy = "colocated"});
  diff(a, modelled, "", 0, "a modelled side has no ids");
  diff(modelled, a, "", 0, "paired      9 requests");
  diff(a, mixed, "", 0, "9 executed by both: same ids, bit-identical log-probabilities");
  diff(a, mixed, "", 0, "shown only: the policies differ");
}

static void unmatched(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_MODELLED});
  const char *more = make("more", (struct sample){.kind = SAMPLE_MODELLED, .requests = 11});
  diff(a, more, "", 1, "only in B: r9 (request 9), r10 (request 10)");
  diff(more, a, "--json", 1, "\"only_a\": [{\"request\": 9, \"name\": \"r9\"}");
}

static void wrong_usage(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_MODELLED});
  diff(a, "", "", 2, "expected two");
  diff(a, a, "--tolerance -1", 2, "--tolerance: found \"-1\"");
  diff(a, a, "--bound -1", 2, "--bound: found \"-1\"");
  diff(a, a, "--times x", 2, "--times: found \"x\"");
  diff(a, "/no/such.h5", "", 1, "/no/such.h5: cannot open: No such file");
  assert_int_equal(test_run(out, sizeof out, "%s show 2>&1", TANDEM_PROGRAM), 2);
  assert_int_equal(test_run(out, sizeof out, "%s show %s 2>&1", TANDEM_PROGRAM, folder), 1);
  assert_non_null(strstr(out, "not a regular file"));
}

static void shows(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_MIXED});
  assert_int_equal(test_run(out, sizeof out, "%s show %s", TANDEM_PROGRAM, a), 0);
  static const char *const words[] = {"sample",    "disaggregated", "TTFT",     "TPOT",     "ITL",
                                      "E2E",       "queueing",      "per user", "tokens/s", "executed",
                                      "prefill.0", "KV moved",      "p99",      "modelled"};
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (!strstr(out, words[i])) fail_msg("show does not say \"%s\":\n%s", words[i], out);
  }
  assert_null(strstr(out, "r8"));
  assert_int_equal(test_run(out, sizeof out, "%s show --requests %s", TANDEM_PROGRAM, a), 0);
  assert_non_null(strstr(out, "r8"));
}

/* The line that begins with `title` ends with `cells`. */
static void has_row(const char *title, const char *cells) {
  for (const char *line = out; line; line = strchr(line, '\n')) {
    line += *line == '\n';
    const char *end = strchr(line, '\n');
    size_t length = end ? (size_t)(end - line) : strlen(line), want = strlen(cells);
    if (strncmp(line, title, strlen(title)) || length < want) continue;
    if (!strncmp(line + length - want, cells, want)) return;
  }
  fail_msg("no row \"%s ... %s\":\n%s", title, cells, out);
}

static void shows_side_by_side(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_EXECUTED});
  const char *one = make("one", (struct sample){.kind = SAMPLE_MIXED, .one_token = true, .policy = "colocated"});
  const char *slow = make("slow", (struct sample){.kind = SAMPLE_MODELLED, .time_scale = 1000});
  char names[3 * 4200];
  snprintf(names, sizeof names, "  %s  %s  %s", a, one, slow);
  assert_int_equal(test_run(out, sizeof out, "%s show %s", TANDEM_PROGRAM, names), 0);
  has_row(" ", names);
  has_row("pace", " priced");
  has_row("policy", " disaggregated");
  has_row("prefill ", " h100_sxm (modelled)");
  has_row("decode ", " h100_sxm (modelled)");
  static const char *const times[] = {"TTFT p50", "TTFT p99", "TPOT p50", "TPOT p99",
                                      "ITL p50",  "ITL p99",  "E2E p50",  "E2E p99"};
  for (size_t i = 0; i < sizeof times / sizeof *times; i++) has_row(times[i], " s");
  has_row("KV moved", " B");
  assert_non_null(strstr(out, "cpu (executed)"));
  assert_non_null(strstr(out, " - ")); /* one token: no TPOT */
  assert_null(strstr(out, "prefill and decode"));
}

/* Only traces with orchestrators say something of them. */
static void shows_calls(void **state) {
  (void)state;
  const char *with = make("with", (struct sample){.kind = SAMPLE_MODELLED, .tools = true});
  const char *without = make("without", (struct sample){.kind = SAMPLE_MODELLED});
  static const char *const words[] = {"orchestrator",
                                      "cpu.0",
                                      "cpu.1",
                                      "grace",
                                      "busy core s",
                                      "tools, queueing ms: 8 calls",
                                      "texts, queueing ms: 3 calls"};
  assert_int_equal(test_run(out, sizeof out, "%s show %s", TANDEM_PROGRAM, with), 0);
  for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
    if (!strstr(out, words[i])) fail_msg("show does not say \"%s\":\n%s", words[i], out);
  }
  assert_int_equal(test_run(out, sizeof out, "%s show %s %s", TANDEM_PROGRAM, without, with), 0);
  has_row("tools queued p99", " ms");
  assert_int_equal(test_run(out, sizeof out, "%s show %s %s", TANDEM_PROGRAM, without, without), 0);
  assert_null(strstr(out, "tools queued"));
  assert_int_equal(test_run(out, sizeof out, "%s show %s", TANDEM_PROGRAM, without), 0);
  assert_null(strstr(out, "orchestrator"));
}

/* The times of each trace in its own column are those of `show` alone; several objects are one. */
static void shows_several_as_json(void **state) {
  (void)state;
  static char alone[2][1 << 14];
  const char *a = make("a", (struct sample){.kind = SAMPLE_EXECUTED});
  const char *b = make("b", (struct sample){.kind = SAMPLE_MODELLED});
  assert_int_equal(test_run(alone[0], sizeof alone[0], "%s show --json %s", TANDEM_PROGRAM, a), 0);
  assert_int_equal(test_run(alone[1], sizeof alone[1], "%s show --json %s", TANDEM_PROGRAM, b), 0);
  assert_int_equal(test_run(out, sizeof out, "%s show %s --json %s", TANDEM_PROGRAM, a, b), 0);
  static char expected[sizeof alone + 64];
  snprintf(expected, sizeof expected, "{\"traces\": [\n%s,\n%s]}\n", alone[0], alone[1]);
  assert_string_equal(out, expected);
}

static void refuses_several(void **state) {
  (void)state;
  const char *a = make("a", (struct sample){.kind = SAMPLE_MODELLED});
  assert_int_equal(test_run(out, sizeof out, "%s show %s %s/none.h5 %s 2>&1", TANDEM_PROGRAM, a, folder, a), 1);
  assert_non_null(strstr(out, "none.h5: cannot open: No such file"));
  assert_int_equal(strchr(out, '\n') - out, (long)strlen(out) - 1); /* the error alone */
  assert_int_equal(test_run(out, sizeof out, "%s show --requests %s %s 2>&1", TANDEM_PROGRAM, a, a), 2);
  assert_non_null(strstr(out, "--requests: found 2 traces, expected one"));
  assert_int_equal(test_run(out, sizeof out, "%s show $(yes %s | head -n 16)", TANDEM_PROGRAM, a), 0);
  assert_int_equal(test_run(out, sizeof out, "%s show $(yes %s | head -n 17) 2>&1", TANDEM_PROGRAM, a), 2);
  assert_non_null(strstr(out, "more than 16 traces"));
}

static void shows_part_files(void **state) {
  (void)state;
  char path[4200];
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  snprintf(path, sizeof path, "%s/stopped.h5", folder);
  assert_int_equal(td_trace_create(path, &run, &writer), TD_OK);
  td_trace_abandon(writer, "rank 2\ndied");
  assert_int_equal(test_run(out, sizeof out, "%s show %s.part 2>&1", TANDEM_PROGRAM, path), 0);
  assert_non_null(strstr(out, "tandem: warning: "));
  assert_non_null(strstr(out, "did not finish"));
  assert_non_null(strstr(out, "rank 2?died"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(same_runs),
                                     cmocka_unit_test(other_tokens),
                                     cmocka_unit_test(bounded),
                                     cmocka_unit_test(modelled_sides),
                                     cmocka_unit_test(unmatched),
                                     cmocka_unit_test(wrong_usage),
                                     cmocka_unit_test(shows),
                                     cmocka_unit_test(shows_part_files),
                                     cmocka_unit_test(shows_side_by_side),
                                     cmocka_unit_test(shows_calls),
                                     cmocka_unit_test(shows_several_as_json),
                                     cmocka_unit_test(refuses_several)};
  snprintf(folder, sizeof folder, "%s", test_scratch());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_run(NULL, 0, "rm -rf %s", folder);
  return failed;
}
