/* SPDX-License-Identifier: Apache-2.0
 *
 * The rules that cut a text into words before merging, one regular expression per pre-tokenizer. Every character
 * belongs to some alternative, so the words cover the text without gaps.
 *
 * White space is spelled out as Unicode's White_Space property: PCRE2's own \s also takes U+180E.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

#define SPACES                                                                                         \
  "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}" \
  "\\x{3000}"
#define SPACE "[" SPACES "]"
#define OTHER "[^" SPACES "\\p{L}\\p{N}]"
/* A run of spaces leaves its last one to the word behind it. */
#define SPACE_RUN SPACE "+(?![^" SPACES "])|" SPACE "+"
#define SUFFIXES "'s|'t|'re|'ve|'m|'ll|'d"
#define MODERN(digits) \
  "(?i:" SUFFIXES ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?" OTHER "+[\\r\\n]*|" SPACE "*[\\r\\n]+|" SPACE_RUN

/* Words that change from small letters to capitals end there. `suffix` may follow the letters. */
#define CAPITALS "\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}"
#define SMALL "\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}"
#define LATER(suffix, digits)                                                                                \
  "[^\\r\\n\\p{L}\\p{N}]?[" CAPITALS "]*[" SMALL "]+" suffix "|[^\\r\\n\\p{L}\\p{N}]?[" CAPITALS "]+[" SMALL \
  "]*" suffix "|" digits "| ?" OTHER "+[\\r\\n/]*|" SPACE "*[\\r\\n]+|" SPACE_RUN
/* llama.cpp's "default" cuts four times: at marks, as gpt-2 between them, at numbers, and numbers into threes. Each cut
 * is an end of the text to the next, which comes to this. */
#define MARKS "\\p{P}$+<=>^~|"
#define BY_FOUR                                                                                                \
  "[" MARKS "]+|[0-9]{3}|\\p{N}(?:(?![0-9]{3})\\p{N})*| ?\\p{L}+| ?[^" SPACES "\\p{L}\\p{N}" MARKS "]+|" SPACE \
  "+(?![^" SPACES MARKS "])|" SPACE

static const struct {
  const char *pattern;
  bool keeps_words;
} rules[TD_PRE_COUNT] = {
    /* Digits are cut out one by one first, and the rest is cut as if they were ends of the text: that is why a run of
     * spaces before a digit stays whole. */
    [TD_PRE_SMOLLM] = {"\\p{N}|" SUFFIXES "| ?\\p{L}+| ?" OTHER "+|" SPACE "+(?![^" SPACES "\\p{N}])|" SPACE "+",
                       false},
    [TD_PRE_GPT2] = {SUFFIXES "| ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACE_RUN, false},
    [TD_PRE_QWEN2] = {MODERN("\\p{N}"), false},
    [TD_PRE_LLAMA_BPE] = {MODERN("\\p{N}{1,3}"), true},
    [TD_PRE_TEKKEN] = {LATER("", "\\p{N}"), true},
    [TD_PRE_GPT4O] = {LATER("(?i:" SUFFIXES ")?", "\\p{N}{1,3}"), false},
    [TD_PRE_DEFAULT] = {BY_FOUR, false},
};

/* Names that share a rule are those of llama.cpp (src/llama-vocab.cpp). */
static const struct {
  const char *name;
  enum td_pretokenizer pre;
} names[] = {
    {"smollm", TD_PRE_SMOLLM},
    {"starcoder", TD_PRE_SMOLLM},
    {"refact", TD_PRE_SMOLLM},
    {"command-r", TD_PRE_SMOLLM},
    {"gpt-2", TD_PRE_GPT2},
    {"gpt2", TD_PRE_GPT2},
    {"phi-2", TD_PRE_GPT2},
    {"mpt", TD_PRE_GPT2},
    {"olmo", TD_PRE_GPT2},
    {"qwen2", TD_PRE_QWEN2},
    {"deepseek-r1-qwen", TD_PRE_QWEN2},
    {"stablelm2", TD_PRE_QWEN2},
    {"llama-bpe", TD_PRE_LLAMA_BPE},
    {"llama3", TD_PRE_LLAMA_BPE},
    {"llama-v3", TD_PRE_LLAMA_BPE},
    {"falcon3", TD_PRE_LLAMA_BPE},
    {"pixtral", TD_PRE_LLAMA_BPE},
    {"tekken", TD_PRE_TEKKEN},
    {"gpt-4o", TD_PRE_GPT4O},
    {"llama4", TD_PRE_GPT4O},
    {"default", TD_PRE_DEFAULT},
};

struct td_pretoken_rule {
  pcre2_code *code;
};

bool td_pretokenizer_find(struct td_span name, enum td_pretokenizer *out) {
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    if (!td_span_is(name, names[i].name)) continue;
    *out = names[i].pre;
    return true;
  }
  return false;
}

td_status td_pretokenizer_names(char *out, size_t size) {
  size_t count = sizeof names / sizeof names[0];
  *out = 0;
  for (size_t i = 0; i < count; i++) {
    size_t used = strlen(out);
    TD_TRY(td_format(out + used, size - used, "%s\"%s\"", !i ? "" : i + 1 < count ? ", " : " or ", names[i].name));
  }
  return TD_OK;
}

bool td_pretokenizer_keeps_words(enum td_pretokenizer pre) {
  return rules[pre].keeps_words;
}

td_status td_pretoken_rule_open(enum td_pretokenizer pre, struct td_pretoken_rule **out) {
  struct td_pretoken_rule *rule;
  int error;
  PCRE2_SIZE at;
  TD_TRY(td_alloc(1, sizeof *rule, (void **)&rule));
  rule->code = pcre2_compile((PCRE2_SPTR)rules[pre].pattern, PCRE2_ZERO_TERMINATED,
                             PCRE2_UTF | PCRE2_UCP | PCRE2_ANCHORED, &error, &at, NULL);
  if (!rule->code) {
    free(rule);
    return td_fail(TD_INTERNAL, "pre-tokenizer rule %d: PCRE2 error %d at character %zu", (int)pre, error, at);
  }
  *out = rule;
  return TD_OK;
}

void td_pretoken_rule_close(struct td_pretoken_rule *rule) {
  if (!rule) return;
  pcre2_code_free(rule->code);
  free(rule);
}

td_status td_pretoken_walk_open(const struct td_pretoken_rule *rule, struct td_pretoken_walk *out) {
  pcre2_match_data *match = pcre2_match_data_create(1, NULL);
  pcre2_match_context *context = pcre2_match_context_create(NULL);
  if (!match || !context) {
    pcre2_match_data_free(match);
    pcre2_match_context_free(context);
    return td_fail(TD_NO_MEMORY, "no memory for a text match");
  }
  /* The rules backtrack over one run of one word at most, so the library's guards against exponential patterns would
   * only stop long words. */
  pcre2_set_match_limit(context, UINT32_MAX);
  pcre2_set_depth_limit(context, UINT32_MAX);
  pcre2_set_heap_limit(context, UINT32_MAX);
  *out = (struct td_pretoken_walk){rule, match, context};
  return TD_OK;
}

void td_pretoken_walk_close(struct td_pretoken_walk *walk) {
  pcre2_match_data_free(walk->match);
  pcre2_match_context_free(walk->context);
  *walk = (struct td_pretoken_walk){0};
}

td_status td_pretoken_next(struct td_pretoken_walk *walk, const char *text, size_t bytes, size_t at,
                           size_t *out_bytes) {
  int found =
      pcre2_match(walk->rule->code, (PCRE2_SPTR)text, bytes, at, PCRE2_NO_UTF_CHECK, walk->match, walk->context);
  PCRE2_SIZE *range = pcre2_get_ovector_pointer(walk->match);
  if (found < 1 || range[0] != at || range[1] <= at) {
    return td_fail(found == PCRE2_ERROR_NOMEMORY ? TD_NO_MEMORY : TD_INTERNAL,
                   "pre-tokenizer: PCRE2 answer %d at byte %zu of %zu", found, at, bytes);
  }
  *out_bytes = range[1] - at;
  return TD_OK;
}
