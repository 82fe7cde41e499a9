/* SPDX-License-Identifier: Apache-2.0
 *
 * What the `llama` architecture consists of: its tensors, its metadata keys, its limits. The reader checks a file
 * against this list and the step graph is built from it, so both know the same tensors.
 */
#ifndef TANDEM_MODEL_LLAMA_H
#define TANDEM_MODEL_LLAMA_H

#include "gguf.h"
#include "tandem/graph.h"

enum td_llama_role {
  TD_LLAMA_EMBED,
  TD_LLAMA_OUTPUT_NORM,
  TD_LLAMA_OUTPUT,     /* absent when tied */
  TD_LLAMA_ROPE_FREQS, /* absent without rope_factors */
  TD_LLAMA_LAYER_ROLES,
  TD_LLAMA_ATTN_NORM = TD_LLAMA_LAYER_ROLES,
  TD_LLAMA_Q,
  TD_LLAMA_K,
  TD_LLAMA_V,
  TD_LLAMA_O,
  TD_LLAMA_FFN_NORM,
  TD_LLAMA_GATE,
  TD_LLAMA_UP,
  TD_LLAMA_DOWN,
  TD_LLAMA_ROLE_COUNT
};

/* Upper limits of a shape's numbers: above any real model, low enough that FLOPs and bytes of one operator fit int64
 * with room for millions of tokens. */
#define TD_LAYERS_MAX 4096
#define TD_HIDDEN_MAX (1 << 18)
#define TD_HEADS_MAX 4096
#define TD_HEAD_DIM_MAX 4096
#define TD_FFN_MAX (1 << 20)
#define TD_VOCAB_MAX (1 << 22)
#define TD_CONTEXT_MAX (1 << 28)

/* Whether a model of this shape has the weight. */
bool td_llama_has(const struct td_shape *shape, enum td_llama_role role);
/* Name, rows and columns of a weight; dtype as in a shape-only model (vectors are F32). `layer` only matters to the
 * roles from TD_LLAMA_LAYER_ROLES on. */
void td_llama_weight(const struct td_shape *shape, enum td_llama_role role, int32_t layer, struct td_weight *out);
/* Norms and rope factors: always F32. */
bool td_llama_is_vector(enum td_llama_role role);

/* The numbers of a shape against each other; `path` is for messages. Fails with `code`, naming the
 * field. */
td_status td_llama_check_shape(enum td_code code, const char *path, const struct td_shape *shape);

/* Reads a llama file's metadata (all but vocab, tied_output and rope_factors, which its tensors tell). */
td_status td_llama_read_metadata(const struct td_gguf *gguf, struct td_shape *out_shape);
/* Completes the shape from the tensors and checks every tensor against it; unknown tensors are refused. */
td_status td_llama_check_tensors(const struct td_gguf *gguf, struct td_shape *shape);

#endif
