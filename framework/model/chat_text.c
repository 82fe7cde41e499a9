/* SPDX-License-Identifier: Apache-2.0
 *
 * Texts as Python's str has them: counted in characters. A byte that is no UTF-8 counts as one.
 */
#include <string.h>

#include "chat_jinja.h"
#include "tokenizer.h"

bool td_jinja_is_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x1f);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
         c == 0x202f || c == 0x205f || c == 0x3000;
}

static size_t step(struct td_span text, size_t at) {
  size_t bytes = td_utf8_bytes(text.data + at, text.bytes - at);
  return bytes ? bytes : 1;
}

/* Where the character that ends at `end` begins. */
static size_t step_back(struct td_span text, size_t end) {
  for (size_t bytes = 2; bytes <= 4 && bytes <= end; bytes++) {
    if (td_utf8_bytes(text.data + end - bytes, bytes) == bytes) return end - bytes;
  }
  return end - 1;
}

static bool is_in(struct td_span character, const struct td_span *set) {
  if (set) return td_jinja_search(*set, character, 0) >= 0;
  bool valid = td_utf8_bytes(character.data, character.bytes) == character.bytes;
  return valid && td_jinja_is_space(td_utf8_character(character.data, character.bytes));
}

struct td_span td_jinja_strip(struct td_span text, const struct td_span *set, bool left, bool right) {
  size_t begin = 0, end = text.bytes;
  while (left && begin < end) {
    size_t bytes = step(text, begin);
    if (!is_in((struct td_span){text.data + begin, bytes}, set)) break;
    begin += bytes;
  }
  while (right && begin < end) {
    size_t last = step_back(text, end);
    if (!is_in((struct td_span){text.data + last, end - last}, set)) break;
    end = last;
  }
  return (struct td_span){text.data + begin, end - begin};
}

int64_t td_jinja_characters(struct td_span text) {
  int64_t count = 0;
  for (size_t at = 0; at < text.bytes; at += step(text, at)) count++;
  return count;
}

size_t td_jinja_offset(struct td_span text, int64_t index) {
  size_t at = 0;
  while (index-- > 0 && at < text.bytes) at += step(text, at);
  return at;
}

int64_t td_jinja_search(struct td_span text, struct td_span word, size_t from) {
  if (from > text.bytes) return -1;
  if (!word.bytes) return (int64_t)from;
  const char *found = memmem(text.data + from, text.bytes - from, word.data, word.bytes);
  return found ? found - text.data : -1;
}

td_status td_jinja_join(struct jinja *jinja, struct td_span a, struct td_span b, struct td_span *out) {
  char *text;
  TD_TRY(td_jinja_alloc(jinja, a.bytes + b.bytes + 1, (void **)&text));
  if (a.bytes) memcpy(text, a.data, a.bytes);
  if (b.bytes) memcpy(text + a.bytes, b.data, b.bytes);
  *out = (struct td_span){text, a.bytes + b.bytes};
  return TD_OK;
}
