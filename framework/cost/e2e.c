/* SPDX-License-Identifier: Apache-2.0
 *
 * Time per output token of a served model: e2e.h has the formula.
 */
#include "tandem/e2e.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "e2e_model.h"
#include "op_curve.h"
#include "tandem/base.h"
#include "tandem/cost.h"

#define MODELS_MAX 64

struct td_e2e {
  struct td_device_params device; /* with its own cache */
  char *folder;
  struct td_e2e_model models[MODELS_MAX];
  int32_t model_count;
};

td_status td_e2e_open(const struct td_device_params *device, const char *models, struct td_e2e **out_e2e) {
  const char *folder = models ? models : getenv("TANDEM_MODELS");
  void *memory;
  if (!device->memory_bytes.present) {
    return td_fail(TD_UNSUPPORTED, "device %s: found no memory_bytes, expected it in the device file to price e2e",
                   device->name);
  }
  TD_TRY(td_alloc(1, sizeof(struct td_e2e), &memory));
  struct td_e2e *e2e = memory;
  e2e->device = *device;
  e2e->device.op_cache = NULL;
  td_status status = td_copy_text(folder ? folder : TANDEM_MODELS_DIR, &e2e->folder);
  if (!status) status = td_op_cache_open(&e2e->device.op_cache);
  if (status) {
    free(e2e->folder);
    free(e2e);
    return status;
  }
  *out_e2e = e2e;
  return TD_OK;
}

void td_e2e_close(struct td_e2e *e2e) {
  if (!e2e) return;
  for (int32_t i = 0; i < e2e->model_count; i++) td_e2e_model_close(&e2e->models[i]);
  td_op_cache_close(e2e->device.op_cache);
  free(e2e->folder);
  free(e2e);
}

static td_status find_model(struct td_e2e *e2e, const struct td_e2e_row *row, const struct td_graph **out) {
  for (int32_t i = 0; i < e2e->model_count; i++) {
    if (!td_e2e_model_is(&e2e->models[i], row)) continue;
    *out = e2e->models[i].graph;
    return TD_OK;
  }
  if (e2e->model_count == MODELS_MAX) {
    return td_fail(TD_UNSUPPORTED, "model_path: found over %d models and precisions, expected fewer", MODELS_MAX);
  }
  TD_TRY(td_e2e_model_open(e2e->folder, row, &e2e->models[e2e->model_count]));
  *out = e2e->models[e2e->model_count++].graph;
  return TD_OK;
}

/* ---- who has what ---- */

/* TensorRT-LLM keeps the cache of a model with FP8 scales in FP8; others keep 16 bits unless told. */
static enum td_dtype kv_of(const struct td_e2e_row *row) {
  return !strcmp(row->backend, "trtllm") && !strncmp(row->gemm, "fp8", 3) ? TD_FP8 : TD_BF16;
}

struct job {
  const struct td_graph *graph;
  enum td_dtype kv_dtype;
  int64_t batch; /* of all replicas that share a cache; at most what runs at once */
};

/* A server's own limit of requests that run at once, of tables that do not give it. Inferred: a recipe of InferenceX
 * (SemiAnalysis, for vLLM 0.11; --max-num-seqs $CONC, --num-prompts 10 * $CONC, --max-concurrency 512) asks with 512
 * requests whatever the server was started for, which was one of the sweep's 4, 8, 16, 32, 64. Times to first token of
 * the given table's rows of 512 say so: ten waves at once wait 4.5 waves on average, 4.2 of 64 with 512 seen. */
#define ASKED_BY_SWEEP 512
#define SWEEP_LEAST 4
#define SWEEP_MIDDLE 16
#define SWEEP_MOST 64

static bool is_limit_unknown(const struct td_e2e_row *row) {
  return !row->running_most && !strcmp(row->backend, "vllm") && row->batch == ASKED_BY_SWEEP;
}

/* The share of B prompts that fall into a request's tokens. Software that mixes prompts with tokens keeps requests
 * apart in time: all B. SGLang takes in all waiting prompts before any token, so requests of one length start, go on
 * and end together, and each waits for the prompts behind its own only: half of them. */
static double prompts_met(const struct td_e2e_row *row) {
  return !strcmp(row->backend, "sglang") ? 0.5 : 1;
}

/* As many replicas as chips in tensor parallel: attention is divided by sequences, not by heads, over those chips
 * (tables count the batch of each, and experts as if each replica had chips of its own). Its bytes and products come
 * to the same. Otherwise each replica has tp_size chips of its own. */
static void place(const struct td_e2e_row *row, int64_t most, struct td_serving *serving, struct job *job) {
  bool same_chips = row->replicas > 1 && row->replicas == row->tensor;
  int32_t chips = same_chips ? row->tensor : row->tensor * row->replicas;
  serving->guesses = true;
  serving->tensor = row->tensor;
  serving->replicas = same_chips ? 1 : row->replicas;
  serving->expert = row->expert > 0 ? row->expert : 1;
  if (same_chips) serving->expert = serving->expert > row->replicas ? serving->expert / row->replicas : 1;
  if (serving->expert > chips) serving->expert = chips;
  serving->expert_tensor = chips / serving->expert;
  serving->fp8_block = !strcmp(row->gemm, "fp8_block");
  serving->framework = row->backend;
  job->batch = row->batch < most ? row->batch : most;
  if (same_chips) job->batch *= row->replicas;
}

/* As a pool's tensor and pipeline. */
static td_status check_split(const struct td_e2e_row *row, const struct td_shape *shape) {
  td_status status = td_shape_check_tensor(shape, row->tensor);
  if (status) return td_fail_within(status, "tp_size");
  status = td_shape_check_stages(shape, row->pipeline);
  return status ? td_fail_within(status, "pp_size") : TD_OK;
}

/* ---- steps ---- */

#define MEMORY_SHARE 0.9 /* what serving software takes for weights and cache */
#define STEP_TOKENS 8192

static td_status limit(const struct td_device_params *device, const struct td_e2e_row *row, struct job *job,
                       double *out_least) {
  const struct td_shape *shape = &job->graph->shape;
  int32_t shared = device->serving.tensor < shape->kv_heads ? device->serving.tensor : (int32_t)shape->kv_heads;
  double weights, layers = shape->layers;
  if (shape->kv_lora) shared = 1; /* all chips keep the latents */
  if (shape->window) layers /= 2; /* windowed layers keep little */
  TD_TRY(td_e2e_weights(job->graph, &device->serving, &weights));
  double position = (double)td_kv_bytes(shape, job->kv_dtype, 1, 1) * layers / shared / row->pipeline;
  double context = (double)row->isl + (double)row->osl / 2;
  weights /= row->pipeline;
  double most = (MEMORY_SHARE * device->memory_bytes.value - weights) / (position * context);
  if (most < 1) {
    return td_fail(TD_UNSUPPORTED,
                   "found weights of %.3g GB a chip and %.3g GB of cache a request, expected them in %.3g GB",
                   weights * 1e-9, position * context * 1e-9, MEMORY_SHARE * device->memory_bytes.value * 1e-9);
  }
  if (most < (double)job->batch) job->batch = (int64_t)most;
  *out_least = position * context * (double)job->batch; /* of dense models all weights are read, too */
  if (!shape->experts) *out_least += weights;
  *out_least /= device->memory_bandwidth.value;
  return TD_OK;
}

static void add_sequences(struct td_step_stats *stats, const struct td_shape *shape, int64_t count, int64_t past,
                          int64_t tokens) {
  for (int64_t i = 0; i < count; i++) td_step_stats_add(stats, shape, past, tokens, 1);
}

/* A token passes all stages, each with its part of the batch at work. */
static td_status price_steps(const struct td_device_params *device, const struct td_e2e_row *row, const struct job *job,
                             struct td_e2e_price *out) {
  const struct td_slice whole = td_slice_whole(job->graph);
  const struct td_shape *shape = &job->graph->shape;
  struct td_step_stats tokens = {0}, prompts = {0};
  struct td_price decode, prefill;
  int64_t batch = (job->batch + row->pipeline - 1) / row->pipeline, together = STEP_TOKENS / row->isl;
  if (together > batch) together = batch;
  if (together < 1) together = 1;
  add_sequences(&tokens, shape, batch, row->isl + row->osl / 2 - 1, 1);
  add_sequences(&prompts, shape, together, 0, row->isl);
  TD_TRY(td_price_roofline(device, job->graph, &whole, job->kv_dtype, &tokens, &decode));
  TD_TRY(td_price_roofline(device, job->graph, &whole, job->kv_dtype, &prompts, &prefill));
  double share = prompts_met(row) * (double)batch / (double)row->osl / (double)together;
  out->decode = td_seconds(decode.base_ps);
  out->prompts = share * td_seconds(prefill.base_ps);
  out->tpot = (struct td_op_price){.seconds = out->decode + out->prompts,
                                   .low = (decode.low_ps + share * prefill.low_ps) * 1e-12,
                                   .high = (decode.high_ps + share * prefill.high_ps) * 1e-12};
  return TD_OK;
}

/* With a fit of the framework, how far it was from what it had not seen; else the sum of the operators' ranges. */
static void set_interval(const struct td_device_params *device, const struct td_e2e_row *row,
                         struct td_e2e_price *price) {
  struct td_op_basis basis;
  const struct td_op_shape shape = {{row->isl, row->osl, row->batch}};
  price->tpot.note = "no scale of this framework: operators' ranges";
  td_op_basis_of(device, TD_E2E, row->backend, &basis);
  if (!basis.guessed) td_op_interval(&basis, &shape, 0, &price->tpot);
}

/* With no more than `most` requests at once on each replica. */
static td_status price_running(struct td_e2e *e2e, const struct td_e2e_row *row, bool plain, int64_t most,
                               struct td_e2e_price *out_price) {
  struct job job = {.kv_dtype = kv_of(row)};
  struct td_e2e_price price = {0};
  struct td_device_params device = e2e->device;
  TD_TRY(find_model(e2e, row, &job.graph));
  TD_TRY(check_split(row, &job.graph->shape));
  place(row, most, &device.serving, &job);
  if (plain) device.serving.framework = "";
  TD_TRY(limit(&device, row, &job, &price.least));
  TD_TRY(price_steps(&device, row, &job, &price));
  set_interval(&device, row, &price);
  price.running = job.batch;
  *out_price = price;
  return TD_OK;
}

/* The middle of the sweep, between what its ends may be. */
static td_status price_sweep(struct td_e2e *e2e, const struct td_e2e_row *row, bool plain,
                             struct td_e2e_price *out_price) {
  struct td_e2e_price few, middle, many;
  TD_TRY(price_running(e2e, row, plain, SWEEP_LEAST, &few));
  TD_TRY(price_running(e2e, row, plain, SWEEP_MIDDLE, &middle));
  TD_TRY(price_running(e2e, row, plain, SWEEP_MOST, &many));
  middle.tpot.low = fmin(few.tpot.low, middle.tpot.low);
  middle.tpot.high = fmax(many.tpot.high, middle.tpot.high);
  middle.tpot.note = "no max_num_seqs: 4 to 64 may run";
  middle.least = few.least;
  *out_price = middle;
  return TD_OK;
}

static td_status price_row(struct td_e2e *e2e, const struct td_e2e_row *row, bool plain,
                           struct td_e2e_price *out_price) {
  if (!row->aggregated) {
    return td_fail(TD_UNSUPPORTED, "mode: found one with chips of its own for prompts, expected agg");
  }
  if (is_limit_unknown(row)) return price_sweep(e2e, row, plain, out_price);
  return price_running(e2e, row, plain, row->running_most ? row->running_most : INT64_MAX, out_price);
}

td_status td_e2e_price(struct td_e2e *e2e, const struct td_e2e_row *row, struct td_e2e_price *out_price) {
  return price_row(e2e, row, false, out_price);
}

td_status td_e2e_price_plain(struct td_e2e *e2e, const struct td_e2e_row *row, struct td_e2e_price *out_price) {
  return price_row(e2e, row, true, out_price);
}
