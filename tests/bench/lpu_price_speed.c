/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a further (batch, context) of a compiled LPU program is priced: by hand, not a test.
 *
 *   lpu_price_speed MODEL [DEVICE [CHIPS [ROWS]]]     a model or shape file; default: the tests' tiny llama on four
 */
#include <inttypes.h>
#include <time.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/lpu_price.h"

#define PRICES 10000000
#define STEPS 2000000

static void must(td_status status) {
  if (!status) return;
  fprintf(stderr, "lpu_price_speed: %s\n", td_error_text());
  exit(1);
}

/* Of this process, so that others on the machine do not count. */
static double cpu_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void pass_speed(const struct td_lpu_price *price, int32_t context) {
  struct td_lpu_price_facts facts = td_lpu_price_facts(price);
  struct td_lpu_cost cost;
  int64_t sum = 0;
  double start = cpu_seconds();
  for (int32_t i = 0; i < PRICES; i++) {
    must(td_lpu_price_context(price, 1 + i % facts.rows, 1 + i % context, &cost));
    sum += cost.cycles + cost.spent[TD_SPENT_WAIT];
  }
  double seconds = cpu_seconds() - start;
  printf("a pass, its breakdown and joules  %8.1f ns/call (check %" PRId64 ")\n", seconds / PRICES * 1e9, sum % 1000);
}

static void step_speed(const struct td_lpu_price *price, const struct td_graph *graph, int32_t context) {
  struct td_lpu_price_facts facts = td_lpu_price_facts(price);
  struct td_step_stats stats = {{[TD_SYM_TILE] = facts.block_tokens}};
  struct td_price out;
  int64_t sum = 0;
  for (int32_t i = 0; i < facts.rows; i++) td_step_stats_add(&stats, &graph->shape, i % context, 1, 1);
  double start = cpu_seconds();
  for (int32_t i = 0; i < STEPS; i++) {
    stats.v[TD_SYM_TILES] += i % 2;
    must(td_lpu_price_stats(price, &stats, NULL, &out));
    sum += out.base_ps;
  }
  double seconds = cpu_seconds() - start;
  printf("a step of the engine              %8.1f ns/call (check %" PRId64 ")\n", seconds / STEPS * 1e9, sum % 1000);
}

int main(int argc, char **argv) {
  struct td_device_params *device;
  struct td_model *model;
  struct td_graph *graph;
  struct td_lpu_program *program;
  struct td_lpu_price *price;
  must(td_device_params_open(argc > 2 ? argv[2] : "groq-lpu-v1", &device));
  must(td_model_open(argc > 1 ? argv[1] : test_source("tests/data/tiny/llama.gguf"), &model));
  must(td_graph_build(model, &graph));
  const struct td_slice whole = td_slice_whole(graph);
  const struct td_lpu_choice choice = {.weights = TD_LPU_WEIGHTS_I8,
                                       .chips = argc > 3 ? atoi(argv[3]) : 4,
                                       .rows = argc > 4 ? atoi(argv[4]) : 4,
                                       .context = graph->shape.context < 2048 ? graph->shape.context : 2048};
  const struct td_lpu_options options = td_lpu_choice_options(&choice, &graph->shape, 320, 0);
  double start = cpu_seconds();
  must(td_lpu_compile(td_lpu_machine_of(device), graph, &whole, NULL, &options, &program));
  printf("compiled in %.2f s, ", cpu_seconds() - start);
  start = cpu_seconds();
  must(td_lpu_price_open(program, graph, &price));
  td_lpu_program_free(program);
  printf("table in %.3f s: %d chips, %d stages\n", cpu_seconds() - start, td_lpu_price_facts(price).chips,
         td_lpu_price_facts(price).stages);
  pass_speed(price, options.context);
  step_speed(price, graph, options.context);
  td_lpu_price_close(price);
  td_graph_free(graph);
  td_model_close(model);
  td_device_params_close(device);
  return 0;
}
