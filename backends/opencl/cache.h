/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled programs on disk: $TANDEM_OPENCL_CACHE, or tandem/opencl in $XDG_CACHE_HOME or ~/.cache; "off" for none. A
 * file is found by the hash of its key, and believed only if the whole key stands in it and its contents have the hash
 * it says: anything else is as good as no file.
 */
#ifndef OPENCL_CACHE_H
#define OPENCL_CACHE_H

#include <stdbool.h>
#include <stddef.h>

/* False if there is none. *out_binary: free with free(). */
bool opencl_cache_load(const char *key, unsigned char **out_binary, size_t *out_bytes);
/* Best effort: a folder that cannot be written is a warning, once, and no failure. */
void opencl_cache_store(const char *key, const unsigned char *binary, size_t bytes);

#endif
