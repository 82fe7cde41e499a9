/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/cost: the numbers of a device file, one table for reading, printing and asking.
 */
#ifndef TANDEM_COST_QUANTITY_H
#define TANDEM_COST_QUANTITY_H

#include <stddef.h>

#include "tandem/config.h"
#include "tandem/devices.h"

enum td_dimension {
  TD_DIM_BYTES,
  TD_DIM_BYTES_PER_SECOND,
  TD_DIM_FLOPS,
  TD_DIM_SECONDS,
  TD_DIM_WATTS,
  TD_DIM_FRACTION,
  TD_DIM_COUNT,
  TD_DIM_CYCLES,
  TD_DIM_HERTZ
};

/* A number as its group in the file gives it. */
struct td_quantity_text {
  double value, low, high; /* NaN: not given */
  const char *unit, *source;
  int evidence;
};

/* Every number a device file may hold: key and field, kind of device, dimension, least and most value in base units,
 * meaning. The bounds are wide on purpose: they catch a wrong unit, not a bold chip. */
#define TD_QUANTITIES(X)                                                                              \
  X(memory_bytes, CHIP, BYTES, 1, 1e18, "memory for weights and KV cache")                            \
  X(memory_bandwidth, CHIP, BYTES_PER_SECOND, 1e3, 1e18, "peak read rate of that memory")             \
  X(memory_efficiency, CHIP, FRACTION, 1e-3, 1, "share of the peak that streams reach")               \
  X(flops_f32, CHIP, FLOPS, 1e3, 1e21, "peak of float32 products, dense")                             \
  X(flops_bf16, CHIP, FLOPS, 1e3, 1e21, "peak of bfloat16 products, dense")                           \
  X(flops_f16, CHIP, FLOPS, 1e3, 1e21, "peak of float16 products, dense")                             \
  X(flops_fp8, CHIP, FLOPS, 1e3, 1e21, "peak of float8 products, dense")                              \
  X(flops_fp4, CHIP, FLOPS, 1e3, 1e21, "peak of float4 products, dense")                              \
  X(compute_efficiency, CHIP, FRACTION, 1e-3, 1, "share of the peak that matrix products reach")      \
  X(op_overhead, CHIP, SECONDS, 0, 10, "time of an operator before it does anything")                 \
  X(multiprocessors, CHIP, COUNT, 1, 1e7, "units that tiles are dealt to: SMs, compute units, cores") \
  X(l2_bytes, CHIP, BYTES, 1, 1e12, "last cache before the memory, all of it")                        \
  X(power_busy, CHIP, WATTS, 0, 1e9, "power while a step runs")                                       \
  X(power_idle, CHIP, WATTS, 0, 1e9, "power while nothing runs")                                      \
  X(link_bandwidth, LINK, BYTES_PER_SECOND, 1, 1e18, "rate per direction that messages reach")        \
  X(link_latency, LINK, SECONDS, 0, 3600, "time of an empty message")

struct td_quantity_row {
  const char *name, *help;
  size_t offset;      /* in struct td_device_params */
  size_t text_offset; /* in struct td_device_file */
  enum td_device_kind kind;
  enum td_dimension dimension;
  double least, most;
};
extern const struct td_quantity_row td_quantity_rows[]; /* ends with a NULL name */

/* The `lpu` group as its option table (lpu_table.h) reads it. */
#define TD_LPU_FILE_NUMBERS 75
struct td_lpu_file {
  struct td_quantity_text numbers[TD_LPU_FILE_NUMBERS];
};

/* A device file as the option table reads it. A number that is not in the file has a NULL unit. */
struct td_device_file {
  const char *title;
  int kind, power_basis;
  bool imagined;
#define TD_FIELD(name, ...) struct td_quantity_text name;
  TD_QUANTITIES(TD_FIELD)
#undef TD_FIELD
  struct td_lpu_file lpu;
  struct td_list fits; /* of struct td_op_fit_text (op_file.c) */
};
extern const struct td_option_group td_quantity_group;
extern const struct td_option_group td_device_file_group;

const struct td_quantity *td_quantity_at(const struct td_device_params *params, const struct td_quantity_row *row);

/* Base units per `unit`; false if the dimension does not know it. */
bool td_unit_scale(enum td_dimension dimension, const char *unit, double *out_scale);
/* "B/s, kB/s, ..." for messages. */
const char *td_unit_names(enum td_dimension dimension);
const char *td_unit_base(enum td_dimension dimension);

/* Checks the number at key `path` and converts it to base units. */
td_status td_quantity_take(const struct td_config *config, const struct td_quantity_row *row, const char *path,
                           const struct td_quantity_text *text, struct td_quantity *out);

#endif
