/* SPDX-License-Identifier: Apache-2.0
 *
 * What the files of the reference share.
 */
#ifndef TESTS_LPU_REFERENCE_PARTS_H
#define TESTS_LPU_REFERENCE_PARTS_H

#include "lpu/reference.h"

#define PANEL 8 /* outputs that are computed together */

/* A weight as the device has it. Matrices: panels of PANEL rows, [ceil(n / PANEL)][k][PANEL], zeros beyond n: binary16
 * values, or integers -127 .. 127 or FP8 with a scale per row. Vectors: `values`. */
struct matrix {
  float *panels, *scale, *values;
  int64_t n, k;
};

/* binary16 values: k[layer][kv head][head_dim][context], so that a score is a sum over rows; v[...][context][head_dim].
 */
struct cache {
  float *k, *v;
  int32_t length;
};

struct lpu_reference {
  struct lpu_reference_options options;
  const struct td_model *model;
  struct td_graph *graph;
  struct matrix *weights; /* by the graph's index */
  float **values;         /* by the graph's index: [most_rows][cols] */
  struct cache *caches;
  double *products; /* [most_rows][most k]: operands of a product */
  float *row_scale; /* [most_rows] */
  float *scores;    /* [context] */
  double *sums;     /* [most of context, head_dim] */
  lpu_reference_observer *observer;
  void *observer_context;
  int32_t most_rows;
  int32_t sequence, position, rows, logit_rows; /* of the step that runs */
  const int32_t *ids;
};

/* A weight of the graph, wherever it comes from; data NULL: nowhere. */
struct td_tensor reference_tensor(const struct lpu_reference *reference, int32_t weight);
td_status reference_load_weights(struct lpu_reference *reference);
void reference_free_weights(struct lpu_reference *reference);

/* One row of an operator each. */
void reference_norm(const struct lpu_reference *reference, const struct td_op *op, const float *weight, const float *in,
                    float *out);
void reference_layer_norm(const struct lpu_reference *reference, const struct td_op *op, const float *weight,
                          const float *in, float *out);
void reference_pointwise(const struct td_op *op, const float *in, float *out);
void reference_rope(const struct td_op *op, const float *factors, int32_t position, const float *in, float *out);
void reference_activate(const struct td_op *op, const float *gate, const float *up, float *out);
/* Lanes in superlanes, then superlanes: the sum of v[lanes], which it destroys. */
float reference_lane_tree(const struct lpu_reference *reference, float *v);

/* All rows of the step. */
td_status reference_matmul(struct lpu_reference *reference, const struct td_op *op, int32_t rows);
td_status reference_expert_matmul(struct lpu_reference *reference, const struct td_op *op, int32_t rows);
void reference_route(struct lpu_reference *reference, const struct td_op *op, int32_t rows);
void reference_expert_sum(struct lpu_reference *reference, const struct td_op *op, int32_t rows);
td_status reference_append(struct lpu_reference *reference, const struct td_op *op);
td_status reference_attention(struct lpu_reference *reference, const struct td_op *op);

/* x rounded to binary16, or TD_CORRUPT with the value's name where it overflows. */
td_status reference_round(const struct lpu_reference *reference, int32_t value, const float *in, int64_t count,
                          float *out);

#endif
