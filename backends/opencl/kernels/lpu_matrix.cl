/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU code, continued: the matrix planes.
 */
/* ---- the matrix planes ---- */

static inline int is_number(double x) {
  return x * 0 == 0;
}

/* The activations of an fp16 pass; each item of a group makes all of them. */
static inline int activations(const struct context *context, __global const op_t *op, int k, double *restrict x) {
  __global const uchar *low = at(context, op->a.vector, op->a.patch) + op->immediate, *high = low + context->lanes;
  int finite = 1;
  for (int i = 0; i < k; i++) {
    ushort half_bits = (ushort)(low[i] | high[i] << 8);
    finite &= (half_bits & 0x7c00) != 0x7c00;
    x[i] = (double)td_lpu_f16_to_f32(half_bits);
  }
  return finite;
}

/* Of an FP8 pass. */
static inline int activations_eights(const struct context *context, __global const op_t *op, int k,
                                     double *restrict x) {
  __global const uchar *in = at(context, op->a.vector, op->a.patch);
  int finite = 1;
  for (int i = 0; i < k; i++) {
    finite &= (in[i] & 0x7f) != 0x7f;
    x[i] = (double)td_lpu_f8_to_f32(in[i]);
  }
  return finite;
}

/* Whether an activation that is no number meets a step that was not loaded: zero times it is none. */
static int spoiled(const struct context *context, __global const op_t *op, const double *x, int k) {
  int vectors = context->head->load_vectors;
  for (int i = 0; i < k; i++) {
    int loaded = 0;
    for (int s = op->first; s < op->first + op->count; s++) loaded |= context->steps[s].step == i / vectors;
    if (!loaded && !is_number(x[i])) return 1;
  }
  return 0;
}

#if FORM_CPU
/* Products are exact in double, so that fusing them with sums changes nothing. */
typedef double lpu_sum[MOST_LANES];
/* 32 lanes of int8 rows. */
static inline void add_widened(double *restrict sum, __global const uchar *restrict rows, const double *restrict x,
                               int count, int lanes) {
  int l = 0;
  for (; l + 32 <= lanes; l += 32) {
    double8 s0 = vload8(0, sum + l), s1 = vload8(1, sum + l), s2 = vload8(2, sum + l), s3 = vload8(3, sum + l);
    for (int i = 0; i < count; i++) {
      __global const char *w = (__global const char *)(rows + i * lanes + l);
      const double8 factor = (double8)(x[i]);
      s0 = multiply_add(convert_double8(convert_int8(vload8(0, w))), factor, s0);
      s1 = multiply_add(convert_double8(convert_int8(vload8(1, w))), factor, s1);
      s2 = multiply_add(convert_double8(convert_int8(vload8(2, w))), factor, s2);
      s3 = multiply_add(convert_double8(convert_int8(vload8(3, w))), factor, s3);
    }
    vstore8(s0, 0, sum + l);
    vstore8(s1, 1, sum + l);
    vstore8(s2, 2, sum + l);
    vstore8(s3, 3, sum + l);
  }
  for (; l < lanes; l++) {
    for (int i = 0; i < count; i++) sum[l] += (double)(char)rows[i * lanes + l] * x[i];
  }
}

static inline double eight(uchar bits) {
  return (double)td_lpu_f8_to_f32(bits);
}

/* 16 lanes of FP8 rows: the bits are the upper ones of an f16 of 2^-8 times the value, but for NaNs. */
static inline void add_eights(double *restrict sum, __global const uchar *restrict rows, const double *restrict x,
                              int count, int lanes) {
  uchar odd = 0;
  for (int i = 0; i < count * lanes; i++) odd |= (rows[i] & 0x7f) == 0x7f;
  for (int l = 0; l < lanes && odd; l++) {
    for (int i = 0; i < count; i++) sum[l] += eight(rows[i * lanes + l]) * x[i];
  }
  for (int l = 0; l < lanes && !odd; l += 16) {
    double8 low = vload8(0, sum + l), high = vload8(0, sum + l + 8);
    for (int i = 0; i < count; i++) {
      const double8 factor = (double8)(x[i] * 256);
      ushort16 bits = convert_ushort16(vload16(0, rows + i * lanes + l));
      bits = (bits & (ushort16)0x80) << (ushort16)8 | (bits & (ushort16)0x7f) << (ushort16)7;
      const float16 w = vload_half16(0, (const half *)&bits);
      low = multiply_add(convert_double8(w.lo), factor, low);
      high = multiply_add(convert_double8(w.hi), factor, high);
    }
    vstore8(low, 0, sum + l);
    vstore8(high, 0, sum + l + 8);
  }
}

static inline float16 halves_16(__global const uchar *low, __global const uchar *high) {
  ushort16 both = convert_ushort16(vload16(0, low)) | convert_ushort16(vload16(0, high)) << (ushort16)8;
  return vload_half16(0, (const half *)&both);
}

/* Whether all lanes are numbers: zero times such a row adds nothing to sums that began at +0. */
static inline int numbers(__global const uchar *high, int lanes) {
  uchar odd = 0;
  for (int l = 0; l < lanes; l++) odd |= (high[l] & 0x7c) == 0x7c;
  return !odd;
}

static inline void add_halves(double *restrict sum, __global const uchar *restrict rows, const double *restrict x,
                              int count, int lanes) {
  int used = 0, which[MOST_LANES];
  for (int i = 0; i < count; i++) {
    if (x[i] != 0 || !numbers(rows + (2 * i + 1) * lanes, lanes)) which[used++] = i;
  }
  for (int l = 0; l < lanes; l += 16) {
    double8 low = vload8(0, sum + l), high = vload8(0, sum + l + 8);
    for (int u = 0; u < used; u++) {
      int i = which[u];
      const double8 factor = (double8)(x[i]);
      const float16 w = halves_16(rows + 2 * i * lanes + l, rows + (2 * i + 1) * lanes + l);
      low = multiply_add(convert_double8(w.lo), factor, low);
      high = multiply_add(convert_double8(w.hi), factor, high);
    }
    vstore8(low, 0, sum + l);
    vstore8(high, 0, sum + l + 8);
  }
}

static inline void add_floats(double *restrict sum, __global const float *restrict rows, const double *restrict x,
                              int count, int lanes) {
  for (int l = 0; l < lanes; l += 16) {
    double8 low = vload8(0, sum + l), high = vload8(0, sum + l + 8);
    for (int i = 0; i < count; i++) {
      const double8 factor = (double8)(x[i]);
      low = multiply_add(convert_double8(vload8(0, rows + i * lanes + l)), factor, low);
      high = multiply_add(convert_double8(vload8(1, rows + i * lanes + l)), factor, high);
    }
    vstore8(low, 0, sum + l);
    vstore8(high, 0, sum + l + 8);
  }
}

/* Products and sums of up to 1,023 int8 products are exact in float. */
static inline void add_bytes(float *restrict sum, __global const uchar *restrict rows, __global const uchar *restrict x,
                             int count, int lanes) {
  int l = 0;
  for (; l + 64 <= lanes; l += 64) {
    float16 s0 = vload16(0, sum + l), s1 = vload16(1, sum + l), s2 = vload16(2, sum + l), s3 = vload16(3, sum + l);
    for (int i = 0; i < count; i++) {
      __global const char *w = (__global const char *)(rows + i * lanes + l);
      const float16 factor = (float16)((float)(char)x[i]);
      s0 = multiply_add(convert_float16(vload16(0, w)), factor, s0);
      s1 = multiply_add(convert_float16(vload16(1, w)), factor, s1);
      s2 = multiply_add(convert_float16(vload16(2, w)), factor, s2);
      s3 = multiply_add(convert_float16(vload16(3, w)), factor, s3);
    }
    vstore16(s0, 0, sum + l);
    vstore16(s1, 1, sum + l);
    vstore16(s2, 2, sum + l);
    vstore16(s3, 3, sum + l);
  }
  for (; l < lanes; l++) {
    for (int i = 0; i < count; i++) sum[l] += (float)(char)rows[i * lanes + l] * (float)(char)x[i];
  }
}
#else
typedef double lpu_sum[MOST_LANES / LPU_ITEMS];
static inline void add_widened(double *sum, __global const uchar *rows, const double *x, int count, int lanes) {
  LANES {
    for (int k = 0; k < count; k++) sum[i] += (double)(char)rows[k * lanes + l] * x[k];
  }
}
static inline void add_eights(double *sum, __global const uchar *rows, const double *x, int count, int lanes) {
  LANES {
    for (int k = 0; k < count; k++) sum[i] += (double)td_lpu_f8_to_f32(rows[k * lanes + l]) * x[k];
  }
}
static inline void add_halves(double *sum, __global const uchar *rows, const double *x, int count, int lanes) {
  LANES {
    for (int k = 0; k < count; k++) {
      __global const uchar *low = rows + 2 * k * lanes + l;
      sum[i] += (double)td_lpu_f16_to_f32((ushort)(low[0] | low[lanes] << 8)) * x[k];
    }
  }
}
static inline void add_floats(double *sum, __global const float *rows, const double *x, int count, int lanes) {
  LANES {
    for (int k = 0; k < count; k++) sum[i] += (double)rows[k * lanes + l] * x[k];
  }
}
static inline void add_bytes(float *sum, __global const uchar *rows, __global const uchar *x, int count, int lanes) {
  LANES {
    for (int k = 0; k < count; k++) sum[i] += (float)(char)rows[k * lanes + l] * (float)(char)x[k];
  }
}
#endif

/* Asks for a share of the rows that are wanted soon: cache lines line, line + 1, ... */
static inline void fetch(__global const uchar *soon, int line, int count) {
#if FORM_CPU && defined(__has_builtin)
#if __has_builtin(__builtin_prefetch)
  for (int i = line; soon && i < line + count; i++) {
    __builtin_prefetch((const __private void *)(size_t)(soon + 64 * (long)i), 0, 2);
  }
#endif
#endif
}

/* The rows that are wanted a few steps after step `step`: of this tile, or of that of the pass `then`, if any. */
static inline __global const uchar *rows_soon(const struct context *context, __global const op_t *op, int step,
                                              __global const op_t *then) {
  int at_step = step + LPU_DISTANCE, beyond = at_step - (op->first + op->count);
  if (beyond >= 0 && (!then || beyond >= then->count)) return 0;
  __global const load_t *next = &context->steps[beyond < 0 ? at_step : then->first + beyond];
  return at(context, next->vector, next->patch);
}

static void pass_wide(const struct context *context, __global const op_t *op, __global const op_t *then) {
  double x[MOST_LANES];
  lpu_sum sum;
  int fp8 = op->detail == TD_TILE_F8 || op->detail == TD_TILE_EIGHTS;
  int lanes = context->lanes, vectors = context->head->load_vectors;
  int k = fp8 ? context->head->plane_k : context->head->plane_k / 2;
  int finite = fp8 ? activations_eights(context, op, k, x) : activations(context, op, k, x);
  LANES sum[i] = 0;
  if (op->detail == TD_TILE_EIGHTS) add_eights(sum, at(context, op->b.vector, op->b.patch), x, k, lanes);
  if (op->detail == TD_TILE_FLOATS) {
    add_floats(sum, (__global const float *)at(context, op->b.vector, op->b.patch), x, k, lanes);
  }
  for (int s = op->first; s < op->first + op->count; s++) {
    __global const load_t *step = &context->steps[s];
    __global const uchar *rows = at(context, step->vector, step->patch);
    fetch(rows_soon(context, op, s, then), 0, (op->detail == TD_TILE_F16 ? 2 : 1) * vectors * lanes / 64);
    if (op->detail == TD_TILE_W8) {
      add_widened(sum, rows, x + step->step * vectors, vectors, lanes);
    } else if (op->detail != TD_TILE_F16) {
      add_eights(sum, rows, x + step->step * vectors, vectors, lanes);
    } else {
      add_halves(sum, rows, x + step->step * vectors, vectors, lanes);
    }
  }
  int none = !finite && op->detail < TD_TILE_BYTES && spoiled(context, op, x, k);
  __global uint *restrict out = whole_at(context, op->whole);
  LANES out[l] = none ? TD_LPU_NAN : as_uint(td_lpu_quiet((float)sum[i]));
}

static void pass_bytes(const struct context *context, __global const op_t *op, __global const op_t *then) {
  float sum[MOST_LANES / LPU_ITEMS];
  int lanes = context->lanes, vectors = context->head->load_vectors;
  __global const uchar *x = at(context, op->a.vector, op->a.patch);
  LANES sum[i] = 0;
  if (op->detail == TD_TILE_BYTES) {
    add_bytes(sum, at(context, op->b.vector, op->b.patch), x, context->head->plane_k, lanes);
  }
  for (int s = op->first; s < op->first + op->count; s++) {
    __global const load_t *step = &context->steps[s];
    fetch(rows_soon(context, op, s, then), 0, vectors * lanes / 64);
    add_bytes(sum, at(context, step->vector, step->patch), x + step->step * vectors, vectors, lanes);
  }
  __global uint *restrict out = whole_at(context, op->whole);
  LANES out[l] = (uint)(int)sum[i];
}

static int sum_rows(const struct context *context, __global const op_t *op) {
  row total;
  int lanes = context->lanes, good = 1;
  __global const uint *a = whole_at(context, op->a.vector);
  FROM_WHOLE(a, total)
  if (op->b.vector >= 0) {
    __global const uint *b = whole_at(context, op->b.vector);
    if (op->detail) {
      LANES total[i] = as_uint(td_lpu_quiet(as_float(a[l]) + as_float(b[l])));
    } else {
      LANES {
        total[i] = a[l] + b[l];
        good &= ((a[l] ^ total[i]) & (b[l] ^ total[i])) >> 31 == 0;
      }
    }
  }
  if (op->whole >= 0) {
    __global uint *restrict whole = whole_at(context, op->whole);
    TO_WHOLE(total, whole)
  }
  if (out_of(op)) split(context, total, at(context, op->out.vector, op->out.patch));
  return good ? TD_CODE_FINE : TD_CODE_WRAPS;
}

#if FORM_CPU
/* Places of a KV cache that nothing was written to. */
static int all_zero(__global const uchar *in, int vectors, int k, int lanes) {
  uchar any = 0;
  for (int v = 0; v < vectors; v++) {
    for (int i = 0; i < k; i++) any |= in[v * lanes + i];
  }
  return any == 0;
}
#endif

/* Columns become rows: vector j of a step is column load_vectors * step + j. */
static void expand(const struct context *context, __global const op_t *op) {
  int lanes = context->lanes, vectors = context->head->load_vectors, wide = op->detail != TD_OPERAND_I8;
  int k = wide ? context->head->plane_k / 2 : context->head->plane_k, each = op->detail == TD_OPERAND_F16 ? 2 : 1;
  if (!out_of(op)) return;
  __global uchar *bytes = at(context, op->out.vector, op->out.patch);
  __global float *floats = (__global float *)bytes;
  int words = k * lanes / (wide ? 1 : 4);
  for (int i = LPU_ITEM; i < words; i += LPU_ITEMS) floats[i] = 0;
  MEET();
  for (int s = op->first; s < op->first + op->count; s++) {
    __global const load_t *step = &context->steps[s];
    __global const uchar *in = at(context, step->vector, step->patch) + step->lane;
#if FORM_CPU
    if (all_zero(in, each * vectors, k, lanes)) continue;
#endif
    for (int j = 0; j < vectors; j++, in += each * lanes) {
      int n = step->step * vectors + j;
      for (int i = LPU_ITEM; i < k; i += LPU_ITEMS) {
        if (!wide) {
          bytes[i * lanes + n] = in[i];
        } else if (each == 1) {
          floats[i * lanes + n] = op->detail == TD_OPERAND_F8 ? td_lpu_f8_to_f32(in[i]) : (float)(char)in[i];
        } else {
          floats[i * lanes + n] = td_lpu_f16_to_f32((ushort)(in[i] | in[lanes + i] << 8));
        }
      }
    }
  }
}
