/* SPDX-License-Identifier: Apache-2.0
 *
 * tandem lpu collective: messages of several sizes, each compiled in every way; the shortest is taken.
 */
#include "lpu_collective.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_sensitivity.h"
#include "tandem/base.h"
#include "tandem/cli.h"

enum { MOST_MESSAGES = 64, SIZES = 11 };

struct task {
  const char *device, *op, *type, *chips, *bytes, *picture, *against;
  bool json;
  struct td_device_params *params;
  const struct td_lpu_machine *machine;
  struct td_lpu_collective what;
  double published; /* seconds; 0: none */
  struct lpu_message messages[MOST_MESSAGES];
  int32_t count;
};

/* ---- what is asked for ---- */

static td_status read_op(struct task *task) {
  const char *name = task->op ? task->op : "all-reduce";
  for (int op = 0; op < TD_LPU_COLLECTIVE_OPS; op++) {
    if (strcmp(name, td_lpu_collective_op_name((enum td_lpu_collective_op)op))) continue;
    task->what.op = (enum td_lpu_collective_op)op;
    return TD_OK;
  }
  return td_fail(TD_USAGE, "--op: found \"%s\", expected all-reduce, broadcast or all-gather", name);
}

static td_status read_type(struct task *task) {
  const char *name = task->type ? task->type : "f32";
  task->what.type = strcmp(name, "f16") ? TD_LPU_F32 : TD_LPU_F16;
  if (!strcmp(name, "f16") || !strcmp(name, "f32")) return TD_OK;
  return td_fail(TD_USAGE, "--type: found \"%s\", expected f32 or f16", name);
}

static td_status read_against(struct task *task) {
  char *end = NULL;
  if (!task->against) return TD_OK;
  task->published = strtod(task->against, &end);
  if (end != task->against && !*end && isfinite(task->published) && task->published > 0) return TD_OK;
  return td_fail(TD_USAGE, "--against: found \"%s\", expected seconds, above 0", task->against);
}

static int64_t vector_bytes(const struct task *task) {
  return (int64_t)task->machine->lanes * td_lpu_type_bytes(task->what.type);
}

static td_status read_bytes(struct task *task) {
  int64_t least = vector_bytes(task), most = least * task->machine->mem_words;
  if (task->what.op == TD_LPU_ALL_GATHER) least *= task->what.chips;
  for (int32_t i = 0; !task->bytes && i < SIZES && least << i <= most; i++) {
    task->messages[task->count++].bytes = least << i;
  }
  for (const char *at = task->bytes; at && *at;) {
    char *end = NULL;
    errno = 0;
    long long value = strtoll(at, &end, 10);
    if (errno || end == at || (*end && *end != ',') || value < 1 || value > most) {
      return td_fail(TD_USAGE, "--bytes: found \"%.40s\", expected whole numbers from 1 to %lld, with commas between",
                     at, (long long)most);
    }
    if (task->count == MOST_MESSAGES) return td_fail(TD_USAGE, "--bytes: found over %d sizes", MOST_MESSAGES);
    task->messages[task->count++].bytes = value;
    at = *end ? end + 1 : end;
  }
  return task->count ? TD_OK : td_fail(TD_USAGE, "--bytes: found nothing, expected sizes");
}

static td_status read_chips(struct task *task) {
  int32_t all = task->machine->levels ? task->machine->system_chips : TD_LPU_MOST_CHIPS;
  int64_t chips = task->machine->levels ? task->machine->level[0].units : 2;
  if (task->chips) TD_TRY(td_flag_int("--chips", task->chips, 2, all, &chips));
  task->what.chips = (int32_t)chips;
  return TD_OK;
}

static td_status read_task(int argc, char **argv, struct task *task) {
  const char *positionals[1];
  int32_t count;
  const struct td_flag flags[] = {
      {.name = "--device", .value = &task->device},
      {.name = "--op", .value = &task->op},
      {.name = "--type", .value = &task->type},
      {.name = "--chips", .value = &task->chips},
      {.name = "--bytes", .value = &task->bytes},
      {.name = "--svg", .value = &task->picture},
      {.name = "--json", .given = &task->json},
      {.name = "--against", .value = &task->against},
      {.name = NULL},
  };
  TD_TRY(td_flags_parse(argc, argv, flags, positionals, 1, &count));
  if (!task->device) return td_fail(TD_USAGE, "lpu collective: expected --device SYSTEM");
  TD_TRY(read_op(task));
  TD_TRY(read_type(task));
  TD_TRY(read_against(task));
  if (task->picture) TD_TRY(td_check_output(task->picture));
  TD_TRY(td_device_params_open(task->device, &task->params));
  task->machine = td_lpu_machine_of(task->params);
  if (!task->machine) {
    return td_fail(TD_CONFIG, "--device: found %s, a %s, expected an LPU or a system of LPUs", task->device,
                   td_device_kind_name(task->params->kind));
  }
  TD_TRY(read_chips(task));
  return read_bytes(task);
}

/* ---- what it takes ---- */

static td_status count(const struct td_lpu_program *program, struct td_lpu_counts *out) {
  struct td_lpu_row row = {0};
  const struct td_lpu_step step = {&row, 1};
  struct td_lpu_tally *tallies = NULL;
  TD_TRY(td_lpu_program_tallies(program, &tallies));
  td_status status = td_lpu_program_counts(program, tallies, 0, &step, out);
  free(tallies);
  return status;
}

td_status lpu_collective_length(const struct td_lpu_machine *machine, const struct td_lpu_collective *what,
                                struct td_lpu_counts *out_counts, double *out_busy) {
  struct td_lpu_program *program = NULL;
  TD_TRY(td_lpu_compile_collective(machine, what, &program));
  td_status status = count(program, out_counts);
  double links = (double)td_lpu_program_units(program, TD_UNIT_LINK) * (double)out_counts->cycles;
  *out_busy = links > 0 ? (double)out_counts->busy[TD_UNIT_LINK] / links : 0;
  td_lpu_program_free(program);
  return status;
}

/* What ranks send at least, over the time: the factor by which a bandwidth that all share is larger. */
static double bus_factor(const struct td_lpu_collective *what) {
  double others = (double)(what->chips - 1) / what->chips;
  return what->op == TD_LPU_ALL_REDUCE ? 2 * others : what->op == TD_LPU_ALL_GATHER ? others : 1;
}

/* Links' vectors, at most so many: a program of more takes gigabytes and says nothing new. */
#define MOST_SENDS 500000.0

static double sends_of(const struct td_lpu_machine *machine, const struct td_lpu_collective *what) {
  double chips = what->chips, vectors = what->vectors * (double)td_lpu_type_bytes(what->type), units = 0;
  int64_t size = 1;
  if (what->op != TD_LPU_ALL_REDUCE) return vectors * chips;
  if (what->way == TD_LPU_SCATTERED) return 2 * vectors * chips;
  if (what->way == TD_LPU_DIRECT) return vectors * chips * chips;
  for (int32_t l = 0; l < machine->levels && size < what->chips; l++) {
    units += machine->level[l].units;
    size *= machine->level[l].units;
  }
  return vectors * chips * units;
}

/* A way that sends every message whole loses for good to the scattered one from some size on: it is not compiled where
 * it was the slower one with less. */
static bool is_beaten(const struct lpu_message *before, int64_t bytes, int way) {
  return before && before->bytes <= bytes && way != TD_LPU_SCATTERED && before->cycles[TD_LPU_SCATTERED] &&
         (!before->cycles[way] || before->cycles[way] > before->cycles[TD_LPU_SCATTERED]);
}

static td_status find_message(const struct task *task, const struct lpu_message *before, struct lpu_message *message) {
  struct td_lpu_collective what = task->what;
  bool any = false;
  what.vectors = (int32_t)((message->bytes + vector_bytes(task) - 1) / vector_bytes(task));
  message->bytes = what.vectors * vector_bytes(task);
  for (int way = 0; way < TD_LPU_COLLECTIVE_WAYS; way++) {
    struct td_lpu_counts counts;
    what.way = (enum td_lpu_collective_way)way;
    if (!td_lpu_collective_has(task->machine, &what) || is_beaten(before, message->bytes, way)) continue;
    if (sends_of(task->machine, &what) > MOST_SENDS) continue;
    td_status status = lpu_collective_length(task->machine, &what, &counts, &message->busy[way]);
    if (status == TD_EXHAUSTED) continue;
    TD_TRY(status);
    message->cycles[way] = counts.cycles;
    if (!any || counts.cycles < message->cycles[message->best]) message->best = what.way;
    any = true;
  }
  if (!any) {
    return td_fail(TD_EXHAUSTED, "lpu collective: found no way of %d vectors on %d chips that fits SRAM and %.0f sends",
                   what.vectors, what.chips, MOST_SENDS);
  }
  message->seconds = (double)message->cycles[message->best] / task->machine->clock_hz;
  message->algorithm = (double)message->bytes / message->seconds;
  message->bus = message->algorithm * bus_factor(&task->what);
  return TD_OK;
}

static td_status find_messages(struct task *task) {
  struct td_progress progress;
  td_status status = TD_OK;
  td_progress_begin(&progress, "collective: sizes");
  for (int32_t i = 0; i < task->count && !status; i++) {
    td_progress_update(&progress, (uint64_t)i, (uint64_t)task->count);
    status = find_message(task, i ? &task->messages[i - 1] : NULL, &task->messages[i]);
    /* What SRAM does not hold ends a list that nobody asked for. */
    if (status == TD_EXHAUSTED && !task->bytes && i > 0) {
      task->count = i;
      status = TD_OK;
    }
  }
  td_progress_end(&progress);
  return status;
}

/* ---- words ---- */

static void print_head(const struct task *task) {
  printf("%s on %d of %s, %s, clock %.4g GHz\n", td_lpu_collective_op_name(task->what.op), task->what.chips,
         task->machine->name, task->what.type == TD_LPU_F16 ? "f16" : "f32", task->machine->clock_hz / 1e9);
  printf("%12s %10s %10s  %-10s %10s %10s %7s   cycles of each way\n", "bytes", "cycles", "us", "way", "GB/s",
         "bus GB/s", "links");
}

static void print_message(const struct lpu_message *message) {
  printf("%12" PRId64 " %10" PRId64 " %10.3f  %-10s %10.3f %10.3f %6.1f%%  ", message->bytes,
         message->cycles[message->best], message->seconds * 1e6, td_lpu_collective_way_name(message->best),
         message->algorithm / 1e9, message->bus / 1e9, 100 * message->busy[message->best]);
  for (int way = 0; way < TD_LPU_COLLECTIVE_WAYS; way++) {
    if (message->cycles[way] == 0) continue;
    printf(" %s %" PRId64, td_lpu_collective_way_name((enum td_lpu_collective_way)way), message->cycles[way]);
  }
  puts("");
}

static void json_message(const struct lpu_message *message, bool first) {
  printf("%s{\"bytes\": %" PRId64 ", \"cycles\": %" PRId64 ", \"seconds\": %.9g, \"way\": \"%s\", ", first ? "" : ", ",
         message->bytes, message->cycles[message->best], message->seconds, td_lpu_collective_way_name(message->best));
  printf("\"bandwidth\": %.6g, \"bus_bandwidth\": %.6g, \"links_busy\": %.6g, \"ways\": {", message->algorithm,
         message->bus, message->busy[message->best]);
  bool more = false;
  for (int way = 0; way < TD_LPU_COLLECTIVE_WAYS; way++) {
    if (message->cycles[way] == 0) continue;
    printf("%s\"%s\": %" PRId64, more ? ", " : "", td_lpu_collective_way_name((enum td_lpu_collective_way)way),
           message->cycles[way]);
    more = true;
  }
  printf("}}");
}

/* How the least message moves over what is not published. */
static td_status find_interval(const struct task *task, struct lpu_sensitivity *out) {
  const struct lpu_message *message = &task->messages[0];
  struct td_lpu_collective what = task->what;
  what.way = message->best;
  what.vectors = (int32_t)(message->bytes / vector_bytes(task));
  struct lpu_question question = {.params = task->params, .collective = &what};
  return lpu_sensitivity_open(&question, message->cycles[message->best], out);
}

static void report_text(const struct task *task, const struct lpu_sensitivity *interval) {
  print_head(task);
  for (int32_t i = 0; i < task->count; i++) print_message(&task->messages[i]);
  printf("\nof the first line, %s:", td_lpu_collective_way_name(task->messages[0].best));
  lpu_sensitivity_print(interval, task->published, stdout);
}

static void report_json(const struct task *task, const struct lpu_sensitivity *interval) {
  printf("{\"op\": \"%s\", \"device\": \"%s\", \"chips\": %d, \"type\": \"%s\", \"messages\": [",
         td_lpu_collective_op_name(task->what.op), task->machine->name, task->what.chips,
         task->what.type == TD_LPU_F16 ? "f16" : "f32");
  for (int32_t i = 0; i < task->count; i++) json_message(&task->messages[i], i == 0);
  printf("]");
  lpu_sensitivity_json(interval, task->published, stdout);
  puts("}");
}

static td_status draw(const struct task *task) {
  char title[200];
  TD_TRY(td_format(title, sizeof title, "%s on %d of %s, %s: bus bandwidth over message size",
                   td_lpu_collective_op_name(task->what.op), task->what.chips, task->machine->name,
                   task->what.type == TD_LPU_F16 ? "f16" : "f32"));
  return lpu_collective_picture(task->picture, title, task->messages, task->count);
}

static td_status run(struct task *task) {
  struct lpu_sensitivity interval = {0};
  TD_TRY(find_messages(task));
  TD_TRY(find_interval(task, &interval));
  (task->json ? report_json : report_text)(task, &interval);
  lpu_sensitivity_close(&interval);
  return task->picture ? draw(task) : TD_OK;
}

td_status lpu_collective_command(int argc, char **argv) {
  void *memory = NULL;
  TD_TRY(td_alloc(1, sizeof(struct task), &memory));
  struct task *task = memory;
  td_status status = read_task(argc, argv, task);
  if (!status) status = run(task);
  td_device_params_close(task->params);
  free(task);
  return status;
}
