/* SPDX-License-Identifier: Apache-2.0
 *
 * --set: every kind of value and path, and its mistakes.
 */
#include "files.h"
#include "tandem/experiment.h"

static struct td_config *config;
static struct td_experiment experiment;

static td_status open_with(const char *set) {
  const char *sets[] = {set};
  return td_experiment_open(scratch_base(0, ""), sets, 1, &config, &experiment);
}

static void expect_opens(const char *set) {
  td_status status = open_with(set);
  if (status) print_error("%s: %s\n", set, td_error_text());
  assert_int_equal(status, TD_OK);
}

static const struct td_cfg_pool *pool(int i) {
  return (const struct td_cfg_pool *)experiment.cluster.pools.items + i;
}
static const struct td_cfg_request *request(int i) {
  return (const struct td_cfg_request *)experiment.workload.requests.items + i;
}

static void values(void **state) {
  (void)state;
  expect_opens("engine.chunk_tokens=9");
  assert_int_equal(experiment.engine.chunk_tokens, 9);
  td_config_close(config);
  expect_opens("engine.pace=priced");
  assert_int_equal(experiment.engine.pace, TD_PACE_PRICED);
  td_config_close(config);
  expect_opens("engine.pace=\"measured\"");
  assert_int_equal(experiment.engine.pace, TD_PACE_MEASURED);
  td_config_close(config);
  expect_opens("seed=9000000000000000001");
  assert_int_equal(experiment.seed, INT64_C(9000000000000000001));
  td_config_close(config);
  expect_opens("workload.stop_at_end=false");
  assert_false(experiment.workload.stop_at_end);
  td_config_close(config);
}

static void texts_need_no_quotes(void **state) {
  (void)state;
  static const struct {
    const char *set, *name;
  } cases[] = {{"name=two words, = and # all", "two words, = and # all"},
               {"name=7", "7"},
               {"name=true", "true"},
               {"name=1; seed = 5", "1; seed = 5"},
               {"name=\"quoted\"", "quoted"},
               {"name=\"a\" // b", "a"},
               {"name={", "{"},
               {"name=@include \"/dev/null\"", "@include \"/dev/null\""}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    expect_opens(cases[i].set);
    assert_string_equal(experiment.name, cases[i].name);
    assert_int_equal(experiment.seed, 0);
    td_config_close(config);
  }
}

static void paths_into_lists(void **state) {
  (void)state;
  expect_opens("cluster.pools.[1].count=2");
  assert_int_equal(pool(0)->count, 1);
  assert_int_equal(pool(1)->count, 2);
  td_config_close(config);
  expect_opens("cluster.pools[0].threads=3");
  assert_int_equal(pool(0)->threads, 3);
  td_config_close(config);
  expect_opens("workload.requests=( { prompt_tokens = 5; }, { prompt = \"x\"; } )");
  assert_int_equal(experiment.workload.requests.count, 2);
  assert_int_equal(request(0)->prompt_tokens, 5);
  assert_string_equal(request(1)->prompt, "x");
  td_config_close(config);
}

static void absent_groups_are_made(void **state) {
  (void)state;
  expect_opens("sampling.temperature=0.5");
  assert_true(experiment.sampling.temperature == 0.5);
  assert_true(experiment.sampling.top_p == 1.0);
  td_config_close(config);
}

static void the_last_one_wins(void **state) {
  (void)state;
  const char *sets[] = {"engine.chunk_tokens=1", "engine={ block_tokens = 32; }", "engine.chunk_tokens=3"};
  assert_int_equal(td_experiment_open(scratch_base(0, ""), sets, 3, &config, &experiment), TD_OK);
  assert_int_equal(experiment.engine.chunk_tokens, 3);
  assert_int_equal(experiment.engine.block_tokens, 32);
  td_config_close(config);
}

/* A path in a file is relative to the file, one typed in a shell to where the shell is. */
static void relative_paths(void **state) {
  (void)state;
  char here[4096], want[8192], folder[4096];
  assert_non_null(getcwd(here, sizeof here));
  assert_non_null(realpath(scratch_folder(), folder));
  expect_opens("seed=1");
  snprintf(want, sizeof want, "%s/m.gguf", folder);
  assert_string_equal(experiment.model, want);
  td_config_close(config);
  expect_opens("model=./sub/x.gguf");
  snprintf(want, sizeof want, "%s/sub/x.gguf", here);
  assert_string_equal(experiment.model, want);
  td_config_close(config);
  expect_opens("model=/x/y.gguf");
  assert_string_equal(experiment.model, "/x/y.gguf");
  td_config_close(config);
  unsetenv("TANDEM_CACHE");
  setenv("XDG_CACHE_HOME", "/cache", 1);
  expect_opens("model=${TANDEM_CACHE}/y.gguf");
  assert_string_equal(experiment.model, "/cache/tandem/y.gguf");
  td_config_close(config);
  setenv("TANDEM_CACHE", "/elsewhere", 1);
  expect_opens("model=${TANDEM_CACHE}/y.gguf");
  assert_string_equal(experiment.model, "/elsewhere/y.gguf");
  td_config_close(config);
  unsetenv("TANDEM_CACHE");
}

static void mistakes(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"engine.chunk_token=7",
       "--set engine.chunk_token: found an unknown key, expected a key of engine; did you mean chunk_tokens?"},
      {"engin.chunk_tokens=7",
       "--set engin: found an unknown key, expected a key of an experiment; did you mean engine?"},
      {"engine.chunk_tokens=x", "--set engine.chunk_tokens: found \"x\", expected a whole number 0..10000000 (tokens)"},
      {"engine.chunk_tokens=", "--set engine.chunk_tokens: found \"\", expected a whole number 0..10000000 (tokens)"},
      {"engine.chunk_tokens=7 8",
       "--set engine.chunk_tokens: found \"7 8\", expected a whole number 0..10000000 (tokens)"},
      {"engine.pace=fast", "--set engine.pace: found \"fast\", expected one of wall, measured, priced"},
      {"engine=3", "--set engine: found 3, expected a group { ... }"},
      {"name.x=3", "--set name.x: found the key x in \"t\", expected a group"},
      {"cluster.pools.[2].count=1",
       "--set cluster.pools.[2].count: found index [2] in a list of 2, expected an element that exists"},
      {"engine.[0]=1", "--set engine.[0]: found index [0] in a group, expected an element that exists"},
      {"cluster.pools.[x].count=1", "--set cluster.pools.[x].count: found \".[x].count\", expected a key or [N]"},
      {"engine..chunk_tokens=1", "--set engine..chunk_tokens: found \"..chunk_tokens\", expected a key or [N]"},
      {"engine", "--set: found \"engine\", expected PATH=VALUE"},
      {"=3", "--set: found \"=3\", expected PATH=VALUE"},
      {"", "--set: found \"\", expected PATH=VALUE"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    assert_int_equal(open_with(cases[i][0]), TD_CONFIG);
    assert_string_equal(td_error_text(), cases[i][1]);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(values),
      cmocka_unit_test(texts_need_no_quotes),
      cmocka_unit_test(paths_into_lists),
      cmocka_unit_test(absent_groups_are_made),
      cmocka_unit_test(the_last_one_wins),
      cmocka_unit_test(relative_paths),
      cmocka_unit_test(mistakes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
