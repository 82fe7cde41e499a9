/* SPDX-License-Identifier: Apache-2.0
 *
 * Takes one device through the cases and turns statuses into verdicts.
 */
#include <fnmatch.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

const char *conform_verdict_name(enum conform_verdict verdict) {
  static const char *const names[CONFORM_VERDICTS] = {"passed", "failed", "unsupported", "expected_failure",
                                                      "unexpected_pass"};
  return names[verdict];
}

/* The first note whose pattern matches; NULL if none does. */
static const struct td_conform_note *find_note(const struct td_conform_note *notes, const char *name) {
  for (; notes && notes->pattern; notes++) {
    if (fnmatch(notes->pattern, name, 0) == 0) return notes;
  }
  return NULL;
}

/* A device that only prices may refuse anything that needs real bytes. */
static enum conform_verdict judge(const struct conform_run *run, td_status status, bool expected_to_fail) {
  if (status == TD_UNSUPPORTED && (run->refused || !run->backend->executes)) return CONFORM_UNSUPPORTED;
  if (expected_to_fail) return status ? CONFORM_EXPECTED_FAILURE : CONFORM_UNEXPECTED_PASS;
  return status ? CONFORM_FAILED : CONFORM_PASSED;
}

static void run_case(struct conform_run *run, const struct conform_case *test, conform_each each, void *context) {
  const struct td_conform_note *note = find_note(run->backend->unsupported, test->name);
  if (note) {
    each(context, test, CONFORM_UNSUPPORTED, note->reason, 0.0);
    return;
  }
  note = find_note(run->backend->expected_to_fail, test->name);
  run->refused = false;
  run->worst = 0.0;
  td_status status = test->run(run, test);
  char text[1024];
  snprintf(text, sizeof text, "%s", status ? td_error_text() : "");
  conform_release(run);
  enum conform_verdict verdict = judge(run, status, note != NULL);
  if (verdict == CONFORM_EXPECTED_FAILURE || verdict == CONFORM_UNEXPECTED_PASS) {
    snprintf(text, sizeof text, "%s", note->reason);
  }
  each(context, test, verdict, text, run->worst);
}

/* A note that no case matches is out of date: said, so that it gets removed. */
static void check_notes(const struct conform_list *list, const struct td_conform_note *notes, conform_each each,
                        void *context) {
  for (; notes && notes->pattern; notes++) {
    size_t i = 0;
    while (i < list->count && fnmatch(notes->pattern, list->cases[i].name, 0) != 0) i++;
    if (i < list->count) continue;
    struct conform_case stale = {.column = TD_F32};
    snprintf(stale.name, sizeof stale.name, "notes/%s", notes->pattern);
    each(context, &stale, CONFORM_FAILED, "the backend's list has a pattern that matches no case", 0.0);
  }
}

static td_status run_list(struct conform_run *run, const struct conform_list *list, const char *filter,
                          conform_each each, void *context) {
  size_t matched = 0;
  for (size_t i = 0; i < list->count; i++) {
    if (filter && fnmatch(filter, list->cases[i].name, 0) != 0) continue;
    run_case(run, &list->cases[i], each, context);
    matched++;
  }
  if (!matched) return td_fail(TD_USAGE, "--filter %s: no case has such a name; --list shows them", filter);
  if (filter) return TD_OK;
  check_notes(list, run->backend->unsupported, each, context);
  check_notes(list, run->backend->expected_to_fail, each, context);
  return TD_OK;
}

/* What the device is opened with: the file that its backend asks for; for one that cannot execute, a chip's. */
static td_status open_file(struct conform_run *run) {
  const struct td_backend *backend = run->backend;
  bool known = offsetof(struct td_backend, conform_device) + sizeof backend->conform_device <= backend->size;
  if (!known || !backend->conform_device) {
    run->open_params = backend->executes ? NULL : run->params;
    return TD_OK;
  }
  TD_TRY(td_device_params_open(backend->conform_device, &run->own_params));
  run->open_params = run->own_params;
  return TD_OK;
}

static void close_device(struct conform_run *run) {
  for (int i = 0; i < CONFORM_THREADED; i++) td_device_close(run->threaded[i]);
  td_device_close(run->device);
  td_device_params_close(run->own_params);
  td_device_params_close(run->params);
}

/* The file for prices may be missing; the pricing cases then fail and say so. */
static td_status open_device(struct conform_run *run) {
  int32_t index;
  TD_TRY(td_device_find(run->spec, &run->backend, &index));
  if (td_device_params_open("h100_sxm", &run->params)) run->params = NULL;
  TD_TRY(open_file(run));
  return td_device_open(run->spec, &(struct td_device_options){.params = run->open_params, .threads = run->threads},
                        &run->device);
}

td_status conform_run_cases(const char *spec, const char *filter, int32_t threads, conform_each each, void *context) {
  struct conform_list list = {0};
  struct conform_run *run;
  void *memory;
  TD_TRY(td_alloc(1, sizeof *run, &memory));
  run = memory;
  run->spec = spec;
  run->threads = threads > 0 ? threads : 1;
  td_status status = conform_list_all(&list);
  if (!status) status = open_device(run);
  if (!status) status = run_list(run, &list, filter, each, context);
  close_device(run);
  free(list.cases);
  free(run);
  return status;
}
