/* SPDX-License-Identifier: Apache-2.0 */
#include "library.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *open_named(const char *variable, const char *name, char *reason, size_t reason_bytes) {
  void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL);
  if (!library) snprintf(reason, reason_bytes, "%s=%s: %s", variable, name, dlerror());
  return library;
}

static void *open_first(const struct cuda_library_source *source, char *reason, size_t reason_bytes) {
  const char *given = getenv(source->variable);
  if (given && *given) return open_named(source->variable, given, reason, reason_bytes);
  for (int i = 0; source->names[i]; i++) {
    void *library = dlopen(source->names[i], RTLD_NOW | RTLD_LOCAL);
    if (library) return library;
  }
  snprintf(reason, reason_bytes, "no %s", source->names[0]);
  return NULL;
}

bool cuda_library_open(const struct cuda_library_source *source, const struct cuda_symbol *symbols, void *functions,
                       char *reason, size_t reason_bytes) {
  void *library = open_first(source, reason, reason_bytes);
  if (!library) return false;
  for (const struct cuda_symbol *symbol = symbols; symbol->name; symbol++) {
    void *address = dlsym(library, symbol->name);
    if (!address) {
      snprintf(reason, reason_bytes, "%s has no %s: too old for this build", source->names[0], symbol->name);
      dlclose(library);
      return false;
    }
    memcpy((char *)functions + symbol->offset, &address, sizeof address);
  }
  return true;
}
