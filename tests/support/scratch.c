/* SPDX-License-Identifier: Apache-2.0
 *
 * Scratch folders: gone after a test that passed or was skipped, there after one that failed.
 */
#include "support.h"

/* Exit code of a process that makes two folders with something in them, and has a child that exits first. */
static int play_test(int code) {
  fflush(NULL);
  pid_t test = fork();
  int status;
  if (test == 0) {
    for (int i = 0; i < 2; i++) test_run(NULL, 0, "cd '%s' && mkdir below && echo > below/file", test_scratch());
    if (fork() == 0) exit(0);
    wait(&status);
    exit(test_run(NULL, 0, "ls \"$TMPDIR\"/*/below/file") ? 99 : code);
  }
  assert_int_equal(waitpid(test, &status, 0), test);
  return WEXITSTATUS(status);
}

static int kept(void) {
  char count[64];
  assert_int_equal(test_run(count, sizeof count, "ls \"$TMPDIR\" | wc -l"), 0);
  return atoi(count);
}

static void test_folders(void **state) {
  (void)state;
  setenv("TMPDIR", test_scratch(), 1);
  assert_int_equal(play_test(0), 0);
  assert_int_equal(kept(), 0);
  assert_int_equal(play_test(77), 77);
  assert_int_equal(kept(), 0);
  assert_int_equal(play_test(1), 1);
  assert_int_equal(kept(), 2);
  assert_int_equal(test_run(NULL, 0, "ls \"$TMPDIR\"/tandem-test-support_scratch-*/below/file"), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_folders)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
