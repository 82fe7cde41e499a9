/* SPDX-License-Identifier: Apache-2.0
 *
 * One step on a worker: executed, at pace priced priced too, and answered by one completion.
 */
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "interval.h"
#include "node.h"
#include "tandem/base.h"
#include "tandem/cost.h"
#include "tandem/trace.h"

struct step {
  struct host *host;
  const struct step_head *head;
  const struct step_seq *seqs;
  struct td_step_seq *run; /* the same sequences as the runner takes them */
  uint64_t *prefix;        /* [seqs] prefix hashes of hand-offs */
  int32_t next_layer;      /* first layer not pushed yet */
};

static td_status read_step(struct host *host, const struct td_message *message, struct step *step) {
  struct reader reader = reader_of(message);
  *step = (struct step){.host = host, .head = reader_take(&reader, sizeof *step->head)};
  if (!step->head) return message_short(message);
  step->seqs = reader_take(&reader, step->head->seqs * sizeof *step->seqs);
  if (!step->seqs) return message_short(message);
  TD_TRY(td_alloc(step->head->seqs, sizeof *step->run, (void **)&step->run));
  TD_TRY(td_alloc(step->head->seqs, sizeof *step->prefix, (void **)&step->prefix));
  for (uint32_t i = 0; i < step->head->seqs; i++) {
    const struct step_seq *seq = &step->seqs[i];
    const int32_t *ids = reader_take(&reader, (uint64_t)seq->tokens * sizeof *ids);
    if (!ids) return message_short(message);
    step->run[i] = (struct td_step_seq){.request = seq->request,
                                        .past = seq->past,
                                        .tokens = seq->tokens,
                                        .ids = ids,
                                        .logits = (seq->flags & STEP_LOGITS) != 0};
    if (seq->flags & STEP_HANDOFF) TD_TRY(host_prefix(host, seq, ids, &step->prefix[i]));
  }
  return TD_OK;
}

static td_status push_layers(struct step *step, int32_t layer_end, int64_t ready_ps) {
  for (uint32_t i = 0; i < step->head->seqs; i++) {
    const struct step_seq *seq = &step->seqs[i];
    if (!(seq->flags & STEP_HANDOFF) || seq->push_begin == seq->push_end) continue;
    TD_TRY(host_push(step->host, seq, step->prefix[i], step->next_layer, layer_end, ready_ps));
  }
  step->next_layer = layer_end;
  return TD_OK;
}

/* Layers [next_layer, end) that go out together once layer `done` is there; 0: it waits for more. As a blob all go at
 * once. */
static int32_t group_end(const struct step *step, int32_t done) {
  const struct td_cfg_engine *engine = &step->host->cluster->experiment->engine;
  int32_t layers = step->host->cluster->graph->shape.layers;
  bool last = done + 1 == layers;
  if (engine->handoff == TD_HANDOFF_BLOB) return last ? layers : 0;
  return last || done + 1 - step->next_layer >= engine->handoff_layers ? done + 1 : 0;
}

/* td_layer_done: notes the milestone and pushes what is ready, while the device goes on. Pace measured pushes after the
 * step: what is measured is the step alone. */
static td_status layer_done(void *context, int32_t layer, int64_t elapsed_ps) {
  struct step *step = context;
  const struct td_cfg_engine *engine = &step->host->cluster->experiment->engine;
  step->host->layer_done_ps[layer] = elapsed_ps;
  if (engine->pace == TD_PACE_MEASURED || engine->handoff == TD_HANDOFF_BLOB) return TD_OK;
  int32_t end = group_end(step, layer);
  return end ? push_layers(step, end, td_now_ps()) : TD_OK;
}

/* What layer_done left: the blob, and in pace measured everything. */
static td_status push_rest(struct step *step) {
  for (int32_t layer = step->next_layer; layer < step->host->cluster->graph->shape.layers; layer++) {
    int32_t end = group_end(step, layer);
    if (end) TD_TRY(push_layers(step, end, td_now_ps()));
  }
  return TD_OK;
}

static td_status sample_rows(const struct step *step, const float *logits, struct done_sample *samples,
                             uint32_t *out_count) {
  const struct td_experiment *experiment = step->host->cluster->experiment;
  struct td_sampling sampling = {.temperature = experiment->sampling.temperature,
                                 .top_k = (int32_t)experiment->sampling.top_k,
                                 .top_p = experiment->sampling.top_p,
                                 .seed = (uint64_t)experiment->seed};
  int32_t vocab = step->host->cluster->graph->shape.vocab;
  for (uint32_t i = 0; i < step->head->seqs; i++) {
    const struct step_seq *seq = &step->seqs[i];
    if (!(seq->flags & STEP_LOGITS)) continue;
    struct done_sample *sample = &samples[(*out_count)++];
    sample->request = seq->request;
    TD_TRY(td_sample_row(logits, vocab, &sampling, seq->stream, seq->output_index, &sample->sample));
    logits += vocab;
  }
  return TD_OK;
}

/* The energy of a step is what the device's counter grew by around it (the runner has synced): all that the chip used
 * meanwhile. A device with a worker of its own used it for the step; workers that share a device, and run at the same
 * time in pace wall, count each other's. NaN - NaN is NaN: not known. */
static td_status execute(struct step *step, struct done_head *done, struct done_sample *samples) {
  const float *logits;
  int64_t rows;
  struct host *host = step->host;
  bool emulates = host->cluster->workers[host->worker].backend->emulates;
  double before_j = td_device_energy(host->device);
  int64_t device_ps = td_device_now(host->device);
  done->start_ps = td_now_ps();
  TD_TRY(td_runner_step(host->runner, step->run, (int32_t)step->head->seqs, false, NULL, NULL,
                        step->head->wants_layers ? layer_done : NULL, step, &logits, &rows));
  TD_TRY(sample_rows(step, logits, samples, &done->samples));
  done->duration_ps = emulates ? td_device_now(host->device) - device_ps : td_now_ps() - done->start_ps;
  done->energy_j = td_device_energy(host->device) - before_j;
  done->time_kind = emulates ? TD_TIME_EMULATED : TD_TIME_EXECUTED;
  return step->head->wants_layers ? push_rest(step) : TD_OK;
}

static td_status price_of(const struct step *step, struct td_price *out_price) {
  struct host *host = step->host;
  const struct cluster *cluster = host->cluster;
  const struct cluster_worker *worker = &cluster->workers[host->worker];
  struct td_step_stats stats = {{[TD_SYM_TILE] = cluster->experiment->engine.block_tokens}};
  if (cluster_is_lpu(worker)) stats.v[TD_SYM_PASS] = worker->pool->lpu.rows > 0 ? worker->pool->lpu.rows : 1;
  for (uint32_t i = 0; i < step->head->seqs; i++) {
    const struct step_seq *seq = &step->seqs[i];
    td_step_stats_add(&stats, &cluster->graph->shape, seq->past, seq->tokens, (seq->flags & STEP_LOGITS) != 0);
  }
  return td_device_price(host->device, cluster->graph, &worker->slice, cluster->kv_dtype, &stats,
                         step->head->wants_layers ? host->layer_done_ps : NULL, out_price);
}

/* Overwrites the times that a clock gave. */
static td_status price(const struct step *step, struct done_head *done) {
  struct td_price price;
  TD_TRY(price_of(step, &price));
  done->duration_ps = price.base_ps;
  done->interval = step_interval(&price);
  done->energy_j = price.energy_j;
  done->time_kind = TD_TIME_MODELLED;
  return TD_OK;
}

static td_status send_done(struct host *host, const struct done_head *done, const struct done_sample *samples) {
  struct td_text text = {0};
  struct td_message message;
  td_text_add(&text, done, sizeof *done);
  td_text_add(&text, host->layer_done_ps, done->layers * sizeof *host->layer_done_ps);
  td_text_add(&text, samples, done->samples * sizeof *samples);
  TD_TRY(message_make(MESSAGE_DONE, host->worker, &text, &message));
  return node_reply(host->node, &message);
}

/* A device that counts its own time needs no price for it, but must have said the same; one without a price of its own
 * said nothing. */
static td_status compare_price(const struct step *step, const struct done_head *done) {
  const struct td_device_table *table = step->host->device->table;
  struct td_price price;
  if (offsetof(struct td_device_table, price) >= table->size || !table->price) return TD_OK;
  TD_TRY(price_of(step, &price));
  if (price.base_ps == done->duration_ps) return TD_OK;
  return td_fail(TD_INTERNAL, "step %" PRIu64 ": counted %" PRId64 " ps, priced %" PRId64, done->step,
                 done->duration_ps, price.base_ps);
}

static td_status set_time(const struct step *step, struct done_head *done) {
  bool priced = step->host->cluster->experiment->engine.pace == TD_PACE_PRICED;
  if (!priced) return TD_OK;
  return done->time_kind == TD_TIME_EMULATED ? compare_price(step, done) : price(step, done);
}

td_status host_step(struct host *host, const struct td_message *message) {
  struct step step;
  struct done_sample *samples = NULL;
  td_status status = read_step(host, message, &step);
  if (!status) status = td_alloc(step.head->seqs, sizeof *samples, (void **)&samples);
  if (!status) {
    uint32_t layers = step.head->wants_layers ? (uint32_t)host->cluster->graph->shape.layers : 0;
    struct done_head done = {.step = step.head->step, .energy_j = __builtin_nan(""), .layers = layers};
    status = execute(&step, &done, samples);
    if (!status) status = set_time(&step, &done);
    if (!status) status = send_done(host, &done, samples);
  }
  free(samples);
  free(step.run);
  free(step.prefix);
  return status;
}
