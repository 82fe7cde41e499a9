/* SPDX-License-Identifier: Apache-2.0
 *
 * A few threads that share the items of one job at a time. The caller of cpu_pool_run works too, so a pool of N has N -
 * 1 threads of its own, and a pool whose threads never get a core still finishes.
 */
#ifndef CPU_POOL_H
#define CPU_POOL_H

#include <stdint.h>

#include "tandem/status.h"

struct cpu_pool;

/* Does item `item` of a job. `worker` (0 .. threads-1) names scratch space that no other thread uses meanwhile. */
typedef void (*cpu_pool_work)(void *context, int32_t worker, int32_t item);

td_status cpu_pool_open(int32_t threads, struct cpu_pool **out_pool);
void cpu_pool_close(struct cpu_pool *pool); /* NULL is fine */
int32_t cpu_pool_threads(const struct cpu_pool *pool);

/* Calls work for items 0 .. items-1, each once, in any order, and returns when all are done. `context` is borrowed
 * until then. One caller at a time. */
void cpu_pool_run(struct cpu_pool *pool, cpu_pool_work work, void *context, int32_t items);

#endif
