/* SPDX-License-Identifier: Apache-2.0 */
#include "rig.h"

void rig_open(struct rig *rig) {
  *rig = (struct rig){0};
  assert_ok(td_device_params_open("groq-lpu-v1", &rig->params));
  assert_ok(td_model_open(test_source("tests/data/tiny/llama.gguf"), &rig->model));
  assert_ok(td_graph_build(rig->model, &rig->graph));
  rig->whole = td_slice_whole(rig->graph);
  rig->vocab = rig->graph->shape.vocab;
}

void rig_close(struct rig *rig) {
  td_graph_free(rig->graph);
  td_model_close(rig->model);
  td_device_params_close(rig->params);
}

void world_open(const struct rig *rig, enum td_lpu_weights weights, const char *host, int32_t rows,
                struct world *world) {
  struct td_lpu_choice choice = {.weights = weights, .rows = rows, .context = CONTEXT, .emulate_on = host};
  struct td_device_options how = {.params = rig->params, .threads = 1, .lpu = &choice};
  struct td_runner_options options = {
      .kv_dtype = TD_F16, .block_tokens = BLOCK, .kv_blocks = BLOCKS, .max_rows = MAX_ROWS, .max_logits = MAX_ROWS};
  assert_ok(td_device_open("lpu", &how, &world->device));
  assert_ok(td_runner_open(world->device, rig->model, rig->graph, &rig->whole, &options, &world->runner));
}

void world_close(struct world *world) {
  td_runner_close(world->runner);
  td_device_close(world->device);
}

void hand_open(const struct rig *rig, enum td_lpu_weights weights, struct hand *hand) {
  struct td_lpu_options options = {
      .weights = weights, .rows = 1, .block_tokens = BLOCK, .kv_blocks = BLOCKS, .context = CONTEXT};
  const void **data = NULL;
  *hand = (struct hand){0};
  assert_ok(td_lpu_model_weights(rig->model, rig->graph, &data));
  assert_ok(td_lpu_compile(td_lpu_machine_of(rig->params), rig->graph, &rig->whole, data, &options, &hand->program));
  free(data);
  assert_ok(td_lpu_system_open(hand->program, &hand->system));
  assert_ok(td_lpu_program_tallies(hand->program, &hand->tallies));
}

void hand_close(struct hand *hand) {
  td_lpu_system_close(hand->system);
  td_lpu_program_free(hand->program);
  free(hand->tallies);
}

const float *world_step(struct world *world, uint64_t request, int64_t past, const int32_t *ids, int64_t tokens) {
  struct td_step_seq seq = {.request = request, .past = past, .tokens = tokens, .ids = ids, .logits = true};
  const float *logits = NULL;
  int64_t count = 0;
  assert_ok(td_runner_step(world->runner, &seq, 1, false, NULL, NULL, NULL, NULL, &logits, &count));
  assert_int_equal(count, 1);
  return logits;
}

void hand_step(const struct rig *rig, struct hand *hand, int32_t id, int32_t position, const int32_t *blocks,
               float *logits) {
  const struct td_tensor *table = td_model_tensor(rig->model, "token_embd.weight");
  int32_t hidden = rig->graph->shape.hidden, lanes = hand->program->machine.lanes;
  float *x = calloc((size_t)hidden, sizeof *x), *at = calloc((size_t)lanes, sizeof *at);
  assert_true(table && x && at);
  uint64_t row_bytes = table->bytes / (uint64_t)table->rows;
  td_dequantize(table->dtype, (const char *)table->data + (uint64_t)id * row_bytes, x, hidden);
  for (int32_t i = 0; i < lanes; i++) at[i] = (float)position;
  struct td_lpu_row row = {position, blocks, position / BLOCK + 1};
  struct td_lpu_step step = {&row, 1};
  assert_ok(td_lpu_image_write(hand->system, "x", 0, x));
  assert_ok(td_lpu_image_write(hand->system, "position", 0, at));
  assert_ok(td_lpu_execute(hand->system, td_lpu_program_entry(hand->program, 1), &step, &hand->counts));
  assert_ok(td_lpu_image_read(hand->system, "logits", 0, logits));
  free(x);
  free(at);
}

int32_t likeliest(const struct rig *rig, const float *logits) {
  int32_t best = 0;
  for (int32_t i = 1; i < rig->vocab; i++) {
    if (logits[i] > logits[best]) best = i;
  }
  return best;
}
