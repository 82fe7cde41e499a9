/* SPDX-License-Identifier: Apache-2.0
 *
 * A place for every value of a plan in one buffer: values share bytes when they never live at the same stage.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "plan.h"

#define ALIGNMENT 256u

struct lives {
  struct cuda_value *values;
  int32_t stage;
};

static void use(void *context, int32_t value, bool written) {
  (void)written;
  const struct lives *lives = context;
  struct cuda_value *life = &lives->values[value];
  if (life->first == CUDA_NO_LIFE) life->first = lives->stage;
  life->last = lives->stage;
}

/* Live-ins exist before the first stage, live-outs until after the last. */
static void find_lives(struct td_plan *plan) {
  struct lives lives = {plan->values, -1};
  for (int32_t i = 0; i < plan->graph->value_count; i++) plan->values[i].first = CUDA_NO_LIFE;
  for (int32_t i = 0; i < plan->ops.live_in_count; i++) use(&lives, plan->ops.live_in[i], false);
  for (lives.stage = 0; lives.stage < plan->stage_count; lives.stage++) {
    cuda_stage_values(plan, &plan->stages[lives.stage], use, &lives);
  }
  for (int32_t i = 0; i < plan->ops.live_out_count; i++) use(&lives, plan->ops.live_out[i], false);
}

struct piece {
  struct cuda_value *value;
  uint64_t bytes;
  int32_t index;
};

static td_status piece_bytes(const struct td_value *value, int64_t rows, uint64_t *out_bytes) {
  uint64_t bytes;
  if (!td_mul_size((uint64_t)rows, (uint64_t)value->cols, &bytes) || !td_mul_size(bytes, sizeof(float), &bytes) ||
      !td_add_size(bytes, ALIGNMENT - 1, &bytes)) {
    return td_fail(TD_EXHAUSTED, "value %s: %" PRId64 " rows of %" PRId64 " do not fit any memory", value->name, rows,
                   value->cols);
  }
  *out_bytes = bytes / ALIGNMENT * ALIGNMENT;
  return TD_OK;
}

static int by_birth(const void *a, const void *b) {
  const struct piece *x = a, *y = b;
  if (x->value->first != y->value->first) return x->value->first < y->value->first ? -1 : 1;
  return x->index < y->index ? -1 : x->index > y->index;
}

/* The lowest offset at which `piece` meets none of the placed ones that live with it. */
static uint64_t find_offset(const struct piece *placed, int32_t count, const struct piece *piece) {
  uint64_t offset = 0;
  for (bool moved = true; moved;) {
    moved = false;
    for (int32_t i = 0; i < count; i++) {
      const struct cuda_value *other = placed[i].value;
      if (other->last < piece->value->first || other->first > piece->value->last) continue;
      if (offset >= other->offset + placed[i].bytes || other->offset >= offset + piece->bytes) continue;
      offset = other->offset + placed[i].bytes;
      moved = true;
    }
  }
  return offset;
}

/* Gives every piece its offset; *out_bytes: what all take together. */
static void place_pieces(struct piece *pieces, int32_t count, uint64_t *out_bytes) {
  int32_t oldest = 0;
  uint64_t bytes = ALIGNMENT;
  qsort(pieces, (size_t)count, sizeof *pieces, by_birth);
  for (int32_t i = 0; i < count; i++) {
    while (oldest < i && pieces[oldest].value->last < pieces[i].value->first) oldest++;
    pieces[i].value->offset = find_offset(pieces + oldest, i - oldest, &pieces[i]);
    if (pieces[i].value->offset + pieces[i].bytes > bytes) bytes = pieces[i].value->offset + pieces[i].bytes;
  }
  *out_bytes = bytes;
}

static td_status gather(struct td_plan *plan, int64_t rows, int64_t logits, struct piece *pieces, int32_t *out_count) {
  int32_t count = 0;
  for (int32_t i = 0; i < plan->graph->value_count; i++) {
    if (plan->values[i].first == CUDA_NO_LIFE) continue;
    const struct td_value *value = &plan->graph->values[i];
    struct piece piece = {.value = &plan->values[i], .index = i};
    TD_TRY(piece_bytes(value, value->rows == TD_ROWS_LOGITS ? logits : rows, &piece.bytes));
    pieces[count++] = piece;
  }
  *out_count = count;
  return TD_OK;
}

static td_status make_room(struct cuda_device *device, struct td_plan *plan, uint64_t bytes) {
  device->addresses++;
  if (bytes <= plan->activation_bytes) return TD_OK;
  cuda_release(device, plan->activation);
  plan->activation = 0;
  plan->activation_bytes = 0;
  TD_TRY(cuda_alloc(device, bytes, "a plan's activations", &plan->activation));
  plan->activation_bytes = bytes;
  return TD_OK;
}

static td_status place_all(struct cuda_device *device, struct td_plan *plan, int64_t rows, int64_t logits,
                           struct piece *pieces) {
  int32_t count;
  uint64_t bytes;
  find_lives(plan);
  TD_TRY(gather(plan, rows, logits, pieces, &count));
  place_pieces(pieces, count, &bytes);
  return make_room(device, plan, bytes);
}

td_status cuda_place(struct cuda_device *device, struct td_plan *plan, int64_t rows, int64_t logits) {
  if (rows <= plan->max_rows && logits <= plan->max_logits) return TD_OK;
  if (rows < plan->max_rows) rows = plan->max_rows;
  if (logits < plan->max_logits) logits = plan->max_logits;
  plan->max_rows = plan->max_logits = 0; /* until it is done, the plan has room for nothing */
  struct piece *pieces;
  TD_TRY(td_alloc((size_t)plan->graph->value_count, sizeof *pieces, (void **)&pieces));
  td_status status = place_all(device, plan, rows, logits, pieces);
  free(pieces);
  if (status) return status;
  plan->max_rows = rows;
  plan->max_logits = logits;
  return TD_OK;
}
