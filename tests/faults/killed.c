/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes that are killed: the trace keeps all but its last second, and a lost rank ends the job.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

#include "../support.h"
#include "faults.h"
#include "harness.h"
#include "tandem/base.h"

/* Hundreds of requests on the slow backend: minutes of work. */
static const char *endless_config(const char *backend, int ranks) {
  static char workload[64 * 1024];
  size_t used = (size_t)snprintf(workload, sizeof workload, "max_tokens = 60; stop_at_end = false; requests = (");
  for (int i = 0; i < 600; i++) {
    used +=
        (size_t)snprintf(workload + used, sizeof workload - used, "%s{prompt_tokens=%d;}", i ? "," : "", 40 + i % 50);
  }
  snprintf(workload + used, sizeof workload - used, ");");
  static char pools[512];
  snprintf(pools, sizeof pools,
           "{name=\"p\"; role=\"prefill\"; backend=\"%s\";},{name=\"d\"; role=\"decode\"; backend=\"%s\";}", backend,
           backend);
  struct setup setup = {.policy = "disaggregated",
                        .pools = pools,
                        .workload = workload,
                        .chunk = 16,
                        .ranks = ranks,
                        .extra = "batch_sequences = 8; batch_tokens = 64;"};
  return harness_config("endless", &setup);
}

static pid_t start(const char *command, const char *log) {
  pid_t pid = fork();
  assert_true(pid >= 0);
  if (pid) return pid;
  int file = open(log, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  dup2(file, STDOUT_FILENO);
  dup2(file, STDERR_FILENO);
  execl("/bin/sh", "sh", "-c", command, (char *)NULL);
  _exit(127);
}

static void wait_for_file(const char *path, double seconds) {
  int64_t until = td_now_ps() + (int64_t)(seconds * 1e12);
  while (access(path, F_OK)) {
    if (td_now_ps() > until) fail_msg("%s did not appear", path);
    td_sleep_ps(TD_PS_PER_SECOND / 1000);
  }
}

/* Rows are whole, in order, and lack at most the last second. */
static void check_part(const char *part, double ran_s) {
  struct td_trace *trace = harness_load(part);
  assert_false(trace->complete);
  int64_t last = 0;
  uint64_t next_index[2] = {0};
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) {
    const struct td_row_step *step = &trace->steps[i];
    assert_int_equal(step->index, next_index[step->device]++);
    if (step->start + step->duration > last) last = step->start + step->duration;
  }
  double slack = 0.35; /* from the file's appearance to the run's time 0, and the write itself */
  if (td_seconds(last) < ran_s - 1.0 - slack) {
    fail_msg("killed after %.3f s, but the last row is of %.3f s", ran_s, td_seconds(last));
  }
  td_trace_free(trace);
}

void live_run_sigkill(void **state) {
  (void)state;
  char command[8400], part[4200], name[4200], log[4200];
  snprintf(name, sizeof name, "%s/killed.h5", harness_scratch());
  snprintf(part, sizeof part, "%s/killed.h5.part", harness_scratch());
  snprintf(log, sizeof log, "%s/killed.log", harness_scratch());
  snprintf(command, sizeof command, "exec %s run %s -o %s", TANDEM_PROGRAM, endless_config("template", 1), name);
  for (uint64_t round = 0; round < 10; round++) {
    unlink(part);
    double after = 0.1 + 2.4 * td_random_unit(2026, 0, round);
    pid_t pid = start(command, log);
    wait_for_file(part, 20);
    int64_t begun = td_now_ps();
    td_sleep_ps((int64_t)(after * 1e12));
    double ran = td_seconds(td_now_ps() - begun);
    kill(pid, SIGKILL);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (!WIFSIGNALED(status)) fail_msg("the run ended by itself with status %d, see %s", status, log);
    assert_int_not_equal(access(name, F_OK), 0);
    check_part(part, ran);
  }
}

/* A file of /proc/PID: strings one after another. True if one of them holds `wanted`. */
static bool proc_holds(pid_t pid, const char *name, const char *wanted) {
  char path[64], text[65536];
  snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
  int file = open(path, O_RDONLY);
  ssize_t bytes = file < 0 ? 0 : read(file, text, sizeof text - 1);
  if (file >= 0) close(file);
  bool found = false;
  for (ssize_t at = 0; at < bytes && !found; at += (ssize_t)strlen(text + at) + 1) {
    text[bytes] = 0;
    found = strstr(text + at, wanted) != NULL;
  }
  return found;
}

/* The process of rank `rank` of the run that writes into our scratch folder: other tests run ranks beside this one. */
static pid_t find_rank(int rank) {
  char wanted[64];
  snprintf(wanted, sizeof wanted, "OMPI_COMM_WORLD_RANK=%d", rank);
  DIR *proc = opendir("/proc");
  assert_non_null(proc);
  pid_t found = 0;
  for (struct dirent *entry; !found && (entry = readdir(proc));) {
    pid_t pid = (pid_t)atoi(entry->d_name);
    if (pid <= 0 || !proc_holds(pid, "cmdline", harness_scratch()) || !proc_holds(pid, "environ", wanted)) continue;
    found = pid;
  }
  closedir(proc);
  return found;
}

void mpi_killed_rank(void **state) {
  (void)state;
#ifndef TANDEM_HAVE_MPI
  test_skip_all("built without MPI");
#endif
  char command[8600], part[4200], log[4200], text[16384] = "";
  snprintf(part, sizeof part, "%s/rank.h5.part", harness_scratch());
  snprintf(log, sizeof log, "%s/rank.log", harness_scratch());
  snprintf(command, sizeof command, "exec %s -np 2 %s run %s -o %s/rank.h5", test_source("scripts/mpirun"),
           TANDEM_PROGRAM, endless_config("template", 2), harness_scratch());
  pid_t launcher = start(command, log);
  wait_for_file(part, 30);
  td_sleep_ps(TD_PS_PER_SECOND / 2);
  pid_t victim = find_rank(1);
  assert_true(victim > 0);
  int64_t killed = td_now_ps();
  kill(victim, SIGKILL);
  int status = 0;
  pid_t ended = 0;
  while (!ended && td_now_ps() - killed < 10 * TD_PS_PER_SECOND) {
    ended = waitpid(launcher, &status, WNOHANG);
    td_sleep_ps(TD_PS_PER_SECOND / 100);
  }
  if (!ended) {
    kill(launcher, SIGKILL);
    fail_msg("the job still runs 10 s after rank 1 was killed");
  }
  assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  FILE *file = fopen(log, "r");
  assert_non_null(file);
  text[fread(text, 1, sizeof text - 1, file)] = 0;
  fclose(file);
  if (!strstr(text, "rank 1")) fail_msg("the rank is not named in:\n%s", text);
  assert_int_equal(access(part, F_OK), 0);
}
