/* SPDX-License-Identifier: Apache-2.0
 *
 * Fuzzes the tokenizer with texts: any bytes encode, and the ids give the same bytes back. The first byte of an input
 * chooses the pre-tokenizer and whether control tokens are read. The vocabulary is tests/data/tiny/llama.gguf's, with
 * its pre-tokenizer's name overwritten.
 * With -DTANDEM_FUZZ_MAIN a plain program that replays the files it is given, for compilers without libFuzzer.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model/tokenizer.h"
#include "tandem/base.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct td_model *model;
static struct td_tokenizer tokenizers[TD_PRE_COUNT];

static void open_tokenizers(void) {
  if (td_model_open(TANDEM_SOURCE_DIR "/tests/data/tiny/llama.gguf", &model)) {
    fprintf(stderr, "%s\n", td_error_text());
    exit(1);
  }
  for (int pre = 0; pre < TD_PRE_COUNT; pre++) {
    tokenizers[pre] = *td_model_tokenizer(model);
    tokenizers[pre].pre = (enum td_pretokenizer)pre;
    tokenizers[pre].tables = calloc(1, sizeof *tokenizers[pre].tables);
    if (!tokenizers[pre].tables) exit(1);
    pthread_mutex_init(&tokenizers[pre].tables->mutex, NULL);
  }
}

static void check(const struct td_tokenizer *tokenizer, const char *text, size_t bytes, bool special) {
  int32_t *ids;
  int64_t count;
  size_t at = 0;
  if (td_tokenizer_encode(tokenizer, text, bytes, special, &ids, &count)) abort();
  for (int64_t i = 0; i < count; i++) {
    const char *piece;
    size_t piece_bytes;
    if (td_tokenizer_piece(tokenizer, ids[i], &piece, &piece_bytes)) abort();
    if (piece_bytes > bytes - at || memcmp(piece, text + at, piece_bytes) != 0) abort();
    at += piece_bytes;
  }
  if (at != bytes) abort();
  free(ids);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  if (!model) open_tokenizers();
  if (!size) return 0;
  check(&tokenizers[data[0] % TD_PRE_COUNT], (const char *)data + 1, size - 1, data[0] & 0x80);
  return 0;
}

#ifdef TANDEM_FUZZ_MAIN
#include "fuzz_main.h"
#endif
