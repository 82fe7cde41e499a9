/* SPDX-License-Identifier: Apache-2.0
 *
 * Using devices: opening by name, checked calls, defaults for the optional table entries, and the runner that takes a
 * model's slice through a device step by step. One thread at a time per device and per runner.
 */
#ifndef TANDEM_DEVICE_H
#define TANDEM_DEVICE_H

#include <stdatomic.h>

#include "tandem/backend.h"

/* Finds a backend; NULL if there is none of that name. td_backend_nearest: for "did you mean", may be NULL. */
const struct td_backend *td_backend_find(const char *name);
const char *td_backend_nearest(const char *name);

/* Takes "NAME", "NAME:N" or "NAME:TEXT" apart: the backend, and N (0 if not given), which is below the number of
 * devices here, or the number of the one device whose name contains TEXT, in either case (TEXT starts with no digit).
 * TD_CONFIG for a spec of another form; TD_NOT_FOUND with the nearest name; TD_UNAVAILABLE with the probe's reason. */
td_status td_device_find(const char *spec, const struct td_backend **out_backend, int32_t *out_index);

/* Opens "NAME", "NAME:N" or "NAME:TEXT". TD_NOT_FOUND with the nearest name; TD_UNAVAILABLE with the probe's reason. */
td_status td_device_open(const char *spec, const struct td_device_options *options, struct td_device **out_device);
void td_device_close(struct td_device *device); /* NULL is fine */

/* td_backend.on_host with its default. */
bool td_backend_on_host(const struct td_backend *backend, int32_t index);

/* Checked, counted forms of the table's entries: arguments are validated (TD_INTERNAL names the operand), the time
 * line advances. td_device_read returns when the bytes are there. */
td_status td_device_alloc(struct td_device *device, uint64_t bytes, enum td_buffer_use use, struct td_buffer **out);
void td_device_free(struct td_device *device, struct td_buffer *buffer);
td_status td_device_write(struct td_device *device, struct td_buffer *buffer, uint64_t offset, const void *src,
                          uint64_t bytes);
td_status td_device_read(struct td_device *device, struct td_buffer *buffer, uint64_t offset, void *dst,
                         uint64_t bytes);
td_status td_device_op(struct td_device *device, const struct td_op_call *call);
td_status td_device_sync(struct td_device *device);
int64_t td_device_now(struct td_device *device);
/* Joules used since some fixed moment; NaN: the device has no counter. */
double td_device_energy(struct td_device *device);
/* W of the device at no step, once it has a plan or has priced a step; NaN: not known. */
double td_device_idle_watts(struct td_device *device);
/* One sample of what the chip can give; TD_UNIMPLEMENTED: this device does not measure it (see
 * td_device_table.ceiling). TD_INTERNAL if what it measured is no rate. */
td_status td_device_ceiling(struct td_device *device, enum td_ceiling which, double *out_rate, const char **out_how);
td_status td_device_supports(struct td_device *device, const struct td_op_query *query);
/* layer_done_ps may be NULL; see td_device_table.price. */
td_status td_device_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                          enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                          struct td_price *out_price);

/* ---- runner: one model slice resident on one executing device ---- */

struct td_runner;

struct td_runner_options {
  enum td_dtype kv_dtype; /* TD_F32 or TD_F16 */
  int32_t block_tokens;   /* KV block size, positions */
  int32_t kv_blocks;      /* blocks per layer */
  int64_t max_rows;       /* largest T of a step */
  int64_t max_logits;     /* largest L of a step */
  /* NULL, or set by another thread to give up the step under way: it then ends with TD_ABORTED before its next
   * operator. Borrowed. */
  const atomic_bool *stop;
};

/* Loads the slice's weights onto the device, allocates KV and activations, plans. model, graph and device are
 * borrowed until close. TD_UNSUPPORTED names the first operator the device refuses; TD_CORRUPT a missing tensor;
 * TD_EXHAUSTED with the arithmetic if it does not fit. */
td_status td_runner_open(struct td_device *device, const struct td_model *model, const struct td_graph *graph,
                         const struct td_slice *slice, const struct td_runner_options *options,
                         struct td_runner **out_runner);
void td_runner_close(struct td_runner *runner); /* NULL is fine */
struct td_kv_store *td_runner_kv(struct td_runner *runner);

/* Called on the runner's thread when layer `layer` (all its operators in the slice) of the current step is done and its
 * KV is readable; `elapsed_ps` since the step began. A failure ends the step. */
typedef td_status (*td_layer_done)(void *context, int32_t layer, int64_t elapsed_ps);

/* One sequence of a step. */
struct td_step_seq {
  uint64_t request;
  int64_t past; /* must equal td_kv_length */
  int64_t tokens;
  const int32_t *ids; /* [tokens]; NULL in a slice without embedding */
  bool logits;        /* wants the logits of its last token */
};

/* Runs one step over `count` sequences: reserves KV, runs every operator, advances KV. Live-ins (in the order of
 * td_slice_ops) come from `live_in` host matrices [T, cols], live-outs go to `live_out`; NULL for whole models.
 * all_logits: the logits of every row. *out_logits: [L, vocab] float32 in host memory, borrowed until the next step,
 * NULL if the slice has no head. On failure the KV lengths are as before. `done` may be NULL. */
td_status td_runner_step(struct td_runner *runner, const struct td_step_seq *seqs, int32_t count, bool all_logits,
                         const float *const *live_in, float *const *live_out, td_layer_done done, void *context,
                         const float **out_logits, int64_t *out_logit_count);

/* ---- sampling: the SAMPLE operator, on the host ---- */

struct td_sampling {
  double temperature; /* 0: greedy */
  int32_t top_k;      /* 0: off */
  double top_p;       /* 1: off */
  uint64_t seed;
};
struct td_sample {
  int32_t id;
  double logprob; /* natural log of the model's probability of id (temperature 1, no filters) */
  int32_t top_id; /* most likely id; ties: the smallest id */
  double top_logprob;
  double top_gap; /* logit of the first minus logit of the second */
};
/* Picks a token from logits[vocab]. The random number depends on (seed, request, index) alone. Fixed summation order in
 * double: same logits, same bits. TD_CORRUPT if a logit is NaN. */
td_status td_sample_row(const float *logits, int32_t vocab, const struct td_sampling *sampling, uint64_t request,
                        uint64_t index, struct td_sample *out_sample);
/* ln p(id) of a row, as td_sample_row computes it. */
double td_logprob(const float *logits, int32_t vocab, int32_t id);

#endif
