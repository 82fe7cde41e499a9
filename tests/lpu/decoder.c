/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu/decoder.h"

#include <stdlib.h>
#include <string.h>

#include "tandem/kernels.h"

void lpu_decoder_open(struct lpu_decoder *decoder, const char *device, const char *model,
                      const struct td_lpu_options *options) {
  lpu_decoder_open_varied(decoder, device, (const char *const[]){NULL}, model, options);
}

static void open_machine(struct lpu_decoder *decoder, const char *device) {
  memset(decoder, 0, sizeof *decoder);
  assert_ok(td_device_params_open(device, &decoder->params));
  decoder->machine = td_lpu_machine_of(decoder->params);
  assert_non_null(decoder->machine);
}

static void open_program(struct lpu_decoder *decoder, const char *model, const struct td_lpu_options *options,
                         const struct lpu_layout *layout) {
  decoder->options = *options;
  if (options->weights == TD_LPU_WEIGHTS_F8) {
    struct td_lpu_machine machine = *decoder->machine; /* which may be `varied` */
    machine.fp8 = 1;
    decoder->varied = machine;
    decoder->machine = &decoder->varied;
  }
  assert_ok(td_model_open(model, &decoder->model));
  assert_ok(td_graph_build(decoder->model, &decoder->graph));
  assert_ok(td_lpu_model_weights(decoder->model, decoder->graph, &decoder->weights));
  decoder->per_row = (options->context + options->block_tokens - 1) / options->block_tokens;
  bool apart = options->kv_blocks == 0;
  if (apart) decoder->options.kv_blocks = decoder->per_row * options->rows;
  assert_ok(lpu_compile_laid_out(decoder->machine, decoder->graph, decoder->weights, &decoder->options, layout,
                                 &decoder->program));
  assert_ok(td_lpu_system_open(decoder->program, &decoder->system));
  decoder->blocks = calloc((size_t)decoder->options.kv_blocks, sizeof *decoder->blocks);
  decoder->rows = calloc((size_t)options->rows, sizeof *decoder->rows);
  assert_non_null(decoder->blocks);
  assert_non_null(decoder->rows);
  /* Blocks in an order of their own, so that a block's number is not its ordinal. */
  for (int32_t i = 0; i < decoder->options.kv_blocks; i++) decoder->blocks[i] = decoder->options.kv_blocks - 1 - i;
  for (int32_t r = 0; r < options->rows; r++) {
    decoder->rows[r].blocks = decoder->blocks + (apart ? r * decoder->per_row : 0);
  }
}

void lpu_decoder_open_varied(struct lpu_decoder *decoder, const char *device, const char *const *sets,
                             const char *model, const struct td_lpu_options *options) {
  open_machine(decoder, device);
  int32_t count = 0;
  while (sets[count]) count++;
  if (count > 0) {
    assert_ok(td_lpu_machine_vary(decoder->params, sets, count, &decoder->varied));
    decoder->machine = &decoder->varied;
  }
  open_program(decoder, model, options, NULL);
}

void lpu_decoder_open_laid_out(struct lpu_decoder *decoder, const char *device, int32_t words, const char *model,
                               const struct td_lpu_options *options, const struct lpu_layout *layout) {
  open_machine(decoder, device);
  decoder->varied = *decoder->machine;
  decoder->varied.mem_words = words;
  decoder->machine = &decoder->varied;
  open_program(decoder, model, options, layout);
}
void lpu_decoder_close(struct lpu_decoder *decoder) {
  td_lpu_system_close(decoder->system);
  td_lpu_program_free(decoder->program);
  free(decoder->weights);
  td_graph_free(decoder->graph);
  td_model_close(decoder->model);
  td_device_params_close(decoder->params);
  free(decoder->blocks);
  free(decoder->rows);
}

static void write_row(struct lpu_decoder *decoder, int32_t row, int32_t id, int32_t position) {
  const struct td_tensor *embedding = td_model_tensor(decoder->model, "token_embd.weight");
  int32_t hidden = td_model_shape(decoder->model)->hidden, lanes = decoder->machine->lanes;
  float *x = malloc((size_t)hidden * sizeof *x), *where = malloc((size_t)lanes * sizeof *where);
  assert_non_null(x);
  assert_non_null(where);
  td_dequantize(embedding->dtype,
                (const char *)embedding->data + (uint64_t)id * (embedding->bytes / (uint64_t)embedding->rows), x,
                hidden);
  for (int32_t i = 0; i < hidden; i++) x[i] *= (float)decoder->graph->ops[0].scale; /* of the embedding */
  for (int32_t i = 0; i < lanes; i++) where[i] = (float)position;
  assert_ok(td_lpu_image_write(decoder->system, "x", row, x));
  assert_ok(td_lpu_image_write(decoder->system, "position", row, where));
  free(x);
  free(where);
}

void lpu_decoder_inputs(struct lpu_decoder *decoder, int32_t rows, const int32_t *ids, const int32_t *positions) {
  for (int32_t r = 0; r < rows; r++) {
    write_row(decoder, r, ids[r], positions[r]);
    decoder->rows[r].position = positions[r];
    decoder->rows[r].block_count = positions[r] / decoder->options.block_tokens + 1;
  }
}

void lpu_decoder_step(struct lpu_decoder *decoder, const int32_t *ids, const int32_t *positions, bool check,
                      float *logits) {
  lpu_decoder_step_of(decoder, decoder->options.rows, ids, positions, check, logits);
}

void lpu_decoder_step_of(struct lpu_decoder *decoder, int32_t rows, const int32_t *ids, const int32_t *positions,
                         bool check, float *logits) {
  int32_t vocab = td_model_shape(decoder->model)->vocab;
  struct td_lpu_step step = {decoder->rows, rows};
  struct td_lpu_counts counts;
  lpu_decoder_inputs(decoder, rows, ids, positions);
  int32_t entry = td_lpu_program_entry(decoder->program, rows);
  if (check) {
    struct td_lpu_violation violation;
    assert_ok(td_lpu_check(decoder->program, entry, &step, &violation));
    if (violation.found) fail_msg("%s", violation.text);
  }
  int64_t cycles = td_lpu_program_cycles(decoder->program, entry, &step);
  for (; entry >= 0; entry = td_lpu_program_next(decoder->program, entry, rows)) {
    assert_ok(td_lpu_execute(decoder->system, entry, &step, &counts));
    cycles -= counts.cycles;
    for (int32_t r = 0; r < td_lpu_program_outputs(decoder->program, entry, rows); r++) {
      float *out = logits + (int64_t)(decoder->program->entries[entry].first_row + r) * vocab;
      assert_ok(td_lpu_image_read(decoder->system, "logits", r, out));
    }
  }
  assert_int_equal(cycles, 0);
}
