/* SPDX-License-Identifier: Apache-2.0
 *
 * Runs a kernel: block by block, a block's threads as fibers in one host thread.
 */
#ifndef EMULATED_GRID_H
#define EMULATED_GRID_H

#include <string>

#include "cuda_on_host.h"

namespace emulated {

struct launch {
  const kernel *what;
  uint3 grid, block;
  unsigned dynamic_bytes;
  const void *arguments;
};

constexpr unsigned most_threads = 1024;
/* What a block may have: shared memory of a multiprocessor of compute capability 9.0, less what the system keeps. */
constexpr unsigned most_static_shared = 48 * 1024, most_dynamic_shared = 227 * 1024;

/* "" or what went wrong. Blocks and threads run in ascending and descending order by turns, so that a missing barrier
 * shows in one of them. */
std::string run_grid(const launch &asked);

}  // namespace emulated

#endif
