/* SPDX-License-Identifier: Apache-2.0
 *
 * Machines at the ends of what vendors do not publish, all numbers together: which end is fast follows from what a
 * number is, so that a system costs one compile an end.
 */
#include <string.h>

#include "price.h"
#include "tandem/base.h"

enum { SET_BYTES = 96 };

/* The numbers to move, as sets, and those that were left at their values. */
struct moves {
  char texts[TD_LPU_MOST_OPEN][SET_BYTES];
  const char *sets[TD_LPU_MOST_OPEN], *names[TD_LPU_MOST_OPEN];
  int32_t count;
};

/* Of these more is faster; of all others, delays and overheads, less. */
static bool is_amount(const char *name) {
  static const char *const amounts[] = {"clock",        "streams",
                                        "mem_slices",   "mem_slices_per_hop",
                                        "mem_words",    "mem_banks",
                                        "planes",       "plane_k",
                                        "load_vectors", "alus",
                                        "links",        "switch_functions",
                                        "links_used",   "link_rate",
                                        "node_chips",   "accumulator_depth",
                                        "lanes",        "instruction_queues"};
  for (size_t i = 0; i < sizeof amounts / sizeof *amounts; i++) {
    if (strcmp(name, amounts[i]) == 0) return true;
  }
  return false;
}

/* Of these too little leaves no room for a program; the other amounts only make it slower. */
static bool is_room(const char *name) {
  static const char *const rooms[] = {"mem_slices", "mem_words",  "mem_banks",         "links",
                                      "links_used", "node_chips", "accumulator_depth", "instruction_queues"};
  for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) {
    if (strcmp(name, rooms[i]) == 0) return true;
  }
  return false;
}

bool td_lpu_is_open(const struct td_quantity *quantity) {
  bool published = quantity->evidence != TD_ASSUMED && quantity->evidence != TD_SECONDARY;
  return quantity->present && !published && quantity->low < quantity->high;
}

static td_status list_moves(const struct td_device_params *params, enum td_lpu_end end, struct moves *out) {
  const char *name;
  const struct td_quantity *quantity;
  for (int32_t row = 0; td_lpu_machine_quantity(params, row, &name, &quantity); row++) {
    if (!td_lpu_is_open(quantity)) continue;
    if (out->count == TD_LPU_MOST_OPEN) return td_fail(TD_INTERNAL, "ranges: over %d numbers", TD_LPU_MOST_OPEN);
    double value = is_amount(name) == (end == TD_LPU_FAST) ? quantity->high : quantity->low;
    TD_TRY(td_format(out->texts[out->count], SET_BYTES, "%s=%.17g", name, value));
    out->sets[out->count] = out->texts[out->count];
    out->names[out->count++] = name;
  }
  return TD_OK;
}

/* The sets of `moves` that a machine takes together, in their order; those that need later ones (a skew longer than its
 * delay) on a second look. The names of the rest are left. */
static td_status join(const struct td_device_params *params, const struct moves *moves, const char **sets,
                      struct td_lpu_machine *out_machine, struct td_lpu_end_price *out) {
  bool joined[TD_LPU_MOST_OPEN] = {false};
  out->moved = out->left_count = 0;
  for (int look = 0; look < 2; look++) {
    for (int32_t i = 0; i < moves->count; i++) {
      if (joined[i]) continue;
      sets[out->moved] = moves->sets[i];
      td_status status = td_lpu_machine_vary(params, sets, out->moved + 1, out_machine);
      if (status == TD_NO_MEMORY || status == TD_INTERNAL) return status;
      joined[i] = status == TD_OK;
      out->moved += joined[i];
    }
  }
  for (int32_t i = 0; i < moves->count; i++) {
    if (!joined[i]) out->left[out->left_count++] = moves->names[i];
  }
  return td_lpu_machine_vary(params, sets, out->moved, out_machine);
}

/* What does not fit for want of room may do with all else at its end. */
static void drop_rooms(struct moves *moves, struct td_lpu_end_price *out) {
  int32_t kept = 0;
  for (int32_t i = 0; i < moves->count; i++) {
    if (is_room(moves->names[i])) {
      out->left[out->left_count++] = moves->names[i];
    } else {
      moves->sets[kept] = moves->sets[i];
      moves->names[kept++] = moves->names[i];
    }
  }
  moves->count = kept;
}

static bool is_answer(td_status status) {
  return status && status != TD_NO_MEMORY && status != TD_INTERNAL;
}

static td_status try_end(const struct td_lpu_question *question, const struct moves *moves,
                         struct td_lpu_end_price *out) {
  const char *sets[TD_LPU_MOST_OPEN];
  struct td_lpu_machine machine;
  TD_TRY(join(question->params, moves, sets, &machine, out));
  return td_lpu_price_compile(&machine, question->graph, &question->slice, &question->options, &out->price);
}

td_status td_lpu_price_end(const struct td_lpu_question *question, enum td_lpu_end end, struct td_lpu_end_price *out) {
  struct moves moves = {.count = 0};
  struct td_lpu_end_price dropped = {.left_count = 0};
  *out = (struct td_lpu_end_price){.price = NULL};
  TD_TRY(list_moves(question->params, end, &moves));
  td_status status = try_end(question, &moves, out);
  if (is_answer(status)) {
    drop_rooms(&moves, &dropped);
    if (dropped.left_count) status = try_end(question, &moves, out);
    for (int32_t i = 0; i < dropped.left_count; i++) out->left[out->left_count++] = dropped.left[i];
  }
  if (!is_answer(status)) return status;
  snprintf(out->refused, sizeof out->refused, "%s", td_error_text());
  return TD_OK;
}
