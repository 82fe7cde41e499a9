/* SPDX-License-Identifier: Apache-2.0
 *
 * Models of any shape, of noise: a llama written to a file.
 */
#ifndef TESTS_LPU_SMALL_MODEL_H
#define TESTS_LPU_SMALL_MODEL_H

#include <stdint.h>

struct small_model {
  int32_t layers, hidden, ffn, heads, kv_heads; /* heads of hidden / heads elements */
};
/* Writes it to `path`; fails the test if it cannot. 256 tokens, context 128. */
void small_model_write(const struct small_model *model, const char *path);

#endif
