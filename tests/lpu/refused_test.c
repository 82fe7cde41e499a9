/* SPDX-License-Identifier: Apache-2.0
 *
 * What cannot be compiled is refused with the numbers: through the API, and by `tandem lpu compile`, which prints one
 * line and exits 1, or 2 where the config is at fault.
 */
#include "lpu/decoder.h"

#define TINY TANDEM_SOURCE_DIR "/tests/data/tiny/"
static const struct td_lpu_options two_chips = {
    .chips = 2, .rows = 1, .block_tokens = 32, .kv_blocks = 3, .context = 64};

static struct td_device_params *params;
static struct td_model *model;
static struct td_graph *graph;
static const char *scratch;

static int open_all(void **state) {
  (void)state;
  scratch = test_scratch();
  assert_ok(td_device_params_open("groq-lpu-v1", &params));
  assert_ok(td_model_open(TINY "llama.gguf", &model));
  assert_ok(td_graph_build(model, &graph));
  return scratch ? 0 : -1;
}
static int close_all(void **state) {
  char out[64];
  (void)state;
  td_graph_free(graph);
  td_model_close(model);
  td_device_params_close(params);
  return test_run(out, sizeof out, "rm -r '%s'", scratch);
}

/* The error's text, or "compiled". */
static const char *compile_on(const struct td_lpu_machine *machine, const struct td_lpu_options *options,
                              td_status expected) {
  struct td_lpu_program *program = NULL;
  struct td_slice whole = td_slice_whole(graph);
  td_status status = td_lpu_compile(machine, graph, &whole, NULL, options, &program);
  td_lpu_program_free(program);
  if (status != expected) fail_msg("found status %d, %s", (int)status, status ? td_error_text() : "compiled");
  return status ? td_error_text() : "compiled";
}
static void expect(const char *text, const char *const *words) {
  for (; *words; words++) {
    if (!strstr(text, *words)) fail_msg("found \"%s\", expected \"%s\"", text, *words);
  }
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- links ---- */

static void test_slow_links(void **state) {
  (void)state;
  struct td_lpu_machine machine = *td_lpu_machine_of(params);
  machine.link_bytes_per_second = 328 * 900e6 / 216; /* a vector takes just the latency */
  expect(compile_on(&machine, &two_chips, TD_OK), WORDS("compiled"));
  machine.link_bytes_per_second = 0.5e9;
  expect(compile_on(&machine, &two_chips, TD_UNSUPPORTED),
         WORDS("2 chips", "328 B", "590 cycles", "0.5 GB/s", "216", "1.37 GB/s"));
  machine.link_bytes_per_second = 1;
  expect(compile_on(&machine, &two_chips, TD_UNSUPPORTED), WORDS("295200000000 cycles", "1e-09 GB/s"));
  machine.link_bytes_per_second = 0;
  expect(compile_on(&machine, &two_chips, TD_UNSUPPORTED), WORDS("inf cycles", "0 GB/s"));
  struct td_lpu_options alone = two_chips;
  alone.chips = 1;
  expect(compile_on(&machine, &alone, TD_OK), WORDS("compiled"));
}

static void test_few_links(void **state) {
  (void)state;
  struct td_lpu_machine machine = *td_lpu_machine_of(params);
  for (machine.links_used = 0; machine.links_used < 2; machine.links_used++) {
    char wired[32];
    snprintf(wired, sizeof wired, "(%d links are wired)", machine.links_used);
    expect(compile_on(&machine, &two_chips, TD_UNSUPPORTED), WORDS("no link leads from chip 0 to chip 1 of 2", wired));
  }
  expect(compile_on(&machine, &two_chips, TD_OK), WORDS("compiled"));
}

/* A link as late as a device file may say: the program waits for it. */
static void test_late_links(void **state) {
  (void)state;
  struct td_lpu_machine machine = *td_lpu_machine_of(params);
  struct td_slice whole = td_slice_whole(graph);
  struct td_lpu_program *program = NULL;
  struct td_lpu_violation found;
  machine.link_latency = 1000000;
  assert_ok(td_lpu_compile(&machine, graph, &whole, NULL, &two_chips, &program));
  const struct td_lpu_row row = {.position = 0, .blocks = (const int32_t[]){0}, .block_count = 1};
  const struct td_lpu_step step = {&row, 1};
  assert_ok(td_lpu_check(program, 0, &step, &found));
  if (found.found) fail_msg("%s", found.text);
  assert_true(td_lpu_program_cycles(program, 0, &step) > 1000000);
  td_lpu_program_free(program);
}

/* ---- operators ---- */

/* Any operator that is another one than the compiler knows, or is not like that of the first layer. */
static void test_other_operators(void **state) {
  (void)state;
  const struct td_lpu_machine *machine = td_lpu_machine_of(params);
  int32_t tried = 0;
  for (int32_t i = 0; i < graph->op_count; i++) {
    struct td_op *op = &graph->ops[i], had = *op;
    if (had.kind == TD_OP_EMBED || had.kind == TD_OP_SAMPLE || had.kind == TD_OP_SELECT) continue;
    for (int kind = 0; kind < TD_OP_LPU_RUN; kind++) {
      op->kind = (enum td_op_kind)kind;
      if (op->kind == had.kind || op->kind == TD_OP_SELECT || op->kind == TD_OP_SAMPLE) continue;
      expect(compile_on(machine, &two_chips, TD_UNSUPPORTED), WORDS("LPU: ", "layer"));
      tried++;
    }
    *op = had;
  }
  assert_true(tried > 500);
}

static struct td_op *op_of(enum td_op_kind kind, int32_t layer) {
  for (int32_t i = 0; i < graph->op_count; i++) {
    if (graph->ops[i].kind == kind && graph->ops[i].layer == layer) return &graph->ops[i];
  }
  fail_msg("no %s in layer %d", td_op_kind_name(kind), layer);
  return NULL;
}
static void expect_other(struct td_op *op, struct td_op other, const char *words) {
  struct td_op had = *op;
  *op = other;
  expect(compile_on(td_lpu_machine_of(params), &two_chips, TD_UNSUPPORTED), WORDS(words));
  *op = had;
}

/* Layers that are not alike in more than what attention sees and how it rotates. */
static void test_other_layers(void **state) {
  (void)state;
  struct td_op *op = op_of(TD_OP_ATTENTION, 2), other = *op;
  other.head_dim /= 2;
  expect_other(op, other, "attention of layer 2: found");
  op = op_of(TD_OP_RMS_NORM, 3), other = *op;
  other.epsilon = 0.5;
  expect_other(op, other, "of layer 3: found epsilon 0.5");
}

/* ---- options, SRAM ---- */

static void test_options(void **state) {
  (void)state;
  const struct {
    size_t offset;
    int32_t value;
    const char *words;
  } cases[] = {
      {offsetof(struct td_lpu_options, rows), 0, "lpu.rows: found 0, expected 1..512"},
      {offsetof(struct td_lpu_options, rows), -1, "lpu.rows: found -1, expected 1..512"},
      {offsetof(struct td_lpu_options, block_tokens), 0, "lpu.block_tokens: found 0, expected 16..320"},
      {offsetof(struct td_lpu_options, block_tokens), 336, "lpu.block_tokens: found 336, expected 16..320"},
      {offsetof(struct td_lpu_options, block_tokens), 40, "lpu.block_tokens: found 40, expected a multiple of 16"},
      {offsetof(struct td_lpu_options, kv_blocks), 0, "lpu.kv_blocks: found 0, expected 1..8192"},
      {offsetof(struct td_lpu_options, kv_blocks), INT32_MAX, "lpu.kv_blocks: found 2147483647, expected 1..8192"},
      {offsetof(struct td_lpu_options, context), 0, "lpu.context: found 0, expected 1.."},
      {offsetof(struct td_lpu_options, context), INT32_MAX, "lpu.context: found 2147483647, expected 1.."},
      {offsetof(struct td_lpu_options, chips), -1, "lpu.chips: found -1, expected 0..4096"},
      {offsetof(struct td_lpu_options, chips), 5,
       "lpu.chips: found 5, expected at most one a layer and head, 4 x 4, in equal groups"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct td_lpu_options options = two_chips;
    memcpy((char *)&options + cases[i].offset, &cases[i].value, sizeof cases[i].value);
    expect(compile_on(td_lpu_machine_of(params), &options, TD_CONFIG), WORDS(cases[i].words));
  }
}

/* What does not fit: which image takes how many words of how many, and the fewest chips. */
static void test_does_not_fit(void **state) {
  (void)state;
  struct td_lpu_options options = two_chips;
  options.chips = 1;
  options.kv_blocks = 1500; /* of 32 tokens: 3,000 words a layer */
  expect(compile_on(td_lpu_machine_of(params), &options, TD_EXHAUSTED),
         WORDS("k.cache takes 12001 words", "of 8192", "a KV cache of 245.8 MB", "230.7 MB each", "2 chips would do"));
  options.chips = 0;
  options.kv_blocks = 4200; /* 8,400 words a layer */
  expect(compile_on(td_lpu_machine_of(params), &options, TD_EXHAUSTED),
         WORDS("takes 33601 words", "of 8192", "no number of chips up to 16, one a layer and head, would do"));
}

/* ---- the command line ---- */

/* A device file like groq-lpu-v1, but for one number (or two) of it. */
static const char *device_with(const char *first, const char *second) {
  static char path[4200];
  char out[64];
  snprintf(path, sizeof path, "%s/device.cfg", scratch);
  int code = test_run(out, sizeof out, "sed -E -e 's/%s/' -e 's/%s/' '%s' > '%s'", first, second,
                      test_source("devices/groq-lpu-v1.cfg"), path);
  assert_int_equal(code, 0);
  return path;
}
static const char *config_of(const char *device, const char *name, const char *lpu, const char *engine) {
  static char path[4200];
  snprintf(path, sizeof path, "%s/run.cfg", scratch);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"refused\"; model = \"%s%s.gguf\";\n"
          "engine = { pace = \"priced\"; policy = \"disaggregated\"; kv_dtype = \"f16\"; %s };\n"
          "cluster = { pools = ( {name=\"p\"; role=\"prefill\"; backend=\"cpu\"; device=\"xeon-2vcpu\";},\n"
          "  {name=\"d\"; role=\"decode\"; backend=\"lpu\"; device=\"%s\"; lpu={%s};} );\n"
          "  links = ( {from=\"p\"; to=\"d\"; device=\"loopback-tcp\";} ); };\n"
          "workload = { requests = ( {name=\"a\"; prompt_tokens=33; max_tokens=7;} ); stop_at_end=false; };\n",
          TINY, name, engine, device, lpu);
  assert_int_equal(fclose(file), 0);
  return path;
}
static void command_refused(const char *config, const char *const *words) {
  char out[8192];
  int code = test_run(out, sizeof out, "%s lpu compile '%s' 2>&1", TANDEM_PROGRAM, config);
  if (code != 1 && code != 2) fail_msg("exit %d: %s", code, out);
  expect(out, words);
  const char *end = strchr(out, '\n');
  if (!end || end[1]) fail_msg("found more than one line: %s", out);
}

#define BLOCKS "block_tokens = 32; batch_sequences = 1;"
static void test_command(void **state) {
  (void)state;
  const char *slow =
      "link_rate = \\{ value = 12.5; unit = \"GB.s\"; low = 12.5/"
      "link_rate = { value = 0.5; unit = \"GB\\/s\"; low = 0.5";
  const char *one_link =
      "links_used = \\{ value = 11; unit = \"1\"; low = 7/"
      "links_used = { value = 1; unit = \"1\"; low = 1";
  const char *lone = "node_chips = \\{ value = 8/node_chips = { value = 1";
  const char *small =
      "mem_words = \\{ value = 8192; unit = \"1\"; low = [0-9]*/"
      "mem_words = { value = 64; unit = \"1\"; low = 16";
  command_refused(config_of(device_with(slow, "^$/"), "llama", "weights=\"i8\"; chips=2;", BLOCKS),
                  WORDS("2 chips", "590 cycles", "0.5 GB/s", "216"));
  command_refused(config_of(device_with(one_link, lone), "llama", "weights=\"i8\"; chips=2;", BLOCKS),
                  WORDS("no link leads from chip 0 to chip 1 of 2", "1 links"));
  command_refused(config_of(device_with(small, "^$/"), "llama", "weights=\"i8\"; chips=1;", BLOCKS),
                  WORDS("words of slices", "of 64", "would do"));
  command_refused(config_of("groq-lpu-v1", "mixtral-small", "rows=1;", BLOCKS),
                  WORDS("LPU: router of layer 0", "experts are compiled with FFNs alone (--part ffn)"));
  command_refused(config_of("groq-lpu-v1", "llama", "chips=4097;", BLOCKS), WORDS("chips", "4097", "4096"));
  command_refused(config_of("groq-lpu-v1", "llama", "rows=0;", BLOCKS), WORDS("rows", "found 0"));
  command_refused(config_of("groq-lpu-v1", "llama", "rows=1;", "block_tokens = 24;"), WORDS("24", "multiple of 16"));
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_slow_links),      cmocka_unit_test(test_few_links),    cmocka_unit_test(test_late_links),
      cmocka_unit_test(test_other_operators), cmocka_unit_test(test_other_layers), cmocka_unit_test(test_options),
      cmocka_unit_test(test_does_not_fit),    cmocka_unit_test(test_command),
  };
  return cmocka_run_group_tests(tests, open_all, close_all);
}
