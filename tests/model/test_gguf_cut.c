/* SPDX-License-Identifier: Apache-2.0
 *
 * Files cut short and files with flipped bits: refused or read, never a crash.
 */
#include "gguf_builder.h"
#include "model/internal.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/graph.h"

static td_status open_copy(const unsigned char *data, size_t bytes) {
  struct td_model *model;
  unsigned char *copy = malloc(bytes ? bytes : 1);
  assert_non_null(copy);
  memcpy(copy, data, bytes);
  td_status status = td_model_open_bytes("cut.gguf", copy, bytes, false, &model);
  if (status == TD_OK) td_model_close(model);
  free(copy);
  return status;
}

static void check_cuts(const char *path, size_t header) {
  char *data;
  size_t bytes;
  if (access(path, R_OK)) {
    print_message("SKIPPED: no %s\n", path);
    return;
  }
  assert_int_equal(td_read_file(path, 16 << 20, &data, &bytes), TD_OK);
  assert_int_equal(open_copy((unsigned char *)data, bytes), TD_OK);
  for (size_t cut = 0; cut < bytes; cut += cut < header ? 1 : 4999) {
    td_status status = open_copy((unsigned char *)data, cut);
    if (status != TD_CORRUPT) fail_msg("cut at %zu: %s, %s", cut, td_code_name(status), td_error_text());
  }
  assert_int_equal(open_copy((unsigned char *)data, bytes - 1), TD_CORRUPT);
  free(data);
}

static void test_cut_files(void **state) {
  (void)state;
  check_cuts(test_source("tests/data/tiny/llama.gguf"), 8200);
  check_cuts(test_source("tests/data/tiny/llama-ropescale.gguf"), 8200);
}

static void use_model(struct td_model *model) {
  struct td_graph *graph;
  int32_t *ids;
  int64_t count;
  td_model_digest(model);
  if (td_graph_build(model, &graph) == TD_OK) td_graph_free(graph);
  const struct td_tokenizer *tokenizer = td_model_tokenizer(model);
  if (!tokenizer || td_tokenizer_encode(tokenizer, "the <|im_end|> \xff", 16, true, &ids, &count)) return;
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t bytes;
    assert_int_equal(td_tokenizer_piece(tokenizer, ids[i], &piece, &bytes), TD_OK);
  }
  free(ids);
}

static void test_flipped_bits(void **state) {
  (void)state;
  struct gb_file file;
  uint64_t size;
  gb_init(&file);
  gb_llama(&file);
  gb_byte_tokens(&file);
  gb_token(&file, "he", 1);
  gb_token(&file, "<|im_end|>", 3);
  gb_write_tokens(&file, "gpt2", "smollm", (const char *const[]){"h e"}, 1);
  gb_place(&file);
  unsigned char *bytes = gb_bytes(&file, &size);
  uint64_t opened = 0;
  for (uint64_t round = 0; round < 4000; round++) {
    uint64_t at = td_random(1, 1, round) % size;
    unsigned char before = bytes[at];
    struct td_model *model;
    bytes[at] = (unsigned char)(before ^ 1u << td_random(1, 2, round) % 8);
    if (td_model_open_bytes("flipped.gguf", bytes, size, false, &model) == TD_OK) {
      opened++;
      use_model(model);
      td_model_close(model);
    }
    bytes[at] = before;
  }
  assert_in_range(opened, 1, 3999);
  free(bytes);
  gb_free(&file);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cut_files),
      cmocka_unit_test(test_flipped_bits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
