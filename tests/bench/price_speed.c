/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast operators and steps are priced on one core: by hand, not a test.
 *
 *   price_speed DEVICE     a device file with a bfloat16 fit of gemm (tandem calibrate), else its guesses
 */
#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/operators.h"

#define PRICES 20000000
#define STEPS 2000
#define FIRSTS 21
#define SEQS 32

static void must(td_status status) {
  if (!status) return;
  fprintf(stderr, "price_speed: %s\n", td_error_text());
  exit(1);
}

/* Of this process, so that others on the machine do not count. */
static double cpu_seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static void curve_speed(struct td_op_curve *curve, const char *what, int64_t count, int64_t range) {
  int64_t sum = 0;
  double start = cpu_seconds();
  for (int64_t i = 0; i < count; i++)
    sum += td_op_curve_ps(curve, 1 + (int64_t)(td_random(1, 2, (uint64_t)i) % (uint64_t)range));
  double seconds = cpu_seconds() - start;
  printf("%-44s %8.2f million prices/s (check %" PRId64 ")\n", what, (double)count / seconds / 1e6, sum % 1000);
}

/* For half a second: with a residual table each price takes thousands of times as long as without. */
static void model_speed(const struct td_device_params *device) {
  struct td_op_price price;
  double sum = 0, start = cpu_seconds(), seconds = 0;
  int64_t count = 0;
  while (seconds < 0.5) {
    for (int64_t i = 0; i < 4096; i++, count++) {
      const struct td_op_shape shape = {{8192, 8192, 1 + i}};
      must(td_op_price(device, TD_GEMM, "bfloat16", &shape, &price));
      sum += price.seconds;
    }
    seconds = cpu_seconds() - start;
  }
  printf("%-44s %8.3f million prices/s (mean %.3f us)\n", "single prices (td_op_price), up to 4096 tokens",
         (double)count / seconds / 1e6, sum / (double)count * 1e6);
}

struct served {
  struct td_device_params *device;
  struct td_model *model;
  struct td_graph *graph;
  struct td_slice whole;
};

static struct served serve(const char *device, const char *shape) {
  struct served served;
  must(td_device_params_open(device, &served.device));
  must(td_model_open(test_source(shape), &served.model));
  must(td_graph_build(served.model, &served.graph));
  served.whole = td_slice_whole(served.graph);
  return served;
}

static void stop(struct served *served) {
  td_graph_free(served->graph);
  td_model_close(served->model);
  td_device_params_close(served->device);
}

static struct td_step_stats decode_step(const struct td_graph *graph, int64_t past) {
  struct td_step_stats stats = {0};
  for (int64_t s = 0; s < SEQS; s++) td_step_stats_add(&stats, &graph->shape, past + s, 1, 1);
  return stats;
}

static double step_seconds(const struct served *served, int64_t past, struct td_price *out_price) {
  const struct td_step_stats stats = decode_step(served->graph, past);
  double start = cpu_seconds();
  must(td_price_roofline(served->device, served->graph, &served->whole, TD_BF16, &stats, out_price));
  return cpu_seconds() - start;
}

static int longer(const void *a, const void *b) {
  const double *x = a, *y = b;
  return (*x > *y) - (*x < *y);
}

/* The first step of a device and a model that were just opened, the median of several; and of the steps after it, each
 * with nothing remembered but the operators' curves. */
static void step_speed(const char *device, const char *shape) {
  struct td_price price = {.base_ps = 0};
  double firsts[FIRSTS], all = 0;
  for (int32_t i = 0; i < FIRSTS; i++) {
    struct served served = serve(device, shape);
    firsts[i] = step_seconds(&served, 1000, &price);
    if (i == FIRSTS - 1) {
      for (int64_t step = 1; step <= STEPS; step++) all += step_seconds(&served, 1000 + step, &price);
    }
    stop(&served);
  }
  qsort(firsts, FIRSTS, sizeof *firsts, longer);
  printf("%-44s %8.1f us first of a device, %.1f us mean; holds for %" PRId64 " steps\n", shape,
         firsts[FIRSTS / 2] * 1e6, all / STEPS * 1e6, price.valid_steps);
}

/* Decode steps in which only the contexts grow: a price where the last one ends, and sums between. */
static void growing_speed(const struct served *served, const char *shape, struct td_pricer *pricer) {
  const struct td_step_stats stats = decode_step(served->graph, 1000);
  struct td_price price = {.base_ps = 0};
  int64_t clock = 0, steps = 0, prices = 0;
  double start = cpu_seconds();
  for (int32_t round = 0; round < 100; round++) {
    struct td_step_stats now = stats;
    for (int64_t left = 8192; left > 0; prices++) {
      must(pricer ? td_pricer_step(pricer, &now, &price)
                  : td_price_roofline(served->device, served->graph, &served->whole, TD_BF16, &now, &price));
      int64_t count = price.valid_steps < left ? price.valid_steps : left;
      for (int64_t i = 0; i < count; i++) clock += price.base_ps + i * price.slope_ps;
      for (int s = TD_SYM_CONTEXT; s <= TD_SYM_FULL_PAIRS; s++) now.v[s] += SEQS * count;
      left -= count;
      steps += count;
    }
  }
  double seconds = cpu_seconds() - start;
  printf("%-44s %8.2f ns a step while contexts grow, 1000 to 9192, %s; %.0f steps a price (check %" PRId64 ")\n", shape,
         seconds / (double)steps * 1e9, pricer ? "with a pricer" : "from scratch", (double)steps / (double)prices,
         clock % 1000);
}

static void growing_speeds(const char *device, const char *shape) {
  struct served served = serve(device, shape);
  struct td_price price;
  struct td_pricer *pricer;
  must(td_pricer_open(served.device, served.graph, &served.whole, TD_BF16, &pricer));
  step_seconds(&served, 1000, &price); /* its curves are made */
  growing_speed(&served, shape, NULL);
  growing_speed(&served, shape, pricer);
  td_pricer_close(pricer);
  stop(&served);
}

int main(int argc, char **argv) {
  struct td_device_params *device;
  struct td_op_curve *curve;
  const struct td_op_shape family = {{8192, 8192}};
  const char *name = argc > 1 ? argv[1] : "h100_sxm";
  must(td_device_params_open(name, &device));
  must(td_op_curve_open(device, TD_GEMM, "bfloat16", &family, &curve));
  curve_speed(curve, "gemm, batches up to 512 tokens", PRICES, 512);
  curve_speed(curve, "gemm, any of a million sizes", PRICES / 20, 1000000);
  model_speed(device);
  step_speed(name, "experiments/models/llama-3.1-8b.cfg");
  step_speed(name, "experiments/models/llama-3.1-70b.cfg");
  growing_speeds(name, "experiments/models/llama-3.1-8b.cfg");
  growing_speeds(name, "experiments/models/llama-3.1-70b.cfg");
  td_op_curve_close(curve);
  td_device_params_close(device);
  return 0;
}
