/* SPDX-License-Identifier: Apache-2.0
 *
 * The program file: eight bytes of magic, the version, the body (codec_program.c), and the FNV-1a hash of all that.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "codec.h"
#include "tandem/base.h"

static const char magic[8] = {'T', 'D', 'L', 'P', 'U', 'P', 'R', 'G'};
enum { HEAD_BYTES = 12, CHECKSUM_BYTES = 8 };

void td_lpu_program_free(struct td_lpu_program *program) {
  if (!program) return;
  for (int32_t i = 0; i < program->segment_count; i++) {
    free(program->segments[i].instructions);
    free(program->segments[i].meanings);
    free(program->segments[i].patches);
  }
  free(program->alike);
  free(program->images);
  free(program->maps);
  free(program->segments);
  free(program->links);
  free(program->entries);
  free(program->data);
  free(program);
}

/* Head and body. Writing and hashing change nothing of the program. */
static td_status put_program(struct td_codec *code, const struct td_lpu_program *program) {
  char head[sizeof magic];
  uint32_t version = TD_LPU_PROGRAM_VERSION;
  struct td_lpu_program body = *program;
  memcpy(head, magic, sizeof head);
  td_codec_bytes(code, head, sizeof head);
  td_codec_u32(code, &version);
  td_codec_program(code, &body);
  return td_codec_flush(code);
}

uint64_t td_lpu_program_digest(const struct td_lpu_program *program) {
  struct td_codec code = {.hash = TD_HASH_INIT, .path = "digest"};
  put_program(&code, program);
  return code.hash;
}

uint64_t td_lpu_machine_digest(const struct td_lpu_machine *machine) {
  struct td_codec code = {.hash = TD_HASH_INIT, .path = "digest"};
  struct td_lpu_machine copy = *machine;
  td_codec_machine(&code, &copy);
  td_codec_flush(&code);
  return code.hash;
}

/* ---- writing ---- */

static td_status write_to(FILE *file, const char *path, const struct td_lpu_program *program) {
  struct td_codec code = {.file = file, .path = path, .hash = TD_HASH_INIT};
  TD_TRY(put_program(&code, program));
  uint64_t hash = code.hash;
  td_codec_u64(&code, &hash);
  return td_codec_flush(&code);
}

static td_status write_part(const char *part, const char *path, const struct td_lpu_program *program) {
  FILE *file = fopen(part, "wb");
  if (!file) return td_fail(TD_IO, "%s: %s", part, strerror(errno));
  td_status status = write_to(file, part, program);
  if (fclose(file) && !status) status = td_fail(TD_IO, "%s: %s", part, strerror(errno));
  if (!status && rename(part, path)) status = td_fail(TD_IO, "%s: %s", path, strerror(errno));
  if (status) unlink(part);
  return status;
}

td_status td_lpu_program_save(const struct td_lpu_program *program, const char *path) {
  struct td_text part = {0};
  TD_TRY(td_check_output(path));
  td_text_printf(&part, "%s.part", path);
  td_status status =
      part.failed ? td_fail(TD_NO_MEMORY, "%s: no memory for its name", path) : write_part(part.data, path, program);
  td_text_free(&part);
  return status;
}

/* ---- reading ---- */

static td_status check_head(struct td_codec *code) {
  char found[sizeof magic];
  uint32_t version = 0;
  code->what = "the head";
  td_codec_bytes(code, found, sizeof found);
  td_codec_u32(code, &version);
  if (code->status) return code->status;
  if (memcmp(found, magic, sizeof magic)) {
    return td_fail(TD_CORRUPT, "%s: found no LPU program, expected the bytes %.8s at its start", code->path, magic);
  }
  if (version == TD_LPU_PROGRAM_VERSION) return TD_OK;
  return td_fail(TD_CORRUPT, "%s: found version %u of the program file, expected %d", code->path, version,
                 TD_LPU_PROGRAM_VERSION);
}

/* The body was read to its end, so the hash is that of all of it. */
static td_status check_checksum(struct td_codec *code) {
  uint64_t hash = code->hash, found = 0;
  code->left = CHECKSUM_BYTES;
  code->what = "the checksum";
  td_codec_u64(code, &found);
  if (code->status || found == hash) return code->status;
  return td_fail(TD_CORRUPT, "%s: found checksum %016llx, expected %016llx: the file was changed or cut", code->path,
                 (unsigned long long)found, (unsigned long long)hash);
}

static td_status read_body(struct td_codec *code, struct td_lpu_program *program) {
  TD_TRY(check_head(code));
  td_codec_program(code, program);
  TD_TRY(code->status);
  TD_TRY(check_checksum(code));
  td_status status = td_lpu_program_validate(program);
  return status ? td_fail_within(status, "%s", code->path) : TD_OK;
}

static td_status open_file(const char *path, FILE **out_file, uint64_t *out_bytes) {
  struct stat info;
  if (stat(path, &info)) return td_fail(errno == ENOENT ? TD_NOT_FOUND : TD_IO, "%s: %s", path, strerror(errno));
  if (!S_ISREG(info.st_mode)) return td_fail(TD_IO, "%s: found no regular file, expected an LPU program", path);
  if (info.st_size < HEAD_BYTES + CHECKSUM_BYTES) {
    return td_fail(TD_CORRUPT, "%s: found %lld bytes, expected at least the %d of a program's head and checksum", path,
                   (long long)info.st_size, HEAD_BYTES + CHECKSUM_BYTES);
  }
  *out_file = fopen(path, "rb");
  if (!*out_file) return td_fail(TD_IO, "%s: %s", path, strerror(errno));
  *out_bytes = (uint64_t)info.st_size;
  return TD_OK;
}

static td_status read_from(FILE *file, const char *path, uint64_t bytes, struct td_lpu_program *program) {
  struct td_codec code = {
      .file = file, .path = path, .reads = true, .left = bytes - CHECKSUM_BYTES, .hash = TD_HASH_INIT};
  return read_body(&code, program);
}

td_status td_lpu_program_open(const char *path, struct td_lpu_program **out_program) {
  FILE *file;
  uint64_t bytes = 0;
  void *memory = NULL;
  TD_TRY(open_file(path, &file, &bytes));
  td_status status = td_alloc(1, sizeof(struct td_lpu_program), &memory);
  if (!status) status = read_from(file, path, bytes, memory);
  fclose(file);
  if (status) {
    td_lpu_program_free(memory);
    return status;
  }
  *out_program = memory;
  return TD_OK;
}
