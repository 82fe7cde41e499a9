/* SPDX-License-Identifier: Apache-2.0
 *
 * Files nobody should have written: unreadable, binary, huge, nested, self-including. All end in one line, soon.
 */
#include <sys/stat.h>

#include "files.h"
#include "tandem/base.h"
#include "tandem/config.h"
#include "tandem/experiment.h"

static void expect_refused(const char *path, const char *expected) {
  struct td_config *config;
  td_status status = td_config_open(path, NULL, 0, &config);
  assert_int_equal(status, TD_CONFIG);
  if (!strstr(td_error_text(), expected)) fail_msg("%s\n  has no: %s", td_error_text(), expected);
  assert_null(strchr(td_error_text(), '\n'));
}

static void unreadable(void **state) {
  (void)state;
  expect_refused("/nowhere/at/all.cfg", "/nowhere/at/all.cfg: No such file or directory");
  expect_refused(scratch_folder(), "found a folder, expected a file");
  expect_refused("", "No such file or directory");
  if (geteuid() == 0) return; /* root reads everything */
  const char *path = scratch_file("locked.cfg", "a = 1;");
  assert_int_equal(chmod(path, 0), 0);
  expect_refused(path, "locked.cfg: Permission denied");
}

static void binary(void **state) {
  (void)state;
  static const char model[] = "GGUF\3\0\0\0\0\0\0\0";
  expect_refused(scratch_bytes("m.gguf", model, sizeof model), "m.gguf:1: found a zero byte, expected text");
  expect_refused(scratch_bytes("b.cfg",
                               "a = 1;\n\x7f"
                               "ELF",
                               11),
                 "b.cfg:2: found the byte 0x7f, expected text");
}

static void huge(void **state) {
  (void)state;
  char path[4300];
  snprintf(path, sizeof path, "%s", scratch_file("huge.cfg", "a = 1;\n"));
  assert_int_equal(truncate(path, (off_t)17 << 20), 0);
  expect_refused(path, "huge.cfg: found ");
  expect_refused("/dev/zero", "/dev/zero: found ");
}

/* `count` copies of `piece` between two ends. */
static char *repeated(const char *begin, const char *piece, size_t count, const char *end) {
  size_t bytes = strlen(piece);
  char *text = malloc(strlen(begin) + bytes * count + strlen(end) + 1), *at;
  assert_non_null(text);
  at = stpcpy(text, begin);
  for (size_t i = 0; i < count; i++) at = stpcpy(at, piece);
  strcpy(at, end);
  return text;
}

static void nested(void **state) {
  (void)state;
  static const char *const opens[] = {"(", "a={", "["};
  for (size_t i = 0; i < sizeof opens / sizeof *opens; i++) {
    char *text = repeated("a = ", opens[i], 100000, "");
    expect_refused(scratch_file("n.cfg", text), "n.cfg:1: found brackets nested deeper than 64, expected at most that");
    free(text);
  }
}

static void too_many_keys(void **state) {
  (void)state;
  char *text = malloc(20 * 5001 + 1), *at = text;
  assert_non_null(text);
  for (int i = 0; i <= 5000; i++) at += sprintf(at, "key%d = 1;\n", i);
  expect_refused(scratch_file("k.cfg", text), "k.cfg:4097: found more than 4096 keys in one group");
  free(text);
}

static void too_long_a_list(void **state) {
  (void)state;
#ifdef TANDEM_SANITIZED
  /* libconfig grows a list 16 elements at a time, and AddressSanitizer's realloc copies each time: minutes */
  skip();
#endif
  char *text = repeated(
      "name = \"t\"; model = \"m\"; cluster = { pools = ( { name = \"a\"; backend = \"cpu\"; } ); };\n"
      "workload = { requests = (\n {}",
      ",{}", 1000000, " ); };\n");
  struct td_config *config;
  struct td_experiment experiment;
  assert_int_equal(td_experiment_open(scratch_file("l.cfg", text), NULL, 0, &config, &experiment), TD_CONFIG);
  assert_non_null(
      strstr(td_error_text(), "l.cfg:2: workload.requests: found a list of 1000001, expected at most 1000000"));
  free(text);
}

static void includes(void **state) {
  (void)state;
  expect_refused(scratch_file("self.cfg", "@include \"self.cfg\"\n"), "self.cfg:1: found @include nested over 8 deep");
  expect_refused(scratch_file("gone.cfg", "a = 1;\n@include \"not there.cfg\"\n"), "gone.cfg:2: @include: ");
  expect_refused(scratch_file("zero.cfg", "\n@include \"/dev/zero\"\n"), "zero.cfg:2: @include: /dev/zero: found ");
  scratch_file("open.cfg", "b = {\n");
  expect_refused(scratch_file("half.cfg", "@include \"open.cfg\"\n};\n"), "open.cfg:1: found an opening bracket");
  char *text = repeated("", "@include \"empty.cfg\"\n", 300, "");
  scratch_file("empty.cfg", "");
  expect_refused(scratch_file("many.cfg", text), "over 256 files");
  free(text);
}

/* libconfig 1.5 would cut these to 32 bits. */
static void numbers_are_not_cut(void **state) {
  (void)state;
  struct numbers {
    int64_t a, b, c, d;
    double e;
  } numbers;
  static const struct td_option options[] = {{.name = "a", .type = TD_OPT_INT, .offset = offsetof(struct numbers, a)},
                                             {.name = "b", .type = TD_OPT_INT, .offset = offsetof(struct numbers, b)},
                                             {.name = "c", .type = TD_OPT_INT, .offset = offsetof(struct numbers, c)},
                                             {.name = "d", .type = TD_OPT_INT, .offset = offsetof(struct numbers, d)},
                                             {.name = "e", .type = TD_OPT_REAL, .offset = offsetof(struct numbers, e)},
                                             {.name = NULL}};
  static const struct td_option_group group = {"numbers", sizeof numbers, options};
  struct td_config *config;
  const char *path =
      scratch_file("v.cfg", "a = 3000000000; b = 0xFFFFFFFF; c = -9223372036854775808; d = 0x1FFFFFFFFL; e = 3;");
  assert_int_equal(td_config_open(path, NULL, 0, &config), TD_OK);
  assert_int_equal(td_config_parse(config, &group, &numbers), TD_OK);
  assert_true(numbers.a == INT64_C(3000000000) && numbers.b == INT64_C(0xFFFFFFFF));
  assert_true(numbers.c == INT64_MIN && numbers.d == INT64_C(0x1FFFFFFFF) && numbers.e == 3.0);
  td_config_close(config);
  expect_refused(scratch_file("w.cfg", "a = 0x1FFFFFFFFFFFFFFFF;"), "w.cfg:1: found 0x1FFFFFFFFFFFFFFFF, expected");
  path = scratch_file("x.cfg", "a = 1; b = 1; c = 1; d = 1; e = 9007199254740993;");
  assert_int_equal(td_config_open(path, NULL, 0, &config), TD_OK);
  assert_int_equal(td_config_parse(config, &group, &numbers), TD_CONFIG);
  td_config_close(config);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(unreadable),    cmocka_unit_test(binary),
      cmocka_unit_test(huge),          cmocka_unit_test(nested),
      cmocka_unit_test(too_many_keys), cmocka_unit_test(too_long_a_list),
      cmocka_unit_test(includes),      cmocka_unit_test(numbers_are_not_cut),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
