/* SPDX-License-Identifier: Apache-2.0
 *
 * A program as a whole: every segment is run by an entry, loops run through what patches say that they do, KV blocks
 * are what planes take, images have data of their own.
 */
#include <stdlib.h>

#include "check.h"

/* ---- that nothing is left over ---- */

static td_status check_runs(const struct check *check, bool *is_run) {
  const struct td_lpu_program *program = check->program;
  for (int32_t e = 0; e < program->entry_count; e++) {
    const struct td_lpu_entry *entry = &program->entries[e];
    for (int64_t i = entry->link; i < (int64_t)entry->link + entry->link_count; i++) {
      if (i < 0 || i >= program->link_count) break; /* another entry than the one that is checked */
      const struct td_lpu_link *link = &program->links[i];
      bool known = link->segment >= 0 && link->segment < program->segment_count;
      if (link->kind == TD_LINK_RUN && known) is_run[link->segment] = true;
    }
  }
  for (int32_t s = 0; s < program->segment_count; s++) {
    if (is_run[s] || program->segments[s].instruction_count == 0) continue;
    return td_fail(TD_CORRUPT, "program: segment %d (%.31s): found no entry that runs it, expected one", s,
                   program->segments[s].name);
  }
  return TD_OK;
}

/* ---- KV blocks ---- */

static bool moves_by_blocks(const struct td_lpu_segment *segment, bool experts) {
  for (int32_t i = 0; i < segment->patch_count; i++) {
    const int32_t *by = segment->patches[i].coefficient;
    if (by[TD_VAR_BLOCK] || (by[TD_VAR_KV_BLOCK] && !experts) || by[TD_VAR_SLOT]) return true;
  }
  return false;
}

/* Then the variable of KV blocks is theirs. */
static bool has_experts(const struct td_lpu_program *program) {
  for (int32_t i = 0; i < program->entry_count; i++) {
    if (program->entries[i].work == TD_LPU_WORK_EXPERT) return true;
  }
  return false;
}

static td_status check_blocks(const struct check *check) {
  const struct td_lpu_program *program = check->program;
  int32_t tokens = program->block_tokens, vectors = check->machine->load_vectors;
  bool used = false, experts = has_experts(program);
  for (int32_t s = 0; s < program->segment_count; s++) used = used || moves_by_blocks(&program->segments[s], experts);
  if (tokens == 0 && !used) return TD_OK;
  if (tokens > 0 && tokens % vectors == 0 && tokens <= check->machine->lanes) return TD_OK;
  return td_fail(TD_CORRUPT, "program: found KV blocks of %d tokens, expected a multiple of %d up to %d", tokens,
                 vectors, check->machine->lanes);
}

/* ---- data ---- */

static int by_place(const void *a, const void *b) {
  const struct td_lpu_image *const *x = a, *const *y = b;
  return (*x)->data < (*y)->data ? -1 : (*x)->data > (*y)->data;
}

/* Two images are one and the same data, or none of each other's. */
static td_status check_apart(const struct td_lpu_image **sorted, int32_t count) {
  for (int32_t i = 1; i < count; i++) {
    const struct td_lpu_image *x = sorted[i - 1], *y = sorted[i];
    bool same = x->data == y->data && x->data_bytes == y->data_bytes;
    if (same || y->data - x->data >= x->data_bytes) continue;
    return td_fail(TD_CORRUPT, "program: image %.47s: found data inside those of %.47s, expected data of its own",
                   y->name, x->name);
  }
  return TD_OK;
}

static td_status check_data(const struct check *check) {
  const struct td_lpu_program *program = check->program;
  const struct td_lpu_image **sorted = malloc(((size_t)program->image_count + 1) * sizeof *sorted);
  if (!sorted) return td_fail(TD_NO_MEMORY, "checker: no memory for %d images", program->image_count);
  int32_t count = 0;
  for (int32_t i = 0; i < program->image_count; i++) {
    if (program->images[i].data_bytes) sorted[count++] = &program->images[i];
  }
  qsort(sorted, (size_t)count, sizeof *sorted, by_place);
  td_status status = check_apart(sorted, count);
  free(sorted);
  return status;
}

td_status check_whole(struct check *check) {
  bool *is_run = calloc((size_t)check->program->segment_count + 1, sizeof *is_run);
  if (!is_run) return td_fail(TD_NO_MEMORY, "checker: no memory for %d segments", check->program->segment_count);
  td_status status = check_runs(check, is_run);
  free(is_run);
  TD_TRY(status);
  TD_TRY(check_blocks(check));
  return check_data(check);
}

/* ---- loops ---- */

/* The values that a variable takes around a segment, in all entries together. */
struct span {
  bool counted; /* else there is no loop, or the step says how far it goes */
  bool looped;
  int32_t first, last;
};

static void widen(struct span *span, const struct td_lpu_link *loop) {
  int32_t last = loop->first + loop->count - 1;
  if (!span->looped || loop->first < span->first) span->first = loop->first;
  if (!span->looped || last > span->last) span->last = last;
  span->looped = true;
  span->counted = loop->count > 0;
}

static void span_entry(const struct td_lpu_program *program, const struct td_lpu_entry *entry, struct span *spans) {
  const struct td_lpu_link *around[TD_LPU_VARIABLES];
  int32_t depth = 0;
  for (int32_t i = entry->link; i < entry->link + entry->link_count; i++) {
    const struct td_lpu_link *link = &program->links[i];
    if (link->kind == TD_LINK_LOOP) around[depth++] = link; /* check_program.c: no more than variables */
    if (link->kind == TD_LINK_END) depth--;
    if (link->kind != TD_LINK_RUN) continue;
    for (int32_t k = 0; k < depth; k++) {
      widen(&spans[(int64_t)link->segment * TD_LPU_VARIABLES + around[k]->variable], around[k]);
    }
  }
}

static void judge_patch(struct check *check, const struct td_lpu_segment *segment, int32_t number,
                        const struct span *spans) {
  const struct td_lpu_patch *patch = &segment->patches[number];
  for (int32_t v = 0; v < TD_LPU_VARIABLES; v++) {
    const struct span *span = &spans[v];
    if (!patch->coefficient[v] || !span->looped) continue;
    if (patch->low[v] == span->first && (!span->counted || patch->high[v] == span->last)) continue;
    char to[24] = "on";
    if (span->counted) snprintf(to, sizeof to, "to %d", span->last);
    check_found(check, TD_RULE_SEGMENT, NULL, "segment %.31s: its loops go from %d %s, patch %d says %d..%d",
                segment->name, span->first, to, number, patch->low[v], patch->high[v]);
  }
}

/* Loops around a segment go through what the segment's patches say, whose both ends are checked: a patch that goes
 * further names layers that nobody computes. */
td_status check_loops(struct check *check) {
  const struct td_lpu_program *program = check->program;
  struct span *spans = calloc((size_t)program->segment_count * TD_LPU_VARIABLES + 1, sizeof *spans);
  if (!spans) return td_fail(TD_NO_MEMORY, "checker: no memory for %d segments", program->segment_count);
  for (int32_t i = 0; i < program->entry_count; i++) span_entry(program, &program->entries[i], spans);
  for (int32_t s = 0; s < program->segment_count; s++) {
    const struct td_lpu_segment *segment = &program->segments[s];
    for (int32_t i = 0; i < segment->patch_count; i++) {
      judge_patch(check, segment, i, spans + (int64_t)s * TD_LPU_VARIABLES);
    }
  }
  free(spans);
  return TD_OK;
}
