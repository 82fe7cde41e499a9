/* SPDX-License-Identifier: Apache-2.0
 *
 * Every way we know to break a GGUF file: the status, and the words that must be in the message.
 */
#include <stdio.h>

#include "gguf_builder.h"
#include "support.h"
#include "tandem/base.h"

/* One change to a good file. */
#define CHANGE(name, ...)               \
  static void name(struct gb_file *f) { \
    __VA_ARGS__;                        \
  }

CHANGE(big_endian, f->version = 0x03000000)
CHANGE(version_1, f->version = 1)
CHANGE(version_2, f->version = 2)
CHANGE(version_4, f->version = 4)
CHANGE(old_magic, memcpy(f->magic, "lmgg", 4))
CHANGE(many_tensors, f->tensor_count = INT64_MAX)
CHANGE(many_values, f->value_count = INT64_MAX)
CHANGE(one_tensor_more, f->tensor_count = f->tensors_used + 1)
CHANGE(one_value_more, f->value_count = f->values_used + 1)
CHANGE(no_architecture, gb_drop(f, "general.architecture"))
CHANGE(architecture_type, gb_u32(f, "general.architecture", 1))
CHANGE(architecture_gemma, gb_text(f, "general.architecture", "gemma2"))
CHANGE(key_twice, gb_u32(f, "x.y", 1); gb_u32(f, "x.z", 1); memcpy(f->values[f->values_used - 1].key, "x.y", 4))
CHANGE(empty_key, gb_u32(f, "", 1))
CHANGE(value_type, gb_raw(f, "x", 13, "1234", 4))
CHANGE(bool_value, gb_bool(f, "x", 2))
CHANGE(array_type, gb_raw(f, "x", TD_GGUF_ARRAY, "\377\0\0\0\1\0\0\0\0\0\0\0", 12))
CHANGE(array_nested, gb_raw(f, "x", TD_GGUF_ARRAY, "\11\0\0\0\1\0\0\0\0\0\0\0", 12))
CHANGE(array_huge, gb_raw(f, "x", TD_GGUF_ARRAY, "\12\0\0\0\377\377\377\377\377\377\377\377", 12))
CHANGE(array_long, gb_raw(f, "x", TD_GGUF_ARRAY, "\0\0\0\0\377\377\377\377\0\0\0\0", 12))
CHANGE(strings_long, gb_raw(f, "x", TD_GGUF_ARRAY, "\10\0\0\0\377\377\377\377\377\377\377\177", 12))
CHANGE(string_long, gb_raw(f, "x", TD_GGUF_STRING, "\377\377\377\377\377\377\377\377", 8))
CHANGE(alignment_odd, gb_u32(f, "general.alignment", 24))
CHANGE(alignment_zero, gb_u32(f, "general.alignment", 0))
CHANGE(alignment_text, gb_text(f, "general.alignment", "32"))
CHANGE(split_file, gb_u32(f, "split.count", 2))

CHANGE(no_layers_key, gb_drop(f, "llama.block_count"))
CHANGE(layers_zero, gb_u32(f, "llama.block_count", 0))
CHANGE(layers_huge, gb_u32(f, "llama.block_count", UINT32_MAX))
CHANGE(layers_real, gb_f32(f, "llama.block_count", 1))
CHANGE(layers_more, gb_u32(f, "llama.block_count", 2))
CHANGE(heads_odd, gb_u32(f, "llama.attention.head_count", 3))
CHANGE(kv_heads_odd, gb_u32(f, "llama.attention.head_count_kv", 3))
CHANGE(kv_heads_array, gb_i32s(f, "llama.attention.head_count_kv", (const int32_t[]){1, 1}, 2))
CHANGE(value_length, gb_u32(f, "llama.attention.value_length", 8))
CHANGE(no_epsilon, gb_drop(f, "llama.attention.layer_norm_rms_epsilon"))
CHANGE(epsilon_nan, gb_raw(f, "llama.attention.layer_norm_rms_epsilon", TD_GGUF_F32, "\0\0\300\177", 4))
CHANGE(epsilon_negative, gb_f32(f, "llama.attention.layer_norm_rms_epsilon", -1))
CHANGE(theta_zero, gb_f32(f, "llama.rope.freq_base", 0))
CHANGE(rope_odd, gb_u32(f, "llama.rope.dimension_count", 7))
CHANGE(rope_wide, gb_u32(f, "llama.rope.dimension_count", 18))
CHANGE(rope_yarn, gb_text(f, "llama.rope.scaling.type", "yarn"))
CHANGE(rope_linear, gb_f32(f, "llama.rope.scaling.factor", -4))
CHANGE(rope_scale, gb_f32(f, "llama.rope.scale_linear", -2))
CHANGE(experts, gb_u32(f, "llama.expert_count", 8))
CHANGE(not_causal, gb_bool(f, "llama.attention.causal", 0))
CHANGE(window, gb_u32(f, "llama.attention.sliding_window", 64))
CHANGE(vocab_size, gb_u32(f, "llama.vocab_size", 321))

CHANGE(tensor_gone, gb_drop_tensor(f, "blk.0.ffn_up.weight"); gb_place(f))
CHANGE(embedding_gone, gb_drop_tensor(f, "token_embd.weight"); gb_place(f))
CHANGE(tensor_twice, gb_tensor(f, "x")->dims = 1; gb_tensor(f, "x")->ne[0] = 1;
       snprintf(gb_tensor(f, "x")->name, sizeof f->tensors[0].name, "blk.0.ffn_up.weight"))
CHANGE(tensor_bias, gb_shape(f, "blk.0.attn_q.bias", TD_F32, 32, 1); gb_place(f))
CHANGE(tensor_layer, gb_shape(f, "blk.1.attn_q.weight", TD_F32, 32, 32); gb_place(f))
CHANGE(tensor_transposed, gb_shape(f, "blk.0.attn_k.weight", TD_F32, 16, 32); gb_place(f))
CHANGE(type_iq3, gb_tensor(f, "blk.0.ffn_up.weight")->type = 21)
CHANGE(type_mxfp4, gb_tensor(f, "blk.0.ffn_up.weight")->type = TD_MXFP4)
CHANGE(type_our_own, gb_tensor(f, "blk.0.ffn_up.weight")->type = TD_FP8)
CHANGE(type_unknown, gb_tensor(f, "blk.0.ffn_up.weight")->type = 77)
CHANGE(norm_f16, gb_tensor(f, "blk.0.ffn_norm.weight")->type = TD_F16; gb_place(f))
CHANGE(block_torn, gb_tensor(f, "blk.0.attn_q.weight")->ne[0] = 33)
CHANGE(dims_none, gb_tensor(f, "blk.0.attn_q.weight")->dims = 0)
CHANGE(dims_five, gb_tensor(f, "blk.0.attn_q.weight")->dims = 5)
CHANGE(dim_zero, gb_tensor(f, "blk.0.attn_q.weight")->ne[1] = 0)
CHANGE(dim_huge, gb_tensor(f, "blk.0.attn_q.weight")->ne[1] = UINT64_MAX)
CHANGE(dim_wraps, gb_tensor(f, "blk.0.attn_q.weight")->ne[0] = UINT64_C(1) << 33;
       gb_tensor(f, "blk.0.attn_q.weight")->ne[1] = UINT64_C(1) << 33)
CHANGE(offset_odd, gb_tensor(f, "blk.0.attn_q.weight")->offset += 8)
CHANGE(offset_far, gb_tensor(f, "blk.0.attn_q.weight")->offset = UINT64_C(1) << 40)
CHANGE(offset_wraps, gb_tensor(f, "blk.0.attn_q.weight")->offset = UINT64_MAX - 31)
CHANGE(overlap, gb_tensor(f, "blk.0.attn_q.weight")->offset = gb_tensor(f, "blk.0.ffn_up.weight")->offset)
CHANGE(name_long, memset(gb_tensor(f, "output_norm.weight")->name, 'x', 70))
CHANGE(factor_zero, gb_shape(f, "rope_freqs.weight", TD_F32, 8, 1); gb_tensor(f, "rope_freqs.weight")->value = 0;
       gb_place(f))
CHANGE(factor_count, gb_shape(f, "rope_freqs.weight", TD_F32, 4, 1); gb_place(f))

static const struct {
  const char *name;
  void (*change)(struct gb_file *);
  td_status status;
  const char *words[3];
} broken[] = {
    {"big_endian", big_endian, TD_UNSUPPORTED, {"version: found a big-endian file"}},
    {"version_1", version_1, TD_UNSUPPORTED, {"version: found 1, expected 3"}},
    {"version_2", version_2, TD_UNSUPPORTED, {"version: found 2, expected 3"}},
    {"version_4", version_4, TD_CORRUPT, {"version: found 4, expected 3"}},
    {"old_magic", old_magic, TD_UNSUPPORTED, {"magic: found", "lmgg", "expected \"GGUF\""}},
    {"many_tensors", many_tensors, TD_CORRUPT, {"tensor count: found 9223372036854775807, expected at most"}},
    {"many_values", many_values, TD_CORRUPT, {"metadata count: found 9223372036854775807, expected at most"}},
    {"one_tensor_more", one_tensor_more, TD_CORRUPT, {"tensor 11: name: found"}},
    {"one_value_more", one_value_more, TD_CORRUPT, {"found the end of the file"}},
    {"no_architecture", no_architecture, TD_CORRUPT, {"general.architecture: found nothing, expected a string"}},
    {"architecture_type", architecture_type, TD_CORRUPT, {"general.architecture: found uint32, expected a string"}},
    {"architecture_gemma",
     architecture_gemma,
     TD_UNSUPPORTED,
     {"found \"gemma2\", expected one of llama, qwen2, qwen3"}},
    {"key_twice", key_twice, TD_CORRUPT, {"metadata key x.y: found twice"}},
    {"empty_key", empty_key, TD_CORRUPT, {"metadata key 9: key: found 0 bytes"}},
    {"value_type", value_type, TD_CORRUPT, {"(x): type: found 13, expected 0 to 12"}},
    {"bool_value", bool_value, TD_CORRUPT, {"(x): bool: found 2, expected 0 or 1"}},
    {"array_type", array_type, TD_CORRUPT, {"(x): array type: found 255"}},
    {"array_nested", array_nested, TD_UNSUPPORTED, {"(x): array type: found arrays inside an array"}},
    {"array_huge", array_huge, TD_CORRUPT, {"(x): array length: found 18446744073709551615"}},
    {"array_long", array_long, TD_CORRUPT, {"(x): value: found the end of the file"}},
    {"strings_long", strings_long, TD_CORRUPT, {"(x): string: found the end of the file"}},
    {"string_long",
     string_long,
     TD_CORRUPT,
     {"(x): string: found the end of the file", "expected 18446744073709551615"}},
    {"alignment_odd", alignment_odd, TD_CORRUPT, {"general.alignment: found 24, expected a power of two"}},
    {"alignment_zero", alignment_zero, TD_CORRUPT, {"general.alignment: found 0"}},
    {"alignment_text", alignment_text, TD_CORRUPT, {"general.alignment: found string, expected an integer"}},
    {"split_file", split_file, TD_UNSUPPORTED, {"split.count: found 2, expected 1"}},
    {"no_layers_key", no_layers_key, TD_CORRUPT, {"llama.block_count: found nothing, expected an integer"}},
    {"layers_zero", layers_zero, TD_CORRUPT, {"llama.block_count: found 0, expected 1 to"}},
    {"layers_huge", layers_huge, TD_CORRUPT, {"llama.block_count: found 4294967295, expected 1 to"}},
    {"layers_real", layers_real, TD_CORRUPT, {"llama.block_count: found float32, expected an integer"}},
    {"layers_more", layers_more, TD_CORRUPT, {"tensor blk.1.attn_norm.weight: found none"}},
    {"heads_odd", heads_odd, TD_CORRUPT, {"llama.embedding_length: found 32, expected a multiple of 3"}},
    {"kv_heads_odd", kv_heads_odd, TD_CORRUPT, {"head_count_kv", "found 3, expected a divisor"}},
    {"kv_heads_array", kv_heads_array, TD_CORRUPT, {"head_count_kv: found int32 array, expected an integer"}},
    {"value_length", value_length, TD_UNSUPPORTED, {"value_length: found 8, expected 16"}},
    {"no_epsilon", no_epsilon, TD_CORRUPT, {"layer_norm_rms_epsilon: found nothing"}},
    {"epsilon_nan", epsilon_nan, TD_CORRUPT, {"layer_norm_rms_epsilon: found nan"}},
    {"epsilon_negative", epsilon_negative, TD_CORRUPT, {"layer_norm_rms_epsilon", "found -1"}},
    {"theta_zero", theta_zero, TD_CORRUPT, {"rope.freq_base", "found 0, expected a positive number"}},
    {"rope_odd", rope_odd, TD_CORRUPT, {"rope.dimension_count", "found 7, expected an even number"}},
    {"rope_wide", rope_wide, TD_CORRUPT, {"rope.dimension_count", "found 18"}},
    {"rope_yarn", rope_yarn, TD_UNSUPPORTED, {"llama.rope.scaling.type: found \"yarn\", expected \"none\""}},
    {"rope_linear", rope_linear, TD_CORRUPT, {"llama.rope.scaling.factor: found -4, expected a positive number"}},
    {"rope_scale", rope_scale, TD_CORRUPT, {"llama.rope.scale_linear: found -2"}},
    {"experts", experts, TD_CORRUPT, {"expert_used_count (experts_used): found 0, expected 1 up to"}},
    {"not_causal", not_causal, TD_UNSUPPORTED, {"llama.attention.causal: found false"}},
    {"window", window, TD_UNSUPPORTED, {"llama.attention.sliding_window: found a parameter"}},
    {"vocab_size", vocab_size, TD_CORRUPT, {"llama.vocab_size: found 321, expected 320"}},
    {"tensor_gone", tensor_gone, TD_CORRUPT, {"tensor blk.0.ffn_up.weight: found none, expected 64 x 32"}},
    {"embedding_gone", embedding_gone, TD_CORRUPT, {"tensor token_embd.weight: found none"}},
    {"tensor_twice", tensor_twice, TD_CORRUPT, {"tensor blk.0.ffn_up.weight: found twice"}},
    {"tensor_bias", tensor_bias, TD_UNSUPPORTED, {"tensor blk.0.attn_q.bias: found a tensor that is no part"}},
    {"tensor_layer", tensor_layer, TD_UNSUPPORTED, {"tensor blk.1.attn_q.weight: found a tensor that is no part"}},
    {"tensor_transposed",
     tensor_transposed,
     TD_CORRUPT,
     {"blk.0.attn_k.weight: shape: found 32 rows of 16, expected 16 rows of 32"}},
    {"type_iq3", type_iq3, TD_UNSUPPORTED, {"blk.0.ffn_up.weight: type: found IQ3_S (21), expected one of f32, f16"}},
    {"type_mxfp4", type_mxfp4, TD_UNSUPPORTED, {"blk.0.ffn_up.weight: type: found MXFP4 (39)"}},
    {"type_our_own", type_our_own, TD_CORRUPT, {"blk.0.ffn_up.weight: type: found an unknown number (1000)"}},
    {"type_unknown", type_unknown, TD_CORRUPT, {"blk.0.ffn_up.weight: type: found an unknown number (77)"}},
    {"norm_f16", norm_f16, TD_UNSUPPORTED, {"blk.0.ffn_norm.weight: type: found f16, expected f32"}},
    {"block_torn", block_torn, TD_CORRUPT, {"blk.0.attn_q.weight: dimension 0: found 33, expected a multiple of 32"}},
    {"dims_none", dims_none, TD_CORRUPT, {"(blk.0.attn_q.weight): number of dimensions: found 0, expected 1 to 4"}},
    {"dims_five", dims_five, TD_CORRUPT, {"(blk.0.attn_q.weight): number of dimensions: found 5"}},
    {"dim_zero", dim_zero, TD_CORRUPT, {"(blk.0.attn_q.weight): dimension: found 0"}},
    {"dim_huge", dim_huge, TD_CORRUPT, {"(blk.0.attn_q.weight): dimension: found 18446744073709551615"}},
    {"dim_wraps", dim_wraps, TD_CORRUPT, {"(blk.0.attn_q.weight): dimension: found 8589934592"}},
    {"offset_odd", offset_odd, TD_CORRUPT, {"blk.0.attn_q.weight: offset: found", "multiple of the alignment 32"}},
    {"offset_far", offset_far, TD_CORRUPT, {"blk.0.attn_q.weight: place: found", "at offset 1099511627776"}},
    {"offset_wraps", offset_wraps, TD_CORRUPT, {"blk.0.attn_q.weight: place: found", "18446744073709551584"}},
    {"overlap", overlap, TD_CORRUPT, {"place: found it overlapping tensor blk.0."}},
    {"name_long", name_long, TD_CORRUPT, {"name: found 70 bytes, expected 1 to 63"}},
    {"factor_zero", factor_zero, TD_CORRUPT, {"rope_freqs.weight: value 0: found 0, expected a positive number"}},
    {"factor_count", factor_count, TD_CORRUPT, {"rope_freqs.weight: shape: found 1 rows of 4, expected 1 rows of 8"}},
};

static void test_broken_files(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
    struct gb_file file;
    struct td_model *model = NULL;
    unsigned char *bytes;
    gb_init(&file);
    gb_llama(&file);
    gb_place(&file);
    broken[i].change(&file);
    td_status status = gb_open(&file, &bytes, &model);
    const char *text = td_error_text();
    bool right = status == broken[i].status && !strncmp(text, "built.gguf: ", 12) && !strchr(text, '\n');
    for (int j = 0; j < 3; j++) right = right && (!broken[i].words[j] || strstr(text, broken[i].words[j]));
    if (!right) fail_msg("%s: status %s, \"%s\"", broken[i].name, td_code_name(status), text);
    gb_free(&file);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_broken_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
