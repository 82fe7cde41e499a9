/* SPDX-License-Identifier: Apache-2.0
 *
 * Cost models: time and energy of a slice or a transfer on a device file, without running it. Pure functions.
 */
#ifndef TANDEM_COST_H
#define TANDEM_COST_H

#include <stdint.h>

#include "tandem/devices.h"
#include "tandem/graph.h"

/* The price of a step, and of the decode steps that follow it as long as only the contexts grow: step i (0-based) lasts
 * base_ps + i * slope_ps, exact for i < valid_steps; valid_steps >= 1. Integers, so k steps in one sum equal k single
 * steps bit for bit. */
struct td_price {
  int64_t base_ps, slope_ps, valid_steps;
  double energy_j;          /* of the first step; NaN if the device file has no power */
  double flops, bytes;      /* of the first step */
  int64_t compute_bound_ps; /* part of base_ps in operators bound by arithmetic */
  /* Where the first step's time lies: every operator at the near or far end of what is credible at once. Of a fitted
   * operator nine of ten measurements lie inside its part; of a roofline it is what the device file's ranges say. */
  double low_ps, high_ps;
};

/* Roofline: each operator lasts overhead + max(FLOPs / (compute_efficiency * peak), bytes / (memory_efficiency *
 * bandwidth)), operators one after another; energy = busy power * time.
 *  - Peak: products take flops_f32, _f16 or _bf16 by their weight's dtype; FP8 takes flops_fp8 and MXFP4 and NVFP4 take
 *    flops_fp4 where the device file has them (activations are narrowed to match); other weights the faster of _f16 and
 *    _bf16 (widened on the fly). Attention takes flops_f32 for an F32 cache, else the faster of _f16 and _bf16. The
 *    rest: _f32.
 *  - Bytes: all of td_op_cost's, nothing cached between operators. Sampling and operators over no rows (the head, when
 *    no logits are wanted) cost nothing.
 *  - Rounding, so that base + i * slope is exact: an operator's two times are linear forms in the step's counts with
 *    integer coefficients in units of 2^-20 ps. Summed over operators, X = fixed + context * C + pairs * A. With
 *    C = S * q + r and A = S * u + w (S sequences: a decode step adds S to C and to A),
 *      time  = round(fixed + context * r + pairs * w) + q * round(context * S) + u * round(pairs * S)   [ps]
 *      slope = round(context * S) + round(pairs * S).
 *    The counts of windowed and of bidirectional attention are split in the same way, each for itself.
 *    valid_steps ends where the first operator changes between bound by arithmetic and bound by memory (equal: memory),
 *    and no later than where a sequence may fill its sliding window: in a batch of several that is not known from the
 *    counts unless all windows are full or none can be. It is 1 for a step that is no decode step (one token a
 *    sequence), and for encoders.
 * Fits: where the device file has one (tandem calibrate) for a product's or an attention's element types, that operator
 * takes the fitted model's time instead (tandem/operators.h), with weights that are never in the cache from the step
 * before. Matrix products whose weights are F16 or BF16 (fits "bfloat16", else "float16", "half"), FP8 and NVFP4;
 * attention with a causal mask over a F16, BF16 or FP8 cache, of a decode step (whose sequences are taken to be of one
 * length, their mean), of prompts, or of both in one step (one chunk of a prompt and the rest decode, unless the counts
 * say several); experts of a layer. Grouped products and latent attention stay rooflines.
 * Served steps: where the file has a fit of e2e, or the device is asked to (struct td_serving), everything is priced by
 * models: products of one input as one, small operators by their launch and their bytes in 16 bits, what the host does,
 * launches that show in steps with prompts or without graphs, and, on several chips, one chip's part and the sums over
 * them (the library's or the one-shot kernel's, whichever is sooner done). Their energy is td_op_energy.
 * Experts of replicas (struct td_serving): the counts are one replica's, experts take the tokens of all (ALL_TOKENS, or
 * as many of each), and with `exchange` each chip sends bytes = 2 * hidden * experts_used * ceil(TOKENS / tensor) to
 * them and gets them back: each way td_price_transfer of ceil(bytes * (chips - 1) / chips) over expert_link, or the
 * collective "alltoall" of bytes; then, with tensor > 1, the collective "all_gather" of 2 * hidden * TOKENS.
 * TD_UNSUPPORTED if the experts have no model then.
 * Whole steps: where the file has `steps`, a step takes what its entry for the graph's model on so many chips says, and
 * nothing else: no operator is priced, and the slice must be the whole model. FLOPs and bytes are counted as ever.
 *  - Decode steps (one token a sequence): step + sequence * S + context * C, from `large.from` sequences on with the
 *    numbers of `large`; or points over S.
 *  - Prompts: step + token * T + square * Q, where Q = 2 A - T is the sum of squares of whole prompts' lengths (of
 *    chunks, what their tokens add to it); or points over T.
 *  - Both in one step (who has one token, after others, decodes): with `mixed`, so many times what prompts of all T
 * tokens take; without, the prompts' time and what the others' sequences and positions add to a decode step.
 *  - A `profile` instead: tokens(T) + outputs(LOGITS) + layers * attention, where attention is decode(S, mean context),
 * the chunk's prefill(tokens, past), or mixed(tokens, past, sequences, mean context), multilinear between measured
 * points; several chunks are one of all their tokens after their mean past. Below the first point of an axis is the
 * first, beyond the last the line goes on. Decode steps are a line in C until the mean context reaches the next point,
 * never falling.
 *  - Between two points lies a straight line, and outside of all points the line of the nearest two; low and high are
 *    then 15 % further apart, each, for every octave. A time below zero is refused.
 *  - Integers, rounding and stretches as for rooflines. compute_bound_ps is 0: nobody knows. Energy is the `power` of
 *    such steps, of all chips, else power_busy, times the time. Layers take equal parts of the step
 * (td_price_milestones). Between the knots of td_op_knot the attention of decode steps is a straight line in the sum of
 * contexts, never falling, and valid_steps ends at the next knot. stats describe the first step; following steps add
 * one token per sequence: CONTEXT, PAIRS and FULL_PAIRS grow by SEQS, the windowed counts by SEQS or, with full
 * windows, not at all. TD_UNSUPPORTED names a number the device file lacks, says that a step would last over 106 days,
 * or that an encoder would read a text in more than one step. */
td_status td_price_roofline(const struct td_device_params *device, const struct td_graph *graph,
                            const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                            struct td_price *out_price);

/* Prices many steps of one slice on one device, bit for bit as td_price_roofline does, remembering what steps have in
 * common: what depends on TOKENS only and on LOGITS only (their last 16,384 and 4,096 numbers), the times of attention
 * at the lengths it was asked for, and of decode steps the sum of all operators between two knots of the mean context.
 * A decode step then takes tens of nanoseconds, one with prompts well under a microsecond; a new number of tokens a
 * few. Memory is below 10 MiB. Not thread-safe: one per thread (the device may be shared). */
struct td_pricer;
/* Borrows device, graph and slice until td_pricer_close. */
td_status td_pricer_open(const struct td_device_params *device, const struct td_graph *graph,
                         const struct td_slice *slice, enum td_dtype kv_dtype, struct td_pricer **out_pricer);
void td_pricer_close(struct td_pricer *pricer); /* NULL is fine */
/* Equal to td_price_roofline in every field. */
td_status td_pricer_step(struct td_pricer *pricer, const struct td_step_stats *stats, struct td_price *out_price);
/* Two of td_price_milestones' times, of the real layers of these numbers in the slice: under a microsecond. */
td_status td_pricer_layer_ends(struct td_pricer *pricer, const struct td_step_stats *stats, const int32_t layers[2],
                               int64_t out_ps[2]);

/* When layer `layer_begin + i` of the slice is done: out_ps[i], picoseconds from the step's start, for the real layers
 * of the slice; the last value plus what follows the layers is base_ps. `out_ps` holds layers values. */
td_status td_price_milestones(const struct td_device_params *device, const struct td_graph *graph,
                              const struct td_slice *slice, enum td_dtype kv_dtype, const struct td_step_stats *stats,
                              int64_t *out_ps);

/* Makes `params` those of all chips of `serving` together: memory, power and price are theirs, and every operator of a
 * step is priced by its model (or, without a fit, the model's guesses), one chip's part of it and the sums over chips.
 * TD_UNSUPPORTED: the file lacks what the models need, or is no chip. */
td_status td_device_join(struct td_device_params *params, const struct td_serving *serving);

/* latency + bytes / bandwidth, rounded up to a picosecond. */
td_status td_price_transfer(const struct td_device_params *link, uint64_t bytes, int64_t *out_ps);

#endif
