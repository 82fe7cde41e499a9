/* SPDX-License-Identifier: Apache-2.0
 *
 * Steps that are filled with prompts first (engine.first): decoding requests that batch_tokens has no room for beside
 * them pause for the step. Their KV stays where it is, and so do their places.
 *
 * Who pauses leaves the worker's batch when the step begins and is back in it before the next one is filled, so a batch
 * that decodes without prompts is always whole, and its steps are merged as ever.
 */
#include "fleet.h"
#include "tandem/base.h"

static int64_t cached(const struct fleet_request *request) {
  return request->prompt + request->emitted - 1;
}

/* It paused in the last step, and has paused often enough not to do so again. */
static bool is_due(const struct fleet *fleet, const struct fleet_request *request) {
  return request->paused && request->pauses >= fleet->cluster->experiment->engine.pauses;
}

static td_status resume(struct fleet *fleet, int32_t worker, struct keyed_slot item) {
  struct replica *replica = &fleet->replicas[worker];
  struct fleet_request *request = &fleet->requests[item.slot];
  const struct ending back = {replica->steps + item.key, (uint32_t)item.number, item.slot};
  replica->context += cached(request);
  TD_TRY(fleet_kv_join(fleet, replica, request));
  TD_TRY(fleet_resident(fleet, request, worker, replica->index, 0, 1));
  return endings_put_back(&replica->endings, replica->own_endings, back);
}

td_status fleet_pause_end(struct fleet *fleet, int32_t worker) {
  struct replica *replica = &fleet->replicas[worker];
  if (!replica->paused.count) return TD_OK;
  for (size_t i = 0; i < replica->paused.count; i++) TD_TRY(resume(fleet, worker, replica->paused.heap[i]));
  replica->paused.count = 0;
  replica->changed = replica->resumed = true;
  return TD_OK;
}

int64_t fleet_pause_due(const struct fleet *fleet, int32_t worker) {
  const struct replica *replica = &fleet->replicas[worker];
  int64_t due = 0;
  if (!replica->resumed) return 0;
  for (int32_t i = 0; i < replica->endings.count; i++) {
    due += is_due(fleet, &fleet->requests[replica->endings.heap[i].slot]);
  }
  return due;
}

/* Marks those that pause: of those that need not run, the last ones after the first `room`. */
static td_status choose(struct fleet *fleet, const struct replica *replica, int64_t room) {
  struct slot_queue *line = &fleet->line;
  for (int32_t i = 0; i < replica->endings.count; i++) {
    const struct ending *item = &replica->endings.heap[i];
    struct fleet_request *request = &fleet->requests[item->slot];
    const struct keyed_slot place = {request->paused ? 0 : 1, item->joined, item->slot};
    if (!is_due(fleet, request)) TD_TRY(slot_queue_push(line, place));
    request->paused = false;
  }
  for (; line->count && room > 0; room--) slot_queue_pop(line);
  while (line->count) fleet->requests[slot_queue_pop(line).slot].paused = true;
  return TD_OK;
}

static td_status leave(struct fleet *fleet, struct replica *replica, struct ending item) {
  struct fleet_request *request = &fleet->requests[item.slot];
  const struct keyed_slot out = {item.step - replica->steps, item.joined, item.slot};
  request->emitted = request->output - (int32_t)out.key;
  request->stretch_count = (int32_t)(replica->index - request->stretch_index);
  request->pauses++;
  replica->context -= cached(request);
  replica->changed = true;
  fleet_kv_leave(fleet, replica, request);
  fleet->summary->pauses++;
  return slot_queue_push(&replica->paused, out);
}

td_status fleet_pause(struct fleet *fleet, int32_t worker, int64_t room) {
  struct replica *replica = &fleet->replicas[worker];
  struct endings *batch = &replica->endings;
  int32_t count = batch->count;
  if (!replica->resumed && count <= room) return TD_OK;
  TD_TRY(choose(fleet, replica, room));
  replica->resumed = false;
  batch->count = 0;
  for (int32_t i = 0; i < count; i++) { /* what stays is put in again no further than where it was read */
    const struct ending item = batch->heap[i];
    bool pauses = fleet->requests[item.slot].paused;
    TD_TRY(pauses ? leave(fleet, replica, item) : endings_put_back(batch, replica->own_endings, item));
  }
  return TD_OK;
}
