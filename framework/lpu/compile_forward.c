/* SPDX-License-Identifier: Apache-2.0
 *
 * From one chip to the next: the rows of x, vector by vector, over the links that lead there.
 */
#include "compile.h"
#include "tandem/base.h"

struct hop {
  int32_t link, peer_link; /* of the sender and of the receiver */
  int32_t spacing;         /* cycles between vectors */
};

/* The n-th link from `chip` to `next`; false if there are not so many. */
static bool nth_link(const struct lpu_compiler *compiler, int32_t chip, int32_t next, int32_t n, struct hop *out) {
  const struct td_lpu_machine *machine = compiler->machine;
  struct td_lpu_rates rates;
  td_lpu_machine_rates(machine, &rates);
  for (int32_t link = 0; link < machine->links_used; link++) {
    int32_t peer = 0, peer_link = 0;
    if (!td_lpu_link_peer(machine, compiler->chips, chip, link, &peer, &peer_link) || peer != next || n-- > 0) continue;
    *out = (struct hop){link, peer_link, (int32_t)rates.link_vector_cycles};
    return true;
  }
  return false;
}

static int32_t link_position(const struct lpu_compiler *compiler, int32_t link) {
  return td_lpu_matrix_position(compiler->machine, link % 2);
}

/* One stream of one vector. */
static td_status forward(struct lpu_compiler *compiler, const struct hop *hop, struct lpu_tensor *from, int32_t vector,
                         struct lpu_tensor *to) {
  const struct td_lpu_machine *machine = compiler->machine;
  struct lpu_builder *builder = compiler->builder;
  struct lpu_pattern *pattern = &builder->pattern;
  int32_t cycle = 0, sent = 0, received = 0;
  struct lpu_read read = {.tensor = from,
                          .offset = vector,
                          .n = 1,
                          .at = link_position(compiler, hop->link),
                          .when = machine->delay[TD_LPU_SEND].skew};
  struct lpu_write write = {.tensor = to,
                            .offset = vector,
                            .n = 1,
                            .from = link_position(compiler, hop->peer_link),
                            .when = machine->link_latency + machine->delay[TD_LPU_RECEIVE].func,
                            .reach = -1,
                            .tap = -1};
  lpu_pattern_begin(pattern);
  int32_t send_use = lpu_use_queue(pattern, from->chip, td_lpu_link_queue(machine, hop->link), 0, hop->spacing);
  int32_t receive_use =
      lpu_use_queue(pattern, to->chip, td_lpu_link_queue(machine, hop->peer_link), machine->link_latency, hop->spacing);
  lpu_read_book(builder, pattern, &read);
  lpu_write_book(builder, pattern, &write);
  TD_TRY(lpu_place(builder, pattern, &cycle));
  TD_TRY(lpu_read_emit(builder, pattern, cycle, &read));
  struct td_lpu_instruction send = lpu_instruction(TD_LPU_SEND, from->chip, pattern->uses[send_use].queue, cycle, 1);
  send.in[0] = lpu_stream_of(&pattern->uses[read.stream_use], 0);
  TD_TRY(lpu_emit(builder, &send, &sent));
  TD_TRY(lpu_mean(builder, 0, read.first, 0, 1, 0));
  struct td_lpu_instruction receive =
      lpu_instruction(TD_LPU_RECEIVE, to->chip, pattern->uses[receive_use].queue, cycle + machine->link_latency, 1);
  receive.out = lpu_stream_of(&pattern->uses[write.stream_use], 0);
  TD_TRY(lpu_emit(builder, &receive, &received));
  TD_TRY(lpu_mean(builder, TD_MEANING_SENT, sent, 0, 1, 0));
  return lpu_write_emit(builder, pattern, cycle, &write, received);
}

td_status lpu_segment_forward(struct lpu_compiler *compiler, int32_t to_image, int32_t *out_segment) {
  struct lpu_tensor *from[4], *to[4]; /* the four bytes of float32 vectors */
  struct hop hop;
  int32_t links = 0, turn = 0, next = compiler->builder->program->images[to_image].chip;
  while (nth_link(compiler, compiler->chip, next, links, &hop)) links++;
  if (links == 0) {
    return td_fail(TD_UNSUPPORTED, "LPU %s: no link leads from chip %d to chip %d of %d (%d links are wired)",
                   compiler->machine->name, compiler->chip, next, compiler->chips, compiler->machine->links_used);
  }
  TD_TRY(lpu_open_segment(compiler, "forward"));
  for (int32_t c = 0; c < 4; c++) {
    TD_TRY(lpu_part_tensor(compiler->builder, compiler->x, c, TD_LPU_I8, &from[c]));
    TD_TRY(lpu_part_tensor(compiler->builder, to_image, c, TD_LPU_I8, &to[c]));
  }
  for (int32_t vector = 0; !compiler->builder->dry && vector < from[0]->count; vector++) {
    for (int32_t component = 0; component < 4; component++) {
      nth_link(compiler, compiler->chip, next, turn++ % links, &hop);
      TD_TRY(forward(compiler, &hop, from[component], vector, to[component]));
    }
  }
  return lpu_end_segment(compiler->builder, out_segment);
}
