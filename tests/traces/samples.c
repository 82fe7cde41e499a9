/* SPDX-License-Identifier: Apache-2.0
 *
 * Device 0 prefills one request after the other; device 1 decodes all that are ready. The lengths are random and depend
 * on the seed alone, so samples of different kinds describe the same requests.
 */
#include "samples.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define MS INT64_C(1000000000)

struct request {
  struct td_row_request row;
  struct td_row_residency stay; /* modelled decode */
  int64_t ready;                /* prefilled and handed over */
  uint32_t done;                /* tokens so far */
};
struct maker {
  const struct sample *sample;
  struct td_trace_writer *writer;
  struct request *requests;
  uint64_t step, index[2]; /* next numbers */
  int64_t now;             /* of device 1 */
};

struct td_trace_run sample_run(const char *policy) {
  return (struct td_trace_run){.config = "pace = \"priced\";\n",
                               .experiment = "sample",
                               .model = "none",
                               .pace = "priced",
                               .policy = policy ? policy : "disaggregated",
                               .model_digest = 0x123456789abcdef0,
                               .seed = 7,
                               .ranks = 1};
}

static uint64_t pick(const struct maker *maker, uint64_t stream, uint64_t counter, uint64_t bound) {
  return td_random(maker->sample->seed, stream, counter) % bound;
}

static int64_t scaled(const struct maker *maker, int64_t time) {
  return time * (maker->sample->time_scale ? maker->sample->time_scale : 1);
}

static td_status put(struct maker *maker, enum td_table table, const void *row) {
  return td_trace_append(maker->writer, table, row, 1);
}

static td_status put_devices(struct maker *maker) {
  uint32_t executes[2] = {maker->sample->kind != SAMPLE_MODELLED, maker->sample->kind == SAMPLE_EXECUTED};
  for (uint32_t i = 0; i < 2; i++) {
    struct td_row_device row = {.device = i, .role = i + 1, .executes = executes[i]};
    strcpy(row.name, i ? "decode.0" : "prefill.0");
    strcpy(row.pool, i ? "decode" : "prefill");
    strcpy(row.backend, executes[i] ? "cpu" : "modelled");
    strcpy(row.file, executes[i] ? "" : "h100_sxm");
    TD_TRY(put(maker, TD_TABLE_DEVICES, &row));
  }
  return TD_OK;
}

static td_status put_step(struct maker *maker, uint32_t device, int64_t start, int64_t duration, int64_t slope,
                          uint64_t count, uint32_t batch, uint32_t tokens, bool executed) {
  struct td_row_step row = {.step = maker->step,
                            .index = maker->index[device],
                            .device = device,
                            .kind = device ? TD_STEP_DECODE : TD_STEP_PREFILL,
                            .start = start,
                            .duration = duration,
                            .slope = slope,
                            .count = count,
                            .batch = batch,
                            .tokens = tokens,
                            .time_kind = executed ? TD_TIME_EXECUTED : TD_TIME_MODELLED,
                            .energy = executed ? NAN : 0.5 + (double)batch};
  maker->step += count;
  maker->index[device] += count;
  return put(maker, TD_TABLE_STEPS, &row);
}

static td_status put_token(struct maker *maker, struct request *request, uint32_t device, int64_t time, uint64_t step) {
  const struct sample *sample = maker->sample;
  uint64_t number = request->row.request, index = request->done++;
  bool touched = number == 1 && index == 2;
  char text[8];
  struct td_row_token row = {
      .request = number,
      .index = (uint32_t)index,
      .id = (int32_t)pick(maker, 100 + number, index, 49152) + (touched ? sample->id_shift : 0),
      .device = device,
      .time = time,
      .step = step,
      .logprob = log(td_random_unit(sample->seed, 200 + number, index) + 1e-9) + (touched ? sample->logprob_shift : 0),
      .gap = touched ? 0.5 : 2.0 + td_random_unit(sample->seed, 300 + number, index)};
  row.text_bytes = (uint32_t)snprintf(text, sizeof text, " w%d", (int)row.id % 1000);
  TD_TRY(td_trace_text(maker->writer, text, row.text_bytes, &row.text_offset));
  return put(maker, TD_TABLE_TOKENS, &row);
}

static void plan_request(struct maker *maker, uint64_t number) {
  struct td_row_request *row = &maker->requests[number].row;
  *row = (struct td_row_request){.request = number,
                                 .arrival = scaled(maker, (int64_t)pick(maker, 1, number, 40) * MS + (int64_t)number),
                                 .prompt_tokens = 5 + (uint32_t)pick(maker, 2, number, 300),
                                 .output_tokens = 1 + (uint32_t)pick(maker, 3, number, 60),
                                 .finish = TD_FINISH_LENGTH,
                                 .prefill_device = 0,
                                 .decode_device = 1};
  row->prompt_tokens += maker->sample->longer == number + 1;
  if (maker->sample->one_token) row->output_tokens = 1;
  row->max_tokens = row->output_tokens;
  row->kv_bytes = row->prompt_tokens * UINT64_C(46080);
  snprintf(row->name, sizeof row->name, "r%d", (int)number);
}

static td_status put_transfer(struct maker *maker, struct request *request, int64_t start) {
  struct td_row_transfer row = {.request = request->row.request,
                                .from = 0,
                                .to = 1,
                                .layer_end = 30,
                                .token_end = request->row.prompt_tokens,
                                .bytes = request->row.kv_bytes,
                                .start = start,
                                .duration = scaled(maker, (int64_t)request->row.kv_bytes * 40),
                                .time_kind = TD_TIME_MODELLED};
  request->ready = row.start + row.duration;
  return put(maker, TD_TABLE_TRANSFERS, &row);
}

static td_status prefill(struct maker *maker, struct request *request, int64_t *free_at) {
  struct td_row_request *row = &request->row;
  bool executed = maker->sample->kind != SAMPLE_MODELLED;
  int64_t start = row->arrival > *free_at ? row->arrival : *free_at;
  int64_t duration = scaled(maker, row->prompt_tokens * INT64_C(31415926) + 77);
  uint64_t step = maker->step;
  struct td_row_residency stay = {
      .request = row->request, .tokens_per_step = 1, .first_index = maker->index[0], .count = 1};
  row->admitted = row->first_step = start;
  *free_at = row->first_token = row->finished = start + duration;
  TD_TRY(put_step(maker, 0, start, duration, 0, 1, 1, row->prompt_tokens, executed));
  if (executed) {
    TD_TRY(put_token(maker, request, 0, row->first_token, step));
  } else {
    request->done = 1;
    TD_TRY(put(maker, TD_TABLE_RESIDENCY, &stay));
  }
  return put_transfer(maker, request, row->first_token);
}

static td_status finish(struct maker *maker, struct request *request) {
  if (request->stay.count) TD_TRY(put(maker, TD_TABLE_RESIDENCY, &request->stay));
  if (maker->sample->drop == request->row.request + 1) return TD_OK;
  return put(maker, TD_TABLE_REQUESTS, &request->row);
}

static bool decodes(const struct maker *maker, const struct request *request) {
  return request->ready <= maker->now && request->done < request->row.output_tokens;
}

/* How many steps can pass before a request ends or another may join; 1 if executed. */
static uint64_t stretch(const struct maker *maker, uint32_t *out_batch) {
  uint64_t count = maker->sample->kind == SAMPLE_EXECUTED ? 1 : 7;
  *out_batch = 0;
  for (uint64_t i = 0; i < maker->sample->requests; i++) {
    const struct request *request = &maker->requests[i];
    if (!decodes(maker, request)) continue;
    ++*out_batch;
    if (request->row.output_tokens - request->done < count) count = request->row.output_tokens - request->done;
  }
  return count;
}

static td_status advance(struct maker *maker, struct request *request, uint64_t step, uint64_t index, uint64_t count) {
  if (maker->sample->kind == SAMPLE_EXECUTED) {
    TD_TRY(put_token(maker, request, 1, maker->now, step));
  } else {
    if (!request->stay.count) {
      request->stay = (struct td_row_residency){.request = request->row.request,
                                                .device = 1,
                                                .tokens_per_step = 1,
                                                .first_index = index,
                                                .first_token = request->done};
    }
    request->stay.count += count;
    request->done += (uint32_t)count;
  }
  request->row.finished = maker->now;
  return request->done == request->row.output_tokens ? finish(maker, request) : TD_OK;
}

static int64_t line(uint64_t count, int64_t duration, int64_t slope) {
  return (int64_t)count * duration + (int64_t)(count * (count - 1) / 2) * slope;
}

/* A first pace for a third of the steps, one that is longer, and the rest; *out_end is when they are over. */
static td_status put_paces(struct maker *maker, uint32_t batch, uint64_t count, int64_t duration, int64_t slope,
                           int64_t *out_end) {
  const uint64_t some = (count + 2) / 3, step = maker->step;
  const struct td_row_pace paces[3] = {
      {step, duration, slope}, {step + some, 3 * duration + 5, 0}, {step + some + 1, duration / 2, slope + 7}};
  const uint64_t counts[3] = {some, count > some, count > some + 1 ? count - some - 1 : 0};
  int64_t begin = maker->now;
  bool rows = maker->sample->paces == 1;
  *out_end = begin;
  for (int i = 0; i < 3 && counts[i]; i++) {
    if (rows) {
      TD_TRY(put_step(maker, 1, *out_end, paces[i].duration, paces[i].slope, counts[i], batch, batch, false));
    } else if (i) {
      TD_TRY(put(maker, TD_TABLE_PACES, &paces[i]));
    }
    *out_end += line(counts[i], paces[i].duration, paces[i].slope);
  }
  return rows ? TD_OK : put_step(maker, 1, begin, duration, slope, count, batch, batch, false);
}

static td_status put_decode(struct maker *maker, uint32_t batch, uint64_t count, int64_t *out_end) {
  int64_t duration = scaled(maker, 9 * MS + batch * INT64_C(271828182) + (int64_t)maker->step);
  bool executed = maker->sample->kind == SAMPLE_EXECUTED;
  int64_t slope = executed ? 0 : batch * 1013;
  if (maker->sample->paces) return put_paces(maker, batch, count, duration, slope, out_end);
  *out_end = maker->now + line(count, duration, slope);
  return put_step(maker, 1, maker->now, duration, slope, count, batch, batch, executed);
}

static td_status decode(struct maker *maker, uint32_t batch, uint64_t count) {
  int64_t begin = maker->now, end;
  uint64_t step = maker->step, index = maker->index[1];
  TD_TRY(put_decode(maker, batch, count, &end));
  for (uint64_t i = 0; i < maker->sample->requests; i++) {
    struct request *request = &maker->requests[i];
    if (request->ready > begin || request->done == request->row.output_tokens) continue;
    maker->now = end;
    TD_TRY(advance(maker, request, step, index, count));
  }
  return TD_OK;
}

static td_status put_orchestrators(struct maker *maker) {
  for (uint32_t i = 0; i < 2; i++) {
    struct td_row_orchestrator row = {
        .orchestrator = i, .cores = 2 + i, .speed = 1, .power_busy = 3.5, .power_idle = i ? NAN : 1.0};
    snprintf(row.name, sizeof row.name, "cpu.%d", (int)i);
    strcpy(row.pool, "cpu");
    strcpy(row.file, "grace");
    TD_TRY(put(maker, TD_TABLE_ORCHESTRATORS, &row));
  }
  return TD_OK;
}

/* A tool for each answer, and the host's work on the text of every third; every seventh is lost once. */
static td_status put_calls(struct maker *maker, const struct td_row_request *request) {
  uint64_t number = request->request;
  struct td_row_tool_call row = {
      .request = number, .session = number + 1, .orchestrator = (uint32_t)(number % 2), .cores = 1};
  row.enqueued = request->finished;
  row.start = row.enqueued + scaled(maker, (int64_t)pick(maker, 8, number, 5) * MS);
  row.end = row.start + scaled(maker, (int64_t)pick(maker, 9, number, 90) * MS + 17);
  row.energy = 3.5 * (double)(row.end - row.start) * 1e-12;
  row.lost = number % 7 == 6;
  TD_TRY(put(maker, TD_TABLE_TOOL_CALLS, &row));
  if (number % 3) return TD_OK;
  row.lost = 0;
  row.kind = TD_CALL_DETOKENIZE;
  return put(maker, TD_TABLE_TOOL_CALLS, &row);
}

static td_status make_tools(struct maker *maker) {
  TD_TRY(put_orchestrators(maker));
  for (uint64_t i = 0; i < maker->sample->requests; i++) TD_TRY(put_calls(maker, &maker->requests[i].row));
  return TD_OK;
}

static td_status make(struct maker *maker) {
  int64_t free_at = 0;
  TD_TRY(put_devices(maker));
  for (uint64_t i = 0; i < maker->sample->requests; i++) {
    plan_request(maker, i);
    TD_TRY(prefill(maker, &maker->requests[i], &free_at));
  }
  for (uint64_t i = 0; i < maker->sample->requests; i++) {
    if (maker->requests[i].row.output_tokens == 1) TD_TRY(finish(maker, &maker->requests[i]));
  }
  int64_t last = maker->requests[maker->sample->requests - 1].ready;
  for (;;) {
    uint32_t batch;
    uint64_t count = stretch(maker, &batch);
    if (batch) {
      TD_TRY(decode(maker, batch, count));
    } else if (maker->now > last) {
      return TD_OK;
    } else {
      maker->now += MS;
    }
  }
}

td_status sample_write(const char *path, const struct sample *sample) {
  struct maker maker = {.sample = sample};
  struct td_trace_run run = sample_run(sample->policy);
  run.tools = sample->tools;
  run.paces = sample->paces == 2;
  TD_TRY(td_trace_create(path, &run, &maker.writer));
  td_status status = td_alloc(sample->requests, sizeof *maker.requests, (void **)&maker.requests);
  if (!status) status = make(&maker);
  if (!status && sample->tools) status = make_tools(&maker);
  if (!status) {
    status = td_trace_finish(maker.writer);
  } else {
    td_trace_abandon(maker.writer, td_error_text());
  }
  free(maker.requests);
  return status;
}
