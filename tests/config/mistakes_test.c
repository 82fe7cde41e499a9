/* SPDX-License-Identifier: Apache-2.0
 *
 * Each kind of mistake in a config: the one line it gives, word for word.
 */
#include "files.h"
#include "tandem/base.h"
#include "tandem/experiment.h"

/* Opens the base experiment with one line replaced; the error must be "PATH:" + expected. */
static void expect_line(int line, const char *text, const char *expected) {
  const char *path = scratch_base(line, text);
  struct td_config *config;
  struct td_experiment experiment;
  char want[8192];
  snprintf(want, sizeof want, "%s:%s", path, expected);
  td_status status = td_experiment_open(path, NULL, 0, &config, &experiment);
  if (status != TD_CONFIG) print_error("line %d: %s\n", line, text);
  assert_int_equal(status, TD_CONFIG);
  assert_string_equal(td_error_text(), want);
}

struct mistake {
  int line;
  const char *text, *expected;
};

static void expect_all(const struct mistake *mistakes, size_t count) {
  for (size_t i = 0; i < count; i++) expect_line(mistakes[i].line, mistakes[i].text, mistakes[i].expected);
}
#define EXPECT_ALL(table) expect_all(table, sizeof(table) / sizeof *(table))

static void the_base_is_valid(void **state) {
  (void)state;
  struct td_config *config;
  struct td_experiment experiment;
  assert_int_equal(td_experiment_open(scratch_base(0, ""), NULL, 0, &config, &experiment), TD_OK);
  assert_int_equal(experiment.engine.chunk_tokens, 7);
  assert_int_equal(experiment.engine.batch_tokens, 2048);
  assert_int_equal(experiment.cluster.pools.count, 2);
  const struct td_cfg_request *request = experiment.workload.requests.items;
  assert_string_equal(request->name, "r0");
  assert_true(request->chat);
  td_config_close(config);
}

static void names(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {3, "engine = { chunk_token = 7; };",
       "3: engine.chunk_token: found an unknown key, expected a key of engine; did you mean chunk_tokens?"},
      {3, "engin = { chunk_tokens = 7; };",
       "3: engin: found an unknown key, expected a key of an experiment; did you mean engine?"},
      {4, "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; thread = 1; },",
       "4: cluster.pools.[0].thread: found an unknown key, expected a key of a pool; did you mean threads?"},
      {6, "workload = { requests = ( { prompt = \"hi\"; zzzzzzzzz = 1; } ); };",
       "6: workload.requests.[0].zzzzzzzzz: found an unknown key, expected a key of a request (name, prompt, system, "
       "chat, "
       "prompt_tokens, max_tokens, arrival)"},
      {3, "engine = { chunk_tokens = 7; }; engine = {};",
       "3: duplicate setting name: found \"engine = { chunk_tokens = 7; }; engine = {};\", expected each key once in "
       "its "
       "group"},
      {1, "", "1: name: found nothing, expected a text: what the experiment is called"},
      {4, "cluster = { pools = ( { backend = \"cpu\"; },",
       "4: cluster.pools.[0].name: found nothing, expected a text: the pool's name; its workers are NAME.0, NAME.1, "
       "..."},
      {6, "workload = {};", "6: workload.requests: found no request, expected some, or a source"},
      {6, "workload = { source = { }; };",
       "6: workload.source.format: found nothing, expected one of generated, azure, "
       "burstgpt, vidur, splitwise, mooncake, blis, sharegpt, apex, sessions, lengths: what file is: "
       "docs/workloads.md has the columns of each; generated = no file, lengths by law"},
  };
  EXPECT_ALL(mistakes);
}

static void types_and_ranges(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {1, "name = 3;", "1: name: found 3, expected a text"},
      {3, "engine = { chunk_tokens = \"7\"; };",
       "3: engine.chunk_tokens: found \"7\", expected a whole number 0..10000000 (tokens)"},
      {3, "engine = { chunk_tokens = 7.5; };",
       "3: engine.chunk_tokens: found 7.5, expected a whole number 0..10000000 (tokens)"},
      {3, "engine = { chunk_tokens = -1; };",
       "3: engine.chunk_tokens: found -1, expected a whole number 0..10000000 (tokens)"},
      {3, "engine = { chunk_tokens = 3000000000; };",
       "3: engine.chunk_tokens: found 3000000000, expected a whole number 0..10000000 (tokens)"},
      {3, "engine = { chunk_tokens = 0x100000001; };",
       "3: engine.chunk_tokens: found 4294967297, expected a whole number 0..10000000 (tokens)"},
      {3, "engine = { chunk_tokens = 99999999999999999999; };",
       "3: found 99999999999999999999, expected a number that fits in 64 bits"},
      {3, "engine = { chunk_tokens = 1e999; };", "3: found 1e999, expected a number that fits in 64 bits"},
      {3, "engine = { chunk_tokens = 1e3; };",
       "3: engine.chunk_tokens: found 1000.0, expected a whole number 0..10000000 (tokens)"},
      {3, "engine = 3;", "3: engine: found 3, expected a group { ... }"},
      {3, "sampling = { temperature = \"hot\"; };", "3: sampling.temperature: found \"hot\", expected a number 0..100"},
      {3, "sampling = { top_p = 1.5; };", "3: sampling.top_p: found 1.5, expected a number 1e-06..1"},
      {3, "engine = { pace = \"priecd\"; };",
       "3: engine.pace: found \"priecd\", expected one of wall, measured, priced; did you mean priced?"},
      {3, "engine = { pace = 1; };", "3: engine.pace: found 1, expected one of wall, measured, priced"},
      {6, "workload = { requests = { prompt = \"hi\"; }; };",
       "6: workload.requests: found a group, expected a list ( { ... }, ... )"},
      {6, "workload = { requests = ( \"hi\" ); };", "6: workload.requests.[0]: found \"hi\", expected a group { ... }"},
      {6, "workload = { requests = ( { prompt = \"hi\"; chat = 1; } ); };",
       "6: workload.requests.[0].chat: found 1, expected true or false"},
      {6, "workload = { requests = ( { prompt = \"hi\"; arrival = -0.5; } ); };",
       "6: workload.requests.[0].arrival: found -0.5, expected a number 0..9000000 (s)"},
  };
  EXPECT_ALL(mistakes);
}

static void syntax(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {3, "engine = { chunk_tokens 7; };",
       "3: syntax error: found \"engine = { chunk_tokens 7; };\", expected KEY = VALUE; with every text in quotes"},
      {1, "name = t;", "1: syntax error: found \"name = t;\", expected KEY = VALUE; with every text in quotes"},
      {1, "name = \"t;", "6: found the opening quote of a text, expected a closing one behind it"},
      {3, "engine = { chunk_tokens = 7; ", "3: found an opening bracket, expected '}' behind it"},
      {3, "engine = { chunk_tokens = 7; );", "3: found ')', expected '}' for the bracket opened in line 3"},
      {3, "engine = { }; }", "3: found '}', expected a bracket opened before it"},
      {3, "/* engine", "3: found the beginning of a comment /*, expected its end */"},
      {3, "engine \x01", "3: found the byte 0x01, expected text"},
      {3, "@include nothing", "3: found '@', expected @include \"FILE\""},
      {1, "name = \"a\\x00b\";", "1: found \\x00 in a text, expected no zero bytes"},
      {1, "name = \"t\"; #\n\nengin = 3;",
       "3: engin: found an unknown key, expected a key of an experiment; did you mean engine?"},
  };
  EXPECT_ALL(mistakes);
}

static void what_must_agree(void **state) {
  (void)state;
  static const struct mistake mistakes[] = {
      {1, "name = \"\";", "1: name: found \"\", expected a name"},
      {3, "engine = { policy = \"\"; };", "3: engine.policy: found \"\", expected a policy's name"},
      {4, "cluster = { pools = ( { name = \"b\"; backend = \"cpu\"; },",
       "5: cluster.pools.[1].name: found \"b\", expected a name of its own: cluster.pools.[0] has it too"},
      {4, "cluster = { pools = ( { name = \"a b\"; backend = \"cpu\"; },",
       "4: cluster.pools.[0].name: found \"a b\", expected 1 to 26 letters, digits, _ or -"},
      {5,
       "{ name = \"b\"; backend = \"cpu\"; } ); links = ( { from = \"a\"; to = \"bb\"; device = \"nvlink4\"; } ); };",
       "5: cluster.links.[0].to: found \"bb\", expected the name of a pool; did you mean b?"},
      {5,
       "{ name = \"b\"; backend = \"cpu\"; } ); links = ( { from = \"a\"; to = \"b\"; device = \"h100_sxm\"; } ); };",
       "5: cluster.links.[0].device: found h100_sxm, a device file of kind chip, expected one of kind link"},
      {4, "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; device = \"nvlink4\"; },",
       "4: cluster.pools.[0].device: found nvlink4, a device file of kind link, expected one of kind chip"},
      {6, "workload = { requests = ( ); };", "6: workload.requests: found no request, expected some, or a source"},
      {6, "workload = { requests = ( { prompt = \"a\"; } ); source = { format = \"azure\"; file = \"f\"; }; };",
       "6: workload.requests: found it beside workload.source, expected one of the two"},
#define SOURCE(text, wrong) {6, "workload = { source = { " text " }; };", "6: workload.source" wrong}
      SOURCE("format = \"azure\";", ".file: found \"\", expected a trace"),
      SOURCE("format = \"azure\"; file = \"f\"; rate = 1.0;",
             ".rate: found it, expected it with arrivals = \"poisson\", \"gamma\" or \"constant\" only"),
      SOURCE("format = \"azure\"; file = \"f\"; arrivals = \"poisson\";",
             ".rate: found 0, expected requests per second"),
      SOURCE("format = \"azure\"; file = \"f\"; arrivals = \"closed\";",
             ".users: found 0, expected at least 1 with arrivals = \"closed\""),
      SOURCE("format = \"azure\"; file = \"f\"; repeat = true;",
             ".requests: found 0, expected a number, or a duration: the source has no end"),
      SOURCE("format = \"lengths\"; file = \"f\";",
             ".arrivals: found \"trace\", expected poisson, gamma, constant or closed: this format has no times"),
      SOURCE("format = \"azure\"; file = \"f\"; begin = 3; end = 2;", ".end: found 2, expected more than begin, 3"),
      SOURCE("format = \"azure\"; file = \"f\"; end = 1e-13;",
             ".end: found 1e-13, expected 0, which is no bound, or at least 1e-09"),
      SOURCE("format = \"azure\"; file = \"f\"; repeat = true; duration = 1e-13;",
             ".duration: found 1e-13, expected 0, which is no bound, or at least 1e-09"),
      SOURCE("format = \"azure\"; file = \"f\"; header = \"h\";",
             ".header: found it, expected it with format = \"blis\" only"),
      SOURCE("format = \"generated\"; arrivals = \"poisson\"; rate = 1.0; requests = 3;",
             ".prompt: found no law, expected one with format = \"generated\""),
      SOURCE(
          "format = \"generated\"; arrivals = \"poisson\"; rate = 1.0; requests = 3; prompt = { law = \"constant\"; };",
          ".prompt.mean: found 0, expected at least 1"),
      SOURCE("format = \"generated\"; arrivals = \"poisson\"; rate = 1.0; requests = 3; prompt = { law = \"constant\"; "
             "mean = 9; cv = 3.0; };",
             ".prompt.cv: found it, expected it with law = \"lognormal\" only"),
      SOURCE(
          "format = \"azure\"; file = \"f\"; output = { high = 10; };",
          ".output: found cv, low or high without a law, expected one (most_prompt, most_output and least_output cut "
          "the file's lengths)"),
      SOURCE("format = \"sessions\"; file = \"f\"; most_prompt = 10;",
             ".most_prompt: found it, expected none with format = \"sessions\": a turn's prompt holds the answers "
             "before it"),
      SOURCE("format = \"mooncake\"; file = \"f\"; prefixes = ( { tokens = 5; } );",
             ".prefixes: found them, expected none: this format brings its own"),
      SOURCE("format = \"azure\"; file = \"f\"; tiers = ( { weight = 0.0; } );",
             ".tiers: found weights of 0 only, expected one above"),
      {6, "workload = { requests = ( { } ); };",
       "6: workload.requests.[0]: found neither prompt nor prompt_tokens, expected one"},
      {6, "workload = { requests = ( { prompt = \"a\"; prompt_tokens = 3; } ); };",
       "6: workload.requests.[0].prompt_tokens: found it beside prompt, expected one of the two"},
      {6, "workload = { requests = ( { prompt_tokens = 3; system = \"s\"; } ); };",
       "6: workload.requests.[0].system: found it without prompt, expected both"},
      {6, "workload = { requests = ( { prompt = \"a\"; system = \"s\"; chat = false; } ); };",
       "6: workload.requests.[0].system: found it with chat = false, expected chat = true"},
      {6, "workload = { requests = ( { prompt = \"a\"; name = \"r1\"; }, { prompt = \"b\"; } ); };",
       "6: workload.requests.[1].name: found \"r1\", expected a name of its own: workload.requests.[0] has it too"},
      {2, "model = \"${HOME}/m.gguf\";",
       "2: model: found ${...} in a path, expected ${TANDEM_CACHE}/... or a plain path"},
  };
  EXPECT_ALL(mistakes);
}

/* The folder's path is in the message, so only its parts are compared. */
static void an_unknown_device_gets_the_nearest(void **state) {
  (void)state;
  struct td_config *config;
  struct td_experiment experiment;
  const char *path =
      scratch_base(4, "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; device = \"h10_sxm\"; },");
  assert_int_equal(td_experiment_open(path, NULL, 0, &config, &experiment), TD_CONFIG);
  assert_non_null(
      strstr(td_error_text(), ":4: cluster.pools.[0].device: found \"h10_sxm\", expected the name or path"));
  assert_non_null(strstr(td_error_text(), "did you mean h100_sxm?"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(the_base_is_valid), cmocka_unit_test(names),
      cmocka_unit_test(types_and_ranges),  cmocka_unit_test(syntax),
      cmocka_unit_test(what_must_agree),   cmocka_unit_test(an_unknown_device_gets_the_nearest),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
