/* SPDX-License-Identifier: Apache-2.0
 *
 * An opened OpenCL device: one context, an in-order queue that is the time line, a second queue for KV exports.
 */
#ifndef OPENCL_DEVICE_H
#define OPENCL_DEVICE_H

#include "platforms.h"
#include "tandem/backend.h"

/* ---- programs: one per topic and element type, built when a kernel of it is first wanted ---- */

enum opencl_topic { OPENCL_POINTWISE, OPENCL_CACHE, OPENCL_WEIGHT, OPENCL_LPU };
enum opencl_kernel {
  OPENCL_ADD,
  OPENCL_BIAS,
  OPENCL_ACTIVATE,
  OPENCL_SELECT,
  OPENCL_RMS_NORM,
  OPENCL_ROPE,
  OPENCL_ROUTE,
  OPENCL_ORDER_PAIRS,
  OPENCL_EXPERT_SUM,
  OPENCL_APPEND,
  OPENCL_ATTENTION,
  OPENCL_EMBED,
  OPENCL_MATMUL,
  OPENCL_FEW, /* GPU form only */
  OPENCL_LPU_RUN,
  OPENCL_KERNEL_COUNT
};
struct opencl_program {
  enum opencl_topic topic;
  enum td_dtype dtype; /* TD_F32 for POINTWISE */
  cl_program program;
  cl_kernel kernels[OPENCL_KERNEL_COUNT]; /* NULL until wanted */
};
#define OPENCL_PROGRAMS 24

/* ---- the time line ---- */

#define OPENCL_MARKS 128
struct opencl_mark {
  uint64_t value;
  cl_event event; /* of the value's last command */
};
/* A host copy of what a write had to send, kept until the queue has taken it. */
struct opencl_staged {
  struct opencl_staged *next;
  uint64_t value;
  unsigned char data[];
};

/* ---- a step's batch on the device, see batch.c ---- */

/* Device memory that grows. */
struct opencl_scratch {
  cl_mem memory;
  uint64_t bytes;
};
/* Where each part begins, in bytes. */
struct opencl_batch {
  bool sent; /* memory holds image */
  struct opencl_scratch memory;
  int32_t *image;
  size_t image_capacity, image_count;
  int32_t *next; /* being built */
  size_t next_capacity, next_count;
  uint64_t ids, positions, tables, logit_rows, tiles, blocks;
  int32_t tile_count;
};

/* Cosines and sines of a batch's rows for one kind of ROPE. */
struct opencl_turns {
  bool used;
  int32_t rope_dim;
  double theta, position_scale;
  struct td_view factors;  /* buffer NULL: none */
  uint64_t factors_writes; /* td_buffer.writes when they were read */
  double *speeds;          /* [rope_dim / 2] angle per position */
  bool fresh;              /* holds the present batch */
  struct opencl_scratch memory;
  float *image;
  size_t image_capacity;
};
#define OPENCL_TURNS 4

struct td_buffer {
  cl_mem memory;
  uint64_t bytes;
  uint64_t writes;   /* how often `write` changed it */
  uint64_t appended; /* the time line's value of the last KV_APPEND to it */
};

struct opencl_device {
  struct td_device base;
  const struct opencl_found *found;
  cl_device_id id; /* found->id, or a part of it */
  bool part;
  bool cpu_form, fma;
  cl_context context;
  cl_command_queue queue, exports;
  uint64_t memory, largest, used; /* bytes: of the device, of one buffer at most, of buffers now */

  struct opencl_program programs[OPENCL_PROGRAMS];
  int32_t program_count;

  struct opencl_mark marks[OPENCL_MARKS]; /* a ring, ascending */
  int32_t mark_first, mark_count;
  uint64_t reached; /* the time line's value that is known to be done */
  struct opencl_staged *staged;
  uint64_t staged_bytes;
  td_status failed; /* not TD_OK: lost, with the reason */
  char failure[512];

  struct opencl_batch batch;
  struct opencl_turns turns[OPENCL_TURNS];
  int32_t next_turns;
  struct opencl_scratch order; /* order_pairs' result */
  struct opencl_scratch row;   /* a weight row as float32 */
};

static inline struct opencl_device *opencl_of(struct td_device *device) {
  return (struct opencl_device *)device;
}

/* ---- device.c ---- */

td_status opencl_open(int32_t index, const struct td_device_options *options, struct td_device **out);

/* ---- timeline.c ---- */

/* TD_OK, or the failure that ended this device. Every entry asks first. */
td_status opencl_alive(const struct opencl_device *device);
/* Ends the device: `what` names the call, `error` is OpenCL's. Returns the failure. */
td_status opencl_lose(struct opencl_device *device, const char *what, cl_int error);
/* Remembers `event` as the end of the time line's present value. Takes the event over. */
td_status opencl_mark(struct opencl_device *device, cl_event event);
td_status opencl_sync(struct td_device *device, uint64_t value);
void opencl_drop_marks(struct opencl_device *device);
#define OPENCL_TRY(device, what, call)                                      \
  do {                                                                      \
    cl_int opencl_error_ = (call);                                          \
    if (opencl_error_) return opencl_lose((device), (what), opencl_error_); \
  } while (0)

/* ---- memory.c ---- */

td_status opencl_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out);
/* TD_EXHAUSTED if the device's memory is the host's, and the host has not so many bytes. */
td_status opencl_host_room(const struct opencl_device *device, uint64_t bytes);
void opencl_free(struct td_device *device, struct td_buffer *buffer);
td_status opencl_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                       uint64_t bytes);
td_status opencl_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst, uint64_t bytes);
/* Sends a copy of src, which may be reused at once. Marks nothing. */
td_status opencl_send(struct opencl_device *device, cl_mem memory, uint64_t offset, const void *src, uint64_t bytes,
                      cl_event *out_event);
/* Makes scratch at least so large; what it held is lost. */
td_status opencl_scratch(struct opencl_device *device, struct opencl_scratch *scratch, uint64_t bytes);
void opencl_free_staged(struct opencl_device *device, uint64_t value);

/* ---- kv.c ---- */

td_status opencl_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                           void *v);
td_status opencl_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                           const void *k, const void *v);

/* ---- programs.c ---- */

/* Sizes that kernels and host must agree on; the kernels get them by these names less OPENCL_. */
#define OPENCL_GROUP 64      /* GPU form: items of a work-group */
#define OPENCL_SHARE 1024    /* CPU form: elements of a dense operator per item */
#define OPENCL_ROWS 16       /* CPU form, matmul: weight rows of an item */
#define OPENCL_TOKENS 64     /* and tokens of it, at most */
#define OPENCL_QUERIES 4     /* CPU form, attention: rows of an item, at most */
#define OPENCL_SIDE 32       /* GPU form, matmul: weight rows, and tokens, of a work-group */
#define OPENCL_MINE 4        /* and of an item */
#define OPENCL_FEW_ROWS 8    /* GPU form, few: weight rows of a work-group */
#define OPENCL_LPU_GROUP 256 /* GPU form, lpu_run: items of a chip */
#define OPENCL_FEW_TOKENS 4  /* up to so many tokens go through few */

const char *opencl_kernel_name(enum opencl_kernel which);

td_status opencl_kernel(struct opencl_device *device, enum opencl_kernel which, enum td_dtype dtype,
                        cl_kernel *out_kernel);
void opencl_drop_programs(struct opencl_device *device);

/* ---- launch.c ---- */

/* A kernel with its arguments being set, in order; the first error is kept and reported by opencl_launch. */
struct opencl_call {
  struct opencl_device *device;
  cl_kernel kernel;
  const char *name;
  cl_uint next;
  cl_int error;
};
td_status opencl_begin(struct opencl_device *device, enum opencl_kernel which, enum td_dtype dtype,
                       struct opencl_call *out_call);
void opencl_memory(struct opencl_call *call, cl_mem memory, uint64_t offset);
void opencl_view(struct opencl_call *call, const struct td_view *view);
void opencl_int(struct opencl_call *call, int64_t value);
void opencl_long(struct opencl_call *call, int64_t value);
void opencl_float(struct opencl_call *call, double value);
/* global: items per dimension, whole work-groups of local. Marks the time line if `last` of the operator's. */
td_status opencl_launch(struct opencl_call *call, const size_t global[3], const size_t local[3], bool last);
/* Items (lane, y, z) of ONE_ITEM kernels: one lane on processors, OPENCL_GROUP elsewhere. */
td_status opencl_launch_rows(struct opencl_call *call, int64_t y, int64_t z, bool last);
/* `count` elements, one after the other. Marks the time line. */
td_status opencl_launch_dense(struct opencl_call *call, int64_t count);

/* ---- batch.c, turns.c ---- */

td_status opencl_batch(struct opencl_device *device, const struct td_batch *batch);
td_status opencl_turns(struct opencl_device *device, const struct td_op_call *call, cl_mem *out_memory);
void opencl_drop_batch(struct opencl_device *device);
void opencl_drop_turns(struct opencl_device *device);

/* ---- the operators: products.c, rows.c, attention.c ---- */

/* A weight's only row as float32 on the device: its own, or a copy in scratch memory until the next such call. */
td_status opencl_float_row(struct opencl_device *device, const struct td_view *weight, cl_mem *out_memory,
                           uint64_t *out_offset);

td_status opencl_matmul(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_expert_matmul(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_embed(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_rms_norm(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_rope(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_kv_append(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_attention(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_activation(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_add(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_route(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_expert_sum(struct opencl_device *device, const struct td_op_call *call);
td_status opencl_select(struct opencl_device *device, const struct td_op_call *call);

/* ---- lpu.c ---- */

/* TD_UNSUPPORTED if the device's arithmetic is not the LPU's: it needs binary64, and binary32 with subnormals. */
td_status opencl_lpu_supports(const struct opencl_device *device);
td_status opencl_lpu_run(struct opencl_device *device, const struct td_op_call *call);

#endif
