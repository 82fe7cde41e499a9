/* SPDX-License-Identifier: Apache-2.0 */
#include "fields.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tandem/base.h"

const char *const value_names[VALUE_COUNT] = {"0", "1", "max", "signed max", "random", "NaN"};

struct walk {
  const unsigned char *file;
  size_t at, bytes;
  struct field_list *out;
  char section[80];
};

static void add(struct walk *walk, size_t at, int bytes, const char *what) {
  struct field field = {.at = at, .bytes = bytes};
  if (td_grow((void **)&walk->out->fields, &walk->out->capacity, walk->out->count + 1, sizeof field)) abort();
  snprintf(field.name, sizeof field.name, "%.72s%.20s", walk->section, what);
  walk->out->fields[walk->out->count++] = field;
}

static uint64_t peek(const struct walk *walk, size_t at, int bytes) {
  uint64_t value = 0;
  if (at + (size_t)bytes > walk->bytes) abort(); /* the file to be spoiled must be a good one */
  memcpy(&value, walk->file + at, (size_t)bytes);
  return value;
}

static uint64_t take(struct walk *walk, int bytes, const char *what) {
  uint64_t value = peek(walk, walk->at, bytes);
  add(walk, walk->at, bytes, what);
  walk->at += (size_t)bytes;
  return value;
}

static void take_text(struct walk *walk, const char *what, char *out, size_t size) {
  uint64_t bytes = take(walk, 8, what);
  snprintf(out, size, "%.*s", (int)bytes, walk->file + walk->at);
  walk->at += bytes;
}

static int type_bytes(uint64_t type) {
  static const int bytes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return bytes[type];
}

static void take_value(struct walk *walk, uint64_t type) {
  char text[8];
  if (type == 8) {
    take_text(walk, "length", text, sizeof text);
  } else {
    take(walk, type_bytes(type), "value");
  }
}

static void take_array(struct walk *walk) {
  uint64_t type = take(walk, 4, "array type"), count = take(walk, 8, "array length");
  for (uint64_t i = 0; i < count; i++) {
    if (i == 0 || i + 1 == count) {
      take_value(walk, type);
    } else {
      walk->at += type == 8 ? 8 + peek(walk, walk->at, 8) : (size_t)type_bytes(type);
    }
  }
}

static void take_key(struct walk *walk, uint64_t index) {
  char key[64];
  snprintf(walk->section, sizeof walk->section, "key %d: ", (int)index);
  take_text(walk, "length", key, sizeof key);
  snprintf(walk->section, sizeof walk->section, "%s: ", key);
  uint64_t type = take(walk, 4, "type");
  if (type == 9) {
    take_array(walk);
  } else {
    take_value(walk, type);
  }
}

static void take_tensor(struct walk *walk, uint64_t index) {
  char name[64], part[16];
  snprintf(walk->section, sizeof walk->section, "tensor %d: ", (int)index);
  take_text(walk, "name length", name, sizeof name);
  snprintf(walk->section, sizeof walk->section, "tensor %s: ", name);
  uint64_t dims = take(walk, 4, "dimensions");
  for (uint64_t i = 0; i < dims; i++) {
    snprintf(part, sizeof part, "dimension %d", (int)i);
    take(walk, 8, part);
  }
  take(walk, 4, "type");
  take(walk, 8, "offset");
}

void list_fields(const unsigned char *file, size_t bytes, struct field_list *out) {
  struct walk walk = {.file = file, .bytes = bytes, .out = out};
  take(&walk, 4, "magic");
  take(&walk, 4, "version");
  uint64_t tensors = take(&walk, 8, "tensor count"), keys = take(&walk, 8, "key count");
  for (uint64_t i = 0; i < keys; i++) take_key(&walk, i);
  for (uint64_t i = 0; i < tensors; i++) take_tensor(&walk, i);
}

void set_field(unsigned char *file, const struct field *field, int value, uint64_t seed) {
  const unsigned shift = 64 - 8 * (unsigned)field->bytes;
  uint64_t bits = 0;
  const float nan = __builtin_nanf("");
  const double wide_nan = __builtin_nan("");
  if (value == VALUE_ONE) bits = 1;
  if (value == VALUE_MAX) bits = UINT64_MAX;
  if (value == VALUE_SIGNED_MAX) bits = UINT64_MAX >> shift >> 1;
  if (value == VALUE_RANDOM) bits = td_random(seed, 7, field->at);
  if (value == VALUE_NAN && field->bytes == 4) memcpy(&bits, &nan, sizeof nan);
  if (value == VALUE_NAN && field->bytes == 8) memcpy(&bits, &wide_nan, sizeof wide_nan);
  memcpy(file + field->at, &bits, (size_t)field->bytes);
}
