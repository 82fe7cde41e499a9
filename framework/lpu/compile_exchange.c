/* SPDX-License-Identifier: Apache-2.0
 *
 * One vector from a chip to its neighbour: over which of the links between them, and when.
 */
#include "exchange.h"

#include <stdlib.h>

#include "tandem/base.h"

td_status lpu_turns_open(const struct lpu_builder *builder, int32_t count, struct lpu_turns *out) {
  *out = (struct lpu_turns){.count = count, .hop = td_lpu_hop_cycles(builder->machine)};
  return td_alloc((size_t)count * (size_t)count, sizeof *out->next, (void **)&out->next);
}

void lpu_turns_close(struct lpu_turns *turns) {
  free(turns->next);
}

/* The n-th link from one chip to another; -1 if there are not so many. */
static int32_t nth_link(const struct lpu_builder *builder, const struct lpu_hop *hop, int32_t n,
                        int32_t *out_peer_link) {
  int32_t peer = 0;
  for (int32_t link = 0; link < builder->machine->links_used; link++) {
    if (!td_lpu_link_peer(builder->machine, builder->chips, hop->from->chip, link, &peer, out_peer_link)) continue;
    if (peer == hop->to->chip && n-- == 0) return link;
  }
  return -1;
}

static td_status choose_link(const struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_hop *hop,
                             int32_t *out_link, int32_t *out_peer_link) {
  int32_t *turn = &turns->next[hop->giver * turns->count + hop->taker];
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
  int32_t sent;         /* the SEND's cycle */
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
static td_status send_byte(struct lpu_builder *builder, struct lpu_turns *turns, const struct lpu_hop *hop,
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
  struct lpu_write write = {.tensor = to, .offset = hop->at, .n = 1, .reach = -1, .tap = -1};
  write.from = link_position(builder, peer_link);
  write.when = machine->link_latency + machine->delay[TD_LPU_RECEIVE].func;
  int32_t send_queue = td_lpu_link_queue(machine, link);
  lpu_pattern_begin(pattern);
  lpu_use_queue(pattern, from->chip, send_queue, 0, 1);
  lpu_use_link(pattern, from->chip, link, 0, (int32_t)rates.link_vector_cycles);
  int32_t receive = lpu_use_queue(pattern, to->chip, td_lpu_link_queue(machine, peer_link), machine->link_latency, 1);
  lpu_read_book(builder, pattern, &read);
  lpu_write_book(builder, pattern, &write);
  if (hop->not_before > pattern->not_before) pattern->not_before = hop->not_before;
  TD_TRY(lpu_place(builder, pattern, &cycle));
  out->sent = cycle;
  out->queue = pattern->uses[write.first_use].queue;
  out->cycle = cycle + pattern->uses[write.first_use].at;
  out->stream = lpu_stream_of(&pattern->uses[write.stream_use], 0);
  return emit_flight(builder, &read, &pattern->uses[receive], send_queue, cycle, out->stream, &out->receive);
}

/* The WRITEs of all bytes stand side by side, as readers of the tensor expect. */
static td_status land(struct lpu_builder *builder, const struct lpu_hop *hop, const struct landing *landings) {
  struct lpu_write write = {.tensor = hop->to, .offset = hop->at, .n = 1};
  int32_t first = 0, latest = 0, bytes = td_lpu_type_bytes(hop->to->type);
  for (int32_t c = 0; c < bytes; c++) {
    const struct landing *landing = &landings[c];
    struct td_lpu_instruction instruction =
        lpu_instruction(TD_LPU_MEMORY, hop->to->chip, landing->queue, landing->cycle, 1);
    int32_t index = 0;
    instruction.flags = TD_LPU_WRITE;
    instruction.in[0] = landing->stream;
    instruction.address[1] = hop->to->word + hop->at;
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

td_status lpu_send(struct lpu_builder *builder, struct lpu_turns *turns, struct lpu_hop *hop) {
  struct landing landings[4];
  struct lpu_hop own = *hop; /* in columns, where tensors are made of such */
  int32_t stride = 0;
  lpu_take_column(&own.from, &own.vector, &stride);
  lpu_take_column(&own.to, &own.at, &stride);
  hop->sent = 0;
  for (int32_t c = 0; c < td_lpu_type_bytes(own.from->type); c++) {
    struct lpu_tensor from = byte_of(own.from, c), to = byte_of(own.to, c);
    td_status status = send_byte(builder, turns, &own, &from, &to, &landings[c]);
    own.from->taken = from.taken; /* the copy may have begun it */
    TD_TRY(status);
    if (landings[c].sent > hop->sent) hop->sent = landings[c].sent;
  }
  return land(builder, &own, landings);
}
