/* SPDX-License-Identifier: Apache-2.0 */
#include "workload.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

struct source {
  const struct td_config *config;
  const struct td_experiment *experiment;
  const struct td_model *model;
  bool exact;
};

static td_status fail_request(const struct source *source, int64_t i, const char *key, const char *text) {
  char path[80];
  snprintf(path, sizeof path, "workload.requests.[%" PRId64 "].%s", i, key);
  return td_config_fail(source->config, path, "%s", text);
}

/* The prompt as the model reads it: a chat around the user's message, or the text as it stands. malloc'd. */
static td_status prompt_text(const struct source *source, const struct td_cfg_request *request, char **out_text) {
  if (!request->chat) return td_copy_text(request->prompt, out_text);
  struct td_chat_message messages[2];
  int count = 0;
  if (*request->system) messages[count++] = (struct td_chat_message){"system", request->system};
  messages[count++] = (struct td_chat_message){"user", request->prompt};
  return td_tokenizer_chat(td_model_tokenizer(source->model), messages, count, out_text);
}

/* Text that every vocabulary has tokens for. */
static bool is_plain(const char *text) {
  for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
    if (*c >= 0x7f || (*c < 0x20 && *c != '\n' && *c != '\t')) return false;
  }
  return true;
}

/* Plain text begins with the BOS where the model's file asks for it; a chat template writes its own. */
static td_status begin_with_bos(const struct td_tokenizer *tokenizer, struct job *job) {
  int32_t bos = td_tokenizer_bos(tokenizer), *ids;
  if (bos < 0 || !td_tokenizer_adds_bos(tokenizer) || (job->prompt_tokens && job->ids[0] == bos)) return TD_OK;
  TD_TRY(td_alloc((size_t)job->prompt_tokens + 1, sizeof *ids, (void **)&ids));
  ids[0] = bos;
  memcpy(ids + 1, job->ids, (size_t)job->prompt_tokens * sizeof *ids);
  free(job->ids);
  job->ids = ids;
  job->prompt_tokens++;
  return TD_OK;
}

/* Without `exact` byte-level text of n bytes counts as n tokens, the most it can be; other vocabularies can need more,
 * and those begin with a BOS. */
static td_status count_or_encode(const struct source *source, const char *text, bool chat, struct job *job) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(source->model);
  if (source->exact || !is_plain(text) || td_tokenizer_adds_bos(tokenizer)) {
    TD_TRY(td_tokenizer_encode(tokenizer, text, strlen(text), true, &job->ids, &job->prompt_tokens));
    return chat ? TD_OK : begin_with_bos(tokenizer, job);
  }
  job->prompt_tokens = (int64_t)strlen(text);
  return td_tokenizer_usable(tokenizer);
}

static td_status encode_prompt(const struct source *source, const struct td_cfg_request *request, int64_t i,
                               struct job *job) {
  const struct td_tokenizer *tokenizer = td_model_tokenizer(source->model);
  if (!tokenizer) {
    return fail_request(source, i, "prompt", "found text, expected prompt_tokens: the model has no tokenizer");
  }
  char *text;
  td_status status = prompt_text(source, request, &text);
  if (status) return fail_request(source, i, "prompt", td_error_text());
  status = count_or_encode(source, text, request->chat, job);
  free(text);
  if (status) return fail_request(source, i, "prompt", td_error_text());
  return job->prompt_tokens ? TD_OK : fail_request(source, i, "prompt", "found no tokens, expected at least 1");
}

/* A prompt of a given length without text: ids drawn from the seed, so that it can be executed too. */
static td_status draw_prompt(const struct source *source, const struct td_cfg_request *request, int64_t i,
                             struct job *job) {
  int32_t vocab = td_model_shape(source->model)->vocab;
  TD_TRY(td_alloc((size_t)request->prompt_tokens, sizeof *job->ids, (void **)&job->ids));
  job->prompt_tokens = request->prompt_tokens;
  for (int64_t t = 0; t < job->prompt_tokens; t++) {
    uint64_t draw = td_random((uint64_t)source->experiment->seed, (uint64_t)i, (uint64_t)t);
    job->ids[t] = (int32_t)(draw % (uint64_t)vocab);
  }
  return TD_OK;
}

static td_status check_encoder_job(const struct source *source, const struct job *job, int64_t i) {
  const struct td_shape *shape = td_model_shape(source->model);
  const struct td_cfg_request *request = (const struct td_cfg_request *)source->experiment->workload.requests.items + i;
  char text[160];
  if (job->max_tokens != 1) {
    snprintf(text, sizeof text, "found %" PRId64 ", expected 1: %s is an encoder, one result for a prompt",
             job->max_tokens, shape->name);
    if (request->max_tokens) return fail_request(source, i, "max_tokens", text);
    return td_config_fail(source->config, "workload.max_tokens", "%s", text);
  }
  if (job->prompt_tokens <= shape->context) return TD_OK;
  snprintf(text, sizeof text, "found a prompt of %" PRId64 " tokens, expected at most the model's context of %d",
           job->prompt_tokens, (int)shape->context);
  return fail_request(source, i, "prompt_tokens", text);
}

static td_status check_length(const struct source *source, const struct job *job, int64_t i) {
  int32_t context = td_model_shape(source->model)->context;
  int64_t total = job->prompt_tokens + job->max_tokens;
  if (shape_encodes(td_model_shape(source->model))) return check_encoder_job(source, job, i);
  if (total <= context) return TD_OK;
  char text[160];
  snprintf(text, sizeof text,
           "found a prompt of %" PRId64 " tokens and max_tokens %" PRId64 " = %" PRId64
           ", expected at most the model's context of %d",
           job->prompt_tokens, job->max_tokens, total, context);
  return fail_request(source, i, "max_tokens", text);
}

static td_status build_job(const struct source *source, int64_t i, struct job *job) {
  const struct td_cfg_workload *workload = &source->experiment->workload;
  const struct td_cfg_request *request = (const struct td_cfg_request *)workload->requests.items + i;
  int context = td_model_shape(source->model)->context;
  TD_TRY(td_format(job->name, sizeof job->name, "%s", request->name)); /* the config bounds it */
  job->max_tokens = request->max_tokens ? request->max_tokens : workload->max_tokens;
  if (td_ps_from_seconds(request->arrival, &job->arrival_ps)) {
    return fail_request(source, i, "arrival", td_error_text());
  }
  if (request->prompt_tokens > context) {
    job->prompt_tokens = request->prompt_tokens;
    return check_length(source, job, i);
  }
  TD_TRY(request->prompt_tokens ? draw_prompt(source, request, i, job) : encode_prompt(source, request, i, job));
  return check_length(source, job, i);
}

td_status workload_open(const struct td_config *config, const struct td_experiment *experiment,
                        const struct td_model *model, bool exact, struct workload *out_workload) {
  struct source source = {config, experiment, model, exact};
  struct workload workload = {.count = experiment->workload.requests.count};
  TD_TRY(td_alloc((size_t)workload.count, sizeof *workload.jobs, (void **)&workload.jobs));
  td_status status = TD_OK;
  for (int64_t i = 0; i < workload.count && !status; i++) status = build_job(&source, i, &workload.jobs[i]);
  if (status) {
    workload_close(&workload);
    return status;
  }
  for (int64_t i = 0; i < workload.count; i++) {
    const struct job *job = &workload.jobs[i];
    int64_t total = job->prompt_tokens + job->max_tokens - 1;
    if (job->prompt_tokens > workload.longest_prompt) workload.longest_prompt = job->prompt_tokens;
    if (total > workload.longest_total) workload.longest_total = total;
  }
  *out_workload = workload;
  return TD_OK;
}

void workload_close(struct workload *workload) {
  for (int64_t i = 0; i < workload->count && workload->jobs; i++) free(workload->jobs[i].ids);
  free(workload->jobs);
  *workload = (struct workload){0};
}
