/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast a pricer is on one core, on eight chips as one device: by hand, not a test.
 *
 *   pricer_speed [DEVICE [MODEL]]     default: h100_sxm llama-2-70b
 */
#include <inttypes.h>
#include <math.h>
#include <time.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/cost.h"

#define STEPS 16384
#define ROUNDS 20

static void must(td_status status) {
  if (!status) return;
  fprintf(stderr, "pricer_speed: %s\n", td_error_text());
  exit(1);
}

/* Of this process, so that others on the machine do not count. */
static double cpu_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* What a workload's steps are like; `draw` is any number. */
static struct td_step_stats decode_step(const struct td_shape *shape, uint64_t draw) {
  struct td_step_stats stats = {0};
  int64_t seqs = 1 + (int64_t)(draw % 64);
  td_step_stats_add(&stats, shape, 100 + (int64_t)(draw >> 8) % 4000, 1, 1);
  for (int s = TD_SYM_TOKENS; s <= TD_SYM_FULL_PAIRS; s++) stats.v[s] *= seqs;
  return stats;
}

static struct td_step_stats prompt_step(const struct td_shape *shape, uint64_t draw) {
  struct td_step_stats stats = {0};
  td_step_stats_add(&stats, shape, 0, 1 + (int64_t)(draw % 8192), 1);
  return stats;
}

static struct td_step_stats mixed_step(const struct td_shape *shape, uint64_t draw) {
  struct td_step_stats stats = decode_step(shape, draw >> 16);
  td_step_stats_add(&stats, shape, 0, 1 + (int64_t)(draw % 8192), 1);
  return stats;
}

/* The second chunk of a long prompt. */
static struct td_step_stats chunk_step(const struct td_shape *shape, uint64_t draw) {
  struct td_step_stats stats = decode_step(shape, draw >> 16);
  td_step_stats_add(&stats, shape, 1024, 1 + (int64_t)(draw % 1024), 1);
  return stats;
}

struct priced {
  const struct td_device_params *device;
  const struct td_graph *graph;
  struct td_slice slice;
  struct td_pricer *pricer;
  struct td_step_stats *stats;
};

/* Nanoseconds a step; pricer NULL: each by itself. */
static double round_of(const struct priced *priced, struct td_pricer *pricer, int64_t count, int64_t *sum) {
  struct td_price price;
  double start = cpu_seconds();
  for (int64_t i = 0; i < count; i++) {
    const struct td_step_stats *stats = &priced->stats[i];
    must(pricer ? td_pricer_step(pricer, stats, &price)
                : td_price_roofline(priced->device, priced->graph, &priced->slice, TD_BF16, stats, &price));
    *sum += price.base_ps;
  }
  return (cpu_seconds() - start) / (double)count * 1e9;
}

/* Steps drawn beforehand: the first time what is remembered is still missing. */
static void speed(const struct priced *priced, const char *what,
                  struct td_step_stats (*step)(const struct td_shape *, uint64_t)) {
  double best = INFINITY, mean = 0;
  int64_t sum = 0;
  for (int64_t i = 0; i < STEPS; i++) priced->stats[i] = step(&priced->graph->shape, td_random(1, 2, (uint64_t)i) >> 8);
  double alone = round_of(priced, NULL, STEPS / 50, &sum);
  double first = round_of(priced, priced->pricer, STEPS, &sum);
  for (int i = 0; i < ROUNDS; i++) {
    double again = round_of(priced, priced->pricer, STEPS, &sum);
    best = fmin(best, again);
    mean += again / ROUNDS;
  }
  printf("%-28s %8.1f ns first, then %8.1f mean, %8.1f best; %8.0f by itself (check %" PRId64 ")\n", what, first, mean,
         best, alone, sum % 1000);
}

/* Of prompts: when the first layer and the last are done. */
static void milestones_speed(const struct priced *priced) {
  double best = INFINITY;
  int64_t done[2], sum = 0;
  int32_t layers = priced->graph->shape.layers;
  const int32_t ends[2] = {0, layers - 1};
  for (int64_t i = 0; i < STEPS; i++) {
    priced->stats[i] = prompt_step(&priced->graph->shape, td_random(1, 2, (uint64_t)i) >> 8);
  }
  for (int round = 0; round < ROUNDS; round++) {
    double start = cpu_seconds();
    for (int64_t i = 0; i < STEPS; i++) {
      must(td_pricer_layer_ends(priced->pricer, &priced->stats[i], ends, done));
      sum += done[1];
    }
    best = fmin(best, (cpu_seconds() - start) / STEPS * 1e9);
  }
  printf("%-28s %8.1f ns best, of %" PRId32 " layers (check %" PRId64 ")\n", "milestones of prompts", best, layers,
         sum % 1000);
}

int main(int argc, char **argv) {
  const struct td_serving serving = {.tensor = 8, .expert_tensor = 8, .guesses = true};
  struct td_device_params *device;
  struct td_model *model;
  struct td_graph *graph;
  char path[256];
  snprintf(path, sizeof path, "experiments/models/%.100s.cfg", argc > 2 ? argv[2] : "llama-2-70b");
  must(td_device_params_open(argc > 1 ? argv[1] : "h100_sxm", &device));
  must(td_device_join(device, &serving));
  must(td_model_open(test_source(path), &model));
  must(td_graph_build(model, &graph));
  struct priced priced = {.device = device, .graph = graph, .slice = td_slice_whole(graph)};
  must(td_alloc(STEPS, sizeof *priced.stats, (void **)&priced.stats));
  must(td_pricer_open(device, graph, &priced.slice, TD_BF16, &priced.pricer));
  speed(&priced, "1..64 decode", decode_step);
  speed(&priced, "prompts up to 8192", prompt_step);
  speed(&priced, "a prompt beside 1..64 decode", mixed_step);
  speed(&priced, "a chunk beside 1..64 decode", chunk_step);
  milestones_speed(&priced);
  td_pricer_close(priced.pricer);
  free(priced.stats);
  td_graph_free(graph);
  td_model_close(model);
  td_device_params_close(device);
  return 0;
}
