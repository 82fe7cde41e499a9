/* SPDX-License-Identifier: Apache-2.0
 *
 * KV caches in SRAM, a position at a time: what a program appends, as a host writes and reads it.
 */
#include <stdlib.h>
#include <string.h>

#include "sram.h"

#define ONE_F16 0x3c00u

int32_t td_lpu_kv_first_head(int32_t kv_heads, int32_t tensor, int32_t part) {
  return (int32_t)(((int64_t)kv_heads * part + tensor - 1) / tensor);
}

int32_t td_lpu_kv_share(int32_t kv_heads, int32_t tensor, int32_t part, int32_t *out_count) {
  int32_t first = td_lpu_kv_first_head(kv_heads, tensor, part);
  *out_count = td_lpu_kv_first_head(kv_heads, tensor, part + 1) - first;
  if (tensor <= kv_heads) return first;
  *out_count = 1;
  return (int32_t)((int64_t)part * kv_heads / tensor);
}

int32_t td_lpu_kv_lane(const struct td_lpu_machine *machine, int32_t head_dim, int32_t kv_head) {
  int32_t half = machine->lanes / 2, heads = half / head_dim;
  return kv_head / heads * half + kv_head % heads * head_dim;
}

int32_t td_lpu_kv_one_lane(const struct td_lpu_machine *machine, int32_t kv_heads, int32_t head_dim) {
  int32_t half = machine->lanes / 2, heads = half / head_dim;
  int32_t last = td_lpu_kv_lane(machine, head_dim, kv_heads - 1) + head_dim;
  if (last < machine->lanes) return last;
  return heads * head_dim < half ? heads * head_dim : -1;
}

static td_status outside(const char *what, int32_t found, int32_t count) {
  return td_fail(TD_CONFIG, "KV cache in SRAM: found %s %d, expected 0..%d", what, found, count - 1);
}

/* Names begin alike where several images share the layers. */
static bool is_cache(const struct td_lpu_image *image, const char *name) {
  return image->kind == TD_IMAGE_KV && strncmp(image->name, name, strlen(name)) == 0;
}

/* The chip's image that holds the layer, of the chips that are part `part` of their groups; `*layer` becomes its number
 * there. */
static const struct td_lpu_image *image_of(const struct td_lpu_program *program, const char *name, int32_t part,
                                           int32_t layer_words, int32_t *layer) {
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    if (!is_cache(image, name) || image->chip % program->tensor != part) continue;
    int32_t layers = (image->words - 1) / layer_words;
    if (*layer < layers) return image;
    *layer -= layers;
  }
  return NULL;
}

static td_status find_vector(const struct td_lpu_program *program, const struct td_lpu_kv *kv, const char *name,
                             int32_t part, int32_t layer, int32_t block, int32_t slot, uint64_t *out) {
  const struct td_lpu_machine *machine = &program->machine;
  int32_t group = program->block_tokens / machine->load_vectors, of_image = layer;
  const struct td_lpu_image *image = layer < 0 ? NULL : image_of(program, name, part, kv->kv_blocks * group, &of_image);
  if (!image) return td_fail(TD_CONFIG, "KV cache in SRAM: found no layer %d in images %s", layer, name);
  int64_t word = image->word + ((int64_t)of_image * kv->kv_blocks + block) * group + slot / machine->load_vectors;
  int64_t slice = image->hemisphere * (machine->mem_slices / 2) + image->slice + slot % machine->load_vectors * 2;
  *out = sram_word(machine, image->chip, slice, word);
  uint64_t pair = 2 * (uint64_t)machine->lanes, room = sram_bytes(program);
  if (slot % machine->load_vectors * 2 + 2 > image->slices || *out > room || pair > room - *out) {
    return td_fail(TD_CORRUPT, "image %.47s: found %d slices, expected two for each of %d vectors", image->name,
                   image->slices, machine->load_vectors);
  }
  return TD_OK;
}

td_status sram_find_kv(const struct td_lpu_program *program, const struct td_lpu_kv *kv, int32_t part, int32_t layer,
                       int32_t block, int32_t slot, struct sram_kv *out) {
  if (block < 0 || block >= kv->kv_blocks) return outside("block", block, kv->kv_blocks);
  if (slot < 0 || slot >= program->block_tokens) return outside("slot", slot, program->block_tokens);
  out->first_head = td_lpu_kv_share(kv->kv_heads, program->tensor, part, &out->heads);
  out->head_dim = kv->head_dim;
  TD_TRY(find_vector(program, kv, "k.cache", part, layer, block, slot, &out->k));
  return find_vector(program, kv, "v.cache", part, layer, block, slot, &out->v);
}

static void put(const struct td_lpu_machine *machine, uint8_t *pair, int32_t lane, uint16_t value) {
  pair[lane] = (uint8_t)value;
  pair[machine->lanes + lane] = (uint8_t)(value >> 8);
}

void sram_pack_kv(const struct td_lpu_machine *machine, const struct sram_kv *kv, const uint16_t *from, bool v,
                  uint8_t *pair) {
  int32_t one = v ? td_lpu_kv_one_lane(machine, kv->heads, kv->head_dim) : -1;
  memset(pair, 0, 2 * (size_t)machine->lanes);
  from += (int64_t)kv->first_head * kv->head_dim;
  for (int32_t head = 0; head < kv->heads; head++) {
    int32_t lane = td_lpu_kv_lane(machine, kv->head_dim, head);
    for (int32_t i = 0; i < kv->head_dim; i++) put(machine, pair, lane + i, *from++);
  }
  if (one >= 0) put(machine, pair, one, ONE_F16);
}

void sram_unpack_kv(const struct td_lpu_machine *machine, const struct sram_kv *kv, const uint8_t *pair, uint16_t *to) {
  to += (int64_t)kv->first_head * kv->head_dim;
  for (int32_t head = 0; head < kv->heads; head++) {
    int32_t lane = td_lpu_kv_lane(machine, kv->head_dim, head);
    for (int32_t i = 0; i < kv->head_dim; i++) {
      *to++ = (uint16_t)(pair[lane + i] | (unsigned)pair[machine->lanes + lane + i] << 8);
    }
  }
}

td_status td_lpu_kv_write(struct td_lpu_system *system, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                          int32_t slot, const uint16_t *k, const uint16_t *v) {
  for (int32_t part = 0; part < system->program->tensor; part++) {
    struct sram_kv at;
    TD_TRY(sram_find_kv(system->program, kv, part, layer, block, slot, &at));
    sram_pack_kv(&system->program->machine, &at, k, false, system->sram + at.k);
    sram_pack_kv(&system->program->machine, &at, v, true, system->sram + at.v);
  }
  return TD_OK;
}

td_status td_lpu_kv_read(const struct td_lpu_system *system, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                         int32_t slot, uint16_t *k, uint16_t *v) {
  for (int32_t part = 0; part < system->program->tensor; part++) {
    struct sram_kv at;
    TD_TRY(sram_find_kv(system->program, kv, part, layer, block, slot, &at));
    sram_unpack_kv(&system->program->machine, &at, system->sram + at.k, k);
    sram_unpack_kv(&system->program->machine, &at, system->sram + at.v, v);
  }
  return TD_OK;
}
