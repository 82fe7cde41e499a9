/* SPDX-License-Identifier: Apache-2.0 */
#include "blas.h"

#include <dlfcn.h>
#include <string.h>

/* A function of the library; ISO C has no cast from an object pointer to one. */
static td_status find(void *library, const char *path, const char *name, void *out_function) {
  void *symbol = dlsym(library, name);
  if (!symbol) return td_fail(TD_UNAVAILABLE, "cpu: inexact products: %s has no function %s", path, name);
  memcpy(out_function, &symbol, sizeof symbol);
  return TD_OK;
}

td_status cpu_blas_open(const char *path, cpu_sgemm *out_sgemm) {
  /* NODELETE: the library may have threads of its own, which would be left without their code. */
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  if (!library) {
    const char *reason = dlerror();
    return td_fail(TD_UNAVAILABLE, "cpu: inexact products: found no library %s (OpenBLAS): %s", path,
                   reason ? reason : "no reason given");
  }
  void (*set_threads)(int) = NULL;
  cpu_sgemm sgemm = NULL;
  td_status status = find(library, path, "openblas_set_num_threads", &set_threads);
  if (!status) status = find(library, path, "cblas_sgemm", &sgemm);
  if (!status) {
    set_threads(1); /* the device's own threads divide the work */
    *out_sgemm = sgemm;
  }
  dlclose(library);
  return status;
}
