/* SPDX-License-Identifier: Apache-2.0
 *
 * Slices: which operators lie between two cuts, and which values cross them.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "tandem/base.h"
#include "tandem/graph.h"

struct td_slice td_slice_whole(const struct td_graph *graph) {
  return (struct td_slice){-1, graph->shape.layers + 1, TD_PART_ALL};
}

static bool holds(const struct td_slice *slice, const struct td_op *op) {
  return op->layer >= slice->layer_begin && op->layer < slice->layer_end && (op->part & slice->parts);
}

static td_status check_slice(const struct td_graph *graph, const struct td_slice *slice) {
  int32_t end = graph->shape.layers + 1;
  if (slice->layer_begin < -1 || slice->layer_end > end || slice->layer_begin >= slice->layer_end) {
    return td_fail(TD_CONFIG,
                   "slice: layers: found %" PRId32 " to before %" PRId32
                   ", expected a range inside -1 to before %" PRId32,
                   slice->layer_begin, slice->layer_end, end);
  }
  if (!slice->parts || slice->parts & ~(uint32_t)TD_PART_ALL) {
    return td_fail(TD_CONFIG, "slice: parts: found %" PRIu32 ", expected 1 to %d", slice->parts, TD_PART_ALL);
  }
  return TD_OK;
}

enum { PRODUCED_INSIDE = 1, READ_INSIDE = 2, READ_OUTSIDE = 4, RESULT = 8 };

/* What happens to every value, on either side of the cuts. */
static void mark(const struct td_graph *graph, const struct td_slice *slice, unsigned char *marks) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    bool inside = holds(slice, op);
    if (op->out >= 0 && inside) marks[op->out] |= PRODUCED_INSIDE;
    for (int j = 0; j < TD_OP_INPUTS; j++) {
      if (op->in[j] < 0) continue;
      marks[op->in[j]] |= inside ? READ_INSIDE : READ_OUTSIDE;
      if (op->kind == TD_OP_SAMPLE) marks[op->in[j]] |= RESULT;
    }
  }
  for (int32_t i = 0; i < graph->value_count; i++) {
    if (!(marks[i] & (READ_INSIDE | READ_OUTSIDE))) marks[i] |= RESULT;
  }
}

static void collect(const struct td_graph *graph, const struct td_slice *slice, const unsigned char *marks,
                    struct td_slice_ops *out) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (holds(slice, &graph->ops[i])) out->ops[out->op_count++] = i;
  }
  for (int32_t i = 0; i < graph->value_count; i++) {
    bool inside = marks[i] & PRODUCED_INSIDE;
    if (!inside && marks[i] & READ_INSIDE) out->live_in[out->live_in_count++] = i;
    if (inside && marks[i] & (READ_OUTSIDE | RESULT)) out->live_out[out->live_out_count++] = i;
  }
}

static td_status allocate(const struct td_graph *graph, struct td_slice_ops *out, unsigned char **out_marks) {
  size_t values = (size_t)graph->value_count;
  TD_TRY(td_alloc((size_t)graph->op_count, sizeof *out->ops, (void **)&out->ops));
  TD_TRY(td_alloc(values, sizeof *out->live_in, (void **)&out->live_in));
  TD_TRY(td_alloc(values, sizeof *out->live_out, (void **)&out->live_out));
  return td_alloc(values, 1, (void **)out_marks);
}

static td_status empty(const struct td_slice *slice) {
  return td_fail(TD_CONFIG,
                 "slice: layers %" PRId32 " to before %" PRId32 ", parts %" PRIu32
                 ": found no operators, expected at least one",
                 slice->layer_begin, slice->layer_end, slice->parts);
}

td_status td_slice_ops_build(const struct td_graph *graph, const struct td_slice *slice, struct td_slice_ops *out_ops) {
  struct td_slice_ops ops = {0};
  unsigned char *marks = NULL;
  TD_TRY(check_slice(graph, slice));
  td_status status = allocate(graph, &ops, &marks);
  if (status == TD_OK) {
    mark(graph, slice, marks);
    collect(graph, slice, marks, &ops);
    if (!ops.op_count) status = empty(slice);
  }
  free(marks);
  if (status) {
    td_slice_ops_free(&ops);
    return status;
  }
  *out_ops = ops;
  return TD_OK;
}

static bool is_whole(const struct td_graph *graph, const struct td_slice *slice) {
  const struct td_slice whole = td_slice_whole(graph);
  return slice->layer_begin == whole.layer_begin && slice->layer_end == whole.layer_end && slice->parts == whole.parts;
}

static td_status group_whole(const struct td_graph *graph, struct td_slice_group **out_groups, int32_t *out_count) {
  struct td_slice_group *groups;
  int32_t count = 0;
  TD_TRY(td_alloc((size_t)graph->distinct_count, sizeof *groups, (void **)&groups));
  for (int32_t i = 0; i < graph->op_count; i = graph->ops[i].alike_next) {
    groups[count++] = (struct td_slice_group){i, graph->ops[i].alike_count};
  }
  *out_groups = groups;
  *out_count = count;
  return TD_OK;
}

/* `places`: 1 + where the group of an operator is, by operator. */
static int32_t group(const struct td_graph *graph, const struct td_slice *slice, int32_t *places,
                     struct td_slice_group *groups) {
  int32_t count = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    const struct td_op *op = &graph->ops[i];
    if (!holds(slice, op)) continue;
    int32_t first = op->alike ? op->alike - 1 : i;
    if (!places[first]) {
      groups[count] = (struct td_slice_group){first, 0};
      places[first] = ++count;
    }
    groups[places[first] - 1].count++;
  }
  return count;
}

td_status td_slice_groups_build(const struct td_graph *graph, const struct td_slice *slice,
                                struct td_slice_group **out_groups, int32_t *out_count) {
  void *places, *groups;
  TD_TRY(check_slice(graph, slice));
  if (graph->distinct_count && is_whole(graph, slice)) return group_whole(graph, out_groups, out_count);
  TD_TRY(td_alloc((size_t)graph->op_count, sizeof(int32_t), &places));
  td_status status = td_alloc((size_t)graph->op_count, sizeof(struct td_slice_group), &groups);
  if (status) {
    free(places);
    return status;
  }
  int32_t count = group(graph, slice, places, groups);
  free(places);
  if (!count) {
    free(groups);
    return empty(slice);
  }
  *out_groups = groups;
  *out_count = count;
  return TD_OK;
}

void td_slice_ops_free(struct td_slice_ops *ops) {
  free(ops->ops);
  free(ops->live_in);
  free(ops->live_out);
  *ops = (struct td_slice_ops){0};
}

void td_slice_kv_layers(const struct td_graph *graph, const struct td_slice *slice, int32_t *out_begin,
                        int32_t *out_end) {
  int32_t begin = slice->layer_begin > 0 ? slice->layer_begin : 0;
  int32_t end = slice->layer_end < graph->shape.layers ? slice->layer_end : graph->shape.layers;
  bool none = !(slice->parts & TD_PART_ATTENTION) || begin >= end;
  *out_begin = none ? 0 : begin;
  *out_end = none ? 0 : end;
}

/* ---- weights ---- */

static td_status add_weight(const struct td_graph *graph, const struct td_op *op, unsigned char *seen,
                            uint64_t *out_experts, uint64_t *out_rest) {
  const struct td_weight *weight = &graph->weights[op->weight];
  uint64_t row;
  if (seen[op->weight]) return TD_OK;
  seen[op->weight] = 1;
  TD_TRY(td_dtype_row_bytes(weight->dtype, weight->cols, &row));
  *(op->experts > 0 ? out_experts : out_rest) += row * (uint64_t)weight->rows;
  return TD_OK;
}

td_status td_slice_weight_bytes(const struct td_graph *graph, const struct td_slice *slice, uint64_t *out_experts,
                                uint64_t *out_rest) {
  unsigned char *seen;
  td_status status = check_slice(graph, slice);
  *out_experts = *out_rest = 0;
  if (!status) status = td_alloc((size_t)graph->weight_count + 1, 1, (void **)&seen);
  if (status) return status;
  for (int32_t i = 0; i < graph->op_count && !status; i++) {
    const struct td_op *op = &graph->ops[i];
    if (op->weight >= 0 && holds(slice, op)) status = add_weight(graph, op, seen, out_experts, out_rest);
  }
  free(seen);
  return status;
}
