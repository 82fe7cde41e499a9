/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem check` and `tandem devices` as a user meets them: exit codes, one line on stderr, JSON that parses.
 */
#include "files.h"

static char out[1 << 20];

static int run(const char *arguments) {
  return test_run(out, sizeof out, "'%s' %s 2>&1", TANDEM_PROGRAM, arguments);
}

static void expect_one_line(const char *arguments, int code, const char *text) {
  int got = run(arguments);
  if (got != code || !strstr(out, text)) print_error("%s\n-> %d: %s", arguments, got, out);
  assert_int_equal(got, code);
  assert_non_null(strstr(out, text));
  const char *end = strchr(out, '\n');
  assert_non_null(end);
  assert_int_equal(end[1], 0);
  assert_memory_equal(out, "tandem: ", 8);
}

static void mistakes(void **state) {
  (void)state;
  char command[9000];
  const char *path = scratch_base(3, "engine = { chunk_token = 7; };");
  snprintf(command, sizeof command, "check '%s'", path);
  expect_one_line(command, 2, "e.cfg:3: engine.chunk_token: found an unknown key");
  path = scratch_base(0, "");
  snprintf(command, sizeof command, "check '%s' --set engine.pace=fst", path);
  expect_one_line(command, 2, "--set engine.pace: found \"fst\", expected one of wall, measured, priced");
  expect_one_line("check", 2, "expected a config file");
  expect_one_line("check /nowhere.cfg", 2, "/nowhere.cfg: No such file or directory");
  expect_one_line("check a.cfg --json --help-keys", 2, "expected it alone");
  expect_one_line("devices h100_sxn", 2, "did you mean h100_sxm?");
  expect_one_line("devices h100", 2, "did you mean h100_sxm?");
  expect_one_line("devices --jsn", 2, "did you mean --json?");
}

static const char *shape_config(void) {
  char text[2048];
  snprintf(text, sizeof text,
           "name = \"m\"; model = \"%s\"; engine = { pace = \"priced\"; };\n"
           "cluster = { pools = ( { name = \"a\"; backend = \"modelled\"; device = \"h100_sxm\"; } ); };\n"
           "workload = { requests = ( { prompt_tokens = 100; } ); };\n",
           test_source("experiments/models/smollm2-135m.cfg"));
  return scratch_file("ok.cfg", text);
}

static void a_valid_config(void **state) {
  (void)state;
  char command[9000];
  snprintf(command, sizeof command, "check '%s' --set engine.chunk_tokens=9", shape_config());
  int code = run(command);
  if (code) print_error("%s", out);
  assert_int_equal(code, 0);
  assert_non_null(strstr(out, "chunk_tokens = 9;"));
  assert_non_null(strstr(out, "# tokens; --set"));
  assert_non_null(strstr(out, "ok.cfg:1"));
  snprintf(command, sizeof command, "check '%s'", scratch_file("again.cfg", out));
  assert_int_equal(run(command), 0);
  assert_non_null(strstr(out, "chunk_tokens = 9;"));
}

static void json_parses(void **state) {
  (void)state;
  char command[9000];
  snprintf(command, sizeof command,
           "check '%s' --json | python3 -c 'import json,sys; d=json.load(sys.stdin); k={i[\"path\"]: i for i in "
           "d[\"keys\"]}; assert k[\"cluster.pools.[0].device\"][\"value\"]==\"h100_sxm\" and "
           "k[\"engine.chunk_tokens\"][\"origin\"]==\"default\" and d[\"valid\"] is True'",
           shape_config());
  assert_int_equal(run(command), 0);
  assert_int_equal(
      run("devices --json | python3 -c 'import json,sys; d=json.load(sys.stdin); n={i[\"name\"]: i for i in "
          "d[\"devices\"]}; assert n[\"h100_sxm\"][\"numbers\"][\"memory_bandwidth\"][\"value\"]==3.35e12; "
          "assert n[\"sram-imagined\"][\"imagined\"]; assert \"modelled\" in [b[\"name\"] for b in "
          "d[\"backends\"]]'"),
      0);
  assert_int_equal(run("devices h100_sxm --json | python3 -c 'import json,sys; d=json.load(sys.stdin); assert all("
                       "q[\"source\"] and q[\"evidence\"] and q[\"low\"]<=q[\"value\"]<=q[\"high\"] for q in "
                       "d[\"numbers\"].values())'"),
                   0);
}

static void devices(void **state) {
  (void)state;
  assert_int_equal(run("devices"), 0);
  assert_non_null(strstr(out, "h100_sxm"));
  assert_non_null(strstr(out, "(imagined)"));
  assert_non_null(strstr(out, "cpu"));
  assert_int_equal(run("devices h100_sxm"), 0);
  assert_non_null(strstr(out, "NVIDIA H100 Tensor Core GPU data sheet, 2023"));
  assert_non_null(strstr(out, "3.35 TB/s"));
  assert_int_equal(run("devices modelled"), 0);
}

int main(void) {
  if (access(TANDEM_PROGRAM, X_OK)) test_skip_all("the program is not built");
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(mistakes),
      cmocka_unit_test(a_valid_config),
      cmocka_unit_test(json_parses),
      cmocka_unit_test(devices),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
