/* SPDX-License-Identifier: Apache-2.0
 *
 * Memory that nobody has written yet holds a pattern that is NaN as a float and out of range as an index; behind it
 * lies a guard whose bytes must never change. Under AddressSanitizer touching the guard is an error at once.
 */
#ifndef EMULATED_POISON_H
#define EMULATED_POISON_H

#include <cstddef>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace emulated {

constexpr unsigned char poison_byte = 0xff, guard_byte = 0xa5;

inline void guard_open([[maybe_unused]] const void *at, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(at, bytes);
#endif
}
inline void guard_close([[maybe_unused]] const void *at, [[maybe_unused]] size_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(at, bytes);
#endif
}

inline void guard_fill(unsigned char *at, size_t bytes) {
  guard_open(at, bytes);
  std::memset(at, guard_byte, bytes);
  guard_close(at, bytes);
}
/* `bytes` of poison, then a guard. */
inline void poison_fill(unsigned char *at, size_t bytes, size_t guard) {
  guard_open(at, bytes);
  std::memset(at, poison_byte, bytes);
  guard_fill(at + bytes, guard);
}
/* Whether a guard is as it was filled. */
inline bool poison_intact(const unsigned char *at, size_t bytes) {
  guard_open(at, bytes);
  bool intact = at[0] == guard_byte && std::memcmp(at, at + 1, bytes - 1) == 0;
  guard_close(at, bytes);
  return intact;
}

}  // namespace emulated

#endif
