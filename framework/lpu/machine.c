/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the units of a machine stand, the numbers of their instruction queues.
 *
 * Positions, with H = hops of a hemisphere's memory: matrix and links 0, switch 1, memory 2 .. H + 1, vector unit H +
 * 2, and the mirror image up to 2 H + 4. Queues, densely in this order: memory slices (hemisphere, index), ALUs, planes
 * (TD_MATRIX_QUEUES each), switches (switch_functions each), links.
 */
#include "tandem/lpu_machine.h"

static int32_t slices_of_hemisphere(const struct td_lpu_machine *machine) {
  return machine->mem_slices / TD_LPU_HEMISPHERES;
}

static int32_t memory_hops(const struct td_lpu_machine *machine) {
  return slices_of_hemisphere(machine) / machine->mem_slices_per_hop;
}

int32_t td_lpu_positions(const struct td_lpu_machine *machine) {
  return 2 * memory_hops(machine) + 5;
}

int32_t td_lpu_vector_position(const struct td_lpu_machine *machine) {
  return memory_hops(machine) + 2;
}

/* `distance` hops from the vector unit, on the hemisphere's side. */
static int32_t beside_vector(const struct td_lpu_machine *machine, int32_t hemisphere, int32_t distance) {
  int32_t middle = td_lpu_vector_position(machine);
  return hemisphere ? middle + distance : middle - distance;
}

int32_t td_lpu_memory_position(const struct td_lpu_machine *machine, int32_t hemisphere, int32_t index) {
  return beside_vector(machine, hemisphere, 1 + index / machine->mem_slices_per_hop);
}

int32_t td_lpu_switch_position(const struct td_lpu_machine *machine, int32_t hemisphere) {
  return beside_vector(machine, hemisphere, memory_hops(machine) + 1);
}

int32_t td_lpu_matrix_position(const struct td_lpu_machine *machine, int32_t hemisphere) {
  return beside_vector(machine, hemisphere, memory_hops(machine) + 2);
}

static int32_t first_vector_queue(const struct td_lpu_machine *machine) {
  return machine->mem_slices;
}

static int32_t first_matrix_queue(const struct td_lpu_machine *machine) {
  return first_vector_queue(machine) + machine->alus;
}

static int32_t first_switch_queue(const struct td_lpu_machine *machine) {
  return first_matrix_queue(machine) + machine->planes * TD_MATRIX_QUEUES;
}

static int32_t first_link_queue(const struct td_lpu_machine *machine) {
  return first_switch_queue(machine) + TD_LPU_HEMISPHERES * machine->switch_functions;
}

int32_t td_lpu_memory_queue(const struct td_lpu_machine *machine, int32_t hemisphere, int32_t index) {
  return hemisphere * slices_of_hemisphere(machine) + index;
}

int32_t td_lpu_vector_queue(const struct td_lpu_machine *machine, int32_t alu) {
  return first_vector_queue(machine) + alu;
}

int32_t td_lpu_matrix_queue(const struct td_lpu_machine *machine, int32_t plane, enum td_lpu_matrix_queue function) {
  return first_matrix_queue(machine) + plane * TD_MATRIX_QUEUES + (int32_t)function;
}

int32_t td_lpu_switch_queue(const struct td_lpu_machine *machine, int32_t hemisphere,
                            enum td_lpu_switch_queue function) {
  return first_switch_queue(machine) + hemisphere * machine->switch_functions + (int32_t)function;
}

int32_t td_lpu_link_queue(const struct td_lpu_machine *machine, int32_t link) {
  return first_link_queue(machine) + link;
}

static void memory_queue_at(const struct td_lpu_machine *machine, int32_t ordinal, struct td_lpu_queue *out) {
  int32_t hemisphere = ordinal / slices_of_hemisphere(machine), index = ordinal % slices_of_hemisphere(machine);
  *out =
      (struct td_lpu_queue){TD_UNIT_MEMORY, hemisphere, index, 0, td_lpu_memory_position(machine, hemisphere, index)};
}

static void matrix_queue_at(const struct td_lpu_machine *machine, int32_t ordinal, struct td_lpu_queue *out) {
  int32_t plane = ordinal / TD_MATRIX_QUEUES, hemisphere = plane / (machine->planes / TD_LPU_HEMISPHERES);
  *out = (struct td_lpu_queue){TD_UNIT_MATRIX, hemisphere, plane, ordinal % TD_MATRIX_QUEUES,
                               td_lpu_matrix_position(machine, hemisphere)};
}

static void switch_queue_at(const struct td_lpu_machine *machine, int32_t ordinal, struct td_lpu_queue *out) {
  int32_t hemisphere = ordinal / machine->switch_functions;
  *out = (struct td_lpu_queue){TD_UNIT_SWITCH, hemisphere, 0, ordinal % machine->switch_functions,
                               td_lpu_switch_position(machine, hemisphere)};
}

bool td_lpu_queue_at(const struct td_lpu_machine *machine, int32_t queue, struct td_lpu_queue *out) {
  int32_t vector = first_vector_queue(machine), matrix = first_matrix_queue(machine);
  int32_t switches = first_switch_queue(machine), links = first_link_queue(machine);
  if (queue < 0 || queue >= links + machine->links) return false;
  if (queue < vector) {
    memory_queue_at(machine, queue, out);
  } else if (queue < matrix) {
    *out = (struct td_lpu_queue){TD_UNIT_VECTOR, -1, queue - vector, 0, td_lpu_vector_position(machine)};
  } else if (queue < switches) {
    matrix_queue_at(machine, queue - matrix, out);
  } else if (queue < links) {
    switch_queue_at(machine, queue - switches, out);
  } else {
    int32_t link = queue - links, hemisphere = link % TD_LPU_HEMISPHERES;
    *out = (struct td_lpu_queue){TD_UNIT_LINK, hemisphere, link, 0, td_lpu_matrix_position(machine, hemisphere)};
  }
  return true;
}

bool td_lpu_queue_takes(const struct td_lpu_queue *queue, enum td_lpu_opcode opcode) {
  static const struct {
    enum td_lpu_unit unit;
    int32_t function;
  } takes[TD_LPU_OPCODE_COUNT] = {
      [TD_LPU_MEMORY] = {TD_UNIT_MEMORY, 0},
      [TD_LPU_LOAD] = {TD_UNIT_MATRIX, TD_MATRIX_LOAD},
      [TD_LPU_INSTALL] = {TD_UNIT_MATRIX, TD_MATRIX_INSTALL},
      [TD_LPU_PASS] = {TD_UNIT_MATRIX, TD_MATRIX_PASS},
      [TD_LPU_SUM] = {TD_UNIT_MATRIX, TD_MATRIX_SUM},
      [TD_LPU_ALU] = {TD_UNIT_VECTOR, 0},
      [TD_LPU_ROTATE] = {TD_UNIT_SWITCH, TD_SWITCH_SHIFT},
      [TD_LPU_SHIFT] = {TD_UNIT_SWITCH, TD_SWITCH_SHIFT},
      [TD_LPU_PERMUTE] = {TD_UNIT_SWITCH, TD_SWITCH_PERMUTE},
      [TD_LPU_SELECT] = {TD_UNIT_SWITCH, TD_SWITCH_SELECT},
      [TD_LPU_TRANSPOSE] = {TD_UNIT_SWITCH, TD_SWITCH_TRANSPOSE},
      [TD_LPU_SEND] = {TD_UNIT_LINK, 0},
      [TD_LPU_RECEIVE] = {TD_UNIT_LINK, 0},
  };
  return takes[opcode].unit == queue->unit && takes[opcode].function == queue->function;
}
