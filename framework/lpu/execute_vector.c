/* SPDX-License-Identifier: Apache-2.0
 *
 * The vector unit: operands widened to 32 bits, one operation over all lanes, the result narrowed.
 */
#include <string.h>

#include "execute.h"
#include "tandem/lpu_math.h"

typedef uint32_t lanes32[TD_LPU_MOST_LANES];

struct operand {
  const uint32_t *values; /* of a chain, or `own` */
  lanes32 own;
};

/* ---- widening ---- */

static void widen(const uint8_t *const *in, int32_t type, int32_t lanes, uint32_t *TD_RESTRICT out) {
  const uint8_t *a = in[0], *b = in[1], *c = in[2], *d = in[3];
  switch (type) {
    case TD_LPU_I8:
      for (int32_t l = 0; l < lanes; l++) out[l] = (uint32_t)(int32_t)(int8_t)a[l];
      break;
    case TD_LPU_W8:
      for (int32_t l = 0; l < lanes; l++) out[l] = td_lpu_bits((float)(int8_t)a[l]);
      break;
    case TD_LPU_F8:
    case TD_LPU_WF8:
      for (int32_t l = 0; l < lanes; l++) out[l] = td_lpu_bits(td_lpu_f8_to_f32(a[l]));
      break;
    case TD_LPU_F16:
      for (int32_t l = 0; l < lanes; l++) out[l] = td_lpu_bits(td_lpu_f16_to_f32((uint16_t)(a[l] | b[l] << 8)));
      break;
    default:
      for (int32_t l = 0; l < lanes; l++) {
        out[l] = (uint32_t)a[l] | (uint32_t)b[l] << 8 | (uint32_t)c[l] << 16 | (uint32_t)d[l] << 24;
      }
      break;
  }
}

static td_status take_stream(struct execution *run, const struct execute_op *op, int which, struct operand *out) {
  const uint8_t *vectors[4] = {NULL, NULL, NULL, NULL};
  for (int32_t i = 0; i < op->in_width[which]; i++) {
    vectors[i] = execute_passing(run, op, op->of->in[which], i);
    if (!vectors[i]) return execute_absent(run, op, (uint8_t)(op->of->in[which] + i));
  }
  widen(vectors, op->of->in_type[which], execute_machine(run)->lanes, out->own);
  out->values = out->own;
  return TD_OK;
}

static struct execute_result *result_at(struct execution *run, const struct execute_op *op, int32_t alu,
                                        int64_t ready) {
  struct execute_result *ring = run->chips[execute_chip_of(run, op)].results + (int64_t)alu * (run->result_mask + 1);
  return &ring[ready & run->result_mask];
}

static td_status take_chain(struct execution *run, const struct execute_op *op, int which, struct operand *out) {
  int32_t alu = op->of->in[which];
  const struct execute_result *result = result_at(run, op, alu, run->now);
  if (result->ready != run->now || result->twice) {
    return execute_refuse(run, op, run->now, TD_RULE_ARRIVE, "found %s of ALU %d in this cycle, expected one to chain",
                          result->ready == run->now ? "two results" : "no result", alu);
  }
  out->values = result->values;
  return TD_OK;
}

static td_status take(struct execution *run, const struct execute_op *op, int which, struct operand *out) {
  switch (op->of->source[which]) {
    case TD_SOURCE_STREAM:
      return take_stream(run, op, which, out);
    case TD_SOURCE_CHAIN:
      return take_chain(run, op, which, out);
    default:
      for (int32_t l = 0; l < execute_machine(run)->lanes; l++) out->own[l] = op->of->immediate;
      out->values = out->own;
      return TD_OK;
  }
}

/* ---- operations ---- */

/* One loop an operation: A, B are the operands as floats, `expression` a float. */
#define FLOATS(expression)                                              \
  for (int32_t l = 0; l < lanes; l++) {                                 \
    const float A = td_bits_to_float(a[l]), B = td_bits_to_float(b[l]); \
    (void)A, (void)B;                                                   \
    out[l] = td_lpu_bits(expression);                                   \
  }                                                                     \
  return true;
/* As integers, with `fits` for every lane or the operation fails. */
#define INTEGERS(expression, fits)                      \
  for (int32_t l = 0; l < lanes; l++) {                 \
    const int64_t A = (int32_t)a[l], B = (int32_t)b[l]; \
    const int64_t result = (expression);                \
    good &= (fits);                                     \
    out[l] = (uint32_t)(int32_t)result;                 \
  }                                                     \
  return good;

#define IN_I32 (result >= INT32_MIN && result <= INT32_MAX)

static bool to_i32(const uint32_t *a, uint32_t *TD_RESTRICT out, int32_t lanes) {
  int good = 1;
  for (int32_t l = 0; l < lanes; l++) {
    float value = td_bits_to_float(a[l]);
    good &= td_lpu_fits_i32(value);
    out[l] = (uint32_t)td_lpu_f32_to_i32(value);
  }
  return good;
}

static bool shift_i32(const uint32_t *a, const uint32_t *b, uint32_t *TD_RESTRICT out, int32_t lanes) {
  bool good = true;
  for (int32_t l = 0; l < lanes; l++) {
    int32_t by = (int32_t)b[l];
    good &= by >= -31 && by <= 31;
    out[l] = by >= 0 ? a[l] << (by & 31) : (uint32_t)((int32_t)a[l] >> (-by & 31));
  }
  return good;
}

static bool integers(int32_t operation, const uint32_t *a, const uint32_t *b, uint32_t *TD_RESTRICT out,
                     int32_t lanes) {
  bool good = true;
  switch (operation) {
    case TD_ALU_TO_I32:
      return to_i32(a, out, lanes);
    case TD_ALU_TO_F32:
      for (int32_t l = 0; l < lanes; l++) out[l] = td_lpu_bits(td_lpu_i32_to_f32((int32_t)a[l]));
      return true;
    case TD_ALU_ADD_I32:
      INTEGERS(A + B, IN_I32)
    case TD_ALU_SUB_I32:
      INTEGERS(A - B, IN_I32)
    default:
      return shift_i32(a, b, out, lanes);
  }
}

static bool elementary(int32_t operation, const uint32_t *a, uint32_t *TD_RESTRICT out, int32_t lanes) {
  const uint32_t *b = a;
  switch (operation) {
    case TD_ALU_EXP:
      FLOATS(td_lpu_exp(A))
    case TD_ALU_RSQRT:
      FLOATS(td_lpu_rsqrt(A))
    case TD_ALU_RECIPROCAL:
      FLOATS(td_lpu_reciprocal(A))
    case TD_ALU_TANH:
      FLOATS(td_lpu_tanh(A))
    default:
      FLOATS(td_lpu_sigmoid(A))
  }
}

static bool select_le(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t otherwise,
                      uint32_t *TD_RESTRICT out, int32_t lanes) {
  for (int32_t l = 0; l < lanes; l++) out[l] = td_bits_to_float(a[l]) <= td_bits_to_float(b[l]) ? c[l] : otherwise;
  return true;
}

static bool operate(const struct td_lpu_instruction *of, const struct operand *in, uint32_t *TD_RESTRICT out,
                    int32_t lanes) {
  const uint32_t *a = in[0].values, *b = in[1].values ? in[1].values : a;
  switch (of->operation) {
    case TD_ALU_MOVE:
      memcpy(out, a, (size_t)lanes * sizeof *out);
      return true;
    case TD_ALU_ADD:
      FLOATS(td_lpu_quiet(A + B))
    case TD_ALU_SUB:
      FLOATS(td_lpu_quiet(A - B))
    case TD_ALU_MUL:
      FLOATS(td_lpu_quiet(A * B))
    case TD_ALU_MAX:
      FLOATS(td_lpu_quiet(A > B ? A : B))
    case TD_ALU_MIN:
      FLOATS(td_lpu_quiet(A < B ? A : B))
    case TD_ALU_ABS:
      for (int32_t l = 0; l < lanes; l++) out[l] = a[l] & 0x7fffffffu;
      return true;
    case TD_ALU_SELECT_LE:
      return select_le(a, b, in[2].values, of->immediate, out, lanes);
    case TD_ALU_EXP:
    case TD_ALU_RSQRT:
    case TD_ALU_RECIPROCAL:
    case TD_ALU_TANH:
    case TD_ALU_SIGMOID:
      return elementary(of->operation, a, out, lanes);
    default:
      return integers(of->operation, a, b, out, lanes);
  }
}

/* ---- narrowing ---- */

static void split(const uint32_t *in, uint8_t *const *out, int32_t width, int32_t lanes) {
  for (int32_t i = 0; i < width; i++) {
    uint8_t *TD_RESTRICT to = out[i];
    for (int32_t l = 0; l < lanes; l++) to[l] = (uint8_t)(in[l] >> (8 * i));
  }
}

static bool narrow_f16(const uint32_t *in, uint8_t *const *out, int32_t lanes) {
  uint8_t *TD_RESTRICT low = out[0], *TD_RESTRICT high = out[1];
  int good = 1;
  for (int32_t l = 0; l < lanes; l++) {
    float value = td_bits_to_float(in[l]);
    uint16_t half = td_lpu_f32_to_f16(value);
    good &= td_lpu_fits_f16(value);
    low[l] = (uint8_t)half;
    high[l] = (uint8_t)(half >> 8);
  }
  return good;
}

static bool narrow_i8(const uint32_t *in, uint8_t *TD_RESTRICT out, int32_t lanes) {
  bool good = true;
  for (int32_t l = 0; l < lanes; l++) {
    int32_t value = (int32_t)in[l];
    good &= value >= INT8_MIN && value <= INT8_MAX;
    out[l] = (uint8_t)value;
  }
  return good;
}

static bool narrow_f8(const uint32_t *in, uint8_t *TD_RESTRICT out, int32_t lanes) {
  int good = 1;
  for (int32_t l = 0; l < lanes; l++) {
    float value = td_bits_to_float(in[l]);
    good &= td_lpu_fits_f8(value);
    out[l] = td_lpu_f32_to_f8(value);
  }
  return good;
}

static bool narrow(const struct td_lpu_instruction *of, const uint32_t *in, uint8_t *const *out, int32_t lanes) {
  lanes32 whole;
  switch (of->out_type) {
    case TD_LPU_F16:
      return narrow_f16(in, out, lanes);
    case TD_LPU_F8:
    case TD_LPU_WF8:
      return narrow_f8(in, out[0], lanes);
    case TD_LPU_I8:
    case TD_LPU_W8:
      if (execute_gives_integers(of)) return narrow_i8(in, out[0], lanes);
      return to_i32(in, whole, lanes) & narrow_i8(whole, out[0], lanes);
    default:
      split(in, out, 4, lanes);
      return true;
  }
}

/* ---- phase 5 ---- */

static td_status overflow(const struct execution *run, const struct execute_op *op, const char *what) {
  return execute_refuse(run, op, run->now, TD_RULE_ALU, "a lane of %s %s is out of range",
                        td_lpu_alu_name((enum td_lpu_alu)op->of->operation), what);
}

td_status execute_vector_read(struct execution *run, struct execute_node *node) {
  const struct execute_op *op = node->op;
  int32_t lanes = execute_machine(run)->lanes;
  struct operand in[3];
  for (int i = 0; i < 3; i++) in[i].values = NULL;
  for (int i = 0; i < execute_operand_count(op->of->operation); i++) TD_TRY(take(run, op, i, &in[i]));
  int64_t ready = node->issued + op->func;
  struct execute_result *result = result_at(run, op, op->queue.index, ready);
  result->twice = result->ready == ready;
  result->ready = ready;
  if (!operate(op->of, in, result->values, lanes)) return overflow(run, op, "as an integer");
  if (op->of->out == TD_LPU_NO_STREAM) {
    execute_node_give(run, node);
    return TD_OK;
  }
  TD_TRY(execute_node_vectors(run, node, op->out_width));
  if (!narrow(op->of, result->values, node->vector, lanes)) return overflow(run, op, "in its result's type");
  execute_push(run, run->results, node, op->func - op->skew);
  return TD_OK;
}
