/* SPDX-License-Identifier: Apache-2.0
 *
 * The LPU's numerics in plain C (the text is tandem/lpu.h, its formulas docs/lpu-numerics.md): walks the graph,
 * operator by operator, and knows nothing of programs. It shares no code with compiler, emulator or tandem/lpu_math.h,
 * so that their bugs cannot hide in it.
 *
 * Rows are independent to the bit: feeding tokens one after another or many at once gives the same numbers.
 */
#ifndef TESTS_LPU_REFERENCE_H
#define TESTS_LPU_REFERENCE_H

#include <stdint.h>

#include "tandem/lpu.h"

/* What the numbers depend on. */
struct lpu_reference_options {
  enum td_lpu_weights weights;
  enum td_lpu_activations activations;
  int32_t lanes, lanes_per_superlane, plane_k; /* of the machine */
  int32_t block_tokens;                        /* of a KV block; at most lanes */
  int32_t sequences, context;                  /* KV caches, and positions in each */
  int32_t rows;                                /* of values, at most; a multiple of 8. 0: LPU_REFERENCE_ROWS */
  /* [weights of the graph] the data of each in its own dtype, for a model that has none of its own; NULL: the model's
   */
  const void *const *data;
};
/* The machine v1 and its KV blocks: 320 lanes in superlanes of 16, plane_k and block_tokens 320; one sequence. */
struct lpu_reference_options lpu_reference_options(enum td_lpu_weights weights, enum td_lpu_activations activations,
                                                   int32_t context);

struct lpu_reference;

/* Borrows the model. TD_UNSUPPORTED names an operator that LPUs do not run, TD_CONFIG an option. */
td_status lpu_reference_open(const struct td_model *model, const struct lpu_reference_options *options,
                             struct lpu_reference **out_reference);
void lpu_reference_close(struct lpu_reference *reference); /* NULL is fine */
const struct td_graph *lpu_reference_graph(const struct lpu_reference *reference);

/* Appends tokens to a sequence; the logits of the last `logit_rows` of them go to `logits`, [logit_rows][vocab]. */
td_status lpu_reference_feed(struct lpu_reference *reference, int32_t sequence, const int32_t *ids, int32_t count,
                             int32_t logit_rows, float *logits);
/* Feeds the prompt (at least one id) and then `count` times the likeliest token, ties: the lowest id. Ends early, with
 * *out_count, after a token that ends a text, if the model has a tokenizer that says so. */
td_status lpu_reference_greedy(struct lpu_reference *reference, int32_t sequence, const int32_t *prompt,
                               int32_t prompt_count, int32_t count, int32_t *out_ids, int32_t *out_count);

/* ---- looking inside, and parts of a model ---- */

/* Called with each row of each value as it is made (`values` has value->cols elements). NULL: no longer. */
typedef void lpu_reference_observer(void *context, const struct td_value *value, int32_t position, const float *values);
void lpu_reference_observe(struct lpu_reference *reference, lpu_reference_observer *observer, void *context);

/* Rows of a value: [most rows][cols], as many as the options say; NULL if no value has this name. To be written before
 * lpu_reference_run where another slice makes it, and read after it. */
#define LPU_REFERENCE_ROWS 32
float *lpu_reference_value(struct lpu_reference *reference, const char *name);
/* Runs the operators of a slice on rows 0 .. rows-1 of its live-ins, for tokens at position, position + 1, ... of a
 * sequence whose earlier positions are in the KV cache. A slice with the embedding takes `ids`. */
td_status lpu_reference_run(struct lpu_reference *reference, const struct td_slice *slice, int32_t sequence,
                            int32_t position, int32_t rows, const int32_t *ids);

/* One position of one layer's KV cache, kv_heads * head_dim elements each: what another device prefilled (rounded to
 * binary16, where they are not), and what stands there. */
td_status lpu_reference_set_kv(struct lpu_reference *reference, int32_t sequence, int32_t layer, int32_t position,
                               const float *k, const float *v);
void lpu_reference_get_kv(const struct lpu_reference *reference, int32_t sequence, int32_t layer, int32_t position,
                          float *k, float *v);
/* The next token fed is the one at position `length`. */
void lpu_reference_set_length(struct lpu_reference *reference, int32_t sequence, int32_t length);

/* ---- elementary functions, binary32, from docs/lpu-numerics.md ---- */
float lpu_reference_exp(float x);
float lpu_reference_rsqrt(float x);
float lpu_reference_reciprocal(float x);
float lpu_reference_tanh(float x);
float lpu_reference_sigmoid(float x);
/* To binary16 and back, to nearest even; infinite where it overflows. */
float lpu_reference_f16(float x);
/* The same of FP8, E4M3: infinite beyond 448. */
float lpu_reference_f8(float x);

#endif
