/* SPDX-License-Identifier: Apache-2.0
 *
 * Every trace format, on small files written here: times, lengths and what else a row says.
 */
#include "harness.h"

struct expected {
  int64_t at_ps, prompt, output;
};

static void expect_jobs(const char *source, const struct expected *expected, int count) {
  struct opened opened = must_open(source);
  struct td_job job;
  for (int i = 0; i < count; i++) {
    if (!next_job(opened.workload, &job)) fail_msg("%s\nfound %d jobs, expected %d", source, i, count);
    if (job.arrival_ps != expected[i].at_ps) {
      fail_msg("%s\njob %d: found %lld ps, expected %lld", source, i, (long long)job.arrival_ps,
               (long long)expected[i].at_ps);
    }
    assert_int_equal(job.prompt_tokens, expected[i].prompt);
    assert_int_equal(job.output_tokens, expected[i].output);
  }
  assert_false(next_job(opened.workload, &job));
  close_opened(&opened);
}

#define S TD_PS_PER_SECOND

/* CRLF, seven digits, a change of day, a leap day, and no line end at the end. */
static void azure(void **state) {
  (void)state;
  scratch_file("azure.csv",
               "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
               "2024-02-28 23:59:59.6805900,374,44\r\n"
               "2024-02-29 00:00:00.0000001,396,109\r\n"
               "2024-03-01 00:00:00,879,55");
  const struct expected expected[] = {{0, 374, 44}, {319410100000, 396, 109}, {86400 * S + 319410000000, 879, 55}};
  expect_jobs("format = \"azure\"; file = \"azure.csv\";", expected, 3);
  scratch_file("azure.csv",
               "\xef\xbb\xbfTIMESTAMP,ContextTokens,GeneratedTokens\n"
               "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10T00:00:01.009930Z,2399,6\n\n\n");
  const struct expected later[] = {{0, 2162, 5}, {S, 2399, 6}};
  expect_jobs("format = \"azure\"; file = \"azure.csv\";", later, 2);
}

static void burstgpt(void **state) {
  (void)state;
  scratch_file("burst.csv",
               "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
               "5,ChatGPT,472,18,490,Conversation log\n45.5,\"GPT-4, \"\"new\"\"\",1087,230,1317,Conversation log\n"
               "118,GPT-4,417,0,417,API log\n120,GPT-4,7,3,10,API log\n");
  const struct expected expected[] = {{0, 472, 18}, {40500 * TD_PS_PER_NS * 1000000, 1087, 230}, {115 * S, 7, 3}};
  expect_jobs("format = \"burstgpt\"; file = \"burst.csv\"; skip_failed = true;", expected, 3);
  expect_refused("format = \"burstgpt\"; file = \"burst.csv\";",
                 "burst.csv:4: Response tokens: found \"0\", expected tokens, 1 to 10000000");
  scratch_file("burst.csv",
               "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
               "19440110.0,1722ac82,43,GPT-4,906,446,1352,Conversation log\n"
               "19440161.0,d5983bf9,2,ChatGPT,36,29,65,Conversation log\n");
  const struct expected far[] = {{0, 906, 446}, {51 * S, 36, 29}};
  expect_jobs("format = \"burstgpt\"; file = \"burst.csv\";", far, 2);
}

static void vidur_and_splitwise(void **state) {
  (void)state;
  scratch_file("vidur.csv",
               "arrived_at,num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n"
               "0.028486639895327726,41,11,52,3.7\n5e-2,19,6,25,3.2\n1.25,43,12,55,3.6\n");
  const struct expected expected[] = {{28486639895, 41, 11}, {50000000000, 19, 6}, {1250000000000, 43, 12}};
  expect_jobs("format = \"vidur\"; file = \"vidur.csv\";", expected, 3);
  scratch_file("split.csv",
               "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
               "0,2,0,0.0,1,374,44\n1,2,0,4.314579,1,396,109\n");
  const struct expected split[] = {{0, 374, 44}, {4314579000000, 396, 109}};
  expect_jobs("format = \"splitwise\"; file = \"split.csv\";", split, 2);
}

static void apex_sharegpt_lengths(void **state) {
  (void)state;
  scratch_file("a.csv", "start_offset_ns,context_tokens,generated_tokens\n618518284,304,822\n1236439963,497,1783\n");
  const struct expected apex[] = {{618518284000, 304, 822}, {1236439963000, 497, 1783}};
  expect_jobs("format = \"apex\"; file = \"a.csv\";", apex, 2);
  scratch_file("a.csv", "output_tokens,input_tokens,arrival_time_ns\n531,2358,46926808\n769,1034,347938951\n");
  const struct expected share[] = {{46926808000, 2358, 531}, {347938951000, 1034, 769}};
  expect_jobs("format = \"sharegpt\"; file = \"a.csv\";", share, 2);
  const struct expected lengths[] = {{0, 10, 20}, {S / 2, 30, 40}, {S, 50, 60}};
  const char *source = "format = \"lengths\"; file = \"a.csv\"; arrivals = \"constant\"; rate = 2;";
  scratch_file("a.csv", "10,20\n30, 40\n\"50\",60\n");
  expect_jobs(source, lengths, 3);
  scratch_file("a.csv", "prompt_tokens,output_tokens\n10,20\n30,40\n50,60\n");
  expect_jobs(source, lengths, 3);
}

static void mooncake(void **state) {
  (void)state;
  scratch_file(
      "m.jsonl",
      "{\"timestamp\": 0, \"input_length\": 1025, \"output_length\": 5, \"hash_ids\": [0, 1, 2]}\n"
      "{\"hash_ids\":[0,18446744073709551615],\"output_length\":6,\"input_length\":1024,\"timestamp\":27.5}\n");
  const struct expected expected[] = {{0, 1025, 5}, {27500000000, 1024, 6}};
  expect_jobs("format = \"mooncake\"; file = \"m.jsonl\";", expected, 2);
  struct opened opened = must_open("format = \"mooncake\"; file = \"m.jsonl\";");
  struct td_job job;
  assert_true(next_job(opened.workload, &job));
  assert_int_equal(job.prefix_tokens, 512);
  assert_int_equal(job.prefix_count, 3);
  assert_true(job.prefix[0] == 0 && job.prefix[1] == 1 && job.prefix[2] == 2);
  assert_true(next_job(opened.workload, &job));
  assert_int_equal(job.prefix_count, 2);
  assert_true(job.prefix[0] == 0 && job.prefix[1] == UINT64_MAX);
  close_opened(&opened);
  opened = must_open("format = \"mooncake\"; file = \"m.jsonl\"; most_prompt = 1000;");
  assert_true(next_job(opened.workload, &job));
  assert_int_equal(job.prompt_tokens, 1000);
  assert_int_equal(job.prefix_count, 1); /* the second block is cut */
  close_opened(&opened);
}

static const char blis_columns[] =
    "request_id,client_id,tenant_id,slo_class,session_id,round_index,prefix_group,prefix_length,streaming,input_tokens,"
    "output_tokens,text_tokens,image_tokens,audio_tokens,video_tokens,reason_ratio,model,deadline_us,"
    "server_input_tokens,arrival_time_us,send_time_us,first_chunk_time_us,last_chunk_time_us,num_chunks,status,"
    "error_message,finish_reason,custom\n";

static void blis(void **state) {
  (void)state;
  char text[4096];
  scratch_file("b.yaml",
               "# made by hand\ntrace_version: 3\ntime_unit: \"microseconds\"\nmode: real\nwarm_up_requests: 0\n"
               "server:\n  type: vllm\n  block_size: 16\n");
  snprintf(text, sizeof text, "%s%s", blis_columns,
           "0,c1,t1,critical,s1,0,sys,1100,true,10,5,10,0,0,0,0.0,,0,1110,1000,0,0,0,5,ok,,stop,x\n"
           "1,c1,t1,,s1,0,,0,true,10,7,10,0,0,0,0.0,,0,14,2500,0,0,0,5,ok,,stop,x\n"
           "2,c1,t1,batch,s1,0,sys,1100,true,20,0,10,0,0,0,0.0,,0,0,2500,0,0,0,5,timeout,\"a, b\",,x\n"
           "3,c1,t1,background,s1,0,sys,600,true,20,9,10,0,0,0,0.0,,0,0,3000,0,0,0,5,ok,,,x\n");
  scratch_file("b.csv", text);
  const struct expected expected[] = {{1000000000, 1110, 5}, {2500000000, 14, 7}, {3000000000, 620, 9}};
  const char *source =
      "format = \"blis\"; file = \"b.csv\"; header = \"b.yaml\"; skip_failed = true; block_tokens = 512;";
  expect_jobs(source, expected, 3);
  struct opened opened = must_open(source);
  struct td_job first, second, third;
  assert_true(next_job(opened.workload, &first));
  assert_int_equal(first.tier, 0);
  assert_int_equal(first.prefix_count, 2);
  uint64_t shared = first.prefix[0];
  assert_true(next_job(opened.workload, &second));
  assert_int_equal(second.tier, 1);
  assert_int_equal(second.prefix_count, 0);
  assert_true(next_job(opened.workload, &third));
  assert_int_equal(third.tier, 4);
  assert_int_equal(third.prefix_count, 1);
  assert_true(third.prefix[0] == shared);
  close_opened(&opened);
}

static void blis_headers(void **state) {
  (void)state;
  const char *source = "format = \"blis\"; file = \"b.csv\"; header = \"h.yaml\";";
  scratch_file("h.yaml", "trace_version: 4\ntime_unit: microseconds\n");
  expect_refused(source, "h.yaml:1: trace_version: found \"4\", expected 2 or 3");
  scratch_file("h.yaml", "trace_version: 2\ntime_unit: ms\n");
  expect_refused(source, "h.yaml:2: time_unit: found \"ms\", expected microseconds");
  scratch_file("h.yaml", "trace_version: 2\n");
  expect_refused(source, "h.yaml: found no time_unit, expected a TraceV2 header");
  scratch_file("h.yaml", "trace_version: 2\ntime_unit: microseconds\nmodus: real\n");
  expect_refused(source, "h.yaml:3: key: found \"modus\"");
  expect_refused("format = \"blis\"; file = \"b.csv\"; header = \"none.yaml\";", "w.cfg:3: workload.source.header: ");
}

static void requests_of_the_config(void **state) {
  (void)state;
  struct opened opened;
  struct td_job job;
  const char *list =
      "max_tokens = 9; requests = ( { prompt_tokens = 5; arrival = 2.0; }, { prompt_tokens = 6; "
      "max_tokens = 3; }, { prompt_tokens = 7; arrival = 2.0; } );";
  assert_int_equal(open_config(list, &opened), TD_OK);
  assert_int_equal(td_workload_open(opened.config, opened.experiment, &opened.workload), TD_OK);
  assert_int_equal(td_workload_total(opened.workload), 3);
  assert_true(next_job(opened.workload, &job) && job.prompt_tokens == 6 && job.output_tokens == 3);
  assert_true(next_job(opened.workload, &job) && job.prompt_tokens == 5 && job.output_tokens == 9);
  assert_int_equal(td_workload_take(opened.workload, &job), TD_PRECONDITION);
  assert_true(next_job(opened.workload, &job) && job.prompt_tokens == 7 && job.arrival_ps == 2 * S && job.number == 2);
  assert_false(next_job(opened.workload, &job));
  close_opened(&opened);
  assert_int_equal(open_config("requests = ( { prompt = \"hi\"; } );", &opened), TD_OK);
  assert_int_equal(td_workload_open(opened.config, opened.experiment, &opened.workload), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "w.cfg:3: workload.requests.[0]: found text, expected prompt_tokens"));
  close_opened(&opened);
}

/* A window's rows, its time 0, and a factor on what is left. */
static void windows(void **state) {
  (void)state;
  scratch_file("v.csv",
               "arrived_at,num_prefill_tokens,num_decode_tokens\n0,1,1\n10,2,1\n20,3,1\n29.5,4,1\n30,5,1\n40,6,1\n");
  const struct expected window[] = {{0, 2, 1}, {5 * S, 3, 1}, {9750000000000, 4, 1}};
  expect_jobs("format = \"vidur\"; file = \"v.csv\"; begin = 10; end = 30; scale = 0.5;", window, 3);
  const struct expected twice[] = {
      {0, 4, 1}, {500000000000, 5, 1}, {2 * S, 4, 1}, {2500000000000, 5, 1}, {4 * S, 4, 1}};
  expect_jobs("format = \"vidur\"; file = \"v.csv\"; begin = 29.5; end = 31.5; repeat = true; requests = 5;", twice, 5);
  const struct expected rows[] = {{0, 5, 1}, {4 * S, 6, 1}, {8 * S, 5, 1}};
  expect_jobs(
      "format = \"vidur\"; file = \"v.csv\"; begin = 30; arrivals = \"constant\"; rate = 0.25; repeat = true; "
      "requests = 3;",
      rows, 3);
  const struct expected early[] = {{0, 1, 1}, {10 * S, 2, 1}};
  expect_jobs("format = \"vidur\"; file = \"v.csv\"; duration = 20;", early, 2);
  expect_refused("format = \"vidur\"; file = \"v.csv\"; begin = 41;", "v.csv: found no row from begin to end");
}

/* What `tandem check` prints of a source is a config that says the same. */
static void printed_and_read_again(void **state) {
  (void)state;
  struct opened opened, again;
  char *text, *twice;
  assert_int_equal(
      open_config("source = { format = \"generated\"; arrivals = \"gamma\"; rate = 0.1; cv = 2.5; duration = "
                  "7.0; prompt = { law = \"uniform\"; low = 3; high = 9; }; output = { law = \"lognormal\"; "
                  "mean = 20.0; }; prefixes = ( { tokens = 5; choices = 3; } ); tiers = ( { weight = 0.5; } ); };",
                  &opened),
      TD_OK);
  assert_int_equal(td_config_text(opened.config, &td_experiment_group, opened.experiment, &text), TD_OK);
  again = (struct opened){.experiment = calloc(1, sizeof *again.experiment)};
  assert_non_null(again.experiment);
  const char *path = scratch_file("again.cfg", text);
  if (td_experiment_open(path, NULL, 0, &again.config, again.experiment)) fail_msg("%s", td_error_text());
  assert_int_equal(td_config_text(again.config, &td_experiment_group, again.experiment, &twice), TD_OK);
  assert_string_equal(text, twice);
  assert_non_null(strstr(text, "law = \"lognormal\";"));
  free(text);
  free(twice);
  close_opened(&opened);
  close_opened(&again);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(azure),
      cmocka_unit_test(burstgpt),
      cmocka_unit_test(mooncake),
      cmocka_unit_test(vidur_and_splitwise),
      cmocka_unit_test(blis),
      cmocka_unit_test(apex_sharegpt_lengths),
      cmocka_unit_test(windows),
      cmocka_unit_test(blis_headers),
      cmocka_unit_test(requests_of_the_config),
      cmocka_unit_test(printed_and_read_again),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
