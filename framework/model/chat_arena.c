/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory, limits and messages of one rendering.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "chat_jinja.h"

/* Far above what templates need: Qwen3's takes some 100 kB and 2,000 steps for ten messages. */
#define MEMORY_MIN (UINT64_C(24) << 20)
#define MEMORY_PER_BYTE 32
#define STEPS_MIN UINT64_C(2000000)
#define STEPS_PER_BYTE 16
#define BLOCK_BYTES (UINT64_C(64) << 10)

struct jinja_block {
  struct jinja_block *next;
  uint64_t used, bytes;
  max_align_t data[];
};

void td_jinja_open(struct jinja *jinja, const char *path, uint64_t text_bytes) {
  *jinja = (struct jinja){.path = path,
                          .limit = MEMORY_MIN + MEMORY_PER_BYTE * text_bytes,
                          .steps = STEPS_MIN + STEPS_PER_BYTE * text_bytes};
}

void td_jinja_close(struct jinja *jinja) {
  for (struct jinja_block *block = jinja->blocks, *next; block; block = next) {
    next = block->next;
    free(block);
  }
}

static td_status add_block(struct jinja *jinja, uint64_t bytes) {
  struct jinja_block *block;
  uint64_t room = bytes > BLOCK_BYTES / 4 ? bytes : BLOCK_BYTES;
  if (room > jinja->limit - jinja->used) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, 0, "found a template that needs over %" PRIu64 " bytes of memory",
                         jinja->limit);
  }
  TD_TRY(td_alloc(1, sizeof *block + room, (void **)&block));
  jinja->used += room;
  block->bytes = room;
  block->next = jinja->blocks;
  jinja->blocks = block;
  return TD_OK;
}

td_status td_jinja_alloc(struct jinja *jinja, size_t bytes, void **out) {
  uint64_t room = (bytes + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
  struct jinja_block *block = jinja->blocks;
  if (!block || room > block->bytes - block->used) {
    TD_TRY(add_block(jinja, room));
    block = jinja->blocks;
  }
  *out = (char *)block->data + block->used;
  block->used += room;
  return TD_OK;
}

td_status td_jinja_spend(struct jinja *jinja, uint64_t steps) {
  if (steps > jinja->steps) {
    return td_jinja_fail(jinja, TD_UNSUPPORTED, 0, "found a template that takes too many steps, expected it to end");
  }
  jinja->steps -= steps;
  return TD_OK;
}

td_status td_jinja_fail(const struct jinja *jinja, enum td_code code, int32_t line, const char *format, ...) {
  char text[512];
  va_list args;
  va_start(args, format);
  vsnprintf(text, sizeof text, format, args);
  va_end(args);
  if (line) return td_fail(code, "%s: tokenizer.chat_template, line %" PRId32 ": %s", jinja->path, line, text);
  return td_fail(code, "%s: tokenizer.chat_template: %s", jinja->path, text);
}
