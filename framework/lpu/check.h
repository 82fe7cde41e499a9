/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the checker. It replays a program with nothing but its own reading of the machine: positions, queues,
 * delays and routes are worked out in check_shape.c. What is replayed is identities, not bytes: which component of
 * which iteration of which instruction stands in a moving slot, a word, a buffer step, an array, an accumulator.
 *
 * A cycle has four phases: arrivals (loads in their buffers, ALU results), issues, operands read, results put on their
 * streams and words written. Violations of a cycle compete by the order of the rules; the replay stops after the first
 * cycle that has one.
 */
#ifndef TANDEM_LPU_CHECK_H
#define TANDEM_LPU_CHECK_H

#include <stdbool.h>

#include "tandem/lpu.h"

/* Who made something. `call` is the ordinal of the RUN; -1: nobody. */
struct check_maker {
  int32_t call, instruction, iteration;
};

/* What a vector is: of which type, and which byte of it. The same type on one stream and on the next. */
struct check_tag {
  uint8_t type, component;
};

/* A moving slot. Its key is the absolute cycle minus (east) or plus (west) the position. */
struct check_slot {
  int64_t key;
  struct check_maker maker;
  int32_t cycle;     /* of the call, when it was put there */
  uint8_t component; /* of the maker's results */
  struct check_tag tag;
};

/* Where a queue is. */
struct check_place {
  enum td_lpu_unit unit;
  int32_t hemisphere, index, function, position;
};

enum check_event_kind {
  CHECK_LOADED, /* arrivals */
  CHECK_CHAINED,
  CHECK_OPERANDS, /* operands read */
  CHECK_STORED,   /* the stream of a MEMORY write */
  CHECK_DUE,      /* a SEND's vector at the far end */
  CHECK_RESULT,   /* results */
  CHECK_WRITTEN
};
enum check_phase { CHECK_ARRIVE, CHECK_READ, CHECK_PUT, CHECK_PHASES };
struct check_event {
  int32_t instruction, iteration;
  uint8_t kind;
  struct check_tag tag; /* RESULT: of component 0 */
};
struct check_bucket {
  struct check_event *events;
  int32_t count, room;
};

/* The queue of one chip in a segment: instructions [begin, end). */
struct check_run {
  int32_t begin, end, chip;
};
/* Where a run is in the replay; waits in the wheel's list of its next cycle. */
struct check_cursor {
  int32_t instruction, iteration, cycle, next;
};

/* What a segment's replay looks up. */
struct check_segment {
  struct td_lpu_meaning *meanings; /* each instruction's, ascending by operand, buffer step, begin */
  struct check_run *runs;
  int32_t run_count, most_chip;
  int32_t busy, busy_cycle; /* the first instruction that is issued while its queue is busy; -1: none */
  int32_t early;            /* the earliest instruction before the segment's start; -1: none */
};

struct check_array {
  struct check_maker maker;
  int32_t cycle; /* of its INSTALL */
  bool pair, fp8;
};
struct check_row { /* what a PASS gives */
  struct check_maker maker;
  int32_t cycle;
  uint8_t type;
};
struct check_total { /* an accumulator */
  struct check_maker maker;
  bool kept, emitted;
};
struct check_plane {
  struct check_maker *steps; /* of the buffer */
  int32_t filled;            /* steps that are */
  bool pair, columns, fp8;   /* of what fills them */
  struct check_array array;
  struct check_row *rows;     /* [wheel] by cycle */
  struct check_total *totals; /* [accumulator_depth] */
  int32_t kept;               /* accumulators whose total nobody has seen yet */
};
struct check_chained { /* the last result of an ALU */
  struct check_maker maker;
  int32_t cycle;
  bool integer, twice; /* twice: two results in that cycle, so nothing to take */
};
struct check_sent {
  struct check_maker maker;
  int32_t cycle;
  bool received;
  struct check_tag tag;
};
struct check_link {
  struct check_sent *sent; /* ring of `most_sent` */
  int32_t count, oldest;   /* sent in this call; the oldest that is not received */
};
struct check_chip {
  struct check_slot *slots;   /* [2 directions][streams][ring] */
  struct check_word **slices; /* [mem_slices], NULL: never written */
  struct check_plane *planes;
  struct check_chained *alus;
  struct check_link *links;
};
struct check_word {
  struct check_maker maker;
  bool written; /* all zeros: not */
};

struct check {
  const struct td_lpu_program *program;
  const struct td_lpu_machine *machine;
  const struct td_lpu_step *step;
  struct td_lpu_violation *out;
  /* the machine, read by check_shape.c */
  struct check_place *places; /* [instruction_queues] */
  int32_t queues, positions, half_slices, bank_words, spacing, most_sent;
  int32_t ring, wheel; /* powers of two */
  /* the program */
  struct check_segment *segments;
  struct check_chip *chips;
  /* the replay */
  struct check_bucket *buckets; /* [CHECK_PHASES][wheel] */
  int32_t *waiting;             /* [wheel] the first cursor; -1 */
  struct check_cursor *cursors;
  int32_t cursor_room, pending; /* events in the buckets */
  /* the call */
  struct td_lpu_call call;
  const struct td_lpu_segment *segment;
  const struct check_segment *looked;
  uint32_t arrays; /* planes whose arrays crossed the last seam */
  int32_t ordinal, now;
  int32_t entry, entry_ordinal; /* of the chain; the ordinal of its first call */
  int64_t base;                 /* the cycle that it starts in */
  bool no_memory;
};

/* One iteration of an instruction in the present call. */
struct check_issue {
  const struct td_lpu_instruction *at;
  const struct check_place *place;
  struct check_chip *chip;
  int32_t instruction, iteration, chip_number;
};

/* ---- check_shape.c ---- */
td_status check_shape_machine(struct check *check);
int32_t check_positive_divide(int32_t a, int32_t b); /* rounded up */
/* ---- check_program.c ---- */
td_status check_program(struct check *check, int32_t entry);
/* ---- check_images.c ---- */
td_status check_images(struct check *check);
void check_finish(struct check *check, int64_t cycle);
/* ---- check_whole.c ---- */
td_status check_whole(struct check *check);
td_status check_loops(struct check *check);
/* ---- check_segment.c ---- */
td_status check_segment_look(struct check *check, int32_t segment);
void check_segment_close(struct check_segment *looked);
/* What iteration `iteration` of an instruction means by an operand (`step`: the component of a TD_MEANING_STEP, else
 * 0), or NULL. */
const struct td_lpu_meaning *check_meaning(const struct check *check, int32_t instruction, int32_t operand,
                                           int32_t step, int32_t iteration);
/* ---- check_state.c ---- */
td_status check_state_open(struct check *check);
void check_state_close(struct check *check);
/* ---- check_replay.c ---- */
td_status check_replay(struct check *check);
/* Books an event `delay` cycles from now. */
void check_later(struct check *check, const struct check_issue *issue, enum check_phase phase,
                 enum check_event_kind kind, int32_t delay, struct check_tag tag);
/* ---- check_report.c ---- */
/* A violation of `rule` in this cycle of the call by an instruction (NULL: by none). */
void check_found(struct check *check, enum td_lpu_rule rule, const struct check_issue *issue, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same at another cycle of the call. */
void check_found_at(struct check *check, enum td_lpu_rule rule, int32_t cycle, const struct check_issue *issue,
                    const char *format, ...) __attribute__((format(printf, 5, 6)));
/* Whether `maker` is what a meaning says. */
bool check_meant(const struct check *check, const struct td_lpu_meaning *meaning, int32_t iteration,
                 const struct check_maker *maker);
struct check_maker check_maker_of(const struct check *check, const struct check_issue *issue);
struct check_issue check_issue_of(struct check *check, int32_t instruction, int32_t iteration);

/* ---- the units: what happens at issue, and later ---- */
void check_memory_issue(struct check *check, const struct check_issue *issue);
void check_memory_stored(struct check *check, const struct check_issue *issue);
void check_memory_written(struct check *check, const struct check_issue *issue);
void check_load_issue(struct check *check, const struct check_issue *issue);
void check_load_arrived(struct check *check, const struct check_issue *issue);
void check_install_issue(struct check *check, const struct check_issue *issue);
void check_pass_issue(struct check *check, const struct check_issue *issue);
void check_sum_issue(struct check *check, const struct check_issue *issue);
void check_alu_issue(struct check *check, const struct check_issue *issue);
void check_alu_arrived(struct check *check, const struct check_issue *issue);
void check_alu_operands(struct check *check, const struct check_issue *issue);
void check_switch_issue(struct check *check, const struct check_issue *issue);
void check_switch_operands(struct check *check, const struct check_issue *issue);
void check_send_issue(struct check *check, const struct check_issue *issue);
void check_send_operands(struct check *check, const struct check_issue *issue);
void check_send_due(struct check *check, const struct check_issue *issue);
void check_receive_issue(struct check *check, const struct check_issue *issue);

/* ---- check_streams.c ---- */
/* A group of neighbouring streams: direction and index of the first, how many, in elements of how many. */
struct check_group {
  int32_t first, count, width;
};
/* At issue: WIDTH, unless the group is one that the machine has. */
bool check_group_fits(struct check *check, const struct check_issue *issue, struct check_group group, const char *what);
/* Reads operand stream number `operand`, which is stream `stream`, as it passes: REACH, STREAM or ARRIVE unless it is
 * what is meant; WIDTH unless it has the tag (NULL: any). Its tag, or that of nothing: type TD_LPU_TYPE_COUNT. */
struct check_tag check_stream_read(struct check *check, const struct check_issue *issue, int32_t operand,
                                   int32_t stream, const struct check_tag *tag);
/* A whole group as elements of one type. */
void check_group_read(struct check *check, const struct check_issue *issue, int32_t operand, struct check_group group,
                      uint8_t type);
/* Puts the results of an instruction on its streams. */
void check_streams_put(struct check *check, const struct check_issue *issue, struct check_tag tag);
uint8_t check_plain_type(uint8_t type);
/* Of what a SUM puts on its quad. */
uint8_t check_sum_type(const struct td_lpu_instruction *sum);

#endif
