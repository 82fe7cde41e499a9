/* SPDX-License-Identifier: Apache-2.0
 *
 * Policies in runs: options that are refused, requests that are, roles that change, runs that stall.
 */
#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"

static const char *folder;

struct setup {
  const char *policy, *options; /* inside of engine.policy_options */
  const char *engine;           /* more keys of engine */
  const char *pools;            /* "name role count", comma separated */
  const char *links;            /* "from to", comma separated */
  const char *workload;         /* inside of it */
  const char *chip;             /* NULL: "chip" */
};

static void add_pools(const char *pools, const char *chip, FILE *file) {
  char name[16], role[16];
  int count, used, kv_tokens;
  const char *between = "";
  for (; sscanf(pools, " %15s %15s %d %d%n", name, role, &count, &kv_tokens, &used) == 4; pools += used) {
    fprintf(file, "%s{ name = \"%s\"; role = \"%s\"; backend = \"modelled\"; device = \"%s/%s.cfg\"; count = %d; ",
            between, name, role, folder, chip, count);
    fprintf(file, "kv_tokens = %d; }", kv_tokens);
    between = ", ";
  }
}

static void add_links(const char *links, FILE *file) {
  char from[16], to[16];
  int used;
  const char *between = "";
  for (; sscanf(links, " %15s %15s%n", from, to, &used) == 2; links += used) {
    fprintf(file, "%s{ from = \"%s\"; to = \"%s\"; device = \"%s/fast.cfg\"; }", between, from, to, folder);
    between = ", ";
  }
}

static const char *config_of(const struct setup *setup) {
  static char path[4200];
  snprintf(path, sizeof path, "%s/policy.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"policy\"; model = \"%s/dense.cfg\";\nengine = { pace = \"priced\"; policy = \"%s\"; %s\n"
          "policy_options = { %s }; };\ncluster = { pools = (",
          folder, setup->policy, setup->engine ? setup->engine : "", setup->options ? setup->options : "");
  add_pools(setup->pools, setup->chip ? setup->chip : "chip", file);
  fprintf(file, "); links = (");
  add_links(setup->links ? setup->links : "", file);
  fprintf(file, "); };\nworkload = { %s };\n", setup->workload);
  assert_int_equal(fclose(file), 0);
  return path;
}

static void run_with(const struct setup *setup, const char *set, struct rows *rows) {
  td_status status = rows_run(config_of(setup), set, rows);
  if (status) fail_msg("%s: %s", setup->policy, td_error_text());
}

static void run(const struct setup *setup, struct rows *rows) {
  run_with(setup, "seed=1", rows);
}

static void fails(const struct setup *setup, const char *set, td_status expected, const char *words) {
  struct rows rows;
  td_status status = rows_run(config_of(setup), set, &rows);
  rows_free(&rows);
  if (status == expected && strstr(td_error_text(), words)) return;
  fail_msg("%s: found \"%s\", expected \"%s\" in it", setup->policy, status ? td_error_text() : "success", words);
}

static size_t requests_of(const struct rows *rows, const struct td_row_request **out) {
  *out = (const void *)rows->tables[TD_TABLE_REQUESTS].data;
  return rows->tables[TD_TABLE_REQUESTS].bytes / sizeof **out;
}

#define ONE_REQUEST "requests = ( { prompt_tokens = 10; max_tokens = 4; } );"
#define PD "p prefill 2 20000 d decode 2 20000"
/* Requests all alike, from a source: nobody knows how long they are before they come. */
#define ALIKE(arrivals, requests, rate, prompt, output)                                                     \
  "source = { format = \"generated\"; arrivals = \"" arrivals "\"; requests = " #requests "; rate = " #rate \
  ";"                                                                                                       \
  "prompt = { law = \"constant\"; mean = " #prompt "; }; output = { law = \"constant\"; mean = " #output "; }; };"

static void options_are_read_or_refused(void **state) {
  (void)state;
  struct setup setup = {.policy = "disaggregated", .pools = PD, .links = "p d", .workload = ONE_REQUEST};
  struct rows rows;
  run(&setup, &rows);
  rows_free(&rows);
  setup.options = "threshold_tokens = 5;";
  fails(&setup, "seed=1", TD_CONFIG,
        "policy.cfg:3: engine.policy_options.threshold_tokens: found it with policy "
        "disaggregated, which does not read it, expected it only with conditional, mixed, splitwise");
  setup.options = "tiers = ( { slo_ttft = 1.0; } );";
  fails(&setup, "seed=1", TD_CONFIG, "expected it only with tiers");
  setup.options = "treshold_tokens = 5;";
  fails(&setup, "seed=1", TD_CONFIG, "did you mean threshold_tokens?");
  setup.options = "";
  fails(&setup, "engine.policy=conditional", TD_CONFIG,
        "engine.policy_options.threshold_tokens: found nothing, which policy conditional cannot do without");
  fails(&setup, "engine.policy=tiers", TD_CONFIG, "engine.policy_options.tiers: found nothing");
  fails(&setup, "engine.policy=admission", TD_CONFIG, "found neither slo_ttft nor queue_limit");
  fails(&setup, "engine.policy=late_", TD_CONFIG, "did you mean \"late\"?");
  fails(&setup, "engine.policy=colocated", TD_CONFIG, "found no pool with role \"both\"");
  setup.options = "slo_ttft = 1.0; low = 2.0;";
  setup.links = "p d p p d d d p";
  fails(&setup, "engine.policy=autoscale", TD_CONFIG, "found low = 2 and high = 0.9");
}

/* Links are asked for before the run, wherever the policy may send KV. */
static void links_are_missed_before_the_run(void **state) {
  (void)state;
  struct setup setup = {.policy = "mixed",
                        .options = "threshold_tokens = 100;",
                        .pools = "p prefill 1 20000 d decode 1 20000 m both 1 20000",
                        .links = "p d p m",
                        .workload = ONE_REQUEST};
  fails(&setup, "seed=1", TD_CONFIG, "found no link from \"m\" to \"d\"");
  setup = (struct setup){.policy = "autoscale",
                         .options = "slo_ttft = 1.0;",
                         .pools = PD,
                         .links = "p d d p d d",
                         .workload = ONE_REQUEST};
  fails(&setup, "seed=1", TD_CONFIG, "found no link from \"p\" to \"p\"");
}

/* Of four that come at once one finds room and two may wait. */
static void admission_refuses_the_newest(void **state) {
  (void)state;
  struct setup setup = {.policy = "admission",
                        .options = "queue_limit = 2;",
                        .engine = "batch_sequences = 1; batch_tokens = 64;",
                        .pools = "b both 1 20000",
                        .workload =
                            "max_tokens = 5; requests = ( { prompt_tokens = 10; }, { prompt_tokens = 10; }, "
                            "{ prompt_tokens = 10; }, { prompt_tokens = 10; } );"};
  const struct td_row_request *row;
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows, &row), 4);
  for (int i = 0; i < 4; i++) {
    bool refused = row[i].finish == TD_FINISH_REFUSED;
    assert_int_equal(refused, row[i].request == 3);
    assert_int_equal(row[i].output_tokens, refused ? 0 : 5);
    if (refused) assert_true(row[i].admitted == -1 && row[i].first_token == -1 && row[i].finished == 0);
  }
  assert_int_equal(rows.summary->refused, 1);
  assert_int_equal(rows.summary->requests, 3);
  rows_free(&rows);
}

/* ---- prompts that wait for a merged step to end ---- */

static void same_step_by_step(struct setup setup, const char *set) {
  struct rows merged, single;
  char engine[400];
  run_with(&setup, set, &merged);
  snprintf(engine, sizeof engine, "%s merge = false;", setup.engine);
  setup.engine = engine;
  run_with(&setup, set, &single);
  rows_same(&merged, &single, setup.policy);
  rows_free(&merged);
  rows_free(&single);
}

#define MIXED_LINKS "p d p m m d"

/* The worker of role both decodes one request; a prompt too long to go beside it waits, and one behind that which would
 * fit. The first one's decode worker fails: it leaves, for somewhere else, and the other's turn is the next step. */
static void the_next_prompt_comes_when_one_leaves(void **state) {
  (void)state;
  const struct setup setup = {
      .policy = "mixed",
      .options = "threshold_tokens = 100;",
      .engine = "chunk_tokens = 0; batch_sequences = 8; batch_tokens = 64;",
      .pools = "p prefill 1 16 d decode 2 224 m both 1 560",
      .links = MIXED_LINKS,
      .workload = "source = { format = \"mooncake\"; file = \"mixed.jsonl\"; block_tokens = 256; };"};
  const char *down = "cluster.pools.[1].outages=( { worker = 0; at = 0.05; lasts = 1.0; } )";
  const struct td_row_request *row;
  struct rows rows;
  random_cluster_file(folder, "mixed.jsonl",
                      "{\"timestamp\": 0, \"input_length\": 20, \"output_length\": 300, \"hash_ids\": [1]}\n"
                      "{\"timestamp\": 20, \"input_length\": 200, \"output_length\": 20, \"hash_ids\": [2]}\n"
                      "{\"timestamp\": 21, \"input_length\": 30, \"output_length\": 20, \"hash_ids\": [3]}\n");
  run_with(&setup, down, &rows);
  assert_int_equal(requests_of(&rows, &row), 3);
  assert_int_equal(row[0].request, 2); /* done first */
  assert_true(row[0].first_step > 50000000000 && row[0].first_step < 51000000000);
  rows_free(&rows);
  same_step_by_step(setup, down);
}

/* Requests whose prompts a worker of the decode pool computed. */
static int moved(const struct rows *rows) {
  const struct td_row_request *row;
  size_t count = requests_of(rows, &row);
  int sum = 0;
  for (size_t i = 0; i < count; i++) sum += row[i].prefill_device > 0;
  return sum;
}

static void autoscale_moves_workers(void **state) {
  (void)state;
  struct setup setup = {.policy = "autoscale",
                        .options = "slo_ttft = 0.02; high = 0.6; low = 0.3;",
                        .engine = "policy_interval = 0.01; batch_sequences = 256; batch_tokens = 512;",
                        .pools = "p prefill 1 20000 d decode 3 100000",
                        .links = "p d d p d d",
                        .workload = ALIKE("poisson", 300, 400, 300, 3)};
  struct rows rows;
  run(&setup, &rows);
  assert_true(moved(&rows) > 50);
  const struct td_row_change *change = (const void *)rows.tables[TD_TABLE_CHANGES].data;
  assert_int_equal(rows.tables[TD_TABLE_CHANGES].bytes / sizeof *change, rows.summary->role_changes);
  assert_true(rows.summary->role_changes > 0 && change->device > 0 && change->change == TD_CHANGE_PREFILL);
  assert_int_equal(change->time % 10000000000, 0); /* at a tick */
  int64_t scaled = rows.summary->makespan_ps;
  rows_free(&rows);
  setup.options = "slo_ttft = 0.02; high = 0.6; low = 0.3; minimum_workers = 3;";
  run(&setup, &rows);
  assert_int_equal(moved(&rows), 0);
  assert_true(rows.summary->makespan_ps > scaled);
  rows_free(&rows);
}

/* Whose workers are all down gets one of the other role, at the first tick that sees it. */
static void autoscale_replaces_who_is_down(void **state) {
  (void)state;
  struct setup setup = {.policy = "autoscale",
                        .options = "slo_ttft = 0.02;",
                        .engine = "policy_interval = 0.01;",
                        .workload = ALIKE("poisson", 20, 300, 100, 3)};
  static const char *const pools[] = {"p prefill 2 20000 d decode 1 20000", "p prefill 1 20000 d decode 2 20000"};
  static const char *const down[] = {"cluster.pools.[1].outages=( { worker = 0; at = 0.0; lasts = 0.0; } )",
                                     "cluster.pools.[0].outages=( { worker = 0; at = 0.0; lasts = 0.0; } )"};
  for (int i = 0; i < 2; i++) {
    struct rows rows;
    setup.pools = pools[i];
    setup.links = i ? "p d d p d d" : "p d d p p p";
    run_with(&setup, down[i], &rows);
    assert_int_equal(rows.summary->requests, 20);
    assert_int_equal(moved(&rows), i ? 20 : 0);
    const struct td_row_change *change = (const void *)rows.tables[TD_TABLE_CHANGES].data;
    assert_int_equal(change[1].change, i ? TD_CHANGE_PREFILL : TD_CHANGE_DECODE);
    assert_int_equal(change[1].time, 10000000000);
    rows_free(&rows);
  }
}

/* KV blocks that grow while steps are merged are seen by every tick as they are step by step: at each of many marks the
 * prefill worker moves at the same tick, and decodes what comes later. */
static void ticks_see_blocks_grow(void **state) {
  (void)state;
  char options[64];
  struct setup setup = {.policy = "autoscale",
                        .options = options,
                        .engine = "policy_interval = 0.005; kv = \"grow\"; batch_tokens = 512;",
                        .pools = "p prefill 2 2000 d decode 1 2000",
                        .links = "p d d p p p",
                        .workload =
                            "max_tokens = 900; requests = ( { prompt_tokens = 20; }, { prompt_tokens = 20; }, "
                            "{ prompt_tokens = 20; arrival = 0.3; }, { prompt_tokens = 20; arrival = 0.6; } );"};
  int moves = 0;
  for (int mark = 5; mark < 95; mark += 10) {
    const struct td_row_request *row;
    struct rows merged, single;
    snprintf(options, sizeof options, "slo_ttft = 1.0; low = 0.01; high = %g;", 0.01 * mark);
    run(&setup, &merged);
    run_with(&setup, "engine.merge=false", &single);
    rows_same(&merged, &single, options);
    size_t count = requests_of(&merged, &row);
    for (size_t i = 0; i < count; i++) moves += row[i].decode_device != 2;
    rows_free(&merged);
    rows_free(&single);
  }
  assert_true(moves > 2 && moves < 9 * 3);
}

/* With `late` nothing is held where it will decode: the decode pool's single place does not keep prompts from being
 * computed. */
static void late_prefills_ahead(void **state) {
  (void)state;
  struct setup setup = {
      .policy = "late",
      .engine = "batch_sequences = 2; batch_tokens = 64; block_tokens = 10;",
      .pools = "p prefill 1 20000 d decode 1 40",
      .links = "p d",
      .workload = "max_tokens = 20; requests = ( { prompt_tokens = 20; }, { prompt_tokens = 20; } );"};
  const struct td_row_request *row;
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows, &row), 2);
  assert_true(row[1].first_token < row[0].finished);
  rows_free(&rows);
  setup.policy = "disaggregated";
  run(&setup, &rows);
  requests_of(&rows, &row);
  assert_true(row[1].first_token > row[0].finished);
  rows_free(&rows);
}

/* No decode worker ever has the room: said as soon as it is asked for. Under a policy that changes roles any worker may
 * become one. */
static void what_never_fits_is_said(void **state) {
  (void)state;
  static const char *const policies[] = {"disaggregated", "late", "round_robin", "autoscale"};
  struct setup setup = {.pools = "p prefill 1 512 d decode 1 128",
                        .links = "p d d p",
                        .engine = "policy_interval = 0.5;",
                        .workload = ALIKE("constant", 3, 1, 200, 50)};
  for (size_t i = 0; i < sizeof policies / sizeof *policies; i++) {
    bool scales = i == 3;
    setup.policy = policies[i];
    setup.options = scales ? "slo_ttft = 1.0;" : "";
    td_status expected = scales ? TD_UNSUPPORTED : TD_CONFIG;
    const char *words = scales ? "0 of 3 requests done: request 0 (200 tokens to prefill = 13 KV blocks"
                               : "policy.cfg:4: cluster.pools.[1].kv_tokens: found 8 KV blocks of 16 positions, "
                                 "expected at least 16 for request 0, which no other pool has either";
    fails(&setup, "seed=1", expected, words);
    fails(&setup, "engine.merge=false", expected, words);
    if (scales) fails(&setup, "seed=1", expected, "pool d 8 of 8 KV blocks and 64 places");
  }
}

/* Whoever waits for a worker that is gone for good. */
static void stalls_are_explained(void **state) {
  (void)state;
  struct setup setup = {.policy = "late",
                        .pools = "p prefill 1 20000 d decode 1 20000",
                        .links = "p d",
                        .workload = "requests = ( { prompt_tokens = 200; max_tokens = 50; } );"};
  static const char gone[] = "cluster.pools.[1].outages=({worker=0; at=0.0; lasts=0.0;})";
  fails(&setup, gone, TD_UNSUPPORTED, "0 of 1 requests done: request 0 (200 tokens to prefill = 13 KV blocks");
  fails(&setup, gone, TD_UNSUPPORTED,
        "waits for a decode worker, policy late finds no worker for it, and nothing else will happen");
  fails(&setup, gone, TD_UNSUPPORTED, "1 of 2 workers are down");
}

static void what_grows_too_large_is_said(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated",
                        .engine = "kv = \"grow\";",
                        .pools = "b both 1 64",
                        .workload = ALIKE("constant", 3, 1, 40, 50)};
  fails(&setup, "seed=1", TD_CONFIG,
        "policy.cfg:4: cluster.pools.[0].kv_tokens: found 4 KV blocks of 16 positions, expected at least 6 for request "
        "0");
}

enum { STEPS = 64 };

/* Runs it: the kinds of all steps in order, a letter each, and how often somebody paused; tokens of the steps. */
static void run_steps(const struct setup *setup, const char *set, const char *expected, uint64_t pauses,
                      struct rows *rows, uint64_t tokens[STEPS]) {
  char kinds[STEPS] = "";
  size_t at = 0;
  run_with(setup, set, rows);
  const struct td_row_step *row = (const void *)rows->tables[TD_TABLE_STEPS].data;
  for (size_t i = 0; i < rows->tables[TD_TABLE_STEPS].bytes / sizeof *row; i++) {
    for (uint64_t k = 0; k < row[i].count; k++, at++) {
      assert_true(at + 1 < STEPS);
      kinds[at] = row[i].kind == TD_STEP_DECODE ? 'd' : row[i].kind == TD_STEP_PREFILL ? 'p' : 'm';
      tokens[at] = row[i].tokens;
    }
  }
  assert_string_equal(kinds, expected);
  assert_int_equal(rows->summary->pauses, pauses);
}

#define PAUSED(requests)                                                                                               \
  {                                                                                                                    \
    .policy = "colocated", .pools = "b both 1 20000", .workload = "stop_at_end = false; requests = ( " requests " );", \
    .engine = "chunk_tokens = 0; batch_tokens = 64; batch_sequences = 16; first = \"prompts\"; pauses = 2;"            \
  }
#define LATE(prompt) "{ prompt_tokens = " #prompt "; max_tokens = 1; arrival = 1e-5; }"

/* One output and five prompts, each of which fills more than a step: it pauses twice in a row, then never again so. */
static void outputs_pause_for_prompts(void **state) {
  (void)state;
  const struct setup setup = PAUSED(
      "{ prompt_tokens = 10; max_tokens = 9; }," LATE(100) "," LATE(100) "," LATE(100) "," LATE(100) "," LATE(100));
  struct rows rows;
  uint64_t tokens[STEPS];
  run_steps(&setup, "seed=1", "pppdpdpdpddddd", 5, &rows, tokens);
  rows_free(&rows);
  run_steps(&setup, "engine.first=outputs", "pddddddddppppp", 0, &rows, tokens); /* prompts wait until it is done */
  rows_free(&rows);
}

/* Three outputs, two prompts that leave room for two of them: who paused comes first, then who joined first. */
static void outputs_pause_in_turn(void **state) {
  (void)state;
#define OUTPUT "{ prompt_tokens = 5; max_tokens = 9; }"
  struct setup setup = PAUSED(OUTPUT "," OUTPUT "," OUTPUT "," LATE(14) "," LATE(14));
  static const int order[] = {3, 4, 0, 1, 2};
  const struct td_row_request *request;
  struct rows rows;
  uint64_t tokens[STEPS];
  setup.engine = "chunk_tokens = 0; batch_tokens = 16; batch_sequences = 16; first = \"prompts\";";
  run_steps(&setup, "seed=1", "pmmddddddd", 2, &rows, tokens);
  assert_true(tokens[0] == 15 && tokens[1] == 16 && tokens[2] == 16 && tokens[3] == 3 && tokens[9] == 2);
  assert_int_equal(requests_of(&rows, &request), 5);
  for (int i = 0; i < 5; i++) assert_int_equal(request[i].request, order[i]);
  assert_true(request[2].finished < request[3].finished && request[3].finished == request[4].finished);
  rows_free(&rows);
}

static void batches_must_fit_before_the_run(void **state) {
  (void)state;
  struct setup setup = {
      .policy = "colocated", .engine = "batch_tokens = 10;", .pools = "b both 1 20000", .workload = ONE_REQUEST};
  fails(&setup, "seed=1", TD_CONFIG, "engine.batch_tokens: found 10, expected at least batch_sequences = 64");
}

/* Swaps of days: their sum wraps around before any step does. */
static void time_ends_and_is_said(void **state) {
  (void)state;
  struct setup setup = {.policy = "colocated",
                        .chip = "days",
                        .engine = "kv = \"grow\"; preemption = \"swap\";",
                        .pools = "b both 1 200",
                        .workload = ALIKE("constant", 30, 100, 40, 100)};
  fails(&setup, "seed=1", TD_UNSUPPORTED, "the run lasts longer than 106 days");
}

/* A program is compiled for so many positions; a source says only on the way how long its requests are. One chip of a
 * system of such chips runs the same program. */
static void programs_have_an_end(void **state) {
  (void)state;
  char path[4200];
  struct rows rows, one;
  snprintf(path, sizeof path, "%s/lpu.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"lpu\"; model = \"%s/dense.cfg\";\nengine = { pace = \"priced\"; block_tokens = 32; };\n"
          "cluster = { pools = ( { name = \"l\"; backend = \"modelled\"; device = \"lpu-imagined\"; kv_tokens = 320;\n"
          "lpu = { context = 64; }; } ); };\n"
          "workload = { source = { format = \"generated\"; requests = 2; arrivals = \"constant\"; rate = 1;\n"
          "prompt = { law = \"constant\"; mean = 60; }; output = { law = \"constant\"; mean = 4; }; }; };\n",
          folder);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(rows_run(path, "seed=1", &rows), TD_OK);
  assert_int_equal(rows_run(path, "cluster.pools.[0].device=lpu-imagined-system", &one), TD_OK);
  for (int table = 0; table < TD_TABLE_COUNT; table++) {
    const struct td_text *chip = &rows.tables[table], *system = &one.tables[table];
    if (table == TD_TABLE_DEVICES) continue; /* which names its file */
    assert_int_equal(chip->bytes, system->bytes);
    if (chip->bytes) assert_memory_equal(chip->data, system->data, chip->bytes);
  }
  rows_free(&one);
  rows_free(&rows);
  assert_int_equal(rows_run(path, "workload.source.output.mean=5", &rows), TD_CONFIG);
  rows_free(&rows);
  assert_non_null(
      strstr(td_error_text(), "lpu.cfg:4: cluster.pools.[0].lpu.context: found 64, expected at least the 65"));
  assert_int_equal(rows_run(path, "cluster.pools.[0].kv_tokens=0", &rows), TD_CONFIG);
  rows_free(&rows);
  assert_non_null(strstr(td_error_text(), "kv_tokens: found 0, expected how many positions each replica holds"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(options_are_read_or_refused),  cmocka_unit_test(links_are_missed_before_the_run),
      cmocka_unit_test(admission_refuses_the_newest), cmocka_unit_test(the_next_prompt_comes_when_one_leaves),
      cmocka_unit_test(autoscale_moves_workers),      cmocka_unit_test(autoscale_replaces_who_is_down),
      cmocka_unit_test(ticks_see_blocks_grow),        cmocka_unit_test(late_prefills_ahead),
      cmocka_unit_test(what_never_fits_is_said),      cmocka_unit_test(stalls_are_explained),
      cmocka_unit_test(what_grows_too_large_is_said), cmocka_unit_test(outputs_pause_for_prompts),
      cmocka_unit_test(outputs_pause_in_turn),        cmocka_unit_test(batches_must_fit_before_the_run),
      cmocka_unit_test(time_ends_and_is_said),        cmocka_unit_test(programs_have_an_end),
  };
  folder = test_scratch();
  random_cluster_files(folder);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
