/* SPDX-License-Identifier: Apache-2.0
 *
 * A model on the backend lpu, and the same program driven by hand beside it.
 */
#ifndef TESTS_LPU_BACKEND_RIG_H
#define TESTS_LPU_BACKEND_RIG_H

#include "support.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/device.h"
#include "tandem/kernels.h"
#include "tandem/lpu.h"

#define BLOCK 160
#define BLOCKS 6
#define CONTEXT 200
#define MAX_ROWS 32

#define assert_ok(call)                                                                \
  do {                                                                                 \
    td_status assert_ok_status_ = (call);                                              \
    if (assert_ok_status_) fail_msg("%s:%d: %s", __FILE__, __LINE__, td_error_text()); \
  } while (0)

struct rig {
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
  struct td_slice whole;
  int32_t vocab;
};
struct world { /* a device with a runner */
  struct td_device *device;
  struct td_runner *runner;
};
struct hand { /* a program and its system */
  struct td_lpu_program *program;
  struct td_lpu_system *system;
  struct td_lpu_tally *tallies;
  struct td_lpu_counts counts; /* of the last step */
};

void rig_open(struct rig *rig);
void rig_close(struct rig *rig);
/* `host`: what emulates it. */
void world_open(const struct rig *rig, enum td_lpu_weights weights, const char *host, int32_t rows,
                struct world *world);
void world_close(struct world *world);
void hand_open(const struct rig *rig, enum td_lpu_weights weights, struct hand *hand);
void hand_close(struct hand *hand);

/* One step of one sequence; logits of its last row. */
const float *world_step(struct world *world, uint64_t request, int64_t past, const int32_t *ids, int64_t tokens);
/* One row at a position of the sequence whose KV blocks are given. */
void hand_step(const struct rig *rig, struct hand *hand, int32_t id, int32_t position, const int32_t *blocks,
               float *logits);
int32_t likeliest(const struct rig *rig, const float *logits);

#endif
