/* SPDX-License-Identifier: Apache-2.0
 *
 * The critical path of a segment: from its last result back, always to what it came after most tightly: an operand, or
 * what its unit did before. Every cycle on the way is someone's: a unit's delay or turn, the way of a vector from unit
 * to unit, or waiting for a stream or port that was not free.
 */
#include <inttypes.h>
#include <string.h>

#include "lpu_study.h"

/* Iteration `r` of an instruction. */
struct event {
  const struct td_lpu_instruction *of; /* NULL: none */
  int32_t r;
};

static int64_t issued(struct event event) {
  return event.of->cycle + (int64_t)event.r * event.of->gap;
}

const char *lpu_waited_name(int waited) {
  static const char *const names[LPU_WAITED_COUNT] = {"memory", "loads", "products", "vector",
                                                      "switch", "links", "way",      "not free"};
  return waited >= 0 && waited < LPU_WAITED_COUNT ? names[waited] : "?";
}

static enum lpu_waited kind_of(const struct td_lpu_instruction *of) {
  switch (of->opcode) {
    case TD_LPU_MEMORY:
      return WAITED_MEMORY;
    case TD_LPU_LOAD:
    case TD_LPU_INSTALL:
      return WAITED_LOADS;
    case TD_LPU_PASS:
    case TD_LPU_SUM:
      return WAITED_PRODUCTS;
    case TD_LPU_ALU:
      return WAITED_VECTOR;
    case TD_LPU_SEND:
    case TD_LPU_RECEIVE:
      return WAITED_LINKS;
    default:
      return WAITED_SWITCH;
  }
}

/* Cycles from issue to where what it makes can be had. */
static int64_t delay_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *of, int32_t operand) {
  if (operand == TD_MEANING_WORD) return machine->memory_write_skew + 1;
  switch (of->opcode) {
    case TD_LPU_ALU:
      return of->operation < TD_ALU_COUNT ? machine->alu_func[of->operation] : 0;
    case TD_LPU_LOAD:
      return machine->delay[TD_LPU_LOAD].func + (of->flags & TD_LPU_COLUMNS ? machine->transpose_cycles : 0);
    case TD_LPU_INSTALL:
      return machine->install_cycles;
    case TD_LPU_SEND:
      return machine->link_latency;
    default:
      return of->opcode < TD_LPU_OPCODE_COUNT ? machine->delay[of->opcode].func : 0;
  }
}

static int64_t hops(const struct td_lpu_machine *machine, const struct td_lpu_instruction *a,
                    const struct td_lpu_instruction *b) {
  struct td_lpu_queue from, to;
  if (!td_lpu_queue_at(machine, a->queue, &from) || !td_lpu_queue_at(machine, b->queue, &to)) return 0;
  return from.position < to.position ? to.position - from.position : from.position - to.position;
}

/* ---- what an event waited for ---- */

struct tracing {
  const struct td_lpu_machine *machine;
  const struct td_lpu_segment *segment;
};

/* Something that an event came after, and by how many cycles later than it had to. */
struct cause {
  struct event event;
  int64_t slack, delay, way;
};

static void consider(struct cause *best, struct cause cause) {
  bool tighter = !best->event.of || cause.slack < best->slack;
  if (cause.slack >= 0 && tighter) *best = cause;
}

/* The last iteration of an instruction of `queue` that is issued before `cycle`. */
static struct event before_in(const struct tracing *at, uint16_t chip, int32_t queue, int64_t cycle) {
  const struct td_lpu_instruction *all = at->segment->instructions;
  int32_t low = 0, high = at->segment->instruction_count; /* ascending by (chip, queue, cycle) */
  while (low < high) {
    int32_t middle = low + (high - low) / 2;
    const struct td_lpu_instruction *of = &all[middle];
    bool less = of->chip != chip ? of->chip < chip : of->queue != queue ? of->queue < queue : of->cycle < cycle;
    if (less) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  struct event event = {NULL, 0};
  if (low == 0 || all[low - 1].chip != chip || all[low - 1].queue != queue) return event;
  event.of = &all[low - 1];
  int64_t r = (cycle - 1 - event.of->cycle) / (event.of->gap > 0 ? event.of->gap : 1);
  event.r = r < event.of->repeat ? (int32_t)r : event.of->repeat - 1;
  return event;
}

/* What stood in a queue before `cycle`: of its own queue all iterations come one after another. */
static void consider_queue(const struct tracing *at, struct event event, int32_t queue, int64_t cycle,
                           struct cause *best) {
  struct event before = before_in(at, event.of->chip, queue, cycle);
  if (!before.of) return;
  consider(best, (struct cause){before, cycle - issued(before) - 1, issued(event) - cycle + 1, 0});
}

/* An install waits for the passes on the array before, a load for the install that empties the buffer. */
static void consider_plane(const struct tracing *at, struct event event, struct cause *best) {
  struct td_lpu_queue queue;
  bool wide = event.of->type != TD_LPU_I8 && event.of->type != TD_LPU_F8;
  if (!td_lpu_queue_at(at->machine, event.of->queue, &queue) || queue.unit != TD_UNIT_MATRIX) return;
  int32_t plane = wide ? queue.index & ~1 : queue.index;
  if (event.of->opcode == TD_LPU_INSTALL) {
    consider_queue(at, event, td_lpu_matrix_queue(at->machine, plane, TD_MATRIX_PASS), issued(event), best);
  } else if (event.of->opcode == TD_LPU_LOAD) {
    int64_t lands = issued(event) + delay_of(at->machine, event.of, 0);
    int32_t installs = td_lpu_matrix_queue(at->machine, plane, TD_MATRIX_INSTALL);
    struct event before = before_in(at, event.of->chip, installs, lands);
    if (!before.of || issued(before) >= issued(event)) return;
    consider(best, (struct cause){before, lands - issued(before) - 1, 1, 0});
  }
}

static struct event made_by(const struct td_lpu_segment *segment, const struct td_lpu_meaning *meaning, int32_t r) {
  struct event none = {NULL, 0};
  if (meaning->operand == TD_MEANING_ADDRESS || r < meaning->begin || r >= meaning->end) return none;
  if (meaning->producer < 0 || meaning->producer >= segment->instruction_count) return none;
  int64_t iteration = (int64_t)meaning->scale * r + meaning->offset;
  const struct td_lpu_instruction *of = &segment->instructions[meaning->producer];
  return iteration >= 0 && iteration < of->repeat ? (struct event){of, (int32_t)iteration} : none;
}

static int32_t skew_of(const struct td_lpu_machine *machine, const struct td_lpu_instruction *of, int32_t operand) {
  if (operand < 0) return 0;
  return of->opcode == TD_LPU_MEMORY ? machine->memory_write_skew : machine->delay[of->opcode].skew;
}

/* A read of what stood in SRAM before could have come at any time: nobody waits for it. */
static bool waits(const struct td_lpu_segment *segment, const struct td_lpu_instruction *of) {
  bool reads = of->opcode == TD_LPU_MEMORY && (of->flags & TD_LPU_READ);
  int64_t begin = of->meaning, end = begin + of->meaning_count;
  for (int64_t i = begin; reads && i >= 0 && i < end && i < segment->meaning_count; i++) {
    if (segment->meanings[i].operand == TD_MEANING_WORD) return true;
  }
  return !reads;
}

static void consider_operands(const struct tracing *at, struct event event, struct cause *best) {
  const struct td_lpu_segment *segment = at->segment;
  int64_t begin = event.of->meaning, end = begin + event.of->meaning_count;
  for (int64_t i = begin; i >= 0 && i < end && i < segment->meaning_count; i++) {
    int32_t operand = segment->meanings[i].operand;
    struct event made = made_by(segment, &segment->meanings[i], event.r);
    if (!made.of || issued(made) >= issued(event)) continue; /* a walk back ends, whatever a file says */
    if (operand >= 0 && !waits(segment, made.of)) continue;
    struct cause cause = {made, 0, delay_of(at->machine, made.of, operand), 0};
    if (operand >= 0) cause.way = hops(at->machine, made.of, event.of);
    int64_t needed = issued(event) + skew_of(at->machine, event.of, operand);
    cause.slack = needed - issued(made) - cause.delay - cause.way;
    if (cause.slack < 0) cause.slack = 0;
    if (event.of->opcode != TD_LPU_MEMORY && made.of->opcode == TD_LPU_MEMORY) { /* read no earlier than needed */
      struct cause why = {{NULL, 0}, 0, 0, 0};
      consider_operands(at, made, &why);
      if (why.event.of) cause.slack += why.slack;
    }
    consider(best, cause);
  }
}

/* The tightest; operands before units. */
static struct cause cause_of(const struct tracing *at, struct event event) {
  struct cause best = {{NULL, 0}, 0, 0, 0};
  consider_operands(at, event, &best);
  consider_plane(at, event, &best);
  consider_queue(at, event, event.of->queue, event.of->cycle, &best);
  return best;
}

static void add_stop(struct lpu_path *path, enum lpu_waited kind) {
  if (path->stop_count && path->stops[path->stop_count - 1].kind == kind) {
    path->stops[path->stop_count - 1].times++;
  } else if (path->stop_count < LPU_PATH_STOPS) {
    path->stops[path->stop_count++] = (struct lpu_stop){kind, 1};
  } else {
    path->more = true;
  }
}

static int64_t least(int64_t a, int64_t b) {
  return a < b ? a : b;
}

/* `gap` cycles that began with `of`: its delay, then the way, and the rest is waiting. */
static void spend(struct lpu_path *path, enum lpu_waited kind, int64_t gap, int64_t delay, int64_t way) {
  int64_t own = least(gap, delay), moving = least(gap - own, way);
  path->of[kind] += own;
  path->of[WAITED_WAY] += moving;
  path->of[WAITED_FREE] += gap - own - moving;
}

static struct event last_of(const struct td_lpu_segment *segment) {
  struct event last = {NULL, 0};
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    struct event event = {&segment->instructions[i], segment->instructions[i].repeat - 1};
    if (!last.of || issued(event) > issued(last)) last = event;
  }
  return last;
}

void lpu_path_trace(const struct td_lpu_program *program, int32_t segment_number, struct lpu_path *out) {
  const struct td_lpu_machine *machine = &program->machine;
  const struct td_lpu_segment *segment = &program->segments[segment_number];
  memset(out, 0, sizeof *out);
  const struct tracing tracing = {machine, segment};
  struct event at = last_of(segment);
  if (!at.of) {
    out->of[WAITED_FREE] = segment->length;
    return;
  }
  spend(out, kind_of(at.of), segment->length - issued(at), machine->memory_write_skew + 1, segment->length);
  add_stop(out, kind_of(at.of));
  for (;;) {
    struct cause cause = cause_of(&tracing, at);
    if (!cause.event.of) break;
    spend(out, kind_of(cause.event.of), issued(at) - issued(cause.event), cause.delay, cause.way);
    add_stop(out, kind_of(cause.event.of));
    at = cause.event;
  }
  out->of[WAITED_FREE] += issued(at); /* it came in its turn */
}

/* ---- words ---- */

static double share(int64_t part, int64_t whole) {
  return whole > 0 ? 100.0 * (double)part / (double)whole : 0.0;
}

/* From the beginning: the stops were found from the end. */
static void print_stops(const struct lpu_path *path, FILE *out) {
  int column = fprintf(out, "%s", path->more ? "  ... " : "  ");
  for (int32_t i = path->stop_count - 1; i >= 0; i--) {
    char text[48];
    const char *name = lpu_waited_name((int)path->stops[i].kind);
    int length = path->stops[i].times > 1 ? snprintf(text, sizeof text, "%d x %s", path->stops[i].times, name)
                                          : snprintf(text, sizeof text, "%s", name);
    if (column + length > 116) column = fprintf(out, "\n  ") - 1;
    column += fprintf(out, "%s%s", text, i ? " -> " : "");
  }
  fputc('\n', out);
}

static int32_t longest(const struct lpu_study *study) {
  int32_t best = 0;
  for (int32_t i = 1; i < study->program->segment_count; i++) {
    int64_t cycles = study->runs[i] * study->program->segments[i].length;
    if (cycles > study->runs[best] * study->program->segments[best].length) best = i;
  }
  return best;
}

static void print_reason(const struct lpu_study *study, const int64_t *all, FILE *out) {
  int most = 0;
  static const char *const words[LPU_WAITED_COUNT] = {
      "reads and writes of SRAM on the way from one operation to the next",
      "weights on their way into the planes",
      "the planes' delay from a vector in to its sums out",
      "the vector unit's delays, one operation after another",
      "the switches' delays, one exchange across lanes after another",
      "the links",
      "vectors travelling from unit to unit",
      "waiting for a unit or a stream that works for others"};
  for (int i = 1; i < LPU_WAITED_COUNT; i++) {
    if (all[i] > all[most]) most = i;
  }
  fprintf(out, "Most of it, %.1f %%, is %s. The chain of %.31s, memory being a read or a write:\n",
          share(all[most], study->counts.cycles), words[most], study->program->segments[longest(study)].name);
}

void lpu_path_print(const struct lpu_study *study, FILE *out) {
  int64_t all[LPU_WAITED_COUNT] = {0};
  fprintf(out, "\ncritical path: cycles that the last result waited for, back to the step's start\n%-10s", "segment");
  for (int i = 0; i < LPU_WAITED_COUNT; i++) fprintf(out, "%10s", lpu_waited_name(i));
  for (int32_t s = 0; s < study->program->segment_count; s++) {
    if (!study->runs[s]) continue;
    fprintf(out, "\n%-10.31s", study->program->segments[s].name);
    for (int i = 0; i < LPU_WAITED_COUNT; i++) {
      int64_t cycles = study->runs[s] * study->paths[s].of[i];
      fprintf(out, "%10" PRId64, cycles);
      all[i] += cycles;
    }
  }
  all[WAITED_WAY] += study->counts.cycles;
  for (int32_t s = 0; s < study->program->segment_count; s++) {
    all[WAITED_WAY] -= study->runs[s] * study->program->segments[s].length; /* the tail, through the superlanes */
  }
  fprintf(out, "\n%-10s", "step");
  for (int i = 0; i < LPU_WAITED_COUNT; i++) fprintf(out, "%10" PRId64, all[i]);
  fprintf(out, "\n%-10s", "");
  for (int i = 0; i < LPU_WAITED_COUNT; i++) fprintf(out, "%8.1f %%", share(all[i], study->counts.cycles));
  fputc('\n', out);
  if (study->program->segment_count == 0) return;
  print_reason(study, all, out);
  print_stops(&study->paths[longest(study)], out);
}
