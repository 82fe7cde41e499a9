/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzzes chat templates: any bytes render or are refused, within the limits of memory and steps.
 *
 * Input: the template; behind its first zero byte messages, each a byte for the role and a text up to the next zero.
 * With -DTANDEM_FUZZ_MAIN a plain program that replays the files it is given, for compilers without libFuzzer.
 */
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"
#include "tandem/base.h"

#define MESSAGES_MAX 8

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* So that every template is of a known format. */
static const char mark[] = "{# <|im_start|> #}";

static int read_messages(char *text, size_t bytes, struct td_chat_message *out) {
  static const char *const roles[] = {"user", "assistant", "system", "tool"};
  int count = 0;
  for (size_t at = 0; at < bytes && count < MESSAGES_MAX; count++) {
    out[count].role = roles[(unsigned char)text[at] % 4];
    out[count].content = text + at + 1; /* a zero follows the last byte */
    at += strlen(text + at + 1) + 2;
  }
  if (!count) out[count++] = (struct td_chat_message){"user", "hi"};
  return count;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct td_chat_message messages[MESSAGES_MAX];
  struct td_text template = {0};
  char *copy = calloc(1, size + 2), *text;
  if (!copy) return 0;
  memcpy(copy, data, size);
  size_t bytes = strlen(copy);
  td_text_add(&template, mark, sizeof mark - 1);
  td_text_add(&template, copy, bytes);
  int count = read_messages(copy + bytes + 1, bytes < size ? size - bytes - 1 : 0, messages);
  struct td_tokenizer tokenizer = {.path = "fuzz.gguf", .bos = -1, .eos = -1, .unknown = -1};
  tokenizer.chat_template = (struct td_span){template.data, template.bytes};
  if (td_tokenizer_chat(&tokenizer, messages, count, &text) == TD_OK) {
    if (strlen(text) > (size_t)1 << 28) abort();
    free(text);
  } else if (!*td_error_text() || strchr(td_error_text(), '\n')) {
    abort();
  }
  td_text_free(&template);
  free(copy);
  return 0;
}

#ifdef TANDEM_FUZZ_MAIN
#include "fuzz_main.h"
#endif
