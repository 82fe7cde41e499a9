/* SPDX-License-Identifier: Apache-2.0
 *
 * What this backend uses of the CUDA driver, declared here so that it builds without a toolkit; tests/cuda compares the
 * declarations with the toolkit's header where there is one. The driver is libcuda.so.1, or the file that
 * TANDEM_CUDA_DRIVER names.
 */
#ifndef CUDA_DRIVER_H
#define CUDA_DRIVER_H

#include <stddef.h>
#include <stdint.h>

#include "launch.h"

typedef struct CUctx_st *cuda_context;
typedef struct CUstream_st *cuda_stream;
typedef struct CUevent_st *cuda_event;
typedef struct CUmod_st *cuda_module;
typedef struct CUfunc_st *cuda_function;
typedef struct CUgraph_st *cuda_graph;
typedef struct CUgraphExec_st *cuda_graph_exec;

/* enum CUresult, as far as the backend tells results apart. */
enum {
  CUDA_RESULT_OK = 0,
  CUDA_RESULT_OUT_OF_MEMORY = 2,
  CUDA_RESULT_NO_DEVICE = 100,
  CUDA_RESULT_NO_IMAGE = 209,
  CUDA_RESULT_NOT_FOUND = 500
};
/* enum CUdevice_attribute */
enum { CUDA_ATTRIBUTE_CC_MAJOR = 75, CUDA_ATTRIBUTE_CC_MINOR = 76 };
enum { CUDA_STREAM_NON_BLOCKING = 1, CUDA_EVENT_DISABLE_TIMING = 2, CUDA_CAPTURE_THREAD_LOCAL = 1 };
/* CU_MEMHOSTALLOC_PORTABLE, CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES */
enum { CUDA_HOST_PORTABLE = 1, CUDA_FUNCTION_MAX_SHARED = 8 };

/* Name and parameters; every function returns a CUresult. */
#define CUDA_DRIVER(X)                                                                                              \
  X(cuInit, (unsigned flags))                                                                                       \
  X(cuDriverGetVersion, (int *version))                                                                             \
  X(cuDeviceGetCount, (int *count))                                                                                 \
  X(cuDeviceGet, (int *device, int ordinal))                                                                        \
  X(cuDeviceGetName, (char *name, int bytes, int device))                                                           \
  X(cuDeviceGetAttribute, (int *value, int attribute, int device))                                                  \
  X(cuDeviceGetPCIBusId, (char *text, int bytes, int device))                                                       \
  X(cuDevicePrimaryCtxRetain, (cuda_context * context, int device))                                                 \
  X(cuDevicePrimaryCtxRelease_v2, (int device))                                                                     \
  X(cuCtxSetCurrent, (cuda_context context))                                                                        \
  X(cuStreamCreate, (cuda_stream * stream, unsigned flags))                                                         \
  X(cuStreamDestroy_v2, (cuda_stream stream))                                                                       \
  X(cuStreamSynchronize, (cuda_stream stream))                                                                      \
  X(cuStreamWaitEvent, (cuda_stream stream, cuda_event event, unsigned flags))                                      \
  X(cuEventCreate, (cuda_event * event, unsigned flags))                                                            \
  X(cuEventDestroy_v2, (cuda_event event))                                                                          \
  X(cuEventRecord, (cuda_event event, cuda_stream stream))                                                          \
  X(cuEventSynchronize, (cuda_event event))                                                                         \
  X(cuMemAlloc_v2, (unsigned long long *address, size_t bytes))                                                     \
  X(cuMemFree_v2, (unsigned long long address))                                                                     \
  X(cuMemGetInfo_v2, (size_t * left, size_t * total))                                                               \
  X(cuMemsetD8Async, (unsigned long long address, unsigned char value, size_t bytes, cuda_stream stream))           \
  X(cuMemHostAlloc, (void **memory, size_t bytes, unsigned flags))                                                  \
  X(cuMemFreeHost, (void *memory))                                                                                  \
  X(cuMemcpyHtoDAsync_v2, (unsigned long long to, const void *from, size_t bytes, cuda_stream stream))              \
  X(cuMemcpyDtoHAsync_v2, (void *to, unsigned long long from, size_t bytes, cuda_stream stream))                    \
  X(cuMemcpyDtoDAsync_v2, (unsigned long long to, unsigned long long from, size_t bytes, cuda_stream stream))       \
  X(cuModuleLoadData, (cuda_module * module, const void *image))                                                    \
  X(cuModuleUnload, (cuda_module module))                                                                           \
  X(cuModuleGetFunction, (cuda_function * function, cuda_module module, const char *name))                          \
  X(cuFuncSetAttribute, (cuda_function function, int attribute, int value))                                         \
  X(cuLaunchKernel,                                                                                                 \
    (cuda_function function, unsigned grid_x, unsigned grid_y, unsigned grid_z, unsigned block_x, unsigned block_y, \
     unsigned block_z, unsigned shared_bytes, cuda_stream stream, void **parameters, void **extra))                 \
  X(cuStreamBeginCapture_v2, (cuda_stream stream, int mode))                                                        \
  X(cuStreamEndCapture, (cuda_stream stream, cuda_graph * graph))                                                   \
  X(cuGraphInstantiateWithFlags, (cuda_graph_exec * exec, cuda_graph graph, unsigned long long flags))              \
  X(cuGraphDestroy, (cuda_graph graph))                                                                             \
  X(cuGraphExecDestroy, (cuda_graph_exec exec))                                                                     \
  X(cuGraphLaunch, (cuda_graph_exec exec, cuda_stream stream))                                                      \
  X(cuGetErrorName, (int result, const char **name))                                                                \
  X(cuGetErrorString, (int result, const char **text))

struct cuda_driver {
#define X(name, parameters) int(*name) parameters;
  CUDA_DRIVER(X)
#undef X
};

#define CUDA_MAX_DEVICES 64
#define CUDA_NAME_BYTES 96

/* One chip that this build has kernels for. */
struct cuda_chip {
  int device; /* the driver's handle */
  int major, minor;
  char name[CUDA_NAME_BYTES]; /* "NVIDIA H200" */
  char bus[32];               /* "0000:9b:00.0" */
};

/* What is on this machine, looked up once per process: the driver, and the chips it can run this build on, in the
 * driver's order. count 0: reason says why. */
struct cuda_system {
  struct cuda_driver driver;
  struct cuda_chip chips[CUDA_MAX_DEVICES];
  int32_t count;
  char reason[256];
};
const struct cuda_system *cuda_system_get(void);

#endif
