/* SPDX-License-Identifier: Apache-2.0
 *
 * Replicas with pipeline stages (pools with pipeline > 1). As many batches are in flight as there are stages, each a
 * worker with requests and KV blocks of its own (the virtual engines of vLLM 0.x). A step passes all stages in order:
 * activations cross the link to the next one, ids that from the last to the first, where the batch's next step begins.
 *
 * Stages and links serve in the order in which steps began, one at a time, so what a step will meet is known when it
 * begins: its way through all of them is booked at once, and no later step can change it. A step that begins while the
 * replica's other batches are idle meets nobody; so those of a batch alone are merged, and booked only when another
 * batch begins one: up to the step under way then, with which the merged ones end.
 *
 * A step that yields no token ends for its batch when it leaves the first stage (fleet_pass.c).
 *
 * Among others each step is an event, but of an unchanged batch its price need not be asked again, and it keeps its
 * pace as long as it lasts what that says: as priced, or, if it waits, by a difference that the pace's second step has
 * set. Batches that have fallen into step with each other take turns so. Here the engine's open row is a pace: in the
 * trace those of an unchanged batch are one row of steps, and 24 bytes for each turn of their pace.
 */
#ifndef ENGINE_FLEET_PIPELINE_H
#define ENGINE_FLEET_PIPELINE_H

#include "tandem/cost.h"
#include "tandem/graph.h"
#include "tandem/trace.h"

/* What a pool's replicas share. */
struct fleet_stage {
  struct td_slice slice;
  struct td_pricer *pricer; /* owned by stage `priced_as`, the first of those alike */
  int32_t priced_as;
  struct td_price price; /* of the step asked for last */
  int64_t slower;        /* that lasts so many 2^-32ths of its price before a cap; 0: as many */
};
struct fleet_stages {
  int32_t count;
  struct fleet_stage *of;              /* [count] */
  const struct td_device_params *link; /* from each to the next, and back */
  int64_t row_bytes;                   /* that cross it for a row */
  int64_t hop_ps, back_ps;             /* of the step asked for last */
  uint64_t rows, outputs, bytes;       /* rows of ended steps, their output tokens, bytes over all links */
};

/* A replica's books, with its batch 0: when each stage is done with all that has begun, and the link behind it. */
struct fleet_books {
  int64_t *stage_free_ps, *link_free_ps; /* [count] */
  int64_t through_ps;                    /* when the last step that yields no token has passed all stages */
};

/* What the trace will say of a batch that goes on while its steps begin to last otherwise, as the others make it wait:
 * one row of steps, and a row of paces for each but the first. */
struct fleet_told {
  int64_t count, duration, slope; /* steps of paces that have ended; the first pace */
  double energy, firsts;          /* of those steps; as so many first steps of their paces */
  struct td_row_pace *paces;      /* [pace_count]; `step` counts from the row's first until the row is written */
  size_t pace_count, pace_capacity;
};

/* Of a step that yields no token, which has ended for its batch: what happens when it has passed the last stage. */
enum { PASSING_STEP = -1, PASSING_NOTHING = -2 };
struct passing {
  int64_t through_ps;
  int32_t slot;                 /* whose KV goes out then; PASSING_STEP: its power is free */
  int32_t push_begin, push_end; /* as a chunk's */
  int64_t ready_ps[2];          /* the first push and the last */
  double energy_j;              /* PASSING_STEP: of its work at all stages */
};
/* When a step is at a stage. */
struct stage_span {
  int64_t begin_ps, end_ps;
};

/* A worker's step under way. */
struct stage_time {
  int64_t base_ps, slope_ps; /* in the first step of its row; more in each that follows */
  int64_t start_ps;          /* from the start of the step, if it is one by itself */
  int64_t slower;            /* see fleet_stage */
};
struct fleet_flow {
  struct stage_time *stages; /* [count] */
  int64_t hop_ps, back_ps;
  int64_t work_ps, more_ps; /* at stages, as base and slope */
  uint64_t bytes;           /* of each of its steps, over links */
  bool booked, quiet;       /* quiet: yields no token */
  int64_t through_ps;       /* of a quiet one */
  bool as_priced;           /* the row: its steps met nobody, or never waited */
  int64_t booked_ps;        /* what its next step will last, if that is in the books before it begins; 0: it is not */
  struct fleet_told told;
  struct passing *passing; /* [passing_count], from passing_first on; in order of time */
  size_t passing_first, passing_count, passing_capacity;
  struct stage_span *spans; /* [passing_count][count] */
  size_t span_capacity;
};

#endif
