/* SPDX-License-Identifier: Apache-2.0
 *
 * No room for the trace: one clear error, no crash, and the part file opens with what fitted.
 */
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include "../support.h"
#include "samples.h"

enum outcome { AS_EXPECTED, NO_ERROR, WRONG_TEXT, NOT_REPEATED, UNREADABLE, CREATE_FAILED };
static const char *const outcomes[] = {"as expected",      "no error although there was no room",
                                       "wrong error text", "the error was not repeated",
                                       "unreadable part",  "no room for an empty trace"};

/* Writes until it fails, then checks what is left. Runs in a child: limits and mounts end with it. */
static enum outcome write_until_full(const char *path, const char *reason, bool finish) {
  char part[4300], error[1024];
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer;
  static struct td_row_token rows[4096];
  struct td_row_device device = {.name = "w"};
  if (td_trace_create(path, &run, &writer)) return CREATE_FAILED;
  (void)td_trace_append(writer, TD_TABLE_DEVICES, &device, 1);
  td_status status = TD_OK;
  uint32_t total = 0;
  for (int i = 0; i < 40 && !status; i++) { /* 40 x 2 MiB against 4 MiB */
    for (int repeat = 0; repeat < 8 && !status; repeat++) {
      for (int j = 0; j < 4096; j++) rows[j] = (struct td_row_token){.index = total++};
      status = td_trace_append(writer, TD_TABLE_TOKENS, rows, 4096);
    }
  }
  if (status != TD_IO) return NO_ERROR;
  snprintf(error, sizeof error, "%s", td_error_text());
  if (!strstr(error, reason) || !strstr(error, path)) return WRONG_TEXT;
  if (td_trace_append(writer, TD_TABLE_TOKENS, rows, 1) != TD_IO || strcmp(td_error_text(), error)) return NOT_REPEATED;
  if (finish) {
    if (td_trace_finish(writer) != TD_IO || strcmp(td_error_text(), error)) return NOT_REPEATED;
  } else {
    td_trace_abandon(writer, error);
  }
  struct td_trace *trace;
  snprintf(part, sizeof part, "%s.part", path);
  if (td_trace_load(part, &trace) || trace->complete || access(path, F_OK) == 0) return UNREADABLE;
  td_trace_free(trace);
  return AS_EXPECTED;
}

static int wait_for(pid_t child) {
  int status = 0;
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!WIFEXITED(status)) fail_msg("the writer died of signal %d", WTERMSIG(status));
  return WEXITSTATUS(status);
}

static void file_size_limit(void **state) {
  char folder[4096], path[4200];
  (void)state;
  for (int finish = 0; finish < 2; finish++) {
    snprintf(folder, sizeof folder, "%s", test_scratch());
    snprintf(path, sizeof path, "%s/limit.h5", folder);
    pid_t child = fork();
    if (child == 0) {
      struct rlimit limit = {4 << 20, 4 << 20};
      setrlimit(RLIMIT_FSIZE, &limit); /* SIGXFSZ keeps its default: it would kill */
      _exit((int)write_until_full(path, "File too large", finish));
    }
    int code = wait_for(child);
    if (code) fail_msg("%s", outcomes[code]);
    test_run(NULL, 0, "rm -rf %s", folder);
  }
}

enum { NO_MOUNT = 77 };

static int on_tmpfs(const char *folder, const char *size, bool finish) {
  char path[4200];
  if (unshare(CLONE_NEWNS) && unshare(CLONE_NEWUSER | CLONE_NEWNS)) return NO_MOUNT;
  if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) return NO_MOUNT;
  if (mount("tmpfs", folder, "tmpfs", 0, size)) return NO_MOUNT;
  snprintf(path, sizeof path, "%s/full.h5", folder);
  return (int)write_until_full(path, "No space left on device", finish);
}

static void check_tmpfs(const char *size, int expected, bool finish) {
  char folder[4096];
  snprintf(folder, sizeof folder, "%s", test_scratch());
  pid_t child = fork();
  if (child == 0) _exit(on_tmpfs(folder, size, finish));
  int code = wait_for(child);
  test_run(NULL, 0, "rm -rf %s", folder);
  if (code == NO_MOUNT) {
    printf("SKIPPED: this user cannot mount a tmpfs\n");
    skip();
  }
  if (code != expected) fail_msg("%s: %s", size, outcomes[code]);
}

static void small_tmpfs(void **state) {
  (void)state;
  check_tmpfs("size=4m", AS_EXPECTED, true);
  check_tmpfs("size=1m", AS_EXPECTED, false);
}

static void no_room_at_all(void **state) {
  (void)state;
  check_tmpfs("size=4k", CREATE_FAILED, true);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(file_size_limit), cmocka_unit_test(small_tmpfs),
                                     cmocka_unit_test(no_room_at_all)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
