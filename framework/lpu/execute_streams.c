/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams as moving slots, and instructions under way.
 *
 * What passes position p in cycle t on an eastward stream is slot t - p, westward slot t + p, wherever it is. A ring of
 * slots per stream, longer than the chip, holds all that can be on it; each slot bears the number it was made for, so
 * that an old one is known as such.
 */
#include "execute.h"

td_status execute_node_take(struct execution *run, const struct execute_op *op, struct execute_node **out) {
  struct execute_node *node = run->unused;
  if (node) {
    run->unused = node->next;
  } else {
    void *memory;
    TD_TRY(execute_keep(run, 1, sizeof *node, &memory));
    node = memory;
  }
  node->next = NULL;
  node->op = op;
  node->issued = run->now;
  *out = node;
  return TD_OK;
}

void execute_node_give(struct execution *run, struct execute_node *node) {
  node->next = run->unused;
  run->unused = node;
}

td_status execute_node_vectors(struct execution *run, struct execute_node *node, int32_t count) {
  for (int32_t i = 0; i < count; i++) {
    if (node->vector[i]) continue;
    void *memory;
    TD_TRY(execute_keep(run, (size_t)execute_machine(run)->lanes, 1, &memory));
    node->vector[i] = memory;
  }
  return TD_OK;
}

void execute_push(struct execution *run, struct execute_bucket *ring, struct execute_node *node, int32_t cycles) {
  struct execute_bucket *bucket = &ring[(run->now + cycles) & run->ring_mask];
  node->next = NULL;
  *bucket->end = node;
  bucket->end = &node->next;
  run->in_flight++;
}

static struct execute_slot *slot_at(const struct execution *run, const struct execute_op *op, uint8_t base,
                                    int32_t offset, int64_t *out_key) {
  int32_t east = base & TD_LPU_EAST, index = (base & TD_LPU_STREAM_INDEX) + offset;
  int32_t streams = execute_machine(run)->streams;
  int64_t key = run->now + (east ? -op->queue.position : op->queue.position);
  *out_key = key;
  int64_t row = (int64_t)(east ? streams : 0) + index;
  return &run->chips[execute_chip_of(run, op)].slots[row * (run->slot_mask + 1) + (key & run->slot_mask)];
}

const uint8_t *execute_passing(const struct execution *run, const struct execute_op *op, uint8_t base, int32_t offset) {
  int64_t key;
  const struct execute_slot *slot = slot_at(run, op, base, offset, &key);
  return slot->key == key ? slot->vector : NULL;
}

static td_status produce_one(struct execution *run, struct execute_node *node, int32_t i) {
  const struct execute_op *op = node->op;
  int64_t key;
  struct execute_slot *slot = slot_at(run, op, op->of->out, i, &key);
  if (slot->key == key && slot->made == run->now) {
    return execute_refuse(run, op, run->now, TD_RULE_STREAM,
                          "found two results on stream %s %d at position %d in one cycle, expected one",
                          op->of->out & TD_LPU_EAST ? "east" : "west", (op->of->out & TD_LPU_STREAM_INDEX) + i,
                          op->queue.position);
  }
  uint8_t *old = slot->vector;
  *slot = (struct execute_slot){.key = key, .made = run->now, .vector = node->vector[i]};
  node->vector[i] = old;
  return TD_OK;
}

td_status execute_produce(struct execution *run, struct execute_node *node) {
  for (int32_t i = 0; i < node->op->out_width; i++) TD_TRY(produce_one(run, node, i));
  execute_node_give(run, node);
  return TD_OK;
}
