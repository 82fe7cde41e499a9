/* SPDX-License-Identifier: Apache-2.0
 *
 * A bounds-checked reader over the file's header: no byte is looked at before it is known to be in the file.
 */
#ifndef TANDEM_MODEL_GGUF_CURSOR_H
#define TANDEM_MODEL_GGUF_CURSOR_H

#include <inttypes.h>

#include "gguf.h"

struct td_cursor {
  const char *path;
  const unsigned char *base;
  uint64_t size, at;
  const char *section; /* "metadata key", "tensor": what is being read, for messages */
  uint64_t index;      /* which one of them */
  struct td_span name; /* its name once known */
};

/* "FILE: tensor 3 (blk.0.attn_q.weight): FIELD: " + text. Returns `code`. */
td_status td_cursor_fail(const struct td_cursor *cursor, enum td_code code, const char *field, const char *format, ...)
    __attribute__((format(printf, 4, 5), cold));
/* Takes `bytes` bytes; TD_CORRUPT naming `field` if the file ends before. */
td_status td_cursor_take(struct td_cursor *cursor, uint64_t bytes, const char *field, const unsigned char **out);
td_status td_cursor_u32(struct td_cursor *cursor, const char *field, uint32_t *out);
td_status td_cursor_u64(struct td_cursor *cursor, const char *field, uint64_t *out);
td_status td_cursor_text(struct td_cursor *cursor, const char *field, struct td_span *out);

/* The two lists of the header. Both grow as they read, so a count the file cannot hold costs nothing. */
td_status td_gguf_read_values(struct td_gguf *gguf, struct td_cursor *cursor, uint64_t count);
td_status td_gguf_read_infos(struct td_gguf *gguf, struct td_cursor *cursor, uint64_t count);

#endif
