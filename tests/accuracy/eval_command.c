/* SPDX-License-Identifier: Apache-2.0
 *
 * `tandem eval` as a user calls it: the file it writes, hand-over and micro-batches to the bit, and what it refuses.
 */
#include <math.h>

#include "accuracy/reference.h"
#include "support.h"

#define EVAL "'" TANDEM_PROGRAM "' eval '" TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf'"
#define POSITIONS 30

static char folder[4096];

static int setup(void **state) {
  (void)state;
  snprintf(folder, sizeof folder, "%s", test_scratch());
  char path[4200];
  snprintf(path, sizeof path, "%s/ids", folder);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  for (int i = 0; i < POSITIONS; i++) fprintf(file, "%d%s", (i * 71 + 5) % 320, i % 7 ? " " : "\n");
  fclose(file);
  return 0;
}

static int teardown(void **state) {
  (void)state;
  char out[64];
  return test_run(out, sizeof out, "rm -rf '%s'", folder);
}

/* Runs eval on the ids with more options; must succeed. */
static void eval(const char *options) {
  char out[4096];
  int code = test_run(out, sizeof out, "cd '%s' && " EVAL " --ids ids %s 2>&1", folder, options);
  if (code) fail_msg("%s: exit %d: %s", options, code, out);
}

static int64_t open_result(const char *name) {
  char path[4200];
  snprintf(path, sizeof path, "%s/%s", folder, name);
  return reference_open(path);
}

static void test_file(void **state) {
  (void)state;
  int64_t count, vocab_count;
  eval("--device template --logits --out a.h5");
  int64_t file = open_result("a.h5");
  int32_t *ids = reference_ints(file, "ids", &count), *top_id = reference_ints(file, "top_id", &count);
  double *next = reference_reals(file, "next_logprob", &count), *gap = reference_reals(file, "top_gap", &count);
  double *top = reference_reals(file, "top_logprob", &count);
  double *logits = reference_reals(file, "logits", &vocab_count);
  assert_int_equal(count, POSITIONS);
  assert_int_equal(vocab_count, POSITIONS * 320);
  assert_true(isnan(next[POSITIONS - 1]));
  for (int t = 0; t < POSITIONS; t++) {
    const double *row = logits + t * 320;
    double sum = 0, second = -INFINITY;
    for (int i = 0; i < 320; i++) sum += exp(row[i]);
    for (int i = 0; i < 320; i++) second = i != top_id[t] && row[i] > second ? row[i] : second;
    assert_true(fabs(top[t] - (row[top_id[t]] - log(sum))) < 1e-9);
    assert_true(gap[t] == row[top_id[t]] - second);
    if (t + 1 < POSITIONS) assert_true(fabs(next[t] - (row[ids[t + 1]] - log(sum))) < 1e-9);
  }
  assert_false(reference_has(file, "greedy_ids"));
  reference_close(file);
  free(ids), free(top_id), free(next), free(gap), free(top), free(logits);
}

static void assert_same(const char *a, const char *b, const char *set) {
  int64_t x = open_result(a), y = open_result(b), x_count, y_count;
  double *x_values = reference_reals(x, set, &x_count), *y_values = reference_reals(y, set, &y_count);
  assert_int_equal(x_count, y_count);
  assert_memory_equal(x_values, y_values, (size_t)x_count * sizeof *x_values);
  free(x_values);
  free(y_values);
  reference_close(x);
  reference_close(y);
}

/* Prefill here, decode there, whatever the micro-batch: the same bits as in one place. */
static void test_hand_over(void **state) {
  (void)state;
  const char *const others[] = {
      "--device template --micro-batch 1 --logits --generate 5 --out b.h5",
      "--device template --micro-batch 7 --logits --generate 5 --out b.h5",
      "--device template --prefill-device template --logits --generate 5 --out b.h5",
      "--device template --prefill-device template --split 29 --micro-batch 4 --logits --generate 5 --out b.h5",
      "--device template --prefill-device template --split 30 --logits --generate 5 --out b.h5",
  };
  const char *const sets[] = {"ids",    "next_logprob", "top_id",         "top_logprob", "top_gap",
                              "logits", "greedy_ids",   "greedy_logprob", "greedy_gap"};
  eval("--device template --logits --generate 5 --out a.h5");
  for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
    eval(others[i]);
    for (size_t j = 0; j < sizeof sets / sizeof *sets; j++) assert_same("a.h5", "b.h5", sets[j]);
  }
}

static void test_json(void **state) {
  (void)state;
  char out[4096];
  assert_int_equal(
      test_run(out, sizeof out, "cd '%s' && " EVAL " --ids ids --device template --json --generate 3", folder), 0);
  assert_int_equal(out[0], '{');
  assert_non_null(strstr(out, "\"tokens\": 30"));
  assert_non_null(strstr(out, "\"perplexity\": "));
  assert_non_null(strstr(out, "\"greedy_ids\": ["));
  assert_int_equal(strchr(out, '\n') - out, (long)strlen(out) - 1);
}

/* One line on stderr with these words, nothing on stdout, no file left behind. */
static void refuse(int code, const char *words, const char *command) {
  char out[4096];
  int found = test_run(out, sizeof out, "cd '%s' && rm -f *.h5* && { %s; } 2>&1; c=$?; ls *.h5* 2>/dev/null; exit $c",
                       folder, command);
  if (found != code || !strstr(out, words)) fail_msg("%s: exit %d: %s", command, found, out);
  assert_int_equal(strncmp(out, "tandem: ", 8), 0);
  assert_int_equal(strchr(out, '\n') - out, (long)strlen(out) - 1);
}

static void test_refusals(void **state) {
  (void)state;
  refuse(2, "expected --text FILE or --ids FILE", EVAL);
  refuse(2, "empty: found no token", ": >empty; " EVAL " --ids empty");
  refuse(2, "bad:2: found \"x7\", expected a token id, 0 to 319", "printf '1 2\\n3 x7' >bad; " EVAL " --ids bad");
  refuse(2, "bad:1: found \"320\"", "echo 320 >bad; " EVAL " --ids bad");
  refuse(2, "bad:1: found \"-1\"", "echo -1 >bad; " EVAL " --ids bad");
  refuse(1, "none: No such file", EVAL " --ids none");
  refuse(2, "the context of", "yes 1 | head -n 20000 >long; " EVAL " --ids long");
  refuse(2, "--generate: found 20000", EVAL " --ids ids --generate 20000");
  refuse(2, "did you mean 'template'?", EVAL " --ids ids --device templat --out x.h5");
  refuse(2, "--kv: found \"q8_0\"", EVAL " --ids ids --kv q8_0");
  refuse(2, "--split: found 31", EVAL " --ids ids --prefill-device template --split 31");
  refuse(1, "no/x.h5.part: creating: No such file", EVAL " --ids ids --out no/x.h5");
  refuse(1, ".: found a folder", EVAL " --ids ids --out .");
}

/* What is read stays as it is, whatever name it is written under. */
static void test_inputs_stay(void **state) {
  (void)state;
  static const char copy[] = "cp '" TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf' m.gguf; cp ids i; ";
  static const char *const cases[][2] = {
      {"--ids i --out m.gguf", "output m.gguf: found it would replace the model m.gguf"},
      {"--ids i --out ./i", "output ./i: found it would replace the ids i"},
      {"--text i --out i", "output i: found it would replace the text i"},
      {"--ids i --out link", "output link: found it would replace the model m.gguf"},
      {"--ids i.part --out i", "output i: found it would replace the ids i.part"},
      {"--ids - --out i <i", "output i: found it would replace the ids /dev/stdin"},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    char command[4096];
    snprintf(command, sizeof command,
             "%s cp i i.part; ln -sf m.gguf link; '" TANDEM_PROGRAM
             "' eval m.gguf %s; c=$?; cmp ids i; cmp ids i.part; (exit $c)",
             copy, cases[i][0]);
    refuse(2, cases[i][1], command);
  }
}

static void test_stdin(void **state) {
  (void)state;
  char out[4096], piped[4096];
  assert_int_equal(test_run(out, sizeof out, "cd '%s' && " EVAL " --ids ids --json", folder), 0);
  assert_int_equal(test_run(piped, sizeof piped, "cd '%s' && " EVAL " --ids - --json <ids", folder), 0);
  assert_string_equal(out, piped);
  assert_int_equal(test_run(out, sizeof out, "cd '%s' && " EVAL " --text ids --json", folder), 0);
  assert_int_equal(test_run(piped, sizeof piped, "cd '%s' && cat ids | " EVAL " --text - --json", folder), 0);
  assert_string_equal(out, piped);
  refuse(2, "standard input: found no token", EVAL " --text - </dev/null");
  refuse(2, "standard input: found no token", EVAL " --ids - </dev/null");
  refuse(2, "standard input:1: found \"x\"", "echo x | " EVAL " --ids -");
  refuse(1, "standard input: found more than 67108864 bytes", "head -c 67108865 /dev/zero | " EVAL " --ids -");
  refuse(1, "standard input: found more than 67108864 bytes",
         "head -c 67108865 /dev/zero | '" TANDEM_PROGRAM "' tokenize '" TANDEM_SOURCE_DIR
         "/tests/data/tiny/llama.gguf' --text -");
  refuse(1, "big: found more than 67108864 bytes",
         "truncate -s 67108865 big; '" TANDEM_PROGRAM "' tokenize '" TANDEM_SOURCE_DIR
         "/tests/data/tiny/llama.gguf' --text big; c=$?; rm big; (exit $c)");
}

/* A file that may not grow stands for a full disk. */
static void test_full_disk(void **state) {
  (void)state;
  refuse(1, "x.h5.part: writing: File too large",
         "trap '' XFSZ; ulimit -f 8; " EVAL " --ids ids --device template --logits --out x.h5");
  refuse(1, "x.h5.part: writing: File too large",
         "trap '' XFSZ; ulimit -f 1; " EVAL " --ids ids --device template --out x.h5");
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_file),      cmocka_unit_test(test_hand_over),   cmocka_unit_test(test_json),
      cmocka_unit_test(test_refusals),  cmocka_unit_test(test_inputs_stay), cmocka_unit_test(test_stdin),
      cmocka_unit_test(test_full_disk),
  };
  return cmocka_run_group_tests(tests, setup, teardown);
}
