/* SPDX-License-Identifier: Apache-2.0
 *
 * Chat formats. The file's template is run (chat_evaluate.c), so what comes out is what the template says, default
 * system messages and all. Only the formats that tandem is tested with are let through, by the marks they write.
 */
#include <stdlib.h>
#include <string.h>

#include "chat_jinja.h"
#include "tokenizer.h"

#define TEMPLATE_BYTES_MAX (1 << 20)
#define MESSAGE_BYTES 512 /* what a message counts for in the limits, beside its text: loops run over it */

static bool holds(struct td_span text, const char *word) {
  return text.bytes && memmem(text.data, text.bytes, word, strlen(word));
}

static td_status check_format(const struct td_tokenizer *tokenizer) {
  static const char expected[] =
      "ChatML (<|im_start|>), Llama-3 (<|start_header_id|>), Mistral ([INST]) or Gemma "
      "(<start_of_turn>)";
  struct td_span text = tokenizer->chat_template;
  if (!text.bytes) {
    return td_fail(TD_UNSUPPORTED, "%s: tokenizer.chat_template: found none, expected %s", tokenizer->path, expected);
  }
  if (text.bytes > TEMPLATE_BYTES_MAX) {
    return td_fail(TD_UNSUPPORTED, "%s: tokenizer.chat_template: found %zu bytes, expected at most %d", tokenizer->path,
                   (size_t)text.bytes, TEMPLATE_BYTES_MAX);
  }
  bool llama2 = holds(text, "<<SYS>>");
  bool known = holds(text, "<|im_start|>") || holds(text, "<|start_header_id|>") || holds(text, "[INST]") ||
               holds(text, "<start_of_turn>");
  if (known && !llama2) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "%s: tokenizer.chat_template: found %s\"%.*s...\", expected %s", tokenizer->path,
                 llama2 ? "Llama-2's <<SYS>> in " : "", TD_SPAN_SHOW(text), expected);
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

static td_status add_message(struct jinja *jinja, const struct td_chat_message *message, struct jinja_array *out) {
  struct jinja_value map;
  TD_TRY(td_jinja_map(jinja, &map));
  TD_TRY(td_jinja_put(jinja, map.map, (struct td_span){"role", 4}, td_jinja_words(message->role)));
  TD_TRY(td_jinja_put(jinja, map.map, (struct td_span){"content", 7}, td_jinja_words(message->content)));
  return td_jinja_append(jinja, out, map);
}

/* A special token's text, under its name in templates; without the token, undefined. */
static td_status set_token(struct jinja *jinja, const struct td_tokenizer *tokenizer, int32_t id, const char *name) {
  const char *piece;
  size_t bytes;
  if (id < 0) return TD_OK;
  TD_TRY(td_tokenizer_piece(tokenizer, id, &piece, &bytes));
  return td_jinja_set(jinja, jinja->globals, (struct td_span){name, strlen(name)},
                      td_jinja_text((struct td_span){piece, bytes}));
}

/* What apply_chat_template passes: see transformers' chat_template_utils. */
static td_status set_globals(struct jinja *jinja, const struct td_tokenizer *tokenizer,
                             const struct td_chat_message *messages, int count) {
  struct jinja_scope *scope = jinja->globals;
  struct jinja_value list, none = {.kind = JINJA_NONE};
  TD_TRY(td_jinja_array(jinja, &list));
  for (int i = 0; i < count; i++) TD_TRY(add_message(jinja, &messages[i], list.array));
  TD_TRY(td_jinja_set(jinja, scope, (struct td_span){"messages", 8}, list));
  TD_TRY(td_jinja_set(jinja, scope, (struct td_span){"tools", 5}, none));
  TD_TRY(td_jinja_set(jinja, scope, (struct td_span){"documents", 9}, none));
  TD_TRY(td_jinja_set(jinja, scope, (struct td_span){"add_generation_prompt", 21}, td_jinja_bool(true)));
  TD_TRY(set_token(jinja, tokenizer, tokenizer->bos, "bos_token"));
  TD_TRY(set_token(jinja, tokenizer, tokenizer->eos, "eos_token"));
  return set_token(jinja, tokenizer, tokenizer->unknown, "unk_token");
}

static td_status render(struct jinja *jinja, const struct td_tokenizer *tokenizer,
                        const struct td_chat_message *messages, int count, struct td_text *out) {
  struct jinja_tokens tokens = {0};
  struct jinja_node *body;
  TD_TRY(td_jinja_alloc(jinja, sizeof *jinja->globals, (void **)&jinja->globals));
  TD_TRY(set_globals(jinja, tokenizer, messages, count));
  td_status status = td_jinja_lex(jinja, tokenizer->chat_template, &tokens);
  if (status == TD_OK) status = td_jinja_parse(jinja, &tokens, &body);
  free(tokens.list);
  TD_TRY(status);
  TD_TRY(td_jinja_run(jinja, jinja->globals, body, out));
  td_text_add(out, "", 0); /* so that an empty conversation is a text too */
  return out->failed ? td_fail(TD_NO_MEMORY, "no memory for a conversation of %d messages", count) : TD_OK;
}

td_status td_tokenizer_chat(const struct td_tokenizer *tokenizer, const struct td_chat_message *messages, int count,
                            char **out_text) {
  struct jinja jinja;
  struct td_text text = {0};
  uint64_t bytes = tokenizer->chat_template.bytes;
  TD_TRY(td_tokenizer_usable(tokenizer));
  TD_TRY(check_format(tokenizer));
  if (count < 1) return td_fail(TD_CONFIG, "messages: found %d, expected at least one", count);
  for (int i = 0; i < count; i++) {
    TD_TRY(check_message(&messages[i], i));
    bytes += MESSAGE_BYTES + strlen(messages[i].content);
  }
  td_jinja_open(&jinja, tokenizer->path, bytes);
  td_status status = render(&jinja, tokenizer, messages, count, &text);
  td_jinja_close(&jinja);
  if (status) {
    td_text_free(&text);
    return status;
  }
  *out_text = text.data;
  return TD_OK;
}
