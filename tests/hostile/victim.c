/* SPDX-License-Identifier: Apache-2.0 */
#include "victim.h"

#include <fcntl.h>
#include <stdint.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"
#include "tandem/model.h"

#define SECONDS_MAX 10   /* of the processor: this machine may be busy with other things */
#define PATIENCE_MAX 120 /* of the clock */
#define MEGABYTE ((size_t)1 << 20)

/* Sanitizers map terabytes, and keep what was freed. */
#ifdef TANDEM_SANITIZED
static const bool sanitized = true;
#else
static const bool sanitized = false;
#endif

/* What the child tells the parent, in memory that both see. */
struct report {
  int at, done;
  char name[256], complaint[512];
  bool opened[];
};

/* ---- in the child ---- */

static void use_tokenizer(const struct td_tokenizer *tokenizer) {
  static const char text[] = "the  <|im_end|> caf\xc3\xa9 \xe2\x96\x81 \xff 123\n";
  static const struct td_chat_message talk[] = {{"system", "s"}, {"user", "hi"}, {"assistant", "yo"}, {"user", "?"}};
  int32_t *ids;
  int64_t count;
  char *chat;
  if (td_tokenizer_chat(tokenizer, talk, 4, &chat) == TD_OK) free(chat);
  if (td_tokenizer_encode(tokenizer, text, sizeof text - 1, true, &ids, &count)) return;
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t bytes;
    if (td_tokenizer_piece(tokenizer, ids[i], &piece, &bytes)) abort();
  }
  free(ids);
}

static void use_model(const struct td_model *model) {
  struct td_graph *graph;
  struct td_op_cost cost;
  td_model_digest(model);
  if (td_graph_build(model, &graph) == TD_OK) {
    for (int32_t i = 0; i < graph->op_count; i++) td_op_cost(graph, &graph->ops[i], TD_F16, &cost);
    td_graph_free(graph);
  }
  if (td_model_tokenizer(model)) use_tokenizer(td_model_tokenizer(model));
}

static bool open_one(const char *path, struct report *report) {
  struct td_model *model;
  if (td_model_open(path, &model) == TD_OK) {
    use_model(model);
    td_model_close(model);
    return true;
  }
  const char *text = td_error_text();
  if (!*text || strchr(text, '\n') || strncmp(text, path, strlen(path)) != 0) {
    snprintf(report->complaint, sizeof report->complaint, "error text \"%.400s\"", text);
  }
  return false;
}

/* The kernel ends the process that needs longer. */
static void set_deadline(int seconds) {
  struct itimerval timer = {.it_value = {.tv_sec = seconds}};
  setitimer(ITIMER_PROF, &timer, NULL);
  alarm(seconds ? PATIENCE_MAX : 0);
}

static bool is_too_much(long peak_kilobytes, size_t file_bytes) {
  return !sanitized && (size_t)peak_kilobytes * 1024 > 2 * file_bytes + 100 * MEGABYTE;
}

static void watch(size_t file_bytes) {
  struct rlimit space = {2 * file_bytes + 400 * MEGABYTE, RLIM_INFINITY}, core = {0, 0};
  if (!sanitized) setrlimit(RLIMIT_AS, &space);
  setrlimit(RLIMIT_CORE, &core);
}

static void check_memory(size_t file_bytes, struct report *report) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  if (!is_too_much(usage.ru_maxrss, file_bytes)) return;
  snprintf(report->complaint, sizeof report->complaint, "%ld KiB of memory", usage.ru_maxrss);
}

static void run_child(const char *path, int count, size_t file_bytes, victim_make *make, void *context,
                      struct report *report) {
  watch(file_bytes);
  for (report->at = 0; report->at < count && !*report->complaint; report->at++) {
    make(context, report->at, report->name, sizeof report->name);
    set_deadline(SECONDS_MAX);
    report->opened[report->at] = open_one(path, report);
    set_deadline(0);
    check_memory(file_bytes, report);
  }
  report->done = *report->complaint == 0;
  _exit(0); /* no atexit of the parent's */
}

/* ---- in the parent ---- */

int victim_open_all(const char *path, int count, size_t file_bytes, victim_make *make, void *context, bool *opened) {
  size_t bytes = sizeof(struct report) + (size_t)count;
  struct report *report = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  int status, total = 0;
  assert_true(report != MAP_FAILED);
  fflush(NULL);
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) run_child(path, count, file_bytes, make, context, report);
  assert_int_equal(waitpid(child, &status, 0), child);
  if (!report->done || !WIFEXITED(status)) {
    fail_msg("case %d, %s: %s (wait status %d)", report->at, report->name,
             *report->complaint ? report->complaint : "crashed, or took over 10 s", status);
  }
  for (int i = 0; i < count; i++) {
    total += report->opened[i];
    if (opened) opened[i] = report->opened[i];
  }
  munmap(report, bytes);
  return total;
}

static void exec_eval(const char *path, const char *ids, int out) {
  int null = open("/dev/null", O_RDWR);
  if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(out, 2) < 0) _exit(99);
  set_deadline(SECONDS_MAX);
  execl(TANDEM_PROGRAM, TANDEM_PROGRAM, "eval", path, "--ids", ids, "--device", "cpu", (char *)NULL);
  _exit(99);
}

void victim_eval(const char *path, const char *ids, size_t file_bytes, const char *name) {
  int ends[2], status;
  char text[4096];
  struct rusage usage;
  size_t used = 0;
  assert_int_equal(pipe(ends), 0);
  pid_t child = fork();
  assert_true(child >= 0);
  if (!child) exec_eval(path, ids, ends[1]);
  close(ends[1]);
  for (ssize_t got; used < sizeof text - 1 && (got = read(ends[0], text + used, sizeof text - 1 - used)) > 0;) {
    used += (size_t)got;
  }
  close(ends[0]);
  text[used] = 0;
  assert_int_equal(wait4(child, &status, 0, &usage), child);
  int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  const char *end = strchr(text, '\n');
  bool one_line = used && end && !end[1];
  if (code > 2 || (code && !one_line)) fail_msg("eval of %s: exit %d, \"%s\"", name, code, text);
  if (is_too_much(usage.ru_maxrss, file_bytes)) fail_msg("eval of %s: %ld KiB of memory", name, usage.ru_maxrss);
}
