/* SPDX-License-Identifier: Apache-2.0
 *
 * How fast an LPU is emulated, as a share of what this machine's memory gives: by hand, not a test.
 *
 *   lpu_speed MODEL HOST [MODE] [STEPS]     HOST: step, cpu, opencl:0 ...; MODE: f16, f16_i8, i8, i8x2, f16_f8, f8
 *
 * Prints pairs of a decode step's time and the time that reading the model's parameters as bytes takes at the rate
 * measured beside it, one core each, and the median of their quotients.
 */
#include "lpu/modes.h"
#include "support.h"
#include "tandem/base.h"
#include "tandem/devices.h"
#include "tandem/kernels.h"
#include "tandem/lpu_host.h"
#include "tandem/model.h"

#define PROBE_BYTES (UINT64_C(256) << 20)
#define PARAMETERS 134.5e6 /* SmolLM2-135M */

static void must(td_status status) {
  if (!status) return;
  fprintf(stderr, "lpu_speed: %s\n", td_error_text());
  exit(1);
}

/* Reads every byte once, eight sums beside each other. */
static double read_rate(const uint64_t *data) {
  uint64_t sums[8] = {0};
  int64_t start = td_now_ps();
  for (uint64_t i = 0; i < PROBE_BYTES / 8; i += 8) {
    for (int k = 0; k < 8; k++) sums[k] += data[i + (uint64_t)k];
  }
  double seconds = td_seconds(td_now_ps() - start);
  static volatile uint64_t sink;
  for (int k = 0; k < 8; k++) sink += sums[k];
  return (double)PROBE_BYTES / seconds;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return x < y ? -1 : x > y;
}

struct run {
  const struct td_lpu_machine *machine;
  struct td_model *model;
  struct td_lpu_host *host;
  float *x, *logits;
};

static double one_step(struct run *run, int32_t position, int32_t *id) {
  const struct td_tensor *embedding = td_model_tensor(run->model, "token_embd.weight");
  const struct td_shape *shape = td_model_shape(run->model);
  int32_t block = 0, lanes = run->machine->lanes;
  const struct td_lpu_row row = {position, &block, 1};
  td_dequantize(embedding->dtype,
                (const char *)embedding->data + (uint64_t)*id * (embedding->bytes / (uint64_t)embedding->rows), run->x,
                shape->hidden);
  int64_t start = td_now_ps();
  must(td_lpu_host_image_write(run->host, "x", 0, run->x));
  for (int32_t l = 0; l < lanes; l++) run->x[l] = (float)position;
  must(td_lpu_host_image_write(run->host, "position", 0, run->x));
  must(td_lpu_host_run(run->host, 0, &(struct td_lpu_step){&row, 1}, NULL));
  must(td_lpu_host_image_read(run->host, "logits", 0, run->logits));
  double seconds = td_seconds(td_now_ps() - start);
  *id = 0;
  for (int32_t i = 0; i < shape->vocab; i++) *id = run->logits[i] > run->logits[*id] ? i : *id;
  return seconds;
}

static const struct lpu_mode *find_mode(const char *name) {
  for (size_t i = 0; i < LPU_MODES; i++) {
    if (strcmp(lpu_modes[i].name, name) == 0) return &lpu_modes[i];
  }
  fprintf(stderr, "lpu_speed: mode: found %s, expected f16, f16_i8, i8, i8x2, f16_f8 or f8\n", name);
  exit(2);
}

static void measure(struct run *run, int32_t steps) {
  uint64_t *probe = malloc(PROBE_BYTES);
  double *shares = calloc((size_t)steps, sizeof *shares);
  int32_t id = 1;
  if (!probe || !shares) exit(1);
  memset(probe, 1, PROBE_BYTES);
  one_step(run, 0, &id);
  for (int32_t i = 0; i < steps; i++) {
    double rate = read_rate(probe), seconds = one_step(run, i + 1, &id);
    shares[i] = PARAMETERS / rate / seconds;
    printf("%3d: %.2f ms, %.2f GB/s, %.1f %%, token %d\n", i, seconds * 1e3, rate / 1e9, shares[i] * 100, id);
  }
  qsort(shares, (size_t)steps, sizeof *shares, by_value);
  printf("median %.1f %%, best %.1f %%\n", shares[steps / 2] * 100, shares[steps - 1] * 100);
}

int main(int count, char **arguments) {
  if (count < 3) {
    fprintf(stderr, "usage: lpu_speed MODEL HOST [MODE] [STEPS]\n");
    return 2;
  }
  const struct lpu_mode *mode = find_mode(count > 3 ? arguments[3] : "i8");
  int32_t steps = count > 4 ? atoi(arguments[4]) : 20;
  struct td_lpu_options options = {.weights = mode->weights,
                                   .activations = mode->activations,
                                   .rows = 1,
                                   .block_tokens = 320,
                                   .kv_blocks = 1,
                                   .context = 320};
  struct td_device_params *params;
  struct td_graph *graph;
  const void **weights;
  struct td_lpu_program *program;
  struct run run;
  if (steps < 1 || steps > 319) return 2;
  must(td_device_params_open("groq-lpu-v1", &params));
  run.machine = td_lpu_machine_of(params);
  must(td_model_open(arguments[1], &run.model));
  must(td_graph_build(run.model, &graph));
  must(td_lpu_model_weights(run.model, graph, &weights));
  struct td_slice whole = td_slice_whole(graph);
  must(td_lpu_compile(run.machine, graph, &whole, weights, &options, &program));
  must(td_lpu_host_open(program, arguments[2], &run.host));
  if (td_lpu_host_note(run.host)) printf("%s\n", td_lpu_host_note(run.host));
  run.x = calloc((size_t)(td_model_shape(run.model)->hidden + run.machine->lanes), sizeof(float));
  run.logits = calloc((size_t)td_model_shape(run.model)->vocab, sizeof(float));
  if (!run.x || !run.logits) return 1;
  measure(&run, steps);
  td_lpu_host_close(run.host);
  return 0;
}
