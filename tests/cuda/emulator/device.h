/* SPDX-License-Identifier: Apache-2.0
 *
 * The emulated devices as the driver's entries (driver.cpp, graph.cpp) share them: memory, queues, faults.
 *
 * Nothing that is queued on a stream runs before somebody waits for it, and then no more than the wait asks for, so
 * that a lost wait shows as wrong data. Copies read and write host memory when they run. Device addresses carry a tag
 * that makes them useless as host pointers.
 */
#ifndef EMULATED_DEVICE_H
#define EMULATED_DEVICE_H

#include <cuda.h>

#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

struct CUctx_st {
  int device;
  unsigned retained;
};

namespace emulated {

constexpr int most_devices = 8;

/* ---- settings, from the environment ---- */

int device_count();       /* TANDEM_EMULATED_DEVICES, 1 */
int compute_capability(); /* TANDEM_EMULATED_CC, 90 for 9.0 */
size_t memory_bytes();    /* TANDEM_EMULATED_MEMORY, 4 GiB, of one device */

/* ---- faults ----
 * TANDEM_EMULATED_FAIL="cuMemAlloc_v2:3=2,execute:7=719": the third call of cuMemAlloc_v2 returns 2, the seventh piece
 * of queued work ends with 719. ":3+=" means from the third on. Codes from 700 on take the context with them. */

CUresult injected(const char *name);
/* The error that took the device down; CUDA_SUCCESS while it is up. */
CUresult lost();
void lose(CUresult result);
/* Up again; injected faults count from one. */
void recover();

extern std::recursive_mutex lock;
extern thread_local CUctx_st *current;
CUctx_st *context_of(int device);

/* ---- memory ---- */

CUresult memory_take(int device, size_t bytes, CUdeviceptr *out);
CUresult memory_give_back(CUdeviceptr address);
void memory_give_back_all(int device);
size_t memory_used(int device);
/* The host address of [address, address + bytes) on `device`; NULL if that is not inside one allocation. */
void *memory_at(int device, CUdeviceptr address, size_t bytes);
/* Kernels of this device may now resolve its addresses. */
void memory_of(int device);
/* False if a byte outside of the allocations was written; says where on stderr. */
bool memory_intact();

/* ---- queues ---- */

using work = std::function<CUresult()>;

struct stream {
  int device = 0;
  std::deque<work> queue;
  uint64_t queued = 0, done = 0;
  bool capturing = false, broken = false;
  std::vector<work> captured;
};
struct event {
  std::shared_ptr<stream> recorded_on; /* none: not recorded yet */
  uint64_t position = 0;
};

/* Queues, or records if the stream captures. */
CUresult enqueue(const std::shared_ptr<stream> &on, work what);
/* Runs the queue up to `position`. */
CUresult drain(stream &of, uint64_t position);
CUresult drain_all();
/* The stream is about to go; after a fault its queue never ran. */
void forget(stream &gone);

}  // namespace emulated

struct CUstream_st {
  std::shared_ptr<emulated::stream> state = std::make_shared<emulated::stream>();
};
struct CUevent_st {
  emulated::event state;
};

#endif
