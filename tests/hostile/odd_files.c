/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that are well formed and make no sense: every key with every type and absurd values, vocabularies and templates
 * bent in every way that came to mind. A one-line error or a correct read.
 */
#include <float.h>
#include <math.h>

#include "model/gguf_builder.h"
#include "model/tokenizer.h"
#include "support.h"
#include "tandem/base.h"
#include "victim.h"

static char scratch[4096];

static void write_built(struct gb_file *file) {
  uint64_t bytes;
  unsigned char *data = gb_bytes(file, &bytes);
  FILE *out = fopen(scratch, "wb");
  if (!out || fwrite(data, 1, bytes, out) != bytes || fclose(out)) abort();
  free(data);
  gb_free(file);
}

/* ---- good files to bend ---- */

static void begin_bpe(struct gb_file *file) {
  static const char *const merges[] = {"h e", "l l", "he ll", "hell o"};
  gb_init(file);
  gb_llama(file);
  gb_byte_tokens(file);
  gb_token(file, "he", 1);
  gb_token(file, "ll", 1);
  gb_token(file, "hell", 1);
  gb_token(file, "hello", 1);
  gb_token(file, "<|im_end|>", 3);
  gb_write_tokens(file, "gpt2", "qwen2", merges, 4);
}

static float scores[GB_TOKENS];

static void begin_spm(struct gb_file *file) {
  static const char *const texts[] = {"<unk>", "<s>", "</s>", TD_SPM_SPACE, "t", "h", "e", "th", "the", "<0x0A>"};
  static const int types[] = {2, 3, 3, 1, 1, 1, 1, 1, 1, 6};
  gb_init(file);
  gb_llama(file);
  for (int i = 0; i < 10; i++) scores[gb_token(file, texts[i], types[i])] = (float)-i;
  gb_write_spm(file, scores);
}

/* ---- keys ---- */

static const char *const keys[] = {
    "general.architecture",
    "general.name",
    "general.alignment",
    "split.count",
    "llama.block_count",
    "llama.context_length",
    "llama.embedding_length",
    "llama.feed_forward_length",
    "llama.attention.head_count",
    "llama.attention.head_count_kv",
    "llama.attention.layer_norm_rms_epsilon",
    "llama.attention.key_length",
    "llama.attention.value_length",
    "llama.attention.causal",
    "llama.attention.sliding_window",
    "llama.rope.dimension_count",
    "llama.rope.freq_base",
    "llama.rope.scaling.type",
    "llama.rope.scaling.factor",
    "llama.rope.scaling.original_context_length",
    "llama.rope.scale_linear",
    "llama.vocab_size",
    "llama.expert_count",
    "llama.expert_used_count",
    "llama.expert_feed_forward_length",
    "llama.tensor_data_layout",
    "tokenizer.ggml.model",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.tokens",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.scores",
    "tokenizer.ggml.merges",
    "tokenizer.ggml.bos_token_id",
    "tokenizer.ggml.eos_token_id",
    "tokenizer.ggml.eot_token_id",
    "tokenizer.ggml.unknown_token_id",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_space_prefix",
    "tokenizer.ggml.remove_extra_whitespaces",
    "tokenizer.ggml.precompiled_charsmap",
    "tokenizer.chat_template",
};
#define KEYS ((int)(sizeof keys / sizeof keys[0]))
#define FIRST_TOKENIZER_KEY 26

/* Values as bits: small, large, and for both widths of floats the odd ones. */
static const uint64_t words[] = {0,
                                 1,
                                 2,
                                 3,
                                 7,
                                 31,
                                 1000,
                                 65535,
                                 65536,
                                 INT32_MAX,
                                 UINT32_MAX,
                                 UINT64_C(1) << 32,
                                 INT64_MAX,
                                 UINT64_MAX,
                                 0x7f800000,                    /* infinity */
                                 0xff800000,                    /* -infinity */
                                 0x7fc00000,                    /* NaN */
                                 0x80000000,                    /* -0 */
                                 0x00000001,                    /* the smallest */
                                 0x7f7fffff,                    /* the largest */
                                 UINT64_C(0x7ff0000000000000),  /* infinity */
                                 UINT64_C(0x7ff8000000000001),  /* NaN */
                                 UINT64_C(0x7fefffffffffffff)}; /* the largest */
#define WORDS ((int)(sizeof words / sizeof words[0]))
static const int types[] = {0, 2, 4, 5, 6, 7, 10, 11, 12};
#define TYPES ((int)(sizeof types / sizeof types[0]))
/* Texts, arrays of each type with odd lengths. */
#define OTHERS 32

/* The pairs of a type and a word that say something else than another. */
static struct { int type, word; } plain[TYPES * WORDS];
static int plain_count, per_key;

static void list_plain(void) {
  for (int type = 0; type < TYPES; type++) {
    uint32_t bytes = td_gguf_type_bytes((uint32_t)types[type]);
    for (int word = 0; word < WORDS; word++) {
      bool fits = bytes == 8 || words[word] >> 8 * bytes == 0 || words[word] == UINT64_MAX;
      if (!fits) continue;
      plain[plain_count].type = types[type];
      plain[plain_count++].word = word;
    }
  }
  per_key = plain_count + OTHERS;
}

static void set_other(struct gb_file *file, const char *key, int other) {
  static const char *const texts[] = {"", "\xff\xfe", "llama", "gpt2", "t5", "linear", "qwen3moe", "%s%n\n"};
  struct td_text payload = {0};
  if (other < 8) {
    gb_text(file, key, texts[other]);
    return;
  }
  uint32_t type = (uint32_t)(other - 8) % 12;
  uint64_t count = other < 20 ? 0 : 3;
  td_text_add(&payload, &type, sizeof type);
  td_text_add(&payload, &count, sizeof count);
  for (uint64_t i = 0; i < 3 * count; i++) td_text_add(&payload, &count, sizeof count); /* enough for any type */
  gb_raw(file, key, TD_GGUF_ARRAY, payload.data, payload.bytes - (type == 8 && count ? 24 : 0));
  td_text_free(&payload);
}

struct key_range {
  bool spm;
  int first;
};

static void make_key(void *context, int index, char *name, size_t size) {
  const struct key_range *range = context;
  struct gb_file file;
  const char *key = keys[range->first + index / per_key];
  int change = index % per_key;
  if (range->spm) {
    begin_spm(&file);
  } else {
    begin_bpe(&file);
  }
  if (change < plain_count) {
    uint32_t type = (uint32_t)plain[change].type;
    gb_raw(&file, key, type, &words[plain[change].word], td_gguf_type_bytes(type));
  } else {
    set_other(&file, key, change - plain_count);
  }
  gb_place(&file);
  write_built(&file);
  snprintf(name, size, "%s: %s, change %d", range->spm ? "spm" : "bpe", key, change);
}

static void check_keys(bool spm, int first) {
  struct key_range range = {spm, first};
  int count = (KEYS - first) * per_key, opened = victim_open_all(scratch, count, 1 << 16, make_key, &range, NULL);
  print_message("%s: %d files, %d read\n", spm ? "spm" : "bpe", count, opened);
  assert_in_range(opened, 1, count - 1);
}

static void test_keys(void **state) {
  (void)state;
  list_plain();
  check_keys(false, 0);
  check_keys(true, FIRST_TOKENIZER_KEY);
}

/* ---- two dimensions at once ---- */

static const uint32_t sizes[] = {1, 3, 16, 64, 255, 32768, 262144, 1u << 30, INT32_MAX};
static const char *const dimensions[] = {"llama.embedding_length",        "llama.attention.head_count",
                                         "llama.attention.head_count_kv", "llama.attention.key_length",
                                         "llama.rope.dimension_count",    "llama.expert_count",
                                         "llama.expert_used_count",       "llama.block_count"};
#define SIZES ((int)(sizeof sizes / sizeof sizes[0]))
#define DIMENSIONS ((int)(sizeof dimensions / sizeof dimensions[0]))

static void make_shape(void *context, int index, char *name, size_t size) {
  struct gb_file file;
  uint32_t one = sizes[index % SIZES], other = sizes[index / SIZES % SIZES];
  int pair = index / SIZES / SIZES, a = pair % DIMENSIONS, b = pair / DIMENSIONS;
  (void)context;
  begin_bpe(&file);
  gb_u32(&file, dimensions[a], one);
  gb_u32(&file, dimensions[b <= a ? b : 0], other);
  gb_place(&file);
  write_built(&file);
  snprintf(name, size, "%s = %u, %s = %u", dimensions[a], one, dimensions[b <= a ? b : 0], other);
}

static void test_shapes(void **state) {
  (void)state;
  victim_open_all(scratch, DIMENSIONS * DIMENSIONS * SIZES * SIZES / 2, 1 << 16, make_shape, NULL, NULL);
}

/* ---- tensors ---- */

static void make_tensor(void *context, int index, char *name, size_t size) {
  static const uint64_t numbers[] = {0, 1, 31, 32, 33, 4096, UINT32_MAX, UINT64_C(1) << 32, INT64_MAX, UINT64_MAX};
  struct gb_file file;
  int place = index / 10 % 8, tensor = index / 80;
  uint64_t number = numbers[index % 10];
  (void)context;
  begin_bpe(&file);
  gb_place(&file);
  struct gb_tensor *spoiled = &file.tensors[tensor];
  if (place < 4) spoiled->ne[place] = number;
  if (place == 2) spoiled->dims = 3;
  if (place == 3) spoiled->dims = 4;
  if (place == 4) spoiled->offset = number;
  if (place == 5) spoiled->offset = file.tensors[(tensor + 1) % file.tensors_used].offset + number;
  if (place == 6) spoiled->type = (uint32_t)(index % 10) * 4;
  if (place == 7) memmove(spoiled->name, file.tensors[index % 10].name, sizeof spoiled->name);
  write_built(&file);
  snprintf(name, size, "tensor %d, place %d, number %d", tensor, place, index % 10);
}

static void test_tensors(void **state) {
  (void)state;
  victim_open_all(scratch, 12 * 80, 1 << 16, make_tensor, NULL, NULL);
}

/* ---- vocabularies ---- */

static char long_text[70000];

/* Token texts, scores, types and merges at random out of a few that hurt. */
static void make_vocabulary(void *context, int index, char *name, size_t size) {
  static const char *const parts[] = {"",
                                      "a",
                                      "aa",
                                      "aaaa",
                                      "\xff",
                                      "\xe2\x96",
                                      TD_SPM_SPACE,
                                      TD_SPM_SPACE "a",
                                      "<0x41>",
                                      "<0xff>",
                                      "<unk>",
                                      "h",
                                      "e",
                                      "he",
                                      " ",
                                      "\xc4\xa0",
                                      "\xf0\x9f\x99\x82",
                                      "<|im_end|>",
                                      "t",
                                      "the",
                                      "<|im_start|>",
                                      "\n",
                                      "12"};
  static const char *const merges[] = {"a a", "aa aa", "h e", " ", "a", "", "a a a", "he he", "\xff \xff", "t h", "  "};
  static const float odd[] = {0, -1, 1, INFINITY, -INFINITY, FLT_MAX, -FLT_MAX, 1e-45f, NAN};
  static const char *const models[] = {"gpt2", "llama"};
  static const char *const pres[] = {"gpt-2", "qwen2", "llama-bpe", "tekken", "default", "smollm"};
  const char *chosen[8];
  struct gb_file file;
  uint64_t seed = (uint64_t)index;
  bool repeats = td_random(seed, 1, 0) % 4 == 0, spm = index % 2, all_bytes = td_random(seed, 2, 0) % 2;
  int count = 1 + (int)(td_random(seed, 3, 0) % 23);
  (void)context;
  gb_init(&file);
  gb_llama(&file);
  if (all_bytes && !spm) gb_byte_tokens(&file);
  for (int i = 0; i < count; i++) {
    uint64_t pick = td_random(seed, 4, (uint64_t)i);
    const char *text = parts[repeats ? pick % 23 : (uint64_t)i];
    if (td_random(seed, 11, 0) % 16 == 0 && i == 0) text = long_text + td_random(seed, 12, 0) % 6000;
    int32_t type = td_random(seed, 5, (uint64_t)i) % 3 ? 1 : (int32_t)(td_random(seed, 6, (uint64_t)i) % 7);
    scores[gb_token(&file, text, type)] = odd[td_random(seed, 7, (uint64_t)i) % (td_random(seed, 8, 0) % 4 ? 8 : 9)];
  }
  int merge_count = (int)(td_random(seed, 9, 0) % 8);
  for (int i = 0; i < merge_count; i++) chosen[i] = merges[td_random(seed, 10, (uint64_t)i) % 11];
  gb_write_tokens(&file, models[spm], pres[td_random(seed, 13, 0) % 6], chosen, merge_count);
  if (spm) gb_write_spm(&file, scores);
  if (td_random(seed, 14, 0) % 8 == 0) gb_drop(&file, "tokenizer.ggml.token_type");
  gb_place(&file);
  write_built(&file);
  snprintf(name, size, "vocabulary %d", index);
}

static void test_vocabularies(void **state) {
  (void)state;
  memset(long_text, 'a', sizeof long_text - 1);
  int opened = victim_open_all(scratch, 1500, 1 << 20, make_vocabulary, NULL, NULL);
  print_message("vocabularies: 1500 files, %d read\n", opened);
  assert_in_range(opened, 300, 1500);
}

/* ---- a vocabulary as large as can be for its file: every text of three letters, made of two in both ways ---- */

#ifdef TANDEM_SANITIZED /* memory is not judged there, and time is short */
#define LETTERS 20
#else
#define LETTERS 94 /* of ASCII that print, each its own byte token */
#endif
#define ALL_BYTES 256
#define MANY (ALL_BYTES + LETTERS * LETTERS + LETTERS * LETTERS * LETTERS)
#define MANY_MERGES (LETTERS * LETTERS + 2 * LETTERS * LETTERS * LETTERS)

static void add_string(struct td_text *out, const char *text) {
  uint64_t bytes = strlen(text);
  td_text_add(out, &bytes, sizeof bytes);
  td_text_add(out, text, bytes);
}

static void begin_strings(struct td_text *out, uint64_t count) {
  uint32_t type = TD_GGUF_STRING;
  td_text_add(out, &type, sizeof type);
  td_text_add(out, &count, sizeof count);
}

static char letter(int i) {
  return (char)('!' + i % LETTERS);
}

static void add_pair(struct td_text *tokens, struct td_text *merges, int i) {
  add_string(tokens, (const char[]){letter(i / LETTERS), letter(i), 0});
  add_string(merges, (const char[]){letter(i / LETTERS), ' ', letter(i), 0});
}

static void add_triple(struct td_text *tokens, struct td_text *merges, int i) {
  char a = letter(i / LETTERS / LETTERS), b = letter(i / LETTERS), c = letter(i);
  add_string(tokens, (const char[]){a, b, c, 0});
  add_string(merges, (const char[]){a, b, ' ', c, 0});
  add_string(merges, (const char[]){a, ' ', b, c, 0});
}

static void make_many(void *context, int index, char *name, size_t size) {
  struct td_text *file = context;
  FILE *out = fopen(scratch, "wb");
  if (!out || fwrite(file->data, 1, file->bytes, out) != file->bytes || fclose(out)) abort();
  snprintf(name, size, "%d tokens, %d merges, case %d", MANY, MANY_MERGES, index);
}

static void test_many_merges(void **state) {
  struct td_text tokens = {0}, merges = {0}, whole = {0};
  struct gb_file file;
  (void)state;
  begin_bpe(&file);
  begin_strings(&tokens, MANY);
  begin_strings(&merges, MANY_MERGES);
  for (int i = 0; i < ALL_BYTES; i++) add_string(&tokens, file.tokens[i]);
  for (int i = 0; i < LETTERS * LETTERS; i++) add_pair(&tokens, &merges, i);
  for (int i = 0; i < LETTERS * LETTERS * LETTERS; i++) add_triple(&tokens, &merges, i);
  gb_raw(&file, "tokenizer.ggml.tokens", TD_GGUF_ARRAY, tokens.data, tokens.bytes);
  gb_raw(&file, "tokenizer.ggml.merges", TD_GGUF_ARRAY, merges.data, merges.bytes);
  gb_drop(&file, "tokenizer.ggml.token_type");
  gb_shape(&file, "token_embd.weight", TD_Q4_0, 32, MANY);
  gb_place(&file);
  td_text_free(&tokens);
  td_text_free(&merges);
  uint64_t bytes;
  whole.data = (char *)gb_bytes(&file, &bytes);
  whole.bytes = bytes;
  gb_free(&file);
  assert_int_equal(victim_open_all(scratch, 1, bytes, make_many, &whole, NULL), 1);
  free(whole.data);
}

/* ---- templates ---- */

static void make_template(void *context, int index, char *name, size_t size) {
  static const char *const parts[] = {"<|im_start|>",
                                      "{{ ",
                                      " }}",
                                      "{% ",
                                      " %}",
                                      "{%- ",
                                      " -%}",
                                      "for m in messages",
                                      "endfor",
                                      "if",
                                      "endif",
                                      "else",
                                      "elif",
                                      "set x =",
                                      "messages",
                                      "m.content",
                                      "m['role']",
                                      "(",
                                      ")",
                                      "[",
                                      "]",
                                      "{",
                                      "}",
                                      "'a'",
                                      "\"",
                                      "'",
                                      "\\",
                                      "| trim",
                                      "is string",
                                      "not",
                                      "in",
                                      "and",
                                      "1",
                                      "99",
                                      "-",
                                      "+",
                                      "~",
                                      "//",
                                      "%",
                                      "==",
                                      ":",
                                      ",",
                                      ".",
                                      "x",
                                      "range(9)",
                                      "loop",
                                      "macro f(x)",
                                      "endmacro",
                                      "f(f)",
                                      "{#",
                                      "#}",
                                      "\n",
                                      "[::-1]",
                                      "| tojson",
                                      "namespace(a=1)",
                                      "| join",
                                      ".split('a')",
                                      "\xff",
                                      "\xe2\x80\x83",
                                      "[1:]",
                                      "| length",
                                      "if x else",
                                      "break",
                                      "generation"};
  struct gb_file file;
  struct td_text template = {0};
  int count = 1 + (int)(td_random((uint64_t)index, 21, 0) % 40);
  (void)context;
  td_text_printf(&template, "<|im_start|>");
  for (int i = 0; i < count; i++) {
    td_text_printf(&template, "%s ",
                   parts[td_random((uint64_t)index, 22, (uint64_t)i) % (sizeof parts / sizeof *parts)]);
  }
  begin_bpe(&file);
  gb_text(&file, "tokenizer.chat_template", template.data);
  td_text_free(&template);
  gb_place(&file);
  write_built(&file);
  snprintf(name, size, "template %d", index);
}

static void test_templates(void **state) {
  (void)state;
  assert_int_equal(victim_open_all(scratch, 1500, 1 << 16, make_template, NULL, NULL), 1500);
}

static int setup(void **state) {
  (void)state;
  snprintf(scratch, sizeof scratch, "%s/odd.gguf", test_scratch());
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_keys),         cmocka_unit_test(test_shapes),    cmocka_unit_test(test_tensors),
      cmocka_unit_test(test_vocabularies), cmocka_unit_test(test_templates), cmocka_unit_test(test_many_merges),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
