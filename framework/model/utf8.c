/* SPDX-License-Identifier: Apache-2.0 */
#include "tokenizer.h"

static bool is_tail(unsigned char byte) {
  return (byte & 0xc0) == 0x80;
}

size_t td_utf8_bytes(const char *text, size_t bytes) {
  const unsigned char *s = (const unsigned char *)text;
  if (s[0] < 0x80) return 1;
  if (s[0] < 0xc2 || s[0] > 0xf4 || bytes < 2 || !is_tail(s[1])) return 0;
  if (s[0] < 0xe0) return 2;
  bool overlong = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
  bool surrogate = s[0] == 0xed && s[1] >= 0xa0, beyond = s[0] == 0xf4 && s[1] >= 0x90;
  if (overlong || surrogate || beyond || bytes < 3 || !is_tail(s[2])) return 0;
  if (s[0] < 0xf0) return 3;
  return bytes >= 4 && is_tail(s[3]) ? 4 : 0;
}

uint32_t td_utf8_character(const char *text, size_t bytes) {
  static const unsigned char masks[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
  uint32_t character = (unsigned char)text[0] & masks[bytes];
  for (size_t i = 1; i < bytes; i++) character = character << 6 | ((unsigned char)text[i] & 0x3f);
  return character;
}
