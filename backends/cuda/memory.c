/* SPDX-License-Identifier: Apache-2.0
 *
 * Device memory: plain allocations, zeroed in the queue's order, and the scratch that operators share.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "device.h"

td_status cuda_alloc(struct cuda_device *device, uint64_t bytes, const char *what, cuda_ptr *out_address) {
  size_t left = 0, total = 0;
  CUDA_TRY(device, cuMemGetInfo_v2(&left, &total), "asking how much memory is free");
  if (bytes > left) {
    return td_fail(TD_EXHAUSTED, "%s: %s: %" PRIu64 " bytes wanted, found %zu of %zu bytes free", device->chip->name,
                   what, bytes, left, total);
  }
  unsigned long long address;
  CUDA_TRY(device, cuMemAlloc_v2(&address, (size_t)bytes), "%s: %" PRIu64 " bytes wanted", what, bytes);
  *out_address = address;
  return TD_OK;
}

void cuda_release(struct cuda_device *device, cuda_ptr address) {
  if (!address) return;
  if (!device->lost[0]) device->driver->cuStreamSynchronize(device->compute);
  device->driver->cuMemFree_v2(address);
}

td_status cuda_scratch(struct cuda_device *device, uint64_t bytes, cuda_ptr *out_address) {
  if (bytes > device->scratch_bytes) {
    cuda_release(device, device->scratch);
    device->scratch = 0;
    device->scratch_bytes = 0;
    device->addresses++;
    TD_TRY(cuda_alloc(device, bytes, "an operator's scratch memory", &device->scratch));
    device->scratch_bytes = bytes;
  }
  *out_address = device->scratch;
  return TD_OK;
}
