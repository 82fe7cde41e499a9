/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to the compiler: a decode step's graph onto a machine.
 *
 * Chips are in stages, `tensor` of them in each, side by side: a stage has a range of the layers, and its chips share
 * each of them. x is on all of them; KV heads and blocks of the matrices' rows are dealt out, all of k on every chip,
 * so that the bits are those of one chip; what all need goes round over the links (compile_exchange.c). A segment holds
 * the work of all chips of a stage.
 *
 * A layer is seven segments: `dense` work on all rows (norm, Q, K, V), then for each row `row` (rope, KV append), for
 * each KV block of it `scores`, then `soft` (the maxima), for each block `values`, then `merge`, and after the rows
 * `output` (projection, residual, FFN). What passes from one to another lies in named images.
 */
#ifndef TANDEM_LPU_COMPILE_H
#define TANDEM_LPU_COMPILE_H

#include "builder.h"

#define LPU_MOST_PIECES 64

/* How a program lies in SRAM. The compiler takes the first that fits, in the order of what a step loses by it. */
struct lpu_layout {
  bool shared;       /* the scratches of segments share words */
  bool single;       /* what many rows of products read lies in one hemisphere only */
  bool spread;       /* weight tiles lie in pieces over all slices of a hemisphere, behind what else is there */
  bool balanced;     /* scratches go where most room is, not by turns */
  int32_t head_rows; /* that the head takes at a time */
};

/* What a product takes: rows of fp16, or int8 with a scale a row. Two passes: rows rows .. 2 rows - 1 are the low
 * parts. */
struct lpu_activation {
  struct lpu_tensor *x, *scale, *twin; /* twin: a copy in the other hemisphere, where many rows pass; or NULL */
  int32_t passes;
};

/* The free places of one chip. Inner slices (below lpu_weight_slice) are used in quads, one 32-bit vector wide:
 * activations take turns among the first ones, constants lie in the last one of each hemisphere. */
struct lpu_place {
  int32_t quads;                             /* per hemisphere */
  int32_t quad_word[TD_LPU_HEMISPHERES][16]; /* the first free word */
  int32_t outer_word[TD_LPU_HEMISPHERES][2]; /* of the weight slices: those that feed the first and the second plane */
  int32_t turn, constant_turn;
  int32_t first_scratch[TD_LPU_HEMISPHERES][16]; /* of a quad: where scratches begin that share words */
  int32_t most_word[TD_LPU_HEMISPHERES][16];     /* of a quad: the end of what was ever used */
  /* spread */
  int32_t quad_end[TD_LPU_HEMISPHERES][16]; /* where weights begin; without them the slice's end */
  int32_t piece_count;
  int32_t piece_word[TD_LPU_HEMISPHERES][LPU_MOST_PIECES];
  int64_t spread_words[TD_LPU_HEMISPHERES]; /* of weights, placed */
};

/* Rows [first, first + rows) of a weight. A matrix in SRAM may be several, one below the other. */
struct lpu_rows {
  int32_t weight; /* of the graph; -1: zeros */
  int64_t first, rows;
};

/* A weight matrix in SRAM, all layers of it: tiles and, for int8, scales. */
struct lpu_matrix {
  struct lpu_tiles tiles; /* the patches are each segment's own */
  int32_t words;          /* per layer of a tile: of a full part; the last part has last_words */
  int32_t last_words;
  int32_t scale; /* image: F32, a vector per n block and layer; -1: none */
  int32_t bias;  /* the same, added to what the product gives */
  int64_t n, k;
  int32_t layers;
  int32_t first_block, row_blocks; /* a row of its results takes row_blocks vectors, its own from first_block on */
};

/* A norm of the layers: its operator in the first of them (-1: they have none), a vector of weights and, for a layer
 * norm, one of biases per block and layer (images). */
struct lpu_norm {
  int32_t op, weight, bias, layers;
};

/* What a layer's operators are, by their indices in the graph; -1: it has none. */
struct lpu_layer {
  int32_t norm[2];                    /* in front of attention and FFN */
  int32_t branch[2], add[2], post[2]; /* norm of what they made, residual, norm of that */
  int32_t q, k, v, o, gate, up, down; /* MATMUL ops; no gate: the activation is a POINTWISE op */
  int32_t q_bias, k_bias, v_bias, o_bias, up_bias, down_bias;
  int32_t q_norm, k_norm, rope_q, rope_k, append, attention, activation;
};

/* Layers whose attention is alike: one segment for all of them, one rope table. */
#define LPU_MOST_KINDS 8
struct lpu_kind {
  struct lpu_layer layer; /* of the first such layer */
  int32_t cosine, sine;   /* images */
};

/* An encoder's attention (compile_self.c): all rows are of one sequence and see each other. Queries are dealt to blocks
 * of as many lanes; a vector holds as many heads as fit each half of its lanes. */
#define LPU_MOST_SLOTS 32
#define LPU_CHUNKS 4
struct lpu_self {
  int32_t heads, head_dim, slots, vectors; /* slots: heads of a vector */
  int32_t query_blocks, query_lanes;       /* blocks of queries, and how many each has */
  int32_t token_blocks;                    /* blocks of a vector's lanes */
  int32_t inner;                           /* image: what the FFN's activation makes */
  int32_t k;                               /* image: F16, row r of head vector v is v * rows + r */
  int32_t q, v;                 /* the first images of [heads][query_blocks] and of [vectors][token_blocks] */
  int32_t p, mixed;             /* of [slots][query_blocks] and of [query_blocks] */
  int32_t v_turned;             /* of [slots]: rows are elements, lanes are tokens; the last row is ones */
  int32_t mask[LPU_MOST_SLOTS]; /* 1 in a slot's lanes */
  int32_t identity, number, last, hidden[2]; /* hidden: what is added to the scores of a token, twice */
};

struct lpu_compiler {
  struct lpu_builder *builder;
  const struct td_lpu_machine *machine;
  const void *const *weights; /* NULL: no data */
  bool places_only;           /* a trial: tables need not be computed */
  bool measuring;             /* a trial that leaves the weights out, to see what else there is */
  bool full_steps_only;       /* a trial: no entries for fewer rows */
  struct lpu_layout layout;
  const struct td_graph *graph;
  const struct td_lpu_options *options;
  struct lpu_place place;
  int32_t tensor, stages; /* chips of a stage; stages */
  int32_t chips, chip;    /* tensor * stages; that is being filled: what follows is this chip's */
  int32_t stage, part;    /* chip = stage * tensor + part */
  int32_t rows, layers;   /* its layers ... */
  int32_t first_layer;    /* ... from this one on */
  int32_t begin, end;     /* of the slice's layers */
  bool ffn_only, encoder;
  struct lpu_self self;
  struct lpu_norm embed_norm;
  struct lpu_layer *found;               /* [end - begin] */
  struct lpu_layer layer;                /* whose segments are being built */
  struct td_op attention;                /* of that layer, with the chip's heads alone, ... */
  int32_t first_kv_head;                 /* ... from this one on */
  struct lpu_kind kinds[LPU_MOST_KINDS]; /* of this chip's layers */
  int32_t kind, kind_count;              /* kind: whose segments are being built */
  int32_t low_layer, high_layer;         /* of the chip's, that these are of */
  /* constants and weights */
  struct lpu_matrix qkv, o, gate, up, down, head; /* qkv: the rows of Q, then K, then V */
  struct lpu_norm norm[2], branch[2], post[2], final_norm;
  int32_t head_weight;       /* of the norms of Q and K, side by side: an image, -1: none */
  int32_t group_map[32];     /* all lanes of a head take the first one of its superlane s */
  int32_t row_mask;          /* 1 in the lanes of a row's last vector, 0 beyond; -1: none */
  int32_t cosine, sine;      /* a vector a position */
  int32_t lane_number;       /* F32: row b holds lane + b * block_tokens */
  int32_t one;               /* 1 in lpu_one_lane, 0 elsewhere */
  int32_t superlane_map[32]; /* all lanes take lane 0 of superlane s */
  /* what passes between segments */
  int32_t x, position, qkv_out, heads_q, scores, top, product, attended, logits;
  int32_t shared; /* a vector a row and chip: its heads of the vector of `attended` that a chip before it has too */
  int32_t y;      /* what FFNs alone make */
  struct {
    int32_t rows, first, last; /* so many rows: all, or those from the loop's row on, which is in [first, last] */
  } head_rows;
  struct lpu_tensor *inner, *made; /* in a segment: what `down` takes; what a chip's blocks of a half layer go to */
  int32_t k_cache, v_cache;
  int32_t hidden_vectors, q_vectors, ffn_vectors; /* of a row, whole */
  int32_t head_halves;                            /* heads that fit half the lanes */
};

td_status lpu_in_range(const char *name, int64_t value, int64_t low, int64_t high);
/* TD_UNSUPPORTED: "KIND of layer N: why". */
td_status lpu_refuse(const struct td_op *op, const char *why);
/* The operators of `layer` by what feeds what; of its FFN alone if that is all `parts` (enum td_part) says. */
td_status lpu_find_layer(const struct td_graph *graph, int32_t layer, uint32_t parts, struct lpu_layer *out);
/* TD_UNSUPPORTED unless all layers are like the first, and nothing is left out of them and of the ends. */
td_status lpu_check_layers(const struct lpu_compiler *compiler);
/* Finds all layers of the slice; layer `layer` of this chip's. */
td_status lpu_find_layers(struct lpu_compiler *compiler);
const struct lpu_layer *lpu_layer_of(const struct lpu_compiler *compiler, int32_t layer);
/* The kinds of this chip's layers (compile_kinds.c), the kind of one of them, and the segments of one from now on. */
td_status lpu_find_kinds(struct lpu_compiler *compiler);
int32_t lpu_kind_of(const struct lpu_compiler *compiler, int32_t layer);
void lpu_turn_to(struct lpu_compiler *compiler, int32_t kind);
void lpu_turn_to_all(struct lpu_compiler *compiler); /* segments of all layers, which do not look at the kind */
/* The parts that are compiled. */
uint32_t lpu_parts(const struct lpu_compiler *compiler);
td_status lpu_add_weights(struct lpu_compiler *compiler);
td_status lpu_add_state(struct lpu_compiler *compiler);
/* Encoders (compile_encoder.c): checks what they ask of the model and the options, and measures; weights and state
 * beside those of any model; a chip's segments and links. */
td_status lpu_open_encoder(struct lpu_compiler *compiler);
td_status lpu_add_encoder_weights(struct lpu_compiler *compiler);
td_status lpu_add_encoder_state(struct lpu_compiler *compiler);
int32_t lpu_encoder_words(const struct lpu_compiler *compiler); /* of each slice that feeds planes, for its state */
td_status lpu_chip_encoder(struct lpu_compiler *compiler);
/* Attention of many rows (compile_self.c, compile_self_scores.c): state; segments, with their links. */
td_status lpu_add_self(struct lpu_compiler *compiler);
td_status lpu_self_heads(struct lpu_compiler *compiler, const struct lpu_activation *x);
td_status lpu_link_self(struct lpu_compiler *compiler);
td_status lpu_self_mixed(struct lpu_compiler *compiler, struct lpu_tensor **out);
/* Row `row` of a weight, as float32; nothing without data. */
void lpu_weight_row(const struct lpu_compiler *compiler, int32_t weight, int64_t row, float *out);
/* The norm `op` in front of or behind the layers. */
td_status lpu_add_end_norm(struct lpu_compiler *compiler, const char *name, int32_t op, struct lpu_norm *out);
/* Links and entries of a stage, which its first chip stands for (compile_stage.c). */
td_status lpu_run_link(struct lpu_compiler *compiler, int32_t segment);
td_status lpu_loop_link(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t first, int32_t count);
td_status lpu_end_link(struct lpu_compiler *compiler);
td_status lpu_entry_of_rest(struct lpu_compiler *compiler, int32_t first_row);
/* Words that K (in one hemisphere) and V (in the other) take of the slices that feed planes. */
int32_t lpu_cache_words(const struct lpu_compiler *compiler);
td_status lpu_add_ffn_state(struct lpu_compiler *compiler);

/* ---- chips and stages (compile_chips.c) ---- */
/* Weights and state of the chips of a stage, chips[tensor], after those of the stage before. */
td_status lpu_place_stage(struct lpu_compiler *chips, int32_t stage);
/* compiler->attention of compiler->layer. */
void lpu_take_heads(struct lpu_compiler *compiler);
/* TD_UNSUPPORTED unless a chip can do with its share of the heads where `tensor` chips share them. */
td_status lpu_check_share(const struct lpu_compiler *compiler, int32_t tensor);
/* A chip's share of a weight: the rows of its KV heads, or of whole blocks; where these stand in a row of the results
 * that all chips of the stage make. */
enum lpu_share { LPU_BY_HEADS, LPU_BY_BLOCKS };
struct lpu_rows lpu_share_of(const struct lpu_compiler *compiler, int32_t weight, enum lpu_share share);
void lpu_place_blocks(const struct lpu_compiler *compiler, int32_t weight, struct lpu_matrix *matrix);
/* The first layout in which it fits so many stages of so many chips; the error text says what does not fit in the last
 * (compile_layout.c). */
td_status lpu_try_places(const struct lpu_compiler *compiler, int32_t tensor, int32_t stages, struct lpu_layout *out);
/* Weights of a layer's matrices and of the head, by elements: what layers are dealt by. */
void lpu_weight_sizes(const struct lpu_compiler *compiler, double *out_layer, double *out_head);
/* A grouping that fits, and how it lies. */
struct lpu_candidate {
  struct td_lpu_grouping grouping;
  struct lpu_layout layout;
};
/* Those that fit options->chips, or the least number of chips that any fits; the first is to be taken. TD_EXHAUSTED
 * with the arithmetic and the least that would do. (compile_choose.c) */
td_status lpu_choose(const struct lpu_compiler *compiler, struct lpu_candidate out[TD_LPU_MOST_GROUPINGS],
                     int32_t *out_count);
/* Compiles one. (compile.c) */
td_status lpu_compile_candidate(const struct lpu_compiler *compiler, const struct lpu_candidate *candidate,
                                struct td_lpu_program **out_program);
/* td_lpu_compile of the whole model, in this layout on options->chips chips, options->tensor (0: 1) of them in a group;
 * NULL: in the first that fits. */
td_status lpu_compile_laid_out(const struct td_lpu_machine *machine, const struct td_graph *graph,
                               const void *const *weights, const struct td_lpu_options *options,
                               const struct lpu_layout *layout, struct td_lpu_program **out_program);
/* All stages, into compiler->builder. */
td_status lpu_compile_all(const struct lpu_compiler *compiler);

/* ---- places (compile_place.c) ---- */
/* TD_UNSUPPORTED if the inner slices are too few for activations and constants to be read side by side. */
td_status lpu_check_slices(const struct td_lpu_machine *machine);
void lpu_place_begin(struct lpu_compiler *compiler);
/* Scratches that share words lie behind what was placed up to now. */
void lpu_place_scratches(struct lpu_compiler *compiler);
/* A segment begins: its scratches may lie where those of others lay. */
void lpu_reuse_scratches(struct lpu_compiler *compiler);
/* The segment of one chip alone. */
td_status lpu_open_segment(struct lpu_compiler *compiler, const char *name);
td_status lpu_close_segment(struct lpu_compiler *compiler, int32_t *out_segment);
/* `count` vectors of `type` in an activation quad. */
td_status lpu_new_vectors(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                          enum td_lpu_type type, int32_t count, int32_t *out_image);
/* The same, for this segment alone, as a tensor; not in the quad of `beside` (may be NULL), with which it will be read
 * in one cycle. */
td_status lpu_new_scratch(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                          const struct lpu_tensor *beside, struct lpu_tensor **out);
/* The same for what products of `rows` rows of x come to: they are written while later rows are read. */
td_status lpu_new_sums(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count, int32_t rows,
                       const struct lpu_activation *x, const struct lpu_tensor *beside, struct lpu_tensor **out);
/* rows x cols float32 constants, a row in ceil(cols / lanes) vectors, in constant quad `hemisphere`. */
td_status lpu_new_constants(struct lpu_compiler *compiler, const char *name, int32_t hemisphere, int32_t rows,
                            int32_t cols, const float *data, int32_t *out_image);
/* Words in the slices that feed planes: `slices` of them from `first` on. */
td_status lpu_new_outer(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                        enum td_lpu_type type, int32_t hemisphere, int32_t first, int32_t slices, int32_t words,
                        int32_t *out_image);

/* ---- spread weights (compile_spread.c) ---- */
/* False if the machine's loads are not made of pieces. */
bool lpu_can_spread(const struct td_lpu_machine *machine);
/* Finds out what the chip's slices hold besides weights, and leaves them the rest. */
td_status lpu_spread_begin(struct lpu_compiler *compiler);
/* A tile of `slices` slices, `words` of each: as pieces where most words are free. */
td_status lpu_spread_tile(struct lpu_compiler *compiler, const char *name, enum td_lpu_type type, int32_t hemisphere,
                          int32_t slices, int32_t words, int32_t *out_image);

/* ---- weights (compile_weights.c) ---- */
/* Places a matrix of every layer and fills tiles and scales: rows[layers][count], alike in all layers, of weights of
 * one inner dimension. */
td_status lpu_new_matrix(struct lpu_compiler *compiler, const char *name, const struct lpu_rows *rows, int32_t count,
                         int32_t layers, struct lpu_matrix *out);
td_status lpu_matrix_tiles(struct lpu_compiler *compiler, const struct lpu_matrix *matrix, struct lpu_tiles *out);

/* ---- pieces of segments (compile_dense.c, compile_tree.c, compile_narrow.c) ---- */
/* The type in which a value that only products read is kept: fp16, or float32 if it is to be narrowed by row. */
enum td_lpu_type lpu_value_type(const struct lpu_compiler *compiler);
/* Whether activations have copies in the other hemisphere, where there is room. */
bool lpu_has_twins(const struct lpu_compiler *compiler);
td_status lpu_narrow(struct lpu_compiler *compiler, struct lpu_tensor *value, struct lpu_activation *out);
extern const struct lpu_operand lpu_nothing;
/* An image as vectors; of what every row of a step has vectors in, those of the rows that are being compiled. */
td_status lpu_view(struct lpu_compiler *compiler, int32_t image, struct lpu_tensor **out);
td_status lpu_patch(struct lpu_compiler *compiler, enum td_lpu_variable variable, int32_t coefficient, int32_t low,
                    int32_t high, uint16_t *out_number);
td_status lpu_layer_patch(struct lpu_compiler *compiler, int32_t words, int32_t layers, uint16_t *out_number);
/* The lane tree: every lane of out[i] becomes the sum (or maximum) over the lanes of in[i]. `finish`: reciprocal, or
 * rsqrt of sum * scale + epsilon, or sum * scale, or nothing. */
enum lpu_finish { LPU_FINISH_NOTHING, LPU_FINISH_RECIPROCAL, LPU_FINISH_RSQRT, LPU_FINISH_MEAN };
struct lpu_tree {
  enum td_lpu_alu operation;
  enum lpu_finish finish;
  float scale, epsilon;
  int32_t count;
  int32_t width;       /* > 0: groups of so many lanes, each by itself: a power of two, or whole superlanes */
  const int32_t *maps; /* then: all lanes of a group take the first one of its superlane s */
  bool packs;          /* nothing is a negative zero: zeros may be added */
};
td_status lpu_lane_tree(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *in,
                        struct lpu_tensor *out);
/* Norms (compile_norm.c) of rows of the hidden width. */
td_status lpu_normalize(struct lpu_compiler *compiler, struct lpu_tensor *x, const struct lpu_norm *norm,
                        struct lpu_tensor *out);
/* The norms of Q's and K's heads, each by itself: `count` vectors from in, at `patch`. *out is a scratch. */
td_status lpu_head_norms(struct lpu_compiler *compiler, struct lpu_tensor *in, uint16_t patch, int32_t count,
                         struct lpu_tensor **out);
/* The norm of x, or x as it is if there is none, ready for products. */
td_status lpu_normed(struct lpu_compiler *compiler, struct lpu_tensor *x, const struct lpu_norm *norm,
                     struct lpu_activation *out);
/* `beside`: what the sums will be read with. */
td_status lpu_multiply(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                       const struct lpu_activation *activation, const struct lpu_tensor *beside,
                       struct lpu_tensor **out_sums);
/* The product's sums, their scales and biases (NULL: none) and both's patch, in a segment. */
struct lpu_sums {
  const struct lpu_matrix *matrix;
  const struct lpu_activation *activation;
  struct lpu_tensor *sums, *scales, *biases;
  uint16_t patch;
};
/* x * matrix^T, as sums with what scales them. */
td_status lpu_sum_up(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                     const struct lpu_activation *activation, const struct lpu_tensor *beside, struct lpu_sums *out);
/* Value [row, block] of a product, as operands of a chain over rows. */
struct lpu_operand lpu_scaled(struct lpu_chain *chain, const struct lpu_sums *sums, int32_t block);
/* out = x * matrix^T [+ old]: the chip's blocks of each row. */
td_status lpu_project(struct lpu_compiler *compiler, const struct lpu_matrix *matrix,
                      const struct lpu_activation *activation, struct lpu_tensor *old, struct lpu_tensor *out);
/* out = the layer's next residual: old + x * matrix^T, with the norms of that half of the layer. First the chip's
 * blocks, in compiler->made; when that is complete on all chips, the rest. `x`: float32, or of lpu_value_type. */
td_status lpu_begin_residual(struct lpu_compiler *compiler, const struct lpu_matrix *matrix, struct lpu_tensor *x,
                             int32_t half, struct lpu_tensor *old, struct lpu_tensor *out);
td_status lpu_end_residual(struct lpu_compiler *compiler, int32_t half, struct lpu_tensor *old, struct lpu_tensor *out);
/* The FFN's first half on the chip's blocks, up to what the activation makes (compile_ffn.c). */
td_status lpu_ffn_up(struct lpu_compiler *compiler, struct lpu_tensor *x, struct lpu_tensor *inner);
/* f(gate) * up, or f(gate) if up is NULL, of one block. */
td_status lpu_activate(struct lpu_compiler *compiler, const struct lpu_sums *gate, const struct lpu_sums *up,
                       int32_t block, struct lpu_tensor *out);

#define LPU_LEAST (-3.0e38f) /* what masked scores are: its exponential is 0 */
/* A block's scores scaled, masked where the row does not see, and the running maximum (compile_mask.c). */
td_status lpu_mask_scores(struct lpu_compiler *compiler, struct lpu_tensor *raw);

/* ---- exchanges between chips, in a segment (compile_gather.c) ---- */
/* Vectors that some chip has go to all others: tensors[count] of one shape, on chips side by side, rows of `vectors`
 * vectors. */
struct lpu_gather {
  struct lpu_tensor *const *tensors;
  int32_t count, vectors;
  const int32_t *owner; /* [vectors] of each row: who has it; -1: nobody */
};
td_status lpu_exchange_gather(struct lpu_builder *builder, const struct lpu_gather *gather);
/* All vectors of tensors[0] to tensors[1], from there to tensors[2], ...: `count` neighbours up the ring. */
td_status lpu_exchange_pass(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t count);
/* All vectors, which the first `have` tensors have, to the others: in a wired system over all direct links between
 * them, on a ring from the last of those that have them, up the ring. */
td_status lpu_exchange_forward(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t have,
                               int32_t count);

/* ---- a chip's work in segments ---- */
int32_t lpu_one_lane(const struct lpu_compiler *compiler); /* -1: the heads fill all lanes */
td_status lpu_dense(struct lpu_compiler *compiler);
td_status lpu_row(struct lpu_compiler *compiler);
td_status lpu_scores(struct lpu_compiler *compiler);
td_status lpu_soft(struct lpu_compiler *compiler);
td_status lpu_values(struct lpu_compiler *compiler);
td_status lpu_merge(struct lpu_compiler *compiler);
/* The parts of `output`: attended vectors complete, x after attention, the FFN's inner value (compile_ffn.c), x after
 * it. Between them goes round what chips have a part of. */
td_status lpu_join_heads(struct lpu_compiler *compiler);
td_status lpu_begin_output(struct lpu_compiler *compiler);
td_status lpu_end_output(struct lpu_compiler *compiler);
td_status lpu_inner(struct lpu_compiler *compiler);
td_status lpu_begin_down(struct lpu_compiler *compiler);
td_status lpu_end_down(struct lpu_compiler *compiler);
/* compiler->head_rows of them. */
td_status lpu_head(struct lpu_compiler *compiler);
/* Vectors of a row of `attended` that hold heads of chip `part`: [first, end). True if a chip before it has heads in
 * the first of them too. */
bool lpu_head_vectors(const struct lpu_compiler *compiler, int32_t part, int32_t *out_first, int32_t *out_end);
/* KV heads, blocks: what chip `part` of the stage gets of `count`, [first, end). */
int32_t lpu_first_kv_head(const struct lpu_compiler *compiler, int32_t part);
int32_t lpu_first_block(const struct lpu_compiler *compiler, int32_t count, int32_t part);

/* ---- segments of a stage, chips[tensor], and their links (compile_stage.c) ---- */
/* x from the last chip of the stage before to all of this one. */
td_status lpu_add_forward(struct lpu_compiler *before, struct lpu_compiler *chips);
/* Its layers, and the head if it is the last; or its FFNs alone. Of the first chip alone if that is measuring. The
 * head's groups of rows, and FFNs, are entries. */
td_status lpu_add_stage(struct lpu_compiler *chips);

#endif
