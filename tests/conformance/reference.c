/* SPDX-License-Identifier: Apache-2.0 */
#include "reference.h"

#include <math.h>

#define UNIT 0x1p-24

const double reference_unit = UNIT;

static const char *const bounds[TD_OP_KIND_COUNT] = {
    [TD_OP_EMBED] = "exact; 4 u |want| with a scale",
    [TD_OP_RMS_NORM] = "(sqrt(n / groups) + 8) u |want|",
    [TD_OP_MATMUL] = "(sqrt(k) + 8) u sum|x||w|",
    [TD_OP_ROPE] = "(8 + 8 angle) u (|x| + |y|)",
    [TD_OP_KV_APPEND] = "exact",
    [TD_OP_ATTENTION] = "(2 (sqrt(head_dim) + 8) s + sqrt(context) + 16) u sum p|v|, s = max scale sum|q||k|",
    [TD_OP_ACTIVATION] = "16 u |want| + 1e-35 |in1|, gelu: + 8 u min(|x|, 16) |in1|",
    [TD_OP_ADD] = "u |want|",
    [TD_OP_ROUTER] = "ids exact, weights (16 + used + 2 |logit - largest|) u |want|",
    [TD_OP_EXPERT_MATMUL] = "(sqrt(k) + 8) u sum|x||w|",
    [TD_OP_EXPERT_SUM] = "(sqrt(used) + 8) u sum|weight||x|",
    [TD_OP_SELECT] = "exact",
};

const char *reference_bound(enum td_op_kind kind) {
  return bounds[kind];
}

static void embed(const struct conform_inputs *in, double *want, double *bound) {
  for (int64_t r = 0; r < in->out_rows; r++) {
    for (int64_t i = 0; i < in->out_cols; i++, want++, bound++) {
      *want = (double)in->weight_values[in->batch.ids[r] * in->weight_cols + i] * in->op.scale;
      *bound = in->op.scale == 1.0 ? 0.0 : 4 * UNIT * fabs(*want);
    }
  }
}

static void rms_norm(const struct conform_inputs *in, double *want, double *bound) {
  int64_t n = in->out_cols / in->op.groups;
  for (int64_t r = 0; r < in->out_rows * in->op.groups; r++) {
    const float *x = in->in[0] + r * n;
    double squares = 0.0;
    for (int64_t i = 0; i < n; i++) squares += (double)x[i] * (double)x[i];
    double root = sqrt(squares / (double)n + in->op.epsilon);
    for (int64_t i = 0; i < n; i++, want++, bound++) {
      *want = (double)x[i] / root * (double)in->weight_values[i];
      *bound = (sqrt((double)n) + 8) * UNIT * fabs(*want);
    }
  }
}

static void matmul(const struct conform_inputs *in, double *want, double *bound) {
  int64_t k = in->op.k;
  for (int64_t r = 0; r < in->out_rows; r++) {
    for (int64_t j = 0; j < in->out_cols; j++, want++, bound++) {
      double sum = 0.0, magnitude = 0.0;
      for (int64_t i = 0; i < k; i++) {
        double term = (double)in->in[0][r * k + i] * (double)in->weight_values[j * k + i];
        sum += term;
        magnitude += fabs(term);
      }
      *want = sum;
      *bound = (sqrt((double)k) + 8) * UNIT * magnitude;
    }
  }
}

static void rotate(const struct conform_inputs *in, const float *x, double position, double *want, double *bound) {
  for (int64_t i = 0; i < in->op.head_dim; i++) {
    want[i] = (double)x[i];
    bound[i] = 0.0;
  }
  for (int64_t i = 0; i < in->op.rope_dim / 2; i++) {
    double factor = in->weight_values ? (double)in->weight_values[i] : 1.0;
    double angle = position * in->op.position_scale / (pow(in->op.theta, (double)(2 * i) / in->op.rope_dim) * factor);
    int64_t first = in->op.rope_pairs == TD_ROPE_HALVES ? i : 2 * i;
    int64_t second = in->op.rope_pairs == TD_ROPE_HALVES ? i + in->op.rope_dim / 2 : 2 * i + 1;
    double a = (double)x[first], b = (double)x[second];
    want[first] = a * cos(angle) - b * sin(angle);
    want[second] = a * sin(angle) + b * cos(angle);
    bound[first] = bound[second] = (8 + 8 * angle) * UNIT * (fabs(a) + fabs(b));
  }
}

static void rope(const struct conform_inputs *in, double *want, double *bound) {
  for (int64_t r = 0; r < in->out_rows; r++) {
    for (int64_t h = 0; h < in->op.heads; h++) {
      int64_t at = r * in->out_cols + h * in->op.head_dim;
      rotate(in, in->in[0] + at, (double)in->batch.positions[r], want + at, bound + at);
    }
  }
}

/* scores[j] for positions begin .. end-1, scores[0] .. of those before -inf; returns s of the bound. */
static double score(const struct conform_inputs *in, const struct td_seq *seq, const float *q, int64_t kv_head,
                    int64_t begin, int64_t end, double *scores) {
  double largest = 0.0;
  for (int64_t j = 0; j < begin; j++) scores[j] = -INFINITY;
  for (int64_t j = begin; j < end; j++) {
    const float *key = in->k_values + conform_place(in, seq, j) + kv_head * in->op.head_dim;
    double sum = 0.0, magnitude = 0.0;
    for (int64_t i = 0; i < in->op.head_dim; i++) {
      sum += (double)q[i] * (double)key[i];
      magnitude += fabs((double)q[i] * (double)key[i]);
    }
    scores[j] = sum * in->op.scale;
    largest = fmax(largest, magnitude * fabs(in->op.scale));
  }
  return largest;
}

static double soften(double *scores, int64_t count) {
  double top = -INFINITY, sum = 0.0;
  for (int64_t j = 0; j < count; j++) top = fmax(top, scores[j]);
  for (int64_t j = 0; j < count; j++) {
    scores[j] = exp(scores[j] - top);
    sum += scores[j];
  }
  return sum;
}

static void attend(const struct conform_inputs *in, const struct td_seq *seq, int64_t token, int64_t head,
                   double *scores, double *want, double *bound) {
  int64_t dim = in->op.head_dim, kv_head = head / (in->op.heads / in->op.kv_heads), count = seq->past + token + 1;
  int64_t at = (seq->first_row + token) * in->out_cols + head * dim;
  int64_t begin = in->op.window > 0 && count > in->op.window ? count - in->op.window : 0;
  double s = score(in, seq, in->in[0] + at, kv_head, begin, count, scores), total = soften(scores, count);
  for (int64_t i = 0; i < dim; i++) {
    double sum = 0.0, magnitude = 0.0;
    for (int64_t j = begin; j < count; j++) {
      double term = scores[j] / total * (double)in->v_values[conform_place(in, seq, j) + kv_head * dim + i];
      sum += term;
      magnitude += fabs(term);
    }
    want[at + i] = sum;
    bound[at + i] = (2 * (sqrt((double)dim) + 8) * s + sqrt((double)(count - begin)) + 16) * UNIT * magnitude;
  }
}

static td_status attention(struct conform_run *run, const struct conform_inputs *in, double *want, double *bound) {
  int64_t longest = 0;
  for (int32_t s = 0; s < in->batch.seq_count; s++) {
    int64_t context = in->batch.seqs[s].past + in->batch.seqs[s].tokens;
    if (context > longest) longest = context;
  }
  double *scores;
  TD_TRY(conform_memory(run, (size_t)longest, sizeof *scores, &scores));
  for (int32_t s = 0; s < in->batch.seq_count; s++) {
    const struct td_seq *seq = &in->batch.seqs[s];
    for (int64_t t = 0; t < seq->tokens; t++) {
      for (int64_t h = 0; h < in->op.heads; h++) attend(in, seq, t, h, scores, want, bound);
    }
  }
  return TD_OK;
}

static double silu(double x) {
  return x / (1 + exp(-x));
}

static double gelu(double x) {
  const double root = 0.79788456080286535588; /* sqrt(2 / pi) */
  return x / 2 * (1 + tanh(root * (x + 0.044715 * x * x * x)));
}

static void activation(const struct conform_inputs *in, double *want, double *bound) {
  bool is_gelu = in->op.activation == TD_ACT_GELU;
  for (int64_t i = 0; i < in->out_rows * in->out_cols; i++) {
    double a = (double)in->in[0][i], b = (double)in->in[1][i];
    want[i] = (is_gelu ? gelu(a) : silu(a)) * b;
    double cancelled = is_gelu ? 8 * UNIT * fmin(fabs(a), 16.0) : 0.0;
    bound[i] = 16 * UNIT * fabs(want[i]) + (cancelled + 1e-35) * fabs(b);
  }
}

static void add(const struct conform_inputs *in, double *want, double *bound) {
  for (int64_t i = 0; i < in->out_rows * in->out_cols; i++) {
    want[i] = (double)in->in[0][i] + (double)(in->p.bias ? in->weight_values[i % in->out_cols] : in->in[1][i]);
    bound[i] = UNIT * fabs(want[i]);
  }
}

static void select_rows(const struct conform_inputs *in, double *want, double *bound) {
  for (int64_t r = 0; r < in->out_rows; r++) {
    for (int64_t i = 0; i < in->out_cols; i++, want++, bound++) {
      *want = (double)in->in[0][in->batch.logit_rows[r] * in->out_cols + i];
      *bound = 0.0;
    }
  }
}

td_status reference_compute(struct conform_run *run, const struct conform_inputs *inputs, double *want, double *bound) {
  static void (*const plain[TD_OP_KIND_COUNT])(const struct conform_inputs *, double *, double *) = {
      [TD_OP_EMBED] = embed,
      [TD_OP_RMS_NORM] = rms_norm,
      [TD_OP_MATMUL] = matmul,
      [TD_OP_ROPE] = rope,
      [TD_OP_ACTIVATION] = activation,
      [TD_OP_ADD] = add,
      [TD_OP_SELECT] = select_rows,
      [TD_OP_ROUTER] = reference_router,
      [TD_OP_EXPERT_MATMUL] = reference_expert_matmul,
      [TD_OP_EXPERT_SUM] = reference_expert_sum,
  };
  if (inputs->op.kind == TD_OP_ATTENTION) return attention(run, inputs, want, bound);
  if (!plain[inputs->op.kind]) return td_fail(TD_INTERNAL, "no reference of operator %d", (int)inputs->op.kind);
  plain[inputs->op.kind](inputs, want, bound);
  return TD_OK;
}
