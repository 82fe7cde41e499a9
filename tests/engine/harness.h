/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes experiment configs, runs them with `tandem run`, loads and compares their traces.
 */
#ifndef TESTS_ENGINE_HARNESS_H
#define TESTS_ENGINE_HARNESS_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/trace.h"

struct setup {
  const char *model; /* NULL: the tiny llama of tests/data */
  const char *pace, *policy;
  const char *pools; /* libconfig text of cluster.pools' elements */
  const char *links;
  const char *extra;    /* more keys of `engine` */
  const char *workload; /* the whole group's inside; NULL: five requests of mixed lengths */
  const char *sampling; /* inside of `sampling` */
  const char *kv;       /* NULL: f32 */
  int ranks;            /* 0 or 1: without mpirun */
  int chunk;
};

#define TINY_WORKLOAD                                                                             \
  "requests = ({name=\"a\"; prompt_tokens=33; max_tokens=9;},{name=\"b\"; prompt_tokens=1;},"     \
  "{name=\"c\"; prompt_tokens=70; arrival=0.001;},{name=\"d\"; prompt_tokens=16; max_tokens=1;}," \
  "{name=\"e\"; prompt_tokens=100; max_tokens=20;}); max_tokens=6; stop_at_end=false;"
#define POOL_BOTH(backend, threads) \
  "{name=\"all\"; role=\"both\"; backend=\"" backend "\"; device=\"xeon-2vcpu\"; threads=" threads ";}"
#define POOLS_PD(p, d, threads, count)                                                                         \
  "{name=\"p\"; role=\"prefill\"; backend=\"" p "\"; device=\"xeon-2vcpu\"; threads=" threads "; count=" count \
  ";},{name=\"d\"; role=\"decode\"; backend=\"" d "\"; device=\"xeon-2vcpu\"; threads=" threads "; count=" count ";}"
#define LINK_PD "{from=\"p\"; to=\"d\"; device=\"loopback-tcp\";}"

/* Runs into scratch/NAME.h5; fails the test with the program's output if it does not exit 0. Returns the path (a static
 * buffer per call of the last eight). */
const char *harness_run(const char *name, const struct setup *setup);
/* The same, returning the exit code, with all output in out. */
int harness_try(const char *name, const struct setup *setup, char *out, size_t size);
/* Writes the config only and returns its path. */
const char *harness_config(const char *name, const struct setup *setup);
const char *harness_scratch(void);

struct td_trace *harness_load(const char *path); /* fails the test on error */
/* `tandem diff` must say same (or, for false, differ). */
void harness_diff(const char *a, const char *b, bool same);
/* Every data set equal byte for byte. */
void harness_identical(const char *a, const char *b);

#endif
