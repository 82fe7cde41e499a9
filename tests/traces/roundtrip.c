/* SPDX-License-Identifier: Apache-2.0
 *
 * What is written is read back, and what cannot be written is an error in front of any work.
 */
#include <fcntl.h>
#include <math.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>

#include "../support.h"
#include "samples.h"
#include "schema.h"

static char folder[4096];

static const char *in_folder(const char *name) {
  static char paths[4][4200];
  static unsigned next;
  char *path = paths[next++ % 4];
  snprintf(path, sizeof paths[0], "%s/%s", folder, name);
  return path;
}

static void expect_ok(td_status status) {
  if (status) fail_msg("%s", td_error_text());
}

static void expect_error(td_status status, td_status wanted, const char *part) {
  if (status != wanted || !strstr(td_error_text(), part)) {
    fail_msg("status %d, \"%s\"; expected %d and \"%s\"", status, td_error_text(), wanted, part);
  }
}

static struct td_trace_writer *create(const char *path) {
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  expect_ok(td_trace_create(path, &run, &writer));
  return writer;
}

static struct td_trace *load(const char *path) {
  struct td_trace *trace = NULL;
  expect_ok(td_trace_load(path, &trace));
  return trace;
}

/* Every field of every table, more rows than a chunk, in uneven portions. */
static void every_row_comes_back(void **state) {
  (void)state;
  enum { ROWS = 9000 };
  const char *path = in_folder("rows.h5");
  struct td_trace_writer *writer = create(path);
  struct td_row_device device = {0, "worker", "pool", "cpu", "", 0, 1, 1, 0, -1, 31, 7};
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  struct td_row_token *rows = calloc(ROWS, sizeof *rows);
  assert_non_null(rows);
  for (uint32_t i = 0; i < ROWS; i++) {
    uint64_t offset;
    char text[16];
    int bytes = snprintf(text, sizeof text, "t%u", i);
    expect_ok(td_trace_text(writer, text, (size_t)bytes, &offset));
    rows[i] = (struct td_row_token){0, i,        (int32_t)(i * 7), offset, (uint32_t)bytes, 0, i * INT64_C(1000),
                                    i, -0.1 * i, 0.5 * i};
    struct td_row_step step = {i, i, 0, TD_STEP_DECODE, i * INT64_C(1000), 1000, 0, 1, 1, 1, TD_TIME_EXECUTED, 0, NAN};
    expect_ok(td_trace_append(writer, TD_TABLE_STEPS, &step, 1));
  }
  for (size_t at = 0, now = 1; at < ROWS; at += now, now = 3 * now < ROWS - at ? 3 * now : ROWS - at) {
    expect_ok(td_trace_append(writer, TD_TABLE_TOKENS, &rows[at], now));
  }
  struct td_row_request request = {0, "one", 0, 0, 0, 0, 9000000, 3, ROWS, ROWS, TD_FINISH_END, 0, 0, 99, 2, 1};
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, &request, 1));
  struct td_row_transfer transfer = {0, 0, 0, 1, 2, 3, 4, 5, 6, 7, TD_TIME_EMULATED, 0};
  expect_ok(td_trace_append(writer, TD_TABLE_TRANSFERS, &transfer, 1));
  struct td_row_change changes[2] = {{5, 0, TD_CHANGE_DECODE}, {6, 0, TD_CHANGE_DOWN}};
  expect_ok(td_trace_append(writer, TD_TABLE_CHANGES, changes, 2));
  expect_ok(td_trace_finish(writer));
  assert_int_not_equal(access(in_folder("rows.h5.part"), F_OK), 0);

  struct td_trace *trace = load(path);
  assert_true(trace->complete);
  assert_string_equal(trace->config, "pace = \"priced\";\n");
  assert_string_equal(trace->policy, "disaggregated");
  assert_int_equal(trace->count[TD_TABLE_TOKENS], ROWS);
  assert_memory_equal(trace->tokens, rows, ROWS * sizeof *rows);
  assert_memory_equal(trace->devices, &device, sizeof device);
  assert_memory_equal(trace->requests, &request, sizeof request);
  assert_memory_equal(trace->transfers, &transfer, sizeof transfer);
  assert_memory_equal(trace->changes, changes, sizeof changes);
  assert_int_equal(trace->steps[ROWS - 1].index, ROWS - 1);
  assert_memory_equal(trace->text + rows[8999].text_offset, "t8999", 5);
  assert_int_equal(trace->text_bytes, rows[8999].text_offset + 5);
  td_trace_free(trace);
  free(rows);
}

/* Bytes behind the end of a name are not ours to store: equal runs must give equal data sets. */
static void names_are_clean(void **state) {
  (void)state;
  struct td_trace_writer *writer = create(in_folder("clean.h5"));
  struct td_row_device device;
  memset(&device, 0, sizeof device);
  memset(device.name, 'x', sizeof device.name);
  memset(device.pool, 'x', sizeof device.pool);
  memset(device.backend, 'x', sizeof device.backend);
  memset(device.file, 'x', sizeof device.file);
  strcpy(device.name, "a");
  strcpy(device.pool, "b");
  strcpy(device.backend, "c");
  strcpy(device.file, "");
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  memset(device.name, 'x', sizeof device.name);
  expect_error(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1), TD_INTERNAL, "devices.name");
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load(in_folder("clean.h5"));
  static const struct td_row_device expected = {.name = "a", .pool = "b", .backend = "c"};
  assert_int_equal(trace->count[TD_TABLE_DEVICES], 1);
  assert_memory_equal(trace->devices, &expected, sizeof expected);
  td_trace_free(trace);
}

static void long_config(void **state) {
  (void)state;
  enum { BYTES = 200123 };
  char *config = malloc(BYTES + 1);
  assert_non_null(config);
  for (int i = 0; i < BYTES; i++) config[i] = (char)('a' + i % 26);
  config[BYTES] = 0;
  struct td_trace_run run = sample_run(NULL);
  run.config = config;
  struct td_trace_writer *writer = NULL;
  expect_ok(td_trace_create(in_folder("long.h5"), &run, &writer));
  expect_ok(td_trace_finish(writer));
  struct td_trace *trace = load(in_folder("long.h5"));
  assert_string_equal(trace->config, config);
  td_trace_free(trace);
  free(config);
}

static void abandoned(void **state) {
  (void)state;
  char why[1024];
  const char *path = in_folder("gone.h5");
  struct td_trace_writer *writer = create(path);
  struct td_row_device device = {.name = "w"};
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  (void)td_fail(TD_IO, "rank 1 died %0900d", 7);
  snprintf(why, sizeof why, "%s", td_error_text());
  td_trace_abandon(writer, td_error_text());
  assert_string_equal(td_error_text(), why);
  td_trace_abandon(NULL, "nothing");
  assert_int_not_equal(access(path, F_OK), 0);
  struct td_trace *trace = load(in_folder("gone.h5.part"));
  assert_false(trace->complete);
  assert_string_equal(trace->reason, why);
  assert_int_equal(trace->count[TD_TABLE_DEVICES], 1);
  td_trace_free(trace);
}

static void part_opens_while_running(void **state) {
  (void)state;
  struct td_trace_writer *writer = create(in_folder("live.h5"));
  struct td_trace *trace = load(in_folder("live.h5.part"));
  assert_int_equal(trace->count[TD_TABLE_DEVICES], 0);
  td_trace_free(trace);
  struct td_row_device device = {.name = "w"};
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  nanosleep(&(struct timespec){0, 600000000}, NULL);
  expect_ok(td_trace_tick(writer));
  trace = load(in_folder("live.h5.part"));
  assert_int_equal(trace->count[TD_TABLE_DEVICES], 1);
  td_trace_free(trace);
  td_trace_abandon(writer, "enough");
}

/* ---- paths ---- */

static void bad_paths(void **state) {
  (void)state;
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  expect_error(td_trace_create("", &run, &writer), TD_IO, "empty");
  expect_error(td_trace_create(folder, &run, &writer), TD_IO, "found a folder");
  expect_error(td_trace_create("/dev/null", &run, &writer), TD_IO, "found a device");
  expect_error(td_trace_create(in_folder("no/such/x.h5"), &run, &writer), TD_IO, "No such file");
  expect_error(td_trace_create("/proc/x.h5", &run, &writer), TD_IO, "/proc/x.h5.part");
  mkdir(in_folder("taken.h5.part"), 0777);
  expect_error(td_trace_create(in_folder("taken.h5"), &run, &writer), TD_IO, "taken.h5.part");
  assert_int_not_equal(access(in_folder("taken.h5.part.new"), F_OK), 0);
  assert_null(writer);
}

static void older_file_replaced(void **state) {
  (void)state;
  const char *path = in_folder("old.h5");
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fputs("old", file);
  fclose(file);
  struct td_trace_writer *writer = create(path);
  struct td_trace *trace = NULL;
  expect_error(td_trace_load(path, &trace), TD_CORRUPT, "not an HDF5 file");
  expect_ok(td_trace_finish(writer));
  td_trace_free(load(path));
}

/* Two runs with one output: the second is refused when it begins, and the first loses nothing. What a run that ended
 * left is replaced. */
static void two_writers(void **state) {
  (void)state;
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *first = create(in_folder("two.h5")), *second = NULL;
  struct td_row_device device = {.name = "w"};
  expect_error(td_trace_create(in_folder("two.h5"), &run, &second), TD_IO, "two.h5.part: found that another run is");
  assert_int_not_equal(access(in_folder("two.h5.part.new"), F_OK), 0);
  expect_ok(td_trace_append(first, TD_TABLE_DEVICES, &device, 1));
  expect_ok(td_trace_finish(first));
  struct td_trace *trace = load(in_folder("two.h5"));
  assert_int_equal(trace->count[TD_TABLE_DEVICES], 1);
  td_trace_free(trace);
  for (int i = 0; i < 2; i++) td_trace_abandon(create(in_folder("two.h5")), "again");
}

/* Whoever knows no locks replaces the part: its run says so instead of renaming a stranger. */
static void part_replaced(void **state) {
  (void)state;
  struct td_trace_writer *writer = create(in_folder("lost.h5"));
  assert_int_equal(unlink(in_folder("lost.h5.part")), 0);
  assert_int_equal(close(open(in_folder("lost.h5.part"), O_CREAT | O_WRONLY, 0644)), 0);
  expect_error(td_trace_finish(writer), TD_IO, "lost.h5.part: replaced");
  assert_int_not_equal(access(in_folder("lost.h5"), F_OK), 0);
}

/* Same rows, same bytes in every data set. */
static void same_run_same_bytes(void **state) {
  (void)state;
  const struct sample sample = {.kind = SAMPLE_MODELLED, .requests = 20, .seed = 3};
  expect_ok(sample_write(in_folder("a.h5"), &sample));
  expect_ok(sample_write(in_folder("b.h5"), &sample));
  struct td_trace *a = load(in_folder("a.h5")), *b = load(in_folder("b.h5"));
  assert_memory_equal(a->steps, b->steps, a->count[TD_TABLE_STEPS] * sizeof *a->steps);
  assert_memory_equal(a->requests, b->requests, a->count[TD_TABLE_REQUESTS] * sizeof *a->requests);
  assert_memory_equal(a->residency, b->residency, a->count[TD_TABLE_RESIDENCY] * sizeof *a->residency);
  td_trace_free(a);
  td_trace_free(b);
}

/* ---- names that older traces have ---- */

/* The one place where the file has `from`, a name of a field, becomes `to`, as long. */
static void rename_field(const char *path, const char *from, const char *to) {
  char *data, *at;
  size_t bytes, length = strlen(from) + 1;
  FILE *file;
  expect_ok(td_read_file(path, 1 << 24, &data, &bytes));
  at = memmem(data, bytes, from, length);
  assert_non_null(at);
  assert_null(memmem(at + length, bytes - (size_t)(at + length - data), from, length));
  memcpy(at, to, length);
  assert_non_null(file = fopen(path, "wb"));
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  fclose(file);
  free(data);
}

/* `interval` of steps was called `reserved`, and 0: not known. */
static void older_name(void **state) {
  const char *path = in_folder("older.h5");
  struct td_trace_writer *writer = create(path);
  struct td_row_device device = {.name = "w"};
  struct td_row_step step = {.step = 3, .index = 7, .duration = 5, .count = 2, .time_kind = TD_TIME_MODELLED};
  struct td_trace *trace = NULL;
  (void)state;
  step.interval = 900 | 1100u << 16;
  step.energy = 0.5;
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  expect_ok(td_trace_append(writer, TD_TABLE_STEPS, &step, 1));
  expect_ok(td_trace_finish(writer));
  rename_field(path, "interval", "reserved");
  trace = load(path);
  assert_int_equal(trace->count[TD_TABLE_STEPS], 1);
  assert_memory_equal(trace->steps, &step, sizeof step);
  td_trace_free(trace);
  rename_field(path, "reserved", "whatever");
  expect_error(td_trace_load(path, &trace), TD_CORRUPT, "field interval of table steps is missing, expected uint32");
}

/* Makes the file's requests what they were before they had their last two fields, and takes changes away. */
static void make_older(const char *path, const struct td_row_request *rows, hsize_t count) {
  const struct td_table_schema *table = &td_schema[TD_TABLE_REQUESTS];
  size_t bytes = offsetof(struct td_row_request, cached_tokens);
  char *packed = malloc(count * bytes);
  hid_t whole = td_schema_file_type(table), older = H5Tcreate(H5T_COMPOUND, bytes);
  assert_non_null(packed);
  for (hsize_t i = 0; i < count; i++) memcpy(packed + i * bytes, &rows[i], bytes);
  for (int32_t i = 0; i < table->field_count; i++) {
    if (table->fields[i].offset >= bytes) continue;
    hid_t member = H5Tget_member_type(whole, (unsigned)i);
    assert_true(H5Tinsert(older, table->fields[i].name, table->fields[i].offset, member) >= 0);
    H5Tclose(member);
  }
  hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT), space = H5Screate_simple(1, &count, NULL);
  assert_true(H5Ldelete(file, "changes", H5P_DEFAULT) >= 0 && H5Ldelete(file, "requests", H5P_DEFAULT) >= 0);
  hid_t set = H5Dcreate2(file, "requests", older, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT);
  assert_true(H5Dwrite(set, older, H5S_ALL, H5S_ALL, H5P_DEFAULT, packed) >= 0);
  H5Dclose(set);
  H5Sclose(space);
  H5Fclose(file);
  H5Tclose(older);
  H5Tclose(whole);
  free(packed);
}

static void older_fields(void **state) {
  enum { ROWS = 300 };
  const char *path = in_folder("before.h5");
  struct td_trace_writer *writer = create(path);
  struct td_row_device device = {.name = "w"};
  struct td_row_request *rows = calloc(ROWS, sizeof *rows);
  struct td_trace *trace = NULL;
  (void)state;
  assert_non_null(rows);
  expect_ok(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1));
  for (uint32_t i = 0; i < ROWS; i++) {
    rows[i] = (struct td_row_request){
        .request = i, .name = "r", .arrival = i, .finished = i, .prompt_tokens = 7, .finish = TD_FINISH_REFUSED};
    rows[i].admitted = rows[i].first_step = rows[i].first_token = -1;
    rows[i].kv_bytes = UINT64_MAX;
  }
  expect_ok(td_trace_append(writer, TD_TABLE_REQUESTS, rows, ROWS));
  expect_ok(td_trace_finish(writer));
  make_older(path, rows, ROWS);
  trace = load(path);
  assert_int_equal(trace->count[TD_TABLE_CHANGES], 0);
  assert_memory_equal(trace->requests, rows, ROWS * sizeof *rows); /* the last two fields are 0 */
  td_trace_free(trace);
  free(rows);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(every_row_comes_back),
      cmocka_unit_test(names_are_clean),
      cmocka_unit_test(long_config),
      cmocka_unit_test(abandoned),
      cmocka_unit_test(part_opens_while_running),
      cmocka_unit_test(bad_paths),
      cmocka_unit_test(older_file_replaced),
      cmocka_unit_test(two_writers),
      cmocka_unit_test(part_replaced),
      cmocka_unit_test(older_fields),
      cmocka_unit_test(same_run_same_bytes),
      cmocka_unit_test(older_name),
  };
  snprintf(folder, sizeof folder, "%s", test_scratch());
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  if (!failed) test_run(NULL, 0, "rm -rf %s", folder);
  return failed;
}
