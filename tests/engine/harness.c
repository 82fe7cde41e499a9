/* SPDX-License-Identifier: Apache-2.0 */
#include "harness.h"

#include "../support.h"

const char *harness_scratch(void) {
  static char path[4096];
  if (!*path) snprintf(path, sizeof path, "%s", test_scratch());
  return path;
}

const char *harness_config(const char *name, const struct setup *setup) {
  static char paths[8][4200];
  static unsigned next;
  char *path = paths[next++ % 8];
  snprintf(path, sizeof paths[0], "%s/%s.cfg", harness_scratch(), name);
  FILE *file = fopen(path, "w");
  assert_non_null(file);
  fprintf(file,
          "name = \"%s\"; seed = 7; model = \"%s\";\n"
          "engine = { pace = \"%s\"; policy = \"%s\"; chunk_tokens = %d; kv_dtype = \"%s\"; %s };\n"
          "cluster = { pools = ( %s ); links = ( %s ); };\n"
          "sampling = { %s };\nworkload = { %s };\n",
          name, setup->model ? setup->model : test_source("tests/data/tiny/llama.gguf"),
          setup->pace ? setup->pace : "wall", setup->policy, setup->chunk, setup->kv ? setup->kv : "f32",
          setup->extra ? setup->extra : "", setup->pools, setup->links ? setup->links : "",
          setup->sampling ? setup->sampling : "", setup->workload ? setup->workload : TINY_WORKLOAD);
  assert_int_equal(fclose(file), 0);
  return path;
}

int harness_try(const char *name, const struct setup *setup, char *out, size_t size) {
  char launcher[256] = "";
  if (setup->ranks > 1) {
    snprintf(launcher, sizeof launcher, "%s -np %d", test_source("scripts/mpirun"), setup->ranks);
  }
  return test_run(out, size, "%s %s run %s -o %s/%s.h5 2>&1", launcher, TANDEM_PROGRAM, harness_config(name, setup),
                  harness_scratch(), name);
}

const char *harness_run(const char *name, const struct setup *setup) {
  static char paths[8][4200];
  static unsigned next;
  char out[16384], *path = paths[next++ % 8];
  int code = harness_try(name, setup, out, sizeof out);
  if (code) fail_msg("%s: exit %d:\n%s", name, code, out);
  snprintf(path, sizeof paths[0], "%s/%s.h5", harness_scratch(), name);
  return path;
}

struct td_trace *harness_load(const char *path) {
  struct td_trace *trace;
  if (td_trace_load(path, &trace)) fail_msg("%s", td_error_text());
  return trace;
}

void harness_diff(const char *a, const char *b, bool same) {
  char out[16384];
  int code = test_run(out, sizeof out, "%s diff %s %s 2>&1", TANDEM_PROGRAM, a, b);
  if (code != !same) fail_msg("diff %s %s: exit %d:\n%s", a, b, code, out);
}

void harness_identical(const char *path_a, const char *path_b) {
  struct td_trace *a = harness_load(path_a), *b = harness_load(path_b);
  const void *rows_a[] = {a->devices,   a->requests,  a->steps,         a->tokens,
                          a->residency, a->transfers, a->orchestrators, a->tool_calls};
  const void *rows_b[] = {b->devices,   b->requests,  b->steps,         b->tokens,
                          b->residency, b->transfers, b->orchestrators, b->tool_calls};
  const size_t bytes[] = {sizeof *a->devices,   sizeof *a->requests,  sizeof *a->steps,         sizeof *a->tokens,
                          sizeof *a->residency, sizeof *a->transfers, sizeof *a->orchestrators, sizeof *a->tool_calls};
  for (int table = 0; table < TD_TABLE_COUNT; table++) {
    if (a->count[table] != b->count[table]) fail_msg("%s, %s: table %d: row counts differ", path_a, path_b, table);
    for (uint64_t i = 0; i < a->count[table]; i++) {
      size_t at = i * bytes[table];
      if (memcmp((const char *)rows_a[table] + at, (const char *)rows_b[table] + at, bytes[table])) {
        fail_msg("%s, %s: table %d: row %llu differs", path_a, path_b, table, (unsigned long long)i);
      }
    }
  }
  assert_int_equal(a->text_bytes, b->text_bytes);
  assert_memory_equal(a->text, b->text, a->text_bytes);
  td_trace_free(a);
  td_trace_free(b);
}
