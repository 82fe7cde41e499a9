/* SPDX-License-Identifier: Apache-2.0 */
#include "moe.h"

#include <stdlib.h>

#include "tandem/base.h"

static void cut_number(struct moe_cuts *cuts, int32_t tokens) {
  const struct td_moe_costs *costs = cuts->costs;
  int64_t least = INT64_MAX;
  for (int32_t i = 0; i < costs->run_count; i++) {
    int32_t rows = costs->runs[i].rows, left = tokens > rows ? tokens - rows : 0;
    int64_t cycles = costs->runs[i].cycles + cuts->cycles[left];
    if (cycles >= least || rows + cuts->places[left] > costs->places) continue;
    least = cycles;
    cuts->run[tokens] = i;
    cuts->places[tokens] = rows + cuts->places[left];
  }
  cuts->cycles[tokens] = least;
  if (least < INT64_MAX) return;
  /* More than a pass has places for: it will be cut again (see run_of). */
  cuts->run[tokens] = -1;
  cuts->places[tokens] = INT32_MAX / 2;
  cuts->cycles[tokens] = INT64_MAX / 2;
}

td_status moe_cuts_open(const struct td_moe_costs *costs, int32_t most, struct moe_cuts *out) {
  size_t count = (size_t)most + 1;
  *out = (struct moe_cuts){.costs = costs, .most = most};
  td_status status = td_alloc(count, sizeof *out->cycles, (void **)&out->cycles);
  if (!status) status = td_alloc(count, sizeof *out->run, (void **)&out->run);
  if (!status) status = td_alloc(count, sizeof *out->places, (void **)&out->places);
  if (status) {
    moe_cuts_close(out);
    return status;
  }
  for (int32_t tokens = 1; tokens <= most; tokens++) cut_number(out, tokens);
  return TD_OK;
}

void moe_cuts_close(struct moe_cuts *cuts) {
  free(cuts->cycles);
  free(cuts->run);
  free(cuts->places);
  *cuts = (struct moe_cuts){.most = 0};
}

/* As many of `tokens` as fit `places`. */
static int32_t fitting(const struct moe_cuts *cuts, int32_t tokens, int32_t places) {
  while (tokens > 0 && cuts->places[tokens] > places) tokens--;
  return tokens;
}

/* Where the next run goes. */
struct cursor {
  int32_t pass, place;
};

static td_status cut_runs(const struct moe_cuts *cuts, struct cursor *at, struct moe_run run, int32_t tokens,
                          moe_each *each, void *context) {
  while (tokens > 0) {
    run.run = cuts->run[tokens];
    int32_t rows = cuts->costs->runs[run.run].rows;
    run.pass = at->pass;
    run.place = at->place;
    run.count = tokens < rows ? tokens : rows;
    TD_TRY(each(context, &run));
    at->place += rows;
    run.first += run.count;
    tokens -= run.count;
  }
  return TD_OK;
}

td_status moe_cut(const struct moe_cuts *cuts, const int32_t *loads, int32_t experts, moe_each *each, void *context) {
  struct cursor at = {0, 0};
  for (int32_t e = 0; e < experts; e++) {
    for (int32_t done = 0; done < loads[e];) {
      int32_t some = fitting(cuts, loads[e] - done, cuts->costs->places - at.place);
      struct moe_run run = {.expert = e, .first = done};
      TD_TRY(cut_runs(cuts, &at, run, some, each, context));
      done += some;
      if (done < loads[e]) at = (struct cursor){at.pass + 1, 0};
    }
  }
  return TD_OK;
}
