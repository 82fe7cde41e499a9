/* SPDX-License-Identifier: Apache-2.0
 *
 * What cannot run, would never end, or is more than numbers hold: said in one line, before the run where it can be, by
 * `check` in the words of the run.
 */
#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"

static const char *folder;
static char config[4200];

enum { SETS = 8 };

/* One pool, or two and a link. */
static void write_config(bool split, const char *workload) {
  FILE *file = fopen(config, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"limits\"; model = \"%s/dense.cfg\";\n"
          "engine = { pace = \"priced\"; policy = \"%s\"; policy_options = {}; };\n"
          "cluster = { pools = (\n{ name = \"a\"; role = \"%s\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; "
          "kv_tokens = 20000; }",
          folder, split ? "disaggregated" : "colocated", split ? "prefill" : "both", folder);
  if (split) {
    fprintf(
        file,
        ",\n{ name = \"b\"; role = \"decode\"; backend = \"modelled\"; device = \"%s/chip.cfg\"; kv_tokens = 20000; "
        "}",
        folder);
  }
  fprintf(file, ");\nlinks = (");
  if (split) fprintf(file, "{ from = \"a\"; to = \"b\"; device = \"%s/fast.cfg\"; }", folder);
  fprintf(file, "); };\nworkload = { %s };\n", workload);
  assert_int_equal(fclose(file), 0);
}

static td_status open_with(const char *const *sets, struct td_config **out_config, struct td_experiment *out) {
  int32_t count = 0;
  while (count < SETS && sets[count]) count++;
  return td_experiment_open(config, sets, count, out_config, out);
}

static td_status check_with(const char *const *sets) {
  struct td_config *opened;
  struct td_experiment experiment;
  TD_TRY(open_with(sets, &opened, &experiment));
  td_status status = td_engine_check(opened, &experiment);
  td_config_close(opened);
  return status;
}

static td_status run_with(const char *const *sets, struct td_run_summary *out_summary) {
  struct td_config *opened;
  struct td_experiment experiment;
  struct td_transport *transport;
  struct td_run_options options = {.summary = out_summary};
  TD_TRY(open_with(sets, &opened, &experiment));
  td_status status = td_transport_open(&transport);
  if (!status) status = td_engine_run(opened, &experiment, transport, &options);
  td_config_close(opened);
  return status;
}

static struct td_run_summary *run_well(const char *const *sets) {
  static struct td_run_summary summary;
  if (run_with(sets, &summary)) fail_msg("%s", td_error_text());
  return &summary;
}

/* Check and run both fail, in the same words. */
static void both_fail(const char *const *sets, const char *words) {
  static struct td_run_summary summary;
  char said[1100];
  td_status status = check_with(sets);
  snprintf(said, sizeof said, "%s", status ? td_error_text() : "success");
  if (!status || !strstr(said, words)) fail_msg("check: found \"%s\", expected \"%s\" in it", said, words);
  if (run_with(sets, &summary) != status || strcmp(td_error_text(), said) != 0) {
    fail_msg("found \"%s\" by check and \"%s\" by run, expected the same", said, td_error_text());
  }
}

/* Check passes: only a run can tell. */
static void run_fails(const char *const *sets, const char *words) {
  static struct td_run_summary summary;
  if (check_with(sets)) fail_msg("check: %s", td_error_text());
  td_status status = run_with(sets, &summary);
  if (status && strstr(td_error_text(), words)) return;
  fail_msg("run: found \"%s\", expected \"%s\" in it", status ? td_error_text() : "success", words);
}

#define ONE "requests = ( { prompt_tokens = 100; max_tokens = 40; } );"
#define STREAM                                                                          \
  "source = { format = \"generated\"; requests = 3; arrivals = \"constant\"; rate = 1;" \
  "prompt = { law = \"constant\"; mean = 200; }; output = { law = \"constant\"; mean = 50; }; };"

/* ---- found by check ---- */

#define NUMBER(name, value, unit)                                                    \
  name " = { value = " value "; unit = \"" unit "\"; low = " value "; high = " value \
       "; evidence = \"assumed\"; source = \"a test\"; };\n"
#define CHIP(memory, overhead)                                                           \
  "title = \"a chip\"; kind = \"chip\";\n" NUMBER("memory_bytes", memory, "GB")          \
      NUMBER("memory_bandwidth", "20", "GB/s") NUMBER("flops_f32", "0.2", "TFLOP/s")     \
          NUMBER("flops_bf16", "0.4", "TFLOP/s") NUMBER("memory_efficiency", "0.8", "1") \
              NUMBER("compute_efficiency", "0.7", "1") NUMBER("op_overhead", overhead, "us")

static void write_devices(void) {
  random_cluster_file(folder, "bare.cfg",
                      "title = \"a chip without rates\"; kind = \"chip\";\n" NUMBER("memory_bytes", "4", "GB"));
  random_cluster_file(folder, "hostless.cfg", CHIP("4", "3"));
  random_cluster_file(folder, "large.cfg", CHIP("10000000", "3"));
  random_cluster_file(folder, "crawling.cfg", CHIP("4", "10000000"));
  random_cluster_file(folder, "crawl.cfg",
                      "title = \"a link\"; kind = \"link\";\n" NUMBER("link_bandwidth", "1e-9", "GB/s")
                          NUMBER("link_latency", "2", "us"));
}

static const char *device(const char *key, const char *name) {
  static char sets[4][4300];
  static int next;
  char *set = sets[next++ % 4];
  snprintf(set, sizeof sets[0], "%s.device=%s/%s.cfg", key, folder, name);
  return set;
}

static void prices_are_asked_before(void **state) {
  (void)state;
  write_config(true, ONE);
  assert_int_equal(check_with((const char *[SETS]){NULL}), TD_OK);
  both_fail((const char *[SETS]){device("cluster.pools.[0]", "bare")},
            "worker a.0: device bare: found no memory_bandwidth");
  both_fail((const char *[SETS]){device("cluster.pools.[1]", "bare")},
            "worker b.0: device bare: found no memory_bandwidth");
  write_config(true, "requests = ( { prompt_tokens = 8000; max_tokens = 40; } );");
  both_fail((const char *[SETS]){device("cluster.links.[0]", "crawl"), "engine.handoff=blob"},
            "found a transfer of 16384000 bytes that lasts over 106 days");
  both_fail((const char *[SETS]){device("cluster.links.[0]", "crawl"), "engine.chunk_tokens=0"},
            "the run lasts longer than 106 days");
  both_fail((const char *[SETS]){"engine.kv=grow", "engine.preemption=swap", device("cluster.pools.[1]", "hostless")},
            "engine.preemption: found \"swap\", expected a device file with host_bandwidth");
}

static void lengths_are_asked_before(void **state) {
  (void)state;
  write_config(true, STREAM);
  assert_int_equal(check_with((const char *[SETS]){NULL}), TD_OK);
  both_fail((const char *[SETS]){"cluster.pools.[1].kv_tokens=64"},
            "cluster.pools.[1].kv_tokens: found 4 KV blocks of 16 positions, expected at least 16 for request 0");
  both_fail((const char *[SETS]){"cluster.pools.[0].kv_tokens=64"},
            "cluster.pools.[0].kv_tokens: found 4 KV blocks of 16 positions, expected at least 13 for request 0");
  both_fail((const char *[SETS]){"engine.context=249"}, "expected at most engine.context = 249");
  both_fail((const char *[SETS]){"engine.prefix_cache=true", "workload.source.prefixes=({tokens=64; choices=2;})",
                                 "cluster.pools.[0].tiers=({name=\"host\"; tokens=15;})"},
            "cluster.pools.[0].tiers.[0].tokens: found 15, expected at least 16");
  both_fail((const char *[SETS]){"engine.prefix_cache=true", "cluster.pools.[0].tiers=({name=\"host\"; tokens=99;})",
                                 device("cluster.pools.[0]", "hostless")},
            "cluster.pools.[0].tiers.[0].bandwidth: found none");
}

/* An LPU's program that does not fit. */
static void programs_are_compiled_before(void **state) {
  (void)state;
  write_config(false, ONE);
  both_fail((const char *[SETS]){"cluster.pools.[0].device=lpu-imagined", "engine.block_tokens=32",
                                 "cluster.pools.[0].kv_tokens=1000000000"},
            "kv_tokens: found 31250000 KV blocks of 32 positions, expected at most ");
  both_fail((const char *[SETS]){"cluster.pools.[0].device=lpu-imagined-system", "engine.block_tokens=32",
                                 "cluster.pools.[0].lpu={chips=600;}"},
            "cluster.pools.[0].lpu.chips: found 600, expected at most the 512 of lpu-imagined-system");
}

/* A request of a trace that is too long is told by its row, also where the file is read again. */
static void long_rows_are_told(void **state) {
  (void)state;
  char file[4400], workload[8900];
  random_cluster_file(folder, "long.csv", "prompt_tokens,output_tokens\n9,9\n8,8\n400,2\n");
  snprintf(file, sizeof file, "%s/long.csv", folder);
  snprintf(workload, sizeof workload,
           "source = { format = \"lengths\"; file = \"%s\"; arrivals = \"constant\"; rate = 1.0; };", file);
  write_config(false, workload);
  snprintf(workload, sizeof workload, "engine.context: request 2 of %s:4: found a prompt of 400 tokens and an", file);
  run_fails((const char *[SETS]){"engine.context=249"}, workload);
  run_fails((const char *[SETS]){"engine.context=249", "workload.source.repeat=true", "workload.source.requests=9"},
            workload);
  snprintf(workload, sizeof workload, "for request 2 of %s:4, which no other pool has either", file);
  run_fails((const char *[SETS]){"cluster.pools.[0].kv_tokens=96"}, workload);
}

static void a_hundred_thousand_are_checked(void **state) {
  (void)state;
  write_config(false, STREAM);
  assert_int_equal(check_with((const char *[SETS]){"cluster.pools.[0].count=100000"}), TD_OK);
}

/* Where workers execute or the pace is another, prices are asked too. */
static void other_paces_are_checked(void **state) {
  (void)state;
  write_config(true, ONE);
  const char *const sets[SETS] = {"engine.pace=measured", device("cluster.pools.[1]", "bare")};
  if (check_with(sets) == TD_OK || !strstr(td_error_text(), "worker b.0: ")) fail_msg("%s", td_error_text());
}

/* ---- large numbers ---- */

/* 10^16 B are 3 x 10^11 blocks of the small model: none is lost on the way. */
static void blocks_are_not_cut(void **state) {
  (void)state;
  write_config(false, ONE);
  run_fails((const char *[SETS]){"cluster.pools.[0].kv_tokens=0", device("cluster.pools.[0]", "large"),
                                 "cluster.pools.[0].outages=({worker=0; at=0.0; lasts=0.0;})"},
            "pool a 305175781039 of 305175781039 KV blocks");
}

static void prefixes_are_bounded(void **state) {
  (void)state;
  write_config(false, STREAM);
  both_fail((const char *[SETS]){"workload.source.block_tokens=1",
                                 "workload.source.prefixes=({tokens=9000000;}, {tokens=9000000;})"},
            "workload.source.prefixes.[1].tokens: found 18000000 tokens down to here, expected at most 10000000");
}

/* ---- what would not end ---- */

#define CLOSED                                                                            \
  "source = { format = \"generated\"; duration = 10.0; arrivals = \"closed\"; users = 3;" \
  "prompt = { law = \"constant\"; mean = 200; }; output = { law = \"constant\"; mean = 50; }; };"
#define FAST_FAILURES "cluster.pools.[0].failures={mean_time_between=1e-9; mean_time_to_repair=1e-9;}"

static void endless_refusals_are_said(void **state) {
  (void)state;
  write_config(false, CLOSED);
  run_fails((const char *[SETS]){"engine.policy=admission", "engine.policy_options.queue_limit=0"},
            "workload.source.think: found 0 s, expected more: policy admission refused 100004 requests at 0.000000 s");
  run_well((const char *[SETS]){"engine.policy=admission", "engine.policy_options.queue_limit=0",
                                "workload.source.think=0.1"});
}

static void endless_failures_are_said(void **state) {
  (void)state;
  write_config(false, "requests = ( { prompt_tokens = 100; max_tokens = 40; arrival = 9000.0; } );");
  run_fails((const char *[SETS]){FAST_FAILURES}, "cluster.pools.[0].failures: found 1e-09 s between failures");
  write_config(false, ONE);
  run_fails((const char *[SETS]){FAST_FAILURES}, "workers fail too often for it");
  /* workers come and go beside a call that orchestrators never get through */
  run_fails((const char *[SETS]){"cluster.pools.[0].failures={mean_time_between=1.0; mean_time_to_repair=1.0;}",
                                 "cluster.orchestrators={pools=({name=\"o\"; cores=1; failures={mean_time_between=5.0; "
                                 "mean_time_to_repair=1.0;};}); tokenize=1.0;}"},
            "cluster.orchestrators.pools.[0].failures: found 5 s between failures");
}

/* Whoever is down comes back, however often others fail meanwhile. */
static void long_outages_are_waited_for(void **state) {
  (void)state;
  const char *const often = "cluster.pools.[0].failures={mean_time_between=5.0; mean_time_to_repair=0.5;}";
  write_config(true, ONE);
  const struct td_run_summary *summary =
      run_well((const char *[SETS]){often, "cluster.pools.[1].outages=({worker=0; at=0.0; lasts=9000.0;})"});
  assert_true(td_seconds(summary->makespan_ps) > 9000 && summary->failures > 1000);
  run_fails((const char *[SETS]){often, "cluster.pools.[1].outages=({worker=0; at=0.0; lasts=0.0;})"},
            "waits for a route, policy disaggregated finds no worker for it, and nothing else will happen");
}

#define LONG(at) "{ prompt_tokens = 8000; max_tokens = 1; arrival = " #at "; }"

/* What workers do side by side is longer than int64 picoseconds hold, long before the run is. */
static void sums_over_workers_hold(void **state) {
  (void)state;
  write_config(false, "requests = ( " LONG(0) ", " LONG(0) ", " LONG(8.9e6) " );");
  const struct td_run_summary *summary = run_well(
      (const char *[SETS]){device("cluster.pools.[0]", "crawling"), "cluster.pools.[0].count=4",
                           "engine.chunk_tokens=1", "engine.policy=admission", "engine.policy_options.slo_ttft=1.0"});
  assert_true(2 * td_seconds(summary->ttft.low) > 9.3e6 && summary->refused == 1);
  summary = run_well((const char *[SETS]){"cluster.pools.[0].count=3",
                                          "cluster.pools.[0].outages=({worker=1; at=1.0; lasts=8000000.0;}, "
                                          "{worker=2; at=1.0; lasts=8000000.0;})"});
  assert_true(summary->down_s == 16e6);
}

/* Some 140,000 failures a step are none too many, however many steps are one event. */
static void merged_steps_happen(void **state) {
  (void)state;
  write_config(false, "requests = ( { prompt_tokens = 100; max_tokens = 20; } );");
  for (int merge = 0; merge < 2; merge++) {
    const struct td_run_summary *summary = run_well(
        (const char *[SETS]){"cluster.orchestrators={pools=({name=\"o\"; cores=1; failures={mean_time_between=5e-9; "
                             "mean_time_to_repair=5e-9; law=\"constant\";};});}",
                             merge ? "engine.merge=true" : "engine.merge=false"});
    assert_true(summary->tools.failures > 1000000);
  }
}

/* Ticks that would do nothing again are left out: this run has 10^10 of them. */
static void idle_ticks_are_left_out(void **state) {
  (void)state;
  write_config(true,
               "requests = ( { prompt_tokens = 100; max_tokens = 40; }, "
               "{ prompt_tokens = 100; max_tokens = 4000; arrival = 9000.0; } );");
  const char *const links =
      "cluster.links=({from=\"a\"; to=\"b\"; device=\"loopback-tcp\";}, {from=\"b\"; to=\"a\"; "
      "device=\"loopback-tcp\";})";
  for (int grow = 0; grow < 2; grow++) {
    const struct td_run_summary *summary =
        run_well((const char *[SETS]){"engine.policy=autoscale", "engine.policy_options.slo_ttft=1.0", links,
                                      "engine.policy_interval=1e-6", grow ? "engine.kv=grow" : "engine.kv=reserve"});
    assert_true(summary->events > 10 && summary->events < 2000);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(prices_are_asked_before),
      cmocka_unit_test(lengths_are_asked_before),
      cmocka_unit_test(programs_are_compiled_before),
      cmocka_unit_test(long_rows_are_told),
      cmocka_unit_test(a_hundred_thousand_are_checked),
      cmocka_unit_test(other_paces_are_checked),
      cmocka_unit_test(blocks_are_not_cut),
      cmocka_unit_test(prefixes_are_bounded),
      cmocka_unit_test(endless_refusals_are_said),
      cmocka_unit_test(endless_failures_are_said),
      cmocka_unit_test(long_outages_are_waited_for),
      cmocka_unit_test(merged_steps_happen),
      cmocka_unit_test(sums_over_workers_hold),
      cmocka_unit_test(idle_ticks_are_left_out),
  };
  folder = test_scratch();
  snprintf(config, sizeof config, "%s/limits.cfg", folder);
  random_cluster_files(folder);
  write_devices();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
