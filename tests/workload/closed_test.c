/* SPDX-License-Identifier: Apache-2.0
 *
 * Closed loops: sessions whose next round follows an answer and a tool's wait, and a bounded number of users.
 */
#include "harness.h"

#define TURNS "session_id,arrival_time,round_idx,prefix_len,input_len,output_len,tool_wait_after_ms\n"
#define MS (TD_PS_PER_NS * 1000000)
#define SESSIONS "format = \"sessions\"; file = \"s.csv\"; block_tokens = 10;"

static struct td_job must_next(struct td_workload *workload, int64_t at_ps) {
  struct td_job job;
  if (!next_job(workload, &job)) fail_msg("found no job, expected one at %lld ps", (long long)at_ps);
  if (job.arrival_ps != at_ps) fail_msg("found %lld ps, expected %lld", (long long)job.arrival_ps, (long long)at_ps);
  return job;
}

static void finish(struct td_workload *workload, struct td_job job, int64_t now_ps) {
  if (td_workload_finished(workload, job.number, now_ps)) fail_msg("%s", td_error_text());
}

static void none_now(struct td_workload *workload) {
  int64_t at_ps;
  bool any;
  assert_int_equal(td_workload_peek(workload, &at_ps, &any), TD_OK);
  assert_false(any);
}

/* Rounds come a wait after their answer, between and beside what other sessions bring. */
static void rounds(void **state) {
  (void)state;
  scratch_file("s.csv", TURNS
               "x,100,0,0,50,5,300\nx,100,1,55,20,6,0.5\nx,100,2,81,9,7,0\n"
               "y,200,0,0,11,1,50\ny,200,1,12,3,2,0\nz,900,0,0,4,4,0\n");
  struct opened opened = must_open(SESSIONS);
  struct td_workload *workload = opened.workload;
  assert_int_equal(td_workload_total(workload), -1);
  struct td_job x = must_next(workload, 100 * MS), y = must_next(workload, 200 * MS);
  assert_true(x.session == 1 && x.turn == 0 && x.prompt_tokens == 50 && x.output_tokens == 5);
  assert_true(y.session == 2 && y.turn == 0 && y.prompt_tokens == 11);
  finish(workload, y, 450 * MS);
  finish(workload, x, 460 * MS);
  y = must_next(workload, 500 * MS);
  assert_true(y.session == 2 && y.turn == 1 && y.prompt_tokens == 15 && y.number == 2);
  x = must_next(workload, 760 * MS);
  assert_true(x.session == 1 && x.turn == 1 && x.prompt_tokens == 75);
  finish(workload, x, 1000 * MS);
  struct td_job z = must_next(workload, 900 * MS); /* it waited: nobody took it before */
  x = must_next(workload, 1000 * MS + MS / 2);
  assert_true(x.turn == 2 && x.prompt_tokens == 90);
  finish(workload, x, 2000 * MS);
  finish(workload, y, 2000 * MS);
  none_now(workload);
  finish(workload, z, 3000 * MS);
  none_now(workload);
  assert_int_equal(td_workload_finished(workload, z.number, 3000 * MS), TD_PRECONDITION);
  close_opened(&opened);
}

/* What a round's prompt has in common with the one before: the blocks within prefix_len, and none after. */
static void shared_text(void **state) {
  (void)state;
  scratch_file("s.csv", TURNS
               "x,0,0,0,50,5,0\nx,0,1,55,20,6,0\nx,0,2,40,60,7,0\nx,0,3,100,5,7,0\ny,0,0,20,30,5,0\nz,0,0,20,30,5,0\n");
  struct opened opened = must_open(SESSIONS);
  uint64_t last[16] = {0}, root[2][2];
  static const int blocks[] = {5, 7, 10, 10}, same[] = {0, 5, 4, 10};
  for (int t = 0; t < 4; t++) {
    struct td_job job = must_next(opened.workload, 0);
    while (job.session != 1) {
      assert_int_equal(job.prefix_count, 5);
      memcpy(root[job.session - 2], job.prefix, sizeof root[0]);
      job = must_next(opened.workload, 0);
    }
    assert_int_equal(job.turn, t);
    assert_int_equal(job.prefix_count, blocks[t]);
    for (int b = 0; b < blocks[t]; b++) {
      if ((job.prefix[b] == last[b]) != (b < same[t])) fail_msg("turn %d, block %d", t, b);
    }
    memcpy(last, job.prefix, (size_t)job.prefix_count * sizeof *last);
    finish(opened.workload, job, 0);
  }
  struct td_job y = must_next(opened.workload, 0), z = must_next(opened.workload, 0);
  assert_true(y.session == 2 && z.session == 3);
  (void)root;
  close_opened(&opened);
}

/* Of 12 + 19 tokens the prompt has one whole block and the answer completes two more, which are the next prompt's; of
 * 5 + 20 the prompt has none. A prompt that goes on from the middle of an answer shares what is before. */
static void answers_have_names(void **state) {
  (void)state;
  scratch_file("s.csv", TURNS
               "x,0,0,0,12,19,0\nx,0,1,31,9,1,0\ny,0,0,0,5,20,0\ny,0,1,25,9,1,0\nz,0,0,0,5,40,0\nz,0,1,24,9,1,0\n");
  struct opened opened = must_open(SESSIONS "arrivals = \"closed\"; users = 1;");
  static const int whole[][2] = {{1, 2}, {0, 2}, {0, 4}}, next[] = {4, 3, 3}, same[] = {3, 2, 2};
  for (int i = 0; i < 3; i++) {
    uint64_t said[4];
    struct td_job job = must_next(opened.workload, 0);
    assert_true(job.prefix && job.prefix_count == whole[i][0] && job.answer_count == whole[i][1]);
    memcpy(said, job.prefix, (size_t)(whole[i][0] + whole[i][1]) * sizeof *said);
    finish(opened.workload, job, 0);
    job = must_next(opened.workload, 0);
    assert_true(job.prefix_count == next[i] && job.answer_count == 0);
    for (int b = 0; b < 3; b++) assert_int_equal(job.prefix[b] == said[b], b < same[i]);
    finish(opened.workload, job, 0);
  }
  close_opened(&opened);
}

static void first_rounds_share(void **state) {
  (void)state;
  scratch_file("s.csv", TURNS "y,0,0,20,30,5,0\nz,0,0,20,30,5,0\n");
  struct opened opened = must_open(SESSIONS);
  struct td_job y = must_next(opened.workload, 0);
  uint64_t own[5];
  memcpy(own, y.prefix, sizeof own);
  struct td_job z = must_next(opened.workload, 0);
  assert_true(z.prefix[0] == own[0] && z.prefix[1] == own[1] && z.prefix[2] != own[2]);
  close_opened(&opened);
}

static void users(void **state) {
  (void)state;
  scratch_file("l.csv", "1,1\n2,1\n3,1\n4,1\n5,1\n");
  struct opened opened =
      must_open("format = \"lengths\"; file = \"l.csv\"; arrivals = \"closed\"; users = 2; think = 0.25; ramp = 1.0;");
  struct td_workload *workload = opened.workload;
  struct td_job a = must_next(workload, 0), b = must_next(workload, 500 * MS);
  assert_true(a.prompt_tokens == 1 && b.prompt_tokens == 2);
  none_now(workload);
  finish(workload, b, 600 * MS);
  b = must_next(workload, 850 * MS);
  assert_int_equal(b.prompt_tokens, 3);
  finish(workload, a, 900 * MS);
  finish(workload, b, 900 * MS);
  a = must_next(workload, 1150 * MS);
  b = must_next(workload, 1150 * MS);
  assert_true(a.prompt_tokens == 4 && b.prompt_tokens == 5);
  finish(workload, a, 1200 * MS);
  none_now(workload);
  finish(workload, b, 1200 * MS);
  none_now(workload);
  close_opened(&opened);
}

/* Which session comes first does not depend on which of two answers at one time was told first. */
static void ties(void **state) {
  (void)state;
  scratch_file("s.csv",
               TURNS "a,0,0,0,5,5,7\na,0,1,10,5,5,0\nb,0,0,0,6,5,7\nb,0,1,11,6,5,0\nc,0,0,0,7,5,7\nc,0,1,12,7,5,0\n");
  for (int order = 0; order < 6; order++) {
    static const int orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct opened opened = must_open(SESSIONS);
    struct td_job jobs[3];
    for (int i = 0; i < 3; i++) jobs[i] = must_next(opened.workload, 0);
    for (int i = 0; i < 3; i++) finish(opened.workload, jobs[orders[order][i]], MS);
    for (uint64_t i = 0; i < 3; i++) assert_true(must_next(opened.workload, 8 * MS).session == i + 1);
    close_opened(&opened);
  }
}

/* Each user plays whole sessions. */
static void users_of_sessions(void **state) {
  (void)state;
  scratch_file("s.csv", TURNS "x,0,0,0,5,5,100\nx,0,1,10,5,5,0\ny,0,0,0,6,5,0\nz,0,0,0,7,5,0\n");
  struct opened opened =
      must_open(SESSIONS "arrivals = \"closed\"; users = 1; think = 1.0; repeat = true; requests = 4;");
  struct td_workload *workload = opened.workload;
  struct td_job job = must_next(workload, 0);
  finish(workload, job, 10 * MS);
  job = must_next(workload, 110 * MS);
  assert_true(job.session == 1 && job.turn == 1);
  finish(workload, job, 200 * MS);
  job = must_next(workload, 1200 * MS);
  assert_true(job.session == 2 && job.prompt_tokens == 6);
  finish(workload, job, 1200 * MS);
  finish(workload, must_next(workload, 2200 * MS), 2200 * MS);
  job = must_next(workload, 3200 * MS);
  assert_true(job.session == 4 && job.turn == 0 && job.prompt_tokens == 5);
  finish(workload, job, 3200 * MS);
  finish(workload, must_next(workload, 3300 * MS), 3300 * MS);
  none_now(workload);
  close_opened(&opened);
}

static void wrong_order(void **state) {
  (void)state;
  scratch_file("l.csv", "1,1\n2,1\n");
  struct opened opened = must_open("format = \"lengths\"; file = \"l.csv\"; arrivals = \"closed\"; users = 1;");
  struct td_job job = must_next(opened.workload, 0);
  assert_int_equal(td_workload_finished(opened.workload, 7, 5), TD_PRECONDITION);
  assert_int_equal(td_workload_finished(opened.workload, job.number, 4), TD_PRECONDITION);
  assert_int_equal(td_workload_take(opened.workload, &job), TD_PRECONDITION);
  close_opened(&opened);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(rounds),
      cmocka_unit_test(shared_text),
      cmocka_unit_test(first_rounds_share),
      cmocka_unit_test(answers_have_names),
      cmocka_unit_test(users),
      cmocka_unit_test(ties),
      cmocka_unit_test(users_of_sessions),
      cmocka_unit_test(wrong_order),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
