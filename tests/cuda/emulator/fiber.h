/* SPDX-License-Identifier: Apache-2.0
 *
 * Stacks to switch between, without system calls: a switch costs some nanoseconds. x86-64 by hand, ucontext elsewhere
 * and under AddressSanitizer, which has to be told of each switch.
 */
#ifndef EMULATED_FIBER_H
#define EMULATED_FIBER_H

namespace emulated {

struct fiber;

/* A fiber that will call entry(), which never returns; from a pool. */
fiber *fiber_take(void (*entry)());
void fiber_give_back(fiber *used); /* not the running one */
/* Runs `to` until somebody switches back to `from`. */
void fiber_switch(fiber *from, fiber *to);
/* The caller's own stack, to switch back to. */
fiber *fiber_host();

}  // namespace emulated

#endif
