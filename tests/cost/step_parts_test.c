/* SPDX-License-Identifier: Apache-2.0
 *
 * Devices of which steps were measured in parts: files, refused with the line; prices by hand; the step after.
 */
#include "steps.h"

#define PARTS(tokens_, decode_, mixed_)                                                   \
  HEAD NAMED                                                                              \
      "profile = { source = \"s\"; command = \"c\"; layers = 2; low = 0.9; high = 1.1;\n" \
      "tokens = (" tokens_ "); outputs = (\"1 10\"); decode = (" decode_                  \
      ");\n"                                                                              \
      "prefill = (\"16: 0 30, 64 50\", \"32: 0 40, 64 80\"); mixed = (" mixed_ "); }; });"
#define TOKENS "\"1 100, 11 200\""
#define DECODES "\"1: 16 10, 32 20, 64 36\", \"2: 16 12, 32 28, 64 60\""
#define BOTH "\"16 0 1: 16 100, 32 200\", \"32 0 1: 16 120, 32 220\""

/* By hand, microseconds: tokens, outputs, two layers of attention. */
static void parts(void **state) {
  (void)state;
  struct td_device_params *device = device_of(PARTS(TOKENS, DECODES, BOTH));
  struct td_graph *graph = graph_of("opt-13b");
  struct td_step_stats one = decode_stats(graph, 1, 23), two = decode_stats(graph, 2, 23), prompt = {0}, chunk = {0};
  struct td_step_stats short_one = decode_stats(graph, 1, 3), long_one = decode_stats(graph, 1, 127);
  td_step_stats_add(&prompt, &graph->shape, 0, 24, 1);
  td_step_stats_add(&chunk, &graph->shape, 32, 24, 0);
  struct td_step_stats both = prompt;
  td_step_stats_add(&both, &graph->shape, 23, 1, 1);
  near(seconds_of(device, graph, &one) * 1e6, 100 + 10 + 2 * 15);
  near(seconds_of(device, graph, &two) * 1e6, 110 + 10 + 2 * 20.5);
  near(seconds_of(device, graph, &short_one) * 1e6, 100 + 10 + 2 * 10);
  near(seconds_of(device, graph, &long_one) * 1e6, 100 + 10 + 2 * 68);
  near(seconds_of(device, graph, &prompt) * 1e6, 330 + 10 + 2 * 35);
  near(seconds_of(device, graph, &chunk) * 1e6, 330 + 2 * 50);
  near(seconds_of(device, graph, &both) * 1e6, 340 + 10 + 2 * 160);
  td_graph_free(graph);
  td_device_params_close(device);
}

/* Step i of a price is the price of step i, to the picosecond; a price ends where the line does. */
static void parts_go_on(void **state) {
  (void)state;
  static const struct {
    int64_t seqs, past, valid;
  } cases[] = {{1, 3, 12}, {2, 3, 12}, {1, 15, 16}, {3, 20, 10}, {3, 40, INT64_MAX}, {7, 200, INT64_MAX}};
  struct td_device_params *device = device_of(PARTS(TOKENS, DECODES, BOTH));
  struct td_graph *graph = graph_of("opt-13b");
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_price first, later;
    struct td_step_stats stats = decode_stats(graph, cases[i].seqs, cases[i].past);
    assert_int_equal(price(device, graph, &stats, &first), TD_OK);
    if (cases[i].valid < INT64_MAX) assert_int_equal(first.valid_steps, cases[i].valid);
    if (cases[i].valid == INT64_MAX) assert_true(first.valid_steps > INT64_C(1) << 30);
    for (int64_t step = 0; step < 40 && step < first.valid_steps; step++) {
      stats = decode_stats(graph, cases[i].seqs, cases[i].past + step);
      assert_int_equal(price(device, graph, &stats, &later), TD_OK);
      assert_int_equal(later.base_ps, first.base_ps + step * first.slope_ps);
    }
  }
  td_graph_free(graph);
  td_device_params_close(device);
}

static void parts_mistakes(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {PARTS("\"1 100, 11\"", DECODES, BOTH), "3: steps.[0].profile.tokens: found \"1 100, 11\""},
      {PARTS("\"1 100, 1x 200\"", DECODES, BOTH), "profile.tokens: found"},
      {PARTS("\"1 100, 11 -2\"", DECODES, BOTH), "profile.tokens: found"},
      {PARTS("\"1 100, 11 1e99\"", DECODES, BOTH), "profile.tokens: found"},
      {PARTS("\"11 100, 1 200\"", DECODES, BOTH), "profile.tokens: found"},
      {PARTS("\"1 100\", \"11 200\"", DECODES, BOTH), "profile.tokens: found"},
      {PARTS("", DECODES, BOTH), "profile.tokens: found \"another number of lines\""},
      {PARTS(TOKENS, "\"1: 16 10, 32 20\", \"2: 16 12\"", BOTH), "profile.decode: found \"2: 16 12\""},
      {PARTS(TOKENS, "\"1: 16 10\", \"2 16 12\"", BOTH), "profile.decode: found \"2 16 12\""},
      {PARTS(TOKENS, DECODES, "\"16 0 1: 16 9\", \"32 8 1: 16 9\""),
       "profile.mixed: found \"another number of lines\""},
      {PARTS(TOKENS, DECODES, "\"16 0 1: 16 9\", \"16 0 1: 16 9\""),
       "profile.mixed: found \"another number of lines\""},
      {HEAD NAMED PREFILL "profile = { source = \"s\"; command = \"c\"; layers = 2; low = 0.9; high = 1.1; }; });",
       "2: steps.[0].profile: found it beside other times of steps, expected one of both"},
      {HEAD NAMED "profile = { source = \" \"; command = \"c\"; layers = 2; low = 0.9; high = 1.1; }; });",
       "2: steps.[0].profile: found an empty source"},
      {HEAD NAMED "profile = { source = \"s\"; command = \"c\"; layers = 0; low = 0.9; high = 1.1; }; });",
       "2: steps.[0].profile.layers: found 0"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_device_params *device;
    assert_int_equal(td_device_params_open(scratch_file("dev.cfg", cases[i][0]), &device), TD_CONFIG);
    if (!strstr(td_error_text(), cases[i][1])) fail_msg("%s: %s", cases[i][1], td_error_text());
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(parts),
      cmocka_unit_test(parts_go_on),
      cmocka_unit_test(parts_mistakes),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
