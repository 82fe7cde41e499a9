/* SPDX-License-Identifier: Apache-2.0
 *
 * What `tandem lpu` says about a program: where SRAM goes, how long a step takes and why, which units work.
 */
#ifndef TD_CLI_LPU_STUDY_H
#define TD_CLI_LPU_STUDY_H

#include "tandem/lpu.h"

/* Bytes of one chip, by kind of image. */
struct lpu_sram {
  int64_t bytes[TD_IMAGE_SCRATCH + 1];
  int64_t used, free;
};

/* What a cycle went to: the first of these that issues in it. In a cycle of SPENT_WAITING nothing does: results are
 * under way. */
enum lpu_spent { SPENT_LOADS, SPENT_PRODUCTS, SPENT_VECTOR, SPENT_SWITCH, SPENT_LINKS, SPENT_MEMORY, SPENT_WAITING };
#define LPU_SPENT_COUNT (SPENT_WAITING + 1)
const char *lpu_spent_name(int spent);
struct lpu_cycles {
  int64_t of[LPU_SPENT_COUNT];
  int64_t exchange; /* in which vectors are under way from chip to chip, whatever else is done */
};

/* What a cycle of the critical path is: a unit's delay, a vector on its way between units, or waiting for a unit or
 * stream that was not free. */
enum lpu_waited {
  WAITED_MEMORY,
  WAITED_LOADS,
  WAITED_PRODUCTS,
  WAITED_VECTOR,
  WAITED_SWITCH,
  WAITED_LINKS,
  WAITED_WAY,
  WAITED_FREE
};
#define LPU_WAITED_COUNT (WAITED_FREE + 1)
const char *lpu_waited_name(int waited);
#define LPU_PATH_STOPS 256
struct lpu_stop {
  enum lpu_waited kind;
  int32_t times; /* one after another */
};
struct lpu_path {
  int64_t of[LPU_WAITED_COUNT]; /* their sum is the segment's length */
  struct lpu_stop stops[LPU_PATH_STOPS];
  int32_t stop_count; /* from the last back */
  bool more;          /* earlier ones found no room */
};

struct lpu_study {
  const struct td_lpu_program *program;
  struct td_lpu_step step; /* as many rows as were asked for, all at one position */
  struct td_lpu_row *rows;
  int32_t *blocks;
  int32_t entry, position;
  bool one_sequence;            /* the rows are of one, because the KV cache holds no block for each */
  int32_t parts;                /* entries of the step's chain */
  struct td_lpu_tally *tallies; /* [segments] */
  int64_t *runs;                /* [segments] of the step */
  struct lpu_cycles *spent;     /* [segments] of one run, on all its chips together */
  struct lpu_path *paths;       /* [segments] */
  struct td_lpu_counts counts;
  struct lpu_sram *sram; /* [chips] */
  bool shared, spread;   /* the layout: scratches share words, weights lie over all slices */
  int64_t weight_bytes;  /* of all chips */
  int64_t bound_cycles;  /* the weights through the streams once, if nothing but that took time */
  int32_t stages;
  int64_t slowest; /* cycles that the stage that is busy longest is busy for */
};

/* Looks at a step of `rows` rows at `position`, the last of its context; -1: the last that the program takes and its KV
 * cache holds, each row a sequence of its own where there are as many blocks. TD_CONFIG
 * if it takes no such step. */
/* The same of entry `entry`. */
td_status lpu_study_open_entry(const struct td_lpu_program *program, int32_t entry, int32_t rows, int32_t position,
                               struct lpu_study *out_study);
td_status lpu_study_open(const struct td_lpu_program *program, int32_t rows, int32_t position,
                         struct lpu_study *out_study);
void lpu_study_close(struct lpu_study *study);
/* The length of that step alone: of a program with an entry a layer, of all of them. */
td_status lpu_study_length(const struct td_lpu_program *program, int32_t rows, int32_t position, int64_t *out_cycles);
/* Of a program with an entry a layer: the cycles of all of them, and how many there are. */
int64_t lpu_study_layers(const struct lpu_study *study, int32_t *out_layers);

/* The critical path of one run of a segment. */
void lpu_path_trace(const struct td_lpu_program *program, int32_t segment, struct lpu_path *out);
void lpu_path_print(const struct lpu_study *study, FILE *out);

/* What a segment does, in words; "" for one that the compiler of today does not make. */
const char *lpu_segment_words(const char *name);
const char *lpu_image_kind_name(int32_t kind);

void lpu_study_print(const struct lpu_study *study, FILE *out);
/* An object, left open for more members. */
void lpu_study_json(const struct lpu_study *study, FILE *out);
/* The picture, as SVG: written to PATH.part and renamed. */
td_status lpu_study_picture(const struct lpu_study *study, const char *path);

#endif
