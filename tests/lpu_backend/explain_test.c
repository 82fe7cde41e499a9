/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem lpu compile --explain` and `--sensitivity`: every cycle of a step is some term's, and numbers that nobody
 * published move the step as they must.
 */
#include <jansson.h>

#include "harness.h"
#include "support.h"
#include "tandem/base.h"

#define DECODE(keys) "{name=\"d\"; role=\"decode\"; backend=\"lpu\"; device=\"groq-lpu-v1\"; lpu={" keys "};}"
#define PREFILL "{name=\"p\"; role=\"prefill\"; backend=\"cpu\"; device=\"xeon-2vcpu\";},"

static const char *config_of(const char *name, const char *pools) {
  struct setup setup = {.pace = "priced",
                        .policy = "disaggregated",
                        .pools = pools,
                        .links = LINK_PD,
                        .extra = "block_tokens = 160; batch_sequences = 1;",
                        .workload = "requests = ({name=\"a\"; prompt_tokens=33; max_tokens=7;}); stop_at_end=false;",
                        .kv = "f16",
                        .chunk = 64};
  return harness_config(name, &setup);
}

static json_t *compile(const char *config, const char *flags) {
  static char out[1 << 17];
  int code = test_run(out, sizeof out, "%s lpu compile %s --json %s", TANDEM_PROGRAM, config, flags);
  if (code) fail_msg("lpu compile %s: exit %d", flags, code);
  json_error_t error;
  json_t *root = json_loads(out, 0, &error);
  if (!root) fail_msg("lpu compile %s: line %d: %s", flags, error.line, error.text);
  return root;
}

static json_int_t number(const json_t *object, const char *key) {
  const json_t *value = json_object_get(object, key);
  if (!json_is_integer(value)) fail_msg("found no integer \"%s\"", key);
  return json_integer_value(value);
}

/* ---- the waterfall ---- */

static json_int_t term_of(const json_t *terms, const char *name) {
  size_t i;
  json_t *term;
  json_array_foreach((json_t *)terms, i, term) {
    if (!strcmp(json_string_value(json_object_get(term, "term")), name)) return number(term, "cycles");
  }
  fail_msg("found no term \"%s\"", name);
  return 0;
}

/* Adds the terms up by itself. */
static json_int_t sum_of(const json_t *terms) {
  json_int_t sum = 0;
  size_t i;
  json_t *term;
  json_array_foreach((json_t *)terms, i, term) {
    const char *words = json_string_value(json_object_get(term, "removed_by"));
    sum += number(term, "cycles");
    assert_int_equal(number(term, "cumulated"), sum);
    assert_true(words && *words);
  }
  return sum;
}

static json_t *explain(const char *config, const char *flags, const char *length) {
  char all[256];
  snprintf(all, sizeof all, "--explain %s", flags);
  json_t *root = compile(config, all), *terms = json_object_get(root, "explain");
  assert_true(json_array_size(terms) > 8);
  assert_int_equal(sum_of(terms), number(root, length));
  json_incref(terms);
  json_decref(root);
  return terms;
}

/* Of the tiny llama: a layer's matrices and the head's, one byte each, 20,480 a cycle. */
static void test_terms(void **state) {
  (void)state;
  const char *config = config_of("terms", PREFILL DECODE("weights=\"i8\"; rows=1;"));
  json_t *terms = explain(config, "", "cycles"), *later = explain(config, "--position 7", "cycles");
  json_int_t weights = term_of(terms, "weights");
  assert_true(weights > 0);
  assert_true(term_of(terms, "whole tiles") > 0); /* its matrices are far smaller than tiles */
  assert_true(term_of(terms, "KV tiles") > 0);
  assert_int_equal(term_of(terms, "other tiles"), 0);
  assert_int_equal(term_of(terms, "chips in turn"), 0);
  assert_int_equal(term_of(terms, "links"), 0);
  assert_int_equal(term_of(terms, "tail"), 19);
  assert_int_equal(term_of(later, "weights"), weights);
  json_decref(later);
  json_decref(terms);
  const char *wide = config_of("terms-wide", PREFILL DECODE("weights=\"f16\"; rows=1;"));
  terms = explain(wide, "", "cycles");
  assert_true(llabs(term_of(terms, "weights") - 2 * weights) <= 1);
  json_decref(terms);
}

/* Two chips: in turn as two stages, side by side as one; either way links take their time. */
static void test_chips(void **state) {
  (void)state;
  const char *turns = config_of("turns", PREFILL DECODE("weights=\"i8\"; chips=2; tensor=1;"));
  const char *shared = config_of("shared", PREFILL DECODE("weights=\"i8\"; chips=2; tensor=2;"));
  json_t *terms = explain(turns, "", "cycles");
  assert_true(term_of(terms, "chips in turn") > 0);
  assert_true(term_of(terms, "links") > 0);
  json_int_t once = term_of(terms, "links");
  json_decref(terms);
  terms = explain(shared, "", "cycles");
  assert_int_equal(term_of(terms, "chips in turn"), 0);
  assert_true(term_of(terms, "links") > once);
  json_decref(terms);
}

static void test_layers(void **state) {
  (void)state;
  const char *config = config_of("layers", PREFILL DECODE("weights=\"i8\"; rows=1;"));
  json_t *terms = explain(config, "--part ffn", "layers_cycles");
  assert_int_equal(term_of(terms, "KV tiles"), 0);
  assert_int_equal(term_of(terms, "tail") % 19, 0);
  json_decref(terms);
}

/* ---- sensitivity ---- */

static const json_t *parameter_of(const json_t *parameters, const char *name) {
  size_t i;
  json_t *parameter;
  json_array_foreach((json_t *)parameters, i, parameter) {
    if (!strcmp(json_string_value(json_object_get(parameter, "name")), name)) return parameter;
  }
  return NULL;
}

/* Sorted, inside the interval, and what is refused says why. */
static void check_parameters(const json_t *found) {
  json_int_t nominal = number(found, "nominal"), least = number(found, "least"), most = number(found, "most");
  json_int_t before = INT64_MAX;
  size_t i;
  json_t *parameter;
  json_array_foreach(json_object_get(found, "parameters"), i, parameter) {
    json_int_t highest = nominal, lowest = nominal;
    for (int e = 0; e < 2; e++) {
      const json_t *cycles = json_object_get(parameter, e ? "cycles_high" : "cycles_low");
      const json_t *refused = json_object_get(parameter, e ? "refused_high" : "refused_low");
      assert_true(json_is_integer(cycles) != json_is_string(refused));
      if (refused) continue;
      json_int_t at = json_integer_value(cycles);
      assert_true(at >= least && at <= most);
      if (at > highest) highest = at;
      if (at < lowest) lowest = at;
    }
    assert_true(highest - lowest <= before);
    before = highest - lowest;
  }
}

static void test_sensitivity(void **state) {
  (void)state;
  const char *config = config_of("sensitive", PREFILL DECODE("weights=\"i8\"; rows=1;"));
  json_t *root = compile(config, "--sensitivity --against 1e-5");
  const json_t *found = json_object_get(root, "sensitivity"), *all = json_object_get(found, "parameters");
  json_int_t nominal = number(found, "nominal");
  assert_int_equal(nominal, number(root, "cycles"));
  check_parameters(found);
  const json_t *pass = parameter_of(all, "pass_func"), *depth = parameter_of(all, "alu_tanh");
  assert_true(pass && number(pass, "cycles_low") < nominal && number(pass, "cycles_high") > nominal);
  assert_true(depth && number(depth, "cycles_low") == nominal && number(depth, "cycles_high") == nominal);
  assert_null(parameter_of(all, "clock"));        /* published */
  assert_null(parameter_of(all, "link_latency")); /* measured */
  assert_null(parameter_of(all, "power_base"));   /* moves no cycle */
  assert_true(json_is_string(json_object_get(parameter_of(all, "pass_skew"), "refused_high")));
  json_int_t fastest = number(json_object_get(found, "fastest"), "cycles");
  json_int_t slowest = number(json_object_get(found, "slowest"), "cycles");
  assert_true(fastest < nominal && nominal < slowest);
  assert_true(number(found, "least") <= fastest && number(found, "most") >= slowest);
  double low = json_real_value(json_object_get(found, "least_seconds"));
  double high = json_real_value(json_object_get(found, "most_seconds"));
  assert_true(low < (double)nominal / 900e6 && (double)nominal / 900e6 < high);
  assert_int_equal(json_is_true(json_object_get(found, "inside")), low <= 1e-5 && 1e-5 <= high);
  json_decref(root);
}

/* The machine with a skew that goes with the pass's delay, and not with its shortest. */
static const char *skewed_device(void) {
  static char path[4200];
  const char *from = "pass_skew = { value = 0; unit = \"cycles\"; low = 0; high = 10;";
  char *text = NULL;
  size_t bytes;
  snprintf(path, sizeof path, "%s/skewed-device.cfg", harness_scratch());
  assert_int_equal(td_read_file(test_source("devices/groq-lpu-v1.cfg"), 1 << 20, &text, &bytes), TD_OK);
  char *at = strstr(text, from);
  assert_non_null(at);
  memcpy(at + strlen(from) - 3, "04", 2);
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(text, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
  free(text);
  return path;
}

/* Both ends make the step shorter alone; together no machine has them: the second is named, with the reason. */
static void test_not_together(void **state) {
  char pools[5000];
  (void)state;
  snprintf(pools, sizeof pools, PREFILL "{name=\"d\"; role=\"decode\"; backend=\"lpu\"; device=\"%s\"; lpu={rows=1;};}",
           skewed_device());
  json_t *root = compile(config_of("skewed", pools), "--sensitivity");
  const json_t *found = json_object_get(root, "sensitivity"), *all = json_object_get(found, "parameters");
  const json_t *fastest = json_object_get(found, "fastest"), *left = json_object_get(fastest, "left_out");
  assert_true(number(parameter_of(all, "pass_skew"), "cycles_high") < number(found, "nominal"));
  assert_non_null(strstr(json_string_value(json_object_get(fastest, "refused")), "pass_func"));
  assert_int_equal(json_object_size(left), 1);
  assert_true(json_object_get(left, "pass_skew") || json_object_get(left, "pass_func"));
  assert_true(number(fastest, "cycles") < number(parameter_of(all, "pass_skew"), "cycles_high"));
  json_decref(root);
}

static void refused(const char *arguments, const char *words) {
  char out[4096];
  int code = test_run(out, sizeof out, "%s lpu %s 2>&1", TANDEM_PROGRAM, arguments);
  if (code != 2 || !strstr(out, words)) fail_msg("%s: exit %d, expected \"%s\" in: %s", arguments, code, words, out);
}

static void test_refused(void **state) {
  (void)state;
  refused("compile nowhere.cfg --against 1e-3", "--sensitivity");
  refused("compile nowhere.cfg --sensitivity --against 0", "--against: found \"0\"");
  refused("compile nowhere.cfg --sensitivity --against 1ms", "--against: found \"1ms\"");
  refused("compile nowhere.cfg --sensitivity --against nan", "--against: found \"nan\"");
  refused("check nowhere.lpu --explain", "--explain");
  refused("dump nowhere.lpu --sensitivity", "--sensitivity");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_terms),       cmocka_unit_test(test_chips),        cmocka_unit_test(test_layers),
      cmocka_unit_test(test_sensitivity), cmocka_unit_test(test_not_together), cmocka_unit_test(test_refused),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
