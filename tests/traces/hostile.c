/* SPDX-License-Identifier: Apache-2.0
 *
 * Files that contradict the schema, themselves or HDF5: each one is refused with one line that names the place.
 */
#include <hdf5.h>
#include <math.h>
#include <sys/stat.h>

#include "../support.h"
#include "samples.h"
#include "tandem/metrics.h"

static char folder[4096], good[4200], target[4200];

static void expect_refused(td_status wanted, const char *part) {
  struct td_trace *trace = NULL;
  struct td_metrics metrics;
  td_status status = td_trace_load(target, &trace);
  if (!status) status = td_metrics_compute(trace, &metrics);
  if (status != wanted || !strstr(td_error_text(), part)) {
    fail_msg("status %d, \"%s\"; expected %d and \"%s\"", status, td_error_text(), wanted, part);
  }
  td_trace_free(trace);
}

/* ---- rows: a good trace with one field changed ---- */

static void rewrite(const struct td_trace *trace) {
  const void *const rows[] = {trace->devices,    trace->requests,  trace->steps,   trace->tokens,
                              trace->residency,  trace->transfers, trace->changes, trace->orchestrators,
                              trace->tool_calls, trace->paces};
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  uint64_t offset;
  run.tools = true;
  run.paces = trace->count[TD_TABLE_PACES] > 0;
  assert_int_equal(td_trace_create(target, &run, &writer), TD_OK);
  assert_int_equal(td_trace_text(writer, trace->text, trace->text_bytes, &offset), TD_OK);
  for (int t = 0; t < TD_TABLE_COUNT; t++) {
    assert_int_equal(td_trace_append(writer, (enum td_table)t, rows[t], trace->count[t]), TD_OK);
  }
  assert_int_equal(td_trace_finish(writer), TD_OK);
}

static struct td_row_step *longest_stretch(const struct td_trace *trace) {
  struct td_row_step *longest = trace->steps;
  for (uint64_t i = 0; i < trace->count[TD_TABLE_STEPS]; i++) {
    if (trace->steps[i].count > longest->count) longest = &trace->steps[i];
  }
  return longest;
}

/* A table's rows as they were, to be put back after a case. */
struct saved {
  void *rows[TD_TABLE_COUNT];
};

static void each_table(struct td_trace *trace, struct saved *saved, bool restore) {
  void *const rows[] = {trace->devices,   trace->requests, trace->steps,         trace->tokens,     trace->residency,
                        trace->transfers, trace->changes,  trace->orchestrators, trace->tool_calls, trace->paces};
  static const size_t sizes[] = {sizeof *trace->devices, sizeof *trace->requests,      sizeof *trace->steps,
                                 sizeof *trace->tokens,  sizeof *trace->residency,     sizeof *trace->transfers,
                                 sizeof *trace->changes, sizeof *trace->orchestrators, sizeof *trace->tool_calls,
                                 sizeof *trace->paces};
  for (int t = 0; t < TD_TABLE_COUNT; t++) {
    size_t bytes = sizes[t] * trace->count[t];
    if (!restore) assert_non_null(saved->rows[t] = malloc(bytes + 1));
    memcpy(restore ? rows[t] : saved->rows[t], restore ? saved->rows[t] : rows[t], bytes);
    if (restore) free(saved->rows[t]);
  }
}

#define ROW_CASE(change, part)        \
  do {                                \
    struct saved saved;               \
    each_table(trace, &saved, false); \
    change;                           \
    rewrite(trace);                   \
    each_table(trace, &saved, true);  \
    expect_refused(TD_CORRUPT, part); \
  } while (0)

static void bad_rows(void **state) {
  struct td_trace *trace = NULL;
  (void)state;
  assert_int_equal(td_trace_load(good, &trace), TD_OK);
  struct td_row_device *devices = trace->devices;
  struct td_row_request *requests = trace->requests;
  struct td_row_step *steps = trace->steps, *many = longest_stretch(trace);
  struct td_row_token *tokens = trace->tokens;
  struct td_row_residency *residency = trace->residency;
  struct td_row_transfer *transfers = trace->transfers;
  struct td_row_orchestrator *orchestrators = trace->orchestrators;
  struct td_row_tool_call *calls = trace->tool_calls;
  ROW_CASE(devices[1].device = 7, "devices[1].device is 7");
  ROW_CASE(devices[0].role = 3, "devices[0].role is 3");
  ROW_CASE(devices[0].executes = 3, "devices[0].executes");
  ROW_CASE(requests[2].request = 1u << 20, "requests[2].request");
  ROW_CASE(requests[2].request = requests[0].request, "are both request");
  ROW_CASE(requests[0].arrival = -5, "requests[0].arrival is -5");
  ROW_CASE(requests[0].first_token = 1, "requests[0].first_token is 1");
  ROW_CASE(requests[0].finished = -1, "requests[0].finished is -1");
  ROW_CASE(requests[0].finished = requests[0].first_token - 1, "requests[0].finished");
  ROW_CASE(requests[0].decode_device = 2, "requests[0].decode_device is 2");
  ROW_CASE(requests[0].output_tokens += 1, "its row says");
  ROW_CASE(requests[0].output_tokens -= 1, "more tokens than");
  ROW_CASE(steps[3].device = 2, "steps[3].device is 2");
  ROW_CASE(steps[3].time_kind = 3, "steps[3].time_kind");
  ROW_CASE(steps[3].start = -1, "steps[3].start");
  ROW_CASE(steps[3].duration = -1, "steps[3].duration");
  ROW_CASE(steps[3].count = 0, "steps[3].count");
  ROW_CASE(steps[0].count = 2, "steps[0].count is 2, expected 1 (executed)");
  ROW_CASE(many->duration = INT64_MAX / 2, "below 2^63");
  ROW_CASE(many->slope = INT64_MIN / 2, ".slope");
  ROW_CASE(many->count = 2000000, "both hold step");
  ROW_CASE(many->index = UINT64_MAX, ".index");
  ROW_CASE(tokens[4].id = -3, "tokens[4].id is -3");
  ROW_CASE(tokens[4].time = -3, "tokens[4].time");
  ROW_CASE(tokens[4].device = 9, "tokens[4].device is 9");
  ROW_CASE(tokens[4].text_offset = UINT64_MAX, "of text");
  ROW_CASE(tokens[4].text_bytes = 1u << 30, "of text");
  ROW_CASE(tokens[4].request = 99, "tokens[4].request is 99");
  ROW_CASE(tokens[4].index = 3, "should be");
  ROW_CASE(tokens[4].time += 5, "first_token");
  ROW_CASE(residency[0].device = 9, "residency[0].device is 9");
  ROW_CASE(residency[0].count = 0, "residency[0].count");
  ROW_CASE(residency[0].count = INT32_MAX, "more tokens than");
  ROW_CASE(residency[0].tokens_per_step = UINT32_MAX, "residency[0].first_token");
  ROW_CASE(residency[0].first_index = 5000000, "has no row in steps");
  ROW_CASE(residency[0].first_token += 1, "should be");
  ROW_CASE(transfers[0].from = 2, "transfers[0].from");
  ROW_CASE(transfers[0].layer_begin = 31, "transfers[0].layer_end");
  ROW_CASE(transfers[0].token_begin = 1u << 20, "transfers[0].token_end");
  ROW_CASE(transfers[0].duration = INT64_MAX, "transfers[0].duration");
  ROW_CASE(orchestrators[1].orchestrator = 0, "orchestrators[1].orchestrator is 0");
  ROW_CASE(orchestrators[1].cores = 0, "orchestrators[1].cores is 0");
  ROW_CASE(orchestrators[0].cores = 65537, "orchestrators[0].cores is 65537");
  ROW_CASE(orchestrators[0].speed = NAN, "orchestrators[0].speed is ");
  ROW_CASE(calls[2].request = 99, "tool_calls[2].request is 99");
  ROW_CASE(calls[2].orchestrator = 2, "tool_calls[2].orchestrator is 2");
  ROW_CASE(calls[2].kind = 3, "tool_calls[2].kind is 3");
  ROW_CASE(calls[2].lost = 2, "tool_calls[2].lost is 2");
  ROW_CASE(calls[2].cores = 0, "tool_calls[2].cores is 0");
  ROW_CASE(calls[2].cores = 9, "tool_calls[2].cores is 9");
  ROW_CASE(calls[2].enqueued = -1, "tool_calls[2].enqueued is -1");
  ROW_CASE(calls[2].start = 1, "tool_calls[2].start is 1");
  ROW_CASE(calls[2].end = 1, "tool_calls[2].end is 1");
  free(trace->changes);
  trace->changes = calloc(2, sizeof *trace->changes);
  trace->count[TD_TABLE_CHANGES] = 2;
  struct td_row_change *changes = trace->changes;
  assert_non_null(changes);
  ROW_CASE(changes[1].device = 2, "changes[1].device is 2");
  ROW_CASE(changes[1].change = 5, "changes[1].change is 5");
  ROW_CASE(changes[0].time = -1, "changes[0].time is -1");
  ROW_CASE(changes[0].time = 1, "changes[1].time is 0, expected a time not before the row in front");
  td_trace_free(trace);
}

/* The rows of steps of the good trace, the longest with paces. */
static void bad_paces(void **state) {
  struct td_trace *trace = NULL;
  (void)state;
  assert_int_equal(td_trace_load(good, &trace), TD_OK);
  free(trace->paces);
  trace->paces = calloc(2, sizeof *trace->paces);
  trace->count[TD_TABLE_PACES] = 2;
  struct td_row_pace *paces = trace->paces;
  struct td_row_step *steps = trace->steps, *many = longest_stretch(trace);
  assert_non_null(paces);
  assert_true(many->count >= 4);
  for (uint64_t i = 0; i < 2; i++) paces[i] = (struct td_row_pace){many->step + 1 + i, many->duration, 0};
  ROW_CASE(paces[0].step = many->step, "expected one behind the first of a row of steps");
  ROW_CASE(paces[1].step = paces[0].step, "paces[1].step is");
  ROW_CASE(paces[1].step = UINT64_MAX, "paces[1].step is 18446744073709551615, expected a step of a row of steps");
  ROW_CASE(paces[0].duration = -1, ".duration is -1");
  ROW_CASE(paces[1].duration = INT64_MAX / 2, "below 2^63");
  ROW_CASE(paces[0].duration = INT64_MAX, "expected one that begins below 2^63 ps");
  ROW_CASE(paces[1].slope = INT64_MIN / 2, ".slope");
  ROW_CASE(steps[3].step = 0, "steps[3].step is 0, expected a number behind");
  ROW_CASE(steps[3].count = 0, "steps[3].count is 0");
  ROW_CASE(steps[3].step = UINT64_MAX, "steps[3].step is 18446744073709551615");
  ROW_CASE(many->index = UINT64_MAX, ".index");
  td_trace_free(trace);
}

/* Few bytes that stand for many tokens must not take memory for them. */
static void too_many_tokens(void **state) {
  (void)state;
  struct td_trace_run run = sample_run(NULL);
  struct td_trace_writer *writer = NULL;
  uint32_t many = INT32_MAX;
  struct td_row_device device = {.name = "w"};
  struct td_row_step step = {.duration = 1, .count = many, .time_kind = TD_TIME_MODELLED};
  struct td_row_residency stays[2] = {{.tokens_per_step = 1, .count = many},
                                      {.request = 1, .tokens_per_step = 1, .count = many}};
  struct td_row_request requests[2] = {{.first_token = 1, .finished = many, .output_tokens = many},
                                       {.request = 1, .first_token = 1, .finished = many, .output_tokens = many}};
  assert_int_equal(td_trace_create(target, &run, &writer), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_DEVICES, &device, 1), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_STEPS, &step, 1), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_RESIDENCY, stays, 2), TD_OK);
  assert_int_equal(td_trace_append(writer, TD_TABLE_REQUESTS, requests, 2), TD_OK);
  assert_int_equal(td_trace_finish(writer), TD_OK);
  expect_refused(TD_UNSUPPORTED, "output tokens");
  struct td_trace *trace = NULL;
  struct td_trace_token *tokens = NULL;
  uint64_t count = 0;
  assert_int_equal(td_trace_load(target, &trace), TD_OK);
  assert_int_equal(td_trace_request_tokens(trace, 0, &tokens, &count), TD_UNSUPPORTED);
  assert_null(tokens);
  td_trace_free(trace);
}

/* ---- structure: a good file edited with HDF5 ---- */

static void edit(void (*change)(hid_t file), td_status wanted, const char *part) {
  assert_int_equal(test_run(NULL, 0, "cp %s %s", good, target), 0);
  hid_t file = H5Fopen(target, H5F_ACC_RDWR, H5P_DEFAULT);
  assert_true(file >= 0);
  change(file);
  assert_true(H5Fclose(file) >= 0);
  expect_refused(wanted, part);
}

static void set_number(hid_t file, const char *name, uint64_t value) {
  hid_t run = H5Gopen2(file, "run", H5P_DEFAULT), attribute = H5Aopen(run, name, H5P_DEFAULT);
  assert_true(H5Awrite(attribute, H5T_NATIVE_UINT64, &value) >= 0);
  H5Aclose(attribute);
  H5Gclose(run);
}
static void schema_2(hid_t file) {
  set_number(file, "schema", 2);
}
static void bad_slo(hid_t file) {
  double value = NAN;
  hid_t run = H5Gopen2(file, "run", H5P_DEFAULT), attribute = H5Aopen(run, "slo_tpot", H5P_DEFAULT);
  assert_true(H5Awrite(attribute, H5T_NATIVE_DOUBLE, &value) >= 0);
  H5Aclose(attribute);
  H5Gclose(run);
}
static void complete_2(hid_t file) {
  set_number(file, "complete", 2);
}

static void no_tokens(hid_t file) {
  H5Ldelete(file, "tokens", H5P_DEFAULT);
}
static void no_run(hid_t file) {
  H5Ldelete(file, "run", H5P_DEFAULT);
}
static void no_pace(hid_t file) {
  H5Adelete_by_name(file, "run", "pace", H5P_DEFAULT);
}
static void soft_link(hid_t file) {
  H5Lmove(file, "tokens", file, "other", H5P_DEFAULT, H5P_DEFAULT);
  H5Lcreate_soft("/other", file, "tokens", H5P_DEFAULT, H5P_DEFAULT);
}
static void external_link(hid_t file) {
  H5Ldelete(file, "tokens", H5P_DEFAULT);
  H5Lcreate_external("/etc/passwd", "/", file, "tokens", H5P_DEFAULT, H5P_DEFAULT);
}
static void is_group(hid_t file) {
  H5Ldelete(file, "tokens", H5P_DEFAULT);
  H5Gclose(H5Gcreate2(file, "tokens", H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
}
static void endless(hid_t file) {
  hsize_t rows = UINT64_C(1) << 50;
  hid_t dataset = H5Dopen2(file, "tokens", H5P_DEFAULT);
  assert_true(H5Dset_extent(dataset, &rows) >= 0);
  H5Dclose(dataset);
}

static void replace(hid_t file, const char *name, hid_t type, hsize_t rows, int rank, int deflate) {
  hsize_t size[2] = {rows, 1};
  hid_t space = H5Screate_simple(rank, size, NULL), create = H5Pcreate(H5P_DATASET_CREATE);
  if (deflate) {
    H5Pset_chunk(create, rank, size);
    H5Pset_deflate(create, 1);
  }
  H5Ldelete(file, name, H5P_DEFAULT);
  H5Dclose(H5Dcreate2(file, name, type, space, H5P_DEFAULT, create, H5P_DEFAULT));
  H5Pclose(create);
  H5Sclose(space);
}
static void numbers(hid_t file) {
  replace(file, "steps", H5T_STD_U64LE, 4, 1, 0);
}
static void flat(hid_t file) {
  replace(file, "text", H5T_STD_U8LE, 4, 2, 0);
}
static void wide_text(hid_t file) {
  replace(file, "text", H5T_STD_U32LE, 4, 1, 0);
}
static void compressed(hid_t file) {
  replace(file, "text", H5T_STD_U8LE, 4, 1, 1);
}

/* The residency table with one field renamed, retyped, moved or added. */
enum twist { RENAMED, RETYPED, MOVED, ADDED };
static void twisted(hid_t file, enum twist twist) {
  static const char *const names[] = {"request", "device", "tokens_per_step", "first_index", "count", "first_token"};
  static const size_t offsets[] = {0, 8, 12, 16, 24, 32};
  hid_t type = H5Tcreate(H5T_COMPOUND, 48);
  for (int i = 0; i < 6; i++) {
    hid_t member = i == 1 || i == 2 ? H5T_STD_U32LE : i == 4 && twist == RETYPED ? H5T_STD_I64LE : H5T_STD_U64LE;
    H5Tinsert(type, i == 4 && twist == RENAMED ? "counts" : names[i], offsets[i] + (i == 5 && twist == MOVED ? 8 : 0),
              member);
  }
  if (twist == ADDED) H5Tinsert(type, "extra", 40, H5T_STD_U64LE);
  replace(file, "residency", type, 1, 1, 0);
  H5Tclose(type);
}
static void renamed(hid_t file) {
  twisted(file, RENAMED);
}
static void retyped(hid_t file) {
  twisted(file, RETYPED);
}
static void moved(hid_t file) {
  twisted(file, MOVED);
}
static void added(hid_t file) {
  twisted(file, ADDED);
}

/* Requests without their last field, which older traces lack, in rows that still have its room. */
static void padded(hid_t file) {
  hid_t dataset = H5Dopen2(file, "requests", H5P_DEFAULT), whole = H5Dget_type(dataset);
  hid_t type = H5Tcreate(H5T_COMPOUND, H5Tget_size(whole));
  for (unsigned i = 0; i + 1 < (unsigned)H5Tget_nmembers(whole); i++) {
    char *name = H5Tget_member_name(whole, i);
    hid_t member = H5Tget_member_type(whole, i);
    H5Tinsert(type, name, H5Tget_member_offset(whole, i), member);
    H5Tclose(member);
    H5free_memory(name);
  }
  H5Dclose(dataset);
  replace(file, "requests", type, 1, 1, 0);
  H5Tclose(type);
  H5Tclose(whole);
}

static void long_text(hid_t file) {
  hid_t type = H5Tcopy(H5T_C_S1), space = H5Screate(H5S_SCALAR), run = H5Gopen2(file, "run", H5P_DEFAULT);
  const char *value = "text of any length";
  H5Tset_size(type, H5T_VARIABLE);
  H5Adelete(run, "model");
  hid_t attribute = H5Acreate2(run, "model", type, space, H5P_DEFAULT, H5P_DEFAULT);
  H5Awrite(attribute, type, &value);
  H5Aclose(attribute);
  H5Gclose(run);
  H5Sclose(space);
  H5Tclose(type);
}

static void bad_structure(void **state) {
  (void)state;
  edit(schema_2, TD_UNSUPPORTED, "schema 2");
  edit(complete_2, TD_CORRUPT, "complete");
  edit(padded, TD_CORRUPT, "table requests has 15 fields in rows of 120 bytes, expected 15 in 116");
  edit(bad_slo, TD_CORRUPT, "attribute slo_tpot of run is not a time");
  edit(no_tokens, TD_CORRUPT, "tokens is missing");
  edit(no_run, TD_CORRUPT, "run is missing");
  edit(no_pace, TD_CORRUPT, "pace of run is missing");
  edit(soft_link, TD_CORRUPT, "tokens is a link");
  edit(external_link, TD_CORRUPT, "tokens is a link");
  edit(is_group, TD_CORRUPT, "tokens is not a data set");
  edit(endless, TD_CORRUPT, "claims 1125899906842624 rows");
  edit(numbers, TD_CORRUPT, "steps does not hold records");
  edit(flat, TD_CORRUPT, "text is not one-dimensional");
  edit(wide_text, TD_CORRUPT, "text does not hold bytes");
  edit(compressed, TD_CORRUPT, "text is filtered");
  edit(renamed, TD_CORRUPT, "field count of table residency is missing");
  edit(retyped, TD_CORRUPT, "field count of table residency is of another type");
  edit(moved, TD_CORRUPT, "field first_token of table residency is of another type or place");
  edit(added, TD_CORRUPT, "table residency has 7 fields");
  edit(long_text, TD_CORRUPT, "model of run is not a fixed-length text");
}

/* ---- bytes ---- */

static void write_bytes(const char *data, size_t bytes) {
  FILE *file = fopen(target, "wb");
  assert_non_null(file);
  assert_int_equal(fwrite(data, 1, bytes, file), bytes);
  fclose(file);
}

static void not_files(void **state) {
  (void)state;
  struct td_trace *trace = NULL;
  assert_int_equal(td_trace_load("/no/such/file.h5", &trace), TD_NOT_FOUND);
  assert_int_equal(td_trace_load(folder, &trace), TD_IO);
  assert_non_null(strstr(td_error_text(), "not a regular file"));
  assert_int_equal(td_trace_load("/dev/zero", &trace), TD_IO);
  write_bytes("", 0);
  expect_refused(TD_CORRUPT, "not an HDF5 file");
  write_bytes("\x89HDF\r\n\x1a\n", 8);
  expect_refused(TD_CORRUPT, "HDF5 cannot open it");
}

static void cut_short(void **state) {
  (void)state;
  char *data;
  size_t bytes;
  assert_int_equal(td_read_file(good, 1 << 26, &data, &bytes), TD_OK);
  for (int i = 0; i < 12; i++) {
    write_bytes(data, bytes * (size_t)i / 12);
    expect_refused(TD_CORRUPT, target);
  }
  free(data);
}

/* Whatever a changed byte does, the program lives and says yes or no. */
static void changed_bytes(void **state) {
  (void)state;
  char *data;
  size_t bytes;
  int refused = 0;
  assert_int_equal(td_read_file(good, 1 << 26, &data, &bytes), TD_OK);
  for (uint64_t run = 0; run < 40; run++) {
    struct td_trace *trace = NULL;
    struct td_metrics metrics;
    char before[4];
    size_t at[4];
    for (uint64_t i = 0; i < 4; i++) {
      at[i] = td_random(5, run, 2 * i) % 16000; /* where the metadata is */
      before[i] = data[at[i]];
      data[at[i]] = (char)td_random(5, run, 2 * i + 1);
    }
    write_bytes(data, bytes);
    td_status status = td_trace_load(target, &trace);
    if (!status) status = td_metrics_compute(trace, &metrics);
    refused += status != TD_OK;
    if (!status) td_metrics_free(&metrics);
    td_trace_free(trace);
    for (int i = 3; i >= 0; i--) data[at[i]] = before[i];
  }
  assert_true(refused > 4);
  free(data);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(bad_rows),      cmocka_unit_test(bad_paces), cmocka_unit_test(too_many_tokens),
      cmocka_unit_test(bad_structure), cmocka_unit_test(not_files), cmocka_unit_test(cut_short),
      cmocka_unit_test(changed_bytes),
  };
  const struct sample sample = {.kind = SAMPLE_MIXED, .requests = 12, .seed = 5, .tools = true};
  snprintf(folder, sizeof folder, "%s", test_scratch());
  snprintf(good, sizeof good, "%s/good.h5", folder);
  snprintf(target, sizeof target, "%s/target.h5", folder);
  if (sample_write(good, &sample)) {
    fprintf(stderr, "%s\n", td_error_text());
    return 1;
  }
  int failed = cmocka_run_group_tests(tests, NULL, NULL);
  test_run(NULL, 0, "rm -rf %s", folder);
  return failed;
}
