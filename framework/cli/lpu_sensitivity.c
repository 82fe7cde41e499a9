/* SPDX-License-Identifier: Apache-2.0
 *
 * One machine after another, each compiled anew: nothing is scaled or fitted.
 */
#include "lpu_sensitivity.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "lpu_collective.h"
#include "lpu_study.h"
#include "tandem/base.h"

enum { SET_BYTES = 96 };

/* ---- one machine ---- */

static td_status ask_collective(const struct lpu_question *question, const struct td_lpu_machine *machine,
                                int64_t *out_cycles) {
  struct td_lpu_counts counts = {0};
  double busy = 0;
  TD_TRY(lpu_collective_length(machine, question->collective, &counts, &busy));
  *out_cycles = counts.cycles;
  return TD_OK;
}

static td_status ask_machine(const struct lpu_question *question, const struct td_lpu_machine *machine,
                             int64_t *out_cycles) {
  struct td_lpu_program *program = NULL;
  if (question->collective) return ask_collective(question, machine, out_cycles);
  TD_TRY(td_lpu_compile(machine, question->graph, &question->slice, NULL, &question->options, &program));
  td_status status = question->count ? question->count(question->context, program, out_cycles)
                                     : lpu_study_length(program, question->rows, question->position, out_cycles);
  td_lpu_program_free(program);
  return status;
}

/* Fails only where another machine would fail too: what is refused is an answer. */
static td_status ask(const struct lpu_question *question, const char *const *sets, int32_t count,
                     struct lpu_answer *out) {
  struct td_lpu_machine machine;
  *out = (struct lpu_answer){.cycles = 0};
  td_status status = td_lpu_machine_vary(question->params, sets, count, &machine);
  if (!status) status = ask_machine(question, &machine, &out->cycles);
  if (!status || status == TD_NO_MEMORY || status == TD_INTERNAL) return status;
  snprintf(out->refused, sizeof out->refused, "%s", td_error_text());
  return TD_OK;
}

static td_status ask_end(const struct lpu_question *question, const char *name, double value, struct lpu_answer *out) {
  char text[SET_BYTES];
  const char *set = text;
  TD_TRY(td_format(text, sizeof text, "%s=%.17g", name, value));
  return ask(question, &set, 1, out);
}

/* ---- all parameters, one at a time ---- */

/* Powers move no cycle. */
static bool is_asked(const char *name, const struct td_quantity *quantity) {
  bool published = quantity->evidence != TD_ASSUMED && quantity->evidence != TD_SECONDARY;
  return quantity->present && !published && quantity->low < quantity->high && strncmp(name, "power_", 6) != 0;
}

static td_status open_extreme(int32_t rows, struct lpu_extreme *out) {
  TD_TRY(td_alloc((size_t)rows + 1, sizeof *out->left_out, (void **)&out->left_out));
  TD_TRY(td_alloc((size_t)rows + 1, sizeof *out->joined, (void **)&out->joined));
  for (int32_t i = 0; i < rows; i++) out->joined[i] = NAN;
  return TD_OK;
}

static td_status find_parameters(const struct td_device_params *params, struct lpu_sensitivity *out) {
  const char *name;
  const struct td_quantity *quantity;
  int32_t rows = 0;
  while (td_lpu_machine_quantity(params, rows, &name, &quantity)) rows++;
  TD_TRY(td_alloc((size_t)rows + 1, sizeof *out->parameters, (void **)&out->parameters));
  TD_TRY(open_extreme(rows, &out->fastest));
  TD_TRY(open_extreme(rows, &out->slowest));
  for (int32_t i = 0; i < rows; i++) {
    if (!td_lpu_machine_quantity(params, i, &name, &quantity) || !is_asked(name, quantity)) continue;
    out->parameters[out->count++] = (struct lpu_parameter){.name = name, .quantity = quantity};
  }
  return TD_OK;
}

static void widen(struct lpu_sensitivity *of, int64_t cycles) {
  if (!cycles) return;
  if (cycles < of->least) of->least = cycles;
  if (cycles > of->most) of->most = cycles;
}

static td_status ask_ends(const struct lpu_question *question, struct lpu_sensitivity *out) {
  struct td_progress progress;
  td_status status = TD_OK;
  td_progress_begin(&progress, "sensitivity: parameters");
  for (int32_t i = 0; i < out->count && !status; i++) {
    struct lpu_parameter *of = &out->parameters[i];
    td_progress_update(&progress, (uint64_t)i, (uint64_t)out->count);
    status = ask_end(question, of->name, of->quantity->low, &of->low);
    if (!status) status = ask_end(question, of->name, of->quantity->high, &of->high);
    widen(out, of->low.cycles);
    widen(out, of->high.cycles);
  }
  td_progress_end(&progress);
  return status;
}

/* ---- sorted ---- */

/* Cycles that an end adds; 0 also where it is refused. */
static int64_t effect(const struct lpu_answer *answer, int64_t nominal) {
  return answer->cycles ? answer->cycles - nominal : 0;
}

static int64_t span(const struct lpu_parameter *of, int64_t nominal) {
  int64_t low = effect(&of->low, nominal), high = effect(&of->high, nominal);
  int64_t least = low < high ? low : high, most = low < high ? high : low;
  return (most > 0 ? most : 0) - (least < 0 ? least : 0);
}

/* By insertion: few, and those alike stay in the device file's order. */
static void sort(struct lpu_sensitivity *of) {
  for (int32_t i = 1; i < of->count; i++) {
    struct lpu_parameter moved = of->parameters[i];
    int32_t at = i;
    for (; at > 0 && span(&of->parameters[at - 1], of->nominal) < span(&moved, of->nominal); at--) {
      of->parameters[at] = of->parameters[at - 1];
    }
    of->parameters[at] = moved;
  }
}

/* ---- all together ---- */

/* The end that makes the step faster (sign -1) or slower (1); false: neither does. */
static bool end_of(const struct lpu_parameter *of, int64_t nominal, int sign, double *out_value) {
  int64_t low = sign * effect(&of->low, nominal), high = sign * effect(&of->high, nominal);
  *out_value = low > high ? of->quantity->low : of->quantity->high;
  return low > 0 || high > 0;
}

/* The parameters that have such an end, as sets. */
struct chosen {
  char (*texts)[SET_BYTES];
  const char **sets;
  int32_t *from; /* index of the parameter */
  int32_t count;
  int32_t spare; /* the first text that is nobody's */
};

static void chosen_free(struct chosen *chosen) {
  free(chosen->texts);
  free((void *)chosen->sets);
  free(chosen->from);
}

static td_status choose(const struct lpu_sensitivity *of, int sign, struct chosen *out) {
  size_t room = 3 * (size_t)of->count + 1; /* an end chosen, and both that are refused alone */
  TD_TRY(td_alloc(room, SET_BYTES, (void **)&out->texts));
  TD_TRY(td_alloc(room, sizeof *out->sets, (void **)&out->sets));
  TD_TRY(td_alloc(room, sizeof *out->from, (void **)&out->from));
  for (int32_t i = 0; i < of->count; i++) {
    double value;
    if (!end_of(&of->parameters[i], of->nominal, sign, &value)) continue;
    TD_TRY(td_format(out->texts[out->count], SET_BYTES, "%s=%.17g", of->parameters[i].name, value));
    out->sets[out->count] = out->texts[out->count];
    out->from[out->count++] = i;
  }
  out->spare = out->count;
  return TD_OK;
}

/* One by one, the largest effect first; who is refused beside those before stays at its value. */
static td_status join(const struct lpu_question *question, struct chosen *chosen, struct lpu_extreme *out) {
  struct td_progress progress;
  int32_t count = chosen->count;
  td_status status = TD_OK;
  chosen->count = 0;
  td_progress_begin(&progress, "sensitivity: together");
  for (int32_t i = 0; i < count && !status; i++) {
    struct lpu_answer answer;
    td_progress_update(&progress, (uint64_t)i, (uint64_t)count);
    chosen->sets[chosen->count] = chosen->texts[i];
    status = ask(question, chosen->sets, chosen->count + 1, &answer);
    if (status) break;
    if (answer.cycles) {
      out->cycles = answer.cycles;
      chosen->count++;
    } else {
      out->left_out[chosen->from[i]] = answer;
    }
  }
  td_progress_end(&progress);
  return status;
}

/* What no machine takes alone, a longer skew than its delay, may go with the others: then the sign is that beside them.
 */
static td_status join_end(const struct lpu_question *question, const struct lpu_parameter *of, double value, int sign,
                          struct chosen *chosen, int64_t *cycles, double *out_joined) {
  char text[SET_BYTES];
  struct lpu_answer answer;
  TD_TRY(td_format(text, sizeof text, "%s=%.17g", of->name, value));
  chosen->sets[chosen->count] = text;
  TD_TRY(ask(question, chosen->sets, chosen->count + 1, &answer));
  if (!answer.cycles || sign * (answer.cycles - *cycles) <= 0) return TD_OK;
  memcpy(chosen->texts[chosen->spare], text, sizeof text);
  chosen->sets[chosen->count++] = chosen->texts[chosen->spare++];
  *cycles = answer.cycles;
  *out_joined = value;
  return TD_OK;
}

static td_status join_refused(const struct lpu_question *question, const struct lpu_sensitivity *of, int sign,
                              struct chosen *chosen, struct lpu_extreme *out) {
  for (int32_t i = 0; i < of->count; i++) {
    const struct lpu_parameter *parameter = &of->parameters[i];
    const struct td_quantity *quantity = parameter->quantity;
    double *joined = &out->joined[i];
    if (!parameter->low.cycles) {
      TD_TRY(join_end(question, parameter, quantity->low, sign, chosen, &out->cycles, joined));
    }
    if (!parameter->high.cycles) {
      TD_TRY(join_end(question, parameter, quantity->high, sign, chosen, &out->cycles, joined));
    }
  }
  return TD_OK;
}

static td_status find_extreme(const struct lpu_question *question, struct lpu_sensitivity *of, int sign,
                              struct lpu_extreme *out) {
  struct chosen chosen = {0};
  td_status status = choose(of, sign, &chosen);
  out->cycles = of->nominal;
  if (!status) status = ask(question, chosen.sets, chosen.count, &out->together);
  if (!status && out->together.cycles) out->cycles = out->together.cycles;
  if (!status && !out->together.cycles) status = join(question, &chosen, out);
  if (!status) status = join_refused(question, of, sign, &chosen, out);
  widen(of, out->cycles);
  chosen_free(&chosen);
  return status;
}

static td_status find_all(const struct lpu_question *question, struct lpu_sensitivity *out) {
  TD_TRY(find_parameters(question->params, out));
  TD_TRY(ask_ends(question, out));
  sort(out);
  TD_TRY(find_extreme(question, out, -1, &out->fastest));
  return find_extreme(question, out, 1, &out->slowest);
}

td_status lpu_sensitivity_open(const struct lpu_question *question, int64_t nominal, struct lpu_sensitivity *out) {
  *out = (struct lpu_sensitivity){.nominal = nominal, .least = nominal, .most = nominal};
  out->clock_hz = td_lpu_machine_of(question->params)->clock_hz;
  td_status status = find_all(question, out);
  if (status) lpu_sensitivity_close(out);
  return status;
}

void lpu_sensitivity_close(struct lpu_sensitivity *sensitivity) {
  free(sensitivity->parameters);
  free(sensitivity->fastest.left_out);
  free(sensitivity->fastest.joined);
  free(sensitivity->slowest.left_out);
  free(sensitivity->slowest.joined);
}
