/* SPDX-License-Identifier: Apache-2.0 */
#include "nvml.h"

#include <math.h>
#include <pthread.h>

#include "library.h"

typedef struct nvmlDevice_st *nvml_device;

#define NVML(X)                                                               \
  X(nvmlInit_v2, (void))                                                      \
  X(nvmlDeviceGetHandleByPciBusId_v2, (const char *bus, nvml_device *device)) \
  X(nvmlDeviceGetTotalEnergyConsumption, (nvml_device device, unsigned long long *millijoules))

static struct {
#define X(name, parameters) int(*name) parameters;
  NVML(X)
#undef X
} nvml;
static bool started;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) {
  static const char *const names[] = {"libnvidia-ml.so.1", NULL};
  static const struct cuda_library_source source = {"TANDEM_CUDA_NVML", names};
#define X(name, parameters) {#name, (size_t)((char *)&nvml.name - (char *)&nvml)},
  const struct cuda_symbol symbols[] = {NVML(X){NULL, 0}};
#undef X
  char reason[256];
  started = cuda_library_open(&source, symbols, &nvml, reason, sizeof reason) && nvml.nvmlInit_v2() == 0;
}

double cuda_energy(struct td_device *base) {
  pthread_once(&once, start);
  nvml_device chip;
  unsigned long long millijoules;
  if (!started || nvml.nvmlDeviceGetHandleByPciBusId_v2(cuda_of(base)->chip->bus, &chip)) return NAN;
  if (nvml.nvmlDeviceGetTotalEnergyConsumption(chip, &millijoules)) return NAN;
  return (double)millijoules * 1e-3;
}
