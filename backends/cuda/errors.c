/* SPDX-License-Identifier: Apache-2.0
 *
 * What the driver answers, as tandem's errors. A context that a kernel or the hardware has broken is lost for good: the
 * first error is kept and told again, so that a run ends with its cause and not with what followed from it.
 */
#include <stdarg.h>
#include <stdio.h>

#include "device.h"

/* enum CUresult: after these nothing of the context works any more. */
static bool loses_context(int result) {
  static const int fatal[] = {
      46,  /* CUDA_ERROR_DEVICE_UNAVAILABLE */
      201, /* CUDA_ERROR_INVALID_CONTEXT */
      214, /* CUDA_ERROR_ECC_UNCORRECTABLE */
      220, /* CUDA_ERROR_NVLINK_UNCORRECTABLE */
      226, /* CUDA_ERROR_CONTAINED */
      700, /* CUDA_ERROR_ILLEGAL_ADDRESS */
      702, /* CUDA_ERROR_LAUNCH_TIMEOUT */
      709, /* CUDA_ERROR_CONTEXT_IS_DESTROYED */
      714, /* CUDA_ERROR_HARDWARE_STACK_ERROR */
      715, /* CUDA_ERROR_ILLEGAL_INSTRUCTION */
      716, /* CUDA_ERROR_MISALIGNED_ADDRESS */
      717, /* CUDA_ERROR_INVALID_ADDRESS_SPACE */
      718, /* CUDA_ERROR_INVALID_PC */
      719, /* CUDA_ERROR_LAUNCH_FAILED */
      999  /* CUDA_ERROR_UNKNOWN */
  };
  for (size_t i = 0; i < sizeof fatal / sizeof *fatal; i++) {
    if (fatal[i] == result) return true;
  }
  return false;
}

/* The free and the total memory, for the error text; "unknown" if the driver does not say. */
static void memory_left(struct cuda_device *device, char *text, size_t bytes) {
  size_t left, total;
  if (device->driver->cuMemGetInfo_v2(&left, &total)) {
    snprintf(text, bytes, "how much is left is unknown");
  } else {
    snprintf(text, bytes, "found %zu of %zu bytes free", left, total);
  }
}

static td_status report(struct cuda_device *device, int result, const char *asked) {
  const char *name = NULL, *text = NULL;
  if (device->driver->cuGetErrorName(result, &name) || !name) name = "unknown error";
  if (device->driver->cuGetErrorString(result, &text) || !text) text = "the driver says no more";
  if (result == CUDA_RESULT_OUT_OF_MEMORY) {
    char left[96];
    memory_left(device, left, sizeof left);
    return td_fail(TD_EXHAUSTED, "%s: %s: %s (%s)", device->chip->name, asked, left, name);
  }
  if (!loses_context(result))
    return td_fail(TD_UNAVAILABLE, "%s: %s: %s (%d): %s", device->chip->name, asked, name, result, text);
  snprintf(device->lost, sizeof device->lost, "cuda:%d (%s) is lost: %s: %s (%d): %s", (int)device->number,
           device->chip->name, asked, name, result, text);
  return td_fail(TD_UNAVAILABLE, "%s", device->lost);
}

td_status cuda_check(struct cuda_device *device, int result, const char *format, ...) {
  if (!result) return TD_OK;
  if (device->lost[0]) return td_fail(TD_UNAVAILABLE, "%s", device->lost);
  char asked[256];
  va_list args;
  va_start(args, format);
  vsnprintf(asked, sizeof asked, format, args);
  va_end(args);
  return report(device, result, asked);
}

td_status cuda_enter(struct cuda_device *device) {
  if (device->lost[0]) return td_fail(TD_UNAVAILABLE, "%s", device->lost);
  CUDA_TRY(device, cuCtxSetCurrent(device->context), "making its context current");
  return TD_OK;
}

void cuda_enter_to_free(struct cuda_device *device) {
  device->driver->cuCtxSetCurrent(device->context);
}
