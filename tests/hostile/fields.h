/* SPDX-License-Identifier: Apache-2.0
 *
 * Where the fields of a GGUF header lie, found by a reader of its own that trusts a good file.
 */
#ifndef TESTS_HOSTILE_FIELDS_H
#define TESTS_HOSTILE_FIELDS_H

#include <stddef.h>
#include <stdint.h>

struct field {
  char name[96]; /* "tensor 3 (blk.0.attn_q.weight): offset" */
  size_t at;
  int bytes; /* 1, 2, 4 or 8 */
};
struct field_list {
  struct field *fields;
  size_t count, capacity;
};

/* Every field of the header; of a list of texts, the lengths of the first and the last. */
void list_fields(const unsigned char *file, size_t bytes, struct field_list *out);

/* What a field is set to. */
enum { VALUE_ZERO, VALUE_ONE, VALUE_MAX, VALUE_SIGNED_MAX, VALUE_RANDOM, VALUE_NAN, VALUE_COUNT };
extern const char *const value_names[VALUE_COUNT];
void set_field(unsigned char *file, const struct field *field, int value, uint64_t seed);

#endif
