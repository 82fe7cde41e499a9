/* SPDX-License-Identifier: Apache-2.0
 *
 * A worker's steps from their beginning to when they are cut short. Without chunks, decode steps run on as one event
 * until a sequence ends, the price changes its form, or somebody joins.
 */
#include <inttypes.h>
#include <math.h>

#include "fleet.h"
#include "fleet_hosted.h"
#include "tandem/base.h"

__extension__ typedef __int128 wide;

static wide steps_time(int64_t base, int64_t slope, int64_t count) {
  return (wide)base * count + (wide)slope * count * (count - 1) / 2;
}

td_status fleet_too_long(void) {
  return td_fail(TD_UNSUPPORTED, "the run lasts longer than 106 days");
}

td_status fleet_later(int64_t ps, int64_t span_ps, int64_t *out_ps) {
  return __builtin_add_overflow(ps, span_ps, out_ps) ? fleet_too_long() : TD_OK;
}

static td_status ends_at(const struct replica *replica, int64_t *out_ps) {
  wide end = replica->start_ps + steps_time(replica->next_base, replica->row.slope, replica->count);
  if (end > INT64_MAX) return fleet_too_long();
  *out_ps = (int64_t)end;
  return TD_OK;
}

/* ---- its beginning ---- */

/* Steps alike go on in their row. Step by step their price is asked again: it must be what the row says. For how long
 * it holds can be less than what is left of the row: sums of contexts say less about windows the longer they are. */
static td_status go_on(struct fleet *fleet, const struct replica *replica) {
  struct td_price price;
  if (fleet->merge) return TD_OK;
  TD_TRY(fleet_price_decode(fleet, replica, &price));
  int64_t expected = replica->priced + replica->more * replica->row.count;
  if (price.base_ps == expected) return TD_OK;
  return td_fail(TD_INTERNAL,
                 "a step of %" PRId32 " sequences and %" PRId64 " positions: found a price of %" PRId64
                 " ps, expected %" PRId64 " by the price of those before",
                 replica->endings.count, replica->context, price.base_ps, expected);
}

/* Prompts that had to wait for those that had paused are next. */
static bool waits_a_step(const struct fleet *fleet, const struct replica *replica) {
  return fleet->prompts_first && replica->prefill.first >= 0;
}

static td_status begin_decode(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  int64_t end_ps = 0, left = replica->endings.heap[0].step - replica->steps;
  bool others;
  TD_TRY(fleet_pipeline_meet(fleet, worker, &others));
  bool goes_on = !replica->changed && replica->row_valid > 0;
  TD_TRY(fleet_pipeline_go_on(fleet, worker, others, &goes_on));
  if (goes_on) {
    TD_TRY(go_on(fleet, replica));
  } else {
    struct td_price price;
    TD_TRY(replica->changed ? fleet_close_row(fleet, worker) : fleet_turn_row(fleet, worker));
    TD_TRY(fleet_price_decode(fleet, replica, &price));
    if (!fleet->merge) {
      replica->priced = price.base_ps;
      replica->more = price.slope_ps;
    }
    TD_TRY(fleet_slow_price(fleet, replica, &price));
    TD_TRY(fleet_pipeline_enter(fleet, worker, others, &price));
    TD_TRY(fleet_open_row(fleet, worker, &price, TD_STEP_DECODE));
  }
  replica->count = left < replica->row_valid ? left : replica->row_valid;
  if (!fleet->merge || fleet->crowded || others || waits_a_step(fleet, replica)) replica->count = 1;
  replica->decodes = true;
  if (fleet->grow && replica->count > 1) {
    int64_t steps = fleet_kv_steps(fleet, worker);
    if (steps < replica->count) replica->count = steps;
  }
  TD_TRY(ends_at(replica, &end_ps));
  worker_queue_set(&fleet->ends, worker, end_ps);
  return TD_OK;
}

static td_status begin_mixed(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  struct td_price price;
  int64_t end_ps = 0;
  bool others;
  TD_TRY(fleet_pipeline_meet(fleet, worker, &others));
  TD_TRY(fleet_close_row(fleet, worker));
  TD_TRY(fleet_price_mixed(fleet, replica, &price));
  TD_TRY(fleet_slow_price(fleet, replica, &price));
  TD_TRY(fleet_pipeline_enter(fleet, worker, others, &price));
  price.slope_ps = 0;
  price.valid_steps = 1;
  replica->decodes = replica->endings.count > 0;
  TD_TRY(fleet_open_row(fleet, worker, &price, replica->decodes ? TD_STEP_MIXED : TD_STEP_PREFILL));
  replica->count = 1;
  TD_TRY(ends_at(replica, &end_ps));
  worker_queue_set(&fleet->ends, worker, end_ps);
  return TD_OK;
}

td_status fleet_begin_step(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (fleet->prompts_first) TD_TRY(fleet_pause_end(fleet, worker));
  TD_TRY(fleet_take_joining(fleet, worker));
  if (fleet->grow) TD_TRY(fleet_kv_make_room(fleet, worker));
  TD_TRY(fleet_fill_chunks(fleet, worker));
  if (!replica->chunk_count && !replica->endings.count) return fleet_close_row(fleet, worker);
  replica->busy = true;
  TD_TRY(fleet_later(fleet->now_ps, replica->swap_ps, &replica->start_ps));
  if (replica->swap_ps) replica->changed = true; /* steps of one row follow each other */
  replica->swap_ps = 0;
  if (fleet_executes(fleet, worker)) {
    TD_TRY(fleet_hosted_begin(fleet, worker));
  } else {
    TD_TRY(replica->chunk_count ? begin_mixed(fleet, worker) : begin_decode(fleet, worker));
  }
  if (fleet->grow) fleet_kv_begun(fleet, worker);
  return TD_OK;
}

/* ---- somebody wants to join ---- */

/* How many of the steps under way have ended `elapsed` after the first began. */
static int64_t steps_ended(const struct replica *replica, int64_t elapsed) {
  int64_t base = replica->next_base, slope = replica->row.slope, steps;
  if (elapsed < base) return 0;
  if (slope > 0) {
    double half = (double)base / (double)slope - 0.5;
    steps = (int64_t)(sqrt(half * half + 2 * (double)elapsed / (double)slope) - half);
  } else {
    steps = elapsed / base;
  }
  while (steps_time(base, slope, steps + 1) <= elapsed) steps++;
  while (steps > 0 && steps_time(base, slope, steps) > elapsed) steps--;
  return steps;
}

int64_t fleet_step_begins(const struct replica *replica, int64_t step) {
  return replica->start_ps + (int64_t)steps_time(replica->next_base, replica->row.slope, step);
}

/* A step that would begin at this very instant has not, unless the instant has been given work before. */
int64_t fleet_steps_by_now(const struct fleet *fleet, const struct replica *replica) {
  int64_t elapsed = fleet->now_ps - replica->start_ps, ended = steps_ended(replica, elapsed);
  bool at_end = ended > 0 && steps_time(replica->next_base, replica->row.slope, ended) == elapsed;
  int64_t begun = at_end && !fleet->again ? ended : ended + 1;
  return begun < replica->count ? begun : replica->count;
}

/* Step by step the one that ends now would have ended before anybody joined. */
td_status fleet_interrupt(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (!replica->busy || replica->count < 2) return TD_OK;
  int64_t begun = fleet_steps_by_now(fleet, replica), end_ps = 0;
  if (begun == replica->count) return TD_OK;
  replica->count = begun;
  TD_TRY(ends_at(replica, &end_ps));
  if (end_ps > fleet->now_ps) {
    worker_queue_set(&fleet->ends, worker, end_ps);
    return TD_OK;
  }
  worker_queue_remove(&fleet->ends, worker);
  return fleet_end_step(fleet, worker);
}

td_status fleet_join(struct fleet *fleet, int32_t slot) {
  int32_t worker = fleet->requests[slot].decode_worker;
  slots_add(fleet, &fleet->replicas[worker].joining, slot);
  TD_TRY(fleet_interrupt(fleet, worker));
  fleet_touch(fleet, worker);
  return TD_OK;
}

td_status fleet_lose_step(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (!replica->busy) return fleet_close_row(fleet, worker);
  int64_t elapsed = fleet->now_ps - replica->start_ps, ended = steps_ended(replica, elapsed);
  int64_t spent = elapsed - (int64_t)steps_time(replica->next_base, replica->row.slope, ended);
  double watts = replica->row.energy / (double)fleet_pipeline_work(replica, 1); /* per ps */
  int64_t done = spent > 0 ? fleet_pipeline_spent(fleet, worker, replica->row.count + ended, spent) : 0;
  bool lost = !ended || spent > 0;
  /* the step that is lost has taken its blocks, and kept ones had to leave for it */
  if (fleet->grow && replica->count > 1) fleet_kv_taken(fleet, worker, fleet_steps_by_now(fleet, replica));
  worker_queue_remove(&fleet->ends, worker);
  if (ended) {
    replica->count = ended;
    TD_TRY(fleet_end_step(fleet, worker));
  }
  if (replica->busy && fleet->power) fleet_power_release(fleet, worker);
  replica->busy = false; /* nobody is to take blocks for steps of it any more */
  if (fleet->grow) fleet_kv_taken(fleet, worker, 0);
  replica->changed = true;
  replica->chunk_count = 0;
  TD_TRY(fleet_close_row(fleet, worker));
  if (!lost) return TD_OK;
  fleet->summary->lost_steps++;
  replica->energy_j += watts * (double)done; /* none while it still waits for KV from the host */
  replica->busy_ps += done;
  return TD_OK;
}
