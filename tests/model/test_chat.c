/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat rendering: against what jinja2 makes of templates of the known formats (make_references.py), and what is
 * refused.
 */
#include <jansson.h>

#include "gguf_builder.h"
#include "support.h"
#include "tandem/base.h"

#define PLAIN                                                                                                       \
  "{% for message in messages %}{{ \"<|im_start|>\" + message.role + \"\\n\" + message.content + \"<|im_end|>\" + " \
  "\"\\n\" }}{% endfor %}{{ \"<|im_start|>assistant\\n\" }}"
#define COUNT(messages) ((int)(sizeof(messages) / sizeof(messages)[0]))
#define MESSAGES_MAX 16

struct built {
  struct gb_file file;
  unsigned char *bytes;
  struct td_model *model;
};

static void build(struct built *b, const char *template) {
  gb_init(&b->file);
  gb_llama(&b->file);
  gb_byte_tokens(&b->file);
  gb_u32(&b->file, "tokenizer.ggml.bos_token_id", (uint32_t)gb_token(&b->file, "<s>", 3));
  gb_u32(&b->file, "tokenizer.ggml.eos_token_id", (uint32_t)gb_token(&b->file, "</s>", 3));
  gb_write_tokens(&b->file, "gpt2", "smollm", NULL, 0);
  if (template) gb_text(&b->file, "tokenizer.chat_template", template);
  gb_place(&b->file);
  assert_int_equal(gb_open(&b->file, &b->bytes, &b->model), TD_OK);
}

static void drop(struct built *b) {
  td_model_close(b->model);
  free(b->bytes);
  gb_free(&b->file);
}

static td_status render(const char *template, const struct td_chat_message *messages, int count, char **out_text) {
  struct built b;
  build(&b, template);
  *out_text = NULL;
  td_status status = td_tokenizer_chat(td_model_tokenizer(b.model), messages, count, out_text);
  drop(&b);
  return status;
}

/* ---- the reference ---- */

static int read_messages(const json_t *list, struct td_chat_message *out) {
  const json_t *message;
  size_t i;
  json_array_foreach((json_t *)list, i, message) {
    assert_in_range(i, 0, MESSAGES_MAX - 1);
    out[i] = (struct td_chat_message){json_string_value(json_array_get(message, 0)),
                                      json_string_value(json_array_get(message, 1))};
  }
  return (int)i;
}

static void check_case(const char *name, const struct td_tokenizer *tokenizer, const json_t *line) {
  struct td_chat_message messages[MESSAGES_MAX];
  const char *error = json_string_value(json_object_get(line, "error"));
  const char *want = json_string_value(json_object_get(line, "text"));
  char *text = NULL;
  int count = read_messages(json_object_get(line, "messages"), messages);
  td_status status = td_tokenizer_chat(tokenizer, messages, count, &text);
  if (error) {
    bool named = status == TD_CONFIG && strstr(td_error_text(), "the template refuses this conversation");
    if (!named || !strstr(td_error_text(), error)) fail_msg("%s: %s, expected %s", name, td_error_text(), error);
    return;
  }
  if (status) fail_msg("%s: %s", name, td_error_text());
  assert_string_equal(text, want);
  free(text);
}

static int check_line(const char *text) {
  json_error_t error;
  json_t *root = json_loads(text, 0, &error), *line;
  struct built b;
  size_t i;
  if (!root) fail_msg("%.80s: %s", text, error.text);
  build(&b, json_string_value(json_object_get(root, "template")));
  json_array_foreach(json_object_get(root, "cases"), i, line) {
    check_case(json_string_value(json_object_get(root, "name")), td_model_tokenizer(b.model), line);
  }
  drop(&b);
  json_decref(root);
  return (int)i;
}

static void test_reference(void **state) {
  (void)state;
  char *lines;
  size_t bytes;
  int done = 0;
  assert_int_equal(td_read_file(test_source("tests/data/model/chat.jsonl"), 1 << 20, &lines, &bytes), TD_OK);
  for (char *line = strtok(lines, "\n"); line; line = strtok(NULL, "\n")) done += check_line(line);
  assert_int_equal(done, 13 * 10 + 2);
  free(lines);
}

static const struct td_chat_message one[] = {{"user", "hi"}};

static void test_real_template(void **state) {
  (void)state;
  struct td_model *model;
  char *text;
  const char *path = test_model_path();
  if (!path) {
    print_message("SKIPPED: no SmolLM2 model (TANDEM_TEST_MODEL)\n");
    skip();
    return;
  }
  assert_int_equal(td_model_open(path, &model), TD_OK);
  assert_int_equal(td_tokenizer_chat(td_model_tokenizer(model), one, 1, &text), TD_OK);
  assert_string_equal(
      text,
      "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
      "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  free(text);
  td_model_close(model);
}

/* ---- refusals ---- */

static void refuse(const char *template, const struct td_chat_message *messages, int count, td_status status,
                   const char *words) {
  char *text;
  td_status got = render(template, messages, count, &text);
  if (got != status || !strstr(td_error_text(), words)) {
    fail_msg("%s: %s, %s", words, td_code_name(got), td_error_text());
  }
}

static void test_refusals(void **state) {
  (void)state;
  static const struct td_chat_message tool[] = {{"user", "hi"}, {"tool", "42"}}, empty[] = {{"user", NULL}};
  refuse(NULL, one, 1, TD_UNSUPPORTED, "tokenizer.chat_template: found none, expected ChatML (<|im_start|>), Llama-3");
  refuse("{% for m in messages %}<|{{ m.role }}|>{% endfor %}", one, 1, TD_UNSUPPORTED,
         "tokenizer.chat_template: found \"{% for m in messages %}<|{{ m.role }}|>{% endfor %}...\", expected ChatML");
  refuse("[INST] <<SYS>>{{ messages[0].content }}", one, 1, TD_UNSUPPORTED, "found Llama-2's <<SYS>> in \"[INST]");
  refuse(PLAIN, one, 0, TD_CONFIG, "messages: found 0, expected at least one");
  refuse(PLAIN, tool, 2, TD_CONFIG, "message 1: role: found \"tool\", expected system, user or assistant");
  refuse(PLAIN, empty, 1, TD_CONFIG, "message 0: found no role or no content");
}

/* What a template may ask for and does not get is named, with its line. */
static void test_unknown_constructs(void **state) {
  (void)state;
  static const struct {
    const char *body;
    td_status status;
    const char *words;
  } cases[] = {
      {"\n{% include 'x' %}", TD_UNSUPPORTED, "line 2: found the tag \"include\", expected if, for, set"},
      {"{{ 'x' | sort }}", TD_UNSUPPORTED, "found the filter \"sort\", which tandem does not know"},
      {"{{ 1 is prime }}", TD_UNSUPPORTED, "found the test \"prime\""},
      {"{{ 1.5 }}", TD_UNSUPPORTED, "found the number 1.5, expected integers"},
      {"{{ 'x'.encode() }}", TD_UNSUPPORTED, "found a call of \"encode\", an undefined value"},
      {"{{ a.b }}", TD_UNSUPPORTED, "found \"b\" of \"a\", which is not defined"},
      {"{{ 'a' + 1 }}", TD_UNSUPPORTED, "found a text + a number"},
      {"{{ 1 // 0 }}", TD_UNSUPPORTED, "a division by 0"},
      {"{{ messages }}", TD_UNSUPPORTED, "writes a list out"},
      {"{{ strftime_now('%d') }}", TD_UNSUPPORTED, "writes today's date"},
      {"{{ '\xc3\xa9' | upper }}", TD_UNSUPPORTED, "found upper of a text that is not ASCII"},
      {"{% for m in messages recursive %}{% endfor %}", TD_UNSUPPORTED, "a recursive loop"},
      {"{% set messages.x = 1 %}", TD_UNSUPPORTED, "found an attribute set of a list, expected of a namespace"},
      {"{{ 'x }}", TD_CORRUPT, "found a string without end"},
      {"{{ 'x'", TD_CORRUPT, "found a tag without end, expected \"}}\""},
      {"{# x", TD_CORRUPT, "found a comment without end"},
      {"{% if true %}x", TD_CORRUPT, "found \"the end\", expected endif"},
      {"x{% endif %}", TD_CORRUPT, "expected no end of what was not opened"},
      {"{{ }}", TD_CORRUPT, "found \"}}\", expected a value"},
      {"{{ (1 }}", TD_CORRUPT, "found a tag without end"},
      {"{{ 1 ; 2 }}", TD_CORRUPT, "found byte 0x3b inside a tag"},
      {"{{ raise_exception('no\nway') }}", TD_CONFIG, "the template refuses this conversation: \"no?way\""},
  };
  for (int i = 0; i < COUNT(cases); i++) {
    char template[200];
    snprintf(template, sizeof template, "<|im_start|>%s", cases[i].body);
    refuse(template, one, 1, cases[i].status, cases[i].words);
  }
}

/* Templates that would run, nest or grow for ever. */
static void test_limits(void **state) {
  (void)state;
  static char deep[5000];
  strcpy(deep, "<|im_start|>{{ ");
  memset(deep + strlen(deep), '(', 2000);
  strcat(deep, "1");
  memset(deep + strlen(deep), ')', 2000);
  strcat(deep, " }}");
  refuse(deep, one, 1, TD_UNSUPPORTED, "found expressions nested over 100 deep");
  memset(deep, 0, sizeof deep);
  strcpy(deep, "<|im_start|>{{ ");
  memset(deep + strlen(deep), '-', 4000);
  strcat(deep, "1 }}");
  refuse(deep, one, 1, TD_UNSUPPORTED, "found expressions nested over 100 deep");
  memset(deep, 0, sizeof deep);
  strcpy(deep, "<|im_start|>{{ 1");
  for (int i = 0; i < 1000; i++) strcat(deep, "+1");
  strcat(deep, " }}");
  refuse(deep, one, 1, TD_UNSUPPORTED, "found expressions nested over");
  refuse("<|im_start|>{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", one, 1, TD_UNSUPPORTED, "found calls nested");
  strcpy(deep, "<|im_start|>{% for i in range(9999) %}{% if 1");
  for (int i = 0; i < 300; i++) strcat(deep, "+1");
  strcat(deep, " %}{% endif %}{% endfor %}");
  refuse(deep, one, 1, TD_UNSUPPORTED, "takes too many steps");
  refuse("<|im_start|>{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", one, 1,
         TD_UNSUPPORTED, "bytes of memory");
  refuse("<|im_start|>{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x + ns.x %}{% endfor %}",
         one, 1, TD_UNSUPPORTED, "bytes of memory");
  refuse("<|im_start|>{{ range(999999999) }}", one, 1, TD_UNSUPPORTED, "over 100000 long");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_reference),          cmocka_unit_test(test_real_template), cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_unknown_constructs), cmocka_unit_test(test_limits),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
