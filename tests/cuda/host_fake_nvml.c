/* SPDX-License-Identifier: Apache-2.0
 *
 * A libnvidia-ml.so.1 with one chip whose counter grows by 1.5 J at every look; TANDEM_FAKE_NVML=none: it has none.
 */
#include <stdlib.h>
#include <string.h>

int nvmlInit_v2(void);
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules);

static unsigned long long counter = 1000;

int nvmlInit_v2(void) {
  return 0;
}
int nvmlDeviceGetHandleByPciBusId_v2(const char *bus, void **device) {
  *device = &counter;
  return strlen(bus) >= strlen("0000:00:00.0") ? 0 : 2;
}
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules) {
  if (getenv("TANDEM_FAKE_NVML") || device != &counter) return 3; /* NVML_ERROR_NOT_SUPPORTED */
  *millijoules = counter += 1500;
  return 0;
}
