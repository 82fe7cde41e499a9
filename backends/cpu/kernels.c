/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms of the inner loops and the choice between them at run time: by target attributes, not -march, and by plain
 * pointers, because ifunc resolvers run before a sanitizer's own set-up.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu.h"

typedef float cpu_quad __attribute__((vector_size(4 * sizeof(float))));

static bool plain_here(void) {
  return true;
}
#define LOOPS(name) plain_##name
#define LOOPS_NAME "plain"
#define LOOPS_TARGET
#define LOOPS_WIDTH 4
#define LOOPS_ROWS 1
#define LOOPS_TOKENS 2
#include "loops.h"

#if defined(__x86_64__)
static bool avx2_here(void) {
  return __builtin_cpu_supports("avx2");
}
#define LOOPS(name) avx2_##name
#define LOOPS_NAME "avx2"
#define LOOPS_TARGET __attribute__((target("avx2")))
#define LOOPS_WIDTH 8
#define LOOPS_ROWS 2
#define LOOPS_TOKENS 2
#include "loops.h"

static bool avx512_here(void) {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl");
}
#define LOOPS(name) avx512_##name
#define LOOPS_NAME "avx512"
#define LOOPS_TARGET __attribute__((target("avx512f,avx512vl")))
#define LOOPS_WIDTH 16
#define LOOPS_ROWS 4
#define LOOPS_TOKENS 4
#include "loops.h"
#endif

/* Widest first. */
static const struct cpu_kernels *const forms[] = {
#if defined(__x86_64__)
    &avx512_kernels, &avx2_kernels,
#endif
    &plain_kernels};
#define FORMS (sizeof forms / sizeof forms[0])

td_status cpu_kernels_choose(const struct cpu_kernels **out_kernels) {
  const char *wanted = getenv("TANDEM_CPU_ISA");
  for (size_t i = 0; i < FORMS; i++) {
    if (wanted && *wanted && strcmp(wanted, forms[i]->name) != 0) continue;
    if (forms[i]->here()) {
      *out_kernels = forms[i];
      return TD_OK;
    }
    if (wanted && *wanted)
      return td_fail(TD_UNAVAILABLE, "TANDEM_CPU_ISA=%s: this CPU has no such instructions", wanted);
  }
  return td_fail(TD_CONFIG, "TANDEM_CPU_ISA: found '%s', expected plain, avx2 or avx512", wanted);
}
