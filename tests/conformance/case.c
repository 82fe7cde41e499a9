/* SPDX-License-Identifier: Apache-2.0
 *
 * What cases use: the list, what a case holds, comparisons.
 */
#include <inttypes.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "suite.h"
#include "tandem/base.h"

/* ---- the list ---- */

static struct conform_case *next_case(struct conform_list *list, const char *format, va_list args) {
  if (list->failed) return NULL;
  void *cases = list->cases;
  list->failed = td_grow(&cases, &list->capacity, list->count + 1, sizeof *list->cases);
  if (list->failed) return NULL;
  list->cases = cases;
  struct conform_case *test = &list->cases[list->count];
  *test = (struct conform_case){.column = TD_F32};
  int length = vsnprintf(test->name, sizeof test->name, format, args);
  if (length < 0 || (size_t)length >= sizeof test->name) {
    list->failed = td_fail(TD_INTERNAL, "conformance case %s...: its name is too long", test->name);
    return NULL;
  }
  list->count++;
  return test;
}

void conform_add(struct conform_list *list, td_status (*run)(struct conform_run *, const struct conform_case *),
                 const struct conform_params *params, const char *format, ...) {
  va_list args;
  va_start(args, format);
  struct conform_case *test = next_case(list, format, args);
  va_end(args);
  if (!test) return;
  test->run = run;
  test->p = *params;
}

void conform_add_operator(struct conform_list *list,
                          td_status (*run)(struct conform_run *, const struct conform_case *),
                          const struct conform_params *params, enum td_dtype column, const char *format, ...) {
  va_list args;
  va_start(args, format);
  struct conform_case *test = next_case(list, format, args);
  va_end(args);
  if (!test) return;
  test->run = run;
  test->p = *params;
  test->column = column;
  test->is_operator = true;
}

td_status conform_list_all(struct conform_list *list) {
  conform_list_operators(list);
  conform_list_experts(list);
  conform_list_exact(list);
  conform_list_kv(list);
  conform_list_memory(list);
  conform_list_price(list);
  conform_list_step(list);
  conform_list_lpu(list);
  return list->failed;
}

/* ---- what a case holds ---- */

td_status conform_memory(struct conform_run *run, size_t count, size_t size, void *out_pointer) {
  if (run->memory_count == CONFORM_BUFFERS) return td_fail(TD_INTERNAL, "a case with too many allocations");
  void *memory;
  TD_TRY(td_alloc(count ? count : 1, size, &memory));
  run->memory[run->memory_count++] = memory;
  memcpy(out_pointer, &memory, sizeof memory); /* any object pointer type */
  return TD_OK;
}

td_status conform_buffer(struct conform_run *run, struct td_device *device, uint64_t bytes, struct td_buffer **out) {
  if (run->buffer_count == CONFORM_BUFFERS) return td_fail(TD_INTERNAL, "a case with too many buffers");
  struct td_buffer *buffer;
  TD_TRY(td_device_alloc(device, bytes, TD_USE_ACTIVATION, &buffer));
  run->buffers[run->buffer_count++] = (struct owned){device, buffer};
  *out = buffer;
  return TD_OK;
}

td_status conform_open(struct conform_run *run, int32_t threads, struct td_device **out_device) {
  if (run->device_count == CONFORM_DEVICES) return td_fail(TD_INTERNAL, "a case with too many devices");
  struct td_device *device;
  TD_TRY(
      td_device_open(run->spec, &(struct td_device_options){.params = run->open_params, .threads = threads}, &device));
  run->devices[run->device_count++] = device;
  *out_device = device;
  return TD_OK;
}

td_status conform_threaded(struct conform_run *run, int32_t threads, struct td_device **out_device) {
  struct td_device **device = &run->threaded[threads - 1];
  struct td_device_options options = {.params = run->open_params, .threads = threads};
  if (!*device) TD_TRY(td_device_open(run->spec, &options, device));
  *out_device = *device;
  return TD_OK;
}

void conform_release(struct conform_run *run) {
  while (run->buffer_count) {
    struct owned *owned = &run->buffers[--run->buffer_count];
    td_device_free(owned->device, owned->buffer);
  }
  while (run->memory_count) free(run->memory[--run->memory_count]);
  while (run->device_count) td_device_close(run->devices[--run->device_count]);
}

td_status conform_supported(struct conform_run *run, const struct td_op *op, enum td_dtype weight, enum td_dtype kv) {
  const struct td_op_query query = {.op = op, .weight_dtype = weight, .kv_dtype = kv};
  td_status status = td_device_supports(run->device, &query);
  if (status == TD_UNSUPPORTED) run->refused = true;
  return status;
}

/* ---- comparisons ---- */

td_status conform_compare(struct conform_run *run, const float *got, const double *want, const double *bound,
                          int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows * cols; i++) {
    double error = fabs((double)got[i] - want[i]);
    if (!(error <= bound[i])) {
      return CONFORM_FAIL("row %" PRId64 ", column %" PRId64 ": found %.9g, expected %.9g within %.2g", i / cols,
                          i % cols, (double)got[i], want[i], bound[i]);
    }
    if (bound[i] > 0.0 && error / bound[i] > run->worst) run->worst = error / bound[i];
  }
  return TD_OK;
}

td_status conform_same(const char *what, const float *got, const float *want, int64_t rows, int64_t cols) {
  for (int64_t i = 0; i < rows * cols; i++) {
    if (memcmp(&got[i], &want[i], sizeof *got) == 0) continue;
    return CONFORM_FAIL("%s: row %" PRId64 ", column %" PRId64 ": found %a, expected the same bits as %a", what,
                        i / cols, i % cols, (double)got[i], (double)want[i]);
  }
  return TD_OK;
}
