/* SPDX-License-Identifier: Apache-2.0
 *
 * The conformance suite (tests/conformance), linked into the program as `tandem conform`.
 */
#ifndef TANDEM_CONFORM_H
#define TANDEM_CONFORM_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "tandem/status.h"

struct td_conform_options {
  const char *filter; /* fnmatch pattern over case names; NULL: all */
  int32_t threads;    /* host threads for the device; 0: 1 */
  bool list;          /* print case names only */
  bool verbose;       /* print passes too */
  bool json;
};
struct td_conform_result {
  int32_t passed, failed, unsupported, expected_failures, unexpected_passes;
};
/* Runs every case on device `spec` ("cpu", "template:0"). TD_OK if it ran, whatever the cases said: look at
 * *out_result. */
td_status td_conform_run(const char *spec, const struct td_conform_options *options, FILE *out,
                         struct td_conform_result *out_result);
/* Writes docs/support.md: operators x dtypes per backend, generated from the cases' outcomes on every backend here. */
td_status td_conform_table(FILE *out);

#endif
