/* SPDX-License-Identifier: Apache-2.0
 *
 * Streams, events and graphs. A capture covers one stream; what would need the device while it captures is refused, as
 * the real driver refuses it.
 */
#include <cstdio>
#include <vector>

#include "entry.h"

using namespace emulated;

struct CUgraph_st {
  std::vector<work> nodes;
};
struct CUgraphExec_st {
  std::vector<work> nodes;
};

static CUresult refuse(stream &on) {
  on.broken = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

#pragma GCC visibility push(default)
extern "C" {

CUresult cuStreamCreate(CUstream *out, unsigned flags) {
  ENTRY;
  if (flags & ~static_cast<unsigned>(CU_STREAM_NON_BLOCKING)) return CUDA_ERROR_INVALID_VALUE;
  *out = new CUstream_st;
  (*out)->state->device = current->device;
  return CUDA_SUCCESS;
}

CUresult cuStreamDestroy(CUstream of) {
  ENTRY_ANYWHERE;
  CUresult result = drain(*of->state, of->state->queued);
  forget(*of->state);
  delete of;
  return result;
}

CUresult cuStreamSynchronize(CUstream of) {
  ENTRY;
  if (!usable(of)) return CUDA_ERROR_INVALID_HANDLE;
  if (of->state->capturing) return refuse(*of->state);
  return drain(*of->state, of->state->queued);
}

CUresult cuStreamQuery(CUstream of) {
  ENTRY;
  if (!usable(of)) return CUDA_ERROR_INVALID_HANDLE;
  if (of->state->capturing) return refuse(*of->state);
  return of->state->queue.empty() ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

/* ---- events ---- */

CUresult cuEventCreate(CUevent *out, unsigned) {
  ENTRY;
  *out = new CUevent_st;
  return CUDA_SUCCESS;
}

CUresult cuEventDestroy(CUevent of) {
  ENTRY_ANYWHERE;
  delete of;
  return CUDA_SUCCESS;
}

CUresult cuEventRecord(CUevent of, CUstream on) {
  ENTRY;
  if (!usable(on)) return CUDA_ERROR_INVALID_HANDLE;
  if (on->state->capturing) return refuse(*on->state);
  of->state = {on->state, on->state->queued};
  return CUDA_SUCCESS;
}

CUresult cuEventQuery(CUevent of) {
  ENTRY;
  const event &at = of->state;
  return !at.recorded_on || at.recorded_on->done >= at.position ? CUDA_SUCCESS : CUDA_ERROR_NOT_READY;
}

CUresult cuEventSynchronize(CUevent of) {
  ENTRY;
  return of->state.recorded_on ? drain(*of->state.recorded_on, of->state.position) : CUDA_SUCCESS;
}

CUresult cuStreamWaitEvent(CUstream on, CUevent of, unsigned) {
  ENTRY;
  if (!usable(on)) return CUDA_ERROR_INVALID_HANDLE;
  if (on->state->capturing) return refuse(*on->state);
  event at = of->state;
  if (!at.recorded_on) return CUDA_SUCCESS;
  return enqueue(on->state, [at] { return drain(*at.recorded_on, at.position); });
}

CUresult cuEventElapsedTime(float *milliseconds, CUevent, CUevent) {
  ENTRY;
  *milliseconds = 1; /* an emulated device has no time of its own */
  return CUDA_SUCCESS;
}

/* ---- graphs ---- */

CUresult cuStreamBeginCapture(CUstream on, CUstreamCaptureMode) {
  ENTRY;
  if (!usable(on)) return CUDA_ERROR_INVALID_HANDLE;
  if (on->state->capturing) return CUDA_ERROR_ILLEGAL_STATE;
  on->state->capturing = true;
  on->state->broken = false;
  on->state->captured.clear();
  return CUDA_SUCCESS;
}

CUresult cuStreamEndCapture(CUstream on, CUgraph *out) {
  ENTRY;
  if (!usable(on) || !on->state->capturing) return CUDA_ERROR_ILLEGAL_STATE;
  on->state->capturing = false;
  *out = nullptr;
  if (on->state->broken) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
  *out = new CUgraph_st{std::move(on->state->captured)};
  return CUDA_SUCCESS;
}

CUresult cuGraphInstantiateWithFlags(CUgraphExec *out, CUgraph graph, unsigned long long) {
  ENTRY;
  *out = new CUgraphExec_st{graph->nodes};
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph graph) {
  ENTRY_ANYWHERE;
  delete graph;
  return CUDA_SUCCESS;
}

/* Launches already queued have their own copy of the nodes. */
CUresult cuGraphExecDestroy(CUgraphExec exec) {
  ENTRY_ANYWHERE;
  delete exec;
  return CUDA_SUCCESS;
}

CUresult cuGraphLaunch(CUgraphExec exec, CUstream on) {
  ENTRY;
  if (!usable(on)) return CUDA_ERROR_INVALID_HANDLE;
  std::vector<work> nodes = exec->nodes;
  return enqueue(on->state, [nodes] {
    CUresult result = CUDA_SUCCESS;
    for (size_t i = 0; i < nodes.size() && result == CUDA_SUCCESS; i++) result = nodes[i]();
    return result;
  });
}

}  // extern "C"
#pragma GCC visibility pop
