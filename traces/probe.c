/* SPDX-License-Identifier: Apache-2.0 */
#include "probe.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define SECONDS 5                  /* a child may read this long ... */
#define BYTES_PER_SECOND 20000000u /* ... and one second more for each of these */

struct answer {
  td_status status;
  char text[1024];
};

static _Noreturn void be_child(int out, uint64_t file_bytes, td_status (*read)(void *context), void *context) {
  struct rlimit none = {0, 0};
  struct answer answer = {0};
  setrlimit(RLIMIT_CORE, &none);
  /* a sanitizer's report about the crash would look like one about tandem */
  int null = open("/dev/null", O_WRONLY);
  if (null >= 0) dup2(null, STDERR_FILENO);
  signal(SIGALRM, SIG_DFL);
  alarm(SECONDS + (unsigned)(file_bytes / BYTES_PER_SECOND));
  answer.status = read(context);
  if (answer.status) snprintf(answer.text, sizeof answer.text, "%s", td_error_text());
  _exit(write(out, &answer, sizeof answer) == (ssize_t)sizeof answer ? 0 : 1);
}

/* True if the child said all it had to say. */
static bool hear(int in, struct answer *out) {
  ssize_t got;
  do {
    got = read(in, out, sizeof *out); /* smaller than a pipe's atomic unit */
  } while (got < 0 && errno == EINTR);
  return got == (ssize_t)sizeof *out;
}

static td_status wait_for(const char *path, pid_t child, int in) {
  struct answer answer;
  bool heard = hear(in, &answer);
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return td_fail(TD_IO, "trace %s: cannot wait for its reader: %s", path, strerror(errno));
  }
  if (heard && WIFEXITED(status)) return answer.status ? td_fail(answer.status, "%s", answer.text) : TD_OK;
  const char *death = WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "memory error";
  return td_fail(TD_CORRUPT, "trace %s: the file is damaged: HDF5 itself failed on it (%s)", path, death);
}

td_status td_probe(const char *path, uint64_t file_bytes, td_status (*read)(void *context), void *context) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) return td_fail(TD_IO, "trace %s: cannot make a pipe: %s", path, strerror(errno));
  fflush(NULL); /* or the child would write it again */
  pid_t child = fork();
  if (child == 0) be_child(ends[1], file_bytes, read, context);
  int code = errno;
  close(ends[1]);
  td_status status = child > 0
                         ? wait_for(path, child, ends[0])
                         : td_fail(TD_IO, "trace %s: cannot start a process to read it: %s", path, strerror(code));
  close(ends[0]);
  return status;
}
