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
#define LPU_MOST_QUADS 16 /* of a hemisphere */

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
#define LPU_COPIES 6
struct lpu_activation {
  struct lpu_tensor *scale[LPU_COPIES]; /* the same, for chains side by side; NULL: there are no more */
  struct lpu_tensor *x, *twin;          /* twin: a copy in the other hemisphere, where many rows pass; or NULL */
  int32_t passes;
};

/* The free places of one chip. Inner slices (below lpu_weight_slice) are used in quads, one 32-bit vector wide:
 * activations take turns among the first ones, constants lie in the last one of each hemisphere. */
struct lpu_place {
  int32_t quads; /* per hemisphere, inner ones */
  int32_t
      outer_quads; /* of the slices that feed planes: for activations too, from what weights leave; behind the inner */
  int32_t quad_word[TD_LPU_HEMISPHERES][LPU_MOST_QUADS]; /* the first free word */
  int32_t outer_word[TD_LPU_HEMISPHERES][2]; /* of the weight slices: those that feed the first and the second plane */
  int32_t turn, inner_turn, constant_turn;
  int64_t busy[TD_LPU_HEMISPHERES][LPU_MOST_QUADS]; /* about how often the segment's scratches of a quad are used */
  int32_t first_scratch[TD_LPU_HEMISPHERES][LPU_MOST_QUADS]; /* of a quad: where scratches begin that share words */
  int32_t first_turn;                                        /* where scratches of a step begin in a spread layout */
  int32_t most_word[TD_LPU_HEMISPHERES][LPU_MOST_QUADS];     /* of a quad: the end of what was ever used */
  /* spread */
  int32_t quad_end[TD_LPU_HEMISPHERES][LPU_MOST_QUADS]; /* where weights begin; without them the slice's end */
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
  int32_t experts;                 /* matrices of a layer, one behind the other; 0: one, which no variable chooses */
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
  /* With experts gate, up and down are EXPERT_MATMULs; beside them: */
  int32_t router, router_bias, route, gate_bias, expert_sum;
  int32_t shared_gate, shared_up, shared_down, shared_activation, shared_add;
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
#define LPU_MOST_BLOCKS 4 /* of tokens */
#define LPU_MOST_HIDDEN 8
struct lpu_self {
  int32_t heads, head_dim, slots, vectors; /* slots: heads of a vector */
  int32_t query_blocks, query_lanes;       /* blocks of queries, and how many each has */
  int32_t token_blocks;                    /* blocks of a vector's lanes */
  int32_t inner;                           /* image: what the FFN's activation makes */
  int32_t k[2]; /* images: F16, row r of head vector v is v * rows + r; in each hemisphere, or -1: in the first only */
  int32_t q, v; /* the first images of [heads][query_blocks] and of [vectors][token_blocks] */
  int32_t p, mixed;             /* of [slots][query_blocks] and of [query_blocks] */
  int32_t v_turned;             /* of [slots]: rows are elements, lanes are tokens; the last row is ones */
  int32_t mask[LPU_MOST_SLOTS]; /* 1 in a slot's lanes */
  int32_t identity[2], number, last;
  int32_t hidden[LPU_MOST_HIDDEN], hidden_count; /* hidden: what is added to the scores of a token, twice */
};

/* Experts (compile_moe.c): what passes between the entries of a layer. Images; numbers of vectors are for as many
 * tokens, or routed tokens, as the options say. */
struct lpu_moe {
  int32_t first, experts;     /* of the layer's experts, those of this program */
  int32_t routed, group_rows; /* routed tokens of a pass; tokens of an expert's run, at most */
  struct lpu_matrix router, shared_gate, shared_up, shared_down;
  int32_t x, scale;                     /* normed tokens, as products take them; scale: -1 with fp16 */
  int32_t routed_x, routed_scale, made; /* routed tokens, and what experts made of them */
  int32_t routes, gates;                /* out: the router's logits; in: a routed token's weight in all lanes */
};

/* The segments of a layer; of those that look at positions, one for each kind of attention. */
struct lpu_body {
  int32_t dense, row[LPU_MOST_KINDS], scores[LPU_MOST_KINDS], soft, values, merge, output;
};

struct lpu_compiler {
  struct lpu_builder *builder;
  const struct td_lpu_machine *machine;
  const void *const *weights; /* NULL: no data */
  bool places_only;           /* a trial: tables need not be computed */
  bool measuring;             /* a trial that leaves the weights out, to see what else there is */
  bool full_steps_only;       /* a trial: no entries for fewer rows */
  bool samples;               /* a trial: the first stage, and the way to the second */
  bool repeats;               /* stages that are alike share segments and images */
  struct lpu_layout layout;
  const struct td_graph *graph;
  const struct td_lpu_options *options;
  struct lpu_place place;
  int32_t tensor, stages; /* chips of a stage; stages */
  int32_t chips, chip;    /* tensor * stages; that is being filled: what follows is this chip's */
  int32_t stage, part;    /* chip = stage * tensor + part */
  int32_t alike;          /* the first stage that is like this one: it has the images */
  struct lpu_body body;   /* of a stage's first chip: the segments of its layers ... */
  int32_t forward;        /* ... and the one before them */
  int32_t rows, layers;   /* its layers ... */
  int32_t first_layer;    /* ... from this one on */
  int32_t begin, end;     /* of the slice's layers */
  bool ffn_only, encoder;
  struct lpu_self self;
  struct lpu_moe moe;
  struct lpu_norm embed_norm;
  struct lpu_layer *found;               /* [end - begin] */
  struct lpu_layer layer;                /* whose segments are being built */
  struct td_op attention;                /* of that layer, with the chip's heads alone, ... */
  int32_t first_head, first_kv_head;     /* ... from these on */
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
  int32_t head_stride; /* lanes from one head of Q or K to the next, as products give them: a divisor of the lanes */
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
bool lpu_same_kind(const struct td_graph *graph, const struct lpu_layer *a, const struct lpu_layer *b);
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
td_status lpu_add_self_tiles(struct lpu_compiler *compiler);
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
/* Stages that are alike (compile_repeat.c): as many layers of the same kinds on chips that are wired alike. The first
 * stage that `stage` is like, of all chips: itself, unless they repeat. */
int32_t lpu_find_alike(const struct lpu_compiler *chips, int32_t stage);
/* The segment between two stages before this one that are like those around it, on chips wired alike; -1: none. */
int32_t lpu_find_forward(const struct lpu_compiler *chips, int32_t stage);
/* Says in the program who is like whom. */
td_status lpu_note_alike(const struct lpu_compiler *chips);
/* lpu_view, on this chip: of an image that stands for its own too. */
td_status lpu_view_here(struct lpu_compiler *compiler, int32_t image, struct lpu_tensor **out);
/* compiler->attention of compiler->layer. */
void lpu_take_heads(struct lpu_compiler *compiler);
/* TD_UNSUPPORTED unless a chip can do with its share of the heads where `tensor` chips share them. */
td_status lpu_check_share(const struct lpu_compiler *compiler, int32_t tensor);
/* A chip's share of a weight: the rows of its heads, of its KV heads, or of whole blocks; where these stand in a row of
 * the results that all chips of the stage make. */
enum lpu_share { LPU_BY_HEADS, LPU_BY_KV_HEADS, LPU_BY_BLOCKS };
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
/* Whether so many stages of so many chips fit. TD_EXHAUSTED also where the shares of the heads are too big. */
td_status lpu_try_grouping(const struct lpu_compiler *compiler, int32_t tensor, int32_t stages,
                           struct lpu_candidate *out);
/* What a full step takes, and of it its first and its last stage (td_lpu_program_stages) and the slowest.
 */
struct lpu_counted {
  int64_t cycles, first, last, slowest;
};
td_status lpu_count_candidate(const struct lpu_compiler *compiler, const struct lpu_candidate *candidate,
                              struct lpu_counted *out);
/* Cycles that a step may take; 0: any. TD_CONFIG: none is so short (compile_search.c). */
double lpu_latency_bound(const struct lpu_compiler *compiler);
td_status lpu_refuse_bound(const struct lpu_compiler *compiler, double shortest);
/* Many groupings (compile_search.c): of those given, the most promising; of all of least .. most chips side by side on
 * at most options->chips chips, too, by options->objective. TD_EXHAUSTED: none fits. */
#define LPU_MOST_COMPARED 3
td_status lpu_keep_promising(const struct lpu_compiler *compiler, struct lpu_candidate *candidates, int32_t *count);
td_status lpu_search(const struct lpu_compiler *compiler, int32_t least, int32_t most, struct lpu_candidate *out,
                     int32_t *out_count);
/* Layers of a stage. */
int32_t lpu_layers_of(const struct lpu_compiler *compiler, int32_t stage);
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
/* All is placed that lies in the slices that feed planes: what is left of them is for activations. */
void lpu_open_outer(struct lpu_compiler *compiler);
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
/* The same in the quad of `with`. */
td_status lpu_new_scratch_with(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                               const struct lpu_tensor *with, struct lpu_tensor **out);
/* rows x vectors, in columns where there are outer quads: as scratches, and as an image. */
td_status lpu_new_rows(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t rows, int32_t vectors,
                       const struct lpu_tensor *beside, struct lpu_tensor **out);
/* What is read `times` more often than scratches by and large. */
void lpu_note_busy(struct lpu_compiler *compiler, const struct lpu_tensor *tensor, int32_t times);
/* Not in the quad of another (may be NULL). */
td_status lpu_new_apart(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count,
                        const struct lpu_tensor *apart, struct lpu_tensor **out);
/* lpu_chain_run; where there are outer quads, with the constants that all iterations take copied first: from the slices
 * of constants, at which many chains would wait for each other, to where the chain has nothing else. */
td_status lpu_run_rows(struct lpu_compiler *compiler, struct lpu_chain *chain);
/* For what vectors of x are folded into. x: NULL, or the next chain reads it beside that. */
td_status lpu_new_fold(struct lpu_compiler *compiler, int32_t rows, const struct lpu_tensor *x,
                       struct lpu_tensor **out);
td_status lpu_new_inner(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t count, struct lpu_tensor **out);
td_status lpu_new_rows_image(struct lpu_compiler *compiler, const char *name, enum td_lpu_image_kind kind,
                             enum td_lpu_type type, int32_t rows, int32_t vectors, int32_t *out_image);
/* FP8 rows' scales lie with the rows, and sums elsewhere, where there are quads enough for that. */
bool lpu_scales_lie_with_rows(const struct lpu_compiler *compiler);
/* The same for what products of `rows` rows of x come to: they are written while later rows are read. */
td_status lpu_new_sums(struct lpu_compiler *compiler, enum td_lpu_type type, int32_t rows, int32_t vectors,
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
/* Of what has `words` words for each of the matrix's layers and experts. */
td_status lpu_matrix_patch(struct lpu_compiler *compiler, const struct lpu_matrix *matrix, int32_t words,
                           uint16_t *out_number);
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
/* The same of rows that are dealt to several tensors, so many to each but the last: one hemisphere after the other. */
#define LPU_TREE_PARTS 16
int32_t lpu_tree_rows(const struct lpu_compiler *compiler, int32_t count);
td_status lpu_lane_trees(struct lpu_compiler *compiler, const struct lpu_tree *tree, struct lpu_tensor *const *in,
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
/* Products of many rows take so many at a time; they divide `rows`. */
int32_t lpu_rows_at_once(const struct lpu_compiler *compiler, int32_t rows);
/* The product's sums, their scales and biases (NULL: none) and both's patch, in a segment. */
struct lpu_sums {
  const struct lpu_matrix *matrix;
  const struct lpu_activation *activation;
  struct lpu_tensor *sums, *scales, *biases;
  uint16_t patch;
};
/* One of the copies (NULL-ended) that `beside` is not in the quad of, if there is one; the turn's if there are several.
 */
struct lpu_tensor *lpu_copy_beside(struct lpu_tensor *const copies[LPU_COPIES], int32_t turn,
                                   const struct lpu_tensor *beside);
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
/* f(gate) * up, or f(gate) if up is NULL, of one block. settled: where sums may be kept on the way, NULL at first. */
td_status lpu_activate(struct lpu_compiler *compiler, const struct lpu_sums *gate, const struct lpu_sums *up,
                       int32_t block, struct lpu_tensor *settled[2], struct lpu_tensor *out);

/* The largest |x| of a row counts as at least this: a row of zeros gives zeros. 2^-100. */
#define LPU_LEAST_TOP 7.888609052210118e-31f
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
/* Blocks: what chip `part` of the stage gets of `count`, [first, end). */
int32_t lpu_first_block(const struct lpu_compiler *compiler, int32_t count, int32_t part);

/* ---- experts (compile_moe.c, compile_moe_places.c) ---- */
bool lpu_has_experts(const struct lpu_compiler *compiler);
/* Checks the options and finds this program's experts. */
td_status lpu_open_experts(struct lpu_compiler *compiler);
td_status lpu_add_expert_weights(struct lpu_compiler *compiler);
td_status lpu_add_expert_state(struct lpu_compiler *compiler);
/* A stage's entries for the rows that are being compiled; those on routed tokens with the most rows. */
td_status lpu_add_experts(struct lpu_compiler *chips);

/* Rows of the entry after one of so many; 0: that was the last. */
int32_t lpu_fewer_rows(const struct lpu_compiler *compiler, int32_t rows);

/* ---- segments of a stage, chips[tensor], and their links (compile_stage.c) ---- */
/* x from the last chip of the stage before to all of this one. */
td_status lpu_add_forward(struct lpu_compiler *before, struct lpu_compiler *chips);
/* That segment once more, between other stages: before them. */
td_status lpu_run_forward(struct lpu_compiler *before, int32_t segment);
/* Its layers, and the head if it is the last; or its FFNs alone. Of the first chip alone if that is measuring. The
 * head's groups of rows, and FFNs, are entries. `like`: NULL, or a stage whose segments it runs. */
td_status lpu_add_stage(struct lpu_compiler *chips, const struct lpu_compiler *like);
/* A segment's work on all chips of a stage; blocks of compiler->inner, or of compiler->made, go to all of them. */
typedef td_status lpu_work(struct lpu_compiler *compiler);
td_status lpu_begin_stage_segment(struct lpu_compiler *chips, const char *name);
td_status lpu_on_stage(struct lpu_compiler *chips, lpu_work *of);
td_status lpu_gather_inner(struct lpu_compiler *chips);
td_status lpu_gather_made(struct lpu_compiler *chips);

#endif
