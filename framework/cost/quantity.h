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
  TD_DIM_RATIO,
  TD_DIM_COUNT,
  TD_DIM_CYCLES,
  TD_DIM_HERTZ,
  TD_DIM_OPS,
  TD_DIM_DOLLARS,
  TD_DIM_DOLLARS_PER_HOUR,
  TD_DIM_DOLLARS_PER_KWH,
  TD_DIM_DOLLARS_PER_WATT
};

/* A number as its group in the file gives it. */
struct td_quantity_text {
  double value, low, high; /* NaN: not given */
  const char *unit, *source;
  int evidence;
};

/* The kinds of device that may have a number, for the table below. */
enum {
  TD_IN_CHIP = 1 << TD_KIND_CHIP,
  TD_IN_LINK = 1 << TD_KIND_LINK,
  TD_IN_RACK = 1 << TD_KIND_RACK,
  TD_IN_SITE = 1 << TD_KIND_SITE,
  TD_IN_CHIP_RACK = TD_IN_CHIP | TD_IN_RACK /* of a rack: the sum over its chips, as published */
};

/* Every number a device file may hold: key and field, kinds of device, dimension, least and most value in base units,
 * meaning. The bounds are wide on purpose: they catch a wrong unit, not a bold chip. */
#define TD_QUANTITIES(X)                                                                                     \
  X(chips, RACK, COUNT, 1, 1e6, "chips of a rack")                                                           \
  X(hosts, RACK, COUNT, 0, 1e6, "host processors of a rack")                                                 \
  X(memory_bytes, CHIP_RACK, BYTES, 1, 1e18, "memory for weights and KV cache")                              \
  X(memory_bandwidth, CHIP_RACK, BYTES_PER_SECOND, 1e3, 1e19, "peak read rate of that memory")               \
  X(memory_efficiency, CHIP, FRACTION, 1e-3, 1, "share of the peak that streams reach")                      \
  X(flops_f32, CHIP_RACK, FLOPS, 1e3, 1e21, "peak of float32 products, dense")                               \
  X(flops_tf32, CHIP_RACK, FLOPS, 1e3, 1e21, "peak of float32 products rounded to 10 bits, dense")           \
  X(flops_bf16, CHIP_RACK, FLOPS, 1e3, 1e21, "peak of bfloat16 products, dense")                             \
  X(flops_f16, CHIP_RACK, FLOPS, 1e3, 1e21, "peak of float16 products, dense")                               \
  X(flops_fp8, CHIP_RACK, FLOPS, 1e3, 1e21, "peak of float8 products, dense")                                \
  X(flops_fp4, CHIP_RACK, FLOPS, 1e3, 1e21, "peak of float4 products (NVFP4, MXFP4), dense")                 \
  X(ops_int8, CHIP_RACK, OPS, 1e3, 1e21, "peak of int8 products, dense")                                     \
  X(compute_efficiency, CHIP, FRACTION, 1e-3, 1, "share of the peak that matrix products reach")             \
  X(op_overhead, CHIP, SECONDS, 0, 10, "time of an operator before it does anything")                        \
  X(multiprocessors, CHIP, COUNT, 1, 1e7, "units that tiles are dealt to: SMs, compute units, cores")        \
  X(clock, CHIP, HERTZ, 1e6, 1e11, "highest clock of those units")                                           \
  X(l2_bytes, CHIP, BYTES, 1, 1e12, "last cache before the memory, all of it")                               \
  X(shared_bytes, CHIP, BYTES, 1, 1e12, "scratch memory that a tile may use, a multiprocessor")              \
  X(node_chips, CHIP, COUNT, 1, 1e6, "chips that share a host system")                                       \
  X(scale_up_chips, CHIP, COUNT, 1, 1e6, "chips of the scale-up domain")                                     \
  X(scale_up_bandwidth, CHIP_RACK, BYTES_PER_SECOND, 1, 1e18, "rate per direction within the domain, raw")   \
  X(scale_out_bandwidth, CHIP_RACK, BYTES_PER_SECOND, 1, 1e18, "rate per direction out of the domain, raw")  \
  X(host_bandwidth, CHIP, BYTES_PER_SECOND, 1, 1e18, "rate per direction between chip and host, raw")        \
  X(hosts_memory, RACK, BYTES, 1, 1e18, "memory of the hosts")                                               \
  X(hosts_bandwidth, RACK, BYTES_PER_SECOND, 1, 1e18, "peak read rate of that memory")                       \
  X(power_busy, CHIP_RACK, WATTS, 0, 1e9, "power while a step runs; basis: power_basis")                     \
  X(power_idle, CHIP_RACK, WATTS, 0, 1e9, "power while nothing runs; basis: power_basis")                    \
  X(power_all_in, CHIP_RACK, WATTS, 0, 1e9, "power with its share of host, network and fans")                \
  X(power_utility, CHIP_RACK, WATTS, 0, 1e9, "that power at the utility's meter, cooling included")          \
  X(price_bought, CHIP_RACK, DOLLARS, 0, 1e12, "price of it, with its share of the rack")                    \
  X(price_owned, CHIP_RACK, DOLLARS_PER_HOUR, 0, 1e9, "cost of an hour of it to who owns it")                \
  X(price_rented, CHIP_RACK, DOLLARS_PER_HOUR, 0, 1e9, "price of an hour of it to who rents it")             \
  X(price_per_watt, CHIP_RACK, DOLLARS_PER_WATT, 0, 1e6, "capital of a site full of it, a watt of the site") \
  X(link_bandwidth, LINK, BYTES_PER_SECOND, 1, 1e18, "rate per direction that messages reach")               \
  X(link_latency, LINK, SECONDS, 0, 3600, "time of an empty message")                                        \
  X(link_peak, LINK, BYTES_PER_SECOND, 1, 1e18, "rate per direction on the wire")                            \
  X(link_endpoints, LINK, COUNT, 2, 1e6, "chips that reach each other over it at that rate at once")         \
  X(pue, SITE, RATIO, 1, 5, "power at the meter over power of the machines")                                 \
  X(energy_price, SITE, DOLLARS_PER_KWH, 0, 100, "price of energy at the meter")                             \
  X(space_price, SITE, DOLLARS_PER_KWH, 0, 100, "rent of space and cooling, per energy of the machines")     \
  X(lifetime, SITE, SECONDS, 3600, 1e10, "time over which a machine is written off")

struct td_quantity_row {
  const char *name, *help;
  size_t offset;      /* in struct td_device_params */
  size_t text_offset; /* in struct td_device_file */
  unsigned kinds;     /* bits TD_IN_* */
  enum td_dimension dimension;
  double least, most;
};
extern const struct td_quantity_row td_quantity_rows[]; /* ends with a NULL name */

/* The `lpu` group as its option table (lpu_table.h) reads it. */
#define TD_LPU_FILE_NUMBERS 78
struct td_lpu_file {
  struct td_quantity_text numbers[TD_LPU_FILE_NUMBERS];
};

/* A device file as the option table reads it. A number that is not in the file has a NULL unit. */
struct td_device_file {
  const char *title, *chip, *host;
  int kind, power_basis, status;
  bool imagined;
#define TD_FIELD(name, ...) struct td_quantity_text name;
  TD_QUANTITIES(TD_FIELD)
#undef TD_FIELD
  struct td_lpu_file lpu;
  struct td_list fits;      /* of struct td_op_fit_text (op_file.c) */
  struct td_list wiring;    /* of struct td_lpu_level_text (lpu_system.c) */
  struct td_list operators; /* measured ones: measure_file.c */
  struct td_list steps;     /* measured ones: step_file.c */
};
extern const struct td_option_group td_quantity_group;
extern const struct td_option_group td_device_file_group;

const struct td_quantity *td_quantity_at(const struct td_device_params *params, const struct td_quantity_row *row);

/* Base units per `unit`; false if the dimension does not know it. */
bool td_unit_scale(enum td_dimension dimension, const char *unit, double *out_scale);
const char *td_unit_base(enum td_dimension dimension);

/* "link" or "chip or rack" for messages. */
void td_quantity_kinds(const struct td_quantity_row *row, char *out, size_t size);

/* What a power counts: the file's basis, or that of the number itself; NULL for what is no power. */
const char *td_quantity_basis(const struct td_device_params *params, const struct td_quantity_row *row);

/* Checks the number at key `path` and converts it to base units. */
td_status td_quantity_take(const struct td_config *config, const struct td_quantity_row *row, const char *path,
                           const struct td_quantity_text *text, struct td_quantity *out);

/* A line of `tandem devices NAME`, and the same as a JSON object. `basis`: what a power counts, or NULL. */
void td_quantity_print(const struct td_quantity_row *row, const struct td_quantity *quantity, const char *basis,
                       FILE *out);
void td_quantity_json(const struct td_quantity_row *row, const struct td_quantity *quantity, const char *basis,
                      FILE *out);

/* Refuses what is no number of things, its range included. */
td_status td_quantity_whole(const struct td_config *config, const char *key, const struct td_quantity *quantity);

#endif
