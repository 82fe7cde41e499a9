/* SPDX-License-Identifier: Apache-2.0 */
#include <stdalign.h>
#include <stdlib.h>
#include <string.h>

#include "internal.h"

#define BLOCK_BYTES ((size_t)16 << 10)

static size_t rounded(size_t bytes) {
  size_t unit = alignof(max_align_t);
  return (bytes + unit - 1) / unit * unit;
}

static td_status add_block(struct td_config *config, size_t bytes, char **out) {
  size_t head = rounded(sizeof(struct cfg_block));
  void *memory = NULL;
  TD_TRY(td_alloc(1, head + bytes, &memory));
  struct cfg_block *block = memory;
  block->next = config->blocks;
  config->blocks = block;
  *out = (char *)memory + head;
  return TD_OK;
}

td_status td_cfg_alloc(struct td_config *config, size_t count, size_t size, void **out) {
  uint64_t product;
  if (!td_mul_size(count, size, &product) || product > SIZE_MAX / 2) {
    return td_fail(TD_NO_MEMORY, "no memory for %zu x %zu bytes", count, size);
  }
  size_t bytes = rounded(product ? (size_t)product : 1);
  char *memory;
  if (bytes > BLOCK_BYTES / 4) {
    TD_TRY(add_block(config, bytes, &memory));
    *out = memory;
    return TD_OK;
  }
  if (bytes > config->room_bytes) {
    TD_TRY(add_block(config, BLOCK_BYTES, &config->room));
    config->room_bytes = BLOCK_BYTES;
  }
  *out = config->room;
  config->room += bytes;
  config->room_bytes -= bytes;
  return TD_OK;
}

td_status td_cfg_copy(struct td_config *config, const char *text, size_t bytes, const char **out) {
  void *memory = NULL;
  TD_TRY(td_cfg_alloc(config, bytes + 1, 1, &memory));
  memcpy(memory, text, bytes);
  *out = memory;
  return TD_OK;
}

void td_cfg_release(struct td_config *config) {
  while (config->blocks) {
    struct cfg_block *next = config->blocks->next;
    free(config->blocks);
    config->blocks = next;
  }
  config->room = NULL;
  config->room_bytes = 0;
}
