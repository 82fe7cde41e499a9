/* SPDX-License-Identifier: Apache-2.0
 *
 * Model files cut at every 1 % of their length, and with every field of their header set to 0, 1, its maxima, something
 * random and NaN: a one-line error or a correct read. `tandem eval` runs what was read, or some of it under sanitizers.
 */
#include <fcntl.h>

#include "fields.h"
#include "model/gguf_builder.h"
#include "support.h"
#include "tandem/base.h"
#include "victim.h"

#ifdef TANDEM_SANITIZED
#define EVALS 3
#else
#define EVALS 1000
#endif

static char scratch[4096], ids[4096];

struct base {
  const char *name;
  unsigned char *good, *bad;
  size_t bytes;
  struct field_list list;
};

static void write_file(const char *path, const void *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  if (!file || fwrite(data, 1, bytes, file) != bytes || fclose(file)) abort();
}

/* Only what differs is written: the files are large, and the cases many. */
static void patch_file(size_t at, const void *data, size_t bytes) {
  int file = open(scratch, O_WRONLY);
  if (file < 0 || pwrite(file, data, bytes, (off_t)at) != (ssize_t)bytes || close(file)) abort();
}

static void open_base(struct base *base, const char *name, const void *data, size_t bytes) {
  *base = (struct base){.name = name, .bytes = bytes};
  base->good = malloc(bytes);
  base->bad = malloc(bytes);
  if (!base->good || !base->bad) abort();
  memcpy(base->good, data, bytes);
  memcpy(base->bad, data, bytes);
  list_fields(base->good, bytes, &base->list);
  write_file(scratch, data, bytes);
}

static void close_base(struct base *base) {
  free(base->good);
  free(base->bad);
  free(base->list.fields);
}

/* ---- cases ---- */

static void make_cut(void *context, int index, char *name, size_t size) {
  const struct base *base = context;
  size_t bytes = base->bytes * (size_t)index / 100;
  write_file(scratch, base->good, bytes);
  snprintf(name, size, "%s cut to %zu bytes", base->name, bytes);
}

static void name_field(const struct base *base, int index, char *name, size_t size) {
  const struct field *field = &base->list.fields[index / VALUE_COUNT];
  snprintf(name, size, "%s: %s = %s", base->name, field->name, value_names[index % VALUE_COUNT]);
}

static void make_field(void *context, int index, char *name, size_t size) {
  static const struct field *last;
  struct base *base = context;
  const struct field *field = &base->list.fields[index / VALUE_COUNT];
  if (last && last != field) patch_file(last->at, base->good + last->at, (size_t)last->bytes);
  last = field;
  set_field(base->bad, field, index % VALUE_COUNT, 1);
  patch_file(field->at, base->bad + field->at, (size_t)field->bytes);
  memcpy(base->bad + field->at, base->good + field->at, (size_t)field->bytes);
  name_field(base, index, name, size);
}

/* ---- running what was read ---- */

static void eval_case(struct base *base, int index) {
  char name[256];
  const struct field *field = &base->list.fields[index / VALUE_COUNT];
  set_field(base->bad, field, index % VALUE_COUNT, 1);
  write_file(scratch, base->bad, base->bytes);
  memcpy(base->bad + field->at, base->good + field->at, (size_t)field->bytes);
  name_field(base, index, name, sizeof name);
  victim_eval(scratch, ids, base->bytes, name);
}

static bool changes(const struct base *base, int index) {
  const struct field *field = &base->list.fields[index / VALUE_COUNT];
  struct base copy = *base;
  set_field(copy.bad, field, index % VALUE_COUNT, 1);
  bool differs = memcmp(copy.bad + field->at, base->good + field->at, (size_t)field->bytes) != 0;
  memcpy(copy.bad + field->at, base->good + field->at, (size_t)field->bytes);
  return differs;
}

static int eval_some(struct base *base, const bool *opened, int count) {
  int candidates = 0, taken = 0;
  for (int i = 0; i < count; i++) candidates += opened[i] && changes(base, i);
  for (int i = 0, seen = 0; i < count; i++) {
    if (!opened[i] || !changes(base, i)) continue;
    /* spread over the file */
    if (taken < EVALS && (int64_t)seen * EVALS / candidates >= taken) {
      eval_case(base, i);
      taken++;
    }
    seen++;
  }
  return taken;
}

/* ---- all of it, for one file ---- */

static void check_file(const char *name, const void *data, size_t bytes) {
  struct base base;
  open_base(&base, name, data, bytes);
  int count = (int)base.list.count * VALUE_COUNT;
  bool *opened = calloc((size_t)count, sizeof *opened);
  assert_non_null(opened);
  assert_int_equal(victim_open_all(scratch, 100, bytes, make_cut, &base, NULL), 0);
  write_file(scratch, data, bytes);
  int total = victim_open_all(scratch, count, bytes, make_field, &base, opened);
  assert_in_range(total, 1, count - 1);
  int ran = eval_some(&base, opened, count);
  print_message("%s: 100 cuts; %zu fields, %d files: %d read, %d of them run\n", name, base.list.count, count, total,
                ran);
  free(opened);
  close_base(&base);
}

static void check_path(const char *path) {
  char *data;
  size_t bytes;
  if (!path) {
    print_message("SKIPPED: no such model in ../shared/reference/tiny\n");
    return;
  }
  assert_int_equal(td_read_file(path, 16 << 20, &data, &bytes), TD_OK);
  check_file(strrchr(path, '/') + 1, data, bytes);
  free(data);
}

static void test_tiny_of_the_tree(void **state) {
  (void)state;
  check_path(test_source("tests/data/tiny/llama.gguf"));
}

/* One small model of each architecture: the seeds of fuzz_gguf. */
static void test_seeds(void **state) {
  (void)state;
  static const char *const names[] = {"llama", "llama-spm", "mixtral", "qwen2", "qwen3", "qwen3moe", "gemma3"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char path[64];
    snprintf(path, sizeof path, "tests/fuzz/corpus/gguf/%s", names[i]);
    check_path(test_source(path));
  }
}

static void test_tiny_of_the_reference(void **state) {
  (void)state;
  static const char *const names[] = {"llama-ropescale", "mixtral", "qwen2", "qwen3", "qwen3moe", "gemma3"};
  for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
    char path[64];
    snprintf(path, sizeof path, "reference/tiny/%s.gguf", names[i]);
    check_path(test_shared(path));
  }
}

/* A SentencePiece-style vocabulary, a chat template, and values that the tiny files lack. */
static void test_built(void **state) {
  (void)state;
  struct gb_file file;
  float scores[GB_TOKENS];
  uint64_t bytes;
  gb_init(&file);
  gb_llama(&file);
  gb_token(&file, "<unk>", 2);
  gb_token(&file, "<s>", 3);
  for (int i = 0; i < 60; i++) {
    char text[8];
    snprintf(text, sizeof text, "%c%s", 'a' + i % 26, i < 26 ? "" : i < 52 ? "e" : "he");
    scores[gb_token(&file, text, 1)] = (float)-i;
  }
  scores[0] = scores[1] = 0;
  gb_write_spm(&file, scores);
  gb_u32(&file, "tokenizer.ggml.bos_token_id", 1);
  gb_u32(&file, "tokenizer.ggml.unknown_token_id", 0);
  gb_bool(&file, "tokenizer.ggml.add_space_prefix", 1);
  gb_f32(&file, "llama.rope.freq_base", 10000);
  gb_u32(&file, "llama.rope.dimension_count", 16);
  gb_u32(&file, "general.alignment", 32);
  gb_text(&file, "tokenizer.chat_template",
          "{{ bos_token }}{% for m in messages %}{{ '[INST] ' + m.content }}{% endfor %}");
  gb_place(&file);
  unsigned char *data = gb_bytes(&file, &bytes);
  check_file("built", data, bytes);
  free(data);
  gb_free(&file);
}

static int setup(void **state) {
  (void)state;
  const char *folder = test_scratch();
  snprintf(scratch, sizeof scratch, "%s/spoiled.gguf", folder);
  snprintf(ids, sizeof ids, "%s/ids", folder);
  write_file(ids, "1 2 3 4 5 6 7 8 9 10\n", 21);
  return 0;
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_tiny_of_the_tree),
      cmocka_unit_test(test_seeds),
      cmocka_unit_test(test_tiny_of_the_reference),
      cmocka_unit_test(test_built),
  };
  return cmocka_run_group_tests(tests, setup, NULL);
}
