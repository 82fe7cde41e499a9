/* SPDX-License-Identifier: Apache-2.0
 *
 * Several chips as one device.
 */
#include <inttypes.h>

#include "op_curve.h"
#include "tandem/base.h"
#include "tandem/cost.h"

static void times(struct td_quantity *quantity, int32_t chips) {
  quantity->value *= chips;
  quantity->low *= chips;
  quantity->high *= chips;
}

static void times_all(struct td_device_params *params, int32_t chips) {
  struct td_quantity *const all[] = {&params->memory_bytes,       &params->power_busy,    &params->power_idle,
                                     &params->power_all_in,       &params->power_utility, &params->price_bought,
                                     &params->price_owned,        &params->price_rented,  &params->host_bandwidth,
                                     &params->scale_out_bandwidth};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) times(all[i], chips);
}

td_status td_device_join(struct td_device_params *params, const struct td_serving *serving) {
  struct td_op_chip chip;
  int32_t chips = (serving->tensor > 1 ? serving->tensor : 1) * (serving->replicas > 1 ? serving->replicas : 1);
  if (params->kind != TD_KIND_CHIP || params->serving.tensor > 1) {
    return td_fail(TD_UNSUPPORTED, "device %s: found a %s, expected one chip to make %" PRId32 " act as one",
                   params->name, td_device_kind_name(params->kind), chips);
  }
  TD_TRY(td_op_chip_of(params, TD_GEMM, "bfloat16", &chip));
  if (!params->op_cache) TD_TRY(td_op_cache_open(&params->op_cache));
  params->serving = *serving;
  times_all(params, chips);
  return TD_OK;
}
