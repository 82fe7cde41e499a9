/* SPDX-License-Identifier: Apache-2.0
 *
 * The resolved print: origins, and that what is printed parses to the same values.
 */
#include "files.h"
#include "tandem/experiment.h"

static char *printed(const struct td_config *config, const struct td_option_group *group, const void *parsed) {
  char *text = NULL;
  size_t bytes = 0;
  FILE *out = open_memstream(&text, &bytes);
  assert_non_null(out);
  assert_int_equal(td_config_print(config, group, parsed, out), TD_OK);
  fclose(out);
  return text;
}

/* Does `text` have a line that begins with `key` (after spaces) and ends with `origin`? */
static void expect_origin(const char *text, const char *key, const char *origin) {
  for (const char *line = text; line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
    const char *at = line + strspn(line, " ");
    size_t length = strcspn(line, "\n");
    if (strncmp(at, key, strlen(key))) continue;
    assert_true(length > strlen(origin));
    assert_memory_equal(line + length - strlen(origin), origin, strlen(origin));
    return;
  }
  fail_msg("no line begins with %s", key);
}

static void origins(void **state) {
  (void)state;
  const char *sets[] = {"engine.block_tokens=32"};
  char with_line[4300];
  struct td_config *config;
  struct td_experiment experiment;
  const char *path = scratch_base(0, "");
  assert_int_equal(td_experiment_open(path, sets, 1, &config, &experiment), TD_OK);
  char *text = printed(config, &td_experiment_group, &experiment);
  snprintf(with_line, sizeof with_line, "# %s:1", path);
  expect_origin(text, "name = \"t\";", with_line);
  snprintf(with_line, sizeof with_line, "# tokens; %s:3", path);
  expect_origin(text, "chunk_tokens = 7;", with_line);
  expect_origin(text, "block_tokens = 32;", "# tokens; --set");
  expect_origin(text, "batch_tokens = 2048;", "# tokens; default");
  snprintf(with_line, sizeof with_line, "# %s:5", path);
  expect_origin(text, "device = \"h100_sxm\";", with_line);
  free(text);
  td_config_close(config);
}

/* Values of an included file carry that file's own lines. */
static void origins_of_includes(void **state) {
  (void)state;
  char below[4300], text[4600];
  snprintf(below, sizeof below, "%s", scratch_file("below.cfg", "# first\n\n  block_tokens = 4;\n  bad_key = 1;"));
  struct td_config *config;
  struct td_experiment experiment;
  const char *path = scratch_base(3, "engine = { chunk_tokens = 7;\n@include \"below.cfg\"\n}; seed = 3;");
  assert_int_equal(td_experiment_open(path, NULL, 0, &config, &experiment), TD_CONFIG);
  snprintf(text, sizeof text, "%s:4: engine.bad_key: found an unknown key", below);
  assert_memory_equal(td_error_text(), text, strlen(text));
  scratch_file("below.cfg", "# first\n\n  block_tokens = 4;\n");
  path = scratch_base(3, "engine = { chunk_tokens = 7;\n@include \"below.cfg\"\n}; seed = 3;");
  assert_int_equal(td_experiment_open(path, NULL, 0, &config, &experiment), TD_OK);
  assert_int_equal(experiment.engine.block_tokens, 4);
  char *all = printed(config, &td_experiment_group, &experiment);
  snprintf(text, sizeof text, "%s:3", below);
  expect_origin(all, "block_tokens = 4;", text);
  snprintf(text, sizeof text, "%s:5", path);
  expect_origin(all, "seed = 3;", text);
  free(all);
  td_config_close(config);
}

static void the_print_is_a_config(void **state) {
  (void)state;
  static const char rich[] =
      "name = \"q\\\"\\\\ \\t\\n \\x01 \xc3\xa9\"; description = \"#no comment\"; seed = 5000000000;\n"
      "model = \"m.gguf\"; sampling = { temperature = 0.1; top_p = 0.30000000000000004; top_k = 0x10; };\n"
      "cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; }, { name = \"b\"; backend = \"cpu\"; } );\n"
      " links = ( { from = \"a\"; to = \"b\"; device = \"nvlink4\"; } ); };\n"
      "workload = { stop_at_end = false; requests = ( { prompt = \"hi\"; arrival = 1e-7; },\n"
      "                         { prompt_tokens = 3; arrival = 1234567.0; } ); };\n";
  struct td_config *config, *again;
  struct td_experiment experiment, twice;
  const char *sets[] = {"engine.kv_dtype=f32"};
  assert_int_equal(td_experiment_open(scratch_file("rich.cfg", rich), sets, 1, &config, &experiment), TD_OK);
  char *text = printed(config, &td_experiment_group, &experiment), *plain, *plain_again;
  assert_int_equal(td_experiment_open(scratch_file("printed.cfg", text), NULL, 0, &again, &twice), TD_OK);
  assert_string_equal(twice.name, experiment.name);
  assert_string_equal(twice.name, "q\"\\ \t\n \x01 \xc3\xa9");
  assert_int_equal(twice.seed, INT64_C(5000000000));
  assert_true(twice.sampling.top_p == 0.30000000000000004);
  assert_int_equal(twice.sampling.top_k, 16);
  assert_int_equal(twice.engine.kv_dtype, 0);
  assert_int_equal(td_config_text(config, &td_experiment_group, &experiment, &plain), TD_OK);
  assert_int_equal(td_config_text(again, &td_experiment_group, &twice, &plain_again), TD_OK);
  assert_string_equal(plain, plain_again);
  assert_null(strstr(plain, "default"));
  free(text);
  free(plain);
  free(plain_again);
  td_config_close(config);
  td_config_close(again);
}

/* Every type of option, present and absent. */
struct inner {
  int64_t a;
  double maybe;
};
struct outer {
  int64_t whole;
  double real;
  bool yes;
  const char *text;
  int choice;
  struct inner must, optional;
  struct td_list list, texts;
};
static const struct td_option inner_options[] = {
    {.name = "a", .type = TD_OPT_INT, .fallback = "3", .offset = offsetof(struct inner, a)},
    {.name = "maybe", .type = TD_OPT_REAL, .fallback = "nan", .offset = offsetof(struct inner, maybe)},
    {.name = NULL}};
static const struct td_option_group inner_group = {"inner", sizeof(struct inner), inner_options};
static const struct td_option outer_options[] = {
    {.name = "whole", .type = TD_OPT_INT, .fallback = "-9223372036854775807", .offset = offsetof(struct outer, whole)},
    {.name = "real", .type = TD_OPT_REAL, .fallback = "1e300", .offset = offsetof(struct outer, real)},
    {.name = "yes", .type = TD_OPT_BOOL, .fallback = "true", .offset = offsetof(struct outer, yes)},
    {.name = "text", .type = TD_OPT_TEXT, .fallback = "\"x y\"", .offset = offsetof(struct outer, text)},
    {.name = "choice",
     .type = TD_OPT_CHOICE,
     .fallback = "two",
     .choices = "one|two",
     .offset = offsetof(struct outer, choice)},
    {.name = "must", .type = TD_OPT_GROUP, .offset = offsetof(struct outer, must), .group = &inner_group},
    {.name = "optional",
     .type = TD_OPT_GROUP,
     .fallback = "",
     .offset = offsetof(struct outer, optional),
     .group = &inner_group},
    {.name = "list",
     .type = TD_OPT_LIST,
     .fallback = "()",
     .offset = offsetof(struct outer, list),
     .group = &inner_group},
    {.name = "texts", .type = TD_OPT_TEXTS, .fallback = "[]", .offset = offsetof(struct outer, texts)},
    {.name = NULL}};
static const struct td_option_group outer_group = {"outer", sizeof(struct outer), outer_options};

static void every_type_round_trips(void **state) {
  (void)state;
  static const char *const configs[] = {
      "", "real = 3; texts = [\"a\", \"b\\n\"]; list = ( { a = 1; maybe = 2; }, { } ); optional = { };",
      "whole = -5; yes = false; texts = (); must = { maybe = -0.0; }; choice = \"one\";"};
  for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
    struct td_config *config, *again;
    struct outer parsed, twice;
    char *text, *text_again;
    assert_int_equal(td_config_open(scratch_file("o.cfg", configs[i]), NULL, 0, &config), TD_OK);
    assert_int_equal(td_config_parse(config, &outer_group, &parsed), TD_OK);
    assert_int_equal(td_config_text(config, &outer_group, &parsed, &text), TD_OK);
    assert_int_equal(td_config_open(scratch_file("o2.cfg", text), NULL, 0, &again), TD_OK);
    assert_int_equal(td_config_parse(again, &outer_group, &twice), TD_OK);
    assert_int_equal(td_config_text(again, &outer_group, &twice, &text_again), TD_OK);
    assert_string_equal(text, text_again);
    assert_int_equal(parsed.whole, twice.whole);
    assert_memory_equal(&parsed.real, &twice.real, sizeof parsed.real);
    assert_int_equal(parsed.list.count, twice.list.count);
    assert_int_equal(parsed.texts.count, twice.texts.count);
    assert_int_equal(parsed.must.a, 3);
    assert_int_equal(parsed.optional.a, i == 1 ? 3 : 0);
    free(text);
    free(text_again);
    td_config_close(config);
    td_config_close(again);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(origins),
      cmocka_unit_test(origins_of_includes),
      cmocka_unit_test(the_print_is_a_config),
      cmocka_unit_test(every_type_round_trips),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
