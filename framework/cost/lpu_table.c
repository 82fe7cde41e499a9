/* SPDX-License-Identifier: Apache-2.0 */
#include "lpu_table.h"

#define REAL(dimension_)                                                           \
  (TD_DIM_##dimension_ == TD_DIM_HERTZ || TD_DIM_##dimension_ == TD_DIM_SECONDS || \
   TD_DIM_##dimension_ == TD_DIM_BYTES_PER_SECOND || TD_DIM_##dimension_ == TD_DIM_WATTS)

#define ROW(name_, dimension_, least_, most_, field_, help_)       \
  {.quantity = {.name = #name_,                                    \
                .help = help_,                                     \
                .offset = offsetof(struct td_lpu_machine, field_), \
                .kinds = 1 << TD_KIND_LPU,                         \
                .dimension = TD_DIM_##dimension_,                  \
                .least = least_,                                   \
                .most = most_},                                    \
   .whole = !REAL(dimension_)},
const struct td_lpu_number_row td_lpu_number_rows[TD_LPU_NUMBER_COUNT] = {TD_LPU_NUMBERS(ROW)};

_Static_assert(2 * 32 == TD_LPU_MOST_STREAMS, "load_vectors: pairs of the most streams there can be");

#define KEY(name_, dimension_, least_, most_, field_, help_)                                                 \
  {.name = #name_,                                                                                           \
   .type = TD_OPT_GROUP,                                                                                     \
   .fallback = "",                                                                                           \
   .help = help_,                                                                                            \
   .offset = offsetof(struct td_lpu_file, numbers) + TD_LPU_##name_##_ROW * sizeof(struct td_quantity_text), \
   .group = &td_quantity_group},
static const struct td_option options[] = {TD_LPU_NUMBERS(KEY){.name = NULL}};
_Static_assert(sizeof((struct td_lpu_file *)0)->numbers / sizeof(struct td_quantity_text) == TD_LPU_NUMBER_COUNT,
               "struct td_lpu_file has room for every number");
const struct td_option_group td_lpu_group = {"the lpu group", sizeof(struct td_lpu_file), options};
