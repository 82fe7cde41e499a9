/* SPDX-License-Identifier: Apache-2.0
 *
 * A GGUF file's tensors against the list of its architecture's weights.
 */
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "arch.h"
#include "tandem/base.h"

struct check {
  const struct td_gguf *gguf;
  const struct td_shape *shape;
  bool *known; /* per tensor of the file */
};

/* The axes a weight has in a file, fast axis first. */
static void axes_of(const struct td_shape *shape, enum td_role role, const struct td_weight *want, uint64_t axes[4]) {
  int64_t stacked = td_role_is_experts(role) ? shape->experts : 1;
  axes[0] = (uint64_t)want->cols;
  axes[1] = (uint64_t)(want->rows / stacked);
  axes[2] = (uint64_t)stacked;
  axes[3] = 1;
}

static td_status check_axes(const struct check *check, enum td_role role, const struct td_weight *want,
                            const struct td_gguf_info *info) {
  uint64_t axes[4];
  axes_of(check->shape, role, want, axes);
  if (!memcmp(axes, info->ne, sizeof axes)) return TD_OK;
  if (axes[2] * info->ne[2] * info->ne[3] == 1) {
    return td_fail(TD_CORRUPT,
                   "%s: tensor %s: shape: found %" PRIu64 " rows of %" PRIu64 ", expected %" PRIu64 " rows of %" PRIu64,
                   check->gguf->path, want->name, info->ne[1], info->ne[0], axes[1], axes[0]);
  }
  return td_fail(TD_CORRUPT,
                 "%s: tensor %s: shape: found %" PRIu64 " x %" PRIu64 " x %" PRIu64 " x %" PRIu64 ", expected %" PRIu64
                 " x %" PRIu64 " x %" PRIu64,
                 check->gguf->path, want->name, info->ne[0], info->ne[1], info->ne[2], info->ne[3], axes[0], axes[1],
                 axes[2]);
}

static td_status check_tensor(struct check *check, enum td_role role, int32_t layer) {
  struct td_weight want;
  td_role_weight(check->shape, role, layer, &want);
  const struct td_tensor *got = td_gguf_tensor(check->gguf, want.name);
  if (!got) {
    return td_fail(TD_CORRUPT, "%s: tensor %s: found none, expected %" PRId64 " x %" PRId64 " values",
                   check->gguf->path, want.name, want.rows, want.cols);
  }
  size_t at = (size_t)(got - check->gguf->tensors);
  TD_TRY(check_axes(check, role, &want, &check->gguf->infos[at]));
  if (td_role_is_f32(role) && got->dtype != TD_F32) {
    return td_fail(TD_UNSUPPORTED, "%s: tensor %s: type: found %s, expected f32", check->gguf->path, want.name,
                   td_dtype_info((uint32_t)got->dtype)->name);
  }
  check->known[at] = true;
  return TD_OK;
}

static td_status check_known(const struct check *check) {
  for (size_t i = 0; i < check->gguf->info_count; i++) {
    if (check->known[i]) continue;
    return td_fail(TD_UNSUPPORTED,
                   "%s: tensor %s: found a tensor that is no part of a %s of %" PRId32
                   " layers, expected none that would be ignored",
                   check->gguf->path, check->gguf->tensors[i].name, td_arch_name(check->shape->arch),
                   check->shape->layers);
  }
  return TD_OK;
}

static td_status check_all(struct check *check) {
  for (enum td_role role = 0; role < TD_ROLE_LAYER_FIRST; role++) {
    if (td_role_has(check->shape, role, -1)) TD_TRY(check_tensor(check, role, -1));
  }
  for (int32_t layer = 0; layer < check->shape->layers; layer++) {
    for (enum td_role role = TD_ROLE_LAYER_FIRST; role < TD_ROLE_COUNT; role++) {
      if (td_role_has(check->shape, role, layer)) TD_TRY(check_tensor(check, role, layer));
    }
  }
  return check_known(check);
}

/* They divide frequencies: zero, negative or NaN would turn into positions that make no sense, silently. */
static td_status check_rope_factors(const struct td_gguf *gguf, const struct td_tensor *factors) {
  for (int64_t i = 0; i < factors->cols; i++) {
    float factor;
    memcpy(&factor, (const char *)factors->data + (size_t)i * sizeof factor, sizeof factor);
    if (!isfinite(factor) || factor <= 0) {
      return td_fail(TD_CORRUPT, "%s: tensor %s: value %" PRId64 ": found %g, expected a positive number", gguf->path,
                     factors->name, i, (double)factor);
    }
  }
  return TD_OK;
}

static const struct td_tensor *find(const struct td_gguf *gguf, const struct td_shape *shape, enum td_role role) {
  struct td_weight weight;
  td_role_weight(shape, role, 0, &weight);
  return td_gguf_tensor(gguf, weight.name);
}

static td_status read_vocab(const struct td_gguf *gguf, struct td_shape *shape) {
  char key[64];
  const struct td_tensor *embed = find(gguf, shape, TD_ROLE_EMBED);
  if (!embed) return td_fail(TD_CORRUPT, "%s: tensor token_embd.weight: found none, expected one", gguf->path);
  if (embed->rows > TD_VOCAB_MAX) {
    return td_fail(TD_CORRUPT, "%s: tensor token_embd.weight: rows: found %" PRId64 ", expected 1 to %d", gguf->path,
                   embed->rows, TD_VOCAB_MAX);
  }
  shape->vocab = (int32_t)embed->rows;
  TD_TRY(td_format(key, sizeof key, "%s.vocab_size", td_arch_name(shape->arch)));
  if (!td_gguf_find(gguf, key)) return TD_OK;
  int64_t declared;
  TD_TRY(td_gguf_int(gguf, key, 1, TD_VOCAB_MAX, &declared));
  if (declared == shape->vocab) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: %s: found %" PRId64 ", expected %" PRId32 ", the rows of %s", gguf->path, key,
                 declared, shape->vocab, embed->name);
}

td_status td_arch_check_tensors(const struct td_gguf *gguf, struct td_shape *shape) {
  TD_TRY(read_vocab(gguf, shape));
  shape->tied_output = !find(gguf, shape, TD_ROLE_OUTPUT);
  /* without the trait a tensor of this name is one too many, and refused as such */
  const struct td_tensor *factors = find(gguf, shape, TD_ROLE_ROPE_FREQS);
  shape->rope_factors = factors && td_arch_info(shape->arch)->traits & TD_HAS_FACTORS;
  struct check check = {.gguf = gguf, .shape = shape};
  TD_TRY(td_alloc(gguf->info_count, sizeof *check.known, (void **)&check.known));
  td_status status = check_all(&check);
  free(check.known);
  TD_TRY(status);
  bool experts = td_role_has(shape, TD_ROLE_EXPERT_DOWN, 0);
  shape->weight_dtype = find(gguf, shape, experts ? TD_ROLE_EXPERT_DOWN : TD_ROLE_DOWN)->dtype;
  shape->expert_dtype = shape->weight_dtype;
  return shape->rope_factors ? check_rope_factors(gguf, factors) : TD_OK;
}
