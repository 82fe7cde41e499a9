/* SPDX-License-Identifier: Apache-2.0
 *
 * SentencePiece-style tokenizers: against what the sentencepiece library makes of small vocabularies
 * (make_references.py), and on vocabularies built here.
 */
#include <jansson.h>
#include <math.h>
#include <stdio.h>

#include "gguf_builder.h"
#include "model/tokenizer.h"
#include "support.h"
#include "tandem/base.h"

#define SPACE TD_SPM_SPACE

struct built {
  struct gb_file file;
  float scores[GB_TOKENS];
  unsigned char *bytes;
  struct td_model *model;
  const struct td_tokenizer *tokenizer;
};

static int32_t add(struct built *b, const char *text, float score, int32_t type) {
  int32_t id = gb_token(&b->file, text, type);
  b->scores[id] = score;
  return id;
}

static void begin(struct built *b) {
  gb_init(&b->file);
  gb_llama(&b->file);
}

static void finish(struct built *b) {
  gb_write_spm(&b->file, b->scores);
}

static td_status open_built(struct built *b) {
  gb_place(&b->file);
  td_status status = gb_open(&b->file, &b->bytes, &b->model);
  if (status) return status;
  b->tokenizer = td_model_tokenizer(b->model);
  return TD_OK;
}

static void drop(struct built *b) {
  td_model_close(b->model);
  free(b->bytes);
  gb_free(&b->file);
}

/* ---- checks ---- */

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
  free(ids);
}
#define IDS(...) (const int32_t[]){__VA_ARGS__}, (int64_t)(sizeof((const int32_t[]){__VA_ARGS__}) / sizeof(int32_t))

static void check_back(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, const char *want,
                       size_t want_bytes) {
  struct td_text back = {0};
  int32_t *ids;
  int64_t count;
  assert_int_equal(td_tokenizer_encode(tokenizer, text, bytes, true, &ids, &count), TD_OK);
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t piece_bytes;
    assert_int_equal(td_tokenizer_piece(tokenizer, ids[i], &piece, &piece_bytes), TD_OK);
    td_text_add(&back, piece, piece_bytes);
  }
  assert_int_equal(back.bytes, want_bytes);
  if (want_bytes) assert_memory_equal(back.data, want, want_bytes);
  td_text_free(&back);
  free(ids);
}

/* ---- the library's ids ---- */

static void check_case(const struct td_tokenizer *tokenizer, const json_t *line) {
  const json_t *text = json_array_get(line, 0), *list = json_array_get(line, 1);
  int32_t want[1024];
  size_t count = json_array_size(list);
  assert_in_range(count, 0, 1023);
  for (size_t i = 0; i < count; i++) want[i] = (int32_t)json_integer_value(json_array_get(list, i));
  check_ids(tokenizer, json_string_value(text), json_string_length(text), false, want, (int64_t)count);
}

static void check_vocabulary(const char *line) {
  json_error_t error;
  json_t *root = json_loads(line, JSON_ALLOW_NUL, &error), *piece;
  struct built b;
  size_t i;
  if (!root) fail_msg("%.80s: %s", line, error.text);
  begin(&b);
  json_array_foreach(json_object_get(root, "pieces"), i, piece) {
    add(&b, json_string_value(json_array_get(piece, 0)), (float)json_number_value(json_array_get(piece, 1)),
        (int32_t)json_integer_value(json_array_get(piece, 2)));
  }
  finish(&b);
  gb_bool(&b.file, "tokenizer.ggml.add_space_prefix", json_is_true(json_object_get(root, "prefix")));
  assert_int_equal(open_built(&b), TD_OK);
  json_array_foreach(json_object_get(root, "cases"), i, piece) check_case(b.tokenizer, piece);
  assert_in_range(i, 60, 100);
  drop(&b);
  json_decref(root);
}

static void test_reference(void **state) {
  (void)state;
  char *lines;
  size_t bytes;
  int done = 0;
  assert_int_equal(td_read_file(test_source("tests/data/model/spm.jsonl"), 1 << 20, &lines, &bytes), TD_OK);
  for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n"), done++) check_vocabulary(line);
  assert_int_equal(done, 5);
  free(lines);
}

/* ---- built vocabularies ---- */

enum { ID_UNK, ID_BOS, ID_EOS, ID_BYTE, ID_SPACE = ID_BYTE + 256, ID_A, ID_B, ID_AB, ID_BA, ID_SPACE_A, ID_SEP };

static void describe(struct built *b) {
  static char bytes[256][7];
  begin(b);
  add(b, "<unk>", 0, TD_TOKEN_UNKNOWN);
  add(b, "<s>", 0, TD_TOKEN_CONTROL);
  add(b, "</s>", 0, TD_TOKEN_CONTROL);
  for (int byte = 0; byte < 256; byte++) {
    snprintf(bytes[byte], sizeof bytes[byte], "<0x%02X>", byte);
    add(b, bytes[byte], 0, TD_TOKEN_BYTE);
  }
  add(b, SPACE, -9, TD_TOKEN_NORMAL);
  add(b, "a", -9, TD_TOKEN_NORMAL);
  add(b, "b", -9, TD_TOKEN_NORMAL);
  add(b, "ab", -1, TD_TOKEN_NORMAL);
  add(b, "ba", -1, TD_TOKEN_NORMAL);
  add(b, SPACE "a", -2, TD_TOKEN_NORMAL);
  add(b, "<sep>", -1000, TD_TOKEN_USER);
}

static void build(struct built *b, bool prefix) {
  describe(b);
  finish(b);
  gb_u32(&b->file, "tokenizer.ggml.bos_token_id", ID_BOS);
  gb_u32(&b->file, "tokenizer.ggml.eos_token_id", ID_EOS);
  gb_bool(&b->file, "tokenizer.ggml.add_space_prefix", prefix);
  assert_int_equal(open_built(b), TD_OK);
}

static void test_merging(void **state) {
  (void)state;
  struct built b;
  build(&b, false);
  check_ids(b.tokenizer, "", 0, true, NULL, 0);
  check_ids(b.tokenizer, "aba", 3, true, IDS(ID_AB, ID_A)); /* a tie: the leftmost */
  check_ids(b.tokenizer, "bab", 3, true, IDS(ID_BA, ID_B));
  check_ids(b.tokenizer, " ab", 3, true, IDS(ID_SPACE, ID_AB)); /* the higher score, not the left */
  check_ids(b.tokenizer, " a", 2, true, IDS(ID_SPACE_A));
  check_ids(b.tokenizer, "a\n", 2, true, IDS(ID_A, ID_BYTE + '\n'));
  check_ids(b.tokenizer, "\xc3\xa9", 2, true, IDS(ID_BYTE + 0xc3, ID_BYTE + 0xa9));
  check_ids(b.tokenizer,
            "a\xff"
            "b",
            3, true, IDS(ID_A, ID_BYTE + 0xff, ID_B));
  check_ids(b.tokenizer, "\xe2\x96", 2, true, IDS(ID_BYTE + 0xe2, ID_BYTE + 0x96));
  check_ids(b.tokenizer, "<0x41>", 6, true,
            IDS(ID_BYTE + '<', ID_BYTE + '0', ID_BYTE + 'x', ID_BYTE + '4', ID_BYTE + '1', ID_BYTE + '>'));
  drop(&b);
}

/* As llama.cpp has it: a space before the text, and before what follows a special token. */
static void test_prefix_and_specials(void **state) {
  (void)state;
  struct built b;
  build(&b, true);
  check_ids(b.tokenizer, "", 0, true, NULL, 0);
  check_ids(b.tokenizer, "a", 1, true, IDS(ID_SPACE_A));
  check_ids(b.tokenizer, " a", 2, true, IDS(ID_SPACE, ID_SPACE_A));
  check_ids(b.tokenizer, "<s>a</s>a", 9, true, IDS(ID_BOS, ID_SPACE_A, ID_EOS, ID_SPACE_A));
  check_ids(b.tokenizer, "a<sep>a", 7, false, IDS(ID_SPACE_A, ID_SEP, ID_SPACE_A));
  check_ids(b.tokenizer, "<s>", 3, true, IDS(ID_BOS));
  check_ids(b.tokenizer, "<s>", 3, false, IDS(ID_SPACE, ID_BYTE + '<', ID_BYTE + 's', ID_BYTE + '>'));
  assert_true(td_tokenizer_adds_bos(b.tokenizer));
  assert_true(td_tokenizer_is_end(b.tokenizer, ID_EOS));
  drop(&b);
  build(&b, false);
  check_ids(b.tokenizer, "<s>a<sep>a", 10, true, IDS(ID_BOS, ID_A, ID_SEP, ID_A));
  drop(&b);
}

static void test_pieces(void **state) {
  (void)state;
  struct built b;
  char all[512];
  for (int i = 0; i < 256; i++) all[i] = all[511 - i] = (char)i;
  build(&b, false);
  check_back(b.tokenizer, all, sizeof all, all, sizeof all);
  check_back(b.tokenizer, "<s> ab  \n<sep></s>", 18, "<s> ab  \n<sep></s>", 18);
  check_back(b.tokenizer, "a" SPACE "b", 5, "a b", 3);
  drop(&b);
  build(&b, true);
  check_back(b.tokenizer, "ab a", 4, " ab a", 5);
  drop(&b);
}

static void test_no_byte_tokens(void **state) {
  (void)state;
  struct built b;
  int32_t *ids;
  int64_t count;
  for (int unknown = 0; unknown < 2; unknown++) {
    begin(&b);
    int32_t unk = add(&b, "<unk>", 0, unknown ? TD_TOKEN_UNKNOWN : TD_TOKEN_CONTROL);
    int32_t a = add(&b, "a", -1, TD_TOKEN_NORMAL);
    finish(&b);
    gb_bool(&b.file, "tokenizer.ggml.add_space_prefix", 0);
    assert_int_equal(open_built(&b), TD_OK);
    if (unknown) {
      check_ids(b.tokenizer, "axyza\xff", 6, false, IDS(a, unk, a, unk)); /* a run is one */
    } else {
      assert_int_equal(td_tokenizer_encode(b.tokenizer, "ax", 2, true, &ids, &count), TD_UNSUPPORTED);
      assert_non_null(strstr(td_error_text(), "found no token for \"x\" in the text"));
    }
    drop(&b);
  }
}

static void test_some_byte_tokens(void **state) {
  (void)state;
  struct built b;
  int32_t *ids;
  int64_t count;
  begin(&b);
  add(&b, "<0x78>", 0, TD_TOKEN_BYTE);
  finish(&b);
  gb_bool(&b.file, "tokenizer.ggml.add_space_prefix", 0);
  gb_drop(&b.file, "tokenizer.ggml.token_type"); /* then its text says so */
  assert_int_equal(open_built(&b), TD_OK);
  check_ids(b.tokenizer, "xx", 2, false, IDS(0, 0));
  check_back(b.tokenizer, "xx", 2, "xx", 2);
  assert_int_equal(td_tokenizer_encode(b.tokenizer, "xy", 2, true, &ids, &count), TD_UNSUPPORTED);
  assert_non_null(strstr(td_error_text(), "found no token for byte 0x79 of the text, <0x79>"));
  drop(&b);
}

/* Quadratic merging would take hours here. */
static void test_long_runs(void **state) {
  (void)state;
  const size_t bytes = 300001;
  static const char fill[] = {'a', ' ', '\n', 'z', '\xff'};
  static char runs[12][4097];
  char *text = malloc(bytes);
  struct built b;
  assert_non_null(text);
  describe(&b);
  for (int i = 0; i < 12; i++) { /* "aa" to "a" x 4096 */
    memset(runs[i], 'a', (size_t)2 << i);
    add(&b, runs[i], (float)i, i == 11 ? TD_TOKEN_UNUSED : TD_TOKEN_NORMAL);
  }
  finish(&b);
  gb_bool(&b.file, "tokenizer.ggml.add_space_prefix", 0);
  assert_int_equal(open_built(&b), TD_OK);
  for (size_t i = 0; i < sizeof fill; i++) {
    memset(text, fill[i], bytes);
    check_back(b.tokenizer, text, bytes, text, bytes);
  }
  drop(&b);
  free(text);
}

/* ---- refusals ---- */

static void refuse_at_opening(struct built *b, const char *words) {
  td_status status = open_built(b);
  if (status != TD_CORRUPT || !strstr(td_error_text(), words)) {
    fail_msg("%s: %s, %s", words, td_code_name(status), td_error_text());
  }
  gb_free(&b->file);
}

static void test_contradictions(void **state) {
  (void)state;
  struct built b;
  describe(&b);
  finish(&b);
  gb_drop(&b.file, "tokenizer.ggml.scores");
  refuse_at_opening(&b, "tokenizer.ggml.scores: found nothing, expected an array of float32");
  describe(&b);
  finish(&b);
  gb_f32s(&b.file, "tokenizer.ggml.scores", b.scores, 5);
  refuse_at_opening(&b, "tokenizer.ggml.scores: found 5 entries, expected 266");
  describe(&b);
  b.scores[7] = NAN;
  finish(&b);
  refuse_at_opening(&b, "tokenizer.ggml.scores[7]: found nan, expected a number");
}

static void refuse_at_encoding(struct built *b, td_status want, const char *words) {
  int32_t *ids;
  int64_t count;
  assert_int_equal(open_built(b), TD_OK);
  for (int i = 0; i < 2; i++) {
    assert_int_equal(td_tokenizer_encode(b->tokenizer, "a", 1, true, &ids, &count), want);
    if (!strstr(td_error_text(), words)) fail_msg("%s: %s", words, td_error_text());
  }
  drop(b);
}

static void test_bad_tables(void **state) {
  (void)state;
  struct built b;
  describe(&b);
  add(&b, "ab", 0, TD_TOKEN_NORMAL);
  finish(&b);
  refuse_at_encoding(&b, TD_CORRUPT, "tokenizer.ggml.tokens[266]: found \"ab\" again, expected it only at 262");
  describe(&b);
  add(&b, "<0xZZ>", 0, TD_TOKEN_BYTE);
  finish(&b);
  refuse_at_encoding(&b, TD_CORRUPT, "tokenizer.ggml.tokens[266]: found \"<0xZZ>\", of type byte, expected <0x00>");
  describe(&b);
  finish(&b);
  gb_bool(&b.file, "tokenizer.ggml.remove_extra_whitespaces", 1);
  refuse_at_encoding(&b, TD_UNSUPPORTED, "tokenizer.ggml.remove_extra_whitespaces: found \"true\", expected false");
  describe(&b);
  finish(&b);
  gb_i32s(&b.file, "tokenizer.ggml.precompiled_charsmap", b.file.types, 3);
  refuse_at_encoding(&b, TD_UNSUPPORTED, "tokenizer.ggml.precompiled_charsmap: found \"a table\", expected none");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reference),           cmocka_unit_test(test_merging),
      cmocka_unit_test(test_prefix_and_specials), cmocka_unit_test(test_pieces),
      cmocka_unit_test(test_no_byte_tokens),      cmocka_unit_test(test_some_byte_tokens),
      cmocka_unit_test(test_long_runs),           cmocka_unit_test(test_contradictions),
      cmocka_unit_test(test_bad_tables),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
