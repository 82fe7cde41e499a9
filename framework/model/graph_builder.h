/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the files that build step graphs: graph.c (the frame), graph_attention.c and graph_ffn.c (a layer's two
 * halves). Every function appends operators and returns the index of the value it made. Memory for all of it was
 * allocated before, so building cannot fail half-way.
 */
#ifndef TANDEM_MODEL_GRAPH_BUILDER_H
#define TANDEM_MODEL_GRAPH_BUILDER_H

#include "arch.h"

#define TD_NONE (-1)

struct td_builder {
  const struct td_model *model;
  struct td_graph *graph;
  const struct td_arch_info *info;
  uint32_t traits; /* of the layer */
  int32_t layer;
  enum td_part part;
  enum td_rows rows;
  int32_t factors; /* index of rope_freqs.weight, or TD_NONE */
};

/* Index of the weight in the graph. A file's weights keep their own types. */
int32_t td_build_weight(struct td_builder *b, enum td_role role);
int32_t td_build_value(struct td_builder *b, int64_t cols, const char *name);
/* An operator without output or weight yet. */
struct td_op *td_build_op(struct td_builder *b, enum td_op_kind kind, int32_t in0, int32_t in1, int64_t n);
/* The same with an output of n columns. */
int32_t td_build_simple(struct td_builder *b, enum td_op_kind kind, int32_t in0, int32_t in1, int64_t n,
                        const char *name);

/* RMS or layer norm, as the architecture has it, of each of `groups` parts of the row. */
int32_t td_build_norm(struct td_builder *b, enum td_role role, int32_t in, int32_t groups, const char *name);
int32_t td_build_matmul(struct td_builder *b, int32_t weight, int32_t in, const char *name);
/* Adds the bias; `in` itself if the layer has none of this role. */
int32_t td_build_bias(struct td_builder *b, enum td_role role, int32_t in, const char *name);
int32_t td_build_activation(struct td_builder *b, int32_t gate, int32_t up, const char *name);
/* f of a value without a gate. */
int32_t td_build_pointwise(struct td_builder *b, enum td_activation activation, int32_t in, const char *name);
/* The end of a half layer: norms what is added, adds it, norms the sum, each as the architecture has it. */
int32_t td_build_residual(struct td_builder *b, int32_t residual, int32_t branch, enum td_role branch_norm,
                          enum td_role post_norm);

int32_t td_build_attention(struct td_builder *b, int32_t residual);
int32_t td_build_ffn(struct td_builder *b, int32_t residual);

#endif
