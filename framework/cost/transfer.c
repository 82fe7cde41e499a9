/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>

#include "tandem/base.h"
#include "tandem/cost.h"

__extension__ typedef unsigned __int128 wide;

/* In integers, so that the result does not depend on how a division is rounded: the bandwidth in mB/s. */
td_status td_price_transfer(const struct td_device_params *link, uint64_t bytes, int64_t *out_ps) {
  if (link->kind != TD_KIND_LINK) {
    return td_fail(TD_UNSUPPORTED, "device %s: found a file of kind %s, expected a link to price a transfer",
                   link->name, td_device_kind_name(link->kind));
  }
  int64_t latency;
  TD_TRY(td_ps_from_seconds(link->link_latency.value, &latency));
  wide rate = (wide)(link->link_bandwidth.value * 1e3 + 0.5);
  wide time = ((wide)bytes * UINT64_C(1000000000000000) + rate - 1) / rate + (wide)latency;
  if (time > INT64_MAX) {
    return td_fail(TD_UNSUPPORTED, "device %s: found a transfer of %" PRIu64 " bytes that lasts over 106 days",
                   link->name, bytes);
  }
  *out_ps = (int64_t)time;
  return TD_OK;
}
