/* SPDX-License-Identifier: Apache-2.0
 *
 * All in hemisphere 0 of lpu-tiny.cfg. Positions: plane and links 0, switch 1, slice 20 at 6, slice 12 at 8, slice 4 at
 * 10, vector unit 12. A word that is read in cycle 0 from slice 4 is on its stream in 3, and passes slice 20 in 7,
 * where a write that is issued in 6 takes it.
 */
#include "lpu/smallest.h"

#include "lpu/assemble.h"

static const struct td_lpu_row row = {0, NULL, 0};
static const struct td_lpu_step step = {&row, 1};
const struct td_lpu_step *smallest_step(void) {
  return &step;
}

/* x of four words is copied, word 0 to y's. */
struct copy {
  int32_t x, y, read, write;
};
static struct copy add_copy(struct hand_code *code, enum td_lpu_image_kind kind, enum td_lpu_type type, int32_t slice,
                            int32_t word) {
  struct copy copy;
  copy.x = hand_image(code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 4);
  copy.y = hand_image(code, "y", kind, type, 0, 0, slice, td_lpu_type_bytes(type), 0, 4);
  hand_segment(code, "copy", 40);
  copy.read = hand_read(code, 0, copy.x, 0, 0, 5);
  copy.write = hand_write(code, 6, copy.y, 0, word, 5);
  hand_means(code, copy.write, 0, copy.read, 0);
  return copy;
}
static struct copy plain_copy(struct hand_code *code) {
  return add_copy(code, TD_IMAGE_SCRATCH, TD_LPU_I8, 20, 0);
}

static void queue(struct hand_code *code, bool broken) {
  struct copy copy = plain_copy(code);
  hand_read(code, broken ? 0 : 1, copy.x, 0, 1, 6);
}
static void port(struct hand_code *code, bool broken) {
  struct copy copy = plain_copy(code);
  int32_t other = hand_image(code, "other", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 20, 1, broken ? 4 : 300, 1);
  struct td_lpu_instruction *at = hand_at(code, copy.write);
  at->flags |= TD_LPU_READ;
  at->image[0] = other;
  at->address[0] = broken ? 4 : 300;
  at->out = 7;
}
static void address(struct hand_code *code, bool broken) {
  add_copy(code, TD_IMAGE_SCRATCH, TD_LPU_I8, 20, broken ? 4 : 3);
}
static void width(struct hand_code *code, bool broken) {
  add_copy(code, TD_IMAGE_SCRATCH, broken ? TD_LPU_F16 : TD_LPU_I8, 20, 0);
}
static void reach(struct hand_code *code, bool broken) {
  add_copy(code, TD_IMAGE_SCRATCH, TD_LPU_I8, broken ? 0 : 20, 0);
}
static void stream(struct hand_code *code, bool broken) {
  plain_copy(code);
  int32_t other = hand_image(code, "other", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 12, 1, 0, 1);
  hand_read(code, 2, other, 0, 0, broken ? 5 : 6);
}
static void arrive(struct hand_code *code, bool broken) {
  hand_at(code, plain_copy(code).write)->cycle += broken;
}
static void lifetime(struct hand_code *code, bool broken) {
  struct copy copy = plain_copy(code);
  int32_t again = hand_read(code, broken ? 7 : 8, copy.y, 0, 0, 9);
  hand_means(code, again, TD_MEANING_WORD, copy.write, 0);
}

/* 16 words pass the planes in cycle 42 as step 0 of plane 0's buffer, there in 46. */
static int32_t add_load(struct hand_code *code, enum td_lpu_type type) {
  int32_t w = hand_image(code, "w", TD_IMAGE_WEIGHT, TD_LPU_I8, 0, 0, 8, 16, 0, 1);
  hand_segment(code, "product", 100);
  for (int32_t v = 0; v < 16; v++) hand_read(code, 42 - (9 - v / 4) - 3, w, v, 0, v);
  int32_t load = hand_load(code, 40, 0, 0, type, 0, 0);
  for (int32_t v = 0; v < 16; v++) hand_means(code, load, v, v, 0);
  return load;
}
static int32_t add_install(struct hand_code *code, enum td_lpu_type type, int32_t cycle) {
  int32_t load = add_load(code, type), install = hand_install(code, cycle, 0, 0);
  hand_means(code, install, TD_MEANING_STEP, load, 0);
  return install;
}
static int32_t add_pass(struct hand_code *code, enum td_lpu_type type, int32_t plane, int32_t cycle) {
  int32_t install = add_install(code, type == TD_LPU_F16 ? TD_LPU_W8 : TD_LPU_I8, 46);
  int32_t bytes = td_lpu_type_bytes(type), read = 0;
  int32_t x = hand_image(code, "x", TD_IMAGE_CONSTANT, type, 0, 0, 4, bytes, 0, 1);
  for (int32_t b = 0; b < bytes; b++) read = hand_read(code, cycle + 3 - 10 - 3, x, b, 0, 16 + b);
  int32_t pass = hand_pass(code, cycle, 0, plane, type, 16, 0);
  for (int32_t b = 0; b < bytes; b++) hand_means(code, pass, b, read - bytes + 1 + b, 0);
  hand_means(code, pass, TD_MEANING_ARRAY, install, 0);
  return pass;
}
static void buffer(struct hand_code *code, bool broken) {
  add_install(code, TD_LPU_I8, broken ? 45 : 46);
}
static void install(struct hand_code *code, bool broken) {
  add_pass(code, TD_LPU_I8, 0, broken ? 47 : 48);
}
static void plane(struct hand_code *code, bool broken) {
  add_pass(code, TD_LPU_F16, broken ? 1 : 0, 48);
}
static void sum(struct hand_code *code, bool broken) {
  int32_t pass = add_pass(code, TD_LPU_I8, 0, 48);
  int32_t row_sum = hand_sum(code, 48 + 14 + broken, 0, 0, TD_LPU_I32, TD_LPU_EMIT, 0, TD_LPU_EAST);
  hand_means(code, row_sum, TD_MEANING_ROW, pass, 0);
}

/* A move takes two cycles and reads a cycle after its issue. */
static void alu(struct hand_code *code, bool broken) {
  hand_segment(code, "chain", 40);
  int32_t first = hand_alu(code, 0, 0, 0, TD_ALU_MOVE, TD_LPU_F32, 0);
  hand_value(code, first, 0, 1);
  int32_t second = hand_alu(code, broken ? 2 : 1, 0, 1, TD_ALU_MOVE, TD_LPU_F32, 4);
  hand_chain(code, second, 0, 0);
  hand_means(code, second, 0, first, 0);
}
/* The word passes the switch in cycle 12. */
static void switches(struct hand_code *code, bool broken) {
  int16_t lanes[TD_LPU_MOST_LANES] = {0};
  int32_t map = hand_map(code, lanes), x = hand_image(code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 1);
  hand_segment(code, "permute", 60);
  int32_t read = hand_read(code, 0, x, 0, 0, 5), permute = hand_permute(code, 6, 0, 0, 1, 5, TD_LPU_EAST, map);
  hand_means(code, permute, 0, read, 0);
  if (!broken) return;
  int32_t again = hand_permute(code, 6, 0, 0, 1, 5, TD_LPU_EAST | 1, map);
  hand_at(code, again)->queue = (uint16_t)(hand_at(code, permute)->queue + 1);
  hand_means(code, again, 0, read, 0);
}
/* The word passes link 0 in cycle 13, is sent in 4, and received by chip 1 40 cycles later. */
static void exchange(struct hand_code *code, int32_t cycles) {
  int32_t x = hand_image(code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 1);
  hand_segment(code, "exchange", 120);
  int32_t read = hand_read(code, 0, x, 0, 0, 5), send = hand_send(code, 4, 0, 0, 5);
  hand_means(code, send, 0, read, 0);
  int32_t receive = hand_receive(code, 4 + cycles, 1, 1, 5);
  hand_means(code, receive, TD_MEANING_SENT, send, 0);
}
static void link(struct hand_code *code, bool broken) {
  exchange(code, broken ? 41 : 40);
}
static void epoch(struct hand_code *code, bool broken) {
  exchange(code, broken ? 39 : 40);
}
static void finish(struct hand_code *code, bool broken) {
  struct copy copy = add_copy(code, TD_IMAGE_OUTPUT, TD_LPU_I8, 20, 0);
  hand_repeat(code, copy.read, 4, 1, 1);
  hand_repeat(code, copy.write, broken ? 3 : 4, 1, 1);
}
static void segment(struct hand_code *code, bool broken) {
  int32_t x = hand_image(code, "x", TD_IMAGE_CONSTANT, TD_LPU_I8, 0, 0, 4, 1, 0, 1);
  int32_t y = hand_image(code, "y", TD_IMAGE_SCRATCH, TD_LPU_I8, 0, 0, 20, 1, 0, 1);
  hand_segment(code, "copy", broken ? 7 : 8);
  int32_t read = hand_read(code, 0, x, 0, 0, 5), write = hand_write(code, 6, y, 0, 0, 5);
  hand_means(code, write, 0, read, 0);
}

static void (*const programs[TD_LPU_RULE_COUNT])(struct hand_code *code, bool broken) = {
    [TD_RULE_QUEUE] = queue,   [TD_RULE_PORT] = port,       [TD_RULE_ADDRESS] = address, [TD_RULE_WIDTH] = width,
    [TD_RULE_REACH] = reach,   [TD_RULE_STREAM] = stream,   [TD_RULE_ARRIVE] = arrive,   [TD_RULE_LIFETIME] = lifetime,
    [TD_RULE_BUFFER] = buffer, [TD_RULE_INSTALL] = install, [TD_RULE_PLANE] = plane,     [TD_RULE_SUM] = sum,
    [TD_RULE_ALU] = alu,       [TD_RULE_SWITCH] = switches, [TD_RULE_LINK] = link,       [TD_RULE_EPOCH] = epoch,
    [TD_RULE_FINISH] = finish, [TD_RULE_SEGMENT] = segment};

struct td_lpu_program *smallest_program(const struct td_lpu_machine *machine, enum td_lpu_rule rule, bool broken) {
  struct hand_code *code = hand_begin(machine, 2);
  programs[rule](code, broken);
  hand_entry(code, 1);
  hand_run(code, 0, 0);
  return hand_finish(code);
}
