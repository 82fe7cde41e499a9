/* SPDX-License-Identifier: Apache-2.0
 *
 * Every function of tandem/lpu_math.h on one bit pattern, for C, OpenCL C and CUDA.
 */
#ifndef TESTS_LPU_MATH_CASES_H
#define TESTS_LPU_MATH_CASES_H

#include "tandem/lpu_math.h"

#define MATH_RESULTS 16
/* Patterns: all exponents and signs, no power of two apart; then the special ones. */
#define MATH_SWEEP (1 << 16)
#define MATH_STEP 65539u
#define MATH_SPECIALS 35
#define MATH_COUNT (MATH_SWEEP + MATH_SPECIALS)

TD_FN td_u32 math_pattern(td_i32 i) {
  const td_u32 specials[MATH_SPECIALS] = {
      0x00000000u, 0x80000000u, 0x00000001u, 0x80000001u, 0x007fffffu, 0x00800000u, 0x7f7fffffu,
      0xff7fffffu, 0x7f800000u, 0xff800000u, 0x7fc00000u, 0xffc00000u, 0x7f800001u, 0xffffffffu,
      0x3f800000u, 0xbf800000u, 0x477fefffu, 0x477ff000u, 0x33000000u, 0x33000001u, 0x4effffffu,
      0x4f000000u, 0xcf000000u, 0xcf000001u, 0x4affffffu, 0x3effffffu, 0x42b17217u, 0xc2cff1b5u,
      0x43e80000u, 0x43e80001u, 0xc3e00001u, 0x3c7fffffu, 0x3c800000u, 0x3a800000u, 0x3a800001u,
  };
  return i < MATH_SWEEP ? (td_u32)i * MATH_STEP : specials[i - MATH_SWEEP];
}

TD_FN void math_results(td_u32 bits, td_u32 *out) {
  float x = td_bits_to_float(bits);
  out[0] = td_lpu_bits(td_lpu_exp(x));
  out[1] = td_lpu_bits(td_lpu_reciprocal(x));
  out[2] = td_lpu_bits(td_lpu_rsqrt(x));
  out[3] = td_lpu_bits(td_lpu_tanh(x));
  out[4] = td_lpu_bits(td_lpu_sigmoid(x));
  out[5] = td_lpu_f32_to_f16(x);
  out[6] = (td_u32)td_lpu_fits_f16(x);
  out[7] = (td_u32)td_lpu_f32_to_i32(x);
  out[8] = (td_u32)td_lpu_fits_i32(x);
  out[9] = td_lpu_bits(td_lpu_f16_to_f32((td_u16)bits));
  out[10] = td_lpu_bits(td_lpu_i32_to_f32((td_i32)bits));
  out[11] = td_lpu_bits(td_lpu_quiet(x * 1.1f + 0.3f)); /* would differ if it were contracted */
  out[12] = td_lpu_bits(td_lpu_quiet(x - x));
  out[13] = td_lpu_f32_to_f8(x);
  out[14] = (td_u32)td_lpu_fits_f8(x);
  out[15] = td_lpu_bits(td_lpu_f8_to_f32((td_u8)bits));
}

#endif
