/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of backends/lpu share. A device is the host's side of a system of chips: buffers are host memory, a
 * plan is a compiled program with its emulated SRAM, a run is that program executed once or several times.
 */
#ifndef LPU_DEVICE_H
#define LPU_DEVICE_H

#include "tandem/backend.h"
#include "tandem/lpu_host.h"
#include "tandem/lpu_price.h"

struct td_buffer {
  uint64_t bytes;
  /* A KV buffer that a plan has bound: its content is in the plan's SRAM, not in `data`. */
  struct td_plan *plan;
  int32_t layer;
  bool touched; /* written as host memory */
  unsigned char data[];
};

struct td_plan {
  const struct td_graph *graph;
  struct td_lpu_program *program;
  struct td_lpu_price *price;
  struct td_lpu_host *host;
  struct td_lpu_kv kv;
  struct td_kv_view *views; /* [shape.layers]: the caches it has bound */
  struct td_view embedding;
  float scale; /* of embedding rows */
  int32_t rows;
  float *x, *position;
  struct td_lpu_row *step; /* [rows] */
};

struct lpu_device {
  struct td_device device; /* first */
  const struct td_lpu_machine *machine;
  struct td_lpu_choice choice;
  struct td_plan *last;              /* the plan made last, what prices are taken from; NULL: none */
  const struct td_lpu_price *timing; /* before there is a plan, of: */
  const struct td_graph *timing_graph;
  int32_t timing_block;
  int64_t clock_ps; /* what its steps have lasted */
  double energy_j;
};

static inline struct lpu_device *lpu_of(struct td_device *device) {
  return (struct lpu_device *)device;
}

/* Cycles to picoseconds, to nearest: of a whole step, so that price and clock round alike. */
int64_t lpu_ps(const struct td_lpu_machine *machine, int64_t cycles);

/* The slice must be the whole model: TD_UNSUPPORTED. */
td_status lpu_check_slice(const struct td_graph *graph, const struct td_slice *slice);
td_status lpu_plan(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                   const struct td_plan_bindings *bindings, struct td_plan **out_plan);
void lpu_plan_free(struct td_device *device, struct td_plan *plan);
td_status lpu_run(struct td_device *device, struct td_plan *plan, const struct td_batch *batch, struct td_view *live_in,
                  struct td_view *live_out, uint64_t *layer_values);
td_status lpu_price(struct td_device *device, const struct td_graph *graph, const struct td_slice *slice,
                    enum td_dtype kv_dtype, const struct td_step_stats *stats, int64_t *layer_done_ps,
                    struct td_price *out_price);
double lpu_idle_watts(struct td_device *device);
void lpu_price_close(struct lpu_device *lpu);
td_status lpu_kv_export(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq, void *k,
                        void *v);
td_status lpu_kv_import(struct td_device *device, const struct td_kv_view *view, const struct td_seq *seq,
                        const void *k, const void *v);

#endif
