/* SPDX-License-Identifier: Apache-2.0
 *
 * LPU programs: compile a decode step, check a program against the machine's rules, execute it instruction by
 * instruction. The three share the program's format and the machine's description, and no code besides.
 */
#ifndef TANDEM_LPU_H
#define TANDEM_LPU_H

#include <stdint.h>
#include <stdio.h>

#include "tandem/graph.h"
#include "tandem/lpu_program.h"

/* ---- numerics ----
 *
 * They follow from the graph and these options, not from the schedule; the reference in tests/lpu computes the same by
 * walking the graph. Float arithmetic is IEEE binary32, round to nearest even, no contraction, subnormals kept, but
 * where it says otherwise; constants (1 / n, epsilon, scales) are rounded to binary32 first; f16() rounds to binary16,
 * an overflow is an error. B = lanes (320), K = plane_k (320 for int8 and FP8 passes), K / 2 for fp16 passes.
 *
 * EMBED: on the host: the model's float32 row times its scale.
 *
 * RMS_NORM: the squares of lane l summed over the row's vectors of B, ascending; then the lane tree: inside each
 * superlane v[l] += v[l + 8], + 4, + 2, + 1; then lane 0 of the superlanes, ascending. y = (x * rsqrt(sum * (1 / n) +
 * epsilon)) * weight. With groups, each group is a row of its own: n is its width, its first element is in lane 0.
 *
 * LAYER_NORM: the lane sums of x, from +0 on, and their tree as above; mean = sum * (1 / n), d = x - mean; then as
 * RMS_NORM of d, + bias.
 *
 * MATMUL, by `activations`:
 *
 *  - f16: x = f16(x). For each part of k, K / 2 long, from 0: the products summed in binary64, ascending k, rounded
 *    once; parts added ascending. Then * scale[n] if weights are int8 or FP8.
 *  - i8: m = max(max|x|, 2^-100) over the row, s = m * (1 / 127), q = x * (127 * reciprocal(m)) to nearest even; sums
 *    int32; y = (float(sum) * scale[n]) * s.
 *  - i8x2: 16 bits in two passes: s = m * (1 / 16256), q = x * (16256 * reciprocal(m)), hi = (q + 64) >> 7, lo = q -
 *    128 * hi; y = ((float(sum hi) * 128 + float(sum lo)) * scale[n]) * s.
 *  - f8: m as for i8, s = m * (1 / 448), q = FP8 of x * (448 * reciprocal(m)), which cannot overflow. For each part of
 *    k, K long, from 0: the products summed in binary64, which is exact, rounded once; parts added ascending in
 *    binary32; y = (sum * scale[n]) * s.
 *  - weights: f16(w), or int8: scale[n] = max|w row| / 127, q = w / scale to nearest even (made on the host,
 *    binary32). Or FP8, scale[n] = max(max|w row|, 2^-100) / 448. A row of zeros gives zeros.
 *  - FP8 is E4M3 as OCP has it: no infinities, at most 448, subnormals kept, to nearest even. On machines that have it
 *    (fp8 of the device file); others refuse it.
 *
 * ROPE: y = x * cos + swapped * sin, the sign inside sin, for the first rope_dim elements of a head; the others stay.
 * Tables: binary64 on the host, angle = position * position_scale / pow(theta, 2.0 * pair / rope_dim) (/ factor), then
 * rounded to binary32.
 *
 * KV: f16(k), f16(v).
 *
 * ATTENTION: fp16 always. q = f16(q); a score is the products summed in binary64, ascending, rounded once (head_dim > K
 * / 2: parts as above), * scale. Over all positions that are seen the maximum m; p = f16(exp(s - m)), 0 where not seen;
 * p V: parts of K / 2 positions of each block, blocks ascending, as above; the total of p likewise, as if V had one
 * more element that is 1 (on the machine it has: it saves a lane tree). y = sum * reciprocal(total). Bidirectional: all
 * rows of the step are seen by each; blocks are B positions long.
 *
 * ACTIVATION: silu: (g * sigmoid(g)) * u. gelu: ((g * 0.5) * (1 + tanh(sqrt(2 / pi) * (g + ((0.044715 * g) * g) * g)))
 * * u. POINTWISE: gelu as there, without u; tanh. ADD: binary32. logits: binary32 rows.
 *
 * Experts: ROUTER on the host (tandem/lpu_moe.h); EXPERT_MATMUL as MATMUL; EXPERT_SUM with its residual: x, then result
 * times gate of each of the token's experts, ascending.
 */
/* What a grouping is chosen for: the fewest cycles of a step on exactly options->chips chips; the same on at most so
 * many (one that leaves chips out may be faster); or the most steps in a time, the stages working on one each: the
 * fewest cycles of the slowest stage, on at most so many chips. */
enum td_lpu_objective { TD_LPU_ALL_CHIPS, TD_LPU_LATENCY, TD_LPU_THROUGHPUT };
enum td_lpu_weights { TD_LPU_WEIGHTS_F16, TD_LPU_WEIGHTS_I8, TD_LPU_WEIGHTS_F8, TD_LPU_WEIGHTS_COUNT };
enum td_lpu_activations {
  TD_LPU_ACTIVATIONS_F16,
  TD_LPU_ACTIVATIONS_I8,
  TD_LPU_ACTIVATIONS_I8X2,
  TD_LPU_ACTIVATIONS_F8,
  TD_LPU_ACTIVATIONS_COUNT
};
const char *td_lpu_weights_name(enum td_lpu_weights weights);             /* "f16", "i8", "f8" */
const char *td_lpu_activations_name(enum td_lpu_activations activations); /* "f16", "i8", "i8x2", "f8" */
/* TD_CONFIG unless they go together: fp16 weights with fp16 activations only, int8 and FP8 ones also with such of their
 * own kind. TD_UNSUPPORTED if the machine (NULL: not asked) has no FP8. */
td_status td_lpu_check_types(const struct td_lpu_machine *machine, enum td_lpu_weights weights,
                             enum td_lpu_activations activations);

struct td_lpu_options {
  enum td_lpu_weights weights;
  enum td_lpu_activations activations; /* i8, i8x2 need int8 weights, f8 needs FP8 ones: td_lpu_check_types */
  int32_t chips;                       /* 0: the smallest number that fits */
  int32_t tensor;                      /* chips that share each layer: divides chips; 0: the compiler's choice */
  int32_t rows;                        /* most rows of a step (batch) */
  int32_t block_tokens;                /* of a KV block */
  int32_t kv_blocks;                   /* in all */
  int32_t context;                     /* most positions of a sequence */
  /* Experts: a layer's are dealt to expert_parts systems, each a program of its own; this is that of expert_part. An
   * expert's run takes up to expert_rows tokens, a pass up to expert_routed routed ones in all. Zeros: one system, one
   * token, as many as `rows` tokens make. */
  int32_t expert_parts, expert_part, expert_rows, expert_routed;
  enum td_lpu_objective objective; /* where it leaves a choice; of chips = 0: the fewest chips come first */
  double latency_bound;            /* s: of TD_LPU_THROUGHPUT on chips > 0, the most that a step may take; 0: any */
  /* Without weights: stages that are alike share segments, and the images of the first of them stand for theirs
   * (td_lpu_program.alike). Every length and count is that of the whole program; it is not to be checked or executed.
   */
  bool timing_only;
};

/* Compiles a slice of the graph. weights: [graph->weight_count] the data of each weight in its own dtype, as the model
 * file has it (td_lpu_model_weights); those of other slices may be NULL. Without (NULL) the program is timing-only:
 * images have no data. TD_UNSUPPORTED names an operator, TD_EXHAUSTED says what does not fit, with the arithmetic and
 * the smallest number of chips that would do; TD_CONFIG an option out of range. Same inputs, same bytes.
 *
 * What is compiled (docs/lpu.md says it in full):
 *
 *  - a whole decoder: images "x" (embedding rows) and "position" (in all lanes) in, "logits" out;
 *  - a whole encoder: `rows` is the length of one sequence. Images "x" (embeddings with positions and types, before
 * their norm; zeros behind the sequence) and "last" (one row: the number of the last token, in all lanes) in, "pooled"
 * out. The options of the KV cache are not looked at;
 *  - the FFNs of layers b .. e - 1, slice {b, e, TD_PART_FFN}: an entry a layer (td_lpu_program_layer_entry), from
 * image "x", the residual after attention, to td_lpu_program_output. No KV cache either. With experts four entries a
 * layer, between which the host routes (tandem/lpu_moe.h). */
td_status td_lpu_compile(const struct td_lpu_machine *machine, const struct td_graph *graph,
                         const struct td_slice *slice, const void *const *weights, const struct td_lpu_options *options,
                         struct td_lpu_program **out_program);
/* How a model may be dealt to chips: `stages` of layers, one after another, the heads and rows of each layer shared by
 * `tensor` chips. */
struct td_lpu_grouping {
  int32_t tensor, stages;
  int64_t cycles; /* of a step of options->rows rows, as late as context and KV cache have room for so many (or for one,
                   * if not); 0: not compared, there is no other */
  int64_t interval; /* of those cycles, what the slowest stage is busy; 0: not compared */
};
#define TD_LPU_MOST_GROUPINGS 12
struct td_lpu_groupings {
  struct td_lpu_grouping items[TD_LPU_MOST_GROUPINGS];
  int32_t count;
};
/* td_lpu_compile, and what it chose among: the groupings that fit options->chips (0: the least number of chips that any
 * fits), those of large systems the most promising ones (docs/lpu.md). It takes the first, the best by the objective.
 */
td_status td_lpu_compile_compared(const struct td_lpu_machine *machine, const struct td_graph *graph,
                                  const struct td_slice *slice, const void *const *weights,
                                  const struct td_lpu_options *options, struct td_lpu_groupings *out_groupings,
                                  struct td_lpu_program **out_program);
/* The weights of an opened model, or NULL in *out_weights if it has none. malloc'd array of borrowed pointers. */
td_status td_lpu_model_weights(const struct td_model *model, const struct td_graph *graph, const void ***out_weights);

/* out[rows, n] = x[rows, k] * w[n, k]^T as a program of its own, w installed; fp16 or FP8 in, float32 out, or int8
 * in, int32 out. For studies of one product. Images: "x.V.R.H" (vector V of the rows from R on; where x lies in both
 * hemispheres also with H = 1), "w.B.P" (block B of the columns, part P of k: row i is k, lanes are n) and "y.B.R". */
td_status td_lpu_compile_product(const struct td_lpu_machine *machine, enum td_lpu_type type, int64_t rows, int64_t n,
                                 int64_t k, struct td_lpu_program **out_program);

/* ---- the checker ---- */

/* The rules, in the order in which violations of one cycle are named. */
enum td_lpu_rule {
  TD_RULE_QUEUE,
  TD_RULE_PORT,
  TD_RULE_ADDRESS,
  TD_RULE_WIDTH,
  TD_RULE_REACH,
  TD_RULE_STREAM,
  TD_RULE_ARRIVE,
  TD_RULE_LIFETIME,
  TD_RULE_BUFFER,
  TD_RULE_INSTALL,
  TD_RULE_PLANE,
  TD_RULE_SUM,
  TD_RULE_ALU,
  TD_RULE_SWITCH,
  TD_RULE_LINK,
  TD_RULE_EPOCH,
  TD_RULE_FINISH,
  TD_RULE_SEGMENT,
  TD_LPU_RULE_COUNT
};
const char *td_lpu_rule_name(enum td_lpu_rule rule);

struct td_lpu_violation {
  bool found;
  enum td_lpu_rule rule;
  int64_t cycle; /* of the step */
  int32_t call;  /* ordinal of the RUN */
  int32_t segment, instruction, iteration;
  char text[256]; /* chip, queue, cycle, rule, found and expected */
};
/* Replays a step, from `entry` on to the end of its chain, and reports the first violation, by cycle, then by rule.
 * TD_OK also when one was found; other codes: the program cannot be replayed (TD_CORRUPT: an index out of range). */
td_status td_lpu_check(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                       struct td_lpu_violation *out);

/* ---- the emulator, instruction by instruction: the truth that faster hosts are compared with ---- */

/* The state of a system: SRAM of all chips. word w of slice s (hemisphere * mem_slices / 2 + index) of chip c begins at
 * byte ((c * mem_words + w) * mem_slices + s) * lanes. */
struct td_lpu_system {
  const struct td_lpu_program *program;
  uint8_t *sram;
  uint64_t sram_bytes;
};
td_status td_lpu_system_open(const struct td_lpu_program *program, struct td_lpu_system **out_system);
void td_lpu_system_close(struct td_lpu_system *system); /* NULL is fine */

/* What executing counted. */
struct td_lpu_counts {
  int64_t cycles; /* by the last cycle that anything happened in, the tail of the superlanes included */
  int64_t issued[TD_LPU_OPCODE_COUNT];
  /* Unit cycles: a memory slice, an ALU, a switch function one per instruction; a plane in cycles in which anything is
   * issued to it (passes, sums and installs of fp16: to both planes of the pair); a link the spacing of vectors per
   * SEND. */
  int64_t busy[TD_LPU_UNIT_COUNT];
  double energy_j; /* of busy and idle units at their powers; NaN without powers */
};
/* Executes one entry of a step. TD_CORRUPT with chip, queue and cycle where an operand is not there, an accumulator was
 * never kept, a number overflows its type. *out_counts may be NULL. */
td_status td_lpu_execute(struct td_lpu_system *system, int32_t entry, const struct td_lpu_step *step,
                         struct td_lpu_counts *out_counts);

/* Copies a row of an image's matrix (`cols` elements of its type) into or out of SRAM; TD_CONFIG if there is no such
 * row or image. For INPUT, OUTPUT and KV images, and for tests. Writes go to every image of that name (an input that
 * several chips hold). Reads of an OUTPUT gather the columns of all images of that name, in their order (logits that
 * several chips made); others come from the first. */
td_status td_lpu_image_write(struct td_lpu_system *system, const char *image, int32_t row, const void *elements);
td_status td_lpu_image_read(const struct td_lpu_system *system, const char *image, int32_t row, void *elements);

/* ---- KV caches in SRAM: where a compiled program keeps them ----
 *
 * The images "k.cache" and "v.cache" (one pair, or one for each group of layers, in the order of the layers; where
 * program->tensor chips share the layers, each of them has such images, of its KV heads: td_lpu_kv_share) hold a vector
 * of fp16 per token: token t of KV block b of the image's layer l is in word (l * kv_blocks + b) * block_tokens /
 * load_vectors + t / load_vectors, in the pair t % load_vectors of its slices. The last word takes writes that mean
 * nothing. V's lane td_lpu_kv_one_lane is 1: its product with p is the sum of p. */
struct td_lpu_kv {
  int32_t kv_blocks; /* of every layer */
  int32_t kv_heads, head_dim;
};
/* The first KV head of chip `part` of `tensor` (of part tensor: kv_heads): the first chips have one more where they do
 * not divide. */
int32_t td_lpu_kv_first_head(int32_t kv_heads, int32_t tensor, int32_t part);
/* The first KV head that chip `part` of `tensor` keeps, and how many. With more chips than KV heads each keeps one, and
 * neighbours share it: they have copies of the same K and V, for different heads of queries. */
int32_t td_lpu_kv_share(int32_t kv_heads, int32_t tensor, int32_t part, int32_t *out_count);
/* The first lane of a chip's KV head: as many heads as fit in each half of the lanes. */
int32_t td_lpu_kv_lane(const struct td_lpu_machine *machine, int32_t head_dim, int32_t kv_head);
/* Behind a chip's kv_heads; -1: the heads fill all lanes. */
int32_t td_lpu_kv_one_lane(const struct td_lpu_machine *machine, int32_t kv_heads, int32_t head_dim);
/* One position of one layer: kv_heads * head_dim fp16 elements each of K and V, in canonical order. TD_CONFIG if there
 * is no such layer, block or slot. */
td_status td_lpu_kv_write(struct td_lpu_system *system, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                          int32_t slot, const uint16_t *k, const uint16_t *v);
td_status td_lpu_kv_read(const struct td_lpu_system *system, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                         int32_t slot, uint16_t *k, uint16_t *v);

/* ---- closed forms of what a step counts, without executing it (tally.c) ---- */

/* Of one run of a segment. */
struct td_lpu_tally {
  int64_t issued[TD_LPU_OPCODE_COUNT];
  int64_t busy[TD_LPU_UNIT_COUNT];
};
/* [segment_count], malloc'd. */
td_status td_lpu_program_tallies(const struct td_lpu_program *program, struct td_lpu_tally **out_tallies);
/* runs[s] += how often a step runs segment s from `entry` on to the end of its chain. The step need not be one that
 * could be executed: of its rows only block_count is read. */
void td_lpu_program_runs(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                         int64_t *runs);
/* What td_lpu_execute would count for all entries from `entry` on to the end of the chain. */
td_status td_lpu_program_counts(const struct td_lpu_program *program, const struct td_lpu_tally *tallies, int32_t entry,
                                const struct td_lpu_step *step, struct td_lpu_counts *out_counts);
/* Units of that kind on all chips: memory slices, planes, ALUs, switch functions, wired links. */
int64_t td_lpu_program_units(const struct td_lpu_program *program, enum td_lpu_unit unit);
/* Joules that `chips` chips take in so many cycles, of which busy[TD_LPU_UNIT_COUNT] unit cycles at work; NaN without
 * powers. */
double td_lpu_energy(const struct td_lpu_machine *machine, int32_t chips, int64_t cycles, const int64_t *busy);

/* ---- as a backend ---- */

/* How a pool of backend lpu wants its system: the config's group `lpu`. Zeros are the defaults. */
struct td_lpu_choice {
  int32_t chips;  /* 0: the fewest that fit */
  int32_t tensor; /* chips that share each layer; 0: the compiler's choice */
  enum td_lpu_objective objective;
  double latency_bound; /* as struct td_lpu_options */
  enum td_lpu_weights weights;
  enum td_lpu_activations activations;
  int32_t rows;      /* most rows of a pass through the program; a larger step takes several. 0: 1 */
  int32_t context;   /* most positions of a sequence; 0: what the KV cache holds, at most the model's */
  int32_t kv_blocks; /* of the KV cache of a device that only prices; 0: as many as every row's context takes */
  int32_t expert_parts, expert_rows, expert_routed; /* as struct td_lpu_options */
  const char *emulate_on;                           /* as td_lpu_host_open takes it; NULL: "step" */
};
/* What the compiler is asked for: the context is bounded by the choice, the model and `kv_blocks` (0: as many blocks as
 * every row's context takes). */
struct td_lpu_options td_lpu_choice_options(const struct td_lpu_choice *choice, const struct td_shape *shape,
                                            int32_t block_tokens, int32_t kv_blocks);

#endif
