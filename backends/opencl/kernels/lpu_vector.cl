/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code (tandem/lpu_code.h) interpreted: one work-group a chip, operations in order. In the CPU form the group is
 * one item, which takes the lanes in loops that compilers make vectors of, and the products in vectors of its own; in
 * the GPU form items share the lanes, and meet after every operation.
 *
 * A failure is noted and the run goes on: no address depends on data.
 */
#pragma OPENCL EXTENSION cl_khr_fp64 : enable

#define MOST_LANES 512
#define LPU_DISTANCE 5 /* steps of weights that are fetched ahead */
#define LPU_AHEAD 16   /* operations that are looked through for the next pass */
#if FORM_CPU
#define LPU_ITEM 0
#define LPU_ITEMS 1
#define LPU_KERNEL ONE_ALONE
#define MEET()
#else
#define LPU_ITEM ((int)get_local_id(0))
#define LPU_ITEMS LPU_GROUP
#define LPU_KERNEL __attribute__((reqd_work_group_size(LPU_GROUP, 1, 1)))
#define MEET() barrier(CLK_GLOBAL_MEM_FENCE)
#endif
/* Lane l is element i of an item's own arrays. */
#define LANES for (int i = 0, l = LPU_ITEM; l < lanes; i++, l += LPU_ITEMS)
typedef uint row[MOST_LANES / LPU_ITEMS];

typedef struct td_lpu_code_op op_t;
typedef struct td_lpu_code_load load_t;
typedef struct td_lpu_code_place place_t;
typedef struct td_lpu_code_map map_t;

struct context {
  __global const struct td_lpu_code_head *head;
  __global const load_t *steps;
  __global const map_t *maps;
  __global const int *patches;
  __global uchar *sram, *work;
  int lanes;
};

static inline __global uchar *at(const struct context *context, int vector, int patch) {
  if (patch == TD_CODE_WORK) return context->work + vector * (long)context->lanes;
  return context->sram + ((long)vector + context->patches[patch]) * context->lanes;
}
static inline __global uint *whole_at(const struct context *context, int vector) {
  return (__global uint *)(context->work + vector * (long)context->lanes);
}
static inline int out_of(__global const op_t *op) {
  return op->out.patch != TD_CODE_WORK || op->out.vector >= 0;
}

/* ---- widening and narrowing ---- */

/* Copies of whole values. Sixteen lanes at a time by name: what compilers take for a memcpy goes byte by byte in PoCL.
 */
#if FORM_CPU
#define COPY_WHOLE(from, to) \
  for (int l = 0; l < lanes; l += 16) vstore16(vload16(0, (from) + l), 0, (to) + l);
#define FROM_WHOLE(from, to) COPY_WHOLE(from, to)
#define TO_WHOLE(from, to) COPY_WHOLE(from, to)
#define BESIDE(from, to) COPY_WHOLE(from, to)
#else
#define FROM_WHOLE(from, to) LANES(to)[i] = (from)[l];
#define TO_WHOLE(from, to) LANES(to)[l] = (from)[i];
#define BESIDE(from, to) LANES(to)[i] = (from)[i];
#endif

static inline void operand(const struct context *context, __global const op_t *op, int which, place_t place,
                           uint *restrict own) {
  int lanes = context->lanes, type = op->types >> (4 * which) & 15;
  __global const uchar *in = at(context, type == TD_OPERAND_IMMEDIATE || type == TD_OPERAND_NONE ? 0 : place.vector,
                                type == TD_OPERAND_IMMEDIATE || type == TD_OPERAND_NONE ? TD_CODE_WORK : place.patch);
  __global const uchar *b = in + lanes, *c = b + lanes, *d = c + lanes;
  __global const uint *whole = (__global const uint *)in;
  switch (type) {
    case TD_OPERAND_NONE:
      break;
    case TD_OPERAND_IMMEDIATE:
      LANES own[i] = (uint)op->immediate;
      break;
    case TD_OPERAND_WHOLE:
      FROM_WHOLE(whole, own)
      break;
    case TD_OPERAND_I8:
      LANES own[i] = (uint)(int)(char)in[l];
      break;
    case TD_OPERAND_W8:
      LANES own[i] = as_uint((float)(char)in[l]);
      break;
    case TD_OPERAND_F8:
      LANES own[i] = as_uint(td_lpu_f8_to_f32(in[l]));
      break;
    case TD_OPERAND_F16:
      LANES own[i] = as_uint(td_lpu_f16_to_f32((ushort)(in[l] | b[l] << 8)));
      break;
    default:
      LANES own[i] = (uint)in[l] | (uint)b[l] << 8 | (uint)c[l] << 16 | (uint)d[l] << 24;
      break;
  }
}

static inline void split(const struct context *context, const uint *restrict in, __global uchar *restrict out) {
  int lanes = context->lanes;
  for (int byte = 0; byte < 4; byte++) {
    LANES out[byte * lanes + l] = (uchar)(in[i] >> (8 * byte));
  }
}

static inline int to_i32(const struct context *context, const uint *restrict a, uint *restrict out) {
  int lanes = context->lanes, good = 1;
  LANES {
    float value = as_float(a[i]);
    good &= td_lpu_fits_i32(value);
    out[i] = (uint)td_lpu_f32_to_i32(value);
  }
  return good;
}

static inline int narrow_bytes(const struct context *context, const uint *restrict in, int to, place_t out) {
  int lanes = context->lanes, good = 1;
  __global uchar *bytes = at(context, to ? out.vector : 0, to ? out.patch : TD_CODE_WORK);
  LANES good &= ((int)in[i] >= -128) & ((int)in[i] <= 127);
  if (to) LANES bytes[l] = (uchar)in[i];
  return good;
}

static inline int narrow_halves(const struct context *context, const uint *restrict in, int to, place_t out) {
  int lanes = context->lanes, good = 1;
  __global uchar *restrict low = at(context, to ? out.vector : 0, to ? out.patch : TD_CODE_WORK);
  __global uchar *restrict high = low + lanes;
  LANES good &= td_lpu_fits_f16(as_float(in[i]));
  if (!to) return good;
  LANES {
    ushort half_bits = td_lpu_f32_to_f16(as_float(in[i]));
    low[l] = (uchar)half_bits;
    high[l] = (uchar)(half_bits >> 8);
  }
  return good;
}

static inline int narrow_eights(const struct context *context, const uint *restrict in, int to, place_t out) {
  int lanes = context->lanes, good = 1;
  __global uchar *bytes = at(context, to ? out.vector : 0, to ? out.patch : TD_CODE_WORK);
  LANES good &= td_lpu_fits_f8(as_float(in[i]));
  if (to) LANES bytes[l] = td_lpu_f32_to_f8(as_float(in[i]));
  return good;
}

static inline int narrow(const struct context *context, __global const op_t *op, const uint *restrict in) {
  row rounded;
  int to = out_of(op);
  switch (op->types >> 12 & 15) {
    case TD_OPERAND_F16:
      return narrow_halves(context, in, to, op->out);
    case TD_OPERAND_F8:
      return narrow_eights(context, in, to, op->out);
    case TD_OPERAND_I8:
    case TD_OPERAND_W8:
      if (op->types & TD_CODE_INTEGER) return narrow_bytes(context, in, to, op->out);
      int good = to_i32(context, in, rounded);
      return good & narrow_bytes(context, rounded, to, op->out);
    case TD_OPERAND_32:
      if (to) split(context, in, at(context, op->out.vector, op->out.patch));
      return 1;
    default:
      return 1;
  }
}

/* ---- the vector unit ---- */

#define FLOAT_LOOP(expression)                          \
  LANES {                                               \
    const float A = as_float(a[i]), B = as_float(b[i]); \
    (void)A, (void)B;                                   \
    out[i] = as_uint(expression);                       \
  }                                                     \
  return 1;

static inline int elementary(int operation, const uint *restrict a, uint *restrict out, int lanes) {
  const uint *b = a;
  switch (operation) {
    case TD_CODE_EXP:
      FLOAT_LOOP(td_lpu_exp(A))
    case TD_CODE_RSQRT:
      FLOAT_LOOP(td_lpu_rsqrt(A))
    case TD_CODE_RECIPROCAL:
      FLOAT_LOOP(td_lpu_reciprocal(A))
    case TD_CODE_TANH:
      FLOAT_LOOP(td_lpu_tanh(A))
    default:
      FLOAT_LOOP(td_lpu_sigmoid(A))
  }
}

static inline int integers(const struct context *context, int operation, const uint *restrict a, const uint *restrict b,
                           uint *restrict out) {
  int lanes = context->lanes, good = 1;
  switch (operation) {
    case TD_CODE_TO_I32:
      return to_i32(context, a, out);
    case TD_CODE_TO_F32:
      LANES out[i] = as_uint(td_lpu_i32_to_f32((int)a[i]));
      return 1;
    case TD_CODE_ADD_I32:
      LANES {
        out[i] = a[i] + b[i];
        good &= ((a[i] ^ out[i]) & (b[i] ^ out[i])) >> 31 == 0;
      }
      return good;
    case TD_CODE_SUB_I32:
      LANES {
        out[i] = a[i] - b[i];
        good &= ((a[i] ^ b[i]) & (a[i] ^ out[i])) >> 31 == 0;
      }
      return good;
    default:
      LANES {
        int by = (int)b[i];
        good &= (by >= -31) & (by <= 31);
        out[i] = by >= 0 ? a[i] << (by & 31) : (uint)((int)a[i] >> (-by & 31));
      }
      return good;
  }
}

static inline int operate(const struct context *context, __global const op_t *op, const uint *restrict a,
                          const uint *restrict b, const uint *restrict c, uint *restrict out) {
  int lanes = context->lanes;
  switch (op->detail) {
    case TD_CODE_MOVE:
      BESIDE(a, out)
      return 1;
    case TD_CODE_ADD:
      FLOAT_LOOP(td_lpu_quiet(A + B))
    case TD_CODE_SUB:
      FLOAT_LOOP(td_lpu_quiet(A - B))
    case TD_CODE_MUL:
      FLOAT_LOOP(td_lpu_quiet(A * B))
    case TD_CODE_MAX:
      FLOAT_LOOP(td_lpu_quiet(A > B ? A : B))
    case TD_CODE_MIN:
      FLOAT_LOOP(td_lpu_quiet(A < B ? A : B))
    case TD_CODE_ABS:
      LANES out[i] = a[i] & 0x7fffffffu;
      return 1;
    case TD_CODE_SELECT_LE: {
      uint otherwise = (uint)op->immediate;
      LANES out[i] = as_float(a[i]) <= as_float(b[i]) ? c[i] : otherwise;
      return 1;
    }
    case TD_CODE_EXP:
    case TD_CODE_RSQRT:
    case TD_CODE_RECIPROCAL:
    case TD_CODE_TANH:
    case TD_CODE_SIGMOID:
      return elementary(op->detail, a, out, lanes);
    default:
      return integers(context, op->detail, a, b, out);
  }
}

static int alu(const struct context *context, __global const op_t *op) {
  row in[3], out;
  int lanes = context->lanes;
  for (int i = 0; i < 3 && (op->types >> (4 * i) & 15); i++) operand(context, op, i, (&op->a)[i], in[i]);
  if (!operate(context, op, in[0], in[1], in[2], out)) return TD_CODE_NOT_INTEGER;
  if (op->whole >= 0) {
    __global uint *restrict whole = whole_at(context, op->whole);
    TO_WHOLE(out, whole)
  }
  return narrow(context, op, out) ? TD_CODE_FINE : TD_CODE_NOT_NARROW;
}
