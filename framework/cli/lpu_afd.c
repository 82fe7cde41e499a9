/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_afd.h"

#include <inttypes.h>

#include "tandem/base.h"

/* ---- attention ---- */

static td_status price_attention(const struct lpu_afd_question *question, int32_t tokens, double *out_seconds) {
  const struct td_graph *graph = question->graph;
  const struct td_slice slice = {0, graph->shape.layers, TD_PART_ATTENTION};
  int32_t sequences = (tokens + question->devices - 1) / question->devices;
  struct td_step_stats stats = {{0}};
  struct td_price price;
  for (int32_t i = 0; i < sequences; i++) td_step_stats_add(&stats, &graph->shape, question->context, 1, 0);
  TD_TRY(td_price_roofline(question->attention, graph, &slice, question->kv_dtype, &stats, &price));
  *out_seconds = (double)price.base_ps * 1e-12 / graph->shape.layers;
  return TD_OK;
}

/* ---- between ---- */

/* Float32 rows of the residual, one port's share of them. */
static td_status price_link(const struct lpu_afd_question *question, int32_t chips, int32_t tokens,
                            double *out_seconds) {
  int64_t bytes = (int64_t)tokens * question->graph->shape.hidden * 4, ps;
  TD_TRY(td_price_transfer(question->link, (uint64_t)((bytes + chips - 1) / chips), &ps));
  *out_seconds = (double)ps * 1e-12;
  return TD_OK;
}

/* Once all rows to each LPU, over all its links; once every LPU's sums to those that add up a share of the rows, each
 * vector of each other part with one addition a cycle. One hop inside a node, two beyond. */
static double bound_fabric(const struct lpu_afd_question *question, int32_t chips, int32_t tokens) {
  const struct td_lpu_machine *machine = question->machine;
  double bytes = (double)tokens * question->graph->shape.hidden * 4.0;
  double rate = machine->links_used * machine->link_bytes_per_second;
  double hop =
      machine->link_latency / machine->clock_hz + (chips > machine->node_chips ? machine->link_hop_seconds : 0);
  double sums = bytes / 4.0 / machine->lanes / machine->clock_hz;
  return chips == 1 ? 0.0 : 2.0 * (bytes * (chips - 1) / chips / rate + hop) + sums;
}

static td_status make_batch(const struct lpu_afd_question *question, const struct lpu_experts *experts,
                            const struct lpu_experts_batch *from, int32_t chips, struct lpu_afd_batch *out) {
  double nothing;
  TD_TRY(price_attention(question, from->tokens, &out->attention));
  TD_TRY(price_link(question, chips, from->tokens, &out->in));
  TD_TRY(price_link(question, chips, 0, &nothing));
  out->out = out->in;
  out->fabric = bound_fabric(question, chips, from->tokens);
  out->route = (double)from->route / experts->clock_hz + 2.0 * nothing * from->passes;
  out->experts = from->drawn / experts->clock_hz;
  return TD_OK;
}

td_status lpu_afd_make(const struct lpu_afd_question *question, const struct lpu_experts *experts,
                       struct lpu_afd *out) {
  *out = (struct lpu_afd){
      .chips = experts->parts * experts->chips, .devices = question->devices, .context = question->context};
  for (int32_t i = 0; i < experts->batch_count; i++) {
    TD_TRY(make_batch(question, experts, &experts->batches[i], out->chips, &out->batches[i]));
  }
  return TD_OK;
}

/* ---- printing ---- */

/* What takes longest of attention, the link one way, and the LPUs (fabric and experts). */
static enum lpu_afd_bound bound_of(const struct lpu_afd_batch *batch) {
  double lpus = batch->fabric + batch->experts;
  if (batch->attention >= lpus && batch->attention >= batch->in) return AFD_ATTENTION;
  return batch->in >= lpus ? AFD_LINK : AFD_EXPERTS;
}

static const char *const bounds[] = {"attention", "link", "experts"};

static double sum_of(const struct lpu_afd_batch *b) {
  return b->attention + b->in + b->fabric + b->experts + b->out;
}

void lpu_afd_print(const struct lpu_afd *afd, const struct lpu_experts *experts, FILE *out) {
  fprintf(out,
          "\nattention   %d device%s share the sequences, %" PRId64
          " positions each; experts: %d LPUs a layer, %d in all; us of one layer\n\n",
          afd->devices, afd->devices == 1 ? "" : "s", afd->context, afd->chips, afd->chips * experts->layers);
  fprintf(out, "%-7s %10s %8s %8s %8s %8s %9s %-9s %10s | %10s\n", "tokens", "attention", "in", "fabric", "experts",
          "out", "sum", "longest", "ms a token", "route here");
  for (int32_t i = 0; i < experts->batch_count; i++) {
    const struct lpu_afd_batch *b = &afd->batches[i];
    fprintf(out, "%-7d %10.2f %8.2f %8.2f %8.2f %8.2f %9.2f %-9s %10.3f | %10.2f\n", experts->batches[i].tokens,
            b->attention * 1e6, b->in * 1e6, b->fabric * 1e6, b->experts * 1e6, b->out * 1e6, sum_of(b) * 1e6,
            bounds[bound_of(b)], sum_of(b) * experts->layers * 1e3, b->route * 1e6);
  }
}

void lpu_afd_json(const struct lpu_afd *afd, const struct lpu_experts *experts, FILE *out) {
  fprintf(out, ", \"afd\": {\"devices\": %d, \"context\": %" PRId64 ", \"chips\": %d, \"batches\": [", afd->devices,
          afd->context, afd->chips);
  for (int32_t i = 0; i < experts->batch_count; i++) {
    const struct lpu_afd_batch *b = &afd->batches[i];
    fprintf(out,
            "%s{\"tokens\": %d, \"attention_us\": %.6g, \"in_us\": %.6g, \"fabric_us\": %.6g, \"experts_us\": %.6g, "
            "\"out_us\": %.6g, \"route_us\": %.6g, \"sum_us\": %.6g, \"longest\": \"%s\"}",
            i ? ", " : "", experts->batches[i].tokens, b->attention * 1e6, b->in * 1e6, b->fabric * 1e6,
            b->experts * 1e6, b->out * 1e6, b->route * 1e6, sum_of(b) * 1e6, bounds[bound_of(b)]);
  }
  fprintf(out, "]}");
}
