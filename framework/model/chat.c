/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat formats. A template is a program in a language of its own (Jinja); instead of running it, the known ones are
 * recognised by the line that writes a message, and all others are refused.
 */
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

#define CHATML_SYSTEM "<|im_start|>system"
#define CHATML_END "<|im_end|>"

/* Finds `word` in `text`; NULL if it is not there. */
static const char *find(const char *text, size_t bytes, const char *word) {
  return bytes ? memmem(text, bytes, word, strlen(word)) : NULL;
}

/* A template with quotes, blanks and line ends taken out, written as such or as "\n": so that the many ways of writing
 * one expression compare equal. */
static td_status squeeze(struct td_span text, struct td_text *out) {
  for (uint64_t i = 0; i < text.bytes; i++) {
    if (text.data[i] == '\\' && i + 1 < text.bytes && text.data[i + 1] == 'n') {
      i++;
    } else if (!memchr(" \t\r\n\"'", text.data[i], 6)) {
      td_text_add(out, &text.data[i], 1);
    }
  }
  return out->failed ? td_fail(TD_NO_MEMORY, "no memory for a chat template") : TD_OK;
}

static bool writes_chatml(const struct td_text *template) {
  static const char *const lines[] = {"<|im_start|>+message[role]++message[content]+<|im_end|>",
                                      "<|im_start|>+message.role++message.content+<|im_end|>"};
  bool prompts = find(template->data, template->bytes, "<|im_start|>assistant");
  for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
    if (prompts && find(template->data, template->bytes, lines[i])) return true;
  }
  return false;
}

static td_status check_chatml(const struct td_tokenizer *tokenizer) {
  struct td_span text = tokenizer->chat_template;
  struct td_text squeezed = {0};
  if (!text.bytes) {
    return td_fail(TD_UNSUPPORTED, "%s: tokenizer.chat_template: found none, expected ChatML", tokenizer->path);
  }
  td_status status = squeeze(text, &squeezed);
  if (status == TD_OK && !writes_chatml(&squeezed)) {
    status = td_fail(TD_UNSUPPORTED, "%s: tokenizer.chat_template: found \"%.*s...\", expected ChatML (%s)",
                     tokenizer->path, TD_SPAN_SHOW(text), "<|im_start|>role, line end, content<|im_end|>");
  }
  td_text_free(&squeezed);
  return status;
}

/* Skips a line end written as a character or as the two characters of its escape. */
static const char *after_line_end(const char *at, const char *end) {
  if (at < end && *at == '\n') return at + 1;
  if (at + 1 < end && at[0] == '\\' && at[1] == 'n') return at + 2;
  return NULL;
}

/* The system message that the template itself writes: the first literal between the marks that is not interrupted by an
 * expression. Zero bytes if there is none. */
static struct td_span default_system(struct td_span template) {
  const char *at = template.data, *end = template.data + template.bytes;
  while ((at = find(at, (size_t)(end - at), CHATML_SYSTEM))) {
    at += strlen(CHATML_SYSTEM);
    const char *begin = after_line_end(at, end);
    const char *stop = begin ? find(begin, (size_t)(end - begin), CHATML_END) : NULL;
    if (!stop) continue;
    size_t bytes = (size_t)(stop - begin);
    if (!memchr(begin, '\'', bytes) && !memchr(begin, '"', bytes)) return (struct td_span){begin, bytes};
  }
  return (struct td_span){"", 0};
}

static td_status check_message(const struct td_chat_message *message, int index) {
  static const char *const roles[] = {"system", "user", "assistant"};
  if (!message->role || !message->content) {
    return td_fail(TD_CONFIG, "message %d: found no role or no content, expected both", index);
  }
  for (size_t i = 0; i < sizeof roles / sizeof roles[0]; i++) {
    if (!strcmp(message->role, roles[i])) return TD_OK;
  }
  return td_fail(TD_CONFIG, "message %d: role: found \"%s\", expected system, user or assistant", index, message->role);
}

static void add_message(struct td_text *out, const char *role, const char *content, size_t bytes) {
  td_text_printf(out, "<|im_start|>%s\n", role);
  td_text_add(out, content, bytes);
  td_text_printf(out, CHATML_END "\n");
}

td_status td_tokenizer_chat(const struct td_tokenizer *tokenizer, const struct td_chat_message *messages, int count,
                            char **out_text) {
  TD_TRY(td_tokenizer_usable(tokenizer));
  TD_TRY(check_chatml(tokenizer));
  if (count < 1) return td_fail(TD_CONFIG, "messages: found %d, expected at least one", count);
  for (int i = 0; i < count; i++) TD_TRY(check_message(&messages[i], i));
  struct td_text text = {0};
  struct td_span system = default_system(tokenizer->chat_template);
  if (strcmp(messages[0].role, "system") && system.bytes) add_message(&text, "system", system.data, system.bytes);
  for (int i = 0; i < count; i++) {
    add_message(&text, messages[i].role, messages[i].content, strlen(messages[i].content));
  }
  td_text_printf(&text, "<|im_start|>assistant\n");
  if (text.failed) {
    td_text_free(&text);
    return td_fail(TD_NO_MEMORY, "no memory for a conversation of %d messages", count);
  }
  *out_text = text.data;
  return TD_OK;
}
