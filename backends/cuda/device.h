/* SPDX-License-Identifier: Apache-2.0
 *
 * The cuda backend's device, as its files share it. What each file does stands at its top; the order to read them in is
 * in README.md.
 */
#ifndef CUDA_DEVICE_H
#define CUDA_DEVICE_H

#include "driver.h"
#include "tandem/backend.h"
#include "tandem/base.h"

/* ---- device memory ---- */

struct td_buffer {
  cuda_ptr address;
  uint64_t bytes;
  uint64_t written; /* the time line's value of the last call that wrote here */
};

/* ---- the time line (timeline.c) ---- */

#define CUDA_MARKS 256

/* Events behind values of the time line, a ring: a mark says that everything up to `value` was queued before it. */
struct cuda_timeline {
  cuda_event events[CUDA_MARKS];
  uint64_t values[CUDA_MARKS]; /* ascending from `next` on, 0: not used yet */
  int32_t next;
  uint64_t reached; /* known to be done */
};

/* ---- pinned memory between host and device (staging.c) ---- */

/* On its way up: two halves, one fills while the other's copies run. */
struct cuda_upload {
  unsigned char *base;
  uint64_t used; /* of the current half */
  int32_t half;
  bool pending[2];
  cuda_event copied[2];
};
/* On its way down: what each read still has to hand over when the time line has passed it. */
struct cuda_download {
  unsigned char *base;
  uint64_t used;
  struct cuda_read {
    void *to;
    const unsigned char *from;
    uint64_t bytes, value;
  } * reads;
  size_t first, count, capacity;
};

/* ---- kernels (modules.c) ---- */

#define CUDA_DTYPE_SLOTS 64

struct cuda_entry {
  cuda_function function;
  uint32_t shared; /* dynamic shared memory that was asked for */
};
struct cuda_modules {
  cuda_module *loaded; /* [images]; NULL: not loaded yet */
  struct cuda_entry kernels[CUDA_KERNEL_COUNT];
  struct cuda_entry families[CUDA_FAMILY_COUNT][CUDA_DTYPE_SLOTS];
};

/* ---- the batch in device memory (batch.c) ---- */

/* What the kernels read of a td_batch: one block of int32, laid out from its counts alone, so that equal counts have
 * equal addresses (captured graphs rely on it). */
struct cuda_metadata {
  cuda_ptr address;
  uint64_t capacity;         /* bytes */
  int32_t *words, *uploaded; /* the block being made, and the one that the device has */
  size_t words_capacity, uploaded_capacity, uploaded_count;
};
/* One batch, uploaded: addresses, and how attention is to be launched. */
struct cuda_step {
  struct cuda_batch batch;
  cuda_ptr decode_rows, tiles, fast_tiles;
  int32_t decode_count, tile_count, fast_count; /* fast_count: tiles for attention_fast, 0 on exact devices */
  int32_t max_splits;                           /* of the decode rows, rounded up to a power of two */
};

/* ---- the device ---- */

struct cuda_blas;

struct cuda_device {
  struct td_device base;
  const struct cuda_driver *driver;
  const struct cuda_chip *chip;
  int32_t number; /* N of "cuda:N" */
  cuda_context context;
  cuda_stream compute, copy;
  struct cuda_timeline timeline;
  struct cuda_upload upload;
  struct cuda_download download;
  unsigned char *export_staging; /* CUDA_STAGING bytes, pinned */
  struct cuda_modules modules;
  struct cuda_metadata metadata;
  cuda_ptr scratch; /* one operator's */
  uint64_t scratch_bytes;
  uint64_t addresses;     /* counts moves of metadata and scratch: graphs captured before hold old addresses */
  struct cuda_blas *blas; /* NULL: exact */
  char lost[512];         /* not empty: the context is gone, and this was the first error */
};

static inline struct cuda_device *cuda_of(struct td_device *device) {
  return (struct cuda_device *)device;
}
static inline cuda_ptr cuda_address(const struct td_view *view) {
  return view->buffer ? view->buffer->address + view->offset : 0;
}

/* ---- errors and the context (errors.c) ---- */

/* TD_OK, or the error of a driver call: `format` says what was asked. A lost context is remembered, and every later
 * call repeats its text. */
td_status cuda_check(struct cuda_device *device, int result, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
#define CUDA_TRY(device, call, ...) TD_TRY(cuda_check(device, (device)->driver->call, __VA_ARGS__))
/* To be called first in every entry of the table: this thread's context is the device's; TD_UNAVAILABLE if lost. */
td_status cuda_enter(struct cuda_device *device);
/* The same where something is freed: also tried on a lost device, which may then refuse everything. */
void cuda_enter_to_free(struct cuda_device *device);

/* ---- timeline.c ---- */

td_status cuda_timeline_open(struct cuda_device *device);
void cuda_timeline_close(struct cuda_device *device);
/* Everything queued so far is done when the time line reaches `value`. */
td_status cuda_mark(struct cuda_device *device, uint64_t value);
/* Waits on the host. */
td_status cuda_wait(struct cuda_device *device, uint64_t value);
/* Lets the copy stream wait for `value`. */
td_status cuda_copy_after(struct cuda_device *device, uint64_t value);

/* ---- memory.c, staging.c ---- */

td_status cuda_alloc(struct cuda_device *device, uint64_t bytes, const char *what, cuda_ptr *out_address);
void cuda_release(struct cuda_device *device, cuda_ptr address); /* 0 is fine; waits for the queue */
/* Scratch of one operator, `bytes` at least; valid until the next call of this. */
td_status cuda_scratch(struct cuda_device *device, uint64_t bytes, cuda_ptr *out_address);

#define CUDA_STAGING (8u << 20)
td_status cuda_staging_open(struct cuda_device *device);
void cuda_staging_close(struct cuda_device *device);
/* src may be reused on return; the copy is in the queue. */
td_status cuda_up(struct cuda_device *device, cuda_ptr to, const void *src, uint64_t bytes);
/* dst is filled once the time line has passed `value`. */
td_status cuda_down(struct cuda_device *device, cuda_ptr from, void *dst, uint64_t bytes, uint64_t value);
/* Hands over what reads up to `value` brought; the device has done them. */
void cuda_deliver(struct cuda_device *device, uint64_t value);
/* After a failure nobody waits for them any more. */
void cuda_forget_reads(struct cuda_device *device);

/* ---- modules.c ---- */

void cuda_modules_close(struct cuda_device *device);
td_status cuda_launch(struct cuda_device *device, enum cuda_kernel kernel, const struct cuda_grid *grid,
                      const void *args);
td_status cuda_launch_family(struct cuda_device *device, enum cuda_family family, enum td_dtype dtype,
                             const struct cuda_grid *grid, const void *args);

/* ---- batch.c ---- */

/* Queues the batch's way up, unless the device has just this one. `sequences`: with the sequences and block tables. */
td_status cuda_batch_upload(struct cuda_device *device, const struct td_batch *batch, bool sequences,
                            struct cuda_step *out_step);
void cuda_batch_close(struct cuda_device *device);

/* ---- kv.c ---- */

td_status cuda_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                         void *v);
td_status cuda_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                         const void *k, const void *v);

/* ---- operators.c ---- */

td_status cuda_op(struct td_device *device, const struct td_op_call *call);
td_status cuda_supports(struct td_device *device, const struct td_op_query *query);

/* ---- plan.c, run.c ---- */

td_status cuda_plan_make(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                         const struct td_plan_bindings *bindings, struct td_plan **out_plan);
td_status cuda_plan_run(struct td_device *device, struct td_plan *plan, const struct td_batch *batch,
                        struct td_view *live_in, struct td_view *live_out, uint64_t *layer_values);
void cuda_plan_free(struct td_device *device, struct td_plan *plan);

#endif
