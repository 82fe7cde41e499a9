/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the instruction-by-instruction emulator: the state of a system while a step runs.
 *
 * Time. State is stamped with a clock that runs with the step's cycles, but jumps at every seam by more than anything
 * can be under way: what stood on a stream, in an accumulator or on a link before the seam bears a stamp that nobody
 * asks for any more. Messages print the step's cycles.
 *
 * A cycle t goes through these phases, over all chips:
 *   1 issue     MEMORY reads sample their word as it is before any write of t
 *   2 landings  LOADs reach their buffers
 *   3 installs
 *   4 passes    are bound to the array that they will use
 *   5 reads     operands are taken from the streams; MEMORY writes reach their word
 *   6 sums, receives
 *   7 results   are put on the streams: after the reads, since a reader sees what was there before
 */
#ifndef TANDEM_LPU_EXECUTE_H
#define TANDEM_LPU_EXECUTE_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/lpu.h"

/* A LOAD takes at most this many streams; nothing gives more. */
#define LPU_MOST_VECTORS TD_LPU_MOST_STREAMS

/* An instruction with what follows from its queue and the machine. */
struct execute_op {
  const struct td_lpu_instruction *of;
  struct td_lpu_queue queue;
  int32_t index; /* in its segment */
  int32_t skew, func;
  int32_t tail; /* cycles from an issue to its last event */
  int32_t out_width;
  int32_t in_width[3];
};

/* A segment's instructions, in their order, and in the order of their first issue. */
struct execute_code {
  struct execute_op *ops; /* NULL: not decoded yet */
  int32_t *by_cycle;
  int32_t chip_count; /* one more than the highest chip */
};

/* An instruction under way. Its vectors are swapped with the streams', so that nothing is allocated per event. */
struct execute_node {
  struct execute_node *next;
  const struct execute_op *op;
  int32_t address;
  int64_t issued; /* clock */
  struct execute_array *array;
  uint8_t *vector[LPU_MOST_VECTORS];
};
struct execute_bucket {
  struct execute_node *first, **end;
};

/* A repeating instruction that will issue again, in a heap by cycle, then by instruction. */
struct execute_again {
  int32_t cycle, op, iteration;
};

struct execute_slot {
  int64_t key, made; /* moving slot and the clock at which it was produced */
  uint8_t *vector;
};

/* The content of a weight buffer or an array, [k][lanes]: bytes, or floats of an fp16 plane. */
struct execute_array {
  struct execute_array *next;
  int8_t *bytes;
  float *floats;
  bool loaded, wide, columns;
  bool fp8; /* what the bytes are */
  uint8_t step[TD_LPU_MOST_LANES];
  int32_t pending; /* passes that are bound to it */
  int64_t usable;  /* clock from which passes may use it */
};
struct execute_row {
  int64_t issued; /* of its PASS; of a kept accumulator: of its SUM */
  int32_t type;   /* of SUM: I32, F32 or F8 */
  int32_t *values;
};
struct execute_plane {
  struct execute_array *filling, *current, *unused;
  struct execute_row *rows, *sums;
  int64_t busy;
};

struct execute_result { /* of an ALU, for chains */
  int64_t ready;
  bool twice; /* two results came in one cycle: no one to take */
  uint32_t *values;
};

struct execute_flight { /* a vector on a link */
  int64_t issued;
  uint8_t *vector;
};
struct execute_wire {
  struct execute_flight *flights;
  int32_t next;
  int64_t last;
};

struct execute_chip {
  struct execute_slot *slots; /* [2 directions][streams][ring] */
  struct execute_plane planes[TD_LPU_MOST_PLANES];
  struct execute_result *results; /* [alus][ring] */
  struct execute_wire *wires;     /* [links_used] */
};

struct execute_chunk {
  struct execute_chunk *next;
};

struct execution { /* td_lpu_system and what it hides */
  struct td_lpu_system system;
  struct execute_code *code;
  struct execute_chip *chips;
  int32_t slot_mask, row_mask, result_mask, flights, link_cycles;
  int64_t seam; /* the clock's jump */
  /* under way */
  struct execute_bucket *landings, *reads, *results; /* rings */
  int32_t ring_mask;
  int64_t in_flight;
  struct execute_node *unused;
  struct execute_again *again;
  size_t again_count, again_capacity;
  struct execute_node **installs, **passes, **late; /* of this cycle, at most one a queue */
  int32_t install_count, pass_count, late_count;
  struct execute_chunk *chunks; /* all memory of nodes, vectors and arrays */
  /* the call */
  const struct td_lpu_call *call;
  int64_t base; /* the clock at the segment's cycle 0 */
  int64_t now;
  struct td_lpu_counts counts;
};

/* ---- execute_system.c ---- */
/* Zeroed memory that lives as long as the system. */
td_status execute_keep(struct execution *run, size_t count, size_t size, void **out);

/* ---- execute_decode.c ---- */
td_status execute_decode(struct execution *run, int32_t segment);
int32_t execute_operand_count(int32_t operation);
/* Whether an ALU instruction's result is an int32, else it is a float. */
bool execute_gives_integers(const struct td_lpu_instruction *of);

/* ---- execute_error.c: TD_CORRUPT with chip, queue, cycle and rule in front ---- */
td_status execute_refuse(const struct execution *run, const struct execute_op *op, int64_t clock, enum td_lpu_rule rule,
                         const char *format, ...) __attribute__((format(printf, 5, 6), cold));
/* An operand's slot does not hold a vector now. */
td_status execute_absent(const struct execution *run, const struct execute_op *op, uint8_t stream);

/* ---- execute_streams.c ---- */
td_status execute_node_take(struct execution *run, const struct execute_op *op, struct execute_node **out);
void execute_node_give(struct execution *run, struct execute_node *node);
/* Room for vectors 0 .. count - 1 of a node. */
td_status execute_node_vectors(struct execution *run, struct execute_node *node, int32_t count);
void execute_push(struct execution *run, struct execute_bucket *ring, struct execute_node *node, int32_t cycles);
/* The vector that passes the unit of `op` on stream `base` + `offset`; NULL if there is none. */
const uint8_t *execute_passing(const struct execution *run, const struct execute_op *op, uint8_t base, int32_t offset);
/* Puts a node's vectors on its streams, and gives the node back. */
td_status execute_produce(struct execution *run, struct execute_node *node);

/* ---- units: phase 5 and others, as named ---- */
td_status execute_vector_read(struct execution *run, struct execute_node *node);
td_status execute_switch_read(struct execution *run, struct execute_node *node);
/* Counts a plane, or both of an fp16 pair, as busy in this cycle, once. */
void execute_plane_busy(struct execution *run, const struct execute_op *op, bool pair);
td_status execute_load_read(struct execution *run, struct execute_node *node);
td_status execute_load_land(struct execution *run, struct execute_node *node);
td_status execute_install(struct execution *run, struct execute_node *node);
td_status execute_pass_bind(struct execution *run, struct execute_node *node);
td_status execute_pass_read(struct execution *run, struct execute_node *node);
td_status execute_sum(struct execution *run, struct execute_node *node);
td_status execute_memory_issue(struct execution *run, const struct execute_op *op, int32_t iteration);
td_status execute_memory_write(struct execution *run, struct execute_node *node);
td_status execute_send_read(struct execution *run, struct execute_node *node);
td_status execute_receive(struct execution *run, struct execute_node *node);
/* Before a segment's first cycle and after its last: arrays that do not cross the seam are lost. */
void execute_planes_forget(struct execution *run); /* before a step: no array stands from the one before */
void execute_planes_seam(struct execution *run, uint32_t arrays, int32_t chip_count);

static inline const struct td_lpu_machine *execute_machine(const struct execution *run) {
  return &run->system.program->machine;
}
static inline int32_t execute_chip_of(const struct execution *run, const struct execute_op *op) {
  return run->call->chip + op->of->chip;
}

#endif
