/* SPDX-License-Identifier: Apache-2.0
 *
 * From chip to chip: which vector goes over which link, and when. Chips that are no neighbours get it through those
 * between, which keep it: they want it too.
 */
#include <string.h>

#include "compile.h"
#include "tandem/base.h"

/* ---- one vector to a neighbour ---- */

/* Who sends next over which of the links that lead the same way. */
struct turns {
  int32_t next[LPU_MOST_CHIPS][2];
};

struct hop {
  struct lpu_tensor *from, *to;
  int32_t vector; /* of both */
  int32_t way;    /* 0: up the ring, 1: down */
};

/* The n-th link from one chip to another; -1 if there are not so many. */
static int32_t nth_link(const struct lpu_builder *builder, const struct hop *hop, int32_t n, int32_t *out_peer_link) {
  int32_t peer = 0;
  for (int32_t link = 0; link < builder->machine->links_used; link++) {
    if (!td_lpu_link_peer(builder->machine, builder->chips, hop->from->chip, link, &peer, out_peer_link)) continue;
    if (peer == hop->to->chip && n-- == 0) return link;
  }
  return -1;
}

static td_status choose_link(const struct lpu_builder *builder, struct turns *turns, const struct hop *hop,
                             int32_t *out_link, int32_t *out_peer_link) {
  int32_t *turn = &turns->next[hop->from->chip][builder->chips > 2 ? hop->way : 0];
  *out_link = nth_link(builder, hop, (*turn)++, out_peer_link);
  if (*out_link >= 0) return TD_OK;
  *turn = 1;
  *out_link = nth_link(builder, hop, 0, out_peer_link);
  if (*out_link >= 0) return TD_OK;
  return td_fail(TD_UNSUPPORTED, "LPU %s: no link leads from chip %d to chip %d of %d (%d links are wired)",
                 builder->machine->name, hop->from->chip, hop->to->chip, builder->chips, builder->machine->links_used);
}

/* What came over a link, on its way to its slice. */
struct landing {
  int32_t queue, cycle; /* of the WRITE */
  uint8_t stream;
  int32_t receive; /* the instruction */
};

static int32_t link_position(const struct lpu_builder *builder, int32_t link) {
  return td_lpu_matrix_position(builder->machine, link % TD_LPU_HEMISPHERES);
}

static td_status emit_flight(struct lpu_builder *builder, struct lpu_read *read, const struct lpu_use *receive_use,
                             int32_t send_queue, int32_t cycle, uint8_t out, int32_t *out_receive) {
  int32_t sent = 0;
  TD_TRY(lpu_read_emit(builder, &builder->pattern, cycle, read));
  struct td_lpu_instruction send = lpu_instruction(TD_LPU_SEND, read->tensor->chip, send_queue, cycle, 1);
  send.in[0] = lpu_stream_of(&builder->pattern.uses[read->stream_use], 0);
  TD_TRY(lpu_emit(builder, &send, &sent));
  TD_TRY(lpu_mean(builder, 0, read->first, 0, 1, 0));
  struct td_lpu_instruction receive =
      lpu_instruction(TD_LPU_RECEIVE, receive_use->chip, receive_use->queue, cycle + builder->machine->link_latency, 1);
  receive.out = out;
  TD_TRY(lpu_emit(builder, &receive, out_receive));
  return lpu_mean(builder, TD_MEANING_SENT, sent, 0, 1, 0);
}

/* One byte of the vector, as far as its WRITE. `from` and `to` are the byte's slices. */
static td_status send_byte(struct lpu_builder *builder, struct turns *turns, const struct hop *hop,
                           struct lpu_tensor *from, struct lpu_tensor *to, struct landing *out) {
  const struct td_lpu_machine *machine = builder->machine;
  struct lpu_pattern *pattern = &builder->pattern;
  struct td_lpu_rates rates;
  int32_t link = 0, peer_link = 0, cycle = 0;
  TD_TRY(choose_link(builder, turns, hop, &link, &peer_link));
  td_lpu_machine_rates(machine, &rates);
  struct lpu_read read = {.tensor = from, .offset = hop->vector, .n = 1};
  read.at = link_position(builder, link);
  read.when = machine->delay[TD_LPU_SEND].skew;
  struct lpu_write write = {.tensor = to, .offset = hop->vector, .n = 1, .reach = -1, .tap = -1};
  write.from = link_position(builder, peer_link);
  write.when = machine->link_latency + machine->delay[TD_LPU_RECEIVE].func;
  int32_t send_queue = td_lpu_link_queue(machine, link);
  lpu_pattern_begin(pattern);
  lpu_use_queue(pattern, from->chip, send_queue, 0, 1);
  lpu_use_link(pattern, from->chip, link, 0, (int32_t)rates.link_vector_cycles);
  int32_t receive = lpu_use_queue(pattern, to->chip, td_lpu_link_queue(machine, peer_link), machine->link_latency, 1);
  lpu_read_book(builder, pattern, &read);
  lpu_write_book(builder, pattern, &write);
  TD_TRY(lpu_place(builder, pattern, &cycle));
  out->queue = pattern->uses[write.first_use].queue;
  out->cycle = cycle + pattern->uses[write.first_use].at;
  out->stream = lpu_stream_of(&pattern->uses[write.stream_use], 0);
  return emit_flight(builder, &read, &pattern->uses[receive], send_queue, cycle, out->stream, &out->receive);
}

/* The WRITEs of all bytes stand side by side, as readers of the tensor expect. */
static td_status land(struct lpu_builder *builder, const struct hop *hop, const struct landing *landings) {
  struct lpu_write write = {.tensor = hop->to, .offset = hop->vector, .n = 1};
  int32_t first = 0, latest = 0, bytes = td_lpu_type_bytes(hop->to->type);
  for (int32_t c = 0; c < bytes; c++) {
    const struct landing *landing = &landings[c];
    struct td_lpu_instruction instruction =
        lpu_instruction(TD_LPU_MEMORY, hop->to->chip, landing->queue, landing->cycle, 1);
    int32_t index = 0;
    instruction.flags = TD_LPU_WRITE;
    instruction.in[0] = landing->stream;
    instruction.address[1] = hop->to->word + hop->vector;
    instruction.image[1] = hop->to->image;
    TD_TRY(lpu_emit(builder, &instruction, &index));
    TD_TRY(lpu_mean(builder, 0, landing->receive, 0, 1, 0));
    if (c == 0) first = index;
    if (landing->cycle > latest) latest = landing->cycle;
  }
  return lpu_note_written(builder, &write, latest, first);
}

/* A copy of the tensor that is one byte of its vectors. */
static struct lpu_tensor byte_of(const struct lpu_tensor *tensor, int32_t c) {
  struct lpu_tensor byte = *tensor;
  byte.slice += c;
  byte.byte = c;
  byte.type = TD_LPU_I8;
  return byte;
}

static td_status send_vector(struct lpu_builder *builder, struct turns *turns, const struct hop *hop) {
  struct landing landings[4];
  for (int32_t c = 0; c < td_lpu_type_bytes(hop->from->type); c++) {
    struct lpu_tensor from = byte_of(hop->from, c), to = byte_of(hop->to, c);
    td_status status = send_byte(builder, turns, hop, &from, &to, &landings[c]);
    hop->from->taken = from.taken; /* the copy may have begun it */
    TD_TRY(status);
  }
  return land(builder, hop, landings);
}

/* ---- plans ---- */

/* How many chips to the right of the owner get its vector from the left; the others come the other way. Around a ring
 * that has an odd one out, both sides take turns. */
static int32_t reach(const struct lpu_builder *builder, const struct lpu_gather *gather, int32_t owner, int32_t turn) {
  if (gather->count < builder->chips) return gather->count - 1 - owner;
  return (gather->count - 1 + turn % 2) / 2;
}

/* Step `distance` of a vector's way, to both sides. */
static td_status spread(struct lpu_builder *builder, struct turns *turns, const struct lpu_gather *gather,
                        int32_t owner, int32_t vector, int32_t distance) {
  int32_t count = gather->count, right = reach(builder, gather, owner, vector), left = count - 1 - right;
  struct lpu_tensor *const *tensors = gather->tensors;
  if (distance <= right) {
    struct hop hop = {tensors[(owner + distance - 1) % count], tensors[(owner + distance) % count], vector, 0};
    TD_TRY(send_vector(builder, turns, &hop));
  }
  if (distance > left) return TD_OK;
  int32_t from = (owner - distance + 1 + count) % count, to = (owner - distance + count) % count;
  struct hop hop = {tensors[from], tensors[to], vector, 1};
  return send_vector(builder, turns, &hop);
}

td_status lpu_exchange_gather(struct lpu_builder *builder, const struct lpu_gather *gather) {
  struct turns turns;
  memset(&turns, 0, sizeof turns);
  for (int32_t distance = 1; distance < gather->count; distance++) {
    for (int32_t vector = 0; vector < gather->tensors[0]->count; vector++) {
      int32_t owner = gather->owner[vector % gather->vectors];
      if (owner >= 0) TD_TRY(spread(builder, &turns, gather, owner, vector, distance));
    }
  }
  return TD_OK;
}

static struct hop hop_of(struct lpu_tensor *from, struct lpu_tensor *to, int32_t vector, int32_t way) {
  struct hop hop = {from, to, vector, way};
  int32_t stride = 0, also = vector;
  lpu_take_column(&hop.from, &also, &stride);
  lpu_take_column(&hop.to, &hop.vector, &stride);
  return hop;
}

td_status lpu_exchange_pass(struct lpu_builder *builder, struct lpu_tensor *const *tensors, int32_t count) {
  struct turns turns;
  memset(&turns, 0, sizeof turns);
  for (int32_t vector = 0; vector < tensors[0]->count; vector++) {
    for (int32_t i = 1; i < count; i++) {
      struct hop hop = hop_of(tensors[i - 1], tensors[i], vector, 0);
      TD_TRY(send_vector(builder, &turns, &hop));
    }
  }
  return TD_OK;
}
