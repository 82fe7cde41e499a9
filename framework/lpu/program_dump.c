/* SPDX-License-Identifier: Apache-2.0
 *
 * A program as text, for people: the links, then each segment's instructions by cycle. Streams are named by direction
 * and index (e12, w0..3), memory slices by hemisphere and index (mem.w13), addresses by image.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"
#include "tandem/lpu_program.h"

static const char *const type_names[TD_LPU_TYPE_COUNT] = {"i8", "f16", "f32", "i32", "w8", "f8", "wf8"};
static const char *const variable_names[TD_LPU_VARIABLES] = {"layer", "row", "block", "kv_block", "position", "slot"};
static const char *const kind_names[] = {"weight", "constant", "kv", "input", "output", "scratch"};

static const char *name_of(const char *const *names, size_t count, size_t index) {
  return index < count ? names[index] : "?";
}
#define NAME(names, index) name_of(names, sizeof names / sizeof *names, (size_t)(index))

/* ---- one instruction ---- */

struct line {
  const struct td_lpu_program *program;
  const struct td_lpu_segment *segment;
  const struct td_lpu_instruction *instruction;
  FILE *out;
};

static void print_queue(const struct line *line) {
  static const char *const matrix[] = {"load", "install", "pass", "sum"};
  static const char *const switches[] = {"shift", "permute", "select", "transpose"};
  struct td_lpu_queue queue;
  char text[32];
  if (!td_lpu_queue_at(&line->program->machine, line->instruction->queue, &queue)) {
    snprintf(text, sizeof text, "queue.%d", line->instruction->queue);
  } else if (queue.unit == TD_UNIT_MEMORY) {
    snprintf(text, sizeof text, "mem.%c%d", queue.hemisphere ? 'e' : 'w', queue.index);
  } else if (queue.unit == TD_UNIT_MATRIX) {
    snprintf(text, sizeof text, "plane%d.%s", queue.index, NAME(matrix, queue.function));
  } else if (queue.unit == TD_UNIT_SWITCH) {
    snprintf(text, sizeof text, "switch.%c.%s", queue.hemisphere ? 'e' : 'w', NAME(switches, queue.function));
  } else {
    snprintf(text, sizeof text, "%s%d", queue.unit == TD_UNIT_VECTOR ? "alu" : "link", queue.index);
  }
  fprintf(line->out, "%-19s", text);
}

static void print_streams(FILE *out, uint8_t stream, int32_t count) {
  if (stream == TD_LPU_NO_STREAM) {
    fputc('-', out);
    return;
  }
  int32_t first = stream & TD_LPU_STREAM_INDEX;
  fprintf(out, "%c%d", stream & TD_LPU_EAST ? 'e' : 'w', first);
  if (count > 1) fprintf(out, "..%d", first + count - 1);
}

/* "34 + 1 r + 20 layer", where r counts iterations. */
static void print_address(const struct line *line, int which) {
  const struct td_lpu_instruction *instruction = line->instruction;
  int32_t index = instruction->patch[which];
  fprintf(line->out, "%d", instruction->address[which]);
  if (instruction->stride[which] && instruction->repeat > 1) fprintf(line->out, " + %d r", instruction->stride[which]);
  if (!index || index > line->segment->patch_count) return;
  const struct td_lpu_patch *patch = &line->segment->patches[index - 1];
  for (int v = 0; v < TD_LPU_VARIABLES; v++) {
    if (patch->coefficient[v]) fprintf(line->out, " + %d %s", patch->coefficient[v], variable_names[v]);
  }
  if (patch->lane >= 0) fprintf(line->out, " in lane %d, else %d", patch->lane, patch->otherwise);
}

static void print_word(const struct line *line, int which) {
  int32_t image = line->instruction->image[which];
  bool known = image >= 0 && image < line->program->image_count;
  fprintf(line->out, "%.47s[", known ? line->program->images[image].name : "?");
  print_address(line, which);
  fputc(']', line->out);
}

static void print_memory(const struct line *line) {
  const struct td_lpu_instruction *instruction = line->instruction;
  if (instruction->flags & TD_LPU_READ) {
    fputs("read ", line->out);
    print_word(line, 0);
    fputs(" -> ", line->out);
    print_streams(line->out, instruction->out, 1);
  }
  if (!(instruction->flags & TD_LPU_WRITE)) return;
  fputs(instruction->flags & TD_LPU_READ ? "; write " : "write ", line->out);
  print_word(line, 1);
  fputs(" <- ", line->out);
  print_streams(line->out, instruction->in[0], 1);
}

static void print_matrix(const struct line *line) {
  const struct td_lpu_instruction *instruction = line->instruction;
  int32_t bytes = td_lpu_type_bytes((enum td_lpu_type)instruction->type);
  if (instruction->opcode == TD_LPU_INSTALL) return;
  fprintf(line->out, "%s ", NAME(type_names, instruction->type));
  if (instruction->opcode == TD_LPU_LOAD) {
    bool columns = instruction->flags & TD_LPU_COLUMNS;
    fputs(columns ? "columns " : "rows ", line->out);
    if (columns) fprintf(line->out, "half %d ", instruction->half);
    fputs("step ", line->out);
    print_address(line, 0);
    bytes *= line->program->machine.load_vectors;
  } else if (instruction->type == TD_LPU_F16) {
    fprintf(line->out, "half %d", instruction->half);
  }
  fputs(" <- ", line->out);
  print_streams(line->out, instruction->in[0], bytes);
}

static void print_sum(const struct line *line) {
  const struct td_lpu_instruction *instruction = line->instruction;
  fprintf(line->out, "%s", NAME(type_names, instruction->type));
  if (instruction->flags & TD_LPU_ADD) fputs(" add", line->out);
  if (instruction->flags & TD_LPU_KEEP) fputs(" keep", line->out);
  if (instruction->flags & (TD_LPU_ADD | TD_LPU_KEEP)) {
    fputs(" accumulator ", line->out);
    print_address(line, 0);
  }
  if (!(instruction->flags & TD_LPU_EMIT)) return;
  fputs(" -> ", line->out);
  print_streams(line->out, instruction->out, 4);
}

/* The operation says whether the bits are a float's or an int's. */
static void print_immediate(const struct line *line) {
  uint8_t operation = line->instruction->operation;
  float real;
  int32_t whole;
  memcpy(&real, &line->instruction->immediate, sizeof real);
  memcpy(&whole, &line->instruction->immediate, sizeof whole);
  if (operation >= TD_ALU_TO_F32 && operation < TD_ALU_COUNT) {
    fprintf(line->out, "%" PRId32, whole);
  } else {
    fprintf(line->out, "%.9g", (double)real);
  }
}

static void print_alu(const struct line *line) {
  const struct td_lpu_instruction *instruction = line->instruction;
  for (int i = 0; i < 3; i++) {
    uint8_t type = instruction->in_type[i];
    if (instruction->source[i] == TD_SOURCE_NONE) continue;
    fputs(i ? ", " : "", line->out);
    if (instruction->source[i] == TD_SOURCE_CHAIN) {
      fprintf(line->out, "alu%d", instruction->in[i]);
    } else if (instruction->source[i] == TD_SOURCE_IMMEDIATE) {
      print_immediate(line);
    } else {
      fprintf(line->out, "%s ", NAME(type_names, type));
      print_streams(line->out, instruction->in[i], td_lpu_type_bytes((enum td_lpu_type)type));
    }
  }
  if (instruction->operation == TD_ALU_SELECT_LE) {
    fputs(", else ", line->out);
    print_immediate(line);
  }
  if (instruction->out == TD_LPU_NO_STREAM) return;
  fprintf(line->out, " -> %s ", NAME(type_names, instruction->out_type));
  print_streams(line->out, instruction->out, td_lpu_type_bytes((enum td_lpu_type)instruction->out_type));
}

static void print_switch(const struct line *line) {
  const struct td_lpu_instruction *instruction = line->instruction;
  int32_t width = instruction->opcode == TD_LPU_TRANSPOSE ? 16 : instruction->width;
  int32_t distance;
  memcpy(&distance, &instruction->immediate, sizeof distance);
  if (instruction->opcode == TD_LPU_ROTATE || instruction->opcode == TD_LPU_SHIFT) {
    fprintf(line->out, "by %" PRId32 " ", distance);
  }
  if (instruction->opcode == TD_LPU_PERMUTE || instruction->opcode == TD_LPU_SELECT) {
    fputs("map ", line->out);
    print_address(line, 0);
    fputc(' ', line->out);
  }
  print_streams(line->out, instruction->in[0], width);
  if (instruction->opcode == TD_LPU_SELECT) {
    fputs(" or ", line->out);
    print_streams(line->out, instruction->in[1], width);
  }
  fputs(" -> ", line->out);
  print_streams(line->out, instruction->out, width);
}

static void print_operands(const struct line *line) {
  switch (line->instruction->opcode) {
    case TD_LPU_MEMORY:
      print_memory(line);
      break;
    case TD_LPU_LOAD:
    case TD_LPU_INSTALL:
    case TD_LPU_PASS:
      print_matrix(line);
      break;
    case TD_LPU_SUM:
      print_sum(line);
      break;
    case TD_LPU_ALU:
      print_alu(line);
      break;
    case TD_LPU_SEND:
      fputs("<- ", line->out);
      print_streams(line->out, line->instruction->in[0], 1);
      break;
    case TD_LPU_RECEIVE:
      fputs("-> ", line->out);
      print_streams(line->out, line->instruction->out, 1);
      break;
    default:
      print_switch(line);
  }
}

static const char *word_of(const struct td_lpu_instruction *instruction) {
  if (instruction->opcode == TD_LPU_MEMORY) return "";
  if (instruction->opcode == TD_LPU_ALU) return td_lpu_alu_name((enum td_lpu_alu)instruction->operation);
  return td_lpu_opcode_name((enum td_lpu_opcode)instruction->opcode);
}

static void print_instruction(const struct line *line) {
  const struct td_lpu_instruction *instruction = line->instruction;
  const char *word = word_of(instruction);
  fprintf(line->out, "%8d  chip %-4d ", instruction->cycle, instruction->chip);
  print_queue(line);
  fprintf(line->out, "%s%s", word, *word && instruction->opcode != TD_LPU_INSTALL ? " " : "");
  print_operands(line);
  if (instruction->repeat > 1) fprintf(line->out, "  x%d every %d", instruction->repeat, instruction->gap);
  fputc('\n', line->out);
}

/* ---- segments ---- */

static int by_cycle(const void *a, const void *b) {
  const struct td_lpu_instruction *x = *(const struct td_lpu_instruction *const *)a;
  const struct td_lpu_instruction *y = *(const struct td_lpu_instruction *const *)b;
  if (x->cycle != y->cycle) return x->cycle < y->cycle ? -1 : 1;
  return x < y ? -1 : x > y; /* chip and queue: they stand in that order */
}

static void dump_segment(const struct td_lpu_program *program, int32_t index, FILE *out) {
  const struct td_lpu_segment *segment = &program->segments[index];
  const struct td_lpu_instruction **sorted = NULL;
  void *memory = NULL;
  fprintf(out, "\nsegment %d %.31s: %d cycles, %d instructions", index, segment->name, segment->length,
          segment->instruction_count);
  if (segment->arrays_in | segment->arrays_out) {
    fprintf(out, ", arrays in %x out %x", segment->arrays_in, segment->arrays_out);
  }
  fputc('\n', out);
  if (td_alloc((size_t)segment->instruction_count + 1, sizeof *sorted, &memory)) {
    fprintf(out, "%s\n", td_error_text());
    return;
  }
  sorted = memory;
  for (int32_t i = 0; i < segment->instruction_count; i++) sorted[i] = &segment->instructions[i];
  qsort((void *)sorted, (size_t)segment->instruction_count, sizeof *sorted, by_cycle);
  for (int32_t i = 0; i < segment->instruction_count; i++) {
    const struct line line = {program, segment, sorted[i], out};
    print_instruction(&line);
  }
  free(memory);
}

/* ---- the program ---- */

static void dump_images(const struct td_lpu_program *program, FILE *out) {
  fprintf(out, "\n%d images\n", program->image_count);
  for (int32_t i = 0; i < program->image_count; i++) {
    const struct td_lpu_image *image = &program->images[i];
    fprintf(out, "  %-28.47s %-8s chip %d  mem.%c%d", image->name, NAME(kind_names, image->kind), image->chip,
            image->hemisphere ? 'e' : 'w', image->slice);
    if (image->slices > 1) fprintf(out, "..%d", image->slice + image->slices - 1);
    fprintf(out, "  words %d..%d", image->word, image->word + image->words - 1);
    if (image->rows) fprintf(out, "  %s %d x %d", NAME(type_names, image->type), image->rows, image->cols);
    if (image->by_steps) fprintf(out, ", %d vectors a word", image->by_steps);
    if (image->owner > 0) fprintf(out, "  of %.31s alone", program->segments[image->owner - 1].name);
    fprintf(out, "\n");
  }
}

static void dump_links(const struct td_lpu_program *program, const struct td_lpu_entry *entry, FILE *out) {
  int depth = 1;
  for (int32_t i = entry->link; i < entry->link + entry->link_count; i++) {
    const struct td_lpu_link *link = &program->links[i];
    if (link->kind == TD_LINK_END && depth > 1) depth--;
    fprintf(out, "%*s", 2 * depth, "");
    if (link->kind == TD_LINK_RUN) {
      fprintf(out, "run %.31s on chip %d, %d cycles\n", program->segments[link->segment].name, link->chip,
              program->segments[link->segment].length);
    } else if (link->kind == TD_LINK_LOOP) {
      fprintf(out, "for each %s from %d", NAME(variable_names, link->variable), link->first);
      if (link->count) fprintf(out, ", %d times", link->count);
      fputc('\n', out);
      depth++;
    } else {
      fputs("end\n", out);
    }
  }
}

void td_lpu_program_dump(const struct td_lpu_program *program, int32_t segment, FILE *out) {
  fprintf(out, "LPU program for %d x %s, digest %016" PRIx64 "\n", program->chips, program->machine.name,
          td_lpu_program_digest(program));
  for (int32_t i = 0; segment < 0 && i < program->entry_count; i++) {
    const struct td_lpu_entry *entry = &program->entries[i];
    fprintf(out, "\nentry %d: a step of up to %d rows", i, entry->rows);
    if (entry->first_row) fprintf(out, " goes on; its outputs are those of rows %d and up", entry->first_row);
    if (entry->layer >= 0) fprintf(out, ", of layer %d alone", entry->layer);
    static const char *const works[] = {"", ": route", ": take", ": expert", ": give"};
    if (entry->work > 0 && entry->work <= TD_LPU_WORK_GIVE) fputs(works[entry->work], out);
    fputc('\n', out);
    dump_links(program, &program->entries[i], out);
  }
  if (segment < 0) dump_images(program, out);
  for (int32_t i = 0; i < program->segment_count; i++) {
    if (segment < 0 || segment == i) dump_segment(program, i, out);
  }
}
