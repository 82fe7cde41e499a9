/* SPDX-License-Identifier: Apache-2.0
 *
 * docs/support.md is what the suite would write now. Compared section by section: a backend that the file does not know
 * yet is named, a backend that is not available here is left out.
 */
#include "support.h"
#include "tandem/base.h"
#include "tandem/conform.h"

/* The text of the section that begins with "\n## NAME\n", up to the next one or the end. */
static const char *find_section(const char *text, const char *heading, size_t bytes, size_t *out_bytes) {
  for (const char *at = strstr(text, "\n## "); at; at = strstr(at + 1, "\n## ")) {
    if (strncmp(at, heading, bytes)) continue;
    const char *end = strstr(at + 1, "\n## ");
    *out_bytes = end ? (size_t)(end - at) : strlen(at);
    return at;
  }
  return NULL;
}

static bool contains(const char *text, size_t bytes, const char *words) {
  return memmem(text, bytes, words, strlen(words)) != NULL;
}

static int compare_sections(const char *made, const char *kept) {
  int different = 0;
  for (const char *at = strstr(made, "\n## "); at; at = strstr(at + 1, "\n## ")) {
    size_t heading = 4 + strcspn(at + 4, "\n") + 1, made_bytes = 0, kept_bytes = 0;
    find_section(made, at, heading, &made_bytes);
    const char *section = find_section(kept, at, heading, &kept_bytes);
    int name_bytes = (int)heading - 5;
    if (!section) {
      printf("note: backend %.*s is not in docs/support.md yet\n", name_bytes, at + 4);
    } else if (contains(at, made_bytes, "\nNot available where")) {
      printf("note: backend %.*s is not available here: not compared\n", name_bytes, at + 4);
    } else if (kept_bytes != made_bytes || memcmp(section, at, made_bytes)) {
      printf("backend %.*s: docs/support.md is out of date: build/tandem conform --table > docs/support.md\n",
             name_bytes, at + 4);
      different++;
    }
  }
  return different;
}

static void test_current(void **state) {
  (void)state;
  char *kept, *made = NULL;
  size_t kept_bytes, made_bytes = 0;
  assert_int_equal(td_read_file(test_source("docs/support.md"), 1 << 20, &kept, &kept_bytes), TD_OK);
  FILE *out = open_memstream(&made, &made_bytes);
  assert_non_null(out);
  td_status status = td_conform_table(out);
  fclose(out);
  if (status) printf("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  assert_null(strstr(kept, "FAIL"));
  assert_non_null(strstr(kept, "\n## cpu\n"));
  assert_memory_equal(kept, made, (size_t)(strstr(made, "\n## ") - made)); /* the introduction */
  assert_int_equal(compare_sections(made, kept), 0);
  free(kept);
  free(made);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_current)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
