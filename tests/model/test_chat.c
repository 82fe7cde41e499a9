/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat rendering.
 */
#include "gguf_builder.h"
#include "support.h"
#include "tandem/base.h"

#define SMOLLM2                                                                                                  \
  "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n" \
  "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"              \
  "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"           \
  "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
#define PLAIN                                                                                                       \
  "{% for message in messages %}{{ \"<|im_start|>\" + message.role + \"\\n\" + message.content + \"<|im_end|>\" + " \
  "\"\\n\" }}{% endfor %}{{ \"<|im_start|>assistant\\n\" }}"
#define QWEN2                                                                                                        \
  "{%- if messages[0]['role'] == 'system' %}{{- '<|im_start|>system\\n' + messages[0]['content'] + '<|im_end|>\\n' " \
  "}}{%- else %}{{- '<|im_start|>system\\nYou are a helpful assistant.<|im_end|>\\n' }}{%- endif %}"                 \
  "{%- for message in messages %}{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + "      \
  "'\\n' }}{%- endfor %}{{- '<|im_start|>assistant\\n' }}"
#define LLAMA3                                                                                           \
  "{% for message in messages %}{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' + " \
  "message['content'] | trim + '<|eot_id|>' }}{% endfor %}"
#define TRIMMING                                                                                          \
  "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] | trim + " \
  "'<|im_end|>\n'}}{% endfor %}{{ '<|im_start|>assistant\n' }}"

#define COUNT(messages) ((int)(sizeof(messages) / sizeof(messages)[0]))

/* *out_text is NULL if the status is not TD_OK. */
static td_status render(const char *template, const struct td_chat_message *messages, int count, char **out_text) {
  struct gb_file file;
  struct td_model *model;
  unsigned char *bytes;
  gb_init(&file);
  gb_llama(&file);
  gb_byte_tokens(&file);
  gb_write_tokens(&file, "gpt2", "smollm", NULL, 0);
  if (template) gb_text(&file, "tokenizer.chat_template", template);
  gb_place(&file);
  assert_int_equal(gb_open(&file, &bytes, &model), TD_OK);
  *out_text = NULL;
  td_status status = td_tokenizer_chat(td_model_tokenizer(model), messages, count, out_text);
  td_model_close(model);
  free(bytes);
  gb_free(&file);
  return status;
}

static void check(const char *template, const struct td_chat_message *messages, int count, const char *want) {
  char *text;
  if (render(template, messages, count, &text)) fail_msg("%s", td_error_text());
  assert_string_equal(text, want);
  free(text);
}

static const struct td_chat_message one[] = {{"user", "hi"}};
static const struct td_chat_message talk[] = {
    {"system", "Be brief."}, {"user", "hi"}, {"assistant", "hello"}, {"user", "bye\n"}};

static void test_default_system(void **state) {
  (void)state;
  check(SMOLLM2, one, 1,
        "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  check(QWEN2, one, 1,
        "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
        "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
  check(PLAIN, one, 1, "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n");
}

static void test_many_turns(void **state) {
  (void)state;
  static const char *const templates[] = {SMOLLM2, PLAIN, QWEN2};
  for (int i = 0; i < COUNT(templates); i++) {
    check(templates[i], talk, COUNT(talk),
          "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nhi<|im_end|>\n"
          "<|im_start|>assistant\nhello<|im_end|>\n<|im_start|>user\nbye\n<|im_end|>\n<|im_start|>assistant\n");
  }
}

static void refuse(const char *template, const struct td_chat_message *messages, int count, td_status status,
                   const char *words) {
  char *text;
  td_status got = render(template, messages, count, &text);
  if (got != status || !strstr(td_error_text(), words)) fail_msg("%s: %s", words, td_error_text());
}

static void test_refusals(void **state) {
  (void)state;
  static const struct td_chat_message tool[] = {{"user", "hi"}, {"tool", "42"}}, empty[] = {{"user", NULL}};
  refuse(NULL, one, 1, TD_UNSUPPORTED, "tokenizer.chat_template: found none, expected ChatML");
  refuse(LLAMA3, one, 1, TD_UNSUPPORTED, "tokenizer.chat_template: found \"{% for message in messages %}{{ '<|start");
  refuse(TRIMMING, one, 1, TD_UNSUPPORTED, "expected ChatML");
  refuse(SMOLLM2, one, 0, TD_CONFIG, "messages: found 0, expected at least one");
  refuse(SMOLLM2, tool, 2, TD_CONFIG, "message 1: role: found \"tool\", expected system, user or assistant");
  refuse(SMOLLM2, empty, 1, TD_CONFIG, "message 0: found no role or no content");
}

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

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_default_system),
      cmocka_unit_test(test_many_turns),
      cmocka_unit_test(test_refusals),
      cmocka_unit_test(test_real_template),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
