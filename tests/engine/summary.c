/* SPDX-License-Identifier: Apache-2.0
 *
 * `run --no-trace --json`, `run --json` and `show --json` have the same keys, and what they count is the same.
 */
#include <jansson.h>
#include <math.h>

#include "../support.h"
#include "random_cluster.h"
#include "tandem/base.h"

static const char *folder;

/* A split cluster with caches, an SLO, an outage of each kind of worker: the second prompt finds 64 tokens. */
static const char config[] =
    "name = \"keys\"; model = \"%s/dense.cfg\";\n"
    "engine = { pace = \"priced\"; policy = \"disaggregated\"; chunk_tokens = 0; block_tokens = 8; prefix_cache = %s; "
    "};\n"
    "slo = { ttft = %s; tpot = 0.1; };\n"
    "cluster = { pools = (\n"
    "  { name = \"p\"; role = \"prefill\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; kv_tokens = 800;\n"
    "    outages = ( { worker = 0; at = 2.5; lasts = 0.25; } ); },\n"
    "  { name = \"d\"; role = \"decode\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; kv_tokens = 800; } );\n"
    "  links = ( { from = \"p\"; to = \"d\"; device = \"%s/fast.cfg\"; } ); };\n"
    "workload = { source = { format = \"mooncake\"; file = \"%s/turns.jsonl\"; block_tokens = 16; }; };\n";

static json_t *said(const char *words) {
  static char out[1 << 16];
  json_error_t error;
  if (test_run(out, sizeof out, "%s %s", TANDEM_PROGRAM, words)) fail_msg("%s", out);
  json_t *json = json_loads(out, 0, &error);
  if (!json) fail_msg("%s: %s", words, error.text);
  return json;
}

static void same_keys(const json_t *a, const json_t *b, const char *where) {
  const char *key;
  json_t *value;
  if (json_object_size(a) != json_object_size(b)) fail_msg("%s: other numbers of keys", where);
  json_object_foreach((json_t *)a, key, value) {
    const json_t *other = json_object_get(b, key);
    if (!other) fail_msg("%s: only one has %s", where, key);
    if (json_is_object(value) && json_is_object(other)) same_keys(value, other, key);
  }
}

static double number(const json_t *json, const char *group, const char *key) {
  if (group) json = json_object_get(json, group);
  json = json_object_get(json, key);
  return json_is_number(json) ? json_number_value(json) : NAN;
}

/* What is counted without a trace is in bins. */
static void same_percentiles(const json_t *a, const json_t *b, const char *line) {
  static const char *const percentiles[] = {"p50", "p90", "p95", "p99"};
  for (size_t i = 0; i < sizeof percentiles / sizeof *percentiles; i++) {
    double x = number(a, line, percentiles[i]), y = number(b, line, percentiles[i]);
    if (!(fabs(x - y) <= 0.004 * y)) fail_msg("%s: %s %.17g and %.17g", line, percentiles[i], x, y);
  }
}

static void same_numbers(const json_t *a, const json_t *b) {
  static const char *const counts[] = {
      "requests",   "refused",     "prompt_tokens", "output_tokens", "cached_tokens", "interruptions",
      "makespan_s", "within_ttft", "within_tpot",   "within_slo",    "goodput_per_s", "steps",
      "failures",   "down_s",      "transfers",     "kv_bytes",      "role_changes",  "requests_per_s"};
  for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
    double x = number(a, NULL, counts[i]), y = number(b, NULL, counts[i]);
    if (!(fabs(x - y) <= 1e-12 * fabs(x))) fail_msg("%s: %.17g and %.17g", counts[i], x, y);
  }
  static const char *const lines[] = {"ttft", "tpot", "e2e", "queueing", "user_rate"};
  for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
    double x = number(a, lines[i], "mean"), y = number(b, lines[i], "mean");
    if (!(fabs(x - y) <= 1e-9 * fabs(x))) fail_msg("%s: means %.17g and %.17g", lines[i], x, y);
    assert_true(number(a, lines[i], "count") == number(b, lines[i], "count"));
    same_percentiles(a, b, lines[i]);
    assert_true(fabs(number(a, lines[i], "max") - number(b, lines[i], "max")) <= 1e-6 * number(a, lines[i], "max"));
  }
}

static void write_config(const char *cache, const char *ttft) {
  struct td_text text = {0};
  td_text_printf(&text, config, folder, cache, ttft, folder, folder, folder, folder);
  random_cluster_file(folder, "keys.cfg", text.data);
  td_text_free(&text);
}

static void one_set_of_keys(void **state) {
  char words[3][9000];
  json_t *json[3];
  (void)state;
  write_config("true", "0.05");
  snprintf(words[0], sizeof words[0], "run %s/keys.cfg --no-trace --json", folder);
  snprintf(words[1], sizeof words[1], "run %s/keys.cfg -o %s/keys.h5 --json", folder, folder);
  snprintf(words[2], sizeof words[2], "show %s/keys.h5 --json", folder);
  for (int i = 0; i < 3; i++) json[i] = said(words[i]);
  for (int i = 1; i < 3; i++) {
    same_keys(json[0], json[i], words[i]);
    same_numbers(json[0], json[i]);
  }
  assert_int_equal(number(json[0], NULL, "requests"), 3);
  assert_int_equal(number(json[0], NULL, "cached_tokens"), 64);
  assert_int_equal(number(json[0], NULL, "failures"), 1);
  assert_true(number(json[0], NULL, "down_s") == 0.25);
  assert_true(number(json[0], NULL, "within_slo") >= 1);
  assert_true(number(json[0], "busiest_port", "share") > 0 && number(json[1], "busiest_port", "share") > 0);
  assert_true(number(json[1], "prefix_cache", "lost_tokens") == 64);
  assert_true(json_is_null(json_object_get(json[0], "itl")) && json_is_object(json_object_get(json[2], "itl")));
  assert_true(json_is_null(json_object_get(json[2], "events")) && number(json[1], NULL, "events") > 0);
  const json_t *devices = json_object_get(json[2], "devices");
  assert_true(number(json_array_get(devices, 0), NULL, "kv_sent") == number(json[0], NULL, "kv_bytes"));
  assert_true(number(json_array_get(devices, 1), NULL, "kv_received") == number(json[0], NULL, "kv_bytes"));
  for (int i = 0; i < 3; i++) json_decref(json[i]);
}

/* Two turns, of which the first calls a tool of 2 s; texts take a core, too. */
static void write_tools(void) {
  struct td_text text = {0};
  td_text_printf(
      &text,
      "name = \"keys\"; model = \"%s/dense.cfg\"; engine = { pace = \"priced\"; policy = \"colocated\"; };\n"
      "cluster = { pools = ( { name = \"p\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; } );\n"
      "orchestrators = { pools = ( { name = \"cpu\"; count = 2; cores = 3; power_busy = 30; power_idle = 6; "
      "} ); tokenize = 1e-3; }; };\n"
      "workload = { source = { format = \"sessions\"; file = \"%s/calls.csv\"; arrivals = \"constant\"; rate = "
      "1; }; };\n",
      folder, folder, folder);
  random_cluster_file(folder, "tools.cfg", text.data);
  td_text_free(&text);
  random_cluster_file(folder, "calls.csv",
                      "session_id,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
                      "0,0,0,8,4,2000\n0,1,12,8,4,0\n");
}

static void keys_of_calls(void **state) {
  static const char *const counts[] = {"orchestrators", "cores",       "calls",       "host_calls",
                                       "lost",          "busy_core_s", "utilisation", "energy_j"};
  static const char *const lines[] = {"tool_queueing", "host_queueing"};
  char words[3][9000];
  json_t *json[3];
  (void)state;
  write_tools();
  snprintf(words[0], sizeof words[0], "run %s/tools.cfg --no-trace --json", folder);
  snprintf(words[1], sizeof words[1], "run %s/tools.cfg -o %s/tools.h5 --json", folder, folder);
  snprintf(words[2], sizeof words[2], "show %s/tools.h5 --json", folder);
  for (int i = 0; i < 3; i++) json[i] = said(words[i]);
  for (int i = 0; i < 3; i++) {
    same_keys(json[0], json[i], words[i]);
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++) {
      double x = number(json[0], "tools", counts[k]), y = number(json[i], "tools", counts[k]);
      if (!(x == y || fabs(x - y) <= 1e-12 * fabs(x))) fail_msg("%s: %s: %.17g and %.17g", words[i], counts[k], x, y);
    }
    for (size_t k = 0; k < 2; k++) assert_true(number(json[i], lines[k], "count") == 1 + (double)k);
  }
  assert_true(number(json[0], "tools", "calls") == 1 && number(json[0], "tools", "host_calls") == 2);
  assert_true(fabs(number(json[0], "tools", "busy_core_s") - 2.028) < 1e-9);
  assert_true(number(json[0], "tools", "energy_idle_j") > 0 && isnan(number(json[2], "tools", "energy_idle_j")));
  double steps = number(json[0], NULL, "energy_j") + number(json[0], NULL, "energy_idle_j");
  double calls = number(json[0], "tools", "energy_j") + number(json[0], "tools", "energy_idle_j");
  assert_true(fabs(number(json[0], NULL, "energy_total_j") - steps - calls) < 1e-9 * (steps + calls));
  assert_int_equal(json_array_size(json_object_get(json[2], "orchestrators")), 2);
  for (int i = 0; i < 3; i++) json_decref(json[i]);
}

static void tables_say_it_too(void **state) {
  static char out[1 << 16];
  (void)state;
  assert_int_equal(test_run(out, sizeof out, "%s show %s/keys.h5 --requests", TANDEM_PROGRAM, folder), 0);
  assert_non_null(strstr(out, "kept        64 tokens were not prefilled"));
  assert_non_null(strstr(out, "workers     0 changes of role, 1 failures, 0.25 s down"));
  assert_non_null(strstr(out, "goodput     "));
  assert_int_equal(test_run(out, sizeof out, "%s run %s/keys.cfg --no-trace", TANDEM_PROGRAM, folder), 0);
  assert_non_null(strstr(out, "the busiest port, where p.0 sends, is busy"));
  assert_non_null(strstr(out, "goodput     "));
  assert_non_null(strstr(out, "64 kept tokens lost with workers"));
  assert_int_equal(test_run(out, sizeof out, "%s run %s/keys.cfg -o %s/again.h5", TANDEM_PROGRAM, folder, folder), 0);
  assert_non_null(strstr(out, "the busiest port, where p.0 sends, is busy"));
  assert_non_null(strstr(out, "goodput     "));
  assert_non_null(strstr(out, "64 kept tokens lost with workers"));
  assert_int_equal(test_run(out, sizeof out, "%s export %s/keys.h5 --to csv --table changes", TANDEM_PROGRAM, folder),
                   0);
  assert_string_equal(out, "time,device,change\n2500000000000,0,3\n2750000000000,0,4\n");
}

/* Everybody is down and everything refused: no joule, and no token of one. */
static void nothing_has_no_rate(void **state) {
  static char out[1 << 16];
  (void)state;
  const char *words =
      "--set engine.policy=admission --set 'engine.policy_options={queue_limit=0;}' --set 'cluster.pools.[0].outages=({"
      "worker=0; at=0; lasts=0;})' --set 'cluster.pools.[1].outages=({worker=0; at=0; lasts=0;})'";
  assert_int_equal(test_run(out, sizeof out, "%s run %s/keys.cfg --no-trace %s", TANDEM_PROGRAM, folder, words), 0);
  assert_non_null(strstr(out, "0 requests (3 refused)"));
  assert_non_null(strstr(out, "): 0 W in the mean\n"));
  assert_null(strstr(out, "nan"));
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(one_set_of_keys), cmocka_unit_test(keys_of_calls),
                                     cmocka_unit_test(tables_say_it_too), cmocka_unit_test(nothing_has_no_rate)};
  folder = test_scratch();
  random_cluster_files(folder);
  random_cluster_file(
      folder, "turns.jsonl",
      "{\"timestamp\": 0, \"input_length\": 72, \"output_length\": 9, \"hash_ids\": [1,2,3,4,5]}\n"
      "{\"timestamp\": 1000, \"input_length\": 72, \"output_length\": 9, \"hash_ids\": [1,2,3,4,5]}\n"
      "{\"timestamp\": 3000, \"input_length\": 72, \"output_length\": 29, \"hash_ids\": [1,2,3,4,5]}\n");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
