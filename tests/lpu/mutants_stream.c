/* SPDX-License-Identifier: Apache-2.0
 *
 * Families of WIDTH, REACH, STREAM and ARRIVE: operands on streams.
 */
#include "lpu/mutants.h"

/* ---- operands ---- */

struct operand {
  int32_t which, first, count; /* in[which]; the first operand stream's number; streams */
};
static int32_t width_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *at, int32_t which) {
  switch (at->opcode) {
    case TD_LPU_MEMORY:
      return which == 0 && at->flags & TD_LPU_WRITE ? 1 : 0;
    case TD_LPU_LOAD:
      return which == 0 ? machine->load_vectors * (at->type == TD_LPU_F16 ? 2 : 1) : 0;
    case TD_LPU_PASS:
      return which == 0 ? (at->type == TD_LPU_F16 ? 2 : 1) : 0;
    case TD_LPU_ALU:
      return at->source[which] == TD_SOURCE_STREAM ? td_lpu_type_bytes((enum td_lpu_type)at->in_type[which]) : 0;
    case TD_LPU_ROTATE:
    case TD_LPU_SHIFT:
    case TD_LPU_PERMUTE:
      return which == 0 ? at->width : 0;
    case TD_LPU_SELECT:
      return which < 2 ? at->width : 0;
    case TD_LPU_TRANSPOSE:
      return which == 0 ? 16 : 0;
    case TD_LPU_SEND:
      return which == 0;
    default:
      return 0;
  }
}
/* The operand in[which], or one of count 0. */
static struct operand operand_of(const struct mutant_site *site, int32_t which) {
  const struct td_lpu_machine *machine = &site->mutant->from->machine;
  struct operand operand = {.which = which, .count = width_of(machine, site->at, which)};
  for (int32_t k = 0; k < which; k++) {
    bool chain = site->at->opcode == TD_LPU_ALU && site->at->source[k] == TD_SOURCE_CHAIN;
    operand.first += chain ? 1 : width_of(machine, site->at, k);
  }
  return operand;
}
static int32_t skew_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *at) {
  return at->opcode == TD_LPU_MEMORY ? machine->memory_write_skew : machine->delay[at->opcode].skew;
}
static int32_t func_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *at) {
  return at->opcode == TD_LPU_ALU ? machine->alu_func[at->operation] : machine->delay[at->opcode].func;
}
static int32_t position_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *at) {
  struct td_lpu_queue queue;
  return td_lpu_queue_at(machine, at->queue, &queue) ? queue.position : 0;
}

/* ---- WIDTH ---- */

static bool misaligned(const struct mutant_site *site) {
  struct operand operand = operand_of(site, site->variant);
  bool load = operand.count > 0 && site->at->opcode == TD_LPU_LOAD && site->at->type == TD_LPU_F16;
  bool pair = operand.count == 2 || operand.count == 4 || load;
  if (!pair) return false;
  mutant_edit(site)->in[site->variant] ^= 1;
  return true;
}
static bool beyond_streams(const struct mutant_site *site) {
  if (site->mutant->from->machine.streams > TD_LPU_STREAM_INDEX) return false;
  int32_t which = site->variant % 4;
  bool result = site->at->out != TD_LPU_NO_STREAM;
  if (which < 3 ? operand_of(site, which).count == 0 : !result) return false;
  struct td_lpu_instruction *at = mutant_edit(site);
  uint8_t *stream = which < 3 ? &at->in[which] : &at->out;
  *stream = (uint8_t)(*stream | TD_LPU_STREAM_INDEX);
  return true;
}
static bool integer_for_float(const struct mutant_site *site) {
  if (site->at->opcode != TD_LPU_ALU || operand_of(site, site->variant).count != 4) return false;
  mutant_edit(site)->in_type[site->variant] ^= TD_LPU_F32 ^ TD_LPU_I32;
  return true;
}
static bool other_row_type(const struct mutant_site *site) {
  if (site->at->opcode != TD_LPU_SUM) return false;
  mutant_edit(site)->type ^= TD_LPU_F32 ^ TD_LPU_I32;
  return true;
}
static bool odd_width(const struct mutant_site *site) {
  bool moves = site->at->opcode >= TD_LPU_ROTATE && site->at->opcode <= TD_LPU_TRANSPOSE;
  if (!moves) return false;
  mutant_edit(site)->width = (uint8_t)(3 + site->variant * 2);
  return true;
}

/* ---- REACH ---- */

static bool other_direction(const struct mutant_site *site) {
  struct operand operand = operand_of(site, site->variant);
  if (operand.count == 0) return false;
  mutant_edit(site)->in[site->variant] ^= TD_LPU_EAST;
  return true;
}

/* ---- STREAM ---- */

/* A word that anything may read: nothing in the program writes it. */
static bool quiet_word(const struct td_lpu_program *program, int32_t chip, int32_t hemisphere, int32_t slice,
                       int32_t *out_image) {
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    bool kind = image->kind == TD_IMAGE_WEIGHT || image->kind == TD_IMAGE_CONSTANT;
    bool here = image->chip == chip && image->hemisphere == hemisphere && slice >= image->slice &&
                slice < image->slice + image->slices;
    *out_image = i;
    if (kind && here) return true;
  }
  return false;
}
/* The chip that the instructions of the site's segment count from. */
static int32_t first_chip(const struct mutant_site *site) {
  const struct td_lpu_program *program = site->mutant->from;
  for (int32_t i = 0; i < program->link_count; i++) {
    if (program->links[i].kind == TD_LINK_RUN && program->links[i].segment == site->s) return program->links[i].chip;
  }
  return 0;
}
/* Reads a word of a slice at `position` onto `out` in cycle `when`. */
static bool insert_read(const struct mutant_site *site, int32_t position, int32_t when, uint8_t out) {
  const struct td_lpu_program *program = site->mutant->from;
  const struct td_lpu_machine *machine = &program->machine;
  for (int32_t queue = 0; queue < machine->mem_slices; queue++) {
    struct td_lpu_queue place;
    int32_t image;
    if (!td_lpu_queue_at(machine, queue, &place) || place.position != position) continue;
    if (!quiet_word(program, first_chip(site) + site->at->chip, place.hemisphere, place.index, &image)) continue;
    struct td_lpu_instruction read = {.cycle = when - machine->delay[TD_LPU_MEMORY].func,
                                      .chip = site->at->chip,
                                      .queue = (uint16_t)queue,
                                      .opcode = TD_LPU_MEMORY,
                                      .flags = TD_LPU_READ,
                                      .in = {TD_LPU_NO_STREAM, TD_LPU_NO_STREAM, TD_LPU_NO_STREAM},
                                      .out = out,
                                      .repeat = 1,
                                      .gap = 1,
                                      .address = {program->images[image].word, 0},
                                      .image = {image, 0}};
    if (mutant_insert(site, read)) return true;
  }
  return false;
}
/* Between the producer and the reader another slice puts a word on the stream. */
static bool overwritten(const struct mutant_site *site) {
  const struct td_lpu_machine *machine = &site->mutant->from->machine;
  struct operand operand = operand_of(site, 0);
  int32_t iteration = site->variant / 4;
  if (operand.count == 0 || iteration >= site->at->repeat) return false;
  int32_t here = position_of(machine, site->at), east = site->at->in[0] & TD_LPU_EAST, from = -1;
  for (int32_t m = 0; m < site->at->meaning_count; m++) {
    const struct td_lpu_meaning *meaning = &site->segment->meanings[site->at->meaning + m];
    if (meaning->operand != operand.first || meaning->begin > iteration || meaning->end <= iteration) continue;
    from = position_of(machine, &site->segment->instructions[meaning->producer]);
  }
  int32_t step = east ? 1 : -1, between = from + step * (1 + site->variant % 4);
  if (from < 0 || (here - between) * step <= 0) return false;
  int32_t read = site->at->cycle + iteration * site->at->gap + skew_of(machine, site->at);
  return insert_read(site, between, read - (here - between) * step, site->at->in[0]);
}
/* A neighbour at the same place puts another vector on the stream in the same cycle. */
static bool put_twice(const struct mutant_site *site) {
  const struct td_lpu_machine *machine = &site->mutant->from->machine;
  bool reads = site->at->opcode == TD_LPU_MEMORY && site->at->flags & TD_LPU_READ;
  if (!reads || site->variant >= site->at->repeat) return false;
  int32_t when = site->at->cycle + site->variant * site->at->gap + func_of(machine, site->at);
  return insert_read(site, position_of(machine, site->at), when, site->at->out);
}

/* ---- ARRIVE ---- */

/* Reads its operand some cycles early or late. */
static bool moved_reader(const struct mutant_site *site) {
  bool good = site->at->opcode != TD_LPU_LOAD && site->at->opcode != TD_LPU_PASS && site->at->opcode != TD_LPU_SEND;
  if (!good || (site->at->opcode == TD_LPU_MEMORY && site->at->flags & TD_LPU_READ)) return false;
  int32_t streams = 0, distance = 1 + site->variant / 2;
  for (int32_t which = 0; which < 3; which++) streams += operand_of(site, which).count;
  return streams > 0 && mutant_move(site, site->variant % 2 ? distance : -distance);
}
/* Means the vector of another iteration. */
static bool other_iteration(const struct mutant_site *site) {
  struct operand operand = operand_of(site, site->variant / 2);
  if (operand.count == 0 || !mutant_has_meaning(site, operand.first)) return false;
  mutant_meaning(site, operand.first)->offset += site->variant % 2 ? 1 : -1;
  return true;
}
static bool no_meaning(const struct mutant_site *site) {
  struct operand operand = operand_of(site, site->variant);
  if (operand.count == 0 || !mutant_has_meaning(site, operand.first)) return false;
  mutant_meaning(site, operand.first)->begin = 1;
  return true;
}
/* Reads the streams beside those that it should. */
static bool shifted_streams(const struct mutant_site *site) {
  struct operand operand = operand_of(site, site->variant % 3);
  int32_t width = site->at->opcode == TD_LPU_LOAD ? 2 : operand.count > 4 ? 1 : operand.count;
  int32_t index = site->at->in[operand.which] & TD_LPU_STREAM_INDEX, shift = width * (1 + site->variant / 3);
  if (operand.count == 0) return false;
  if (index + shift + operand.count > site->mutant->from->machine.streams) shift = -shift;
  if (index + shift < 0) return false;
  mutant_edit(site)->in[operand.which] = (uint8_t)(site->at->in[operand.which] + shift);
  return true;
}

const struct mutant_family mutant_stream_families[] = {
    {TD_RULE_WIDTH, "misaligned pair or quad", 3, misaligned},
    {TD_RULE_WIDTH, "streams that are not there", 4, beyond_streams},
    {TD_RULE_WIDTH, "float for integer", 3, integer_for_float},
    {TD_RULE_WIDTH, "a row's other type", 1, other_row_type},
    {TD_RULE_WIDTH, "elements of 3, 5 streams", 2, odd_width},
    {TD_RULE_REACH, "streams of the other direction", 3, other_direction},
    {TD_RULE_STREAM, "overwritten on the way", 16, overwritten},
    {TD_RULE_STREAM, "put twice at one place", 8, put_twice},
    {TD_RULE_ARRIVE, "reads early or late", 6, moved_reader},
    {TD_RULE_ARRIVE, "means another iteration", 6, other_iteration},
    {TD_RULE_ARRIVE, "means nothing", 3, no_meaning},
    {TD_RULE_ARRIVE, "shifted streams", 6, shifted_streams},
    {TD_RULE_QUEUE, NULL, 0, NULL}};
