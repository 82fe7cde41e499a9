/* SPDX-License-Identifier: Apache-2.0
 *
 * How far prices are from measured times.
 */
#ifndef TANDEM_CLI_COMPARE_H
#define TANDEM_CLI_COMPARE_H

#include <stdbool.h>
#include <stdint.h>

#include "tandem/status.h"

struct cli_compared {
  double measured, predicted, low, high;
  int32_t group; /* < 0: left out */
};
/* Of the rows of `group` (-1: of all groups) on stdout: mean, median and 90th percentile of |predicted / measured - 1|,
 * sum |predicted - measured| / sum measured, and how many lie between low and high. Nothing without rows. */
td_status cli_compare(const char *label, const struct cli_compared *rows, int64_t count, int32_t group);

#endif
