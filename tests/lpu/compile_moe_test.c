/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers with experts: attention is the reference's, the layer's experts are the program's, between whose entries the
 * test routes as a host does. Bit for bit what the reference's experts make, summed in the documented order; and as
 * many cycles as counted.
 */
#include <stdlib.h>
#include <string.h>

#include "lpu/course.h"
#include "lpu/decoder.h"
#include "lpu/reference.h"
#include "tandem/lpu_host.h"
#include "tandem/lpu_moe.h"

#define TINY(name) TANDEM_SOURCE_DIR "/tests/data/tiny/" name ".gguf"
#define MOST_PARTS 4

/* How a layer's experts are dealt, and tokens taken. */
struct layout {
  int32_t parts, chips, tensor, rows, tokens, expert_rows, routed;
  const char *device; /* NULL: groq-lpu-v1 */
};

struct rig {
  struct td_device_params *params;
  struct td_model *model;
  struct td_graph *graph;
  const void **weights;
  struct lpu_reference *reference;
  struct layout layout;
  int32_t hidden, experts, used;
  struct {
    struct td_lpu_program *program;
    struct td_lpu_system *system;
    struct td_lpu_host *host;
    int32_t first, experts;
  } part[MOST_PARTS];
  const char *mode;
};

static void open_part(struct rig *rig, const struct lpu_mode *mode, int32_t part) {
  const struct layout *layout = &rig->layout;
  const struct td_slice slice = {0, rig->graph->shape.layers, TD_PART_FFN};
  struct td_lpu_options options = {.weights = mode->weights,
                                   .activations = mode->activations,
                                   .chips = layout->chips,
                                   .tensor = layout->tensor,
                                   .rows = layout->rows,
                                   .expert_parts = layout->parts,
                                   .expert_part = part,
                                   .expert_rows = layout->expert_rows,
                                   .expert_routed = layout->routed};
  struct td_lpu_program **program = &rig->part[part].program;
  struct td_lpu_machine machine = *td_lpu_machine_of(rig->params);
  machine.fp8 |= mode->weights == TD_LPU_WEIGHTS_F8; /* as if */
  assert_ok(td_lpu_compile(&machine, rig->graph, &slice, rig->weights, &options, program));
  assert_ok(td_lpu_system_open(*program, &rig->part[part].system));
  assert_ok(td_lpu_host_open(*program, "cpu", &rig->part[part].host));
  rig->part[part].first = rig->experts * part / layout->parts;
  rig->part[part].experts = rig->experts * (part + 1) / layout->parts - rig->part[part].first;
}

static void open_rig(struct rig *rig, const char *model, const struct lpu_mode *mode, struct layout layout) {
  struct lpu_reference_options numbers = lpu_reference_options(mode->weights, mode->activations, 32);
  numbers.block_tokens = 16;
  *rig = (struct rig){.layout = layout, .mode = mode->name};
  assert_ok(td_device_params_open(layout.device ? layout.device : "groq-lpu-v1", &rig->params));
  const struct td_lpu_machine *machine = td_lpu_machine_of(rig->params);
  numbers.lanes = machine->lanes;
  numbers.lanes_per_superlane = machine->lanes_per_superlane;
  numbers.plane_k = machine->plane_k;
  assert_ok(td_model_open(model, &rig->model));
  assert_ok(td_graph_build(rig->model, &rig->graph));
  assert_ok(td_lpu_model_weights(rig->model, rig->graph, &rig->weights));
  assert_ok(lpu_reference_open(rig->model, &numbers, &rig->reference));
  rig->hidden = rig->graph->shape.hidden;
  rig->experts = rig->graph->shape.experts;
  rig->used = rig->graph->shape.experts_used;
  for (int32_t part = 0; part < layout.parts; part++) open_part(rig, mode, part);
}

static void close_rig(struct rig *rig) {
  for (int32_t part = 0; part < rig->layout.parts; part++) {
    td_lpu_host_close(rig->part[part].host);
    td_lpu_system_close(rig->part[part].system);
    td_lpu_program_free(rig->part[part].program);
  }
  lpu_reference_close(rig->reference);
  free(rig->weights);
  td_graph_free(rig->graph);
  td_model_close(rig->model);
  td_device_params_close(rig->params);
}

static float *value_of(const struct rig *rig, int32_t layer, const char *what) {
  char name[TD_NAME_BYTES];
  snprintf(name, sizeof name, "layers.%d.%s", layer, what);
  float *value = lpu_reference_value(rig->reference, name);
  if (!value) fail_msg("no value %s", name);
  return value;
}

/* Both ways of emulating; the cycles that it took. */
static int64_t run_entry(struct rig *rig, int32_t part, int32_t entry, const struct td_lpu_step *step) {
  struct td_lpu_program *program = rig->part[part].program;
  struct td_lpu_violation violation;
  struct td_lpu_counts counts, fast;
  assert_true(entry >= 0);
  assert_ok(td_lpu_check(program, entry, step, &violation));
  if (violation.found) fail_msg("%s", violation.text);
  assert_ok(td_lpu_execute(rig->part[part].system, entry, step, &counts));
  assert_ok(td_lpu_host_run(rig->part[part].host, entry, step, &fast));
  assert_int_equal(counts.cycles, td_lpu_program_cycles(program, entry, step));
  assert_int_equal(counts.cycles, fast.cycles);
  return counts.cycles;
}

static void write_row(struct rig *rig, int32_t part, const char *image, int32_t row, const float *elements) {
  assert_ok(td_lpu_image_write(rig->part[part].system, image, row, elements));
  assert_ok(td_lpu_host_image_write(rig->part[part].host, image, row, elements));
}

static void read_row(struct rig *rig, int32_t part, const char *image, int32_t row, float *elements, int32_t count) {
  float *fast = calloc((size_t)count, sizeof *fast);
  assert_non_null(fast);
  assert_ok(td_lpu_image_read(rig->part[part].system, image, row, elements));
  assert_ok(td_lpu_host_image_read(rig->part[part].host, image, row, fast));
  lpu_assert_same_bits(fast, elements, count, "on cpu", row, part);
  free(fast);
}

/* Logits as the reference's, ids and gates as its router's. */
static void check_routes(struct rig *rig, int32_t part, int32_t layer, int32_t entry, int32_t *ids, float *gates) {
  const char *image = td_moe_routes(rig->part[part].program, entry);
  float logits[256];
  const float *expected = value_of(rig, layer, "ffn.router_logits"), *routes = value_of(rig, layer, "ffn.router");
  for (int32_t t = 0; t < rig->layout.tokens; t++) {
    read_row(rig, part, image, t, logits, rig->experts);
    lpu_assert_same_bits(logits, expected + t * rig->experts, rig->experts, rig->mode, t, layer);
    td_moe_choose(logits, rig->experts, rig->used, ids + t * rig->used, gates + t * rig->used);
    for (int32_t s = 0; s < rig->used; s++) {
      assert_int_equal(ids[t * rig->used + s], (int32_t)routes[2 * t * rig->used + s]);
      assert_float_equal(gates[t * rig->used + s], routes[(2 * t + 1) * rig->used + s], 0.0F);
    }
  }
}

static int64_t run_plan(struct rig *rig, int32_t part, const struct td_moe_plan *plan) {
  int64_t cycles = 0;
  float lanes[TD_LPU_MOST_LANES];
  for (int32_t i = 0; i < plan->call_count; i++) {
    const struct td_moe_call *call = &plan->calls[i];
    for (int32_t place = 0; place < call->gate_count; place++) {
      for (int32_t lane = 0; lane < TD_LPU_MOST_LANES; lane++) lanes[lane] = call->gates[place];
      write_row(rig, part, "gates", place, lanes);
    }
    cycles += run_entry(rig, part, call->entry, &call->step);
  }
  return cycles;
}

static struct td_moe_work work_of(const struct rig *rig, int32_t part, int32_t layer, const int32_t *ids,
                                  int64_t *out_route) {
  int32_t loads[256] = {0};
  struct td_moe_costs costs;
  struct td_moe_work work;
  for (int32_t i = 0; i < rig->layout.tokens * rig->used; i++) loads[ids[i]]++;
  assert_ok(td_moe_costs_of(rig->part[part].program, layer, &costs));
  assert_ok(td_moe_work_of(&costs, loads + rig->part[part].first, rig->part[part].experts, &work));
  *out_route = td_moe_route_cycles(&costs, rig->layout.tokens);
  return work;
}

/* One part of a layer: y. */
static void run_part(struct rig *rig, int32_t part, int32_t layer, const float *x, float *y) {
  struct td_lpu_program *program = rig->part[part].program;
  int32_t tokens = rig->layout.tokens, ids[256], entry = td_lpu_program_layer_entry(program, layer, tokens);
  float gates[256];
  struct td_lpu_row rows[64] = {{0}};
  struct td_lpu_step step = {rows, tokens};
  struct td_moe_plan plan;
  int64_t route;
  for (int32_t t = 0; t < tokens; t++) write_row(rig, part, "x", t, x + t * rig->hidden);
  int64_t routed = run_entry(rig, part, entry, &step);
  check_routes(rig, part, layer, entry, ids, gates);
  struct td_moe_tokens list = {ids, gates, tokens, rig->used, rig->part[part].first, rig->part[part].experts};
  assert_ok(td_moe_plan_build(program, layer, &list, &plan));
  int64_t cycles = run_plan(rig, part, &plan);
  struct td_moe_work work = work_of(rig, part, layer, ids, &route);
  assert_int_equal(cycles, work.cycles);
  assert_int_equal(plan.call_count, work.entries);
  assert_int_equal(routed, route);
  for (int32_t t = 0; t < tokens; t++) {
    read_row(rig, part, td_lpu_program_output(program, entry), t, y + t * rig->hidden, rig->hidden);
  }
  td_moe_plan_free(&plan);
}

/* The documented sum of one part, from the reference's slots. */
static void expect_part(const struct rig *rig, int32_t part, int32_t layer, const float *x, const float *y) {
  const float *made = value_of(rig, layer, "ffn.down"), *routes = value_of(rig, layer, "ffn.router");
  int32_t hidden = rig->hidden, used = rig->used;
  float *sum = calloc((size_t)hidden, sizeof *sum);
  assert_non_null(sum);
  for (int32_t t = 0; t < rig->layout.tokens; t++) {
    for (int32_t i = 0; i < hidden; i++) sum[i] = part == 0 ? x[t * hidden + i] : 0.0F;
    for (int32_t e = rig->part[part].first; e < rig->part[part].first + rig->part[part].experts; e++) {
      for (int32_t s = 0; s < used; s++) {
        if ((int32_t)routes[2 * t * used + s] != e) continue;
        float gate = routes[(2 * t + 1) * used + s];
        for (int32_t i = 0; i < hidden; i++) sum[i] += made[(t * used + s) * hidden + i] * gate;
      }
    }
    lpu_assert_same_bits(y + t * hidden, sum, hidden, rig->mode, t, layer);
  }
  free(sum);
}

static void compare(struct rig *rig) {
  int32_t layers = rig->graph->shape.layers, tokens = rig->layout.tokens, ids[64];
  const struct td_slice embedding = {-1, 0, TD_PART_ALL};
  float *y = calloc((size_t)(tokens * rig->hidden), sizeof *y);
  assert_non_null(y);
  for (int32_t r = 0; r < tokens; r++) ids[r] = lpu_course_id(0, r, rig->graph->shape.vocab);
  assert_ok(lpu_reference_run(rig->reference, &embedding, 0, 0, tokens, ids));
  for (int32_t layer = 0; layer < layers; layer++) {
    const struct td_slice attention = {layer, layer + 1, TD_PART_ATTENTION}, ffn = {layer, layer + 1, TD_PART_FFN};
    assert_ok(lpu_reference_run(rig->reference, &attention, 0, 0, tokens, NULL));
    assert_ok(lpu_reference_run(rig->reference, &ffn, 0, 0, tokens, NULL));
    for (int32_t part = 0; part < rig->layout.parts; part++) {
      const float *x = value_of(rig, layer, "attention.residual");
      run_part(rig, part, layer, x, y);
      expect_part(rig, part, layer, x, y);
    }
  }
  free(y);
}

static void test_modes(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    struct rig rig;
    open_rig(&rig, TINY("mixtral-small"), &lpu_modes[i], (struct layout){1, 1, 1, 1, 1, 1, 0, NULL});
    compare(&rig);
    close_rig(&rig);
  }
}

/* Many tokens, runs of several; places for some only, so that there are several passes. */
static void test_batches(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    struct rig rig;
    open_rig(&rig, TINY("qwen3moe-small"), &lpu_modes[i], (struct layout){1, 1, 1, 12, 11, 4, 9, NULL});
    compare(&rig);
    close_rig(&rig);
  }
}

/* Experts dealt to programs, each shared by chips. */
static void test_parts(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    struct rig rig;
    open_rig(&rig, TINY("mixtral-small"), &lpu_modes[i], (struct layout){3, 1 + (int32_t)i % 2, 1, 6, 5, 4, 0, NULL});
    compare(&rig);
    close_rig(&rig);
  }
}

/* Chips that share each expert, on a machine whose lanes its matrices fill several times. */
static void test_tensor(void **state) {
  (void)state;
  for (size_t i = 0; i < LPU_MODES; i++) {
    struct rig rig;
    /* Two sums and the scales of FP8 rows in one cycle: this machine has two places for activations. */
    if (lpu_modes[i].activations == TD_LPU_ACTIVATIONS_F8) continue;
    open_rig(&rig, TINY("mixtral-small"), &lpu_modes[i],
             (struct layout){2, 2 + 2 * ((int32_t)i % 2), 2, 3, 3, 3, 0, "lpu-tiny"});
    compare(&rig);
    close_rig(&rig);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_modes),
      cmocka_unit_test(test_batches),
      cmocka_unit_test(test_parts),
      cmocka_unit_test(test_tensor),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
