/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: the `lpu` group of a device file, one table for reading, checking, varying and printing.
 */
#ifndef TANDEM_COST_LPU_TABLE_H
#define TANDEM_COST_LPU_TABLE_H

#include "quantity.h"
#include "tandem/lpu_machine.h"

/* Key, dimension, least and most value in base units, field of struct td_lpu_machine, meaning. COUNT, CYCLES and BYTES
 * are whole numbers. WATTS may be left out, all together, and so may the host's. */
#define TD_LPU_NUMBERS(X)                                                                                          \
  X(clock, HERTZ, 1e3, 1e12, clock_hz, "cycles a second")                                                          \
  X(superlanes, COUNT, 1, 32, superlanes, "rows of tiles that an instruction passes, one a cycle")                 \
  X(lanes_per_superlane, COUNT, 16, 16, lanes_per_superlane, "lanes of a superlane; the transposer is 16 x 16")    \
  X(streams, COUNT, 16, TD_LPU_MOST_STREAMS, streams, "streams per direction, a byte a lane each")                 \
  X(mem_slices, COUNT, 2, 512, mem_slices, "memory slices of a chip, both hemispheres")                            \
  X(mem_slices_per_hop, COUNT, 1, 256, mem_slices_per_hop, "neighbouring slices that one stream hop passes")       \
  X(mem_words, COUNT, 16, 1048576, mem_words, "words of a slice, a vector each")                                   \
  X(mem_banks, COUNT, 1, 64, mem_banks, "banks of a slice: a read and a write in one cycle need two")              \
  X(planes, COUNT, 4, TD_LPU_MOST_PLANES, planes, "matrix planes of a chip, both hemispheres")                     \
  X(plane_k, COUNT, 16, TD_LPU_MOST_LANES, plane_k, "length of the dot products of an int8 pass")                  \
  X(load_vectors, COUNT, 1, 32, load_vectors, "vectors that one load takes")                                       \
  X(install_cycles, CYCLES, 1, 1000, install_cycles, "pass slots that an install takes")                           \
  X(accumulator_depth, COUNT, 1, 65536, accumulator_depth, "32-bit vectors that a plane accumulates into")         \
  X(transpose_cycles, CYCLES, 1, 10000, transpose_cycles, "what a load by columns takes longer")                   \
  X(alus, COUNT, 1, TD_LPU_MOST_ALUS, alus, "ALUs of a lane")                                                      \
  X(switch_functions, COUNT, 4, 4, switch_functions, "queues of a switch: shift, permute, select, transpose")      \
  X(instruction_queues, COUNT, 1, 65535, instruction_queues, "queues of a chip: the units' must add up to it")     \
  X(memory_func, CYCLES, 1, 10000, delay[TD_LPU_MEMORY].func, "issue of a read to the word on its stream")         \
  X(memory_write_skew, CYCLES, 0, 10000, memory_write_skew, "issue of a write to reading its stream")              \
  X(load_skew, CYCLES, 0, 10000, delay[TD_LPU_LOAD].skew, "issue of a load to reading its streams")                \
  X(load_func, CYCLES, 1, 10000, delay[TD_LPU_LOAD].func, "issue of a load to the weights in the buffer")          \
  X(pass_skew, CYCLES, 0, 10000, delay[TD_LPU_PASS].skew, "issue of a pass to reading its stream")                 \
  X(pass_func, CYCLES, 1, 10000, delay[TD_LPU_PASS].func, "issue of a pass to the sums before the accumulators")   \
  X(sum_func, CYCLES, 1, 10000, delay[TD_LPU_SUM].func, "issue of a sum to the row on its streams")                \
  X(alu_skew, CYCLES, 0, 10000, delay[TD_LPU_ALU].skew, "issue of an ALU operation to reading its operands")       \
  X(alu_move, CYCLES, 1, 10000, alu_func[TD_ALU_MOVE], "issue to result")                                          \
  X(alu_add, CYCLES, 1, 10000, alu_func[TD_ALU_ADD], "issue to result")                                            \
  X(alu_sub, CYCLES, 1, 10000, alu_func[TD_ALU_SUB], "issue to result")                                            \
  X(alu_mul, CYCLES, 1, 10000, alu_func[TD_ALU_MUL], "issue to result")                                            \
  X(alu_max, CYCLES, 1, 10000, alu_func[TD_ALU_MAX], "issue to result")                                            \
  X(alu_min, CYCLES, 1, 10000, alu_func[TD_ALU_MIN], "issue to result")                                            \
  X(alu_abs, CYCLES, 1, 10000, alu_func[TD_ALU_ABS], "issue to result")                                            \
  X(alu_select_le, CYCLES, 1, 10000, alu_func[TD_ALU_SELECT_LE], "issue to result")                                \
  X(alu_exp, CYCLES, 1, 10000, alu_func[TD_ALU_EXP], "issue to result")                                            \
  X(alu_rsqrt, CYCLES, 1, 10000, alu_func[TD_ALU_RSQRT], "issue to result")                                        \
  X(alu_reciprocal, CYCLES, 1, 10000, alu_func[TD_ALU_RECIPROCAL], "issue to result")                              \
  X(alu_tanh, CYCLES, 1, 10000, alu_func[TD_ALU_TANH], "issue to result")                                          \
  X(alu_sigmoid, CYCLES, 1, 10000, alu_func[TD_ALU_SIGMOID], "issue to result")                                    \
  X(alu_to_i32, CYCLES, 1, 10000, alu_func[TD_ALU_TO_I32], "issue to result")                                      \
  X(alu_to_f32, CYCLES, 1, 10000, alu_func[TD_ALU_TO_F32], "issue to result")                                      \
  X(alu_add_i32, CYCLES, 1, 10000, alu_func[TD_ALU_ADD_I32], "issue to result")                                    \
  X(alu_sub_i32, CYCLES, 1, 10000, alu_func[TD_ALU_SUB_I32], "issue to result")                                    \
  X(alu_shift_i32, CYCLES, 1, 10000, alu_func[TD_ALU_SHIFT_I32], "issue to result")                                \
  X(rotate_skew, CYCLES, 0, 10000, delay[TD_LPU_ROTATE].skew, "issue to reading its streams")                      \
  X(rotate_func, CYCLES, 1, 10000, delay[TD_LPU_ROTATE].func, "issue to result")                                   \
  X(shift_skew, CYCLES, 0, 10000, delay[TD_LPU_SHIFT].skew, "issue to reading its streams")                        \
  X(shift_func, CYCLES, 1, 10000, delay[TD_LPU_SHIFT].func, "issue to result; crosses superlanes")                 \
  X(permute_skew, CYCLES, 0, 10000, delay[TD_LPU_PERMUTE].skew, "issue to reading its streams")                    \
  X(permute_func, CYCLES, 1, 10000, delay[TD_LPU_PERMUTE].func, "issue to result; crosses superlanes")             \
  X(select_skew, CYCLES, 0, 10000, delay[TD_LPU_SELECT].skew, "issue to reading its streams")                      \
  X(select_func, CYCLES, 1, 10000, delay[TD_LPU_SELECT].func, "issue to result")                                   \
  X(transpose_skew, CYCLES, 0, 10000, delay[TD_LPU_TRANSPOSE].skew, "issue to reading its streams")                \
  X(transpose_func, CYCLES, 1, 10000, delay[TD_LPU_TRANSPOSE].func, "issue to result")                             \
  X(send_skew, CYCLES, 0, 10000, delay[TD_LPU_SEND].skew, "issue of a send to reading its stream")                 \
  X(receive_func, CYCLES, 1, 10000, delay[TD_LPU_RECEIVE].func, "issue of a receive to the vector on its stream")  \
  X(links, COUNT, 0, TD_LPU_MOST_LINKS, links, "links of a chip")                                                  \
  X(links_used, COUNT, 0, TD_LPU_MOST_LINKS, links_used, "links that are wired in a system")                       \
  X(link_rate, BYTES_PER_SECOND, 1, 1e15, link_bytes_per_second, "rate of a link per direction")                   \
  X(link_overhead, BYTES, 0, 4096, link_overhead_bytes, "what a vector takes on a link besides its lanes")         \
  X(link_latency, CYCLES, 1, 1e6, link_latency, "issue of a send to that of the neighbour's receive")              \
  X(link_hop, SECONDS, 0, 1, link_hop_seconds, "time of one more chip on the way")                                 \
  X(link_epoch, CYCLES, 1, 1e6, link_epoch, "between alignment exchanges: programs start at a multiple")           \
  X(link_slack, CYCLES, 0, 1e6, link_slack, "drift that a receive waits out, part of link_latency")                \
  X(node_chips, COUNT, 1, TD_LPU_MOST_LINKS + 1, node_chips, "chips that are wired all to all")                    \
  X(host_rate, BYTES_PER_SECOND, 0, 1e15, host_bytes_per_second, "rate of a chip's way to its host per direction") \
  X(host_latency, SECONDS, 0, 1, host_latency_seconds, "time of an empty transfer from or to the host")            \
  X(power_memory_active, WATTS, 0, 1e6, power_active[TD_UNIT_MEMORY], "a memory slice that reads or writes")       \
  X(power_memory_idle, WATTS, 0, 1e6, power_idle[TD_UNIT_MEMORY], "a memory slice that holds")                     \
  X(power_matrix_active, WATTS, 0, 1e6, power_active[TD_UNIT_MATRIX], "a plane that loads or multiplies")          \
  X(power_matrix_idle, WATTS, 0, 1e6, power_idle[TD_UNIT_MATRIX], "a plane that does not")                         \
  X(power_vector_active, WATTS, 0, 1e6, power_active[TD_UNIT_VECTOR], "an ALU of all lanes that works")            \
  X(power_vector_idle, WATTS, 0, 1e6, power_idle[TD_UNIT_VECTOR], "an ALU of all lanes that does not")             \
  X(power_switch_active, WATTS, 0, 1e6, power_active[TD_UNIT_SWITCH], "a switch function that works")              \
  X(power_switch_idle, WATTS, 0, 1e6, power_idle[TD_UNIT_SWITCH], "a switch function that does not")               \
  X(power_link_active, WATTS, 0, 1e6, power_active[TD_UNIT_LINK], "a link that carries a vector")                  \
  X(power_link_idle, WATTS, 0, 1e6, power_idle[TD_UNIT_LINK], "a link that does not")                              \
  X(power_base, WATTS, 0, 1e6, power_base, "what a chip takes besides: clocks, dispatch, host interface")

#define TD_LPU_NUMBER_ID(name, ...) TD_LPU_##name##_ROW,
enum td_lpu_number { TD_LPU_NUMBERS(TD_LPU_NUMBER_ID) TD_LPU_NUMBER_COUNT };
#undef TD_LPU_NUMBER_ID

struct td_lpu_number_row {
  struct td_quantity_row quantity; /* name, help, dimension, least, most; offset is in struct td_lpu_machine */
  bool whole;                      /* the field is an int32_t, else a double */
};
extern const struct td_lpu_number_row td_lpu_number_rows[TD_LPU_NUMBER_COUNT];
extern const struct td_option_group td_lpu_group; /* reads a struct td_lpu_file */

/* Of one level of a system's wiring. */
struct td_lpu_level_numbers {
  struct td_quantity units, spares, columns, links;
};

/* What struct td_device_params points to. Of a system, `numbers` are its chip's. */
struct td_lpu_params {
  struct td_quantity numbers[TD_LPU_NUMBER_COUNT];
  struct td_lpu_level_numbers levels[TD_LPU_MOST_LEVELS];
  struct td_lpu_machine machine;
};

/* Reads and checks the group; `params->name` is set. */
td_status td_lpu_take(const struct td_config *config, const struct td_lpu_file *file, const char *name,
                      struct td_lpu_params *out);

/* The first thing that no LPU can be. */
struct td_lpu_fault {
  enum td_lpu_number row; /* TD_LPU_NUMBER_COUNT: none */
  char text[200];
};
void td_lpu_check_machine(const struct td_lpu_machine *machine, struct td_lpu_fault *out);

void td_lpu_set_number(struct td_lpu_machine *machine, const struct td_lpu_number_row *row, double value);
/* What the fields without a row are. */
void td_lpu_complete(struct td_lpu_machine *machine);

void td_lpu_print_rates(const struct td_lpu_machine *machine, FILE *out);
void td_lpu_json_rates(const struct td_lpu_machine *machine, FILE *out);

#endif
