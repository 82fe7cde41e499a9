/* SPDX-License-Identifier: Apache-2.0
 *
 * The tokenizer against the reference ids of SmolLM2, and on vocabularies built here.
 */
#include <jansson.h>
#include <pthread.h>
#include <stdio.h>

#include "gguf_builder.h"
#include "model/tokenizer.h"
#include "support.h"
#include "tandem/base.h"

/* ---- one built model per test ---- */

struct built {
  struct gb_file file;
  unsigned char *bytes;
  struct td_model *model;
  const struct td_tokenizer *tokenizer;
};

static const char *const merges[] = {"h e", "\xc4\xa0 he", "he l", "a a", "aa aa", "\xc4\xa0 h"};
#define MERGES ((int)(sizeof merges / sizeof merges[0]))
enum {
  ID_HE = 256,
  ID_HEL,
  ID_AA,
  ID_AAAA,
  ID_SPACE_H,
  ID_SPACE_HE,
  ID_WORD,
  ID_START,
  ID_START_LONG,
  ID_USER,
  ID_END
};

static void describe(struct built *b) {
  static const char *const normal[] = {"he", "hel", "aa", "aaaa", "\xc4\xa0h", "\xc4\xa0he", "word"};
  gb_init(&b->file);
  gb_llama(&b->file);
  gb_byte_tokens(&b->file);
  for (size_t i = 0; i < sizeof normal / sizeof normal[0]; i++) gb_token(&b->file, normal[i], TD_TOKEN_NORMAL);
  gb_token(&b->file, "<|im_start|>", TD_TOKEN_CONTROL);
  gb_token(&b->file, "<|im_start|>x", TD_TOKEN_CONTROL);
  gb_token(&b->file, "<user>", TD_TOKEN_USER);
  gb_token(&b->file, "<|im_end|>", TD_TOKEN_CONTROL);
}

static td_status open_built(struct built *b) {
  gb_place(&b->file);
  td_status status = gb_open(&b->file, &b->bytes, &b->model);
  if (status) return status;
  b->tokenizer = td_model_tokenizer(b->model);
  return TD_OK;
}

static void build(struct built *b, const char *pre) {
  describe(b);
  gb_write_tokens(&b->file, "gpt2", pre, merges, MERGES);
  assert_int_equal(open_built(b), TD_OK);
  assert_non_null(b->tokenizer);
}

static void drop(struct built *b) {
  td_model_close(b->model);
  free(b->bytes);
  gb_free(&b->file);
}

/* ---- checks ---- */

static void check_round_trip(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, const int32_t *ids,
                             int64_t count) {
  struct td_text back = {0};
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t piece_bytes;
    assert_int_equal(td_tokenizer_piece(tokenizer, ids[i], &piece, &piece_bytes), TD_OK);
    td_text_add(&back, piece, piece_bytes);
  }
  assert_false(back.failed);
  assert_int_equal(back.bytes, bytes);
  if (bytes) assert_memory_equal(back.data, text, bytes);
  td_text_free(&back);
}

static void check_ids(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, bool special,
                      const int32_t *want, int64_t want_count) {
  int32_t *ids;
  int64_t count;
  if (td_tokenizer_encode(tokenizer, text, bytes, special, &ids, &count)) fail_msg("%s", td_error_text());
  bool same = count == want_count;
  for (int64_t i = 0; same && i < count; i++) same = ids[i] == want[i];
  if (!same) {
    for (int64_t i = 0; i < count; i++) print_error("%d ", ids[i]);
    fail_msg("\"%.*s\": found the %d ids above", (int)bytes, text, (int)count);
  }
  check_round_trip(tokenizer, text, bytes, ids, count);
  free(ids);
}

#define IDS(...) (const int32_t[]){__VA_ARGS__}, (int64_t)(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void check_line(const struct td_tokenizer *tokenizer, const char *line) {
  json_error_t error;
  json_t *root = json_loads(line, JSON_ALLOW_NUL, &error);
  if (!root) fail_msg("%s: %s", line, error.text);
  json_t *text = json_object_get(root, "text"), *list = json_object_get(root, "ids");
  size_t count = json_array_size(list);
  int32_t *want = calloc(count + 1, sizeof *want);
  assert_non_null(want);
  for (size_t i = 0; i < count; i++) want[i] = (int32_t)json_integer_value(json_array_get(list, i));
  check_ids(tokenizer, json_string_value(text), json_string_length(text), true, want, (int64_t)count);
  free(want);
  json_decref(root);
}

static void test_reference(void **state) {
  (void)state;
  struct td_model *model;
  char *lines;
  size_t bytes;
  int done = 0;
  const char *path = test_model_path();
  if (!path) {
    print_message("SKIPPED: no SmolLM2 model (TANDEM_TEST_MODEL)\n");
    skip();
    return;
  }
  assert_int_equal(td_model_open(path, &model), TD_OK);
  assert_int_equal(td_read_file(test_source("tests/data/model/tokenizer.jsonl"), 1 << 20, &lines, &bytes), TD_OK);
  for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) {
    check_line(td_model_tokenizer(model), line);
    done++;
  }
  assert_int_equal(done, 64);
  free(lines);
  td_model_close(model);
}

static void test_merging(void **state) {
  (void)state;
  struct built b;
  build(&b, "gpt2");
  check_ids(b.tokenizer, "", 0, true, NULL, 0);
  check_ids(b.tokenizer, "hello", 5, true, IDS(ID_HEL, 'l', 'o'));
  check_ids(b.tokenizer, "ehe", 3, true, IDS('e', ID_HE));
  check_ids(b.tokenizer, "he he", 5, true, IDS(ID_HE, ID_SPACE_HE));
  check_ids(b.tokenizer, "h hel", 5, true, IDS('h', ID_SPACE_HE, 'l'));
  check_ids(b.tokenizer, "h ha", 4, true, IDS('h', ID_SPACE_H, 'a'));
  check_ids(b.tokenizer, "aaaaaaa", 7, true, IDS(ID_AAAA, ID_AA, 'a'));
  check_ids(b.tokenizer, "aaaaa", 5, true, IDS(ID_AAAA, 'a'));
  check_ids(b.tokenizer, "word", 4, true, IDS('w', 'o', 'r', 'd'));
  drop(&b);
}

static void test_whole_words(void **state) {
  (void)state;
  struct built b;
  build(&b, "llama-bpe");
  check_ids(b.tokenizer, "word", 4, true, IDS(ID_WORD));
  check_ids(b.tokenizer, "words", 5, true, IDS('w', 'o', 'r', 'd', 's'));
  check_ids(b.tokenizer, "hel", 3, true, IDS(ID_HEL));
  drop(&b);
}

static void test_specials(void **state) {
  (void)state;
  struct built b;
  build(&b, "smollm");
  check_ids(b.tokenizer, "<|im_start|>he", 14, true, IDS(ID_START, ID_HE));
  check_ids(b.tokenizer, "<|im_start|>x", 13, true, IDS(ID_START_LONG));
  check_ids(b.tokenizer, "a<user>a", 8, false, IDS('a', ID_USER, 'a'));
  check_ids(b.tokenizer, "<|im_start|><|im_end|>", 22, true, IDS(ID_START, ID_END));
  check_ids(b.tokenizer, "<|im_end|>", 10, false, IDS('<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|', '>'));
  check_ids(b.tokenizer, "<|im_end|", 9, true, IDS('<', '|', 'i', 'm', '_', 'e', 'n', 'd', '|'));
  assert_true(td_tokenizer_is_end(b.tokenizer, ID_END));
  assert_false(td_tokenizer_is_end(b.tokenizer, ID_START));
  assert_int_equal(td_tokenizer_bos(b.tokenizer), -1);
  assert_int_equal(td_tokenizer_size(b.tokenizer), ID_END + 1);
  drop(&b);
}

static void test_bos_and_eos(void **state) {
  (void)state;
  struct built b;
  describe(&b);
  gb_write_tokens(&b.file, "gpt2", "gpt2", merges, MERGES);
  gb_u32(&b.file, "tokenizer.ggml.bos_token_id", ID_START);
  gb_u32(&b.file, "tokenizer.ggml.eos_token_id", 7);
  gb_u32(&b.file, "tokenizer.ggml.eot_token_id", 8);
  assert_int_equal(open_built(&b), TD_OK);
  assert_int_equal(td_tokenizer_bos(b.tokenizer), ID_START);
  assert_true(td_tokenizer_is_end(b.tokenizer, 7));
  assert_true(td_tokenizer_is_end(b.tokenizer, 8));
  assert_true(td_tokenizer_is_end(b.tokenizer, ID_END));
  assert_false(td_tokenizer_is_end(b.tokenizer, -1));
  drop(&b);
}

static void check_adds_bos(const char *pre, int key, bool want) {
  struct built b;
  describe(&b);
  gb_write_tokens(&b.file, "gpt2", pre, merges, MERGES);
  gb_u32(&b.file, "tokenizer.ggml.bos_token_id", ID_START);
  if (key >= 0) gb_bool(&b.file, "tokenizer.ggml.add_bos_token", key);
  assert_int_equal(open_built(&b), TD_OK);
  assert_int_equal(td_tokenizer_adds_bos(b.tokenizer), want);
  drop(&b);
}

static void test_adds_bos(void **state) {
  (void)state;
  check_adds_bos("gpt-2", -1, false);
  check_adds_bos("gpt-2", 1, true);
  check_adds_bos("llama-bpe", -1, true);
  check_adds_bos("tekken", -1, true);
  check_adds_bos("llama-bpe", 0, false);
  struct built b;
  build(&b, "llama-bpe"); /* no BOS to add */
  assert_false(td_tokenizer_adds_bos(b.tokenizer));
  drop(&b);
}

/* Every byte, alone and in every kind of broken sequence. */
static void test_any_bytes(void **state) {
  (void)state;
  static const char *const torn[] = {"\xc3",
                                     "\xe2\x82",
                                     "\xf0\x9f\x99",
                                     "\xc0\x80",
                                     "\xed\xa0\x80",
                                     "\xf5\x80\x80\x80",
                                     "a\200b",
                                     "\xff\xfe",
                                     "\xf4\x90\x80\x80",
                                     "\xe0\x80\x80 \xc3\xa9 \xc3"};
  static const char *const pres[] = {"smollm", "gpt2", "qwen2", "llama-bpe", "tekken", "gpt-4o", "default"};
  char all[512];
  for (int i = 0; i < 256; i++) {
    all[i] = (char)i;
    all[511 - i] = (char)i;
  }
  for (size_t i = 0; i < sizeof pres / sizeof pres[0]; i++) {
    struct built b;
    int32_t *ids;
    int64_t count;
    build(&b, pres[i]);
    assert_int_equal(td_tokenizer_encode(b.tokenizer, all, sizeof all, true, &ids, &count), TD_OK);
    check_round_trip(b.tokenizer, all, sizeof all, ids, count);
    free(ids);
    for (size_t j = 0; j < sizeof torn / sizeof torn[0]; j++) {
      assert_int_equal(td_tokenizer_encode(b.tokenizer, torn[j], strlen(torn[j]), true, &ids, &count), TD_OK);
      check_round_trip(b.tokenizer, torn[j], strlen(torn[j]), ids, count);
      free(ids);
    }
    drop(&b);
  }
}

static void test_missing_byte(void **state) {
  (void)state;
  struct built b;
  int32_t *ids;
  int64_t count;
  gb_init(&b.file);
  gb_llama(&b.file);
  b.file.missing_byte = 0xff;
  gb_byte_tokens(&b.file);
  gb_write_tokens(&b.file, "gpt2", "gpt2", merges, 0);
  assert_int_equal(open_built(&b), TD_OK);
  assert_int_equal(td_tokenizer_encode(b.tokenizer, "ab\xff", 3, true, &ids, &count), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "no token for byte 0xff (byte 2 of the text)"));
  drop(&b);
}

/* Quadratic merging would take hours here. */
static void test_long_words(void **state) {
  (void)state;
  const size_t bytes = 400003;
  static const char fill[] = {'a', ' ', '\n', 'h', '\'', '1'};
  char *text = malloc(bytes);
  assert_non_null(text);
  struct built b;
  build(&b, "qwen2");
  for (size_t i = 0; i < sizeof fill; i++) {
    int32_t *ids;
    int64_t count;
    memset(text, fill[i], bytes);
    assert_int_equal(td_tokenizer_encode(b.tokenizer, text, bytes, true, &ids, &count), TD_OK);
    if (fill[i] == 'a') assert_int_equal(count, bytes / 4 + 2); /* ... aa, a */
    check_round_trip(b.tokenizer, text, bytes, ids, count);
    free(ids);
  }
  drop(&b);
  free(text);
}

static void *encode_in_thread(void *argument) {
  const struct built *b = argument;
  int32_t *ids;
  int64_t count;
  const char *piece;
  size_t bytes;
  if (td_tokenizer_encode(b->tokenizer, "hello hello", 11, true, &ids, &count)) return NULL;
  bool right = count == 7 && ids[0] == ID_HEL && ids[3] == ID_SPACE_HE;
  right = right && td_tokenizer_piece(b->tokenizer, ids[3], &piece, &bytes) == TD_OK && bytes == 3;
  free(ids);
  return right ? argument : NULL;
}

static void test_threads(void **state) {
  (void)state;
  struct built b;
  pthread_t threads[4];
  build(&b, "gpt2");
  for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&threads[i], NULL, encode_in_thread, &b), 0);
  for (int i = 0; i < 4; i++) {
    void *result;
    assert_int_equal(pthread_join(threads[i], &result), 0);
    assert_ptr_equal(result, &b);
  }
  drop(&b);
}

/* ---- refusals ---- */

static void check_unusable(const char *model, const char *pre, const char *words) {
  struct built b;
  int32_t *ids;
  int64_t count;
  const char *piece;
  size_t bytes;
  char *text;
  describe(&b);
  gb_write_tokens(&b.file, model, pre, merges, MERGES);
  assert_int_equal(open_built(&b), TD_OK);
  assert_int_equal(td_tokenizer_usable(b.tokenizer), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), words));
  assert_int_equal(td_tokenizer_encode(b.tokenizer, "a", 1, true, &ids, &count), TD_UNSUPPORTED);
  assert_int_equal(td_tokenizer_piece(b.tokenizer, 1, &piece, &bytes), TD_UNSUPPORTED);
  assert_int_equal(td_tokenizer_chat(b.tokenizer, &(struct td_chat_message){"user", "x"}, 1, &text), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), words));
  drop(&b);
}

static void test_unusable(void **state) {
  (void)state;
  check_unusable("t5", "default",
                 "tokenizer.ggml.model: found \"t5\", expected \"gpt2\" (byte-level BPE) or \"llama\"");
  check_unusable("gpt2", "deepseek-llm", "tokenizer.ggml.pre: found \"deepseek-llm\", expected \"smollm\"");
}

static void refuse_at_opening(struct built *b, const char *words) {
  td_status status = open_built(b);
  if (status != TD_CORRUPT || !strstr(td_error_text(), words)) {
    fail_msg("%s: %s, %s", words, td_code_name(status), td_error_text());
  }
  gb_free(&b->file);
}

static void describe_all(struct built *b) {
  describe(b);
  gb_write_tokens(&b->file, "gpt2", "gpt2", merges, MERGES);
}

static void test_contradictions(void **state) {
  (void)state;
  struct built b;
  describe_all(&b);
  gb_texts(&b.file, "tokenizer.ggml.tokens", b.file.tokens, b.file.token_count - 1);
  refuse_at_opening(&b, "tokenizer.ggml.tokens: found 266 entries, expected 267");
  describe_all(&b);
  gb_i32s(&b.file, "tokenizer.ggml.token_type", b.file.types, 3);
  refuse_at_opening(&b, "tokenizer.ggml.token_type: found 3 entries, expected 267");
  describe_all(&b);
  gb_drop(&b.file, "tokenizer.ggml.merges");
  refuse_at_opening(&b, "tokenizer.ggml.merges: found nothing, expected an array of string");
  describe_all(&b);
  gb_i32s(&b.file, "tokenizer.ggml.tokens", b.file.types, 3);
  refuse_at_opening(&b, "tokenizer.ggml.tokens: found int32 array, expected an array of string");
  describe_all(&b);
  b.file.types[5] = 7;
  gb_i32s(&b.file, "tokenizer.ggml.token_type", b.file.types, b.file.token_count);
  refuse_at_opening(&b, "tokenizer.ggml.token_type[5]: found 7, expected 1 to 6");
  describe_all(&b);
  gb_u32(&b.file, "tokenizer.ggml.eos_token_id", 267);
  refuse_at_opening(&b, "tokenizer.ggml.eos_token_id: found 267, expected 0 to 266");
}

/* They are looked for at every byte of a text: a megabyte of one letter before a token of 30,000 took minutes. */
static void test_long_specials(void **state) {
  (void)state;
  static const int32_t types[] = {TD_TOKEN_CONTROL, TD_TOKEN_USER, TD_TOKEN_UNKNOWN};
  static char text[TD_SPECIAL_BYTES_MAX + 2];
  for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
    struct built b;
    memset(text, 'a', TD_SPECIAL_BYTES_MAX + 1);
    describe(&b);
    gb_token(&b.file, text, types[i]);
    gb_write_tokens(&b.file, "gpt2", "gpt2", merges, MERGES);
    assert_int_equal(open_built(&b), TD_UNSUPPORTED);
    assert_non_null(strstr(td_error_text(), "tokens[267]: found 129 bytes in a token of type"));
    gb_free(&b.file);
    text[TD_SPECIAL_BYTES_MAX] = 0;
    describe(&b);
    gb_token(&b.file, text, types[i]);
    gb_write_tokens(&b.file, "gpt2", "gpt2", merges, MERGES);
    assert_int_equal(open_built(&b), TD_OK);
    drop(&b);
  }
}

static void refuse_at_encoding(struct built *b, const char *words) {
  int32_t *ids;
  int64_t count;
  assert_int_equal(open_built(b), TD_OK);
  for (int i = 0; i < 2; i++) { /* the second time it must fail the same way */
    assert_int_equal(td_tokenizer_encode(b->tokenizer, "a", 1, true, &ids, &count), TD_CORRUPT);
    if (!strstr(td_error_text(), words)) fail_msg("%s: %s", words, td_error_text());
  }
  drop(b);
}

static void test_bad_tables(void **state) {
  (void)state;
  struct built b;
  describe(&b);
  gb_write_tokens(&b.file, "gpt2", "gpt2", (const char *const[]){"h e", "a b"}, 2);
  refuse_at_encoding(&b, "tokenizer.ggml.merges[1]: found \"a b\", expected two tokens");
  describe(&b);
  gb_write_tokens(&b.file, "gpt2", "gpt2", (const char *const[]){"he"}, 1);
  refuse_at_encoding(&b, "tokenizer.ggml.merges[0]: found \"he\", expected two tokens");
  describe(&b);
  gb_write_tokens(&b.file, "gpt2", "gpt2", (const char *const[]){"h e", "a a", "h e"}, 3);
  refuse_at_encoding(&b, "tokenizer.ggml.merges[2]: found \"h e\" again, expected it only at 0");
  describe(&b);
  gb_token(&b.file, "he", TD_TOKEN_NORMAL);
  gb_write_tokens(&b.file, "gpt2", "gpt2", merges, MERGES);
  refuse_at_encoding(&b, "tokenizer.ggml.tokens[267]: found \"he\" again, expected it only at 256");
}

static void test_piece_range(void **state) {
  (void)state;
  struct built b;
  const char *piece;
  size_t bytes;
  build(&b, "gpt2");
  assert_int_equal(td_tokenizer_piece(b.tokenizer, -1, &piece, &bytes), TD_NOT_FOUND);
  assert_int_equal(td_tokenizer_piece(b.tokenizer, ID_END + 1, &piece, &bytes), TD_NOT_FOUND);
  assert_non_null(strstr(td_error_text(), "found 267, expected 0 to 266"));
  assert_int_equal(td_tokenizer_piece(b.tokenizer, ID_SPACE_H, &piece, &bytes), TD_OK);
  assert_int_equal(bytes, 2);
  assert_memory_equal(piece, " h", 2);
  drop(&b);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reference),    cmocka_unit_test(test_merging),        cmocka_unit_test(test_whole_words),
      cmocka_unit_test(test_specials),     cmocka_unit_test(test_bos_and_eos),    cmocka_unit_test(test_any_bytes),
      cmocka_unit_test(test_missing_byte), cmocka_unit_test(test_long_words),     cmocka_unit_test(test_threads),
      cmocka_unit_test(test_unusable),     cmocka_unit_test(test_contradictions), cmocka_unit_test(test_long_specials),
      cmocka_unit_test(test_bad_tables),   cmocka_unit_test(test_piece_range),    cmocka_unit_test(test_adds_bos),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
