/* SPDX-License-Identifier: Apache-2.0
 *
 * Executing LPU programs on a host: instruction by instruction, or lowered to operations on whole vectors that a device
 * interprets (operator LPU_RUN). All hosts give the same bits in SRAM and the same counts.
 */
#ifndef TANDEM_LPU_HOST_H
#define TANDEM_LPU_HOST_H

#include "tandem/lpu.h"
#include "tandem/lpu_code.h"

struct td_device;

/* ---- lowering ---- */

/* The operations of a program, and what calls of its segments move. */
struct td_lpu_code;
/* Replays each segment once, symbolically, and gathers what its instructions come to. The program is borrowed.
 * TD_UNSUPPORTED, with the segment and the reason, for programs that only the instruction-by-instruction mode
 * executes. */
td_status td_lpu_lower(const struct td_lpu_program *program, struct td_lpu_code **out_code);
void td_lpu_code_free(struct td_lpu_code *code); /* NULL is fine */
/* What a device reads: struct td_lpu_code_head and what it points to. */
const int32_t *td_lpu_code_words(const struct td_lpu_code *code, uint64_t *out_bytes);
uint64_t td_lpu_code_work_bytes(const struct td_lpu_code *code);
/* The calls and patches of a step, struct td_lpu_code_step and what follows it: grows *words. TD_CORRUPT names an
 * address outside SRAM. */
td_status td_lpu_code_step(const struct td_lpu_code *code, int32_t entry, const struct td_lpu_step *step,
                           int32_t **words, size_t *capacity, size_t *out_count);
/* TD_OK, or TD_CORRUPT with the instruction that a run stopped at. */
td_status td_lpu_code_failure(const struct td_lpu_code *code, const struct td_lpu_code_state *state);

/* ---- hosts ---- */

/* A system in some memory: opened, loaded, stepped. One thread at a time. */
struct td_lpu_host;
/* spec: "step", or a device ("cpu", "opencl:0"). A program that cannot be lowered is executed instruction by
 * instruction whatever the spec; td_lpu_host_note says so. The program is borrowed. TD_UNSUPPORTED if the device has no
 * LPU_RUN. */
td_status td_lpu_host_open(const struct td_lpu_program *program, const char *spec, struct td_lpu_host **out_host);
/* The same on an opened device, which is borrowed. */
td_status td_lpu_host_open_on(const struct td_lpu_program *program, struct td_device *device,
                              struct td_lpu_host **out_host);
void td_lpu_host_close(struct td_lpu_host *host); /* NULL is fine */
/* NULL, or why it executes otherwise than it was asked to. */
const char *td_lpu_host_note(const struct td_lpu_host *host);
/* As td_lpu_execute. */
td_status td_lpu_host_run(struct td_lpu_host *host, int32_t entry, const struct td_lpu_step *step,
                          struct td_lpu_counts *out_counts);
/* As td_lpu_image_write, _read, td_lpu_kv_write, _read. */
td_status td_lpu_host_image_write(struct td_lpu_host *host, const char *image, int32_t row, const void *elements);
td_status td_lpu_host_image_read(struct td_lpu_host *host, const char *image, int32_t row, void *elements);
td_status td_lpu_host_kv_write(struct td_lpu_host *host, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                               int32_t slot, const uint16_t *k, const uint16_t *v);
td_status td_lpu_host_kv_read(struct td_lpu_host *host, const struct td_lpu_kv *kv, int32_t layer, int32_t block,
                              int32_t slot, uint16_t *k, uint16_t *v);
/* Bytes [offset, offset + bytes) of SRAM, laid out as in struct td_lpu_system. */
td_status td_lpu_host_sram_read(struct td_lpu_host *host, uint64_t offset, uint64_t bytes, void *out);
td_status td_lpu_host_sram_write(struct td_lpu_host *host, uint64_t offset, uint64_t bytes, const void *from);

#endif
