/* SPDX-License-Identifier: Apache-2.0
 *
 * What a step will count, from the program alone: each segment's instructions are counted once, and times how often the
 * step runs it. Executing counts the same (tests compare), one issue at a time.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "loops.h"
#include "tandem/base.h"
#include "tandem/lpu.h"

/* Of a segment: far more than any program's, and little enough that no file can hang or exhaust the program. */
#define MOST_CYCLES (1 << 22)
#define MOST_PLANE_CYCLES (INT64_C(1) << 30)

/* ---- one segment ---- */

/* In which cycles each plane of the segment's chips does something. */
struct planes {
  const struct td_lpu_machine *machine;
  const struct td_lpu_segment *segment;
  uint8_t *busy; /* [chips][planes][cycles] */
  int64_t cycles;
};

static void mark(const struct planes *planes, int32_t chip, int32_t plane, int64_t cycle) {
  int64_t at = ((int64_t)chip * planes->machine->planes + plane) * planes->cycles + cycle;
  if (plane < planes->machine->planes) planes->busy[at] = 1;
}

/* When iteration `r` of a LOAD is in the buffer. */
static int64_t landing(const struct td_lpu_machine *machine, const struct td_lpu_instruction *load, int64_t r) {
  int32_t columns = load->flags & TD_LPU_COLUMNS ? machine->transpose_cycles : 0;
  return load->cycle + r * load->gap + machine->delay[TD_LPU_LOAD].func + columns;
}

/* The last landing of a LOAD up to `cycle`; -1: none. */
static int64_t last_landing(const struct td_lpu_machine *machine, const struct td_lpu_instruction *load,
                            int64_t cycle) {
  int64_t first = landing(machine, load, 0);
  if (first > cycle) return -1;
  int64_t r = (cycle - first) / load->gap;
  return landing(machine, load, r < load->repeat ? r : load->repeat - 1);
}

/* The first instruction of the segment, in its order, that is in this queue not before `cycle`, or behind the queue. */
static int32_t find_issue(const struct td_lpu_segment *segment, int32_t chip, int32_t queue, int64_t cycle) {
  int32_t low = 0, high = segment->instruction_count;
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    const struct td_lpu_instruction *of = &segment->instructions[middle];
    bool before = of->chip != chip ? of->chip < chip : of->queue != queue ? of->queue < queue : of->cycle < cycle;
    if (before) low = middle + 1;
    if (!before) high = middle;
  }
  return low;
}

/* The latest landing up to `cycle`, *latest or later, of the LOADs that plane `own` is told, for an INSTALL of `plane`.
 */
static void find_load(const struct planes *planes, int32_t chip, int32_t own, int32_t plane, int64_t cycle,
                      int64_t *latest, bool *wide) {
  const struct td_lpu_machine *machine = planes->machine;
  int32_t queue = td_lpu_matrix_queue(machine, own, TD_MATRIX_LOAD);
  int64_t longest = machine->delay[TD_LPU_LOAD].func + machine->transpose_cycles;
  for (int32_t i = find_issue(planes->segment, chip, queue, cycle + 1) - 1; i >= 0; i--) {
    const struct td_lpu_instruction *load = &planes->segment->instructions[i];
    if (load->chip != chip || load->queue != queue) return;
    /* A queue's LOADs follow one another. */
    if (load->cycle + (int64_t)(load->repeat - 1) * load->gap + longest <= *latest) return;
    bool of_pair = load->type != TD_LPU_I8 && load->type != TD_LPU_F8;
    int64_t at = last_landing(machine, load, cycle);
    if (load->opcode != TD_LPU_LOAD || at <= *latest || (of_pair ? own & ~1 : own) != plane) continue;
    *latest = at;
    *wide = of_pair;
  }
}

/* Whether what an INSTALL finds in its buffer in `cycle` is an fp16 plane's: as what landed there last. */
static bool installs_wide(const struct planes *planes, const struct td_lpu_instruction *install, int32_t plane,
                          int64_t cycle) {
  int64_t latest = -1;
  bool wide = false;
  int32_t pair = plane & ~1;
  for (int32_t own = pair; own < pair + 2 && own < planes->machine->planes; own++) {
    find_load(planes, install->chip, own, plane, cycle, &latest, &wide);
  }
  return wide;
}

/* LOADs take their own plane, the others the pair if they work on an fp16 one. */
static void mark_matrix(const struct planes *planes, const struct td_lpu_instruction *of, int32_t plane) {
  for (int64_t r = 0; r < of->repeat; r++) {
    int64_t cycle = of->cycle + r * of->gap;
    bool pair = (of->opcode == TD_LPU_PASS && of->type == TD_LPU_F16) ||
                (of->opcode == TD_LPU_SUM && of->type == TD_LPU_F32) ||
                (of->opcode == TD_LPU_INSTALL && installs_wide(planes, of, plane, cycle));
    mark(planes, of->chip, plane, cycle);
    if (pair) mark(planes, of->chip, plane + 1, cycle);
  }
}

static void count(const struct planes *planes, const struct td_lpu_instruction *of, int64_t link_cycles,
                  struct td_lpu_tally *tally) {
  struct td_lpu_queue queue;
  if (!td_lpu_queue_at(planes->machine, of->queue, &queue)) return;
  tally->issued[of->opcode] += of->repeat;
  if (queue.unit == TD_UNIT_MATRIX) {
    mark_matrix(planes, of, queue.index);
  } else if (queue.unit == TD_UNIT_LINK) {
    tally->busy[TD_UNIT_LINK] += of->opcode == TD_LPU_SEND ? of->repeat * link_cycles : 0;
  } else {
    tally->busy[queue.unit] += of->repeat;
  }
}

/* One more than the last cycle of an issue, and one more than the highest chip. */
static void extent(const struct td_lpu_segment *segment, int64_t *out_cycles, int64_t *out_chips) {
  *out_cycles = *out_chips = 1;
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct td_lpu_instruction *of = &segment->instructions[i];
    int64_t end = of->cycle + (int64_t)(of->repeat - 1) * of->gap + 1;
    if (end > *out_cycles) *out_cycles = end;
    if (of->chip >= *out_chips) *out_chips = of->chip + 1;
  }
}

static td_status tally_segment(const struct td_lpu_program *program, int32_t number, struct td_lpu_tally *tally) {
  const struct td_lpu_machine *machine = &program->machine;
  struct planes planes = {.machine = machine, .segment = &program->segments[number]};
  struct td_lpu_rates rates;
  int64_t chips;
  void *busy = NULL;
  td_lpu_machine_rates(machine, &rates);
  extent(planes.segment, &planes.cycles, &chips);
  if (planes.cycles > MOST_CYCLES || chips * machine->planes * planes.cycles > MOST_PLANE_CYCLES) {
    return td_fail(TD_UNSUPPORTED, "segment %.31s: found %lld cycles of %lld chips, expected at most %d",
                   planes.segment->name, (long long)planes.cycles, (long long)chips, MOST_CYCLES);
  }
  TD_TRY(td_alloc((size_t)(chips * machine->planes), (size_t)planes.cycles, &busy));
  planes.busy = busy;
  for (int32_t i = 0; i < planes.segment->instruction_count; i++) {
    count(&planes, &planes.segment->instructions[i], rates.link_vector_cycles, tally);
  }
  for (int64_t i = 0; i < chips * machine->planes * planes.cycles; i++) tally->busy[TD_UNIT_MATRIX] += planes.busy[i];
  free(busy);
  return TD_OK;
}

td_status td_lpu_program_tallies(const struct td_lpu_program *program, struct td_lpu_tally **out_tallies) {
  void *memory = NULL;
  TD_TRY(td_alloc((size_t)program->segment_count, sizeof **out_tallies, &memory));
  td_status status = TD_OK;
  for (int32_t i = 0; i < program->segment_count && !status; i++) {
    status = tally_segment(program, i, (struct td_lpu_tally *)memory + i);
  }
  if (status) {
    free(memory);
    return status;
  }
  *out_tallies = memory;
  return TD_OK;
}

/* ---- a step ---- */

struct counting {
  const struct td_lpu_program *program;
  const struct td_lpu_step *step;
  int64_t *runs;
};

static void count_range(const struct counting *counting, int32_t begin, int32_t end, int32_t row, int64_t times);

static void count_loop(const struct counting *counting, int32_t begin, int32_t end, int32_t row, int64_t times) {
  const struct td_lpu_link *loop = &counting->program->links[begin];
  const struct td_lpu_step *step = counting->step;
  if (loop->variable == TD_VAR_ROW) {
    int32_t most = loop->count > 0 ? loop->first + loop->count : step->row_count;
    for (int32_t i = loop->first; i < most && i < step->row_count; i++) {
      count_range(counting, begin + 1, end, i, times);
    }
    return;
  }
  int64_t turns = loop->count;
  if (!turns && loop->variable == TD_VAR_BLOCK && row >= 0) turns = step->rows[row].block_count - loop->first;
  if (turns > 0) count_range(counting, begin + 1, end, row, times * turns);
}

static void count_range(const struct counting *counting, int32_t begin, int32_t end, int32_t row, int64_t times) {
  for (int32_t i = begin; i < end; i++) {
    const struct td_lpu_link *link = &counting->program->links[i];
    if (link->kind == TD_LINK_RUN) counting->runs[link->segment] += times;
    if (link->kind != TD_LINK_LOOP) continue;
    int32_t close = lpu_loop_end(counting->program, i, end);
    count_loop(counting, i, close, row, times);
    i = close;
  }
}

void td_lpu_program_runs(const struct td_lpu_program *program, int32_t entry, const struct td_lpu_step *step,
                         int64_t *runs) {
  struct counting counting = {program, step, runs};
  for (; entry >= 0; entry = td_lpu_program_next(program, entry, step->row_count)) {
    const struct td_lpu_entry *from = &program->entries[entry];
    count_range(&counting, from->link, from->link + from->link_count, -1, 1);
  }
}

static int64_t units_of(const struct td_lpu_machine *machine, int32_t chips, enum td_lpu_unit unit) {
  const int32_t counts[TD_LPU_UNIT_COUNT] = {
      [TD_UNIT_MEMORY] = machine->mem_slices, [TD_UNIT_MATRIX] = machine->planes,
      [TD_UNIT_VECTOR] = machine->alus,       [TD_UNIT_SWITCH] = TD_LPU_HEMISPHERES * machine->switch_functions,
      [TD_UNIT_LINK] = machine->links_used,
  };
  return (int64_t)counts[unit] * chips;
}

int64_t td_lpu_program_units(const struct td_lpu_program *program, enum td_lpu_unit unit) {
  return units_of(&program->machine, program->chips, unit);
}

/* In the order of the emulator's sum, to the bit. */
double td_lpu_energy(const struct td_lpu_machine *machine, int32_t chips, int64_t cycles, const int64_t *busy) {
  if (!machine->has_power) return (double)NAN;
  double watt_cycles = machine->power_base * chips * (double)cycles;
  for (int unit = 0; unit < TD_LPU_UNIT_COUNT; unit++) {
    double idle = (double)(units_of(machine, chips, (enum td_lpu_unit)unit) * cycles - busy[unit]);
    watt_cycles += machine->power_active[unit] * (double)busy[unit] + machine->power_idle[unit] * idle;
  }
  return watt_cycles / machine->clock_hz;
}

static void add_runs(const struct td_lpu_tally *tally, int64_t runs, struct td_lpu_counts *counts) {
  for (int i = 0; i < TD_LPU_OPCODE_COUNT; i++) counts->issued[i] += runs * tally->issued[i];
  for (int i = 0; i < TD_LPU_UNIT_COUNT; i++) counts->busy[i] += runs * tally->busy[i];
}

td_status td_lpu_program_counts(const struct td_lpu_program *program, const struct td_lpu_tally *tallies, int32_t entry,
                                const struct td_lpu_step *step, struct td_lpu_counts *out_counts) {
  struct td_lpu_counts counts = {.cycles = td_lpu_program_cycles(program, entry, step)};
  void *memory = NULL;
  TD_TRY(td_alloc((size_t)program->segment_count, sizeof(int64_t), &memory));
  int64_t *runs = memory;
  td_lpu_program_runs(program, entry, step, runs);
  for (int32_t i = 0; i < program->segment_count; i++) add_runs(&tallies[i], runs[i], &counts);
  free(runs);
  counts.energy_j = td_lpu_energy(&program->machine, program->chips, counts.cycles, counts.busy);
  *out_counts = counts;
  return TD_OK;
}
