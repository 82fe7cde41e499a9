/* SPDX-License-Identifier: Apache-2.0
 *
 * Device files: devices/NAME.cfg, one chip, link, LPU, rack, site or system of LPUs each. Every number is a group {
 * value, unit, source, evidence
 * [, low, high] }; evidence is measured, vendor, secondary or assumed; low and high are required unless it is measured.
 * A file with a bare number, or a number without source or evidence, is refused with file:line.
 */
#ifndef TANDEM_DEVICES_H
#define TANDEM_DEVICES_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/model.h"
#include "tandem/status.h"

enum td_evidence { TD_MEASURED, TD_VENDOR, TD_SECONDARY, TD_ASSUMED };
const char *td_evidence_name(enum td_evidence evidence);

struct td_quantity {
  bool present;
  double value;     /* in the base unit: B, B/s, FLOP/s, OP/s, s, W, cycles, Hz, USD, USD/h, USD/kWh, USD/W */
  double low, high; /* = value when evidence is measured and no range was given */
  enum td_evidence evidence;
  const char *unit, *source; /* as written; owned by the params */
};

enum td_device_kind {
  TD_KIND_CHIP,
  TD_KIND_LINK,
  TD_KIND_LPU,       /* a chip described cycle by cycle: tandem/lpu_machine.h; it may have a chip's numbers too */
  TD_KIND_RACK,      /* so many of a chip, as sold together; what it adds up to is checked against the chip's file */
  TD_KIND_SITE,      /* what energy, space and time cost where racks stand */
  TD_KIND_LPU_SYSTEM /* so many of an LPU, and how they are wired; a rack may say that too */
};
const char *td_device_kind_name(enum td_device_kind kind);

struct td_lpu_params;
struct td_op_fit;
struct td_op_cache;
struct td_measured_op;
struct td_step_model;

/* How software runs a model on so many chips that act as one device: set by who opens the device, not by its file.
 * Zeros: one chip, and only operators that the file has fits for are priced by their models. */
struct td_serving {
  int32_t tensor;                /* chips that share heads, FFNs and the head of the model; 0: 1 */
  int32_t expert_tensor, expert; /* chips that share each expert; groups of experts on chips of their own; 0: 1 */
  int32_t replicas;              /* of all but the experts, each with a batch of its own, that share them; 0: 1 */
  bool exchange;                 /* replicas' tokens go to the chips of their experts and back; else all are summed */
  const struct td_device_params *expert_link; /* that they cross; NULL: as the chips' all-to-all. Borrowed */
  bool fp8_block;                             /* FP8 products scale blocks, not tensors */
  bool no_graph;                              /* every launch shows; otherwise only in steps with prompts */
  bool guesses;          /* operators without a fit are priced by the models' guesses, not as rooflines */
  const char *framework; /* whose fit of e2e is meant; NULL: the only one. Borrowed */
};

struct td_device_params {
  char name[TD_NAME_BYTES]; /* = file name without .cfg */
  char title[128];
  enum td_device_kind kind;
  bool imagined;      /* nobody announced such a device */
  const char *status; /* "sold", "announced", "cancelled" */
  const char *path;
  /* chip; of a rack, where a number has "sum" beside it, the sum over its chips as published */
  struct td_quantity memory_bytes;      /* B, sum */
  struct td_quantity memory_bandwidth;  /* B/s, peak, sum */
  struct td_quantity memory_efficiency; /* fraction of the peak that streams reach */
  struct td_quantity flops_f32, flops_bf16, flops_f16, flops_fp8, flops_fp4; /* dense, FLOP/s, sum */
  struct td_quantity flops_tf32, ops_int8;                                   /* dense, FLOP/s and OP/s, sum */
  struct td_quantity compute_efficiency;                      /* fraction of the peak that products reach */
  struct td_quantity op_overhead;                             /* seconds per operator (launch) */
  struct td_quantity multiprocessors;                         /* SMs, compute units or cores */
  struct td_quantity clock;                                   /* Hz, their highest */
  struct td_quantity l2_bytes;                                /* last cache before the memory */
  struct td_quantity shared_bytes;                            /* scratch memory of a multiprocessor */
  struct td_quantity node_chips, scale_up_chips;              /* that share a host; of an NVLink domain */
  struct td_quantity scale_up_bandwidth, scale_out_bandwidth; /* B/s per direction, raw, sum */
  struct td_quantity host_bandwidth;                          /* B/s per direction, raw */
  struct td_quantity power_busy, power_idle;                  /* W, of basis power_basis */
  const char *power_basis;                                    /* "chip", "all-in", "utility"; required with them */
  struct td_quantity power_all_in, power_utility;             /* W, of the basis in the name */
  struct td_quantity price_bought;                            /* USD */
  struct td_quantity price_owned, price_rented;               /* USD per hour */
  struct td_quantity price_per_watt;                          /* USD per watt of a site full of them */
  /* rack */
  const char *chip, *host; /* names of their device files; host may be NULL */
  struct td_quantity chips, hosts;
  struct td_quantity hosts_memory, hosts_bandwidth; /* B, B/s: sums over the hosts */
  /* link */
  struct td_quantity link_bandwidth; /* B/s per direction */
  struct td_quantity link_latency;   /* seconds per message */
  struct td_quantity link_peak;      /* B/s per direction on the wire */
  struct td_quantity link_endpoints; /* chips of a switched domain, each at that rate */
  /* site */
  struct td_quantity pue;                       /* power at the meter over power of the machines */
  struct td_quantity energy_price, space_price; /* USD per kWh: at the meter; of the machines */
  struct td_quantity lifetime;                  /* seconds until a machine is written off */
  /* LPU: read through td_lpu_machine_of and td_lpu_machine_quantity; NULL for other kinds */
  const struct td_lpu_params *lpu;
  /* chip: what tandem calibrate fitted (tandem/operators.h) */
  const struct td_op_fit *fits;
  int32_t fit_count;
  bool fits_borrowed;           /* they are another device's: td_device_borrow_fits */
  struct td_op_cache *op_cache; /* private to framework/cost; NULL without fits */
  struct td_serving serving;
  /* chip: operators as they were measured on it (tandem/measured.h) */
  const struct td_measured_op *measured;
  int32_t measured_count;
  /* chip: whole steps of models as they were measured; tandem/cost.h says how steps are priced with them */
  const struct td_step_model *steps; /* private to framework/cost */
  int32_t step_count;
};

/* Opens a device file by path (has a '/' or ends in .cfg) or by name in the devices folder: $TANDEM_DEVICES if set,
 * else `devices` next to the program's source or installation (compiled in). TD_CONFIG with file:line on any mistake;
 * an unknown name gets the nearest one.
 *
 * For studies, numbers may be set behind it, in the file's own units: "lpu-imagined:lpu.mem_words=8192,op_overhead=2".
 * Each must be in the file and lie in its range there; it then has no range and says that it was set. Of a system,
 * lpu.* are numbers of its chip. */
td_status td_device_params_open(const char *name_or_path, struct td_device_params **out_params);
void td_device_params_close(struct td_device_params *params); /* NULL is fine */

/* Calls `each` for every device file of the folder, by name. A file that does not parse is reported through the
 * returned status after all others were visited. */
td_status td_device_params_each(td_status (*each)(void *context, const struct td_device_params *params), void *context);

/* Prints the table of `tandem devices NAME`: value, unit, range, evidence, source. */
void td_device_params_print(const struct td_device_params *params, FILE *out);
void td_device_params_json(const struct td_device_params *params, FILE *out);

#endif
