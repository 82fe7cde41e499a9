/* SPDX-License-Identifier: Apache-2.0
 *
 * What a step runs: the links of an entry in order, the variables that addresses move by, and the closed form of the
 * length. The closed form does not walk: a loop over layers or KV blocks is one product, a loop over rows one sum.
 */
#include <inttypes.h>
#include <stddef.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/lpu_program.h"

static const char *const variables[TD_LPU_VARIABLES] = {"layer", "row", "block", "KV block", "position", "slot"};

int32_t td_lpu_program_layer_entry(const struct td_lpu_program *program, int32_t layer, int32_t rows) {
  int32_t best = -1;
  for (int32_t i = 0; i < program->entry_count && rows > 0; i++) {
    int32_t room = program->entries[i].first_row ? 0 : program->entries[i].rows;
    if (program->entries[i].layer != layer || program->entries[i].work > TD_LPU_WORK_ROUTE || room < rows) continue;
    if (best < 0 || room < program->entries[best].rows) best = i;
  }
  return best;
}

static bool is_less(const struct td_lpu_entry *a, const struct td_lpu_entry *b) {
  return a->run_rows != b->run_rows ? a->run_rows < b->run_rows : a->rows < b->rows;
}

int32_t td_lpu_program_work_entry(const struct td_lpu_program *program, int32_t layer, enum td_lpu_work work,
                                  int32_t run_rows, int32_t rows) {
  int32_t best = -1;
  for (int32_t i = 0; i < program->entry_count && rows > 0; i++) {
    const struct td_lpu_entry *entry = &program->entries[i];
    if (entry->layer != layer || entry->work != (int32_t)work) continue;
    if (entry->run_rows < run_rows || entry->rows < rows) continue;
    if (best < 0 || is_less(entry, &program->entries[best])) best = i;
  }
  return best;
}

int32_t td_lpu_program_entry(const struct td_lpu_program *program, int32_t rows) {
  return td_lpu_program_layer_entry(program, -1, rows);
}

const char *td_lpu_program_output(const struct td_lpu_program *program, int32_t entry) {
  const struct td_lpu_entry *of = &program->entries[entry];
  int32_t chip = 0;
  for (int32_t i = of->link; i < of->link + of->link_count; i++) {
    if (program->links[i].kind != TD_LINK_RUN) continue;
    const struct td_lpu_segment *segment = &program->segments[program->links[i].segment];
    if (!segment->instruction_count) continue;
    chip = program->links[i].chip + segment->instructions[segment->instruction_count - 1].chip;
  }
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    if (image->kind == TD_IMAGE_OUTPUT && image->chip == chip) return image->name;
  }
  return NULL;
}

int32_t td_lpu_program_next(const struct td_lpu_program *program, int32_t entry, int32_t rows) {
  int32_t next = entry + 1;
  bool goes_on = next < program->entry_count && program->entries[next].first_row > 0;
  return goes_on && program->entries[next].first_row < rows ? next : -1;
}

int32_t td_lpu_program_outputs(const struct td_lpu_program *program, int32_t entry, int32_t rows) {
  int32_t next = td_lpu_program_next(program, entry, rows);
  return (next < 0 ? rows : program->entries[next].first_row) - program->entries[entry].first_row;
}

/* The END of the loop at `loop`; `end` if it has none. */
static int32_t end_of_loop(const struct td_lpu_program *program, int32_t loop, int32_t end) {
  int32_t depth = 0;
  for (int32_t i = loop; i < end; i++) {
    int32_t kind = program->links[i].kind;
    depth += kind == TD_LINK_LOOP ? 1 : kind == TD_LINK_END ? -1 : 0;
    if (!depth) return i;
  }
  return end;
}

/* How often a loop runs. With count 0 it is over the step's rows, or the row's blocks, from `first` on. */
static int64_t loop_count(const struct td_lpu_link *loop, const struct td_lpu_step *step, int32_t row) {
  if (loop->count > 0) return loop->count;
  int64_t all = 0;
  if (loop->variable == TD_VAR_ROW) all = step->row_count;
  if (loop->variable == TD_VAR_BLOCK && row >= 0) all = step->rows[row].block_count;
  return all > loop->first ? all - loop->first : 0;
}

static int64_t times_cycles(int64_t a, int64_t b) {
  int64_t product;
  return __builtin_mul_overflow(a, b, &product) ? INT64_MAX : product;
}

static int64_t range_cycles(const struct td_lpu_program *program, const struct td_lpu_step *step, int32_t begin,
                            int32_t end, int32_t row);

static int64_t loop_cycles(const struct td_lpu_program *program, const struct td_lpu_step *step, int32_t begin,
                           int32_t end, int32_t row) {
  const struct td_lpu_link *loop = &program->links[begin];
  int64_t count = loop_count(loop, step, row), sum = 0;
  if (loop->variable != TD_VAR_ROW) {
    return times_cycles(count, count ? range_cycles(program, step, begin + 1, end, row) : 0);
  }
  for (int64_t i = 0; i < count && loop->first + i < step->row_count; i++) {
    sum = td_add_capped(sum, range_cycles(program, step, begin + 1, end, loop->first + (int32_t)i));
  }
  return sum;
}

static int64_t range_cycles(const struct td_lpu_program *program, const struct td_lpu_step *step, int32_t begin,
                            int32_t end, int32_t row) {
  int64_t sum = 0;
  for (int32_t i = begin; i < end; i++) {
    const struct td_lpu_link *link = &program->links[i];
    if (link->kind == TD_LINK_RUN) sum = td_add_capped(sum, program->segments[link->segment].length);
    if (link->kind != TD_LINK_LOOP) continue;
    int32_t close = end_of_loop(program, i, end);
    sum = td_add_capped(sum, loop_cycles(program, step, i, close, row));
    i = close;
  }
  return sum;
}

int64_t td_lpu_program_cycles(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step) {
  int64_t sum = 0;
  for (; entry >= 0; entry = td_lpu_program_next(program, entry, step->row_count)) {
    const struct td_lpu_entry *from = &program->entries[entry];
    sum = td_add_capped(sum, range_cycles(program, step, from->link, from->link + from->link_count, -1));
    sum = td_add_capped(sum, program->machine.superlanes - 1);
  }
  return sum;
}

/* ---- stages ---- */

struct stages {
  const struct td_lpu_program *program;
  const struct td_lpu_step *step;
  int64_t *cycles;
};

/* What goes from one stage to the next keeps both busy. */
static void add_run(const struct stages *stages, const struct td_lpu_link *link, int64_t times) {
  const struct td_lpu_program *program = stages->program;
  const struct td_lpu_segment *segment = &program->segments[link->segment];
  int32_t first = link->chip / program->tensor, count = program->chips / program->tensor;
  int32_t last = strncmp(segment->name, "forward", sizeof segment->name) == 0 ? first + 1 : first;
  for (int32_t stage = first; stage <= last && stage < count; stage++) {
    stages->cycles[stage] = td_add_capped(stages->cycles[stage], times_cycles(times, segment->length));
  }
}

static void add_range(const struct stages *stages, int32_t begin, int32_t end, int32_t row, int64_t times) {
  for (int32_t i = begin; i < end; i++) {
    const struct td_lpu_link *link = &stages->program->links[i];
    if (link->kind == TD_LINK_RUN) add_run(stages, link, times);
    if (link->kind != TD_LINK_LOOP) continue;
    int32_t close = end_of_loop(stages->program, i, end);
    int64_t count = loop_count(link, stages->step, row);
    if (link->variable != TD_VAR_ROW && count) add_range(stages, i + 1, close, row, times_cycles(times, count));
    for (int64_t r = link->first; link->variable == TD_VAR_ROW && r < link->first + count; r++) {
      if (r < stages->step->row_count) add_range(stages, i + 1, close, (int32_t)r, times);
    }
    i = close;
  }
}

void td_lpu_program_stages(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                           int64_t *cycles) {
  const struct stages stages = {program, step, cycles};
  memset(cycles, 0, (size_t)(program->chips / program->tensor) * sizeof *cycles);
  for (; entry >= 0; entry = td_lpu_program_next(program, entry, step->row_count)) {
    const struct td_lpu_entry *from = &program->entries[entry];
    add_range(&stages, from->link, from->link + from->link_count, -1, 1);
  }
}

/* ---- the walk ---- */

struct walk {
  const struct td_lpu_program *program;
  const struct td_lpu_step *step;
  td_status (*run)(void *context, const struct td_lpu_call *call);
  void *context;
  int32_t row; /* of the loop over rows around; -1 outside */
  struct td_lpu_call call;
};

static td_status walk_range(struct walk *walk, int32_t begin, int32_t end);

static td_status check_row(const struct td_lpu_program *program, const struct td_lpu_step *step, int32_t i) {
  const struct td_lpu_row *row = &step->rows[i];
  if (row->position < 0) return td_fail(TD_CONFIG, "row %d: found position %d, expected 0 or more", i, row->position);
  if (!program->block_tokens) {
    bool listed = row->block_count <= 0 || row->blocks;
    return listed ? TD_OK : td_fail(TD_INTERNAL, "row %d: found no list of what it names", i);
  }
  int32_t need = row->position / program->block_tokens + 1;
  if (row->block_count != need) {
    return td_fail(TD_CONFIG, "row %d: found %d KV blocks, expected %d of %d tokens for position %d", i,
                   row->block_count, need, program->block_tokens, row->position);
  }
  return row->blocks ? TD_OK : td_fail(TD_INTERNAL, "row %d: found no list of KV blocks", i);
}

static td_status check_step(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step) {
  if (entry < 0 || entry >= program->entry_count) {
    return td_fail(TD_CONFIG, "found entry %d, expected one of %d", entry, program->entry_count);
  }
  int32_t most = program->entries[entry].rows;
  if (step->row_count < 1 || step->row_count > most) {
    return td_fail(TD_CONFIG, "entry %d: found a step of %d rows, expected 1..%d", entry, step->row_count, most);
  }
  for (int32_t i = 0; i < step->row_count; i++) TD_TRY(check_row(program, step, i));
  return TD_OK;
}

static td_status outside(const struct td_lpu_segment *segment, int32_t patch, int variable, int32_t value) {
  const struct td_lpu_patch *bounds = &segment->patches[patch];
  return td_fail(TD_CONFIG, "segment %.31s: found %s %d, expected %d..%d (patch %d)", segment->name,
                 variables[variable], value, bounds->low[variable], bounds->high[variable], patch);
}

/* Addresses were checked for variables inside their bounds, and for those only. */
static td_status check_bounds(const struct td_lpu_segment *segment, const struct td_lpu_call *call) {
  for (int32_t p = 0; p < segment->patch_count; p++) {
    const struct td_lpu_patch *patch = &segment->patches[p];
    for (int v = 0; v < TD_LPU_VARIABLES; v++) {
      int32_t value = call->variable[v];
      if (patch->coefficient[v] && (value < patch->low[v] || value > patch->high[v])) {
        return outside(segment, p, v, value);
      }
    }
  }
  return TD_OK;
}

static td_status walk_run(struct walk *walk, const struct td_lpu_link *link) {
  const struct td_lpu_segment *segment = &walk->program->segments[link->segment];
  walk->call.segment = link->segment;
  walk->call.chip = link->chip;
  TD_TRY(check_bounds(segment, &walk->call));
  TD_TRY(walk->run(walk->context, &walk->call));
  walk->call.cycle += segment->length;
  return TD_OK;
}

/* Enters row `row`: the variables that follow from it. */
static td_status enter_row(struct walk *walk, int32_t row) {
  if (row >= walk->step->row_count) {
    return td_fail(TD_CONFIG, "found a step of %d rows, expected one with a row %d: the program's loop is over it",
                   walk->step->row_count, row);
  }
  const struct td_lpu_program *program = walk->program;
  const struct td_lpu_row *of = &walk->step->rows[row];
  int32_t *variable = walk->call.variable, tokens = program->block_tokens;
  walk->row = row;
  variable[TD_VAR_POSITION] = of->position;
  variable[TD_VAR_SLOT] = tokens ? of->position % tokens / program->machine.load_vectors : 0;
  variable[TD_VAR_KV_BLOCK] = tokens ? of->blocks[of->position / tokens] : 0;
  if (!tokens && of->block_count > 0) variable[TD_VAR_CHOSEN] = of->blocks[0];
  return TD_OK;
}

static td_status enter_block(struct walk *walk, int32_t block) {
  if (walk->row < 0) return td_fail(TD_CORRUPT, "found a loop over KV blocks, expected it inside a loop over rows");
  const struct td_lpu_row *of = &walk->step->rows[walk->row];
  if (block >= of->block_count) {
    return td_fail(TD_CONFIG, "row %d: found %d KV blocks, expected a block %d: the program's loop is over it",
                   walk->row, of->block_count, block);
  }
  walk->call.variable[TD_VAR_KV_BLOCK] = walk->program->block_tokens ? of->blocks[block] : 0;
  return TD_OK;
}

static td_status walk_turn(struct walk *walk, int32_t loop, int32_t end, int32_t value) {
  int32_t variable = walk->program->links[loop].variable;
  walk->call.variable[variable] = value;
  if (variable == TD_VAR_ROW) TD_TRY(enter_row(walk, value));
  if (variable == TD_VAR_BLOCK) TD_TRY(enter_block(walk, value));
  return walk_range(walk, loop + 1, end);
}

/* What a loop set is put back after it. */
static td_status walk_loop(struct walk *walk, int32_t loop, int32_t end) {
  const struct td_lpu_link *link = &walk->program->links[loop];
  struct td_lpu_call before = walk->call;
  int32_t row = walk->row;
  int64_t count = loop_count(link, walk->step, row);
  for (int64_t i = 0; i < count; i++) TD_TRY(walk_turn(walk, loop, end, link->first + (int32_t)i));
  before.cycle = walk->call.cycle;
  walk->call = before;
  walk->row = row;
  return TD_OK;
}

static td_status walk_range(struct walk *walk, int32_t begin, int32_t end) {
  for (int32_t i = begin; i < end; i++) {
    const struct td_lpu_link *link = &walk->program->links[i];
    if (link->kind == TD_LINK_RUN) TD_TRY(walk_run(walk, link));
    if (link->kind != TD_LINK_LOOP) continue;
    int32_t close = end_of_loop(walk->program, i, end);
    TD_TRY(walk_loop(walk, i, close));
    i = close;
  }
  return TD_OK;
}

td_status td_lpu_program_walk(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                              td_status (*run)(void *context, const struct td_lpu_call *call), void *context) {
  TD_TRY(check_step(program, entry, step));
  struct walk walk = {.program = program, .step = step, .run = run, .context = context, .row = -1};
  const struct td_lpu_entry *from = &program->entries[entry];
  return walk_range(&walk, from->link, from->link + from->link_count);
}

int32_t td_lpu_address(const struct td_lpu_program *program, const struct td_lpu_call *call,
                       const struct td_lpu_instruction *instruction, int32_t which, int32_t iteration) {
  int64_t address = instruction->address[which] + (int64_t)instruction->stride[which] * iteration;
  int32_t index = instruction->patch[which];
  if (!index) return (int32_t)address;
  const struct td_lpu_patch *patch = &program->segments[call->segment].patches[index - 1];
  int32_t lane = call->variable[TD_VAR_POSITION] % program->machine.load_vectors;
  if (patch->lane >= 0 && lane != patch->lane) return patch->otherwise;
  for (int v = 0; v < TD_LPU_VARIABLES; v++) address += (int64_t)patch->coefficient[v] * call->variable[v];
  return (int32_t)address;
}
