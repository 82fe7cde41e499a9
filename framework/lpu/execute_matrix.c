/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrix planes: buffers, arrays, passes and sums. Plane p has an int8 buffer and array of its own; those of an fp16
 * plane are kept with the even plane of the pair.
 *
 * An INSTALL makes the buffer the array; the array before it lives on while passes that were issued earlier still
 * want it.
 */
#include <string.h>

#include "execute.h"
#include "execute_kernels.h"

static struct execute_plane *plane_at(struct execution *run, const struct execute_op *op, int32_t plane) {
  return &run->chips[execute_chip_of(run, op)].planes[plane];
}

void execute_plane_busy(struct execution *run, const struct execute_op *op, bool pair) {
  for (int32_t i = 0; i < (pair ? 2 : 1); i++) {
    struct execute_plane *plane = plane_at(run, op, op->queue.index + i);
    if (plane->busy != run->now) run->counts.busy[TD_UNIT_MATRIX]++;
    plane->busy = run->now;
  }
}

/* Loaded into a buffer of floats, both planes of a pair's. */
static bool is_wide(int32_t type) {
  return type != TD_LPU_I8 && type != TD_LPU_F8;
}

static int32_t depth(const struct td_lpu_machine *machine, bool wide) {
  return wide ? machine->plane_k / 2 : machine->plane_k;
}

/* ---- buffers ---- */

static td_status room(struct execution *run, struct execute_array *array, bool wide) {
  const struct td_lpu_machine *machine = execute_machine(run);
  if (wide ? array->floats != NULL : array->bytes != NULL) return TD_OK;
  void *memory;
  size_t count = (size_t)depth(machine, wide) * (size_t)machine->lanes;
  TD_TRY(execute_keep(run, count, wide ? sizeof(float) : 1, &memory));
  if (wide) {
    array->floats = memory;
  } else {
    array->bytes = memory;
  }
  return TD_OK;
}

static td_status empty_buffer(struct execution *run, struct execute_plane *plane, struct execute_array **out) {
  struct execute_array *array = plane->unused;
  if (array) {
    plane->unused = array->next;
  } else {
    void *memory;
    TD_TRY(execute_keep(run, 1, sizeof *array, &memory));
    array = memory;
  }
  memset(array->step, 0, sizeof array->step);
  array->loaded = array->fp8 = false;
  array->pending = 0;
  *out = array;
  return TD_OK;
}

/* An array that no pass wants any more goes back. */
static void give_array(struct execute_plane *plane, struct execute_array *array) {
  if (!array || array->pending || array == plane->current) return;
  array->next = plane->unused;
  plane->unused = array;
}

static void drop_current(struct execute_plane *plane) {
  struct execute_array *old = plane->current;
  plane->current = NULL;
  give_array(plane, old);
}

/* ---- LOAD ---- */

/* Phase 5: takes the vectors; they reach the buffer later. */
td_status execute_load_read(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  int32_t count = op->in_width[0], lanes = execute_machine(run)->lanes;
  TD_TRY(execute_node_vectors(run, node, count));
  for (int32_t i = 0; i < count; i++) {
    const uint8_t *in = execute_passing(run, op, op->of->in[0], i);
    if (!in) return execute_absent(run, op, (uint8_t)(op->of->in[0] + i));
    memcpy(node->vector[i], in, (size_t)lanes);
  }
  execute_push(run, run->landings, node, op->func - op->skew);
  return TD_OK;
}

static bool holds(const struct execute_plane *plane, bool wide) {
  return plane->filling && plane->filling->loaded && plane->filling->wide == wide;
}

/* The buffer that a LOAD goes to, with room for it. */
static td_status buffer_of(struct execution *run, const struct execute_op *op, struct execute_array **out) {
  const struct td_lpu_instruction *of = op->of;
  bool wide = is_wide(of->type), columns = of->flags & TD_LPU_COLUMNS, fp8 = of->type == TD_LPU_F8;
  int32_t even = op->queue.index & ~1;
  struct execute_plane *plane = plane_at(run, op, wide ? even : op->queue.index);
  bool clash =
      wide ? holds(plane, false) || holds(plane_at(run, op, even + 1), false) : holds(plane_at(run, op, even), true);
  if (!plane->filling) TD_TRY(empty_buffer(run, plane, &plane->filling));
  struct execute_array *array = plane->filling;
  if (clash || (array->loaded && (array->columns != columns || array->fp8 != fp8))) {
    return execute_refuse(run, op, run->now, TD_RULE_BUFFER,
                          "found a load of another type or orientation than the buffer's, expected an install between");
  }
  TD_TRY(room(run, array, wide));
  array->loaded = true;
  array->wide = wide;
  array->columns = columns;
  array->fp8 = fp8;
  *out = array;
  return TD_OK;
}

static void land(const struct td_lpu_machine *machine, const struct execute_node *node, struct execute_array *array) {
  const struct td_lpu_instruction *of = node->op->of;
  int32_t lanes = machine->lanes, k = depth(machine, array->wide), each = of->type == TD_LPU_F16 ? 2 : 1;
  for (int32_t j = 0; j < machine->load_vectors; j++) {
    const uint8_t *const *in = (const uint8_t *const *)&node->vector[j * each];
    int64_t at = (int64_t)node->address * machine->load_vectors + j;
    if (array->columns && array->wide) {
      execute_column_floats(in, of->type, of->half * k, k, lanes, array->floats + at);
    } else if (array->columns) {
      execute_column_bytes(in[0], k, lanes, array->bytes + at);
    } else if (array->wide) {
      execute_row_floats(in, of->type, lanes, array->floats + at * lanes);
    } else {
      memcpy(array->bytes + at * lanes, in[0], (size_t)lanes);
    }
  }
}

/* Phase 2. */
td_status execute_load_land(struct execution *run, struct execute_node *node) {
  const struct td_lpu_machine *machine = execute_machine(run);
  const struct execute_op *op = node->op;
  struct execute_array *array = NULL;
  TD_TRY(buffer_of(run, op, &array));
  int32_t most = (array->columns ? machine->lanes : depth(machine, array->wide)) / machine->load_vectors;
  if (node->address < 0 || node->address >= most) {
    return execute_refuse(run, op, run->now, TD_RULE_BUFFER, "found step %d of the weight buffer, expected 0..%d",
                          node->address, most - 1);
  }
  if (array->step[node->address]) {
    return execute_refuse(run, op, run->now, TD_RULE_BUFFER,
                          "found step %d of the weight buffer loaded twice, expected an "
                          "install between",
                          node->address);
  }
  land(machine, node, array);
  array->step[node->address] = 1;
  execute_node_give(run, node);
  return TD_OK;
}

/* ---- INSTALL ---- */

/* Steps that were not loaded are zero. */
static void clear_steps(const struct td_lpu_machine *machine, struct execute_array *array) {
  int32_t lanes = machine->lanes, vectors = machine->load_vectors, k = depth(machine, array->wide);
  int32_t steps = (array->columns ? lanes : k) / vectors;
  size_t size = array->wide ? sizeof(float) : 1;
  uint8_t *data = array->wide ? (uint8_t *)array->floats : (uint8_t *)array->bytes;
  for (int32_t c = 0; c < steps; c++) {
    if (array->step[c]) continue;
    size_t first = (size_t)c * (size_t)vectors;
    if (!array->columns) memset(data + first * (size_t)lanes * size, 0, (size_t)vectors * (size_t)lanes * size);
    for (int32_t i = 0; i < k && array->columns; i++) {
      memset(data + ((size_t)i * (size_t)lanes + first) * size, 0, (size_t)vectors * size);
    }
  }
}

/* Phase 3. */
td_status execute_install(struct execution *run, struct execute_node *node) {
  const struct td_lpu_machine *machine = execute_machine(run);
  const struct execute_op *op = node->op;
  struct execute_plane *plane = plane_at(run, op, op->queue.index), *even = plane_at(run, op, op->queue.index & ~1);
  struct execute_array *array = plane->filling;
  if (!array || !array->loaded) {
    return execute_refuse(run, op, run->now, TD_RULE_BUFFER, "found an empty weight buffer, expected loads before");
  }
  execute_plane_busy(run, op, array->wide);
  clear_steps(machine, array);
  plane->filling = NULL;
  if (array->wide) drop_current(plane_at(run, op, op->queue.index + 1));
  if (!array->wide && even->current && even->current->wide) drop_current(even);
  drop_current(plane);
  plane->current = array;
  array->usable = run->now + machine->install_cycles;
  execute_node_give(run, node);
  return TD_OK;
}

void execute_planes_seam(struct execution *run, uint32_t arrays, int32_t chip_count) {
  const struct td_lpu_machine *machine = execute_machine(run);
  for (int32_t c = run->call->chip; c < run->call->chip + chip_count; c++) {
    for (int32_t p = 0; p < machine->planes; p++) {
      struct execute_plane *plane = &run->chips[c].planes[p];
      if (!(arrays >> p & 1u)) drop_current(plane);
      if (!plane->filling) continue;
      plane->filling->pending = 0;
      give_array(plane, plane->filling);
      plane->filling = NULL;
    }
  }
}

void execute_planes_forget(struct execution *run) {
  for (int32_t c = 0; c < run->system.program->chips; c++) {
    for (int32_t p = 0; p < execute_machine(run)->planes; p++) {
      struct execute_plane *plane = &run->chips[c].planes[p];
      if (plane->current) plane->current->pending = 0;
      drop_current(plane);
    }
  }
}

/* ---- PASS ---- */

/* Phase 4. */
td_status execute_pass_bind(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  bool wide = op->of->type == TD_LPU_F16, fp8 = op->of->type == TD_LPU_F8;
  struct execute_array *array = plane_at(run, op, op->queue.index)->current;
  if (!array || array->wide != wide || array->fp8 != fp8) {
    return execute_refuse(run, op, run->now, TD_RULE_INSTALL, "found %s array, expected one of type %s",
                          array ? "another" : "no",
                          wide  ? "f16"
                          : fp8 ? "f8"
                                : "i8");
  }
  if (run->now < array->usable) {
    return execute_refuse(run, op, run->now, TD_RULE_INSTALL, "found a pass in an install's %d slots",
                          execute_machine(run)->install_cycles);
  }
  execute_plane_busy(run, op, wide);
  array->pending++;
  node->array = array;
  execute_push(run, run->reads, node, op->skew);
  return TD_OK;
}

/* Phase 5. */
td_status execute_pass_read(struct execution *run, struct execute_node *node) {
  const struct td_lpu_machine *machine = execute_machine(run);
  const struct execute_op *op = node->op;
  struct execute_plane *plane = plane_at(run, op, op->queue.index);
  const uint8_t *in[2] = {NULL, NULL};
  for (int32_t i = 0; i < op->in_width[0]; i++) {
    in[i] = execute_passing(run, op, op->of->in[0], i);
    if (!in[i]) return execute_absent(run, op, (uint8_t)(op->of->in[0] + i));
  }
  struct execute_row *row = &plane->rows[node->issued & run->row_mask];
  struct execute_array *array = node->array;
  row->issued = node->issued;
  row->type = array->wide ? TD_LPU_F32 : array->fp8 ? TD_LPU_F8 : TD_LPU_I32;
  int32_t k = depth(machine, array->wide);
  if (array->fp8) {
    execute_pass_fp8(in[0], k, machine->lanes, array->bytes, row->values);
  } else if (array->wide) {
    execute_pass_floats(in, op->of->half * k, k, machine->lanes, array->floats, row->values);
  } else {
    execute_pass_bytes((const int8_t *)in[0], k, machine->lanes, array->bytes, row->values);
  }
  array->pending--;
  give_array(plane, array);
  execute_node_give(run, node);
  return TD_OK;
}

/* ---- SUM ---- */

static td_status sum_row(struct execution *run, const struct execute_op *op, const struct execute_row **out) {
  int64_t issued = run->now - execute_machine(run)->delay[TD_LPU_PASS].func;
  const struct execute_row *row = &plane_at(run, op, op->queue.index)->rows[issued & run->row_mask];
  int32_t type = op->of->type;
  if (row->issued != issued || row->type != type) {
    return execute_refuse(run, op, run->now, TD_RULE_SUM, "found no pass in cycle %lld that gives a row of %s",
                          (long long)(issued - run->base),
                          type == TD_LPU_F32  ? "f32"
                          : type == TD_LPU_F8 ? "f8"
                                              : "i32");
  }
  *out = row;
  return TD_OK;
}

static td_status sum_total(struct execution *run, const struct execute_node *node, struct execute_row **out) {
  const struct execute_op *op = node->op;
  int32_t most = execute_machine(run)->accumulator_depth * (op->of->type == TD_LPU_F32 ? 2 : 1);
  if (node->address < 0 || node->address >= most) {
    return execute_refuse(run, op, run->now, TD_RULE_SUM, "found accumulator %d, expected 0..%d", node->address,
                          most - 1);
  }
  struct execute_row *sum = &plane_at(run, op, op->queue.index)->sums[node->address];
  if (op->of->flags & TD_LPU_ADD && (sum->issued < run->base || sum->type != op->of->type)) {
    return execute_refuse(run, op, run->now, TD_RULE_SUM, "accumulator %d was never kept%s", node->address,
                          sum->issued < run->base ? "" : " with this type");
  }
  *out = sum;
  return TD_OK;
}

/* Phase 6. */
td_status execute_sum(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  int32_t flags = op->of->flags, lanes = execute_machine(run)->lanes;
  bool floats = op->of->type != TD_LPU_I32;
  const struct execute_row *row = NULL;
  struct execute_row *sum = NULL;
  int32_t total[TD_LPU_MOST_LANES];
  execute_plane_busy(run, op, op->of->type == TD_LPU_F32);
  TD_TRY(sum_row(run, op, &row));
  if (flags & (TD_LPU_ADD | TD_LPU_KEEP)) TD_TRY(sum_total(run, node, &sum));
  if (!execute_add_rows(row->values, flags & TD_LPU_ADD ? sum->values : NULL, floats, lanes, total)) {
    return execute_refuse(run, op, run->now, TD_RULE_SUM, "a lane of accumulator %d wraps", node->address);
  }
  if (flags & TD_LPU_KEEP) {
    memcpy(sum->values, total, (size_t)lanes * sizeof *total);
    sum->issued = run->now;
    sum->type = op->of->type;
  }
  if (!(flags & TD_LPU_EMIT)) {
    execute_node_give(run, node);
    return TD_OK;
  }
  TD_TRY(execute_node_vectors(run, node, 4));
  execute_split(total, node->vector, lanes);
  execute_push(run, run->results, node, op->func);
  return TD_OK;
}
