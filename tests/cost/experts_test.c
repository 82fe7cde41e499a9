/* SPDX-License-Identifier: Apache-2.0
 *
 * Experts that replicas share: whose tokens they take, what crosses the link, and that a pricer says what
 * td_price_roofline says.
 */
#include <math.h>

#include "../support.h"
#include "tandem/base.h"
#include "tandem/cost.h"

#define H100 "devices/h100_sxm.cfg"
#define LINK "devices/nvlink4.cfg"

static struct td_graph *graph_of(const char *name) {
  char path[128];
  struct td_model *model;
  struct td_graph *graph;
  snprintf(path, sizeof path, "experiments/models/%s.cfg", name);
  if (td_model_open(test_source(path), &model) || td_graph_build(model, &graph)) fail_msg("%s", td_error_text());
  td_model_close(model);
  return graph;
}

static struct td_device_params *open_file(const char *file) {
  struct td_device_params *params;
  if (td_device_params_open(test_source(file), &params)) fail_msg("%s", td_error_text());
  return params;
}

static struct td_device_params *chips(int32_t tensor, int32_t replicas, const struct td_device_params *link) {
  struct td_device_params *params = open_file(H100);
  const struct td_serving serving = {.tensor = tensor,
                                     .expert_tensor = 1,
                                     .expert = tensor * replicas,
                                     .replicas = replicas,
                                     .exchange = replicas > 1,
                                     .expert_link = link,
                                     .guesses = true};
  if (td_device_join(params, &serving)) fail_msg("%s", td_error_text());
  return params;
}

static struct td_step_stats batch(const struct td_graph *graph, int64_t count, int64_t past, int64_t tokens) {
  struct td_step_stats stats = {0};
  for (int64_t i = 0; i < count; i++) td_step_stats_add(&stats, &graph->shape, past, tokens, 1);
  return stats;
}

static int64_t price_ps(const struct td_device_params *device, const struct td_graph *graph,
                        const struct td_step_stats *stats) {
  const struct td_slice whole = td_slice_whole(graph);
  struct td_pricer *pricer;
  struct td_price price, again;
  if (td_price_roofline(device, graph, &whole, TD_BF16, stats, &price)) fail_msg("%s", td_error_text());
  if (td_pricer_open(device, graph, &whole, TD_BF16, &pricer)) fail_msg("%s", td_error_text());
  for (int i = 0; i < 2; i++) {
    if (td_pricer_step(pricer, stats, &again)) fail_msg("%s", td_error_text());
    assert_memory_equal(&again, &price, sizeof price);
  }
  td_pricer_close(pricer);
  return price.base_ps;
}

/* A link of half the rate takes as much longer as the bytes say: those of one chip, there and back, in each layer. */
static void bytes_cross_the_link(void **state) {
  (void)state;
  static const struct {
    const char *model;
    int32_t tensor, replicas;
    int64_t layers, hidden, used;
  } cases[] = {{"mixtral-8x7b", 1, 8, 32, 4096, 2},
               {"mixtral-8x7b", 2, 4, 32, 4096, 2},
               {"minimax-m2.5", 1, 32, 62, 3072, 8},
               {"deepseek-v3", 8, 4, 58, 7168, 8}};
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_graph *graph = graph_of(cases[i].model);
    struct td_device_params *link = open_file(LINK), *device = chips(cases[i].tensor, cases[i].replicas, link);
    struct td_step_stats stats = batch(graph, 64, 1000, 1);
    double rate = link->link_bandwidth.value;
    int64_t fast = price_ps(device, graph, &stats);
    link->link_bandwidth.value = rate / 2;
    int64_t slow = price_ps(device, graph, &stats), all = cases[i].tensor * cases[i].replicas;
    double bytes = 64.0 / cases[i].tensor * (double)(cases[i].used * cases[i].hidden * 2 * (all - 1)) / (double)all;
    double want = 2 * (double)cases[i].layers * bytes / rate * 1e12;
    printf("%s: %.3f us more, by hand %.3f us\n", cases[i].model, (double)(slow - fast) * 1e-6, want * 1e-6);
    assert_true(fabs((double)(slow - fast) / want - 1) < 1e-3);
    td_device_params_close(device);
    td_device_params_close(link);
    td_graph_free(graph);
  }
}

/* Fewer tokens in all than as many from each replica: experts and nothing else takes less time. */
static void all_tokens_are_those_of_all(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("minimax-m2.5");
  struct td_device_params *device = chips(1, 8, NULL);
  struct td_step_stats stats = batch(graph, 1, 0, 4096);
  int64_t alike = price_ps(device, graph, &stats);
  stats.v[TD_SYM_ALL_TOKENS] = 8 * 4096;
  assert_int_equal(price_ps(device, graph, &stats), alike);
  stats.v[TD_SYM_ALL_TOKENS] = 4096;
  assert_true(price_ps(device, graph, &stats) < alike);
  td_device_params_close(device);
  td_graph_free(graph);
}

/* Within one group of chips tokens are everywhere already: the sum over them is all there is. */
static void one_group_sends_nothing(void **state) {
  (void)state;
  struct td_graph *graph = graph_of("mixtral-8x7b");
  struct td_device_params *device = chips(8, 1, NULL);
  struct td_step_stats stats = batch(graph, 64, 1000, 1);
  int64_t own = price_ps(device, graph, &stats);
  device->serving.exchange = true;
  assert_true(price_ps(device, graph, &stats) != own);
  td_device_params_close(device);
  td_graph_free(graph);
}

static void chips_add_up(void **state) {
  (void)state;
  struct td_device_params *one = open_file(H100), *all = chips(2, 4, NULL);
  assert_true(fabs(all->memory_bytes.value / one->memory_bytes.value - 8) < 1e-12);
  assert_true(fabs(all->power_busy.value / one->power_busy.value - 8) < 1e-12);
  td_device_params_close(one);
  td_device_params_close(all);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(bytes_cross_the_link),
                                     cmocka_unit_test(all_tokens_are_those_of_all),
                                     cmocka_unit_test(one_group_sends_nothing), cmocka_unit_test(chips_add_up)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
