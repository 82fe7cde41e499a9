/* SPDX-License-Identifier: Apache-2.0
 *
 * Private to hosts of LPU programs: where rows of images and positions of KV caches lie in SRAM, wherever that is.
 */
#ifndef TANDEM_LPU_SRAM_H
#define TANDEM_LPU_SRAM_H

#include "tandem/lpu.h"

static inline uint64_t sram_word(const struct td_lpu_machine *machine, int64_t chip, int64_t slice, int64_t word) {
  return (uint64_t)(((chip * machine->mem_words + word) * machine->mem_slices + slice) * machine->lanes);
}
uint64_t sram_bytes(const struct td_lpu_program *program);
/* Whether an image lies inside SRAM, with its data in the program. */
td_status sram_check_image(const struct td_lpu_program *program, const struct td_lpu_image *image);

/* A row of an image's matrix: `blocks` vectors of elements, each of `bytes` vectors that lie one after another. */
struct sram_row {
  const struct td_lpu_program *program;
  const struct td_lpu_image *image;
  int64_t vector; /* its first */
  int32_t blocks, bytes;
};
/* Images of this name: what several chips hold is written to each of them. */
int32_t sram_copies(const struct td_lpu_program *program, const char *name);
/* How many of them a read takes: of an OUTPUT all, side by side, of others the first. */
int32_t sram_parts(const struct td_lpu_program *program, const char *name);
td_status sram_find_row(const struct td_lpu_program *program, const char *name, int32_t copy, int32_t row,
                        struct sram_row *out);
/* Where block `block` begins. */
uint64_t sram_block(const struct sram_row *row, int32_t block);
/* Elements of a block from and to planar vectors; lanes that the row does not have are left alone. */
void sram_pack(const struct sram_row *row, int32_t block, const void *elements, uint8_t *vectors);
void sram_unpack(const struct sram_row *row, int32_t block, const uint8_t *vectors, void *elements);

/* A position of one layer on one of the chips that share it: KV heads [first_head, first_head + heads). */
struct sram_kv {
  int32_t first_head, heads, head_dim;
  uint64_t k, v; /* where its vectors of "k.cache" and "v.cache" begin: the low bytes, then the high ones */
};
td_status sram_find_kv(const struct td_lpu_program *program, const struct td_lpu_kv *kv, int32_t part, int32_t layer,
                       int32_t block, int32_t slot, struct sram_kv *out);
/* The pair of vectors that holds its heads of `from` (all heads of the layer); those of V with its lane of one. */
void sram_pack_kv(const struct td_lpu_machine *machine, const struct sram_kv *kv, const uint16_t *from, bool v,
                  uint8_t *pair);
void sram_unpack_kv(const struct td_lpu_machine *machine, const struct sram_kv *kv, const uint8_t *pair, uint16_t *to);

#endif
