/* SPDX-License-Identifier: Apache-2.0
 *
 * GGUF tensor infos: reading the list, then judging types, sizes and places.
 */
#include <stdlib.h>
#include <string.h>

#include "gguf_cursor.h"
#include "tandem/base.h"

#define DIMS_MAX 4
/* Above any real tensor, and low enough that bytes of rows and sums of sizes stay far from 2^64. */
#define ELEMENTS_MAX (UINT64_C(1) << 48)

/* Names of ggml's types, so that a file is refused by what it holds; empty: retired numbers. */
static const char *const type_names[] = {
    "F32",    "F16",      "Q4_0",     "Q4_1",     "Q4_2",  "Q4_3",  "Q5_0",       "Q5_1",       "Q8_0",       "Q8_1",
    "Q2_K",   "Q3_K",     "Q4_K",     "Q5_K",     "Q6_K",  "Q8_K",  "IQ2_XXS",    "IQ2_XS",     "IQ3_XXS",    "IQ1_S",
    "IQ4_NL", "IQ3_S",    "IQ2_S",    "IQ4_XS",   "I8",    "I16",   "I32",        "I64",        "F64",        "IQ1_M",
    "BF16",   "Q4_0_4_4", "Q4_0_4_8", "Q4_0_8_8", "TQ1_0", "TQ2_0", "IQ4_NL_4_4", "IQ4_NL_4_8", "IQ4_NL_8_8", "MXFP4",
};

static td_status read_name(struct td_cursor *cursor, struct td_gguf_info *info) {
  TD_TRY(td_cursor_text(cursor, "name", &info->name));
  if (!info->name.bytes || info->name.bytes >= TD_NAME_BYTES || memchr(info->name.data, 0, info->name.bytes)) {
    return td_cursor_fail(cursor, TD_CORRUPT, "name", "found %" PRIu64 " bytes, expected 1 to %d without NUL",
                          info->name.bytes, TD_NAME_BYTES - 1);
  }
  cursor->name = info->name;
  return TD_OK;
}

static td_status read_dims(struct td_cursor *cursor, struct td_gguf_info *info) {
  TD_TRY(td_cursor_u32(cursor, "number of dimensions", &info->dims));
  if (info->dims < 1 || info->dims > DIMS_MAX) {
    return td_cursor_fail(cursor, TD_CORRUPT, "number of dimensions", "found %" PRIu32 ", expected 1 to %d", info->dims,
                          DIMS_MAX);
  }
  uint64_t elements = 1;
  for (uint32_t i = 0; i < DIMS_MAX; i++) {
    info->ne[i] = 1;
    if (i < info->dims) TD_TRY(td_cursor_u64(cursor, "dimension", &info->ne[i]));
    if (!info->ne[i] || !td_mul_size(elements, info->ne[i], &elements) || elements > ELEMENTS_MAX) {
      return td_cursor_fail(cursor, TD_CORRUPT, "dimension",
                            "found %" PRIu64 " in place %" PRIu32 ", expected at least 1 and at most 2^48 elements",
                            info->ne[i], i);
    }
  }
  return TD_OK;
}

static td_status read_info(struct td_cursor *cursor, struct td_gguf_info *info) {
  TD_TRY(read_name(cursor, info));
  TD_TRY(read_dims(cursor, info));
  TD_TRY(td_cursor_u32(cursor, "type", &info->type));
  return td_cursor_u64(cursor, "offset", &info->offset);
}

static int compare_infos(const void *a, const void *b) {
  return td_span_compare(((const struct td_gguf_info *)a)->name, ((const struct td_gguf_info *)b)->name);
}

td_status td_gguf_read_infos(struct td_gguf *gguf, struct td_cursor *cursor, uint64_t count) {
  size_t capacity = 0;
  for (uint64_t i = 0; i < count; i++) {
    cursor->section = "tensor";
    cursor->index = i;
    cursor->name = (struct td_span){0};
    struct td_gguf_info info = {0};
    TD_TRY(read_info(cursor, &info));
    TD_TRY(td_grow((void **)&gguf->infos, &capacity, gguf->info_count + 1, sizeof info));
    gguf->infos[gguf->info_count++] = info;
  }
  cursor->section = NULL;
  if (gguf->info_count) qsort(gguf->infos, gguf->info_count, sizeof *gguf->infos, compare_infos);
  for (size_t i = 1; i < gguf->info_count; i++) {
    if (!compare_infos(&gguf->infos[i - 1], &gguf->infos[i])) {
      return td_fail(TD_CORRUPT, "%s: tensor %.*s: found twice, expected once", gguf->path,
                     TD_SPAN_SHOW(gguf->infos[i].name));
    }
  }
  return TD_OK;
}

static td_status tensor_fail(const struct td_gguf *gguf, const struct td_gguf_info *info, const char *field,
                             uint64_t found, const char *expected, uint64_t limit) {
  return td_fail(TD_CORRUPT, "%s: tensor %.*s: %s: found %" PRIu64 ", expected %s %" PRIu64, gguf->path,
                 TD_SPAN_SHOW(info->name), field, found, expected, limit);
}

static td_status unknown_type(const struct td_gguf *gguf, const struct td_gguf_info *info) {
  bool named = info->type < sizeof type_names / sizeof type_names[0];
  char known[128] = "";
  for (int i = 0; td_dtype_at(i); i++) {
    size_t used = strlen(known);
    TD_TRY(td_format(known + used, sizeof known - used, "%s%s", i ? ", " : "", td_dtype_at(i)->name));
  }
  return td_fail(named ? TD_UNSUPPORTED : TD_CORRUPT,
                 "%s: tensor %.*s: type: found %s (%" PRIu32 "), expected one of %s", gguf->path,
                 TD_SPAN_SHOW(info->name), named ? type_names[info->type] : "an unknown number", info->type, known);
}

static td_status place_tensor(const struct td_gguf *gguf, const struct td_gguf_info *info, struct td_tensor *tensor) {
  const struct td_dtype_info *dtype = td_dtype_info(info->type);
  uint64_t row_bytes, end, room = gguf->size - gguf->data_begin;
  if (!dtype || dtype->priced_only) return unknown_type(gguf, info);
  if (info->ne[0] % (uint64_t)dtype->block_elements) {
    return tensor_fail(gguf, info, "dimension 0", info->ne[0], "a multiple of", (uint64_t)dtype->block_elements);
  }
  tensor->dtype = dtype->dtype;
  tensor->cols = (int64_t)info->ne[0];
  tensor->rows = (int64_t)(info->ne[1] * info->ne[2] * info->ne[3]);
  TD_TRY(td_dtype_row_bytes(dtype->dtype, tensor->cols, &row_bytes));
  tensor->bytes = row_bytes * (uint64_t)tensor->rows; /* ELEMENTS_MAX bounds it */
  if (info->offset % gguf->alignment) {
    return tensor_fail(gguf, info, "offset", info->offset, "a multiple of the alignment", gguf->alignment);
  }
  if (!td_add_size(info->offset, tensor->bytes, &end) || end > room) {
    return td_fail(TD_CORRUPT,
                   "%s: tensor %.*s: place: found %" PRIu64 " bytes at offset %" PRIu64
                   ", expected them inside the file's %" PRIu64 " data bytes (truncated?)",
                   gguf->path, TD_SPAN_SHOW(info->name), tensor->bytes, info->offset, room);
  }
  tensor->data = gguf->base + gguf->data_begin + info->offset;
  return TD_OK;
}

static int compare_places(const void *a, const void *b) {
  const struct td_tensor *const *x = a, *const *y = b;
  return ((*x)->data > (*y)->data) - ((*x)->data < (*y)->data);
}

static td_status check_overlaps(const struct td_gguf *gguf) {
  const struct td_tensor **sorted;
  TD_TRY(td_alloc(gguf->info_count, sizeof *sorted, (void **)&sorted));
  for (size_t i = 0; i < gguf->info_count; i++) sorted[i] = &gguf->tensors[i];
  qsort(sorted, gguf->info_count, sizeof *sorted, compare_places);
  td_status status = TD_OK;
  for (size_t i = 1; i < gguf->info_count && status == TD_OK; i++) {
    const unsigned char *end = (const unsigned char *)sorted[i - 1]->data + sorted[i - 1]->bytes;
    if ((const unsigned char *)sorted[i]->data < end) {
      status = td_fail(TD_CORRUPT, "%s: tensor %s: place: found it overlapping tensor %s, expected bytes of its own",
                       gguf->path, sorted[i]->name, sorted[i - 1]->name);
    }
  }
  free(sorted);
  return status;
}

/* One block of memory for all names. */
static td_status copy_names(struct td_gguf *gguf) {
  size_t bytes = 0;
  for (size_t i = 0; i < gguf->info_count; i++) bytes += gguf->infos[i].name.bytes + 1;
  TD_TRY(td_alloc(bytes, 1, (void **)&gguf->names));
  char *name = gguf->names;
  for (size_t i = 0; i < gguf->info_count; i++) {
    memcpy(name, gguf->infos[i].name.data, gguf->infos[i].name.bytes);
    gguf->tensors[i].name = name;
    name += gguf->infos[i].name.bytes + 1;
  }
  return TD_OK;
}

td_status td_gguf_place(struct td_gguf *gguf) {
  TD_TRY(td_alloc(gguf->info_count, sizeof *gguf->tensors, (void **)&gguf->tensors));
  TD_TRY(copy_names(gguf));
  for (size_t i = 0; i < gguf->info_count; i++) TD_TRY(place_tensor(gguf, &gguf->infos[i], &gguf->tensors[i]));
  return check_overlaps(gguf);
}

static int compare_name(const void *key, const void *tensor) {
  return strcmp(key, ((const struct td_tensor *)tensor)->name);
}

const struct td_tensor *td_gguf_tensor(const struct td_gguf *gguf, const char *name) {
  if (!gguf->tensors || !gguf->info_count) return NULL;
  return bsearch(name, gguf->tensors, gguf->info_count, sizeof *gguf->tensors, compare_name);
}
