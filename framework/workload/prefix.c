/* SPDX-License-Identifier: Apache-2.0 */
#include "prefix.h"

#include <stdlib.h>

td_status prefixes_open(const struct td_cfg_source *source, int64_t block, uint64_t seed,
                        struct prefixes *out_prefixes) {
  struct prefixes prefixes = {
      .levels = source->prefixes.items, .level_count = source->prefixes.count, .block = block, .seed = seed};
  for (int32_t l = 0; l < prefixes.level_count; l++) {
    const struct td_cfg_prefix *level = &prefixes.levels[l];
    double sum = 0;
    if (!(level->skew > 0)) continue;
    td_status status = td_alloc((size_t)level->choices, sizeof(double), (void **)&prefixes.skewed[l]);
    if (status) {
      prefixes_close(&prefixes);
      return status;
    }
    for (int64_t k = 0; k < level->choices; k++) {
      sum += draw_exp(-level->skew * draw_log((double)(k + 1)));
      prefixes.skewed[l][k] = sum;
    }
  }
  *out_prefixes = prefixes;
  return TD_OK;
}

void prefixes_close(struct prefixes *prefixes) {
  for (int32_t l = 0; l < PREFIX_LEVELS_MAX; l++) free(prefixes->skewed[l]);
  free(prefixes->hashes);
  *prefixes = (struct prefixes){0};
}

static td_status reserve(struct prefixes *prefixes, int64_t tokens) {
  prefixes->count = (int32_t)(tokens / prefixes->block);
  return td_grow((void **)&prefixes->hashes, &prefixes->capacity, (size_t)prefixes->count + 1,
                 sizeof *prefixes->hashes);
}

static uint64_t choose(const struct prefixes *prefixes, int32_t l, double unit) {
  const struct td_cfg_prefix *level = &prefixes->levels[l];
  const double *sums = prefixes->skewed[l];
  if (!sums) return (uint64_t)(unit * (double)level->choices);
  int64_t low = 0, high = level->choices - 1;
  double at = unit * sums[high];
  while (low < high) {
    int64_t middle = low + (high - low) / 2;
    if (sums[middle] > at) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return (uint64_t)low;
}

/* The path's levels, as sums of tokens and as hashes of all choices so far. */
static int32_t walk(const struct prefixes *prefixes, uint64_t i, int64_t *ends, uint64_t *paths) {
  uint64_t path = td_random(prefixes->seed, DRAW_BRANCH, UINT64_MAX);
  int64_t tokens = 0;
  for (int32_t l = 0; l < prefixes->level_count; l++) {
    uint64_t counter = i * PREFIX_LEVELS_MAX + (uint64_t)l;
    double share = prefixes->levels[l].share;
    if (share < 1 && !(td_random_unit(prefixes->seed, DRAW_SHARE, counter) < share)) return l;
    path = td_random(path, (uint64_t)l, choose(prefixes, l, td_random_unit(prefixes->seed, DRAW_BRANCH, counter)));
    tokens += prefixes->levels[l].tokens;
    ends[l] = tokens;
    paths[l] = path;
  }
  return prefixes->level_count;
}

td_status prefixes_tree(struct prefixes *prefixes, uint64_t i, int64_t *out_tokens) {
  int64_t ends[PREFIX_LEVELS_MAX];
  uint64_t paths[PREFIX_LEVELS_MAX];
  int32_t levels = walk(prefixes, i, ends, paths), l = 0;
  *out_tokens = levels ? ends[levels - 1] : 0;
  TD_TRY(reserve(prefixes, *out_tokens));
  for (int32_t b = 0; b < prefixes->count; b++) {
    while (ends[l] < (b + 1) * prefixes->block) l++; /* a block is of the level of its last token */
    prefixes->hashes[b] = td_random(paths[l], UINT64_MAX, (uint64_t)b);
  }
  return TD_OK;
}

td_status prefixes_group(struct prefixes *prefixes, uint64_t key, int64_t tokens) {
  TD_TRY(reserve(prefixes, tokens));
  for (int32_t b = 0; b < prefixes->count; b++) prefixes->hashes[b] = td_random(key, UINT64_MAX, (uint64_t)b);
  return TD_OK;
}

/* From `shared` on the text is this turn's. What a first turn shares comes from before all sessions: turn -1. */
static td_status begin_segment(struct session *session, int64_t shared, int32_t turn) {
  while (session->segment_count && session->segments[session->segment_count - 1].begin >= shared) {
    session->segment_count--;
  }
  TD_TRY(td_grow((void **)&session->segments, &session->segment_capacity, (size_t)session->segment_count + 2,
                 sizeof *session->segments));
  if (turn == 0 && shared > 0) session->segments[session->segment_count++] = (struct segment){0, -1};
  session->segments[session->segment_count++] = (struct segment){shared, turn};
  return TD_OK;
}

/* What a turn's text is called, of which its blocks' hashes are made. */
static uint64_t text_of(const struct prefixes *prefixes, const struct session *session, int32_t turn) {
  return td_random(prefixes->seed, turn < 0 ? 0 : session->number, (uint64_t)((int64_t)turn + 1));
}

td_status prefixes_session(struct prefixes *prefixes, struct session *session) {
  const struct turn *turn = &session->turns[session->next];
  TD_TRY(begin_segment(session, turn->shared, session->next));
  TD_TRY(reserve(prefixes, turn->prompt + turn->output));
  int32_t b = 0;
  for (int32_t s = 0; s < session->segment_count; s++) {
    bool last = s + 1 == session->segment_count;
    int64_t end = last ? prefixes->count : session->segments[s + 1].begin / prefixes->block;
    uint64_t text = text_of(prefixes, session, session->segments[s].turn);
    for (; b < end; b++) prefixes->hashes[b] = td_random(text, UINT64_MAX, (uint64_t)b); /* by its last token */
  }
  return TD_OK;
}
