/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer killed at random moments: its part file opens and holds every row up to one second before the kill.
 */
#include <signal.h>
#include <sys/mman.h>

#include "../support.h"
#include "samples.h"

enum { KILLS = 10, AT_ONCE = 5 };

/* The row's own time is the real time at which it was appended, so the file itself tells what it lacks. */
static int write_for_ever(const char *path) {
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer;
  struct td_row_device device = {.name = "w"};
  if (td_trace_create(path, &run, &writer) || td_trace_append(writer, TD_TABLE_DEVICES, &device, 1)) return 1;
  for (uint32_t i = 0;; i++) {
    struct td_row_token row = {
        .request = 1, .index = i, .text_bytes = 2, .time = td_now_ps(), .step = i, .logprob = -1};
    struct td_row_step step = {.step = i, .index = i, .start = i, .duration = 1, .count = 1};
    if (td_trace_append(writer, TD_TABLE_STEPS, &step, 1)) return 2;
    if (td_trace_text(writer, "ab", 2, &row.text_offset)) return 3;
    if (td_trace_append(writer, TD_TABLE_TOKENS, &row, 1)) return 4;
    if (i % 50 == 49) td_sleep_ps(2 * TD_PS_PER_NS * 1000000);
  }
}

struct victim {
  pid_t pid;
  char path[4200];
  int64_t due, killed;
};

static void start(struct victim *victim, const char *folder, uint64_t number) {
  snprintf(victim->path, sizeof victim->path, "%s/run%d.h5", folder, (int)number);
  victim->due = td_now_ps() + (int64_t)(300 + td_random(2024, 9, number) % 2000) * 1000000 * TD_PS_PER_NS;
  victim->pid = fork();
  assert_true(victim->pid >= 0);
  if (victim->pid == 0) _exit(write_for_ever(victim->path));
}

static void end(struct victim *victim) {
  int64_t now = td_now_ps();
  int status = 0;
  if (now < victim->due) td_sleep_ps(victim->due - now);
  victim->killed = td_now_ps();
  assert_int_equal(kill(victim->pid, SIGKILL), 0);
  assert_int_equal(waitpid(victim->pid, &status, 0), victim->pid);
  assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void check(const struct victim *victim) {
  char part[4300];
  struct td_trace *trace = NULL;
  assert_int_not_equal(access(victim->path, F_OK), 0);
  snprintf(part, sizeof part, "%s.part", victim->path);
  if (td_trace_load(part, &trace)) fail_msg("%s", td_error_text());
  assert_false(trace->complete);
  uint64_t count = trace->count[TD_TABLE_TOKENS];
  for (uint64_t i = 0; i < count; i++) assert_int_equal(trace->tokens[i].index, i);
  uint64_t ahead = trace->count[TD_TABLE_STEPS] - count; /* an update may come between a step and its token */
  assert_true(ahead <= 1);
  int64_t last = count ? trace->tokens[count - 1].time : 0;
  int64_t begin = count ? trace->tokens[0].time : victim->killed;
  double lacks = (double)(victim->killed - last) / 1e12;
  if (victim->killed - begin > TD_PS_PER_SECOND && lacks > 1) fail_msg("%s lacks the last %g s", part, lacks);
  td_trace_free(trace);
}

static int by_due(const void *left, const void *right) {
  int64_t a = ((const struct victim *)left)->due, b = ((const struct victim *)right)->due;
  return a < b ? -1 : a > b;
}

static void killed_ten_times(void **state) {
  (void)state;
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", test_scratch());
  for (uint64_t round = 0; round < KILLS / AT_ONCE; round++) {
    struct victim victims[AT_ONCE];
    for (uint64_t i = 0; i < AT_ONCE; i++) start(&victims[i], folder, round * AT_ONCE + i);
    qsort(victims, AT_ONCE, sizeof *victims, by_due);
    for (int i = 0; i < AT_ONCE; i++) end(&victims[i]);
    for (int i = 0; i < AT_ONCE; i++) check(&victims[i]);
  }
  test_run(NULL, 0, "rm -rf %s", folder);
}

/* Loads meet about six updates, each of which would make those that are under way find rows behind the end. */
static void read_while_it_is_written(void **state) {
  (void)state;
  char folder[4096], part[4300];
  struct victim victim;
  uint64_t last = 0;
  snprintf(folder, sizeof folder, "%s", test_scratch());
  start(&victim, folder, 0);
  snprintf(part, sizeof part, "%s.part", victim.path);
  const int64_t until = td_now_ps() + 3 * TD_PS_PER_SECOND;
  while (access(part, F_OK) && td_now_ps() < until) td_sleep_ps(TD_PS_PER_NS * 1000000);
  td_status status = TD_OK;
  bool grows = true;
  for (int64_t now = 0; now < until && !status && grows; now = td_now_ps()) {
    struct td_trace *trace = NULL;
    status = td_trace_load(part, &trace);
    if (status) break;
    grows = trace->count[TD_TABLE_TOKENS] >= last && trace->count[TD_TABLE_STEPS] >= trace->count[TD_TABLE_TOKENS];
    last = trace->count[TD_TABLE_TOKENS];
    td_trace_free(trace);
  }
  victim.due = 0;
  end(&victim); /* before anything is said: it writes for ever */
  if (status) fail_msg("%s", td_error_text());
  assert_true(grows && last > 0);
  test_run(NULL, 0, "rm -rf %s", folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(killed_ten_times), cmocka_unit_test(read_while_it_is_written)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
