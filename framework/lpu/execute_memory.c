/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory slices, and the links between chips.
 */
#include <string.h>

#include "execute.h"

static uint8_t *word_of(const struct execution *run, const struct execute_op *op, int32_t word) {
  const struct td_lpu_machine *machine = execute_machine(run);
  int64_t slice = (int64_t)op->queue.hemisphere * (machine->mem_slices / 2) + op->queue.index;
  int64_t at = ((int64_t)execute_chip_of(run, op) * machine->mem_words + word) * machine->mem_slices + slice;
  return run->system.sram + at * machine->lanes;
}

static td_status address_of(const struct execution *run, const struct execute_op *op, int which, int32_t iteration,
                            int32_t *out) {
  const struct td_lpu_program *program = run->system.program;
  int32_t word = td_lpu_address(program, run->call, op->of, which, iteration);
  if (word < 0 || word >= program->machine.mem_words) {
    return execute_refuse(run, op, run->now, TD_RULE_ADDRESS, "found word %d, expected 0..%d", word,
                          program->machine.mem_words - 1);
  }
  *out = word;
  return TD_OK;
}

static td_status check_banks(const struct execution *run, const struct execute_op *op, int32_t read, int32_t write) {
  const struct td_lpu_machine *machine = execute_machine(run);
  int32_t bank = machine->mem_words / machine->mem_banks;
  if (read / bank != write / bank) return TD_OK;
  return execute_refuse(run, op, run->now, TD_RULE_PORT,
                        "found a read of word %d and a write of word %d in one cycle, both in bank %d", read, write,
                        read / bank);
}

/* Phase 1: a read takes its word now; a write is looked at again when its operand passes. */
td_status execute_memory_issue(struct execution *run, const struct execute_op *op, int32_t iteration) {
  int32_t flags = op->of->flags, read = 0, write = 0;
  struct execute_node *node;
  if (flags & TD_LPU_READ) TD_TRY(address_of(run, op, 0, iteration, &read));
  if (flags & TD_LPU_WRITE) TD_TRY(address_of(run, op, 1, iteration, &write));
  if (flags & TD_LPU_READ && flags & TD_LPU_WRITE) TD_TRY(check_banks(run, op, read, write));
  if (flags & TD_LPU_READ) {
    TD_TRY(execute_node_take(run, op, &node));
    TD_TRY(execute_node_vectors(run, node, 1));
    memcpy(node->vector[0], word_of(run, op, read), (size_t)execute_machine(run)->lanes);
    execute_push(run, run->results, node, op->func);
  }
  if (flags & TD_LPU_WRITE) {
    TD_TRY(execute_node_take(run, op, &node));
    node->address = write;
    execute_push(run, run->reads, node, op->skew);
  }
  return TD_OK;
}

td_status execute_memory_write(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  const uint8_t *vector = execute_passing(run, op, op->of->in[0], 0);
  if (!vector) return execute_absent(run, op, op->of->in[0]);
  memcpy(word_of(run, op, node->address), vector, (size_t)execute_machine(run)->lanes);
  execute_node_give(run, node);
  return TD_OK;
}

/* ---- links ---- */

static td_status far_end(const struct execution *run, const struct execute_op *op, int32_t *out_chip,
                         int32_t *out_link) {
  int32_t chips = run->system.program->chips, chip = execute_chip_of(run, op);
  if (td_lpu_link_peer(execute_machine(run), chips, chip, op->queue.index, out_chip, out_link)) return TD_OK;
  return execute_refuse(run, op, run->now, TD_RULE_LINK, "link %d of a system of %d chips is not wired",
                        op->queue.index, chips);
}

/* The vector is on its way from its issue on; it is taken from the stream a little later. */
td_status execute_send_read(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  struct execute_wire *wire = &run->chips[execute_chip_of(run, op)].wires[op->queue.index];
  const uint8_t *vector = execute_passing(run, op, op->of->in[0], 0);
  int32_t chip = 0, link = 0;
  TD_TRY(far_end(run, op, &chip, &link));
  if (!vector) return execute_absent(run, op, op->of->in[0]);
  if (wire->last >= 0 && node->issued - wire->last < run->link_cycles) {
    return execute_refuse(run, op, node->issued, TD_RULE_LINK,
                          "found a vector %d cycles after the one before, expected %d",
                          (int)(node->issued - wire->last), run->link_cycles);
  }
  struct execute_flight *flight = &wire->flights[wire->next];
  flight->issued = wire->last = node->issued;
  memcpy(flight->vector, vector, (size_t)execute_machine(run)->lanes);
  wire->next = (wire->next + 1) % run->flights;
  execute_node_give(run, node);
  return TD_OK;
}

static const uint8_t *arriving(const struct execution *run, const struct execute_wire *wire, int64_t issued) {
  for (int32_t i = 0; i < run->flights; i++) {
    if (wire->flights[i].issued == issued) return wire->flights[i].vector;
  }
  return NULL;
}

td_status execute_receive(struct execution *run, struct execute_node *node) {
  const struct td_lpu_machine *machine = execute_machine(run);
  const struct execute_op *op = node->op;
  int32_t chip = 0, link = 0;
  TD_TRY(far_end(run, op, &chip, &link));
  const uint8_t *vector = arriving(run, &run->chips[chip].wires[link], run->now - machine->link_latency);
  if (!vector) {
    return execute_refuse(run, op, run->now, TD_RULE_LINK,
                          "found nothing that chip %d sent on its link %d %d cycles before", chip, link,
                          machine->link_latency);
  }
  TD_TRY(execute_node_vectors(run, node, 1));
  memcpy(node->vector[0], vector, (size_t)machine->lanes);
  execute_push(run, run->results, node, op->func);
  return TD_OK;
}
