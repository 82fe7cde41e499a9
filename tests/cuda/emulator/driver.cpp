/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries of the CUDA driver that backends/cuda uses, but for streams, events and graphs (queue.cpp).
 */
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>

#include "cuda_on_host.h"
#include "entry.h"
#include "grid.h"

using namespace emulated;

struct CUfunc_st {
  const kernel *what;
  unsigned dynamic_limit;
};
struct CUmod_st {
  int device;
  std::deque<CUfunc_st> functions; /* handed out; they go with the module */
};

#pragma GCC visibility push(default)
extern "C" {

CUresult cuInit(unsigned flags) {
  ENTRY_ANYWHERE;
  return flags ? CUDA_ERROR_INVALID_VALUE : device_count() ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

CUresult cuDriverGetVersion(int *version) {
  ENTRY_ANYWHERE;
  *version = CUDA_VERSION;
  return CUDA_SUCCESS;
}

/* ---- devices and contexts ---- */

CUresult cuDeviceGetCount(int *count) {
  ENTRY_ANYWHERE;
  *count = device_count();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice *device, int ordinal) {
  ENTRY_ANYWHERE;
  if (ordinal < 0 || ordinal >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char *name, int bytes, CUdevice device) {
  ENTRY_ANYWHERE;
  std::snprintf(name, static_cast<size_t>(bytes), "Emulated %d", device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char *text, int bytes, CUdevice device) {
  ENTRY_ANYWHERE;
  std::snprintf(text, static_cast<size_t>(bytes), "0000:%02x:00.0", device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int *value, CUdevice_attribute attribute, CUdevice device) {
  ENTRY_ANYWHERE;
  if (device < 0 || device >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      *value = compute_capability() / 10;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      *value = compute_capability() % 10;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      *value = 2;
      return CUDA_SUCCESS;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN:
      *value = most_dynamic_shared;
      return CUDA_SUCCESS;
    default:
      std::fprintf(stderr, "emulated device: attribute %d is not emulated\n", attribute);
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult cuDevicePrimaryCtxRetain(CUcontext *context, CUdevice device) {
  ENTRY_ANYWHERE;
  if (device < 0 || device >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  *context = context_of(device);
  (*context)->retained++;
  return CUDA_SUCCESS;
}

/* The last release takes the context away, and with it its memory and what went wrong in it. */
CUresult cuDevicePrimaryCtxRelease(CUdevice device) {
  std::lock_guard<std::recursive_mutex> held(lock);
  if (device < 0 || device >= device_count()) return CUDA_ERROR_INVALID_DEVICE;
  CUctx_st *context = context_of(device);
  if (!context->retained) return CUDA_ERROR_INVALID_CONTEXT;
  if (--context->retained == 0) {
    memory_give_back_all(device);
    recover();
  }
  return CUDA_SUCCESS;
}

CUresult cuCtxSetCurrent(CUcontext context) {
  ENTRY_ANYWHERE;
  if (context && !context->retained) return CUDA_ERROR_INVALID_CONTEXT;
  current = context;
  return CUDA_SUCCESS;
}

CUresult cuCtxSynchronize() {
  ENTRY;
  return drain_all();
}

/* ---- memory ---- */

CUresult cuMemAlloc(CUdeviceptr *address, size_t bytes) {
  ENTRY;
  return memory_take(current->device, bytes, address);
}

/* As the real one does in effect, waits for everything that may use the memory. */
CUresult cuMemFree(CUdeviceptr address) {
  ENTRY;
  CUresult result = drain_all();
  return result ? result : memory_give_back(address);
}

CUresult cuMemGetInfo(size_t *left, size_t *total) {
  ENTRY;
  *total = memory_bytes();
  *left = *total - memory_used(current->device);
  return CUDA_SUCCESS;
}

static std::set<void *> pinned;

CUresult cuMemHostAlloc(void **memory, size_t bytes, unsigned) {
  ENTRY;
  if (!bytes) return CUDA_ERROR_INVALID_VALUE;
  *memory = std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096);
  if (!*memory) return CUDA_ERROR_OUT_OF_MEMORY;
  std::memset(*memory, 0xff, bytes);
  pinned.insert(*memory);
  return CUDA_SUCCESS;
}

CUresult cuMemFreeHost(void *memory) {
  ENTRY;
  if (!pinned.erase(memory)) return CUDA_ERROR_INVALID_VALUE;
  CUresult result = drain_all();
  std::free(memory);
  return result;
}

/* ---- copies: addresses are checked when the call is made, bytes move when the queue gets there ---- */

CUresult cuMemsetD8Async(CUdeviceptr address, unsigned char value, size_t bytes, CUstream on) {
  ENTRY;
  void *at = memory_at(current->device, address, bytes);
  if (!usable(on) || !at) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(on->state, [=] { return std::memset(at, value, bytes), CUDA_SUCCESS; });
}

CUresult cuMemcpyHtoDAsync(CUdeviceptr to, const void *from, size_t bytes, CUstream on) {
  ENTRY;
  void *at = memory_at(current->device, to, bytes);
  if (!usable(on) || !at) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(on->state, [=] { return std::memcpy(at, from, bytes), CUDA_SUCCESS; });
}

CUresult cuMemcpyDtoHAsync(void *to, CUdeviceptr from, size_t bytes, CUstream on) {
  ENTRY;
  const void *at = memory_at(current->device, from, bytes);
  if (!usable(on) || !at) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(on->state, [=] { return std::memcpy(to, at, bytes), CUDA_SUCCESS; });
}

CUresult cuMemcpyDtoDAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes, CUstream on) {
  ENTRY;
  const void *at = memory_at(current->device, from, bytes);
  void *target = memory_at(current->device, to, bytes);
  if (!usable(on) || !at || !target) return CUDA_ERROR_INVALID_VALUE;
  return enqueue(on->state, [=] { return std::memcpy(target, at, bytes), CUDA_SUCCESS; });
}

/* ---- modules and launches ---- */

/* What nvcc -fatbin writes begins with this. */
constexpr unsigned fat_binary_magic = 0xba55ed50;

CUresult cuModuleLoadData(CUmodule *module, const void *image) {
  ENTRY;
  unsigned magic;
  std::memcpy(&magic, image, sizeof magic);
  if (magic != fat_binary_magic) return CUDA_ERROR_INVALID_IMAGE;
  *module = new CUmod_st{current->device, {}};
  return CUDA_SUCCESS;
}

CUresult cuModuleUnload(CUmodule module) {
  ENTRY;
  CUresult result = drain_all();
  delete module;
  return result;
}

CUresult cuModuleGetFunction(CUfunction *function, CUmodule module, const char *name) {
  ENTRY;
  if (module->device != current->device) return CUDA_ERROR_INVALID_CONTEXT;
  for (const kernel *one = kernels; one; one = one->next) {
    if (std::strcmp(one->name, name) != 0) continue;
    module->functions.push_back({one, most_static_shared});
    *function = &module->functions.back();
    return CUDA_SUCCESS;
  }
  return CUDA_ERROR_NOT_FOUND;
}

CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute attribute, int value) {
  ENTRY;
  if (attribute != CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES || value < 0 ||
      static_cast<unsigned>(value) > most_dynamic_shared) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  function->dynamic_limit = static_cast<unsigned>(value);
  return CUDA_SUCCESS;
}

static CUresult execute(launch what, const std::string &arguments, int device) {
  what.arguments = arguments.data();
  memory_of(device);
  std::string failure = run_grid(what);
  if (!failure.empty()) {
    std::fprintf(stderr, "emulated device: %s\n", failure.c_str());
    return CUDA_ERROR_LAUNCH_FAILED;
  }
  if (memory_intact()) return CUDA_SUCCESS;
  std::fprintf(stderr, "emulated device: found after kernel %s\n", what.what->name);
  return CUDA_ERROR_ILLEGAL_ADDRESS;
}

static bool allowed(const launch &what, unsigned dynamic_limit) {
  return what.grid.x && what.grid.y && what.grid.z && what.grid.x < 1u << 31 && what.grid.y < 65536 &&
         what.grid.z < 65536 && what.block.x && what.block.x <= what.what->threads && what.block.x % warp_lanes == 0 &&
         what.block.y == 1 && what.block.z == 1 && what.dynamic_bytes <= dynamic_limit;
}

CUresult cuLaunchKernel(CUfunction function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x,
                        unsigned block_y, unsigned block_z, unsigned shared_bytes, CUstream on, void **parameters,
                        void **extra) {
  ENTRY;
  launch what = {function->what, {grid_x, grid_y, grid_z}, {block_x, block_y, block_z}, shared_bytes, nullptr};
  if (!usable(on) || !parameters || extra || !allowed(what, function->dynamic_limit)) return CUDA_ERROR_INVALID_VALUE;
  std::string arguments(static_cast<const char *>(parameters[0]), function->what->argument_bytes);
  int device = current->device;
  return enqueue(on->state, [=] { return execute(what, arguments, device); });
}

/* ---- errors ---- */

CUresult cuGetErrorName(CUresult error, const char **name) {
  static const struct {
    CUresult code;
    const char *name;
  } names[] = {{CUDA_SUCCESS, "CUDA_SUCCESS"},
               {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE"},
               {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY"},
               {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE"},
               {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE"},
               {CUDA_ERROR_INVALID_IMAGE, "CUDA_ERROR_INVALID_IMAGE"},
               {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT"},
               {CUDA_ERROR_NO_BINARY_FOR_GPU, "CUDA_ERROR_NO_BINARY_FOR_GPU"},
               {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE"},
               {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND"},
               {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY"},
               {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS"},
               {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED"},
               {CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED, "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"},
               {CUDA_ERROR_STREAM_CAPTURE_INVALIDATED, "CUDA_ERROR_STREAM_CAPTURE_INVALIDATED"}};
  for (const auto &one : names) {
    if (one.code != error) continue;
    *name = one.name;
    return CUDA_SUCCESS;
  }
  *name = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGetErrorString(CUresult error, const char **text) {
  *text = "an error of the emulated driver";
  return error == CUDA_SUCCESS ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // extern "C"
#pragma GCC visibility pop
