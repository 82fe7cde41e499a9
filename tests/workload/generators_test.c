/* SPDX-License-Identifier: Apache-2.0
 *
 * Generators: rates and spreads within a few standard errors, and the same jobs from the same seed.
 */
#include <math.h>

#include "harness.h"

#define COUNT 100000
#define GENERATED(rest)                                                                                          \
  "format = \"generated\"; requests = 100000; prompt = { law = \"constant\"; mean = 100.0; }; output = { law = " \
  "\"constant\"; mean = 10.0; };" rest

struct spread {
  double mean, cv;
};

/* Of the gaps between arrivals, in s. */
static struct spread gaps_of(const char *source) {
  struct opened opened = must_open(source);
  struct td_job job;
  double sum = 0, squares = 0;
  int64_t last_ps = 0, count = 0;
  for (; next_job(opened.workload, &job); count++) {
    double gap = td_seconds(job.arrival_ps - last_ps);
    last_ps = job.arrival_ps;
    sum += gap;
    squares += gap * gap;
  }
  assert_int_equal(count, COUNT);
  close_opened(&opened);
  double mean = sum / COUNT;
  return (struct spread){mean, sqrt(squares / COUNT - mean * mean) / mean};
}

static void rates(void **state) {
  (void)state;
  struct spread found = gaps_of(GENERATED("arrivals = \"poisson\"; rate = 8.0;"));
  assert_true(fabs(found.mean * 8 - 1) < 5 / sqrt(COUNT) && fabs(found.cv - 1) < 0.02);
  found = gaps_of(GENERATED("arrivals = \"gamma\"; rate = 8.0; cv = 3.0;"));
  assert_true(fabs(found.mean * 8 - 1) < 15 / sqrt(COUNT) && fabs(found.cv - 3) < 0.15);
  found = gaps_of(GENERATED("arrivals = \"gamma\"; rate = 0.5; cv = 0.25;"));
  assert_true(fabs(found.mean * 0.5 - 1) < 1.25 / sqrt(COUNT) && fabs(found.cv - 0.25) < 0.005);
  found = gaps_of(GENERATED("arrivals = \"constant\"; rate = 3.0;"));
  assert_true(fabs(found.mean * 3 - 1) < 1e-4 && found.cv < 0.004);
}

static struct spread prompts_of(const char *prompt, int64_t *out_least, int64_t *out_most) {
  char source[1024];
  snprintf(source, sizeof source,
           "format = \"generated\"; requests = %d; arrivals = \"poisson\"; rate = 100.0; prompt = { %s }; output = { "
           "law = \"uniform\"; low = 2; high = 4; };",
           COUNT, prompt);
  struct opened opened = must_open(source);
  struct td_job job;
  double sum = 0, squares = 0, outputs = 0;
  *out_least = INT64_MAX;
  *out_most = 0;
  while (next_job(opened.workload, &job)) {
    sum += (double)job.prompt_tokens;
    squares += (double)job.prompt_tokens * (double)job.prompt_tokens;
    outputs += (double)job.output_tokens;
    if (job.prompt_tokens < *out_least) *out_least = job.prompt_tokens;
    if (job.prompt_tokens > *out_most) *out_most = job.prompt_tokens;
  }
  assert_true(fabs(outputs / COUNT - 3) < 5 * sqrt(2.0 / 3 / COUNT));
  close_opened(&opened);
  double mean = sum / COUNT;
  return (struct spread){mean, sqrt(squares / COUNT - mean * mean) / mean};
}

static void lengths(void **state) {
  (void)state;
  int64_t least, most;
  struct spread found;
  prompts_of("law = \"constant\"; mean = 77.0;", &least, &most);
  assert_true(least == 77 && most == 77);
  found = prompts_of("law = \"uniform\"; low = 10; high = 29;", &least, &most);
  assert_true(least == 10 && most == 29 && fabs(found.mean - 19.5) < 5 * sqrt(399.0 / 12 / COUNT));
  found = prompts_of("law = \"lognormal\"; mean = 1155.0; cv = 1.1;", &least, &most);
  assert_true(fabs(found.mean / 1155 - 1) < 5 * 1.1 / sqrt(COUNT) && fabs(found.cv - 1.1) < 0.1);
  prompts_of("law = \"lognormal\"; mean = 1155.0; cv = 1.1; low = 500; high = 2000;", &least, &most);
  assert_true(least == 500 && most == 2000);
  scratch_file("lengths.txt", "tokens,weight\n10,1\n20,0\n40,3\n");
  found = prompts_of("law = \"empirical\"; file = \"lengths.txt\";", &least, &most);
  assert_true(least == 10 && most == 40 && fabs(found.mean - 32.5) < 5 * 13 / sqrt(COUNT));
  scratch_file("lengths.txt", "\"10\",1\n 40,3\n"); /* a first line of numbers is no header, however they stand */
  found = prompts_of("law = \"empirical\"; file = \"lengths.txt\";", &least, &most);
  assert_true(least == 10 && most == 40 && fabs(found.mean - 32.5) < 5 * 13 / sqrt(COUNT));
  scratch_file("lengths.txt", "10\n20\n");
  found = prompts_of("law = \"empirical\"; file = \"lengths.txt\";", &least, &most);
  assert_true(fabs(found.mean - 15) < 5 * 5 / sqrt(COUNT));
}

#define EMPIRICAL                                                                                              \
  "format = \"generated\"; requests = 3; arrivals = \"poisson\"; rate = 1.0; prompt = { law = \"empirical\"; " \
  "file = \"l.txt\"; }; output = { law = \"constant\"; mean = 1.0; };"

static void empirical_mistakes(void **state) {
  (void)state;
  static const char *const cases[][2] = {
      {"", "l.txt: found no length with a weight, expected at least one"},
      {"tokens\n", "l.txt: found no length with a weight"},
      {",5\n", "l.txt:1: found \"\", expected tokens, 1 to 10000000"},
      {"5,0\n", "l.txt: found no length with a weight"},
      {"5\n-1\n", "l.txt:2: found \"-1\", expected tokens, 1 to 10000000"},
      {"nan\n5\n", "l.txt:1: found \"nan\", expected tokens"},
      {"Inf\n5\n", "l.txt:1: found \"Inf\", expected tokens"},
      {"-1\n", "l.txt:1: found \"-1\", expected tokens"},
      {"5,nan\n", "l.txt:1: found \"nan\", expected a weight"},
      {"5,-1\n", "l.txt:1: found \"-1\", expected a weight"},
      {"5,1,1\n", "l.txt:1: found 3 fields, expected length or length,weight"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    scratch_file("l.txt", cases[i][0]);
    expect_refused(EMPIRICAL, cases[i][1]);
  }
  remove(scratch_file("l.txt", ""));
  expect_refused(EMPIRICAL, "w.cfg:3: workload.source.prompt.file: ");
}

/* Lengths of another law over a trace's times. */
static void laws_over_a_trace(void **state) {
  (void)state;
  scratch_file("v.csv", "arrived_at,num_prefill_tokens,num_decode_tokens\n1,5,6\n2,7,8\n");
  struct opened opened = must_open(
      "format = \"vidur\"; file = \"v.csv\"; output = { law = \"constant\"; mean = 50.0; }; most_prompt = 6;");
  struct td_job job;
  assert_true(next_job(opened.workload, &job) && job.prompt_tokens == 5 && job.output_tokens == 50);
  assert_true(next_job(opened.workload, &job) && job.prompt_tokens == 6 && job.output_tokens == 50);
  close_opened(&opened);
}

/* Rows at random: all come, as often, and pairs stay pairs. */
static void drawn_rows(void **state) {
  (void)state;
  scratch_file("r.csv", "1,10\n2,20\n3,30\n4,40\n");
  struct opened opened = must_open(
      "format = \"lengths\"; file = \"r.csv\"; draw = true; arrivals = \"poisson\"; rate = 1.0; requests = 40000;");
  struct td_job job;
  int counts[5] = {0};
  while (next_job(opened.workload, &job)) {
    assert_int_equal(job.output_tokens, 10 * job.prompt_tokens);
    counts[job.prompt_tokens]++;
  }
  for (int i = 1; i <= 4; i++) assert_in_range(counts[i], 10000 - 440, 10000 + 440);
  close_opened(&opened);
}

static void tiers(void **state) {
  (void)state;
  struct opened opened = must_open(
      GENERATED("arrivals = \"poisson\"; rate = 1.0; tiers = ( { weight = 1; }, { weight = 0; }, { weight = 3; } );"));
  struct td_job job;
  int counts[3] = {0};
  while (next_job(opened.workload, &job)) counts[job.tier]++;
  assert_int_equal(counts[1], 0);
  assert_in_range(counts[0], COUNT / 4 - 700, COUNT / 4 + 700);
  close_opened(&opened);
}

/* A root for all, eight documents below it for half, and the blocks that name them. */
static void prefix_trees(void **state) {
  (void)state;
  struct opened opened = must_open(
      "format = \"generated\"; requests = 20000; arrivals = \"poisson\"; rate = 1.0; block_tokens = 10; prompt = { law "
      "= \"constant\"; mean = 100.0; }; output = { law = \"constant\"; mean = 10.0; }; prefixes = ( { tokens = 25; }, "
      "{ "
      "tokens = 20; choices = 8; share = 0.5; } );");
  struct td_job job;
  uint64_t root = 0, seen[8] = {0};
  int deep = 0, kinds = 0;
  while (next_job(opened.workload, &job)) {
    if (!root) root = job.prefix[0];
    assert_true(job.prefix[0] == root && job.prefix_tokens == 10);
    bool below = job.prompt_tokens == 145;
    assert_int_equal(job.prompt_tokens, below ? 145 : 125);
    assert_int_equal(job.prefix_count, below ? 4 : 2);
    deep += below;
    if (!below) continue;
    assert_true(job.prefix[2] != job.prefix[3]); /* the third block begins in the root and ends below it */
    int k = 0;
    while (k < kinds && seen[k] != job.prefix[2]) k++;
    assert_true(k < 8);
    if (k == kinds) seen[kinds++] = job.prefix[2];
  }
  assert_int_equal(kinds, 8);
  assert_in_range(deep, 10000 - 360, 10000 + 360);
  close_opened(&opened);
}

static void skewed_choices(void **state) {
  (void)state;
  struct opened opened = must_open(
      "format = \"generated\"; requests = 30000; arrivals = \"poisson\"; rate = 1.0; block_tokens = 1; prompt = { law "
      "= "
      "\"constant\"; mean = 1.0; }; output = { law = \"constant\"; mean = 1.0; }; prefixes = ( { tokens = 1; choices = "
      "2; skew = 1.0; } );");
  struct td_job job;
  uint64_t first = 0;
  int counts[2] = {0};
  while (next_job(opened.workload, &job)) {
    if (!first) first = job.prefix[0];
    counts[job.prefix[0] == first]++;
  }
  int most = counts[0] > counts[1] ? counts[0] : counts[1];
  assert_in_range(most, 20000 - 410, 20000 + 410); /* 1 : 1/2 */
  close_opened(&opened);
}

/* The same config gives the same jobs, however often its jobs are peeked at; another seed gives others. */
static uint64_t hash_of(const char *source, int peeks, int64_t seed) {
  struct opened opened = must_open(source);
  opened.experiment->seed = seed;
  td_workload_close(opened.workload);
  assert_int_equal(td_workload_open(opened.config, opened.experiment, &opened.workload), TD_OK);
  struct td_job job;
  uint64_t hash = TD_HASH_INIT;
  for (bool more = true; more;) {
    int64_t at_ps;
    for (int i = 0; i < peeks; i++) assert_int_equal(td_workload_peek(opened.workload, &at_ps, &more), TD_OK);
    more = next_job(opened.workload, &job);
    if (!more) break;
    int64_t values[] = {job.arrival_ps, job.prompt_tokens, job.output_tokens, job.tier, job.turn};
    hash = td_hash(hash, values, sizeof values);
    hash = td_hash(hash, job.prefix, (size_t)job.prefix_count * sizeof *job.prefix);
    assert_int_equal(td_workload_finished(opened.workload, job.number, job.arrival_ps), TD_OK);
  }
  close_opened(&opened);
  return hash;
}

static void the_same_again(void **state) {
  (void)state;
  scratch_file("d.csv", "1,10\n2,20\n3,30\n4,40\n");
  static const char *const sources[] = {
      "format = \"lengths\"; file = \"d.csv\"; arrivals = \"gamma\"; cv = 2.0; rate = 1.0; repeat = true; requests = "
      "5000; tiers = ( { weight = 1; }, { weight = 2; } ); prefixes = ( { tokens = 64; choices = 9; skew = 0.5; } );",
      "format = \"lengths\"; file = \"d.csv\"; arrivals = \"closed\"; users = 7; think = 3.0; think_law = "
      "\"exponential\"; draw = true; requests = 5000; output = { law = \"lognormal\"; mean = 30.0; };",
  };
  for (size_t i = 0; i < sizeof sources / sizeof *sources; i++) {
    uint64_t once = hash_of(sources[i], 1, 42);
    assert_true(once == hash_of(sources[i], 3, 42));
    assert_true(once != hash_of(sources[i], 1, 43));
  }
}

/* Golden: what one config gives on every machine. */
static void the_same_everywhere(void **state) {
  (void)state;
  uint64_t found = hash_of(
      "format = \"generated\"; arrivals = \"gamma\"; cv = 1.5; rate = 7.0; requests = 1000; prompt = { law = "
      "\"lognormal\"; mean = 900.0; cv = 2.0; }; output = { law = \"uniform\"; low = 1; high = 500; };",
      1, 42);
  if (found != UINT64_C(0x4d5698fb6aa14bdb)) fail_msg("found 0x%016llx", (unsigned long long)found);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rates),
      cmocka_unit_test(lengths),
      cmocka_unit_test(empirical_mistakes),
      cmocka_unit_test(drawn_rows),
      cmocka_unit_test(laws_over_a_trace),
      cmocka_unit_test(tiers),
      cmocka_unit_test(prefix_trees),
      cmocka_unit_test(skewed_choices),
      cmocka_unit_test(the_same_again),
      cmocka_unit_test(the_same_everywhere),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
