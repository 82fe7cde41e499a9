/* SPDX-License-Identifier: Apache-2.0
 *
 * Every device goes through rounds of ten steps: one with the prefill of a new request, if there is one, and three rows
 * of three decode steps. A request knows when it joins in which step it will end.
 */
#include "fleet.h"

#include <inttypes.h>
#include <stdlib.h>

#include "samples.h"

#define MS INT64_C(1000000000)
#define ROUND 10u    /* steps of a round */
#define AHEAD 64u    /* rounds that a request lasts at most */
#define LONGEST 440u /* output tokens */
#define LAYERS 80u   /* of which all go over in one transfer */
#define KV_BYTES 327680u

struct stretch {
  uint64_t first_index, count, first_token;
  uint32_t tokens_per_step;
};
struct guest {
  struct td_row_request row;
  struct stretch stays[3];
  uint64_t last; /* index of its last step */
  int32_t stay_count, next;
};
struct host {
  int64_t now;        /* begin of the round */
  int32_t due[AHEAD]; /* first guest that ends in this round, by round % AHEAD; -1: none */
  uint32_t batch;
};
struct maker {
  const struct fleet *fleet;
  fleet_sink sink;
  void *context;
  struct host *hosts;
  struct guest *guests;
  size_t guest_room;
  int32_t free, guest_count;
  uint64_t step, request;
};

static uint64_t pick(const struct maker *maker, uint64_t stream, uint64_t counter, uint64_t bound) {
  return td_random(maker->fleet->seed, stream, counter) % bound;
}

static td_status put(const struct maker *maker, enum td_table table, const void *row) {
  return maker->sink(maker->context, table, row);
}

static td_status put_devices(const struct maker *maker) {
  uint32_t decoders = maker->fleet->devices, all = maker->fleet->disaggregated ? 2 * decoders : decoders;
  for (uint32_t i = 0; i < all; i++) {
    const char *pool = i >= decoders ? "prefill" : maker->fleet->disaggregated ? "decode" : "both";
    struct td_row_device row = {
        .device = i, .pool = "", .backend = "modelled", .file = "h100_sxm", .layer_begin = -1, .layer_end = LAYERS + 1};
    row.role = i >= decoders ? 1 : maker->fleet->disaggregated ? 2 : 0;
    row.parts = 7;
    snprintf(row.name, sizeof row.name, "%s.%" PRIu32, pool, i % decoders);
    snprintf(row.pool, sizeof row.pool, "%s", pool);
    TD_TRY(put(maker, TD_TABLE_DEVICES, &row));
  }
  return TD_OK;
}

/* ---- steps ---- */

static int64_t base(uint32_t batch) {
  return 18 * MS + batch * INT64_C(31415927);
}
static int64_t slope(uint32_t batch) {
  return batch * INT64_C(2718);
}

/* End of step `i` of a round, counted from its begin. */
static int64_t end_of(uint32_t batch, int64_t i) {
  int64_t first = 2 * base(batch); /* step 0 is twice as long */
  if (i == 0) return first;
  int64_t rows = (i - 1) / 3, rest = (i - 1) % 3 + 1;
  return first + rows * (3 * base(batch) + 3 * slope(batch)) + rest * base(batch) +
         rest * (rest - 1) / 2 * slope(batch);
}

static td_status put_step(struct maker *maker, struct td_row_step row) {
  row.step = maker->step;
  row.time_kind = TD_TIME_MODELLED;
  row.interval = 950 | 1070u << 16;
  row.energy = 3.5 + row.batch;
  maker->step += row.count;
  return put(maker, TD_TABLE_STEPS, &row);
}

static td_status put_round(struct maker *maker, uint32_t device, uint64_t round, uint32_t batch, bool prefills) {
  const struct host *host = &maker->hosts[device];
  int64_t begin = host->now;
  uint64_t index = round * ROUND;
  uint32_t kind = prefills && !maker->fleet->disaggregated ? TD_STEP_MIXED : TD_STEP_DECODE;
  TD_TRY(put_step(maker, (struct td_row_step){.index = index,
                                              .device = device,
                                              .kind = kind,
                                              .start = begin,
                                              .duration = end_of(batch, 0),
                                              .count = 1,
                                              .batch = batch,
                                              .tokens = batch}));
  for (int64_t i = 0; i < 3; i++) {
    TD_TRY(put_step(maker, (struct td_row_step){.index = index + 1 + 3 * (uint64_t)i,
                                                .device = device,
                                                .kind = TD_STEP_DECODE,
                                                .start = begin + end_of(batch, 3 * i),
                                                .duration = base(batch),
                                                .slope = slope(batch),
                                                .count = 3,
                                                .batch = batch,
                                                .tokens = batch}));
  }
  return TD_OK;
}

/* ---- requests ---- */

static td_status take_guest(struct maker *maker, int32_t *out) {
  if (maker->free < 0) {
    TD_TRY(td_grow((void **)&maker->guests, &maker->guest_room, (size_t)maker->guest_count + 1, sizeof *maker->guests));
    maker->free = maker->guest_count++;
    maker->guests[maker->free].next = -1;
  }
  *out = maker->free;
  maker->free = maker->guests[*out].next;
  return TD_OK;
}

static void stay(struct guest *guest, uint64_t first_index, uint64_t count, uint64_t first_token, uint32_t per_step) {
  guest->stays[guest->stay_count++] = (struct stretch){first_index, count, first_token, per_step};
  guest->last = first_index + count - 1;
}

/* The steps of its `count` tokens from `index` on; every fifth one is put off in the middle and prefilled again. */
static void plan_stays(struct guest *guest, uint64_t index, uint64_t first_token, uint64_t count) {
  uint64_t half = count / 2;
  if (guest->row.request % 5 || half < 4) {
    stay(guest, index, count, first_token, 1);
    return;
  }
  stay(guest, index, half, first_token, 1);
  stay(guest, index + half + 7, 2, first_token + half, 0);
  stay(guest, index + half + 9, count - half, first_token + half, 1);
}

static void plan_request(struct maker *maker, struct guest *guest, uint32_t device, uint64_t round) {
  uint64_t number = maker->request++;
  struct td_row_request *row = &guest->row;
  int64_t now = maker->hosts[device].now, wait = (int64_t)pick(maker, 1, number, 90) * MS;
  *guest = (struct guest){.next = -1};
  *row = (struct td_row_request){.request = number,
                                 .arrival = now - wait,
                                 .admitted = now - wait,
                                 .first_step = now,
                                 .prompt_tokens = 16 + (uint32_t)pick(maker, 2, number, 2000),
                                 .output_tokens = 2 + (uint32_t)pick(maker, 3, number, LONGEST - 2),
                                 .prefill_device = device,
                                 .decode_device = device};
  row->max_tokens = row->output_tokens;
  snprintf(row->name, sizeof row->name, "%" PRIu64, number);
  if (maker->fleet->disaggregated) {
    row->prefill_device = maker->fleet->devices + device;
    row->kv_bytes = (uint64_t)row->prompt_tokens * KV_BYTES;
    plan_stays(guest, (round + 1) * ROUND, 1, row->output_tokens - 1);
  } else if (number % 3) {
    plan_stays(guest, round * ROUND, 0, row->output_tokens);
  } else { /* its prompt takes two chunks */
    stay(guest, round * ROUND, 1, 0, 0);
    stay(guest, round * ROUND + 1, row->output_tokens, 0, 1);
  }
}

static td_status put_prefill(struct maker *maker, struct guest *guest, uint64_t round) {
  struct td_row_request *row = &guest->row;
  struct td_row_step step = {.index = round,
                             .device = row->prefill_device,
                             .kind = TD_STEP_PREFILL,
                             .start = row->first_step,
                             .duration = 5 * MS + row->prompt_tokens * INT64_C(14142136),
                             .count = 1,
                             .batch = 1,
                             .tokens = row->prompt_tokens};
  struct td_row_residency prefill = {row->request, row->prefill_device, 1, round, 1, 0};
  struct td_row_transfer push = {.request = row->request,
                                 .from = row->prefill_device,
                                 .to = row->decode_device,
                                 .layer_end = LAYERS,
                                 .token_end = row->prompt_tokens,
                                 .bytes = row->kv_bytes,
                                 .duration = (int64_t)row->kv_bytes * 20,
                                 .time_kind = TD_TIME_MODELLED};
  push.start = row->first_token = step.start + step.duration;
  TD_TRY(put_step(maker, step));
  TD_TRY(put(maker, TD_TABLE_RESIDENCY, &prefill));
  return put(maker, TD_TABLE_TRANSFERS, &push);
}

static td_status join(struct maker *maker, uint32_t device, uint64_t round, uint32_t batch) {
  struct host *host = &maker->hosts[device];
  int32_t number = 0;
  TD_TRY(take_guest(maker, &number));
  struct guest *guest = &maker->guests[number];
  plan_request(maker, guest, device, round);
  if (maker->fleet->disaggregated) {
    TD_TRY(put_prefill(maker, guest, round));
  } else {
    int64_t first = guest->stays[0].tokens_per_step ? 0 : 1;
    guest->row.first_token = host->now + end_of(batch, first);
  }
  int32_t *due = &host->due[guest->last / ROUND % AHEAD];
  guest->next = *due;
  *due = number;
  return TD_OK;
}

static td_status leave(struct maker *maker, struct guest *guest, uint32_t batch) {
  struct td_row_request *row = &guest->row;
  row->finished = maker->hosts[row->decode_device].now + end_of(batch, (int64_t)(guest->last % ROUND));
  for (int32_t i = 0; i < guest->stay_count; i++) {
    const struct stretch *stay = &guest->stays[i];
    struct td_row_residency out = {.request = row->request,
                                   .device = row->decode_device,
                                   .tokens_per_step = stay->tokens_per_step,
                                   .first_index = stay->first_index,
                                   .count = stay->count,
                                   .first_token = stay->first_token};
    TD_TRY(put(maker, TD_TABLE_RESIDENCY, &out));
  }
  return put(maker, TD_TABLE_REQUESTS, row);
}

static td_status leave_due(struct maker *maker, uint32_t device, uint64_t round, uint32_t batch) {
  struct host *host = &maker->hosts[device];
  int32_t *due = &host->due[round % AHEAD];
  while (*due >= 0) {
    int32_t number = *due;
    struct guest *guest = &maker->guests[number];
    TD_TRY(leave(maker, guest, batch));
    *due = guest->next;
    guest->next = maker->free;
    maker->free = number;
    host->batch--;
  }
  return TD_OK;
}

static td_status go_round(struct maker *maker, uint32_t device, uint64_t round) {
  struct host *host = &maker->hosts[device];
  bool more = maker->request < maker->fleet->requests;
  if (more) host->batch++;
  uint32_t batch = host->batch;
  if (more) TD_TRY(join(maker, device, round, batch));
  TD_TRY(put_round(maker, device, round, batch, more));
  TD_TRY(leave_due(maker, device, round, batch));
  host->now += end_of(batch, ROUND - 1) + 3 * MS; /* it rests for a while */
  return TD_OK;
}

static td_status run(struct maker *maker) {
  uint32_t devices = maker->fleet->devices;
  TD_TRY(td_alloc(devices, sizeof *maker->hosts, (void **)&maker->hosts));
  for (uint32_t d = 0; d < devices; d++) {
    maker->hosts[d].now = 100 * MS + d * MS;
    for (uint32_t i = 0; i < AHEAD; i++) maker->hosts[d].due[i] = -1;
  }
  TD_TRY(put_devices(maker));
  uint64_t rounds = (maker->fleet->requests + devices - 1) / devices + AHEAD;
  for (uint64_t round = 0; round < rounds; round++) {
    for (uint32_t d = 0; d < devices; d++) TD_TRY(go_round(maker, d, round));
  }
  return TD_OK;
}

td_status fleet_rows(const struct fleet *fleet, fleet_sink sink, void *context) {
  struct maker maker = {.fleet = fleet, .sink = sink, .context = context, .free = -1};
  td_status status = run(&maker);
  free(maker.hosts);
  free(maker.guests);
  return status;
}

struct writing {
  struct td_trace_writer *writer;
  uint64_t rows;
};

static td_status append(void *context, enum td_table table, const void *row) {
  struct writing *writing = context;
  writing->rows++;
  return td_trace_append(writing->writer, table, row, 1);
}

td_status fleet_write(const char *path, const struct fleet *fleet, uint64_t *out_rows) {
  struct writing writing = {0};
  struct td_trace_run what = sample_run("fleet");
  TD_TRY(td_trace_create(path, &what, &writing.writer));
  td_status status = fleet_rows(fleet, append, &writing);
  if (status) {
    td_trace_abandon(writing.writer, td_error_text());
    return status;
  }
  if (out_rows) *out_rows = writing.rows;
  return td_trace_finish(writing.writer);
}
