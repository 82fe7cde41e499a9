/* SPDX-License-Identifier: Apache-2.0
 *
 * Output files of commands.
 */
#ifndef TD_CLI_OUTPUT_H
#define TD_CLI_OUTPUT_H

#include "tandem/status.h"

/* Asked before the work: TD_USAGE, naming both, if writing `output` (by way of OUTPUT.part) would replace `input`,
 * under whatever name. `what` says what the input is: "the model". An output that is not there yet is fine, and so is
 * an input that is not: reading it tells. */
td_status td_output_is_not(const char *output, const char *input, const char *what);

#endif
