/* SPDX-License-Identifier: Apache-2.0
 *
 * The published traces of ../shared, where they are: rows and sums as other readers count them.
 */
#include "harness.h"

struct real {
  const char *format, *file;
  int64_t count, prompt, output, last_ps, hashes;
};

static const struct real reals[] = {
    {"azure", "azure2023_conv.csv", 19366, 22361870, 4088665, INT64_C(3501721937000000), 0},
    {"mooncake", "mooncake_conversation.jsonl.gz", 12031, 144793823, 4122048, INT64_C(3536999000000000), 288500},
    {"apex", "apex_llama_creation_05.csv", 512, 157563, 585888, INT64_C(1097988150291000), 0},
    {"apex", "apex_llama_lmsys_05.csv", 1024, 63148, 165996, INT64_C(2023671132367000), 0},
    {"apex", "apex_llama_summarization_05.csv", 1302, 3584478, 222011, INT64_C(2716054079010000), 0},
    {"sharegpt", "sharegpt_llama-3.1-8b_300_sps10.csv", 300, 257239, 195753, INT64_C(29183763203000), 0},
    {"sharegpt", "sharegpt_qwen3-32b_300_sps10.csv", 300, 258691, 199486, INT64_C(29183763203000), 0},
};

static void whole_files(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof reals / sizeof *reals; i++) {
    char source[512];
    snprintf(source, sizeof source, "format = \"%s\"; file = \"%s/../shared/data/traces/%s\";", reals[i].format,
             TANDEM_SOURCE_DIR, reals[i].file);
    struct opened opened = must_open(source);
    struct sums sums = take_all(opened.workload);
    print_message("%s: %lld rows\n", reals[i].file, (long long)sums.count);
    assert_int_equal(sums.count, reals[i].count);
    assert_int_equal(sums.prompt, reals[i].prompt);
    assert_int_equal(sums.output, reals[i].output);
    assert_int_equal(sums.hashes, reals[i].hashes);
    assert_true(sums.last_ps == reals[i].last_ps);
    close_opened(&opened);
  }
}

/* conv-N@R: request i has row i mod 19366, arrivals are Poisson. */
static void conversations_at_a_rate(void **state) {
  (void)state;
  char source[512];
  snprintf(source, sizeof source,
           "format = \"azure\"; file = \"%s/../shared/data/traces/azure2023_conv.csv\"; arrivals = \"poisson\"; "
           "rate = 2.0; requests = 1000; repeat = true; least_output = 2;",
           TANDEM_SOURCE_DIR);
  struct opened opened = must_open(source);
  struct sums sums = take_all(opened.workload);
  assert_int_equal(sums.count, 1000);
  assert_int_equal(sums.prompt, 1014189);
  assert_int_equal(sums.output, 247262);
  assert_true(sums.shortest_output >= 2);
  assert_in_range(sums.last_ps / TD_PS_PER_SECOND, 450, 550); /* 500 s, give or take three sigma */
  close_opened(&opened);
}

/* Lengths without times; gzip. */
static void lengths_only(void **state) {
  (void)state;
  char source[512];
  snprintf(source, sizeof source,
           "format = \"vidur\"; file = \"%s/../shared/data/traces/arxiv_summarization_lengths.csv.gz\"; "
           "arrivals = \"constant\"; rate = 10.0;",
           TANDEM_SOURCE_DIR);
  struct opened opened = must_open(source);
  struct sums sums = take_all(opened.workload);
  assert_int_equal(sums.count, 28257);
  assert_int_equal(sums.prompt, 73131321);
  assert_int_equal(sums.output, 8234948);
  close_opened(&opened);
}

static void agents(void **state) {
  (void)state;
  char source[512];
  snprintf(source, sizeof source,
           "format = \"sessions\"; file = \"%s/../shared/data/traces/tracelab_multi_session_large.csv\";",
           TANDEM_SOURCE_DIR);
  struct opened opened = must_open(source);
  struct td_job job;
  int64_t count = 0, prompt = 0, output = 0;
  for (; next_job(opened.workload, &job); count++) {
    prompt += job.prompt_tokens;
    output += job.output_tokens;
    assert_int_equal(td_workload_finished(opened.workload, job.number, job.arrival_ps), TD_OK);
  }
  assert_int_equal(count, 303);
  assert_int_equal(prompt, 1150397);
  assert_int_equal(output, 58678);
  close_opened(&opened);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(whole_files), cmocka_unit_test(conversations_at_a_rate),
                                     cmocka_unit_test(lengths_only), cmocka_unit_test(agents)};
  if (!test_shared("data/traces/azure2023_conv.csv")) test_skip_all("../shared/data/traces is not here");
  return cmocka_run_group_tests(tests, NULL, NULL);
}
