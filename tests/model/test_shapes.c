/* SPDX-License-Identifier: Apache-2.0
 *
 * Shape-only models: the files of experiments/models, and mistakes in such files.
 */
#include <stdio.h>

#include "support.h"
#include "tandem/base.h"
#include "tandem/model.h"

/* Parameter counts are worked out by hand from each architecture, and agree with the published model cards. */
static const struct {
  const char *file, *name;
  int32_t layers, hidden, heads, kv_heads, head_dim, ffn, vocab, context;
  bool tied, factors;
  int64_t parameters; /* matrices and vectors, without rope factors */
} models[] = {
    {"llama-2-70b", "Llama-2-70B", 80, 8192, 64, 8, 128, 28672, 32000, 4096, false, false, INT64_C(68976648192)},
    {"llama-3.1-8b", "Llama-3.1-8B", 32, 4096, 32, 8, 128, 14336, 128256, 131072, false, true, INT64_C(8030261248)},
    {"llama-3.1-70b", "Llama-3.1-70B", 80, 8192, 64, 8, 128, 28672, 128256, 131072, false, true, INT64_C(70553706496)},
    {"llama-3.1-405b", "Llama-3.1-405B", 126, 16384, 128, 8, 128, 53248, 128256, 131072, false, true,
     INT64_C(405853388800)},
    {"smollm2-135m", "SmolLM2-135M", 30, 576, 9, 3, 64, 1536, 49152, 8192, true, false, INT64_C(134515008)},
};

static void check_model(size_t i) {
  char path[128];
  struct td_model *model;
  snprintf(path, sizeof path, "experiments/models/%s.cfg", models[i].file);
  if (td_model_open(test_source(path), &model)) fail_msg("%s", td_error_text());
  const struct td_shape *shape = td_model_shape(model);
  assert_string_equal(shape->name, models[i].name);
  assert_int_equal(shape->layers, models[i].layers);
  assert_int_equal(shape->hidden, models[i].hidden);
  assert_int_equal(shape->heads, models[i].heads);
  assert_int_equal(shape->kv_heads, models[i].kv_heads);
  assert_int_equal(shape->head_dim, models[i].head_dim);
  assert_int_equal(shape->ffn, models[i].ffn);
  assert_int_equal(shape->vocab, models[i].vocab);
  assert_int_equal(shape->context, models[i].context);
  assert_int_equal(shape->rope_dim, models[i].head_dim);
  assert_int_equal(shape->tied_output, models[i].tied);
  assert_int_equal(shape->rope_factors, models[i].factors);
  assert_false(td_model_has_weights(model));
  assert_null(td_model_tensor(model, "token_embd.weight"));
  assert_null(td_model_tokenizer(model));
  assert_true(td_model_digest(model) != 0);
  int64_t vectors = (int64_t)(2 * shape->layers + 1) * shape->hidden;
  int64_t factors = shape->rope_factors ? shape->rope_dim / 2 : 0, matrices = models[i].parameters - vectors;
  const struct td_dtype_info *info = td_dtype_info((uint32_t)shape->weight_dtype);
  int64_t bytes = matrices / info->block_elements * info->block_bytes + 4 * (vectors + factors);
  assert_int_equal(td_model_weight_bytes(model), bytes);
  td_model_close(model);
}

static void test_files(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) check_model(i);
}

#define GOOD                                                                                                   \
  "name = \"x\"; architecture = \"llama\"; layers = 2; hidden = 64; heads = 4; kv_heads = 2; head_dim = 16;\n" \
  "ffn = 128; vocab = 100; context = 64; rope_dim = 16; rope_theta = 10000.0; norm_epsilon = 1e-5; weights = " \
  "\"f16\";\n"

/* A later line of the same key is an error of its own, so a change replaces text of GOOD. */
static const struct {
  const char *from, *to, *words[2];
  td_status status;
} mistakes[] = {
    {"layers = 2", "layers = 0", {":1: layers: found 0"}, TD_CONFIG},
    {"layers = 2", "layers = 5000", {":1: layers: found 5000"}, TD_CONFIG},
    {"layers = 2", "layers = \"two\"", {":1: layers"}, TD_CONFIG},
    {"layers = 2; ", "", {"layers"}, TD_CONFIG},
    {"hidden = 64", "hiden = 64", {"hiden", "hidden"}, TD_CONFIG},
    {"kv_heads = 2", "kv_heads = 3", {"kv_heads", "found 3, expected a divisor"}, TD_CONFIG},
    {"rope_dim = 16", "rope_dim = 15", {"rope_dim", "found 15, expected an even number"}, TD_CONFIG},
    {"rope_dim = 16", "rope_dim = 18", {"rope_dim", "found 18"}, TD_CONFIG},
    {"rope_theta = 10000.0", "rope_theta = -1.0", {"rope_theta", "-1"}, TD_CONFIG},
    {"vocab = 100", "vocab = 99999999999", {"vocab"}, TD_CONFIG},
    {"\"f16\"", "\"q9_k\"", {"weights", "q9_k"}, TD_CONFIG},
    {"\"f16\"", "\"q5_k\"", {"row of 64 q5_k values: expected a multiple of 256"}, TD_UNSUPPORTED},
    {"\"f16\"", "\"mxfp4\"", {NULL}, TD_OK},
    {"kv_heads = 2;", "", {"kv_heads: found nothing, expected a number for architecture \"llama\""}, TD_CONFIG},
    {"rope_theta = 10000.0;", "", {"rope_theta: found nothing"}, TD_CONFIG},
    {"ffn = 128;", "", {"ffn: found nothing"}, TD_CONFIG},
    {"ffn = 128;", "ffn = 0;", {"ffn: found 0"}, TD_CONFIG},
    {"ffn = 128;", "ffn = 128; window = 8;", {":2: window: found it, expected no such key", "llama"}, TD_CONFIG},
    {"ffn = 128;", "ffn = 128; kv_lora = 8;", {":2: kv_lora: found it"}, TD_CONFIG},
    {"ffn = 128;", "ffn = 128; window_rope_theta = 1e4;", {"window_rope_theta: found it"}, TD_CONFIG},
    {"ffn = 128;", "ffn = 128; experts = 4;", {"experts_used: found nothing, expected both or neither"}, TD_CONFIG},
    {"ffn = 128;",
     "ffn = 128; experts = 4; experts_used = 5;",
     {"experts_used", "found 5, expected 1 up to"},
     TD_CONFIG},
    {"ffn = 128;", "ffn = 128; experts = 4; experts_used = 2;", {NULL}, TD_OK},
    {"ffn = 128;", "ffn = 128; expert_ffn = 32;", {"expert_ffn: found it without experts"}, TD_CONFIG},
    {"ffn = 128;", "ffn = 128; expert_weights = \"q8_0\";", {"expert_weights: found it without experts"}, TD_CONFIG},
    {"ffn = 128;",
     "ffn = 128; experts = 4; experts_used = 2; expert_ffn = 32; expert_weights = \"q8_0\";",
     {NULL},
     TD_OK},
    {"\"llama\"", "\"qwen2\"", {NULL}, TD_OK},
    {"\"llama\"", "\"qwen3\"", {NULL}, TD_OK},
    {"\"llama\"", "\"qwen3\"; rope_factors = true", {"rope_factors: found true, expected no such key"}, TD_CONFIG},
    {"\"llama\"", "\"qwen3moe\"", {"ffn: found it, expected no such key for architecture \"qwen3moe\""}, TD_CONFIG},
    {"\"llama\"", "\"gemma3\"", {"window: found nothing"}, TD_CONFIG},
    {"\"llama\"", "\"gemma3\"; window = 8", {NULL}, TD_OK},
    {"\"llama\"",
     "\"deepseek3\"",
     {"kv_heads: found it, expected no such key for architecture \"deepseek3\""},
     TD_CONFIG},
    {"\"llama\"", "\"opt\"", {"kv_heads: found it", "opt"}, TD_CONFIG},
    {"\"llama\"", "\"gemma\"", {"architecture", "gemma"}, TD_CONFIG},
    {"name = \"x\"", "name = \"\"", {"name", "found 0 bytes"}, TD_CONFIG},
    {"ffn = 128", "ffn = 128 }", {":2:"}, TD_CONFIG},
    {"hidden = 64", "hidden = 48", {NULL}, TD_OK},
};

static td_status open_changed(const char *folder, const char *from, const char *to, struct td_model **out_model) {
  char path[4300];
  const char *at = strstr(GOOD, from);
  assert_non_null(at);
  snprintf(path, sizeof path, "%s/shape.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file, "%.*s%s%s", (int)(at - GOOD), GOOD, to, at + strlen(from));
  assert_int_equal(fclose(file), 0);
  return td_model_open(path, out_model);
}

static void test_mistakes(void **state) {
  (void)state;
  const char *folder = test_scratch();
  assert_non_null(folder);
  for (size_t i = 0; i < sizeof mistakes / sizeof mistakes[0]; i++) {
    struct td_model *model;
    td_status status = open_changed(folder, mistakes[i].from, mistakes[i].to, &model);
    const char *text = td_error_text();
    bool right = status == mistakes[i].status;
    for (int j = 0; j < 2 && status; j++) {
      right = right && strstr(text, "shape.cfg") && (!mistakes[i].words[j] || strstr(text, mistakes[i].words[j]));
    }
    if (!right) fail_msg("%s -> %s: %s, %s", mistakes[i].from, mistakes[i].to, td_code_name(status), text);
    if (status == TD_OK) td_model_close(model);
  }
  struct td_model *model;
  assert_int_equal(open_changed(folder, "\"f16\"", "\"q8_0\"", &model), TD_OK);
  td_model_close(model);
  assert_int_equal(open_changed(folder, "hidden = 64", "hidden = 48, weights2 = 1", &model), TD_CONFIG);
  test_run(NULL, 0, "rm -rf '%s'", folder);
}

/* A block type needs rows of whole blocks: refused when opened, not when priced. */
static void test_torn_blocks(void **state) {
  (void)state;
  struct td_model *model;
  char path[4300];
  const char *folder = test_scratch();
  assert_non_null(folder);
  snprintf(path, sizeof path, "%s/shape.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(
      "name = \"x\"; architecture = \"llama\"; layers = 2; hidden = 48; heads = 4; kv_heads = 2; head_dim = 16;\n"
      "ffn = 128; vocab = 100; context = 64; rope_dim = 16; rope_theta = 1e4; norm_epsilon = 1e-5; weights = \"q8_0\";",
      file);
  assert_int_equal(fclose(file), 0);
  assert_int_equal(td_model_open(path, &model), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "shape.cfg: row of 48 q8_0 values: expected a multiple of 32"));
  test_run(NULL, 0, "rm -rf '%s'", folder);
}

/* Architectures with keys of their own: the least that must be there, and what follows from it. */
#define HEAD "name = \"x\"; layers = 4; hidden = 64; heads = 4; vocab = 100; context = 64; norm_epsilon = 1e-5; "
#define GPT_OSS                                                                                                        \
  HEAD                                                                                                                 \
      "architecture = \"gpt-oss\"; kv_heads = 2; head_dim = 16; rope_dim = 16; rope_theta = 1e4; weights = \"bf16\"; " \
      "experts = 8; experts_used = 2; expert_ffn = 32; expert_weights = \"mxfp4\"; window = 16;"
#define DEEPSEEK3                                                                                                 \
  HEAD "architecture = \"deepseek3\"; rope_dim = 8; rope_theta = 1e4; weights = \"fp8\"; ffn = 96; experts = 8; " \
       "experts_used = 2; expert_ffn = 32; shared_ffn = 32; q_lora = 24; kv_lora = 16; nope_dim = "               \
       "16; "                                                                                                     \
       "value_dim = 12;"
#define BERT HEAD "architecture = \"bert\"; ffn = 96; weights = \"f16\";"

static td_status open_text(const char *folder, const char *text, struct td_model **out_model) {
  char path[4300];
  snprintf(path, sizeof path, "%s/shape.cfg", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs(text, file);
  assert_int_equal(fclose(file), 0);
  return td_model_open(path, out_model);
}

static struct td_shape shape_of(const char *folder, const char *text) {
  struct td_model *model;
  if (open_text(folder, text, &model)) fail_msg("%s", td_error_text());
  struct td_shape shape = *td_model_shape(model);
  td_model_close(model);
  return shape;
}

static void test_other_keys(void **state) {
  (void)state;
  const char *folder = test_scratch();
  assert_non_null(folder);
  struct td_shape shape = shape_of(folder, GPT_OSS);
  assert_int_equal(shape.arch, TD_ARCH_GPT_OSS);
  assert_int_equal(shape.window, 16);
  assert_int_equal(shape.window_period, 2);
  assert_int_equal(shape.expert_dtype, TD_MXFP4);
  assert_int_equal(shape.weight_dtype, TD_BF16);
  shape = shape_of(folder, GPT_OSS " window_period = 3;");
  assert_int_equal(shape.window_period, 3);
  shape = shape_of(folder, DEEPSEEK3 " dense_layers = 1;");
  assert_int_equal(shape.kv_heads, 1);
  assert_int_equal(shape.head_dim, 24);
  assert_int_equal(shape.dense_layers, 1);
  assert_int_equal(shape.expert_dtype, TD_FP8);
  assert_int_equal(td_shape_kv_elements(&shape), 24);
  shape = shape_of(folder, BERT);
  assert_int_equal(shape.kv_heads, 4);
  assert_int_equal(shape.head_dim, 16);
  assert_int_equal(shape.rope_dim, 0);
  static const struct {
    const char *text, *words;
  } wrong[] = {
      {BERT " tied_output = true;", "tied_output: found true, expected no such key for architecture \"bert\""},
      {BERT " rope_dim = 8;", "rope_dim: found it, expected no such key"},
      {DEEPSEEK3 " dense_layers = 5;", "dense_layers"},
      {HEAD "architecture = \"deepseek3\"; rope_dim = 8; rope_theta = 1e4; weights = \"fp8\"; ffn = 96;",
       "experts: found nothing, expected a number for architecture \"deepseek3\""},
      {"name = \"x\"; layers = 4; hidden = 64; heads = 5; vocab = 9; context = 9; norm_epsilon = 0.0; ffn = 8;"
       "architecture = \"bert\"; weights = \"f16\";",
       "hidden: found 64, expected a multiple of 5 heads"},
  };
  for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
    struct td_model *model;
    assert_int_equal(open_text(folder, wrong[i].text, &model), TD_CONFIG);
    if (!strstr(td_error_text(), wrong[i].words)) fail_msg("%s: %s", wrong[i].words, td_error_text());
  }
  test_run(NULL, 0, "rm -rf '%s'", folder);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_files),
      cmocka_unit_test(test_mistakes),
      cmocka_unit_test(test_torn_blocks),
      cmocka_unit_test(test_other_keys),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
