/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing a system: its SRAM with the program's images in it, and the state of its units; rows of images in
 * and out.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "execute.h"
#include "sram.h"
#include "tandem/base.h"

#define CHUNK_HEADER 64 /* keeps what follows aligned */

td_status execute_keep(struct execution *run, size_t count, size_t size, void **out) {
  uint64_t bytes;
  *out = NULL;
  if (!td_mul_size(count, size, &bytes) || bytes > SIZE_MAX - CHUNK_HEADER) {
    return td_fail(TD_NO_MEMORY, "no memory for %zu x %zu bytes", count, size);
  }
  void *memory = NULL;
  TD_TRY(td_alloc(1, CHUNK_HEADER + bytes, &memory));
  struct execute_chunk *chunk = memory;
  chunk->next = run->chunks;
  run->chunks = chunk;
  *out = (uint8_t *)memory + CHUNK_HEADER;
  return TD_OK;
}

static int32_t ring_over(int32_t need) {
  int32_t size = 1;
  while (size <= need) size *= 2;
  return size;
}

static int32_t larger(int32_t a, int32_t b) {
  return a > b ? a : b;
}

static int32_t longest_operation(const struct td_lpu_machine *machine) {
  int32_t most = 0;
  for (int i = 0; i < TD_ALU_COUNT; i++) most = larger(most, machine->alu_func[i]);
  return most;
}

/* Everything that happens after an issue happens within this. */
static int32_t longest_delay(const struct td_lpu_machine *machine) {
  int32_t most = larger(machine->memory_write_skew, longest_operation(machine));
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) {
    most = larger(most, larger(machine->delay[i].skew, machine->delay[i].func));
  }
  return most + machine->transpose_cycles;
}

static td_status later(const char *what, int32_t func, int32_t skew, int32_t by) {
  if (func >= skew + by) return TD_OK;
  return td_fail(TD_CONFIG,
                 "%s: found a result %d cycles after the issue, expected %d or more: its operands are read then", what,
                 func, skew + by);
}

/* What the phases of a cycle rest on. */
static td_status check_delays(const struct td_lpu_machine *machine) {
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) {
    if (i == TD_LPU_SEND || i == TD_LPU_INSTALL || i == TD_LPU_SUM || i == TD_LPU_ALU) continue;
    const struct td_lpu_delay *delay = &machine->delay[i];
    TD_TRY(later(td_lpu_opcode_name((enum td_lpu_opcode)i), delay->func, delay->skew, i == TD_LPU_LOAD));
  }
  for (int i = 0; i < TD_ALU_COUNT; i++) {
    TD_TRY(later(td_lpu_alu_name((enum td_lpu_alu)i), machine->alu_func[i], machine->delay[TD_LPU_ALU].skew, 1));
  }
  return later("link latency", machine->link_latency, machine->delay[TD_LPU_SEND].skew, 0);
}

static td_status open_rings(struct execution *run) {
  const struct td_lpu_machine *machine = execute_machine(run);
  int32_t delay = longest_delay(machine);
  run->ring_mask = ring_over(delay) - 1;
  run->slot_mask = ring_over(td_lpu_positions(machine)) - 1;
  run->row_mask = ring_over(machine->delay[TD_LPU_PASS].func) - 1;
  run->result_mask = ring_over(longest_operation(machine)) - 1;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine, &rates);
  run->link_cycles = (int32_t)rates.link_vector_cycles;
  run->flights = machine->link_latency / larger(run->link_cycles, 1) + 3;
  run->seam = (int64_t)td_lpu_positions(machine) + 2 * delay + machine->link_latency + 4;
  struct execute_bucket **rings[] = {&run->landings, &run->reads, &run->results};
  for (int i = 0; i < 3; i++) {
    void *ring;
    TD_TRY(execute_keep(run, (size_t)run->ring_mask + 1, sizeof(struct execute_bucket), &ring));
    *rings[i] = ring;
    for (int32_t b = 0; b <= run->ring_mask; b++) (*rings[i])[b].end = &(*rings[i])[b].first;
  }
  return TD_OK;
}

/* Lists of what a cycle issues: at most one instruction a queue. */
static td_status open_lists(struct execution *run) {
  size_t queues = (size_t)execute_machine(run)->instruction_queues * (size_t)run->system.program->chips;
  struct execute_node ***lists[] = {&run->installs, &run->passes, &run->late};
  for (int i = 0; i < 3; i++) {
    void *list;
    TD_TRY(execute_keep(run, queues, sizeof(struct execute_node *), &list));
    *lists[i] = list;
  }
  return TD_OK;
}

static td_status open_rows(struct execution *run, int32_t count, struct execute_row **out) {
  void *rows, *values;
  size_t lanes = (size_t)execute_machine(run)->lanes;
  TD_TRY(execute_keep(run, (size_t)count, sizeof **out, &rows));
  TD_TRY(execute_keep(run, (size_t)count * lanes, sizeof(int32_t), &values));
  *out = rows;
  for (int32_t i = 0; i < count; i++) {
    (*out)[i] = (struct execute_row){.issued = -1, .values = (int32_t *)values + (size_t)i * lanes};
  }
  return TD_OK;
}

static td_status open_results(struct execution *run, struct execute_chip *chip) {
  size_t count = (size_t)execute_machine(run)->alus * ((size_t)run->result_mask + 1),
         lanes = (size_t)execute_machine(run)->lanes;
  void *results, *values;
  TD_TRY(execute_keep(run, count, sizeof *chip->results, &results));
  TD_TRY(execute_keep(run, count * lanes, sizeof(uint32_t), &values));
  chip->results = results;
  for (size_t i = 0; i < count; i++) {
    chip->results[i] = (struct execute_result){.ready = -1, .values = (uint32_t *)values + i * lanes};
  }
  return TD_OK;
}

static td_status open_wires(struct execution *run, struct execute_chip *chip) {
  size_t links = (size_t)execute_machine(run)->links_used, lanes = (size_t)execute_machine(run)->lanes;
  size_t flights = (size_t)run->flights;
  void *wires, *all, *vectors;
  TD_TRY(execute_keep(run, links, sizeof *chip->wires, &wires));
  TD_TRY(execute_keep(run, links * flights, sizeof(struct execute_flight), &all));
  TD_TRY(execute_keep(run, links * flights, lanes, &vectors));
  chip->wires = wires;
  struct execute_flight *flight = all;
  for (size_t i = 0; i < links * flights; i++) {
    flight[i] = (struct execute_flight){.issued = -1, .vector = (uint8_t *)vectors + i * lanes};
  }
  for (size_t i = 0; i < links; i++)
    chip->wires[i] = (struct execute_wire){.flights = flight + i * flights, .last = -1};
  return TD_OK;
}

static td_status open_chip(struct execution *run, struct execute_chip *chip) {
  const struct td_lpu_machine *machine = execute_machine(run);
  size_t slots = 2 * (size_t)machine->streams * ((size_t)run->slot_mask + 1);
  void *memory;
  TD_TRY(execute_keep(run, slots, sizeof *chip->slots, &memory));
  chip->slots = memory;
  for (size_t i = 0; i < slots; i++) chip->slots[i].key = INT64_MIN;
  for (int32_t p = 0; p < machine->planes; p++) {
    chip->planes[p].busy = -1;
    TD_TRY(open_rows(run, run->row_mask + 1, &chip->planes[p].rows));
    TD_TRY(open_rows(run, 2 * machine->accumulator_depth, &chip->planes[p].sums));
  }
  TD_TRY(open_results(run, chip));
  return open_wires(run, chip);
}

static void fill_image(struct execution *run, const struct td_lpu_image *image) {
  const struct td_lpu_program *program = run->system.program;
  const struct td_lpu_machine *machine = &program->machine;
  if (!image->data_bytes) return;
  size_t bytes = (size_t)image->slices * (size_t)machine->lanes;
  int32_t slice = image->hemisphere * (machine->mem_slices / 2) + image->slice;
  for (int32_t w = 0; w < image->words; w++) {
    memcpy(run->system.sram + sram_word(machine, image->chip, slice, image->word + w),
           program->data + image->data + (size_t)w * bytes, bytes);
  }
}

static td_status open_sram(struct execution *run) {
  const struct td_lpu_program *program = run->system.program;
  void *sram = NULL;
  run->system.sram_bytes = sram_bytes(program);
  TD_TRY(td_alloc(run->system.sram_bytes, 1, &sram));
  run->system.sram = sram;
  for (int32_t i = 0; i < program->image_count; i++) {
    TD_TRY(sram_check_image(program, &program->images[i]));
    fill_image(run, &program->images[i]);
  }
  return TD_OK;
}

static td_status open_all(struct execution *run) {
  const struct td_lpu_program *program = run->system.program;
  if (program->chips < 1) return td_fail(TD_CORRUPT, "found a program of %d chips, expected 1 or more", program->chips);
  TD_TRY(check_delays(&program->machine));
  TD_TRY(open_rings(run));
  TD_TRY(open_lists(run));
  void *memory;
  TD_TRY(execute_keep(run, (size_t)program->segment_count, sizeof *run->code, &memory));
  run->code = memory;
  TD_TRY(execute_keep(run, (size_t)program->chips, sizeof *run->chips, &memory));
  run->chips = memory;
  for (int32_t i = 0; i < program->chips; i++) TD_TRY(open_chip(run, &run->chips[i]));
  return open_sram(run);
}

td_status td_lpu_system_open(const struct td_lpu_program *program, struct td_lpu_system **out_system) {
  void *memory = NULL;
  TD_TRY(td_alloc(1, sizeof(struct execution), &memory));
  struct execution *run = memory;
  run->system.program = program;
  td_status status = open_all(run);
  if (status) {
    td_lpu_system_close(&run->system);
    return status;
  }
  *out_system = &run->system;
  return TD_OK;
}

void td_lpu_system_close(struct td_lpu_system *system) {
  struct execution *run = (struct execution *)(void *)system;
  if (!run) return;
  while (run->chunks) {
    struct execute_chunk *next = run->chunks->next;
    free(run->chunks);
    run->chunks = next;
  }
  free(run->again);
  free(run->system.sram);
  free(run);
}
