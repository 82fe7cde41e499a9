/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <stdarg.h>
#include <unistd.h>

#include "tandem/base.h"

void td_warn(const char *format, ...) {
  char line[1024];
  va_list args;
  va_start(args, format);
  vsnprintf(line, sizeof line, format, args);
  va_end(args);
  fprintf(stderr, "tandem: warning: %s\n", line);
}

void td_progress_begin(struct td_progress *progress, const char *what) {
  *progress = (struct td_progress){.what = what, .last_ps = td_now_ps()};
}

void td_progress_update(struct td_progress *progress, uint64_t done, uint64_t total) {
  int64_t now = td_now_ps();
  if (now - progress->last_ps < TD_PS_PER_SECOND / 10 || !isatty(STDERR_FILENO)) return;
  progress->last_ps = now;
  progress->shown = true;
  fprintf(stderr, "\r\033[K%s: %" PRIu64 " of %" PRIu64, progress->what, done, total);
  fflush(stderr);
}

void td_progress_end(struct td_progress *progress) {
  if (progress->shown) fputs("\r\033[K", stderr);
  progress->shown = false;
}
