/* SPDX-License-Identifier: Apache-2.0
 *
 * What runs make of prefix caches, beside failures and caps too.
 */
#include <math.h>

#include "../support.h"
#include "random_cluster.h"
#include "rows.h"
#include "tandem/base.h"

static const char *folder;

struct setup {
  const char *engine, *pools, *trace; /* trace: "ms prompt output ids,ids,...;" and so on */
  const char *format;                 /* "mooncake" or "sessions" */
};

static void write_mooncake(const char *rows) {
  struct td_text text = {0};
  int ms, prompt, output, used;
  char ids[400];
  for (; sscanf(rows, " %d %d %d %399[0-9,]%n", &ms, &prompt, &output, ids, &used) == 4; rows += used) {
    td_text_printf(&text, "{\"timestamp\": %d, \"input_length\": %d, \"output_length\": %d, \"hash_ids\": [%s]}\n", ms,
                   prompt, output, ids);
  }
  random_cluster_file(folder, "trace", text.data);
  td_text_free(&text);
}

static const char *config_of(const struct setup *setup) {
  static char path[4200];
  struct td_text text = {0};
  bool sessions = setup->format && strcmp(setup->format, "sessions") == 0;
  if (sessions) {
    random_cluster_file(folder, "trace", setup->trace);
  } else {
    write_mooncake(setup->trace);
  }
  td_text_printf(&text, "name = \"prefix\"; model = \"%s/dense.cfg\";\n", folder);
  td_text_printf(&text, "engine = { pace = \"priced\"; chunk_tokens = 0; block_tokens = 8; %s };\n", setup->engine);
  td_text_printf(&text, "cluster = { pools = ( %s ); };\n", setup->pools);
  td_text_printf(&text, "workload = { source = { format = \"%s\"; file = \"trace\"; block_tokens = 16; %s}; };\n",
                 sessions ? "sessions" : "mooncake", sessions ? "arrivals = \"closed\"; users = 1; " : "");
  random_cluster_file(folder, "prefix.cfg", text.data);
  td_text_free(&text);
  snprintf(path, sizeof path, "%s/prefix.cfg", folder);
  return path;
}

static void run(const struct setup *setup, struct rows *rows) {
  if (rows_run(config_of(setup), "seed=1", rows)) fail_msg("%s", td_error_text());
}

static void fails(const struct setup *setup, const char *words) {
  struct rows rows;
  td_status status = rows_run(config_of(setup), "seed=1", &rows);
  rows_free(&rows);
  if (status != TD_CONFIG || !strstr(td_error_text(), words)) {
    fail_msg("found \"%s\", expected \"%s\" in it", status ? td_error_text() : "success", words);
  }
}

static const struct td_row_step *steps_of(const struct rows *rows) {
  return (const void *)rows->tables[TD_TABLE_STEPS].data;
}

static const struct td_row_request *requests_of(const struct rows *rows) {
  return (const void *)rows->tables[TD_TABLE_REQUESTS].data;
}

#define POOL(rest) "{ name = \"b\"; backend = \"modelled\"; device = \"chip.cfg\"; " rest " }"
#define ON "prefix_cache = true;"
/* 4 whole blocks and half of one, which is not kept; 4 whole ones. Each prompt's first token is all its output. */
#define TWICE "0 72 1 1,2,3,4,5 1000 72 1 1,2,3,4,5 2000 64 1 1,2,3,4"

static void known_beginnings_are_not_computed(void **state) {
  (void)state;
  struct setup setup = {.engine = ON, .pools = POOL("kv_tokens = 400;"), .trace = TWICE};
  struct rows rows;
  run(&setup, &rows);
  const struct td_row_step *step = steps_of(&rows);
  assert_int_equal(step[0].tokens, 72);
  assert_int_equal(step[1].tokens, 8);
  assert_int_equal(step[2].tokens, 1); /* the first token of the output comes of the prompt's last */
  assert_true(step[1].duration < step[0].duration && step[1].start == 1000 * TD_PS_PER_SECOND / 1000);
  const struct td_run_prefix *prefix = &rows.summary->prefix;
  assert_true(prefix->on && prefix->tier_count == 1 && !strcmp(prefix->tiers[0].name, "kv"));
  assert_int_equal(prefix->tiers[0].hit_tokens, 64 + 63);
  assert_int_equal(prefix->computed_tokens, 72 + 8 + 1);
  assert_int_equal(prefix->tiers[0].evicted_tokens, 0);
  rows_free(&rows);
  setup.engine = "";
  run(&setup, &rows);
  assert_int_equal(steps_of(&rows)[1].tokens, 72);
  assert_false(rows.summary->prefix.on);
  rows_free(&rows);
}

/* Block 3 behind another beginning is another block. */
static void a_beginning_is_all_of_it(void **state) {
  (void)state;
  struct setup setup = {
      .engine = ON, .pools = POOL("kv_tokens = 400;"), .trace = "0 64 1 1,2,3,4 1000 64 1 1,9,3,4 2000 64 1 9,2,3,4"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(steps_of(&rows)[1].tokens, 48);
  assert_int_equal(steps_of(&rows)[2].tokens, 64);
  rows_free(&rows);
}

/* The second prompt leaves no block free; 2,048 bytes a position come back. */
#define PRESSED "0 64 1 1,2,3,4 1000 128 1 11,12,13,14,15,16,17,18 2000 64 1 1,2,3,4"

static void tiers_take_and_give_back(void **state) {
  (void)state;
  struct setup setup = {.engine = ON, .trace = PRESSED};
  struct rows rows;
  static const struct {
    const char *pools;
    int64_t wait_ps;
    uint32_t tokens;
  } cases[] = {
      {POOL("kv_tokens = 128;"), 0, 64},
      {POOL("kv_tokens = 128; tiers = ( {name = \"host\"; tokens = 64; bandwidth = 0.01;} );"), 13107200000, 1},
      {POOL("kv_tokens = 128; tiers = ( {name = \"host\"; tokens = 64;} );"), 131072000, 1},
      /* two of four fall through to the SSD: the prompt's last, which are given up first */
      {POOL("kv_tokens = 128; tiers = ( {name = \"host\"; tokens = 32;}, "
            "{name = \"ssd\"; tokens = 32; bandwidth = 0.1;} );"),
       65536000 + 655360000, 1},
      {POOL("kv_tokens = 128; tiers = ( {name = \"host\"; tokens = 32;} );"), 65536000, 32}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    setup.pools = cases[i].pools;
    run(&setup, &rows);
    const struct td_row_step *last = &steps_of(&rows)[2];
    assert_int_equal(last->tokens, cases[i].tokens);
    assert_int_equal(last->start, 2 * TD_PS_PER_SECOND + cases[i].wait_ps);
    assert_true(fabs(rows.summary->prefix.load_s * 1e12 - (double)cases[i].wait_ps) < 1);
    rows_free(&rows);
  }
}

#define TURNS "session_id,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"

/* A turn finds the whole blocks of what was said before it, prompt and answer, but for the answer's last token, which
 * nothing was computed of: 48 of 40 + 9, 64 of 70 + 2. */
static void sessions_find_what_was_said(void **state) {
  (void)state;
  struct setup setup = {.engine = ON,
                        .pools = POOL("kv_tokens = 400;"),
                        .format = "sessions",
                        .trace = TURNS "0,0,0,40,10,5\n0,1,50,20,3,5\n0,2,73,7,1,0\n"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(rows.summary->prefix.tiers[0].hit_tokens, 48 + 64);
  assert_int_equal(rows.summary->cached_tokens, 48 + 64);
  for (int i = 0; i < 3; i++) assert_int_equal(requests_of(&rows)[i].cached_tokens, i == 0 ? 0 : i == 1 ? 48 : 64);
  rows_free(&rows);
}

/* Of 16 + 16 tokens the second block lacks its last; of 16 + 17 it has it. A turn that goes on from the middle of the
 * answer shares what is before. */
static void answers_are_kept_in_whole_blocks(void **state) {
  (void)state;
  static const struct {
    const char *turns;
    uint32_t found;
  } cases[] = {{TURNS "0,0,0,16,16,5\n0,1,32,9,1,0\n", 16},
               {TURNS "0,0,0,16,17,5\n0,1,33,9,1,0\n", 32},
               {TURNS "0,0,0,5,60,5\n0,1,65,9,1,0\n", 64},
               {TURNS "0,0,0,5,60,5\n0,1,40,30,1,0\n", 32}};
  struct setup setup = {.engine = ON, .pools = POOL("kv_tokens = 400;"), .format = "sessions"};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct rows rows;
    setup.trace = cases[i].turns;
    run(&setup, &rows);
    assert_int_equal(requests_of(&rows)[1].cached_tokens, cases[i].found);
    rows_free(&rows);
  }
}

/* Nobody knows what Mooncake's answers are called: block 2 is computed again. */
static void answers_without_names_are_not_found(void **state) {
  (void)state;
  struct setup setup = {.engine = ON, .pools = POOL("kv_tokens = 400;"), .trace = "0 16 40 1 1000 40 1 1,2,3"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[1].cached_tokens, 16);
  rows_free(&rows);
}

/* The answer is where it was decoded; a prompt is computed elsewhere. */
static void answers_stay_where_they_came_out(void **state) {
  (void)state;
  struct setup setup = {.engine = ON "policy = \"disaggregated\";",
                        .pools =
                            "{ name = \"p\"; role = \"prefill\"; backend = \"modelled\"; device = \"chip.cfg\"; },"
                            "{ name = \"d\"; role = \"decode\"; backend = \"modelled\"; device = \"chip.cfg\"; } ); "
                            "links = ( { from = \"p\"; to = \"d\"; device = \"fast.cfg\"; }",
                        .format = "sessions",
                        .trace = TURNS "0,0,0,40,10,5\n0,1,50,20,3,5\n"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[1].cached_tokens, 32);
  rows_free(&rows);
}

/* ---- failures ---- */

#define FAILS(at) "outages = ( { worker = 0; at = " at "; lasts = 0.1; } );"

static void a_failure_takes_what_was_kept(void **state) {
  (void)state;
  struct setup setup = {.engine = ON, .pools = POOL("kv_tokens = 400;" FAILS("0.5")), .trace = TWICE};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[1].cached_tokens, 0);
  assert_int_equal(requests_of(&rows)[2].cached_tokens, 63);
  assert_int_equal(rows.summary->prefix.lost_tokens, 64);
  assert_int_equal(rows.summary->prefix.tiers[0].hit_tokens, 63);
  const struct td_row_change *change = (const void *)rows.tables[TD_TABLE_CHANGES].data;
  assert_int_equal(rows.tables[TD_TABLE_CHANGES].bytes, 2 * sizeof *change);
  assert_true(change[0].change == TD_CHANGE_DOWN && change[0].time == TD_PS_PER_SECOND / 2);
  assert_true(change[1].change == TD_CHANGE_UP && change[1].time == TD_PS_PER_SECOND / 10 * 6);
  rows_free(&rows);
}

/* The second prompt has pushed the first one's 4 blocks to the host's memory; the worker fails at 1.5 s with 8 blocks
 * of its own idle. */
static void tiers_survive_if_they_are_to(void **state) {
  (void)state;
  struct setup setup = {.engine = ON, .trace = PRESSED};
  struct rows rows;
  setup.pools = POOL("kv_tokens = 128; tiers = ( {name = \"host\"; tokens = 64;} );" FAILS("1.5"));
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[2].cached_tokens, 0);
  assert_int_equal(rows.summary->prefix.lost_tokens, 128 + 64);
  rows_free(&rows);
  setup.pools = POOL("kv_tokens = 128; tiers = ( {name = \"host\"; tokens = 64; survives = true;} );" FAILS("1.5"));
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[2].cached_tokens, 63);
  assert_int_equal(steps_of(&rows)[2].start, 2 * TD_PS_PER_SECOND + 131072000);
  assert_int_equal(rows.summary->prefix.lost_tokens, 128);
  rows_free(&rows);
}

/* It fails 1 ns into the step that computes the last 8 tokens of the second prompt, of which 64 were found: they are
 * lost with it, and all 72 are computed when it is back. */
static void what_was_found_is_lost_too(void **state) {
  (void)state;
  struct setup setup = {.engine = ON, .pools = POOL("kv_tokens = 400;" FAILS("1.000000001")), .trace = TWICE};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[1].cached_tokens, 64);
  assert_int_equal(requests_of(&rows)[1].interruptions, 1);
  assert_int_equal(rows.summary->lost_tokens, 64);
  assert_int_equal(rows.summary->prefix.computed_tokens, 72 + 72 + 1);
  rows_free(&rows);
}

/* The third prompt decodes when the fourth comes, which finds its 64 tokens in the host's memory; the worker fails 1 ns
 * later. Nobody has waited for them. */
static void what_never_began_has_not_waited(void **state) {
  (void)state;
  struct setup setup = {
      .engine = ON,
      .pools = POOL("kv_tokens = 256; tiers = ( {name = \"host\"; tokens = 512;} );" FAILS("2.001000001")),
      .trace =
          "0 64 1 1,2,3,4 1000 256 1 11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26 2000 8 100 31 "
          "2001 64 1 1,2,3,4"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(rows.summary->prefix.tiers[1].hit_tokens, 63);
  assert_int_equal(rows.summary->restarts, 2);
  assert_int_equal(rows.summary->cached_tokens, 0);
  assert_true(rows.summary->prefix.load_s == 0);
  rows_free(&rows);
}

/* 300 W at a step beside 50 W idle: the second worker's prompt waits for the first one's step, and finds on its own
 * worker what it knows. */
static void caps_and_caches_get_on(void **state) {
  (void)state;
  struct setup setup = {.engine = ON,
                        .pools = POOL("count = 2; kv_tokens = 400;") " ); power_cap = 400.0; links = (",
                        .trace = "0 64 1 1,2,3,4 0 64 1 5,6,7,8 1000 64 1 1,2,3,4 1000 64 1 5,6,7,8"};
  struct rows rows;
  run(&setup, &rows);
  const struct td_row_step *step = steps_of(&rows);
  assert_int_equal(step[1].start, step[0].duration);
  assert_int_equal(step[3].start, TD_PS_PER_SECOND + step[2].duration);
  for (int i = 2; i < 4; i++) assert_int_equal(requests_of(&rows)[i].cached_tokens, 63);
  rows_free(&rows);
}

/* ---- more of runs ---- */

static void hand_offs_push_all(void **state) {
  (void)state;
  struct setup setup = {.engine = ON "policy = \"disaggregated\"; handoff_layers = 1;",
                        .pools =
                            "{ name = \"p\"; role = \"prefill\"; backend = \"modelled\"; device = \"chip.cfg\"; },"
                            "{ name = \"d\"; role = \"decode\"; backend = \"modelled\"; device = \"chip.cfg\"; } ); "
                            "links = ( { from = \"p\"; to = \"d\"; device = \"fast.cfg\"; }",
                        .trace = "0 70 3 1,2,3,4,5 1000 70 3 1,2,3,4,5"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(rows.summary->prefix.tiers[0].hit_tokens, 64);
  for (int i = 0; i < 2; i++) assert_int_equal(requests_of(&rows)[i].kv_bytes, 70 * 2048);
  /* four pushes each, of 35,840 B at 5 GB/s after 2 us */
  const struct td_run_port *port = &rows.summary->busiest_port;
  assert_string_equal(port->worker, "p.0");
  assert_true(port->sends);
  assert_int_equal(port->bytes, 2 * 70 * 2048);
  assert_int_equal(port->busy_ps, 2 * 4 * (2000000 + 7168000));
  rows_free(&rows);
}

/* Both workers are idle when the second prompt comes again; its blocks are on the other one. */
static void kv_aware_asks_the_caches(void **state) {
  (void)state;
  struct setup setup = {.engine = ON "policy = \"kv_aware\";",
                        .pools = POOL("count = 2; kv_tokens = 400;"),
                        .trace = "0 64 1 1,2,3,4 0 64 1 5,6,7,8 1000 64 1 5,6,7,8"};
  struct rows rows;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[2].prefill_device, 1);
  assert_int_equal(rows.summary->prefix.tiers[0].hit_tokens, 63);
  rows_free(&rows);
  setup.engine = ON;
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[2].prefill_device, 0);
  rows_free(&rows);
  /* what is not there any more draws nobody: the memory of its own would */
  setup.engine = ON "policy = \"kv_aware\";";
  setup.pools = POOL("count = 2; kv_tokens = 128;");
  setup.trace =
      "0 64 1 1,2,3,4 0 64 1 5,6,7,8 "
      "1000 128 1 11,12,13,14,15,16,17,18 1000 128 1 21,22,23,24,25,26,27,28 2000 64 1 5,6,7,8";
  run(&setup, &rows);
  assert_int_equal(requests_of(&rows)[4].prefill_device, 0);
  rows_free(&rows);
}

static void what_cannot_be_is_said(void **state) {
  (void)state;
  struct setup setup = {.engine = "", .trace = TWICE};
  setup.pools = POOL("tiers = ( {name = \"host\"; tokens = 64;} );");
  fails(&setup, "cluster.pools.[0].tiers.[0]: found a tier, expected none without engine.prefix_cache");
  setup.engine = ON;
  setup.pools = POOL("tiers = ( {name = \"kv\"; tokens = 64;} );");
  fails(&setup, "tiers.[0].name: found");
  setup.pools = POOL("tiers = ( {name = \"host\"; tokens = 64;}, {name = \"host\"; tokens = 64;} );");
  fails(&setup, "tiers.[1].name: found the name of a tier above it");
  setup.pools = POOL("tiers = ( {name = \"host\"; tokens = 15;} );");
  fails(&setup, "tiers.[0].tokens: found 15, expected at least 16: a block");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(known_beginnings_are_not_computed),
      cmocka_unit_test(a_beginning_is_all_of_it),
      cmocka_unit_test(tiers_take_and_give_back),
      cmocka_unit_test(sessions_find_what_was_said),
      cmocka_unit_test(answers_are_kept_in_whole_blocks),
      cmocka_unit_test(answers_without_names_are_not_found),
      cmocka_unit_test(answers_stay_where_they_came_out),
      cmocka_unit_test(a_failure_takes_what_was_kept),
      cmocka_unit_test(tiers_survive_if_they_are_to),
      cmocka_unit_test(what_was_found_is_lost_too),
      cmocka_unit_test(what_never_began_has_not_waited),
      cmocka_unit_test(caps_and_caches_get_on),
      cmocka_unit_test(hand_offs_push_all),
      cmocka_unit_test(kv_aware_asks_the_caches),
      cmocka_unit_test(what_cannot_be_is_said),
  };
  folder = test_scratch();
  random_cluster_files(folder);
  return cmocka_run_group_tests(tests, NULL, NULL);
}
