/* SPDX-License-Identifier: Apache-2.0
 *
 * The forms of the LPU interpreter: plain, AVX2, AVX-512.
 */
#include "lpu.h"
#include "tandem/lpu_math.h"

/* ---- plain ---- */

static bool plain_here(void) {
  return true;
}

#define LPU(name) plain_##name
#define LPU_ROWS(name) plain_rows_##name
#define LPU_TARGET
#include "lpu_plain.h"
#define LPU_BYTES plain_rows_bytes
#define LPU_WIDENED plain_rows_widened
#define LPU_HALVES plain_rows_halves
#define LPU_EIGHTS plain_rows_eights
#define LPU_FLOATS plain_rows_floats
#include "lpu_loops.h"

static const struct lpu_form lpu_plain = {"plain", plain_here, plain_run};

#if defined(__x86_64__)

/* ---- plain loops for lanes that do not fill vectors, then those that do ---- */

#undef LPU_ROWS
#undef LPU_TARGET
#define LPU_ROWS(name) avx2_rows_##name
#define LPU_TARGET __attribute__((target("avx2,fma,f16c")))
#include "lpu_plain.h"
#undef LPU_ROWS
#undef LPU_TARGET
#define LPU_ROWS(name) avx512_rows_##name
#define LPU_TARGET __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vnni,avx2,fma,f16c")))
#include "lpu_plain.h"
#include "lpu_wide.h"

/* ---- AVX2 ---- */

static bool avx2_here(void) {
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

#undef LPU
#undef LPU_TARGET
#undef LPU_BYTES
#undef LPU_WIDENED
#undef LPU_HALVES
#undef LPU_EIGHTS
#undef LPU_FLOATS
#define LPU(name) avx2_##name
#define LPU_TARGET LPU_AVX2
#define LPU_BYTES avx2_bytes
#define LPU_WIDENED avx2_widened
#define LPU_HALVES avx2_halves
#define LPU_EIGHTS avx2_eights
#define LPU_FLOATS avx2_floats
#include "lpu_loops.h"

static const struct lpu_form lpu_avx2 = {"avx2", avx2_here, avx2_run};

/* ---- AVX-512 ---- */

static bool avx512_here(void) {
  return avx2_here() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
         __builtin_cpu_supports("avx512vnni");
}

#undef LPU
#undef LPU_TARGET
#undef LPU_BYTES
#undef LPU_WIDENED
#undef LPU_HALVES
#undef LPU_EIGHTS
#undef LPU_FLOATS
#define LPU(name) avx512_##name
#define LPU_TARGET LPU_AVX512
#define LPU_BYTES avx512_bytes
#define LPU_WIDENED avx512_widened
#define LPU_HALVES avx512_halves
#define LPU_EIGHTS avx512_eights
#define LPU_FLOATS avx512_floats
#include "lpu_loops.h"

static const struct lpu_form lpu_avx512 = {"avx512", avx512_here, avx512_run};
#endif

/* Widest first. */
const struct lpu_form *const lpu_forms[] = {
#if defined(__x86_64__)
    &lpu_avx512, &lpu_avx2,
#endif
    &lpu_plain, NULL};
