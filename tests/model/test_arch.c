/* SPDX-License-Identifier: Apache-2.0
 *
 * The architectures that are read from GGUF: what their files must hold, may hold and must not hold.
 */
#include <math.h>
#include <stdio.h>

#include "gguf_builder.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"

/* ---- one small file of each: hidden 32, 2 heads of 16, 1 KV head ---- */

static void rename_to(struct gb_file *f, const char *arch) {
  gb_text(f, "general.architecture", arch);
  for (int i = 0; i < f->values_used; i++) {
    char key[80];
    if (strncmp(f->values[i].key, "llama.", 6)) continue;
    snprintf(key, sizeof key, "%s.%.60s", arch, f->values[i].key + 6);
    memcpy(f->values[i].key, key, sizeof key);
  }
}

static void add_stack(struct gb_file *f, const char *name, uint64_t cols, uint64_t rows, uint64_t experts) {
  gb_shape(f, name, TD_F16, cols, rows);
  gb_tensor(f, name)->dims = 3;
  gb_tensor(f, name)->ne[2] = experts;
}

static void add_experts(struct gb_file *f, uint64_t width) {
  gb_drop_tensor(f, "blk.0.ffn_gate.weight");
  gb_drop_tensor(f, "blk.0.ffn_up.weight");
  gb_drop_tensor(f, "blk.0.ffn_down.weight");
  gb_shape(f, "blk.0.ffn_gate_inp.weight", TD_F32, 32, 4);
  add_stack(f, "blk.0.ffn_gate_exps.weight", 32, width, 4);
  add_stack(f, "blk.0.ffn_up_exps.weight", 32, width, 4);
  add_stack(f, "blk.0.ffn_down_exps.weight", width, 32, 4);
}

static void add_head_norms(struct gb_file *f) {
  gb_shape(f, "blk.0.attn_q_norm.weight", TD_F32, 16, 1);
  gb_shape(f, "blk.0.attn_k_norm.weight", TD_F32, 16, 1);
}

static void llama(struct gb_file *f) {
  (void)f;
}

static void mixtral(struct gb_file *f) {
  gb_u32(f, "llama.expert_count", 4);
  gb_u32(f, "llama.expert_used_count", 2);
  add_experts(f, 64);
}

static void qwen2(struct gb_file *f) {
  rename_to(f, "qwen2");
  gb_shape(f, "blk.0.attn_q.bias", TD_F32, 32, 1);
  gb_shape(f, "blk.0.attn_k.bias", TD_F32, 16, 1);
  gb_shape(f, "blk.0.attn_v.bias", TD_F32, 16, 1);
}

static void qwen3(struct gb_file *f) {
  rename_to(f, "qwen3");
  add_head_norms(f);
}

static void qwen3moe(struct gb_file *f) {
  rename_to(f, "qwen3moe");
  gb_u32(f, "qwen3moe.expert_count", 4);
  gb_u32(f, "qwen3moe.expert_used_count", 2);
  gb_u32(f, "qwen3moe.expert_feed_forward_length", 48);
  add_head_norms(f);
  add_experts(f, 48);
}

static void gemma3(struct gb_file *f) {
  rename_to(f, "gemma3");
  gb_u32(f, "gemma3.attention.sliding_window", 8);
  add_head_norms(f);
  gb_shape(f, "blk.0.post_attention_norm.weight", TD_F32, 32, 1);
  gb_shape(f, "blk.0.post_ffw_norm.weight", TD_F32, 32, 1);
}

typedef void change(struct gb_file *f);

static td_status open_changed(change *base, change *more, unsigned char **out_bytes, struct td_model **out_model) {
  static struct gb_file file;
  gb_init(&file);
  gb_llama(&file);
  base(&file);
  if (more) more(&file);
  gb_place(&file);
  td_status status = gb_open(&file, out_bytes, out_model);
  gb_free(&file);
  return status;
}

/* ---- files with a mistake, and files that only look like one ---- */

#define CHANGE(name, ...)               \
  static void name(struct gb_file *f) { \
    __VA_ARGS__;                        \
  }

CHANGE(bias_gone, gb_drop_tensor(f, "blk.0.attn_k.bias"))
CHANGE(bias_short, gb_shape(f, "blk.0.attn_v.bias", TD_F32, 8, 1))
CHANGE(bias_f16, gb_shape(f, "blk.0.attn_q.bias", TD_F16, 32, 1))
CHANGE(output_bias, gb_shape(f, "blk.0.attn_output.bias", TD_F32, 32, 1))
CHANGE(norm_of_row, gb_shape(f, "blk.0.attn_q_norm.weight", TD_F32, 32, 1))
CHANGE(norm_gone, gb_drop_tensor(f, "blk.0.attn_k_norm.weight"))
CHANGE(post_norm_gone, gb_drop_tensor(f, "blk.0.post_ffw_norm.weight"))
CHANGE(factors, gb_shape(f, "rope_freqs.weight", TD_F32, 8, 1))
CHANGE(stack_swapped, add_stack(f, "blk.0.ffn_up_exps.weight", 32, 4, 48))
CHANGE(stack_flat, gb_shape(f, "blk.0.ffn_up_exps.weight", TD_F16, 32, 192))
CHANGE(stack_short, add_stack(f, "blk.0.ffn_down_exps.weight", 48, 32, 3))
CHANGE(matrix_stacked, add_stack(f, "blk.0.attn_q.weight", 32, 16, 2))
CHANGE(router_gone, gb_drop_tensor(f, "blk.0.ffn_gate_inp.weight"))
CHANGE(dense_too, gb_shape(f, "blk.0.ffn_up.weight", TD_F16, 32, 64))
CHANGE(none_used, gb_u32(f, "qwen3moe.expert_used_count", 0))
CHANGE(five_used, gb_u32(f, "qwen3moe.expert_used_count", 5))
CHANGE(no_experts, gb_drop(f, "qwen3moe.expert_count"); gb_drop(f, "qwen3moe.expert_used_count"))
CHANGE(no_widths, gb_drop(f, "qwen3moe.expert_feed_forward_length"); gb_drop(f, "qwen3moe.feed_forward_length"))
CHANGE(no_width, gb_drop(f, "llama.feed_forward_length"))
CHANGE(shared, gb_u32(f, "qwen3moe.expert_shared_count", 1))
CHANGE(sigmoid, gb_u32(f, "qwen3moe.expert_gating_func", 2))
CHANGE(scaled, gb_f32(f, "qwen3moe.expert_weights_scale", 2.5f))
CHANGE(unnormalised, gb_bool(f, "qwen3moe.expert_weights_norm", 0))
CHANGE(experts_of_dense, gb_u32(f, "qwen2.expert_count", 4))
CHANGE(foreign_window, gb_u32(f, "qwen3.attention.sliding_window", 8))
CHANGE(softcap, gb_f32(f, "gemma3.final_logit_softcapping", 30))
CHANGE(causal, gb_bool(f, "gemma3.attention.causal", 0))
CHANGE(yarn, gb_text(f, "qwen3.rope.scaling.type", "yarn"))
CHANGE(local_theta, gb_f32(f, "gemma3.rope.freq_base_swa", -1))
CHANGE(flags_short,
       gb_raw(f, "gemma3.attention.sliding_window_pattern", TD_GGUF_ARRAY, "\7\0\0\0\2\0\0\0\0\0\0\0\1\1", 14))
CHANGE(flags_aperiodic, gb_u32(f, "gemma3.block_count", 5);
       gb_raw(f, "gemma3.attention.sliding_window_pattern", TD_GGUF_ARRAY, "\7\0\0\0\5\0\0\0\0\0\0\0\1\0\1\1\0", 17))
CHANGE(llama_key, gb_u32(f, "llama.block_count", 1))
CHANGE(unknown_key, gb_u32(f, "qwen2.attention.max_alibi_bias", 1))
CHANGE(similar_key, gb_u32(f, "qwen2vl.block_count", 1))
CHANGE(no_effect, gb_u32(f, "qwen3moe.expert_shared_feed_forward_length", 0);
       gb_u32(f, "qwen3moe.expert_group_count", 1); gb_bool(f, "qwen3moe.expert_weights_norm", 1);
       gb_u32(f, "qwen3moe.expert_gating_func", 1); gb_f32(f, "qwen3moe.expert_weights_scale", 0);
       gb_u32(f, "qwen3moe.vocab_size", 320); gb_u32(f, "qwen3moe.attention.value_length", 16);
       gb_f32(f, "qwen3moe.rope.scaling.attn_factor", 1))
CHANGE(vision, gb_u32(f, "gemma3.vision.block_count", 27); gb_u32(f, "gemma3.mm.tokens_per_image", 256))
CHANGE(vision_tensor, gb_shape(f, "v.blk.0.attn_q.weight", TD_F16, 32, 32))

static const struct {
  const char *name;
  change *base, *more;
  td_status status;
  const char *words[2];
} cases[] = {
    {"bias_gone", qwen2, bias_gone, TD_CORRUPT, {"tensor blk.0.attn_k.bias: found none, expected 1 x 16"}},
    {"bias_short", qwen2, bias_short, TD_CORRUPT, {"attn_v.bias: shape: found 1 rows of 8, expected 1 rows of 16"}},
    {"bias_f16", qwen2, bias_f16, TD_UNSUPPORTED, {"attn_q.bias: type: found f16, expected f32"}},
    {"bias in llama",
     llama,
     output_bias,
     TD_UNSUPPORTED,
     {"attn_output.bias: found a tensor that is no part of a llama"}},
    {"bias in qwen2",
     qwen2,
     output_bias,
     TD_UNSUPPORTED,
     {"attn_output.bias: found a tensor that is no part of a qwen2"}},
    {"norm_of_row",
     qwen3,
     norm_of_row,
     TD_CORRUPT,
     {"attn_q_norm.weight: shape: found 1 rows of 32, expected 1 rows of 16"}},
    {"norm_gone", qwen3, norm_gone, TD_CORRUPT, {"tensor blk.0.attn_k_norm.weight: found none"}},
    {"post_norm_gone", gemma3, post_norm_gone, TD_CORRUPT, {"tensor blk.0.post_ffw_norm.weight: found none"}},
    {"factors",
     qwen2,
     factors,
     TD_UNSUPPORTED,
     {"tensor rope_freqs.weight: found a tensor that is no part of a qwen2"}},
    {"stack_swapped",
     qwen3moe,
     stack_swapped,
     TD_CORRUPT,
     {"ffn_up_exps.weight: shape: found 32 x 4 x 48 x 1, expected 32 x 48 x 4"}},
    {"stack_flat", qwen3moe, stack_flat, TD_CORRUPT, {"found 32 x 192 x 1 x 1, expected 32 x 48 x 4"}},
    {"stack_short", qwen3moe, stack_short, TD_CORRUPT, {"ffn_down_exps.weight: shape: found 48 x 32 x 3"}},
    {"matrix_stacked",
     llama,
     matrix_stacked,
     TD_CORRUPT,
     {"attn_q.weight: shape: found 32 x 16 x 2 x 1, expected 32 x 32 x 1"}},
    {"router_gone",
     mixtral,
     router_gone,
     TD_CORRUPT,
     {"tensor blk.0.ffn_gate_inp.weight: found none, expected 4 x 32"}},
    {"dense_too", mixtral, dense_too, TD_UNSUPPORTED, {"tensor blk.0.ffn_up.weight: found a tensor that is no part"}},
    {"none_used",
     qwen3moe,
     none_used,
     TD_CORRUPT,
     {"expert_used_count", "found 0, expected 1 up to the number of experts"}},
    {"five_used", qwen3moe, five_used, TD_CORRUPT, {"expert_used_count", "found 5"}},
    {"no_experts", qwen3moe, no_experts, TD_CORRUPT, {"expert_count (experts): found 0, expected at least 1"}},
    {"no_widths", qwen3moe, no_widths, TD_CORRUPT, {"qwen3moe.expert_feed_forward_length: found no such key"}},
    {"no_width", llama, no_width, TD_CORRUPT, {"llama.feed_forward_length: found no such key"}},
    {"shared", qwen3moe, shared, TD_UNSUPPORTED, {"expert_shared_count: found 1, expected 0"}},
    {"sigmoid", qwen3moe, sigmoid, TD_UNSUPPORTED, {"expert_gating_func: found 2, expected 1"}},
    {"scaled", qwen3moe, scaled, TD_UNSUPPORTED, {"expert_weights_scale: found 2.5, expected 1"}},
    {"unnormalised", qwen3moe, unnormalised, TD_UNSUPPORTED, {"expert_weights_norm: found false, expected true"}},
    {"experts_of_dense", qwen2, experts_of_dense, TD_UNSUPPORTED, {"qwen2.expert_count: found 4, expected 0"}},
    {"foreign_window", qwen3, foreign_window, TD_UNSUPPORTED, {"qwen3.attention.sliding_window: found a parameter"}},
    {"softcap", gemma3, softcap, TD_UNSUPPORTED, {"gemma3.final_logit_softcapping: found 30, expected 0"}},
    {"causal", gemma3, causal, TD_UNSUPPORTED, {"gemma3.attention.causal: found false"}},
    {"yarn", qwen3, yarn, TD_UNSUPPORTED, {"qwen3.rope.scaling.type: found \"yarn\""}},
    {"local_theta", gemma3, local_theta, TD_CORRUPT, {"freq_base_swa", "found -1, expected a positive number"}},
    {"flags_short", gemma3, flags_short, TD_CORRUPT, {"sliding_window_pattern: found 2 flags, expected 1"}},
    {"flags_aperiodic", gemma3, flags_aperiodic, TD_UNSUPPORTED, {"sliding_window_pattern: found layer 3 windowed"}},
    {"unknown_key", qwen2, unknown_key, TD_UNSUPPORTED, {"max_alibi_bias: found a parameter", "beyond a plain qwen2"}},
    {"vision_tensor", gemma3, vision_tensor, TD_UNSUPPORTED, {"tensor v.blk.0.attn_q.weight: found a tensor"}},
    {"llama_key in qwen2", qwen2, llama_key, TD_OK, {NULL}},
    {"similar_key", qwen2, similar_key, TD_OK, {NULL}},
    {"no_effect", qwen3moe, no_effect, TD_OK, {NULL}},
    {"vision", gemma3, vision, TD_OK, {NULL}},
};

static void test_cases(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct td_model *model = NULL;
    unsigned char *bytes = NULL;
    td_status status = open_changed(cases[i].base, cases[i].more, &bytes, &model);
    const char *text = td_error_text();
    bool right = status == cases[i].status;
    if (status) right = right && !strncmp(text, "built.gguf: ", 12) && !strchr(text, '\n');
    for (int j = 0; j < 2 && status; j++) right = right && (!cases[i].words[j] || strstr(text, cases[i].words[j]));
    if (!right) fail_msg("%s: status %s, \"%s\"", cases[i].name, td_code_name(status), text);
    if (status) continue;
    td_model_close(model);
    free(bytes);
  }
}

/* Shape-only architectures are known by name, and refused as files. */
static void test_names(void **state) {
  (void)state;
  static const char *const names[TD_ARCH_COUNT] = {"llama",   "qwen2",     "qwen3", "qwen3moe", "gemma3",
                                                   "gpt-oss", "deepseek3", "opt",   "bert"};
  for (int i = 0; i < TD_ARCH_COUNT; i++) {
    assert_string_equal(td_arch_name((enum td_arch)i), names[i]);
    assert_int_equal(td_arch_executes((enum td_arch)i), i <= TD_ARCH_GEMMA3);
  }
  assert_string_equal(td_arch_name(TD_ARCH_COUNT), "unknown");
  assert_false(td_arch_executes(TD_ARCH_COUNT));
  static const char *const refused[] = {"gpt-oss", "deepseek3", "deepseek2", "opt", "bert", "qwen", ""};
  for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
    struct gb_file file;
    struct td_model *model;
    unsigned char *bytes;
    gb_init(&file);
    gb_llama(&file);
    rename_to(&file, refused[i]);
    gb_place(&file);
    assert_int_equal(gb_open(&file, &bytes, &model), TD_UNSUPPORTED);
    assert_non_null(strstr(td_error_text(), "expected one of llama, qwen2, qwen3, qwen3moe, gemma3"));
    gb_free(&file);
  }
}

/* ---- what is read ---- */

static struct td_shape shape_of(change *base, change *more) {
  struct td_model *model;
  unsigned char *bytes;
  if (open_changed(base, more, &bytes, &model)) fail_msg("%s", td_error_text());
  struct td_shape shape = *td_model_shape(model);
  td_model_close(model);
  free(bytes);
  return shape;
}

static void test_experts(void **state) {
  (void)state;
  struct td_shape shape = shape_of(mixtral, NULL);
  assert_int_equal(shape.arch, TD_ARCH_LLAMA);
  assert_int_equal(shape.experts, 4);
  assert_int_equal(shape.experts_used, 2);
  assert_int_equal(shape.ffn, 64);
  assert_int_equal(shape.expert_ffn, 64);
  assert_int_equal(shape.weight_dtype, TD_F16);
  shape = shape_of(qwen3moe, NULL);
  assert_int_equal(shape.arch, TD_ARCH_QWEN3MOE);
  assert_int_equal(shape.expert_ffn, 48);
  assert_int_equal(td_shape_kv_elements(&shape), 32);
}

CHANGE(width_by_division, gb_drop(f, "qwen3moe.expert_feed_forward_length");
       gb_u32(f, "qwen3moe.feed_forward_length", 96))

static void test_expert_width(void **state) {
  (void)state;
  assert_int_equal(shape_of(qwen3moe, width_by_division).expert_ffn, 48);
}

static void more_layers(struct gb_file *f, int layers) {
  int tensors = f->tensors_used;
  gb_u32(f, "gemma3.block_count", (uint32_t)layers);
  for (int layer = 1; layer < layers; layer++) {
    for (int i = 0; i < tensors; i++) {
      char name[80];
      if (strncmp(f->tensors[i].name, "blk.0.", 6)) continue;
      snprintf(name, sizeof name, "blk.%d.%.60s", layer, f->tensors[i].name + 6);
      gb_shape(f, name, f->tensors[i].type, f->tensors[i].ne[0], f->tensors[i].dims > 1 ? f->tensors[i].ne[1] : 1);
    }
  }
}

CHANGE(four_layers, more_layers(f, 4))
CHANGE(four_by_two, more_layers(f, 4); gb_u32(f, "gemma3.attention.sliding_window_pattern", 2))
CHANGE(four_by_flags, more_layers(f, 4);
       gb_raw(f, "gemma3.attention.sliding_window_pattern", TD_GGUF_ARRAY, "\7\0\0\0\4\0\0\0\0\0\0\0\1\1\1\0", 16))
CHANGE(all_windowed, more_layers(f, 2);
       gb_raw(f, "gemma3.attention.sliding_window_pattern", TD_GGUF_ARRAY, "\7\0\0\0\2\0\0\0\0\0\0\0\1\1", 14))
CHANGE(no_window, more_layers(f, 2); gb_drop(f, "gemma3.attention.sliding_window"))

static void check_windows(change *more, int32_t window, const char *windowed) {
  struct td_shape shape = shape_of(gemma3, more);
  assert_int_equal(shape.window, window);
  assert_int_equal(shape.layers, strlen(windowed));
  for (int32_t i = 0; i < shape.layers; i++) assert_int_equal(td_shape_is_windowed(&shape, i), windowed[i] == 'w');
}

static void test_windows(void **state) {
  (void)state;
  check_windows(four_layers, 8, "wwww");
  check_windows(four_by_two, 8, "wfwf");
  check_windows(four_by_flags, 8, "wwwf");
  check_windows(all_windowed, 8, "ww");
  check_windows(no_window, 0, "ff");
  struct td_shape by_six = {.window = 8, .window_period = 6, .layers = 12};
  for (int32_t i = 0; i < 12; i++) assert_int_equal(td_shape_is_windowed(&by_six, i), i != 5 && i != 11);
}

CHANGE(ollama, gb_f32(f, "gemma3.rope.global.freq_base", 1e6f); gb_f32(f, "gemma3.rope.local.freq_base", 2e4f))
CHANGE(swa, gb_f32(f, "gemma3.rope.freq_base", 5e5f); gb_f32(f, "gemma3.rope.freq_base_swa", 3e4f))

static void test_rope_bases(void **state) {
  (void)state;
  struct td_shape shape = shape_of(gemma3, NULL);
  assert_true(shape.rope_theta == 10000 && shape.window_rope_theta == 10000);
  shape = shape_of(gemma3, ollama);
  assert_true(shape.rope_theta == 1e6 && shape.window_rope_theta == 2e4);
  shape = shape_of(gemma3, swa);
  assert_true(shape.rope_theta == 5e5 && shape.window_rope_theta == 3e4);
}

CHANGE(linear, gb_text(f, "llama.rope.scaling.type", "linear"); gb_f32(f, "llama.rope.scaling.factor", 8))
CHANGE(by_default, gb_f32(f, "llama.rope.scaling.factor", 4))
CHANGE(old_key, gb_f32(f, "llama.rope.scale_linear", 2))
CHANGE(new_key_first, gb_f32(f, "llama.rope.scaling.factor", 4); gb_f32(f, "llama.rope.scale_linear", 2))
CHANGE(none, gb_text(f, "llama.rope.scaling.type", "none"); gb_f32(f, "llama.rope.scaling.factor", 8))
CHANGE(zero, gb_f32(f, "llama.rope.scaling.factor", 0))

static void test_rope_scaling(void **state) {
  (void)state;
  static const struct {
    change *more;
    double scale;
  } scalings[] = {{NULL, 1}, {linear, 0.125}, {by_default, 0.25}, {old_key, 0.5}, {new_key_first, 0.25},
                  {none, 1}, {zero, 1}};
  for (size_t i = 0; i < sizeof scalings / sizeof scalings[0]; i++) {
    assert_true(shape_of(llama, scalings[i].more).rope_scale == scalings[i].scale);
  }
}

/* ---- the reference's models ---- */

static void test_reference(void **state) {
  (void)state;
  static const struct {
    const char *name;
    enum td_arch arch;
    int32_t layers, head_dim, experts, window;
    bool tied;
  } models[] = {
      {"llama", TD_ARCH_LLAMA, 4, 32, 0, 0, false},       {"mixtral", TD_ARCH_LLAMA, 4, 32, 4, 0, false},
      {"qwen2", TD_ARCH_QWEN2, 4, 32, 0, 0, false},       {"qwen3", TD_ARCH_QWEN3, 4, 64, 0, 0, false},
      {"qwen3moe", TD_ARCH_QWEN3MOE, 4, 64, 8, 0, false}, {"gemma3", TD_ARCH_GEMMA3, 7, 64, 0, 32, true},
  };
  for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
    char name[64];
    struct td_model *model;
    struct td_graph *graph = NULL;
    snprintf(name, sizeof name, "reference/tiny/%s.gguf", models[i].name);
    const char *path = test_shared(name);
    if (!path) {
      print_message("SKIPPED: no ../shared/%s\n", name);
      continue;
    }
    if (td_model_open(path, &model) || td_graph_build(model, &graph)) fail_msg("%s", td_error_text());
    const struct td_shape *shape = td_model_shape(model);
    assert_int_equal(shape->arch, models[i].arch);
    assert_int_equal(shape->layers, models[i].layers);
    assert_int_equal(shape->head_dim, models[i].head_dim);
    assert_int_equal(shape->rope_dim, models[i].head_dim);
    assert_int_equal(shape->experts, models[i].experts);
    assert_int_equal(shape->window, models[i].window);
    assert_int_equal(shape->tied_output, models[i].tied);
    assert_int_equal(shape->weight_dtype, TD_Q8_0);
    td_graph_free(graph);
    td_model_close(model);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cases),        cmocka_unit_test(test_names),     cmocka_unit_test(test_experts),
      cmocka_unit_test(test_expert_width), cmocka_unit_test(test_windows),   cmocka_unit_test(test_rope_bases),
      cmocka_unit_test(test_rope_scaling), cmocka_unit_test(test_reference),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
