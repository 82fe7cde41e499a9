/* SPDX-License-Identifier: Apache-2.0
 *
 * The suite's own parts. A case is a name, a function and parameters; its data follow from the parameters alone, so one
 * case can be run again by its name (`tandem conform cpu --filter NAME`).
 */
#ifndef CONFORMANCE_SUITE_H
#define CONFORMANCE_SUITE_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/conform.h"
#include "tandem/cost.h"
#include "tandem/device.h"
#include "tandem/kernels.h"

#define CONFORM_NAME 128
#define CONFORM_BUFFERS 2048
#define CONFORM_DEVICES 4
#define CONFORM_THREADED 3

/* What a case is about; unused fields are 0. */
struct conform_params {
  enum td_op_kind kind;
  enum td_dtype weight, kv;
  int64_t rows, n, k, past, count;
  int32_t seqs, heads, kv_heads, head_dim, rope_dim, block_tokens;
  int32_t groups, window, experts, used;
  enum td_rope_pairs pairs;
  enum td_activation activation;
  double scale, position_scale; /* 0: the operator's plain one */
  bool factors, in_place;
  bool bias;     /* ADD: of a weight */
  bool per_slot; /* EXPERT_MATMUL: every slot has an input of its own */
  bool nans;     /* ROUTER: among the logits */
};

struct conform_run;
struct conform_case {
  char name[CONFORM_NAME];
  /* TD_OK: passed. TD_UNSUPPORTED after conform_supported refused: unsupported. Else: failed, the error text says why.
   */
  td_status (*run)(struct conform_run *run, const struct conform_case *test);
  struct conform_params p;
  enum td_dtype column; /* of the support table's operators */
  bool is_operator;
};
struct conform_list {
  struct conform_case *cases;
  size_t count, capacity;
  td_status failed; /* of the list's own memory */
};
/* Appends a case named by the format. */
void conform_add(struct conform_list *list, td_status (*run)(struct conform_run *, const struct conform_case *),
                 const struct conform_params *params, const char *format, ...) __attribute__((format(printf, 4, 5)));
/* The same for a case of an operator: shown in the support table under its first name part and `column`. */
void conform_add_operator(struct conform_list *list,
                          td_status (*run)(struct conform_run *, const struct conform_case *),
                          const struct conform_params *params, enum td_dtype column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

void conform_list_operators(struct conform_list *list);
void conform_list_experts(struct conform_list *list);
void conform_list_exact(struct conform_list *list);
void conform_list_memory(struct conform_list *list);
void conform_list_kv(struct conform_list *list);
void conform_list_price(struct conform_list *list);
void conform_list_step(struct conform_list *list);
void conform_list_lpu(struct conform_list *list);
td_status conform_list_all(struct conform_list *list);

/* The device under test and what the current case holds. */
struct conform_run {
  const char *spec;
  const struct td_backend *backend;
  struct td_device *device;
  struct td_device_params *params;            /* h100_sxm, for pricing; NULL if its file is not here */
  struct td_device_params *own_params;        /* of the backend's conform_device */
  const struct td_device_params *open_params; /* what the device is opened with; NULL: nothing */
  int32_t threads;
  bool refused; /* `supports` refused what the current case needs */
  double worst; /* largest error of the current case, as a share of its bound */
  struct owned {
    struct td_device *device;
    struct td_buffer *buffer;
  } buffers[CONFORM_BUFFERS];
  int32_t buffer_count;
  void *memory[CONFORM_BUFFERS];
  int32_t memory_count;
  struct td_device *devices[CONFORM_DEVICES];
  int32_t device_count;
  struct td_device *threaded[CONFORM_THREADED]; /* with 1, 2, ... threads; opened when first asked for */
};

/* ---- running ---- */

enum conform_verdict {
  CONFORM_PASSED,
  CONFORM_FAILED,
  CONFORM_UNSUPPORTED,
  CONFORM_EXPECTED_FAILURE,
  CONFORM_UNEXPECTED_PASS,
  CONFORM_VERDICTS
};
const char *conform_verdict_name(enum conform_verdict verdict);
/* Told of each case that was run. `text`: why, "" if it passed. */
typedef void (*conform_each)(void *context, const struct conform_case *test, enum conform_verdict verdict,
                             const char *text, double worst);
/* Runs the cases that match `filter` (NULL: all) on a device. TD_USAGE if none does. */
td_status conform_run_cases(const char *spec, const char *filter, int32_t threads, conform_each each, void *context);

/* Memory and device buffers that live until the case ends. */
td_status conform_memory(struct conform_run *run, size_t count, size_t size, void *out_pointer);
td_status conform_buffer(struct conform_run *run, struct td_device *device, uint64_t bytes, struct td_buffer **out);
/* One more device of the same spec, with `threads` threads; closed when the case ends. */
td_status conform_open(struct conform_run *run, int32_t threads, struct td_device **out_device);
/* A device of the same spec with `threads` threads, 1 .. CONFORM_THREADED, that all cases share. */
td_status conform_threaded(struct conform_run *run, int32_t threads, struct td_device **out_device);
/* Frees what the case holds: buffers, memory, then devices. */
void conform_release(struct conform_run *run);

/* TD_UNSUPPORTED, with run->refused set, if the backend does not run this operator with these types. */
td_status conform_supported(struct conform_run *run, const struct td_op *op, enum td_dtype weight, enum td_dtype kv);

/* Records a failure: the suite's own words for td_fail, so that cases read alike. */
#define CONFORM_FAIL(...) td_fail(TD_CORRUPT, __VA_ARGS__)
#define CONFORM_CHECK(condition, ...)                          \
  do {                                                         \
    if (!(condition)) return td_fail(TD_CORRUPT, __VA_ARGS__); \
  } while (0)

/* An operator case: makes its data, runs it, compares it with the reference. */
td_status conform_run_operator(struct conform_run *run, const struct conform_case *test);

/* |got - want| <= bound for every element; the first that is not is named by row and column. */
td_status conform_compare(struct conform_run *run, const float *got, const double *want, const double *bound,
                          int64_t rows, int64_t cols);
/* Equal bits; `what` names the comparison. */
td_status conform_same(const char *what, const float *got, const float *want, int64_t rows, int64_t cols);

/* ---- inputs of an operator case, on the host ---- */

struct conform_inputs {
  struct conform_params p;
  struct td_op op;
  struct td_batch batch;
  int64_t out_rows, out_cols;
  const float *in[TD_OP_INPUTS]; /* NULL: absent */
  int64_t in_cols[TD_OP_INPUTS];
  const void *weight; /* encoded; NULL: absent */
  const float *weight_values;
  int64_t weight_rows, weight_cols;
  const void *k_pool, *v_pool; /* encoded; NULL: no cache */
  const float *k_values, *v_values;
  int64_t pool_blocks;
};
/* Makes the case's data; they live until the case ends. */
td_status conform_inputs_make(struct conform_run *run, const struct conform_params *params,
                              struct conform_inputs *out_inputs);
/* The same operator on row `row` alone (KV_APPEND and SELECT excepted). */
td_status conform_inputs_row(struct conform_run *run, const struct conform_inputs *inputs, int64_t row,
                             struct conform_inputs *out_inputs);
/* Runs the operator on `device` and reads the result, [out_rows, out_cols]. */
td_status conform_execute(struct conform_run *run, struct td_device *device, const struct conform_inputs *inputs,
                          float *out);
/* Runs KV_APPEND and reads both pools back, raw. */
td_status conform_execute_append(struct conform_run *run, struct td_device *device, const struct conform_inputs *inputs,
                                 void *k_pool, void *v_pool);
uint64_t conform_pool_bytes(const struct conform_inputs *inputs);
/* Element index of (position, head 0, 0) of sequence `seq` in a pool. */
int64_t conform_place(const struct conform_inputs *inputs, const struct td_seq *seq, int64_t position);

#endif
