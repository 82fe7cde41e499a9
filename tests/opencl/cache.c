/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled programs on disk: used when they are what they should be, and only then.
 */
#include <dirent.h>
#include <sys/stat.h>

#include "fixture.h"

static char folder[4096];

/* What one device with one operator does: how many programs from source, how many from the cache. */
static void run_once(int *out_sources, int *out_binaries) {
  int sources = shim_count("shim_sources"), binaries = shim_count("shim_binaries");
  struct td_device *device = open_opencl();
  struct sum sum;
  prepare_sum(device, &sum);
  check_sum(device, &sum);
  td_device_free(device, sum.buffer);
  td_device_close(device);
  *out_sources = shim_count("shim_sources") - sources;
  *out_binaries = shim_count("shim_binaries") - binaries;
}

static void expect(int sources, int binaries) {
  int got_sources, got_binaries;
  run_once(&got_sources, &got_binaries);
  assert_int_equal(got_sources, sources);
  assert_int_equal(got_binaries, binaries);
}

/* The only file there. */
static const char *only_file(void) {
  static char path[8192];
  int count = 0;
  DIR *open = opendir(folder);
  assert_non_null(open);
  for (struct dirent *entry; (entry = readdir(open));) {
    if (entry->d_name[0] == '.') continue;
    snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
    count++;
  }
  closedir(open);
  assert_int_equal(count, 1);
  return path;
}

static char *load(const char *path, size_t *out_bytes) {
  char *data = NULL;
  assert_ok(td_read_file(path, (size_t)1 << 28, &data, out_bytes));
  return data;
}

static void store(const char *path, const char *data, size_t bytes) {
  FILE *file = fopen(path, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  fclose(file);
}

static int fresh(void **state) {
  (void)state;
  forget_wishes();
  snprintf(folder, sizeof folder, "%s/a/b", test_scratch());
  setenv("TANDEM_OPENCL_CACHE", folder, 1);
  return 0;
}

static void test_hit(void **state) {
  (void)state;
  expect(1, 0);
  expect(0, 1);
  expect(0, 1);
  only_file();
}

static void test_off(void **state) {
  (void)state;
  setenv("TANDEM_OPENCL_CACHE", "off", 1);
  expect(1, 0);
  expect(1, 0);
  assert_int_not_equal(access(folder, F_OK), 0);
}

/* Every kind of damage: the program is built anew and the file replaced. */
static void test_corrupt(void **state) {
  (void)state;
  size_t bytes, cuts[] = {0, 7, 31, 100};
  expect(1, 0);
  const char *path = only_file();
  char *good = load(path, &bytes);
  for (size_t i = 0; i < 4; i++) {
    store(path, good, cuts[i]);
    expect(1, 0);
  }
  size_t places[] = {3, 9, 17, 25, 40, bytes / 2, bytes - 1};
  for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
    good[places[i]] ^= 1;
    store(path, good, bytes);
    good[places[i]] ^= 1;
    expect(1, 0);
  }
  expect(0, 1);
  free(good);
}

/* A binary of another driver under our name: its key says so. A folder in the file's place, likewise, is no file. */
static void test_foreign(void **state) {
  (void)state;
  expect(1, 0);
  const char *path = only_file();
  size_t bytes;
  char *good = load(path, &bytes), *driver = NULL;
  for (size_t i = 32; i + 4 < 600 && i + 4 < bytes && !driver; i++) {
    if (memcmp(good + i, "PoCL", 4) == 0) driver = good + i;
  }
  assert_non_null(driver); /* the key names the platform */
  memcpy(driver, "LoCP", 4);
  store(path, good, bytes);
  expect(1, 0);
  expect(0, 1);
  free(good);
}

/* Believed by us, refused by the driver. */
static void test_refused_binary(void **state) {
  (void)state;
  size_t bytes;
  uint64_t sizes[3], hash;
  expect(1, 0);
  const char *path = only_file();
  char *file = load(path, &bytes);
  memcpy(sizes, file + 8, sizeof sizes);
  char *binary = file + 32 + sizes[0];
  memset(binary, 0x5a, sizes[1]);
  hash = td_hash(TD_HASH_INIT, binary, sizes[1]);
  memcpy(file + 24, &hash, sizeof hash);
  store(path, file, bytes);
  int sources, binaries;
  run_once(&sources, &binaries);
  assert_int_equal(sources, 1);
  assert_int_equal(binaries, 1);
  expect(0, 1);
  free(file);
}

/* A folder that cannot be made costs the cache, not the run. */
static void test_no_folder(void **state) {
  (void)state;
  setenv("TANDEM_OPENCL_CACHE", "/dev/null/x", 1);
  expect(1, 0);
}

int main(void) {
#define CASE(name) cmocka_unit_test_setup(name, fresh)
  const struct CMUnitTest tests[] = {
      CASE(test_hit),      CASE(test_off), CASE(test_corrupt), CASE(test_foreign), CASE(test_refused_binary),
      CASE(test_no_folder)};
  use_shim();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
