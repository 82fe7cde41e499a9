/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams: what stands in a moving slot when an operand is read, and whether it is what was meant.
 */
#include "check.h"

static bool is_east(int32_t stream) {
  return (stream & TD_LPU_EAST) != 0;
}
static int32_t index_of(int32_t stream) {
  return stream & TD_LPU_STREAM_INDEX;
}

/* The slot of a stream that passes `position` at a cycle of the call, and its key. */
static struct check_slot *slot_at(const struct check *check, const struct check_chip *chip, int32_t stream,
                                  int32_t position, int32_t cycle, int64_t *out_key) {
  int64_t now = check->call.cycle + cycle;
  *out_key = is_east(stream) ? now - position : now + position;
  int64_t place = (is_east(stream) ? 0 : check->machine->streams) + index_of(stream);
  return &chip->slots[place * check->ring + (*out_key & (check->ring - 1))];
}

uint8_t check_plain_type(uint8_t type) {
  return type == TD_LPU_W8 ? TD_LPU_I8 : type == TD_LPU_WF8 ? TD_LPU_F8 : type;
}

uint8_t check_sum_type(const struct td_lpu_instruction *sum) {
  return sum->type == TD_LPU_F8 ? TD_LPU_F32 : sum->type;
}

/* Streams that an instruction's results take; 0: none. */
static int32_t results_of(const struct td_lpu_instruction *at) {
  switch (at->opcode) {
    case TD_LPU_MEMORY:
      return at->flags & TD_LPU_READ ? 1 : 0;
    case TD_LPU_SUM:
      return at->flags & TD_LPU_EMIT ? 4 : 0;
    case TD_LPU_ALU:
      return at->out == TD_LPU_NO_STREAM ? 0 : td_lpu_type_bytes((enum td_lpu_type)at->out_type);
    case TD_LPU_ROTATE:
    case TD_LPU_SHIFT:
    case TD_LPU_PERMUTE:
    case TD_LPU_SELECT:
      return at->width;
    case TD_LPU_TRANSPOSE:
      return 16;
    case TD_LPU_RECEIVE:
      return 1;
    default:
      return 0;
  }
}

bool check_group_fits(struct check *check, const struct check_issue *issue, struct check_group group,
                      const char *what) {
  int32_t index = index_of(group.first);
  bool known = group.first != TD_LPU_NO_STREAM && (group.first & ~(TD_LPU_EAST | TD_LPU_STREAM_INDEX)) == 0;
  if (known && index % group.width == 0 && index + group.count <= check->machine->streams) return true;
  check_found(check, TD_RULE_WIDTH, issue, "found %s at stream 0x%02x, expected %d aligned by %d of %d", what,
              (unsigned)group.first, group.count, group.width, check->machine->streams);
  return false;
}

/* ---- results ---- */

/* The element that a component belongs to, and which byte of it: results beyond one element are more of them. */
static struct check_tag tag_of(const struct td_lpu_instruction *at, struct check_tag first, int32_t component) {
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)first.type);
  if (at->opcode == TD_LPU_TRANSPOSE || bytes == 0) return first;
  return (struct check_tag){first.type, (uint8_t)((first.component + component) % bytes)};
}

void check_streams_put(struct check *check, const struct check_issue *issue, struct check_tag tag) {
  int32_t count = results_of(issue->at);
  for (int32_t k = 0; k < count; k++) {
    int64_t key;
    int32_t stream = issue->at->out + k;
    struct check_slot *slot = slot_at(check, issue->chip, stream, issue->place->position, check->now, &key);
    if (slot->maker.call == check->ordinal && slot->key == key && slot->cycle == check->now) {
      check_found(check, TD_RULE_STREAM, issue, "stream 0x%02x takes a second vector here, instruction %d put one",
                  (unsigned)stream, slot->maker.instruction);
    }
    *slot = (struct check_slot){key, check_maker_of(check, issue), check->now, (uint8_t)k, tag_of(issue->at, tag, k)};
  }
}

/* ---- operands ---- */

/* When and where the meant vector is put on its stream. */
static int64_t put_cycle(const struct check *check, const struct td_lpu_instruction *at, int64_t iteration) {
  int32_t func = check->machine->delay[at->opcode].func;
  if (at->opcode == TD_LPU_ALU) func = check->machine->alu_func[at->operation];
  return at->cycle + iteration * at->gap + func;
}

static bool goes_there(int32_t stream, int32_t from, int32_t to) {
  return is_east(stream) ? from < to : from > to;
}

/* The meant vector is not here. Whether it was, and was overwritten, follows from where it was put. */
static void miss(struct check *check, const struct check_issue *issue, int32_t stream,
                 const struct td_lpu_meaning *meaning, int64_t iteration, const struct check_slot *slot) {
  const struct td_lpu_instruction *from = &check->segment->instructions[meaning->producer];
  const struct check_place *place = &check->places[from->queue];
  int32_t delta = issue->place->position - place->position;
  int64_t put = put_cycle(check, from, iteration), passes = put + (delta < 0 ? -delta : delta);
  bool there = iteration >= 0 && iteration < from->repeat && meaning->component >= 0 &&
               meaning->component < results_of(from) && from->out + meaning->component == stream &&
               passes == check->now;
  if (there) {
    check_found(check, TD_RULE_STREAM, issue, "stream 0x%02x: instruction %d's vector was overwritten by %d's",
                (unsigned)stream, meaning->producer, slot->maker.instruction);
  } else {
    check_found(check, TD_RULE_ARRIVE, issue,
                "stream 0x%02x: expected component %d of instruction %d iteration %lld, "
                "which is put there in cycle %lld to pass in %lld",
                (unsigned)stream, meaning->component, meaning->producer, (long long)iteration, (long long)put,
                (long long)passes);
  }
}

/* Whether the streams lead from the producer to the reader. */
static bool reaches(struct check *check, const struct check_issue *issue, int32_t stream,
                    const struct td_lpu_meaning *meaning) {
  const struct td_lpu_instruction *from = &check->segment->instructions[meaning->producer];
  int32_t position = check->places[from->queue].position, here = issue->place->position;
  bool good = from->chip + check->call.chip == issue->chip_number && goes_there(stream, position, here) &&
              (results_of(from) == 0 || goes_there(from->out, position, here));
  if (!good) {
    check_found(check, TD_RULE_REACH, issue,
                "stream 0x%02x does not lead from instruction %d at chip %d position %d "
                "to position %d",
                (unsigned)stream, meaning->producer, from->chip + check->call.chip, position, here);
  }
  return good;
}

/* What instructions that say so put on their streams; of others only the replay knows. */
static struct check_tag told_tag(const struct check *check, const struct td_lpu_meaning *meaning) {
  const struct td_lpu_instruction *from = &check->segment->instructions[meaning->producer];
  struct check_tag tag = {TD_LPU_TYPE_COUNT, 0};
  if (from->opcode == TD_LPU_SUM) tag.type = check_sum_type(from);
  if (from->opcode == TD_LPU_ALU) tag.type = check_plain_type(from->out_type);
  if (from->opcode == TD_LPU_MEMORY && from->flags & TD_LPU_READ) {
    const struct td_lpu_image *image = &check->program->images[from->image[0]];
    int32_t slice = check->places[from->queue].index - image->slice;
    tag.type = check_plain_type((uint8_t)image->type);
    tag.component = (uint8_t)(slice % td_lpu_type_bytes((enum td_lpu_type)image->type));
  } else if (tag.type != TD_LPU_TYPE_COUNT) {
    tag.component = (uint8_t)meaning->component;
  }
  return tag;
}

static bool same_tag(struct check_tag x, struct check_tag y) {
  return x.type == y.type && x.component == y.component;
}

static void judge_tag(struct check *check, const struct check_issue *issue, int32_t stream, struct check_tag found,
                      const struct check_tag *expected) {
  if (!expected || found.type == TD_LPU_TYPE_COUNT || same_tag(found, *expected)) return;
  check_found(check, TD_RULE_WIDTH, issue, "stream 0x%02x: found byte %d of type %d, expected byte %d of type %d",
              (unsigned)stream, found.component, found.type, expected->component, expected->type);
}

struct check_tag check_stream_read(struct check *check, const struct check_issue *issue, int32_t operand,
                                   int32_t stream, const struct check_tag *tag) {
  const struct check_tag nothing = {TD_LPU_TYPE_COUNT, 0};
  const struct td_lpu_meaning *meaning = check_meaning(check, issue->instruction, operand, 0, issue->iteration);
  if (!meaning) {
    check_found(check, TD_RULE_ARRIVE, issue, "operand %d has no meaning", operand);
    return nothing;
  }
  if (meaning->producer < 0 || meaning->producer >= check->segment->instruction_count) {
    check_found(check, TD_RULE_SEGMENT, issue, "operand %d means instruction %d, expected one of the segment's %d",
                operand, meaning->producer, check->segment->instruction_count);
    return nothing;
  }
  int64_t key;
  const struct check_slot *slot = slot_at(check, issue->chip, stream, issue->place->position, check->now, &key);
  if (slot->key == key && check_meant(check, meaning, issue->iteration, &slot->maker) &&
      slot->component == meaning->component) {
    judge_tag(check, issue, stream, slot->tag, tag);
    return slot->tag;
  }
  judge_tag(check, issue, stream, told_tag(check, meaning), tag);
  if (reaches(check, issue, stream, meaning)) {
    int64_t iteration = (int64_t)meaning->scale * issue->iteration + meaning->offset;
    miss(check, issue, stream, meaning, iteration, slot);
  }
  return nothing;
}

void check_group_read(struct check *check, const struct check_issue *issue, int32_t operand, struct check_group group,
                      uint8_t type) {
  for (int32_t k = 0; k < group.count; k++) {
    struct check_tag tag = {check_plain_type(type), (uint8_t)(k % group.width)};
    check_stream_read(check, issue, operand + k, group.first + k, &tag);
  }
}
