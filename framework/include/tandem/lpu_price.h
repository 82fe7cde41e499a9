/* SPDX-License-Identifier: Apache-2.0
 *
 * Prices of LPU programs: what a step takes, in closed form, for any batch and context, without looking at the program
 * again. A cluster simulation asks millions of times.
 */
#ifndef TANDEM_LPU_PRICE_H
#define TANDEM_LPU_PRICE_H

#include "tandem/cost.h"
#include "tandem/lpu.h"

/* ---- who is told something in a cycle ---- */

/* What a cycle went to: the first of these that issues in it, on whichever chip. In a cycle of WAIT nothing does:
 * results are under way. */
enum td_lpu_spent {
  TD_SPENT_LOAD,    /* streams into a plane's weight buffer */
  TD_SPENT_INSTALL, /* weight buffer into the array */
  TD_SPENT_PASS,    /* activations through the array, and their sums */
  TD_SPENT_VECTOR,
  TD_SPENT_SWITCH,
  TD_SPENT_LINK,
  TD_SPENT_MEMORY,
  TD_SPENT_WAIT,
  TD_LPU_SPENT_COUNT
};
const char *td_lpu_spent_name(enum td_lpu_spent spent);
/* Of one run of a segment, on all its chips together: out_spent[TD_LPU_SPENT_COUNT] adds up to its length.
 * *out_exchange: cycles in which vectors are under way from chip to chip, whatever else is done. */
td_status td_lpu_segment_spent(const struct td_lpu_program *program, int32_t segment, int64_t *out_spent,
                               int64_t *out_exchange);

/* ---- the table ---- */

/* A program's prices: built once, then read-only and usable from any thread. It holds nothing of the program. Steps are
 * whole ones; where a program has an entry a layer instead (FFNs alone), a step is all of them, one after another. */
struct td_lpu_price;
/* `graph`: what td_lpu_price_stats counts FLOPs and bytes of (NULL: none). TD_UNSUPPORTED if a step's length is no
 * linear form in its rows and their KV blocks; no compiled program is like that. */
td_status td_lpu_price_open(const struct td_lpu_program *program, const struct td_graph *graph,
                            struct td_lpu_price **out_price);
void td_lpu_price_close(struct td_lpu_price *price); /* NULL is fine */

/* What does not depend on the step. */
struct td_lpu_price_facts {
  int32_t chips, tensor, stages; /* chips = tensor * stages */
  int32_t rows;                  /* most of a pass */
  int32_t block_tokens;          /* 0: no KV */
  int32_t layers;                /* whose entries make a step; 0: steps are whole ones */
  double clock_hz;
  bool has_power;
};
struct td_lpu_price_facts td_lpu_price_facts(const struct td_lpu_price *price);
/* Of all chips while nothing runs: idle units and what a chip takes beside them. NaN without powers, and of
 * NULL. */
double td_lpu_price_idle_watts(const struct td_lpu_price *price);

/* Of one pass. */
struct td_lpu_cost {
  int64_t cycles;       /* td_lpu_program_cycles: from the first stage to the last */
  int64_t stage_cycles; /* of the stage that works longest: its layers and what it hands on and is handed */
  int64_t spent[TD_LPU_SPENT_COUNT]; /* of `cycles`, and adds up to them; the tail of the superlanes is WAIT */
  int64_t busy[TD_LPU_UNIT_COUNT];   /* unit cycles, as td_lpu_program_counts has them */
  double energy_j;                   /* the same; idle units and chips included; NaN without powers */
};
/* A pass of `rows` rows, 1..facts.rows, that attend to `blocks` KV blocks in all, at least one each (without KV: not
 * looked at). To the bit what td_lpu_program_cycles and _counts say of such a step. TD_CONFIG if there is none. */
td_status td_lpu_price_pass(const struct td_lpu_price *price, int32_t rows, int64_t blocks, struct td_lpu_cost *out);
/* The same of rows at one position each, all `context` tokens long with the row's own. */
td_status td_lpu_price_context(const struct td_lpu_price *price, int32_t rows, int64_t context,
                               struct td_lpu_cost *out);
/* Cycles at the machine's clock, to the nearest picosecond. */
int64_t td_lpu_price_ps(const struct td_lpu_price *price, int64_t cycles);

/* A step of the engine: stats->TOKENS rows, in passes of facts.rows, the last of the rest. Blocks are stats->TILES,
 * those of the last pass PASS_TILES if PASS is facts.rows; of one sequence they follow from its positions.
 * TD_UNSUPPORTED where tiles are not those of the KV blocks. Where passes were not told apart, the last is taken to
 * have one block a row. slope 0: contexts that grow inside their KV blocks cost nothing more; valid_steps ends where
 * the first sequence begins its next one. layer_done_ps as td_device_price's, or NULL. */
td_status td_lpu_price_stats(const struct td_lpu_price *price, const struct td_step_stats *stats,
                             int64_t *layer_done_ps, struct td_price *out_price);

/* Compiled without data, for its prices alone. */
td_status td_lpu_price_compile(const struct td_lpu_machine *machine, const struct td_graph *graph,
                               const struct td_slice *slice, const struct td_lpu_options *options,
                               struct td_lpu_price **out_price);

/* The price of a device that has no program: compiled for `choice` without data, once for all devices that ask for the
 * same machine, graph and choice at a time. The graph is borrowed, and must outlive it. */
td_status td_lpu_timing_open(const struct td_lpu_machine *machine, const struct td_lpu_choice *choice,
                             const struct td_graph *graph, int32_t block_tokens, const struct td_lpu_price **out_price);
void td_lpu_timing_close(const struct td_lpu_price *price); /* NULL is fine */

/* ---- several batches in flight ---- */

/* `batches` batches of the same kind take turns, each one stage behind the other. A batch begins its next pass when its
 * last one is over: a token is needed for the next. One begins every `beat` cycles: the longer of the slowest stage and
 * pass / batches. From two batches on, beats are whole alignment epochs. */
struct td_lpu_flow {
  int32_t batches;
  int64_t beat;                  /* cycles */
  double user_tokens_per_second; /* each row's: a token every batches * beat cycles */
  double tokens_per_second;      /* of all rows of all batches */
  double joules_per_token;       /* busy units of a pass, the others idle through a beat; NaN without powers */
};
/* The fewest batches with which the slowest stage never waits. */
int32_t td_lpu_flow_full(const struct td_lpu_price *price, const struct td_lpu_cost *cost);
/* TD_CONFIG if batches < 1. `rows`: those of a pass that give a token each. */
td_status td_lpu_flow(const struct td_lpu_price *price, const struct td_lpu_cost *cost, int32_t rows, int32_t batches,
                      struct td_lpu_flow *out);

/* ---- what nobody published ---- */

/* What is compiled, without data. */
struct td_lpu_question {
  const struct td_device_params *params;
  const struct td_graph *graph;
  struct td_slice slice;
  struct td_lpu_options options; /* chips and tensor as the answer at the values has them: machines are compared */
};
/* At all ends that ought to be fast, or slow, together: delays at the low, or high, end of their ranges; how much there
 * is of something (slices a hop, accumulators, links, rates) the other way round; powers low, or high. */
enum td_lpu_end { TD_LPU_FAST, TD_LPU_SLOW };
/* Whether a row of td_lpu_machine_quantity has such ends: evidence assumed or secondary, and a range. */
bool td_lpu_is_open(const struct td_quantity *quantity);
#define TD_LPU_MOST_OPEN 128
struct td_lpu_end_price {
  struct td_lpu_price *price;         /* td_lpu_price_close; NULL: refused */
  int32_t moved;                      /* parameters at their ends */
  const char *left[TD_LPU_MOST_OPEN]; /* names of those that no such machine, or no compiler, takes so; in the params */
  int32_t left_count;
  char refused[400];
};
/* One compile (rarely two): prices of any batch and context there. What the compiler refuses at all is an answer: price
 * is NULL. An end is a machine, not a bound: schedules need not get longer with every delay. */
td_status td_lpu_price_end(const struct td_lpu_question *question, enum td_lpu_end end, struct td_lpu_end_price *out);

/* ---- speculative decoding ---- */

/* Tokens that a pass over `draft` proposed tokens and the last one before them gives, each proposal accepted with
 * probability `acceptance` if all before it are: (1 - a^(k + 1)) / (1 - a), k + 1 for a = 1 (Leviathan et al., Fast
 * Inference from Transformers via Speculative Decoding, 2023). The rows of such a pass are draft + 1 rows of the same
 * sequence, positions ascending. 0 <= acceptance <= 1. */
double td_lpu_accepted(int32_t draft, double acceptance);

#endif
