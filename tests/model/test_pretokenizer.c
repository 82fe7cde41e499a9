/* SPDX-License-Identifier: Apache-2.0
 *
 * How each pre-tokenizer cuts texts into words. The expected cuts are worked out by hand from the published rules.
 */
#include <stdio.h>

#include "model/tokenizer.h"
#include "support.h"
#include "tandem/base.h"

/* The words of a text, joined by "|". U+180E (e1 a0 8e) is a format character and no white space. */
static const struct {
  enum td_pretokenizer pre;
  const char *text, *cut;
} cases[] = {
    {TD_PRE_GPT2, "Hello world", "Hello| world"},
    {TD_PRE_GPT2, "don't DON'T", "don|'t| DON|'|T"},
    {TD_PRE_GPT2, "we'll've", "we|'ll|'ve"},
    {TD_PRE_GPT2, "a  b", "a| | b"},
    {TD_PRE_GPT2, "a   \n b  ", "a|   \n| b|  "},
    {TD_PRE_GPT2, "x123 45", "x|123| 45"},
    {TD_PRE_GPT2, "\tif(x)", "\t|if|(|x|)"},
    {TD_PRE_GPT2, "a_b!!! ?", "a|_|b|!!!| ?"},
    {TD_PRE_GPT2, "\xc3\xa9t\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac", "\xc3\xa9t\xc3\xa9| \xe6\x97\xa5\xe6\x9c\xac"},
    {TD_PRE_GPT2,
     "a\xc2\xa0\xe3\x80\x80"
     "b",
     "a|\xc2\xa0|\xe3\x80\x80|b"},
    {TD_PRE_GPT2,
     "a\xe1\xa0\x8e"
     "b",
     "a|\xe1\xa0\x8e|b"},
    {TD_PRE_GPT2, "\xc2\xbd\xe2\x85\xa3", "\xc2\xbd\xe2\x85\xa3"},
    {TD_PRE_SMOLLM, "Hello world", "Hello| world"},
    {TD_PRE_SMOLLM, "x123 45", "x|1|2|3| |4|5"},
    {TD_PRE_SMOLLM, "a   1", "a|   |1"},
    {TD_PRE_SMOLLM, "a   b", "a|  | b"},
    {TD_PRE_SMOLLM, "don't DON'T", "don|'t| DON|'|T"},
    {TD_PRE_SMOLLM, "3.14", "3|.|1|4"},
    {TD_PRE_SMOLLM, "\n\n  x\n", "\n\n | x|\n"},
    {TD_PRE_SMOLLM, "\xd9\xa1\xd9\xa2", "\xd9\xa1|\xd9\xa2"},
    {TD_PRE_QWEN2, "Hello world", "Hello| world"},
    {TD_PRE_QWEN2, "don't DON'T", "don|'t| DON|'T"},
    {TD_PRE_QWEN2, "x123 45", "x|1|2|3| |4|5"},
    {TD_PRE_QWEN2, "\tif(x)\n\n  y", "\tif|(x|)\n\n| | y"},
    {TD_PRE_QWEN2, "a.b", "a|.b"},
    {TD_PRE_QWEN2, "a \n \n b", "a| \n \n| b"},
    {TD_PRE_QWEN2, "a\r\n!!\r\n", "a|\r\n|!!\r\n"},
    {TD_PRE_LLAMA_BPE, "Hello world", "Hello| world"},
    {TD_PRE_LLAMA_BPE, "1234567 12", "123|456|7| |12"},
    {TD_PRE_LLAMA_BPE, "We'LL a1b", "We|'LL| a|1|b"},
    {TD_PRE_LLAMA_BPE, "foo()\n\nbar", "foo|()\n\n|bar"},
    {TD_PRE_LLAMA_BPE, "   x", "  | x"},
    {TD_PRE_LLAMA_BPE, "$x = \"y\";", "$x| =| \"|y|\";"},
    {TD_PRE_TEKKEN, "HelloWorld it's 123", "Hello|World| it|'s| |1|2|3"},
    {TD_PRE_TEKKEN, "a//b\n\n  HTTPServer", "a|//|b|\n\n| | HTTPServer"},
    {TD_PRE_TEKKEN, "e\xcc\x81X", "e\xcc\x81|X"},
    {TD_PRE_GPT4O, "HelloWorld it's I'LL 1234", "Hello|World| it's| I'LL| |123|4"},
    {TD_PRE_GPT4O, "x/\n/y", "x|/\n/|y"},
    {TD_PRE_DEFAULT, "it's 12345, ok!", "it|'|s| |123|45|,| ok|!"},
    {TD_PRE_DEFAULT, "a  12\t$b+", "a| | |12|\t|$|b|+"},
    {TD_PRE_DEFAULT, "1\xc2\xbd", "1\xc2\xbd"},
    {TD_PRE_DEFAULT,
     "\xc2\xbd"
     "123",
     "\xc2\xbd|123"},
};

static void check_cut(struct td_pretoken_walk *walk, const char *text, const char *cut) {
  struct td_text found = {0};
  size_t bytes = strlen(text);
  for (size_t at = 0, word; at < bytes; at += word) {
    assert_int_equal(td_pretoken_next(walk, text, bytes, at, &word), TD_OK);
    td_text_printf(&found, "%s%.*s", at ? "|" : "", (int)word, text + at);
  }
  if (strcmp(found.data, cut)) fail_msg("\"%s\": found \"%s\", expected \"%s\"", text, found.data, cut);
  td_text_free(&found);
}

static void test_cuts(void **state) {
  (void)state;
  for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
    struct td_pretoken_rule *rule;
    struct td_pretoken_walk walk;
    assert_int_equal(td_pretoken_rule_open(cases[i].pre, &rule), TD_OK);
    assert_int_equal(td_pretoken_walk_open(rule, &walk), TD_OK);
    check_cut(&walk, cases[i].text, cases[i].cut);
    td_pretoken_walk_close(&walk);
    td_pretoken_rule_close(rule);
  }
}

/* Every assigned and unassigned character is some word's: no rule leaves a gap. */
static void test_every_character(void **state) {
  (void)state;
  for (int pre = 0; pre < TD_PRE_COUNT; pre++) {
    struct td_pretoken_rule *rule;
    struct td_pretoken_walk walk;
    assert_int_equal(td_pretoken_rule_open((enum td_pretokenizer)pre, &rule), TD_OK);
    assert_int_equal(td_pretoken_walk_open(rule, &walk), TD_OK);
    for (unsigned c = 0x80; c < 0x110000; c += c < 0x3100 ? 1 : 97) {
      if (c >= 0xd800 && c < 0xe000) continue;
      char text[4];
      size_t bytes = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4, word;
      for (size_t i = 0; i < bytes; i++) {
        unsigned bits = c >> 6 * (bytes - 1 - i) & 0x3f;
        text[i] = (char)(i ? 0x80 | bits : (0xf00u >> bytes & 0xf0) | bits);
      }
      assert_int_equal(td_pretoken_next(&walk, text, bytes, 0, &word), TD_OK);
      assert_int_equal(word, bytes);
    }
    td_pretoken_walk_close(&walk);
    td_pretoken_rule_close(rule);
  }
}

static void test_names(void **state) {
  (void)state;
  enum td_pretokenizer pre;
  assert_true(td_pretokenizer_find((struct td_span){"llama-bpe", 9}, &pre));
  assert_int_equal(pre, TD_PRE_LLAMA_BPE);
  assert_true(td_pretokenizer_find((struct td_span){"gpt-2", 5}, &pre));
  assert_int_equal(pre, TD_PRE_GPT2);
  assert_false(td_pretokenizer_find((struct td_span){"llama", 5}, &pre));
  assert_false(td_pretokenizer_find((struct td_span){"", 0}, &pre));
}

/* GPT-2's table of stand-ins, at its edges. */
static void test_byte_characters(void **state) {
  (void)state;
  static const struct {
    int byte;
    const char *text;
  } known[] = {{' ', "\xc4\xa0"},  {'\n', "\xc4\x8a"}, {0, "\xc4\x80"},    {'!', "!"},         {'~', "~"},
               {0x7f, "\xc4\xa1"}, {0xa0, "\xc5\x82"}, {0xa1, "\xc2\xa1"}, {0xad, "\xc5\x83"}, {0xff, "\xc3\xbf"}};
  for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
    char text[3] = "", byte;
    uint64_t bytes;
    assert_int_equal(td_byte_to_text((unsigned char)known[i].byte, text), strlen(known[i].text));
    assert_string_equal(text, known[i].text);
    assert_true(td_text_to_bytes((struct td_span){known[i].text, strlen(known[i].text)}, &byte, &bytes));
    assert_int_equal(bytes, 1);
    assert_int_equal((unsigned char)byte, known[i].byte);
  }
  char out[8];
  uint64_t bytes;
  static const char *const none[] = {" ", "\xc5\x84", "\xc2\xad", "\xe2\x82\xac", "\xc4", "\x80"};
  for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
    assert_false(td_text_to_bytes((struct td_span){none[i], strlen(none[i])}, out, &bytes));
  }
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_cuts),
      cmocka_unit_test(test_every_character),
      cmocka_unit_test(test_names),
      cmocka_unit_test(test_byte_characters),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
