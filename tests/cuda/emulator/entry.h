/* SPDX-License-Identifier: Apache-2.0
 *
 * How every entry of the emulated driver begins: the lock, an injected fault, the error that took the device down, and
 * whether this thread has a context.
 */
#ifndef EMULATED_ENTRY_H
#define EMULATED_ENTRY_H

#include "device.h"

#define ENTRY_ANYWHERE                                                   \
  std::lock_guard<std::recursive_mutex> held(emulated::lock);            \
  if (CUresult injected = emulated::injected(__func__)) return injected; \
  if (emulated::lost() != CUDA_SUCCESS) return emulated::lost()
#define ENTRY     \
  ENTRY_ANYWHERE; \
  if (!emulated::current) return CUDA_ERROR_INVALID_CONTEXT

namespace emulated {

/* A stream of the current context; the default stream is not emulated. */
inline bool usable(CUstream on) {
  return on && on->state->device == current->device;
}

}  // namespace emulated

#endif
