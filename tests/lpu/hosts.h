/* SPDX-License-Identifier: Apache-2.0
 *
 * The hosts of LPU programs that are here, and whether they leave the same SRAM.
 */
#ifndef TESTS_LPU_HOSTS_H
#define TESTS_LPU_HOSTS_H

#include "support.h"
#include "tandem/lpu_host.h"

struct lpu_host_kind {
  const char *name, *spec;
  const char *variable, *value; /* of the environment, while it is opened; NULL: none */
  bool slow;                    /* PoCL takes long to compile barriers, and longer to run them */
};
extern const struct lpu_host_kind lpu_host_kinds[];
extern const size_t lpu_host_kind_count;

/* NULL, with the reason printed once, where this machine has no such host. Fails the test on other errors. */
struct td_lpu_host *lpu_host_open(const struct lpu_host_kind *kind, const struct td_lpu_program *program);
/* Fails the test, naming the first difference, if the host's SRAM is not `expected`. */
void lpu_host_compare(struct td_lpu_host *host, const struct lpu_host_kind *kind, const struct td_lpu_program *program,
                      const uint8_t *expected, uint64_t bytes, const char *what);
/* Fails the test if two hosts counted differently. */
void lpu_host_compare_counts(const struct td_lpu_counts *found, const struct td_lpu_counts *expected, const char *what);

#endif
