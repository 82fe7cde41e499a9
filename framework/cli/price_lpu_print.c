/* SPDX-License-Identifier: Apache-2.0
 *
 * Prices in words and as JSON.
 */
#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "price_lpu.h"
#include "tandem/base.h"

static double seconds_of(const struct price_head *head, int64_t cycles) {
  return (double)cycles / head->facts.clock_hz;
}

static double watts_of(const struct td_lpu_flow *flow) {
  return flow->joules_per_token * flow->tokens_per_second;
}

/* ---- words ---- */

static void print_head(const struct price_head *head, FILE *out) {
  const struct td_lpu_price_facts *facts = &head->facts;
  fprintf(out, "model       %s\n", head->model);
  fprintf(out, "system      %d chip%s of %s: %d stage%s of %d\n", facts->chips, facts->chips == 1 ? "" : "s",
          head->device, facts->stages, facts->stages == 1 ? "" : "s", facts->tensor);
  fprintf(out, "program     weights %s, activations %s, up to %d rows a pass",
          td_lpu_weights_name(head->options.weights), td_lpu_activations_name(head->options.activations), facts->rows);
  if (facts->block_tokens) {
    fprintf(out, ", %d KV blocks of %d tokens", head->options.kv_blocks, facts->block_tokens);
  }
  fprintf(out, "\npower       %s\n",
          facts->has_power ? "of busy and idle units of all chips, by the device file"
                           : "not in the device file: no joules");
}

static void print_spent(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out) {
  fprintf(out, "\na step of %s, and where its cycles go\n%5s %9s %12s %12s %12s",
          head->encoder ? "one sequence" : "one token a sequence", "batch", "context", "cycles", "us", "stage us");
  for (int i = 0; i < TD_LPU_SPENT_COUNT; i++) fprintf(out, " %8s", td_lpu_spent_name((enum td_lpu_spent)i));
  fputc('\n', out);
  for (int32_t r = 0; r < count; r++) {
    const struct td_lpu_cost *cost = &rows[r].step.cost;
    fprintf(out, "%5" PRId64 " %9" PRId64 " %12" PRId64 " %12.3f %12.3f", rows[r].batch, rows[r].context, cost->cycles,
            seconds_of(head, cost->cycles) * 1e6, seconds_of(head, cost->stage_cycles) * 1e6);
    for (int i = 0; i < TD_LPU_SPENT_COUNT; i++) {
      fprintf(out, " %6.1f %%", 100.0 * (double)cost->spent[i] / (double)cost->cycles);
    }
    fputc('\n', out);
  }
}

static void print_flow(const struct price_head *head, const struct price_row *row, const struct td_lpu_flow *flow,
                       FILE *out) {
  fprintf(out, "%5" PRId64 " %9" PRId64 " %9d %12.3f %14.2f %14.2f", row->batch, row->context, flow->batches,
          seconds_of(head, flow->beat) * 1e6, flow->user_tokens_per_second, flow->tokens_per_second);
  if (head->facts.has_power) fprintf(out, " %10.1f %12.5g", watts_of(flow), 1.0 / flow->joules_per_token);
  fputc('\n', out);
}

static void print_flows(const struct price_head *head, const struct price_row *rows, int32_t count, bool verify,
                        FILE *out) {
  const char *power = head->encoder ? "          W  sequences/J" : "          W     tokens/J";
  fprintf(out, "%5s %9s %9s %12s %14s %14s%s\n", "batch", "context", "in flight", "beat us",
          head->encoder ? "seqs/s/user" : "tokens/s/user", head->encoder ? "sequences/s" : "tokens/s",
          head->facts.has_power ? power : "");
  for (int32_t r = 0; r < count; r++) {
    const struct price_pass *pass = verify ? &rows[r].verify : &rows[r].step;
    for (int32_t i = 0; i < head->in_flight.count; i++) print_flow(head, &rows[r], &pass->flows[i], out);
  }
}

static void print_full(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out) {
  int32_t full = 1;
  for (int32_t r = 0; r < count; r++) full = rows[r].full > full ? rows[r].full : full;
  if (head->facts.stages == 1) return;
  fprintf(out, "%d batches in flight fill the stages%s\n", full,
          head->encoder ? "" : "; a user's token is back before the next one begins");
}

static void print_draft(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out) {
  fprintf(out,
          "\nverify: passes over %d proposed tokens and the last one, accepted with %g each: %.4f tokens a pass; "
          "proposing them is not in it\n",
          head->draft, head->acceptance, head->tokens_a_pass);
  print_flows(head, rows, count, true, out);
}

static void print_left(const struct td_lpu_end_price *end, const char *name, FILE *out) {
  if (!end->price) {
    fprintf(out, "%s: refused: %s\n", name, end->refused);
    return;
  }
  fprintf(out, "%s: %d numbers moved", name, end->moved);
  for (int32_t i = 0; i < end->left_count; i++) fprintf(out, "%s%s", i ? ", " : "; not taken: ", end->left[i]);
  fputc('\n', out);
}

static void print_ranges(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out) {
  fprintf(out, "\nover the ranges of what is not published, all at their fast, and all at their slow ends\n");
  print_left(&head->ends[TD_LPU_FAST], "fast", out);
  print_left(&head->ends[TD_LPU_SLOW], "slow", out);
  const char *what = head->encoder ? "sequence" : "token";
  fprintf(out, "%5s %9s %12s %12s %12s   %ss/s/user", "batch", "context", "us", "least", "most", what);
  if (head->facts.has_power) fprintf(out, "   J a %s", what);
  fputc('\n', out);
  for (int32_t r = 0; r < count; r++) {
    const struct price_row *row = &rows[r];
    fprintf(out, "%5" PRId64 " %9" PRId64 " %12.3f %12.3f %12.3f   %.2f..%.2f", row->batch, row->context,
            seconds_of(head, row->step.cost.cycles) * 1e6, row->seconds_low * 1e6, row->seconds_high * 1e6,
            1.0 / row->seconds_high, 1.0 / row->seconds_low);
    if (head->facts.has_power) {
      fprintf(out, "   %.4g..%.4g", row->joules_low / (double)row->batch, row->joules_high / (double)row->batch);
    }
    if (head->published > 0) {
      bool inside = head->published >= row->seconds_low && head->published <= row->seconds_high;
      fprintf(out, "   %g us is %s", head->published * 1e6, inside ? "inside" : "outside");
    }
    fputc('\n', out);
  }
}

void price_lpu_print(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out) {
  print_head(head, out);
  print_spent(head, rows, count, out);
  fputc('\n', out);
  print_flows(head, rows, count, false, out);
  print_full(head, rows, count, out);
  if (head->draft) print_draft(head, rows, count, out);
  if (head->ranges) print_ranges(head, rows, count, out);
  if (head->sensitivity) lpu_sensitivity_print(head->sensitivity, head->published, out);
}

/* ---- JSON ---- */

static void json_number(const char *name, double value, FILE *out) {
  fprintf(out, ", \"%s\": ", name);
  fprintf(out, isfinite(value) ? "%.9g" : "null", value);
}

static void json_flows(const struct price_head *head, const struct price_pass *pass, FILE *out) {
  fputs(", \"in_flight\": [", out);
  for (int32_t i = 0; i < head->in_flight.count; i++) {
    const struct td_lpu_flow *flow = &pass->flows[i];
    fprintf(out, "%s{\"batches\": %d, \"beat_cycles\": %" PRId64, i ? ", " : "", flow->batches, flow->beat);
    json_number("user_tokens_per_second", flow->user_tokens_per_second, out);
    json_number("tokens_per_second", flow->tokens_per_second, out);
    json_number("watts", watts_of(flow), out);
    json_number("tokens_per_joule", 1.0 / flow->joules_per_token, out);
    fputc('}', out);
  }
  fputc(']', out);
}

static void json_pass(const struct price_head *head, const struct price_pass *pass, FILE *out) {
  const struct td_lpu_cost *cost = &pass->cost;
  fprintf(out, "\"rows\": %d, \"cycles\": %" PRId64 ", \"stage_cycles\": %" PRId64, pass->rows, cost->cycles,
          cost->stage_cycles);
  json_number("seconds", seconds_of(head, cost->cycles), out);
  json_number("energy_j", cost->energy_j, out);
  fputs(", \"spent\": {", out);
  for (int i = 0; i < TD_LPU_SPENT_COUNT; i++) {
    fprintf(out, "%s\"%s\": %" PRId64, i ? ", " : "", td_lpu_spent_name((enum td_lpu_spent)i), cost->spent[i]);
  }
  fputc('}', out);
  json_flows(head, pass, out);
}

static void json_row(const struct price_head *head, const struct price_row *row, FILE *out) {
  fprintf(out,
          "{\"batch\": %" PRId64 ", \"context\": %" PRId64 ", \"valid_steps\": %" PRId64 ", \"full\": %d, \"step\": {",
          row->batch, row->context, row->valid_steps, row->full);
  json_pass(head, &row->step, out);
  fputc('}', out);
  if (head->draft) {
    fputs(", \"verify\": {", out);
    json_pass(head, &row->verify, out);
    fputc('}', out);
  }
  if (head->ranges) {
    fputs(", \"range\": {\"of\": \"a step\"", out);
    json_number("seconds_low", row->seconds_low, out);
    json_number("seconds_high", row->seconds_high, out);
    json_number("energy_low_j", row->joules_low, out);
    json_number("energy_high_j", row->joules_high, out);
    if (head->published > 0) {
      bool inside = head->published >= row->seconds_low && head->published <= row->seconds_high;
      fprintf(out, ", \"inside\": %s", inside ? "true" : "false");
    }
    fputc('}', out);
  }
  fputc('}', out);
}

static void json_end(const struct td_lpu_end_price *end, const char *name, FILE *out) {
  fprintf(out, ", \"%s\": {\"moved\": %d, \"left\": [", name, end->moved);
  for (int32_t i = 0; i < end->left_count; i++) fprintf(out, "%s\"%s\"", i ? ", " : "", end->left[i]);
  fputs("], \"refused\": ", out);
  if (end->price) {
    fputs("null", out);
  } else {
    td_json_string(out, end->refused, strlen(end->refused));
  }
  fputc('}', out);
}

void price_lpu_json(const struct price_head *head, const struct price_row *rows, int32_t count, FILE *out) {
  const struct td_lpu_price_facts *facts = &head->facts;
  fputs("{\"model\": ", out);
  td_json_string(out, head->model, strlen(head->model));
  fputs(", \"device\": ", out);
  td_json_string(out, head->device, strlen(head->device));
  fprintf(out,
          ", \"chips\": %d, \"tensor\": %d, \"stages\": %d, \"rows\": %d, \"block_tokens\": %d, \"kv_blocks\": %d, "
          "\"power\": %s",
          facts->chips, facts->tensor, facts->stages, facts->rows, facts->block_tokens, head->options.kv_blocks,
          facts->has_power ? "true" : "false");
  json_number("clock_hz", facts->clock_hz, out);
  if (head->draft) {
    fprintf(out, ", \"draft\": %d", head->draft);
    json_number("acceptance", head->acceptance, out);
    json_number("tokens_per_pass", head->tokens_a_pass, out);
  }
  if (head->ranges) {
    json_end(&head->ends[TD_LPU_FAST], "fast", out);
    json_end(&head->ends[TD_LPU_SLOW], "slow", out);
  }
  fputs(", \"prices\": [", out);
  for (int32_t r = 0; r < count; r++) {
    if (r) fputs(", ", out);
    json_row(head, &rows[r], out);
  }
  fputc(']', out);
  if (head->sensitivity) lpu_sensitivity_json(head->sensitivity, head->published, out);
  fputs("}\n", out);
}
