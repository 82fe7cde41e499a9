/* SPDX-License-Identifier: Apache-2.0
 *
 * gcc 12.2 turns these two naive int8 dot products into wrong sums with -O2 -march=native on a machine with VNNI. With
 * tandem's flags (no -march, -fwrapv) they must be right, plain and under the widest per-function target.
 */
#include "support.h"
#include "tandem/base.h"

#define ELEMENTS 32

static inline __attribute__((always_inline)) int offset_loop(const uint8_t *a, const int8_t *b) {
  int sum = 0;
  for (int k = 0; k < ELEMENTS; k++) sum += ((int)a[k] - 128) * b[k];
  return sum;
}

static inline __attribute__((always_inline)) int nibble_loop(const uint8_t *a, const int8_t *b) {
  int sum = 0;
  for (int k = 0; k < ELEMENTS; k++) sum += ((a[k] & 15) - 8) * b[k];
  return sum;
}

__attribute__((noinline)) static int plain(const uint8_t *a, const int8_t *b, bool nibbles) {
  return nibbles ? nibble_loop(a, b) : offset_loop(a, b);
}

#if defined(__x86_64__)
__attribute__((noinline, target("avx512f,avx512bw,avx512vl,avx512vnni"))) static int vnni(const uint8_t *a,
                                                                                          const int8_t *b,
                                                                                          bool nibbles) {
  return nibbles ? nibble_loop(a, b) : offset_loop(a, b);
}

static bool vnni_here(void) {
  return __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl");
}
#else
#define vnni plain
static bool vnni_here(void) {
  return false;
}
#endif

/* One term at a time through a volatile, which no compiler vectorises. */
static int truth(const uint8_t *a, const int8_t *b, bool nibbles) {
  volatile int sum = 0;
  for (int k = 0; k < ELEMENTS; k++) {
    volatile int left = nibbles ? (a[k] & 15) - 8 : (int)a[k] - 128;
    sum = sum + left * b[k];
  }
  return sum;
}

static void check(int (*dot)(const uint8_t *, const int8_t *, bool)) {
  for (uint64_t round = 0; round < 1000; round++) {
    uint8_t a[ELEMENTS];
    int8_t b[ELEMENTS];
    for (uint64_t k = 0; k < ELEMENTS; k++) {
      a[k] = (uint8_t)td_random(1, round, k);
      b[k] = (int8_t)(uint8_t)td_random(2, round, k);
    }
    assert_int_equal(dot(a, b, false), truth(a, b, false));
    assert_int_equal(dot(a, b, true), truth(a, b, true));
  }
}

static void test_plain(void **state) {
  (void)state;
  check(plain);
}

static void test_vnni(void **state) {
  (void)state;
  if (!vnni_here()) {
    printf("SKIPPED: this CPU has no AVX-512 VNNI, where the trap lies\n");
    skip();
  }
  check(vnni);
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(test_plain), cmocka_unit_test(test_vnni)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
