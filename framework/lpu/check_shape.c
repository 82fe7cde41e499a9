/* SPDX-License-Identifier: Apache-2.0
 *
 * The checker's own reading of the machine: where units stand, which queue is whose, how many cycles things take.
 */
#include <math.h>
#include <stdlib.h>

#include "check.h"

/* A wheel of cycles and a program's memory stay bounded whatever the device file says. */
#define MOST_DELAY (1 << 20)
#define MOST_POSITIONS (1 << 16)

int32_t check_positive_divide(int32_t a, int32_t b) {
  return (a + b - 1) / b;
}

/* The row of units, in hops: matrix and links, switch, memory far .. near, vector unit, and the mirror image. */
static int32_t position_of(const struct check *check, enum td_lpu_unit unit, int32_t hemisphere, int32_t index) {
  int32_t hops = check_positive_divide(check->half_slices, check->machine->mem_slices_per_hop);
  int32_t middle = hops + 2, away = 0;
  if (unit == TD_UNIT_MEMORY) away = 1 + index / check->machine->mem_slices_per_hop;
  if (unit == TD_UNIT_SWITCH) away = hops + 1;
  if (unit == TD_UNIT_MATRIX || unit == TD_UNIT_LINK) away = hops + 2;
  return hemisphere == 0 ? middle - away : middle + away;
}

static void put_place(struct check *check, enum td_lpu_unit unit, int32_t hemisphere, int32_t index, int32_t function) {
  int32_t position = position_of(check, unit, hemisphere, index);
  check->places[check->queues++] = (struct check_place){unit, hemisphere, index, function, position};
}

/* Queues are numbered memory, vector, matrix, switches, links. */
static void put_places(struct check *check) {
  const struct td_lpu_machine *machine = check->machine;
  for (int32_t slice = 0; slice < machine->mem_slices; slice++) {
    put_place(check, TD_UNIT_MEMORY, slice / check->half_slices, slice % check->half_slices, 0);
  }
  for (int32_t alu = 0; alu < machine->alus; alu++) put_place(check, TD_UNIT_VECTOR, -1, alu, 0);
  for (int32_t i = 0; i < machine->planes * TD_MATRIX_QUEUES; i++) {
    int32_t plane = i / TD_MATRIX_QUEUES;
    put_place(check, TD_UNIT_MATRIX, plane >= machine->planes / 2, plane, i % TD_MATRIX_QUEUES);
  }
  for (int32_t i = 0; i < TD_LPU_HEMISPHERES * machine->switch_functions; i++) {
    put_place(check, TD_UNIT_SWITCH, i / machine->switch_functions, 0, i % machine->switch_functions);
  }
  for (int32_t link = 0; link < machine->links; link++) put_place(check, TD_UNIT_LINK, link % 2, link, 0);
}

static int32_t power_above(int32_t value) {
  int32_t power = 1;
  while (power <= value) power *= 2;
  return power;
}

static bool counts_make_sense(const struct td_lpu_machine *machine) {
  const int32_t least_one[] = {machine->superlanes,
                               machine->lanes_per_superlane,
                               machine->lanes,
                               machine->streams,
                               machine->mem_slices_per_hop,
                               machine->mem_slices / 2,
                               machine->mem_words,
                               machine->mem_banks,
                               machine->planes / 2,
                               machine->plane_k / 2,
                               machine->alus,
                               machine->load_vectors,
                               machine->install_cycles,
                               machine->accumulator_depth,
                               machine->switch_functions};
  for (size_t i = 0; i < sizeof least_one / sizeof *least_one; i++) {
    if (least_one[i] < 1 || least_one[i] > MOST_DELAY) return false;
  }
  return machine->lanes <= TD_LPU_MOST_LANES && machine->streams <= TD_LPU_MOST_STREAMS &&
         machine->planes <= TD_LPU_MOST_PLANES && machine->alus <= TD_LPU_MOST_ALUS && machine->links >= 0 &&
         machine->links <= TD_LPU_MOST_LINKS && machine->switch_functions <= 4 && machine->mem_slices < MOST_POSITIONS;
}

/* The longest delay, or -1 if one makes no sense: results do not come before operands, nor buffers in the cycle of
 * issue. */
static int32_t longest_delay(const struct td_lpu_machine *machine) {
  int32_t longest =
      machine->memory_write_skew > machine->link_latency ? machine->memory_write_skew : machine->link_latency;
  if (machine->memory_write_skew < 0 || machine->link_latency < 0 || machine->transpose_cycles < 0) return -1;
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) {
    int32_t skew = machine->delay[i].skew, func = machine->delay[i].func;
    if (skew < 0 || skew > MOST_DELAY || func < 0 || func > MOST_DELAY) return -1;
    if (i != TD_LPU_ALU && i != TD_LPU_SEND && func < skew) return -1;
    if (i == TD_LPU_LOAD) func += machine->transpose_cycles;
    longest = longest > skew ? longest : skew;
    longest = longest > func ? longest : func;
  }
  for (int i = 0; i < TD_ALU_COUNT; i++) {
    if (machine->alu_func[i] < 1 || machine->alu_func[i] < machine->delay[TD_LPU_ALU].skew) return -1;
    longest = longest > machine->alu_func[i] ? longest : machine->alu_func[i];
  }
  return machine->delay[TD_LPU_LOAD].func < 1 || longest > MOST_DELAY ? -1 : longest;
}

static void read_link(struct check *check) {
  const struct td_lpu_machine *machine = check->machine;
  double cycles = (machine->lanes + machine->link_overhead_bytes) * machine->clock_hz / machine->link_bytes_per_second;
  /* A hair of rounding must not cost a cycle. A rate of nothing, or none: nothing ever comes. */
  check->spacing = cycles < MOST_DELAY ? (int32_t)ceil(cycles - 1e-9) : MOST_DELAY + 1;
  if (check->spacing < 1) check->spacing = 1;
  check->most_sent = machine->link_latency / check->spacing + 4;
}

td_status check_shape_machine(struct check *check) {
  const struct td_lpu_machine *machine = check->machine;
  if (!counts_make_sense(machine)) {
    return td_fail(TD_CORRUPT, "program: machine %s has units that no machine has", machine->name);
  }
  int32_t longest = longest_delay(machine);
  if (longest < 0) {
    return td_fail(TD_CORRUPT, "program: machine %s has a delay that is negative, above %d, or ends before it starts",
                   machine->name, MOST_DELAY);
  }
  check->half_slices = machine->mem_slices / 2;
  check->bank_words = check_positive_divide(machine->mem_words, machine->mem_banks);
  check->positions = position_of(check, TD_UNIT_MATRIX, 1, 0) + 1;
  check->ring = power_above(check->positions);
  check->wheel = power_above(longest + 1);
  read_link(check);
  size_t queues = (size_t)machine->mem_slices + (size_t)machine->alus + (size_t)machine->planes * TD_MATRIX_QUEUES +
                  (size_t)machine->switch_functions * 2 + (size_t)machine->links;
  check->places = calloc(queues, sizeof *check->places);
  if (!check->places) return td_fail(TD_NO_MEMORY, "checker: no memory for %zu queues", queues);
  put_places(check);
  return TD_OK;
}
