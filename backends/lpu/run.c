/* SPDX-License-Identifier: Apache-2.0
 *
 * A step: embedding rows and positions in, the program, logits out. A step of more rows than the program takes runs it
 * several times; rows go in their order, so a row finds what earlier rows of its sequence appended.
 */
#include <string.h>

#include "lpu_device.h"
#include "tandem/base.h"
#include "tandem/dtype.h"
#include "tandem/kernels.h"

/* What is under way: rows [first, first + count) of the batch. */
struct piece {
  struct td_plan *plan;
  const struct td_batch *batch;
  int64_t first;
  int32_t count, entry;
};

static td_status write_row(const struct piece *piece, int32_t row) {
  struct td_plan *plan = piece->plan;
  const struct td_view *table = &plan->embedding;
  uint64_t row_bytes = 0;
  int64_t from = piece->first + row;
  TD_TRY(td_dtype_row_bytes(table->dtype, table->cols, &row_bytes));
  const unsigned char *data = table->buffer->data + table->offset;
  td_dequantize(table->dtype, data + (uint64_t)piece->batch->ids[from] * row_bytes, plan->x, table->cols);
  for (int64_t i = 0; i < table->cols; i++) plan->x[i] *= plan->scale;
  for (int32_t i = 0; i < plan->program->machine.lanes; i++) {
    plan->position[i] = (float)piece->batch->positions[from];
  }
  TD_TRY(td_lpu_host_image_write(plan->host, "x", row, plan->x));
  return td_lpu_host_image_write(plan->host, "position", row, plan->position);
}

/* Rows that nobody asked for are computed too: from zeros, so that nothing can overflow. */
static td_status clear_row(const struct piece *piece, int32_t row) {
  struct td_plan *plan = piece->plan;
  memset(plan->x, 0, (size_t)plan->embedding.cols * sizeof *plan->x);
  return td_lpu_host_image_write(plan->host, "x", row, plan->x);
}

static const struct td_seq *sequence_of(const struct td_batch *batch, int64_t row) {
  int32_t i = 0;
  while (i + 1 < batch->seq_count && batch->seqs[i + 1].first_row <= row) i++;
  return &batch->seqs[i];
}

static td_status write_inputs(const struct piece *piece) {
  struct td_plan *plan = piece->plan;
  for (int32_t row = 0; row < piece->count; row++) {
    int32_t position = piece->batch->positions[piece->first + row];
    plan->step[row] = (struct td_lpu_row){.position = position,
                                          .blocks = sequence_of(piece->batch, piece->first + row)->blocks,
                                          .block_count = position / plan->program->block_tokens + 1};
    TD_TRY(write_row(piece, row));
  }
  for (int32_t row = piece->count; row < plan->program->entries[piece->entry].rows; row++) {
    TD_TRY(clear_row(piece, row));
  }
  return TD_OK;
}

/* Those of the rows that an entry gives. */
static td_status read_logits(const struct piece *piece, int32_t entry, struct td_view *logits) {
  const struct td_batch *batch = piece->batch;
  const struct td_lpu_program *program = piece->plan->program;
  int64_t first = piece->first + program->entries[entry].first_row;
  int32_t count = td_lpu_program_outputs(program, entry, piece->count);
  float *out = (float *)(void *)(logits->buffer->data + logits->offset);
  for (int64_t i = 0; i < batch->logit_count; i++) {
    int64_t row = batch->logit_rows[i] - first;
    if (row < 0 || row >= count) continue;
    TD_TRY(td_lpu_host_image_read(piece->plan->host, "logits", (int32_t)row, out + i * logits->cols));
  }
  return TD_OK;
}

static td_status run_piece(const struct piece *piece, struct td_view *logits, int64_t *cycles, double *energy_j) {
  struct td_plan *plan = piece->plan;
  const struct td_lpu_step step = {plan->step, piece->count};
  TD_TRY(write_inputs(piece));
  for (int32_t entry = piece->entry; entry >= 0; entry = td_lpu_program_next(plan->program, entry, piece->count)) {
    struct td_lpu_counts counts;
    TD_TRY(td_lpu_host_run(plan->host, entry, &step, &counts));
    *cycles += counts.cycles;
    *energy_j += counts.energy_j;
    if (piece->batch->logit_count) TD_TRY(read_logits(piece, entry, logits));
  }
  return TD_OK;
}

td_status lpu_run(struct td_device *device, struct td_plan *plan, const struct td_batch *batch, struct td_view *live_in,
                  struct td_view *live_out, uint64_t *layer_values) {
  struct lpu_device *lpu = lpu_of(device);
  struct piece piece = {.plan = plan, .batch = batch};
  int64_t cycles = 0;
  (void)live_in;
  for (; piece.first < batch->rows; piece.first += piece.count) {
    int64_t left = batch->rows - piece.first;
    piece.count = left < plan->rows ? (int32_t)left : plan->rows;
    piece.entry = td_lpu_program_entry(plan->program, piece.count);
    if (piece.entry < 0) return td_fail(TD_INTERNAL, "backend lpu: no entry of %d rows", piece.count);
    TD_TRY(run_piece(&piece, live_out, &cycles, &lpu->energy_j));
  }
  lpu->clock_ps += lpu_ps(lpu->machine, cycles);
  for (int32_t i = 0; layer_values && i < plan->graph->shape.layers; i++) layer_values[i] = device->submitted;
  return TD_OK;
}
