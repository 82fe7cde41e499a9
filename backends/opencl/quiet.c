/* SPDX-License-Identifier: Apache-2.0 */
#include "quiet.h"

#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

void opencl_quiet_begin(struct opencl_quiet *quiet) {
  pthread_mutex_lock(&lock);
  fflush(stderr);
  quiet->kept = memfd_create("stderr", MFD_CLOEXEC);
  quiet->saved = quiet->kept < 0 ? -1 : dup(STDERR_FILENO);
  if (quiet->saved >= 0) dup2(quiet->kept, STDERR_FILENO);
}

static void copy(int from, int to) {
  char text[1024];
  ssize_t bytes;
  lseek(from, 0, SEEK_SET);
  while ((bytes = read(from, text, sizeof text)) > 0) {
    if (write(to, text, (size_t)bytes) != bytes) return;
  }
}

void opencl_quiet_end(struct opencl_quiet *quiet, bool show) {
  fflush(stderr);
  if (quiet->saved >= 0) {
    dup2(quiet->saved, STDERR_FILENO);
    close(quiet->saved);
    if (show) copy(quiet->kept, STDERR_FILENO);
  }
  if (quiet->kept >= 0) close(quiet->kept);
  pthread_mutex_unlock(&lock);
}
