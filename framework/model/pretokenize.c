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

static const struct {
  const char *name, *pattern;
} rules[TD_PRE_COUNT] = {
    /* Digits are cut out one by one first, and the rest is cut as if they were ends of the text: that is why a run of
     * spaces before a digit stays whole. */
    [TD_PRE_SMOLLM] = {"smollm",
                       "\\p{N}|" SUFFIXES "| ?\\p{L}+| ?" OTHER "+|" SPACE "+(?![^" SPACES "\\p{N}])|" SPACE "+"},
    [TD_PRE_GPT2] = {"gpt2", SUFFIXES "| ?\\p{L}+| ?\\p{N}+| ?" OTHER "+|" SPACE_RUN},
    [TD_PRE_QWEN2] = {"qwen2", MODERN("\\p{N}")},
    [TD_PRE_LLAMA_BPE] = {"llama-bpe", MODERN("\\p{N}{1,3}")},
};

struct td_pretoken_rule {
  pcre2_code *code;
};

bool td_pretokenizer_find(struct td_span name, enum td_pretokenizer *out) {
  for (int i = 0; i < TD_PRE_COUNT; i++) {
    if (!td_span_is(name, rules[i].name)) continue;
    *out = (enum td_pretokenizer)i;
    return true;
  }
  return false;
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
    return td_fail(TD_INTERNAL, "pre-tokenizer %s: PCRE2 error %d at character %zu", rules[pre].name, error, at);
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
