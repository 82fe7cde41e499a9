/* SPDX-License-Identifier: Apache-2.0
 *
 * Byte-level BPE writes every byte as a printable character: those that print in Latin-1 as themselves, the other 68
 * as U+0100 and up, in order.
 */
#include "tokenizer.h"

static bool prints(unsigned byte) {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;
}

static unsigned stand_in(unsigned char byte) {
  if (prints(byte)) return byte;
  /* 0..0x20 come first, then 0x7f..0xa0, then 0xad */
  return byte <= 0x20 ? 0x100u + byte : byte == 0xad ? 0x143u : 0x121u + (byte - 0x7fu);
}

static int byte_of(unsigned character) {
  if (character < 0x100) return prints(character) ? (int)character : -1;
  if (character <= 0x120) return (int)(character - 0x100);
  if (character <= 0x142) return (int)(character - 0x121 + 0x7f);
  return character == 0x143 ? 0xad : -1;
}

size_t td_byte_to_text(unsigned char byte, char *out) {
  unsigned character = stand_in(byte);
  if (character < 0x80) {
    out[0] = (char)character;
    return 1;
  }
  out[0] = (char)(0xc0 | character >> 6);
  out[1] = (char)(0x80 | (character & 0x3f));
  return 2;
}

bool td_text_to_bytes(struct td_span text, char *out, uint64_t *out_bytes) {
  uint64_t used = 0;
  for (uint64_t i = 0; i < text.bytes; i++) {
    unsigned character = (unsigned char)text.data[i];
    if (character >= 0x80) {
      bool two = (character & 0xe0) == 0xc0 && i + 1 < text.bytes && ((unsigned char)text.data[i + 1] & 0xc0) == 0x80;
      if (!two) return false;
      character = (character & 0x1f) << 6 | ((unsigned char)text.data[++i] & 0x3f);
    }
    int byte = byte_of(character);
    if (byte < 0) return false;
    out[used++] = (char)byte;
  }
  *out_bytes = used;
  return true;
}
