/* SPDX-License-Identifier: Apache-2.0
 *
 * Stands between portable.h and blocks.h. Scales are halves, and the device has an instruction for those: vload_half,
 * which needs no cl_khr_fp16 and is exact.
 */
static inline float device_half(ushort bits) {
  ushort copy = bits;
  return vload_half(0, (const half *)&copy);
}
#define td_half_bits_to_float(bits) device_half(bits)
