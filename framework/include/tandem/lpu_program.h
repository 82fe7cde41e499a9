/* SPDX-License-Identifier: Apache-2.0
 *
 * The LPU program: what the compiler writes, the checker checks, the emulator executes and `price` reads the length of.
 *
 * A program is data without branches. Instructions stand in SEGMENTS (a layer's body, the work on one KV block), with
 * cycles counted from the segment's start. LINKS call segments one after another, in loops over layers, rows of the
 * batch and KV blocks; PATCHES move addresses by the loops' variables, so a longer context is not another program. An
 * ENTRY is where a step of up to `rows` rows starts. Where SRAM has no room for the outputs of all rows, a step is a
 * CHAIN of entries: the host reads the rows that one gives before it starts the next.
 *
 * Streams. What an instruction puts on stream (direction, i) at position p in cycle t is at p + k (east) or p - k
 * (west) in cycle t + k, until another producer writes that moving slot or it leaves the chip. Reading does not
 * consume; a reader sees what was there before a producer of the same cycle; two producers of one slot in one cycle and
 * place are an error. A 16-bit operand is an aligned pair of streams (low byte first), a 32-bit one an aligned quad.
 *
 * Cycles of an instruction issued at t, with the delays of its opcode: operand streams are read in t + skew as they
 * pass the unit, results are on their streams, at the unit, in t + func. Iteration r of `repeat` is issued at
 * cycle + r * gap with addresses address + r * stride; a queue is busy until its last iteration.
 *
 *  MEMORY    reads word address[0] as it is in t, onto `out`, and (or) takes the vector on in[0] in t +
 *            memory_write_skew into word address[1]; later issued reads see it from the cycle after that on. Ports and
 *            banks count in t.
 *  LOAD      takes load_vectors vectors from streams in[0], in[0] + 1, ... (pairs for TD_LPU_F16) into step address[0]
 *            of its plane's buffer. Rows: vector j of step c is k = load_vectors * c + j, its lanes are n. Columns
 *            (TD_LPU_COLUMNS, transpose_cycles later): vector j of step c is n = load_vectors * c + j, its lanes are k:
 *            for an fp16 plane, half `half` of the lanes. Steps that were not loaded since the last install are zero.
 *            Types: TD_LPU_I8: an int8 plane; TD_LPU_F16: an fp16 plane from pairs; TD_LPU_W8: an fp16 plane from
 *            int8 vectors, widened on the way. An fp16 plane's buffer is filled by the LOAD queues of both its planes.
 *  INSTALL   buffer (complete in t) -> array; passes issued before t use the old array, those from t +
 *            install_cycles on the new one, none may be issued between. The buffer is empty from t + 1 on.
 *  PASS      in[0] (TD_LPU_F16: a pair, of which half `half` of the lanes is k) times the array: a row of sums,
 *            int32 exact, or float32: the products of the pass summed in float64 in ascending k, rounded once.
 *  SUM       takes the row that the PASS issued at t - func(PASS) gave. TD_LPU_ADD: plus accumulator address[0];
 *            TD_LPU_KEEP: into it; TD_LPU_EMIT: onto the quad `out` in t + func. Accumulators are read and written
 *            in t.
 *  ALU       `operation` on in[], each a stream group widened to 32 bits by its type, another ALU's result of that
 *            very cycle (TD_SOURCE_CHAIN: in[] = ALU; it is there in t' + func(operation) only) or the immediate;
 *            the result is narrowed to out_type (rounded to nearest even; out of range is an error) onto `out`, if any.
 *            F32, F16 and W8 widen to floats, I32 and I8 to integers; only TO_F32 and the I32 operations take integers,
 *            MOVE either. Floats go out as F32, F16, I8 or W8, integers as I32 or I8 (docs/lpu-numerics.md).
 *  ROTATE    lane l of a superlane takes lane (l + immediate) modulo lanes_per_superlane. SHIFT: lane l of the vector
 *            takes lane l + immediate, or 0. PERMUTE, SELECT: map address[0]. All move elements of `width` streams.
 *  TRANSPOSE 16 single streams from in[0]: out stream i, lane l of each superlane = in stream l, lane i.
 *  SEND      the vector on in[0] leaves by the link; the far end's RECEIVE is issued exactly link latency later and
 *            puts it on `out`.
 */
#ifndef TANDEM_LPU_PROGRAM_H
#define TANDEM_LPU_PROGRAM_H

#include <stdint.h>
#include <stdio.h>

#include "tandem/lpu_machine.h"

/* A stream operand: direction and index. */
#define TD_LPU_NO_STREAM 0xff
#define TD_LPU_EAST 0x40
#define TD_LPU_STREAM_INDEX 0x3f

enum td_lpu_type { TD_LPU_I8, TD_LPU_F16, TD_LPU_F32, TD_LPU_I32, TD_LPU_W8, TD_LPU_TYPE_COUNT };
int32_t td_lpu_type_bytes(enum td_lpu_type type); /* streams of a vector: 1, 2, 4, 4, 1 */

enum td_lpu_source { TD_SOURCE_NONE, TD_SOURCE_STREAM, TD_SOURCE_CHAIN, TD_SOURCE_IMMEDIATE };

enum td_lpu_flag {
  TD_LPU_READ = 1,
  TD_LPU_WRITE = 2,   /* MEMORY */
  TD_LPU_COLUMNS = 4, /* LOAD */
  TD_LPU_ADD = 8,
  TD_LPU_KEEP = 16,
  TD_LPU_EMIT = 32 /* SUM */
};

struct td_lpu_instruction {
  int32_t cycle; /* issue of iteration 0, from the segment's start */
  uint16_t chip; /* added to the link's */
  uint16_t queue;
  uint8_t opcode, operation; /* enum td_lpu_opcode; ALU: enum td_lpu_alu */
  uint8_t flags, type;       /* enum td_lpu_type of LOAD, PASS and SUM (I32 or F32) */
  uint8_t half, width;       /* see above */
  uint8_t in[3], out;        /* first streams, or TD_LPU_NO_STREAM */
  uint8_t source[3];         /* ALU: enum td_lpu_source */
  uint8_t in_type[3], out_type;
  uint16_t patch[2]; /* of address[]: 0 none, else 1 + an index into the segment's patches */
  int32_t repeat;    /* >= 1 */
  int32_t gap;       /* >= 1 */
  int32_t address[2], stride[2];
  int32_t image[2];               /* MEMORY: the image that address[] lies in */
  uint32_t immediate;             /* bits of a float or an int */
  int32_t meaning, meaning_count; /* into the segment's meanings */
};

/* The side table: what an operand means. For iterations [begin, end) of the instruction, operand stream `operand` (0
 * for in[0]'s first stream and counting up through in[0], in[1], in[2] by streams; a CHAIN source counts one) carries
 * stream `component` of what iteration scale * r + offset of instruction `producer` made. Special operands: */
#define TD_MEANING_WORD                                                                                              \
  (-1)                        /* MEMORY read: the word holds what MEMORY write `producer` put there; without such an \
                                entry: what stands in the image since before the segment */
#define TD_MEANING_ARRAY (-2) /* PASS: the array is the one INSTALL `producer` made */
#define TD_MEANING_ROW (-3)   /* SUM: the row is the one PASS `producer` made */
#define TD_MEANING_TOTAL (-4) /* SUM with ADD: the accumulator holds what SUM `producer` kept */
#define TD_MEANING_STEP (-5)  /* INSTALL: buffer step `component` is what LOAD `producer` put there */
#define TD_MEANING_SENT (-6)  /* RECEIVE: what SEND `producer` sent */
/* What else is meant, so that a wrong address shows. May be left out as a whole. MEMORY, PERMUTE, SELECT: component
 * `which`: before patches, address[which] of iteration r is scale * r + offset, for MEMORY counted from the image's
 * first word. Component which + 2 * (1 + v): its patch adds `offset` times variable v; without such an entry 0.
 * Component which + 2 * (1 + TD_LPU_VARIABLES): the patch is for lane `scale` and says `offset` otherwise; without: no
 * lane. PERMUTE, SELECT: component 1: `offset` is the low 31 bits of the FNV-1a digest of the map's lanes, 16 bits
 * each, so that a changed map shows. PASS, LOAD: component 1: the half of the lanes is `offset`, and `scale` is 1 for
 * columns. ALU: component 0: the operation is `offset`. `producer` says nothing. */
#define TD_MEANING_ADDRESS (-7)
#define TD_MEANING_ADDRESS_COMPONENTS (2 * (2 + TD_LPU_VARIABLES))
struct td_lpu_meaning {
  int32_t operand, component;
  int32_t begin, end;
  int32_t producer, scale, offset;
};

/* What addresses move by. */
enum td_lpu_variable {
  TD_VAR_LAYER,
  TD_VAR_ROW,      /* of the batch */
  TD_VAR_BLOCK,    /* ordinal of a KV block of the row's sequence */
  TD_VAR_KV_BLOCK, /* the number of the KV block: the row's blocks[BLOCK], in an append the block of its position */
  TD_VAR_POSITION, /* of the row's token */
  TD_VAR_SLOT,     /* position % block_tokens / load_vectors: the word row of a KV block that an append writes */
  TD_LPU_VARIABLES
};
/* address += sum coefficient[v] * v. A loop around the segment begins at low[v] and, if its count is not the step's,
 * ends at high[v]. With lane >= 0 only in steps where position % load_vectors == lane; in others the
 * address is `otherwise`: an append writes all slices of a group, one for real, the others into a scratch word. */
struct td_lpu_patch {
  int32_t coefficient[TD_LPU_VARIABLES];
  int32_t low[TD_LPU_VARIABLES], high[TD_LPU_VARIABLES]; /* what the variables may be, inclusive: checked at the ends */
  int32_t lane, otherwise;
};

struct td_lpu_segment {
  char name[32];
  int32_t length;                 /* cycles to the next segment; streams are empty and units idle there, but for: */
  uint32_t arrays_in, arrays_out; /* planes (bits) whose installed arrays are used across the seam */
  struct td_lpu_instruction *instructions; /* ascending by (chip, queue, cycle) */
  int32_t instruction_count;
  struct td_lpu_meaning *meanings;
  int32_t meaning_count;
  struct td_lpu_patch *patches;
  int32_t patch_count;
};

enum td_lpu_link_kind { TD_LINK_RUN, TD_LINK_LOOP, TD_LINK_END };
/* LOOP ... END repeat what is between them for variable = first, first + 1, ...: `count` times; count 0: LAYER never;
 * ROW: the step's rows; BLOCK: the blocks of the current row. Loops nest, at most one per variable. */
struct td_lpu_link {
  int32_t kind;
  int32_t segment, chip; /* RUN */
  int32_t variable, first, count;
};

/* An entry with first_row > 0 continues the step of the entry before it, from an alignment epoch of its own: SRAM is as
 * that left it, and row r of its OUTPUT images is row first_row + r of the step, up to the next entry's first_row. A
 * step that has no such row ends before it. */
struct td_lpu_entry {
  int32_t rows;  /* at most; the steps of fewer rows run as many with masked ones */
  int32_t layer; /* what it computes of the model: -1 a whole step; else the part of this layer that was compiled */
  int32_t link, link_count;
  int32_t first_row;
};

/* A region of SRAM: words [word, word + words) of slices [slice, slice + slices) of one hemisphere. It is nobody
 * else's, but for scratches with different owners, which may lie in the same words. */
enum td_lpu_image_kind {
  TD_IMAGE_WEIGHT,   /* data written when the program is loaded */
  TD_IMAGE_CONSTANT, /* the same: tables of rope, masks, ones */
  TD_IMAGE_KV,       /* zero at the start */
  TD_IMAGE_INPUT,    /* written by the host before each step */
  TD_IMAGE_OUTPUT,   /* read by the host after each step */
  TD_IMAGE_SCRATCH
};
struct td_lpu_image {
  char name[48];
  int32_t kind;
  int32_t chip, hemisphere, slice, slices, word, words;
  int32_t type;       /* enum td_lpu_type of an element; its bytes lie in neighbouring slices, low byte first */
  int32_t rows, cols; /* of the matrix it holds (0: a scratch). A row takes blocks = ceil(cols / lanes) vectors: */
  /* 0: vector v = row * blocks + block is in word v, slices 0 .. bytes - 1. s > 0, what LOAD takes: vector v is in word
   * v / s, slices v % s * bytes .. */
  int32_t by_steps;
  int32_t owner; /* 0: it lives as long as the program. A scratch: or 1 + the segment that alone names it, and in each
                    call writes what it reads there */
  uint64_t data, data_bytes; /* into the program's data: [words][slices][lanes]; 0 bytes: zero */
};

struct td_lpu_map {
  int16_t lane[TD_LPU_MOST_LANES];
};

#define TD_LPU_PROGRAM_VERSION 3
struct td_lpu_program {
  struct td_lpu_machine machine;
  int32_t chips;
  int32_t tensor; /* chips side by side that share their layers' heads: chip c has part c % tensor; divides chips */
  int32_t block_tokens; /* of a KV block: a multiple of load_vectors, at most lanes; 0: no KV */
  /* NULL; or, of a program for timing alone, [chips] the chip whose images are this one's too: they are named once, and
   * segments that run on both name those. Such a program is not saved. */
  int32_t *alike;
  struct td_lpu_image *images;
  int32_t image_count;
  struct td_lpu_map *maps;
  int32_t map_count;
  struct td_lpu_segment *segments;
  int32_t segment_count;
  struct td_lpu_link *links;
  int32_t link_count;
  struct td_lpu_entry *entries;
  int32_t entry_count;
  uint8_t *data;
  uint64_t data_bytes;
};
void td_lpu_program_free(struct td_lpu_program *program); /* NULL is fine; frees what it holds and itself */

/* FILE: magic, version, sizes, arrays little-endian, FNV-1a checksum. Reading never trusts a count: TD_CORRUPT names
 * the field, what was found and what was expected. Written to FILE.part and renamed. */
td_status td_lpu_program_save(const struct td_lpu_program *program, const char *path);
td_status td_lpu_program_open(const char *path, struct td_lpu_program **out_program);
/* As text: one line an instruction, sorted by cycle, with operands by name; `segment` -1: all. */
void td_lpu_program_dump(const struct td_lpu_program *program, int32_t segment, FILE *out);
uint64_t td_lpu_program_digest(const struct td_lpu_program *program); /* FNV-1a of what save writes */

/* ---- a step ---- */

/* What one row of a step is. */
struct td_lpu_row {
  int32_t position;      /* of its token */
  const int32_t *blocks; /* the KV blocks of its sequence, that of the position last or earlier */
  int32_t block_count;   /* that hold positions 0 .. position: position / block_tokens + 1 */
};
struct td_lpu_step {
  const struct td_lpu_row *rows;
  int32_t row_count;
};
/* The entry that a whole step of `rows` rows starts with: the smallest that fits; -1 if none. */
int32_t td_lpu_program_entry(const struct td_lpu_program *program, int32_t rows);
/* The same of one layer's part alone. */
int32_t td_lpu_program_layer_entry(const struct td_lpu_program *program, int32_t layer, int32_t rows);
/* The name of the OUTPUT image of the chip on which an entry ends; NULL if it has none. */
const char *td_lpu_program_output(const struct td_lpu_program *program, int32_t entry);
/* The entry that continues a step of `rows` rows after `entry`; -1: it is done. */
int32_t td_lpu_program_next(const struct td_lpu_program *program, int32_t entry, int32_t rows);
/* How many rows of a step of `rows` rows stand in the OUTPUT images after `entry`, from its first_row on. */
int32_t td_lpu_program_outputs(const struct td_lpu_program *program, int32_t entry, int32_t rows);
/* The closed form: cycles of a step from `entry` on to the end of its chain, each entry from its alignment epoch to the
 * tail of its last instruction. */
int64_t td_lpu_program_cycles(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step);
/* Of those cycles, what each stage is busy, cycles[chips / tensor]: with the runs on its chips and with the ways to it
 * and from it. With a step in every stage, one is done every so many cycles as the slowest of them has. */
void td_lpu_program_stages(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                           int64_t *cycles);

/* Walks the links of one entry of a step in order: calls `run` per RUN with the variables' values (of KV_BLOCK,
 * POSITION, SLOT only inside a loop over rows) and the cycle at which the segment starts. Stops at the first failure.
 */
struct td_lpu_call {
  int32_t segment, chip;
  int64_t cycle;
  int32_t variable[TD_LPU_VARIABLES];
};
td_status td_lpu_program_walk(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                              td_status (*run)(void *context, const struct td_lpu_call *call), void *context);
/* address[which] of an instruction's iteration in a call. */
int32_t td_lpu_address(const struct td_lpu_program *program, const struct td_lpu_call *call,
                       const struct td_lpu_instruction *instruction, int32_t which, int32_t iteration);

#endif
