/* SPDX-License-Identifier: Apache-2.0
 *
 * One interface to everything that executes LPU programs: the instruction-by-instruction mode, or a device that
 * interprets lowered code.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "sram.h"
#include "tandem/base.h"
#include "tandem/device.h"
#include "tandem/lpu_host.h"

enum { BLOCK_BYTES = 4 * TD_LPU_MOST_LANES, HOST_THREADS = 8 };

struct td_lpu_host {
  const struct td_lpu_program *program;
  struct td_lpu_system *system; /* step mode; else NULL */
  char note[1024];
  /* a device */
  struct td_device *device, *own; /* own: what is closed with the host */
  struct td_lpu_code *code;
  struct td_lpu_tally *tallies;
  struct td_buffer *words, *step, *work, *sram;
  uint64_t words_bytes, step_bytes, work_bytes, sram_bytes;
  int32_t *step_words;
  size_t step_capacity;
  uint8_t *staging, *hull;
  size_t hull_capacity;
};

/* ---- opening ---- */

static const struct td_op run_op = {.kind = TD_OP_LPU_RUN, .layer = -1, .in = {-1, -1}, .out = -1, .weight = -1};

static td_status supports(struct td_device *device) {
  const struct td_op_query query = {.op = &run_op, .weight_dtype = TD_F32, .kv_dtype = TD_F32};
  return td_device_supports(device, &query);
}

static uint64_t whole_words(uint64_t bytes) {
  return (bytes + 63) / 64 * 64;
}

static td_status new_buffer(struct td_lpu_host *host, uint64_t bytes, enum td_buffer_use use, uint64_t *out_bytes,
                            struct td_buffer **out) {
  *out_bytes = whole_words(bytes);
  return td_device_alloc(host->device, *out_bytes, use, out);
}

static td_status fill_image(struct td_lpu_host *host, const struct td_lpu_image *image) {
  const struct td_lpu_machine *machine = &host->program->machine;
  uint64_t bytes = (uint64_t)image->slices * (uint64_t)machine->lanes;
  int64_t slice = (int64_t)image->hemisphere * (machine->mem_slices / TD_LPU_HEMISPHERES) + image->slice;
  for (int32_t w = 0; image->data_bytes && w < image->words; w++) {
    TD_TRY(td_device_write(host->device, host->sram, sram_word(machine, image->chip, slice, image->word + w),
                           host->program->data + image->data + (uint64_t)w * bytes, bytes));
  }
  return TD_OK;
}

static td_status open_memory(struct td_lpu_host *host) {
  const struct td_lpu_program *program = host->program;
  uint64_t bytes;
  void *staging;
  const int32_t *words = td_lpu_code_words(host->code, &bytes);
  TD_TRY(new_buffer(host, bytes, TD_USE_WEIGHT, &host->words_bytes, &host->words));
  TD_TRY(td_device_write(host->device, host->words, 0, words, bytes));
  TD_TRY(new_buffer(host, td_lpu_code_work_bytes(host->code), TD_USE_ACTIVATION, &host->work_bytes, &host->work));
  /* Most of it is images, written here; much of the rest is never used, so nobody need touch it beforehand. */
  TD_TRY(new_buffer(host, sram_bytes(program), TD_USE_WEIGHT, &host->sram_bytes, &host->sram));
  TD_TRY(td_alloc(BLOCK_BYTES, 1, &staging));
  host->staging = staging;
  for (int32_t i = 0; i < program->image_count; i++) {
    TD_TRY(sram_check_image(program, &program->images[i]));
    TD_TRY(fill_image(host, &program->images[i]));
  }
  return td_device_sync(host->device);
}

static td_status open_device(struct td_lpu_host *host, struct td_device *device, const char *name) {
  host->device = device;
  TD_TRY(supports(device));
  td_status status = td_lpu_lower(host->program, &host->code);
  if (status == TD_UNSUPPORTED) {
    snprintf(host->note, sizeof host->note, "instruction by instruction, not on %s: %s", name, td_error_text());
    return td_lpu_system_open(host->program, &host->system);
  }
  TD_TRY(status);
  TD_TRY(td_lpu_program_tallies(host->program, &host->tallies));
  return open_memory(host);
}

static td_status open_spec(struct td_lpu_host *host, const char *spec) {
  int32_t chips = host->program->chips;
  const struct td_device_options options = {.threads = chips < HOST_THREADS ? chips : HOST_THREADS};
  if (strcmp(spec, "step") == 0) return td_lpu_system_open(host->program, &host->system);
  TD_TRY(td_device_open(spec, &options, &host->own));
  return open_device(host, host->own, spec);
}

/* spec NULL: on `device`. */
static td_status open_host(const struct td_lpu_program *program, const char *spec, struct td_device *device,
                           struct td_lpu_host **out_host) {
  void *memory;
  TD_TRY(td_alloc(1, sizeof(struct td_lpu_host), &memory));
  struct td_lpu_host *host = memory;
  host->program = program;
  td_status status = spec ? open_spec(host, spec) : open_device(host, device, device->backend->name);
  if (status) {
    td_lpu_host_close(host);
    return status;
  }
  *out_host = host;
  return TD_OK;
}

td_status td_lpu_host_open(const struct td_lpu_program *program, const char *spec, struct td_lpu_host **out_host) {
  return open_host(program, spec, NULL, out_host);
}

td_status td_lpu_host_open_on(const struct td_lpu_program *program, struct td_device *device,
                              struct td_lpu_host **out_host) {
  return open_host(program, NULL, device, out_host);
}

void td_lpu_host_close(struct td_lpu_host *host) {
  if (!host) return;
  td_lpu_system_close(host->system);
  struct td_buffer *buffers[] = {host->words, host->step, host->work, host->sram};
  for (int i = 0; i < 4; i++) {
    if (host->device) td_device_free(host->device, buffers[i]);
  }
  td_device_close(host->own);
  td_lpu_code_free(host->code);
  free(host->tallies);
  free(host->step_words);
  free(host->staging);
  free(host->hull);
  free(host);
}

const char *td_lpu_host_note(const struct td_lpu_host *host) {
  return host->note[0] ? host->note : NULL;
}

/* ---- a step ---- */

static struct td_view view_of(struct td_buffer *buffer, uint64_t bytes) {
  return (struct td_view){.buffer = buffer, .dtype = TD_F32, .rows = 1, .cols = (int64_t)(bytes / sizeof(float))};
}

static td_status send_step(struct td_lpu_host *host, size_t count) {
  uint64_t bytes = count * sizeof *host->step_words;
  if (bytes > host->step_bytes) {
    td_device_free(host->device, host->step);
    host->step = NULL;
    host->step_bytes = 0;
    TD_TRY(new_buffer(host, 2 * bytes, TD_USE_ACTIVATION, &host->step_bytes, &host->step));
  }
  return td_device_write(host->device, host->step, 0, host->step_words, bytes);
}

static td_status run_device(struct td_lpu_host *host, int32_t entry, const struct td_lpu_step *step) {
  struct td_lpu_code_state state;
  size_t count;
  TD_TRY(td_lpu_code_step(host->code, entry, step, &host->step_words, &host->step_capacity, &count));
  TD_TRY(send_step(host, count));
  const struct td_lpu_code_step *first = (const struct td_lpu_code_step *)(const void *)host->step_words;
  struct td_op op = run_op;
  op.n = first->parts;
  op.k = first->most_chips;
  const struct td_op_call call = {.op = &op,
                                  .in = {view_of(host->step, host->step_bytes), view_of(host->work, host->work_bytes)},
                                  .out = view_of(host->sram, host->sram_bytes),
                                  .weight = view_of(host->words, host->words_bytes)};
  TD_TRY(td_device_op(host->device, &call));
  TD_TRY(td_device_read(host->device, host->work, 0, &state, sizeof state));
  return td_lpu_code_failure(host->code, &state);
}

td_status td_lpu_host_run(struct td_lpu_host *host, int32_t entry, const struct td_lpu_step *step,
                          struct td_lpu_counts *out_counts) {
  if (host->system) return td_lpu_execute(host->system, entry, step, out_counts);
  TD_TRY(run_device(host, entry, step));
  if (!out_counts) return TD_OK;
  struct td_lpu_program alone = *host->program; /* no entry goes on after this one */
  alone.entry_count = entry + 1;
  return td_lpu_program_counts(&alone, host->tallies, entry, step, out_counts);
}

/* ---- images and KV ---- */

static td_status check_bytes(const struct td_lpu_host *host, uint64_t offset, uint64_t bytes) {
  uint64_t room = sram_bytes(host->program);
  if (offset <= room && bytes <= room - offset) return TD_OK;
  return td_fail(TD_CONFIG, "SRAM: found %" PRIu64 " bytes from %" PRIu64 " on, expected them inside %" PRIu64, bytes,
                 offset, room);
}

td_status td_lpu_host_sram_read(struct td_lpu_host *host, uint64_t offset, uint64_t bytes, void *out) {
  TD_TRY(check_bytes(host, offset, bytes));
  if (!host->system) return td_device_read(host->device, host->sram, offset, out, bytes);
  memcpy(out, host->system->sram + offset, bytes);
  return TD_OK;
}

td_status td_lpu_host_sram_write(struct td_lpu_host *host, uint64_t offset, uint64_t bytes, const void *from) {
  TD_TRY(check_bytes(host, offset, bytes));
  if (!host->system) return td_device_write(host->device, host->sram, offset, from, bytes);
  memcpy(host->system->sram + offset, from, bytes);
  return TD_OK;
}

/* A block that the row does not fill keeps its other lanes. */
static td_status write_row(struct td_lpu_host *host, const struct sram_row *at, const void *elements) {
  int32_t lanes = host->program->machine.lanes;
  uint64_t bytes = (uint64_t)at->bytes * (uint64_t)lanes;
  for (int32_t b = 0; b < at->blocks; b++) {
    uint64_t offset = sram_block(at, b);
    bool part = (b + 1) * (int64_t)lanes > at->image->cols;
    if (part) TD_TRY(td_device_read(host->device, host->sram, offset, host->staging, bytes));
    sram_pack(at, b, elements, host->staging);
    TD_TRY(td_device_write(host->device, host->sram, offset, host->staging, bytes));
  }
  return TD_OK;
}

td_status td_lpu_host_image_write(struct td_lpu_host *host, const char *image, int32_t row, const void *elements) {
  if (host->system) return td_lpu_image_write(host->system, image, row, elements);
  int32_t copy = 0, copies = sram_copies(host->program, image);
  do {
    struct sram_row at;
    TD_TRY(sram_find_row(host->program, image, copy, row, &at));
    TD_TRY(write_row(host, &at, elements));
  } while (++copy < copies);
  return TD_OK;
}

/* Blocks lie a word apart; where all of them are within this, they come in one read. */
#define MOST_AT_ONCE (UINT64_C(16) << 20)

static td_status read_at_once(struct td_lpu_host *host, const struct sram_row *at, uint64_t first, uint64_t bytes,
                              void *elements) {
  void *hull = host->hull;
  TD_TRY(td_grow(&hull, &host->hull_capacity, bytes, 1));
  host->hull = hull;
  TD_TRY(td_device_read(host->device, host->sram, first, hull, bytes));
  for (int32_t b = 0; b < at->blocks; b++) sram_unpack(at, b, host->hull + (sram_block(at, b) - first), elements);
  return TD_OK;
}

static td_status read_row(struct td_lpu_host *host, const struct sram_row *at, void *elements) {
  uint64_t bytes = (uint64_t)at->bytes * (uint64_t)host->program->machine.lanes, low = UINT64_MAX, high = 0;
  for (int32_t b = 0; b < at->blocks; b++) {
    uint64_t offset = sram_block(at, b);
    low = offset < low ? offset : low;
    high = offset > high ? offset : high;
  }
  if (high + bytes - low <= MOST_AT_ONCE) return read_at_once(host, at, low, high + bytes - low, elements);
  for (int32_t b = 0; b < at->blocks; b++) {
    TD_TRY(td_device_read(host->device, host->sram, sram_block(at, b), host->staging, bytes));
    sram_unpack(at, b, host->staging, elements);
  }
  return TD_OK;
}

td_status td_lpu_host_image_read(struct td_lpu_host *host, const char *image, int32_t row, void *elements) {
  char *to = elements;
  if (host->system) return td_lpu_image_read(host->system, image, row, elements);
  for (int32_t part = 0; part < sram_parts(host->program, image); part++) {
    struct sram_row at;
    TD_TRY(sram_find_row(host->program, image, part, row, &at));
    TD_TRY(read_row(host, &at, to));
    to += (int64_t)at.image->cols * at.bytes;
  }
  return TD_OK;
}

/* Chip by chip of those that share the layer. */
td_status td_lpu_host_kv_write(struct td_lpu_host *host, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                               int32_t slot, const uint16_t *k, const uint16_t *v) {
  const struct td_lpu_machine *machine = &host->program->machine;
  if (host->system) return td_lpu_kv_write(host->system, kv, layer, block, slot, k, v);
  for (int32_t part = 0; part < host->program->tensor; part++) {
    struct sram_kv at;
    uint64_t pair = 2 * (uint64_t)machine->lanes;
    TD_TRY(sram_find_kv(host->program, kv, part, layer, block, slot, &at));
    sram_pack_kv(machine, &at, k, false, host->staging);
    TD_TRY(td_device_write(host->device, host->sram, at.k, host->staging, pair));
    sram_pack_kv(machine, &at, v, true, host->staging);
    TD_TRY(td_device_write(host->device, host->sram, at.v, host->staging, pair));
  }
  return TD_OK;
}

td_status td_lpu_host_kv_read(struct td_lpu_host *host, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                              int32_t slot, uint16_t *k, uint16_t *v) {
  const struct td_lpu_machine *machine = &host->program->machine;
  if (host->system) return td_lpu_kv_read(host->system, kv, layer, block, slot, k, v);
  for (int32_t part = 0; part < host->program->tensor; part++) {
    struct sram_kv at;
    uint64_t pair = 2 * (uint64_t)machine->lanes;
    TD_TRY(sram_find_kv(host->program, kv, part, layer, block, slot, &at));
    TD_TRY(td_device_read(host->device, host->sram, at.k, host->staging, pair));
    sram_unpack_kv(machine, &at, host->staging, k);
    TD_TRY(td_device_read(host->device, host->sram, at.v, host->staging, pair));
    sram_unpack_kv(machine, &at, host->staging, v);
  }
  return TD_OK;
}
