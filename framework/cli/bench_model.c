/* SPDX-License-Identifier: Apache-2.0
 *
 * Which model is measured: a file, or a shape whose weights are made here, since speed does not ask what they say.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "tandem/base.h"

/* Built in, so that the program measures the same wherever it runs; experiments/models has them too, with sources. */
struct built_in {
  const char *name, *text;
};
static const struct built_in built_ins[] = {
    {"smollm2-135m",
     "name = \"SmolLM2-135M\"; architecture = \"llama\"; layers = 30; hidden = 576; heads = 9; kv_heads = 3;\n"
     "head_dim = 64; ffn = 1536; vocab = 49152; context = 8192; rope_dim = 64; rope_theta = 100000.0;\n"
     "norm_epsilon = 1e-5; tied_output = true; rope_factors = false; weights = \"q4_1\";\n"},
    {"llama-3.1-8b",
     "name = \"Llama-3.1-8B\"; architecture = \"llama\"; layers = 32; hidden = 4096; heads = 32; kv_heads = 8;\n"
     "head_dim = 128; ffn = 14336; vocab = 128256; context = 131072; rope_dim = 128; rope_theta = 500000.0;\n"
     "norm_epsilon = 1e-5; tied_output = false; rope_factors = true; weights = \"bf16\";\n"},
};

static const char *find_built_in(const char *name) {
  for (size_t i = 0; i < sizeof built_ins / sizeof built_ins[0]; i++) {
    if (!strcmp(built_ins[i].name, name)) return built_ins[i].text;
  }
  return NULL;
}

/* A shape is read from a file whose name ends in .cfg. */
static td_status open_text(const char *text, struct td_model **out_model) {
  const char *folder = getenv("TMPDIR");
  char path[4096];
  TD_TRY(td_format(path, sizeof path, "%s/tandem-bench-XXXXXX.cfg", folder && *folder ? folder : "/tmp"));
  int file = mkstemps(path, 4);
  if (file < 0) return td_fail(TD_IO, "%s: cannot make a temporary file", path);
  size_t bytes = strlen(text);
  bool written = write(file, text, bytes) == (ssize_t)bytes;
  close(file);
  td_status status = written ? td_model_open(path, out_model) : td_fail(TD_IO, "%s: cannot write", path);
  unlink(path);
  return status;
}

static td_status finish_open(td_status status, struct bench_model *bench, struct bench_model *out_model) {
  if (!status) status = td_graph_build(bench->model, &bench->graph);
  if (status) {
    bench_model_close(bench);
    return status;
  }
  *out_model = *bench;
  return TD_OK;
}

td_status bench_model_open(const char *name, struct bench_model *out_model) {
  struct bench_model bench = {0};
  const char *text = find_built_in(name);
  if (text) return bench_model_open_text(text, out_model);
  return finish_open(td_model_open(name, &bench.model), &bench, out_model);
}

td_status bench_model_open_text(const char *text, struct bench_model *out_model) {
  struct bench_model bench = {0};
  return finish_open(open_text(text, &bench.model), &bench, out_model);
}

uint64_t bench_host_available(void) {
  FILE *file = fopen("/proc/meminfo", "r");
  char line[256];
  uint64_t bytes = UINT64_MAX;
  while (file && fgets(line, sizeof line, file)) {
    if (!strncmp(line, "MemAvailable:", 13)) bytes = 1024 * strtoull(line + 13, NULL, 10); /* "   20480 kB" */
  }
  if (file) fclose(file);
  return bytes;
}

/* Memory is promised freely and refused by killing the program, so it is counted before. */
td_status bench_model_check_room(const struct bench_model *bench, int32_t copies) {
  const struct td_shape *shape = td_model_shape(bench->model);
  uint64_t weights = td_model_weight_bytes(bench->model), need, room = bench_host_available();
  if (!td_model_has_weights(bench->model)) copies++;
  if (td_mul_size(weights, (uint64_t)copies, &need) && need <= room) return TD_OK;
  return td_fail(TD_EXHAUSTED,
                 "model %s: found %" PRIu64 " MB of free host memory, expected %d x %" PRIu64
                 " MB for its weights; --model takes a smaller one",
                 shape->name, room / 1000000, (int)copies, weights / 1000000);
}

td_status bench_model_weights(struct bench_model *bench, int32_t copies, const struct td_model **out_model) {
  bool whole = td_model_has_weights(bench->model);
  TD_TRY(bench_model_check_room(bench, copies));
  if (!whole && !bench->seeded) TD_TRY(bench_gguf_open(bench->graph, &bench->seeded));
  *out_model = whole ? bench->model : bench->seeded;
  return TD_OK;
}

void bench_model_close(struct bench_model *bench) {
  td_graph_free(bench->graph);
  td_model_close(bench->seeded);
  td_model_close(bench->model);
  *bench = (struct bench_model){0};
}
