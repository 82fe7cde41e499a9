/* SPDX-License-Identifier: Apache-2.0
 *
 * The look at this machine: is there a driver, is it new enough, which chips can run the kernels.
 */
#include "driver.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "images.h"
#include "library.h"

/* cp.async and bf16 products, which the kernels use, begin with compute capability 8.0. */
#define LEAST_MAJOR 8

static struct cuda_system found;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static const struct cuda_symbol symbols[] = {
#define X(name, parameters) {#name, offsetof(struct cuda_driver, name)},
    CUDA_DRIVER(X)
#undef X
        {NULL, 0}};

#define REASON(...) snprintf(found.reason, sizeof found.reason, __VA_ARGS__)

/* A driver runs code of its own major version's toolkits and of older ones. */
static bool new_enough(void) {
  int version = 0, wanted = cuda_images_version / 1000;
  if (found.driver.cuDriverGetVersion(&version)) {
    REASON("the driver does not tell its version");
    return false;
  }
  if (version / 1000 >= wanted) return true;
  REASON("driver too old: found one for CUDA %d.%d, need CUDA %d.0 or later", version / 1000, version % 1000 / 10,
         wanted);
  return false;
}

static bool start_driver(void) {
  int result = found.driver.cuInit(0);
  if (!result) return true;
  const char *name = NULL;
  if (found.driver.cuGetErrorName(result, &name) || !name) name = "unknown";
  if (result == CUDA_RESULT_NO_DEVICE) {
    REASON("no device: the driver found none (CUDA_ERROR_NO_DEVICE)");
  } else {
    REASON("the driver does not start: cuInit says %s (%d)", name, result);
  }
  return false;
}

/* False with the reason if the driver has no answer. */
static bool read_chip(int ordinal, struct cuda_chip *chip) {
  const struct cuda_driver *driver = &found.driver;
  if (driver->cuDeviceGet(&chip->device, ordinal) ||
      driver->cuDeviceGetName(chip->name, sizeof chip->name, chip->device) ||
      driver->cuDeviceGetPCIBusId(chip->bus, sizeof chip->bus, chip->device) ||
      driver->cuDeviceGetAttribute(&chip->major, CUDA_ATTRIBUTE_CC_MAJOR, chip->device) ||
      driver->cuDeviceGetAttribute(&chip->minor, CUDA_ATTRIBUTE_CC_MINOR, chip->device)) {
    REASON("device %d: the driver does not describe it", ordinal);
    return false;
  }
  if (chip->major >= LEAST_MAJOR) return true;
  REASON("device %d: found %s of compute capability %d.%d, need 8.0 or later", ordinal, chip->name, chip->major,
         chip->minor);
  return false;
}

static void find_chips(void) {
  int count = 0;
  if (found.driver.cuDeviceGetCount(&count) || count <= 0) {
    REASON("no device: the driver found none");
    return;
  }
  for (int ordinal = 0; ordinal < count && found.count < CUDA_MAX_DEVICES; ordinal++) {
    if (read_chip(ordinal, &found.chips[found.count])) found.count++;
  }
}

static void look(void) {
  static const char *const names[] = {"libcuda.so.1", NULL};
  static const struct cuda_library_source source = {"TANDEM_CUDA_DRIVER", names};
  if (!cuda_images_version) {
    REASON("built without nvcc");
    return;
  }
  if (!cuda_library_open(&source, symbols, &found.driver, found.reason, sizeof found.reason)) return;
  if (new_enough() && start_driver()) find_chips();
}

const struct cuda_system *cuda_system_get(void) {
  pthread_once(&once, look);
  return &found;
}
