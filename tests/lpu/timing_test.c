/* SPDX-License-Identifier: Apache-2.0
 *
 * Programs for timing alone: what they say a step takes and does is what the program with weights takes and does when
 * it is executed, on random small models, machines and groupings; and a stage that stands for others is, by itself, a
 * program that keeps every rule.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "lpu/decoder.h"
#include "lpu/small_model.h"

#define TINY TANDEM_SOURCE_DIR "/devices/lpu-tiny.cfg"
#define DRAWS 12

static char path[64];

static int32_t draw(uint32_t *state, int32_t low, int32_t high) {
  *state = *state * 1664525u + 1013904223u;
  return low + (int32_t)((*state >> 8) % (uint32_t)(high - low + 1));
}

/* ---- what is drawn ---- */

struct drawn {
  struct small_model model;
  struct td_lpu_options options;
  char sets[6][40];
  const char *machine[7]; /* of `sets`, NULL at the end */
  bool wired;             /* in nodes and racks, not around a ring */
};

static void draw_machine(uint32_t *state, struct drawn *out) {
  static const int32_t words[] = {1024, 2048}, slots[] = {64, 128};
  int32_t count = 0;
  snprintf(out->sets[count++], sizeof out->sets[0], "superlanes=4");
  snprintf(out->sets[count++], sizeof out->sets[0], "plane_k=64");
  snprintf(out->sets[count++], sizeof out->sets[0], "mem_words=%d", words[draw(state, 0, 1)]);
  snprintf(out->sets[count++], sizeof out->sets[0], "accumulator_depth=%d", slots[draw(state, 0, 1)]);
  snprintf(out->sets[count++], sizeof out->sets[0], "link_latency=%d", draw(state, 25, 160));
  out->wired = draw(state, 0, 1);
  if (!out->wired && draw(state, 0, 1)) snprintf(out->sets[count++], sizeof out->sets[0], "links_used=4");
  for (int32_t i = 0; i < count; i++) out->machine[i] = out->sets[i];
}

/* Several stages, most of them alike: layers that do not divide leave some with one more. */
static void draw_system(uint32_t *state, struct drawn *out) {
  static const int32_t widths[] = {8, 16, 24};
  int32_t kv_heads = draw(state, 1, 3), group = draw(state, 1, 3), width = widths[draw(state, 0, 2)];
  int32_t stages = draw(state, 3, 5), tensor = draw(state, 1, kv_heads * group < 3 ? kv_heads * group : 3);
  if (kv_heads == 3 && width > 16) width = 16;
  if (tensor < 2 && kv_heads * (width > 16 ? 32 : width) >= 64) tensor = 2;
  out->model = (struct small_model){.layers = stages + draw(state, 0, 2 * stages),
                                    .hidden = kv_heads * group * width,
                                    .ffn = 32 * draw(state, 2, 8),
                                    .heads = kv_heads * group,
                                    .kv_heads = kv_heads};
  if (tensor > out->model.heads) tensor = out->model.heads;
  out->options = (struct td_lpu_options){.chips = stages * tensor,
                                         .tensor = tensor,
                                         .rows = draw(state, 0, 2) ? 1 : 3,
                                         .block_tokens = 16 * draw(state, 1, 2),
                                         .context = 64};
  out->options.weights = draw(state, 0, 1) ? TD_LPU_WEIGHTS_I8 : TD_LPU_WEIGHTS_F16;
  if (out->options.weights == TD_LPU_WEIGHTS_I8) {
    out->options.activations = (enum td_lpu_activations)draw(state, 0, TD_LPU_ACTIVATIONS_I8X2);
  }
}

/* ---- both ---- */

static void compile_timing(const struct lpu_decoder *decoder, struct td_lpu_program **out) {
  struct td_lpu_options options = decoder->options;
  struct td_slice whole = td_slice_whole(decoder->graph);
  options.timing_only = true;
  assert_ok(td_lpu_compile(decoder->machine, decoder->graph, &whole, NULL, &options, out));
  assert_non_null((*out)->alike);
}

static void compare_counts(const struct td_lpu_counts *found, const struct td_lpu_counts *expected) {
  assert_int_equal(found->cycles, expected->cycles);
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) assert_int_equal(found->issued[i], expected->issued[i]);
  for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) assert_int_equal(found->busy[i], expected->busy[i]);
}

/* A step of some rows at these positions: executed, and counted by the program for timing. */
static void compare_step(struct lpu_decoder *decoder, const struct td_lpu_program *timing, int32_t rows,
                         const int32_t *positions) {
  struct td_lpu_tally *tallies = NULL;
  struct td_lpu_counts executed, counted;
  const struct td_lpu_step step = {decoder->rows, rows};
  const int32_t ids[3] = {5, 7, 11};
  struct td_lpu_violation violation;
  lpu_decoder_inputs(decoder, rows, ids, positions);
  int32_t entry = td_lpu_program_entry(decoder->program, rows);
  assert_int_equal(td_lpu_program_entry(timing, rows), entry);
  assert_ok(td_lpu_check(decoder->program, entry, &step, &violation));
  if (violation.found) fail_msg("%s", violation.text);
  assert_ok(td_lpu_execute(decoder->system, entry, &step, &executed));
  assert_ok(td_lpu_program_tallies(timing, &tallies));
  assert_ok(td_lpu_program_counts(timing, tallies, entry, &step, &counted));
  compare_counts(&counted, &executed);
  assert_int_equal(td_lpu_program_cycles(timing, entry, &step), executed.cycles);
  free(tallies);
}

/* Segments that stages share are those of each of them in the whole program. */
static void compare_shared(const struct lpu_decoder *decoder, const struct td_lpu_program *timing, int32_t *shared) {
  int32_t own = 0;
  for (int32_t chip = 0; chip < timing->chips; chip++) own += timing->alike[chip] == chip;
  *shared += timing->chips - own;
  assert_true(timing->segment_count <= decoder->program->segment_count);
  assert_int_equal(timing->link_count, decoder->program->link_count);
  for (int32_t i = 0; i < timing->link_count; i++) {
    const struct td_lpu_link *left = &timing->links[i], *right = &decoder->program->links[i];
    assert_int_equal(left->kind, right->kind);
    assert_int_equal(left->chip, right->chip);
    if (left->kind != TD_LINK_RUN) continue;
    const struct td_lpu_segment *a = &timing->segments[left->segment], *b = &decoder->program->segments[right->segment];
    assert_string_equal(a->name, b->name);
    assert_int_equal(a->length, b->length);
    assert_int_equal(a->instruction_count, b->instruction_count);
  }
}

static void compare_one(uint32_t *state, int32_t *shared) {
  struct drawn drawn = {.machine = {NULL}};
  struct lpu_decoder decoder;
  struct td_lpu_program *timing = NULL;
  draw_machine(state, &drawn);
  draw_system(state, &drawn);
  small_model_write(&drawn.model, path);
  lpu_decoder_open_varied(&decoder, drawn.wired ? "lpu-tiny-system" : TINY, drawn.machine, path, &drawn.options);
  compile_timing(&decoder, &timing);
  compare_shared(&decoder, timing, shared);
  for (int32_t i = 0; i < 2; i++) {
    int32_t rows = i ? drawn.options.rows : 1, positions[3];
    for (int32_t r = 0; r < 3; r++) positions[r] = draw(state, 0, 63);
    compare_step(&decoder, timing, rows, positions);
  }
  printf("%s: %d layers of %d, %d heads, %d KV, FFN %d; %d stages of %d, %d rows: the same\n",
         drawn.wired ? "wired" : "ring", drawn.model.layers, drawn.model.hidden, drawn.model.heads,
         drawn.model.kv_heads, drawn.model.ffn, drawn.options.chips / drawn.options.tensor, drawn.options.tensor,
         drawn.options.rows);
  td_lpu_program_free(timing);
  lpu_decoder_close(&decoder);
}

static void test_random(void **state) {
  (void)state;
  uint32_t random = 20;
  int32_t shared = 0;
  snprintf(path, sizeof path, "lpu_timing_%ld.gguf", (long)getpid());
  for (int32_t i = 0; i < DRAWS; i++) compare_one(&random, &shared);
  assert_true(shared > DRAWS); /* chips that others stand for */
  remove(path);
}

/* ---- a large model's: expanded, it keeps the rules ---- */

static void write_shape(const char *name) {
  FILE *out = fopen(name, "w");
  assert_non_null(out);
  fputs(
      "name = \"shape\"; architecture = \"llama\"; layers = 5; hidden = 1920; heads = 15; kv_heads = 5; head_dim = "
      "128;\n"
      "ffn = 2560; vocab = 1000; context = 4096; rope_dim = 128; rope_theta = 10000.0; norm_epsilon = 1e-5;\n"
      "tied_output = false; rope_factors = false; weights = \"f16\";\n",
      out);
  assert_int_equal(fclose(out), 0);
}

static void compile_shape(const struct td_lpu_machine *machine, const struct td_graph *graph, bool timing_only,
                          struct td_lpu_program **out) {
  const struct td_lpu_options options = {.weights = TD_LPU_WEIGHTS_I8,
                                         .chips = 24,
                                         .tensor = 8,
                                         .rows = 1,
                                         .block_tokens = 320,
                                         .kv_blocks = 13,
                                         .context = 4096,
                                         .timing_only = timing_only};
  struct td_slice whole = td_slice_whole(graph);
  assert_ok(td_lpu_compile(machine, graph, &whole, NULL, &options, out));
}

/* Three stages of eight chips, heads of 128, 4,096 positions. */
static void test_expanded(void **state) {
  (void)state;
  struct td_device_params *params = NULL;
  struct td_model *model = NULL;
  struct td_graph *graph = NULL;
  struct td_lpu_program *timing = NULL, *whole = NULL;
  struct td_lpu_violation violation;
  char shape[64];
  int32_t blocks[13];
  for (int32_t i = 0; i < 13; i++) blocks[i] = 12 - i;
  const struct td_lpu_row row = {4095, blocks, 13};
  const struct td_lpu_step step = {&row, 1};
  snprintf(shape, sizeof shape, "lpu_timing_%ld.cfg", (long)getpid());
  write_shape(shape);
  assert_ok(td_device_params_open("groq-lpu-v1", &params));
  assert_ok(td_model_open(shape, &model));
  assert_ok(td_graph_build(model, &graph));
  compile_shape(td_lpu_machine_of(params), graph, true, &timing);
  compile_shape(td_lpu_machine_of(params), graph, false, &whole);
  assert_int_equal(td_lpu_program_cycles(timing, 0, &step), td_lpu_program_cycles(whole, 0, &step));
  assert_int_equal(timing->alike[8], 0);
  assert_int_equal(timing->alike[16], 16); /* the head is there */
  assert_ok(td_lpu_check(whole, 0, &step, &violation));
  if (violation.found) fail_msg("%s", violation.text);
  td_lpu_program_free(timing);
  td_lpu_program_free(whole);
  td_graph_free(graph);
  td_model_close(model);
  td_device_params_close(params);
  remove(shape);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_expanded)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
