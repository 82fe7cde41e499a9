/* SPDX-License-Identifier: Apache-2.0
 *
 * Kernels by number: the module that has one is loaded, and its function looked up, when it is first launched.
 */
#include <stdio.h>
#include <stdlib.h>

#include "device.h"
#include "images.h"
#include "tandem/kernels.h"

/* More dynamic shared memory than this has to be asked for. */
#define PLAIN_SHARED (48u << 10)

static int32_t image_count(void) {
  int32_t count = 0;
  while (cuda_images[count].name) count++;
  return count;
}

static td_status load(struct cuda_device *device, int32_t image) {
  struct cuda_modules *modules = &device->modules;
  if (!modules->loaded) TD_TRY(td_alloc((size_t)image_count(), sizeof *modules->loaded, (void **)&modules->loaded));
  if (modules->loaded[image]) return TD_OK;
  CUDA_TRY(device, cuModuleLoadData(&modules->loaded[image], cuda_images[image].bytes),
           "loading the kernels of %s, built for %s, on a chip of compute capability %d.%d", cuda_images[image].name,
           cuda_images_targets, device->chip->major, device->chip->minor);
  return TD_OK;
}

static td_status find(struct cuda_device *device, const char *name, cuda_function *out_function) {
  for (int32_t i = 0; cuda_images[i].name; i++) {
    TD_TRY(load(device, i));
    int result = device->driver->cuModuleGetFunction(out_function, device->modules.loaded[i], name);
    if (result != CUDA_RESULT_NOT_FOUND) return cuda_check(device, result, "looking for kernel %s", name);
  }
  return td_fail(TD_INTERNAL, "kernel %s: not among the compiled ones", name);
}

static td_status launch(struct cuda_device *device, struct cuda_entry *entry, const char *name,
                        const struct cuda_grid *grid, const void *args) {
  if (!entry->function) TD_TRY(find(device, name, &entry->function));
  if (grid->shared > PLAIN_SHARED && grid->shared > entry->shared) {
    CUDA_TRY(device, cuFuncSetAttribute(entry->function, CUDA_FUNCTION_MAX_SHARED, (int)grid->shared),
             "kernel %s: %u bytes of shared memory", name, grid->shared);
    entry->shared = grid->shared;
  }
  union {
    const void *given;
    void *taken; /* cuLaunchKernel reads through it */
  } parameter = {.given = args};
  void *parameters[] = {parameter.taken};
  CUDA_TRY(device,
           cuLaunchKernel(entry->function, grid->x, grid->y, grid->z, grid->threads, 1, 1, grid->shared,
                          device->compute, parameters, NULL),
           "launching %s: grid %u x %u x %u, %u threads, %u bytes of shared memory", name, grid->x, grid->y, grid->z,
           grid->threads, grid->shared);
  return TD_OK;
}

td_status cuda_launch(struct cuda_device *device, enum cuda_kernel kernel, const struct cuda_grid *grid,
                      const void *args) {
  static const char *const names[] = {
#define X(upper, lower) "cuda_" #lower,
      CUDA_KERNELS(X)
#undef X
  };
  return launch(device, &device->modules.kernels[kernel], names[kernel], grid, args);
}

td_status cuda_launch_family(struct cuda_device *device, enum cuda_family family, enum td_dtype dtype,
                             const struct cuda_grid *grid, const void *args) {
  static const char *const names[] = {
#define X(upper, lower) "cuda_" #lower,
      CUDA_FAMILIES(X)
#undef X
  };
  const struct td_dtype_info *info = td_dtype_info((uint32_t)dtype);
  if (!info || (uint32_t)dtype >= CUDA_DTYPE_SLOTS) return td_fail(TD_INTERNAL, "no kernels for type %d", (int)dtype);
  char name[64];
  snprintf(name, sizeof name, "%s_%s", names[family], info->name);
  return launch(device, &device->modules.families[family][dtype], name, grid, args);
}

void cuda_modules_close(struct cuda_device *device) {
  struct cuda_modules *modules = &device->modules;
  for (int32_t i = 0; modules->loaded && cuda_images[i].name; i++) {
    if (modules->loaded[i]) device->driver->cuModuleUnload(modules->loaded[i]);
  }
  free(modules->loaded);
}
