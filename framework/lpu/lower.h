/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to lowering: a segment is replayed once, with names of vectors instead of vectors, and its instructions
 * become operations on whole vectors (tandem/lpu_code.h) in the order of the cycles in which they read their operands.
 *
 * A vector on a stream is a REF: a READ that was sampled (r >= 0: its number), which operations then take from where it
 * lies in SRAM; or a vector of the workspace (r < 0: ~number). Numbers of work vectors are virtual, one for each vector
 * ever made, until lower_place.c finds them room.
 *
 * An operation takes a READ later than the machine does. Where a write comes in between that may hit the same word, the
 * READ is marked, and the segment replayed again with a copy in the cycle of the read.
 */
#ifndef TANDEM_LPU_LOWER_H
#define TANDEM_LPU_LOWER_H

#include "execute.h"
#include "tandem/lpu_host.h"

/* A segment's patch as its operations use it: what a call adds, in vectors (scale: mem_slices) or maps (1). A patch for
 * one lane gives another address in other steps, so that it has an entry for each base. */
struct lower_patch {
  int32_t patch; /* of the segment; -1: adds 0 */
  int32_t base, scale;
  int32_t low, high; /* addresses, before the patch, that it is used with */
};
struct lower_origin {
  int32_t segment, instruction;
};
struct lower_segment { /* what stays on the host */
  struct lower_patch *patches;
  size_t patch_count, patch_capacity;
};

struct td_lpu_code {
  const struct td_lpu_program *program;
  int32_t *words;
  int64_t word_count;
  struct lower_segment *segments;
  struct lower_origin *origins; /* [ops] */
  int32_t work_vectors;
};

/* ---- a segment being lowered ---- */

struct lower_read {
  int32_t chip, slice, word, patch; /* of the segment, 0: none */
  int32_t time;
  int32_t instance;
};
/* A run of work vectors that live and die together. */
struct lower_temp {
  int32_t first, vectors, chip;
  int32_t reads, begin, end; /* operations */
  int32_t place;
  int32_t twin; /* the same as one whole value; -1: none */
  bool kept;    /* for other chips: never reused */
};
struct lower_store {
  int32_t time, word, patch;
};
struct lower_log { /* of a slice */
  struct lower_store *stores;
  size_t count, capacity;
};
struct lower_slot {
  int32_t key, made, ref;
};
struct lower_result { /* of an ALU, for chains */
  int32_t ready, whole;
  bool twice;
};
struct lower_sum { /* a row of a plane: a PASS's, by its cycle, or an accumulator */
  int32_t issued, whole;
  int32_t type; /* of SUM: I32, F32 or F8 */
};
struct lower_load {
  const struct execute_op *op;
  int32_t instance, step;
  int32_t refs[LPU_MOST_VECTORS];
};
struct lower_tile {
  bool wide, fp8;       /* a pair's; a plane's of FP8 */
  int32_t kind;         /* enum td_lpu_code_tile */
  int32_t first, count; /* steps; loads are by the same index */
  int32_t expanded;     /* work vector, or -1 */
};
struct lower_plane {
  int32_t *filling; /* loads, by step; -1: none */
  int32_t loaded;   /* how many */
  bool wide, columns;
  int32_t type;
  int32_t tile; /* installed; -1: none */
  int32_t usable;
  struct lower_sum *rows, *sums;
};
struct lower_flight {
  int32_t chip, link, issued, vector, phase;
};
struct lower_chip {
  struct lower_slot *slots;
  struct lower_plane planes[TD_LPU_MOST_PLANES];
  struct lower_result *results;
  struct lower_log *logs; /* [mem_slices] */
  int32_t phase;
  int32_t sent[TD_LPU_MOST_LINKS];
  int32_t last; /* operation, or -1 */
};
struct lower_event {
  int32_t op, iteration, what;
};

struct lower_ops { /* of the whole program */
  struct td_lpu_code_op *ops;
  struct lower_origin *origins;
  int32_t *phases, *chips; /* of each */
  size_t count, ops_capacity, origins_capacity, phases_capacity, chips_capacity;
};
struct lowering {
  const struct td_lpu_program *program;
  const struct td_lpu_machine *machine;
  struct execution decoded; /* its code only */
  struct td_lpu_code *code;
  struct lower_ops all;
  struct td_lpu_code_load *steps;
  size_t step_count, step_capacity;
  struct td_lpu_code_segment *segments;
  struct td_lpu_code_run *runs;
  size_t run_count, run_capacity;
  /* the segment */
  int32_t index;
  const struct td_lpu_segment *segment;
  const struct execute_code *from;
  int32_t first_op, first_step;
  struct lower_chip *chips;
  int32_t chip_count, slot_mask, row_mask, result_mask, link_cycles;
  int32_t *instances; /* by instruction: of its first iteration */
  int32_t *state;     /* [instances]: what an event leaves to a later one */
  uint8_t *marks;     /* [instances] */
  bool again;         /* something was marked */
  struct lower_read *reads;
  size_t read_count, read_capacity;
  struct lower_temp *temps;
  size_t temp_count, temp_capacity;
  int32_t *temp_of; /* [virtual work vectors] */
  size_t vector_count, vector_capacity;
  struct lower_load *loads;
  size_t load_count, load_capacity;
  int32_t *step_loads; /* [steps of the segment] */
  size_t step_load_count, step_load_capacity;
  struct lower_tile *tiles;
  size_t tile_count, tile_capacity;
  struct lower_flight *flights;
  size_t flight_count, flight_capacity;
  /* the event */
  const struct execute_op *op;
  int32_t instance, now;
};

#define LOWER_LANES 16 /* what interpreters take at a time */
#define LOWER_NEVER INT32_MIN
#define LOWER_COPY_READ 1
#define LOWER_COPY_LOAD 2

static inline struct lower_chip *lower_chip_of(const struct lowering *lower) {
  return &lower->chips[lower->op->of->chip];
}

/* ---- lower_error.c ---- */
/* TD_UNSUPPORTED with segment, instruction and cycle in front. */
td_status lower_refuse(const struct lowering *lower, const char *format, ...)
    __attribute__((format(printf, 2, 3), cold));

/* ---- lower_replay.c: a segment's events in order ---- */
td_status lower_replay(struct lowering *lower);

/* ---- lower_vectors.c: streams, work vectors, places ---- */
const int32_t *lower_passing(const struct lowering *lower, uint8_t base, int32_t offset); /* ref; NULL: none */
td_status lower_produce(struct lowering *lower, uint8_t base, int32_t offset, int32_t ref);
td_status lower_temp_new(struct lowering *lower, int32_t vectors, int32_t *out_first);
struct lower_temp *lower_temp_at(const struct lowering *lower, int32_t vector);
td_status lower_emit(struct lowering *lower, const struct td_lpu_code_op *op);
td_status lower_copy(struct lowering *lower, struct td_lpu_code_place from, struct td_lpu_code_place to, int32_t count);
/* Where `width` vectors are that belong together; gathers them if they lie apart. */
td_status lower_place(struct lowering *lower, const int32_t *refs, int32_t width, struct td_lpu_code_place *out);
/* The operand in[which] of the instruction under way. */
td_status lower_operand(struct lowering *lower, int which, int32_t width, struct td_lpu_code_place *out);
/* Marks what the reads of `refs` would see changed by now. */
bool lower_stale(struct lowering *lower, int32_t ref);
td_status lower_sram(struct lowering *lower, int32_t chip, int32_t slice, int32_t word, int32_t patch,
                     struct td_lpu_code_place *out);
td_status lower_patch_entry(struct lowering *lower, int32_t patch, int32_t base, int32_t scale, int32_t *out);

/* ---- events, by unit ---- */
extern const enum td_lpu_code_operand lower_types[TD_LPU_TYPE_COUNT];
td_status lower_memory_read(struct lowering *lower, int32_t iteration);
td_status lower_memory_write(struct lowering *lower, int32_t iteration);
td_status lower_alu(struct lowering *lower);
td_status lower_switch(struct lowering *lower, int32_t iteration);
td_status lower_load_take(struct lowering *lower, int32_t iteration);
td_status lower_load_land(struct lowering *lower);
td_status lower_install(struct lowering *lower);
td_status lower_pass_bind(struct lowering *lower);
td_status lower_pass_read(struct lowering *lower);
td_status lower_sum(struct lowering *lower, int32_t iteration);
td_status lower_send(struct lowering *lower);
td_status lower_receive(struct lowering *lower);

/* ---- lower_place.c: room for the work vectors of the segment; runs in phases ---- */
td_status lower_finish(struct lowering *lower);

#endif
