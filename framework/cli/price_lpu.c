/* SPDX-License-Identifier: Apache-2.0
 *
 * From a config or flags to a table of prices, and what it is asked.
 */
#include "price_lpu.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_keys.h"
#include "tandem/base.h"
#include "tandem/cli.h"
#include "tandem/experiment.h"

/* What is opened. */
struct asked {
  struct td_config *config;
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
  struct lpu_keys keys;
  struct td_lpu_choice choice;
  bool from_config;
  int32_t block_tokens; /* 0: as many as a plane takes */
  bool fills;           /* --in-flight full */
  struct price_head head;
  struct td_lpu_price *price;
  struct lpu_sensitivity sensitivity;
};

static void close_asked(struct asked *asked) {
  for (int i = 0; i < 2; i++) td_lpu_price_close(asked->head.ends[i].price);
  if (asked->head.sensitivity) lpu_sensitivity_close(asked->head.sensitivity);
  td_lpu_price_close(asked->price);
  td_graph_free(asked->graph);
  td_model_close(asked->model);
  td_device_params_close(asked->params);
  td_config_close(asked->config);
}

/* ---- lists and numbers ---- */

static td_status read_list(const char *flag, const char *text, int64_t most, struct price_list *out) {
  char item[24];
  for (const char *at = text; at; at = *at ? at + 1 : NULL) {
    size_t length = strcspn(at, ",");
    if (out->count == PRICE_MOST) return td_fail(TD_USAGE, "%s: found over %d numbers", flag, PRICE_MOST);
    if (td_format(item, sizeof item, "%.*s", (int)(length < sizeof item ? length : sizeof item), at)) {
      return td_fail(TD_USAGE, "%s: found \"%.20s...\", expected whole numbers with commas between", flag, at);
    }
    TD_TRY(td_flag_int(flag, item, 1, most, &out->items[out->count++]));
    at += length;
    if (!*at) break;
  }
  return TD_OK;
}

static td_status read_real(const char *flag, const char *text, double low, double high, double *out) {
  char *end = NULL;
  double value = strtod(text, &end);
  if (end == text || *end || !(value >= low && value <= high)) {
    return td_fail(TD_USAGE, "%s: found \"%s\", expected a number from %g to %g", flag, text, low, high);
  }
  *out = value;
  return TD_OK;
}

static td_status read_draft(const struct price_lpu_options *options, struct price_head *out) {
  int64_t draft = 0;
  if (!options->draft != !options->acceptance) {
    return td_fail(TD_USAGE, "%s: found no %s, expected both", options->draft ? "--draft" : "--acceptance",
                   options->draft ? "--acceptance" : "--draft");
  }
  if (!options->draft) return TD_OK;
  TD_TRY(td_flag_int("--draft", options->draft, 1, 511, &draft));
  TD_TRY(read_real("--acceptance", options->acceptance, 0.0, 1.0, &out->acceptance));
  out->draft = (int32_t)draft;
  out->tokens_a_pass = td_lpu_accepted(out->draft, out->acceptance);
  return TD_OK;
}

static td_status read_numbers(const struct price_lpu_options *options, struct asked *asked) {
  struct price_head *head = &asked->head;
  TD_TRY(read_list("--batch", options->batch ? options->batch : "1", 512, &head->batches));
  if (!options->context) return td_fail(TD_USAGE, "price: found no --context, expected the tokens of each sequence");
  TD_TRY(read_list("--context", options->context, 10000000, &head->contexts));
  asked->fills = options->in_flight && strcmp(options->in_flight, "full") == 0;
  const char *in_flight = options->in_flight && !asked->fills ? options->in_flight : "1";
  TD_TRY(read_list("--in-flight", in_flight, 65536, &head->in_flight));
  TD_TRY(read_draft(options, head));
  head->ranges = options->ranges;
  if (!options->against) return TD_OK;
  if (!options->ranges) return td_fail(TD_USAGE, "--against: found no --ranges, expected it too");
  return read_real("--against", options->against, 1e-12, 1e12, &head->published);
}

/* ---- what is priced ---- */

static bool is_lpu(const struct td_cfg_pool *pool) {
  return strcmp(pool->backend, "lpu") == 0 || strncmp(pool->backend, "lpu:", 4) == 0 || pool->lpu.emulate_on;
}

static td_status find_pool(const struct price_lpu_options *options, const struct td_config *config,
                           const struct td_experiment *experiment, const struct td_cfg_pool **out) {
  const struct td_cfg_pool *pools = experiment->cluster.pools.items;
  for (int32_t i = 0; i < experiment->cluster.pools.count; i++) {
    if (options->pool ? strcmp(pools[i].name, options->pool) != 0 : !is_lpu(&pools[i])) continue;
    *out = &pools[i];
    return TD_OK;
  }
  if (options->pool) return td_fail(TD_USAGE, "--pool: found no pool \"%s\" in %s", options->pool, options->config);
  return td_config_fail(config, "cluster.pools", "found no pool of backend lpu, or modelled with a group lpu");
}

static td_status open_config(const struct price_lpu_options *options, struct asked *asked) {
  struct td_experiment experiment;
  const struct td_cfg_pool *pool = NULL;
  TD_TRY(td_experiment_open(options->config, options->sets, options->set_count, &asked->config, &experiment));
  TD_TRY(find_pool(options, asked->config, &experiment, &pool));
  asked->choice = td_experiment_lpu(pool);
  asked->from_config = true;
  asked->block_tokens = (int32_t)experiment.engine.block_tokens;
  asked->head.model = experiment.model;
  asked->head.device = pool->device;
  return TD_OK;
}

static td_status open_flags(const struct price_lpu_options *options, struct asked *asked) {
  if (!options->device)
    return td_fail(TD_USAGE, "price --model: found no --device, expected a device file of kind lpu");
  if (options->lpu) TD_TRY(lpu_keys_parse(options->lpu, &asked->keys));
  asked->choice = asked->keys.choice;
  asked->head.model = options->model;
  asked->head.device = options->device;
  return TD_OK;
}

static bool encodes(const struct td_graph *graph) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (graph->ops[i].kind == TD_OP_ATTENTION) return graph->ops[i].bidirectional;
  }
  return false;
}

static td_status open_all(const struct price_lpu_options *options, struct asked *asked) {
  TD_TRY(options->config ? open_config(options, asked) : open_flags(options, asked));
  TD_TRY(td_model_open(asked->head.model, &asked->model));
  TD_TRY(td_graph_build(asked->model, &asked->graph));
  asked->head.encoder = encodes(asked->graph);
  TD_TRY(td_device_params_open(asked->head.device, &asked->params));
  const struct td_lpu_machine *machine = td_lpu_machine_of(asked->params);
  if (!machine) {
    return td_fail(TD_CONFIG, "device %s: found kind %s, expected lpu", asked->head.device,
                   td_device_kind_name(asked->params->kind));
  }
  if (!asked->block_tokens) asked->block_tokens = machine->lanes / machine->load_vectors * machine->load_vectors;
  return TD_OK;
}

static int64_t largest(const struct price_list *list) {
  int64_t most = list->items[0];
  for (int32_t i = 1; i < list->count; i++) most = list->items[i] > most ? list->items[i] : most;
  return most;
}

/* Of an encoder a step is one sequence, padded to the program's rows. */
static td_status make_encoder_options(struct asked *asked) {
  const struct price_head *head = &asked->head;
  struct td_lpu_choice choice = asked->choice;
  int64_t longest = largest(&head->contexts);
  if (head->draft || largest(&head->batches) > 1) {
    return td_fail(TD_USAGE, "price: found %s of an encoder, expected one sequence a step: its tokens are the rows",
                   head->draft ? "--draft" : "a batch of several");
  }
  if (choice.rows < longest && asked->from_config) {
    return td_fail(TD_USAGE, "price: found a context of %" PRId64 " tokens, expected at most the %d of lpu.rows",
                   longest, choice.rows);
  }
  if (!asked->from_config && !choice.rows) choice.rows = (int32_t)((longest + 63) / 64 * 64);
  asked->head.options = td_lpu_choice_options(&choice, &asked->graph->shape, asked->block_tokens, 1);
  return TD_OK;
}

/* The program that holds all that is asked: rows and context as the pool or the largest of the lists; a KV cache for
 * every batch in flight at the longest context. */
static td_status make_options(struct asked *asked) {
  const struct price_head *head = &asked->head;
  if (head->encoder) return make_encoder_options(asked);
  int64_t batch = largest(&head->batches), context = largest(&head->contexts) + head->draft;
  int64_t rows = batch * (head->draft + 1), blocks = (context + asked->block_tokens - 1) / asked->block_tokens;
  struct td_lpu_choice choice = asked->choice;
  if (!choice.rows) choice.rows = rows < 512 ? (int32_t)rows : 512;
  if (!choice.context) choice.context = (int32_t)context;
  if (rows > choice.rows) {
    return td_fail(TD_USAGE, "price: found a pass of %" PRId64 " rows, expected at most the %d of lpu.rows", rows,
                   choice.rows);
  }
  if (context > choice.context) {
    return td_fail(TD_USAGE, "price: found a context of %" PRId64 " tokens, expected at most the %d of lpu.context",
                   context, choice.context);
  }
  blocks *= batch * largest(&head->in_flight);
  asked->head.options = td_lpu_choice_options(&choice, &asked->graph->shape, asked->block_tokens,
                                              blocks < INT32_MAX ? (int32_t)blocks : INT32_MAX);
  asked->head.options.context = choice.context;
  return TD_OK;
}

static td_status compile(struct asked *asked) {
  const struct td_slice whole = td_slice_whole(asked->graph);
  td_lpu_price_close(asked->price);
  asked->price = NULL;
  TD_TRY(make_options(asked));
  TD_TRY(td_lpu_price_compile(td_lpu_machine_of(asked->params), asked->graph, &whole, &asked->head.options,
                              &asked->price));
  asked->head.facts = td_lpu_price_facts(asked->price);
  return TD_OK;
}

/* ---- rows ---- */

static int64_t blocks_of(const struct td_lpu_price_facts *facts, int64_t batch, int64_t context, int32_t rows) {
  int64_t blocks = 0, tokens = facts->block_tokens;
  for (int32_t i = 0; i < rows && tokens; i++) blocks += (context + i + tokens - 1) / tokens;
  return blocks * batch;
}

/* A pass of `rows` rows of each of `batch` sequences, the first with `context` tokens. */
static td_status price_pass(const struct asked *asked, int64_t batch, int64_t context, int32_t rows, double tokens,
                            struct price_pass *out) {
  const struct price_list *in_flight = &asked->head.in_flight;
  out->rows = asked->head.encoder ? (int32_t)context : (int32_t)(batch * rows);
  TD_TRY(td_lpu_price_pass(asked->price, out->rows, blocks_of(&asked->head.facts, batch, context, rows), &out->cost));
  for (int32_t i = 0; i < in_flight->count; i++) {
    struct td_lpu_flow *flow = &out->flows[i];
    TD_TRY(td_lpu_flow(asked->price, &out->cost, (int32_t)batch, (int32_t)in_flight->items[i], flow));
    flow->tokens_per_second *= tokens;
    flow->user_tokens_per_second *= tokens;
    flow->joules_per_token /= tokens;
  }
  return TD_OK;
}

static td_status find_interval(const struct asked *asked, struct price_row *row) {
  row->seconds_low = row->seconds_high = (double)row->step.cost.cycles / asked->head.facts.clock_hz;
  row->joules_low = row->joules_high = row->step.cost.energy_j;
  for (int i = 0; i < 2; i++) {
    const struct td_lpu_price *price = asked->head.ends[i].price;
    struct td_lpu_cost cost;
    if (!price) continue;
    int64_t blocks = blocks_of(&asked->head.facts, row->batch, row->context, 1);
    TD_TRY(td_lpu_price_pass(price, row->step.rows, blocks, &cost));
    double seconds = (double)cost.cycles / td_lpu_price_facts(price).clock_hz;
    row->seconds_low = fmin(row->seconds_low, seconds);
    row->seconds_high = fmax(row->seconds_high, seconds);
    row->joules_low = fmin(row->joules_low, cost.energy_j);
    row->joules_high = fmax(row->joules_high, cost.energy_j);
  }
  return TD_OK;
}

static td_status price_row(const struct asked *asked, int64_t batch, int64_t context, struct price_row *out) {
  const struct price_head *head = &asked->head;
  *out = (struct price_row){.batch = batch, .context = context, .valid_steps = 1};
  TD_TRY(price_pass(asked, batch, context, 1, 1.0, &out->step));
  out->full = td_lpu_flow_full(asked->price, &out->step.cost);
  if (head->facts.block_tokens) out->valid_steps = head->facts.block_tokens - (context - 1) % head->facts.block_tokens;
  if (head->draft) TD_TRY(price_pass(asked, batch, context, head->draft + 1, head->tokens_a_pass, &out->verify));
  return find_interval(asked, out);
}

static td_status price_rows(const struct asked *asked, struct price_row *rows) {
  const struct price_head *head = &asked->head;
  for (int32_t b = 0; b < head->batches.count; b++) {
    for (int32_t c = 0; c < head->contexts.count; c++) {
      TD_TRY(price_row(asked, head->batches.items[b], head->contexts.items[c], rows++));
    }
  }
  return TD_OK;
}

/* As many batches as fill the pipeline, whatever the row; then the KV cache is theirs. */
static td_status fill(struct asked *asked, struct price_row *rows) {
  int32_t count = asked->head.batches.count * asked->head.contexts.count, full = 1;
  TD_TRY(price_rows(asked, rows));
  for (int32_t i = 0; i < count; i++) full = rows[i].full > full ? rows[i].full : full;
  if (full == 1) return TD_OK;
  asked->head.in_flight = (struct price_list){.items = {1, full}, .count = 2};
  return compile(asked);
}

/* ---- ranges ---- */

/* On as many chips, grouped alike: machines are compared, not systems. */
static td_status ask_ends(struct asked *asked) {
  struct td_lpu_question question = {asked->params, asked->graph, td_slice_whole(asked->graph), asked->head.options};
  question.options.chips = asked->head.facts.chips;
  question.options.tensor = asked->head.facts.tensor;
  TD_TRY(td_lpu_price_end(&question, TD_LPU_FAST, &asked->head.ends[TD_LPU_FAST]));
  return td_lpu_price_end(&question, TD_LPU_SLOW, &asked->head.ends[TD_LPU_SLOW]);
}

/* Of the last row. */
static td_status ask_each(struct asked *asked, const struct price_row *row) {
  struct lpu_question question = {.params = asked->params,
                                  .graph = asked->graph,
                                  .slice = td_slice_whole(asked->graph),
                                  .options = asked->head.options,
                                  .rows = row->step.rows,
                                  .position = asked->head.encoder ? 0 : (int32_t)row->context - 1};
  question.options.chips = asked->head.facts.chips;
  question.options.tensor = asked->head.facts.tensor;
  asked->head.sensitivity = &asked->sensitivity;
  return lpu_sensitivity_open(&question, row->step.cost.cycles, &asked->sensitivity);
}

static td_status ask(const struct price_lpu_options *options, struct asked *asked, struct price_row *rows) {
  int32_t count = asked->head.batches.count * asked->head.contexts.count;
  TD_TRY(compile(asked));
  if (asked->fills) TD_TRY(fill(asked, rows));
  if (options->ranges) TD_TRY(ask_ends(asked));
  TD_TRY(price_rows(asked, rows));
  if (options->sensitivity) TD_TRY(ask_each(asked, &rows[count - 1]));
  if (options->json) {
    price_lpu_json(&asked->head, rows, count, stdout);
  } else {
    price_lpu_print(&asked->head, rows, count, stdout);
  }
  return TD_OK;
}

td_status price_lpu_steps(const struct price_lpu_options *options) {
  struct asked *asked = NULL;
  struct price_row *rows = NULL;
  TD_TRY(td_alloc(1, sizeof *asked, (void **)&asked));
  td_status status = read_numbers(options, asked);
  if (!status) status = open_all(options, asked);
  size_t count = (size_t)asked->head.batches.count * (size_t)asked->head.contexts.count;
  if (!status) status = td_alloc(count, sizeof *rows, (void **)&rows);
  if (!status) status = ask(options, asked, rows);
  close_asked(asked);
  free(rows);
  free(asked);
  return status;
}
