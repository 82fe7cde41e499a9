/* SPDX-License-Identifier: Apache-2.0
 *
 * A libcuda.so.1 without most of its symbols.
 */
int cuInit(unsigned flags);
int cuInit(unsigned flags) {
  return (int)flags;
}
