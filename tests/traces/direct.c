/* SPDX-License-Identifier: Apache-2.0
 *
 * Chunks of rows go to the file past the system's page cache. File systems refuse that when the file is opened (tmpfs,
 * before Linux 6.6) or when it is written; then they go through it, and the trace is the same. `open` and `pwrite` are
 * wrapped by the linker and stand for such file systems.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>

#include "../support.h"
#include "samples.h"

int __real_open(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);

/* What is refused, and from which direct write on; `most`: bytes that one takes, 0: all. */
static struct {
  bool opening;
  int writing; /* errno */
  int from;
  size_t most;
} refused;
static int direct = -1, taken, failed;

int __wrap_open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  unsigned mode = flags & O_CREAT ? va_arg(more, unsigned) : 0;
  va_end(more);
  if (!(flags & O_DIRECT)) return __real_open(path, flags, mode);
  if (refused.opening) {
    errno = EINVAL;
    return -1;
  }
  return direct = __real_open(path, flags & ~O_DIRECT, mode); /* wherever this test is */
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset) {
  if (fd != direct) return __real_pwrite(fd, data, bytes, offset);
  assert_true((uintptr_t)data % 4096 == 0 && bytes % 4096 == 0 && offset % 4096 == 0); /* else it is refused */
  if (refused.writing && taken >= refused.from) {
    failed++;
    errno = refused.writing;
    return -1;
  }
  taken++;
  return __real_pwrite(fd, data, refused.most && bytes > refused.most ? refused.most : bytes, offset);
}

enum { TOKENS = 50000, CHUNK = 4096, CHUNKS = TOKENS / CHUNK }; /* whole ones */

static struct td_row_token token_of(uint32_t i) {
  return (struct td_row_token){.index = i, .id = 1 + (int32_t)(i % 999), .time = i + 1, .step = i, .gap = 0.5 * i};
}

static char path[4200], part[4300];

static td_status write_trace(void) {
  const struct td_row_device device = {.name = "w"};
  const struct td_row_request request = {
      .name = "one", .first_token = 1, .finished = TOKENS, .output_tokens = TOKENS, .max_tokens = TOKENS};
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  direct = -1;
  taken = failed = 0;
  TD_TRY(td_trace_create(path, &run, &writer));
  td_status status = td_trace_append(writer, TD_TABLE_DEVICES, &device, 1);
  for (uint32_t i = 0; i < TOKENS && !status; i++) {
    const struct td_row_token row = token_of(i);
    status = td_trace_append(writer, TD_TABLE_TOKENS, &row, 1);
  }
  if (!status) status = td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1);
  if (!status) return td_trace_finish(writer);
  td_trace_abandon(writer, td_error_text());
  return status;
}

static void check_tokens(const char *name, bool whole) {
  struct td_trace *trace;
  if (td_trace_load(name, &trace)) fail_msg("%s", td_error_text());
  assert_int_equal(trace->complete, whole);
  assert_true(!whole || trace->count[TD_TABLE_TOKENS] == TOKENS);
  for (uint32_t i = 0; i < trace->count[TD_TABLE_TOKENS]; i++) {
    const struct td_row_token row = token_of(i);
    if (memcmp(&trace->tokens[i], &row, sizeof row)) fail_msg("token %d is another", (int)i);
  }
  td_trace_free(trace);
}

static void expect_whole(int least_taken, int most_failed) {
  if (write_trace()) fail_msg("%s", td_error_text());
  check_tokens(path, true);
  printf("%d direct writes, %d refused\n", taken, failed);
  assert_true(taken >= least_taken && failed <= most_failed);
}

/* A flush in between (twice a second) leaves a chunk whose pages are not all new: some need not go this way. */
static void file_systems_that_take_it(void **state) {
  (void)state;
  memset(&refused, 0, sizeof refused);
  expect_whole(CHUNKS / 2, 0);
  refused.most = 8192; /* and write less than they are asked to */
  expect_whole(CHUNKS, 0);
}

static void refused_when_opened(void **state) {
  (void)state;
  memset(&refused, 0, sizeof refused);
  refused.opening = true;
  expect_whole(0, 0);
  assert_int_equal(direct, -1);
}

/* At the first chunk, at a later one, in the middle of one: asked once, and the file is closed that was opened for it.
 */
static void refused_when_written(void **state) {
  (void)state;
  for (int from = 0; from < 4; from++) {
    memset(&refused, 0, sizeof refused);
    refused.writing = EINVAL;
    refused.from = from;
    refused.most = from == 3 ? 4096 : 0;
    expect_whole(from, 1);
    assert_int_equal(failed, 1);
    assert_int_equal(taken, from);
  }
}

/* Any other error is one: it is told, and what was there before can be read. */
static void other_errors_are_told(void **state) {
  (void)state;
  memset(&refused, 0, sizeof refused);
  refused.writing = EIO;
  refused.from = 2;
  assert_int_equal(write_trace(), TD_IO);
  assert_non_null(strstr(td_error_text(), "direct.h5"));
  assert_non_null(strstr(td_error_text(), "cannot write: Input/output error"));
  check_tokens(part, false);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(file_systems_that_take_it), cmocka_unit_test(refused_when_opened),
                                     cmocka_unit_test(refused_when_written), cmocka_unit_test(other_errors_are_told)};
  const char *folder = test_scratch();
  snprintf(path, sizeof path, "%s/direct.h5", folder);
  snprintf(part, sizeof part, "%s.part", path);
  int code = cmocka_run_group_tests(tests, NULL, NULL);
  if (!code) test_run(NULL, 0, "rm -rf %s", folder);
  return code;
}
