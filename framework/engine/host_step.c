/* SPDX-License-Identifier: Apache-2.0
 *
 * One step on a worker: executed, priced, or both, answered by one completion.
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"
#include "node.h"
#include "tandem/base.h"
#include "tandem/cost.h"

struct step {
  struct host *host;
  const struct step_head *head;
  const struct step_seq *seqs;
  struct td_step_seq *run; /* the same sequences as the runner takes them */
  uint64_t *prefix;        /* [seqs] prefix hashes of hand-offs */
  int64_t start_ps;
  int32_t next_layer; /* first layer not pushed yet */
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
    const int32_t *ids = step->head->has_ids ? reader_take(&reader, (uint64_t)seq->tokens * sizeof *ids) : NULL;
    if (step->head->has_ids && !ids) return message_short(message);
    step->run[i] = (struct td_step_seq){.request = seq->request,
                                        .past = seq->past,
                                        .tokens = seq->tokens,
                                        .ids = ids,
                                        .logits = (seq->flags & STEP_LOGITS) != 0};
    if (ids && seq->flags & STEP_HANDOFF) TD_TRY(host_prefix(host, seq, ids, &step->prefix[i]));
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

/* td_layer_done: notes the milestone and pushes what is ready, while the next layers are computed by the caller. */
static td_status layer_done(void *context, int32_t layer, int64_t elapsed_ps) {
  struct step *step = context;
  const struct td_cfg_engine *engine = &step->host->cluster->experiment->engine;
  step->host->layer_done_ps[layer] = elapsed_ps;
  int32_t ready = layer + 1 - step->next_layer;
  bool last = layer + 1 == step->host->cluster->graph->shape.layers;
  if (engine->handoff != TD_HANDOFF_LAYERS || (ready < engine->handoff_layers && !last)) return TD_OK;
  return push_layers(step, layer + 1, step->start_ps + elapsed_ps);
}

/* The baseline: everything in one piece after the prompt's last chunk. */
static td_status push_blobs(struct step *step) {
  if (step->host->cluster->experiment->engine.handoff != TD_HANDOFF_BLOB) return TD_OK;
  return push_layers(step, step->host->cluster->graph->shape.layers, td_now_ps());
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
    TD_TRY(td_sample_row(logits, vocab, &sampling, seq->request, seq->output_index, &sample->sample));
    logits += vocab;
  }
  return TD_OK;
}

static td_status execute(struct step *step, struct done_head *done, struct done_sample *samples) {
  const float *logits;
  int64_t rows;
  step->start_ps = td_now_ps();
  TD_TRY(td_runner_step(step->host->runner, step->run, (int32_t)step->head->seqs, false, NULL, NULL, layer_done, step,
                        &logits, &rows));
  TD_TRY(sample_rows(step, logits, samples, &done->samples));
  TD_TRY(push_blobs(step));
  done->start_ps = step->start_ps;
  done->executed_ps = td_now_ps() - step->start_ps;
  return TD_OK;
}

static td_status price(struct step *step, struct done_head *done) {
  struct host *host = step->host;
  const struct cluster *cluster = host->cluster;
  struct td_slice whole = td_slice_whole(cluster->graph);
  struct td_step_stats stats = {0};
  struct td_price price;
  for (uint32_t i = 0; i < step->head->seqs; i++) {
    const struct step_seq *seq = &step->seqs[i];
    td_step_stats_add(&stats, seq->past, seq->tokens, (seq->flags & STEP_LOGITS) != 0);
  }
  TD_TRY(td_device_price(host->device, cluster->graph, &whole, cluster->kv_dtype, &stats, &price));
  TD_TRY(td_price_milestones(host->device->params, cluster->graph, &whole, cluster->kv_dtype, &stats,
                             host->layer_done_ps));
  done->priced_ps = price.base_ps;
  done->energy_j = price.energy_j;
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

td_status host_step(struct host *host, const struct td_message *message) {
  struct step step;
  struct done_sample *samples = NULL;
  td_status status = read_step(host, message, &step);
  if (!status) status = td_alloc(step.head->seqs, sizeof *samples, (void **)&samples);
  if (!status) {
    struct done_head done = {.step = step.head->step,
                             .executed_ps = -1,
                             .priced_ps = -1,
                             .energy_j = __builtin_nan(""),
                             .layers = (uint32_t)host->cluster->graph->shape.layers};
    bool priced = !host->runner || host->cluster->experiment->engine.pace == TD_PACE_PRICED;
    if (host->runner) status = execute(&step, &done, samples);
    if (!status && priced) status = price(&step, &done);
    if (!status) status = send_done(host, &done, samples);
  }
  free(samples);
  free(step.run);
  free(step.prefix);
  return status;
}
