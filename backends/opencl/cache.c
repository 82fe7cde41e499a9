/* SPDX-License-Identifier: Apache-2.0 */
#include "cache.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tandem/base.h"

#define PATH_BYTES 3000
#define MOST_BYTES ((size_t)256 << 20)

/* What a file begins with; the key and the binary follow. */
struct header {
  char magic[8];
  uint64_t key_bytes, binary_bytes, binary_hash;
};
static const char magic[8] = "tdcl0001";

/* False if there is to be no cache. */
static bool folder(char out[PATH_BYTES]) {
  const char *given = getenv("TANDEM_OPENCL_CACHE"), *cache = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
  int length = 0;
  if (given && strcmp(given, "off") == 0) return false;
  if (given && *given) {
    length = snprintf(out, PATH_BYTES, "%s", given);
  } else if (cache && *cache) {
    length = snprintf(out, PATH_BYTES, "%s/tandem/opencl", cache);
  } else if (home && *home) {
    length = snprintf(out, PATH_BYTES, "%s/.cache/tandem/opencl", home);
  }
  return length > 0 && length < PATH_BYTES;
}

static void path_of(const char *in, const char *key, char *out, size_t size) {
  snprintf(out, size, "%s/%016" PRIx64 ".bin", in, td_hash(TD_HASH_INIT, key, strlen(key)));
}

/* Whether `data` is a file of this key; the binary is what follows the key. */
static bool believable(const char *data, size_t bytes, const char *key, struct header *out_header) {
  struct header header;
  size_t key_bytes = strlen(key);
  if (bytes < sizeof header + key_bytes) return false;
  memcpy(&header, data, sizeof header);
  if (memcmp(header.magic, magic, sizeof magic) != 0 || header.key_bytes != key_bytes) return false;
  if (memcmp(data + sizeof header, key, key_bytes) != 0) return false;
  if (header.binary_bytes == 0 || header.binary_bytes != bytes - sizeof header - key_bytes) return false;
  *out_header = header;
  return td_hash(TD_HASH_INIT, data + sizeof header + key_bytes, header.binary_bytes) == header.binary_hash;
}

bool opencl_cache_load(const char *key, unsigned char **out_binary, size_t *out_bytes) {
  char in[PATH_BYTES], path[PATH_BYTES + 32], *data;
  struct header header;
  size_t bytes;
  if (!folder(in)) return false;
  path_of(in, key, path, sizeof path);
  if (td_read_file(path, MOST_BYTES, &data, &bytes)) return false;
  bool good = believable(data, bytes, key, &header);
  if (good) {
    memmove(data, data + sizeof header + header.key_bytes, header.binary_bytes);
    *out_binary = (unsigned char *)data;
    *out_bytes = header.binary_bytes;
  } else {
    free(data);
  }
  return good;
}

/* mkdir -p. */
static bool make_folder(const char *path) {
  char part[PATH_BYTES];
  snprintf(part, sizeof part, "%s", path);
  for (char *slash = part + 1; *slash; slash++) {
    if (*slash != '/') continue;
    *slash = 0;
    if (mkdir(part, 0700) && errno != EEXIST) return false;
    *slash = '/';
  }
  return mkdir(part, 0700) == 0 || errno == EEXIST;
}

static bool write_file(const char *path, const char *key, const unsigned char *binary, size_t bytes) {
  struct header header = {
      .key_bytes = strlen(key), .binary_bytes = bytes, .binary_hash = td_hash(TD_HASH_INIT, binary, bytes)};
  memcpy(header.magic, magic, sizeof magic);
  FILE *file = fopen(path, "wb");
  if (!file) return false;
  bool written = fwrite(&header, sizeof header, 1, file) == 1 &&
                 fwrite(key, 1, header.key_bytes, file) == header.key_bytes && fwrite(binary, 1, bytes, file) == bytes;
  return (fclose(file) == 0) && written;
}

void opencl_cache_store(const char *key, const unsigned char *binary, size_t bytes) {
  static atomic_bool warned;
  static atomic_uint number;
  char in[PATH_BYTES], path[PATH_BYTES + 32], fresh[PATH_BYTES + 64];
  if (!folder(in)) return;
  path_of(in, key, path, sizeof path);
  snprintf(fresh, sizeof fresh, "%s.%ld.%u", path, (long)getpid(), atomic_fetch_add(&number, 1));
  if (make_folder(in) && write_file(fresh, key, binary, bytes) && rename(fresh, path) == 0) return;
  if (!atomic_exchange(&warned, true)) {
    td_warn("OpenCL programs are not kept: %s: %s (TANDEM_OPENCL_CACHE=off says so)", in, strerror(errno));
  }
  unlink(fresh);
}
