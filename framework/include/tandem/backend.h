/* SPDX-License-Identifier: Apache-2.0
 *
 * The contract between the framework and a backend: two tables. Read this, then backends/template/template.c.
 *
 * A BACKEND is code (cpu, opencl, ...). A DEVICE is one opened instance, described by an optional device file. To add
 * a backend: copy backends/template to backends/NAME, rename, build, `tandem conform NAME`. Nothing else is edited.
 *
 * Time line. Each device has one in-order queue with a monotone 64-bit counter. Every write, read, op and run call (and
 * kv_export, kv_import) is the next value of that counter (the framework counts, see td_device.submitted). Calls may
 * return before the work is done; sync(v) returns when everything up to value v is. A synchronous backend does the work
 * in the call and its sync does nothing.
 *
 * Threads. A backend may assume that one thread at a time calls a device, not always the same one: a device may be
 * opened on one thread, run on another and closed on a third. State of a thread (a current context) is set per call.
 *
 * Exactness. A backend with .exact = true promises: each output row of an operator depends on that row's inputs alone,
 * bit for bit, whatever the batch, the number of rows, threads or calls. That is what makes prefill on one device
 * and decode on another of the same backend equal to a run on one device, to the bit.
 *
 * Conformance is per operator against a double-precision reference; bounds are in tests/conformance.
 */
#ifndef TANDEM_BACKEND_H
#define TANDEM_BACKEND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tandem/graph.h"
#include "tandem/kv.h"
#include "tandem/status.h"

struct td_device;
struct td_device_params; /* a parsed device file, tandem/devices.h */
struct td_plan;          /* opaque to the framework: what a device's `plan` made */
struct td_price;         /* tandem/cost.h */
struct td_lpu_choice;    /* tandem/lpu.h */

/* Device memory. Each backend defines its own struct td_buffer. */
struct td_buffer;
enum td_buffer_use { TD_USE_WEIGHT, TD_USE_KV, TD_USE_ACTIVATION };

/* A dense row-major matrix in a buffer. offset is in bytes, a multiple of 64 but for conformance cases that say so. */
struct td_view {
  struct td_buffer *buffer; /* NULL: absent */
  uint64_t offset;
  enum td_dtype dtype;
  int64_t rows, cols;
};

/* One sequence's share of a step. Its rows of the batch are first_row .. first_row + tokens - 1, at positions
 * past .. past + tokens - 1; position p lives in KV block blocks[p / block_tokens], slot p % block_tokens. */
struct td_seq {
  uint64_t request;
  int64_t past, tokens, first_row;
  const int32_t *blocks;
  int32_t block_count;
  bool logits; /* wants the logits of its last row; of every row if td_batch.all_logits */
};

/* One step's batch, in host memory, valid until the device has synced past the step. */
struct td_batch {
  int64_t rows;              /* T: the sum of tokens */
  const int32_t *ids;        /* [T] token ids; NULL in a slice without embedding */
  const int32_t *positions;  /* [T] */
  const struct td_seq *seqs; /* [seq_count], rows ascending and gapless */
  int32_t seq_count;
  const int32_t *logit_rows; /* [logit_count] rows whose logits are wanted, ascending */
  int64_t logit_count;       /* L */
  bool all_logits;
};

/* One operator with its operands resolved. Shapes follow enum td_op_kind with T and L filled in. out never overlaps an
 * input, but for ROPE, ACTIVATION and ADD, where out may be in[0].
 *
 * LPU_RUN: views of one row of bytes, given as TD_F32 (cols = bytes / 4); there is no batch. The code and the step are
 * those of td_lpu_lower and td_lpu_code_step (tandem/lpu_host.h): the caller vouches for every index in them. The
 * workspace begins with struct td_lpu_code_state, which says what stopped the run, if anything. SRAM holds afterwards,
 * bit for bit, what td_lpu_execute would leave. The whole step is one call: the host has no part in it. */
struct td_op_call {
  const struct td_op *op;
  struct td_view in[TD_OP_INPUTS];
  struct td_view out;
  struct td_view weight;
  struct td_kv_view kv; /* KV_APPEND, ATTENTION: the layer's cache */
  const struct td_batch *batch;
};

/* What `supports` is asked: an operator, its weight's dtype (TD_F32 if none) and the KV dtype. */
struct td_op_query {
  const struct td_op *op;
  enum td_dtype weight_dtype, kv_dtype;
};

/* Every device starts with this; a backend's own struct has it as first member. The framework fills it after open. */
struct td_device {
  const struct td_device_table *table;
  const struct td_backend *backend;
  int32_t index;                         /* N of "cpu:N" */
  const struct td_device_params *params; /* the device file; NULL if none was given. Borrowed */
  uint64_t submitted;                    /* the time line's last value handed out */
  struct td_device_books *books;         /* the framework's own: the sizes of the buffers handed out */
};

/* What a plan may rely on until plan_free: where the slice's weights and caches live. */
struct td_plan_bindings {
  const struct td_view *weights; /* [graph->weight_count]; buffer NULL: not of this slice */
  const struct td_kv_view *kv;   /* [graph->shape.layers]; k NULL: not of this slice */
};

/* What a chip can give, as `tandem bench` measures it. */
enum td_ceiling {
  TD_CEILING_READ,     /* bytes/s of reading memory much larger than any cache */
  TD_CEILING_TRIAD,    /* bytes/s of a = b + s * c over such memory: 2 reads and 1 write counted */
  TD_CEILING_GEMM_F32, /* flop/s of a large float32 matrix product */
  TD_CEILING_GEMM_F16, /* the same in f16 or bf16, whichever is faster, with float32 sums */
  TD_CEILING_COUNT
};

struct td_device_table {
  size_t size; /* sizeof(struct td_device_table): entries beyond an older table's size count as absent */

  /* -- required -- */
  void (*close)(struct td_device *device);
  /* Zeroed memory of `bytes` > 0 bytes. TD_EXHAUSTED with found and wanted when it does not fit. */
  td_status (*alloc)(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out);
  void (*free)(struct td_device *device, struct td_buffer *buffer);
  /* Host to device and back. [offset, offset + bytes) lies inside the buffer (the framework checked). `src` may be
   * reused when write returns; `dst` is filled when the time line has passed this call. */
  td_status (*write)(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                     uint64_t bytes);
  td_status (*read)(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes);
  /* Enqueues one operator. Returns TD_UNSUPPORTED for what `supports` refuses. */
  td_status (*op)(struct td_device *device, const struct td_op_call *call);
  /* Waits until the time line has reached `value`; reports the first failure of the work up to there. */
  td_status (*sync)(struct td_device *device, uint64_t value);

  /* -- optional: NULL takes the framework's default -- */
  /* TD_OK, or TD_UNSUPPORTED with the reason in the error text. Default: everything but LPU_RUN is supported; a
   * backend's own entry has to refuse that, too, if it does not run it. */
  td_status (*supports)(struct td_device *device, const struct td_op_query *query);
  /* Compiles a slice once, then runs it per step; live-ins and live-outs are in the order of td_slice_ops. Default:
   * td_runner interprets the slice with `op`. */
  td_status (*plan)(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                    const struct td_plan_bindings *bindings, struct td_plan **out_plan);
  /* layer_values, NULL: not asked; else [layers of the slice]: the value of the time line that is reached when each
   * real layer of the slice is done, ascending. A run that tells layers apart takes further values by adding to
   * device->submitted; one that does not gives its own value for every layer. */
  td_status (*run)(struct td_device *device, struct td_plan *plan, const struct td_batch *batch,
                   struct td_view *live_in, struct td_view *live_out, uint64_t *layer_values);
  void (*plan_free)(struct td_device *device, struct td_plan *plan);
  /* What a step costs without running it. layer_done_ps, NULL: not asked; else [layers of the slice]: when each real
   * layer of the slice is done, picoseconds from the step's start. Default: td_price_roofline and td_price_milestones
   * on the device file (tandem/cost.h). */
  td_status (*price)(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                     enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                     struct td_price *out_price);
  /* Copies token positions of one layer out of (into) the cache, in canonical order, K then V. When export returns, k
   * and v are filled; it may overtake what is queued but for the work that wrote these positions, which is done: so
   * layers leave while a run goes on. When import returns, k and v may be reused. Default: read and write of the
   * td_kv_view's buffers, block by block, in the queue's order. */
  td_status (*kv_export)(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                         void *v);
  td_status (*kv_import)(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                         const void *k, const void *v);
  /* Told that positions from seq->past on are dropped. Default: nothing, old values are never read again. */
  td_status (*kv_truncate)(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq);
  /* Joules that the device has used since some fixed moment, from its own counter (work in flight included; call sync
   * before to bound it). NaN: it has none. Default: NaN. */
  double (*energy)(struct td_device *device);
  /* The device's own clock, picoseconds, for devices whose time is not the wall's. Default: td_now_ps. */
  int64_t (*now)(struct td_device *device);
  /* Measures one sample of a ceiling by the best means there is (own kernels, the vendor's BLAS), warm, in about a
   * tenth of a second; *out_how: static text naming the means ("cuBLASLt bf16 8192^3"). TD_UNIMPLEMENTED for one it
   * does not measure. Default: `tandem bench` measures devices of the host's own processors by host threads and
   * OpenBLAS, others by their ADD and MATMUL. */
  td_status (*ceiling)(struct td_device *device, enum td_ceiling which, double *out_rate, const char **out_how);
  /* Watts of all of the device while it is at no step; asked once it has a plan or has priced a step, as the size of
   * some devices follows from the model. NaN: not known. Default: power_idle of the device file, NaN without. */
  double (*idle_watts)(struct td_device *device);
};

/* A conformance case this backend does not pass, with the reason shown in the support table. `pattern` is a
 * fnmatch(3) pattern over case names. The list ends with a NULL pattern. */
struct td_conform_note {
  const char *pattern, *reason;
};

/* How a device is wanted. */
struct td_device_options {
  const struct td_device_params *params; /* the device file, borrowed while open; NULL: none */
  int32_t threads;                       /* > 0: this many host threads */
  bool inexact; /* its fastest paths may be used even where they break .exact (vendor BLAS, tensor cores); a backend
                   without any runs as always */
  const struct td_lpu_choice *lpu; /* of backend lpu, tandem/lpu.h, read by open only; NULL: its defaults */
};

struct td_backend {
  size_t size;         /* sizeof(struct td_backend) */
  const char *name;    /* = the folder's name */
  const char *summary; /* one line for `tandem devices` */
  bool executes;       /* false: op always refuses and steps are only priced ("modelled") */
  bool emulates;       /* executes, and its time is counted (cycles), not measured */
  bool exact;          /* see the top */
  /* How many devices are here; 0 with the reason in *out_reason (static text) when none. */
  int32_t (*probe)(const char **out_reason);
  /* Opens device `index`. The result's first member is a td_device whose `table` is set; the framework fills the rest.
   */
  td_status (*open)(int32_t index, const struct td_device_options *options, struct td_device **out);
  /* The device's name as people know it ("NVIDIA H200"), static text; default: none. "NAME:TEXT" opens the one device
   * whose name contains TEXT. */
  const char *(*device_name)(int32_t index);
  /* What `probe` numbers are different chips: replicas of a pool take the devices N, N + 1, ... Default (false): every
   * index is the same host. */
  bool numbered;
  /* Whether device `index` computes on the processors of this machine (OpenCL on a CPU): replicas then share it, and
   * its ceilings are the host's. Default: those of backends that execute and are not numbered do. */
  bool (*on_host)(int32_t index);
  /* A device file without which this backend opens nothing: the conformance suite opens it with this one. NULL: none is
   * needed. */
  const char *conform_device;
  const struct td_conform_note *unsupported;      /* NULL: none */
  const struct td_conform_note *expected_to_fail; /* NULL: none; an unexpected pass is an error */
};

/* The registry, generated by CMake from the folders of backends/; ends with NULL. Defined in the program, not in the
 * framework. */
extern const struct td_backend *const td_backends[];

#endif
