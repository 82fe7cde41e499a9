/* SPDX-License-Identifier: Apache-2.0
 *
 * Layout records: what the bytes of a chunk are. The table of fields drives the comparison, so a field that is added to
 * the record and forgotten here does not compile (see the assertions).
 */
#include <inttypes.h>
#include <string.h>

#include "kv_private.h"
#include "tandem/base.h"

_Static_assert(sizeof(struct td_kv_layout) == 80, "the wire record has no padding; add new fields to layout_fields");
_Static_assert(sizeof(struct td_kv_chunk) == 144, "the wire record has no padding; check new fields in kv_import.c");

enum field_kind { FIELD_NUMBER, FIELD_DTYPE, FIELD_ORDER, FIELD_POSITION };
struct layout_field {
  const char *name;
  size_t offset, bytes;
  enum field_kind kind;
};

#define FIELD(name, kind) \
  { #name, offsetof(struct td_kv_layout, name), sizeof(((struct td_kv_layout *)0)->name), kind }
static const struct layout_field layout_fields[] = {
    FIELD(version, FIELD_NUMBER),        FIELD(dtype, FIELD_DTYPE),          FIELD(scale_granularity, FIELD_NUMBER),
    FIELD(k_order, FIELD_ORDER),         FIELD(v_order, FIELD_ORDER),        FIELD(block_tokens, FIELD_NUMBER),
    FIELD(head_begin, FIELD_NUMBER),     FIELD(head_end, FIELD_NUMBER),      FIELD(layer_begin, FIELD_NUMBER),
    FIELD(layer_end, FIELD_NUMBER),      FIELD(head_dim, FIELD_NUMBER),      FIELD(position_encoding, FIELD_POSITION),
    FIELD(k_token_stride, FIELD_NUMBER), FIELD(k_head_stride, FIELD_NUMBER), FIELD(v_token_stride, FIELD_NUMBER),
    FIELD(v_head_stride, FIELD_NUMBER),
};
#define FIELD_COUNT ((int)(sizeof layout_fields / sizeof *layout_fields))

static uint64_t field_value(const struct td_kv_layout *layout, const struct layout_field *field) {
  const char *at = (const char *)layout + field->offset;
  uint32_t narrow;
  uint64_t wide;
  if (field->bytes == sizeof narrow) {
    memcpy(&narrow, at, sizeof narrow);
    return narrow;
  }
  memcpy(&wide, at, sizeof wide);
  return wide;
}

static const char *order_name(uint64_t order) {
  switch (order) {
    case TD_KV_TOKEN_HEAD_DIM:
      return "token_head_dim";
    case TD_KV_HEAD_TOKEN_DIM:
      return "head_token_dim";
    case TD_KV_HEAD_DIM_TOKEN:
      return "head_dim_token";
    default:
      return NULL;
  }
}

static const char *value_name(enum field_kind kind, uint64_t value) {
  if (kind == FIELD_ORDER) return order_name(value);
  if (kind == FIELD_POSITION) {
    if (value == TD_KV_POSITION_NONE) return "none";
    return value == TD_KV_POSITION_ROPE_APPLIED ? "rope_applied" : NULL;
  }
  const struct td_dtype_info *info = value <= UINT32_MAX ? td_dtype_info((uint32_t)value) : NULL;
  return kind == FIELD_DTYPE && info ? info->name : NULL;
}

/* A value as people read it: "f16", or the number where there is no name. */
struct value_text {
  char text[32];
};
static struct value_text show(const struct layout_field *field, uint64_t value) {
  struct value_text out;
  const char *name = value_name(field->kind, value);
  if (name) {
    snprintf(out.text, sizeof out.text, "%s", name);
  } else {
    snprintf(out.text, sizeof out.text, "%" PRIu64, value);
  }
  return out;
}

td_status td_kv_layout_check(const struct td_kv_layout *got, const struct td_kv_layout *want) {
  for (int i = 0; i < FIELD_COUNT; i++) {
    const struct layout_field *field = &layout_fields[i];
    uint64_t found = field_value(got, field), expected = field_value(want, field);
    if (found == expected) continue;
    return td_fail(TD_CORRUPT, "KV layout field %s: found %s, expected %s", field->name, show(field, found).text,
                   show(field, expected).text);
  }
  return TD_OK;
}

struct td_kv_strides td_kv_strides_of(const struct td_kv_layout *layout, uint32_t order) {
  uint64_t element = layout->dtype == TD_F16 ? 2 : 4;
  uint64_t head = layout->head_dim * element, heads = layout->head_end - layout->head_begin;
  switch (order) {
    case TD_KV_TOKEN_HEAD_DIM:
      return (struct td_kv_strides){heads * head, head};
    case TD_KV_HEAD_TOKEN_DIM:
      return (struct td_kv_strides){head, 0};
    default:
      return (struct td_kv_strides){element, 0};
  }
}

struct td_kv_layout td_kv_layout_canonical(const struct td_shape *shape, enum td_dtype dtype, int32_t block_tokens,
                                           int32_t layer_begin, int32_t layer_end) {
  struct td_kv_layout layout = {
      .version = TD_KV_LAYOUT_VERSION,
      .dtype = (uint32_t)dtype,
      .k_order = TD_KV_TOKEN_HEAD_DIM,
      .v_order = TD_KV_TOKEN_HEAD_DIM,
      .block_tokens = (uint32_t)block_tokens,
      .head_end = (uint32_t)shape->kv_heads,
      .layer_begin = (uint32_t)layer_begin,
      .layer_end = (uint32_t)layer_end,
      .head_dim = (uint32_t)shape->head_dim,
      .position_encoding = TD_KV_POSITION_ROPE_APPLIED,
  };
  struct td_kv_strides strides = td_kv_strides_of(&layout, TD_KV_TOKEN_HEAD_DIM);
  layout.k_token_stride = layout.v_token_stride = strides.token;
  layout.k_head_stride = layout.v_head_stride = strides.head;
  return layout;
}

static td_status refuse(const char *field, uint64_t found, const char *expected) {
  return td_fail(TD_UNSUPPORTED, "KV layout field %s: found %" PRIu64 ", expected %s", field, found, expected);
}

static td_status refuse_unequal(const char *field, uint64_t found, uint64_t expected) {
  return td_fail(TD_UNSUPPORTED, "KV layout field %s: found %" PRIu64 ", expected %" PRIu64 "; this is not converted",
                 field, found, expected);
}

static td_status check_dtype(const struct td_kv_layout *layout) {
  if (layout->dtype != TD_F32 && layout->dtype != TD_F16) return refuse("dtype", layout->dtype, "f32 (0) or f16 (1)");
  if (layout->scale_granularity) return refuse("scale_granularity", layout->scale_granularity, "0 (unscaled)");
  return TD_OK;
}

static td_status check_strides(const struct td_kv_layout *from) {
  struct td_kv_strides k = td_kv_strides_of(from, from->k_order), v = td_kv_strides_of(from, from->v_order);
  if (from->k_token_stride != k.token) return refuse_unequal("k_token_stride", from->k_token_stride, k.token);
  if (from->k_head_stride != k.head) return refuse_unequal("k_head_stride", from->k_head_stride, k.head);
  if (from->v_token_stride != v.token) return refuse_unequal("v_token_stride", from->v_token_stride, v.token);
  if (from->v_head_stride != v.head) return refuse_unequal("v_head_stride", from->v_head_stride, v.head);
  return TD_OK;
}

td_status td_kv_layout_convertible(const struct td_kv_layout *from, const struct td_kv_layout *to) {
  if (from->version != to->version) return refuse_unequal("version", from->version, to->version);
  TD_TRY(check_dtype(from));
  TD_TRY(check_dtype(to));
  if (!order_name(from->k_order)) return refuse("k_order", from->k_order, "an order of enum td_kv_order");
  if (!order_name(from->v_order)) return refuse("v_order", from->v_order, "an order of enum td_kv_order");
  if (from->block_tokens < 1 || from->block_tokens > INT32_MAX) {
    return refuse("block_tokens", from->block_tokens, "1 to 2147483647");
  }
  if (from->head_begin != to->head_begin) return refuse_unequal("head_begin", from->head_begin, to->head_begin);
  if (from->head_end != to->head_end) return refuse_unequal("head_end", from->head_end, to->head_end);
  if (from->layer_begin > to->layer_begin) return refuse_unequal("layer_begin", from->layer_begin, to->layer_begin);
  if (from->layer_end < to->layer_end) return refuse_unequal("layer_end", from->layer_end, to->layer_end);
  if (from->head_dim != to->head_dim) return refuse_unequal("head_dim", from->head_dim, to->head_dim);
  if (from->position_encoding != to->position_encoding) {
    return refuse_unequal("position_encoding", from->position_encoding, to->position_encoding);
  }
  return check_strides(from);
}
