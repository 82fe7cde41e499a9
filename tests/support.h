/* SPDX-License-Identifier: Apache-2.0
 *
 * What tests share: finding the model and the shared reference, skipping with a reason, scratch folders, running the
 * program. Header only.
 */
#ifndef TESTS_SUPPORT_H
#define TESTS_SUPPORT_H

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h> /* after what it needs */

/* Prints the reason and ends the test program as skipped (CTest: SKIP_RETURN_CODE 77). */
static inline void test_skip_all(const char *reason) {
  printf("SKIPPED: %s\n", reason);
  exit(77);
}

/* The demo's model, or NULL: $TANDEM_TEST_MODEL, else in the cache that scripts/fetch-model fills. */
static inline const char *test_model_path(void) {
  static char path[4096];
  const char *given = getenv("TANDEM_TEST_MODEL");
  const char *own = getenv("TANDEM_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  if (given && *given) {
    snprintf(path, sizeof path, "%s", given);
  } else if (own && *own) {
    snprintf(path, sizeof path, "%s/SmolLM2-135M-Instruct.Q4_1.gguf", own);
  } else if (cache && *cache) {
    snprintf(path, sizeof path, "%s/tandem/SmolLM2-135M-Instruct.Q4_1.gguf", cache);
  } else {
    snprintf(path, sizeof path, "%s/.cache/tandem/SmolLM2-135M-Instruct.Q4_1.gguf", home ? home : "");
  }
  return access(path, R_OK) == 0 ? path : NULL;
}

/* A file of the tree; the result is good until the fourth next call. */
static inline const char *test_source(const char *relative) {
  static char paths[4][4096];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", TANDEM_SOURCE_DIR, relative);
  return path;
}

/* A file of ../shared, e.g. "reference/tiny/llama.gguf"; NULL when absent. */
static inline const char *test_shared(const char *relative) {
  char below[1024];
  snprintf(below, sizeof below, "../shared/%s", relative);
  const char *path = test_source(below);
  return access(path, R_OK) == 0 ? path : NULL;
}

static inline int test_remove_entry(const char *path, const struct stat *status, int kind, struct FTW *where) {
  (void)status, (void)kind, (void)where;
  return remove(path);
}

struct test_folder {
  pid_t owner;
  char path[1024];
};

/* At exit: a process forked from the test leaves the folder to it. */
static inline void test_leave_folder(int code, void *given) {
  struct test_folder *folder = given;
  if (folder->owner == getpid()) {
    bool passed = code == 0 || code == 77;
    if (!passed) fprintf(stderr, "kept what the failed test wrote: %s\n", folder->path);
    if (passed && nftw(folder->path, test_remove_entry, 16, FTW_DEPTH | FTW_PHYS)) perror(folder->path);
  }
  free(folder);
}

/* A fresh folder under $TMPDIR or /tmp, good until the next call. It goes when the program exits with 0 or 77; after a
 * failure it stays, and a line says where. */
static inline const char *test_scratch(void) {
  static char path[1024];
  const char *tmp = getenv("TMPDIR");
  struct test_folder *folder = malloc(sizeof *folder);
  assert_non_null(folder);
  folder->owner = getpid();
  snprintf(folder->path, sizeof folder->path, "%s/tandem-test-%s-XXXXXX", tmp && *tmp ? tmp : "/tmp",
           program_invocation_short_name);
  if (!mkdtemp(folder->path)) fail_msg("%s: %s", folder->path, strerror(errno));
  assert_int_equal(on_exit(test_leave_folder, folder), 0);
  snprintf(path, sizeof path, "%s", folder->path);
  return path;
}

/* Runs a shell command, returns its exit code (128 + signal if killed) and up to `size`-1 bytes of its stdout (add 2>&1
 * for stderr). */
static inline int test_run(char *out, size_t size, const char *format, ...) __attribute__((format(printf, 3, 4)));
static inline int test_run(char *out, size_t size, const char *format, ...) {
  char command[8192];
  va_list args;
  va_start(args, format);
  vsnprintf(command, sizeof command, format, args);
  va_end(args);
  FILE *pipe = popen(command, "r");
  if (!pipe) return -1;
  size_t used = 0, got;
  char waste[4096];
  while ((got = fread(waste, 1, sizeof waste, pipe)) > 0) {
    size_t room = size ? size - 1 - used : 0;
    if (got > room) got = room;
    if (got) memcpy(out + used, waste, got); /* out may be NULL */
    used += got;
  }
  if (size) out[used] = 0;
  int status = pclose(pipe);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

#endif
