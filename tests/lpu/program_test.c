/* SPDX-License-Identifier: Apache-2.0
 *
 * The program file: it comes back as it was, no cut or changed file is taken, and no file at all, even one with a right
 * checksum, leads to a read outside of anything. With an argument, writes the sample there (the fuzz target's seed).
 */
#include <sys/mman.h>

#include "../config/files.h"
#include "assemble.h"
#include "lpu/codec.h"
#include "tandem/base.h"
#include "tandem/devices.h"

static struct td_lpu_machine tiny;

/* One instruction of every opcode, a patch, meanings, data, loops: every field of the format is used. */
static struct td_lpu_program *sample(void) {
  struct hand_code *code = hand_begin(&tiny, 2);
  uint8_t data[2 * 32];
  int16_t lanes[TD_LPU_MOST_LANES] = {0};
  for (size_t i = 0; i < sizeof data; i++) data[i] = (uint8_t)(i * 7);
  for (int i = 0; i < 32; i++) lanes[i] = (int16_t)(i % 3 ? 31 - i : -1);
  hand_kv_block(code, 32);
  int32_t weights = hand_image(code, "weights", TD_IMAGE_WEIGHT, TD_LPU_I8, 0, 1, 4, 1, 8, 2);
  hand_image_matrix(code, weights, 2, 32, 0);
  hand_image_data(code, weights, data);
  int32_t cache = hand_image(code, "cache", TD_IMAGE_KV, TD_LPU_I8, 1, 0, 2, 1, 0, 64);
  hand_image_matrix(code, cache, 64, 32, 0);
  int32_t own = hand_image(code, "own", TD_IMAGE_SCRATCH, TD_LPU_I8, 1, 0, 2, 1, 64, 8);
  int32_t map = hand_map(code, lanes);
  hand_segment(code, "everything", 400);
  hand_arrays(code, 1, 3);
  const struct td_lpu_patch patch = {
      .coefficient = {4, 0, 0, 2, 1, 0}, .high = {3, 0, 0, 7, 15, 0}, .lane = 3, .otherwise = 63};
  int32_t moved = hand_patch(code, &patch);
  int32_t read = hand_read(code, 0, weights, 0, 0, TD_LPU_EAST | 3);
  hand_repeat(code, read, 2, 5, 1);
  int32_t write = hand_write(code, 9, cache, 0, 0, 4);
  hand_patched(code, write, 1, moved);
  hand_means(code, write, 0, read, 0);
  hand_load(code, 20, 0, 0, TD_LPU_I8, 1, TD_LPU_EAST | 0);
  hand_load_columns(code, 22, 0, 0, TD_LPU_W8, 0, TD_LPU_EAST | 16, 1);
  hand_install(code, 40, 0, 0);
  hand_pass(code, 50, 0, 0, TD_LPU_F16, TD_LPU_EAST | 2, 1);
  hand_sum(code, 64, 0, 0, TD_LPU_F32, TD_LPU_ADD | TD_LPU_KEEP | TD_LPU_EMIT, 7, 8);
  int32_t square = hand_alu(code, 70, 0, 2, TD_ALU_MUL, TD_LPU_F32, TD_LPU_NO_STREAM);
  hand_from(code, square, 0, TD_LPU_F16, 6);
  hand_value(code, square, 1, 0.5f);
  int32_t root = hand_alu(code, 78, 0, 3, TD_ALU_RSQRT, TD_LPU_F16, TD_LPU_EAST | 10);
  hand_chain(code, root, 0, 2);
  hand_means(code, root, 0, square, 0);
  hand_rotate(code, 90, 0, 1, 2, 4, 6, -3);
  hand_shift(code, 95, 0, 1, 1, 4, 9, 5);
  hand_permute(code, 100, 0, 0, 4, 8, 12, map);
  hand_select(code, 105, 0, 0, 2, 8, 10, 12, map);
  hand_transpose(code, 110, 0, 1, 0, 16);
  hand_send(code, 120, 0, 2, 5);
  hand_receive(code, 160, 1, 2, 5);
  hand_segment(code, "nothing", 11);
  hand_entry(code, 4);
  hand_run(code, 0, 0);
  hand_loop(code, TD_VAR_LAYER, 1, 3);
  hand_loop(code, TD_VAR_ROW, 0, 0);
  hand_run(code, 1, 1);
  hand_loop(code, TD_VAR_BLOCK, 0, 0);
  hand_run(code, 1, 0);
  hand_end(code);
  hand_end(code);
  hand_end(code);
  hand_entry(code, 4);
  hand_run(code, 0, 0);
  struct td_lpu_program *program = hand_finish(code);
  program->images[own].owner = 1;
  program->entries[1].first_row = 2;
  return program;
}

/* The sample's file. */
static char *file_of(const struct td_lpu_program *program, const char **out_path, size_t *out_bytes) {
  static char path[4200];
  char *data;
  snprintf(path, sizeof path, "%s/sample.lpu", scratch_folder());
  td_status status = td_lpu_program_save(program, path);
  if (status) print_error("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  assert_int_equal(td_read_file(path, 1 << 24, &data, out_bytes), TD_OK);
  *out_path = path;
  return data;
}

static td_status open_bytes(const char *data, size_t bytes, struct td_lpu_program **out) {
  char path[64];
  int file = memfd_create("spoiled.lpu", MFD_CLOEXEC);
  assert_true(file >= 0);
  assert_int_equal(write(file, data, bytes), bytes);
  snprintf(path, sizeof path, "/proc/self/fd/%d", file);
  td_status status = td_lpu_program_open(path, out);
  close(file);
  return status;
}

/* ---- round trip ---- */

#define SAME_ARRAY(a, b, field)                                                                              \
  do {                                                                                                       \
    assert_int_equal((a)->field##_count, (b)->field##_count);                                                \
    if ((a)->field##_count) {                                                                                \
      assert_memory_equal((a)->field##s, (b)->field##s, (size_t)(a)->field##_count * sizeof *(a)->field##s); \
    }                                                                                                        \
  } while (0)

static void same_segment(const struct td_lpu_segment *a, const struct td_lpu_segment *b) {
  assert_string_equal(a->name, b->name);
  assert_int_equal(a->length, b->length);
  assert_int_equal(a->arrays_in, b->arrays_in);
  assert_int_equal(a->arrays_out, b->arrays_out);
  SAME_ARRAY(a, b, instruction);
  SAME_ARRAY(a, b, meaning);
  assert_int_equal(a->patch_count, b->patch_count);
  if (a->patch_count) assert_memory_equal(a->patches, b->patches, (size_t)a->patch_count * sizeof *a->patches);
}

static void round_trip(void **state) {
  (void)state;
  struct td_lpu_program *a = sample(), *b = NULL;
  const char *path;
  size_t bytes;
  char *data = file_of(a, &path, &bytes);
  td_status status = td_lpu_program_open(path, &b);
  if (status) print_error("%s\n", td_error_text());
  assert_int_equal(status, TD_OK);
  assert_int_equal(td_lpu_machine_digest(&a->machine), td_lpu_machine_digest(&b->machine));
  assert_int_equal(a->chips, b->chips);
  assert_int_equal(a->tensor, b->tensor);
  assert_int_equal(a->block_tokens, b->block_tokens);
  SAME_ARRAY(a, b, image);
  SAME_ARRAY(a, b, map);
  SAME_ARRAY(a, b, link);
  assert_int_equal(a->entry_count, b->entry_count);
  assert_memory_equal(a->entries, b->entries, (size_t)a->entry_count * sizeof *a->entries);
  assert_int_equal(a->segment_count, b->segment_count);
  for (int32_t i = 0; i < a->segment_count; i++) same_segment(&a->segments[i], &b->segments[i]);
  assert_int_equal(a->data_bytes, b->data_bytes);
  assert_memory_equal(a->data, b->data, a->data_bytes);
  assert_int_equal(td_lpu_program_digest(a), td_lpu_program_digest(b));
  /* the checksum of the file is the digest */
  uint64_t checksum = 0;
  for (int i = 0; i < 8; i++) checksum |= (uint64_t)(unsigned char)data[bytes - 8 + (size_t)i] << (8 * i);
  assert_int_equal(checksum, td_lpu_program_digest(a));
  b->segments[0].instructions[0].immediate ^= 1;
  assert_int_not_equal(td_lpu_program_digest(a), td_lpu_program_digest(b));
  free(data);
  td_lpu_program_free(a);
  td_lpu_program_free(b);
  td_lpu_program_free(NULL);
}

/* ---- spoiled files ---- */

static void every_cut(void **state) {
  (void)state;
  struct td_lpu_program *program = sample(), *out;
  const char *path;
  size_t bytes;
  char *data = file_of(program, &path, &bytes);
  for (size_t keep = 0; keep < bytes; keep += keep < 1200 || keep + 600 > bytes ? 1 : 7) {
    assert_int_equal(open_bytes(data, keep, &out), TD_CORRUPT);
  }
  char *longer = malloc(bytes + 1);
  assert_non_null(longer);
  memcpy(longer, data, bytes);
  longer[bytes] = 0;
  assert_int_equal(open_bytes(longer, bytes + 1, &out), TD_CORRUPT);
  free(longer);
  free(data);
  td_lpu_program_free(program);
}

static void every_byte(void **state) {
  (void)state;
  struct td_lpu_program *program = sample(), *out;
  const char *path;
  size_t bytes;
  char *data = file_of(program, &path, &bytes);
  for (size_t i = 0; i < bytes; i++) {
    data[i] ^= (char)(1 << (i % 8));
    assert_int_equal(open_bytes(data, bytes, &out), TD_CORRUPT);
    data[i] ^= (char)(1 << (i % 8));
  }
  free(data);
  td_lpu_program_free(program);
}

static void seal(char *data, size_t bytes) {
  uint64_t hash = td_hash(TD_HASH_INIT, data, bytes - 8);
  for (int i = 0; i < 8; i++) data[bytes - 8 + (size_t)i] = (char)(hash >> (8 * i));
}

static td_status look(void *context, const struct td_lpu_call *call) {
  const struct td_lpu_program *program = context;
  const struct td_lpu_segment *segment = &program->segments[call->segment];
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct td_lpu_instruction *instruction = &segment->instructions[i];
    if (instruction->opcode != TD_LPU_MEMORY) continue;
    for (int which = 0; which < 2; which++) {
      if (!(instruction->flags & (which ? TD_LPU_WRITE : TD_LPU_READ))) continue;
      int32_t last = td_lpu_address(program, call, instruction, which, instruction->repeat - 1);
      assert_in_range(last, 0, program->machine.mem_words - 1);
    }
  }
  return TD_OK;
}

/* What was taken is used: indexes and addresses stay inside, whatever the bytes were. */
static void use(struct td_lpu_program *program, FILE *sink) {
  static const int32_t blocks[] = {3, 5, 1};
  int32_t tokens = program->block_tokens ? program->block_tokens : 1;
  const struct td_lpu_row row = {2 * tokens + 3 % tokens, blocks, 3};
  const struct td_lpu_step step = {&row, 1};
  td_lpu_program_dump(program, -1, sink);
  for (int32_t i = 0; i < program->entry_count; i++) {
    int32_t turns = 1;
    for (int32_t l = 0; l < program->link_count; l++) turns += program->links[l].count;
    if (turns < 1000) td_lpu_program_walk(program, i, &step, look, program);
    assert_true(td_lpu_program_cycles(program, i, &step) >= program->machine.superlanes - 1);
  }
}

/* Each byte changed in three ways under a right checksum: refused or used, without a fault. */
static void sealed_changes(void **state) {
  (void)state;
  struct td_lpu_program *program = sample(), *out;
  const char *path;
  size_t bytes, taken = 0, refused = 0;
  char *data = file_of(program, &path, &bytes);
  FILE *sink = fopen("/dev/null", "w");
  assert_non_null(sink);
  for (size_t i = 0; i + 8 < bytes; i++) {
    static const unsigned char flips[] = {1, 0x80, 0xff};
    char before = data[i];
    data[i] = (char)((unsigned char)before ^ flips[i % 3]);
    seal(data, bytes);
    td_status status = open_bytes(data, bytes, &out);
    assert_true(status == TD_OK || status == TD_CORRUPT || status == TD_NO_MEMORY);
    taken += status == TD_OK;
    refused += status != TD_OK;
    if (!status) use(out, sink);
    if (!status) td_lpu_program_free(out);
    data[i] = before;
  }
  assert_true(taken > 100 && refused > 300);
  fclose(sink);
  free(data);
  td_lpu_program_free(program);
}

/* ---- each field refused by name ---- */

struct spoil {
  void (*change)(struct td_lpu_program *program);
  const char *want;
};

static struct td_lpu_instruction *first(struct td_lpu_program *program, int opcode) {
  struct td_lpu_segment *segment = &program->segments[0];
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    if (segment->instructions[i].opcode == opcode) return &segment->instructions[i];
  }
  fail();
  return NULL;
}

/* The first that says where an operand comes from. */
static struct td_lpu_meaning *first_meaning(struct td_lpu_program *program) {
  const struct td_lpu_segment *segment = &program->segments[0];
  for (int32_t i = 0; i < segment->meaning_count; i++) {
    if (segment->meanings[i].operand >= 0) return &segment->meanings[i];
  }
  fail();
  return NULL;
}

#define SPOIL(name, code)                      \
  static void name(struct td_lpu_program *p) { \
    code;                                      \
  }
SPOIL(no_chips, p->chips = 0)
SPOIL(no_groups, p->tensor = 0)
SPOIL(odd_groups, p->tensor = 3)
SPOIL(odd_blocks, p->block_tokens = 17)
SPOIL(long_blocks, p->block_tokens = 48)
SPOIL(bad_machine, p->machine.planes = 6)
SPOIL(image_chip, p->images[1].chip = 2)
SPOIL(image_slices, p->images[0].slices = 37)
SPOIL(image_words, p->images[1].word = 449)
SPOIL(image_matrix, p->images[1].rows = 65)
SPOIL(image_data, p->images[0].data = 1)
SPOIL(map_lane, p->maps[0].lane[5] = 32)
SPOIL(queue_range, first(p, TD_LPU_RECEIVE)->queue = 124)
SPOIL(queue_unit, first(p, TD_LPU_SHIFT)->opcode = TD_LPU_PERMUTE)
SPOIL(chip_range, first(p, TD_LPU_RECEIVE)->chip = 2)
SPOIL(after_end, first(p, TD_LPU_SEND)->cycle = 400)
SPOIL(endless, first(p, TD_LPU_SEND)->repeat = INT32_MAX)
SPOIL(no_gap, first(p, TD_LPU_SEND)->gap = 0)
SPOIL(stream_range, first(p, TD_LPU_SEND)->in[0] = 32)
SPOIL(quad_range, first(p, TD_LPU_SUM)->out = 30)
SPOIL(load_range, first(p, TD_LPU_LOAD)->in[0] = TD_LPU_EAST | 17)
SPOIL(word_range, first(p, TD_LPU_MEMORY)->address[0] = 511)
SPOIL(step_range, first(p, TD_LPU_LOAD)->address[0] = 2)
SPOIL(accumulator, first(p, TD_LPU_SUM)->address[0] = 64)
SPOIL(map_index, first(p, TD_LPU_SELECT)->address[0] = 1)
SPOIL(image_index, first(p, TD_LPU_MEMORY)->image[0] = 3)
SPOIL(patch_index, first(p, TD_LPU_SEND)->patch[0] = 2)
SPOIL(patch_end, p->segments[0].patches[0].high[TD_VAR_LAYER] = 200)
SPOIL(patch_other, p->segments[0].patches[0].otherwise = 512)
SPOIL(patch_order, p->segments[0].patches[0].low[TD_VAR_ROW] = 1)
SPOIL(patch_lane, p->segments[0].patches[0].lane = 16)
SPOIL(chained, first(p, TD_LPU_ALU)[1].in[0] = 16)
SPOIL(producer, first_meaning(p)->producer = 99)
SPOIL(iterations, first_meaning(p)->offset = 2)
SPOIL(meaning_range, first(p, TD_LPU_SEND)->meaning_count = 9)
SPOIL(plane_bits, p->segments[0].arrays_in = 16)
SPOIL(order, first(p, TD_LPU_ALU)->queue += 2)
SPOIL(link_segment, p->links[0].segment = 2)
SPOIL(link_chip, p->links[0].chip = 1)
SPOIL(loop_variable, p->links[1].variable = TD_VAR_SLOT)
SPOIL(loop_twice, p->links[2].variable = TD_VAR_LAYER)
SPOIL(block_alone, p->links[2].variable = TD_VAR_BLOCK)
SPOIL(loop_open, p->links[7].kind = TD_LINK_RUN)
SPOIL(loop_turns, p->links[1].count = 1 << 21)
SPOIL(nested_turns, p->links[1].count = 1 << 20; p->links[2].count = 32)
SPOIL(entry_rows, p->entries[0].rows = 0)
SPOIL(entry_layer, p->entries[0].layer = -2)
SPOIL(entry_links, p->entries[1].link_count = 2)
SPOIL(entry_overlap, p->entries[1].link = 0)
SPOIL(entry_first, p->entries[0].first_row = 1)
SPOIL(entry_behind, p->entries[1].first_row = 4)
SPOIL(image_owner, p->images[1].owner = 1)

static void fields_by_name(void **state) {
  (void)state;
  static const struct spoil spoils[] = {
      {no_chips, "chips: found 0, expected 1..65535"},
      {no_groups, "tensor: found 0, expected a divisor of the 2 chips"},
      {odd_groups, "tensor: found 3, expected a divisor of the 2 chips"},
      {odd_blocks, "block_tokens: found 17, expected 0 or a multiple of 16 up to 32"},
      {long_blocks, "block_tokens: found 48, expected 0 or a multiple of 16 up to 32"},
      {bad_machine, "machine: planes: found 6, expected a multiple of 4"},
      {image_chip, "image cache: found chip 2 and hemisphere 0, expected ones of 2 and 2"},
      {image_slices, "image weights: found 37 slices from 4, expected some of a hemisphere's 40"},
      {image_words, "image cache: found 64 words from 449, expected some of a slice's 512"},
      {image_matrix, "image cache: found 65 x 32 elements, 65 words of 1 slices, expected them to fit 64 words"},
      {image_data, "image weights: found 64 bytes of data at 1, expected 0 or 64 inside the program's 64"},
      {map_lane, "map 0: found lane 5 from 32, expected -1..31"},
      {queue_range, "found queue 124, expected one of 124"},
      {queue_unit, "of a switch unit, expected one that it takes"},
      {chip_range, "found chip 2, expected one of 2"},
      {after_end, "found 1 iterations from cycle 400, 1 apart, expected them inside the segment's 400 cycles"},
      {endless, "found 2147483647 iterations from cycle 120, 1 apart, expected them inside"},
      {no_gap, "found 1 iterations from cycle 120, 0 apart"},
      {stream_range, "in[0]: found stream byte 32 for 1 streams, expected ones of 32"},
      {quad_range, "out: found stream byte 30 for 4 streams, expected ones of 32"},
      {load_range, "in[0]: found stream byte 81 for 16 streams, expected ones of 32"},
      {word_range, "found address[0] from 511 to 512, expected 0..511"},
      {step_range, "found address[0] from 2 to 2, expected 0..1"},
      {accumulator, "found address[0] from 64 to 64, expected 0..63"},
      {map_index, "found address[0] from 1 to 1, expected 0..0"},
      {image_index, "found image 3, expected one of 3"},
      {patch_index, "found patch 2, expected at most 1"},
      {patch_end, "found address[1] from 0 to 829, expected 0..511"},
      {patch_other, "found 512 as the other address of patch 1, expected 0..511"},
      {patch_order, "patch 0: found a variable from 1 to 0, expected 0 or more, in order"},
      {patch_lane, "patch 0: found lane 16, expected -1..15"},
      {chained, "in[0]: found ALU 16, expected one of 16"},
      {producer, ": found producer 99, expected one of 16 instructions"},
      {iterations, "found iterations 2..2 of a producer, expected ones of its"},
      {meaning_range, "found 9 meanings from"},
      {plane_bits, "segment everything: found planes 10 and 3 across its seams, expected ones of f"},
      {order, "found it out of order, expected them ascending by chip, queue and cycle"},
      {link_segment, "link 0: found segment 2, expected one of 2"},
      {link_chip, "link 0: found chip 1 for a segment of 2 chips, expected them among 2"},
      {loop_variable, "link 1: found a loop over variable 5, expected layers, rows or blocks"},
      {loop_twice, "link 2: found a loop over variable 0, expected it once, and blocks inside rows"},
      {block_alone, "link 2: found a loop over variable 2, expected it once, and blocks inside rows"},
      {loop_open, "links: found 1 loops without an end"},
      {loop_turns, "link 1: found 2097152 turns from 1, expected at most 1048576"},
      {nested_turns, "link 2: found 33554432 turns with the loops around it, expected at most 16777216"},
      {entry_rows, "entry 0: found 0 rows, expected 1..65536"},
      {entry_layer, "entry 0: found layer -2, expected -1 (a whole step) or more"},
      {entry_links, "entry 1: found 2 links from 9, expected ones of 10, behind the entry before"},
      {entry_overlap, "entry 1: found 1 links from 0, expected ones of 10, behind the entry before"},
      {entry_first, "entry 0: found rows from 1 on of"},
      {entry_behind, "entry 1: found rows from 4 on of 4, expected 0 or ones behind those of the entry before"},
      {image_owner, "found owner 1, expected 0, or one of"},
  };
  for (size_t i = 0; i < sizeof spoils / sizeof *spoils; i++) {
    struct td_lpu_program *program = sample(), *out;
    char path[4300];
    snprintf(path, sizeof path, "%s/field.lpu", scratch_folder());
    spoils[i].change(program);
    assert_int_equal(td_lpu_program_save(program, path), TD_OK);
    td_status status = td_lpu_program_open(path, &out);
    if (!status) print_error("it opened, expected: %s\n", spoils[i].want);
    assert_int_equal(status, TD_CORRUPT);
    if (!strstr(td_error_text(), spoils[i].want)) print_error("%s\n  lacks %s\n", td_error_text(), spoils[i].want);
    assert_non_null(strstr(td_error_text(), spoils[i].want));
    td_lpu_program_free(program);
  }
}

/* A count that the file cannot hold is refused before memory is asked for. */
static void counts(void **state) {
  (void)state;
  struct td_lpu_program *program = sample(), *out;
  const char *path;
  size_t bytes, at;
  char *data = file_of(program, &path, &bytes);
  for (at = 12; memcmp(data + at, "weights", 8) != 0; at++) assert_true(at + 8 < bytes);
  at -= 4; /* the number of images stands before the first one */
  memcpy(data + at, "\xff\xff\xff\x7f", 4);
  seal(data, bytes);
  assert_int_equal(open_bytes(data, bytes, &out), TD_CORRUPT);
  assert_non_null(strstr(td_error_text(), "found 2147483647 images, expected at most the "));
  memcpy(data + at, "\xff\xff\xff\xff", 4);
  seal(data, bytes);
  assert_int_equal(open_bytes(data, bytes, &out), TD_CORRUPT);
  assert_non_null(strstr(td_error_text(), "found -1 images, expected at most the "));
  free(data);
  td_lpu_program_free(program);
}

static void heads(void **state) {
  (void)state;
  struct td_lpu_program *program = sample(), *out;
  const char *path;
  size_t bytes;
  char *data = file_of(program, &path, &bytes);
  data[8] = 4;
  assert_int_equal(open_bytes(data, bytes, &out), TD_CORRUPT);
  assert_non_null(strstr(td_error_text(), "found version 4 of the program file, expected 3"));
  data[0] = 'x';
  assert_int_equal(open_bytes(data, bytes, &out), TD_CORRUPT);
  assert_non_null(strstr(td_error_text(), "found no LPU program, expected the bytes TDLPUPRG at its start"));
  assert_int_equal(open_bytes("TDLP", 4, &out), TD_CORRUPT);
  assert_non_null(strstr(td_error_text(), "found 4 bytes, expected at least the 20"));
  assert_int_equal(td_lpu_program_open("/nowhere/x.lpu", &out), TD_NOT_FOUND);
  assert_int_equal(td_lpu_program_open(scratch_folder(), &out), TD_IO);
  free(data);
  td_lpu_program_free(program);
}

static void save_errors(void **state) {
  (void)state;
  struct td_lpu_program *program = sample();
  char path[4300];
  assert_int_equal(td_lpu_program_save(program, scratch_folder()), TD_IO);
  assert_int_equal(td_lpu_program_save(program, ""), TD_IO);
  snprintf(path, sizeof path, "%s/no-such-folder/x.lpu", scratch_folder());
  assert_int_equal(td_lpu_program_save(program, path), TD_IO);
  snprintf(path, sizeof path, "%s/sample.lpu", scratch_folder());
  assert_int_equal(td_lpu_program_save(program, path), TD_OK);
  snprintf(path, sizeof path, "%s/sample.lpu.part", scratch_folder());
  assert_int_not_equal(access(path, F_OK), 0);
  if (access("/dev/full", F_OK) == 0) { /* a full disk leaves nothing behind */
    snprintf(path, sizeof path, "%s/full.lpu.part", scratch_folder());
    assert_int_equal(symlink("/dev/full", path), 0);
    snprintf(path, sizeof path, "%s/full.lpu", scratch_folder());
    assert_int_equal(td_lpu_program_save(program, path), TD_IO);
    assert_int_not_equal(access(path, F_OK), 0);
  }
  td_lpu_program_free(program);
}

/* ---- text ---- */

static void dump(void **state) {
  (void)state;
  static const char *const wants[] = {
      "LPU program for 2 x lpu-tiny, digest ",
      "entry 0: a step of up to 4 rows\n  run everything on chip 0, 400 cycles\n  for each layer from 1, 3 times\n"
      "    for each row from 0\n      run nothing on chip 1, 11 cycles\n      for each block from 0\n",
      "weights                      weight   chip 0  mem.e4  words 8..9  i8 2 x 32\n",
      "segment 0 everything: 400 cycles, 16 instructions, arrays in 1 out 3\n",
      "       0  chip 0    mem.e4             read weights[8 + 1 r] -> e3  x2 every 5\n",
      "       9  chip 1    mem.w2             write cache[0 + 4 layer + 2 kv_block + 1 position in lane 3, else 63] <- "
      "w4\n",
      "      20  chip 0    plane0.load        load i8 rows step 1 <- e0..15\n",
      "      22  chip 0    plane0.load        load w8 columns half 1 step 0 <- e16..31\n",
      "      40  chip 0    plane0.install     install\n",
      "      50  chip 0    plane0.pass        pass f16 half 1 <- e2..3\n",
      "      64  chip 0    plane0.sum         sum f32 add keep accumulator 7 -> w8..11\n",
      "      70  chip 0    alu2               mul f16 w6..7, 0.5\n",
      "      78  chip 0    alu3               rsqrt alu2 -> f16 e10..11\n",
      "      90  chip 0    switch.e.shift     rotate by -3 w4..5 -> w6..7\n",
      "      95  chip 0    switch.e.shift     shift by 5 w4 -> w9\n",
      "     100  chip 0    switch.w.permute   permute map 0 w8..11 -> w12..15\n",
      "     105  chip 0    switch.w.select    select map 0 w8..9 or w10..11 -> w12..13\n",
      "     110  chip 0    switch.e.transpose transpose w0..15 -> w16..31\n",
      "     120  chip 0    link2              send <- w5\n",
      "     160  chip 1    link2              receive -> w5\n",
      "segment 1 nothing: 11 cycles, 0 instructions\n",
  };
  struct td_lpu_program *program = sample();
  char *text = NULL;
  size_t bytes;
  FILE *out = open_memstream(&text, &bytes);
  assert_non_null(out);
  td_lpu_program_dump(program, -1, out);
  assert_int_equal(fclose(out), 0);
  for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
    if (!strstr(text, wants[i])) print_error("the dump lacks %s\n", wants[i]);
    assert_non_null(strstr(text, wants[i]));
  }
  free(text);
  out = open_memstream(&text, &bytes);
  assert_non_null(out);
  td_lpu_program_dump(program, 1, out);
  assert_int_equal(fclose(out), 0);
  assert_non_null(strstr(text, "segment 1 nothing"));
  assert_null(strstr(text, "segment 0"));
  free(text);
  td_lpu_program_free(program);
}

int main(int argc, char **argv) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(round_trip),     cmocka_unit_test(every_cut),   cmocka_unit_test(every_byte),
      cmocka_unit_test(sealed_changes), cmocka_unit_test(counts),      cmocka_unit_test(fields_by_name),
      cmocka_unit_test(heads),          cmocka_unit_test(save_errors), cmocka_unit_test(dump),
  };
  struct td_device_params *params;
  unsetenv("TANDEM_DEVICES");
  if (td_device_params_open("lpu-tiny", &params)) {
    fprintf(stderr, "%s\n", td_error_text());
    return 1;
  }
  tiny = *td_lpu_machine_of(params);
  td_device_params_close(params);
  if (argc == 2) return td_lpu_program_save(sample(), argv[1]) ? 1 : 0;
  return cmocka_run_group_tests(tests, NULL, NULL);
}
