/* SPDX-License-Identifier: Apache-2.0
 *
 * Stages that are alike: compiled once where only lengths and counts are asked for. What a stage's segments take
 * follows from how many layers it has, of which kinds of attention, from whether it has the head, and from how its
 * chips are wired with each other; nothing else of the system is looked at while it is compiled.
 */
#include "compile.h"
#include "tandem/base.h"

/* ---- wiring ---- */

/* Where a link leads: the far end's number, counted from chip `first`; -1: to none of `count` chips. */
static int32_t far_end(const struct lpu_compiler *chips, int32_t first, int32_t count, int32_t at, int32_t link,
                       int32_t *out_link) {
  int32_t peer = 0;
  if (!td_lpu_link_peer(chips->machine, chips->chips, first + at, link, &peer, out_link)) return -1;
  return peer >= first && peer < first + count ? peer - first : -1;
}

/* Whether `count` chips from `a` on are wired with each other as those from `b` on are. */
static bool same_wiring(const struct lpu_compiler *chips, int32_t a, int32_t b, int32_t count) {
  for (int32_t at = 0; at < count; at++) {
    for (int32_t link = 0; link < chips->machine->links; link++) {
      int32_t left_link = 0, right_link = 0;
      int32_t left = far_end(chips, a, count, at, link, &left_link);
      if (left != far_end(chips, b, count, at, link, &right_link)) return false;
      if (left >= 0 && left_link != right_link) return false;
    }
  }
  return true;
}

/* ---- stages ---- */

static bool same_layers(const struct lpu_compiler *a, const struct lpu_compiler *b) {
  if (a->layers != b->layers) return false;
  for (int32_t layer = 0; layer < a->layers; layer++) {
    if (!lpu_same_kind(a->graph, lpu_layer_of(a, layer), lpu_layer_of(b, layer))) return false;
  }
  return true;
}

static bool is_alike(const struct lpu_compiler *chips, int32_t a, int32_t b) {
  int32_t tensor = chips->tensor;
  const struct lpu_compiler *first = chips + a * tensor, *second = chips + b * tensor;
  if (first->alike != a || !same_layers(first, second)) return false;
  /* A trial of places alone sends nothing. */
  return chips->builder->dry || same_wiring(chips, a * tensor, b * tensor, tensor);
}

int32_t lpu_find_alike(const struct lpu_compiler *chips, int32_t stage) {
  bool last = stage == chips->stages - 1;
  if (!chips->repeats || last || chips->ffn_only || chips->encoder) return stage;
  for (int32_t before = 0; before < stage; before++) {
    if (is_alike(chips, before, stage)) return before;
  }
  return stage;
}

int32_t lpu_find_forward(const struct lpu_compiler *chips, int32_t stage) {
  int32_t tensor = chips->tensor;
  const struct lpu_compiler *own = chips + stage * tensor;
  for (int32_t before = 1; chips->repeats && before < stage; before++) {
    const struct lpu_compiler *other = chips + before * tensor;
    if (other->alike != own->alike || (other - tensor)->alike != (own - tensor)->alike) continue;
    bool wired = chips->builder->dry || same_wiring(chips, (before - 1) * tensor, (stage - 1) * tensor, 2 * tensor);
    if (wired) return other->forward;
  }
  return -1;
}

td_status lpu_note_alike(const struct lpu_compiler *chips) {
  struct td_lpu_program *program = chips->builder->program;
  if (!chips->repeats) return TD_OK;
  TD_TRY(td_alloc((size_t)chips->chips, sizeof *program->alike, (void **)&program->alike));
  for (int32_t chip = 0; chip < chips->chips; chip++) {
    const struct lpu_compiler *stage = &chips[chip / chips->tensor * chips->tensor];
    program->alike[chip] = stage->alike * chips->tensor + chip % chips->tensor;
  }
  return TD_OK;
}

td_status lpu_view_here(struct lpu_compiler *compiler, int32_t image, struct lpu_tensor **out) {
  TD_TRY(lpu_view(compiler, image, out));
  if ((*out)->chip == compiler->chip) return TD_OK;
  int32_t count = (*out)->count;
  TD_TRY(lpu_part_tensor(compiler->builder, image, 0, (*out)->type, out));
  (*out)->chip = compiler->chip;
  (*out)->count = count;
  return TD_OK;
}
