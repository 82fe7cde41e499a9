/* SPDX-License-Identifier: Apache-2.0 */
#include "price_memory.h"

#include <stdlib.h>

#include "tandem/base.h"

/* Powers of two. Lengths of prompts and contexts up to 8192 have places of their own, and so have the knots below
 * 2^17 of up to 128 sequences. */
#define PLACES 8192
#define KNOTS_OF_SEQS 64

struct td_fit_memory {
  struct td_asked prompts[PLACES], tokens[PLACES];
  struct td_knot knots[PLACES];
};

td_status td_fit_memory_open(struct td_fit_memory **out_memory) {
  return td_alloc(1, sizeof **out_memory, (void **)out_memory);
}

void td_fit_memory_close(struct td_fit_memory *memory) {
  free(memory);
}

/* Operators and batches apart, values next to each other. */
static uint64_t spread(const struct td_op *op, int64_t batch) {
  return ((uint64_t)op->window + (uint64_t)op->n * 3 + (uint64_t)batch - 1) * UINT64_C(0x9e3779b97f4a7c15) >> 40;
}

struct td_asked *td_fit_asked(struct td_fit_memory *memory, const struct td_op *op, enum td_operator operator,
                              int64_t batch, int64_t value) {
  struct td_asked *places = operator== TD_ATTENTION_CONTEXT ? memory->prompts : memory->tokens;
  return &places[(spread(op, batch) + (uint64_t)value) % PLACES];
}

struct td_knot *td_fit_knot(struct td_fit_memory *memory, const struct td_op *op, int64_t seqs, int32_t knot) {
  uint64_t of_op = spread(op, 1) & ~(uint64_t)(KNOTS_OF_SEQS - 1);
  return &memory->knots[(of_op + (uint64_t)seqs * KNOTS_OF_SEQS + (uint64_t)knot) % PLACES];
}
