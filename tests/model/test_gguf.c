/* SPDX-License-Identifier: Apache-2.0
 *
 * The GGUF reader on good files, on files of other kinds and on paths that are none.
 */
#include <stdio.h>
#include <sys/stat.h>

#include "gguf_builder.h"
#include "support.h"
#include "tandem/base.h"

static void prepare(struct gb_file *file) {
  gb_init(file);
  gb_llama(file);
  gb_place(file);
}

static void test_built_file(void **state) {
  (void)state;
  struct gb_file file;
  struct td_model *model;
  unsigned char *bytes;
  prepare(&file);
  assert_int_equal(gb_open(&file, &bytes, &model), TD_OK);
  const struct td_shape *shape = td_model_shape(model);
  assert_string_equal(shape->name, "built");
  assert_int_equal(shape->layers, 1);
  assert_int_equal(shape->hidden, 32);
  assert_int_equal(shape->heads, 2);
  assert_int_equal(shape->kv_heads, 1);
  assert_int_equal(shape->head_dim, 16);
  assert_int_equal(shape->ffn, 64);
  assert_int_equal(shape->vocab, 320);
  assert_int_equal(shape->context, 128);
  assert_int_equal(shape->rope_dim, 16);
  assert_true(shape->rope_theta == 10000.0);
  assert_true(shape->tied_output);
  assert_false(shape->rope_factors);
  assert_int_equal(shape->weight_dtype, TD_Q8_0);
  assert_null(td_model_tokenizer(model));
  assert_true(td_model_has_weights(model));
  uint64_t sum = 0;
  for (int i = 0; i < file.tensors_used; i++) {
    const struct td_tensor *tensor = td_model_tensor(model, file.tensors[i].name);
    assert_non_null(tensor);
    assert_int_equal(tensor->bytes, file.tensors[i].bytes);
    assert_int_equal(tensor->cols, file.tensors[i].ne[0]);
    sum += tensor->bytes;
  }
  assert_int_equal(td_model_weight_bytes(model), sum);
  assert_null(td_model_tensor(model, "blk.1.attn_q.weight"));
  td_model_close(model);
  free(bytes);
  gb_free(&file);
}

static void test_optional_keys(void **state) {
  (void)state;
  struct gb_file file;
  struct td_model *model;
  unsigned char *bytes;
  prepare(&file);
  gb_drop(&file, "llama.attention.head_count_kv");
  gb_shape(&file, "blk.0.attn_k.weight", TD_F32, 32, 32);
  gb_shape(&file, "blk.0.attn_v.weight", TD_F32, 32, 32);
  gb_shape(&file, "output.weight", TD_F32, 32, 320);
  gb_shape(&file, "rope_freqs.weight", TD_F32, 4, 1);
  gb_u32(&file, "llama.attention.key_length", 16);
  gb_u32(&file, "llama.attention.value_length", 16);
  gb_u32(&file, "llama.rope.dimension_count", 8);
  gb_u32(&file, "llama.vocab_size", 320);
  gb_u32(&file, "llama.expert_count", 0);
  gb_text(&file, "llama.rope.scaling.type", "linear");
  gb_f32(&file, "llama.rope.scaling.factor", 1.0f);
  gb_bool(&file, "llama.attention.causal", 1);
  gb_u32(&file, "general.alignment", 64);
  file.alignment = 64;
  gb_text(&file, "general.name", "a name that is far too long for the field it has to go into, by quite a bit");
  gb_place(&file);
  assert_int_equal(gb_open(&file, &bytes, &model), TD_OK);
  const struct td_shape *shape = td_model_shape(model);
  assert_int_equal(shape->kv_heads, 2);
  assert_int_equal(shape->rope_dim, 8);
  assert_false(shape->tied_output);
  assert_true(shape->rope_factors);
  assert_int_equal(strlen(shape->name), TD_NAME_BYTES - 1);
  assert_string_equal(shape->name + TD_NAME_BYTES - 4, "...");
  td_model_close(model);
  free(bytes);
  gb_free(&file);
}

static void test_digest(void **state) {
  (void)state;
  struct gb_file file;
  struct td_model *model;
  unsigned char *bytes;
  uint64_t digests[3];
  for (int i = 0; i < 3; i++) {
    prepare(&file);
    if (i == 2) gb_tensor(&file, "blk.0.ffn_gate.weight")->value = 2;
    assert_int_equal(gb_open(&file, &bytes, &model), TD_OK);
    digests[i] = td_model_digest(model);
    td_model_close(model);
    free(bytes);
    gb_free(&file);
  }
  assert_true(digests[0] == digests[1]);
  assert_true(digests[0] != digests[2]);
}

/* ---- paths ---- */

static void check_path(const char *path, td_status status, const char *words) {
  struct td_model *model;
  td_status got = td_model_open(path, &model);
  if (got != status || !strstr(td_error_text(), words) || !strstr(td_error_text(), path)) {
    fail_msg("%s: %s, %s", path, td_code_name(got), td_error_text());
  }
}

static void write_file(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  assert_int_equal(fclose(file), 0);
}

static void test_paths(void **state) {
  (void)state;
  char path[4300];
  const char *folder = test_scratch();
  assert_non_null(folder);
  check_path(folder, TD_IO, "found a folder");
  check_path("/no/such/model.gguf", TD_NOT_FOUND, "No such file");
  snprintf(path, sizeof path, "%s/empty.gguf", folder);
  write_file(path, "", 0);
  check_path(path, TD_CORRUPT, "found an empty file");
  snprintf(path, sizeof path, "%s/three.gguf", folder);
  write_file(path, "GGU", 3);
  check_path(path, TD_CORRUPT, "magic: found the end of the file");
  snprintf(path, sizeof path, "%s/text.gguf", folder);
  write_file(path, "hello, I am text\n", 17);
  check_path(path, TD_UNSUPPORTED, "magic: found bytes 68 65 6c 6c");
  snprintf(path, sizeof path, "%s/pipe.gguf", folder);
  assert_int_equal(mkfifo(path, 0600), 0);
  check_path(path, TD_IO, "found a special file");
  if (geteuid()) { /* root may read everything */
    snprintf(path, sizeof path, "%s/text.gguf", folder);
    assert_int_equal(chmod(path, 0), 0);
    check_path(path, TD_IO, "Permission denied");
  }
  test_run(NULL, 0, "rm -rf '%s'", folder);
}

static void test_tiny_files(void **state) {
  (void)state;
  static const struct {
    const char *name;
    bool tied, factors;
  } models[] = {{"tests/data/tiny/llama.gguf", false, false}, {"tests/data/tiny/llama-ropescale.gguf", true, true}};
  for (int i = 0; i < 2; i++) {
    struct td_model *model;
    assert_int_equal(td_model_open(test_source(models[i].name), &model), TD_OK);
    const struct td_shape *shape = td_model_shape(model);
    assert_int_equal(shape->layers, 4);
    assert_int_equal(shape->vocab, 320);
    assert_int_equal(shape->rope_dim, 32);
    assert_true(shape->rope_theta == 500000.0);
    assert_int_equal(shape->tied_output, models[i].tied);
    assert_int_equal(shape->rope_factors, models[i].factors);
    assert_int_equal(shape->weight_dtype, TD_Q8_0);
    assert_non_null(td_model_tokenizer(model));
    td_model_close(model);
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_built_file), cmocka_unit_test(test_optional_keys), cmocka_unit_test(test_digest),
      cmocka_unit_test(test_paths),      cmocka_unit_test(test_tiny_files),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
