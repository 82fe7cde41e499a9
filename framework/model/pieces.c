/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of every token, in one block.
 */
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tokenizer.h"

/* Control and user-defined tokens are written out as they are; so is a token with a character that stands for no byte,
 * which no text can produce. */
static uint64_t write_piece(enum td_token_type type, struct td_span text, char *out) {
  uint64_t bytes;
  bool plain = type == TD_TOKEN_NORMAL || type == TD_TOKEN_UNUSED;
  if (plain && td_text_to_bytes(text, out, &bytes)) return bytes;
  if (text.bytes) memcpy(out, text.data, text.bytes);
  return text.bytes;
}

static uint64_t write_spm_piece(enum td_token_type type, struct td_span text, char *out) {
  uint64_t used = 0;
  if (type == TD_TOKEN_BYTE && td_spm_byte(text) >= 0) {
    out[0] = (char)td_spm_byte(text);
    return 1;
  }
  bool plain = type == TD_TOKEN_NORMAL || type == TD_TOKEN_UNUSED || type == TD_TOKEN_USER;
  for (uint64_t at = 0; at < text.bytes; used++) {
    bool space = plain && text.bytes - at >= TD_SPM_SPACE_BYTES && !memcmp(text.data + at, TD_SPM_SPACE, 3);
    out[used] = space ? ' ' : text.data[at];
    at += space ? TD_SPM_SPACE_BYTES : 1;
  }
  return used;
}

static uint64_t write_token(const struct td_tokenizer *tokenizer, int32_t id, struct td_span text, char *out) {
  if (tokenizer->spm) return write_spm_piece(td_spm_type(tokenizer, id, text), text, out);
  return write_piece(td_token_type(tokenizer, id), text, out);
}

td_status td_pieces_build(const struct td_tokenizer *tokenizer, struct td_pieces **out) {
  struct td_pieces *pieces;
  TD_TRY(td_alloc(1, sizeof *pieces, (void **)&pieces));
  /* a piece is never longer than its text */
  td_status status = td_alloc(tokenizer->tokens->bytes, 1, (void **)&pieces->data);
  if (status == TD_OK) {
    status = td_alloc((size_t)tokenizer->size + 1, sizeof *pieces->begin, (void **)&pieces->begin);
  }
  if (status) {
    td_pieces_free(pieces);
    return status;
  }
  const unsigned char *position = tokenizer->tokens->data;
  for (int32_t id = 0; id < tokenizer->size; id++) {
    struct td_span text = td_gguf_next_text(&position);
    uint64_t at = pieces->begin[id];
    pieces->begin[id + 1] = at + write_token(tokenizer, id, text, pieces->data + at);
  }
  *out = pieces;
  return TD_OK;
}

void td_pieces_free(struct td_pieces *pieces) {
  if (!pieces) return;
  free(pieces->data);
  free(pieces->begin);
  free(pieces);
}
