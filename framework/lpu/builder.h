/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the compiler: one segment under construction. Every piece of work is a PATTERN, a set of uses of queues
 * and streams at fixed distances from one cycle T; the table finds the first T, not before the operands are there,
 * where all of them are free. Work is placed in the order it is asked for, and later work may fill earlier gaps: list
 * scheduling, critical path first as long as the compiler asks for it first.
 */
#ifndef TANDEM_LPU_BUILDER_H
#define TANDEM_LPU_BUILDER_H

#include <stdbool.h>

#include "tandem/lpu.h"

struct lpu_bits {
  uint64_t *words;
  size_t capacity; /* words */
  size_t used;     /* of them were written to */
};

/* Streams are booked by half chip (zone), direction and index, over moving slots. */
#define LPU_ZONES 2
#define LPU_MOST_CHIPS 4096

enum lpu_use_kind { LPU_USE_QUEUE, LPU_USE_ALU, LPU_USE_STREAM, LPU_USE_LINK };

struct lpu_use {
  enum lpu_use_kind kind;
  int32_t chip, at, n;     /* cycles [T + at, T + at + n) of issue, or of passing `to` */
  int32_t queue;           /* QUEUE; ALU: found; LINK: its number */
  int32_t from, to, width; /* STREAM: positions of producer and last consumer; aligned group of this many streams */
  int32_t stream;          /* found: the first one's index */
  int32_t func;            /* ALU: cycles to the result; an ALU gives one result a cycle */
};

#define LPU_MOST_USES 640
struct lpu_pattern {
  struct lpu_use uses[LPU_MOST_USES];
  int32_t count, not_before; /* the least T */
  bool too_many;
};

/* Vectors in SRAM: vector i of `type` in word + i, component c in slice + c. */
struct lpu_tensor {
  int32_t image, chip, hemisphere, slice, word;
  enum td_lpu_type type;
  int32_t count;
  bool part;       /* of a wider image: not the tensor that lpu_tensor_of gives */
  int32_t byte;    /* a copy that is one component of the tensor alone: which one */
  int32_t *ready;  /* [count] first cycle whose read sees it; NULL: before the segment */
  int32_t *writer; /* [count] the WRITE of component 0, component c is the c-th after it */
  int32_t *iteration;
  int32_t *taken; /* [count] the last cycle whose read must not see a later write; NULL: not read so far */
  /* Rows over several places: vector i is vector i / column_count of columns[i % column_count]. All else above is the
   * columns' but image, chip, hemisphere, type and count. NULL: in one place. */
  struct lpu_tensor **columns;
  int32_t column_count;
};

/* A plane's (or, for fp16, a pair's) state in placing order. */
struct lpu_plane {
  int32_t filled;    /* the last fill of the buffer */
  int32_t installed; /* the last INSTALL */
  int32_t passed;    /* the last PASS */
  int32_t install;   /* its instruction, for meanings */
};

struct lpu_builder {
  const struct td_lpu_machine *machine;
  bool dry;      /* a trial: images are placed, work is not */
  bool counting; /* a trial: work is placed, for its length; instructions are not kept */
  int32_t counted;
  struct td_lpu_program *program;
  size_t image_capacity, map_capacity, segment_capacity, link_capacity, entry_capacity, data_capacity;
  int32_t chips;
  /* the segment being built */
  struct td_lpu_segment segment;
  size_t instruction_capacity, meaning_capacity, patch_capacity;
  struct lpu_bits *queues;  /* [chips][instruction_queues] */
  struct lpu_bits *streams; /* [chips][2 directions][zones][streams] */
  struct lpu_bits *results; /* [chips][alus] */
  struct lpu_bits *sends;   /* [chips][links] vectors on their way out: a link takes and gives at the same time */
  struct lpu_plane (*planes)[TD_LPU_MOST_PLANES]; /* [chips] */
  bool *booked, *ever_booked; /* [chips] something of it in this segment; in any: of others the tables are as new */
  int32_t middle, positions;  /* the vector unit's, and how many there are */
  int32_t end;                /* the last cycle that anything happens in */
  int32_t chunk;              /* > 0: chains take so many iterations in one go, where they do not say themselves */
  struct lpu_tensor **tensors;
  size_t tensor_count, tensor_capacity;
  struct lpu_pattern pattern;
};

td_status lpu_builder_open(const struct td_lpu_machine *machine, int32_t chips, struct lpu_builder **out_builder);
/* Gives the program away. */
td_status lpu_builder_finish(struct lpu_builder *builder, struct td_lpu_program **out_program);
void lpu_builder_close(struct lpu_builder *builder);

/* ---- parts of the program ---- */
td_status lpu_add_image(struct lpu_builder *builder, const struct td_lpu_image *image, int32_t *out_index);
td_status lpu_add_map(struct lpu_builder *builder, const struct td_lpu_map *map, int32_t *out_index);
td_status lpu_add_link(struct lpu_builder *builder, const struct td_lpu_link *link);
td_status lpu_add_entry(struct lpu_builder *builder, const struct td_lpu_entry *entry);
td_status lpu_add_patch(struct lpu_builder *builder, const struct td_lpu_patch *patch, uint16_t *out_number);
/* Room for bytes of an image in the program's data, zeroed: *out_at is where. */
td_status lpu_add_data(struct lpu_builder *builder, uint64_t bytes, uint64_t *out_at);

/* ---- segments ---- */
td_status lpu_begin_segment(struct lpu_builder *builder, const char *name);
/* Sorts, counts chips from the segment's first, sets the length to what was used plus what drains, and forgets the
 * tensors. */
td_status lpu_end_segment(struct lpu_builder *builder, int32_t first_chip, int32_t *out_index);
/* An image as vectors: what stands in it since before the segment, or what the segment wrote last. One an image and
 * segment; the builder owns it. */
td_status lpu_tensor_of(struct lpu_builder *builder, int32_t image, struct lpu_tensor **out);

/* Some slices of an image (from `slice` of it on, as many as `type` has bytes) as vectors. */
td_status lpu_part_tensor(struct lpu_builder *builder, int32_t image, int32_t slice, enum td_lpu_type type,
                          struct lpu_tensor **out);

/* One tensor of columns that have a count, a type and a hemisphere in common. */
td_status lpu_join_columns(struct lpu_builder *builder, struct lpu_tensor *const *columns, int32_t count,
                           struct lpu_tensor **out);
/* An image with a row's vectors side by side in a word, as such a tensor. One an image and segment. */
td_status lpu_rows_of(struct lpu_builder *builder, int32_t image, struct lpu_tensor **out);
/* Vectors offset, offset + stride, ... of a tensor, as those of the column that has them. */
void lpu_take_column(struct lpu_tensor **tensor, int32_t *offset, int32_t *stride);

/* ---- placing ---- */
void lpu_pattern_begin(struct lpu_pattern *pattern);
int32_t lpu_use_queue(struct lpu_pattern *pattern, int32_t chip, int32_t queue, int32_t at, int32_t n);
int32_t lpu_use_alu(struct lpu_pattern *pattern, int32_t chip, int32_t at, int32_t func, int32_t n);
/* The way out of a link, for n cycles; its queue is another use. */
void lpu_use_link(struct lpu_pattern *pattern, int32_t chip, int32_t link, int32_t at, int32_t n);
/* `at`: the cycle in which the slot passes `to`. */
int32_t lpu_use_stream(struct lpu_pattern *pattern, int32_t chip, int32_t from, int32_t to, int32_t at, int32_t width,
                       int32_t n);
/* Books the pattern at the first T >= not_before where everything is free. TD_EXHAUSTED without a text: there is none,
 * two of its own uses collide. */
td_status lpu_place(struct lpu_builder *builder, struct lpu_pattern *pattern, int32_t *out_cycle);
uint8_t lpu_stream_of(const struct lpu_use *use, int32_t component);

/* ---- emitting ---- */
td_status lpu_emit(struct lpu_builder *builder, const struct td_lpu_instruction *instruction, int32_t *out_index);
/* Of the instruction emitted last. */
td_status lpu_mean(struct lpu_builder *builder, int32_t operand, int32_t producer, int32_t component, int32_t scale,
                   int32_t offset);
struct td_lpu_instruction lpu_instruction(enum td_lpu_opcode opcode, int32_t chip, int32_t queue, int32_t cycle,
                                          int32_t repeat);

int32_t lpu_distance(int32_t a, int32_t b); /* hops between positions */

/* READs of vectors offset, offset + stride, ... of a tensor, one a cycle, so that they pass position `at` together:
 * books in the pattern (`when`: that cycle from T on), then emits. */
struct lpu_read {
  struct lpu_tensor *tensor;
  int32_t offset, stride, n;
  uint16_t patch;
  int32_t at, when;  /* position and cycle from T */
  int32_t first_use; /* the queues' uses, then the stream's */
  int32_t stream_use;
  int32_t first; /* emitted: the READ of component 0, the others follow */
};
void lpu_read_book(struct lpu_builder *builder, struct lpu_pattern *pattern, struct lpu_read *read);
td_status lpu_read_emit(struct lpu_builder *builder, const struct lpu_pattern *pattern, int32_t cycle,
                        struct lpu_read *read);
/* WRITEs of what is on a stream group that unit `from` (position) feeds in cycle `when` from T on. */
struct lpu_write {
  struct lpu_tensor *tensor;
  int32_t offset, stride, n;
  uint16_t patch[4]; /* of each component */
  int32_t from, when;
  int32_t reach; /* the stream must pass this position too, for those who tap it; -1: no further than the tensor */
  int32_t tap;   /* >= 0: no stream of its own, it takes from this use */
  int32_t first_use, stream_use;
};
void lpu_write_book(struct lpu_builder *builder, struct lpu_pattern *pattern, struct lpu_write *write);
td_status lpu_write_emit(struct lpu_builder *builder, const struct lpu_pattern *pattern, int32_t cycle,
                         struct lpu_write *write, int32_t producer);
/* What later reads wait for and mean: vectors of `write` come with WRITE `first`, one a cycle from `issue` on (of the
 * component that comes last). lpu_write_emit does it. */
td_status lpu_note_written(struct lpu_builder *builder, const struct lpu_write *write, int32_t issue, int32_t first);

/* ---- chains: vector operations over n iterations ---- */
enum lpu_via { LPU_VIA_NOTHING, LPU_VIA_ROTATE, LPU_VIA_PERMUTE };
struct lpu_input {
  struct lpu_tensor *tensor;
  int32_t offset, stride;
  uint16_t patch;
  enum lpu_via via;
  int32_t amount; /* ROTATE: lanes; PERMUTE: map */
};
enum lpu_from { LPU_FROM_NOTHING, LPU_FROM_INPUT, LPU_FROM_STEP, LPU_FROM_NUMBER };
struct lpu_operand {
  enum lpu_from from;
  int32_t index; /* of the input or step */
  uint32_t bits; /* NUMBER: at most one a step */
};
struct lpu_step {
  enum td_lpu_alu operation;
  struct lpu_operand operand[3];
  uint32_t otherwise; /* SELECT_LE: bits of the immediate */
};
struct lpu_result {
  int32_t step;
  struct lpu_tensor *tensor; /* its type narrows */
  int32_t offset, stride;
  uint16_t patch[4];
  int32_t tap; /* >= 0: taps the stream of this earlier result, of the same step and hemisphere */
};
#define LPU_CHAIN_INPUTS 48
#define LPU_CHAIN_STEPS 64
#define LPU_CHAIN_RESULTS 40
struct lpu_chain {
  int32_t chip, n;
  int32_t chunk; /* > 0: so many iterations in one go */
  struct lpu_input inputs[LPU_CHAIN_INPUTS];
  struct lpu_step steps[LPU_CHAIN_STEPS];
  struct lpu_result results[LPU_CHAIN_RESULTS];
  int32_t input_count, step_count, result_count;
};
void lpu_chain_begin(struct lpu_chain *chain, int32_t chip, int32_t n);
struct lpu_operand lpu_chain_input(struct lpu_chain *chain, struct lpu_tensor *tensor, int32_t offset, int32_t stride);
struct lpu_operand lpu_chain_via(struct lpu_chain *chain, struct lpu_tensor *tensor, int32_t offset, int32_t stride,
                                 enum lpu_via via, int32_t amount);
struct lpu_operand lpu_chain_number(float value);
struct lpu_operand lpu_chain_step(struct lpu_chain *chain, enum td_lpu_alu operation, struct lpu_operand a,
                                  struct lpu_operand b, struct lpu_operand c);
/* a <= b ? c : otherwise. */
struct lpu_operand lpu_chain_select(struct lpu_chain *chain, struct lpu_operand a, struct lpu_operand b,
                                    struct lpu_operand c, float otherwise);
/* Returns the result's index, for patches and taps. */
int32_t lpu_chain_result(struct lpu_chain *chain, struct lpu_operand step, struct lpu_tensor *tensor, int32_t offset,
                         int32_t stride);
/* Places and emits it; where the iterations are in each other's way, in halves, one after the other. */
td_status lpu_chain_run(struct lpu_builder *builder, struct lpu_chain *chain);

/* ---- products ---- */
/* The installed side: tiles of `parts` k parts x `blocks` n blocks, images in that order from `image` on (part
 * fastest). Part p has `steps` LOAD steps (the last one last_steps). With `pieces` each tile is so many images, one
 * after another, of LPU_PIECE slices each: LOAD's streams come from them in turn. */
#define LPU_PIECE 4
struct lpu_tiles {
  int32_t image, parts, blocks, steps, last_steps, pieces;
  bool one_image;        /* all parts are in `image`, part p from word p * steps on */
  enum td_lpu_type type; /* I8, F16, W8, F8, WF8 */
  bool columns;
  int32_t half; /* columns: of the lanes */
  uint16_t patch, last_patch;
};
struct lpu_product {
  int32_t chip, rows;
  int32_t plane;               /* -1: each block's own, lpu_tile_plane */
  int32_t first_block, blocks; /* of the tiles, to be done */
  bool crosses;  /* of blocks that hemispheres cannot share evenly, the last one is done in the other hemisphere */
  bool separate; /* every part's sums leave by themselves: y's vector moves by y_part_stride too */
  struct lpu_tiles tiles;
  struct lpu_tensor *x;         /* F16, I8 or F8; row r's vector b: offset + r * row_stride + b */
  struct lpu_tensor *const *xs; /* or NULL: x. Vector b is in xs[b] at offset + r * row_stride */
  struct lpu_tensor *twin;      /* a copy of x for the planes of the other hemisphere; NULL: none */
  int32_t x_offset, x_row_stride;
  struct lpu_tensor *y; /* F32 or I32; row r's vector b: offset + r * row_stride + b * block_stride */
  int32_t y_offset, y_row_stride, y_block_stride, y_part_stride;
};
/* Whether tiles of a type are one plane's, with all lanes as k; else a pair's. */
static inline bool lpu_one_plane(enum td_lpu_type tiles) {
  return tiles == TD_LPU_I8 || tiles == TD_LPU_F8;
}
td_status lpu_product_run(struct lpu_builder *builder, const struct lpu_product *product);
/* Parts [first_part, end_part) of one block, on the product's plane. */
struct lpu_unit {
  const struct lpu_product *product;
  int32_t block, first_part, end_part;
};
/* Units on one plane, each tile loaded before the passes of the tile before: where rows pass for longer than a load
 * takes, the streams have no other gap. */
td_status lpu_units_run(struct lpu_builder *builder, const struct lpu_unit *units, int32_t count);
/* Tiles lie in the outer 2 * load_vectors slices of a hemisphere, in those whose streams feed the plane: from this one
 * on. */
int32_t lpu_weight_slice(const struct td_lpu_machine *machine);
/* The plane (of an fp16 pair, the even one) that the slices of a tile feed. Where they feed several, blocks take turns.
 */
int32_t lpu_tile_plane(const struct td_lpu_machine *machine, const struct td_lpu_image *image,
                       const struct lpu_tiles *tiles, int32_t block);

#endif
