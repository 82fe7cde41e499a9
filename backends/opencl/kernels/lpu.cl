/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code, continued: what moves vectors; operations in order.
 */
/* ---- moving ---- */

static void copy(const struct context *context, __global const op_t *op) {
  int lanes = context->lanes;
  if (!out_of(op)) return;
  __global const uchar *from = at(context, op->a.vector, op->a.patch);
  __global uchar *to = at(context, op->out.vector, op->out.patch);
  for (int v = 0; v < op->count; v++, from += lanes, to += lanes) {
#if FORM_CPU
    for (int l = 0; l < lanes; l += 16) vstore16(vload16(0, from + l), 0, to + l);
#else
    LANES to[l] = from[l];
#endif
  }
}

static inline void permute(const struct context *context, __global const uchar *restrict in,
                           __global uchar *restrict out, __global const map_t *map) {
  int lanes = context->lanes;
#if FORM_CPU
  for (int p = 0; p < map->pieces; p++) {
    int to = map->piece[p].to, count = map->piece[p].count, from = map->piece[p].from, step = map->piece[p].step, l = 0;
    uchar value = from < 0 ? 0 : in[from];
    for (; l + 16 <= count; l += 16) vstore16(step ? vload16(0, in + from + l) : (uchar16)(value), 0, out + to + l);
    for (; l < count; l++) out[to + l] = step ? in[from + l] : value;
  }
  if (map->pieces) return;
#endif
  LANES {
    int from = map->lane[l];
    out[l] = from < 0 ? 0 : in[from];
  }
}

/* 0 <= by < group. */
static inline void rotate_lanes(__global const uchar *restrict in, __global uchar *restrict out, int lanes, int by,
                                int group) {
#if FORM_CPU
  for (int base = 0; base < lanes; base += group) {
    for (int l = 0; l < group - by; l++) out[base + l] = in[base + l + by];
    for (int l = group - by; l < group; l++) out[base + l] = in[base + l + by - group];
  }
#else
  LANES {
    int from = l % group + by;
    out[l] = in[l - l % group + (from < group ? from : from - group)];
  }
#endif
}

static void move(const struct context *context, __global const op_t *op) {
  int lanes = context->lanes, by = op->immediate, group = context->head->lanes_per_superlane;
  if (!out_of(op)) return;
  __global const uchar *restrict a = at(context, op->a.vector, op->a.patch), *restrict b = a;
  __global uchar *restrict out = at(context, op->out.vector, op->out.patch);
  __global const map_t *map = context->maps;
  if (op->kind == TD_CODE_SELECT) b = at(context, op->b.vector, op->b.patch);
  if (op->kind == TD_CODE_PERMUTE || op->kind == TD_CODE_SELECT) map += op->first + context->patches[op->detail];
  for (int v = 0; v < op->count; v++) {
    switch (op->kind) {
      case TD_CODE_ROTATE:
        rotate_lanes(a, out, lanes, (by % group + group) % group, group);
        break;
      case TD_CODE_SHIFT:
        LANES out[l] = by < lanes && by > -lanes && l + by >= 0 && l + by < lanes ? a[l + by] : 0;
        break;
      case TD_CODE_PERMUTE:
        permute(context, a, out, map);
        break;
      case TD_CODE_SELECT:
        LANES out[l] = map->lane[l] >= 0 ? a[l] : b[l];
        break;
      default: /* transpose: vector v of the result is byte v of each superlane of all 16 */
        LANES out[l] = a[l % 16 * lanes + l / 16 * 16];
        a += 1 - lanes;
        break;
    }
    a += lanes;
    b += lanes;
    out += lanes;
  }
}

/* ---- operations in order ---- */

static int execute(const struct context *context, __global const op_t *op, __global const op_t *end) {
  __global const op_t *then = op + 1;
  switch (op->kind) {
    case TD_CODE_COPY:
      copy(context, op);
      return TD_CODE_FINE;
    case TD_CODE_ALU:
      return alu(context, op);
    case TD_CODE_EXPAND:
      expand(context, op);
      return TD_CODE_FINE;
    case TD_CODE_PASS:
      if (op->whole < 0) return TD_CODE_FINE;
      while (then < end && then < op + LPU_AHEAD && then->kind != TD_CODE_PASS) then++;
      if (then == end || then->kind != TD_CODE_PASS) then = 0;
      if (op->detail == TD_TILE_I8 || op->detail == TD_TILE_BYTES) {
        pass_bytes(context, op, then);
      } else {
        pass_wide(context, op, then);
      }
      return TD_CODE_FINE;
    case TD_CODE_SUM:
      return sum_rows(context, op);
    default:
      move(context, op);
      return TD_CODE_FINE;
  }
}

/* Group: a chip of the part. */
__kernel LPU_KERNEL void lpu_run(BUFFER(code), BUFFER(step), OUTPUT(work), OUTPUT(sram), int part_number) {
  __global const int *words = INTS(code);
  __global const struct td_lpu_code_head *head = (__global const struct td_lpu_code_head *)words;
  __global const struct td_lpu_code_segment *segments =
      (__global const struct td_lpu_code_segment *)(words + head->at_segments);
  __global const struct td_lpu_code_run *runs = (__global const struct td_lpu_code_run *)(words + head->at_runs);
  __global const op_t *ops = (__global const op_t *)(words + head->at_ops);
  __global const struct td_lpu_code_step *first = (__global const struct td_lpu_code_step *)BYTES(step);
  __global const struct td_lpu_code_part *part = (__global const struct td_lpu_code_part *)(first + 1) + part_number;
  __global const struct td_lpu_code_call *calls =
      (__global const struct td_lpu_code_call *)((__global const struct td_lpu_code_part *)(first + 1) + first->parts);
  __global const int *patches = (__global const int *)(calls + first->calls);
  __global struct td_lpu_code_state *state = (__global struct td_lpu_code_state *)BYTES(work);
  int chip = get_group_id(0);
  if (chip >= part->chips) return;
  struct context context = {.head = head,
                            .steps = (__global const load_t *)(words + head->at_steps),
                            .maps = (__global const map_t *)(words + head->at_maps),
                            .work = BYTES(work) + TD_CODE_STATE_BYTES,
                            .lanes = head->lanes};
  for (int c = part->call; c < part->call + part->calls; c++) {
    __global const struct td_lpu_code_segment *segment = &segments[calls[c].segment];
    __global const struct td_lpu_code_run *run = &runs[segment->first_run + part->phase * segment->chips + chip];
    context.patches = patches + calls[c].patch;
    context.sram = BYTES(sram) + (long)calls[c].chip * head->mem_words * head->mem_slices * head->lanes;
    for (int i = run->op; i < run->op + run->count; i++) {
      int reason = execute(&context, &ops[i], ops + run->op + run->count);
      MEET();
      if (reason == TD_CODE_FINE || state->call) continue;
      state->op = i;
      state->reason = reason;
      state->call = c + 1;
    }
  }
}
