/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to framework/model: what the files behind model.h share.
 */
#ifndef TANDEM_MODEL_INTERNAL_H
#define TANDEM_MODEL_INTERNAL_H

#include "gguf.h"
#include "tandem/model.h"

/* Opens a GGUF file lying at `base`; for td_model_open, and for tests that have bytes and no file. With `mapped` a
 * success hands the mapping over, else the bytes stay borrowed until td_model_close. */
td_status td_model_open_bytes(const char *path, const unsigned char *base, uint64_t size, bool mapped,
                              struct td_model **out_model);

/* Reads a shape-only libconfig file. */
td_status td_shape_read(const char *path, struct td_shape *out_shape);

/* *out_tokenizer is NULL if the file has none. Borrows `gguf`. TD_CORRUPT for arrays that contradict themselves or
 * the vocabulary's size; a kind of tokenizer that is not supported opens, and says so when asked to encode. */
td_status td_tokenizer_open(const struct td_gguf *gguf, int32_t vocab, struct td_tokenizer **out_tokenizer);
void td_tokenizer_close(struct td_tokenizer *tokenizer); /* NULL is fine */

#endif
