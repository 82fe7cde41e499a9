/* SPDX-License-Identifier: Apache-2.0
 *
 * The description of an LPU: an SRAM-resident, statically scheduled chip and the links between such chips. A device
 * file with kind = "lpu" holds it; every number there has a unit, a source, an evidence grade and a range, and what
 * vendors do not publish is such a number too, never a constant in code.
 *
 * Space. A chip is a row of functional slices along one axis, counted in stream hops from the west edge:
 *
 *   links  matrix  switch  memory (far .. near)  VECTOR  memory (near .. far)  switch  matrix  links
 *   \____________ hemisphere 0, "west" ________/        \___________ hemisphere 1, "east" ________/
 *
 * Links share the matrix planes' position. A memory slice is (hemisphere, index), index 0 next to the vector unit;
 * `mem_slices_per_hop` neighbours share a position.
 *
 * Time. An instruction issued in cycle t works on superlane s in t + s; the units run in that stagger, so a schedule
 * speaks of superlane 0 only. Operations that mix superlanes (pass, permute, shift across superlanes) restart the
 * stagger: their delay `func` >= superlanes, or the device file is refused.
 *
 * A machine is plain data: read-only after opening, usable from any thread.
 */
#ifndef TANDEM_LPU_MACHINE_H
#define TANDEM_LPU_MACHINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/devices.h"
#include "tandem/status.h"

#define TD_LPU_HEMISPHERES 2
#define TD_LPU_MOST_LANES 512
#define TD_LPU_MOST_STREAMS 64 /* per direction */
#define TD_LPU_MOST_PLANES 16
#define TD_LPU_MOST_ALUS 64
#define TD_LPU_MOST_LINKS 128
#define TD_LPU_MOST_LEVELS 6
#define TD_LPU_MOST_CHIPS 16384 /* of a system */

/* What a unit can be told. The delays of a device file are per opcode. */
enum td_lpu_opcode {
  TD_LPU_MEMORY,    /* read a word to a stream, write a stream to a word, or both (in different banks) */
  TD_LPU_LOAD,      /* matrix: streams -> one step of a plane's weight buffer */
  TD_LPU_INSTALL,   /* matrix: weight buffer -> array */
  TD_LPU_PASS,      /* matrix: one activation vector times the array */
  TD_LPU_SUM,       /* matrix: what a pass gave, into an accumulator and (or) onto streams */
  TD_LPU_ALU,       /* vector unit: one operation, enum td_lpu_alu */
  TD_LPU_ROTATE,    /* switch: lanes inside each superlane, by n; func without crossing superlanes */
  TD_LPU_SHIFT,     /* switch: all lanes by n, zeros come in */
  TD_LPU_PERMUTE,   /* switch: lane l takes lane map[l], or 0 where map[l] is -1 */
  TD_LPU_SELECT,    /* switch: lane l takes stream a where map[l] >= 0, else stream b */
  TD_LPU_TRANSPOSE, /* switch: 16 streams x 16 lanes of each superlane */
  TD_LPU_SEND,      /* link: one vector out */
  TD_LPU_RECEIVE,   /* link: one vector in */
  TD_LPU_OPCODE_COUNT
};
const char *td_lpu_opcode_name(enum td_lpu_opcode opcode);

/* What the vector unit's ALUs do; each has its own delay. Two operands a, b, or three. F32 unless it says i32. */
enum td_lpu_alu {
  TD_ALU_MOVE, /* a: a delay, or streams to other streams */
  TD_ALU_ADD,
  TD_ALU_SUB,
  TD_ALU_MUL,
  TD_ALU_MAX,
  TD_ALU_MIN,
  TD_ALU_ABS,
  TD_ALU_SELECT_LE, /* a <= b ? c : the immediate */
  TD_ALU_EXP,       /* e^a; the elementary functions are tandem/lpu_math.h's, to the bit */
  TD_ALU_RSQRT,
  TD_ALU_RECIPROCAL, /* of a > 0 */
  TD_ALU_TANH,
  TD_ALU_SIGMOID,
  TD_ALU_TO_I32,  /* f32 -> i32, nearest even; an error beyond the range */
  TD_ALU_TO_F32,  /* i32 -> f32, nearest even */
  TD_ALU_ADD_I32, /* wrapping is an error */
  TD_ALU_SUB_I32,
  TD_ALU_SHIFT_I32, /* a << b for b >= 0, else a >> -b, arithmetic */
  TD_ALU_COUNT
};
const char *td_lpu_alu_name(enum td_lpu_alu operation);

struct td_lpu_delay {
  int32_t skew; /* cycles from issue to reading the operand streams */
  int32_t func; /* cycles from issue to the result on its stream (LOAD: in the buffer; PASS: before the accumulators) */
};

/* Functional units, for occupancy and power. */
enum td_lpu_unit { TD_UNIT_MEMORY, TD_UNIT_MATRIX, TD_UNIT_VECTOR, TD_UNIT_SWITCH, TD_UNIT_LINK, TD_LPU_UNIT_COUNT };
const char *td_lpu_unit_name(enum td_lpu_unit unit);

/* How a system is wired, from the inside out. A unit of the first level is a chip, one of every other level a whole
 * group of the level below: `units` of them make a group, and every chip has `links` of its links in this level. The
 * ports of a unit, all of its chips' links of the level, are dealt out evenly to the units it is wired with: ALL: every
 * other one, those that stand by (`spares`) too; RING: the next and the one before; MESH: rows of `columns` units,
 * numbered there and back (so that each stands beside the next), each wired with those to its sides, above and below.
 * Ports are cabled so that a chip and the one numbered next to it are always neighbours; docs/lpu.md, Systems. */
enum td_lpu_wiring { TD_WIRED_ALL, TD_WIRED_RING, TD_WIRED_MESH, TD_LPU_WIRING_COUNT };
const char *td_lpu_wiring_name(enum td_lpu_wiring wiring);
struct td_lpu_level {
  char name[16]; /* "node", "rack" */
  int32_t wiring;
  int32_t units, spares, columns, links; /* columns: 0 but for MESH */
};

struct td_lpu_machine {
  char name[TD_NAME_BYTES]; /* of the device file */
  double clock_hz;
  /* lanes and streams */
  int32_t superlanes, lanes_per_superlane, lanes; /* lanes = product: a vector is one byte per lane */
  int32_t streams;                                /* per direction */
  /* memory */
  int32_t mem_slices;                               /* per chip, half of them in each hemisphere */
  int32_t mem_slices_per_hop, mem_words, mem_banks; /* bank of a word: word / (mem_words / mem_banks) */
  /* matrix planes: plane p is in hemisphere p / (planes / 2). An int8 plane is plane_k x lanes; planes 2i and 2i + 1
   * together are one fp16 plane of plane_k / 2 x lanes, which plane 2i's queues drive (either's LOAD queue fills it) */
  int32_t planes, plane_k, load_vectors; /* vectors one LOAD takes: 16 */
  int32_t install_cycles;                /* pass slots an install takes */
  int32_t accumulator_depth;             /* 32-bit vectors a plane; an fp16 plane has those of both its planes */
  int32_t transpose_cycles;              /* what a `cols` load takes longer */
  /* vector unit, switches (one per hemisphere) */
  int32_t alus;
  int32_t switch_functions;   /* queues of a switch: 4 = rotate and shift, permute, select, transpose */
  int32_t instruction_queues; /* all of a chip; the sum of the units' is checked against it */
  struct td_lpu_delay delay[TD_LPU_OPCODE_COUNT];
  int32_t memory_write_skew;      /* MEMORY: cycles from issue to reading the stream that is written */
  int32_t alu_func[TD_ALU_COUNT]; /* instead of delay[TD_LPU_ALU].func */
  /* links: link i is in hemisphere i % 2 */
  int32_t links, links_used;    /* on the chip; wired in a system */
  double link_bytes_per_second; /* per direction */
  int32_t link_overhead_bytes;  /* per vector */
  int32_t link_latency;         /* cycles from SEND's issue to RECEIVE's on a direct neighbour */
  double link_hop_seconds;      /* one more chip on the way */
  int32_t link_epoch;           /* cycles between alignment exchanges: programs start at a multiple */
  int32_t link_slack;           /* cycles of drift that a receive waits out, part of link_latency */
  int32_t node_chips;           /* chips that are wired all to all */
  /* what a chip takes from its host and gives to it, per direction, and how long an empty transfer takes; 0: unknown */
  double host_bytes_per_second, host_latency_seconds;
  /* power, W: while a unit works (a memory slice, a plane, an ALU of all lanes, a switch function, a link), while it
   * does not, and what a chip takes besides */
  double power_active[TD_LPU_UNIT_COUNT], power_idle[TD_LPU_UNIT_COUNT], power_base;
  bool has_power;
  /* the system it is a chip of; 0 levels: none, programs wire their chips as a ring (td_lpu_link_peer) */
  int32_t levels, system_chips; /* chips: the product of all levels' units; 0: no system, any number */
  struct td_lpu_level level[TD_LPU_MOST_LEVELS];
};

/* The rows of a device file's `lpu` group, for reading, printing and sensitivity studies: name, value in base units,
 * range, evidence, source. *out_quantity is inside the params. False when `row` is past the last. */
bool td_lpu_machine_quantity(const struct td_device_params *params, int32_t row, const char **out_name,
                             const struct td_quantity **out_quantity);

/* The machine of an opened device file (owned by the params), or NULL if it is neither of kind "lpu" nor a system of
 * such chips (kind "lpu-system", or "rack" with a wiring): then it has their chip's numbers and the wiring.
 * td_device_params_open has checked it: every bound above, queues that add up, planes pairable, delays >= superlanes
 * where superlanes mix, links enough for the wiring. */
const struct td_lpu_machine *td_lpu_machine_of(const struct td_device_params *params);
/* The same with parameters replaced: "name=value" in base units, each inside its declared range. TD_CONFIG names the
 * parameter, its value and the range. */
td_status td_lpu_machine_vary(const struct td_device_params *params, const char *const *sets, int32_t set_count,
                              struct td_lpu_machine *out);
/* TD_CONFIG, naming the parameter, if no LPU can be like this: for a machine that came from elsewhere than a device
 * file. td_device_params_open and td_lpu_machine_vary have done it. */
td_status td_lpu_machine_check(const struct td_lpu_machine *machine);
/* 64-bit FNV-1a over all fields: what a program is bound to. */
uint64_t td_lpu_machine_digest(const struct td_lpu_machine *machine);

/* ---- geometry: positions in stream hops, 0 = the west edge ---- */
int32_t td_lpu_positions(const struct td_lpu_machine *machine); /* of the chip: one more than the last position */
int32_t td_lpu_vector_position(const struct td_lpu_machine *machine);
int32_t td_lpu_memory_position(const struct td_lpu_machine *machine, int32_t hemisphere, int32_t index);
int32_t td_lpu_switch_position(const struct td_lpu_machine *machine, int32_t hemisphere);
int32_t td_lpu_matrix_position(const struct td_lpu_machine *machine, int32_t hemisphere); /* and of its links */

/* ---- queues: every instruction names one; numbers are dense, 0 .. instruction_queues - 1 ---- */
enum td_lpu_matrix_queue { TD_MATRIX_LOAD, TD_MATRIX_INSTALL, TD_MATRIX_PASS, TD_MATRIX_SUM, TD_MATRIX_QUEUES };
enum td_lpu_switch_queue { TD_SWITCH_SHIFT, TD_SWITCH_PERMUTE, TD_SWITCH_SELECT, TD_SWITCH_TRANSPOSE };
struct td_lpu_queue {
  enum td_lpu_unit unit;
  int32_t hemisphere; /* VECTOR: -1 */
  int32_t index;      /* memory: slice in its hemisphere; matrix: plane of the chip; vector: ALU; switch: 0; link */
  int32_t function;   /* enum td_lpu_matrix_queue or td_lpu_switch_queue, else 0 */
  int32_t position;
};
int32_t td_lpu_memory_queue(const struct td_lpu_machine *machine, int32_t hemisphere, int32_t index);
int32_t td_lpu_matrix_queue(const struct td_lpu_machine *machine, int32_t plane, enum td_lpu_matrix_queue function);
int32_t td_lpu_vector_queue(const struct td_lpu_machine *machine, int32_t alu);
int32_t td_lpu_switch_queue(const struct td_lpu_machine *machine, int32_t hemisphere,
                            enum td_lpu_switch_queue function);
int32_t td_lpu_link_queue(const struct td_lpu_machine *machine, int32_t link);
/* The inverse; false if there is no such queue. */
bool td_lpu_queue_at(const struct td_lpu_machine *machine, int32_t queue, struct td_lpu_queue *out);

/* Whether instructions of this opcode (one that exists) stand in this queue. */
bool td_lpu_queue_takes(const struct td_lpu_queue *queue, enum td_lpu_opcode opcode);

/* ---- wiring ---- */
/* The far end of link `link` of chip `chip` of a program on `chips` chips, the first ones of the system: what is sent
 * on one end is received on the other, and the other way round. False if that link is not wired, or leads to a chip
 * that is not in the program. Without levels the chips are a ring: even link i of chip c with odd link i + 1 of chip
 * (c + 1) % chips, in both directions; not wired are links that are not, or whose far end is not, among links_used, and
 * those of one chip alone. */
bool td_lpu_link_peer(const struct td_lpu_machine *machine, int32_t chips, int32_t chip, int32_t link,
                      int32_t *out_chip, int32_t *out_link);
/* Cycles from a vector's SEND to the SEND with which the chip that got it passes it on, at least: link_hop of a machine
 * with levels; 0 without. What the compiler plans with, not a rule. */
int32_t td_lpu_hop_cycles(const struct td_lpu_machine *machine);
/* How many hops are between two chips, over direct links and as few as possible; of routes alike, that over the chip
 * reached first, from low links to high ones. For every chip: */
struct td_lpu_reached {
  int32_t hops;       /* 0: the first chip itself; -1: no way */
  int32_t chip, link; /* the last hop: this link of that chip */
};
td_status td_lpu_reach(const struct td_lpu_machine *machine, int32_t chips, int32_t from, struct td_lpu_reached out[]);
/* A route of those, from the first chip's link on; *out_count hops, at most `most`. TD_NOT_FOUND: no way. */
struct td_lpu_hop {
  int32_t chip, link;
};
td_status td_lpu_route(const struct td_lpu_machine *machine, int32_t chips, int32_t from, int32_t to,
                       struct td_lpu_hop out[], int32_t most, int32_t *out_count);

/* ---- what follows from the numbers alone ---- */
struct td_lpu_rates {
  int64_t sram_bytes;             /* v1: 230,686,720 = 220 MiB */
  int64_t sram_bytes_per_cycle;   /* every bank of every slice: 56,320 */
  int64_t stream_bytes_per_cycle; /* both directions: 20,480 */
  int64_t macs_int8, macs_f16;    /* per cycle: 409,600 and 102,400 */
  int64_t install_cycles_full;    /* all planes anew at stream rate: 20 */
  int64_t link_vector_cycles;     /* spacing of vectors on a link: 24 */
};
void td_lpu_machine_rates(const struct td_lpu_machine *machine, struct td_lpu_rates *out);

#endif
